package dhcp

import (
	"encoding/hex"
	"strings"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"weft/internal/model"
)

func TestEncodeOption(t *testing.T) {
	for _, tt := range []struct {
		name, value string
		code        uint8
		want        string // hexadecimal; "!" for an error
	}{
		{"bootfile-name", "pxelinux.0", 67, hex.EncodeToString([]byte("pxelinux.0"))},
		{"67", "pxelinux.0", 67, hex.EncodeToString([]byte("pxelinux.0"))},
		{"option:bootfile-name", `"a b"`, 67, "612062"},
		{"tftp-server", "10.0.0.9", 66, hex.EncodeToString([]byte("10.0.0.9"))},
		{"66", "tftp.example.org", 66, hex.EncodeToString([]byte("tftp.example.org"))},
		{"150", "10.0.0.9", 150, "0a000009"},
		{"tftp-server-address", "10.0.0.9,10.0.0.10", 150, "0a0000090a00000a"},
		{"server-ip-address", "10.0.0.9", codeSiaddr, "0a000009"},
		{"server-ip-address", "10.0.0.9,10.0.0.10", 0, "!"},
		{"server-ip-address", "", 0, "!"},
		{"ntp-server", "192.0.2.1, 192.0.2.2", 42, "c0000201c0000202"},
		{"ntp-server", "0.0.0.0", 42, "0a0a0002"},
		{"ntp-server", "pool.ntp.org", 0, "!"},
		{"dns-server", "fe80::1", 0, "!"},
		{"domain-search", "example.org,lab.", 119, "076578616d706c65036f726700" + "036c616200"},
		{"domain-search", "a..b", 0, "!"},
		{"domain-search", strings.Repeat("x", 64), 0, "!"},
		{"classless-static-route", "10.1.0.0/16,10.0.0.1,0.0.0.0/0,10.0.0.1", 121, "100a010a00000100" + "0a000001"},
		{"121", "192.0.2.7,0.0.0.0", 121, "20c000020700000000"},
		{"249", "10.1.128.0/17,10.0.0.1", 249, "110a01800a000001"},
		{"classless-static-route", "10.1.0.0/16", 0, "!"},
		{"classless-static-route", "ten,10.0.0.1", 0, "!"},
		{"mtu", "9000", 26, "2328"},
		{"26", "1400", 26, "0578"},
		{"mtu", "70000", 0, "!"},
		{"mtu", "large", 0, "!"},
		{"time-offset", "-3600", 2, "fffff1f0"},
		{"default-ttl", "64", 23, "40"},
		{"T1", "1h", 58, "00000e10"},
		{"T2", "infinite", 59, "ffffffff"},
		{"T1", "soon", 0, "!"},
		{"sip-server", "10.0.0.9", 120, "010a000009"},
		{"sip-server", "sip.org", 120, "0003736970036f726700"},
		{"client-machine-id", "00:11:22", 97, "001122"},
		{"client-machine-id", "xyz", 0, "!"},
		{"vendor-encap", "01:04:0a:00:00:01", 43, "01040a000001"},
		{"router", "", 3, ""},
		{"T1", "", 58, ""},
		{"224", "hello", 224, "68656c6c6f"},
		{"224", "10.0.0.1,10.0.0.2", 224, "0a0000010a000002"},
		{"224", "7", 224, "07"},
		{"224", "700", 224, "02bc"},
		{"224", "70000", 224, "00011170"},
		{"224", "7i", 224, "00000007"},
		{"224", "300b", 224, hex.EncodeToString([]byte("300b"))},
		{"224", "de:ad:be:ef", 224, "deadbeef"},
		{"224", "one\ntwo", 224, "6f6e65"},
		{"224", strings.Repeat("x", 2000), 0, "!"},
		{"BOOTFILE-NAME", "x", 67, "78"},
		{"no-such-option", "x", 0, "!"},
		{"", "x", 0, "!"},
		{"0", "x", 0, "!"},
		{"255", "x", 0, "!"},
		{"256", "x", 0, "!"},
		{"53", "5", 0, "!"},
		{"51", "60", 0, "!"},
		{"54", "10.0.0.1", 0, "!"},
		{"tag:ipxe", "x", 0, "!"},
		{"tag:!ipxe,67", "x", 67, "78"},
	} {
		e, err := encodeOption(model.DHCPOption{Name: tt.name, Value: tt.value}, addr("10.10.0.2"))
		if tt.want == "!" {
			if err == nil {
				t.Errorf("%s=%s: no error, %x", tt.name, tt.value, e.value)
			}
			continue
		}
		if err != nil || e.code != tt.code || hex.EncodeToString(e.value) != tt.want {
			t.Errorf("%s=%.20s: %d %x, %v; want %d %s", tt.name, tt.value, e.code, e.value, err, tt.code, tt.want)
		}
	}
}

func FuzzEncodeOption(f *testing.F) {
	for _, o := range optionForms {
		f.Add(o.name, "10.0.0.1,10.0.0.2")
	}
	f.Add("224", "7b")
	f.Add("T1", "w")
	f.Add("tag:!x,67", "\"")
	f.Fuzz(func(t *testing.T, name, value string) {
		e, err := encodeOption(model.DHCPOption{Name: name, Value: value}, addr("10.10.0.2"))
		if err == nil && refused(e.code) {
			t.Errorf("%q gave option %d", name, e.code)
		}
	})
}

// answerWith answers a recorded request for the port with the extra options.
func answerWith(t *testing.T, request string, extra ...model.DHCPOption) (Answer, []OptionFault) {
	t.Helper()
	s := testServer()
	s.Leases[2].Extra = extra
	tab, faults := NewTable(s)
	return tab.Answer(decode(t, readRequest(t, request)), new(dhcpv4.DHCPv4)), faults
}

func opt(name, value string) model.DHCPOption {
	return model.DHCPOption{Name: name, Value: value, IPVersion: 4}
}

func TestExtraOptions(t *testing.T) {
	boot := []model.DHCPOption{opt("bootfile-name", "pxelinux.0"), opt("tftp-server", "10.0.0.9"), opt("server-ip-address", "10.0.0.9"), opt("150", "10.0.0.9")}
	t.Run("boot ROM looks in the header", func(t *testing.T) {
		a, _ := answerWith(t, "pxerom-discover", boot...)
		m := a.Reply
		if m.BootFileName != "pxelinux.0" || m.ServerHostName != "10.0.0.9" || m.ServerIPAddr.String() != "10.0.0.9" || m.Options[67] != nil || m.Options[150] != nil {
			t.Error(m.Summary())
		}
	})
	t.Run("iPXE asks for options", func(t *testing.T) {
		a, _ := answerWith(t, "ipxe-discover", boot...)
		m := a.Reply
		if m.BootFileName != "" || string(m.Options[67]) != "pxelinux.0" || string(m.Options[66]) != "10.0.0.9" || m.ServerIPAddr.String() != "10.0.0.9" {
			t.Error(m.Summary())
		}
	})
	t.Run("tags", func(t *testing.T) {
		tagged := []model.DHCPOption{opt("tag:ipxe,67", "http://boot/ipxe"), opt("67", "undionly.kpxe"), opt("tag:!ipxe,150", "10.0.0.9")}
		a, _ := answerWith(t, "ipxe-discover", tagged...)
		if string(a.Reply.Options[67]) != "http://boot/ipxe" {
			t.Error(a.Reply.Summary())
		}
		a, _ = answerWith(t, "pxerom-discover", tagged...)
		if a.Reply.BootFileName != "undionly.kpxe" {
			t.Error(a.Reply.Summary())
		}
	})
	t.Run("overrides", func(t *testing.T) {
		a, _ := answerWith(t, "dhclient-discover", opt("mtu", "1400"), opt("router", ""), opt("dns-server", "192.0.2.1"), opt("hostname", "db"), opt("T1", "60"), opt("121", "192.0.2.0/24,10.10.0.9"))
		o := a.Reply.Options
		if hex.EncodeToString(o[26]) != "0578" || o[3] != nil || hex.EncodeToString(o[6]) != "c0000201" || string(o[12]) != "db" || hex.EncodeToString(o[58]) != "0000003c" || hex.EncodeToString(o[121]) != "18c000020a0a0009" {
			t.Error(a.Reply.Summary())
		}
	})
	t.Run("not asked for", func(t *testing.T) {
		a, _ := answerWith(t, "udhcpc-discover", opt("nis-domain", "x"), opt("ntp-server", "192.0.2.1"))
		if a.Reply.Options[40] != nil || a.Reply.Options[42] == nil {
			t.Error(a.Reply.Summary())
		}
	})
	t.Run("T1 not without a lease", func(t *testing.T) {
		a, _ := answerWith(t, "windows10-inform", opt("T1", "60"))
		if a.Reply.Options[58] != nil || a.Reply.Options[51] != nil {
			t.Error(a.Reply.Summary())
		}
	})
	t.Run("a bad one hurts nobody else", func(t *testing.T) {
		a, faults := answerWith(t, "dhclient-discover", opt("mtu", "large"), opt("ntp-server", "192.0.2.1"), opt("nonsense", "1"))
		if len(faults) != 2 || faults[0].PortID != "one" || faults[0].Name != "mtu" || !strings.Contains(faults[1].Error(), "nonsense") {
			t.Errorf("faults %v", faults)
		}
		if a.Reply == nil || a.Reply.Options[42] == nil || hex.EncodeToString(a.Reply.Options[26]) != "05aa" {
			t.Error(a.Reply.Summary())
		}
	})
}

func TestClientID(t *testing.T) {
	ask := func(extra string, id []byte, hw string) Reason {
		s := testServer()
		s.Leases[2].Extra = []model.DHCPOption{opt("client-id", extra)}
		tab := table(t, s)
		req := decode(t, readRequest(t, "unknown-client"))
		if hw != "" {
			m := mac(hw)
			req.ClientHWAddr = m[:]
		}
		if id != nil {
			req.Options[61] = id
		}
		_, why := Reply(req, tab)
		return why
	}
	for _, tt := range []struct {
		name, extra string
		id          []byte
		mac         string
		want        Reason
	}{
		{"octets", "01:52:54:00:aa", []byte{1, 0x52, 0x54, 0, 0xaa}, "", Offered},
		{"text", "node-7", []byte("node-7"), "", Offered},
		{"text after a type of 0", "node-7", []byte("\x00node-7"), "", Offered},
		{"other text", "node-7", []byte("node-8"), "", UnknownClient},
		{"none", "node-7", nil, "", UnknownClient},
		{"the MAC still does", "node-7", []byte("other"), "fa:16:3e:7b:71:0b", Offered},
	} {
		if got := ask(tt.extra, tt.id, tt.mac); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestSeveralAddresses(t *testing.T) {
	tab := table(t, testServer())
	ask := func(change func(*dhcpv4.DHCPv4)) Answer {
		req := decode(t, readRequest(t, "dhclient-discover"))
		m := mac("fa:16:3e:00:00:02")
		req.ClientHWAddr = m[:]
		change(req)
		return tab.Answer(req, new(dhcpv4.DHCPv4))
	}
	for _, tt := range []struct {
		name   string
		change func(*dhcpv4.DHCPv4)
		reason Reason
		addr   string
		server string
	}{
		{"the first of the port", func(*dhcpv4.DHCPv4) {}, Offered, "10.20.1.7", "10.20.0.2"},
		{"the relay's subnet", func(r *dhcpv4.DHCPv4) { r.GatewayIPAddr = []byte{10, 10, 0, 1} }, Offered, "10.10.0.7", "10.10.0.2"},
		{"link selection before giaddr", func(r *dhcpv4.DHCPv4) {
			r.GatewayIPAddr = []byte{192, 0, 2, 1}
			r.Options[82] = []byte{5, 4, 10, 10, 0, 0}
		}, Offered, "10.10.0.7", "10.10.0.2"},
		{"subnet selection", func(r *dhcpv4.DHCPv4) { r.Options[118] = []byte{10, 10, 0, 0} }, Offered, "10.10.0.7", "10.10.0.2"},
		{"remembers the second", func(r *dhcpv4.DHCPv4) { r.Options[53] = []byte{3}; r.Options[50] = []byte{10, 10, 0, 7} }, Rebooted, "10.10.0.7", "10.10.0.2"},
		{"uses the second", func(r *dhcpv4.DHCPv4) { r.Options[53] = []byte{3}; r.ClientIPAddr = []byte{10, 10, 0, 7} }, Renewed, "10.10.0.7", "10.10.0.2"},
		{"the other's address", func(r *dhcpv4.DHCPv4) { r.Options[53] = []byte{3}; r.Options[50] = []byte{10, 10, 0, 121} }, WrongAddress, "", "10.20.0.2"},
		{"selected under either identifier", func(r *dhcpv4.DHCPv4) {
			r.Options[53], r.Options[50], r.Options[54] = []byte{3}, []byte{10, 20, 1, 7}, []byte{10, 10, 0, 2}
		}, Selected, "10.20.1.7", "10.20.0.2"},
		{"identifier put in by the relay", func(r *dhcpv4.DHCPv4) {
			r.GatewayIPAddr = []byte{10, 10, 0, 1}
			r.Options[53], r.Options[50], r.Options[54] = []byte{3}, []byte{10, 10, 0, 7}, []byte{192, 0, 2, 9}
			r.Options[82] = []byte{11, 4, 192, 0, 2, 9}
		}, Selected, "10.10.0.7", "10.10.0.2"},
		{"no address at all", func(r *dhcpv4.DHCPv4) { r.Options[53] = []byte{3} }, NoAddressAsked, "", ""},
		{"odd lengths", func(r *dhcpv4.DHCPv4) { r.Options[53] = []byte{3}; r.Options[50] = []byte{10} }, NoAddressAsked, "", ""},
		{"odd server identifier", func(r *dhcpv4.DHCPv4) { r.Options[53] = []byte{3}; r.Options[54] = nil }, OtherServer, "", ""},
		{"a reply", func(r *dhcpv4.DHCPv4) { r.OpCode = 2 }, NotARequest, "", ""},
		{"an OFFER", func(r *dhcpv4.DHCPv4) { r.Options[53] = []byte{2} }, NotARequest, "", ""},
		{"Infiniband", func(r *dhcpv4.DHCPv4) { r.HWType = 32 }, NoMAC, "", ""},
	} {
		a := ask(tt.change)
		got := ""
		if a.Reply != nil && a.Reply.YourIPAddr != nil {
			got = a.Reply.YourIPAddr.String()
		}
		if a.Reason != tt.reason || got != tt.addr || tt.server != "" && a.Dest.Source != addr(tt.server) {
			t.Errorf("%s: %v %s from %v", tt.name, a.Reason, got, a.Dest.Source)
		}
	}
}

func TestAppendLimits(t *testing.T) {
	long := strings.Repeat("x", 200)
	many := []model.DHCPOption{opt("224", long), opt("225", long), opt("226", strings.Repeat("y", 60)), opt("227", strings.Repeat("z", 120))}
	// A client without a parameter request list gets everything.
	s := testServer()
	s.Leases[2].Extra = many
	req := decode(t, readRequest(t, "relay-discover"))
	delete(req.Options, 55)
	a := table(t, s).Answer(req, new(dhcpv4.DHCPv4))
	out, left := Append(nil, a.Reply, 548)
	if len(out) > 548 {
		t.Errorf("%d octets", len(out))
	}
	m := decode(t, out)
	if len(left) != 2 || left[0] != 224 || left[1] != 225 || len(m.Options[52]) != 1 || len(m.Options[227]) != 120 || len(m.Options[226]) != 60 || m.Options[82] == nil || m.Options[121] == nil {
		t.Errorf("left %v\n%s", left, m.Summary())
	}
	// With room, all of it, and a long option in parts.
	a.Reply.Options[228] = []byte(strings.Repeat("w", 400))
	out, left = Append([]byte("before"), a.Reply, 1472)
	m = decode(t, out[6:])
	if len(left) != 0 || len(m.Options[228]) != 400 || m.Options[52] != nil {
		t.Errorf("left %v\n%s", left, m.Summary())
	}
	if lib, err := dhcpv4.FromBytes(out[6:]); err != nil || len(lib.Options[228]) != 400 {
		t.Errorf("library: %v", err)
	}
}
