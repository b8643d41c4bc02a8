package identity

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"time"

	"weft/internal/model"
)

// A token is, in base64url:
//
//	version 1 | key ID 4 | methods 1 | scope 1 | issued 8 | expires 8 | audit 16 | chain 16 |
//	user | scope's ID | application credential | HMAC-SHA256 32
//
// Times are microseconds since 1970. An ID is its length in one byte and its text, or
// packed and 16 bytes when it is 32 hexadecimal digits. What the bearer may do is not in
// it: that is looked up whenever the token is used.
const tokenVersion = 1

// maxToken is the longest text that is looked at as a token.
const maxToken = 1024

// packed, as a length, says that an ID is 16 bytes that stand for 32 hexadecimal digits.
const packed = 0xff

// method is a set of the ways by which a bearer has authenticated.
type method byte

const (
	byPassword method = 1 << iota
	byToken
	byAppCred
)

// names lists the methods in the order that clients are told them.
func (m method) names() []string {
	var out []string
	for i, name := range []string{"password", "token", "application_credential"} {
		if m&(1<<i) != 0 {
			out = append(out, name)
		}
	}
	return out
}

// scope says which field of a model.Target is set.
type scope byte

const (
	unscoped scope = iota
	onProject
	onDomain
	onSystem
)

// auditID names a token where its text must not be known.
type auditID [16]byte

func newAuditID() auditID {
	var a auditID
	_, _ = rand.Read(a[:]) // it never fails
	return a
}

func (a auditID) String() string { return base64.RawURLEncoding.EncodeToString(a[:]) }

// claims is what a token says.
type claims struct {
	User    model.UserID
	Target  model.Target
	AppCred string
	Methods method
	Issued  time.Time
	Expires time.Time
	Audit   auditID
	// Chain is the audit ID of the first token of those that were got by one another; its
	// own for that one.
	Chain auditID
}

// sign makes a token.
func (c claims) sign(k *model.TokenKey) (string, error) {
	id, err := hex.DecodeString(k.ID)
	if err != nil {
		return "", err
	}
	kind, target := unscoped, ""
	switch {
	case c.Target.Project != "":
		kind, target = onProject, string(c.Target.Project)
	case c.Target.Domain != "":
		kind, target = onDomain, string(c.Target.Domain)
	case c.Target.System:
		kind = onSystem
	}
	b := append([]byte{tokenVersion}, id...)
	b = append(b, byte(c.Methods), byte(kind))
	b = binary.BigEndian.AppendUint64(b, uint64(c.Issued.UnixMicro()))
	b = binary.BigEndian.AppendUint64(b, uint64(c.Expires.UnixMicro()))
	b = append(b, c.Audit[:]...)
	b = append(b, c.Chain[:]...)
	for _, s := range []string{string(c.User), target, c.AppCred} {
		b = appendID(b, s)
	}
	b = append(b, seal(k, b)...)
	return base64.RawURLEncoding.EncodeToString(b), nil
}

func seal(k *model.TokenKey, b []byte) []byte {
	h := hmac.New(sha256.New, k.Secret)
	h.Write(b)
	return h.Sum(nil)
}

func appendID(b []byte, s string) []byte {
	if raw, err := hex.DecodeString(s); err == nil && len(raw) == 16 && hex.EncodeToString(raw) == s {
		return append(append(b, packed), raw...)
	}
	return append(append(b, byte(len(s))), s...)
}

// parse takes a token apart and verifies it with the key that find knows by its ID. It
// does not look at the time.
func parse(token string, find func(id string) *model.TokenKey) (c claims, ok bool) {
	if len(token) > maxToken {
		return c, false
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(token)
	const head = 1 + 4 + 1 + 1 + 8 + 8 + 16 + 16
	if err != nil || len(b) < head+sha256.Size || b[0] != tokenVersion {
		return c, false
	}
	k := find(hex.EncodeToString(b[1:5]))
	if k == nil {
		return c, false
	}
	body := b[:len(b)-sha256.Size]
	if !hmac.Equal(seal(k, body), b[len(body):]) {
		return c, false
	}
	c.Methods = method(b[5])
	c.Issued = time.UnixMicro(int64(binary.BigEndian.Uint64(b[7:]))).UTC()
	c.Expires = time.UnixMicro(int64(binary.BigEndian.Uint64(b[15:]))).UTC()
	copy(c.Audit[:], b[23:])
	copy(c.Chain[:], b[39:])
	rest := bytes.NewBuffer(body[head:])
	var ids [3]string
	for i := range ids {
		if ids[i], ok = nextID(rest); !ok {
			return c, false
		}
	}
	c.User, c.AppCred = model.UserID(ids[0]), ids[2]
	switch scope(b[6]) {
	case onProject:
		c.Target.Project = model.ProjectID(ids[1])
	case onDomain:
		c.Target.Domain = model.DomainID(ids[1])
	case onSystem:
		c.Target.System = true
	}
	return c, rest.Len() == 0
}

func nextID(b *bytes.Buffer) (string, bool) {
	n, err := b.ReadByte()
	if err != nil {
		return "", false
	}
	if n == packed {
		raw := b.Next(16)
		return hex.EncodeToString(raw), len(raw) == 16
	}
	text := b.Next(int(n))
	return string(text), len(text) == int(n)
}

// newKey makes a key to sign tokens with.
func newKey(now time.Time) *model.TokenKey {
	var id [4]byte
	k := &model.TokenKey{Secret: make([]byte, sha256.Size), CreatedAt: now.UTC()}
	_, _ = rand.Read(id[:]) // it never fails
	_, _ = rand.Read(k.Secret)
	k.ID = hex.EncodeToString(id[:])
	return k
}
