package capture

import (
	"encoding/binary"
	"fmt"
	"slices"

	"golang.org/x/net/bpf"
)

// Program is a filter as the kernel runs it.
type Program []bpf.RawInstruction

// maxProgram is how many instructions the kernel takes.
const maxProgram = 4096

// Offsets within an Ethernet frame.
const (
	etherType = 12
	network   = 14
	ip4Proto  = network + 9
	ip6Next   = network + 6
	ip6Body   = network + 40
)

const (
	typeIP4  = 0x0800
	typeARP  = 0x0806
	typeRARP = 0x8035
	typeIP6  = 0x86dd

	protoICMP     = 1
	protoTCP      = 6
	protoUDP      = 17
	protoFragment = 44
	protoICMP6    = 58
	protoSCTP     = 132
)

// Compile makes a program of a filter's text: of each packet that passes it keeps the first
// snap bytes. An empty filter lets everything pass.
func Compile(text string, snap uint32) (Program, error) {
	n, err := parse(text)
	if err != nil {
		return nil, fmt.Errorf("filter: %w", err)
	}
	c := &compiler{}
	no := c.emit(bpf.RetConstant{Val: 0})
	yes := c.emit(bpf.RetConstant{Val: snap})
	if begin := yes; n != nil {
		begin = c.node(n, yes, no)
		c.jump(begin)
	}
	if len(c.code) > maxProgram {
		return nil, fmt.Errorf("filter: it is too long for the kernel: %d instructions of %d", len(c.code), maxProgram)
	}
	slices.Reverse(c.code)
	raw, err := bpf.Assemble(c.code)
	if err != nil {
		return nil, fmt.Errorf("filter: %w", err)
	}
	return raw, nil
}

// compiler writes a program from its end: jumps lead forward, so where one leads is known. A
// place is the number of instructions from there to the end.
type compiler struct{ code []bpf.Instruction }

func (c *compiler) emit(i bpf.Instruction) (place int) {
	c.code = append(c.code, i)
	return len(c.code)
}

// jump makes what is written next lead to a place, if it does not by itself.
func (c *compiler) jump(to int) int {
	if to == len(c.code) {
		return to
	}
	return c.emit(bpf.Jump{Skip: uint32(len(c.code) - to)})
}

// maxSkip is as far as a conditional jump reaches.
const maxSkip = 255

// when writes a jump to yes or no by a condition on A.
func (c *compiler) when(cond bpf.JumpTest, val uint32, yes, no int) int {
	// Each may need a jump in between; one is of length 1 and may move the other out of reach.
	for range 2 {
		if len(c.code)-yes > maxSkip-1 {
			yes = c.emit(bpf.Jump{Skip: uint32(len(c.code) - yes)})
		}
		if len(c.code)-no > maxSkip-1 {
			no = c.emit(bpf.Jump{Skip: uint32(len(c.code) - no)})
		}
	}
	return c.emit(bpf.JumpIf{Cond: cond, Val: val, SkipTrue: uint8(len(c.code) - yes), SkipFalse: uint8(len(c.code) - no)})
}

// node writes an expression that goes on at yes or no, and returns where it begins.
func (c *compiler) node(n *node, yes, no int) int {
	switch n.op {
	case "not":
		return c.node(n.l, no, yes)
	case "and":
		return c.node(n.l, c.node(n.r, yes, no), no)
	case "or":
		return c.node(n.l, yes, c.node(n.r, yes, no))
	}
	return c.test(&n.test, yes, no)
}

func (c *compiler) test(t *test, yes, no int) int {
	switch {
	case t.kind == "":
		return c.protocol(t.proto, yes, no)
	case t.kind == "broadcast":
		return c.bytes(0, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, 48, yes, no)
	case t.kind == "multicast":
		return c.load(bpf.LoadAbsolute{Off: 0, Size: 1}, c.when(bpf.JumpBitsSet, 1, yes, no))
	case t.proto == "ether":
		return c.ends(t.dir, yes, no, func(src bool, yes, no int) int { return c.bytes(pick(src, 6, 0), t.mac[:], 48, yes, no) })
	case t.kind == "port" || t.kind == "portrange":
		return c.port(t, yes, no)
	case t.prefix.Addr().Is6():
		return c.address(typeIP6, network+8, network+24, t, yes, no)
	}
	// An IPv4 address may be one of IP or of ARP.
	begin := no
	for _, p := range []struct {
		name          string
		typ, src, dst int
	}{{"rarp", typeRARP, network + 14, network + 24}, {"arp", typeARP, network + 14, network + 24}, {"ip", typeIP4, network + 12, network + 16}} {
		if t.proto == "" || t.proto == p.name {
			begin = c.address(p.typ, p.src, p.dst, t, yes, begin)
		}
	}
	return begin
}

func pick(first bool, a, b int) int {
	if first {
		return a
	}
	return b
}

// load writes an instruction before what was written last, which must begin at next.
func (c *compiler) load(i bpf.Instruction, next int) int {
	c.jump(next)
	return c.emit(i)
}

// ends writes a test of the source, the destination, one of them or both.
func (c *compiler) ends(d direction, yes, no int, one func(src bool, yes, no int) int) int {
	switch d {
	case source, destination:
		return one(d == source, yes, no)
	case bothEnds:
		return one(true, one(false, yes, no), no)
	}
	return one(true, yes, one(false, yes, no))
}

// address writes: the frame is of this type and the ends are of the prefix.
func (c *compiler) address(typ, src, dst int, t *test, yes, no int) int {
	begin := c.ends(t.dir, yes, no, func(s bool, yes, no int) int {
		return c.bytes(pick(s, src, dst), t.prefix.Addr().AsSlice(), t.prefix.Bits(), yes, no)
	})
	return c.frame(typ, begin, no)
}

// bytes writes: the first bits at an offset are those of want.
func (c *compiler) bytes(off int, want []byte, bits, yes, no int) int {
	if bits == 0 {
		return c.jump(yes)
	}
	begin := yes
	for i := (bits - 1) / 8 / 4 * 4; i >= 0; i -= 4 {
		size := min(4, len(want)-i)
		val := uint32(binary.BigEndian.Uint16(want[i:]))
		if size == 4 {
			val = binary.BigEndian.Uint32(want[i:])
		}
		begin = c.when(bpf.JumpEqual, val, begin, no)
		if left := bits - 8*i; left < 8*size {
			begin = c.load(bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: ^uint32(0) << (8*size - left)}, begin)
		}
		begin = c.load(bpf.LoadAbsolute{Off: uint32(off + i), Size: size}, begin)
	}
	return c.jump(begin)
}

// frame writes: the frame is of this type.
func (c *compiler) frame(typ, yes, no int) int {
	return c.load(bpf.LoadAbsolute{Off: etherType, Size: 2}, c.when(bpf.JumpEqual, uint32(typ), yes, no))
}

var frames = map[string]int{"arp": typeARP, "rarp": typeRARP, "ip": typeIP4, "ip6": typeIP6}

var transports = map[string]int{"icmp": protoICMP, "icmp6": protoICMP6, "tcp": protoTCP, "udp": protoUDP, "sctp": protoSCTP}

// protocol writes: the packet is of the protocol.
func (c *compiler) protocol(name string, yes, no int) int {
	if typ, ok := frames[name]; ok {
		return c.frame(typ, yes, no)
	}
	proto, begin := uint32(transports[name]), no
	if name != "icmp" {
		// After the header of a fragment the protocol may follow.
		begin = c.load(bpf.LoadAbsolute{Off: ip6Body, Size: 1}, c.when(bpf.JumpEqual, proto, yes, no))
		begin = c.when(bpf.JumpEqual, protoFragment, begin, no)
		begin = c.when(bpf.JumpEqual, proto, yes, begin)
		begin = c.frame(typeIP6, c.load(bpf.LoadAbsolute{Off: ip6Next, Size: 1}, begin), no)
	}
	if name != "icmp6" {
		is := c.load(bpf.LoadAbsolute{Off: ip4Proto, Size: 1}, c.when(bpf.JumpEqual, proto, yes, no))
		begin = c.frame(typeIP4, is, begin)
	}
	return begin
}

// port writes: the packet's protocol has ports, and they are in the range. Of the fragments of an
// IPv4 packet only the first has them.
func (c *compiler) port(t *test, yes, no int) int {
	six := c.ends(t.dir, yes, no, func(src bool, yes, no int) int {
		return c.load(bpf.LoadAbsolute{Off: uint32(pick(src, ip6Body, ip6Body+2)), Size: 2}, c.between(t, yes, no))
	})
	begin := c.frame(typeIP6, c.load(bpf.LoadAbsolute{Off: ip6Next, Size: 1}, c.hasPorts(t.proto, six, no)), no)
	four := c.ends(t.dir, yes, no, func(src bool, yes, no int) int {
		return c.load(bpf.LoadIndirect{Off: uint32(pick(src, network, network+2)), Size: 2}, c.between(t, yes, no))
	})
	four = c.load(bpf.LoadMemShift{Off: network}, four)
	four = c.load(bpf.LoadAbsolute{Off: network + 6, Size: 2}, c.when(bpf.JumpBitsSet, 0x1fff, no, four))
	return c.frame(typeIP4, c.load(bpf.LoadAbsolute{Off: ip4Proto, Size: 1}, c.hasPorts(t.proto, four, no)), begin)
}

func (c *compiler) hasPorts(proto string, yes, no int) int {
	if proto != "" {
		return c.when(bpf.JumpEqual, uint32(transports[proto]), yes, no)
	}
	begin := c.when(bpf.JumpEqual, protoUDP, yes, no)
	begin = c.when(bpf.JumpEqual, protoTCP, yes, begin)
	return c.when(bpf.JumpEqual, protoSCTP, yes, begin)
}

// between writes: A is a port of the test.
func (c *compiler) between(t *test, yes, no int) int {
	if t.first == t.last {
		return c.when(bpf.JumpEqual, uint32(t.first), yes, no)
	}
	upper := c.when(bpf.JumpLessOrEqual, uint32(t.last), yes, no)
	return c.when(bpf.JumpGreaterOrEqual, uint32(t.first), upper, no)
}
