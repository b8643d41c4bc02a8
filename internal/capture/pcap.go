package capture

import (
	"encoding/binary"
	"time"
)

// Packet is a frame as it passed a device.
type Packet struct {
	At time.Time
	// Len is its length; Data may be less of it.
	Len  int
	Data []byte
	// Out: the host sent it to the device, rather than the device to the host.
	Out bool
}

// The header of a file: byte order and resolution by its first number, then version and link type.
const (
	magicNano    = 0xa1b23c4d
	linkEthernet = 1
)

// AppendHeader begins a pcap file of packets of up to snap bytes, with times in nanoseconds.
func AppendHeader(b []byte, snap uint32) []byte {
	b = binary.LittleEndian.AppendUint32(b, magicNano)
	b = binary.LittleEndian.AppendUint16(b, 2)
	b = binary.LittleEndian.AppendUint16(b, 4)
	b = append(b, make([]byte, 8)...) // time zone and precision, which nobody uses
	b = binary.LittleEndian.AppendUint32(b, snap)
	return binary.LittleEndian.AppendUint32(b, linkEthernet)
}

// AppendPacket adds a packet to a pcap file.
func AppendPacket(b []byte, p Packet) []byte {
	for _, v := range []uint32{uint32(p.At.Unix()), uint32(p.At.Nanosecond()), uint32(len(p.Data)), uint32(p.Len)} {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	return append(b, p.Data...)
}
