package doctor

import (
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weft/internal/model"
	"weft/internal/trace"
)

var update = flag.Bool("update", false, "rewrite golden files")

var now = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

// answered is who answered within 20 ms.
var answered = Answer{Sent: now.Add(-time.Second), Received: now.Add(-980 * time.Millisecond)}

func controllers(target string, connected bool) []Target {
	return []Target{{Target: target, Connected: connected}}
}

// well is a cloud in which all is well: three servers and two hosts.
func well() Facts {
	f := Facts{Now: now, Version: "weft 0.1.0 (0123456789ab) go1.26.8 linux/amd64", PhysicalMTU: 1500, Store: &Store{}}
	for _, name := range []string{"s1", "s2", "s3"} {
		f.Servers = append(f.Servers, Server{Name: name, Answer: answered, ServerFacts: ServerFacts{
			At: now.Add(-990 * time.Millisecond), Version: "weft 0.1.0 (0123456789ab) go1.26.8 linux/arm64",
			Etcd: Etcd{Embedded: true, Endpoints: []Endpoint{{Version: "3.7.3", Leader: 1, Size: 20 << 20, InUse: 4 << 20, Quota: 4 << 30}},
				Members: []Member{{Name: "s1", Leader: true}, {Name: "s2"}, {Name: "s3"}}, Commit: 2 * time.Millisecond, WorstCommit: 5 * time.Millisecond},
			Disk: &Disk{Path: "/var/lib/weft", Sync: 800 * time.Microsecond, WorstSync: 2 * time.Millisecond, Free: 30 << 30, Size: 40 << 30},
			Certificates: []Certificate{{Name: "of the server", Since: now.Add(-48 * time.Hour), Until: now.Add(88 * 24 * time.Hour),
				Due: now.Add(58 * 24 * time.Hour)}},
		}})
	}
	wanted := []Bridge{{Name: "br-int", Datapath: "system", FailMode: "secure", Controllers: controllers("tcp:127.0.0.1:6633", false)}}
	for i, name := range []model.HostName{"compute-0", "network"} {
		f.Hosts = append(f.Hosts, Host{Name: name, State: "up", Answer: answered,
			Record: &model.Host{Name: name, AgentVersion: "weft 0.1.0 (0123456789ab) go1.26.7 linux/amd64", VTEP: netip.AddrFrom4([4]byte{10, 0, 0, byte(11 + i)}), CertificateUntil: now.Add(80 * 24 * time.Hour)},
			HostFacts: HostFacts{At: now.Add(-990 * time.Millisecond), Feed: trace.Feed{InSync: true}, Wanted: wanted, Manager: "ptcp:6640:127.0.0.1",
				VTEP: "10.0.0.11", NeedMTU: 1500, Overhead: 50,
				Machine: Machine{
					Switch: Switch{Connected: true, Version: "3.1.0", Running: "3.1.0", Lookups: 1000000, Lost: 1, Managers: controllers("ptcp:6640:127.0.0.1", true),
						Bridges: []Bridge{{Name: "br-phys", Datapath: "system"},
							{Name: "br-int", Datapath: "system", FailMode: "secure", Controllers: controllers("tcp:127.0.0.1:6633", true), Connected: true}}},
					Kernel:   Kernel{Release: "6.1.0-18-amd64", Connections: 1000, MaxConnections: 262144, Neighbours: 3, MaxNeighbours: 1024},
					Underlay: &Device{Name: "br-phys", MTU: 1500, ReversePath: 2},
				}}})
	}
	return f
}

func TestWell(t *testing.T) {
	r := Examine(well())
	if r.Verdict != trace.OK {
		t.Errorf("it is %s", r.Verdict)
	}
	golden(t, "well.txt", printed(t, r, true))
	if got := printed(t, r, false); strings.Count(got, "\n") != 1 || !strings.HasPrefix(got, "OK: 0 broken") {
		t.Errorf("without --all it is %q", got)
	}
}

func server(f *Facts) *Server { return &f.Servers[0] }

func host(f *Facts) *Host { return &f.Hosts[0] }

var (
	inUse    = Leftover{Kind: KindTap, Name: "tap22222222-33", Object: "22222222-33", Use: "qemu-system-x86, process 77, holds it"}
	idle     = Leftover{Kind: KindPort, Name: "tap11111111-22", Bridge: "br-int", Object: "11111111-2222-4333-8444-555555555555"}
	netspace = Leftover{Kind: KindNamespace, Name: "qdhcp-11111111-2222-4333-8444-555555555555", Object: "11111111-2222-4333-8444-555555555555"}
)

// findings are troubles, each alone.
var findings = []struct {
	what string
	want trace.Verdict
	do   func(f *Facts)
}{
	{"an address held twice", trace.Broken, func(f *Facts) {
		f.Store.Broken = []string{"port/p2: its address 10.0.0.5 is held by \"p1\""}
	}},
	{"the store cannot be read", trace.Unknown, func(f *Facts) { f.Store.Unchecked = "read the store: context deadline exceeded" }},
	{"a tunnel address twice", trace.Broken, func(f *Facts) { host(f).Record.VTEP = f.Hosts[1].Record.VTEP }},
	{"an old agent", trace.Warning, func(f *Facts) { host(f).Record.AgentVersion = "weft 0.0.9 go1.26.8 linux/amd64" }},
	{"a silent server", trace.Unknown, func(f *Facts) { server(f).Silence = "it does not run, or reaches no etcd" }},
	{"a server's clock", trace.Broken, func(f *Facts) { server(f).At = server(f).At.Add(-40 * time.Second) }},
	{"no etcd", trace.Broken, func(f *Facts) {
		server(f).Etcd.Error, server(f).Etcd.Endpoints[0].Leader = "it did not answer in time", 0
	}},
	{"an etcd that catches up", trace.Warning, func(f *Facts) { server(f).Etcd.Endpoints[0].Learner = true }},
	{"an etcd that is behind", trace.Warning, func(f *Facts) { server(f).Etcd.Endpoints[0].Behind = 6000 }},
	{"an outside etcd is down", trace.Broken, func(f *Facts) {
		server(f).Etcd.Embedded = false
		server(f).Etcd.Endpoints[0] = Endpoint{URL: "https://10.0.0.9:2379", Error: "connection refused"}
	}},
	{"a store nearly full", trace.Warning, func(f *Facts) { server(f).Etcd.Endpoints[0].Size = 3300 << 20 }},
	{"a full store", trace.Broken, func(f *Facts) {
		server(f).Etcd.Endpoints[0].Size = 4 << 30
		server(f).Etcd.Alarms = []string{"NOSPACE (member 1)"}
	}},
	{"a corrupt member", trace.Broken, func(f *Facts) { server(f).Etcd.Alarms = []string{"CORRUPT (member 1)"} }},
	{"a slow disk", trace.Warning, func(f *Facts) {
		server(f).Disk.Sync, server(f).Disk.WorstSync = 60*time.Millisecond, 90*time.Millisecond
	}},
	{"a very slow disk", trace.Broken, func(f *Facts) {
		server(f).Disk.Sync, server(f).Disk.WorstSync = 400*time.Millisecond, time.Second
		server(f).Etcd.Commit, server(f).Etcd.WorstCommit = 600*time.Millisecond, 2*time.Second
	}},
	{"slow commits", trace.Warning, func(f *Facts) {
		server(f).Etcd.Commit, server(f).Etcd.WorstCommit = 150*time.Millisecond, 300*time.Millisecond
	}},
	{"little room", trace.Warning, func(f *Facts) { server(f).Disk.Free = 1 << 30 }},
	{"no room", trace.Broken, func(f *Facts) { server(f).Disk.Free = 10 << 20 }},
	{"two servers", trace.Warning, func(f *Facts) {
		f.Servers = f.Servers[:1]
		server(f).Etcd.Members = server(f).Etcd.Members[:2]
	}},
	{"four servers", trace.Warning, func(f *Facts) {
		f.Servers = f.Servers[:1]
		server(f).Etcd.Members = append(server(f).Etcd.Members, Member{Name: "s4"})
	}},
	{"a server that never came", trace.Warning, func(f *Facts) {
		server(f).Etcd.Members = append(server(f).Etcd.Members, Member{Learner: true})
	}},
	{"a certificate not renewed", trace.Warning, func(f *Facts) {
		server(f).Certificates[0].Until, server(f).Certificates[0].Due = now.Add(20*24*time.Hour), now.Add(-10*24*time.Hour)
	}},
	{"a certificate run out", trace.Broken, func(f *Facts) { server(f).Certificates[0].Until = now.Add(-time.Hour) }},
	{"a certificate of the future", trace.Broken, func(f *Facts) { server(f).Certificates[0].Since = now.Add(time.Hour) }},
	{"something unseen", trace.Unknown, func(f *Facts) { server(f).Gaps = []string{"the disk: permission denied"} }},
	{"a silent host", trace.Unknown, func(f *Facts) { host(f).Silence = "it is not connected to any server" }},
	{"a host that never came", trace.Warning, func(f *Facts) { host(f).Silence, host(f).State = "it is not connected to any server", "awaited" }},
	{"a host's certificate run out", trace.Broken, func(f *Facts) {
		host(f).Record.CertificateUntil, host(f).Silence = now.Add(-time.Minute), "it is not connected to any server"
	}},
	{"a host's clock a little off", trace.Warning, func(f *Facts) { host(f).At = host(f).At.Add(3 * time.Second) }},
	{"a host's clock far off", trace.Broken, func(f *Facts) { host(f).At = host(f).At.Add(2 * time.Hour) }},
	{"a slow answer is no skew", trace.OK, func(f *Facts) {
		host(f).Sent, host(f).Received, host(f).At = now.Add(-4*time.Second), now, now
	}},
	{"not in step", trace.Broken, func(f *Facts) { host(f).Feed = trace.Feed{Error: "connection refused"} }},
	{"no database", trace.Broken, func(f *Facts) { host(f).Switch = Switch{Silence: "no such file or directory"} }},
	{"an empty database", trace.Broken, func(f *Facts) { host(f).Switch.Empty = true }},
	{"a dead switch", trace.Broken, func(f *Facts) { host(f).Switch.Silence, host(f).Switch.Running = "connection refused", "" }},
	{"an upgrade without a restart", trace.Warning, func(f *Facts) { host(f).Switch.Version = "3.3.0" }},
	{"an old switch", trace.Warning, func(f *Facts) { host(f).Switch.Version, host(f).Switch.Running = "2.13.8", "2.13.8" }},
	{"lost packets", trace.Warning, func(f *Facts) { host(f).Switch.Lost = 5000 }},
	{"an interface that cannot work", trace.Warning, func(f *Facts) {
		host(f).Switch.Failed = map[string]string{"tap11111111-22": "could not open network device tap11111111-22 (No such device)"}
	}},
	{"a bridge is missing", trace.Broken, func(f *Facts) { host(f).Switch.Bridges = host(f).Switch.Bridges[:1] }},
	{"another fail mode", trace.Broken, func(f *Facts) { host(f).Switch.Bridges[1].FailMode = "" }},
	{"another datapath", trace.Broken, func(f *Facts) { host(f).Switch.Bridges[1].Datapath = "netdev" }},
	{"a bridge without its agent", trace.Broken, func(f *Facts) { host(f).Switch.Bridges[1].Connected = false }},
	{"a second controller", trace.Broken, func(f *Facts) {
		br := &host(f).Switch.Bridges[1]
		br.Controllers = append(br.Controllers, Target{"tcp:10.9.9.9:6653", true})
	}},
	{"a controller of the underlay", trace.Warning, func(f *Facts) { host(f).Switch.Bridges[0].Controllers = controllers("tcp:10.9.9.9:6653", true) }},
	{"a controller of the underlay away, secure", trace.Broken, func(f *Facts) {
		host(f).Switch.Bridges[0].Controllers, host(f).Switch.Bridges[0].FailMode = controllers("tcp:10.9.9.9:6653", false), "secure"
	}},
	{"a controller of the underlay away", trace.Warning, func(f *Facts) { host(f).Switch.Bridges[0].Controllers = controllers("tcp:10.9.9.9:6653", false) }},
	{"an open manager", trace.Broken, func(f *Facts) { host(f).Switch.Managers = controllers("ptcp:6640", false) }},
	{"a foreign manager", trace.Warning, func(f *Facts) { host(f).Switch.Managers = controllers("tcp:10.9.9.9:6640", true) }},
	{"a local manager", trace.OK, func(f *Facts) { host(f).Switch.Managers = controllers("ptcp:6641:127.0.0.1", true) }},
	{"OVN", trace.Warning, func(f *Facts) { host(f).Switch.OVN = "tcp:10.9.9.9:6642" }},
	{"Neutron's agent", trace.Broken, func(f *Facts) { host(f).Kernel.Rivals = []Process{{4711, "neutron-openvswitch-agent"}} }},
	{"no tunnel_ip", trace.Broken, func(f *Facts) { host(f).VTEP, host(f).Shared = "", 2 }},
	{"no tunnel_ip, and no need of one", trace.OK, func(f *Facts) { host(f).VTEP = "" }},
	{"nobody has the tunnel address", trace.Broken, func(f *Facts) { host(f).Underlay = &Device{} }},
	{"a small MTU", trace.Broken, func(f *Facts) { host(f).Underlay.MTU = 1400 }},
	{"an MTU smaller than promised", trace.Warning, func(f *Facts) { host(f).Underlay.MTU, host(f).NeedMTU = 1450, 0 }},
	{"another route", trace.Warning, func(f *Facts) { host(f).Underlay.Elsewhere = []string{"10.0.0.12 (eth0)"} }},
	{"another route, and rp_filter", trace.Broken, func(f *Facts) {
		host(f).Underlay.Elsewhere, host(f).Underlay.ReversePath = []string{"10.0.0.12 (eth0)"}, 1
	}},
	{"another route, by IPv6", trace.Warning, func(f *Facts) {
		host(f).VTEP, host(f).Underlay.Elsewhere = "fd00:10::11", []string{"fd00:10::12 (eth0)"}
	}},
	{"an MTU too small for IPv6", trace.Broken, func(f *Facts) {
		host(f).VTEP, host(f).NeedMTU, host(f).Overhead = "fd00:10::11", 1520, 70
	}},
	{"many IPv6 neighbours", trace.Warning, func(f *Facts) { host(f).VTEP, host(f).Kernel.Neighbours = "fd00:10::11", 900 }},
	{"a missing module", trace.Broken, func(f *Facts) { host(f).Kernel.Missing = []string{"openvswitch"} }},
	{"many neighbours", trace.Warning, func(f *Facts) { host(f).Kernel.Neighbours = 900 }},
	{"too many neighbours once", trace.Warning, func(f *Facts) { host(f).Kernel.FullNeighbours = 17 }},
	{"conntrack nearly full", trace.Warning, func(f *Facts) { host(f).Kernel.Connections = 210000 }},
	{"conntrack full", trace.Broken, func(f *Facts) { host(f).Kernel.Connections = 262144 }},
	{"a fault", trace.Broken, func(f *Facts) {
		host(f).Faults = []trace.Fault{{Object: "port tap11111111-22", Op: "make", Error: "no such device", Since: now.Add(-time.Hour), Tries: 240}}
	}},
	{"somebody changed a controller", trace.Warning, func(f *Facts) {
		host(f).Repairs = []trace.Repair{{Kind: "bridge", Bridge: "br-int", Found: "controller tcp:10.9.9.9:6653", Set: "controller tcp:127.0.0.1:6633", At: now.Add(-time.Minute), Times: 1}}
	}},
	{"somebody keeps changing a tag", trace.Broken, func(f *Facts) {
		host(f).Repairs = []trace.Repair{{Kind: "port", Bridge: "br-int", Name: "tap11111111-22", Found: "tag 999", Set: "tag 3", At: now, Times: 9, Lately: 5}}
	}},
	{"somebody removed an address in a namespace", trace.Warning, func(f *Facts) {
		host(f).Repairs = []trace.Repair{{Kind: "namespace", Name: "qdhcp-11111111-2222-3333-4444-555555555555/tap11111111-22", Found: "no address 10.70.0.2/24", Set: "address 10.70.0.2/24 there", At: now, Times: 2, Lately: 1}}
	}},
	{"something left over", trace.Warning, func(f *Facts) { host(f).Leftovers = []Leftover{idle, netspace} }},
	{"something left over in use", trace.Warning, func(f *Facts) { host(f).Leftovers = []Leftover{inUse} }},
}

// TestFindings: each trouble alone makes its findings and no others.
func TestFindings(t *testing.T) {
	var b strings.Builder
	for _, c := range findings {
		f := well()
		c.do(&f)
		r := Examine(f)
		if r.Verdict != c.want {
			t.Errorf("%s: %s, want %s", c.what, r.Verdict, c.want)
		}
		for _, g := range r.Groups {
			for _, k := range g.Checks {
				if (k.Verdict == trace.Broken || k.Verdict == trace.Warning) && k.Do == "" {
					t.Errorf("%s: nothing to do is said of %q", c.what, k.Text)
				}
			}
		}
		text := printed(t, r, false)
		sum := strings.LastIndexByte(text[:len(text)-1], '\n') + 1 // how much is well is no matter here
		b.WriteString("== " + c.what + ": " + string(r.Verdict) + "\n" + text[:sum])
	}
	golden(t, "findings.txt", b.String())
}

// TestSomeHosts: who asks about hosts is told nothing of servers.
func TestSomeHosts(t *testing.T) {
	f := well()
	f.Store, f.Servers, f.Hosts = nil, nil, f.Hosts[:1]
	if r := Examine(f); len(r.Groups) != 1 || r.Groups[0].Name != "compute-0" || r.Verdict != trace.OK {
		t.Errorf("%+v", r)
	}
}

func printed(t *testing.T, r Report, all bool) string {
	t.Helper()
	var b strings.Builder
	if err := r.Print(&b, all); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (go test -update rewrites it):\n%s", file, got)
	}
}
