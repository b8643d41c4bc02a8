package inspect

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"weft/internal/control"
	"weft/internal/feed"
	"weft/internal/model"
	"weft/internal/store/storetest"
	"weft/internal/trace"
)

// hosts answers for agents; the real path is tested in package agent.
type hosts func(host model.HostName, q trace.Query) ([]byte, error)

func (h hosts) Evidence(_ context.Context, host model.HostName, query []byte) ([]byte, error) {
	var q trace.Query
	if err := json.Unmarshal(query, &q); err != nil {
		return nil, err
	}
	return h(host, q)
}

type world struct {
	t    *testing.T
	c    *control.Control
	in   *Inspector
	ask  hosts
	net  model.NetworkID
	a, b *model.Port
}

func newWorld(t *testing.T) *world {
	w := &world{t: t}
	w.c = control.New(control.Options{Store: storetest.New(t), Config: control.DefaultConfig()})
	w.ask = func(h model.HostName, q trace.Query) ([]byte, error) {
		return json.Marshal(trace.Evidence{PortID: q.PortID, Host: h, Known: true, LocalVLAN: 3})
	}
	w.in = New(Options{Cloud: w.c, Hosts: hosts(func(h model.HostName, q trace.Query) ([]byte, error) { return w.ask(h, q) }), Timeout: time.Minute})
	if _, err := w.c.RegisterHost(t.Context(), model.Host{Name: "h1", IntegrationBridge: "br-int", TunnelTypes: []string{"vxlan"}, Roles: model.AllRoles()}); err != nil {
		t.Fatal(err)
	}
	n, err := w.c.CreateNetwork(t.Context(), control.NetworkRequest{Name: control.Some("demo")})
	if err != nil {
		t.Fatal(err)
	}
	w.net = n.Value.ID
	if _, err := w.c.CreateSubnet(t.Context(), control.SubnetRequest{NetworkID: w.net, CIDR: netip.MustParsePrefix("10.10.0.0/24")}); err != nil {
		t.Fatal(err)
	}
	w.a, w.b = w.port("web", "h1"), w.port("db", "")
	w.port("twin", "")
	w.port("twin", "")
	return w
}

func (w *world) port(name, host string) *model.Port {
	w.t.Helper()
	e, err := w.c.CreatePort(w.t.Context(), control.PortRequest{NetworkID: w.net, Name: control.Some(name), HostID: control.Some(host)})
	if err != nil {
		w.t.Fatal(err)
	}
	return e.Value
}

// get asks over HTTP.
func (w *world) get(q string) (int, trace.Chain, string) {
	w.t.Helper()
	rec := httptest.NewRecorder()
	w.in.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, Path+"?q="+url.QueryEscape(q), nil))
	var rep trace.Report
	var c trace.Chain
	var p problem
	if err := json.Unmarshal(rec.Body.Bytes(), &rep); err != nil {
		w.t.Fatalf("%s: %v", rec.Body, err)
	}
	if len(rep.Chains) > 0 {
		c = rep.Chains[0]
	}
	_ = json.Unmarshal(rec.Body.Bytes(), &p)
	return rec.Code, c, p.Error
}

func TestFindsThePortThatIsMeant(t *testing.T) {
	w := newWorld(t)
	for what, q := range map[string]string{
		"ID": string(w.a.ID), "ID in capitals": strings.ToUpper(string(w.a.ID)), "name": "web", "MAC": w.a.MAC.String(),
		"MAC with dashes": strings.ReplaceAll(w.a.MAC.String(), ":", "-"), "address": w.a.FixedIPs[0].Addr.String(),
		"mapped address": "::ffff:" + w.a.FixedIPs[0].Addr.String(), "tap": "tap" + string(w.a.ID)[:11],
		"tap's MAC": "fe" + w.a.MAC.String()[2:], "spaces around": "  web ",
		"MAC of Cisco's":  strings.ReplaceAll(w.a.MAC.String(), ":", "")[:4] + "." + strings.ReplaceAll(w.a.MAC.String(), ":", "")[4:8] + "." + strings.ReplaceAll(w.a.MAC.String(), ":", "")[8:],
		"MAC in capitals": strings.ToUpper(w.a.MAC.String()), "address of ip addr": w.a.FixedIPs[0].Addr.String() + "/24",
		"short ID": string(w.a.ID)[:8], "ID that lacks its end": strings.ToUpper(string(w.a.ID)[:35]), "short tap": "TAP" + string(w.a.ID)[:9],
	} {
		code, c, msg := w.get(q)
		if code != http.StatusOK || c.PortID != w.a.ID || len(c.Steps) < 5 {
			t.Errorf("%s %q: %d, port %s, %d steps, %s", what, q, code, c.PortID, len(c.Steps), msg)
		}
	}
	for _, c := range []struct {
		q    string
		code int
		want string
	}{
		{"nobody", 404, `"nobody"`}, {"10.10.0.254", 404, "no port"}, {"", 400, "empty"},
		{"twin", 409, "2 ports answer"}, {"twin", 409, " 10.10.0."}, {string(w.a.ID)[:7], 404, "no port"}, {string(w.a.ID) + "0", 404, "no port"}, {"tap", 404, "no port"}, {"tap00000000", 404, "no port"},
	} {
		code, _, msg := w.get(c.q)
		if code != c.code || !strings.Contains(msg, c.want) {
			t.Errorf("%q: %d %q, want %d %q", c.q, code, msg, c.code, c.want)
		}
	}
	rec := httptest.NewRecorder()
	w.in.ServeHTTP(rec, httptest.NewRequest(http.MethodPost, Path, nil))
	if rec.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", rec.Code)
	}
}

// TestVM: the ID of a VM means all its ports.
func TestVM(t *testing.T) {
	w := newWorld(t)
	const other = "7f3a0c11-2222-4333-8444-55555555aaaa"
	for _, vm := range []string{"vm-7", "vm-7", other, other, "7f3a0c11-2222-4333-8444-55555555bbbb"} {
		if _, err := w.c.CreatePort(t.Context(), control.PortRequest{NetworkID: w.net, DeviceID: control.Some(vm)}); err != nil {
			t.Fatal(err)
		}
	}
	for q, vm := range map[string]string{"vm-7": "vm-7", other: other, "7F3A0C11-2222-4333-8444-55555555AA": other} {
		rep, err := w.in.Report(t.Context(), q, nil)
		if err != nil || len(rep.Chains) != 2 || rep.Chains[0].DeviceID != vm || rep.Chains[1].DeviceID != vm || rep.Verdict != trace.Broken {
			t.Errorf("%s: %+v, %v", q, rep, err)
		}
	}
	if _, err := w.in.Report(t.Context(), "7f3a0c11", nil); !errors.As(err, new(Ambiguous)) {
		t.Errorf("the beginning of two VMs' IDs: %v", err)
	}
}

// writes is a sight that changes a port before it says what may be seen. A change is answered when it
// can be read, so it never is if it is asked while the records are read.
type writes struct{ w *world }

func (s writes) Port(model.PortID) (port, hosts bool) {
	_, err := s.w.c.UpdatePort(s.w.t.Context(), s.w.b.ID, control.PortRequest{Description: control.Some(fmt.Sprint(time.Now()))})
	return err == nil, true
}

func (s writes) Project(model.ProjectID) bool { return true }

// TestSightReads: what may be seen the API is asked, which waits for changes that are on their way.
func TestSightReads(t *testing.T) {
	w := newWorld(t)
	done := make(chan error, 1)
	go func() {
		_, err := w.in.Report(t.Context(), "web", writes{w})
		done <- err
	}()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Fatal("the question what may be seen waits for who asks it")
	}
}

// Whatever the host does, there is an answer that says what is known.
func TestHostsThatDoNotAnswer(t *testing.T) {
	w := newWorld(t)
	item := func(c trace.Chain, step, what string) trace.Item {
		for _, s := range c.Steps {
			for _, it := range s.Items {
				if s.Name == step && it.What == what {
					return it
				}
			}
		}
		t.Fatalf("no %s of %s in %+v", what, step, c)
		return trace.Item{}
	}
	_, c, _ := w.get("db")
	if it := item(c, "binding", "host"); it.Verdict != trace.Broken || it.Observed != "none" {
		t.Errorf("unbound: %+v", it)
	}
	for want, answer := range map[string]func(model.HostName, trace.Query) ([]byte, error){
		"host h1 is not connected to any server": func(h model.HostName, _ trace.Query) ([]byte, error) {
			return nil, fmt.Errorf("host %s: %w", h, feed.ErrNotConnected)
		},
		"on fire":        func(model.HostName, trace.Query) ([]byte, error) { return nil, errors.New("on fire") },
		"cannot be read": func(model.HostName, trace.Query) ([]byte, error) { return []byte("{"), nil },
	} {
		w.ask = answer
		code, c, _ := w.get("web")
		if it := item(c, "host", "evidence"); code != http.StatusOK || it.Verdict != trace.Unknown || !strings.Contains(it.Observed, want) {
			t.Errorf("%s: %d %+v", want, code, it)
		}
	}
}

func TestTimeout(t *testing.T) {
	w := newWorld(t)
	slow := New(Options{Cloud: w.c, Timeout: 20 * time.Millisecond, Hosts: slowHosts{}})
	begin := time.Now()
	rep, err := slow.Report(t.Context(), "web", nil)
	if err != nil || rep.Chains[0].PortID != w.a.ID || time.Since(begin) > 20*time.Second {
		t.Fatalf("%v after %v", err, time.Since(begin))
	}
	const want = "unknown: host h1 is connected and said nothing for 20ms"
	if all := fmt.Sprint(rep.Chains[0].Steps); !strings.Contains(all, want) {
		t.Errorf("%s does not say %q", all, want)
	}
}

type slowHosts struct{}

func (slowHosts) Evidence(ctx context.Context, _ model.HostName, _ []byte) ([]byte, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// TestPluggedElsewhere: only if nothing is plugged where the port is bound, all other hosts that live are asked.
func TestPluggedElsewhere(t *testing.T) {
	w := newWorld(t)
	for _, h := range []model.HostName{"h2", "h3"} {
		if _, err := w.c.RegisterHost(t.Context(), model.Host{Name: h, IntegrationBridge: "br-int", TunnelTypes: []string{"vxlan"}, Roles: model.AllRoles()}); err != nil {
			t.Fatal(err)
		}
	}
	where := model.HostName("h2")
	w.ask = func(h model.HostName, q trace.Query) ([]byte, error) {
		ev := trace.Evidence{PortID: q.PortID, Host: h, Known: h == "h1", LocalVLAN: 3}
		if h == where && (q.Seek || h == "h1") {
			ev.Interface = &trace.Interface{Name: "tapx"}
		}
		if q.Seek && (h == "h1" || where == "h1" || q.MAC != w.a.MAC.String()) {
			t.Errorf("%s is asked for %+v", h, q)
		}
		return json.Marshal(ev)
	}
	if _, c, _ := w.get("web"); c.Answer.Cause != trace.CauseElsewhere && !strings.Contains(fmt.Sprint(c.Steps), "is plugged on host h2 (interface tapx)") {
		t.Errorf("%+v", c)
	}
	where = "h1"
	if _, c, _ := w.get("web"); c.PortID != w.a.ID || strings.Contains(fmt.Sprint(c.Steps), "is plugged on host") {
		t.Errorf("%+v", c)
	}
}
