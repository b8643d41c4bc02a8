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
	"strings"
	"sync"
	"testing"
	"time"

	"weft/internal/lab/labtest"
	"weft/internal/trace"
)

// said is what a program has said until now.
type said struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (s *said) Write(p []byte) (int, error) { s.mu.Lock(); defer s.mu.Unlock(); return s.buf.Write(p) }

func (s *said) String() string { s.mu.Lock(); defer s.mu.Unlock(); return s.buf.String() }

// running is a weft command under way.
type running struct {
	h        *host
	cmd      *exec.Cmd
	out, err said
	done     chan struct{}
	failure  error
}

// begin starts a weft command that goes on until interrupt, or by itself ends.
func (h *host) begin(args ...string) *running {
	h.t.Helper()
	r := &running{h: h, cmd: exec.Command(h.bin, args...), done: make(chan struct{})}
	r.cmd.Env = append(os.Environ(), "WEFT_HOST="+hostName, "WEFT_STATE_DIR="+filepath.Join(h.dir, "state"))
	r.cmd.Stdout, r.cmd.Stderr = &r.out, &r.err
	h.must(r.cmd.Start())
	go func() { r.failure = r.cmd.Wait(); close(r.done) }()
	h.t.Cleanup(func() { _ = r.cmd.Process.Kill(); <-r.done })
	return r
}

// interrupt is Ctrl-C.
func (r *running) interrupt() { _ = r.cmd.Process.Signal(sigint) }

// end waits for the end of a command, which must be well.
func (r *running) end() (out, said string) {
	r.h.t.Helper()
	select {
	case <-r.done:
	case <-time.After(2 * time.Minute):
		r.h.t.Fatalf("%s does not end", r.cmd)
	}
	if r.failure != nil {
		r.h.t.Errorf("%s: %v\n%s%s", r.cmd, r.failure, &r.out, &r.err)
	}
	return r.out.String(), r.err.String()
}

// logged counts lines of weft's log that have all the words.
func (h *host) logged(words ...string) (n int) {
	b, err := os.ReadFile(h.log)
	h.must(err)
next:
	for line := range strings.Lines(string(b)) {
		for _, w := range words {
			if !strings.Contains(line, w) {
				continue next
			}
		}
		n++
	}
	return n
}

// capture begins weft capture and waits until the host listens.
func (h *host) capture(args ...string) *running {
	h.t.Helper()
	before := h.logged("capture begins", "device=")
	r := h.begin(append([]string{"capture"}, args...)...)
	h.await("the capture to begin", 20*time.Second, func() error {
		// One line is the agent's and one the server's.
		select {
		case <-r.done:
			h.t.Fatalf("%s: %v\n%s", r.cmd, r.failure, &r.err)
		default:
		}
		if n := h.logged("capture begins", "device="); n < before+2 {
			return fmt.Errorf("%d lines", n)
		}
		return nil
	})
	return r
}

// noCapture waits until nothing is listened to any more.
func (h *host) noCapture() {
	h.t.Helper()
	h.await("all captures to end", 20*time.Second, func() error {
		b, err := os.ReadFile("/proc/net/packet")
		if err != nil {
			return err
		}
		begun, ended := h.logged("msg=\"capture begins\""), h.logged("msg=\"capture ends\"")
		if begun != ended {
			return fmt.Errorf("%d have begun, %d ended; sockets:\n%s", begun, ended, b)
		}
		return nil
	})
}

// tcpdumpReads is what tcpdump finds in a file.
func (h *host) tcpdumpReads(file string) string {
	h.t.Helper()
	out, err := exec.Command("tcpdump", "-Z", "root", "-nn", "-v", "-r", file).CombinedOutput()
	if err != nil {
		h.t.Fatalf("tcpdump -r: %v: %s", err, out)
	}
	return string(out)
}

// Packets of a port are printed and saved, wherever its device is; a capture ends when it should, and
// at once.
func TestCapture(t *testing.T) {
	labtest.Require(t, "tcpdump", "busybox")
	h := newHost(t)
	h.up()
	network := h.network("net", "10.20.0.0/24")
	h.newPort(network, "vm", m{"binding:host_id": hostName})
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"nobody"}, "no port has"},
		{[]string{"vm"}, "nothing is plugged for the port"},
		{[]string{"vm", "prot", "67"}, `"prot"`},
		{[]string{"vm", "--for", "2h"}, "no time up to 1h0m0s"},
	} {
		if _, err := h.weft(append([]string{"capture"}, c.args...)...); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("weft capture %q: %v, want %s", c.args, err, c.want)
		}
	}
	h.namespace("vm")
	h.mustWeft("plug", "vm", "--netns", "vm")
	dhcp := h.dhcpPort(network)

	file := filepath.Join(h.dir, "vm.pcap")
	atGuest := h.capture("vm", "-w", file, "-c", "4", "udp", "port", "67", "or", "68")
	atService := h.capture(dhcp, "-o", "json", "udp port 67 or 68")
	printed := h.capture("vm", "ether host "+h.port(h.portNamed("vm")).MAC+" and (arp or udp port 67 or udp port 68)")
	// Whatever is sent twice is one packet more.
	if _, err := h.udhcpc("vm", "-T", "60"); err != nil {
		t.Fatal(err)
	}
	_, said := atGuest.end()
	if !strings.Contains(said, "4 packets, and 0 for which there was no room") {
		t.Errorf("it says %s", said)
	}
	read := h.tcpdumpReads(file)
	for _, want := range []string{"Discover", "Offer", "Request", "ACK", "10.20.0."} {
		if !strings.Contains(read, want) {
			t.Errorf("tcpdump finds no %s in\n%s", want, read)
		}
	}
	for _, r := range []*running{atService, printed} {
		h.await("the exchange", 20*time.Second, func() error {
			if r == printed {
				return has(r.out.String(), "DISCOVER", "OFFER", "REQUEST", "ACK")
			}
			if n := strings.Count(r.out.String(), `"packet"`); n < 4 {
				return fmt.Errorf("%d packets at the service", n)
			}
			return nil
		})
		r.interrupt()
		out, _ := r.end()
		if r == printed && (!strings.Contains(out, " from IP 0.0.0.0.68 > 255.255.255.255.67: DHCP DISCOVER from fa:16:3e") || !strings.Contains(out, " to   IP")) {
			t.Errorf("directions in\n%s", out)
		}
	}
	h.linesOf(atService.out.String())
	h.noCapture()

	// A client that is killed is noticed by the host, far before its patience ends.
	h.must(h.capture("vm").cmd.Process.Kill())
	began := time.Now()
	h.noCapture()
	if took := time.Since(began); took > 25*time.Second {
		t.Errorf("the host listened for %s to nobody", took)
	}
	if out, said := h.begin("capture", "vm", "--for", "100ms", "arp and icmp").end(); out != "" || !strings.Contains(said, "0 packets") || !strings.Contains(said, "the time is over") {
		t.Errorf("%q %q", out, said)
	}
	h.pcapByHTTP()
	h.overReboots()
	h.noCapture()
}

// overReboots: the device goes and comes, and the capture goes on with it until the port is deleted.
func (h *host) overReboots() {
	h.t.Helper()
	r := h.capture("vm", "udp port 67 or 68")
	for i := range 2 {
		h.mustWeft("unplug", "vm")
		h.await("the device to be missed", 20*time.Second, func() error { return h.saidOften("capture waits for a device", i+1) })
		h.mustWeft("plug", "vm", "--netns", "vm")
		h.await("the capture to go on", 20*time.Second, func() error { return h.saidOften("capture goes on", i+1) })
		if _, err := h.udhcpc("vm"); err != nil {
			h.t.Fatal(err)
		}
	}
	id := h.portNamed("vm")
	h.mustWeft("unplug", "vm")
	h.must(h.call("DELETE", "/v2.0/ports/"+id, nil, nil))
	out, said := r.end()
	if strings.Count(said, "is gone; the capture goes on when") < 2 || strings.Count(said, "again; the capture goes on") < 2 || !strings.Contains(said, "the port is deleted") {
		h.t.Errorf("it says %s", said)
	}
	if n := strings.Count(out, "DHCP DISCOVER"); n < 2 {
		h.t.Errorf("%d DISCOVERs after two boots:\n%s", n, out)
	}
}

func (h *host) saidOften(text string, n int) error {
	if got := h.logged(text); got < n {
		return fmt.Errorf("said %d times, not %d", got, n)
	}
	return nil
}

// linesOf checks the lines of a capture at the DHCP service.
func (h *host) linesOf(text string) {
	h.t.Helper()
	d, from, to := json.NewDecoder(strings.NewReader(text)), 0, 0
	for {
		var l trace.CaptureLine
		if err := d.Decode(&l); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			h.t.Fatalf("%v in %s", err, text)
		}
		switch {
		case l.Begin != nil && !strings.HasPrefix(l.Begin.Namespace, "qdhcp-"):
			h.t.Errorf("begins %+v", l.Begin)
		case l.Packet != nil && l.Packet.FromPort:
			from++
		case l.Packet != nil:
			to++
		}
	}
	if from < 2 || to < 2 {
		h.t.Errorf("the service sends %d and gets %d of DHCP:\n%s", from, to, text)
	}
}

// pcapByHTTP: without weft's own client a capture is a file.
func (h *host) pcapByHTTP() {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", apiURL+"/weft/v1/capture?q=vm&format=pcap&count=1&snap=64", nil)
	h.must(err)
	resp, err := http.DefaultClient.Do(req)
	h.must(err)
	defer resp.Body.Close()
	_ = exec.CommandContext(ctx, "ip", "netns", "exec", "vm", "busybox", "arping", "-c", "1", "-w", "1", "-I", "eth0", "10.20.0.99").Run() // nobody answers
	b, err := io.ReadAll(resp.Body)
	h.must(err)
	file := filepath.Join(h.dir, "http.pcap")
	h.must(os.WriteFile(file, b, 0o600))
	h.tcpdumpReads(file)
}

// portNamed is the ID of the port of a name.
func (h *host) portNamed(name string) string {
	h.t.Helper()
	var list struct{ Ports []port }
	h.must(h.call("GET", "/v2.0/ports?name="+name, nil, &list))
	if len(list.Ports) != 1 {
		h.t.Fatalf("%d ports are named %s", len(list.Ports), name)
	}
	return list.Ports[0].ID
}

// dhcpPort is the ID of a network's DHCP port.
func (h *host) dhcpPort(network string) string {
	h.t.Helper()
	var list struct{ Ports []port }
	h.await("the DHCP port", 20*time.Second, func() error {
		h.must(h.call("GET", "/v2.0/ports?device_owner=network:dhcp&status=ACTIVE&network_id="+network, nil, &list))
		if len(list.Ports) == 0 {
			return errors.New("there is none")
		}
		return nil
	})
	return list.Ports[0].ID
}
