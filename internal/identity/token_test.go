package identity

import (
	"bytes"
	"encoding/base64"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"weft/internal/model"
)

func sample() (claims, *model.TokenKey) {
	at := time.Date(2026, 11, 25, 12, 0, 0, 123456000, time.UTC)
	c := claims{User: model.UserID(newID()), Target: model.Target{Project: model.ProjectID(newID())}, Methods: byPassword | byToken,
		Issued: at, Expires: at.Add(time.Hour), Audit: newAuditID(), Chain: newAuditID()}
	return c, newKey(at)
}

func TestTokenRoundTrip(t *testing.T) {
	c, k := sample()
	find := func(id string) *model.TokenKey {
		if id == k.ID {
			return k
		}
		return nil
	}
	for name, change := range map[string]func(*claims){
		"project":           func(*claims) {},
		"domain":            func(c *claims) { c.Target = model.Target{Domain: model.DefaultDomain} },
		"system":            func(c *claims) { c.Target = model.Target{System: true} },
		"unscoped":          func(c *claims) { c.Target = model.Target{} },
		"credential":        func(c *claims) { c.AppCred, c.Methods = newID(), byAppCred },
		"odd user":          func(c *claims) { c.User = "some.body" },
		"upper-case digits": func(c *claims) { c.User = "ABCDEFABCDEFABCDEFABCDEFABCDEFAB" },
	} {
		in := c
		change(&in)
		text, err := in.sign(k)
		if err != nil {
			t.Fatal(err)
		}
		if out, ok := parse(text, find); !ok || !reflect.DeepEqual(in, out) {
			t.Errorf("%s: %+v became %+v, %v", name, in, out, ok)
		}
		if len(text) > 255 {
			t.Errorf("%s: %d characters", name, len(text))
		}
	}
}

// TestTokenForged changes each bit of a token, cuts it, and signs it with other keys.
func TestTokenForged(t *testing.T) {
	c, k := sample()
	text, err := c.sign(k)
	if err != nil {
		t.Fatal(err)
	}
	find := func(string) *model.TokenKey { return k } // whatever key it names
	raw, _ := base64.RawURLEncoding.DecodeString(text)
	for i := range len(raw) * 8 {
		b := []byte(string(raw))
		b[i/8] ^= 1 << (i % 8)
		if _, ok := parse(base64.RawURLEncoding.EncodeToString(b), find); ok {
			t.Fatalf("bit %d changed, and nobody minds", i)
		}
	}
	for i := range raw {
		if _, ok := parse(base64.RawURLEncoding.EncodeToString(raw[:i]), find); ok {
			t.Fatalf("cut to %d bytes, and nobody minds", i)
		}
	}
	other := *newKey(time.Now())
	other.ID = k.ID
	forged, _ := c.sign(&other)
	for name, text := range map[string]string{
		"another key": forged, "padded": text + "=", "longer": text + "AAAA", "empty": "", "huge": strings.Repeat("A", 1<<20),
	} {
		if _, ok := parse(text, find); ok {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, ok := parse(text, func(string) *model.TokenKey { return nil }); ok {
		t.Error("no key, and nobody minds")
	}
}

// FuzzToken: no text but a signed one is a token, and none makes parse panic. The parts
// behind the signature are reached by signing what comes.
func FuzzToken(f *testing.F) {
	c, k := sample()
	text, _ := c.sign(k)
	f.Add(text, []byte{})
	raw, _ := base64.RawURLEncoding.DecodeString(text)
	f.Add("", raw[:len(raw)-32])
	f.Fuzz(func(t *testing.T, foreign string, body []byte) {
		find := func(string) *model.TokenKey { return k }
		if _, ok := parse(foreign, find); ok && foreign != text {
			t.Errorf("%q is accepted", foreign)
		}
		own := base64.RawURLEncoding.EncodeToString(append(body[:len(body):len(body)], seal(k, body)...))
		if c, ok := parse(own, find); ok && c.Target.Project != "" && c.Target.System {
			t.Errorf("%+v", c)
		}
	})
}

// FuzzScope: any scope is either understood as exactly one thing or refused.
func FuzzScope(f *testing.F) {
	for _, s := range []string{`"unscoped"`, `{"project":{"id":"x"}}`, `{"domain":{"name":"d"}}`, `{"system":{"all":true}}`, `{"unscoped":{}}`, `null`, `[]`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		s, err := parseScope(raw)
		if err != nil {
			if got, known := faultOf(err); !known || got.Status != 400 {
				t.Errorf("%v", err)
			}
			return
		}
		if s == nil {
			return
		}
		n := 0
		for _, set := range []bool{s.Project != nil, s.Domain != nil, s.System != nil, s.Unscoped != nil} {
			if set {
				n++
			}
		}
		if n != 1 {
			t.Errorf("%s: %+v", raw, s)
		}
	})
}

// FuzzLogin: whatever is sent to log in, nothing breaks inside, and nobody gets in who
// does not say the password.
func FuzzLogin(f *testing.F) {
	c := start(f)
	c.make("user", `{"name":"joe","password":"a password that is not guessed"}`)
	for _, body := range []string{auth("joe", "x", ""), auth("joe", "x", `"unscoped"`), `{"auth":{"identity":{"methods":["token"],"token":{"id":"x"}}}}`,
		`{"auth":{"identity":{"methods":["application_credential"],"application_credential":{"id":"x","secret":"y"}}}}`, `{"auth":null}`, `[]`} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		w := httptest.NewRecorder()
		c.local.ServeHTTP(w, httptest.NewRequest("POST", "/v3/auth/tokens", bytes.NewReader(body)))
		if w.Code >= 500 || w.Code < 400 {
			t.Errorf("%q: %d %s", body, w.Code, w.Body)
		}
	})
}
