package test

import (
	"os/exec"

	"weft/internal/trace"
)

// dhcpExhibits are faults of the DHCP service.
var dhcpExhibits = []exhibit{
	{
		name: "DHCP address removed", made: "ip -n qdhcp-NETWORK addr del 10.70.0.2/24 dev DEVICE", undone: "the same with add, or wait for resync_interval",
		harms: sameNetwork, cause: trace.CauseDHCPAddress, text: "The device DEVICE in qdhcp-NETWORK on host network does not have the address 10.70.0.2/24.",
		make: func(s *showing) func() {
			s.inNamespace("addr del 10.70.0.2/24 dev " + s.dhcpDevice())
			return func() { s.inNamespace("addr add 10.70.0.2/24 dev " + s.dhcpDevice()) }
		},
	},
	{
		name: "DHCP link down, once", made: "ip -n qdhcp-NETWORK link set DEVICE down", undone: "nothing to do: weft has set it up again",
		verdict: trace.Warning, cause: trace.CauseRepaired, text: "Something else has changed namespace qdhcp-NETWORK/DEVICE on host network: it was found as link down and was put back to link up N s ago.",
		make: func(s *showing) func() {
			s.inNamespace("link set " + s.dhcpDevice() + " down")
			return s.agentForgets
		},
	},
	{
		name: "DHCP link down, again and again", made: "ip -n qdhcp-NETWORK link set DEVICE down, by a script each second", undone: "stop that script",
		harms: sameNetwork, cause: trace.CauseRepaired, text: "Something keeps changing namespace qdhcp-NETWORK/DEVICE on host network: N times in the last minute it was found as link down and put back to link up.",
		make: func(s *showing) func() {
			ip := exec.Command("sh", "-c", "while ip -n qdhcp-"+s.network+" link set "+s.dhcpDevice()+" down; do sleep 1; done")
			s.must(s.Node("network").Start(ip))
			return func() {
				s.must(ip.Process.Kill())
				_ = ip.Wait()
				s.agentForgets()
			}
		},
	},
	{
		name: "DHCP listener blocked", made: "nft in qdhcp-NETWORK: an ingress chain of DEVICE drops udp dport 67", undone: "remove it",
		harms: sameNetwork, cause: trace.CauseDHCPDeaf, text: "What comes to DEVICE in qdhcp-NETWORK on host network is dropped before the DHCP service: a test message did not reach it.",
		make: func(s *showing) func() {
			return s.blocks("netdev", "ingress device "+s.dhcpDevice())
		},
	},
	{
		name: "input chain in the DHCP namespace", made: "nft in qdhcp-NETWORK: an input chain drops udp dport 67", undone: "nothing is wrong: the service reads frames before that chain",
		verdict: trace.OK, cause: trace.CauseHealthy, text: "All is well: the port is ACTIVE on host compute-0 with ADDRESS.",
		make: func(s *showing) func() {
			undo := s.blocks("inet", "input")
			s.getsAddress(s.guest)
			return undo
		},
	},
	{
		name: "DHCP namespace deleted", made: "ip netns del qdhcp-NETWORK", undone: "wait for resync_interval, or start the agent again",
		harms: sameNetwork, cause: trace.CauseNoNamespace, text: "The namespace qdhcp-NETWORK is not there on host network.",
		make: func(s *showing) func() {
			s.sh("network", "ip netns del qdhcp-"+s.network)
			return s.agentForgets
		},
	},
	{
		name: "DHCP device deleted", made: "ip -n qdhcp-NETWORK link del DEVICE, with the userspace datapath", undone: "the agent has the switch make it anew, at once, and remembers it for ten minutes",
		verdict: trace.Warning, cause: trace.CauseRepaired, text: "Something else has changed namespace qdhcp-NETWORK/DEVICE on host network: it was found as gone and was put back to made again N s ago.",
		make: func(s *showing) func() {
			s.inNamespace("link del " + s.dhcpDevice())
			return s.agentForgets
		},
	},
	{
		name: "DHCP host dead", made: "kill -9 the agent of host network", undone: "start it again",
		harms: everybody, cause: trace.CauseAgentDead, text: "Host network, which serves DHCP on this network, is dead or cut off: last heard of N s ago.",
		make: func(s *showing) func() {
			s.Node("network").Agent.Kill()
			return func() { s.must(s.Node("network").StartAgent()) }
		},
	},
}

// agentForgets has the agent of the DHCP host begin anew: what it has put right is forgotten.
func (s *showing) agentForgets() {
	s.t.Helper()
	n := s.Node("network")
	s.must(n.Agent.Stop())
	s.must(n.StartAgent())
}

// dhcpDevice is the device of the network's DHCP service.
func (s *showing) dhcpDevice() string {
	s.t.Helper()
	var list struct{ Ports []port }
	s.must(s.call("GET", "/v2.0/ports?device_owner=network:dhcp&network_id="+s.network, nil, &list))
	dev := "tap" + list.Ports[0].ID[:11]
	s.names[dev] = "DEVICE"
	return dev
}

// blocks has nftables drop what is for a DHCP server in the namespace of the network's.
func (s *showing) blocks(family, hook string) (undo func()) {
	s.t.Helper()
	nft := "ip netns exec qdhcp-" + s.network + " nft "
	s.sh("network", nft+"'add table "+family+" block; add chain "+family+" block in { type filter hook "+hook+" priority 0; }; add rule "+family+" block in udp dport 67 drop'")
	return func() { s.sh("network", nft+"delete table "+family+" block") }
}

// inNamespace runs ip in the namespace of the network's DHCP service.
func (s *showing) inNamespace(args string) {
	s.t.Helper()
	s.sh("network", "ip -n qdhcp-"+s.network+" "+args)
}

// goesOn has a guest run a program until stop is called: what it sends is to be seen whenever somebody looks.
func (s *showing) goesOn(g *guest, program ...string) (stop func()) {
	s.t.Helper()
	return s.background("ip", append([]string{"netns", "exec", g.Name}, program...)...)
}

// background runs a program until stop is called.
func (s *showing) background(name string, args ...string) (stop func()) {
	s.t.Helper()
	cmd := exec.Command(name, args...)
	s.must(cmd.Start())
	stop = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	s.t.Cleanup(stop)
	return stop
}
