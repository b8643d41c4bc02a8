package trace

// Cause is what is the matter, in a word that does not change: for programs, and to search docs/trace.md for.
type Cause string

// Explained says what a cause means.
type Explained struct {
	// Title is half a sentence: "the tap is down".
	Title string
	// Do is what to do about it, in a sentence or two.
	Do string
}

// The causes. What they mean is in Causes.
const (
	CauseHealthy   Cause = "healthy"
	CauseNotLooked Cause = "not_looked_at"

	// record, allocation, binding
	CauseNoPort        Cause = "no_port"
	CauseNoNetwork     Cause = "no_network"
	CauseNetworkDown   Cause = "network_admin_down"
	CausePortDown      Cause = "port_admin_down"
	CauseNoMAC         Cause = "no_mac"
	CauseNoSubnet      Cause = "no_subnet"
	CauseOutsideSubnet Cause = "address_outside_subnet"
	CauseSubnetNoDHCP  Cause = "subnet_without_dhcp"
	CauseUnbound       Cause = "unbound"
	CauseBindingFailed Cause = "binding_failed"
	CausePortRefused   Cause = "port_refused"

	// host
	CauseHostUnknown        Cause = "host_never_joined"
	CauseAgentDead          Cause = "agent_dead"
	CauseFeedBehind         Cause = "agent_out_of_sync"
	CausePortNotKnown       Cause = "port_unknown_to_agent"
	CauseSwitchGone         Cause = "switch_not_connected"
	CauseNoOVSDB            Cause = "ovsdb_down"
	CauseEmptyOVSDB         Cause = "ovsdb_not_initialised"
	CauseNoVswitchd         Cause = "vswitchd_down"
	CauseNoBridge           Cause = "no_integration_bridge"
	CauseCertificateExpired Cause = "certificate_expired"
	CauseCertificateEnds    Cause = "certificate_ends"
	CauseClockSkew          Cause = "clock_skew"

	// interface, tap
	CauseNotPlugged     Cause = "not_plugged"
	CauseElsewhere      Cause = "plugged_elsewhere"
	CauseIfaceID        Cause = "iface_id_differs"
	CauseNotOnSwitch    Cause = "tap_not_on_switch"
	CauseStalePort      Cause = "stale_switch_port"
	CauseTwin           Cause = "iface_id_twice"
	CauseWrongBridge    Cause = "wrong_bridge"
	CauseWrongType      Cause = "wrong_interface_type"
	CauseAttachedMAC    Cause = "attached_mac_differs"
	CauseNoOFPort       Cause = "no_ofport"
	CauseInterfaceError Cause = "interface_error"
	CauseWrongTag       Cause = "wrong_tag"
	CauseSetting        Cause = "foreign_setting"
	CauseNoDevice       Cause = "no_tap"
	CauseTapMAC         Cause = "tap_mac_differs"
	CauseTapMTU         Cause = "tap_mtu_differs"
	CauseTapDown        Cause = "tap_down"
	CauseNoCarrier      Cause = "no_carrier"

	// flows, filter, exchange
	CauseNoFlows      Cause = "no_flows"
	CauseFlowsMissing Cause = "flows_missing"
	CauseClosed       Cause = "port_closed"
	CauseRulesRefused Cause = "rules_not_programmed"
	CauseForeignFlow  Cause = "foreign_flow"
	CauseExchangeLost Cause = "dhcp_lost_in_switch"
	CauseDisagree     Cause = "switch_disagrees"

	// tunnel
	CauseNoTunnelAddress      Cause = "no_tunnel_address"
	CauseTunnelAddressMissing Cause = "tunnel_address_missing"
	CauseTunnelWrongAddress   Cause = "tunnel_wrong_address"
	CauseNoTunnelPort         Cause = "no_tunnel_port"
	CauseTunnelPortError      Cause = "tunnel_port_error"
	CauseTunnelWrongHost      Cause = "tunnel_wrong_host"
	CauseTunnelBlocked        Cause = "tunnel_blocked"
	CauseTunnelOneWay         Cause = "tunnel_blocked_one_way"
	CauseTunnelMTU            Cause = "tunnel_mtu"
	CauseTunnelFlows          Cause = "tunnel_flows_missing"
	CauseUnderlay             Cause = "underlay_fault"
	CauseUnderlayDown         Cause = "underlay_down"

	// guest
	CauseGuestMAC         Cause = "guest_uses_other_mac"
	CauseGuestMACs        Cause = "guest_uses_more_macs"
	CauseGuestAddress     Cause = "guest_uses_other_address"
	CauseGuestAddresses   Cause = "guest_uses_more_addresses"
	CauseGuestLinkLocal   Cause = "guest_gave_itself_an_address"
	CauseDuplicateMAC     Cause = "duplicate_mac"
	CauseDuplicateAddress Cause = "duplicate_address"

	// dhcp, lease
	CauseNoDHCPPort     Cause = "no_dhcp_port"
	CauseNotServed      Cause = "dhcp_not_served"
	CauseNoNamespace    Cause = "no_dhcp_namespace"
	CauseDHCPAddress    Cause = "dhcp_address_missing"
	CauseDHCPMAC        Cause = "dhcp_mac_differs"
	CauseDHCPMTU        Cause = "dhcp_mtu_differs"
	CauseNoDHCPDevice   Cause = "no_dhcp_device"
	CauseDHCPDown       Cause = "dhcp_link_down"
	CauseNotListening   Cause = "dhcp_not_listening"
	CauseDHCPDeaf       Cause = "dhcp_blocked"
	CauseNoIPv6         Cause = "ipv6_not_given"
	CauseNoLease        Cause = "no_lease"
	CauseNeverAsked     Cause = "no_discover"
	CauseDHCPRefused    Cause = "dhcp_refused"
	CauseDHCPUnanswered Cause = "dhcp_unanswered"
	CauseRogueDHCP      Cause = "rogue_dhcp_server"
	CauseIsRogueDHCP    Cause = "answers_dhcp"
	CauseOfferLost      Cause = "offer_not_taken"
	CauseReleased       Cause = "address_released"
	CauseDeclined       Cause = "address_declined"
	CauseWrongNetwork   Cause = "asks_on_wrong_network"
	CauseUnknownMAC     Cause = "unknown_mac_asks"

	// status, faults
	CauseNotReported Cause = "nothing_reported"
	CauseNotWired    Cause = "not_wired"
	CauseNotActive   Cause = "not_active"
	CauseFault       Cause = "agent_fault"
	CauseRepaired    Cause = "changed_by_another"
)

// Causes explains every cause. docs/trace.md is made from it.
var Causes = map[Cause]Explained{
	CauseHealthy:   {"all is well", ""},
	CauseNotLooked: {"something could not be looked at", "Look why, on that host: the reason is in the line; weft's log there has more."},

	CauseNoPort:        {"there is no such port", "Check the name; a port's ID, name, MAC, an address, its tap or its VM's ID will do. weft port list shows all."},
	CauseNoNetwork:     {"the port's network is gone from the store", "Run weft fsck on a server, and tell the makers of weft: this must not happen."},
	CauseNetworkDown:   {"the network's admin state is down", "weft network set NETWORK --admin-state-up, if that is not meant."},
	CausePortDown:      {"the port's admin state is down", "weft port set PORT --admin-state-up, if that is not meant."},
	CauseNoMAC:         {"the port has no MAC address", "Run weft fsck on a server, and tell the makers of weft: this must not happen."},
	CauseNoSubnet:      {"an address is of a subnet that does not exist", "Run weft fsck on a server, and tell the makers of weft: this must not happen."},
	CauseOutsideSubnet: {"an address is not in its subnet", "Run weft fsck on a server, and tell the makers of weft: this must not happen."},
	CauseSubnetNoDHCP:  {"the subnet gives out no addresses by DHCP", "weft subnet set SUBNET --dhcp, or set the address inside the guest."},
	CauseUnbound:       {"the port is bound to no host", "Nova binds it when it starts the VM; by hand: weft port set PORT --host HOST."},
	CauseBindingFailed: {"the port could not be bound to its host", "The reason is in the line; mend it and bind the port again (weft port set PORT --host HOST)."},
	CausePortRefused:   {"the port was refused when it was to be made", "The API's answer is in the line: mend that, and make the port again."},

	CauseHostUnknown:        {"the port's host has never joined the cloud", "Check the name against weft host list: Nova's host must be the name that the agent has; or let the host join (weft server token, weft agent join)."},
	CauseAgentDead:          {"the agent of the host is dead or cut off", "On that host, look whether weft agent runs and what its log says, and whether it reaches a server (port 9697)."},
	CauseFeedBehind:         {"the agent does not hear of changes", "The reason is in the line; the agent tries again by itself. Its log on that host has more."},
	CausePortNotKnown:       {"the agent does not know the port's newest state", "It should within a second: ask again. If it stays, look at the agent's log."},
	CauseSwitchGone:         {"the bridge is not connected to the agent", "The agent calls it every second; look who set another controller (ovs-vsctl get-controller BRIDGE), and at ovs-vswitchd's log."},
	CauseNoOVSDB:            {"ovsdb-server does not run", "On that host, start it (systemctl start ovsdb-server, or openvswitch-switch), and look at its log why it ended."},
	CauseEmptyOVSDB:         {"the database of Open vSwitch has never been initialised", "On that host: ovs-vsctl --no-wait init, which ovs-ctl start does; then start ovs-vswitchd."},
	CauseNoVswitchd:         {"ovs-vswitchd does not run or does not answer", "On that host, start it (systemctl start ovs-vswitchd, or openvswitch-switch), and look at its log why it ended."},
	CauseNoBridge:           {"the integration bridge is not there", "The agent makes it as soon as it is in sync; look who removed it, and at the agent's log."},
	CauseCertificateExpired: {"the certificate of the host has run out", "Let the host join again with a new token: weft server token, then weft agent join on the host."},
	CauseCertificateEnds:    {"the certificate of the host runs out soon", "Its agent renews it by itself after two thirds of its life: look at its log why it could not."},
	CauseClockSkew:          {"the clock of the host is wrong", "Let the host take its time from where the servers do (chrony, systemd-timesyncd): certificates are checked by it, and its logs are stamped with it."},

	CauseNotPlugged:     {"nothing is plugged into the port", "Start the VM; or see what Nova or libvirt say about it. The interface in Open vSwitch must carry external_ids:iface-id=PORT-ID."},
	CauseElsewhere:      {"the VM runs on another host than the port is bound to", "Bind the port to the host where it is plugged (weft port set PORT --host HOST), or start the VM where the port is bound."},
	CauseIfaceID:        {"an interface is plugged for the port, but carries another iface-id", "ovs-vsctl set Interface NAME external_ids:iface-id=PORT-ID, and look who wrote the other one."},
	CauseNotOnSwitch:    {"the tap is there, but is not in Open vSwitch", "Look what it is in (ip -d link show TAP): the VM's NIC must be of type bridge with virtualport openvswitch. By hand: weft plug."},
	CauseStalePort:      {"a port in Open vSwitch is left over from a VM that is gone", "Start the VM again, or remove the port (ovs-vsctl del-port NAME)."},
	CauseTwin:           {"two interfaces carry the port's iface-id", "Remove the one that is not used (ovs-vsctl del-port NAME): it is left over, or was given a wrong iface-id."},
	CauseWrongBridge:    {"the interface is on another bridge", "Plug the VM into the integration bridge."},
	CauseWrongType:      {"the interface is of another type", "Look who made it; remove it, and the agent makes its own."},
	CauseAttachedMAC:    {"who plugged the interface says another MAC than the port's", "The VM has another NIC than the port says: compare the domain's XML, and plug it again."},
	CauseNoOFPort:       {"Open vSwitch could not make the interface", "The error of the interface says why (ovs-vsctl get Interface NAME error); plug it again."},
	CauseInterfaceError: {"Open vSwitch reports an error of the interface", "The device behind it is gone or taken: plug the VM again, or remove the stale port (ovs-vsctl del-port)."},
	CauseWrongTag:       {"the interface has another tag than the network's", "Something else writes tags on this bridge: look for another agent on this host, or a script. weft sets it back as long as it runs."},
	CauseSetting:        {"Open vSwitch is told something that weft never tells it", "The command in the line takes it away; look who has set it (another agent, a script, a person)."},
	CauseNoDevice:       {"the tap is not there", "The VM has ended or crashed and its tap is gone: start it, or remove the stale port (ovs-vsctl del-port)."},
	CauseTapMAC:         {"the tap's MAC is not the port's with fe in front", "Plug the VM again, with the port's MAC in the domain's XML."},
	CauseTapMTU:         {"the tap's MTU is not the network's", "Plug the VM again, or set it: ip link set TAP mtu MTU."},
	CauseTapDown:        {"the tap is down", "ip link set TAP up, and look who set it down."},
	CauseNoCarrier:      {"nothing holds the other end of the tap", "The VM's process does not run, or has not opened the tap: start the VM. Of a veth: set up its other end."},

	CauseNoFlows:      {"no flows are wanted for the port", "An earlier step says why."},
	CauseFlowsMissing: {"flows of the port are missing in the switch", "Something has removed them; the agent puts them back at its next look (resync_interval), or at once when it is started again. Look who runs ovs-ofctl here."},
	CauseClosed:       {"the port is closed, because its flows could not be put into the switch", "The error in the line is Open vSwitch's; the agent tries again by itself."},
	CauseRulesRefused: {"rules of security groups could not be put into the switch", "The error in the line is Open vSwitch's; the agent tries again by itself."},
	CauseForeignFlow:  {"a flow that is not weft's comes before the port's", "Remove it (ovs-ofctl --strict del-flows BRIDGE 'cookie=COOKIE/-1,table=TABLE,priority=PRIORITY,MATCH'), and find out who has put it there; the agent takes it out at its next resync (resync_interval)."},
	CauseExchangeLost: {"the switch loses a packet of the DHCP exchange", "The flow in the line says where. If flows are missing, the agent puts them back at its next resync; else ask again, and compare the host's flows with those of weft agent --dry-run."},
	CauseDisagree:     {"the switch does otherwise than the records say", "A change may be on its way to the host: ask again. If it stays, compare the host's flows with those of weft agent --dry-run."},

	CauseNoTunnelAddress:      {"no tunnel can lead to a host", "Set tunnel_ip in its weft.yaml to an address of the underlay, of the same IP version on all hosts, and start weft agent again."},
	CauseTunnelAddressMissing: {"no device of a host has its tunnel address", "On that host, give the address to the device of the underlay (ip addr add), or set tunnel_ip in weft.yaml to the one it has and start weft agent again."},
	CauseTunnelWrongAddress:   {"a tunnel leads to another address than its host's", "Something else writes on the tunnel bridge, or two hosts have one tunnel_ip: look at ovs-vsctl show and weft host list. weft sets it back as long as it runs."},
	CauseNoTunnelPort:         {"a host has no tunnel to the other", "It should within a second: ask again. If it stays, look at the agent's log on that host."},
	CauseTunnelPortError:      {"Open vSwitch could not make a tunnel", "The error of the interface says why (ovs-vsctl get Interface NAME error)."},
	CauseTunnelWrongHost:      {"a tunnel ends at another host", "Two hosts have one address on the underlay, or something on the way rewrites addresses: look at tunnel_ip and at the addresses of both hosts."},
	CauseTunnelBlocked:        {"nothing passes a tunnel", "Between these two addresses UDP port 4789 must pass, both ways: look at the firewalls of both hosts (nft list ruleset) and at the underlay; ping one address from the other host."},
	CauseTunnelOneWay:         {"nothing passes a tunnel in one direction", "In that direction UDP port 4789 must pass: look at the firewalls of both hosts (nft list ruleset), output on the one and input on the other, and at what lies between."},
	CauseTunnelMTU:            {"packets of the network's MTU do not pass a tunnel", "Raise the MTU of the underlay (ip link set DEVICE mtu N, and on what lies between), or lower the network's: weft network set NETWORK --mtu N."},
	CauseTunnelFlows:          {"flows of the tunnel bridge are missing in the switch", "Something has removed them; the agent puts them back at its next look (resync_interval), or at once when it is started again. Look who runs ovs-ofctl here."},
	CauseUnderlayDown:         {"the device under a host's tunnels is down", "Set it up (ip link set DEVICE up), or see to its cable and switch; ip link show DEVICE shows which."},
	CauseUnderlay:             {"what is under a host's tunnels is not as they need it", "The error is in the line: it is the underlay's, and for you to put right; the agent sees by itself when it is."},

	CauseGuestMAC:         {"the guest uses another MAC than the port's", "Set the NIC's MAC in the domain's XML (or in the guest) to the port's; or the port's to it: weft port set PORT --mac MAC; or allow it: --allowed-address mac=MAC,ip=ADDRESS."},
	CauseGuestMACs:        {"the guest also uses MAC addresses that are not the port's", "If that is meant (a bridge, nested machines), allow them: weft port set PORT --allowed-address mac=MAC,ip=ADDRESS; or switch port security off."},
	CauseGuestAddress:     {"the guest uses another address than the port's", "Set the guest to DHCP or to its own address; or give the port that one: weft port set PORT --fixed-ip ip=ADDRESS; or allow it: --allowed-address ip=ADDRESS."},
	CauseGuestAddresses:   {"the guest also uses addresses that are not the port's", "If that is meant, allow them: weft port set PORT --allowed-address ip=ADDRESS; or switch port security off."},
	CauseGuestLinkLocal:   {"the guest has given itself an address, for want of an answer from DHCP", "The dhcp and lease steps say why it had none; let the guest ask again."},
	CauseDuplicateMAC:     {"somebody else on the network uses the port's MAC", "Find that device and give it a MAC of its own; port security on its port keeps it from doing harm."},
	CauseDuplicateAddress: {"somebody else on the network uses the port's address", "Find that device and give it an address of its own; port security on its port keeps it from doing harm."},

	CauseNoDHCPPort:     {"the network has no DHCP port", "It is made with the first subnet that has DHCP, if a host can serve: see weft host list for a live host with the role network."},
	CauseNotServed:      {"the host that should serve DHCP does not", "Look at the agent's log on that host."},
	CauseNoNamespace:    {"the namespace of the DHCP service is not there", "The agent makes it again within resync_interval; look who removed it, and at the agent's log."},
	CauseDHCPAddress:    {"the DHCP service has lost its address", "Somebody removed it in the namespace; the agent puts it back within resync_interval."},
	CauseDHCPMAC:        {"the device of the DHCP service has another MAC", "Somebody changed it; the agent puts it back within resync_interval."},
	CauseDHCPMTU:        {"the device of the DHCP service has another MTU", "Somebody changed it; the agent puts it back within resync_interval."},
	CauseNotListening:   {"nobody listens for DHCP in the namespace", "Look at the agent's log on that host."},
	CauseNoDHCPDevice:   {"the device of the DHCP service is not in its namespace", "The agent puts it there within resync_interval; look who took it away, and at the agent's log."},
	CauseDHCPDown:       {"the device of the DHCP service is down", "The agent sets it up again at once; look who sets it down in the namespace."},
	CauseDHCPDeaf:       {"what comes to the DHCP service is dropped in its namespace", "Look for what drops it there: nft list ruleset (hook ingress of the device), tc filter show dev DEVICE ingress, ip link show DEVICE (xdp), each with ip netns exec NAMESPACE before it."},
	CauseNoIPv6:         {"nobody gives the guest its IPv6 address", "Set the address inside the guest, as cloud-init does from a config drive; or let a router of the network advertise its prefix (SLAAC)."},
	CauseNoLease:        {"the DHCP service does not know the port's address", "It should within a second: ask again. If it stays, look at the agent's log on that host."},
	CauseNeverAsked:     {"the guest has never asked for an address", "Look at the guest's console: has it booted, does it see the NIC, is the NIC set to DHCP?"},
	CauseDHCPRefused:    {"the guest was refused", "The reason is in the line."},
	CauseDHCPUnanswered: {"the guest was not answered", "The reason is in the line."},
	CauseRogueDHCP:      {"the guest listens to another DHCP server", "Stop that server, or switch port security on for its port, which keeps it from answering; then let the guest ask again."},
	CauseIsRogueDHCP:    {"the port answers DHCP, which is weft's to do on this network", "Stop the DHCP server inside that guest, or switch port security on for the port."},
	CauseOfferLost:      {"the guest does not take what it is offered", "See the exchange and tunnel steps for the way back to the guest, and the guest's console for what its DHCP client says; weft capture PORT shows whether the offers pass the tap. What may drop them on the way out of a device, of the DHCP service's or of the tap: nft list ruleset (hook egress), tc qdisc show dev DEVICE."},
	CauseReleased:       {"the guest has given its address back", "Have the guest ask again: dhclient, or switch its NIC on."},
	CauseDeclined:       {"the guest found its address in use by somebody else", "Find who uses it: the guest step names duplicates; arping ADDRESS from a guest of the network shows the MAC."},
	CauseWrongNetwork:   {"the guest asks on another network", "The VM is plugged into another port or another bridge than this one: compare the domain's XML (interfaceid) with the port."},
	CauseUnknownMAC:     {"somebody asks for an address with a MAC that no port has", "If that is this guest, set its MAC to the port's, or the port's to its: weft port set PORT --mac MAC."},

	CauseNotReported: {"the agent has reported nothing of the port", "An earlier step says why; else ask again."},
	CauseNotWired:    {"the agent has not found the port ready", "An earlier step says why; else look at the agent's log."},
	CauseNotActive:   {"the port is not ACTIVE", "An earlier step says why; else ask again."},
	CauseFault:       {"the agent could not do something", "The error is in the line; the agent tries again by itself."},
	CauseRepaired:    {"something else has changed what weft sets", "Look who changes it (another agent, a script, a person): weft sets it back as long as its agent runs."},
}
