package lab

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

const vxlanPort = 4789

// CaptureVXLAN is CaptureBOOTP for what tunnels carry: `tcpdump -n -i DEV udp port 4789`.
func CaptureVXLAN(device string, fn func(Packet)) (*Capture, error) {
	return capture(device, vxlanText, fn)
}

// vxlanText describes an Ethernet frame that carries another by VXLAN, or is empty for others.
func vxlanText(b []byte) string {
	src, dst, proto, udp := ipv4(b)
	if proto != unix.IPPROTO_UDP || len(udp) < 16 || binary.BigEndian.Uint16(udp[2:]) != vxlanPort {
		return ""
	}
	vni := binary.BigEndian.Uint32(udp[12:]) >> 8
	return fmt.Sprintf("IP %s > %s: VXLAN, vni %d: %s", src, dst, vni, frameText(udp[16:]))
}

// frameText describes what guests send.
func frameText(b []byte) string {
	if text := bootpText(b); text != "" {
		return text
	}
	if src, dst, proto, data := ipv4(b); src.IsValid() {
		if proto == unix.IPPROTO_ICMP && len(data) > 0 {
			switch data[0] {
			case 0:
				return fmt.Sprintf("IP %s > %s: ICMP echo reply", src, dst)
			case 8:
				return fmt.Sprintf("IP %s > %s: ICMP echo request", src, dst)
			}
		}
		return fmt.Sprintf("IP %s > %s: protocol %d", src, dst, proto)
	}
	if len(b) >= 54 && binary.BigEndian.Uint16(b[12:]) == unix.ETH_P_IPV6 {
		return fmt.Sprintf("IP6 %s > %s: next header %d", netip.AddrFrom16([16]byte(b[22:38])), netip.AddrFrom16([16]byte(b[38:54])), b[20])
	}
	if len(b) >= 42 && binary.BigEndian.Uint16(b[12:]) == unix.ETH_P_ARP {
		return fmt.Sprintf("ARP, %s asks for %s", netip.AddrFrom4([4]byte(b[28:32])), netip.AddrFrom4([4]byte(b[38:42])))
	}
	return fmt.Sprintf("%d bytes", len(b))
}

// ipv4 takes an IPv4 packet out of an Ethernet frame; src is invalid if there is none.
func ipv4(b []byte) (src, dst netip.Addr, proto byte, data []byte) {
	if len(b) < 34 || binary.BigEndian.Uint16(b[12:]) != unix.ETH_P_IP || b[14]>>4 != 4 {
		return src, dst, 0, nil
	}
	b = b[14:]
	hlen := int(b[0]&15) * 4
	if hlen < 20 || len(b) < hlen {
		return src, dst, 0, nil
	}
	return netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20])), b[9], b[hlen:]
}
