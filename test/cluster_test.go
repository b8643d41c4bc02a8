package test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"weft/internal/lab/labtest"
)

// cluster is a cloud's servers, each a weft process on a loopback address of its own.
type cluster struct {
	t   testing.TB
	bin string
	dir string
	// args are given to every server: those of an etcd elsewhere, or none.
	args []string
	http *http.Client
	all  []*member
}

// member is one server, which runs or not.
type member struct {
	c    *cluster
	name string
	addr string
	dir  string // its state directory
	log  string
	args []string
	env  []string // for commands

	cmd  *exec.Cmd
	done chan struct{}
	err  error
}

func newCluster(t testing.TB, args ...string) *cluster {
	t.Helper()
	labtest.Require(t, "root")
	dir, err := os.MkdirTemp("/run", "c") // short, for sockets; and a tmpfs of the test's own
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	c := &cluster{t: t, bin: weftBinary(t), dir: dir, args: args,
		http: &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 64, MaxConnsPerHost: 256}}}
	t.Cleanup(c.end)
	return c
}

// end ends all servers, and shows the ends of their logs if the test has failed.
func (c *cluster) end() {
	for _, m := range c.all {
		m.kill()
		if c.t.Failed() {
			b, _ := os.ReadFile(m.log)
			lines := strings.Split(string(b), "\n")
			c.t.Logf("the end of %s's log:\n%s", m.name, strings.Join(lines[max(0, len(lines)-25):], "\n"))
		}
	}
	c.http.CloseIdleConnections()
}

// member adds a server that does not run yet.
func (c *cluster) member() *member {
	name := fmt.Sprintf("s%d", len(c.all)+1)
	m := &member{c: c, name: name, addr: fmt.Sprintf("127.0.7.%d", len(c.all)+1),
		dir: filepath.Join(c.dir, name), log: filepath.Join(c.dir, name+".log")}
	m.args = append([]string{"--state-dir", m.dir, "--host", name, "--api-listen", m.addr + ":9696", "--identity", "none", "--quotas", "port=-1",
		"--feed-listen", m.addr + ":9697"}, c.args...)
	if len(c.args) == 0 {
		m.args = append(m.args, "--peer-listen", m.addr+":9698")
		m.env = []string{"WEFT_PEER_LISTEN=" + m.addr + ":9698"}
	}
	c.all = append(c.all, m)
	return m
}

// three is a cluster of three that serve.
func (c *cluster) three() []*member {
	c.t.Helper()
	first := c.member()
	first.start()
	first.awaitHealth()
	for range 2 {
		m := c.member()
		m.join(first)
		m.start()
		m.awaitHealth()
	}
	c.awaitRoles(3)
	return c.all
}

// weft runs a weft command with the settings of the server.
func (m *member) weft(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, m.c.bin, args...)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	cmd.Env = append(append(os.Environ(), "WEFT_API=http://"+m.addr+":9696", "WEFT_STATE_DIR="+m.dir, "WEFT_HOST="+m.name), m.env...)
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("weft %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(errOut.String()))
	}
	return out.String(), nil
}

func (m *member) mustWeft(args ...string) string {
	m.c.t.Helper()
	out, err := m.weft(args...)
	if err != nil {
		m.c.t.Fatal(err)
	}
	return out
}

// token has a running server make a token for another.
func (m *member) token() string {
	m.c.t.Helper()
	return strings.TrimSpace(m.mustWeft("server", "token", "--server"))
}

// tryJoin makes the machine a server beside of.
func (m *member) tryJoin(token string) error {
	_, err := m.weft(append([]string{"server", "join", token}, m.args...)...)
	return err
}

func (m *member) join(of *member) {
	m.c.t.Helper()
	if err := m.tryJoin(of.token()); err != nil {
		m.c.t.Fatal(err)
	}
}

// start starts the server; more are further arguments.
func (m *member) start(more ...string) {
	m.c.t.Helper()
	out, err := os.OpenFile(m.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		m.c.t.Fatal(err)
	}
	defer out.Close()
	m.cmd, m.done = exec.Command(m.c.bin, slices.Concat([]string{"server"}, m.args, more)...), make(chan struct{})
	m.cmd.Stdout, m.cmd.Stderr = out, out
	if err := m.cmd.Start(); err != nil {
		m.c.t.Fatal(err)
	}
	go func(cmd *exec.Cmd, done chan struct{}) { m.err = cmd.Wait(); close(done) }(m.cmd, m.done)
}

// signal is for SIGSTOP and SIGCONT.
func (m *member) signal(s syscall.Signal) { _ = m.cmd.Process.Signal(s) }

// kill is kill -9.
func (m *member) kill() {
	if m.cmd != nil {
		_ = m.cmd.Process.Kill()
		<-m.done
	}
}

// stop is SIGTERM, which must be clean.
func (m *member) stop() {
	m.c.t.Helper()
	m.signal(syscall.SIGTERM)
	select {
	case <-m.done:
		if m.err != nil {
			m.c.t.Errorf("%s after SIGTERM: %v", m.name, m.err)
		}
	case <-time.After(time.Minute):
		m.c.t.Fatalf("%s does not end within a minute of SIGTERM", m.name)
	}
}

// call sends a request to the server's API; in and out may be nil.
func (m *member) call(method, path string, in, out any) error {
	var b []byte
	var err error
	if in != nil {
		if b, err = json.Marshal(in); err != nil {
			return err
		}
	}
	req, err := http.NewRequest(method, "http://"+m.addr+":9696"+path, bytes.NewReader(b))
	if err != nil {
		return err
	}
	resp, err := m.c.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if b, err = io.ReadAll(resp.Body); err != nil {
		return err
	}
	if resp.StatusCode >= 300 {
		return statusError{resp.StatusCode, string(b)}
	}
	if out == nil || len(b) == 0 {
		return nil
	}
	return json.Unmarshal(b, out)
}

func (m *member) mustCall(method, path string, in, out any) {
	m.c.t.Helper()
	if err := m.call(method, path, in, out); err != nil {
		m.c.t.Fatalf("%s %s at %s: %v", method, path, m.name, err)
	}
}

// awaitHealth waits until a load balancer would send requests here.
func (m *member) awaitHealth() {
	m.c.t.Helper()
	m.c.await(m.name+" to be healthy", time.Minute, func() error {
		select {
		case <-m.done:
			m.c.t.Fatalf("%s ended: %v", m.name, m.err)
		default:
		}
		return m.call("GET", "/healthcheck", nil, nil)
	})
}

func (c *cluster) await(what string, limit time.Duration, f func() error) {
	c.t.Helper()
	limit *= patience
	for deadline := time.Now().Add(limit); ; time.Sleep(20 * time.Millisecond) {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("waited %s for %s: %v", limit, what, err)
		}
	}
}

// roles is what "weft server list" says of each server: leader, follower or learner.
func (m *member) roles() (map[string]string, error) {
	out, err := m.weft("server", "list")
	roles := map[string]string{}
	for i, line := range strings.Split(strings.TrimSpace(out), "\n") {
		if f := strings.Fields(line); i > 0 && len(f) > 3 {
			roles[f[0]] = f[2]
		}
	}
	return roles, err
}

// awaitRoles waits until there are n full members, and returns the leader.
func (c *cluster) awaitRoles(n int) (leader *member) {
	c.t.Helper()
	c.await(fmt.Sprint(n, " full members and a leader"), time.Minute, func() error {
		var said []string
		for _, m := range c.all {
			if m.cmd == nil {
				continue
			}
			select {
			case <-m.done:
				continue
			default:
			}
			roles, err := m.roles()
			if err != nil {
				return err
			}
			said = append(said, fmt.Sprint(roles))
			full := 0
			leader = nil
			for name, role := range roles {
				if role != "learner" {
					full++
				}
				if role == "leader" {
					leader = c.named(name)
				}
			}
			if full != n || leader == nil {
				return fmt.Errorf("%s says %v", m.name, roles)
			}
		}
		if len(slices.Compact(said)) != 1 {
			return fmt.Errorf("they disagree: %v", said)
		}
		return nil
	})
	return leader
}

func (c *cluster) named(name string) *member {
	for _, m := range c.all {
		if m.name == name {
			return m
		}
	}
	return nil
}

// network makes a network with a subnet at a server.
func (m *member) network(cidr string) string {
	m.c.t.Helper()
	var n struct{ Network struct{ ID string } }
	m.mustCall("POST", "/v2.0/networks", map[string]any{"network": map[string]any{"name": "net"}}, &n)
	m.mustCall("POST", "/v2.0/subnets", map[string]any{"subnet": map[string]any{"network_id": n.Network.ID, "ip_version": 4, "cidr": cidr}}, nil)
	return n.Network.ID
}

// portNames lists the names of a network's ports at a server.
func (m *member) portNames(network string) (map[string]bool, error) {
	var list struct{ Ports []struct{ Name string } }
	if err := m.call("GET", "/v2.0/ports?fields=name&network_id="+network, nil, &list); err != nil {
		return nil, err
	}
	names := map[string]bool{}
	for _, p := range list.Ports {
		names[p.Name] = true
	}
	return names, nil
}

// fsck is weft fsck against the etcd of a running server.
func (m *member) fsck() {
	m.c.t.Helper()
	if out, err := m.weft("fsck"); err != nil {
		m.c.t.Errorf("fsck at %s: %v\n%s", m.name, err, out)
	}
}

// writers make ports at servers without a pause until they are stopped, and remember which
// were acknowledged.
type writers struct {
	c       *cluster
	network string
	stopped chan struct{}
	wg      sync.WaitGroup

	mu     sync.Mutex
	acked  map[string]bool
	by     map[string]int           // acknowledged, by server
	failed map[string]int           // by server and error
	gap    map[string]time.Duration // longest time without an acknowledgement, by server
}

func (c *cluster) write(network string, each int, at ...*member) *writers {
	w := &writers{c: c, network: network, stopped: make(chan struct{}), acked: map[string]bool{}, by: map[string]int{}, failed: map[string]int{}, gap: map[string]time.Duration{}}
	for _, m := range at {
		for i := range each {
			w.wg.Go(func() { w.run(m, fmt.Sprintf("%s-%d-%d", m.name, i, time.Now().UnixNano())) })
		}
	}
	return w
}

func (w *writers) run(m *member, prefix string) {
	last := time.Now()
	for n := 0; ; n++ {
		select {
		case <-w.stopped:
			return
		default:
		}
		name := fmt.Sprintf("%s-%d", prefix, n)
		err := m.call("POST", "/v2.0/ports", map[string]any{"port": map[string]any{"network_id": w.network, "name": name}}, nil)
		w.mu.Lock()
		w.gap[m.name] = max(w.gap[m.name], time.Since(last))
		if err == nil {
			w.acked[name], last = true, time.Now()
			w.by[m.name]++
		} else {
			var s statusError
			why := "no answer"
			if errors.As(err, &s) {
				why = fmt.Sprint(s.Code)
			}
			w.failed[m.name+": "+why]++
		}
		w.mu.Unlock()
		if err != nil {
			time.Sleep(20 * time.Millisecond)
		}
	}
}

// stop stops the writers, says what came of it and checks that the servers have each port
// that was acknowledged.
func (w *writers) stop(what string, at ...*member) {
	w.c.t.Helper()
	close(w.stopped)
	w.wg.Wait()
	w.c.t.Logf("%s: %d ports acknowledged; failed: %v; longest time without an acknowledgement: %v", what, len(w.acked), w.failed, w.gap)
	for _, m := range at {
		names, err := m.portNames(w.network)
		if err != nil {
			w.c.t.Errorf("%s: %v", m.name, err)
			continue
		}
		lost := 0
		for name := range w.acked {
			if !names[name] {
				lost++
			}
		}
		if lost > 0 {
			w.c.t.Errorf("%s: %s lacks %d of %d acknowledged ports", what, m.name, lost, len(w.acked))
		}
	}
}

// TestServersGrow: a lone server becomes one of three without a request failing; what is
// written at one is read at the others at once; one that is removed ends and may come back.
func TestServersGrow(t *testing.T) {
	c := newCluster(t)
	first := c.member()
	first.start("--peer-listen=")
	first.awaitHealth()
	network := first.network("10.60.0.0/16")
	if roles, err := first.roles(); err != nil || len(roles) != 1 {
		t.Errorf("alone: %v, %v", roles, err)
	}
	lonely := c.member()
	if err := lonely.tryJoin(first.token()); err == nil || !strings.Contains(err.Error(), "set peer_listen there") {
		t.Errorf("join a server that nobody can reach: %v", err)
	}
	first.stop()
	first.start()
	first.awaitHealth()

	alone := first.medianGet(network)

	w := c.write(network, 2, first)
	used := first.token()
	began := time.Now()
	second, third := lonely, c.member()
	if err := second.tryJoin(used); err != nil {
		t.Fatal(err)
	}
	if err := third.tryJoin(used); err == nil || !strings.Contains(err.Error(), "token is unknown") {
		t.Errorf("join by a used token: %v", err)
	}
	if err := third.tryJoin(strings.TrimSpace(first.mustWeft("server", "token"))); err == nil || !strings.Contains(err.Error(), "not for a server") {
		t.Errorf("join by a host's token: %v", err)
	}
	// A machine that lost what it got joins again: its first try leaves nothing behind.
	os.RemoveAll(second.dir)
	second.join(first)
	second.start()
	second.awaitHealth()
	third.join(second)
	third.start()
	third.awaitHealth()
	leader := c.awaitRoles(3)
	t.Logf("from one to three in %s; %s leads", time.Since(began).Round(time.Millisecond), leader.name)
	w.stop("growing", c.all...)
	if len(w.failed) > 0 {
		t.Errorf("requests failed while servers joined: %v", w.failed)
	}
	c.readYourWrites(network)
	t.Logf("GET of a network: %s at a lone server; at three %s, %s, %s", alone, first.medianGet(network), second.medianGet(network), third.medianGet(network))
	if err := c.member().tryJoin(first.token()); err != nil {
		t.Error(err) // it never comes, and is in nobody's way
	}

	third.mustWeft("server", "remove", "https://127.0.7.4:9698")
	first.mustWeft("server", "remove", "s3")
	select {
	case <-third.done:
	case <-time.After(2 * time.Minute):
		t.Error("a removed server runs on")
	}
	c.awaitRoles(2)
	if err := third.tryJoin(first.token()); err == nil || !strings.Contains(err.Error(), "is a server already") {
		t.Errorf("join with a full state directory: %v", err)
	}
	os.RemoveAll(third.dir)
	third.join(second)
	third.start()
	third.awaitHealth()
	c.awaitRoles(3)
	third.fsck()
}

// medianGet is how long a small read takes.
func (m *member) medianGet(network string) time.Duration {
	m.c.t.Helper()
	var took []time.Duration
	for range 201 {
		began := time.Now()
		m.mustCall("GET", "/v2.0/networks/"+network, nil, nil)
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	return took[len(took)/2].Round(10 * time.Microsecond)
}

// readYourWrites writes at each server and reads at each other, at once.
func (c *cluster) readYourWrites(network string) {
	c.t.Helper()
	for i := range 60 {
		at, from := c.all[i%3], c.all[(i+1+i/3%2)%3]
		var p struct{ Port struct{ ID string } }
		at.mustCall("POST", "/v2.0/ports", map[string]any{"port": map[string]any{"network_id": network}}, &p)
		from.mustCall("GET", "/v2.0/ports/"+p.Port.ID, nil, nil)
		at.mustCall("DELETE", "/v2.0/ports/"+p.Port.ID, nil, nil)
		if err := from.call("GET", "/v2.0/ports/"+p.Port.ID, nil, nil); err == nil {
			c.t.Errorf("%s still has what %s deleted", from.name, at.name)
		}
	}
}
