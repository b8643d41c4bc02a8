package neutron

import (
	"iter"
	"time"

	"github.com/google/uuid"

	"weft/internal/control"
	"weft/internal/model"
	"weft/internal/store"
)

// The two agents as which a host shows itself.
const (
	agentOVS  = "Open vSwitch agent"
	agentDHCP = "DHCP agent"
)

// agent is a row of /v2.0/agents. It is not stored: each host is shown as the agents
// that a Neutron host doing the same work would run.
type agent struct {
	ID             string
	Type           string
	Binary         string
	Topic          string
	Zone           string // "" is null
	Alive          bool
	Host           *model.Host
	Configurations map[string]any
}

type agentAttribute = attribute[agent, struct{}]

// agents is the table of /v2.0/agents.
func agents() *table[agent, struct{}] {
	appendStamp := func(b []byte, t time.Time) []byte {
		b = append(b, '"')
		b = t.UTC().AppendFormat(b, "2006-01-02 15:04:05") // not as in other resources
		return append(b, '"')
	}
	null := func(b []byte, _ *agent, _ *aside) []byte { return append(b, "null"...) }
	return newTable(table[agent, struct{}]{kind: model.KindAgent, singular: "agent", plural: "agents",
		attributes: []agentAttribute{
			{name: "id", use: filter | order, text: func(a *agent) string { return a.ID }},
			{name: "agent_type", use: filter | order, text: func(a *agent) string { return a.Type }},
			{name: "binary", use: filter | order, text: func(a *agent) string { return a.Binary }},
			{name: "topic", use: filter | order, text: func(a *agent) string { return a.Topic }},
			{name: "host", use: filter | order, text: func(a *agent) string { return string(a.Host.Name) }},
			{name: "admin_state_up", use: filter | order, flag: func(a *agent) bool { return !a.Host.AdminStateDisabled }},
			{name: "created_at", wire: func(b []byte, a *agent, _ *aside) []byte { return appendStamp(b, a.Host.CreatedAt) }},
			{name: "started_at", wire: func(b []byte, a *agent, _ *aside) []byte { return appendStamp(b, a.Host.StartedAt) }},
			{name: "heartbeat_timestamp", wire: func(b []byte, a *agent, _ *aside) []byte {
				return appendStamp(b, a.Host.HeartbeatAt)
			}},
			{name: "description", use: filter, wire: null, match: matchText(func(*agent) string { return "" })},
			{name: "resources_synced", wire: null},
			{name: "availability_zone", use: filter,
				wire:  func(b []byte, a *agent, _ *aside) []byte { return appendTextOrNull(b, a.Zone) },
				match: matchText(func(a *agent) string { return a.Zone })},
			{name: "alive", use: filter, flag: func(a *agent) bool { return a.Alive }},
			{name: "configurations", wire: func(b []byte, a *agent, _ *aside) []byte { return appendJSON(b, a.Configurations) }},
		}})
}

// agentCollection shows hosts as agents; they cannot be changed.
func agentCollection(c *control.Control, now func() time.Time) *collection[agent, struct{}] {
	return &collection[agent, struct{}]{
		table: agents(),
		id:    func(a *agent) string { return a.ID },
		find: func(r store.Reader, id string) *store.Entry[agent] {
			for e := range agentsOf(c, r, now()) {
				if e.Value.ID == id {
					return e
				}
			}
			return nil
		},
		list: func(r store.Reader, _ *query[agent, struct{}]) iter.Seq[*store.Entry[agent]] {
			return agentsOf(c, r, now())
		},
		aliases: []string{"agent"},
	}
}

func agentsOf(c *control.Control, r store.Reader, now time.Time) iter.Seq[*store.Entry[agent]] {
	return func(yield func(*store.Entry[agent]) bool) {
		for _, e := range r.Hosts() {
			h := e.Value
			alive := c.HostAlive(h, now)
			if !yield(&store.Entry[agent]{Value: switchAgent(r, h, alive)}) {
				return
			}
			if h.ServesDHCP && !yield(&store.Entry[agent]{Value: dhcpAgent(r, h, alive)}) {
				return
			}
		}
	}
}

// agentID is stable for a host and a type. Hosts whose own ID is no UUID go by their name.
func agentID(h *model.Host, kind string) string {
	space, err := uuid.Parse(h.AgentID)
	if err != nil {
		space = uuid.NewSHA1(uuid.NameSpaceDNS, []byte(h.Name))
	}
	return uuid.NewSHA1(space, []byte(kind)).String()
}

func switchAgent(r store.Reader, h *model.Host, alive bool) *agent {
	devices := 0
	for e := range r.PortsOnHost(h.Name) {
		if e.Value.Status == model.PortActive {
			devices++
		}
	}
	tunnelIP := ""
	if h.VTEP.IsValid() {
		tunnelIP = h.VTEP.String()
	}
	mappings := h.BridgeMappings
	if mappings == nil {
		mappings = map[string]string{}
	}
	return &agent{
		ID: agentID(h, agentOVS), Type: agentOVS, Binary: "neutron-openvswitch-agent", Topic: "N/A", Alive: alive, Host: h,
		Configurations: map[string]any{
			"arp_responder_enabled":      false,
			"bridge_mappings":            mappings,
			"datapath_type":              h.DatapathType,
			"devices":                    devices,
			"enable_distributed_routing": false,
			"extensions":                 []string{},
			"in_distributed_mode":        false,
			"integration_bridge":         h.IntegrationBridge,
			"l2_population":              true,
			"log_agent_heartbeats":       false,
			"ovs_capabilities": map[string]any{
				"datapath_types": []string{h.DatapathType},
				"iface_types":    emptyNotNull(h.InterfaceTypes),
			},
			"ovs_hybrid_plug": false,
			"tunnel_types":    emptyNotNull(h.TunnelTypes),
			"tunneling_ip":    tunnelIP,
		},
	}
}

func dhcpAgent(r store.Reader, h *model.Host, alive bool) *agent {
	networks, subnets, ports := 0, 0, 0
	for e := range r.PortsOnHost(h.Name) {
		if e.Value.DeviceOwner != model.OwnerDHCP {
			continue
		}
		networks++
		subnets += len(e.Value.FixedIPs)
		ports += r.PortCountOf(e.Value.NetworkID)
	}
	return &agent{
		ID: agentID(h, agentDHCP), Type: agentDHCP, Binary: "neutron-dhcp-agent", Topic: "dhcp_agent", Zone: theZone, Alive: alive, Host: h,
		Configurations: map[string]any{
			"dhcp_driver":          "weft",
			"dhcp_lease_duration":  86400,
			"log_agent_heartbeats": false,
			"networks":             networks,
			"ports":                ports,
			"subnets":              subnets,
		},
	}
}

func emptyNotNull(s []string) []string { return append([]string{}, s...) }
