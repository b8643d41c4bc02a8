// This takes minutes, so make test leaves it out: make soak-streams.

//go:build soak

package test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"weft/internal/inspect"
	"weft/internal/lab"
)

const (
	// soakStreamsVar says how long TestStreamsEndure takes; without it there is no such test.
	soakStreamsVar = "WEFT_SOAK_STREAMS"
	// soakGuests are there all the time, and ask for their address again and again.
	soakGuests = 3
	// streamSilent is how long a stream may be silent about a guest that asks every few seconds.
	streamSilent = time.Minute
	// warmUp is how long processes may grow: caches fill, and Go keeps what it has had.
	warmUp = 4 * time.Minute
)

// soak is a server, and a host whose agent does everything, with clients good and bad.
type soak struct {
	*manyHosts
	guests  []*guest
	streams []*steady
	// opened counts the streams of each kind of client that does not behave.
	opened [3]atomic.Int64
	failed atomic.Pointer[error]
}

// fail notes what has gone wrong first.
func (s *soak) fail(format string, args ...any) {
	err := fmt.Errorf(format, args...)
	s.failed.CompareAndSwap(nil, &err)
}

// steady is a client that reads a stream, and opens it again when it ends.
type steady struct {
	url  string
	last atomic.Int64 // when there was something, in Unix nanoseconds
	ends atomic.Int64
}

// Streams that go on for hours, of clients that read, that vanish, that fall silent and that never read, while ports come
// and go and the agent is restarted: nothing may grow, and no stream may cease to deliver.
func TestStreamsEndure(t *testing.T) {
	d, err := time.ParseDuration(os.Getenv(soakStreamsVar))
	if err != nil {
		t.Fatalf("%s says how long: %v", soakStreamsVar, err)
	}
	s := &soak{manyHosts: newManyHosts(t, []lab.NodeSpec{{Name: "controller", Server: true}, {Name: "host", Roles: "compute, network"}}, "metrics_listen: :9480")}
	network := s.network("soak", "10.80.0.0/16")
	for i := range soakGuests {
		g := s.guestOn("host", network, fmt.Sprintf("soak-%d", i), nil)
		s.getsAddress(g)
		s.guests = append(s.guests, g)
	}
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	var all sync.WaitGroup
	for _, g := range s.guests {
		for _, path := range []string{inspect.LivePath + "?q=" + g.ID, inspect.FollowPath + "?q=" + g.ID, inspect.CapturePath + "?q=" + g.ID + "&filter=udp%20port%2067%20or%2068"} {
			c := &steady{url: s.url + path}
			c.last.Store(time.Now().UnixNano())
			s.streams = append(s.streams, c)
			all.Go(func() { c.read(ctx) })
		}
	}
	all.Go(func() { s.every(ctx, 3*time.Second, s.renew) })
	all.Go(func() { s.every(ctx, 2*time.Second, func(n int) error { return s.portComesAndGoes(ctx, network, n) }) })
	all.Go(func() { s.every(ctx, 5*time.Second, func(n int) error { return s.misbehave(ctx, n) }) })
	all.Go(func() { s.every(ctx, 150*time.Second, s.restartAgent) })
	s.watch(ctx)
	if cause := s.failed.Load(); cause != nil {
		t.Error(*cause)
	}
	cancel()
	all.Wait()
	s.stopsAtOnce(d)
}

// every does something again and again.
func (s *soak) every(ctx context.Context, d time.Duration, f func(n int) error) {
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-time.After(d):
		}
		if err := f(n); err != nil && ctx.Err() == nil {
			s.fail("%w", err)
			return
		}
	}
}

// read reads the stream until ctx ends.
func (c *steady) read(ctx context.Context) {
	for ; ctx.Err() == nil; c.ends.Add(1) {
		c.once(ctx)
		select {
		case <-ctx.Done():
		case <-time.After(500 * time.Millisecond):
		}
	}
}

func (c *steady) once(ctx context.Context) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url, nil)
	if err != nil {
		return
	}
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		return
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	for resp.StatusCode == http.StatusOK && lines.Scan() {
		// What says that nothing has happened does not count.
		if t := lines.Text(); t != "" && !strings.HasPrefix(t, ":") {
			c.last.Store(time.Now().UnixNano())
		}
	}
}

// renew has a guest ask for its address. While the agent is restarted nobody answers.
func (s *soak) renew(n int) error {
	_, _ = s.udhcpc(s.guests[n%len(s.guests)].Name)
	return nil
}

// portComesAndGoes: a port is made, plugged, watched for a moment, unplugged and deleted.
func (s *soak) portComesAndGoes(ctx context.Context, network string, n int) error {
	var p struct{ Port port }
	if err := s.call("POST", "/v2.0/ports", m{"port": m{"network_id": network, "name": fmt.Sprintf("passing-%d", n)}}, &p); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for _, path := range []string{inspect.LivePath, inspect.FollowPath} {
		go (&steady{url: s.url + path + "?q=" + p.Port.ID}).once(ctx)
	}
	h := s.Node("host")
	_, err := h.Weft("plug", p.Port.ID, "--wait", "60s")
	if err == nil {
		_, err = h.Weft("unplug", p.Port.ID)
	}
	return errors.Join(err, s.call("DELETE", "/v2.0/ports/"+p.Port.ID, nil, nil))
}

// misbehave opens a stream and does not do with it what is expected: it resets the connection, vanishes from the network, or never reads.
func (s *soak) misbehave(ctx context.Context, n int) error {
	kind := n % 3
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP("192.168.0.1")}, Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { _ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096) }) // so that it is full soon
	}}
	silent := fmt.Sprintf("192.168.0.%d", 50+n/3%200)
	if kind == 1 {
		if err := exec.Command("ip", "addr", "add", silent+"/32", "dev", lab.Management).Run(); err != nil {
			return fmt.Errorf("ip addr add %s: %w", silent, err)
		}
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(silent)}
	}
	conn, err := d.DialContext(ctx, "tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		return err
	}
	path := [...]string{inspect.LivePath, inspect.FollowPath, inspect.CapturePath, "/v2.0/ports"}[n/3%4]
	if _, err := fmt.Fprintf(conn, "GET %s?q=%s HTTP/1.1\r\nHost: weft\r\n\r\n", path, s.guests[n%len(s.guests)].ID); err != nil {
		return err
	}
	s.opened[kind].Add(1)
	if _, err := io.ReadFull(conn, make([]byte, 12)); err != nil { // "HTTP/1.1 200"
		return fmt.Errorf("a client that is to misbehave: %s: %w", path, err)
	}
	switch kind {
	case 0:
		return errors.Join(conn.(*net.TCPConn).SetLinger(0), conn.Close())
	case 1:
		// Without its address neither end hears of the other any more.
		err := exec.Command("ip", "addr", "del", silent+"/32", "dev", lab.Management).Run()
		return errors.Join(err, conn.(*net.TCPConn).SetLinger(0), conn.Close())
	}
	context.AfterFunc(ctx, func() { conn.Close() })
	return nil
}

// restartAgent kills the agent or stops it, and starts it again.
func (s *soak) restartAgent(n int) error {
	h := s.Node("host")
	if n%2 == 0 {
		h.Agent.Kill()
	} else if err := h.Agent.Stop(); err != nil {
		return err
	}
	return h.StartAgent()
}

// figures are what a process says of itself.
type figures struct {
	goroutines, heap, files, live, follow, capture float64
}

// read asks a process for its metrics; the heap is the least of some moments, which is nearest to what is in use.
func (s *soak) figures(n *lab.Node) (f figures, err error) {
	for i := range 5 {
		resp, err := s.http.Get(fmt.Sprintf("http://%s:9480/metrics", n.IP))
		if err != nil {
			return f, err
		}
		b, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			return f, err
		}
		text := string(b)
		heap := metric(text, "go_memstats_heap_alloc_bytes") / (1 << 20)
		if i == 0 || heap < f.heap {
			f.heap = heap
		}
		f.goroutines, f.files = metric(text, "go_goroutines"), metric(text, "process_open_fds")
		f.live, f.follow, f.capture = metric(text, `weft_streams{kind="live"}`), metric(text, `weft_streams{kind="follow"}`), metric(text, `weft_streams{kind="capture"}`)
		if !n.Spec.Server {
			f.capture = metric(text, "weft_captures")
		}
		time.Sleep(time.Second)
	}
	return f, nil
}

// watch prints each minute how things are, and judges them, until ctx ends or something has failed.
func (s *soak) watch(ctx context.Context) {
	began, most := time.Now(), map[string]figures{}
	fmt.Println("time   process     goroutines  heap MB  files  live  follow  capture  reset silent unread  streams ended")
	for minute := 1; ctx.Err() == nil && s.failed.Load() == nil; minute++ {
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Until(began.Add(time.Duration(minute) * time.Minute))):
		}
		for _, n := range s.Nodes {
			var f figures
			err := lab.Await(ctx, "the metrics of "+n.Name, 20*time.Second, func() (err error) { f, err = s.figures(n); return err })
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				s.fail("%w", err)
				return
			}
			ends := int64(0)
			for _, c := range s.streams {
				ends += c.ends.Load()
			}
			fmt.Printf("%-6s %-10s  %10.0f  %7.1f  %5.0f  %4.0f  %6.0f  %7.0f  %5d %6d %6d  %d\n", time.Since(began).Round(time.Second), n.Name, f.goroutines, f.heap, f.files, f.live, f.follow, f.capture,
				s.opened[0].Load(), s.opened[1].Load(), s.opened[2].Load(), ends)
			s.judge(n.Name, f, most, time.Since(began))
		}
		for _, c := range s.streams {
			if silent := time.Since(time.Unix(0, c.last.Load())); silent > streamSilent {
				s.fail("%s has delivered nothing for %s", c.url, silent.Round(time.Second))
			}
		}
	}
}

// judge holds figures to those of the time when everything had been done once.
func (s *soak) judge(name string, f figures, most map[string]figures, age time.Duration) {
	was := most[name]
	if age <= warmUp {
		most[name] = figures{goroutines: max(was.goroutines, f.goroutines), heap: max(was.heap, f.heap), files: max(was.files, f.files)}
		return
	}
	for _, c := range []struct {
		what         string
		is, was, may float64
	}{
		{"goroutines", f.goroutines, was.goroutines, 1.3*was.goroutines + 50},
		{"MB of heap", f.heap, was.heap, 1.5*was.heap + 20},
		{"open files", f.files, was.files, 1.3*was.files + 20},
	} {
		if c.is > c.may {
			s.fail("after %s %s has %.0f %s; after %s it had %.0f", age.Round(time.Second), name, c.is, c.what, warmUp, c.was)
		}
	}
}

// stopsAtOnce: a server with all kinds of streams open ends within seconds.
func (s *soak) stopsAtOnce(d time.Duration) {
	ctx, cancel := context.WithCancel(s.t.Context())
	defer cancel()
	for _, c := range s.streams {
		go c.once(ctx)
	}
	for n := range 9 {
		s.must(s.misbehave(ctx, n))
	}
	server := s.Node("controller").Server
	began := time.Now()
	s.must(server.Stop())
	took := time.Since(began)
	fmt.Printf("after %s the server stops with streams open in %s\n", d, took.Round(time.Millisecond))
	if took > 8*time.Second {
		s.t.Errorf("the server took %s to stop", took)
	}
}
