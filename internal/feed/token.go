package feed

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"net"
	"strings"

	"weft/internal/control"
	"weft/internal/model"
)

// tokenPrefix begins every token; its number is that of the form.
const tokenPrefix = "weft1."

// Token is what a new host or server needs to join a cloud: where to go, how to know that
// it is the right place, and what opens the door.
//
//	weft1.base64url( kind (1) . SHA-256 of the CA certificate (32) . secret (32) . servers, by commas . CRC-32 of all before (4) )
type Token struct {
	Kind model.JoinKind
	// CA is the SHA-256 of the certificate of the cloud's authority.
	CA [32]byte
	// Secret is what the servers know the hash of.
	Secret [control.SecretSize]byte
	// Servers are the addresses, host:port, of the servers' feeds.
	Servers []string
}

// tokenKinds are the kinds by their number in a token.
var tokenKinds = map[byte]model.JoinKind{'h': model.JoinHost, 's': model.JoinServer}

// String is the token as one word.
func (t Token) String() string {
	var b []byte
	for letter, kind := range tokenKinds {
		if kind == t.Kind {
			b = append(b, letter)
		}
	}
	b = append(b, t.CA[:]...)
	b = append(b, t.Secret[:]...)
	b = append(b, strings.Join(t.Servers, ",")...)
	b = binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b))
	return tokenPrefix + base64.RawURLEncoding.EncodeToString(b)
}

// errToken says that a text is no token as "weft server token" prints them.
var errToken = errors.New("this is not a whole token, as \"weft server token\" prints it: it begins with " + tokenPrefix + " and is one word")

// ParseToken reads what String wrote.
func ParseToken(s string) (Token, error) {
	text, ok := strings.CutPrefix(strings.TrimSpace(s), tokenPrefix)
	if !ok {
		return Token{}, errToken
	}
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(b) < 1+32+control.SecretSize+4 {
		return Token{}, errToken
	}
	body, sum := b[:len(b)-4], binary.BigEndian.Uint32(b[len(b)-4:])
	t := Token{Kind: tokenKinds[body[0]]}
	if crc32.ChecksumIEEE(body) != sum || t.Kind == "" {
		return Token{}, errToken
	}
	rest := body[1:]
	rest = rest[copy(t.CA[:], rest):]
	rest = rest[copy(t.Secret[:], rest):]
	t.Servers = strings.Split(string(rest), ",")
	for _, a := range t.Servers {
		if _, _, err := net.SplitHostPort(a); err != nil {
			return Token{}, errToken
		}
	}
	return t, nil
}

// wire is the secret as it travels in requests, and secretOf reads it.
func (t Token) wire() string { return base64.RawURLEncoding.EncodeToString(t.Secret[:]) }

func secretOf(wire string) []byte {
	b, err := base64.RawURLEncoding.DecodeString(wire)
	if err != nil {
		return nil // the hash of which is that of no token
	}
	return b
}
