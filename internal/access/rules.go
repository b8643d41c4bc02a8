package access

// entry is a default rule: its name and expression.
type entry struct{ name, expr string }

// The parts that default expressions are made of. In them "and" binds stronger than "or".
const (
	or = " or "

	admin     = "rule:admin_only"
	service   = "rule:service_api"
	advsvc    = "rule:context_is_advsvc"
	shared    = "rule:shared"
	anyReader = "role:reader"

	// Those whose project owns the target,
	projectManager = "(role:manager and project_id:%(project_id)s)"
	projectMember  = "(role:member and project_id:%(project_id)s)"
	projectReader  = "(role:reader and project_id:%(project_id)s)"
	// its network,
	netOwnerManager = "(role:manager and rule:network_owner)"
	netOwnerMember  = "(role:member and rule:network_owner)"
	netOwnerReader  = "(role:reader and rule:network_owner)"
	// the object in whose path it lies,
	parentOwnerManager = "(role:manager and rule:ext_parent_owner)"
	parentOwnerMember  = "(role:member and rule:ext_parent_owner)"
	parentOwnerReader  = "(role:reader and rule:ext_parent_owner)"
	// or its security group.
	sgOwnerMember = "(role:member and rule:sg_owner)"
	sgOwnerReader = "(role:reader and rule:sg_owner)"

	adminOrService            = admin + or + service
	adminOrProjectManager     = admin + or + projectManager
	adminOrProjectMember      = admin + or + projectMember
	adminOrProjectReader      = admin + or + projectReader
	adminOrNetOwnerMember     = admin + or + netOwnerMember
	adminOrNetOwnerReader     = admin + or + netOwnerReader
	adminOrParentOwnerManager = admin + or + parentOwnerManager
	adminOrParentOwnerMember  = admin + or + parentOwnerMember
	adminOrParentOwnerReader  = admin + or + parentOwnerReader
	adminOrSgOwnerMember      = admin + or + sgOwnerMember
	adminOrSgOwnerReader      = admin + or + sgOwnerReader
)

// baseRules are those that others refer to.
var baseRules = []entry{
	{"context_is_admin", "role:admin"},
	{"context_with_global_access", "!"},
	{"context_is_advsvc", "role:advsvc"},
	{"service_api", "role:service"},
	{"admin_only", "rule:context_is_admin"},
	{"owner", "project_id:%(project_id)s"},
	{"network_owner", "project_id:%(network:project_id)s"},
	{"ext_parent_owner", "project_id:%(ext_parent:project_id)s"},
	{"sg_owner", "project_id:%(security_group:project_id)s"},
	{"admin_or_owner", "rule:context_is_admin or rule:owner"},
	{"admin_or_network_owner", "rule:context_is_admin or rule:network_owner"},
	{"admin_owner_or_network_owner", "rule:owner or rule:admin_or_network_owner"},
	{"admin_or_ext_parent_owner", "rule:context_is_admin or rule:ext_parent_owner"},
	{"regular_user", ""},
	{"shared", "field:networks:shared=True"},
	{"default", "rule:admin_or_owner"},
}

// defaults are Neutron's default rules.
var defaults = [][]entry{
	baseRules,
	networkRules, pvlanRules, segmentRules, networkSegmentRangeRules,
	networkIPAvailabilityRules, autoAllocatedTopologyRules, availabilityZoneRules,
	subnetRules, subnetpoolRules, addressScopeRules,
	portRules, portBindingsRules, trunkRules,
	securityGroupRules, defaultSecurityGroupRules, securityGroupsDefaultStatefulnessRules, addressGroupRules,
	routerRules, evpnRules, l3ConntrackHelperRules, ndpProxyRules,
	floatingipRules, floatingipPoolsRules, floatingipPortForwardingRules, localIPRules, localIPAssociationRules,
	qosRules,
	agentRules, flavorRules, serviceTypeRules, meteringRules, loggingRules, quotasRules, rbacRules,
}
