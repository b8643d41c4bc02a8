package vswitch

import "testing"

func TestCommands(t *testing.T) {
	port := Port{
		Name: "vxlan-0a000003", Type: "vxlan", OFPort: 7, MTU: 1450, Tag: 3,
		Options:     map[string]string{"remote_ip": "10.0.0.3", "in_key": "flow"},
		ExternalIDs: map[string]string{"attached-mac": "fa:16:3e:00:00:01"},
		OtherConfig: map[string]string{"physical_network": "it's, here"},
	}
	for _, c := range []struct{ got, want string }{
		{port.Command("br-tun"), `ovs-vsctl --may-exist add-port br-tun vxlan-0a000003 -- set Interface vxlan-0a000003 type=vxlan ofport_request=7 mtu_request=1450 ` +
			`options:in_key=flow options:remote_ip=10.0.0.3 external_ids:attached-mac=fa:16:3e:00:00:01 ` +
			`-- set Port vxlan-0a000003 tag=3 other_config:physical_network='"it'\''s, here"'`},
		{Port{Name: "eth0"}.Command("br-ex"), `ovs-vsctl --may-exist add-port br-ex eth0`},
		{PortTag{Name: "tap0", Tag: 4095}.Command(), `ovs-vsctl set Port tap0 tag=4095`},
		{Bridge{Name: "br-ex"}.Commands()[0], `ovs-vsctl --may-exist add-br br-ex`},
		{quote(""), `'""'`},
	} {
		if c.got != c.want {
			t.Errorf("%s\nwant\n%s", c.got, c.want)
		}
	}
}
