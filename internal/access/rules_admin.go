package access

// agentRules: agents, and what is scheduled on them.
var agentRules = []entry{
	{"create_agent", admin},
	{"get_agent", admin},
	{"update_agent", admin},
	{"delete_agent", admin},
	{"create_dhcp-network", admin},
	{"get_dhcp-networks", admin},
	{"delete_dhcp-network", admin},
	{"create_l3-router", admin},
	{"get_l3-routers", admin},
	{"update_l3-router", admin},
	{"delete_l3-router", admin},
	{"get_dhcp-agents", admin},
	{"get_l3-agents", admin},
}

// flavorRules: flavors and service profiles.
var flavorRules = []entry{
	{"create_flavor", admin},
	{"get_flavor", anyReader},
	{"update_flavor", admin},
	{"delete_flavor", admin},
	{"create_service_profile", admin},
	{"get_service_profile", admin},
	{"update_service_profile", admin},
	{"delete_service_profile", admin},
	{"get_flavor_service_profile", adminOrProjectReader},
	{"create_flavor_service_profile", admin},
	{"delete_flavor_service_profile", admin},
}

// serviceTypeRules: service providers.
var serviceTypeRules = []entry{
	{"get_service_provider", anyReader},
}

// meteringRules: metering labels and rules.
var meteringRules = []entry{
	{"create_metering_label", adminOrProjectManager},
	{"get_metering_label", adminOrProjectReader},
	{"delete_metering_label", adminOrProjectManager},
	{"create_metering_label_rule", adminOrProjectManager},
	{"get_metering_label_rule", adminOrProjectReader},
	{"delete_metering_label_rule", adminOrProjectManager},
}

// loggingRules: logs of security groups.
var loggingRules = []entry{
	{"get_loggable_resource", adminOrProjectManager},
	{"create_log", adminOrProjectManager},
	{"get_log", adminOrProjectManager},
	{"update_log", adminOrProjectManager},
	{"delete_log", adminOrProjectManager},
}

// quotasRules: quotas.
var quotasRules = []entry{
	{"get_quota", adminOrProjectManager},
	{"update_quota", admin},
	{"delete_quota", admin},
}

// noWildcard is every policy that does not share with all projects.
const noWildcard = "not field:rbac_policy:target_project=*"

// rbacRules: RBAC policies, which share with one project or, for administrators, with all.
var rbacRules = []entry{
	{"restrict_wildcard", noWildcard + or + admin},
	{"create_rbac_policy", adminOrProjectMember},
	{"create_rbac_policy:target_tenant", admin + or + noWildcard},
	{"create_rbac_policy:target_project", admin + or + noWildcard},
	{"update_rbac_policy", adminOrProjectMember},
	{"update_rbac_policy:target_tenant", admin + or + noWildcard},
	{"update_rbac_policy:target_project", admin + or + noWildcard},
	{"get_rbac_policy", adminOrProjectReader},
	{"delete_rbac_policy", adminOrProjectMember},
}
