package ovs

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"weft/internal/lab"
	"weft/internal/plan/vswitch"
)

// TestTunnelTakesNumber: Open vSwitch gives a tunnel the number that is asked for unless another port has it. Then no
// flow that names it goes in, also not when ovs-vswitchd is restarted, until the plan has the tunnel's own.
func TestTunnelTakesNumber(t *testing.T) {
	w := newWorld(t)
	w.apply(w.example())
	const name = "vxlan-0a000002"
	planned := func(number uint32) vswitch.Switch {
		want := w.example()
		i := slices.IndexFunc(want.Bridges, func(b vswitch.Bridge) bool { return b.Name == "br-tun" })
		want.Bridges[i].Ports = append(slices.Clone(want.Bridges[i].Ports), vswitch.Port{Name: name, Type: "vxlan", OFPort: number,
			Options: map[string]string{"remote_ip": "10.0.0.2", "local_ip": "10.0.0.1", "in_key": "flow", "out_key": "flow"}})
		want.Flows["br-tun"] = append(want.Flows["br-tun"], partOf(vswitch.NewFlow(22, 7, vswitch.Cookie(owner, vswitch.KindNetwork, 7), vswitch.Any(), vswitch.Output{Port: number})))
		return want
	}
	wantOutput := func(number string) {
		t.Helper()
		if now := strings.Join(w.flowTexts("br-tun"), "\n"); !strings.Contains(now, "priority=7 actions="+number) && number != "" || number == "" && strings.Contains(now, "priority=7 ") {
			t.Fatalf("want output %q in\n%s", number, now)
		}
	}
	w.vsctl("add-port", "br-tun", "foreign", "--", "set", "Interface", "foreign", "type=dummy", "ofport_request=5")
	faults := w.s.Apply(t.Context(), planned(5))
	if len(faults) != 1 || !errors.Is(faults[0].Err, errMoved) || faults[0].Object != "port "+name {
		t.Fatalf("faults %v", faults)
	}
	wantOutput("")
	number := portNumber(w, name)
	if number == 5 {
		t.Fatal("two ports have number 5")
	}
	w.apply(planned(number))
	wantOutput(fmt.Sprint("output:", number))

	// The foreign port gets the tunnel's number while ovs-vswitchd is away.
	if err := w.lab.StopVswitchd(lab.Crash); err != nil {
		t.Fatal(err)
	}
	w.vsctl("--no-wait", "del-port", name)
	w.vsctl("--no-wait", "--", "set", "Interface", "foreign", "ofport_request="+fmt.Sprint(number))
	if err := w.lab.StartVswitchd(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.eventually("the foreign port has the number", func() bool { return portNumber(w, "foreign") == number })
	w.eventually("br-int is in sync", func() bool { return w.s.Observe().Bridges[0].InSync })
	for range 20 {
		wantOutput("")
	}
	if faults := w.s.Apply(t.Context(), planned(number)); len(faults) == 0 {
		t.Fatal("the tunnel has a number that another port has")
	}
	wantOutput("")
	number = portNumber(w, name)
	w.apply(planned(number))
	wantOutput(fmt.Sprint("output:", number))
}

// portNumber is the number that a port of br-tun has, as the driver sees it; 0 if none.
func portNumber(w *world, name string) uint32 {
	for _, b := range w.s.Observe().Bridges {
		for _, p := range b.Ports {
			if b.Name == "br-tun" && p.Name == name {
				return uint32(p.OFPort)
			}
		}
	}
	return 0
}
