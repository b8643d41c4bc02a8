package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// The large cloud: this many networks with this many ports each.
const (
	scaleNetworks = 1000
	scalePorts    = 100
)

// large is a large cloud, behind a `weft server` with the built-in identity and no host.
type large struct {
	*cloud
	networks []string
	ids      []string // of ports
	devices  []string
}

// benchScale measures a large cloud, as an administrator with a token.
func benchScale(ctx context.Context, o options, t *table) (err error) {
	l := &large{cloud: &cloud{base: "http://127.0.0.1:9696", http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 256, DisableCompression: true}}}}
	l.weft = o.weft
	if l.dir, err = os.MkdirTemp(o.dir, "weft-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(l.dir)
	if l.run, err = os.MkdirTemp("/run", "b"); err != nil {
		return err
	}
	if _, err := l.serve(ctx); err != nil {
		return err
	}
	defer l.end()
	if err := l.fill(); err != nil {
		return err
	}
	what := fmt.Sprintf(", %d,000 ports", scaleNetworks*scalePorts/1000)
	if err := l.measure(t, what); err != nil {
		return err
	}
	l.end()
	began, err := l.serve(ctx)
	if err != nil {
		return err
	}
	t.add("start to serving"+what, "", "<= 5 s", fmt.Sprintf("%.2f s", began.Seconds()), "")
	kb := 0.0
	for range 6 { // the collector gives back what the start took
		time.Sleep(5 * time.Second)
		if kb, err = pss(l.cmd.Process.Pid); err != nil {
			return err
		}
	}
	t.add("memory after a start"+what, "", "<= 1 GB", fmt.Sprintf("%.0f MB PSS", kb/1024), "30 s after it")
	return nil
}

// serve starts the server and returns how long it took until it answered.
func (l *large) serve(ctx context.Context) (time.Duration, error) {
	log, err := os.OpenFile(filepath.Join(l.run, "weft.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, err
	}
	defer log.Close()
	bin, err := filepath.Abs(l.weft)
	if err != nil {
		return 0, err
	}
	l.cmd = exec.Command(bin, "server", "--state-dir", l.dir, "--host", "bench", "--identity", "builtin",
		"--quotas", "network=-1,subnet=-1,port=-1")
	l.cmd.Stdout, l.cmd.Stderr = log, log
	began := time.Now()
	if err := l.cmd.Start(); err != nil {
		return 0, err
	}
	for ctx.Err() == nil && time.Since(began) < time.Minute {
		if l.logIn() == nil && l.call("GET", "/v2.0/ports?limit=1", nil, nil) == nil {
			return time.Since(began), nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return 0, fmt.Errorf("weft server does not come up\n%s", l.logTail())
}

// logIn gets a token for the administrator that the first start has made.
func (l *large) logIn() error {
	password, err := os.ReadFile(filepath.Join(l.dir, "admin-password"))
	if err != nil {
		return err
	}
	body, err := json.Marshal(m{"auth": m{
		"identity": m{"methods": []string{"password"}, "password": m{"user": m{
			"name": "admin", "domain": m{"id": "default"}, "password": strings.TrimSpace(string(password))}}},
		"scope": m{"project": m{"name": "admin", "domain": m{"id": "default"}}}}})
	if err != nil {
		return err
	}
	resp, err := l.http.Post("http://127.0.0.1:5000/v3/auth/tokens", "application/json", bytes.NewReader(body))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if l.token = resp.Header.Get("X-Subject-Token"); l.token == "" {
		return fmt.Errorf("no token: %s", resp.Status)
	}
	return nil
}

func (l *large) end() {
	if l.cmd.ProcessState == nil {
		_ = l.cmd.Process.Signal(syscall.SIGTERM)
		_ = l.cmd.Wait()
	}
}

// fill makes the cloud, in bulk.
func (l *large) fill() error {
	began := time.Now()
	for range scaleNetworks / 100 {
		var made struct{ Networks []struct{ ID string } }
		if err := l.call("POST", "/v2.0/networks", m{"networks": many(100, func(int) m { return m{} })}, &made); err != nil {
			return err
		}
		subnets := many(100, func(i int) m {
			return m{"network_id": made.Networks[i].ID, "ip_version": 4, "cidr": "10.0.0.0/22"}
		})
		if err := l.call("POST", "/v2.0/subnets", m{"subnets": subnets}, nil); err != nil {
			return err
		}
		for _, n := range made.Networks {
			l.networks = append(l.networks, n.ID)
		}
	}
	for i, n := range l.networks {
		var made struct {
			Ports []struct {
				ID       string
				DeviceID string `json:"device_id"`
			}
		}
		ports := many(scalePorts, func(j int) m {
			return m{"network_id": n, "name": fmt.Sprintf("port-%d-%d", i, j), "device_id": fmt.Sprintf("vm-%d-%d", i, j), "device_owner": "compute:nova"}
		})
		if err := l.call("POST", "/v2.0/ports", m{"ports": ports}, &made); err != nil {
			return err
		}
		for _, p := range made.Ports {
			l.ids, l.devices = append(l.ids, p.ID), append(l.devices, p.DeviceID)
		}
		if i%200 == 199 {
			fmt.Fprintf(os.Stderr, "bench: %d ports made in %s\n", len(l.ids), time.Since(began).Round(time.Second))
		}
	}
	return nil
}

func many(n int, one func(int) m) []m {
	list := make([]m, n)
	for i := range list {
		list[i] = one(i)
	}
	return list
}

func pick(list []string) string { return list[rand.IntN(len(list))] }

func (l *large) measure(t *table, what string) error {
	for _, c := range []struct {
		name, reach string
		clients, n  int
		one         func() error
	}{
		{"POST /ports, 16 clients", "p99 <= 5 ms", 16, 8000, func() error { _, err := l.port(pick(l.networks), nil); return err }},
		{"GET /ports/ID", "p99 <= 1 ms", 1, 5000, func() error { return l.call("GET", "/v2.0/ports/"+pick(l.ids), nil, nil) }},
		{"GET /ports?network_id=, 100 ports", "p99 <= 2 ms", 1, 2000, func() error { return l.call("GET", "/v2.0/ports?network_id="+pick(l.networks), nil, nil) }},
		{"GET /ports?device_id=", "p99 <= 1 ms", 1, 5000, func() error { return l.call("GET", "/v2.0/ports?device_id="+pick(l.devices), nil, nil) }},
		{"GET /ports?limit=100&marker=", "p99 <= 2 ms", 1, 2000, func() error { return l.call("GET", "/v2.0/ports?limit=100&marker="+pick(l.ids), nil, nil) }},
		{"POST /v3/auth/tokens, by password", "", 1, 20, l.logIn},
	} {
		d, err := together(c.clients, c.n, c.one)
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		t.add(c.name+what, "", c.reach, "p99 "+ms(d.at(99)), "p50 "+ms(d.at(50)))
	}
	return nil
}

// together runs f n times by several clients at once.
func together(clients, n int, f func() error) (durations, error) {
	var mu sync.Mutex
	var all durations
	var failed error
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			d, err := repeat(n/clients, f)
			mu.Lock()
			defer mu.Unlock()
			all = append(all, d...)
			if err != nil {
				failed = err
			}
		})
	}
	wg.Wait()
	return all, failed
}
