package doctor

import (
	"net/netip"
	"strings"
	"testing"

	"weft/internal/model"
	"weft/internal/trace"
)

// TestTunnels: those that pass are counted, what is wrong with one end is said once, and silent hosts are left to their own checks.
func TestTunnels(t *testing.T) {
	end := func(host model.HostName, n byte, to model.HostName, m byte) trace.TunnelEnd {
		own, other := netip.AddrFrom4([4]byte{10, 0, 0, n}), netip.AddrFrom4([4]byte{10, 0, 0, m})
		answered := trace.Probes{Sent: 1, AnsweredBy: string(to), Heard: 1}
		return trace.TunnelEnd{TunnelPeer: trace.TunnelPeer{Host: host, Address: own}, Said: &trace.Tunnels{Host: host, Bridge: "br-tun", Address: own,
			Underlay: &trace.Underlay{Device: "eth1", MTU: 1500}, Tunnels: []trace.Tunnel{{To: trace.TunnelPeer{Host: to, Address: other},
				Port: &trace.TunnelPort{Name: "vxlan-x", OFPort: 2, Remote: other.String(), Local: own.String()}, Probes: []trace.Probes{answered, answered}}}}}
	}
	f := well()
	add := func(a model.HostName, n byte, b model.HostName, m byte) *Tunnel {
		f.Tunnels = append(f.Tunnels, Tunnel{end(a, n, b, m), end(b, m, a, n), 1450})
		return &f.Tunnels[len(f.Tunnels)-1]
	}
	lose := func(p *Tunnel, size int) {
		for _, e := range []trace.TunnelEnd{p.A, p.B} {
			e.Said.Tunnels[0].Probes[size] = trace.Probes{Sent: 2}
		}
	}
	add("compute-0", 11, "network", 12)
	r := Examine(f)
	if text := printed(t, r, true); r.Verdict != trace.OK || !strings.Contains(text, "Small packets and big ones pass 1 tunnel, both ways.") {
		t.Errorf("it is %s:\n%s", r.Verdict, text)
	}
	blocked, narrow := add("compute-0", 11, "compute-1", 13), add("compute-1", 13, "network", 12)
	lose(blocked, 0)
	lose(blocked, 1)
	lose(narrow, 1)
	for _, b := range []model.HostName{"compute-0", "network"} {
		lost := add("compute-2", 14, b, 20)
		lost.A.Said.Underlay.Device = ""
	}
	silent := add("compute-3", 15, "network", 12)
	silent.A.Said, silent.A.Silence = nil, "host compute-3 is not connected to any server"
	r = Examine(f)
	text := printed(t, r, true)
	for want, n := range map[string]int{
		"Nothing passes the tunnel between compute-0 (10.0.0.11) and compute-1 (10.0.0.13): 2 probes were sent each way, and none arrived.": 1,
		"Packets of 1450 bytes, the network's MTU, are lost in the tunnel from compute-1":                                                   1,
		"No device of host compute-2 has its tunnel address 10.0.0.14":                                                                      1,
		"compute-3": 0,
		"Small packets and big ones pass 1 tunnel, both ways.": 1,
	} {
		if got := strings.Count(text, want); got != n || r.Verdict != trace.Broken {
			t.Errorf("%s: %d times %q in\n%s", r.Verdict, got, want, text)
		}
	}
}
