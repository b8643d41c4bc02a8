package trace

import (
	"time"

	"weft/internal/model"
)

// CaptureQuery asks a host for packets of a port, again and again: the answer to each is a
// Captured. The first, with Begin, starts the capture; it ends by Stop, or when nobody asks any
// more. One that is asked twice answers the same.
type CaptureQuery struct {
	// ID tells captures apart; the asker makes it up.
	ID    string `json:"id"`
	Begin bool   `json:"begin,omitempty"`
	Stop  bool   `json:"stop,omitempty"`
	// Filter is the text of a filter, Snap what is kept of each packet.
	Filter string `json:"filter,omitempty"`
	Snap   uint32 `json:"snap,omitempty"`
	// Who asks; it is logged.
	Who string `json:"who,omitempty"`
	// After is the number of the last packet that has arrived.
	After uint64 `json:"after,omitempty"`
	// Wait is how long the host may wait for a packet.
	Wait time.Duration `json:"wait_ns,omitempty"`
}

// Captured is what a host answers.
type Captured struct {
	// Device is the one that is listened to, in the host's own namespace if none is named.
	Device    string `json:"device"`
	Namespace string `json:"namespace,omitempty"`
	// Devices is how many the port has had since the capture began; Away: it has none now, and another is waited for.
	Devices int  `json:"devices,omitempty"`
	Away    bool `json:"away,omitempty"`
	// First is the number of the first of Packets; numbers follow each other from 1.
	First   uint64           `json:"first,omitempty"`
	Packets []CapturedPacket `json:"packets,omitempty"`
	// Dropped counts the packets so far for which there was no room.
	Dropped uint64 `json:"dropped,omitempty"`
	// End says why no more will come.
	End string `json:"end,omitempty"`
}

// CapturedPacket is one packet.
type CapturedPacket struct {
	At time.Time `json:"at"`
	// Len is the packet's length; Data is the beginning of it.
	Len  int    `json:"len"`
	Data []byte `json:"data"`
	// FromPort: whoever has the port sent it, rather than gets it.
	FromPort bool `json:"from_port"`
}

// CaptureLine is a line of what GET /weft/v1/capture answers; one of the fields is there. Begin comes
// first, End last. An empty line now and then says that there is nothing to say.
type CaptureLine struct {
	Begin  *CaptureBegin   `json:"begin,omitempty"`
	Packet *CapturedPacket `json:"packet,omitempty"`
	// Dropped is how many packets there were no room for so far; it comes when it has grown.
	Dropped uint64 `json:"dropped,omitempty"`
	// Note says that the device has gone, or that there is another.
	Note string      `json:"note,omitempty"`
	End  *CaptureEnd `json:"end,omitempty"`
}

// CaptureBegin says where is listened.
type CaptureBegin struct {
	PortID    model.PortID   `json:"port_id"`
	Host      model.HostName `json:"host"`
	Device    string         `json:"device"`
	Namespace string         `json:"namespace,omitempty"`
	Snap      uint32         `json:"snap"`
}

// CaptureEnd says why a capture has ended, and what it has seen.
type CaptureEnd struct {
	Reason  string `json:"reason"`
	Packets uint64 `json:"packets"`
	// Dropped passed the filter, and there was no room for them.
	Dropped uint64 `json:"dropped"`
}
