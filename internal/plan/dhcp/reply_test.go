package dhcp

import (
	"encoding/hex"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"weft/internal/model"
)

var update = flag.Bool("update", false, "write the golden files anew")

func addr(s string) netip.Addr     { return netip.MustParseAddr(s) }
func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func mac(s string) model.MAC {
	m, err := model.ParseMAC(s)
	if err != nil {
		panic(err)
	}
	return m
}

// testServer is a network with two subnets; the port of the recorded clients has an
// address on the first.
func testServer() Server {
	a := &Options{
		SubnetID: "a", Server: addr("10.10.0.2"), Prefix: prefix("10.10.0.0/24"), Gateway: addr("10.10.0.1"),
		DNS: []netip.Addr{addr("10.10.0.2")}, Domain: "openstacklocal", MTU: 1450, LeaseTime: 86400,
		Routes: []model.Route{
			{Destination: prefix("10.20.0.0/22"), NextHop: addr("0.0.0.0")},
			{Destination: prefix("169.254.169.254/32"), NextHop: addr("10.10.0.1")},
			{Destination: prefix("0.0.0.0/0"), NextHop: addr("10.10.0.1")},
		},
	}
	b := &Options{
		SubnetID: "b", Server: addr("10.20.0.2"), Prefix: prefix("10.20.0.0/22"),
		DNS: []netip.Addr{addr("192.0.2.53")}, Domain: "openstacklocal", MTU: 1450, LeaseTime: 86400,
	}
	return Server{
		NetworkID: "net", Namespace: "qdhcp-net", Device: "tapd677df3f-b5", MAC: mac("fa:16:3e:e4:05:e6"),
		Subnets: []*Options{a, b},
		Leases: []Lease{
			{PortID: "two", MAC: mac("fa:16:3e:00:00:02"), Addr: addr("10.20.1.7"), Hostname: "host-10-20-1-7", Subnet: b},
			{PortID: "two", MAC: mac("fa:16:3e:00:00:02"), Addr: addr("10.10.0.7"), Hostname: "host-10-10-0-7", Subnet: a},
			{PortID: "one", MAC: mac("fa:16:3e:7b:71:0b"), Addr: addr("10.10.0.121"), Hostname: "host-10-10-0-121", Subnet: a},
		},
	}
}

func table(t testing.TB, s Server) *Table {
	t.Helper()
	tab, faults := NewTable(s)
	for _, f := range faults {
		t.Errorf("option fault: %v", f)
	}
	return tab
}

func readRequest(t testing.TB, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name+".request"))
	if err != nil {
		t.Fatal(err)
	}
	var digits strings.Builder
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "#") {
			digits.WriteString(strings.TrimSpace(line))
		}
	}
	b, err := hex.DecodeString(digits.String())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func decode(t testing.TB, b []byte) *dhcpv4.DHCPv4 {
	t.Helper()
	m := new(dhcpv4.DHCPv4)
	if err := Decode(b, m); err != nil {
		t.Fatal(err)
	}
	return m
}

// render prints an answer: what was decided, the octets, and what the library reads in them.
func render(t *testing.T, a Answer) string {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "reason: %s\n", a.Reason)
	if a.Asked.IsValid() {
		fmt.Fprintf(&b, "asked:  %s\n", a.Asked)
	}
	if a.Reply == nil {
		return b.String() + "silence\n"
	}
	fmt.Fprintf(&b, "dest:   %s %s at %s from %s\n", [...]string{"client", "broadcast", "address", "relay"}[a.Dest.Way], a.Dest.Addr, a.Dest.MAC, a.Dest.Source)
	out, left := Append(nil, a.Reply, a.Limit)
	if len(left) > 0 {
		fmt.Fprintf(&b, "left:   %v\n", left)
	}
	if len(out) > a.Limit {
		t.Errorf("reply of %d octets, limit %d", len(out), a.Limit)
	}
	fmt.Fprintf(&b, "length: %d of %d\n", len(out), a.Limit)
	for i := 0; i < len(out); i += 32 {
		fmt.Fprintf(&b, "%x\n", out[i:min(i+32, len(out))])
	}
	m, err := dhcpv4.FromBytes(out)
	if err != nil {
		t.Fatalf("the library cannot read the reply: %v", err)
	}
	b.WriteString(m.Summary())
	return b.String()
}

func TestClients(t *testing.T) {
	files, err := filepath.Glob("testdata/*.request")
	if err != nil || len(files) == 0 {
		t.Fatal("no requests", err)
	}
	tab := table(t, testServer())
	for _, f := range files {
		name := strings.TrimSuffix(filepath.Base(f), ".request")
		t.Run(name, func(t *testing.T) {
			req := decode(t, readRequest(t, name))
			golden(t, name+".answer", render(t, tab.Answer(req, new(dhcpv4.DHCPv4))))
		})
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s: got:\n%s\nwant:\n%s", name, got, want)
	}
}
