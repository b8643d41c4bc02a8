package agent

import (
	"os/exec"
	"slices"
	"strings"
	"testing"

	"weft/internal/inspect"
	"weft/internal/trace"
)

// TestTraceOfGuests: what guests really send is told of them, and nothing bad of the others.
func TestTraceOfGuests(t *testing.T) {
	w := newWhole(t)
	w.joined()
	w.net, _ = w.network()
	w.plugs(4)
	in := inspect.New(inspect.Options{Cloud: w.control, Hosts: w.server})
	chain := func(i int) trace.Chain {
		t.Helper()
		rep, err := in.Report(t.Context(), string(w.ports[i].ID), nil)
		if err != nil {
			t.Fatal(err)
		}
		return rep.Chains[0]
	}
	ip := func(i int, args ...string) {
		run(t, "ip", append([]string{"-n", w.spaces[i]}, args...)...)
	}
	send := func(i, to int) {
		// That nobody answers is what is to be seen.
		_ = exec.Command("ip", "netns", "exec", w.spaces[i], "ping", "-c", "1", "-W", "1", w.addr(to)).Run()
	}
	says := func(i int, verdict trace.Verdict, cause trace.Cause, words ...string) {
		t.Helper()
		var c trace.Chain
		w.eventually("trace says "+string(cause), func() bool {
			c = chain(i)
			return slices.ContainsFunc(c.Steps, func(s trace.Step) bool {
				return slices.ContainsFunc(s.Items, func(it trace.Item) bool {
					return it.Cause == cause && it.Verdict == verdict && !slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(it.Text, word) })
				})
			})
		})
		if c.Answer.Cause != cause {
			t.Errorf("the answer is %+v", c.Answer)
		}
	}

	t.Log("a static address that is the port's own is no fault")
	ip(3, "addr", "add", w.addr(3)+"/24", "dev", "eth0")
	ip(0, "addr", "add", w.addr(0)+"/24", "dev", "eth0")
	send(3, 0)
	if c := chain(3); c.Verdict != trace.OK {
		t.Errorf("%s %+v", c.Verdict, c.Answer)
	}

	t.Log("another address")
	w.leases(1)
	ip(1, "addr", "add", "10.10.0.250/24", "dev", "eth0")
	send(1, 0)
	says(1, trace.Broken, trace.CauseGuestAddress, "10.10.0.250", w.addr(1))

	t.Log("another MAC")
	ip(2, "link", "set", "eth0", "address", "02:00:00:00:00:77")
	ip(2, "addr", "add", w.addr(2)+"/24", "dev", "eth0")
	send(2, 0)
	says(2, trace.Broken, trace.CauseGuestMAC, "02:00:00:00:00:77", w.ports[2].MAC.String())

	t.Log("the MAC of another port, of which the switch lets nothing through")
	ip(2, "link", "set", "eth0", "address", w.ports[0].MAC.String())
	send(2, 3)
	says(0, trace.Warning, trace.CauseDuplicateMAC, w.ports[0].MAC.String(), string(w.ports[2].ID))
	send(3, 0)
	if c := chain(3); c.Verdict != trace.OK {
		t.Errorf("the port next to them: %s %+v", c.Verdict, c.Answer)
	}
}
