package vswitch

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Counted is a flow as a switch reports it, with its counters.
type Counted struct {
	Flow
	Packets, Bytes uint64
	Age            time.Duration
}

// ParseFlow reads one flow in ovs-ofctl syntax: what add-flow takes, what
// Flow.String prints or a line of dump-flows. The result is normal. Table and port
// names (--names) and fields and actions that weft does not use are errors.
func ParseFlow(s string) (Flow, error) {
	c, err := ParseDump(s)
	return c.Flow, err
}

// ParseDump is ParseFlow that keeps the counters of a line of dump-flows.
func ParseDump(s string) (Counted, error) {
	c, err := parseDump(s)
	if err != nil {
		return Counted{}, fmt.Errorf("flow %q: %w", abbreviate(strings.TrimSpace(s)), err)
	}
	return c, nil
}

// ParseFlows reads the output of dump-flows or a file of flows: one flow a line;
// empty lines, comments (#) and reply headings are skipped.
func ParseFlows(text string) ([]Counted, error) {
	var all []Counted
	for n, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' || strings.HasPrefix(line, "NXST_FLOW") || strings.HasPrefix(line, "OFPST_FLOW") {
			continue
		}
		c, err := ParseDump(line)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n+1, err)
		}
		all = append(all, c)
	}
	return all, nil
}

func abbreviate(s string) string {
	if len(s) > 200 {
		return s[:200] + "..."
	}
	return s
}

func parseDump(s string) (Counted, error) {
	head, acts, ok := cutActions(s)
	if !ok {
		return Counted{}, errors.New("no actions=")
	}
	p := flowParser{c: Counted{Flow: Flow{Priority: 32768}}}
	for _, word := range strings.FieldsFunc(head, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' }) {
		if err := p.word(word); err != nil {
			return Counted{}, err
		}
	}
	if err := p.resolve(); err != nil {
		return Counted{}, err
	}
	var err error
	if p.c.Actions, err = parseActions(acts); err != nil {
		return Counted{}, err
	}
	// The check comes first: normal form hides what it looks for.
	if err := p.c.Flow.Check(); err != nil {
		return Counted{}, err
	}
	p.c.Flow = p.c.Flow.Normalize()
	return p.c, nil
}

func cutActions(s string) (head, actions string, ok bool) {
	i := strings.Index(s, "actions=")
	if i < 0 || i > 0 && s[i-1] != ' ' && s[i-1] != ',' {
		return "", "", false
	}
	return s[:i], strings.TrimSpace(s[i+len("actions="):]), true
}

// flowParser collects the words before actions=. Words whose field depends on the
// protocol wait in later.
type flowParser struct {
	c     Counted
	later [][2]string
}

var ignoredWords = map[string]bool{
	"reset_counts": true, "send_flow_rem": true, "check_overlap": true, "no_packet_counts": true,
	"no_byte_counts": true, "idle_age": true, "hard_age": true, "importance": true,
}

func (p *flowParser) word(w string) error {
	key, val, hasVal := strings.Cut(w, "=")
	if ignoredWords[key] {
		return nil
	}
	if !hasVal {
		for _, s := range shorthands {
			if s.word == w {
				return p.shorthand(s)
			}
		}
		return fmt.Errorf("unknown word %q", w)
	}
	var err error
	switch key {
	case "cookie":
		p.c.Cookie, err = parseNum(val, 64)
	case "table":
		p.c.Table, err = parseTable(val)
	case "priority":
		p.c.Priority, err = parse16(val)
	case "hard_timeout":
		p.c.HardTimeout, err = parse16(val)
	case "idle_timeout":
		err = errors.New("idle_timeout is not used")
	case "n_packets":
		p.c.Packets, err = parseNum(val, 64)
	case "n_bytes":
		p.c.Bytes, err = parseNum(val, 64)
	case "duration":
		var sec float64
		sec, err = strconv.ParseFloat(strings.TrimSuffix(val, "s"), 64)
		if err == nil && sec >= 0 && sec < 1e9 {
			p.c.Age = time.Duration(sec * float64(time.Second))
		}
	case "tp_src", "tp_dst", "icmp_type", "icmp_code":
		p.later = append(p.later, [2]string{key, val})
	default:
		return p.match(key, val)
	}
	return err
}

func (p *flowParser) shorthand(s shorthand) error {
	p.add(EthType, Num(uint64(s.ethType)), EthType.AllOnes())
	if s.proto != 0 {
		p.add(IPProto, Num(uint64(s.proto)), IPProto.AllOnes())
	}
	return nil
}

func (p *flowParser) add(f Field, v, mask Value) {
	p.c.Match = append(p.c.Match, FieldMatch{f, v, mask})
}

func (p *flowParser) value(f Field) (uint64, bool) {
	for _, m := range p.c.Match {
		if m.Field == f {
			return m.Value.Lo, true
		}
	}
	return 0, false
}

// resolve adds the words whose field depends on the protocol.
func (p *flowParser) resolve() error {
	proto, _ := p.value(IPProto)
	typ, _ := p.value(EthType)
	for _, w := range p.later {
		var f Field
		switch [2]uint64{proto, b2u(w[0] == "tp_src" || w[0] == "icmp_type")} {
		case [2]uint64{ProtoTCP, 1}:
			f = TCPSrc
		case [2]uint64{ProtoTCP, 0}:
			f = TCPDst
		case [2]uint64{ProtoUDP, 1}:
			f = UDPSrc
		case [2]uint64{ProtoUDP, 0}:
			f = UDPDst
		case [2]uint64{ProtoSCTP, 1}:
			f = SCTPSrc
		case [2]uint64{ProtoSCTP, 0}:
			f = SCTPDst
		case [2]uint64{ProtoICMP, 1}:
			f = ICMPType
		case [2]uint64{ProtoICMP, 0}:
			f = ICMPCode
		case [2]uint64{ProtoICMPv6, 1}:
			f = ICMPv6Type
		case [2]uint64{ProtoICMPv6, 0}:
			f = ICMPv6Code
		}
		icmp := strings.HasPrefix(w[0], "icmp")
		if f == FieldNone || icmp != (f >= ICMPType) || typ == TypeIPv4 && proto == ProtoICMPv6 {
			return fmt.Errorf("%s without its protocol", w[0])
		}
		if err := p.plain(f, w[0], w[1]); err != nil {
			return err
		}
	}
	return nil
}

func b2u(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

func (p *flowParser) match(key, val string) error {
	switch key {
	case "dl_vlan":
		n, err := parseNum(val, 16)
		switch {
		case err != nil:
			return err
		case n == 0xffff: // OpenFlow 1.0 for "no tag"
			p.add(VLANVID, Value{}, VLANVID.AllOnes())
		case n > 0xfff:
			return fmt.Errorf("dl_vlan=%d is out of range", n)
		default:
			p.add(VLANVID, Num(n|VLANPresent), VLANVID.AllOnes())
		}
		return nil
	case "vlan_tci", "vlan_vid":
		return p.tci(key, val)
	case "ct_state":
		v, m, err := parseCTState(val)
		p.add(CTState, Num(v), Num(m))
		return err
	}
	f, ok := fieldNames[key]
	if !ok {
		return fmt.Errorf("unknown field %q", key)
	}
	return p.plain(f, key, val)
}

func (p *flowParser) tci(key, val string) error {
	vs, ms, masked := strings.Cut(val, "/")
	v, err := parseNum(vs, 16)
	if err != nil {
		return err
	}
	mask := VLANVID.AllOnes().Lo
	if masked {
		if mask, err = parseNum(ms, 16); err != nil {
			return err
		}
	} else if key == "vlan_tci" {
		mask = 0xffff
	}
	if mask > VLANVID.AllOnes().Lo || v&^mask != 0 {
		return fmt.Errorf("%s=%s: priority bits cannot be matched", key, val)
	}
	p.add(VLANVID, Num(v), Num(mask))
	return nil
}

func (p *flowParser) plain(f Field, key, val string) error {
	vs, ms, masked := strings.Cut(val, "/")
	v, err := parseValue(f, vs)
	if err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	mask := f.AllOnes()
	if masked {
		if mask, err = parseMask(f, ms); err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
	}
	p.add(f, v.and(mask), mask)
	return nil
}

func parseMask(f Field, s string) (Value, error) {
	i := f.Info()
	if i.Format != IPv4 && i.Format != IPv6 {
		return parseValue(f, s)
	}
	if n, err := strconv.ParseUint(s, 10, 8); err == nil && n <= uint64(i.Width) {
		return prefixMask(int(n), i.Width), nil
	}
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" || a.Is4() != (i.Format == IPv4) {
		return Value{}, fmt.Errorf("%q is not a mask", s)
	}
	return AddrValue(a), nil
}

func parseCTState(s string) (v, mask uint64, err error) {
	if vs, ms, ok := strings.Cut(s, "/"); ok {
		if v, err = parseNum(vs, 32); err == nil {
			mask, err = parseNum(ms, 32)
		}
		return v & mask, mask, err
	}
	for rest := s; rest != ""; {
		sign := rest[0]
		n := strings.IndexAny(rest[1:], "+-")
		name := rest[1:]
		if n >= 0 {
			name = rest[1 : 1+n]
		}
		rest = rest[1+len(name):]
		bit := uint64(0)
		for i, flag := range ctFlags {
			if flag == name {
				bit = 1 << i
			}
		}
		if sign != '+' && sign != '-' || bit == 0 || mask&bit != 0 {
			return 0, 0, fmt.Errorf("ct_state %q is not understood", s)
		}
		mask |= bit
		if sign == '+' {
			v |= bit
		}
	}
	return v, mask, nil
}

func parseTable(s string) (uint8, error) {
	n, err := parseNum(s, 8)
	if err != nil || n == NoTable {
		return 0, fmt.Errorf("%q is not a table number", s)
	}
	return uint8(n), nil
}

func parse16(s string) (uint16, error) {
	n, err := parseNum(s, 16)
	return uint16(n), err
}
