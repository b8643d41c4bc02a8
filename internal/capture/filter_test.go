package capture

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/net/bpf"

	"weft/internal/lab/labtest"
)

// filters are those that tcpdump compiles to programs that decide alike.
var filters = []string{
	"", "arp", "rarp", "ip", "ip6", "icmp", "icmp6", "tcp", "udp", "sctp", "not arp", "! arp",
	"host 10.0.0.1", "src host 10.0.0.1", "dst host 10.0.0.1", "src or dst host 10.0.0.1", "src and dst host 10.0.0.1",
	"src 10.0.0.2", "dst 10.0.0.2", "ip host 10.0.0.1", "arp host 10.0.0.1", "rarp host 10.0.0.1", "arp src host 10.0.0.2",
	"host fd00::1", "src host fd00::1", "ip6 host fd00::2", "ip6 dst host fd00::2",
	"net 10.0.0.0/24", "net 10.0.0.0/31", "net 10", "net 10.0.0", "src net 10.0", "dst net 10.0.0.2", "net 0.0.0.0/0",
	"net fd00::/64", "net fd00::/127", "src net fd00::/16", "ip net 10.0.0.0/25", "arp net 10.0.0.2/32", "net fd00::/33",
	"ether host fa:16:3e:00:00:01", "ether src fa:16:3e:00:00:01", "ether dst fa:16:3e:00:00:00", "ether src and dst host fa:16:3e:00:00:00",
	"broadcast", "multicast", "ether broadcast", "ether multicast", "not ether multicast",
	"port 67", "udp port 67", "tcp port 22", "src port 68", "udp src port 68", "tcp dst port 80", "src and dst port 67", "sctp port 80",
	"portrange 60-70", "udp portrange 67-68", "dst portrange 22-53", "portrange 67", "portrange 68-67",
	"port 67 or port 68", "port 67 or 68", "port (67 or 68)", "udp and (port 67 or port 68)", "udp port 67 or 68 or 53",
	"host 10.0.0.1 or 10.0.0.2", "host 10.0.0.1 and not 10.0.0.2", "not port 22", "not port 22 and not port 53", "not (arp or icmp)",
	"ip and not port 22", "host 10.0.0.1 and (tcp port 80 or icmp)", "tcp or udp and port 53", "tcp or (udp and port 53)",
	"arp or icmp or icmp6 or udp port 67 or udp port 68", "src host 10.0.0.1 and dst host 10.0.0.2 and udp",
	"arp||udp port 67", "(arp)&&!(icmp)", "((((arp))))", "not not arp", "ip6 and not icmp6 and not udp",
	"src 10.0.0.1 and port 67", "ether host fa:16:3e:00:00:01 and (arp or udp port 67 or udp port 68)",
}

// refused are no filters, for tcpdump neither.
var refused = []string{
	"host", "port", "port x1y", "port 65536", "host 10.0.0.300", "net 10.0.0.1/24", "net 10.0.0.0/33", "arp or", "(arp", "arp)",
	"and arp", "arp arp", "not", "()", "ether host 10.0.0.1", "tcp host 10.0.0.1", "icmp port 7", "ip6 host 10.0.0.1", "ip host fd00::1",
	"port 1-2", "portrange 1-x", "ether port 5", "src arp", "udp broadcast", "portrange 1-70000",
}

func tcpdump(t *testing.T, filter string) ([]bpf.Instruction, error) {
	t.Helper()
	cmd := exec.Command("tcpdump", "-ddd", "-y", "EN10MB", "-s", "262144", filter)
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, errs.String())
	}
	var raw []bpf.RawInstruction
	for i, line := range strings.Split(strings.TrimSpace(string(out)), "\n") {
		var r bpf.RawInstruction
		if i == 0 {
			continue // how many there are
		}
		if _, err := fmt.Sscan(line, &r.Op, &r.Jt, &r.Jf, &r.K); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		raw = append(raw, r)
	}
	code, ok := bpf.Disassemble(raw)
	if !ok {
		t.Fatalf("%s: tcpdump's program cannot be read: %v", filter, code)
	}
	return code, nil
}

func machine(t *testing.T, filter string) *bpf.VM {
	t.Helper()
	p, err := Compile(filter, 262144)
	if err != nil {
		t.Fatalf("%s: %v", filter, err)
	}
	code, ok := bpf.Disassemble(p)
	if !ok {
		t.Fatalf("%s: the program cannot be read", filter)
	}
	vm, err := bpf.NewVM(code)
	if err != nil {
		t.Fatalf("%s: %v", filter, err)
	}
	return vm
}

// Filters decide as tcpdump's do, about packets that are near to what they ask for.
func TestFiltersAsTcpdump(t *testing.T) {
	labtest.Require(t, "tcpdump")
	rnd := rand.New(rand.NewPCG(1, 2))
	packets := make([][]byte, 4000)
	for i := range packets {
		packets[i] = anyPacket(rnd)
	}
	for _, f := range filters {
		code, err := tcpdump(t, f)
		if err != nil {
			t.Errorf("tcpdump refuses %q: %v", f, err)
			continue
		}
		theirs, err := bpf.NewVM(code)
		if err != nil {
			t.Fatal(err)
		}
		ours, passed := machine(t, f), 0
		for _, p := range packets {
			a, errA := ours.Run(p)
			b, errB := theirs.Run(p)
			if (a > 0) != (b > 0) || errA != nil || errB != nil {
				t.Errorf("%q: %d (%v), tcpdump says %d (%v) of % x", f, a, errA, b, errB, p)
				break
			}
			if a > 0 {
				passed++
			}
		}
		if passed == 0 {
			t.Errorf("%q lets none of the packets pass: it is not tested", f)
		}
	}
	for _, f := range refused {
		if _, err := Compile(f, 1); err == nil {
			t.Errorf("%q is taken", f)
		}
		if _, err := tcpdump(t, f); err == nil {
			t.Errorf("tcpdump takes %q", f)
		}
	}
}

// Long filters need jumps over more than 255 instructions.
func TestLongFilters(t *testing.T) {
	var hosts []string
	for i := range 100 {
		hosts = append(hosts, fmt.Sprintf("not host 10.0.1.%d", i))
	}
	vm := machine(t, strings.Join(hosts[:80], " and "))
	rnd := rand.New(rand.NewPCG(3, 4))
	for range 1000 {
		p := anyPacket(rnd)
		if n, err := vm.Run(p); err != nil || n == 0 {
			t.Fatalf("%d, %v of % x", n, err, p)
		}
		if binary.BigEndian.Uint16(p[12:]) == typeIP4 && len(p) > 34 {
			copy(p[26:], []byte{10, 0, 1, byte(rnd.IntN(80))})
			if n, err := vm.Run(p); err != nil || n != 0 {
				t.Fatalf("%d, %v of % x", n, err, p)
			}
		}
	}
	if _, err := Compile("ARP OR UDP PORT 67", 1); err != nil {
		t.Error(err) // tcpdump has lower case only
	}
	for _, f := range []string{"host 10.0.0", strings.Repeat("(", 100) + "arp" + strings.Repeat(")", 100), strings.Repeat("not ", 100) + "arp", strings.Repeat("port 1 or ", 200) + "port 2"} {
		if _, err := Compile(f, 1); err == nil || len(err.Error()) > 200 {
			t.Errorf("%.20s: %v", f, err)
		}
	}
}

func FuzzCompile(f *testing.F) {
	for _, s := range append(filters, refused...) {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := Compile(s, 100)
		if err != nil {
			return
		}
		code, _ := bpf.Disassemble(p)
		vm, err := bpf.NewVM(code)
		if err != nil {
			t.Fatalf("%q: %v", s, err)
		}
		_, _ = vm.Run(make([]byte, 64))
	})
}

func one[T any](r *rand.Rand, of ...T) T { return of[r.IntN(len(of))] }

// anyPacket is a frame with few different values, so that filters often hit.
func anyPacket(r *rand.Rand) []byte {
	mac := func() []byte {
		return one(r, []byte{0xfa, 0x16, 0x3e, 0, 0, byte(r.IntN(2))}, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, []byte{1, 0, 0x5e, 0, 0, 1})
	}
	addr4 := func() []byte { return []byte{10, byte(r.IntN(8) / 7), 0, byte(r.IntN(3))} }
	addr6 := func() []byte {
		a := make([]byte, 16)
		a[0], a[4], a[15] = one[byte](r, 0xfd, 0xfd, 0xfe), byte(r.IntN(4)/3), byte(r.IntN(3))
		return a
	}
	port := func() []byte { return []byte{0, one[byte](r, 67, 68, 22, 53, 80, 60, 70, 71)} }
	typ := one[uint16](r, typeIP4, typeIP4, typeARP, typeRARP, typeIP6, typeIP6, 0x1234)
	p := append(append(mac(), mac()...), byte(typ>>8), byte(typ))
	proto := one[byte](r, protoICMP, protoTCP, protoUDP, protoUDP, protoICMP6, protoSCTP, protoFragment, 89)
	switch typ {
	case typeIP4:
		options := r.IntN(2)
		h := make([]byte, 20+4*options)
		h[0], h[9] = byte(0x45+options), proto
		binary.BigEndian.PutUint16(h[6:], one[uint16](r, 0, 0, 0x4000, 0x2000, 0x2001, 5))
		copy(h[12:], addr4())
		copy(h[16:], addr4())
		p = append(append(append(p, h...), port()...), port()...)
	case typeIP6:
		h := make([]byte, 40)
		h[0], h[6] = 0x60, proto
		copy(h[8:], addr6())
		copy(h[24:], addr6())
		p = append(p, h...)
		if proto == protoFragment {
			p = append(p, one[byte](r, protoUDP, protoTCP, protoICMP6), 0, 0, 1, 0, 0, 0, 1)
		}
		p = append(append(p, port()...), port()...)
	default:
		h := make([]byte, 28)
		copy(h, []byte{0, 1, 8, 0, 6, 4, 0, 1})
		copy(h[14:], addr4())
		copy(h[24:], addr4())
		p = append(p, h...)
	}
	return append(p, make([]byte, 16)...)
}
