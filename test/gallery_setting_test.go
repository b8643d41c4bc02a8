package test

import "weft/internal/trace"

// settingExhibits are settings of Open vSwitch that no flow shows, made by hand.
var settingExhibits = []exhibit{
	{
		name: "port without forwarding", made: "ovs-ofctl mod-port br-int TAP no-forward", undone: "ovs-ofctl mod-port br-int TAP forward",
		cause: trace.CauseSetting, text: "Open vSwitch puts nothing out at TAP on host compute-0: its OpenFlow port is set to no-forward (ovs-ofctl -O OpenFlow14 mod-port br-int TAP forward takes that away).",
		make: func(s *showing) func() { return s.modPort("compute-0", "br-int", s.tap(), "no-forward", "forward") },
	},
	{
		name: "port without receiving", made: "ovs-ofctl mod-port br-int TAP no-receive", undone: "ovs-ofctl mod-port br-int TAP receive",
		cause: trace.CauseSetting, text: "Open vSwitch drops all that comes in from TAP on host compute-0: its OpenFlow port is set to no-receive (ovs-ofctl -O OpenFlow14 mod-port br-int TAP receive takes that away).",
		make: func(s *showing) func() { return s.modPort("compute-0", "br-int", s.tap(), "no-receive", "receive") },
	},
	{
		name: "patch port without forwarding", made: "ovs-ofctl mod-port br-int patch-tun no-forward", undone: "ovs-ofctl mod-port br-int patch-tun forward", harms: sameHost,
		cause: trace.CauseSetting, text: "Open vSwitch puts nothing out at patch-tun on host compute-0: its OpenFlow port is set to no-forward (ovs-ofctl -O OpenFlow14 mod-port br-int patch-tun forward takes that away).",
		make: func(s *showing) func() {
			return s.modPort("compute-0", "br-int", "patch-tun", "no-forward", "forward")
		},
	},
	{
		name: "tunnel without forwarding", made: "ovs-ofctl mod-port br-tun vxlan-0a00000d no-forward", undone: "ovs-ofctl mod-port br-tun vxlan-0a00000d forward", harms: sameHost,
		cause: trace.CauseSetting, text: "Open vSwitch puts nothing out at vxlan-0a00000d on host compute-0: its OpenFlow port is set to no-forward (ovs-ofctl -O OpenFlow14 mod-port br-tun vxlan-0a00000d forward takes that away).",
		make: func(s *showing) func() {
			return s.modPort("compute-0", "br-tun", "vxlan-0a00000d", "no-forward", "forward")
		},
	},
	{
		name: "DHCP port without receiving", made: "ovs-ofctl mod-port br-int DEVICE no-receive, on the DHCP host", undone: "ovs-ofctl mod-port br-int DEVICE receive", harms: sameNetwork,
		cause: trace.CauseSetting, text: "Open vSwitch drops all that comes in from DEVICE on host network: its OpenFlow port is set to no-receive (ovs-ofctl -O OpenFlow14 mod-port br-int DEVICE receive takes that away).",
		make: func(s *showing) func() {
			return s.modPort("network", "br-int", s.dhcpDevice(), "no-receive", "receive")
		},
	},
	{
		name: "rate of nearly nothing", made: "ovs-vsctl set Interface TAP ingress_policing_rate=8", undone: "ovs-vsctl set Interface TAP ingress_policing_rate=0",
		cause: trace.CauseSetting, text: "What the guest sends is limited to 8 kbit/s at TAP on host compute-0 (ovs-vsctl set Interface TAP ingress_policing_rate=0 takes that away).",
		make: func(s *showing) func() {
			s.vsctl("set", "Interface", s.tap(), "ingress_policing_rate=8")
			return func() { s.vsctl("set", "Interface", s.tap(), "ingress_policing_rate=0") }
		},
	},
	{
		name: "rate that libvirt or Nova sets", made: "ovs-vsctl set Interface TAP ingress_policing_rate=100000", undone: "nothing is wrong",
		verdict: trace.OK, cause: trace.CauseHealthy, text: "All is well: the port is ACTIVE on host compute-0 with ADDRESS.",
		make: func(s *showing) func() {
			s.vsctl("set", "Interface", s.tap(), "ingress_policing_rate=100000")
			s.getsAddress(s.guest)
			return func() { s.vsctl("set", "Interface", s.tap(), "ingress_policing_rate=0") }
		},
	},
	{
		name: "mirror put out at the port", made: "a Mirror of br-int with output-port TAP (ovs-vsctl)", undone: "ovs-vsctl clear Bridge br-int mirrors",
		cause: trace.CauseSetting, text: "TAP on host compute-0 is the output of mirror watch, so Open vSwitch takes nothing from it and sends it nothing of its own (ovs-vsctl clear Bridge br-int mirrors takes that away).",
		make: func(s *showing) func() {
			s.vsctl("--", "--id=@p", "get", "Port", s.tap(), "--", "--id=@m", "create", "Mirror", "name=watch", "output-port=@p", "--", "set", "Bridge", "br-int", "mirrors=@m")
			return func() { s.vsctl("clear", "Bridge", "br-int", "mirrors") }
		},
	},
	{
		name: "spanning tree", made: "ovs-vsctl set Bridge br-int stp_enable=true", undone: "ovs-vsctl set Bridge br-int stp_enable=false", harms: sameHost,
		verdict: trace.Broken, cause: trace.CauseSetting, text: "Spanning tree (stp_enable) has TAP on host compute-0 closed: STATE (ovs-vsctl set Bridge br-int stp_enable=false takes that away).",
		make: func(s *showing) func() {
			s.names["listening"], s.names["learning"] = "STATE", "STATE"
			s.vsctl("set", "Bridge", "br-int", "stp_enable=true")
			return func() { s.vsctl("set", "Bridge", "br-int", "stp_enable=false") }
		},
	},
}

// modPort sets a flag of an OpenFlow port.
func (s *showing) modPort(node, bridge, name, flag, undo string) func() {
	s.t.Helper()
	set := func(flag string) {
		_, err := s.Node(node).OVS.Ofctl("mod-port", bridge, name, flag)
		s.must(err)
	}
	set(flag)
	return func() { set(undo) }
}
