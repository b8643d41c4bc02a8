package neutron

import (
	"bytes"
	"cmp"

	"weft/internal/control"
	"weft/internal/model"
	"weft/internal/store"
)

type (
	portRequest   = control.PortRequest
	portAttribute = attribute[model.Port, control.PortRequest]
)

// vnicTypes are the values of binding:vnic_type that Neutron knows.
var vnicTypes = []string{"normal", "direct", "macvtap", "baremetal", "direct-physical", "virtio-forwarder",
	"smart-nic", "vdpa", "accelerator-direct", "accelerator-direct-physical", "remote-managed"}

// ports is the table of /v2.0/ports.
func ports() *table[model.Port, portRequest] {
	attributes := []portAttribute{
		{name: "id", use: filter | order, text: func(p *model.Port) string { return string(p.ID) }},
		{name: "name", kind: "string(255)", def: "", use: post | put | filter | order,
			take: takeText(func(r *portRequest) *control.Opt[string] { return &r.Name }, maxName),
			text: func(p *model.Port) string { return p.Name }},
		{name: "network_id", kind: "UUID", use: post | need | filter | order,
			take: func(r *portRequest, name string, v any) error {
				id, reason := toUUID(v)
				if reason != "" {
					return invalidFor(name, reason)
				}
				r.NetworkID = model.NetworkID(id)
				return nil
			},
			text: func(p *model.Port) string { return string(p.NetworkID) }},
		{name: "admin_state_up", def: true, use: post | put | filter | order,
			take: takeFlag(func(r *portRequest) *control.Opt[bool] { return &r.AdminStateUp }),
			flag: func(p *model.Port) bool { return p.AdminStateUp }},
		{name: "mac_address", kind: "MAC address; null chooses one", use: post | put | filter | order, take: takeMAC,
			wire:    func(b []byte, p *model.Port, _ *aside) []byte { return appendText(b, p.MAC) },
			match:   matchMAC,
			compare: func(x, y *model.Port) int { return bytes.Compare(x.MAC[:], y.MAC[:]) }},
		{name: "fixed_ips", kind: "list of {subnet_id, ip_address}", use: post | put | filter, take: takeFixedIPs, match: matchFixedIPs,
			wire: func(b []byte, p *model.Port, _ *aside) []byte { return appendList(b, p.FixedIPs, appendFixedIP) }},
		{name: "device_id", kind: "string(255)", def: "", use: post | put | filter | order,
			take: takeText(func(r *portRequest) *control.Opt[string] { return &r.DeviceID }, maxDevice),
			text: func(p *model.Port) string { return p.DeviceID }},
		{name: "device_owner", kind: "string(255)", def: "", use: post | put | filter | order,
			take: takeText(func(r *portRequest) *control.Opt[string] { return &r.DeviceOwner }, maxDevice),
			text: func(p *model.Port) string { return p.DeviceOwner }},
		{name: "tenant_id", use: post | filter | order,
			take: takeProject(func(r *portRequest) *model.ProjectID { return &r.Project }),
			text: func(p *model.Port) string { return string(p.Project) }},
		{name: "status", use: filter | order, text: func(p *model.Port) string { return string(p.Status) }},
	}
	attributes = append(attributes, bindingAttributes()...)
	attributes = append(attributes, guardAttributes()...)
	attributes = append(attributes, dnsAttributes()...)
	attributes = append(attributes,
		// deferred is for networks whose segments have subnets of their own.
		portAttribute{name: "ip_allocation", kind: "immediate or none", text: func(p *model.Port) string {
			if p.Unaddressed && len(p.FixedIPs) == 0 {
				return "none"
			}
			return "immediate"
		}},
		// Nothing is asked of Placement.
		portAttribute{name: "resource_request", kind: "null", wire: func(b []byte, _ *model.Port, _ *aside) []byte {
			return append(b, "null"...)
		}})
	attributes = append(attributes, portAttribute{name: "data_plane_status", use: put, kind: "ACTIVE, DOWN or null", take: takeDataPlane,
		wire: func(b []byte, p *model.Port, _ *aside) []byte { return appendTextOrNull(b, p.DataPlaneStatus) }})
	attributes = append(attributes, portAttribute{name: "trunk_details", kind: "object",
		when: func(_ *model.Port, x *aside) bool { return x.trunk != nil },
		wire: func(b []byte, _ *model.Port, x *aside) []byte { return x.trunk.append(b) }})
	attributes = append(attributes, qosAttribute(func(r *portRequest, id string) { r.QoSPolicy = control.Some(id) },
		func(p *model.Port) string { return p.QoSPolicy }))
	attributes = append(attributes, portAttribute{name: "extra_dhcp_opts", kind: "list of {opt_name, opt_value, ip_version}", use: post | put, take: takeDHCPOptions,
		wire: func(b []byte, p *model.Port, _ *aside) []byte { return appendList(b, p.DHCPOptions, appendDHCPOption) }})
	attributes = append(attributes, standardAttributes(func(p *model.Port) *model.Meta { return &p.Meta },
		func(r *portRequest) *control.Opt[string] { return &r.Description })...)
	takeTags(attributes, func(r *portRequest) *control.Opt[[]string] { return &r.Tags })
	attributes = append(attributes, portAttribute{name: "project_id", use: post | filter | order,
		text: func(p *model.Port) string { return string(p.Project) }})
	return newTable(table[model.Port, portRequest]{
		kind: model.KindPort, singular: "port", plural: "ports", attributes: attributes,
		meta:     func(p *model.Port) *model.Meta { return &p.Meta },
		project:  func(r *portRequest) *model.ProjectID { return &r.Project },
		revision: func(r *portRequest) *control.Opt[int] { return &r.IfRevision },
		draft: func(r *portRequest) *model.Port {
			return &model.Port{Project: r.Project, NetworkID: r.NetworkID, DeviceOwner: r.DeviceOwner.Value}
		},
		owner: func(p *model.Port) model.ProjectID { return p.Project },
		related: func(rd store.Reader, p *model.Port, object, attribute string) (string, bool) {
			return ofNetwork(rd, p.NetworkID, object, attribute)
		},
	})
}

// bindingAttributes say where and how a port is realised.
func bindingAttributes() []portAttribute {
	return []portAttribute{
		{name: "binding:vif_type", text: func(p *model.Port) string { return vifType(&p.Binding) }},
		{name: "binding:vif_details", kind: "object", wire: func(b []byte, p *model.Port, x *aside) []byte {
			return appendVIFDetails(b, &p.Binding, x.created)
		}},
		{name: "binding:vnic_type", kind: "one of the VNIC types; only normal is bound", def: "normal", use: post | put,
			take: takeVNIC(func(r *portRequest) *control.Opt[string] { return &r.VNICType }),
			text: func(p *model.Port) string { return vnicType(&p.Binding) }},
		{name: "binding:host_id", kind: "string(255)", use: post | put | filter,
			take: func(r *portRequest, name string, v any) error {
				if v == nil {
					r.HostID = control.Some("")
					return nil
				}
				return takeText(func(r *portRequest) *control.Opt[string] { return &r.HostID }, maxName)(r, name, v)
			},
			text: func(p *model.Port) string { return string(p.Binding.Host) }},
		{name: "binding:profile", kind: "object", use: post | put,
			take: takeProfile(func(r *portRequest) *control.Opt[map[string]any] { return &r.Profile }),
			wire: func(b []byte, p *model.Port, _ *aside) []byte { return appendProfile(b, &p.Binding) }},
	}
}

// guardAttributes say what a port may send and receive.
func guardAttributes() []portAttribute {
	return []portAttribute{
		{name: "port_security_enabled", def: true, use: post | put,
			take: takeFlag(func(r *portRequest) *control.Opt[bool] { return &r.PortSecurity }),
			flag: func(p *model.Port) bool { return p.PortSecurity }},
		{name: "allowed_address_pairs", kind: "list of {mac_address, ip_address}", use: post | put, take: takeAddressPairs,
			wire: func(b []byte, p *model.Port, _ *aside) []byte {
				return appendList(b, p.AddressPairs, appendAddressPair)
			}},
		{name: "security_groups", kind: "list of UUIDs", use: post | put | filter, take: takeSecurityGroups, match: matchGroups,
			wire: func(b []byte, p *model.Port, _ *aside) []byte { return appendList(b, p.SecurityGroups, appendString) }},
	}
}

func vifType(b *model.Binding) string { return cmp.Or(string(b.VIFType), string(model.VIFUnbound)) }

func vnicType(b *model.Binding) string { return cmp.Or(b.VNICType, "normal") }

// takeVNIC makes the taker of a VNIC type.
func takeVNIC[R any](field func(*R) *control.Opt[string]) func(*R, string, any) error {
	return func(r *R, name string, v any) error {
		s, reason := oneOf(v, vnicTypes)
		if reason != "" {
			return invalidFor(name, reason)
		}
		*field(r) = control.Some(s)
		return nil
	}
}

func appendProfile(b []byte, of *model.Binding) []byte {
	if len(of.Profile) == 0 {
		return append(b, "{}"...)
	}
	return appendJSON(b, of.Profile)
}

// appendVIFDetails tells Nova how to plug the port; {} unless it is bound. The driver's
// name is not in the answer to a create, as in Neutron.
func appendVIFDetails(b []byte, of *model.Binding, created bool) []byte {
	if of.VIFType != model.VIFOVS {
		return append(b, "{}"...)
	}
	b = append(b, `{"connectivity":"l2","port_filter":true,"ovs_hybrid_plug":false,"datapath_type":`...)
	b = appendString(b, of.DatapathType)
	b = append(b, `,"bridge_name":`...)
	b = appendString(b, of.BridgeName)
	if !created {
		b = append(b, `,"bound_drivers":{"0":"openvswitch"}`...)
	}
	return append(b, '}')
}

func appendFixedIP(b []byte, f model.FixedIP) []byte {
	b = append(b, `{"subnet_id":`...)
	b = appendString(b, string(f.SubnetID))
	b = append(b, `,"ip_address":`...)
	b = appendText(b, f.Addr)
	return append(b, '}')
}

// appendAddressPair writes a prefix of full length as an address, as it was given.
func appendAddressPair(b []byte, p model.AddressPair) []byte {
	b = append(b, `{"mac_address":`...)
	b = appendText(b, p.MAC)
	b = append(b, `,"ip_address":`...)
	if p.Prefix.IsSingleIP() {
		b = appendText(b, p.Prefix.Addr())
	} else {
		b = appendText(b, p.Prefix)
	}
	return append(b, '}')
}

func appendDHCPOption(b []byte, o model.DHCPOption) []byte {
	b = append(b, `{"opt_name":`...)
	b = appendString(b, o.Name)
	b = append(b, `,"opt_value":`...)
	b = appendString(b, o.Value)
	b = append(b, `,"ip_version":`...)
	b = appendInt(b, int64(o.IPVersion))
	return append(b, '}')
}
