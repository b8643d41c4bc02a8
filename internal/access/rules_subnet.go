package access

// subnetRules: subnets. Their network's owner has them, too.
var subnetRules = []entry{
	{"external_network", "field:subnets:router:external=True"},
	{"create_subnet", adminOrNetOwnerMember},
	{"create_subnet:segment_id", admin},
	{"create_subnet:service_types", admin},
	{"create_subnet:tags", adminOrProjectMember + or + netOwnerMember},
	{"get_subnet", adminOrProjectReader + or + shared + or + "rule:external_network" + or + netOwnerReader + or + service},
	{"get_subnet:segment_id", admin},
	{"get_subnet:tags", adminOrProjectReader + or + shared + or + "rule:external_network" + or + netOwnerReader},
	{"update_subnet", adminOrProjectMember + or + netOwnerMember},
	{"update_subnet:segment_id", admin},
	{"update_subnet:service_types", admin},
	{"update_subnet:tags", adminOrProjectMember + or + netOwnerMember},
	{"delete_subnet", adminOrProjectMember + or + netOwnerMember},
	{"delete_subnet:tags", adminOrProjectMember + or + netOwnerMember},
}

// subnetpoolRules: subnet pools.
var subnetpoolRules = []entry{
	{"shared_subnetpools", "field:subnetpools:shared=True"},
	{"create_subnetpool", adminOrProjectMember},
	{"create_subnetpool:shared", admin},
	{"create_subnetpool:is_default", admin},
	{"create_subnetpool:tags", adminOrProjectMember},
	{"get_subnetpool", adminOrProjectReader + or + "rule:shared_subnetpools"},
	{"get_subnetpool:tags", adminOrProjectReader + or + "rule:shared_subnetpools"},
	{"update_subnetpool", adminOrProjectMember},
	{"update_subnetpool:is_default", admin},
	{"update_subnetpool:tags", adminOrProjectMember},
	{"delete_subnetpool", adminOrProjectMember},
	{"delete_subnetpool:tags", adminOrProjectMember},
	{"onboard_network_subnets", adminOrProjectMember},
	{"add_prefixes", adminOrProjectMember},
	{"remove_prefixes", adminOrProjectMember},
}

// addressScopeRules: address scopes.
var addressScopeRules = []entry{
	{"shared_address_scopes", "field:address_scopes:shared=True"},
	{"create_address_scope", adminOrProjectMember},
	{"create_address_scope:shared", admin},
	{"get_address_scope", adminOrProjectReader + or + "rule:shared_address_scopes"},
	{"update_address_scope", adminOrProjectMember},
	{"update_address_scope:shared", admin},
	{"delete_address_scope", adminOrProjectMember},
}
