package trace

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"weft/internal/model"
	"weft/internal/plan/vif"
)

// Setting is something in Open vSwitch that keeps packets from where flows send them, and that weft never sets. Port is
// empty for a setting of the bridge. The words for Name are those of package ovs.
type Setting struct {
	Bridge string `json:"bridge"`
	Port   string `json:"port,omitempty"`
	Name   string `json:"name"`
	Value  string `json:"value"`
}

// tooSlow is a rate, in kbit/s, that nobody means for a NIC.
const tooSlow = 100

// settings adds those that are of the objects that a step is about.
func (e *explainer) settings(s *Step, ev *Evidence, which func(Setting) bool) {
	for _, set := range ev.Settings {
		if which(set) {
			s.setting(ev.Host, set)
		}
	}
}

// settingsOfDHCP adds those on the way to a DHCP port, as far as no earlier step has them, and reports whether all is well.
func (e *explainer) settingsOfDHCP(s *Step, ev *Evidence, dp *model.Port) bool {
	begin := len(s.Items)
	e.settings(s, ev, func(set Setting) bool {
		if set.Port == vif.TapName(dp.ID) {
			return dp.ID != e.p.ID
		}
		return ev.Host != e.p.Binding.Host && e.ofBridges(set)
	})
	if len(s.Items) > begin {
		s.Name, s.Host = StepExchange, ev.Host
	}
	return !slices.ContainsFunc(s.Items[begin:], func(it Item) bool { return it.Verdict == Broken })
}

// ofBridges: a setting of a bridge, or of a port between two of them.
func (e *explainer) ofBridges(set Setting) bool {
	isDHCP := slices.ContainsFunc(e.r.DHCPPorts, func(dp *model.Port) bool { return vif.TapName(dp.ID) == set.Port })
	isOwn := e.ev != nil && e.ev.Interface != nil && e.ev.Interface.Name == set.Port
	return !isDHCP && !isOwn && !tunnelName(set.Port)
}

// setting judges one. Each sentence has the command that takes it away.
func (s *Step) setting(host model.HostName, set Setting) {
	at := fmt.Sprintf("%s on host %s", cmp.Or(set.Port, "bridge "+set.Bridge), host)
	v, text, undo := Broken, "", ""
	clear := func(table, value string) {
		undo = fmt.Sprintf("ovs-vsctl set %s %s %s=%s", table, cmp.Or(set.Port, set.Bridge), set.Name, value)
	}
	flag := func(way string) {
		undo = fmt.Sprintf("ovs-ofctl -O OpenFlow14 mod-port %s %s %s", set.Bridge, set.Port, way)
	}
	switch set.Name {
	case "no-receive":
		text = "Open vSwitch drops all that comes in from " + at + ": its OpenFlow port is set to no-receive"
		flag("receive")
	case "no-forward":
		text = "Open vSwitch puts nothing out at " + at + ": its OpenFlow port is set to no-forward"
		flag("forward")
	case "mirror":
		text = fmt.Sprintf("%s is the output of mirror %s, so Open vSwitch takes nothing from it and sends it nothing of its own", capital(at), set.Value)
		undo = "ovs-vsctl clear Bridge " + set.Bridge + " mirrors"
	case "vlan_mode":
		v, text = Warning, fmt.Sprintf("%s has vlan_mode %s, so its tag does not mean what weft means by it", capital(at), set.Value)
		undo = "ovs-vsctl clear Port " + set.Port + " vlan_mode"
	case "protected":
		v, text = Warning, capital(at)+" is protected: it reaches no other protected port of its bridge"
		clear("Port", "false")
	case "ingress_policing_rate":
		v, text = rate(set.Value, 1, "What the guest sends is limited to %s at "+at)
		clear("Interface", "0")
	case "qos":
		v, text = rate(set.Value, 1000, "What the guest receives is limited to %s at "+at)
		undo = "ovs-vsctl clear Port " + set.Port + " qos"
	case "stp_enable", "rstp_enable":
		text = fmt.Sprintf("Spanning tree (%s) has %s closed: %s", set.Name, at, set.Value)
		if set.Port == "" {
			v, text = Warning, fmt.Sprintf("Spanning tree (%s) is on at %s, and closes ports for half a minute and longer", set.Name, at)
		}
		undo = fmt.Sprintf("ovs-vsctl set Bridge %s %s=false", set.Bridge, set.Name)
	default:
		v, text, undo = Warning, fmt.Sprintf("%s has %s set to %s", capital(at), set.Name, set.Value), "what has set it"
	}
	what := strings.TrimSpace(set.Port + " " + set.Name)
	if v == OK {
		s.show(what, text)
		return
	}
	s.find(v, what, none, set.Value, CauseSetting, fmt.Sprintf("%s (%s takes that away).", text, undo))
}

// rate judges a limit, of so many to a kbit/s: libvirt and Nova set such limits, too.
func rate(value string, toKilobit float64, format string) (Verdict, string) {
	n, err := strconv.ParseFloat(value, 64)
	kbit := n / toKilobit
	text := fmt.Sprintf(format, strconv.FormatFloat(kbit, 'f', -1, 64)+" kbit/s")
	if err == nil && kbit < tooSlow {
		return Broken, text
	}
	return OK, text
}

func capital(s string) string {
	if after, ok := strings.CutPrefix(s, "bridge "); ok {
		return "Bridge " + after
	}
	return s
}
