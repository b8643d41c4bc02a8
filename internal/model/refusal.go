package model

import "time"

// Refusal is a port that could not be made: what it was to be, and why not. Servers remember
// the last of them, so that who looks for a VM's port learns why there is none.
type Refusal struct {
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
