package test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"weft/internal/lab/labtest"
	"weft/internal/trace"
)

// A boot is followed from before the port is bound until its machine has its address, in one
// timeline; a member of the project sees what is his.
func TestFollow(t *testing.T) {
	labtest.Require(t, "busybox")
	h := newHost(t)
	h.up()
	network := h.network("net", "10.20.0.0/24")
	p := h.newPort(network, "vm", nil)
	if out, err := h.weft("trace", "nobody", "--follow"); err == nil || !strings.Contains(err.Error(), "no port has") {
		t.Errorf("%s %v", out, err)
	}
	text, lines := h.begin("trace", "vm", "--follow"), h.begin("trace", p.ID, "-f", "-o", "json")
	h.await("followers", 20*time.Second, func() error {
		if n := h.logged("msg=\"port is followed\""); n < 2 {
			return fmt.Errorf("%d", n)
		}
		return nil
	})
	h.namespace("vm")
	h.mustWeft("plug", "vm", "--netns", "vm")
	if _, err := h.udhcpc("vm"); err != nil {
		t.Fatal(err)
	}
	tap := "tap" + p.ID[:11]
	h.vsctl("set", "Port", tap, "tag=999")
	h.await("the tag to be put back", 20*time.Second, func() error {
		if tag := h.vsctl("get", "Port", tap, "tag"); tag != "1" {
			return errors.New(tag)
		}
		return nil
	})
	h.run("curl", "-sS", "-X", "PUT", apiURL+"/v2.0/ports/"+p.ID, "-d", `{"port": {"name": "vm2"}}`)
	h.mustWeft("unplug", p.ID)
	h.awaitStatus(p.ID, "DOWN")
	h.await("the followers to be told of the end of the tap", 20*time.Second, func() error {
		return errors.Join(has(text.out.String(), "has gone", "becomes DOWN"), has(lines.out.String(), "has gone", "becomes DOWN"))
	})
	h.must(h.call("DELETE", "/v2.0/ports/"+p.ID, nil, nil))
	// The end of the port is that of the timeline.
	out, _ := text.end()
	t.Logf("\n%s", out)
	raw, _ := lines.end()
	var all []trace.Event
	for l := range strings.Lines(raw) {
		var e trace.Event
		h.must(json.Unmarshal([]byte(l), &e))
		all = append(all, e)
	}
	follow := []string{"bound to no host", "bound to host " + hostName, "the record is here", "has appeared", "acknowledged by the switch, local VLAN", "wired true, DHCP true",
		"status DOWN becomes ACTIVE", "DISCOVER", "OFFER 10.20.0.", "REQUEST", "ACK 10.20.0.", "it was tag 999", "has gone", "the port is deleted"}
	h.inOrder(byTime(out), follow)
	slices.SortStableFunc(all, func(a, b trace.Event) int { return a.At.Compare(b.At) })
	var texts strings.Builder
	for _, e := range all {
		fmt.Fprintln(&texts, e.Text)
	}
	h.inOrder(texts.String(), follow)
	for _, e := range all {
		if (e.Host == "") != (e.Kind == trace.EventRecord || e.Kind == trace.EventEnd) {
			t.Errorf("%s is of host %q", e.Kind, e.Host)
		}
	}
	// Ctrl-C is no failure.
	h.newPort(network, "other", nil)
	r := h.begin("trace", "other", "--follow")
	h.await("another follower", 20*time.Second, func() error {
		if n := h.logged("msg=\"port is followed\""); n < 3 {
			return fmt.Errorf("%d", n)
		}
		return nil
	})
	r.interrupt()
	r.end()
}

// byTime are the lines of a timeline in the order of their times: on a busy machine one may come late.
func byTime(timeline string) string {
	lines := slices.Collect(strings.Lines(timeline))
	slices.SortStableFunc(lines, func(a, b string) int { return strings.Compare(a[:min(15, len(a))], b[:min(15, len(b))]) })
	return strings.Join(lines, "")
}

// inOrder checks that a text has these, one after the other.
func (h *host) inOrder(text string, want []string) {
	h.t.Helper()
	rest := text
	for _, w := range want {
		_, after, ok := strings.Cut(rest, w)
		if !ok {
			h.t.Errorf("no %q after what is before it in\n%s", w, text)
			return
		}
		rest = after
	}
}
