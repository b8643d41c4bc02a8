package model

import "time"

// The kinds of what a server tells the others of itself.
const (
	KindServer         Kind = "server"
	KindServerPresence Kind = "server_presence"
)

// Server is one of the servers of a cloud, whether it runs now or not.
type Server struct {
	Name string `json:"name"`
	// Feeds are the addresses, host:port, at which hosts reach its feed.
	Feeds []string `json:"feeds,omitempty"`
	// API is the URL of its Neutron API.
	API       string    `json:"api,omitempty"`
	Version   string    `json:"version,omitempty"`
	StartedAt time.Time `json:"started_at"`
}

// ServerPresence is there while a server runs: etcd itself removes it soon after the server
// has fallen silent, so nobody needs to compare clocks.
type ServerPresence struct {
	Name string `json:"name"`
}
