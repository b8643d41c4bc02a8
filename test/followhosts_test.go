package test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"weft/internal/lab"
	"weft/internal/lab/labtest"
	"weft/internal/model"
	"weft/internal/plan/vif"
)

// followed: a boot on one host, with DHCP from another, in one timeline; and the packets of both ends, asked for on a third.
func followed(c *manyHosts) {
	network := c.network("followed", "10.66.0.0/24")
	p := c.newPort(network, "boots", nil)
	node := c.Node("compute-1")
	begin := func(name string, args ...string) (read func() string, end func()) {
		file := filepath.Join(c.dir, name)
		d, err := node.Daemon(file, append(os.Environ(), "WEFT_CONFIG="+node.Config()), node.Program, args...)
		c.must(err)
		stop := func() {
			if err := d.Stop(); err != nil {
				c.t.Errorf("weft %q: %v", args, err)
			}
		}
		return func() string {
			b, err := os.ReadFile(file)
			c.must(err)
			return string(b)
		}, stop
	}
	timeline, endTimeline := begin("timeline", "trace", p.ID, "--follow")
	c.await("the timeline", 20*time.Second, func() error { return has(timeline(), "bound to no host") })
	n := c.Node("compute-0")
	_, err := n.Run("ip", "netns", "add", "boots")
	c.must(err)
	c.must(n.Expose("boots"))
	_, err = n.Weft("plug", p.ID, "--netns", "boots", "--wait", "1m")
	c.must(err)
	atGuest, endGuest := begin("atguest", "capture", p.ID, "udp", "port", "67", "or", "68")
	atService, endService := begin("atservice", "capture", c.dhcpPort(network), "udp port 67 or 68 and ether host "+p.MAC)
	c.await("both captures", 20*time.Second, func() error {
		return errors.Join(has(atGuest(), "of host compute-0"), has(atService(), "of host network"))
	})
	if _, err := c.udhcpc("boots"); err != nil {
		c.t.Fatal(err)
	}
	exchange := []string{"DISCOVER", "OFFER", "REQUEST", "ACK"}
	c.await("all to be told", 20*time.Second, func() error {
		return errors.Join(has(timeline(), exchange...), has(atGuest(), exchange...), has(atService(), exchange...))
	})
	_, err = n.Weft("unplug", p.ID)
	c.must(err)
	c.await("the end", 20*time.Second, func() error { return has(timeline(), "becomes DOWN", "bound to no host") })
	for _, end := range []func(){endTimeline, endService} {
		end()
	}
	c.await("the tap to be missed", 20*time.Second, func() error { return has(atGuest(), "is gone; the capture goes on") })
	endGuest()
	text := timeline()
	c.t.Logf("\n%s\n%s\n%s", text, atGuest(), atService())
	c.inOrder(byTime(text), []string{"bound to no host", "compute-0    host       the record is here", "compute-0    interface ", "compute-0    flows      acknowledged",
		"status DOWN becomes ACTIVE", "network      dhcp       DISCOVER", "network      dhcp       OFFER 10.66.0.", "network      dhcp       REQUEST", "network      dhcp       ACK 10.66.0."})
	c.must(c.call("DELETE", "/v2.0/ports/"+p.ID, nil, nil))
}

// has checks that a text has all the words.
func has(text string, words ...string) error {
	for _, w := range words {
		if !strings.Contains(text, w) {
			return fmt.Errorf("no %q in\n%s", w, text)
		}
	}
	return nil
}

// machine boots a real machine on the tap of a port; expect waits for a report of it. If the story fails, its console is shown.
func (h *host) machine(p port) (vm *lab.GuestVM, expect func(report string) map[string]string) {
	h.t.Helper()
	files, err := lab.FindGuest("")
	h.must(err)
	var console said
	vm, err = lab.StartGuest(h.t.Context(), lab.GuestOptions{Guest: files, Tap: vif.TapName(model.PortID(p.ID)), MAC: p.MAC, MTU: 1450, Demo: true, Console: &console})
	h.must(err)
	h.t.Cleanup(func() {
		vm.Stop()
		if h.t.Failed() {
			h.t.Logf("the console of the machine (%s):\n%s", vm.Accel, &console)
		}
	})
	return vm, func(report string) map[string]string {
		h.t.Helper()
		ctx, cancel := context.WithTimeout(h.t.Context(), 3*time.Minute)
		defer cancel()
		e, err := vm.Expect(ctx, report)
		h.must(err)
		return e.Fields
	}
}

// A real machine boots, and is followed and listened to.
func TestFollowMachine(t *testing.T) {
	labtest.Require(t, "qemu", "guest", "tcpdump")
	h := newHost(t)
	h.up()
	p := h.newPort(h.network("net", "10.20.0.0/24"), "vm", nil)
	timeline := h.begin("trace", "vm", "--follow")
	h.mustWeft("plug", p.ID)
	file := filepath.Join(h.dir, "vm.pcap")
	packets := h.capture("vm", "-w", file, "-s", "400")
	vm, expect := h.machine(p)
	if got := expect("lease")["ip"]; got != p.ip() {
		t.Fatalf("the machine got %q", got)
	}
	vm.Stop()
	h.mustWeft("unplug", p.ID)
	h.awaitStatus(p.ID, "DOWN")
	h.await("the end of the tap to be told", 20*time.Second, func() error { return has(timeline.out.String(), "has gone", "becomes DOWN") })
	h.must(h.call("DELETE", "/v2.0/ports/"+p.ID, nil, nil))
	out, _ := timeline.end()
	packets.end()
	h.inOrder(byTime(out), []string{"has appeared", "becomes ACTIVE", "DISCOVER", "OFFER " + p.ip(), "REQUEST", "ACK " + p.ip(), "has gone", "the port is deleted"})
	read := h.tcpdumpReads(file)
	h.inOrder(read, []string{"Discover", "Offer", "Request", "ACK"})
	t.Logf("\n%s\n%d lines of packets", out, strings.Count(read, "\n"))
}

// The server stops while ports are followed and listened to: at once, and clients say so.
func TestStreamsOfServerThatStops(t *testing.T) {
	h := newHost(t)
	up := h.up()
	network := h.network("net", "10.20.0.0/24")
	h.newPort(network, "vm", nil)
	follower, listener := h.begin("trace", "vm", "--follow"), h.capture(h.dhcpPort(network), "arp")
	h.await("a follower", 20*time.Second, func() error {
		if h.logged(`msg="port is followed"`) == 0 {
			return errors.New("there is none")
		}
		return nil
	})
	began := time.Now()
	_ = up.cmd.Process.Signal(syscall.SIGTERM)
	<-up.done
	t.Logf("the server took %s to stop", time.Since(began).Round(time.Millisecond))
	// It waits 5 s for requests under way; those that it does not end itself then never say that they have ended.
	if h.logged(`msg="port is followed no more"`) != 1 || h.logged(`msg="capture begins"`) != h.logged(`msg="capture ends"`) {
		t.Error("the server has not ended what went on, and stopped all the same")
	}
	for r, code := range map[*running]int{follower: 2, listener: 0} {
		<-r.done
		if got := r.cmd.ProcessState.ExitCode(); got != code {
			t.Errorf("%s: exit code %d, want %d: %s", r.cmd, got, code, &r.err)
		}
	}
}
