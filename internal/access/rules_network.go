package access

// networkRules: networks. What they are made of (segments, provider attributes), and whom they
// serve beyond their project, is the administrator's.
var networkRules = []entry{
	{"external", "field:networks:router:external=True"},
	{"create_network", adminOrProjectMember},
	{"create_network:shared", admin},
	{"create_network:router:external", admin},
	{"create_network:is_default", admin},
	{"create_network:port_security_enabled", adminOrProjectMember},
	{"create_network:segments", admin},
	{"create_network:provider:network_type", admin},
	{"create_network:provider:physical_network", admin},
	{"create_network:provider:segmentation_id", admin},
	{"create_network:tags", adminOrProjectMember},
	{"get_network", adminOrProjectReader + or + service + or + shared + or + "rule:external" + or + advsvc},
	{"get_network:segments", admin},
	{"get_network:provider:network_type", admin},
	{"get_network:provider:physical_network", admin},
	{"get_network:provider:segmentation_id", admin},
	{"get_network:tags", adminOrProjectReader + or + shared + or + "rule:external" + or + advsvc},
	{"update_network", adminOrProjectMember},
	{"update_network:segments", admin},
	{"update_network:shared", admin},
	{"update_network:provider:network_type", admin},
	{"update_network:provider:physical_network", admin},
	{"update_network:provider:segmentation_id", admin},
	{"update_network:router:external", admin},
	{"update_network:is_default", admin},
	{"update_network:port_security_enabled", adminOrProjectMember},
	{"update_network:tags", adminOrProjectMember},
	{"delete_network", adminOrProjectMember},
	{"delete_network:tags", adminOrProjectMember},
}

// pvlanRules: private VLANs, as attributes of networks and ports.
var pvlanRules = []entry{
	{"create_port:pvlan_type", adminOrProjectMember},
	{"create_port:pvlan_community", adminOrProjectMember},
	{"update_port:pvlan_type", adminOrProjectMember},
	{"update_port:pvlan_community", adminOrProjectMember},
	{"get_port:pvlan_type", adminOrProjectReader},
	{"get_port:pvlan_community", adminOrProjectReader},
	{"create_network:pvlan", adminOrProjectMember},
	{"update_network:pvlan", adminOrProjectMember},
	{"get_network:pvlan", adminOrProjectReader},
}

// segmentRules: segments of multi-segment networks. The names of the rules for tags are irregular
// in Neutron.
var segmentRules = []entry{
	{"create_segment", admin},
	{"create_segments_tags", admin},
	{"get_segment", admin},
	{"get_segments_tags", admin},
	{"update_segment", admin},
	{"update_segments_tags", admin},
	{"delete_segment", admin},
	{"delete_segments_tags", admin},
}

// networkSegmentRangeRules: ranges that segmentation IDs come from.
var networkSegmentRangeRules = []entry{
	{"create_network_segment_range", admin},
	{"create_network_segment_range:tags", admin},
	{"get_network_segment_range", admin},
	{"get_network_segment_range:tags", admin},
	{"update_network_segment_range", admin},
	{"update_network_segment_range:tags", admin},
	{"delete_network_segment_range", admin},
	{"delete_network_segment_range:tags", admin},
}

// networkIPAvailabilityRules: counts of used and free addresses.
var networkIPAvailabilityRules = []entry{
	{"get_network_ip_availability", adminOrService},
}

// autoAllocatedTopologyRules: the network and router a project gets without asking.
var autoAllocatedTopologyRules = []entry{
	{"get_auto_allocated_topology", adminOrProjectReader},
	{"delete_auto_allocated_topology", adminOrProjectMember},
}

// availabilityZoneRules: availability zones.
var availabilityZoneRules = []entry{
	{"get_availability_zone", anyReader},
}
