"""What programs on openstacksdk and Nova (on neutronclient) do, against the endpoint in argv[1]."""
import sys
import uuid

import openstack
from openstack import exceptions

cloud = openstack.connect(auth_type="none", endpoint=sys.argv[1], region_name="r")
net = cloud.network

network = net.create_network(name="sdk")
assert net.find_network("sdk").id == network.id
assert net.find_network(network.id).name == "sdk"
assert net.find_network("nobody") is None
assert net.find_extension("provider") is not None
assert net.find_extension("security-groups") is None

# If-Match.
old = net.get_network(network.id)
net.update_network(network.id, description="changed")
try:
    net.update_network(old, if_revision=old.revision_number, description="lost")
    raise SystemExit("a stale revision was accepted")
except exceptions.PreconditionFailedException:
    pass

subnet = net.create_subnet(network_id=network.id, cidr="10.20.0.0/24", ip_version=4, gateway_ip=None)
assert subnet.gateway_ip is None

# Bulk, and pages of two.
made = net.create_ports([{"network_id": network.id, "name": "p%d" % i} for i in range(5)])
names = [p.name for p in net.ports(network_id=network.id, device_owner="", limit=2)]
assert sorted(names) == ["p%d" % i for i in range(5)], names

# An address is refused by name of the error.
address = made and net.get_port(next(iter(net.ports(name="p0"))).id).fixed_ips[0]["ip_address"]
try:
    net.create_port(network_id=network.id, fixed_ips=[{"ip_address": address}])
    raise SystemExit("an address was given twice")
except exceptions.ConflictException as e:
    assert "already allocated in subnet" in str(e), e

try:
    from neutronclient.common import exceptions as nexc
    from neutronclient.v2_0 import client
except ImportError:
    client = None
if client:
    # Nova's calls, in its order, by its library.
    c = client.Client(auth_strategy="noauth", endpoint_url=sys.argv[1])
    aliases = {e["alias"] for e in c.list_extensions()["extensions"]}
    assert "binding" in aliases and "security-group" in aliases
    assert len(c.list_networks(id=[network.id])["networks"]) == 1
    assert c.list_networks(tenant_id="fake_project_id", shared=False)["networks"]
    names = [p["name"] for p in c.list_ports(network_id=network.id, device_owner="", sort_key="name", sort_dir="desc")["ports"]]
    assert names == ["p%d" % i for i in reversed(range(5))], names
    assert c.list_networks(shared=True)["networks"] == []
    assert c.list_ports(network_id=network.id, fixed_ips="ip_address=" + address, fields=["device_id"])["ports"] == [{"device_id": ""}]
    vm = str(uuid.uuid4())
    port = c.create_port({"port": {"device_id": vm, "network_id": network.id, "admin_state_up": True, "tenant_id": "p"}})["port"]
    assert port["status"] == "DOWN" and port["binding:vif_type"] == "unbound", port
    port = c.update_port(port["id"], {"port": {"device_owner": "compute:nova", "binding:host_id": "node-1", "binding:profile": {}}})["port"]
    assert port["binding:vif_type"] == "ovs" and port["status"] == "DOWN", port
    assert c.list_ports(tenant_id="p", device_id=vm)["ports"][0]["id"] == port["id"]
    shown = c.show_port(port["id"], fields=["binding:vnic_type", "binding:profile", "network_id"])["port"]
    assert shown == {"binding:vnic_type": "normal", "binding:profile": {}, "network_id": network.id}, shown
    assert len(c.list_ports(network_id=network.id, device_owner="network:dhcp")["ports"]) == 1
    try:
        c.create_port({"port": {"network_id": network.id, "fixed_ips": [{"ip_address": "192.0.2.1"}]}})
        raise SystemExit("a foreign address was given")
    except nexc.InvalidIpForNetworkClient:
        pass
    try:
        c.create_port({"port": {"network_id": network.id, "mac_address": port["mac_address"]}})
        raise SystemExit("a MAC was given twice")
    except nexc.MacAddressInUseClient:
        pass
    c.update_port(port["id"], {"port": {"binding:host_id": None, "device_id": "", "device_owner": "", "binding:profile": {}}})
    c.delete_port(port["id"])
    try:
        c.delete_port(port["id"])
        raise SystemExit("a port was deleted twice")
    except nexc.PortNotFoundClient:
        pass

for p in list(net.ports(network_id=network.id, device_owner="")):
    net.delete_port(p)
net.delete_subnet(subnet)
net.delete_network(network)
assert list(net.networks()) == [] and list(net.ports()) == []
print("done")
