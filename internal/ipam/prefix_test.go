package ipam

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func prefixes(s string) (out []netip.Prefix) {
	for _, f := range strings.Fields(s) {
		out = append(out, prefix(f))
	}
	return out
}

func TestPrefixSets(t *testing.T) {
	for _, c := range []struct{ a, b, merged, left string }{
		{"192.168.1.0/24 192.168.0.0/24 172.16.0.0/21", "", "[172.16.0.0/21 192.168.0.0/23]", "[172.16.0.0/21 192.168.0.0/23]"},
		{"10.0.0.0/8 10.1.0.0/16", "10.0.0.0/9", "[10.0.0.0/8]", "[10.128.0.0/9]"},
		{"10.0.0.0/30", "10.0.0.1/32", "[10.0.0.0/30]", "[10.0.0.0/32 10.0.0.2/31]"},
		{"0.0.0.0/0", "255.255.255.255/32 0.0.0.0/1", "[0.0.0.0/0]", ""},
		{"2001:db8::/64 2001:db8:0:1::/64", "2001:db8::/64", "[2001:db8::/63]", "[2001:db8:0:1::/64]"},
		{"10.0.0.9/24", "10.0.0.0/24", "[10.0.0.0/24]", "[]"},
	} {
		if got := fmt.Sprint(Merge(prefixes(c.a))); got != c.merged {
			t.Errorf("Merge(%s) = %s, want %s", c.a, got, c.merged)
		}
		if got := fmt.Sprint(Subtract(prefixes(c.a), prefixes(c.b))); got != c.left && c.left != "" {
			t.Errorf("%s without %s = %s, want %s", c.a, c.b, got, c.left)
		}
	}
	free := prefixes("10.0.0.0/16 10.1.0.0/24 10.2.0.0/20")
	for bits, want := range map[int]string{28: "10.1.0.0/28", 24: "10.1.0.0/24", 23: "10.2.0.0/23", 17: "10.0.0.0/17"} {
		if p, ok := ChoosePrefix(free, bits); !ok || p.String() != want {
			t.Errorf("/%d: %v, want %s", bits, p, want)
		}
	}
	if p, ok := ChoosePrefix(free, 15); ok {
		t.Errorf("/15: %v", p)
	}
}

// TestPrefixSetsAgainstBits compares with the obvious implementation on one octet.
func TestPrefixSetsAgainstBits(t *testing.T) {
	draw := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) netip.Prefix {
		a := netip.AddrFrom4([4]byte{255, 255, 255, rapid.Byte().Draw(t, "last")})
		return netip.PrefixFrom(a, rapid.IntRange(24, 32).Draw(t, "bits"))
	}), 0, 8)
	in := func(set []netip.Prefix, a netip.Addr) bool {
		for _, p := range set {
			if p.Contains(a) {
				return true
			}
		}
		return false
	}
	rapid.Check(t, func(t *rapid.T) {
		a, b := draw.Draw(t, "a"), draw.Draw(t, "b")
		merged, left := Merge(a), Subtract(a, b)
		overlap := false
		for i := range 256 {
			x := netip.AddrFrom4([4]byte{255, 255, 255, byte(i)})
			if in(merged, x) != in(a, x) || in(left, x) != (in(a, x) && !in(b, x)) {
				t.Fatalf("%v: merged %v, left %v", x, merged, left)
			}
			overlap = overlap || in(a, x) && in(b, x)
		}
		if Overlap(a, b) != overlap {
			t.Fatalf("Overlap = %v", !overlap)
		}
		for i, p := range merged {
			if p != p.Masked() || !Covers(merged, p) || i > 0 && !merged[i-1].Addr().Less(p.Addr()) {
				t.Fatalf("merged %v", merged)
			}
			if up := netip.PrefixFrom(p.Addr(), p.Bits()-1).Masked(); Covers(merged, up) {
				t.Fatalf("%v not merged into %v", merged, up)
			}
		}
	})
}
