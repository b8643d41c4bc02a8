// Package capture knows packets as people ask for them and look at them: it compiles filters
// as tcpdump knows them for the kernel, writes pcap files and prints packets in one line each.
//
// Pure: the packets themselves are read by package host/kernel.
package capture

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"weft/internal/model"
)

const (
	// MaxFilter bounds a filter's text.
	MaxFilter = 2048
	// maxDepth bounds the parentheses and nots within each other.
	maxDepth = 64
)

// direction says which end of a packet a primitive looks at.
type direction int

const (
	eitherEnd direction = iota
	source
	destination
	bothEnds
)

// qualifiers say what an address or number is of: protocol, direction and kind, each empty if not said.
type qualifiers struct {
	proto string
	dir   direction
	kind  string
}

// node is a part of an expression: an operation on others, or a test.
type node struct {
	op   string // "and", "or", "not", or "" for a test
	l, r *node
	test test
}

// test is a primitive: of a protocol alone, or of an address or number with its qualifiers.
type test struct {
	qualifiers
	prefix      netip.Prefix // of host and net
	mac         model.MAC    // of ether host
	first, last uint16       // of port and portrange
}

var (
	protocols  = []string{"ether", "arp", "rarp", "ip", "ip6", "icmp", "icmp6", "tcp", "udp", "sctp"}
	kinds      = []string{"host", "net", "port", "portrange"}
	reserved   = slices.Concat(protocols, kinds, []string{"src", "dst", "and", "or", "not", "broadcast", "multicast", "(", ")"})
	synonyms   = map[string]string{"&&": "and", "||": "or", "!": "not"}
	errNothing = errors.New("the filter ends where something should follow")
)

// parser reads the words of a filter.
type parser struct {
	words []string
	at    int
	depth int
	// last are the qualifiers before, which hold for a bare address or number that follows.
	last *qualifiers
}

// words splits a filter; operators of C are those that have names.
func words(text string) []string {
	for _, s := range []string{"(", ")", "&&", "||", "!"} {
		text = strings.ReplaceAll(text, s, " "+s+" ")
	}
	all := strings.Fields(strings.ToLower(text))
	for i, w := range all {
		if s, ok := synonyms[w]; ok {
			all[i] = s
		}
	}
	return all
}

// parse reads a filter; nil lets everything pass.
func parse(text string) (*node, error) {
	if len(text) > MaxFilter {
		return nil, fmt.Errorf("the filter has %d characters, more than %d", len(text), MaxFilter)
	}
	p := &parser{words: words(text)}
	if len(p.words) == 0 {
		return nil, nil
	}
	n, err := p.expression()
	if err == nil && p.at < len(p.words) {
		err = fmt.Errorf("%q is not expected there; and, or, not and parentheses connect", p.peek())
	}
	return n, err
}

func (p *parser) peek() string {
	if p.at < len(p.words) {
		return p.words[p.at]
	}
	return ""
}

func (p *parser) take(w string) bool {
	if p.peek() == w {
		p.at++
		return true
	}
	return false
}

// expression reads terms with and and or between them, which bind alike, from left to right.
func (p *parser) expression() (*node, error) {
	n, err := p.term()
	for err == nil {
		op := p.peek()
		if op != "and" && op != "or" {
			break
		}
		p.at++
		var r *node
		if r, err = p.term(); err == nil {
			n = &node{op: op, l: n, r: r}
		}
	}
	return n, err
}

func (p *parser) term() (*node, error) {
	if p.depth++; p.depth > maxDepth {
		return nil, fmt.Errorf("more than %d parentheses and nots in each other", maxDepth)
	}
	defer func() { p.depth-- }()
	switch {
	case p.peek() == "":
		return nil, errNothing
	case p.take("not"):
		n, err := p.term()
		return &node{op: "not", l: n}, err
	case p.take("("):
		n, err := p.group()
		p.last = nil
		return n, err
	}
	return p.primitive()
}

// group reads what is in parentheses, the first of which was taken.
func (p *parser) group() (*node, error) {
	n, err := p.expression()
	if err == nil && !p.take(")") {
		err = errors.New("a parenthesis is not closed")
	}
	return n, err
}

// primitive reads qualifiers and what they are of.
func (p *parser) primitive() (*node, error) {
	q, some, err := p.qualifiers()
	if err != nil {
		return nil, err
	}
	switch w := p.peek(); {
	case w == "broadcast" || w == "multicast":
		p.at++
		p.last = nil
		if q.dir != eitherEnd || q.kind != "" || q.proto != "" && q.proto != "ether" {
			return nil, fmt.Errorf("%s goes only with ether", w)
		}
		return &node{test: test{qualifiers: qualifiers{proto: "ether", kind: w}}}, nil
	case some && q.dir == eitherEnd && q.kind == "" && q.proto != "ether" && (w == "" || w == ")" || w == "and" || w == "or"):
		p.last = nil
		return &node{test: test{qualifiers: q}}, nil
	case w == "":
		return nil, errNothing
	case some && w == "(":
		// port (67 or 68)
		p.at++
		p.last = &q
		return p.group()
	case slices.Contains(reserved, w):
		return nil, fmt.Errorf("%q is not expected there", w)
	case some:
		p.last = &q
	case p.last != nil:
		q = *p.last
	}
	t, err := value(q, p.peek())
	p.at++
	return &node{test: t}, err
}

// qualifiers reads protocol, direction and kind, as far as they are there.
func (p *parser) qualifiers() (q qualifiers, some bool, err error) {
	begin := p.at
	if slices.Contains(protocols, p.peek()) {
		q.proto = p.words[p.at]
		p.at++
	}
	switch {
	case p.take("src"):
		q.dir = source
		if and := p.peek(); (and == "or" || and == "and") && p.at+1 < len(p.words) && p.words[p.at+1] == "dst" {
			q.dir = map[string]direction{"or": eitherEnd, "and": bothEnds}[and]
			p.at += 2
		}
	case p.take("dst"):
		q.dir = destination
		if and := p.peek(); (and == "or" || and == "and") && p.at+1 < len(p.words) && p.words[p.at+1] == "src" {
			q.dir = map[string]direction{"or": eitherEnd, "and": bothEnds}[and]
			p.at += 2
		}
	}
	if slices.Contains(kinds, p.peek()) {
		q.kind = p.words[p.at]
		p.at++
	}
	return q, p.at > begin, nil
}

// value reads an address or number as its qualifiers say.
func value(q qualifiers, w string) (test, error) {
	t := test{qualifiers: q}
	if t.kind == "" {
		t.kind = "host"
	}
	var err error
	switch {
	case t.proto == "ether":
		if t.kind != "host" {
			return t, fmt.Errorf("ether %s is none; there is ether host", t.kind)
		}
		if t.mac, err = model.ParseMAC(w); err != nil {
			err = fmt.Errorf("ether host wants a MAC address, not %q", w)
		}
		return t, err
	case t.kind == "port" || t.kind == "portrange":
		if !slices.Contains([]string{"", "tcp", "udp", "sctp"}, t.proto) {
			return t, fmt.Errorf("%s has no ports; tcp, udp and sctp do", t.proto)
		}
		t.first, t.last, err = ports(t.kind, w)
		return t, err
	}
	if !slices.Contains([]string{"", "ip", "ip6", "arp", "rarp"}, t.proto) {
		return t, fmt.Errorf("%s has no addresses; ether, ip, ip6, arp and rarp do", t.proto)
	}
	if t.prefix, err = prefix(t.kind, w); err != nil {
		return t, err
	}
	if is6 := t.prefix.Addr().Is6(); t.proto != "" && is6 != (t.proto == "ip6") {
		return t, fmt.Errorf("%s has no address such as %s", t.proto, w)
	}
	return t, nil
}

func ports(kind, w string) (first, last uint16, err error) {
	from, to := w, w
	if kind == "portrange" {
		var ok bool
		if from, to, ok = strings.Cut(w, "-"); !ok {
			to = from
		}
	}
	a, err := strconv.ParseUint(from, 10, 16)
	if err != nil {
		return 0, 0, fmt.Errorf("%s wants a number up to 65535, not %q", kind, w)
	}
	b, err := strconv.ParseUint(to, 10, 16)
	if err != nil {
		return 0, 0, fmt.Errorf("%s wants a number up to 65535, not %q", kind, w)
	}
	return uint16(min(a, b)), uint16(max(a, b)), nil
}

// prefix reads an address or network; of an IPv4 network the last bytes may be missing, which shortens it.
func prefix(kind, w string) (netip.Prefix, error) {
	wrong := fmt.Errorf("%s wants an address, not %q (names are not looked up)", kind, w)
	if kind == "host" {
		a, err := netip.ParseAddr(w)
		if err != nil || a.Zone() != "" {
			return netip.Prefix{}, wrong
		}
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	addr, bits, given := strings.Cut(w, "/")
	whole := addr
	if n := strings.Count(addr, "."); n < 3 && !strings.Contains(addr, ":") {
		whole += strings.Repeat(".0", 3-n)
		if !given {
			bits = strconv.Itoa(8 * (n + 1))
		}
	}
	a, err := netip.ParseAddr(whole)
	if err != nil || a.Zone() != "" {
		return netip.Prefix{}, wrong
	}
	if !given && bits == "" || bits == addr {
		bits = strconv.Itoa(a.BitLen())
	}
	p, err := netip.ParsePrefix(a.String() + "/" + bits)
	if err != nil {
		return p, fmt.Errorf("net: %q is no prefix", w)
	}
	if p.Masked() != p {
		return p, fmt.Errorf("net: %s has bits set beyond its length: %s is meant?", w, p.Masked())
	}
	return p, nil
}
