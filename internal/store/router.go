package store

import "weft/internal/model"

// Routers are found by project, name, external network, and the networks inside.
var Routers = define(definition[model.Router]{
	kind: model.KindRouter,
	id:   func(m *model.Router) string { return string(m.ID) },
	indexes: map[string]func(*model.Router) []string{
		"project": func(m *model.Router) []string { return []string{string(m.Project)} },
		"name":    func(m *model.Router) []string { return []string{m.Name} },
		"gateway": func(m *model.Router) []string {
			if m.Gateway == nil {
				return nil
			}
			return []string{string(m.Gateway.NetworkID)}
		},
		"network": func(m *model.Router) []string {
			ids := make([]string, len(m.Interfaces))
			for i, f := range m.Interfaces {
				ids[i] = string(f.NetworkID)
			}
			return without(ids, nil)
		},
	},
	refs: func(m *model.Router) []Ref {
		var refs []Ref
		if m.Gateway != nil {
			refs = append(refs, Ref{model.KindPort, string(m.Gateway.PortID)})
		}
		for _, f := range m.Interfaces {
			refs = append(refs, Ref{model.KindPort, string(f.PortID)})
		}
		return refs
	},
})

// FloatingIPs are found by project, external network, router, and the fixed port; a
// fixed IP has at most one per external network.
var FloatingIPs = define(definition[model.FloatingIP]{
	kind: model.KindFloatingIP,
	id:   func(m *model.FloatingIP) string { return string(m.ID) },
	indexes: map[string]func(*model.FloatingIP) []string{
		"project": func(m *model.FloatingIP) []string { return []string{string(m.Project)} },
		"network": func(m *model.FloatingIP) []string { return []string{string(m.NetworkID)} },
		"router":  func(m *model.FloatingIP) []string { return []string{string(m.Router)} },
		"port":    func(m *model.FloatingIP) []string { return []string{string(m.FixedPort)} },
		"address": func(m *model.FloatingIP) []string { return []string{m.Addr.String()} },
	},
	unique: func(m *model.FloatingIP) []string {
		if m.FixedPort == "" {
			return nil
		}
		return []string{string(m.NetworkID) + "/" + string(m.FixedPort) + "/" + m.FixedAddr.String()}
	},
	refs: func(m *model.FloatingIP) []Ref {
		refs := []Ref{{model.KindPort, string(m.PortID)}}
		if m.FixedPort != "" {
			refs = append(refs, Ref{model.KindPort, string(m.FixedPort)})
		}
		if m.Router != "" {
			refs = append(refs, Ref{model.KindRouter, string(m.Router)})
		}
		return refs
	},
})

// PortForwardings are found by floating IP and by the port they lead to. Every write of
// one also writes both, so that ranges of ports cannot come to overlap.
var PortForwardings = define(definition[model.PortForwarding]{
	kind: model.KindPortForwarding,
	id:   func(m *model.PortForwarding) string { return m.ID },
	indexes: map[string]func(*model.PortForwarding) []string{
		"floatingip": func(m *model.PortForwarding) []string { return []string{string(m.FloatingIP)} },
		"port":       func(m *model.PortForwarding) []string { return []string{string(m.PortID)} },
	},
	refs: func(m *model.PortForwarding) []Ref {
		return []Ref{{model.KindFloatingIP, string(m.FloatingIP)}, {model.KindPort, string(m.PortID)}}
	},
})
