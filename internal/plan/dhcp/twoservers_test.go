package dhcp

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"weft/internal/model"
	"weft/internal/plan/view"
)

// twoServers are the tables of two hosts that serve the network of recorded, and of a third
// one to which the second's port has moved.
func twoServers(t *testing.T) []*Table {
	var tables []*Table
	for i := range 3 {
		n := recorded()
		second := *n.DHCPPort
		second.ID, second.MAC = "second", mac("fa:16:3e:e4:05:e7")
		second.FixedIPs = []model.FixedIP{{SubnetID: "s1", Addr: addr("10.10.0.3")}}
		n.Ports = append(n.Ports, &second)
		if i > 0 {
			n.DHCPPort = &second
		}
		tables = append(tables, table(t, Servers(view.View{Networks: []*view.Network{n}}, settings)[0]))
	}
	return tables
}

// everyMessage yields each message that a client, its own or a strange one, can make of a few addresses.
func everyMessage(yield func(*dhcpv4.DHCPv4) bool) {
	addrs := [][]byte{{10, 10, 0, 126}, {10, 10, 0, 2}, {10, 10, 0, 3}, {10, 10, 0, 9}, nil}
	each := func(f func(a []byte) bool) bool {
		return !slices.ContainsFunc(addrs, func(a []byte) bool { return !f(a) })
	}
	for kind := range byte(10) {
		for _, m := range []model.MAC{mac("fa:16:3e:16:06:bc"), mac("fa:16:3e:00:00:99")} {
			ok := each(func(ciaddr []byte) bool {
				return each(func(giaddr []byte) bool {
					return each(func(asked []byte) bool {
						return each(func(named []byte) bool {
							req := &dhcpv4.DHCPv4{OpCode: 1, HWType: 1, ClientHWAddr: m[:], ClientIPAddr: ciaddr, GatewayIPAddr: giaddr,
								Options: dhcpv4.Options{53: {kind}, 55: {1, 3, 6, 12, 15, 26, 51, 54, 121}}}
							if asked != nil {
								req.Options[50] = asked
							}
							if named != nil {
								req.Options[54] = named
							}
							return yield(req)
						})
					})
				})
			})
			if !ok {
				return
			}
		}
	}
}

// TestServersAgree: whatever a client says, the servers of its network answer alike but for
// their own address. A client that has chosen one of them hears only that one (RFC 2131
// 4.3.2); one that names none is answered by all, so that it goes on when its own is gone.
func TestServersAgree(t *testing.T) {
	tables := twoServers(t)
	own := [][]byte{{10, 10, 0, 2}, {10, 10, 0, 3}, {10, 10, 0, 3}}
	seen := map[Reason]int{}
	for req := range everyMessage {
		named := req.Options[54]
		var answers []Answer
		for _, tab := range tables {
			answers = append(answers, tab.Answer(req, new(dhcpv4.DHCPv4)))
		}
		chosen := req.Options[53][0] == byte(dhcpv4.MessageTypeRequest) && named != nil && len(tables[0].find(model.MAC(req.ClientHWAddr), nil)) > 0
		for i, a := range answers {
			seen[a.Reason]++
			if chosen {
				if right := bytes.Equal(named, own[i]); right != (a.Reason != OtherServer) {
					t.Fatalf("server %v, when %v was chosen: %v", own[i], named, a.Reason)
				}
				continue
			}
			if got, want := apart(a), apart(answers[0]); got != want || a.Reason != answers[0].Reason {
				t.Fatalf("server %v says\n%s\nserver %v\n%s", own[i], got, own[0], want)
			}
			if a.Reply != nil && !bytes.Equal(a.Reply.Options[54], own[i]) {
				t.Fatalf("server %v calls itself %v", own[i], a.Reply.Options[54])
			}
		}
	}
	for _, reason := range []Reason{Offered, Selected, Rebooted, Renewed, WrongAddress, OtherServer} {
		if seen[reason] == 0 {
			t.Errorf("%v did not occur: %v", reason, slices.Sorted(maps.Keys(seen)))
		}
	}
}

// apart is an answer without what tells servers apart.
func apart(a Answer) string {
	if a.Reply == nil {
		return fmt.Sprint(a.Reason)
	}
	r := *a.Reply
	if len(r.ServerIPAddr) > 0 {
		r.ServerIPAddr = []byte{0, 0, 0, 0}
	}
	r.Options = maps.Clone(r.Options)
	delete(r.Options, 54)
	return fmt.Sprintf("%v to %v %v %v, at most %d:\n%v", a.Reason, a.Dest.Way, a.Dest.Addr, a.Dest.MAC, a.Limit, r.Summary())
}
