package test

import (
	"syscall"

	"weft/internal/lab"
	"weft/internal/trace"
)

// hostExhibits are faults of hosts and their agents.
var hostExhibits = []exhibit{
	{
		name: "agent dead", made: "kill -9 the agent of host compute-0", undone: "start it again",
		harms: sameHost, cause: trace.CauseAgentDead, text: "The agent of host compute-0 is dead or cut off: it is connected to no server, and was last heard of N s ago.",
		make: func(s *showing) func() {
			s.Node("compute-0").Agent.Kill()
			return func() { s.must(s.Node("compute-0").StartAgent()) }
		},
	},
	{
		name: "host cut from the servers", made: "unplug compute-0's NIC of the management network", undone: "plug it in",
		harms: sameHost, cause: trace.CauseAgentDead, text: "The agent of host compute-0 is dead or cut off: last heard of N s ago.",
		make: func(s *showing) func() {
			s.must(s.Underlay.Suffer(lab.Unplug(lab.Cable("compute-0", lab.Management))...))
			return func() { s.must(s.Underlay.Suffer()) }
		},
	},
	{
		name: "vswitchd dead", made: "kill -9 ovs-vswitchd on compute-0", undone: "start it again",
		harms: sameHost, cause: trace.CauseNoVswitchd, text: "ovs-vswitchd does not answer on host compute-0: dial unix /var/run/openvswitch/ovs-vswitchd.ctl: connect: connection refused.",
		make: func(s *showing) func() {
			sw := s.Node("compute-0").OVS
			s.must(sw.StopVswitchd(lab.Crash))
			return func() { s.must(sw.StartVswitchd(s.t.Context())) }
		},
	},
	{
		name: "ovsdb dead", made: "ovsdb-server hangs (kill -STOP) on compute-0", undone: "kill -CONT",
		harms: sameHost, cause: trace.CauseNoOVSDB, text: "ovsdb-server does not answer on host compute-0: nothing can be plugged or changed there; what is wired goes on.",
		make: func(s *showing) func() {
			pid, _ := s.Node("compute-0").OVS.Pids()
			s.must(syscall.Kill(pid, syscall.SIGSTOP))
			return func() { s.must(syscall.Kill(pid, syscall.SIGCONT)) }
		},
	},
	{
		// These last: for ten minutes all ports of the host are warned of them.
		name: "tunnel to the wrong address", made: "ovs-vsctl set Interface vxlan-0a00000d options:remote_ip=10.0.0.99", undone: "nothing to do: weft has set it back",
		verdict: trace.Warning, cause: trace.CauseTunnelWrongAddress, text: "Something else has changed port vxlan-0a00000d on host compute-0: it was found as remote_ip 10.0.0.99 and was put back to remote_ip 10.0.0.13 N s ago.",
		make: func(s *showing) func() {
			s.vsctl("set", "Interface", "vxlan-0a00000d", "options:remote_ip=10.0.0.99")
			return func() {}
		},
	},
	{
		name: "controller elsewhere", made: "ovs-vsctl set-controller br-int tcp:192.0.2.1:6653", undone: "nothing to do: weft has set it back",
		verdict: trace.Warning, cause: trace.CauseRepaired, text: "Something else has changed bridge br-int on host compute-0: it was found as controller tcp:192.0.2.1:6653 and was put back to controller tcp:127.0.0.1:6633 N s ago.",
		make: func(s *showing) func() {
			s.vsctl("set-controller", "br-int", "tcp:192.0.2.1:6653")
			return func() {}
		},
	},
}
