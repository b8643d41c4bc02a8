package test

import (
	"context"
	"fmt"
	"sync"
	"time"

	"weft/internal/trace"
)

// interfaceExhibits are faults between Open vSwitch and the guest.
var interfaceExhibits = []exhibit{
	{
		name: "tap down", made: "ip link set TAP down", undone: "ip link set TAP up",
		cause: trace.CauseTapDown, text: "TAP is down on host compute-0, so nothing passes it.",
		make: func(s *showing) func() {
			s.sh("compute-0", "ip link set "+s.tap()+" down")
			return func() { s.sh("compute-0", "ip link set "+s.tap()+" up") }
		},
	},
	{
		name: "no carrier", made: "the guest takes its NIC down: ip link set eth0 down", undone: "ip link set eth0 up",
		cause: trace.CauseNoCarrier, text: "The other end of TAP is down: the guest has its NIC switched off.",
		make: func(s *showing) func() {
			s.exec("ip", "link", "set", "eth0", "down")
			return func() { s.exec("ip", "link", "set", "eth0", "up") }
		},
	},
	{
		name: "nothing plugged", made: "ovs-vsctl del-port br-int TAP", undone: "plug the VM again",
		cause: trace.CauseNotOnSwitch, text: "The tap TAP is on host compute-0, but is plugged into no bridge of Open vSwitch.",
		make: func(s *showing) func() {
			s.vsctl("del-port", "br-int", s.tap())
			return s.replug
		},
	},
	{
		name: "iface-id typo", made: "ovs-vsctl set Interface TAP external_ids:iface-id=... with a letter changed", undone: "the same with the port's ID",
		cause: trace.CauseIfaceID, text: "No interface carries the port's ID PORT, but TAP on host compute-0 seems to be meant (its name is that of the port's tap, its attached-mac is the port's, its iface-id is nearly the port's): its iface-id is TYPO.",
		make: func(s *showing) func() {
			typo := s.guest.ID[:35] + "x"
			s.names[typo] = "TYPO"
			s.vsctl("set", "Interface", s.tap(), "external_ids:iface-id="+typo)
			return func() { s.vsctl("set", "Interface", s.tap(), "external_ids:iface-id="+s.guest.ID) }
		},
	},
	{
		name: "attached-mac typo", made: "ovs-vsctl set Interface TAP external_ids:attached-mac=fa:16:3e:00:00:99",
		undone: "the same with the port's MAC",
		cause:  trace.CauseAttachedMAC, text: "Interface TAP was plugged for MAC fa:16:3e:00:00:99 (external_ids:attached-mac), and the port's is MAC.",
		make: func(s *showing) func() {
			s.vsctl("set", "Interface", s.tap(), `external_ids:attached-mac="fa:16:3e:00:00:99"`)
			return func() { s.vsctl("set", "Interface", s.tap(), `external_ids:attached-mac="`+s.MAC+`"`) }
		},
	},
	{
		name: "wrong tag, once", made: "ovs-vsctl set Port TAP tag=999", undone: "nothing to do: weft has set it back",
		verdict: trace.Warning, cause: trace.CauseWrongTag, text: "Something else has changed port TAP on host compute-0: it was found as tag 999 and was put back to tag 1 N s ago.",
		make: func(s *showing) func() {
			s.vsctl("set", "Port", s.tap(), "tag=999")
			return func() {}
		},
	},
	{
		name: "wrong tag, again and again", made: "ovs-vsctl set Port TAP tag=999, by another agent each time that weft sets it back", undone: "stop that agent",
		cause: trace.CauseWrongTag, text: "Something keeps changing port TAP on host compute-0: N times in the last minute it was found as tag 999 and put back to tag 1.",
		make:    func(s *showing) func() { return s.repeatedly("set", "Port", s.tap(), "tag=999") },
		lasting: true,
	},
	{
		name: "tag missing", made: "ovs-vsctl clear Port TAP tag", undone: "nothing to do: weft has set it back",
		verdict: trace.Warning, cause: trace.CauseWrongTag, text: "Something else has changed port TAP on host compute-0: it was found as no tag and was put back to tag 1 N s ago.",
		make: func(s *showing) func() {
			s.vsctl("clear", "Port", s.tap(), "tag")
			return func() {}
		},
	},
	{
		name: "stale port left by a crash", made: "the VM's process is killed and its tap gone: ip link del TAP", undone: "start the VM again",
		cause: trace.CauseStalePort, text: "Interface TAP is in Open vSwitch on host compute-0, but its device is gone: the VM has ended or crashed and was not unplugged.",
		make: func(s *showing) func() {
			s.sh("compute-0", "ip link del "+s.tap())
			return s.replug
		},
	},
	{
		name: "guest with another MAC", made: "in the guest: ip link set eth0 address fa:16:3e:66:66:66, and it asks by DHCP", undone: "give the NIC its MAC back",
		cause: trace.CauseGuestMAC, text: "The guest sends with MAC fa:16:3e:66:66:66, and the port's is MAC: all that it sends is dropped.",
		make: func(s *showing) func() {
			s.exec("ip", "link", "set", "eth0", "address", "fa:16:3e:66:66:66")
			stop := s.goesOn(s.guest, "busybox", "udhcpc", "-i", "eth0", "-f", "-t", "100", "-T", "1", "-s", "/bin/true")
			return func() {
				stop()
				s.exec("ip", "link", "set", "eth0", "address", s.MAC)
				s.asks()
			}
		},
	},
	{
		name: "guest with another address", made: "in the guest: ip addr add 10.70.0.99/24 dev eth0 instead of its own, and it sends", undone: "let it ask by DHCP",
		cause: trace.CauseGuestAddress, text: "The guest uses the address 10.70.0.99, and the port has ADDRESS: what it sends is dropped.",
		make: func(s *showing) func() {
			s.exec("ip", "addr", "flush", "dev", "eth0")
			s.exec("ip", "addr", "add", "10.70.0.99/24", "dev", "eth0")
			stop := s.goesOn(s.guest, "ping", "-n", "10.70.0.2")
			return func() {
				stop()
				s.exec("ip", "addr", "flush", "dev", "eth0")
				s.asks()
			}
		},
	},
	{
		name: "static address, never asked", made: "the guest has the port's address set by hand", undone: "nothing is wrong",
		verdict: trace.OK, cause: trace.CauseHealthy, text: "All is well: the port is ACTIVE on host compute-0 with ADDRESS.",
		victim: func(s *showing) { s.guest = s.guestOn("compute-0", s.network, "static", nil) },
		make: func(s *showing) func() {
			s.exec("ip", "addr", "add", s.ip()+"/24", "dev", "eth0")
			s.must(s.guest.sends("10.70.0.2", "-c", "1", "-W", "20"))
			return func() {}
		},
	},
	{
		name: "guest never asks", made: "a guest without a DHCP client", undone: "start one in the guest",
		cause: trace.CauseNeverAsked, text: "No DHCP message has ever come from MAC: the guest has not asked for an address, or its packets are lost before the DHCP service.",
		victim: func(s *showing) { s.guest = s.guestOn("compute-0", s.network, "silent", nil) },
		make:   func(s *showing) func() { return s.asks },
	},
}

// replug takes the victim's interface away and plugs it anew.
func (s *showing) replug() {
	s.t.Helper()
	n := s.Node("compute-0")
	_, err := n.Weft("unplug", s.guest.ID)
	s.must(err)
	_, err = n.Weft("plug", s.guest.ID, "--netns", s.guest.Name, "--wait", "1m")
	s.must(err)
	s.getsAddress(s.guest)
}

// repeatedly does something to the victim's switch ten times a second, as another agent would.
func (s *showing) repeatedly(vsctl ...string) (stop func()) {
	ctx, cancel := context.WithCancel(s.t.Context())
	var done sync.WaitGroup
	sw := s.Node("compute-0").OVS
	done.Go(func() {
		for ctx.Err() == nil {
			if _, err := sw.Vsctl(vsctl...); err != nil {
				s.t.Error(fmt.Errorf("another agent: %w", err))
				return
			}
			select {
			case <-ctx.Done():
			case <-time.After(100 * time.Millisecond):
			}
		}
	})
	return func() { cancel(); done.Wait() }
}
