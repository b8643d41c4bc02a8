package feed

import (
	"crypto/rand"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"weft/internal/model"
)

func TestTokenText(t *testing.T) {
	for _, kind := range []model.JoinKind{model.JoinHost, model.JoinServer} {
		want := Token{Kind: kind, Servers: []string{"192.0.2.1:9697", "[2001:db8::1]:9697", "cloud.example:1"}}
		_, _ = rand.Read(want.CA[:])
		_, _ = rand.Read(want.Secret[:])
		text := want.String()
		got, err := ParseToken(" " + text + "\n")
		if err != nil || !cmp.Equal(got, want) {
			t.Fatalf("%v, %v", err, cmp.Diff(want, got))
		}
		if secret := secretOf(got.wire()); string(secret) != string(want.Secret[:]) {
			t.Errorf("the secret is not what was sent")
		}
		for i := range text {
			for _, wrong := range []string{text[:i], text[:i] + "~" + text[i+1:], text[:i] + text[i+1:], text[:i] + flip(text[i]) + text[i+1:]} {
				if other, err := ParseToken(wrong); err == nil && !cmp.Equal(other, want) {
					t.Fatalf("%q was taken for %v", wrong, other)
				}
			}
		}
	}
	for _, wrong := range []string{"", "weft1.", "weft2.AAAA", "rubbish", "weft1." + strings.Repeat("A", 400)} {
		if _, err := ParseToken(wrong); err == nil {
			t.Errorf("%q was taken for a token", wrong)
		}
	}
}

func flip(c byte) string {
	if c == 'A' {
		return "B"
	}
	return "A"
}
