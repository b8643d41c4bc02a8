package neutron

import (
	"iter"
	"net/http"
	"slices"

	"weft/internal/control"
	"weft/internal/model"
	"weft/internal/store"
)

// registerSchedules serves which agents serve which networks.
func (s *Server) registerSchedules(networks *collection[model.Network, networkRequest], agents *collection[agent, agentRequest]) {
	s.honour("dhcp_agent_scheduler")
	s.handle("/v2.0/networks/{parent}/dhcp-agents", func(w http.ResponseWriter, r *http.Request) error {
		if err := s.mayRead(r, "get_dhcp-agents"); err != nil {
			return err
		}
		return serving(agents, func(rd store.Reader, a *agent) bool {
			n := rd.Network(model.NetworkID(r.PathValue("parent")))
			return n != nil && a.Type == model.AgentDHCP && slices.Contains(control.DHCPHosts(rd, n.Value), a.Host.Name)
		}).serveList(s, w, r)
	})
	s.handle("/v2.0/agents/{parent}/dhcp-networks", func(w http.ResponseWriter, r *http.Request) error {
		agent := r.PathValue("parent")
		if r.Method == http.MethodPost {
			return s.putDHCP(w, r, agent)
		}
		if err := s.mayRead(r, "get_dhcp-networks"); err != nil {
			return err
		}
		a, err := s.agent(r, agent)
		if err != nil {
			return err
		}
		c := *networks
		c.list = func(rd store.Reader, _ *query[model.Network, networkRequest]) iter.Seq[*store.Entry[model.Network]] {
			return only(rd.Networks(), func(n *model.Network) bool {
				return a.Type == model.AgentDHCP && slices.Contains(control.DHCPHosts(rd, n), a.Host.Name)
			})
		}
		return c.serveList(s, w, r)
	})
	s.handle("/v2.0/agents/{parent}/dhcp-networks/{id}", func(w http.ResponseWriter, r *http.Request) error {
		if r.Method != http.MethodDelete {
			return faultMethod
		}
		if err := allowed(s.policy, []string{"delete_dhcp-network"}, control.CallerOf(r.Context()), nil); err != nil {
			return err
		}
		if err := s.control.TakeDHCP(r.Context(), r.PathValue("parent"), model.NetworkID(r.PathValue("id"))); err != nil {
			return err
		}
		w.WriteHeader(http.StatusNoContent)
		return nil
	})
}

// mayRead judges a GET of what has a rule and no object.
func (s *Server) mayRead(r *http.Request, rule string) error {
	if r.Method != http.MethodGet {
		return faultMethod
	}
	return allowed(s.policy, []string{rule}, control.CallerOf(r.Context()), nil)
}

// agent finds an agent that a path names.
func (s *Server) agent(r *http.Request, id string) (a control.Agent, err error) {
	s.control.Read(func(rd store.Reader) { a, err = s.control.Agent(rd, id) })
	return a, err
}

func (s *Server) putDHCP(w http.ResponseWriter, r *http.Request, agent string) error {
	id, err := s.scheduled(r, "create_dhcp-network", "network_id")
	if err != nil {
		return err
	}
	if err := s.control.PutDHCP(r.Context(), agent, model.NetworkID(id)); err != nil {
		return err
	}
	write(w, http.StatusCreated, []byte("null"))
	return nil
}

// scheduled reads which object a request puts on an agent.
func (s *Server) scheduled(r *http.Request, rule, key string) (string, error) {
	if err := allowed(s.policy, []string{rule}, control.CallerOf(r.Context()), nil); err != nil {
		return "", err
	}
	body, err := readBody(r)
	if err != nil {
		return "", err
	}
	id, ok := body[key].(string)
	if !ok {
		return "", badRequest("Failed to parse request. Required attribute '%s' not specified", key)
	}
	return id, nil
}

// serving shows those agents that serve something.
func serving(agents *collection[agent, agentRequest], serves func(store.Reader, *agent) bool) *collection[agent, agentRequest] {
	c := *agents
	c.list = func(rd store.Reader, q *query[agent, agentRequest]) iter.Seq[*store.Entry[agent]] {
		return only(agents.list(rd, q), func(a *agent) bool { return serves(rd, a) })
	}
	c.around = func(store.Reader, *agent) aside { return aside{serving: true} }
	return &c
}

// only yields the objects that have a property.
func only[M any](all iter.Seq[*store.Entry[M]], has func(*M) bool) iter.Seq[*store.Entry[M]] {
	return func(yield func(*store.Entry[M]) bool) {
		for e := range all {
			if has(e.Value) && !yield(e) {
				return
			}
		}
	}
}

// zone is a row of /v2.0/availability_zones: there is one zone, of all hosts.
type zone struct{ State, Name, Resource string }

// registerZones serves the zone for each resource that hosts serve. It is available as
// long as one of them lives.
func (s *Server) registerZones() {
	s.honour("availability_zone", "network_availability_zone", "availability_zone_filter")
	text := func(name string, get func(*zone) string) attribute[zone, struct{}] {
		return attribute[zone, struct{}]{name: name, use: filter | order, text: get}
	}
	c := &collection[zone, struct{}]{
		table: newTable(table[zone, struct{}]{singular: "availability_zone", plural: "availability_zones",
			attributes: []attribute[zone, struct{}]{
				text("state", func(z *zone) string { return z.State }),
				text("name", func(z *zone) string { return z.Name }),
				text("resource", func(z *zone) string { return z.Resource }),
			}}),
		id: func(z *zone) string { return z.Name + "/" + z.Resource },
		list: func(rd store.Reader, _ *query[zone, struct{}]) iter.Seq[*store.Entry[zone]] {
			return s.zones(rd)
		},
	}
	c.guards = c.guardsBy(s.policy)
	s.onlyList("/v2.0/availability_zones", c)
}

func (s *Server) zones(rd store.Reader) iter.Seq[*store.Entry[zone]] {
	return func(yield func(*store.Entry[zone]) bool) {
		states := map[string]string{}
		for _, a := range s.control.Agents(rd, s.now()) {
			resource := map[string]string{model.AgentDHCP: "network", model.AgentL3: "router"}[a.Type]
			switch {
			case resource == "":
			case a.Alive && !a.Host.Agents[a.Type].Disabled:
				states[resource] = "available"
			case states[resource] == "":
				states[resource] = "unavailable"
			}
		}
		for _, resource := range []string{"network", "router"} {
			if state := states[resource]; state != "" && !yield(&store.Entry[zone]{Value: &zone{state, theZone, resource}}) {
				return
			}
		}
	}
}

// provider is a row of /v2.0/service-providers.
type provider struct {
	ServiceType, Name string
	Default           bool
}

// registerProviders serves the ways in which services are provided: routers on one host.
func (s *Server) registerProviders() {
	s.honour("service-type")
	c := &collection[provider, struct{}]{
		table: newTable(table[provider, struct{}]{singular: "service_provider", plural: "service_providers",
			attributes: []attribute[provider, struct{}]{
				{name: "service_type", use: filter | order, text: func(p *provider) string { return p.ServiceType }},
				{name: "name", use: filter | order, text: func(p *provider) string { return p.Name }},
				{name: "default", use: filter | order, flag: func(p *provider) bool { return p.Default }},
			}}),
		id: func(p *provider) string { return p.Name },
		list: func(store.Reader, *query[provider, struct{}]) iter.Seq[*store.Entry[provider]] {
			return func(yield func(*store.Entry[provider]) bool) {
				yield(&store.Entry[provider]{Value: &provider{"L3_ROUTER_NAT", "single_node", true}})
			}
		},
	}
	c.guards = c.guardsBy(s.policy)
	s.onlyList("/v2.0/service-providers", c)
}

// registerFlavors serves the lists of flavors of services and of what makes them up: routers
// are all of one kind here, so that both are empty and the extension is not advertised.
func (s *Server) registerFlavors() {
	for _, name := range []string{"flavors", "service_profiles"} {
		s.handle("/v2.0/"+name, func(w http.ResponseWriter, r *http.Request) error {
			if r.Method != http.MethodGet {
				return faultMethod
			}
			return writeJSON(w, map[string]any{name: []any{}})
		})
	}
}

// listed is a collection that can be listed.
type listed interface {
	serveList(s *Server, w http.ResponseWriter, r *http.Request) error
}

// onlyList serves rows that have no path of their own.
func (s *Server) onlyList(path string, c listed) {
	s.handle(path, func(w http.ResponseWriter, r *http.Request) error {
		if r.Method != http.MethodGet {
			return faultMethod
		}
		return c.serveList(s, w, r)
	})
}
