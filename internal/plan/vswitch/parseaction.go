package vswitch

import (
	"errors"
	"fmt"
	"math/bits"
	"strings"
)

// splitTop splits at the commas that are in no parentheses.
func splitTop(s string) ([]string, error) {
	var parts []string
	depth, start := 0, 0
	for i := range len(s) {
		switch s[i] {
		case '(':
			depth++
		case ')':
			depth--
			if depth < 0 {
				return nil, errors.New("unbalanced parentheses")
			}
		case ',':
			if depth == 0 {
				parts = append(parts, strings.TrimSpace(s[start:i]))
				start = i + 1
			}
		}
	}
	if depth != 0 {
		return nil, errors.New("unbalanced parentheses")
	}
	return append(parts, strings.TrimSpace(s[start:])), nil
}

func parseActions(s string) ([]Action, error) {
	if s == "drop" || s == "" {
		return nil, nil
	}
	words, err := splitTop(s)
	if err != nil {
		return nil, err
	}
	var out []Action
	for _, w := range words {
		a, err := parseAction(w)
		if err != nil {
			return nil, err
		}
		out = append(out, a)
	}
	return out, nil
}

func parseAction(w string) (Action, error) {
	switch strings.ToLower(w) {
	case "normal":
		return Normal{}, nil
	case "in_port":
		return InPort{}, nil
	case "local", "flood", "all":
		p, err := parsePort(w)
		return Output{p}, err
	case "pop_vlan", "strip_vlan":
		return PopVLAN{}, nil
	case "ct_clear":
		return CTClear{}, nil
	}
	if name, args, ok := strings.Cut(w, "("); ok && strings.HasSuffix(args, ")") {
		a, err := parseCall(name, strings.TrimSuffix(args, ")"))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", abbreviate(w), err)
		}
		return a, nil
	}
	name, arg, ok := strings.Cut(w, ":")
	if !ok {
		return nil, fmt.Errorf("unknown action %q", abbreviate(w))
	}
	a, err := parseColon(name, arg)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", abbreviate(w), err)
	}
	return a, nil
}

func parseColon(name, arg string) (Action, error) {
	switch name {
	case "output":
		if strings.HasPrefix(arg, "NXM_NX_REG") || strings.HasPrefix(arg, "reg") {
			return parseOutputReg(arg)
		}
		p, err := parsePort(arg)
		return Output{p}, err
	case "CONTROLLER":
		if arg != "65535" {
			return nil, errors.New("only 65535, the whole packet, is used")
		}
		return Controller{}, nil
	case "goto_table":
		t, err := parseTable(arg)
		return GotoTable{t}, err
	case "push_vlan":
		if n, err := parseNum(arg, 16); err != nil || n != 0x8100 {
			return nil, errors.New("only 0x8100 is used")
		}
		return PushVLAN{}, nil
	case "mod_vlan_vid":
		n, err := parseNum(arg, 12)
		return SetField{VLANVID, Num(n | VLANPresent)}, err
	case "mod_dl_src", "mod_dl_dst":
		v, err := parseMAC(arg)
		if name == "mod_dl_src" {
			return SetField{EthSrc, v}, err
		}
		return SetField{EthDst, v}, err
	case "set_tunnel", "set_tunnel64":
		n, err := parseNum(arg, 64)
		return SetField{TunID, Num(n)}, err
	case "set_field", "load", "move":
		from, to, ok := strings.Cut(arg, "->")
		if !ok {
			return nil, errors.New("no ->")
		}
		switch name {
		case "set_field":
			return parseSetField(from, to)
		case "load":
			return parseLoad(from, to)
		}
		return parseMove(from, to)
	}
	return nil, errors.New("unknown action")
}

func parseSetField(from, to string) (Action, error) {
	f, ok := fieldNames[to]
	if !ok {
		return nil, fmt.Errorf("unknown field %q", to)
	}
	vs, ms, masked := strings.Cut(from, "/")
	v, err := parseValue(f, vs)
	if err != nil || !masked {
		return SetField{f, v}, err
	}
	m, err := parseMask(f, ms)
	if err != nil {
		return nil, err
	}
	if m == f.AllOnes() {
		return SetField{f, v}, nil
	}
	// OVS itself prints a masked set_field as a load of bits, where it can.
	ofs := bits.TrailingZeros64(m.Lo)
	run := bits.OnesCount64(m.Lo)
	if m.Hi != 0 || m.Lo == 0 || m.Lo>>ofs != ones(uint16(run)).Lo {
		return nil, errors.New("only a run of bits can be set")
	}
	return Load{Field: f, Ofs: uint16(ofs), NBits: uint16(run), Value: Num(v.and(m).Lo >> ofs)}, nil
}

func parseLoad(from, to string) (Action, error) {
	f, ofs, n, err := parseSubfield(to)
	if err != nil {
		return nil, err
	}
	v, err := parseNum(from, n)
	return Load{Field: f, Ofs: ofs, NBits: n, Value: Num(v)}, err
}

func parseMove(from, to string) (Action, error) {
	var m Move
	var n uint16
	var err error
	if m.Src, m.SrcOfs, m.NBits, err = parseSubfield(from); err != nil {
		return nil, err
	}
	if m.Dst, m.DstOfs, n, err = parseSubfield(to); err != nil {
		return nil, err
	}
	if n != m.NBits {
		return nil, errors.New("the two ranges differ in width")
	}
	return m, nil
}

// parseSubfield reads NXM_NX_REG6[0..15], NXM_NX_REG6[3] or NXM_NX_REG6[].
func parseSubfield(s string) (f Field, ofs, n uint16, err error) {
	name, rng, ok := strings.Cut(s, "[")
	f, known := nxmNames[name]
	if !ok || !known || !strings.HasSuffix(rng, "]") {
		return 0, 0, 0, fmt.Errorf("%q names no bits of a known field", s)
	}
	rng = strings.TrimSuffix(rng, "]")
	if rng == "" {
		return f, 0, f.Width(), nil
	}
	first, last, isRange := strings.Cut(rng, "..")
	if !isRange {
		last = first
	}
	lo, err := parse16(first)
	if err != nil {
		return 0, 0, 0, err
	}
	hi, err := parse16(last)
	if err != nil {
		return 0, 0, 0, err
	}
	if hi < lo || hi >= f.Width() {
		return 0, 0, 0, fmt.Errorf("%q names no bits of a known field", s)
	}
	return f, lo, hi - lo + 1, nil
}

func parseCall(name, args string) (Action, error) {
	switch name {
	case "resubmit":
		t, ok := strings.CutPrefix(args, ",")
		if !ok {
			return nil, errors.New("resubmit changes the table only")
		}
		n, err := parseTable(t)
		return Resubmit{n}, err
	case "conjunction":
		return parseConjunction(args)
	case "ct":
		return parseCT(args)
	case "learn":
		return parseLearn(args)
	}
	return nil, errors.New("unknown action")
}

func parseConjunction(args string) (Action, error) {
	id, rest, ok1 := strings.Cut(args, ",")
	clause, of, ok2 := strings.Cut(strings.TrimSpace(rest), "/")
	if !ok1 || !ok2 {
		return nil, errors.New("want conjunction(id,clause/of)")
	}
	n, err := parseNum(id, 32)
	if err != nil {
		return nil, err
	}
	c, err := parseNum(clause, 8)
	if err != nil {
		return nil, err
	}
	o, err := parseNum(of, 8)
	return Conjunction{uint32(n), uint8(c), uint8(o)}, err
}

func parseCT(args string) (Action, error) {
	a := CT{Table: NoTable}
	if args == "" {
		return a, nil
	}
	words, err := splitTop(args)
	if err != nil {
		return nil, err
	}
	for _, w := range words {
		key, val, _ := strings.Cut(w, "=")
		switch {
		case w == "commit":
			a.Commit = true
		case key == "table":
			a.Table, err = parseTable(val)
		case key == "zone" && strings.Contains(val, "["):
			var ofs, n uint16
			a.ZoneField, ofs, n, err = parseSubfield(val)
			if err == nil && (ofs != 0 || n != 16) {
				err = errors.New("a zone is bits 0..15")
			}
		case key == "zone":
			a.Zone, err = parse16(val)
		case strings.HasPrefix(w, "exec(") && strings.HasSuffix(w, ")"):
			a.Exec, err = parseActions(w[len("exec(") : len(w)-1])
			a.Exec = normalActions(a.Exec) // so that Check sees set_field where a load was written
		default:
			err = fmt.Errorf("unknown argument %q", w)
		}
		if err != nil {
			return nil, err
		}
	}
	return a, nil
}

func parseLearn(args string) (Action, error) {
	words, err := splitTop(args)
	if err != nil {
		return nil, err
	}
	a := Learn{Priority: 32768, Table: 1}
	for _, w := range words {
		key, val, _ := strings.Cut(w, "=")
		switch key {
		case "table":
			a.Table, err = parseTable(val)
		case "priority":
			a.Priority, err = parse16(val)
		case "hard_timeout":
			a.HardTimeout, err = parse16(val)
		case "cookie":
			a.Cookie, err = parseNum(val, 64)
		default:
			var s LearnSpec
			s, err = parseLearnSpec(w)
			a.Specs = append(a.Specs, s)
		}
		if err != nil {
			return nil, err
		}
	}
	return a, nil
}

func parseLearnSpec(w string) (s LearnSpec, err error) {
	if src, ok := strings.CutPrefix(w, "output:"); ok {
		s.Kind = LearnOutput
		s.Src, s.SrcOfs, s.NBits, err = parseSubfield(src)
		return s, err
	}
	if arg, ok := strings.CutPrefix(w, "load:"); ok {
		from, to, _ := strings.Cut(arg, "->")
		s.Kind = LearnLoad
		if s.Dst, s.DstOfs, s.NBits, err = parseSubfield(to); err != nil {
			return s, err
		}
		return s, s.from(from)
	}
	dst, src, hasSrc := strings.Cut(w, "=")
	if f, ok := fieldNames[dst]; ok && hasSrc {
		if f.Width() > 64 {
			return s, fmt.Errorf("%s is too wide for learn()", f)
		}
		v, err := parseValue(f, src)
		s.Dst, s.NBits, s.Imm = f, f.Width(), v.Lo
		return s, err
	}
	if s.Dst, s.DstOfs, s.NBits, err = parseSubfield(dst); err != nil {
		return s, err
	}
	if !hasSrc {
		s.Src, s.SrcOfs = s.Dst, s.DstOfs
		return s, nil
	}
	return s, s.from(src)
}

// from reads the source of a spec: bits of a field of the same width or a number.
func (s *LearnSpec) from(src string) error {
	if !strings.Contains(src, "[") {
		n, err := parseNum(src, s.NBits)
		s.Imm = n
		return err
	}
	f, ofs, n, err := parseSubfield(src)
	if err == nil && n != s.NBits {
		err = errors.New("the two ranges differ in width")
	}
	s.Src, s.SrcOfs = f, ofs
	return err
}

func parseOutputReg(arg string) (Action, error) {
	f, ofs, n, err := parseSubfield(arg)
	if err == nil && (ofs != 0 || n != f.Width()) {
		err = errors.New("only a whole register is used")
	}
	return OutputReg{f}, err
}
