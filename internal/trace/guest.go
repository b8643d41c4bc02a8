package trace

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"weft/internal/model"
)

// guest judges what the guest sends: with which MAC address, from which addresses, and whether
// anybody else sends with them.
func (e *explainer) guest() Step {
	s := Step{Name: StepGuest}
	if e.ev == nil || e.ev.Interface == nil || model.TrustedOwner(e.p.DeviceOwner) {
		return s
	}
	e.guestMAC(&s)
	e.guestAddrs(&s)
	e.rivals(&s)
	return s
}

// maxSources bounds what is listed of what a guest sends from.
const maxSources = 5

func (e *explainer) guestMAC(s *Step) {
	macs, _ := e.sendsFrom()
	own, foreign := e.sources(func(src Source) (own, foreign bool) {
		own = slices.Contains(macs, src.MAC)
		return own, !own && !src.MAC.IsZero()
	})
	const what = "sends with MAC"
	own = asLately(own, foreign)
	want := e.p.MAC.String()
	f := e.ev.Flows
	switch {
	case len(foreign) > 0 && len(own) > 0 && e.p.Filtered():
		s.find(Warning, what, want, "others too: "+macText(foreign), CauseGuestMACs,
			fmt.Sprintf("The guest also sends with MAC %s, which is not its own: that is dropped.", macText(foreign)))
	case len(foreign) > 0 && len(own) > 0:
		s.show(what, "its own and "+macText(foreign))
	case len(foreign) > 0 && e.p.Filtered():
		s.find(Broken, what, want, macText(foreign), CauseGuestMAC,
			fmt.Sprintf("The guest sends with MAC %s, and the port's is %s: all that it sends is dropped.", macText(foreign), e.p.MAC))
	case len(foreign) > 0:
		s.find(Warning, what, want, macText(foreign), CauseGuestMAC, fmt.Sprintf("The guest sends with MAC %s, and the port's is %s: DHCP does not know it.", macText(foreign), e.p.MAC))
	case len(own) > 0:
		s.judge(what, want, fmt.Sprintf("%s, last %s", own[0].MAC, ago(e.ev.At, e.ev.At.Add(-own[0].Age))), true, "", "")
	case f != nil && f.OtherMAC > 0 && f.FromMAC == 0:
		s.find(Broken, what, want, fmt.Sprintf("others only: %d packets", f.OtherMAC), CauseGuestMAC,
			fmt.Sprintf("The guest has sent nothing with the port's MAC %s, and %d packets with another, which were dropped.", e.p.MAC, f.OtherMAC))
	default:
		s.show(what, "nothing in the last 10 s")
	}
}

func (e *explainer) guestAddrs(s *Step) {
	macs, prefixes := e.sendsFrom()
	own, foreign := e.sources(func(src Source) (own, foreign bool) {
		a := src.Addr.Addr()
		if !a.Is4() || a.IsUnspecified() || !src.MAC.IsZero() && !slices.Contains(macs, src.MAC) {
			return false, false
		}
		own = slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Overlaps(src.Addr) })
		if exact(src.Addr) {
			own = slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(a) })
		}
		return own && !src.Dropped, !own
	})
	const what = "sends from"
	var mine []string
	for _, f := range e.p.FixedIPs {
		if f.Addr.Is4() {
			mine = append(mine, f.Addr.String())
		}
	}
	want := orNone(strings.Join(mine, ", "))
	if len(mine) == 0 && len(foreign) == 0 {
		return
	}
	if len(foreign) == 0 {
		if len(own) > 0 {
			s.judge(what, want, fmt.Sprintf("%s, last %s", own[0].Addr.Addr(), ago(e.ev.At, e.ev.At.Add(-own[0].Age))), true, "", "")
		} else {
			s.show(what, "nothing in the last 10 s")
		}
		return
	}
	observed := addrText(foreign)
	own = asLately(own, foreign)
	itself := func(src Source) bool { return !src.Addr.Addr().IsLinkLocalUnicast() }
	used := len(own) > 0 || e.hasSent(mine) && !slices.ContainsFunc(foreign, func(src Source) bool { return src.ARP })
	switch {
	case !e.p.Filtered():
		s.show(what, observed)
	case !slices.ContainsFunc(foreign, itself):
		s.find(Warning, what, want, observed, CauseGuestLinkLocal,
			fmt.Sprintf("The guest has given itself %s, as one does that gets no answer from DHCP.", observed))
	case used:
		s.find(Warning, what, want, "others too: "+observed, CauseGuestAddresses,
			fmt.Sprintf("The guest also sends from %s, which is not its own: that is dropped.", observed))
	default:
		s.find(Broken, what, want, observed, CauseGuestAddress,
			fmt.Sprintf("The guest uses the address %s, and the port has %s: what it sends is dropped.", observed, want))
	}
}

// hasSent reports whether the guest has ever sent from one of these addresses.
func (e *explainer) hasSent(addrs []string) bool {
	return e.ev.Flows != nil && slices.ContainsFunc(addrs, func(a string) bool { return e.ev.Flows.Sent[a] > 0 })
}

// sendsFrom is what the port may send with and from.
func (e *explainer) sendsFrom() (macs []model.MAC, prefixes []netip.Prefix) {
	macs = []model.MAC{e.p.MAC}
	for _, f := range e.p.FixedIPs {
		prefixes = append(prefixes, netip.PrefixFrom(f.Addr, f.Addr.BitLen()))
	}
	for _, pair := range e.p.AddressPairs {
		prefixes = append(prefixes, pair.Prefix.Masked())
		if !pair.MAC.IsZero() {
			macs = append(macs, pair.MAC)
		}
	}
	return macs, prefixes
}

// sources sorts the guest's frames into its own and others, the last first.
func (e *explainer) sources(which func(Source) (own, foreign bool)) (own, foreign []Source) {
	for _, src := range e.ev.Sources {
		switch isOwn, isForeign := which(src); {
		case isOwn:
			own = append(own, src)
		case isForeign:
			foreign = append(foreign, src)
		}
	}
	last := func(a, b Source) int { return cmp.Compare(a.Age, b.Age) }
	slices.SortStableFunc(own, last)
	slices.SortStableFunc(foreign, last)
	return own, foreign
}

// asLately are those of own that were seen about as lately as the last of foreign: who has changed an
// address is remembered with the old one for a while. Of a single frame nobody knows when it came.
func asLately(own, foreign []Source) []Source {
	const about = 2 * time.Second
	if len(foreign) == 0 {
		return own
	}
	return slices.DeleteFunc(slices.Clone(own), func(s Source) bool { return s.Packets == 0 || s.Age > foreign[0].Age+about })
}

// exact reports whether the address is known to the last bit. The kernel leaves out the bits at
// which it did not look; Open vSwitch itself shows those of the first packet.
func exact(p netip.Prefix) bool { return p.Masked() != p || p.IsSingleIP() }

func macText(all []Source) string {
	return listText(all, func(s Source) string { return s.MAC.String() })
}

// addrText leaves out a range if an address in it is known: ARP messages tell it, and what the guest sends after them only the range.
func addrText(all []Source) string {
	told := func(s Source) bool {
		return !exact(s.Addr) && slices.ContainsFunc(all, func(o Source) bool { return exact(o.Addr) && s.Addr.Contains(o.Addr.Addr()) })
	}
	return listText(slices.DeleteFunc(slices.Clone(all), told), func(s Source) string {
		if exact(s.Addr) {
			return s.Addr.Addr().String()
		}
		return "one in " + s.Addr.String()
	})
}

// listText lists each text once.
func listText(all []Source, text func(Source) string) string {
	var out []string
	for _, s := range all {
		if t := text(s); !slices.Contains(out, t) {
			out = append(out, t)
		}
	}
	if n := len(out) - maxSources; n > 0 {
		out = append(out[:maxSources], fmt.Sprintf("%d more", n))
	}
	return strings.Join(out, ", ")
}

// rivals judges who else sends with the port's MAC or from its addresses.
func (e *explainer) rivals(s *Step) {
	said := map[string]bool{}
	for _, r := range e.ev.Rivals {
		what, cause, own := "mac elsewhere", CauseDuplicateMAC, e.p.MAC.String()
		if r.MAC != e.p.MAC {
			if !exact(r.Addr) || !slices.ContainsFunc(e.p.FixedIPs, func(f model.FixedIP) bool { return f.Addr == r.Addr.Addr() }) || e.pairedAt(r.Port, r.Addr.Addr()) {
				continue
			}
			what, cause, own = "address elsewhere", CauseDuplicateAddress, r.Addr.Addr().String()
		}
		where := e.whereOf(r)
		if said[what+where] {
			continue
		}
		said[what+where] = true
		verdict, text := Broken, fmt.Sprintf("Somebody else uses %s on the network: %s.", own, where)
		if r.Dropped {
			verdict, text = Warning, fmt.Sprintf("Somebody else tries to use %s on the network, which is dropped: %s.", own, where)
		}
		s.find(verdict, what, none, where+", last "+ago(e.ev.At, e.ev.At.Add(-r.Age)), cause, text)
		s.onlyAdmins(fmt.Sprintf("Somebody else uses %s on the network.", own))
	}
}

// whereOf says where a rival's frames come from.
func (e *explainer) whereOf(r Source) string {
	where := "device " + r.Device + " on host " + string(e.ev.Host)
	if r.VTEP.IsValid() {
		where = "a tunnel from " + r.VTEP.String()
		if r.Host != "" {
			where = "host " + string(r.Host)
		}
	}
	if r.Port != "" {
		where = "port " + string(r.Port) + ", " + where
	}
	if r.MAC != e.p.MAC && !r.MAC.IsZero() {
		where += ", MAC " + r.MAC.String()
	}
	return where
}

// pairedAt reports whether another port may use an address because of an address pair.
func (e *explainer) pairedAt(id model.PortID, a netip.Addr) bool {
	return slices.ContainsFunc(e.r.Ports, func(p *model.Port) bool {
		return p.ID == id && slices.ContainsFunc(p.AddressPairs, func(pair model.AddressPair) bool { return pair.Prefix.Contains(a) })
	})
}
