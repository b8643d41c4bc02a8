// Package vif derives the names and numbers by which a port is known on a host.
//
// All of them follow Neutron, so that an operator, libvirt or os-vif finds what it
// expects. Pure: names come from IDs; numbers (local VLANs) from those in use before.
package vif

import (
	"encoding/base32"
	"fmt"
	"hash/fnv"
	"net/netip"
	"strings"

	"golang.org/x/crypto/blake2b"

	"weft/internal/model"
)

// MaxName is the longest name of a network interface (IFNAMSIZ less its zero byte).
const MaxName = 15

// The patch ports between br-int and br-tun, named for where they lead.
const (
	PatchTun = "patch-tun" // on br-int
	PatchInt = "patch-int" // on br-tun
)

// TapName is the name of a port's device: tap and the first 11 characters of its ID.
func TapName(id model.PortID) string {
	s := string(id)
	return "tap" + s[:min(11, len(s))]
}

// TapMAC is the MAC address of the host's end of a port: the port's own with fe as its
// first octet. libvirt does the same, so that a Linux bridge never takes a guest's
// address for its own.
func TapMAC(m model.MAC) model.MAC {
	m[0] = 0xfe
	return m
}

// DHCPNamespace is the name of a network's DHCP namespace.
func DHCPNamespace(id model.NetworkID) string { return "qdhcp-" + string(id) }

// IntPatch and PhyPatch are the patch ports between br-int and a physical bridge: IntPatch
// is on br-int, PhyPatch on the bridge.
func IntPatch(bridge string) string { return patch("int-", bridge) }

// PhyPatch is the other end of IntPatch.
func PhyPatch(bridge string) string { return patch("phy-", bridge) }

// patch keeps a name within MaxName: a bridge whose name is too long for its prefix is
// known by the beginning of its name and a hash of the whole.
func patch(prefix, bridge string) string {
	if len(prefix)+len(bridge) <= MaxName {
		return prefix + bridge
	}
	h := fnv.New32a()
	h.Write([]byte(bridge))
	return prefix + bridge[:MaxName-len(prefix)-6] + fmt.Sprintf("%06x", h.Sum32()&0xffffff)
}

// Tunnel is the name of a tunnel port to a remote VTEP: vxlan-0a000003 for 10.0.0.3. The text
// of an IPv6 address does not fit and is hashed, as by Neutron: BLAKE2b of 20 bytes in base32.
func Tunnel(t model.SegmentType, remote netip.Addr) string {
	remote = remote.Unmap()
	if remote.Is4() {
		b := remote.As4()
		return fmt.Sprintf("%s-%02x%02x%02x%02x", t, b[0], b[1], b[2], b[3])
	}
	h, err := blake2b.New(20, nil)
	if err != nil { // it has no key that could be too long
		panic(err)
	}
	h.Write([]byte(remote.String()))
	name := string(t) + "-" + strings.ToLower(base32.StdEncoding.EncodeToString(h.Sum(nil)))
	return name[:min(MaxName, len(name))]
}
