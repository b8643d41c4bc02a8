package access

// floatingipRules: floating IPs.
var floatingipRules = []entry{
	{"create_floatingip", adminOrProjectMember},
	{"create_floatingip:floating_ip_address", adminOrProjectManager},
	{"create_floatingip:tags", adminOrProjectMember},
	{"get_floatingip", adminOrProjectReader},
	{"get_floatingip:tags", adminOrProjectReader},
	{"update_floatingip", adminOrProjectMember},
	{"update_floatingip:tags", adminOrProjectMember},
	{"delete_floatingip", adminOrProjectMember},
	{"delete_floatingip:tags", adminOrProjectMember},
}

// floatingipPoolsRules: pools of floating IPs.
var floatingipPoolsRules = []entry{
	{"get_floatingip_pool", adminOrProjectReader},
}

// floatingipPortForwardingRules: port forwardings of a floating IP.
var floatingipPortForwardingRules = []entry{
	{"create_floatingip_port_forwarding", adminOrParentOwnerMember},
	{"get_floatingip_port_forwarding", adminOrParentOwnerReader},
	{"update_floatingip_port_forwarding", adminOrParentOwnerMember},
	{"delete_floatingip_port_forwarding", adminOrParentOwnerMember},
}

// localIPRules: local IPs.
var localIPRules = []entry{
	{"create_local_ip", adminOrProjectMember},
	{"get_local_ip", adminOrProjectReader},
	{"update_local_ip", adminOrProjectMember},
	{"delete_local_ip", adminOrProjectMember},
}

// localIPAssociationRules: associations of a local IP with ports.
var localIPAssociationRules = []entry{
	{"create_local_ip_port_association", adminOrParentOwnerMember},
	{"get_local_ip_port_association", adminOrParentOwnerReader},
	{"delete_local_ip_port_association", adminOrParentOwnerMember},
}
