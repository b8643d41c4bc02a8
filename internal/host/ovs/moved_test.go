package ovs

import (
	"slices"
	"strings"
	"testing"

	"weft/internal/lab"
	"weft/internal/model"
	"weft/internal/plan/view"
	"weft/internal/plan/vswitch"
)

// TestPortTakesNumber: while ovs-vswitchd is away one port goes and another comes, which may get its
// number, or that of a port which stays. What was planned for one must not be put in for another.
func TestPortTakesNumber(t *testing.T) {
	w := newWorld(t)
	w.apply(w.example())
	plug := func(name string, n int) {
		w.vsctl("--no-wait", "add-port", "br-int", name, "--", "set", "Interface", name, "type=dummy", "external_ids:iface-id="+portID(n))
	}
	number := func(n int) (of view.OFPort) {
		for _, a := range w.s.Observe().Attachments {
			if a.PortID == model.PortID(portID(n)) {
				of = a.OFPort
			}
		}
		return of
	}
	plug("tap1", 1)
	w.eventually("tap1 is there", func() bool { return number(1) != 0 })
	of := number(1)
	want := w.example()
	want.Flows["br-int"] = append(want.Flows["br-int"], partOf(flowsOfPort(uint32(of), 1, mac(1))...))
	w.apply(want)
	w.wantFlows("br-int", want.Flows["br-int"].All())

	if err := w.lab.StopVswitchd(lab.Crash); err != nil {
		t.Fatal(err)
	}
	w.vsctl("--no-wait", "del-port", "tap1")
	plug("tap2", 2)
	drain(w.s)
	if err := w.lab.StartVswitchd(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.eventually("tap2 is there", func() bool { return number(2) != 0 })
	w.eventually("br-tun is in sync", func() bool { return w.s.Observe().Bridges[1].InSync })
	for range 20 {
		if now := w.flowTexts("br-int"); slices.ContainsFunc(now, func(f string) bool { return strings.Contains(f, "in_port=") }) {
			t.Fatalf("flows of the first port are in:\n%s", strings.Join(now, "\n"))
		}
	}
	<-w.s.Changed() // so that a plan is made of what there is now
	of = number(2)
	want = w.example()
	want.Flows["br-int"] = append(want.Flows["br-int"], partOf(vswitch.NewFlow(0, 100, vswitch.Cookie(owner, vswitch.KindPort, 2), vswitch.Any().InPort(uint32(of)))))
	w.apply(want)
	w.wantFlows("br-int", want.Flows["br-int"].All())
}
