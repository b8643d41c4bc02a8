package main

import (
	"context"

	"github.com/spf13/cobra"

	"weft/internal/client"
)

// collection is where the API has a kind of object.
func collection(path, key, one string) client.Collection {
	return client.Collection{Path: "/v2.0/" + path, Key: key, One: one, Name: "name"}
}

// Flags that many nouns have.
var (
	nameArg     = attr{flag: "name", name: "name"}
	nameFlag    = attr{flag: "name", name: "name", help: "new name", only: "set"}
	description = attr{flag: "description", name: "description", help: "description"}
	adminState  = attr{flag: "admin-state-up", name: "admin_state_up", kind: yesNo, help: "whether it is to work; =false stops it"}
	ofProject   = attr{flag: "project", name: "project_id", kind: project, only: "create", help: "project that it belongs to (name or ID)"}
	byName      = attr{flag: "name", name: "name", help: "only of this name"}
	byProject   = attr{flag: "project", name: "project_id", kind: project, help: "only of this project"}
	byNetwork   = attr{flag: "network", name: "network_id", kind: ref, of: "network", help: "only of this network"}
	fixedIPKeys = map[string]string{"subnet": "subnet_id", "ip": "ip_address"}
)

const fixedIPHelp = "address, as subnet=SUBNET,ip=ADDRESS or one of the two"

// nouns are the kinds of objects that have commands.
func nouns() []noun {
	return []noun{networkNoun(), subnetNoun(), portNoun(), routerNoun(), secgroupNoun(), ruleNoun(), floatingIPNoun(), subnetPoolNoun(), hostNoun(), agentNoun()}
}

func networkNoun() noun {
	return noun{
		word: "network", short: "Networks", Collection: collection("networks", "networks", "network"),
		verbs: "show create set delete", arg: nameArg,
		columns: []column{
			{title: "ID", path: "id"}, {title: "NAME", path: "name"}, {title: "STATUS", path: "status"},
			{title: "SHARED", path: "shared"}, {title: "EXTERNAL", path: "router:external"}, {title: "SUBNETS", path: "subnets"},
			{title: "TYPE", path: "provider:network_type", long: true}, {title: "PHYSICAL", path: "provider:physical_network", long: true},
			{title: "SEGMENT", path: "provider:segmentation_id", long: true}, {title: "MTU", path: "mtu", long: true},
			{title: "PROJECT", path: "project_id", long: true},
		},
		attrs: []attr{
			nameFlag, description, adminState, ofProject,
			{flag: "shared", name: "shared", kind: yesNo, help: "whether all projects may use it"},
			{flag: "external", name: "router:external", kind: yesNo, help: "whether routers may have their gateways on it"},
			{flag: "mtu", name: "mtu", kind: number, help: "MTU"},
			{flag: "port-security", name: "port_security_enabled", kind: yesNo, help: "whether ports are guarded unless they say otherwise"},
			{flag: "type", name: "provider:network_type", only: "create", help: "flat, vlan or vxlan"},
			{flag: "physical-network", name: "provider:physical_network", only: "create", help: "physical network of a flat or vlan one"},
			{flag: "segment", name: "provider:segmentation_id", kind: number, only: "create", help: "VLAN ID or VNI"},
		},
		filters: []attr{byName, byProject,
			{flag: "external", name: "router:external", kind: yesNo, help: "only external ones"},
			{flag: "shared", name: "shared", kind: yesNo, help: "only shared ones"}},
	}
}

func subnetNoun() noun {
	return noun{
		word: "subnet", short: "Subnets", Collection: collection("subnets", "subnets", "subnet"),
		verbs: "show create set delete", arg: nameArg, optional: true,
		columns: []column{
			{title: "ID", path: "id"}, {title: "NAME", path: "name"}, {title: "NETWORK", path: "network_id"}, {title: "CIDR", path: "cidr"},
			{title: "GATEWAY", path: "gateway_ip", long: true}, {title: "DHCP", path: "enable_dhcp", long: true},
			{title: "DNS", path: "dns_nameservers", long: true}, {title: "PROJECT", path: "project_id", long: true},
		},
		attrs: []attr{
			nameFlag, description, ofProject,
			{flag: "network", name: "network_id", kind: ref, of: "network", only: "create", must: true, help: "network that it is on"},
			{flag: "cidr", name: "cidr", only: "create", help: "prefix, such as 10.0.0.0/24"},
			{flag: "subnetpool", name: "subnetpool_id", kind: ref, of: "subnetpool", only: "create", help: "subnet pool to take a prefix from"},
			{flag: "prefixlen", name: "prefixlen", kind: number, only: "create", help: "length of a prefix from a subnet pool"},
			{flag: "ip-version", name: "ip_version", kind: number, only: "create", help: "4 or 6 (default: that of --cidr or --subnetpool)"},
			{flag: "gateway", name: "gateway_ip", null: true, help: "gateway address, or none (default: the first address)"},
			{flag: "dhcp", name: "enable_dhcp", kind: yesNo, help: "whether DHCP is answered; =false for not"},
			{flag: "dns", name: "dns_nameservers", kind: words, null: true, help: "DNS server"},
			{flag: "pool", name: "allocation_pools", kind: pairs, keys: map[string]string{"start": "start", "end": "end"}, help: "allocation pool, as start=ADDRESS,end=ADDRESS"},
			{flag: "route", name: "host_routes", kind: pairs, null: true, keys: map[string]string{"destination": "destination", "nexthop": "nexthop"}, help: "host route, as destination=PREFIX,nexthop=ADDRESS"},
			{flag: "ra-mode", name: "ipv6_ra_mode", only: "create", help: "slaac, dhcpv6-stateful or dhcpv6-stateless"},
			{flag: "address-mode", name: "ipv6_address_mode", only: "create", help: "slaac, dhcpv6-stateful or dhcpv6-stateless"},
		},
		filters: []attr{byName, byProject, byNetwork,
			{flag: "cidr", name: "cidr", help: "only of this prefix"}},
		finish: func(ctx context.Context, api *client.Client, attrs map[string]any) (err error) {
			if _, has := attrs["ip_version"]; has {
				return nil
			}
			if pool, given := attrs["subnetpool_id"].(string); given {
				attrs["ip_version"], err = familyOfPool(ctx, api, pool)
			} else {
				attrs["ip_version"] = familyOf(attrs["cidr"])
			}
			return err
		},
	}
}

func portNoun() noun {
	return noun{
		word: "port", short: "Ports", Collection: collection("ports", "ports", "port"),
		verbs: "show create set delete", arg: nameArg, optional: true,
		columns: []column{
			{title: "ID", path: "id"}, {title: "NAME", path: "name"}, {title: "MAC", path: "mac_address"},
			{title: "FIXED IPS", path: "fixed_ips.ip_address"}, {title: "STATUS", path: "status"},
			{title: "HOST", path: "binding:host_id", long: true}, {title: "DEVICE OWNER", path: "device_owner", long: true},
			{title: "DEVICE", path: "device_id", long: true}, {title: "NETWORK", path: "network_id", long: true}, {title: "PROJECT", path: "project_id", long: true},
		},
		attrs: []attr{
			nameFlag, description, adminState, ofProject,
			{flag: "network", name: "network_id", kind: ref, of: "network", only: "create", must: true, help: "network that it is on"},
			{flag: "fixed-ip", name: "fixed_ips", kind: pairs, null: true, keys: fixedIPKeys, help: fixedIPHelp},
			{flag: "mac", name: "mac_address", help: "MAC address"},
			{flag: "device", name: "device_id", help: "ID of the device that uses it"},
			{flag: "device-owner", name: "device_owner", help: "who uses it, such as compute:nova"},
			{flag: "host", name: "binding:host_id", help: "host to bind it to; empty unbinds it"},
			{flag: "secgroup", name: "security_groups", kind: refs, of: "secgroup", null: true, help: "security group, or none"},
			{flag: "port-security", name: "port_security_enabled", kind: yesNo, help: "whether its addresses and security groups are enforced"},
			{flag: "allowed-address", name: "allowed_address_pairs", kind: pairs, null: true, keys: map[string]string{"ip": "ip_address", "mac": "mac_address"}, help: "further source addresses, as ip=PREFIX,mac=MAC or ip=PREFIX"},
			{flag: "dns-name", name: "dns_name", help: "DNS name"},
		},
		filters: []attr{byName, byProject, byNetwork,
			{flag: "device", name: "device_id", help: "only of this device"},
			{flag: "device-owner", name: "device_owner", help: "only of this owner"},
			{flag: "host", name: "binding:host_id", help: "only bound to this host"},
			{flag: "mac", name: "mac_address", help: "only of this MAC address"},
			{flag: "ip", name: "fixed_ips", help: "only with this address"},
			{flag: "status", name: "status", help: "only of this status, such as ACTIVE"}},
	}
}

func routerNoun() noun {
	return noun{
		word: "router", short: "Routers", Collection: collection("routers", "routers", "router"),
		verbs: "show create set delete", arg: nameArg,
		columns: []column{
			{title: "ID", path: "id"}, {title: "NAME", path: "name"}, {title: "STATUS", path: "status"},
			{title: "GATEWAY", path: "external_gateway_info.external_fixed_ips.ip_address"},
			{title: "EXTERNAL NETWORK", path: "external_gateway_info.network_id", long: true},
			{title: "ROUTES", path: "routes", long: true}, {title: "PROJECT", path: "project_id", long: true},
		},
		attrs: []attr{
			nameFlag, description, adminState, ofProject,
			{flag: "route", name: "routes", kind: pairs, null: true, only: "set", keys: map[string]string{"destination": "destination", "nexthop": "nexthop"}, help: "the extra routes, as destination=PREFIX,nexthop=ADDRESS"},
		},
		filters: []attr{byName, byProject},
		more:    []func(noun) *cobra.Command{addInterface, removeInterface, setGateway, unsetGateway},
	}
}

func secgroupNoun() noun {
	return noun{
		word: "secgroup", short: "Security groups and their rules", Collection: collection("security-groups", "security_groups", "security_group"),
		verbs: "show create set delete", arg: nameArg,
		columns: []column{
			{title: "ID", path: "id"}, {title: "NAME", path: "name"}, {title: "DESCRIPTION", path: "description"},
			{title: "STATEFUL", path: "stateful", long: true}, {title: "PROJECT", path: "project_id", long: true},
		},
		attrs: []attr{nameFlag, description, ofProject,
			{flag: "stateful", name: "stateful", kind: yesNo, help: "whether answers are admitted by themselves; =false for not"}},
		filters: []attr{byName, byProject},
		more:    []func(noun) *cobra.Command{func(noun) *cobra.Command { return ruleNoun().command() }},
	}
}

func ruleNoun() noun {
	c := collection("security-group-rules", "security_group_rules", "security_group_rule")
	c.Name = "id" // rules have no names
	return noun{
		word: "rule", short: "Rules of security groups", Collection: c,
		verbs: "show create delete", arg: attr{flag: "secgroup", name: "security_group_id", kind: ref, of: "secgroup"},
		columns: []column{
			{title: "ID", path: "id"}, {title: "SECGROUP", path: "security_group_id"}, {title: "DIRECTION", path: "direction"},
			{title: "ETHERTYPE", path: "ethertype"}, {title: "PROTOCOL", path: "protocol"},
			{title: "FIRST PORT", path: "port_range_min"}, {title: "LAST PORT", path: "port_range_max"},
			{title: "REMOTE IP", path: "remote_ip_prefix"}, {title: "REMOTE GROUP", path: "remote_group_id"},
			{title: "DESCRIPTION", path: "description", long: true}, {title: "PROJECT", path: "project_id", long: true},
		},
		attrs: []attr{description, ofProject,
			{flag: "direction", name: "direction", help: "ingress or egress (default: ingress)"},
			{flag: "ethertype", name: "ethertype", help: "IPv4 or IPv6 (default: that of --remote-ip, or IPv4)"},
			{flag: "protocol", name: "protocol", help: "tcp, udp, icmp, another name, or a number (default: any)"},
			{flag: "port", name: "port_range", kind: portRange, help: "port, or FIRST:LAST; for icmp TYPE:CODE"},
			{flag: "remote-ip", name: "remote_ip_prefix", help: "prefix of the other side"},
			{flag: "remote-group", name: "remote_group_id", kind: ref, of: "secgroup", help: "security group of the other side"}},
		filters: []attr{byProject,
			{flag: "secgroup", name: "security_group_id", kind: ref, of: "secgroup", help: "only of this security group"},
			{flag: "direction", name: "direction", help: "only ingress or egress"}},
		finish: func(_ context.Context, _ *client.Client, attrs map[string]any) error {
			if attrs["direction"] == nil {
				attrs["direction"] = "ingress"
			}
			if attrs["ethertype"] == nil {
				attrs["ethertype"] = map[int]string{4: "IPv4", 6: "IPv6"}[familyOf(attrs["remote_ip_prefix"])]
			}
			return nil
		},
	}
}

func floatingIPNoun() noun {
	c := collection("floatingips", "floatingips", "floatingip")
	c.Name = "floating_ip_address"
	return noun{
		word: "floatingip", short: "Floating IPs", Collection: c,
		verbs: "show create delete", arg: attr{flag: "network", name: "floating_network_id", kind: ref, of: "network"},
		columns: []column{
			{title: "ID", path: "id"}, {title: "ADDRESS", path: "floating_ip_address"}, {title: "FIXED IP", path: "fixed_ip_address"},
			{title: "PORT", path: "port_id"}, {title: "STATUS", path: "status"},
			{title: "ROUTER", path: "router_id", long: true}, {title: "NETWORK", path: "floating_network_id", long: true}, {title: "PROJECT", path: "project_id", long: true},
		},
		attrs: []attr{description, ofProject,
			{flag: "port", name: "port_id", kind: ref, of: "port", help: "port that it leads to"},
			{flag: "fixed-ip", name: "fixed_ip_address", help: "address of that port, if it has several"},
			{flag: "address", name: "floating_ip_address", help: "the address to take"},
			{flag: "subnet", name: "subnet_id", kind: ref, of: "subnet", help: "subnet to take an address of"}},
		filters: []attr{byProject,
			{flag: "network", name: "floating_network_id", kind: ref, of: "network", help: "only of this network"},
			{flag: "port", name: "port_id", kind: ref, of: "port", help: "only of this port"},
			{flag: "status", name: "status", help: "only of this status, such as ACTIVE"}},
		more: []func(noun) *cobra.Command{associate, disassociate},
	}
}

func subnetPoolNoun() noun {
	return noun{
		word: "subnetpool", short: "Subnet pools", Collection: collection("subnetpools", "subnetpools", "subnetpool"),
		verbs: "show create delete", arg: nameArg,
		columns: []column{
			{title: "ID", path: "id"}, {title: "NAME", path: "name"}, {title: "PREFIXES", path: "prefixes"},
			{title: "DEFAULT LENGTH", path: "default_prefixlen"}, {title: "SHARED", path: "shared", long: true},
			{title: "DEFAULT", path: "is_default", long: true}, {title: "PROJECT", path: "project_id", long: true},
		},
		attrs: []attr{description, ofProject,
			{flag: "prefix", name: "prefixes", kind: words, must: true, help: "prefix of the pool"},
			{flag: "default-prefixlen", name: "default_prefixlen", kind: number, help: "length of a subnet's prefix if it asks for none"},
			{flag: "min-prefixlen", name: "min_prefixlen", kind: number, help: "least length"},
			{flag: "max-prefixlen", name: "max_prefixlen", kind: number, help: "greatest length"},
			{flag: "default-quota", name: "default_quota", kind: number, help: "how much of it a project may have"},
			{flag: "shared", name: "shared", kind: yesNo, help: "whether all projects may use it"},
			{flag: "default", name: "is_default", kind: yesNo, help: "whether it is the default pool"}},
		filters: []attr{byName, byProject},
	}
}

func agentNoun() noun {
	c := collection("agents", "agents", "agent")
	c.Name = "host"
	return noun{
		word: "agent", short: "Agents", Collection: c, verbs: "show",
		columns: []column{
			{title: "ID", path: "id"}, {title: "TYPE", path: "agent_type"}, {title: "HOST", path: "host"},
			{title: "ALIVE", path: "alive"}, {title: "ADMIN UP", path: "admin_state_up"}, {title: "LAST HEARD OF", path: "heartbeat_timestamp"},
			{title: "BINARY", path: "binary", long: true}, {title: "ZONE", path: "availability_zone", long: true},
		},
		filters: []attr{
			{flag: "host", name: "host", help: "only on this host"},
			{flag: "type", name: "agent_type", help: "only of this type, such as \"DHCP agent\""}},
	}
}
