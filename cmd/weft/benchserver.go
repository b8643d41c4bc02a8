package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"weft/internal/feed"
	"weft/internal/model"
	"weft/internal/store"
)

// benchServer is a server in a process of its own.
type benchServer struct {
	name, dir, api, feed string
	http                 *http.Client
	cmd                  *exec.Cmd
	done                 chan struct{}
	// asked is when it was told to stop.
	asked time.Time

	mu  sync.Mutex
	pss int // the most seen, in kB
}

func (b *bench) certDir() string { return filepath.Join(b.dir, "tls") }

// stateDir is that of the only server; the external etcd takes it over.
func (b *bench) stateDir() string { return filepath.Join(b.dir, "s0") }

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// startServer starts a server of this binary and waits until it answers.
func (b *bench) startServer(ctx context.Context, name string, args ...string) (*benchServer, error) {
	s := &benchServer{name: name, dir: filepath.Join(b.dir, name), done: make(chan struct{}),
		http: &http.Client{Timeout: time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: 256}}}
	var err error
	if s.api, err = freeAddress(); err != nil {
		return nil, err
	}
	if s.feed, err = freeAddress(); err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	logDir := b.keep
	if logDir == "" {
		logDir = b.dir
	}
	log, err := os.Create(filepath.Join(logDir, name+".log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	// Not of this machine's settings, and without identity: nobody else can reach it.
	empty := filepath.Join(b.dir, "weft.yaml")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		return nil, err
	}
	s.cmd = exec.Command(self, append([]string{"server", "--config", empty, "--host", name, "--state-dir", s.dir, "--cert-dir", b.certDir(),
		"--identity", "none", "--api-listen", s.api, "--feed-listen", s.feed, "--log-level", "info"}, args...)...)
	s.cmd.Stdout, s.cmd.Stderr = log, log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { _ = s.cmd.Wait(); close(s.done) }()
	go s.watchPSS()
	for limit := time.Now().Add(time.Minute); ; {
		if s.call(ctx, "GET", "/v2.0/networks?limit=1", nil, nil) == nil {
			return s, nil
		}
		select {
		case <-s.done:
			text, _ := os.ReadFile(log.Name())
			return nil, fmt.Errorf("server %s did not start:\n%s", name, text)
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), s.kill())
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(limit) {
			return nil, errors.Join(fmt.Errorf("server %s does not answer", name), s.kill())
		}
	}
}

func (s *benchServer) kill() error {
	select {
	case <-s.done:
		return nil
	default:
	}
	err := s.cmd.Process.Kill()
	<-s.done
	return err
}

// stop ends the server in order; one that has ended is left alone.
func (s *benchServer) stop() error {
	select {
	case <-s.done:
		return nil
	default:
	}
	s.asked = time.Now()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-s.done:
		return nil
	case <-time.After(30 * time.Second):
		return errors.Join(fmt.Errorf("server %s did not stop", s.name), s.kill())
	}
}

// call makes a request of the API; out may be nil.
func (s *benchServer) call(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://"+s.api+path, body)
	if err != nil {
		return err
	}
	resp, err := s.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, text)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(text, out)
}

// active counts the ports that are ACTIVE, those of DHCP aside.
func (s *benchServer) active(ctx context.Context) (int, error) {
	var list struct {
		Ports []struct {
			Owner string `json:"device_owner"`
		} `json:"ports"`
	}
	err := s.call(ctx, "GET", "/v2.0/ports?status=ACTIVE&fields=device_owner", nil, &list)
	n := 0
	for _, p := range list.Ports {
		if p.Owner != model.OwnerDHCP {
			n++
		}
	}
	return n, err
}

// watchPSS samples the server's memory as long as it lives.
func (s *benchServer) watchPSS() {
	tick := time.NewTicker(2 * time.Second) // the kernel walks through all of it
	defer tick.Stop()
	for {
		if n, err := pssOf(s.cmd.Process.Pid); err == nil {
			s.mu.Lock()
			s.pss = max(s.pss, n)
			s.mu.Unlock()
		}
		select {
		case <-s.done:
			return
		case <-tick.C:
		}
	}
}

func (s *benchServer) mostPSS() (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pss == 0 {
		return 0, errors.New("the kernel does not say how much memory the server has")
	}
	return s.pss, nil
}

func pssOf(pid int) (int, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "Pss:"); ok {
			return strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(rest), " kB"))
		}
	}
	return 0, errors.New("no Pss")
}

// cpu is the processor time that the server has used.
func (s *benchServer) cpu() time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond // a hundredth of a second on Linux, always
}

func ownCPU() time.Duration {
	var r unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &r) != nil {
		return 0
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// profileTo profiles this process, if a file is named, until the returned function is called.
func profileTo(file string) (stop func(), err error) {
	if file == "" {
		return func() {}, nil
	}
	f, err := os.Create(file)
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() { pprof.StopCPUProfile(); _ = f.Close() }, nil
}

// startEtcd runs an etcd in this process on what the first server has stored.
func (b *bench) startEtcd(ctx context.Context) (*store.EmbeddedEtcd, error) {
	return store.Embedded(ctx, store.EmbeddedConfig{Dir: b.stateDir()})
}

type benchNetwork struct{ id, subnet, project string }

// fill makes the cloud: networks of one project each, ports on all of them, most bound.
func (b *bench) fill(ctx context.Context, s *benchServer) error {
	b.say("%d networks", b.networks)
	for i := range b.networks {
		project := fmt.Sprintf("%032x", i+1)
		var n struct{ Network struct{ ID string } }
		if err := s.call(ctx, "POST", "/v2.0/networks", map[string]any{"network": map[string]any{"name": fmt.Sprint("net-", i), "project_id": project}}, &n); err != nil {
			return err
		}
		var sn struct{ Subnet struct{ ID string } }
		if err := s.call(ctx, "POST", "/v2.0/subnets", map[string]any{"subnet": map[string]any{"network_id": n.Network.ID, "project_id": project,
			"ip_version": 4, "cidr": fmt.Sprintf("10.%d.%d.0/24", i/250, i%250)}}, &sn); err != nil {
			return err
		}
		b.nets = append(b.nets, benchNetwork{n.Network.ID, sn.Subnet.ID, project})
	}
	b.say("%d ports", b.ports)
	made := 0
	for made < b.ports {
		var want []any
		for made+len(want) < b.ports && len(want) < 100 {
			k := made + len(want)
			n := b.nets[k%b.networks]
			p := map[string]any{"network_id": n.id, "project_id": n.project, "device_owner": "compute:nova", "device_id": fmt.Sprintf("vm-%d", k)}
			if k >= b.storm { // those of the storm come first, one by one on all networks
				p["binding:host_id"] = b.hostName(b.networkHosts() + (k*104729)%(b.hosts-b.networkHosts()))
			}
			want = append(want, p)
		}
		var got struct{ Ports []struct{ ID string } }
		if err := s.call(ctx, "POST", "/v2.0/ports", map[string]any{"ports": want}, &got); err != nil {
			return err
		}
		for _, p := range got.Ports {
			if made < b.storm {
				b.free = append(b.free, p.ID)
			} else {
				b.bound = append(b.bound, p.ID)
			}
			made++
		}
	}
	return nil
}

// benchVTEP is the tunnel address of a host.
func benchVTEP(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 255, byte(i >> 8), byte(i)}) }

// cloudView is the store as the server's etcd has it, read beside it.
type cloudView struct {
	store *store.Store
	close func()
}

func openView(ctx context.Context, dir string) (*cloudView, error) {
	endpoint, ok := store.EmbeddedEndpoint(dir)
	if !ok {
		return nil, errors.New("the server's etcd cannot be reached")
	}
	c, err := externalEtcd(Config{EtcdEndpoints: []string{endpoint}})
	if err != nil {
		return nil, err
	}
	st, err := store.Open(ctx, c.client, store.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, errors.Join(err, c.close())
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() { defer close(done); _ = st.Run(ctx) }()
	v := &cloudView{store: st, close: func() { cancel(); <-done; _ = c.close() }}
	select {
	case <-st.Ready():
		return v, nil
	case <-ctx.Done():
		v.close()
		return nil, ctx.Err()
	}
}

// hostsOf are the hosts that need a port: those with a port on its network.
func (v *cloudView) hostsOf(id model.PortID) (hosts []model.HostName) {
	v.store.View(func(r store.Reader) {
		if e := r.Port(id); e != nil {
			hosts = slices.Clone(r.HostsOf(e.Value.NetworkID))
		}
	})
	return hosts
}

// bytes is the size of all that hosts may be told, as the feed would send it.
func (v *cloudView) bytes() (n int) {
	add := func(noun any) {
		b, _ := json.Marshal(noun) // it was decoded from JSON
		n += len(b) + 50
	}
	v.store.View(func(r store.Reader) {
		for e := range r.Networks() {
			add(e.Value)
		}
		for e := range r.Subnets() {
			add(e.Value)
		}
		for e := range r.Ports() {
			add(e.Value)
		}
		for e := range store.SecurityGroups.All(r) {
			add(feed.GroupOf(r, e.Value.ID))
		}
	})
	return n
}
