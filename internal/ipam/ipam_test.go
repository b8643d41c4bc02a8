package ipam

import (
	"fmt"
	"math/bits"
	"math/rand/v2"
	"net/netip"
	"testing"

	"pgregory.net/rapid"

	"weft/internal/model"
)

func addr(s string) netip.Addr     { return netip.MustParseAddr(s) }
func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func TestDefaultPools(t *testing.T) {
	for _, c := range []struct{ cidr, gateway, want string }{
		{"10.0.0.0/24", "10.0.0.1", "[{10.0.0.2 10.0.0.254}]"},
		{"10.0.0.0/24", "", "[{10.0.0.1 10.0.0.254}]"},
		{"10.0.0.0/24", "10.0.0.100", "[{10.0.0.1 10.0.0.99} {10.0.0.101 10.0.0.254}]"},
		{"10.0.0.0/24", "10.0.0.254", "[{10.0.0.1 10.0.0.253}]"},
		{"10.0.0.0/24", "192.0.2.1", "[{10.0.0.1 10.0.0.254}]"},
		{"10.0.0.0/30", "10.0.0.1", "[{10.0.0.2 10.0.0.2}]"},
		{"10.0.0.0/31", "10.0.0.1", "[{10.0.0.0 10.0.0.0}]"},
		{"10.0.0.0/31", "", "[{10.0.0.0 10.0.0.1}]"},
		{"10.0.0.7/32", "10.0.0.8", "[{10.0.0.7 10.0.0.7}]"},
		{"10.0.0.7/32", "10.0.0.7", "[]"},
		{"2001:db8::/64", "2001:db8::1", "[{2001:db8::2 2001:db8::ffff:ffff:ffff:ffff}]"},
		{"2001:db8::/64", "2001:db8::", "[{2001:db8::1 2001:db8::ffff:ffff:ffff:ffff}]"},
		{"2001:db8::/126", "", "[{2001:db8::1 2001:db8::3}]"},
		{"2001:db8::/127", "2001:db8::", "[{2001:db8::1 2001:db8::1}]"},
		{"2001:db8::5/128", "", "[{2001:db8::5 2001:db8::5}]"},
	} {
		var gw netip.Addr
		if c.gateway != "" {
			gw = addr(c.gateway)
		}
		if got := fmt.Sprint(DefaultPools(prefix(c.cidr), gw)); got != c.want {
			t.Errorf("DefaultPools(%s, %s) = %s, want %s", c.cidr, c.gateway, got, c.want)
		}
	}
}

func TestGatewayAndHostAddress(t *testing.T) {
	if g := DefaultGateway(prefix("10.10.0.0/24")); g != addr("10.10.0.1") {
		t.Errorf("gateway %v", g)
	}
	if g := DefaultGateway(prefix("2001:db8:77::/64")); g != addr("2001:db8:77::") {
		t.Errorf("gateway %v", g)
	}
	for _, c := range []struct {
		cidr, a       string
		host, gateway bool
	}{
		{"10.0.0.0/24", "10.0.0.0", false, false},
		{"10.0.0.0/24", "10.0.0.255", false, false},
		{"10.0.0.0/24", "10.0.0.5", true, true},
		{"10.0.0.0/24", "10.0.1.5", false, true},
		{"10.0.0.0/31", "10.0.0.0", true, true},
		{"10.0.0.0/31", "10.0.0.1", true, true},
		{"10.0.0.9/32", "10.0.0.9", true, true},
		{"10.0.0.0/24", "2001:db8::1", false, false},
		{"2001:db8::/64", "2001:db8::", false, true},
		{"2001:db8::/64", "2001:db8::ffff:ffff:ffff:ffff", true, true},
		{"2001:db8::/64", "fe80::1", false, true},
		{"2001:db8::/127", "2001:db8::", false, true},
		{"2001:db8::5/128", "2001:db8::5", true, true},
	} {
		if got := IsHostAddress(prefix(c.cidr), addr(c.a)); got != c.host {
			t.Errorf("IsHostAddress(%s, %s) = %v", c.cidr, c.a, got)
		}
		if got := GatewayValid(prefix(c.cidr), addr(c.a)); got != c.gateway {
			t.Errorf("GatewayValid(%s, %s) = %v", c.cidr, c.a, got)
		}
	}
}

func TestChooseMAC(t *testing.T) {
	free := func(model.MAC) bool { return false }
	for _, c := range []struct{ base, want string }{
		{"fa:16:3e:00:00:00", "fa:16:3e:ab:cd:ef"},
		{"fa:16:3e:4f:00:00", "fa:16:3e:4f:cd:ef"},
	} {
		base, _ := model.ParseMAC(c.base)
		m, ok := ChooseMAC(base, free, func(int) int { return 0xabcdef })
		if !ok || m.String() != c.want {
			t.Errorf("ChooseMAC(%s) = %v, want %s", c.base, m, c.want)
		}
	}
	if _, ok := ChooseMAC(model.MAC{}, func(model.MAC) bool { return true }, rand.IntN); ok {
		t.Error("found a MAC though all are taken")
	}
}

func TestWindow(t *testing.T) {
	for n, want := range map[int]uint64{1: 1000, 2: 200, 100: 10000, 5000: 100000} {
		if got := Window(n); got != want {
			t.Errorf("Window(%d) = %d, want %d", n, got, want)
		}
	}
}

func TestChooseSegmentationID(t *testing.T) {
	taken := map[uint32]bool{}
	for range 50 {
		id, ok := ChooseSegmentationID(100, 149, func(i uint32) bool { return taken[i] }, rand.IntN)
		if !ok || id < 100 || id > 149 || taken[id] {
			t.Fatalf("chose %d, %v", id, ok)
		}
		taken[id] = true
	}
	if _, ok := ChooseSegmentationID(100, 149, func(i uint32) bool { return taken[i] }, rand.IntN); ok {
		t.Error("chose from a full range")
	}
}

// TestSetAgainstMap compares a Set with the obvious implementation.
func TestSetAgainstMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cidr := prefix(rapid.SampledFrom([]string{"10.0.0.0/18", "10.9.0.0/24", "2001:db8::/64", "2001:db8::/48", "10.0.0.0/31"}).Draw(t, "cidr"))
		base := NewSet(cidr)
		hi, start := halves(base.Prefix().Addr())
		if cidr.Bits() < 64 && !cidr.Addr().Is4() {
			start = ^uint64(0) - 1<<14 + 1 // on both sides of a border between blocks
		}
		at := func(off uint64) netip.Addr {
			lo, carry := bits.Add64(start, off, 0)
			return base.addr(hi+carry, lo)
		}
		size := uint64(1) << min(cidr.Addr().BitLen()-cidr.Bits(), 15)
		s, m := NewSet(cidr), map[netip.Addr]bool{}
		for range rapid.IntRange(0, 300).Draw(t, "ops") {
			a := at(rapid.Uint64Range(0, size-1).Draw(t, "off"))
			if rapid.Bool().Draw(t, "add") {
				if s.Add(a) == m[a] {
					t.Fatalf("Add(%v) disagrees", a)
				}
				m[a] = true
			} else {
				if s.Remove(a) != m[a] {
					t.Fatalf("Remove(%v) disagrees", a)
				}
				delete(m, a)
			}
		}
		x, y := rapid.Uint64Range(0, size-1).Draw(t, "x"), rapid.Uint64Range(0, size-1).Draw(t, "y")
		pool := model.Pool{First: at(min(x, y)), Last: at(max(x, y))}
		var free []netip.Addr
		for a := pool.First; pool.Contains(a); a = a.Next() {
			if s.Has(a) != m[a] {
				t.Fatalf("Has(%v) disagrees", a)
			}
			if !m[a] {
				free = append(free, a)
			}
		}
		if got := s.FreeUpTo(pool, 1<<40); got != uint64(len(free)) {
			t.Fatalf("FreeUpTo = %d, want %d", got, len(free))
		}
		if s.Len() != len(m) {
			t.Fatalf("Len = %d, want %d", s.Len(), len(m))
		}
		for _, n := range []int{0, len(free) / 2, len(free) - 1, len(free)} {
			got, ok := s.NthFree(pool, uint64(max(n, 0)))
			if want := n >= 0 && n < len(free); len(free) > 0 && ok != want || ok && got != free[n] {
				t.Fatalf("NthFree(%d) = %v, %v; %d free", n, got, ok, len(free))
			}
		}
	})
}

// TestPoolIsUsedUp: never twice, never outside a pool, never network, broadcast or
// gateway, exactly as many successes as addresses, then none; release then reuse.
func TestPoolIsUsedUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bits := rapid.IntRange(23, 32).Draw(t, "bits")
		cidr := netip.PrefixFrom(addr("10.1.2.0"), bits).Masked()
		gw := DefaultGateway(cidr)
		pools := DefaultPools(cidr, gw)
		size := 0
		for _, p := range pools {
			size += int(NewSet(cidr).FreeUpTo(p, 1<<32))
		}
		taken, rnd := NewSet(cidr), rand.New(rand.NewPCG(1, rapid.Uint64().Draw(t, "seed"))).IntN
		var last netip.Addr
		for i := range size {
			a, ok := ChooseAddress(pools, taken, Window(1), rnd)
			if !ok {
				t.Fatalf("exhausted after %d of %d", i, size)
			}
			if !taken.Add(a) || !IsHostAddress(cidr, a) || a == gw {
				t.Fatalf("bad choice %v", a)
			}
			last = a
		}
		if a, ok := ChooseAddress(pools, taken, Window(1), rnd); ok {
			t.Fatalf("chose %v from a full pool", a)
		}
		taken.Remove(last)
		if a, ok := ChooseLowest(pools, taken); !ok || a != last {
			t.Fatalf("released %v, chose %v", last, a)
		}
	})
}

func TestHugeV6Pool(t *testing.T) {
	for _, c := range []string{"2001:db8::/64", "2001:db8::/32"} {
		cidr := prefix(c)
		pools, s := DefaultPools(cidr, DefaultGateway(cidr)), NewSet(cidr)
		a, ok := ChooseLowest(pools, s)
		if !ok || a != addr("2001:db8::1") {
			t.Errorf("%s: lowest %v, %v", c, a, ok)
		}
	}
	// A pool beyond the first 2^64 addresses, and one that reaches over a border of 2^64.
	s := NewSet(prefix("2001:db8::/32"))
	far := []model.Pool{{First: addr("2001:db8:0:7::10"), Last: addr("2001:db8:0:7::11")},
		{First: addr("2001:db8:1::ffff:ffff:ffff:ffff"), Last: addr("2001:db8:1:1::")}}
	for _, want := range []string{"2001:db8:0:7::10", "2001:db8:0:7::11", "2001:db8:1:0:ffff:ffff:ffff:ffff", "2001:db8:1:1::", ""} {
		a, ok := ChooseLowest(far, s)
		if ok != (want != "") || ok && (a.String() != want || !s.Add(a) || s.Add(a)) {
			t.Errorf("%v, %v, want %q", a, ok, want)
		}
	}
}

func TestEUI64(t *testing.T) {
	m, _ := model.ParseMAC("fa:16:3e:33:44:55")
	if a := EUI64(prefix("2001:db8:77::/64"), m); a != addr("2001:db8:77:0:f816:3eff:fe33:4455") {
		t.Errorf("%v", a)
	}
}

// TestSparseSetIsSmall: 4096 scattered addresses, as many ports of a SLAAC subnet, take no bitmap each.
func TestSparseSetIsSmall(t *testing.T) {
	s := NewSet(prefix("2001:db8::/64"))
	for i := range uint64(4096) {
		s.Add(s.addr(0x20010db800000000, i<<12|7))
	}
	for _, c := range s.blocks[0x20010db800000000].chunks {
		if c.words != nil || c.count != 1 {
			t.Fatal("a bitmap for one address")
		}
	}
}

func TestRandomStaysInWindow(t *testing.T) {
	cidr := prefix("10.0.0.0/16")
	pools, s := DefaultPools(cidr, DefaultGateway(cidr)), NewSet(cidr)
	a, _ := ChooseAddress(pools, s, Window(1), func(n int) int { return n - 1 })
	if a != addr("10.0.3.233") { // the 1000th from .2
		t.Errorf("last of the window = %v", a)
	}
}

func BenchmarkChooseIn16With60000Taken(b *testing.B) {
	cidr := prefix("10.0.0.0/16")
	pools, s := DefaultPools(cidr, DefaultGateway(cidr)), NewSet(cidr)
	for range 60000 {
		a, _ := ChooseLowest(pools, s)
		s.Add(a)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := ChooseAddress(pools, s, Window(1), rand.IntN); !ok {
			b.Fatal("full")
		}
	}
}
