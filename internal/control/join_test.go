package control_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"weft/internal/control"
	"weft/internal/model"
	"weft/internal/store"
	"weft/internal/store/storetest"
)

func refusal(t *testing.T, err error, want string) {
	t.Helper()
	var r control.JoinRefused
	if !errors.As(err, &r) || !strings.Contains(r.Reason, want) {
		t.Errorf("got %v, want a refusal with %q", err, want)
	}
}

func TestJoinHostOnceByToken(t *testing.T) {
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	c := cloudOn(t, storetest.Etcd(t), func() time.Time { return now })
	secret, expires, err := c.NewJoinToken(t.Context(), model.JoinHost, time.Hour)
	if err != nil || !expires.Equal(now.Add(time.Hour)) {
		t.Fatal(expires, err)
	}
	refusal(t, second(c.JoinHost(t.Context(), []byte("guess"), "h1")), "unknown")
	refusal(t, second(c.JoinHost(t.Context(), secret[:], "weft-Server")), "belongs to the servers")
	refusal(t, second(c.JoinHost(t.Context(), secret[:], "a/b")), "no host name")
	refusal(t, c.SpendServerToken(t.Context(), secret[:]), "is for a host")
	g, err := c.JoinHost(t.Context(), secret[:], "h1")
	if err != nil || g != 1 {
		t.Fatal(g, err)
	}
	refusal(t, second(c.JoinHost(t.Context(), secret[:], "h2")), "used already, by host h1")
	c.Read(func(r store.Reader) {
		if store.JoinTokens.Count(r) != 0 || store.HostIdentities.Count(r) != 1 {
			t.Errorf("%d tokens, %d identities", store.JoinTokens.Count(r), store.HostIdentities.Count(r))
		}
		if err := control.Welcome(r, "h1", 1); err != nil {
			t.Error(err)
		}
		refusal(t, control.Welcome(r, "h1", 0), "earlier host")
		if err := control.Welcome(r, "made-by-hand", 0); err != nil {
			t.Error(err)
		}
		refusal(t, control.Welcome(r, "made-by-hand", 1), "earlier host")
	})
}

func TestJoinTokenExpires(t *testing.T) {
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	c := cloudOn(t, storetest.Etcd(t), func() time.Time { return now })
	secret, _, err := c.NewJoinToken(t.Context(), model.JoinServer, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	now = now.Add(61 * time.Second)
	refusal(t, c.SpendServerToken(t.Context(), secret[:]), "expired at")
	now = now.Add(50 * time.Hour)
	good, _, err := c.NewJoinToken(t.Context(), model.JoinServer, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	refusal(t, c.SpendServerToken(t.Context(), secret[:]), "unknown")
	if err := c.SpendServerToken(t.Context(), good[:]); err != nil {
		t.Error(err)
	}
	refusal(t, c.SpendServerToken(t.Context(), good[:]), "unknown")
	for _, life := range []time.Duration{0, -time.Hour, 8 * 24 * time.Hour} {
		if _, _, err := c.NewJoinToken(t.Context(), model.JoinHost, life); err == nil {
			t.Errorf("a token for %s", life)
		}
	}
	if _, _, err := c.NewJoinToken(t.Context(), "emperor", time.Hour); err == nil {
		t.Error("a token for an emperor")
	}
}

func TestJoinNameOfLiveHost(t *testing.T) {
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	c := cloudOn(t, storetest.Etcd(t), func() time.Time { return now })
	c.host(model.Host{Name: "h1"})
	secret, _, err := c.NewJoinToken(t.Context(), model.JoinHost, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	refusal(t, second(c.JoinHost(t.Context(), secret[:], "h1")), "is alive")
	now = now.Add(10 * time.Minute)
	if g, err := c.JoinHost(t.Context(), secret[:], "h1"); err != nil || g != 1 {
		t.Errorf("a dead host's name: %d, %v", g, err)
	}
}

// TestRolesOfToken: a host joined for compute cannot make itself a network host.
func TestRolesOfToken(t *testing.T) {
	c := newCloud(t)
	secret, _, err := c.NewJoinToken(t.Context(), model.JoinHost, time.Hour, model.RoleCompute)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.JoinHost(t.Context(), secret[:], "h1"); err != nil {
		t.Fatal(err)
	}
	if h := c.host(model.Host{Name: "h1", Roles: model.AllRoles()}); h.Has(model.RoleNetwork) || !h.Has(model.RoleCompute) {
		t.Errorf("it has the roles %v", h.Roles)
	}
	for _, wrong := range []func() error{
		func() error {
			_, _, err := c.NewJoinToken(t.Context(), model.JoinHost, time.Hour, "king")
			return err
		},
		func() error {
			_, _, err := c.NewJoinToken(t.Context(), model.JoinServer, time.Hour, model.RoleCompute)
			return err
		},
	} {
		if wrong() == nil {
			t.Error("a token for what is no role")
		}
	}
}

func second[T any](_ T, err error) error { return err }
