package vswitch

import (
	"regexp"
	"strconv"
	"strings"
)

// Walk is the way of a packet through a switch, as ofproto/trace tells it.
type Walk struct {
	// Steps are the lookups in order, those after conntrack and in other bridges included.
	Steps []Step
	// Datapath are the actions of the datapath in the end, of each round through it: "drop", "ct(zone=1),recirc(0x1)".
	Datapath []string
}

// Step is one lookup in a table.
type Step struct {
	Bridge string
	Table  uint8
	// Match is that of the flow that matched, in ovs-ofctl's words; Miss: none did.
	Match    string
	Miss     bool
	Priority uint16
	Cookie   uint64
	Actions  []string
	// Outputs are the OpenFlow ports at which it puts the packet out.
	Outputs []uint32
}

// Drops reports whether a packet that comes here goes no further.
func (s *Step) Drops() bool {
	return s.Miss || len(s.Actions) == 1 && s.Actions[0] == "drop"
}

// Flow is the flow in ovs-ofctl's words, without its actions: table=72,priority=70,tcp.
func (s *Step) Flow() string {
	text := "table=" + strconv.Itoa(int(s.Table))
	if s.Miss {
		return text + " (no flow matches)"
	}
	text += ",priority=" + strconv.Itoa(int(s.Priority))
	if s.Match != "" {
		text += "," + s.Match
	}
	return text
}

var (
	walkBridge = regexp.MustCompile(`^\s*bridge\("(.*)"\)$`)
	walkStep   = regexp.MustCompile(`^\s*(\d{1,3})\. (?:(No match)\.|(?:(.*), )?priority (\d+)(?:, cookie 0x([0-9a-f]+))?)$`)
)

// ParseWalk reads what ofproto/trace prints. Lines that it does not know are passed over.
func ParseWalk(text string) Walk {
	var w Walk
	var bridges []string // those that the packet is in, by depth
	var open []int       // the steps that have not come back, by depth
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		action := strings.TrimSpace(line)
		depth := (len(line) - len(strings.TrimLeft(line, " "))) / 4
		if m := walkBridge.FindStringSubmatch(line); m != nil {
			bridges = append(bridges[:min(depth, len(bridges))], m[1])
		} else if rest, ok := strings.CutPrefix(line, "Datapath actions: "); ok {
			w.Datapath = append(w.Datapath, rest)
		} else if s, ok := parseStep(line); ok {
			if n := len(bridges); n > 0 {
				s.Bridge = bridges[min(depth, n-1)]
			}
			open = append(open[:min(depth, len(open))], len(w.Steps))
			w.Steps = append(w.Steps, s)
		} else if d := min(depth, len(open)); d > 0 && strings.Trim(action, "-") != "" {
			// After a walk through another bridge, that of a tunnel's device, say, the actions go on.
			w.Steps[open[d-1]].act(action)
			bridges = bridges[:min(d, len(bridges))]
		}
	}
	return w
}

// act adds an action, or what OVS remarks on the one before.
func (s *Step) act(action string) {
	if !strings.HasPrefix(action, "->") {
		s.Actions = append(s.Actions, action)
	}
	for _, before := range []string{"output:", "-> output port is "} {
		port, ok := strings.CutPrefix(action, before)
		if n, err := strconv.ParseUint(port, 10, 32); ok && err == nil {
			s.Outputs = append(s.Outputs, uint32(n))
		}
	}
}

func parseStep(line string) (Step, bool) {
	m := walkStep.FindStringSubmatch(line)
	if m == nil {
		return Step{}, false
	}
	table, err := strconv.ParseUint(m[1], 10, 8)
	s := Step{Table: uint8(table), Miss: m[2] != "", Match: m[3]}
	if m[4] == "0" && m[5] == "" && (s.Match == "reg0=0x1" || s.Match == "reg0=0x2") {
		// OVS's own flows for packets that match none, in its hidden table (ofproto-dpif.c).
		s.Miss, s.Match = true, ""
	}
	if err == nil && !s.Miss {
		var priority uint64
		priority, err = strconv.ParseUint(m[4], 10, 16)
		s.Priority = uint16(priority)
	}
	if err == nil && m[5] != "" {
		s.Cookie, err = strconv.ParseUint(m[5], 16, 64)
	}
	return s, err == nil
}
