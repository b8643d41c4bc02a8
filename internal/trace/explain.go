package trace

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"weft/internal/model"
)

// metadataAddr is the address that every DHCP namespace holds besides its own.
var metadataAddr = netip.MustParsePrefix("169.254.169.254/32")

// Explain judges a port. ev is nil when its host said nothing; then silence says why.
func Explain(r Record, ev *Evidence, silence string, now time.Time) Chain {
	c := Chain{At: now}
	if r.Port == nil {
		s := Step{Name: StepRecord}
		s.judge("port", present, none, false)
		c.finish(s)
		return c
	}
	if silence == "" {
		silence = "the host sent no evidence"
	}
	c.PortID, c.Name, c.NetworkID, c.Host = r.Port.ID, r.Port.Name, r.Port.NetworkID, r.Port.Binding.Host
	e := explainer{r: r, p: r.Port, ev: ev, silence: silence, now: now}
	c.finish(e.record(), e.binding())
	if r.Port.Binding.Host == "" {
		// Nothing further is to be expected of a port that is bound nowhere.
		c.finish(e.status())
		return c
	}
	c.finish(e.host(), e.iface())
	if r.Port.DeviceOwner != model.OwnerDHCP {
		c.finish(e.device())
	}
	c.finish(e.filter(), e.flows())
	if e.servedAddrs() != nil || r.Port.DeviceOwner == model.OwnerDHCP {
		c.finish(e.dhcp())
	}
	if e.servedAddrs() != nil {
		c.finish(e.lease())
	}
	c.finish(e.status())
	if ev != nil && len(ev.Faults)+len(ev.Gaps) > 0 {
		c.finish(e.faults())
	}
	return c
}

// finish adds steps with their verdicts.
func (c *Chain) finish(steps ...Step) {
	if c.Steps == nil {
		c.Same = true
	}
	for _, s := range steps {
		s.Same = !slices.ContainsFunc(s.Items, func(it Item) bool { return !it.Same })
		c.Same = c.Same && s.Same
		c.Steps = append(c.Steps, s)
	}
}

type explainer struct {
	r       Record
	p       *model.Port
	ev      *Evidence
	silence string
	now     time.Time
}

func (e *explainer) record() Step {
	s := Step{Name: StepRecord}
	s.add("port", anything, string(e.p.ID))
	s.add("name", anything, e.p.Name)
	if e.r.Network == nil {
		s.judge("network", string(e.p.NetworkID), none, false)
	} else {
		s.judge("network", string(e.p.NetworkID), strings.TrimSpace(string(e.r.Network.ID)+" "+e.r.Network.Name), e.p.NetworkID == e.r.Network.ID)
		s.add("segment", anything, segment(e.r.Network.Segment))
		s.judge("network admin state", "up", upDown(e.r.Network.AdminStateUp), e.r.Network.AdminStateUp)
	}
	s.judge("mac", present, e.p.MAC.String(), !e.p.MAC.IsZero())
	for _, f := range e.p.FixedIPs {
		sub := e.subnet(f.SubnetID)
		if sub == nil {
			s.judge("address", "on subnet "+string(f.SubnetID), f.Addr.String()+", and there is no such subnet", false)
			continue
		}
		s.judge("address", "in "+sub.CIDR.String(), f.Addr.String(), sub.CIDR.Contains(f.Addr))
	}
	if len(e.p.FixedIPs) == 0 {
		s.add("address", anything, none)
	}
	s.judge("admin state", "up", upDown(e.p.AdminStateUp), e.p.AdminStateUp)
	return s
}

func (e *explainer) binding() Step {
	s := Step{Name: StepBinding}
	b := e.p.Binding
	observed := string(b.VIFType)
	if b.Reason != "" {
		observed += ": " + b.Reason
	}
	if e.p.Distributed() {
		s.add("host", anything, "every one with ports of the network")
		s.add("vif type", anything, observed)
	} else {
		s.judge("host", "a host", orNone(string(b.Host)), b.Host != "")
		s.judge("vif type", string(model.VIFOVS), observed, b.VIFType == model.VIFOVS)
	}
	s.add("vnic type", anything, b.VNICType)
	s.add("device", anything, strings.TrimSpace(e.p.DeviceOwner+" "+e.p.DeviceID))
	return s
}

func (e *explainer) host() Step {
	s := Step{Name: StepHost}
	if e.r.Host == nil {
		s.judge("agent", "registered", "no host "+string(e.p.Binding.Host)+" has ever joined", false)
	} else {
		alive := "alive"
		if !e.r.HostAlive {
			alive = "last heard of " + ago(e.now, e.r.Host.HeartbeatAt)
		}
		s.add("agent", "alive", alive)
	}
	if e.ev == nil {
		s.unlooked("evidence", present, e.silence)
		return s
	}
	f := e.ev.Feed
	observed := "in sync at revision " + strconv.FormatInt(f.Revision, 10)
	switch {
	case !f.InSync && f.FromDisk:
		observed = "out of sync, cloud from disk: " + f.Error
	case !f.InSync:
		observed = "out of sync since " + f.Since.UTC().Format(timeForm) + ": " + f.Error
	}
	s.judge("feed", "in sync", observed, f.InSync)
	if e.ev.Known {
		s.judge("port known to agent", fmt.Sprintf("revision %d", e.p.Revision), fmt.Sprintf("revision %d", e.ev.Revision), e.ev.Revision >= e.p.Revision)
	} else {
		s.judge("port known to agent", fmt.Sprintf("revision %d", e.p.Revision), none, false)
	}
	sw := "connected"
	if !e.ev.Switch.Connected {
		sw = "not connected: " + e.ev.Switch.Error
	}
	s.add("switch", "connected", sw)
	if e.ev.Switch.Version != "" {
		s.add("switch version", anything, e.ev.Switch.Version)
	}
	return s
}

func (e *explainer) iface() Step {
	s := Step{Name: StepInterface}
	want := "with iface-id " + string(e.p.ID)
	if e.ev == nil {
		s.unlooked("interface", want, e.silence)
		return s
	}
	i := e.ev.Interface
	if i == nil {
		s.judge("interface", want, none+": nothing is plugged", false)
		return s
	}
	s.judge("interface", want, i.Name, true)
	if b := e.ev.Switch.Bridge; b != "" {
		s.add("bridge", b, i.Bridge)
	}
	if e.p.DeviceOwner == model.OwnerDHCP {
		s.add("type", "internal", i.Type)
	} else {
		s.add("type", anything, orNone(i.Type))
	}
	// Who plugs need not write it; but when it is there, it must be right.
	mac := strings.ToLower(i.ExternalIDs["attached-mac"])
	s.judge("attached-mac", e.p.MAC.String(), orNone(mac), mac == "" || mac == e.p.MAC.String())
	s.judge("ofport", "a number above 0", strconv.Itoa(i.OFPort), i.OFPort > 0)
	s.add("error", none, orNone(i.Error))
	tag := "tag of the network"
	if e.ev.LocalVLAN != 0 {
		tag = strconv.Itoa(int(e.ev.LocalVLAN))
	}
	s.judge("tag", tag, orNone(number(int(i.Tag))), i.Tag != 0 && i.Tag == e.ev.LocalVLAN)
	return s
}

func (e *explainer) device() Step {
	s := Step{Name: StepDevice}
	if e.ev == nil {
		s.unlooked("device", present, e.silence)
		return s
	}
	d := e.ev.Device
	if d == nil {
		s.judge("device", present, none, false)
		return s
	}
	// Only a tap has a MAC of its own on the host's side; a veth or internal port carries
	// the port's MAC or any other.
	s.judge("device", present, d.Name, true)
	if d.Kind == "tun" {
		s.add("type", "tun", d.Kind)
		mac := e.p.MAC
		mac[0] = 0xfe
		s.add("mac", mac.String(), d.MAC)
	} else {
		s.add("type", anything, d.Kind)
		s.add("mac", anything, d.MAC)
	}
	if e.r.Network != nil {
		s.add("mtu", strconv.Itoa(e.r.Network.MTU), strconv.Itoa(d.MTU))
	}
	s.add("state", "up", upDown(d.Up))
	carrier := "yes"
	if !d.Carrier {
		carrier = "no: nothing holds the other end"
	}
	s.add("carrier", "yes", carrier)
	s.add("packets", anything, fmt.Sprintf("%d from the guest, %d to it, %d dropped", d.RxPackets, d.TxPackets, d.RxDropped+d.TxDropped))
	return s
}

func (e *explainer) flows() Step {
	s := Step{Name: StepFlows}
	if e.ev == nil {
		s.unlooked("flows", "as planned", e.silence)
		return s
	}
	f := e.ev.Flows
	if f == nil {
		s.judge("flows", "as planned", "none planned: "+e.whyNoFlows(), false)
		return s
	}
	s.judge("flows", fmt.Sprintf("%d planned", f.Wanted), fmt.Sprintf("%d present", f.Present), f.Wanted == f.Present && f.Wanted > 0)
	for _, m := range f.Missing {
		s.judge("missing", m, none, false)
	}
	s.add("packets", anything, strconv.FormatUint(f.Packets, 10))
	return s
}

// filter says whether the port is filtered and by what, and what that has dropped.
func (e *explainer) filter() Step {
	s := Step{Name: StepFilter}
	switch {
	case !e.p.PortSecurity:
		s.add("filtered", anything, "no: port security is off")
	case !e.p.Filtered():
		s.add("filtered", anything, "no: the port belongs to the network itself")
	case len(e.p.SecurityGroups) == 0:
		s.add("filtered", anything, "yes, without a security group: only DHCP and address resolution pass")
	default:
		s.add("filtered", anything, "yes, by its addresses and the rules of its security groups")
	}
	for _, id := range e.p.SecurityGroups {
		s.add("security group", anything, strings.TrimSpace(e.r.GroupNames[id]+" ("+id+")"))
	}
	if e.ev == nil {
		s.unlooked("dropped", anything, e.silence)
		return s
	}
	if e.p.Filtered() {
		s.add("dropped", anything, droppedText(e.ev.Dropped))
	}
	for _, f := range e.ev.Faults {
		switch {
		case f.Closes:
			s.judge("passes", "what is allowed", "nothing: the port is closed, because its flows could not be put into the switch: "+f.Error, false)
		case f.Rules && e.p.Filtered() && len(e.p.SecurityGroups) > 0:
			s.judge("passes", "what is allowed", "less, because rules of security groups could not be put into the switch: "+f.Error, false)
		}
	}
	return s
}

// droppedText lists numbers of packets by reason, the most first.
func droppedText(by map[string]uint64) string {
	var out []string
	for _, reason := range slices.SortedFunc(maps.Keys(by), func(a, b string) int {
		return cmp.Or(cmp.Compare(by[b], by[a]), cmp.Compare(a, b))
	}) {
		if n := by[reason]; n > 0 {
			out = append(out, fmt.Sprintf("%s %d", reason, n))
		}
	}
	return orNone(strings.Join(out, ", "))
}

func (e *explainer) whyNoFlows() string {
	switch {
	case !e.ev.Known:
		return "the agent does not know the port"
	case e.ev.Interface == nil:
		return "nothing is plugged"
	case !e.ev.Switch.Connected:
		return "the switch is not connected"
	}
	return "the interface is not usable"
}

func (e *explainer) dhcp() Step {
	s := Step{Name: StepDHCPServer}
	if len(e.r.DHCPPorts) == 0 {
		s.judge("dhcp port", present, none+" on network "+string(e.p.NetworkID), false)
		return s
	}
	here := slices.IndexFunc(e.r.DHCPPorts, func(p *model.Port) bool {
		return p.Distributed() || p.Binding.Host == e.p.Binding.Host
	})
	if here < 0 {
		p := e.r.DHCPPorts[0]
		s.add("dhcp port", anything, fmt.Sprintf("%s on host %s", p.ID, p.Binding.Host))
		return s
	}
	dp := e.r.DHCPPorts[here]
	s.add("dhcp port", anything, string(dp.ID))
	if e.ev == nil {
		s.unlooked("namespace", present, e.silence)
		return s
	}
	d := e.ev.DHCP
	if d == nil {
		s.judge("namespace", present, none+": the agent does not serve this network", false)
		return s
	}
	observed := d.Namespace
	if !d.Exists {
		observed = none
	}
	s.add("namespace", d.Namespace, observed)
	s.add("device", anything, orNone(d.Device))
	for _, a := range e.serverAddrs(dp) {
		got := none
		if slices.Contains(d.Addresses, a.String()) {
			got = a.String()
		}
		s.add("address", a.String(), got)
	}
	s.add("mac", dp.MAC.String(), orNone(d.MAC))
	if e.r.Network != nil {
		s.add("mtu", strconv.Itoa(e.r.Network.MTU), orNone(number(d.MTU)))
	}
	listening := "yes"
	if !d.Listening {
		listening = "no"
	}
	s.add("listening", "yes", listening)
	for _, a := range e.servedAddrs() {
		got := none
		if slices.Contains(d.Leases, a.String()) {
			got = a.String()
		}
		s.add("lease", a.String(), got)
	}
	return s
}

// serverAddrs are the addresses that the namespace of a DHCP port must hold: those from
// which it answers, which are of IPv4.
func (e *explainer) serverAddrs(dp *model.Port) []netip.Prefix {
	var out []netip.Prefix
	for _, f := range dp.FixedIPs {
		if sub := e.subnet(f.SubnetID); sub != nil && sub.DHCPv4() {
			out = append(out, netip.PrefixFrom(f.Addr, sub.CIDR.Bits()))
		}
	}
	return append(out, metadataAddr)
}

// servedAddrs are the port's addresses that DHCP gives out; nil for a port that needs no DHCP.
func (e *explainer) servedAddrs() []netip.Addr {
	if model.TrustedOwner(e.p.DeviceOwner) {
		return nil
	}
	var out []netip.Addr
	for _, f := range e.p.FixedIPs {
		if sub := e.subnet(f.SubnetID); sub != nil && sub.DHCPv4() {
			out = append(out, f.Addr)
		}
	}
	return out
}

// lease shows the last of each message: what the guest asked, and what it was told.
func (e *explainer) lease() Step {
	s := Step{Name: StepLease}
	if e.ev == nil {
		s.unlooked("last message", anything, e.silence)
		return s
	}
	if e.ev.DHCP == nil {
		s.add("last message", anything, "not served by this host")
		return s
	}
	if len(e.ev.Transactions) == 0 {
		s.judge("last message", "DISCOVER or REQUEST", "none ever seen from "+e.p.MAC.String(), false)
		return s
	}
	last := map[string]Transaction{}
	var order []string
	for _, t := range e.ev.Transactions {
		if i := slices.Index(order, t.Message); i >= 0 {
			order = slices.Delete(order, i, i+1)
		}
		order = append(order, t.Message)
		last[t.Message] = t
	}
	for _, m := range order {
		t := last[m]
		want, ok := expectedReply(m), true
		if want != anything {
			ok = t.Reply == want && e.holds(t.Addr)
		}
		s.judge(m, want, replyText(t, e.now), ok)
	}
	return s
}

func (e *explainer) holds(addr string) bool {
	return slices.ContainsFunc(e.p.FixedIPs, func(f model.FixedIP) bool { return f.Addr.String() == addr })
}

// expectedReply is what a healthy guest's message is answered with.
func expectedReply(message string) string {
	switch message {
	case "DISCOVER":
		return "OFFER"
	case "REQUEST":
		return "ACK"
	}
	return anything
}

func replyText(t Transaction, now time.Time) string {
	var b strings.Builder
	b.WriteString(t.At.UTC().Format("2006-01-02T15:04:05.000Z"))
	if t.Reply == "" {
		b.WriteString(" silence")
	} else {
		fmt.Fprintf(&b, " %s", t.Reply)
	}
	if t.Addr != "" {
		fmt.Fprintf(&b, " %s", t.Addr)
	}
	if t.Elapsed > 0 {
		fmt.Fprintf(&b, " after %.3f ms", float64(t.Elapsed)/1e6)
	}
	if t.Reason != "" {
		fmt.Fprintf(&b, ": %s", t.Reason)
	}
	fmt.Fprintf(&b, " (%s)", ago(now, t.At))
	return b.String()
}

func (e *explainer) status() Step {
	s := Step{Name: StepStatus}
	if e.p.Binding.Host != "" {
		e.facts(&s)
	}
	s.add("status", string(model.PortActive), string(e.p.Status))
	return s
}

func (e *explainer) facts(s *Step) {
	if e.ev == nil {
		s.unlooked("wired", "yes", e.silence)
		return
	}
	f := e.ev.Reported
	if f == nil {
		s.judge("wired", "yes", "nothing reported yet", false)
		return
	}
	s.add("wired", "yes", yesNo(f.Wired))
	if e.servedAddrs() != nil {
		s.add("dhcp", "yes", yesNo(f.DHCP))
	}
	s.add("reported", anything, f.At.UTC().Format("2006-01-02T15:04:05.000Z")+" ("+ago(e.now, f.At)+")")
}

func (e *explainer) faults() Step {
	s := Step{Name: StepFaults}
	for _, f := range e.ev.Faults {
		s.judge(f.Object, f.Op, fmt.Sprintf("%s (since %s, tried %d times)", f.Error, f.Since.UTC().Format(timeForm), f.Tries), false)
	}
	for _, g := range e.ev.Gaps {
		s.judge("not looked at", anything, g, false)
	}
	return s
}

func (e *explainer) subnet(id model.SubnetID) *model.Subnet {
	for _, s := range e.r.Subnets {
		if s != nil && s.ID == id {
			return s
		}
	}
	return nil
}
