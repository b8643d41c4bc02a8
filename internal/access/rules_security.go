package access

// securityGroupRules: security groups and their rules, which have no owner but their group's.
var securityGroupRules = []entry{
	{"admin_or_sg_owner", "rule:context_is_admin or project_id:%(security_group:project_id)s"},
	{"admin_owner_or_sg_owner", "rule:owner or rule:admin_or_sg_owner"},
	{"shared_security_group", "field:security_groups:shared=True"},
	{"rule_default_sg", "field:security_group_rules:belongs_to_default_sg=True"},
	{"create_security_group", adminOrProjectMember},
	{"create_security_group:tags", adminOrProjectMember},
	{"get_security_group", adminOrProjectReader + or + "rule:shared_security_group"},
	{"get_security_group:tags", adminOrProjectReader + or + "rule:shared_security_group"},
	{"update_security_group", adminOrProjectMember},
	{"update_security_group:tags", adminOrProjectMember},
	{"delete_security_group", adminOrProjectMember},
	{"delete_security_group:tags", adminOrProjectMember},
	{"create_security_group_rule", adminOrSgOwnerMember},
	{"get_security_group_rule", adminOrSgOwnerReader},
	{"delete_security_group_rule", adminOrSgOwnerMember},
}

// defaultSecurityGroupRules: what new security groups contain.
var defaultSecurityGroupRules = []entry{
	{"create_default_security_group_rule", admin},
	{"get_default_security_group_rule", anyReader},
	{"delete_default_security_group_rule", admin},
}

// securityGroupsDefaultStatefulnessRules: whether a project's new security groups are stateful.
var securityGroupsDefaultStatefulnessRules = []entry{
	{"create_security_groups_default_statefulness", adminOrProjectManager},
	{"get_security_groups_default_statefulness", adminOrProjectReader},
	{"update_security_groups_default_statefulness", adminOrProjectManager},
	{"delete_security_groups_default_statefulness", adminOrProjectManager},
}

// addressGroupRules: address groups.
var addressGroupRules = []entry{
	{"shared_address_groups", "field:address_groups:shared=True"},
	{"create_address_group", adminOrProjectMember},
	{"get_address_group", adminOrProjectReader + or + "rule:shared_address_groups"},
	{"update_address_group", adminOrProjectMember},
	{"delete_address_group", adminOrProjectMember},
	{"add_addresses", adminOrProjectMember},
	{"remove_addresses", adminOrProjectMember},
}
