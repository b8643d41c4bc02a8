package test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"weft/internal/lab"
	"weft/internal/plan/vswitch"
	"weft/internal/trace"
)

// flowExhibits are faults of flows and tunnels.
var flowExhibits = []exhibit{
	{
		name: "flows deleted by hand", made: "ovs-ofctl del-flows br-int in_port=TAP", undone: "wait for resync_interval, or start the agent again",
		cause: trace.CauseFlowsMissing, text: "N of the N flows of the port are missing in the switch of host compute-0.",
		make: func(s *showing) func() {
			s.keep("del-flows", "br-int", "in_port="+s.ofport())
			return s.restartAgent
		},
	},
	{
		name: "all flows deleted", made: "ovs-ofctl del-flows br-int", undone: "wait for resync_interval, or start the agent again", harms: sameHost,
		cause: trace.CauseFlowsMissing, text: "N of the N flows of the port are missing in the switch of host compute-0.",
		make: func(s *showing) func() {
			s.keep("del-flows", "br-int")
			return s.restartAgent
		},
	},
	{
		name: "flows of the tunnel bridge deleted", made: "ovs-ofctl del-flows br-tun", undone: "wait for resync_interval, or start the agent again", harms: sameHost,
		cause: trace.CauseExchangeLost, text: "The switch of host compute-0 loses DISCOVER, REQUEST: no flow matches in table=0 of br-tun; by the records it may: every port may be a DHCP client.",
		make: func(s *showing) func() {
			s.keep("del-flows", "br-tun")
			return s.restartAgent
		},
	},
	{
		name: "foreign drop flow", made: "ovs-ofctl add-flow br-int priority=65000,in_port=TAP,actions=drop", undone: "ovs-ofctl del-flows br-int with the same match, --strict",
		cause: trace.CauseForeignFlow, text: "The flow table=0,priority=65000,in_port=N actions=drop of br-int on host compute-0 is not weft's (cookie 0x0), comes before those of the port and drops what it matches.",
		make: func(s *showing) func() {
			match := "priority=65000,in_port=" + s.ofport()
			s.keep("add-flow", "br-int", match+",actions=drop")
			return func() { s.ofctl("--strict", "del-flows", "br-int", match) }
		},
	},
	{
		name: "foreign flow drops answers", made: "ovs-ofctl add-flow br-int priority=65000,dl_dst=MAC,actions=drop", undone: "ovs-ofctl del-flows br-int with the same match, --strict",
		cause: trace.CauseForeignFlow, text: "The flow table=0,priority=65000,dl_dst=MAC actions=drop of br-int on host compute-0 is not weft's (cookie 0x0), comes before those of the port and drops what it matches.",
		make: func(s *showing) func() {
			match := "priority=65000,dl_dst=" + s.MAC
			s.keep("add-flow", "br-int", match+",actions=drop")
			return func() { s.ofctl("--strict", "del-flows", "br-int", match) }
		},
	},
	{
		name: "foreign flow with weft's cookie", made: "ovs-ofctl add-flow br-int cookie=COOKIE,priority=65000,in_port=TAP,actions=drop, with the cookie of a flow of weft's",
		undone: "ovs-ofctl del-flows br-int with the same match, --strict",
		cause:  trace.CauseForeignFlow, text: "The flow table=0,priority=65000,in_port=N actions=drop of br-int on host compute-0 is not of weft's plan, although it bears weft's cookie (COOKIE), comes before those of the port and drops what it matches.",
		make: func(s *showing) func() {
			match, cookie := "priority=65000,in_port="+s.ofport(), s.cookie("table=60")
			s.keep("add-flow", "br-int", "cookie="+cookie+","+match+",actions=drop")
			return func() { s.ofctl("--strict", "del-flows", "br-int", match) }
		},
	},
	{
		name: "flow of weft's changed by hand", made: "ovs-ofctl mod-flows br-int table=71,udp,tp_src=68,tp_dst=67,actions=drop", undone: "wait for resync_interval, or start the agent again", harms: sameHost,
		cause: trace.CauseForeignFlow, text: "The flow table=71,priority=80,udp,nw_src=0.0.0.0,tp_src=68,tp_dst=67 actions=drop of br-int on host compute-0 is not of weft's plan, although it bears weft's cookie (COOKIE), comes before those of the port and drops what it matches.",
		make: func(s *showing) func() {
			match := "table=71,udp,nw_src=0.0.0.0,tp_src=68,tp_dst=67"
			s.cookie(match)
			s.keep("mod-flows", "br-int", match+",actions=drop")
			return s.restartAgent
		},
	},
	{
		name: "foreign flow on the DHCP host", made: "on network: ovs-ofctl add-flow br-tun priority=65000,dl_src=MAC,actions=drop", undone: "ovs-ofctl del-flows br-tun with the same match, --strict",
		cause: trace.CauseForeignFlow, text: "The flow table=0,priority=65000,dl_src=MAC actions=drop of br-tun on host network is not weft's (cookie 0x0), comes before those that the port's DHCP packets need there and drops what it matches.",
		make: func(s *showing) func() {
			match := "priority=65000,dl_src=" + s.MAC
			on := func(args ...string) {
				_, err := s.Node("network").OVS.Ofctl(args...)
				s.must(err)
			}
			on("add-flow", "br-tun", match+",actions=drop")
			return func() { on("--strict", "del-flows", "br-tun", match) }
		},
	},
	{
		name: "tunnel blocked", made: "a firewall between compute-0 and network drops UDP port 4789", undone: "let it pass", harms: sameHost,
		cause: trace.CauseTunnelBlocked, text: "Nothing passes the tunnel between compute-0 (10.0.0.11) and network (10.0.0.13): 2 probes were sent each way, and none arrived.",
		make: func(s *showing) func() {
			s.must(s.Underlay.Suffer(lab.Cut(lab.Cable("compute-0", lab.Data), lab.Cable("network", lab.Data))...))
			return func() { s.must(s.Underlay.Suffer()) }
		},
	},
	{
		name: "tunnel blocked one way", made: "a firewall drops what network sends to compute-0", undone: "let it pass", harms: sameHost,
		cause: trace.CauseTunnelOneWay, text: "Nothing that network (10.0.0.13) sends through the tunnel arrives at compute-0 (10.0.0.11): 2 of 2 probes were lost; the other way they pass.",
		make: func(s *showing) func() {
			s.must(s.Underlay.Suffer(lab.Cut(lab.Cable("network", lab.Data), lab.Cable("compute-0", lab.Data))[0]))
			return func() { s.must(s.Underlay.Suffer()) }
		},
	},
	{
		name: "underlay down", made: "ip link set br-phys down", undone: "ip link set br-phys up", harms: sameHost,
		cause: trace.CauseUnderlayDown, text: "br-phys, which has the tunnel address 10.0.0.11 of host compute-0, is down or has no carrier, so its tunnels carry nothing.",
		make: func(s *showing) func() {
			s.sh("compute-0", "ip link set br-phys down")
			return func() { s.sh("compute-0", "ip link set br-phys up") }
		},
	},
	{
		name: "underlay MTU too small", made: "ip link set br-phys mtu 1400", undone: "ip link set br-phys mtu 1500", harms: sameHost,
		cause: trace.CauseTunnelMTU, text: "Packets of 1450 bytes, the network's MTU, are lost in the tunnel from compute-0 (10.0.0.11) to network (10.0.0.13) (2 of 2), and small ones pass: with the tunnel's header they have 1500 bytes, and the MTU of br-phys on compute-0 is 1400.",
		userspace: told{trace.Warning, "Packets of 1450 bytes, the network's MTU, have 1500 with the tunnel's header, and the MTU of br-phys on compute-0 is 1400."},
		make: func(s *showing) func() {
			s.sh("compute-0", "ip link set br-phys mtu 1400")
			return func() { s.sh("compute-0", "ip link set br-phys mtu 1500") }
		},
	},
	{
		name: "switch between hosts with a small MTU", made: "frames above 1400 bytes between compute-0 and network are dropped", undone: "mend the switch", harms: sameHost,
		cause: trace.CauseTunnelMTU, text: "Packets of 1450 bytes, the network's MTU, are lost in the tunnel from compute-0 (10.0.0.11) to network (10.0.0.13) (2 of 2), and small ones pass: with the tunnel's header they have 1500 bytes, and the underlay between the hosts carries less.",
		make: func(s *showing) func() {
			a, b := lab.Cable("compute-0", lab.Data), lab.Cable("network", lab.Data)
			s.must(s.Underlay.Suffer(
				lab.Trouble(fmt.Sprintf("iifname %q oifname %q meta length > 1400 drop", a, b)),
				lab.Trouble(fmt.Sprintf("iifname %q oifname %q meta length > 1400 drop", b, a))))
			return func() { s.must(s.Underlay.Suffer()) }
		},
	},
	{
		name: "duplicate MAC on the wire", made: "another VM with the port's MAC, on compute-1, sends", undone: "stop it",
		cause: trace.CauseDuplicateMAC, text: "Somebody else uses MAC on the network: host compute-1.",
		make: func(s *showing) func() {
			twin := s.guestOn("compute-1", s.network, "twin", m{"port_security_enabled": false, "security_groups": []string{}})
			s.names[twin.ID] = "OTHER"
			twin.exec("ip", "link", "set", "eth0", "address", s.MAC)
			twin.exec("ip", "addr", "add", "10.70.0.98/24", "dev", "eth0")
			stop := s.goesOn(twin, "ping", "-n", "10.70.0.2")
			return func() {
				stop()
				twin.exec("ip", "link", "set", "eth0", "down")
				s.asks()
			}
		},
	},
	{
		name: "rogue DHCP server", made: "another VM of the network, without port security, answers DHCP", undone: "stop it",
		cause: trace.CauseRogueDHCP, text: "The guest has chosen the offer of another DHCP server, OTHER-ADDRESS: port rogue (OTHER) on host compute-0 has that address.",
		make: func(s *showing) func() {
			stop := s.rogue()
			// The other server is the first to answer: what the real one sends does not arrive for a while.
			s.must(s.Underlay.Suffer(lab.Cut(lab.Cable("network", lab.Data), lab.Cable("compute-0", lab.Data))[0]))
			s.asks()
			s.must(s.Underlay.Suffer())
			return func() {
				stop()
				s.getsAddress(s.guest)
			}
		},
	},
}

// ofctl runs ovs-ofctl on the victim's host.
func (s *showing) ofctl(args ...string) {
	s.t.Helper()
	_, err := s.Node("compute-0").OVS.Ofctl(args...)
	s.must(err)
}

// keep runs ovs-ofctl on the victim's host, and again before each question: a bridge that has just found a new agent may come to
// it once more within a second, and have its flows put right.
func (s *showing) keep(args ...string) {
	s.t.Helper()
	s.again = func() { s.ofctl(args...) }
	s.again()
}

// cookie is that of the first of weft's flows with a match on the victim's host.
func (s *showing) cookie(match string) string {
	s.t.Helper()
	out, err := s.Node("compute-0").OVS.Ofctl("dump-flows", "br-int", match)
	s.must(err)
	flows, err := vswitch.ParseFlows(out)
	s.must(err)
	if len(flows) == 0 {
		s.t.Fatalf("no flow %s", match)
	}
	cookie := fmt.Sprintf("%#x", flows[0].Cookie)
	s.names[cookie] = "COOKIE"
	return cookie
}

// ofport is the victim's OpenFlow number.
func (s *showing) ofport() string {
	s.t.Helper()
	out, err := s.Node("compute-0").OVS.Vsctl("get", "Interface", s.tap(), "ofport")
	s.must(err)
	return strings.TrimSpace(out)
}

// restartAgent starts the agent of the victim's host again, or for the first time since it was killed.
func (s *showing) restartAgent() {
	s.t.Helper()
	n := s.Node("compute-0")
	s.must(n.Agent.Stop())
	s.must(n.StartAgent())
}

// rogue is a guest next to the victim that answers DHCP before the real service can.
func (s *showing) rogue() (stop func()) {
	s.t.Helper()
	g := s.guestOn("compute-0", s.network, "rogue", m{"port_security_enabled": false, "security_groups": []string{}})
	s.names[g.ID], s.names[g.MAC], s.names[g.ip()] = "OTHER", "OTHER-MAC", "OTHER-ADDRESS"
	g.exec("ip", "addr", "add", g.ip()+"/24", "dev", "eth0")
	config := filepath.Join(s.dir, "udhcpd.conf")
	s.must(os.WriteFile(config, []byte("start 10.70.0.210\nend 10.70.0.220\ninterface eth0\npidfile "+s.dir+"/udhcpd.pid\nlease_file "+s.dir+"/udhcpd.leases\noption subnet 255.255.255.0\n"), 0o600))
	return s.background("ip", "netns", "exec", g.Name, "busybox", "udhcpd", "-f", "-a", "1", config)
}
