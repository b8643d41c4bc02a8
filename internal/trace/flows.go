package trace

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// flows judges the flows on all hosts: works as in shadows.
func (e *explainer) flows(works bool) []Step {
	all := []Step{e.portFlows(works)}
	for _, h := range e.hosts() {
		if ev, _ := e.at(h); ev != nil && h != e.p.Binding.Host && len(ev.Shadows) > 0 {
			s := Step{Name: StepFlows, Host: h}
			e.shadows(&s, ev, works)
			all = append(all, s)
		}
	}
	return all
}

// portFlows compares the flows that the plan wants for the port with those in the switch.
func (e *explainer) portFlows(works bool) Step {
	s := Step{Name: StepFlows, Host: e.p.Binding.Host}
	if e.ev == nil {
		s.unlooked("flows", "as planned", e.silence)
		return s
	}
	f := e.ev.Flows
	if f == nil {
		s.judge("flows", "as planned", none, false, CauseNoFlows, "No flows are wanted for the port on this host: "+e.whyNoFlows()+".")
		return s
	}
	s.judge("flows", fmt.Sprintf("%d planned", f.Wanted), fmt.Sprintf("%d present", f.Present), f.Wanted == f.Present && f.Wanted > 0, CauseFlowsMissing,
		fmt.Sprintf("%d of the %d flows of the port are missing in the switch of host %s.", f.Wanted-f.Present, f.Wanted, e.p.Binding.Host))
	for _, m := range f.Missing {
		s.judge("missing", m, none, false, CauseFlowsMissing, "The flow "+m+" is missing.")
	}
	e.shadows(&s, e.ev, works)
	e.repaired(&s, e.ev, func(r Repair) bool { return r.Kind == repairFlows })
	s.show("packets", strconv.FormatUint(f.Packets, 10))
	return s
}

// filter says whether the port is filtered and by what, and what that has dropped.
func (e *explainer) filter() Step {
	s := Step{Name: StepFilter}
	switch {
	case !e.p.PortSecurity:
		s.show("filtered", "no: port security is off")
	case !e.p.Filtered():
		s.show("filtered", "no: the port belongs to the network itself")
	case len(e.p.SecurityGroups) == 0:
		s.show("filtered", "yes, without a security group: only DHCP and address resolution pass")
	default:
		s.show("filtered", "yes, by its addresses and the rules of its security groups")
	}
	for _, id := range e.p.SecurityGroups {
		s.show("security group", strings.TrimSpace(e.r.GroupNames[id]+" ("+id+")"))
	}
	if e.ev == nil {
		return s
	}
	if e.p.Filtered() {
		s.show("dropped", droppedText(e.ev.Dropped))
	}
	for _, f := range e.ev.Faults {
		switch {
		case f.Closes:
			s.judge("passes", "what is allowed", "nothing: "+f.Error, false, CauseClosed,
				"The port is closed, because its flows could not be put into the switch: "+f.Error+".")
		case f.Rules && e.p.Filtered() && len(e.p.SecurityGroups) > 0:
			s.judge("passes", "what is allowed", "less: "+f.Error, false, CauseRulesRefused,
				"Less than is allowed passes the port, because rules of security groups could not be put into the switch: "+f.Error+".")
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
