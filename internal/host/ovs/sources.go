package ovs

import (
	"context"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"time"

	"weft/internal/model"
)

// Source is what the datapath still knows of frames that have come in lately: it forgets them
// ten seconds after the last one.
type Source struct {
	// Device is where they came in; that of a tunnel is shared by all tunnels of a kind.
	Device string
	// MAC is who sent them; the zero one if nobody asked the datapath to look at it.
	MAC model.MAC
	// Addr is from which address, in their IP header or, if ARP, as an ARP message claims; not valid if the
	// datapath did not look. Bits are fewer than the address has if it looked at those only.
	Addr netip.Prefix
	ARP  bool
	// VNI and VTEP are those of frames out of a tunnel; VLAN is the tag of others, 0 for none.
	VNI  uint32
	VTEP netip.Addr
	VLAN uint16
	// Packets does not count the first.
	Packets uint64
	// Age is since the last; 0 while there was but one.
	Age time.Duration
	// Dropped: they went nowhere.
	Dropped bool
}

// Sources asks the datapath what it knows of frames that came in by a device, and of those, by
// whatever device, that were sent from a MAC address or from one of some IPv4 addresses.
func (s *Switch) Sources(ctx context.Context, device string, mac model.MAC, addrs []netip.Addr) ([]Source, error) {
	list, err := s.control.Call(ctx, "dpctl/dump-dps")
	if err != nil {
		return nil, err
	}
	filters := []string{"in_port=" + device, "dl_src=" + mac.String()}
	for _, a := range addrs {
		if a.Is4() {
			filters = append(filters, "ip,nw_src="+a.String(), "arp,arp_spa="+a.String())
		}
	}
	var out []Source
	seen := map[string]bool{}
	for _, dp := range strings.Fields(list) {
		for _, f := range filters {
			text, err := s.control.Call(ctx, "dpctl/dump-flows", "--names", dp, "filter="+f)
			if err != nil {
				// A datapath of another bridge has no such device.
				continue
			}
			for line := range strings.Lines(text) {
				if src, ok := parseSource(line); ok && !seen[line] {
					seen[line] = true
					out = append(out, src)
				}
			}
		}
	}
	return out, nil
}

var (
	dpInPort = regexp.MustCompile(`in_port\(([^)]+)\)`)
	dpMAC    = regexp.MustCompile(`[,)]eth\(src=([0-9a-f:]{17})[,)]`)
	dpAddr   = regexp.MustCompile(`(ipv4|ipv6|arp)\((?:src|sip)=([0-9a-f.:]+)(?:/([0-9a-f.:]+))?[,)]`)
	dpTunnel = regexp.MustCompile(`tunnel\(tun_id=(0x[0-9a-f]+)(?:,src=([0-9a-f.:]+))?`)
	dpVLAN   = regexp.MustCompile(`vlan\(vid=(\d+)`)
	dpStats  = regexp.MustCompile(`, packets:(\d+), bytes:\d+, used:(?:never|([0-9.]+)s).*, actions:(.*)`)
)

// parseSource reads a line of dpctl/dump-flows. Frames that come round again (recirc_id) were seen before.
func parseSource(line string) (Source, bool) {
	in, stats := dpInPort.FindStringSubmatch(line), dpStats.FindStringSubmatch(strings.TrimSpace(line))
	if in == nil || stats == nil || !strings.Contains(line, "recirc_id(0)") {
		return Source{}, false
	}
	src := Source{Device: strings.Trim(in[1], `"`), Dropped: stats[3] == "drop"}
	src.Packets, _ = strconv.ParseUint(stats[1], 10, 64)
	if used, err := strconv.ParseFloat(stats[2], 64); err == nil {
		src.Age = time.Duration(used * float64(time.Second))
	}
	key, _, _ := strings.Cut(line, ", packets:")
	if m := dpMAC.FindStringSubmatch(key); m != nil {
		src.MAC, _ = model.ParseMAC(m[1])
	}
	if m := dpTunnel.FindStringSubmatch(key); m != nil {
		vni, _ := strconv.ParseUint(m[1], 0, 32)
		src.VNI = uint32(vni)
		src.VTEP, _ = netip.ParseAddr(m[2])
		key = strings.Replace(key, m[0], "", 1)
	}
	if m := dpVLAN.FindStringSubmatch(key); m != nil {
		vid, _ := strconv.ParseUint(m[1], 10, 12)
		src.VLAN = uint16(vid)
	}
	if m := dpAddr.FindStringSubmatch(key); m != nil {
		src.ARP = m[1] == "arp"
		if a, err := netip.ParseAddr(m[2]); err == nil {
			src.Addr = netip.PrefixFrom(a, maskBits(m[3], a.BitLen()))
		}
	}
	return src, true
}

// maskBits counts the leading ones of a mask; an empty one is full.
func maskBits(mask string, full int) int {
	a, err := netip.ParseAddr(mask)
	if err != nil {
		return full
	}
	bits := 0
	for _, b := range a.AsSlice() {
		for ; b&0x80 != 0; b <<= 1 {
			bits++
		}
	}
	return bits
}
