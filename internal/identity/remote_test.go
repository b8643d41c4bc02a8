package identity

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"weft/internal/access"
)

// outside is a Remote that asks a built-in identity through a proxy that counts, and that
// can be down.
type outside struct {
	*cloud
	remote *Remote
	asked  atomic.Int64 // about tokens
	logins atomic.Int64
	down   atomic.Bool
}

func startOutside(t *testing.T) *outside {
	o := &outside{cloud: start(t)}
	id := o.make("user", `{"name":"neutron","password":"pw"}`)
	o.do("PUT", "/v3/projects/"+o.ids["project/service"]+"/users/"+id+"/roles/"+o.ids["role/service"], "").want(204)
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case o.down.Load():
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		case r.Method == http.MethodPost:
			o.logins.Add(1)
		case r.Header.Get("X-Subject-Token") != "":
			o.asked.Add(1)
		}
		o.local.ServeHTTP(w, r)
	}))
	t.Cleanup(front.Close)
	o.remote = NewRemote(RemoteOptions{URL: front.URL, Username: "neutron", Password: "pw", UserDomain: "Default",
		Project: "service", ProjectDomain: "Default", Now: func() time.Time { return time.Now().Add(time.Duration(o.ahead.Load())) }})
	return o
}

// asks checks how many questions Keystone has been put by now.
func (o *outside) asks(what string, asked, logins int64) {
	o.t.Helper()
	if a, l := o.asked.Load(), o.logins.Load(); a != asked || l != logins {
		o.t.Errorf("%s: Keystone was asked %d times and logged in to %d times, want %d and %d", what, a, l, asked, logins)
	}
}

func (o *outside) is(what, token string, want error) {
	o.t.Helper()
	if _, err := o.remote.Authenticate(o.t.Context(), token); !errors.Is(err, want) {
		o.t.Errorf("%s: %v, want %v", what, err, want)
	}
}

func TestRemoteCaller(t *testing.T) {
	o := startOutside(t)
	_, _, member := o.member("joe")
	for name, token := range map[string]string{"project": member, "admin": o.token,
		"system": o.login("admin", o.password, `{"system":{"all":true}}`), "unscoped": o.login("admin", o.password, `"unscoped"`)} {
		here, err := o.local.Authenticate(t.Context(), token)
		there, err2 := o.remote.Authenticate(t.Context(), token)
		if len(here.Roles) == 0 {
			here.Roles, there.Roles = nil, nil
		}
		if err != nil || err2 != nil || !reflect.DeepEqual(here, there) {
			t.Errorf("%s: %+v, %v; the identity itself says %+v, %v", name, there, err2, here, err)
		}
	}
}

func TestRemoteRemembers(t *testing.T) {
	o := startOutside(t)
	_, _, token := o.member("joe")
	o.is("first", token, nil)
	o.is("again", token, nil)
	o.asks("one token twice", 1, 1)
	o.is("nonsense", "nonsense", access.ErrUnauthorized)
	o.is("nonsense again", "nonsense", access.ErrUnauthorized)
	o.asks("a void token twice", 2, 1)
	o.as(token, "DELETE", "/v3/auth/tokens", "", "X-Subject-Token", token).want(204)
	o.is("revoked, but remembered", token, nil)
	o.ahead.Store(int64(refusedTime + time.Second))
	o.is("nonsense later", "nonsense", access.ErrUnauthorized)
	o.asks("a void token later", 3, 1)
	o.ahead.Store(int64(DefaultCacheTime + time.Second))
	o.is("revoked, and asked again", token, access.ErrUnauthorized)
	o.asks("after the cache time", 4, 1)

	// No answer outlives its token, nor does our own token stop us.
	o.is("admin", o.token, nil)
	o.ahead.Store(int64(DefaultLifetime - time.Minute))
	_, _, late := o.member("late")
	o.is("late", late, nil)
	o.is("admin just before the end", o.token, nil)
	o.ahead.Store(int64(DefaultLifetime + time.Second))
	o.is("expired", o.token, access.ErrUnauthorized)
	o.asks("with a token that has expired", 8, 2)
}

func TestRemoteTogether(t *testing.T) {
	o := startOutside(t)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() { o.is("together", o.token, nil) })
	}
	wg.Wait()
	o.asks("20 at once", 1, 1)
}

func TestRemoteAway(t *testing.T) {
	o := startOutside(t)
	o.is("seen", o.token, nil)
	_, _, other := o.member("joe")
	o.down.Store(true)
	o.is("seen, while Keystone is away", o.token, nil)
	if _, err := o.remote.Authenticate(t.Context(), other); err == nil || errors.Is(err, access.ErrUnauthorized) {
		t.Errorf("not seen, while Keystone is away: %v", err)
	}
	o.down.Store(false)
	o.is("back", other, nil)

	// Our own token may be revoked: then another one is got.
	own := o.remote.own
	o.do("DELETE", "/v3/auth/tokens", "").want(404)
	o.as(o.token, "DELETE", "/v3/auth/tokens", "", "X-Subject-Token", own).want(204)
	_, _, third := o.member("ann")
	o.is("after our own token was revoked", third, nil)

	// A user that may not ask is no verdict on the token.
	id := o.get("/v3/users?name=neutron").want(200).list("users")[0]["id"].(string)
	o.do("DELETE", "/v3/projects/"+o.ids["project/service"]+"/users/"+id+"/roles/"+o.ids["role/service"], "").want(204)
	o.do("PUT", "/v3/projects/"+o.ids["project/service"]+"/users/"+id+"/roles/"+o.ids["role/member"], "").want(204)
	_, _, fourth := o.member("bob")
	if _, err := o.remote.Authenticate(t.Context(), fourth); err == nil || !strings.Contains(err.Error(), "may user neutron validate them?") {
		t.Error(err)
	}
	o.do("PATCH", "/v3/users/"+id, `{"user":{"password":"other"}}`).want(200)
	_, _, fifth := o.member("eve")
	if _, err := o.remote.Authenticate(t.Context(), fifth); err == nil || !strings.Contains(err.Error(), "401 to the login of user neutron") {
		t.Error(err)
	}
}

// TestRemoteForgets: the cache has an end.
func TestRemoteForgets(t *testing.T) {
	r := NewRemote(RemoteOptions{})
	for i := range cacheMost + 10 {
		l, _ := r.lookup([32]byte{byte(i), byte(i >> 8), byte(i >> 16)})
		l.until = time.Now().Add(time.Hour)
		close(l.ready)
	}
	if n := len(r.known); n > cacheMost {
		t.Errorf("%d tokens are remembered", n)
	}
}
