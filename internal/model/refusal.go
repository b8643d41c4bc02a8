package model

import (
	"slices"
	"strings"
	"time"
)

// KindRefusal is that of refused ports.
const KindRefusal Kind = "refusal"

// Refusal is a port that could not be made: what it was to be, and why not. The cloud remembers
// the last of them, so that who looks for a VM's port learns why there is none.
type Refusal struct {
	// Place is which of the places for refusals it has in the store.
	Place     string    `json:"place,omitempty"`
	At        time.Time `json:"at"`
	Project   ProjectID `json:"project_id"`
	NetworkID NetworkID `json:"network_id"`
	DeviceID  string    `json:"device_id,omitempty"`
	Name      string    `json:"name,omitempty"`
	// MAC and Addrs are those that were asked for.
	MAC   string   `json:"mac,omitempty"`
	Addrs []string `json:"addresses,omitempty"`
	// Message says why.
	Message string `json:"message"`
}

// Answers reports whether q means the port that was refused: by VM, name, MAC or address.
func (r *Refusal) Answers(q string) bool {
	return q != "" && (r.DeviceID == q || r.Name == q || strings.EqualFold(r.MAC, q) || slices.Contains(r.Addrs, q))
}

// SamePort reports whether both are of one port, asked for again and again.
func (r *Refusal) SamePort(o *Refusal) bool {
	return r.DeviceID == o.DeviceID && r.Name == o.Name && r.MAC == o.MAC && r.NetworkID == o.NetworkID && r.Project == o.Project &&
		slices.Equal(r.Addrs, o.Addrs)
}
