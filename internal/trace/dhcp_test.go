package trace

import (
	"net/netip"
	"testing"
	"time"

	"weft/internal/model"
)

var (
	evil   = netip.MustParseAddr("10.10.0.66")
	badMAC = model.MAC{2, 0, 0, 0, 0, 9}
)

// rogue is a port of the network that answers DHCP.
func rogue() *model.Port {
	return &model.Port{ID: "e0000000-0000-4000-8000-000000000066", Name: "evil", FixedIPs: []model.FixedIP{{SubnetID: "s1", Addr: evil}}, Binding: model.Binding{Host: "h2"}}
}

// second is another DHCP port of the network, on host h2, that is asked like the first.
func second(r *Record) {
	p := *r.DHCPPorts[0]
	p.ID, p.FixedIPs, p.Binding.Host = "d0000000-0000-4000-8000-000000000002", []model.FixedIP{{SubnetID: "s1", Addr: netip.MustParseAddr("10.10.0.3")}}, "h2"
	r.DHCPPorts = append(r.DHCPPorts, &p)
	r.Hosts["h2"] = HostRecord{Host: &model.Host{Name: "h2", HeartbeatAt: now}, Alive: true}
}

func stranger(mac model.MAC) []Stranger {
	return []Stranger{{MAC: mac, Count: 4, Last: now.Add(-3 * time.Second)}}
}

// Each case is a DHCP service or a conversation, with what trace makes of it.
func TestDHCP(t *testing.T) {
	chose := Transaction{At: now.Add(-time.Second), Message: "REQUEST", Reason: "other server chosen", Server: evil.String(), Addr: "10.10.0.180"}
	discover := func(ago time.Duration) Transaction {
		return Transaction{At: now.Add(-ago), Message: "DISCOVER", Reply: "OFFER", Addr: "10.10.0.121"}
	}
	for _, c := range []struct {
		name    string
		spoil   func(r *Record, ev *Evidence)
		verdict Verdict
		cause   Cause
		text    string
	}{
		{"the device is down", func(r *Record, ev *Evidence) { ev.DHCP.Down, ev.DHCP.Heard = true, false }, Broken, CauseDHCPDown,
			"The device tapd0000000-00 in qdhcp-b6d0aaaa-0000-4000-8000-000000000001 on host h1 is down, so the DHCP service hears nothing."},
		{"something drops what comes to it", func(r *Record, ev *Evidence) { ev.DHCP.Heard, ev.DHCP.Unheard = false, "not heard" }, Broken, CauseDHCPDeaf,
			"What comes to tapd0000000-00 in qdhcp-b6d0aaaa-0000-4000-8000-000000000001 on host h1 is dropped before the DHCP service: a test message did not reach it."},
		{"an agent that cannot test that", func(r *Record, ev *Evidence) { ev.DHCP.Heard = false }, OK, CauseHealthy, ""},
		{"the device is gone", func(r *Record, ev *Evidence) { ev.DHCP.Device, ev.DHCP.Addresses = "", nil }, Broken, CauseNoDHCPDevice,
			"The device tapd0000000-00 is not in qdhcp-b6d0aaaa-0000-4000-8000-000000000001 on host h1."},
		{"the namespace is gone", func(r *Record, ev *Evidence) {
			*ev.DHCP = DHCP{Wanted: true, Namespace: ev.DHCP.Namespace}
		}, Broken, CauseNoNamespace, "The namespace qdhcp-b6d0aaaa-0000-4000-8000-000000000001 is not there on host h1."},

		{"no subnet with DHCP, and a silent guest", func(r *Record, ev *Evidence) {
			r.Subnets[0].EnableDHCP, r.DHCPPorts, ev.Transactions = false, nil, nil
		}, Broken, CauseSubnetNoDHCP, "No subnet of the port gives out addresses by DHCP, so the guest has to know 10.10.0.121 by itself, and it has not sent anything from there."},
		{"no subnet with DHCP, and a guest that knows", func(r *Record, ev *Evidence) {
			r.Subnets[0].EnableDHCP, r.DHCPPorts, ev.Transactions, ev.Flows.Sent = false, nil, nil, map[string]uint64{"10.10.0.121": 3}
		}, OK, CauseHealthy, ""},
		{"no subnet with DHCP, and a guest that may know", func(r *Record, ev *Evidence) {
			r.Subnets[0].EnableDHCP, r.DHCPPorts, ev.Transactions, r.Port.PortSecurity = false, nil, nil, false
		}, Warning, CauseSubnetNoDHCP, "No subnet of the port gives out addresses by DHCP, so the guest has to know 10.10.0.121 by itself."},
		{"IPv6 only, and a guest that knows", func(r *Record, ev *Evidence) {
			ipv6Only(r, ev)
			ev.Flows.Sent = map[string]uint64{"2001:db8::79": 3}
		}, OK, CauseHealthy, ""},
		{"IPv6 only, and a guest that does not know", ipv6Only, Broken, CauseNoIPv6,
			"The guest has sent nothing from 2001:db8::79, and nobody gives it that address: weft answers neither DHCPv6 nor router solicitations yet."},
		{"IPv6 only, and a guest that may know", func(r *Record, ev *Evidence) {
			ipv6Only(r, ev)
			r.Port.PortSecurity = false
		}, Warning, CauseNoIPv6, ""},
		{"IPv6 besides, and a guest that does not know", func(r *Record, ev *Evidence) {
			r.Subnets = append(r.Subnets, &model.Subnet{ID: "s2", CIDR: netip.MustParsePrefix("2001:db8::/64"), EnableDHCP: true})
			r.Port.FixedIPs = append(r.Port.FixedIPs, model.FixedIP{SubnetID: "s2", Addr: netip.MustParseAddr("2001:db8::79")})
		}, Warning, CauseNoIPv6, ""},
		{"two subnets, one without DHCP", func(r *Record, ev *Evidence) {
			r.Subnets = append(r.Subnets, &model.Subnet{ID: "s2", CIDR: netip.MustParsePrefix("10.20.0.0/24")})
			r.Port.FixedIPs = append(r.Port.FixedIPs, model.FixedIP{SubnetID: "s2", Addr: netip.MustParseAddr("10.20.0.9")})
		}, OK, CauseHealthy, ""},
		{"a router's port", func(r *Record, ev *Evidence) {
			r.Port.DeviceOwner, ev.Transactions = model.OwnerRouterInterface, nil
		}, OK, CauseHealthy, ""},

		{"nobody has asked since the agent started, and the guest is older", func(r *Record, ev *Evidence) {
			ev.Transactions, ev.Flows.Age, ev.DHCP.Since = nil, time.Hour, now.Add(-time.Minute)
		}, OK, CauseHealthy, ""},
		{"nobody has asked since the agent started, and the guest is younger", func(r *Record, ev *Evidence) {
			r.Port.CreatedAt = now.Add(-2 * time.Minute)
			ev.Transactions, ev.Flows.Age, ev.DHCP.Since = nil, time.Minute, now.Add(-time.Hour)
		}, Broken, CauseNeverAsked, ""},
		{"nobody has asked since the agent started, and the switch has started since; the guest is older", func(r *Record, ev *Evidence) {
			r.Port.CreatedAt = now.Add(-2 * time.Hour)
			ev.Transactions, ev.Flows.Age, ev.DHCP.Since = nil, time.Minute, now.Add(-time.Hour)
		}, Warning, CauseNeverAsked, ""},
		{"nobody has asked, and the guest uses its address", func(r *Record, ev *Evidence) {
			ev.Transactions, ev.Flows.Sent = nil, map[string]uint64{"10.10.0.121": 1}
		}, OK, CauseHealthy, ""},
		{"nobody has asked, and what the guest sends is not counted", func(r *Record, ev *Evidence) { ev.Transactions, r.Port.PortSecurity = nil, false }, Warning, CauseNeverAsked, ""},
		{"nobody has asked, and the guest has been seen to use its address", func(r *Record, ev *Evidence) {
			ev.Transactions, r.Port.PortSecurity = nil, false
			ev.Sources = []Source{{MAC: r.Port.MAC, Addr: netip.PrefixFrom(r.Port.FixedIPs[0].Addr, 32), Packets: 1}}
		}, OK, CauseHealthy, ""},
		{"somebody else asks", func(r *Record, ev *Evidence) {
			ev.Transactions, r.Port.PortSecurity, ev.DHCP.Strangers = nil, false, stranger(badMAC)
		}, Broken, CauseUnknownMAC, "No DHCP message has ever come from fa:16:3e:7b:71:0b, but from 02:00:00:00:00:09, which no port of the network has: is that this guest?"},
		{"somebody else asks, who is another's guest for sure", func(r *Record, ev *Evidence) { ev.Transactions, ev.DHCP.Strangers = nil, stranger(badMAC) }, Broken, CauseNeverAsked, ""},
		{"asks on another network", func(r *Record, ev *Evidence) {
			ev.Transactions, ev.DHCP.Elsewhere = nil, stranger(r.Port.MAC)
			ev.DHCP.Elsewhere[0].NetworkID = "n2"
		}, Broken, CauseWrongNetwork, "The guest asks on network n2, and the port is of network b6d0aaaa-0000-4000-8000-000000000001: it is plugged into the wrong one."},

		{"a rogue server whose port is known", func(r *Record, ev *Evidence) {
			r.Ports, ev.Transactions = []*model.Port{r.Port, rogue()}, append(ev.Transactions, chose)
		}, Broken, CauseRogueDHCP, "The guest has chosen the offer of another DHCP server, 10.10.0.66: port evil (e0000000-0000-4000-8000-000000000066) on host h2 has that address."},
		{"a rogue server that is nobody's", func(r *Record, ev *Evidence) { ev.Transactions = append(ev.Transactions, chose) }, Broken, CauseRogueDHCP,
			"The guest has chosen the offer of another DHCP server, 10.10.0.66: no port of the network has that address."},
		{"a rogue server seen by others", func(r *Record, ev *Evidence) {
			ev.DHCP.Others = []OtherServer{{Server: evil, MAC: badMAC, Count: 1, Last: now}}
		}, OK, CauseHealthy, ""},
		{"the rogue server itself", func(r *Record, ev *Evidence) {
			ev.DHCP.Others = []OtherServer{{Server: r.Port.FixedIPs[0].Addr, MAC: badMAC, Count: 7, Last: now.Add(-time.Second)}}
		}, Warning, CauseIsRogueDHCP, "This port answers DHCP: guests have chosen its offers 7 times, last 1.0s ago."},
		{"offers that are not taken", func(r *Record, ev *Evidence) {
			ev.Transactions = append(ev.Transactions, discover(30*time.Second), discover(20*time.Second), discover(6*time.Second))
		}, Broken, CauseOfferLost, "The guest asked 3 times and does not take what it is offered: the offers do not come to it, or it has chosen another server."},
		{"offers just made", func(r *Record, ev *Evidence) { ev.Transactions = append(ev.Transactions, discover(time.Second)) }, OK, CauseHealthy, ""},
		{"released", func(r *Record, ev *Evidence) {
			ev.Transactions = append(ev.Transactions, Transaction{At: now.Add(-time.Second), Message: "RELEASE", Reason: "released", Addr: "10.10.0.121"})
		}, Broken, CauseReleased, "The guest gave its address back 1.0s ago and has not asked for one since."},
		{"declined", func(r *Record, ev *Evidence) {
			ev.Transactions = append(ev.Transactions, Transaction{At: now.Add(-2 * time.Second), Message: "DECLINE", Reason: "declined", Addr: "10.10.0.121"}, discover(time.Second))
		}, Broken, CauseDeclined, "The guest found that somebody else uses 10.10.0.121, and declined it 2.0s ago."},
		{"refused", func(r *Record, ev *Evidence) {
			ev.Transactions = append(ev.Transactions, Transaction{At: now.Add(-time.Second), Message: "REQUEST", Reply: "NAK", Addr: "10.10.0.99", Reason: "wrong address"})
		}, Broken, CauseDHCPRefused, "The guest's REQUEST was answered with NAK: it asked for 10.10.0.99, and the port has 10.10.0.121."},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, ev := record(), evidence()
			c.spoil(&r, ev)
			chain := explain(r, ev, "")
			if a := chain.Answer; chain.Verdict != c.verdict || a.Cause != c.cause || c.text != "" && a.Text != c.text || Causes[a.Cause].Title == "" {
				t.Errorf("%s: %+v, want %s %s %q", chain.Verdict, a, c.verdict, c.cause, c.text)
			}
		})
	}
}

// Two servers hear each message, and one of them is chosen.
func TestTwoServers(t *testing.T) {
	at := func(ms int, xid, message, reply string) Transaction {
		tr := Transaction{At: now.Add(-time.Minute + time.Duration(ms)*time.Millisecond), Message: message, Reply: reply, XID: xid}
		if reply != "" {
			tr.Addr = "10.10.0.121"
		} else {
			tr.Reason, tr.Server = "other server chosen", "10.10.0.2"
		}
		return tr
	}
	for _, swap := range []bool{false, true} {
		r, ev := record(), evidence()
		second(&r)
		other := evidence()
		other.Host, other.DHCP.Device, other.DHCP.Addresses = "h2", "tapd0000000-00", []string{"10.10.0.3/24", "169.254.169.254/32"}
		ev.Transactions = []Transaction{at(0, "1", "DISCOVER", "OFFER"), at(2, "1", "REQUEST", "ACK")}
		other.Transactions = []Transaction{at(1, "1", "DISCOVER", "OFFER"), at(3, "1", "REQUEST", "")}
		if swap {
			ev.Transactions[1].At = now.Add(-50 * time.Second)
			other.Transactions[1].At = now.Add(-50*time.Second - time.Millisecond)
		}
		chain := Explain(r, map[model.HostName]Said{"h1": {Evidence: ev}, "h2": {Evidence: other}}, now)
		if chain.Verdict != OK {
			t.Errorf("%v: %s: %+v", swap, chain.Verdict, chain.Answer)
		}
		// One that does not serve is a warning.
		other.DHCP.Listening = false
		chain = Explain(r, map[model.HostName]Said{"h1": {Evidence: ev}, "h2": {Evidence: other}}, now)
		if chain.Verdict != Warning || chain.Answer.Cause != CauseNotListening {
			t.Errorf("%s: %+v", chain.Verdict, chain.Answer)
		}
	}
}

// Whose port a rogue server is is not for everybody.
func TestRogueRedacted(t *testing.T) {
	r, ev := record(), evidence()
	r.Ports = []*model.Port{rogue()}
	ev.Transactions = append(ev.Transactions, Transaction{At: now, Message: "REQUEST", Reason: "other server chosen", Server: evil.String()})
	ev.DHCP.Others = []OtherServer{{Server: evil, MAC: badMAC, Count: 1, Last: now}}
	chain := explain(r, ev, "")
	chain.Redact()
	if chain.Answer.Text != "The guest has chosen the offer of another DHCP server, 10.10.0.66." {
		t.Errorf("%+v", chain.Answer)
	}
	for _, s := range chain.Steps {
		for _, it := range s.Items {
			if it.What == "other server" {
				t.Errorf("%+v", it)
			}
		}
	}
}

// ipv6Only gives the port an IPv6 address alone.
func ipv6Only(r *Record, ev *Evidence) {
	r.Subnets[0].CIDR, r.Port.FixedIPs[0].Addr = netip.MustParsePrefix("2001:db8::/64"), netip.MustParseAddr("2001:db8::79")
	r.DHCPPorts, ev.Transactions = nil, nil
}
