package access

// routerRules: routers, their interfaces, gateways and extra routes.
var routerRules = []entry{
	{"create_router", adminOrProjectMember},
	{"create_router:distributed", admin},
	{"create_router:ha", admin},
	{"create_router:external_gateway_info", adminOrProjectMember},
	{"create_router:external_gateway_info:network_id", adminOrProjectMember},
	{"create_router:external_gateway_info:enable_snat", admin},
	{"create_router:external_gateway_info:external_fixed_ips", admin},
	{"create_router:enable_default_route_bfd", admin},
	{"create_router:enable_default_route_ecmp", admin},
	{"create_router:tags", adminOrProjectMember},
	{"get_router", adminOrProjectReader},
	{"get_router:distributed", admin},
	{"get_router:ha", admin},
	{"get_router:tags", adminOrProjectReader},
	{"update_router", adminOrProjectMember},
	{"update_router:distributed", admin},
	{"update_router:ha", admin},
	{"update_router:external_gateway_info", adminOrProjectMember},
	{"update_router:external_gateway_info:network_id", adminOrProjectMember},
	{"update_router:external_gateway_info:enable_snat", admin},
	{"update_router:external_gateway_info:external_fixed_ips", admin},
	{"update_router:enable_default_route_bfd", admin},
	{"update_router:enable_default_route_ecmp", admin},
	{"update_router:tags", adminOrProjectMember},
	{"delete_router", adminOrProjectMember},
	{"delete_router:tags", adminOrProjectMember},
	{"add_router_interface", adminOrProjectMember},
	{"remove_router_interface", adminOrProjectMember},
	{"add_extraroutes", adminOrProjectMember},
	{"remove_extraroutes", adminOrProjectMember},
	{"add_external_gateways", adminOrProjectMember},
	{"add_external_gateways:external_gateways", adminOrProjectMember},
	{"add_external_gateways:external_gateways:network_id", adminOrProjectMember},
	{"add_external_gateways:external_gateways:enable_snat", admin},
	{"add_external_gateways:external_gateways:external_fixed_ips", admin},
	{"update_external_gateways", adminOrProjectMember},
	{"update_external_gateways:external_gateways", adminOrProjectMember},
	{"update_external_gateways:external_gateways:network_id", adminOrProjectMember},
	{"update_external_gateways:external_gateways:enable_snat", admin},
	{"update_external_gateways:external_gateways:external_fixed_ips", admin},
	{"remove_external_gateways", adminOrProjectMember},
	{"remove_external_gateways:external_gateways", adminOrProjectMember},
}

// evpnRules: EVPN, as an attribute of routers.
var evpnRules = []entry{
	{"create_router:evpn_vni", admin},
	{"get_router:evpn_vni", adminOrProjectReader},
}

// l3ConntrackHelperRules: connection tracking helpers of a router.
var l3ConntrackHelperRules = []entry{
	{"create_router_conntrack_helper", adminOrParentOwnerMember},
	{"get_router_conntrack_helper", adminOrParentOwnerReader},
	{"update_router_conntrack_helper", adminOrParentOwnerMember},
	{"delete_router_conntrack_helper", adminOrParentOwnerMember},
}

// ndpProxyRules: NDP proxies.
var ndpProxyRules = []entry{
	{"create_ndp_proxy", adminOrProjectMember},
	{"get_ndp_proxy", adminOrProjectReader},
	{"update_ndp_proxy", adminOrProjectMember},
	{"delete_ndp_proxy", adminOrProjectMember},
}
