package neutron

import (
	"cmp"
	"context"
	"iter"
	"net/http"
	"time"

	"weft/internal/control"
	"weft/internal/model"
	"weft/internal/store"
)

// agent is a row of /v2.0/agents. It is not stored: each host is shown as the agents
// that a Neutron host doing the same work would run.
type agent struct {
	control.Agent
	Binary         string
	Topic          string
	Zone           string // "" is null
	Configurations map[string]any
}

// setting is what an administrator said of the agent.
func (a *agent) setting() model.AgentSetting { return a.Host.Agents[a.Type] }

type (
	agentRequest   = change[model.AgentSetting]
	agentAttribute = attribute[agent, agentRequest]
)

// agents is the table of /v2.0/agents.
func agents() *table[agent, agentRequest] {
	stamp := func(name string, at func(*model.Host) time.Time) agentAttribute {
		return agentAttribute{name: name, kind: "time", use: order,
			wire: func(b []byte, a *agent, _ *aside) []byte {
				// Not in the form of other resources.
				return appendString(b, at(a.Host).UTC().Format("2006-01-02 15:04:05"))
			},
			compare: func(x, y *agent) int { return at(x.Host).Compare(at(y.Host)) }}
	}
	null := func(b []byte, _ *agent, _ *aside) []byte { return append(b, "null"...) }
	return newTable(table[agent, agentRequest]{kind: model.KindAgent, singular: "agent", plural: "agents",
		project:  func(r *agentRequest) *model.ProjectID { return &r.Project },
		revision: func(r *agentRequest) *control.Opt[int] { return &r.IfRevision },
		attributes: []agentAttribute{
			{name: "id", use: filter | order, text: func(a *agent) string { return a.ID }},
			{name: "agent_type", use: filter | order, text: func(a *agent) string { return a.Type }},
			{name: "binary", use: filter | order, text: func(a *agent) string { return a.Binary }},
			{name: "topic", use: filter | order, text: func(a *agent) string { return a.Topic }},
			{name: "host", use: filter | order, text: func(a *agent) string { return string(a.Host.Name) }},
			{name: "admin_state_up", use: put | filter | order, kind: "boolean", take: takeAgentState,
				flag: func(a *agent) bool { return !a.setting().Disabled }},
			stamp("created_at", func(h *model.Host) time.Time { return h.CreatedAt }),
			stamp("started_at", func(h *model.Host) time.Time { return h.StartedAt }),
			stamp("heartbeat_timestamp", func(h *model.Host) time.Time { return h.HeartbeatAt }),
			{name: "description", use: put | filter | order, kind: "string(255)", take: takeAgentDescription,
				wire:    func(b []byte, a *agent, _ *aside) []byte { return appendTextOrNull(b, a.setting().Description) },
				match:   matchText(func(a *agent) string { return a.setting().Description }),
				compare: func(x, y *agent) int { return cmp.Compare(x.setting().Description, y.setting().Description) }},
			{name: "resources_synced", kind: "null", wire: null},
			{name: "availability_zone", kind: "string or null", use: filter | order,
				wire:    func(b []byte, a *agent, _ *aside) []byte { return appendTextOrNull(b, a.Zone) },
				match:   matchText(func(a *agent) string { return a.Zone }),
				compare: func(x, y *agent) int { return cmp.Compare(x.Zone, y.Zone) }},
			{name: "alive", use: filter | order, flag: func(a *agent) bool { return a.Alive }},
			{name: "configurations", kind: "object", wire: func(b []byte, a *agent, _ *aside) []byte { return appendJSON(b, a.Configurations) }},
			// Only of the agents that serve something: Neutron says so there and not elsewhere.
			{name: "resource_versions", kind: "object", when: func(_ *agent, x *aside) bool { return x.serving },
				wire: func(b []byte, _ *agent, _ *aside) []byte { return append(b, "{}"...) }},
		}})
}

func takeAgentState(ch *agentRequest, name string, v any) error {
	up, err := toBool(v)
	if err != nil {
		return err
	}
	ch.Set(name, func(s *model.AgentSetting) { s.Disabled = !up })
	return nil
}

func takeAgentDescription(ch *agentRequest, name string, v any) error {
	if v == nil {
		v = ""
	}
	text, reason := toString(v, maxDescription)
	if reason != "" {
		return invalidFor(name, reason)
	}
	ch.Set(name, func(s *model.AgentSetting) { s.Description = text })
	return nil
}

// agentCollection shows hosts as agents.
func agentCollection(c *control.Control, now func() time.Time) *collection[agent, agentRequest] {
	find := func(r store.Reader, id string) *store.Entry[agent] {
		for e := range agentsOf(c, r, now()) {
			if e.Value.ID == id {
				return e
			}
		}
		return nil
	}
	return &collection[agent, agentRequest]{
		table: agents(),
		id:    func(a *agent) string { return a.ID },
		find:  find,
		list: func(r store.Reader, _ *query[agent, agentRequest]) iter.Seq[*store.Entry[agent]] {
			return agentsOf(c, r, now())
		},
		update: func(ctx context.Context, id string, ch agentRequest) (e *store.Entry[agent], err error) {
			if err := c.UpdateAgent(ctx, id, ch); err != nil {
				return nil, err
			}
			if c.Read(func(r store.Reader) { e = find(r, id) }); e == nil {
				return nil, model.NotFound{Kind: model.KindAgent, ID: id}
			}
			return e, nil
		},
		remove: func(ctx context.Context, id string, _ control.Opt[int]) error { return c.DeleteAgent(ctx, id) },
		// No host serves routers yet.
		actions: []action{{name: "l3-routers", method: http.MethodGet, rule: "get_l3-routers",
			serve: func(context.Context, string, map[string]any) (any, error) {
				return map[string]any{"routers": []any{}}, nil
			}}},
		aliases: []string{"agent", "agent_sort_key"},
	}
}

func agentsOf(c *control.Control, r store.Reader, now time.Time) iter.Seq[*store.Entry[agent]] {
	return func(yield func(*store.Entry[agent]) bool) {
		for _, a := range c.Agents(r, now) {
			if !yield(&store.Entry[agent]{Value: agentOf(r, a)}) {
				return
			}
		}
	}
}

// agentOf completes an agent with what Neutron's agents say of themselves.
func agentOf(r store.Reader, a control.Agent) *agent {
	switch a.Type {
	case model.AgentDHCP:
		return &agent{Agent: a, Binary: "neutron-dhcp-agent", Topic: "dhcp_agent", Zone: theZone, Configurations: dhcpConfiguration(r, a.Host)}
	case model.AgentL3:
		return &agent{Agent: a, Binary: "neutron-l3-agent", Topic: "l3_agent", Zone: theZone, Configurations: routerConfiguration(r, a.Host)}
	default:
		return &agent{Agent: a, Binary: "neutron-openvswitch-agent", Topic: "N/A", Configurations: switchConfiguration(r, a.Host)}
	}
}

func switchConfiguration(r store.Reader, h *model.Host) map[string]any {
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
	return map[string]any{
		// Ports on tunnels are answered for.
		"arp_responder_enabled":      h.VTEP.IsValid(),
		"baremetal_smartnic":         false,
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
		// No bandwidth is given out.
		"resource_provider_bandwidths":  map[string]any{},
		"resource_provider_hypervisors": map[string]any{},
		"tunnel_types":                  emptyNotNull(h.TunnelTypes),
		"tunneling_ip":                  tunnelIP,
	}
}

func dhcpConfiguration(r store.Reader, h *model.Host) map[string]any {
	networks, subnets, ports := 0, 0, 0
	for _, p := range control.DHCPPortsOn(r, h.Name) {
		networks++
		subnets += len(p.FixedIPs)
		ports += r.PortCountOf(p.NetworkID)
	}
	return map[string]any{
		"dhcp_driver":          "weft",
		"dhcp_lease_duration":  cmp.Or(h.LeaseTime, 86400),
		"log_agent_heartbeats": false,
		"networks":             networks,
		"ports":                ports,
		"subnets":              subnets,
	}
}

// routerConfiguration counts the ports of routers that are bound to the host.
func routerConfiguration(r store.Reader, h *model.Host) map[string]any {
	routers := map[string]bool{}
	count := map[string]int{}
	for e := range r.PortsOnHost(h.Name) {
		count[e.Value.DeviceOwner]++
		switch e.Value.DeviceOwner {
		case model.OwnerRouterInterface, model.OwnerRouterGateway:
			routers[e.Value.DeviceID] = true
		}
	}
	return map[string]any{
		"agent_mode":                   "legacy",
		"ex_gw_ports":                  count[model.OwnerRouterGateway],
		"extensions":                   []string{},
		"floating_ips":                 count[model.OwnerFloatingIP],
		"handle_internal_only_routers": true,
		"interface_driver":             "openvswitch",
		"interfaces":                   count[model.OwnerRouterInterface],
		"log_agent_heartbeats":         false,
		"routers":                      len(routers),
	}
}

func emptyNotNull(s []string) []string { return append([]string{}, s...) }
