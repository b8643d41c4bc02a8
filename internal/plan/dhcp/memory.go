package dhcp

import (
	"slices"

	"weft/internal/model"
	"weft/internal/plan/view"
)

// Memory holds the services of the last view, each with what it follows from: Servers
// returns what the function Servers returns, and one that follows from the same is not
// made again. The zero value is ready. One goroutine may use it.
type Memory struct {
	settings Settings
	services map[model.NetworkID]service
}

type service struct {
	view.Network
	// server is nil if there is nothing to serve.
	server *Server
}

func (s service) follows(n *view.Network) bool {
	return s.Network.Network == n.Network && s.DHCPPort == n.DHCPPort &&
		slices.Equal(s.Subnets, n.Subnets) && slices.Equal(s.Ports, n.Ports)
}

// Servers is as the function Servers.
func (m *Memory) Servers(v view.View, s Settings) []Server {
	services := make(map[model.NetworkID]service, len(v.Networks))
	var out []Server
	for _, n := range v.Networks {
		now, known := m.services[n.ID]
		if !known || m.settings != s || !now.follows(n) {
			now = service{Network: *n}
			if subnets := served(n); len(subnets) > 0 {
				srv := server(v.Host, n, subnets, s)
				now.server = &srv
			}
		}
		services[n.ID] = now
		if now.server != nil {
			out = append(out, *now.server)
		}
	}
	m.settings, m.services = s, services
	return out
}
