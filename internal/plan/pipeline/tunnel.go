package pipeline

import (
	"net/netip"
	"slices"
	"strings"

	"weft/internal/model"
	"weft/internal/plan/view"
	"weft/internal/plan/vif"
	"weft/internal/plan/vswitch"
)

// tunnel lays out br-tun: the way to br-int, and a port for each host that shares a network.
func (l *layout) tunnel() vswitch.Bridge {
	b := l.bridge(l.TunnelBridge)
	b.TableNames = TunTables()
	b.Ports = []vswitch.Port{patchPort(vif.PatchInt, vif.PatchTun, OFPatchInt)}
	for _, t := range l.view.Tunnels {
		b.Ports = append(b.Ports, vswitch.Port{
			Name: vif.Tunnel(model.SegmentVXLAN, t.VTEP), Type: "vxlan", OFPort: uint32(t.OFPort),
			Options: map[string]string{"remote_ip": t.VTEP.String(), "local_ip": l.VTEP.String(),
				"in_key": "flow", "out_key": "flow", "df_default": "true", "egress_pkt_mark": "0"},
		})
	}
	return b
}

// tunBase are the flows of br-tun that are there whatever the view.
func (l *layout) tunBase() []vswitch.Flow {
	c := l.base()
	flows := []vswitch.Flow{
		flow(TunnelStart, 0, c, match()),
		flow(PatchLVToTun, 1, c, match().ARP().EthDst(allHosts).Is(vswitch.ARPOp, vswitch.Num(arpRequest)), goTo(ARPResponder)),
		flow(PatchLVToTun, 0, c, match().Unicast(), goTo(UnicastToTun)),
		flow(PatchLVToTun, 0, c, match().Multicast(), goTo(FloodToTun)),
		flow(GRETunToLV, 0, c, match()),
		flow(VXLANTunToLV, 0, c, match()),
		flow(GeneveTunToLV, 0, c, match()),
		flow(VXLANTunToLV, 2, c, match().Is(vswitch.TunID, vswitch.Num(model.ProbeVNI)).Type(model.ProbeEthType), vswitch.Controller{}),
		flow(LearnFromTun, 1, c, match(), l.learn(), vswitch.Output{Port: OFPatchInt}),
		flow(UnicastToTun, 0, c, match(), goTo(FloodToTun)),
		flow(ARPResponder, 0, c, match(), goTo(FloodToTun)),
		flow(FloodToTun, 0, c, match()),
	}
	if l.answersND() {
		flows = append(flows, flow(PatchLVToTun, 1, c, match().ICMPv6(solicitation).Multicast(), goTo(ARPResponder)),
			// A solicitation that does not say who asks has no room for the answer.
			flow(ARPResponder, 2, c, neighbour(solicitation).Is(vswitch.NDSLL, vswitch.Value{}), goTo(FloodToTun)))
	}
	return flows
}

// answersND: with the kernel's datapath Open vSwitch refuses flows that write the flags or the option of an
// advertisement, though it would have to do so itself. There solicitations are flooded.
func (l *layout) answersND() bool { return l.DatapathType != "system" }

const (
	arpRequest = 1
	arpReply   = 2
	// ICMPv6 types of neighbour discovery.
	solicitation  = 135
	advertisement = 136
)

// neighbour matches neighbour discovery. Without the code Open vSwitch does not tell the kernel of
// what is in it.
func neighbour(typ uint8) vswitch.Match {
	return match().ICMPv6(typ).Is(vswitch.ICMPv6Code, vswitch.Value{})
}

var allHosts = model.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// learn remembers behind which tunnel a MAC address is: a flow in table 20 that sends
// what is for it back there, untagged. It matches the VNI, which the network alone has, and not the local
// VLAN, which another may get while the flow lives.
func (l *layout) learn() vswitch.Action {
	return vswitch.Learn{
		Table: UnicastToTun, Priority: 1, HardTimeout: 300, Cookie: vswitch.Cookie(l.CookieOwner, vswitch.KindLearned, 0),
		Specs: []vswitch.LearnSpec{
			{Kind: vswitch.LearnMatch, Dst: vswitch.TunID, NBits: 64, Src: vswitch.TunID},
			{Kind: vswitch.LearnMatch, Dst: vswitch.EthDst, NBits: 48, Src: vswitch.EthSrc},
			{Kind: vswitch.LearnLoad, Dst: vswitch.VLANTCI, NBits: 16},
			{Kind: vswitch.LearnOutput, NBits: 32, Src: vswitch.InPortField},
		},
	}
}

// TunnelCookie is the cookie of the flows of a tunnel.
func TunnelCookie(owner uint16, vtep netip.Addr) uint64 {
	b := vtep.As16()
	return vswitch.Cookie(owner, vswitch.KindTunnel, uint32(b[12])<<24|uint32(b[13])<<16|uint32(b[14])<<8|uint32(b[15]))
}

// tunPort is the flow of a tunnel: what comes out of it goes to table 4, and from there to br-int only.
func (l *layout) tunPort(t view.Tunnel) *vswitch.Part {
	c := TunnelCookie(l.CookieOwner, t.VTEP)
	return vswitch.NewPart(c, flow(TunnelStart, 1, c, match().InPort(uint32(t.OFPort)), goTo(VXLANTunToLV)))
}

// tunNetwork are the flows of a network on br-tun: its VNI, the way in, and the tunnels to all hosts
// where it lives. entry: what comes in with its VNI is the network's.
func (l *layout) tunNetwork(n *view.Network, to []uint32, entry bool) *vswitch.Part {
	c, vlan := l.ofNetwork(n), uint16(n.LocalVLAN)
	vni := vswitch.SetField{Field: vswitch.TunID, Value: vswitch.Num(uint64(n.Segment.ID))}
	flows := []vswitch.Flow{
		flow(TunnelStart, 1, c, match().InPort(OFPatchInt).VLAN(vlan), vni, goTo(PatchLVToTun)),
	}
	if entry {
		flows = append(flows, flow(VXLANTunToLV, 1, c, match().Is(vswitch.TunID, vni.Value),
			vswitch.PushVLAN{}, vswitch.SetVLAN(vlan), goTo(LearnFromTun)))
	}
	if len(to) > 0 {
		out := []vswitch.Action{vswitch.PopVLAN{}, vni}
		for _, t := range to {
			out = append(out, vswitch.Output{Port: t})
		}
		flows = append(flows, flow(FloodToTun, 1, c, match().VLAN(vlan), out...))
	}
	return vswitch.NewPart(c, flows...)
}

// remote is a port of another host, as its network sends to it.
type remote struct {
	port *model.Port
	vlan view.LocalVLAN
	vni  uint32
	// tunnel leads to its host.
	tunnel uint32
	// hasMAC: nobody before it on the network has its MAC address; addrs are the fixed IPs of which
	// that is true as well.
	hasMAC bool
	addrs  []netip.Addr
}

func (r remote) equal(o remote) bool {
	return r.port == o.port && r.vlan == o.vlan && r.vni == o.vni && r.tunnel == o.tunnel && r.hasMAC == o.hasMAC && slices.Equal(r.addrs, o.addrs)
}

// toRemote are the flows of a port of another host: what is for its MAC address goes there and
// nowhere else, and who asks for its addresses gets the answer from here, as far as the switch can give it.
func (l *layout) toRemote(r remote) (cookie uint64, flows []vswitch.Flow) {
	c := vswitch.Cookie(l.CookieOwner, vswitch.KindPort, vswitch.CookieObject(string(r.port.ID)))
	here := match().VLAN(uint16(r.vlan))
	if r.hasMAC {
		flows = append(flows, flow(UnicastToTun, 2, c, here.EthDst(r.port.MAC), vswitch.PopVLAN{},
			vswitch.SetField{Field: vswitch.TunID, Value: vswitch.Num(uint64(r.vni))}, vswitch.Output{Port: r.tunnel}))
	}
	for _, a := range r.addrs {
		if a.Is4() {
			flows = append(flows, flow(ARPResponder, 1, c, here.ARP().Addr(vswitch.ARPTPA, a), arpAnswer(r.port.MAC, a)...))
		} else if l.answersND() {
			about := func(typ uint8) vswitch.Match {
				return append(neighbour(typ), here...).Addr(vswitch.NDTarget, a)
			}
			// The answer's own fields can be written only to what is an advertisement already.
			flows = append(flows, flow(ARPResponder, 1, c, about(solicitation),
				vswitch.SetField{Field: vswitch.ICMPv6Type, Value: vswitch.Num(advertisement)}, vswitch.Resubmit{Table: ARPResponder}),
				flow(ARPResponder, 1, c, about(advertisement), ndAnswer(r.port, a)...))
		}
	}
	return c, flows
}

func whole(from, to vswitch.Field) vswitch.Action {
	return vswitch.Move{Src: from, Dst: to, NBits: from.Width()}
}

// arpAnswer turns a request for an address into its answer, and sends it back.
func arpAnswer(mac model.MAC, a netip.Addr) []vswitch.Action {
	return []vswitch.Action{
		whole(vswitch.EthSrc, vswitch.EthDst), vswitch.SetField{Field: vswitch.EthSrc, Value: vswitch.MACValue(mac)},
		vswitch.SetField{Field: vswitch.ARPOp, Value: vswitch.Num(arpReply)},
		whole(vswitch.ARPSHA, vswitch.ARPTHA), whole(vswitch.ARPSPA, vswitch.ARPTPA),
		vswitch.SetField{Field: vswitch.ARPSHA, Value: vswitch.MACValue(mac)},
		vswitch.SetField{Field: vswitch.ARPSPA, Value: vswitch.AddrValue(a)},
		vswitch.InPort{},
	}
}

// Flags of an advertisement (RFC 4861 section 4.4).
const (
	ndRouter    = 1 << 31
	ndSolicited = 1 << 30
	ndOverride  = 1 << 29
)

// targetLinkLayer is the option of an advertisement that has the MAC address.
const targetLinkLayer = 2

// ndAnswer turns a solicitation, whose type has been written already, into the advertisement of an
// address, and sends it back. Its first option, which had the MAC address of who asks, gets the
// one asked for. Who takes a router for none forgets its routes.
func ndAnswer(p *model.Port, a netip.Addr) []vswitch.Action {
	flags := uint64(ndSolicited | ndOverride)
	if strings.HasPrefix(p.DeviceOwner, model.OwnerRouterInterface) {
		flags |= ndRouter
	}
	return []vswitch.Action{
		whole(vswitch.EthSrc, vswitch.EthDst), vswitch.SetField{Field: vswitch.EthSrc, Value: vswitch.MACValue(p.MAC)},
		whole(vswitch.IPv6Src, vswitch.IPv6Dst), vswitch.SetField{Field: vswitch.IPv6Src, Value: vswitch.AddrValue(a)},
		vswitch.SetField{Field: vswitch.NDReserved, Value: vswitch.Num(flags)},
		vswitch.SetField{Field: vswitch.NDOptionsType, Value: vswitch.Num(targetLinkLayer)},
		vswitch.SetField{Field: vswitch.NDTLL, Value: vswitch.MACValue(p.MAC)},
		vswitch.InPort{},
	}
}
