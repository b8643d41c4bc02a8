package trace

import (
	"fmt"
	"strconv"
	"strings"

	"weft/internal/model"
)

// iface judges the OVS interface that carries the port's ID.
func (e *explainer) iface() Step {
	s := Step{Name: StepInterface, Host: e.p.Binding.Host}
	want := "with iface-id " + string(e.p.ID)
	if e.ev == nil {
		s.unlooked("interface", want, e.silence)
		return s
	}
	i := e.ev.Interface
	if i == nil {
		e.notPlugged(&s, want)
		return s
	}
	s.judge("interface", want, i.Name, true, "", "")
	if b := e.ev.Switch.Bridge; b != "" {
		s.want("bridge", b, i.Bridge, CauseWrongBridge, fmt.Sprintf("Interface %s is on bridge %s, and weft's integration bridge is %s.", i.Name, i.Bridge, b))
	}
	if e.p.DeviceOwner == model.OwnerDHCP {
		s.want("type", "internal", orNone(i.Type), CauseWrongType, fmt.Sprintf("Interface %s is of type %s, and the agent's own are internal.", i.Name, orNone(i.Type)))
	} else {
		s.show("type", orNone(i.Type))
	}
	// Who plugs need not write it; but when it is there, it must be right.
	mac := strings.ToLower(i.ExternalIDs["attached-mac"])
	s.judge("attached-mac", e.p.MAC.String(), orNone(mac), mac == "" || mac == e.p.MAC.String(), CauseAttachedMAC,
		fmt.Sprintf("Interface %s was plugged for MAC %s (external_ids:attached-mac), and the port's is %s.", i.Name, mac, e.p.MAC))
	// The error first: it says why there is no number.
	failed, noNumber := CauseInterfaceError, CauseNoOFPort
	failure, noNumberText := fmt.Sprintf("Open vSwitch cannot use interface %s: %s.", i.Name, i.Error), fmt.Sprintf("Open vSwitch has given interface %s no OpenFlow port (%d).", i.Name, i.OFPort)
	if e.ev.Device == nil && i.Type == "" {
		failed, noNumber = CauseStalePort, CauseStalePort
		failure = fmt.Sprintf("Interface %s is in Open vSwitch on host %s, but its device is gone: the VM has ended or crashed and was not unplugged.", i.Name, e.p.Binding.Host)
		noNumberText = failure
	}
	s.want("error", none, orNone(i.Error), failed, failure)
	s.judge("ofport", "a number above 0", strconv.Itoa(i.OFPort), i.OFPort > 0, noNumber, noNumberText)
	tag := "tag of the network"
	if e.ev.LocalVLAN != 0 {
		tag = strconv.Itoa(int(e.ev.LocalVLAN))
	}
	e.repaired(&s, e.ev, func(r Repair) bool { return r.Kind == repairPort && r.Name == i.Name })
	s.judge("tag", tag, orNone(number(int(i.Tag))), i.Tag != 0 && i.Tag == e.ev.LocalVLAN, CauseWrongTag,
		fmt.Sprintf("Interface %s has tag %s, and its network's local VLAN on this host is %s.", i.Name, orNone(number(int(i.Tag))), orNone(number(int(e.ev.LocalVLAN)))))
	e.settings(&s, e.ev, func(set Setting) bool { return set.Port == i.Name })
	for _, twin := range e.ev.Twins {
		s.find(Warning, "other interface", none, twin.Name+" on "+twin.Bridge, CauseTwin,
			fmt.Sprintf("Interface %s on bridge %s of host %s carries the port's iface-id too; %s is used.", twin.Name, twin.Bridge, e.p.Binding.Host, i.Name))
	}
	return s
}

// notPlugged says why no interface carries the port's ID where the port is bound.
func (e *explainer) notPlugged(s *Step, want string) {
	host := e.p.Binding.Host
	missing := func(observed string, cause Cause, format string, args ...any) {
		s.judge("interface", want, observed, false, cause, fmt.Sprintf(format, args...))
	}
	for _, there := range e.r.Elsewhere {
		if i := there.Interface; i != nil {
			missing(fmt.Sprintf("%s on host %s", i.Name, there.Host), CauseElsewhere,
				"The port is bound to host %s, but is plugged on host %s (interface %s), where no agent wires it.", host, there.Host, i.Name)
			return
		}
	}
	here := Evidence{Host: host, LookAlikes: e.ev.LookAlikes}
	for _, at := range append([]Evidence{here}, e.r.Elsewhere...) {
		if len(at.LookAlikes) == 0 {
			continue
		}
		l := at.LookAlikes[0]
		id := l.ExternalIDs["iface-id"]
		missing(fmt.Sprintf("%s on host %s, iface-id %s", l.Name, at.Host, orNone(id)), CauseIfaceID,
			"No interface carries the port's ID %s, but %s on host %s seems to be meant (%s): its iface-id is %s.", e.p.ID, l.Name, at.Host, strings.Join(l.Why, ", "), orNone(id))
		return
	}
	if d := e.ev.Device; d != nil {
		missing(none, CauseNotOnSwitch, "The tap %s is on host %s, but is plugged into no bridge of Open vSwitch.", d.Name, host)
		return
	}
	missing(none, CauseNotPlugged, "Nothing is plugged on host %s: no interface in Open vSwitch carries iface-id %s.", host, e.p.ID)
}

// device judges the kernel's device of a port.
func (e *explainer) device() Step {
	s := Step{Name: StepDevice, Host: e.p.Binding.Host}
	if e.ev == nil {
		s.unlooked("device", present, e.silence)
		return s
	}
	d := e.ev.Device
	if d == nil {
		s.judge("device", present, none, false, CauseNoDevice, fmt.Sprintf("The tap of the port is not there on host %s.", e.p.Binding.Host))
		return s
	}
	// Only a tap has a MAC of its own on the host's side; a veth or internal port carries
	// the port's MAC or any other.
	s.judge("device", present, d.Name, true, "", "")
	s.show("type", d.Kind)
	if d.Kind == "tun" {
		mac := e.p.MAC
		mac[0] = 0xfe
		s.want("mac", mac.String(), d.MAC, CauseTapMAC, fmt.Sprintf("The host's side of %s has MAC %s, and that of a tap of this port is %s.", d.Name, d.MAC, mac))
	} else {
		s.show("mac", d.MAC)
	}
	if e.r.Network != nil {
		s.want("mtu", strconv.Itoa(e.r.Network.MTU), strconv.Itoa(d.MTU), CauseTapMTU, fmt.Sprintf("%s has MTU %d, and the network's is %d.", d.Name, d.MTU, e.r.Network.MTU))
	}
	s.want("state", "up", upDown(d.Up), CauseTapDown, fmt.Sprintf("%s is down on host %s, so nothing passes it.", d.Name, e.p.Binding.Host))
	// A device that is down has no carrier either.
	if d.Up {
		text := fmt.Sprintf("Nothing holds the other end of %s: no VM runs on it.", d.Name)
		if d.Kind != "tun" {
			text = fmt.Sprintf("The other end of %s is down: the guest has its NIC switched off.", d.Name)
		}
		s.want("carrier", "yes", yesNo(d.Carrier), CauseNoCarrier, text)
	}
	if h := d.Holder; h != nil {
		who := fmt.Sprintf("%s, process %d", h.Name, h.PID)
		if h.Domain != "" {
			who += ", domain " + h.Domain
		}
		s.show("held by", who)
	}
	s.show("packets", fmt.Sprintf("%d from the guest, %d to it, %d dropped", d.RxPackets, d.TxPackets, d.RxDropped+d.TxDropped))
	return s
}
