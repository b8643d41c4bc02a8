package pipeline

import (
	"flag"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"weft/internal/lab/labtest"
	"weft/internal/model"
	"weft/internal/plan/view"
	"weft/internal/plan/vswitch"
)

var update = flag.Bool("update", false, "write the golden files anew")

var scenes = []struct {
	name     string
	world    *world
	settings Settings
}{
	{"empty", newWorld(), settings()},
	{"one", one(), settings()},
	{"kinds", kinds(), settings()},
	{"providers", providers(), mapped()},
	{"web", web(), settings()},
	{"stateless", stateless(), settings()},
	{"pairs", paired(), settings()},
	{"peers", peers(), settings()},
	{"distributed", distributed(), mapped()},
	{"userspace", peers(), userspace()},
}

func TestGolden(t *testing.T) {
	for _, s := range scenes {
		t.Run(s.name, func(t *testing.T) {
			got := Switch(s.world.view(), s.settings).String()
			file := filepath.Join("testdata", s.name+".flows")
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), got); d != "" {
				t.Errorf("the switch differs from %s (-want +got):\n%s", file, d)
			}
		})
	}
}

// TestAccepted feeds every flow of every golden file to ovs-ofctl: a golden can never be
// something that Open vSwitch refuses.
func TestAccepted(t *testing.T) {
	labtest.Require(t, "ovs")
	for _, s := range scenes {
		sw := Switch(s.world.view(), s.settings)
		for bridge, parts := range sw.Flows {
			flows := parts.All()
			var text strings.Builder
			for _, f := range flows {
				text.WriteString(f.String() + "\n")
			}
			cmd := exec.Command("ovs-ofctl", "-O", "OpenFlow14", "parse-flows", "-")
			cmd.Stdin = strings.NewReader(text.String())
			out, err := cmd.CombinedOutput()
			if n := strings.Count(string(out), "OFPT_FLOW_MOD"); err != nil || n != len(flows) {
				t.Errorf("%s, %s: %d flows of %d accepted: %v\n%s", s.name, bridge, n, len(flows), err, out)
			}
		}
	}
}

// TestSound holds for every switch of every world: flows are normal, pass Check, parse
// back, have keys of their own, our owner in the cookie, and go only forwards to tables that exist.
func TestSound(t *testing.T) {
	for _, s := range scenes {
		checkSound(t, Switch(s.world.view(), s.settings))
	}
}

func checkSound(t interface {
	Helper()
	Fatalf(string, ...any)
}, sw vswitch.Switch) {
	t.Helper()
	for bridge, parts := range sw.Flows {
		flows := parts.All()
		keys, tables := map[vswitch.Key]bool{}, map[uint8]bool{}
		for _, f := range flows {
			tables[f.Table] = true
		}
		for _, f := range flows {
			if err := f.Check(); err != nil {
				t.Fatalf("%s: %s: %v", bridge, f, err)
			}
			back, err := vswitch.ParseFlow(f.String())
			if err != nil || !back.Equal(f) {
				t.Fatalf("%s: %s reads back as %s: %v", bridge, f, back, err)
			}
			if keys[f.Key()] {
				t.Fatalf("%s: %s: there is another flow for that match", bridge, f)
			}
			keys[f.Key()] = true
			if owner, kind, _ := vswitch.SplitCookie(f.Cookie); owner != 0x3ef7 || kind == 0 || kind == vswitch.KindLearned {
				t.Fatalf("%s: %s: cookie is not ours", bridge, f)
			}
			if text := f.String(); strings.Contains(text, ",nd_") && !strings.Contains(text, ",icmp_code=0") {
				t.Fatalf("%s: %s: Open vSwitch does not tell the kernel of nd_* fields without a code", bridge, f)
			}
			for _, a := range f.Actions {
				if g, ok := a.(vswitch.GotoTable); ok && (g.Table <= f.Table || !tables[g.Table]) {
					t.Fatalf("%s: %s: no way from there", bridge, f)
				}
				if _, ok := a.(vswitch.Normal); ok && (bridge == "br-int" || bridge == "br-tun") {
					t.Fatalf("%s: %s: NORMAL would deliver to ports that are not in the view", bridge, f)
				}
			}
		}
	}
}

// TestAnyWorld holds Switch to its word for views of all sorts, dangling and clashing.
func TestAnyWorld(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld()
		segments := rapid.SampledFrom([]model.Segment{
			{Type: model.SegmentVXLAN, ID: 7}, {Type: model.SegmentVLAN, Physical: "physnet1", ID: 9},
			{Type: model.SegmentFlat, Physical: "physnet1"}, {Type: model.SegmentVLAN, Physical: "none", ID: 9}, {},
		})
		for _, id := range []model.NetworkID{netA, netB, "short"} {
			w.network(id, segments.Draw(t, "segment"))
			w.vlans[id] = view.LocalVLAN(rapid.IntRange(0, 3).Draw(t, "vlan")) // 0: none left; equal ones clash
		}
		ids := []model.PortID{dhcpA, vm1, vm2, vm3, "x", ""}
		for _, id := range ids {
			p := w.port(id, rapid.SampledFrom([]model.NetworkID{netA, netB, "short", "gone"}).Draw(t, "net"),
				rapid.SampledFrom([]string{"10.0.0.1", "10.0.0.2", "fe80::1", "::ffff:10.0.0.3"}).Draw(t, "addr"), 0)
			p.AdminStateUp = rapid.Bool().Draw(t, "up")
			p.PortSecurity = rapid.Bool().Draw(t, "secure")
			p.DeviceOwner = rapid.SampledFrom([]string{"", model.OwnerDHCP, model.OwnerRouterInterface}).Draw(t, "owner")
			for range rapid.IntRange(0, 2).Draw(t, "pairs") {
				pair := model.AddressPair{MAC: model.MAC{5: rapid.Byte().Draw(t, "mac")}}
				pair.Prefix, _ = netip.ParsePrefix(rapid.SampledFrom([]string{"0.0.0.0/0", "10.0.0.1/8", "::/0", "::ffff:10.0.0.0/104", ""}).Draw(t, "prefix"))
				p.AddressPairs = append(p.AddressPairs, pair)
			}
			w.at = append(w.at, view.Attachment{PortID: id, Device: "tap" + string(id), OFPort: view.OFPort(rapid.IntRange(0, 8).Draw(t, "ofport"))})
		}
		want := Switch(w.view(), mapped())
		checkSound(t, want)
		w.at = rapid.Permutation(w.at).Draw(t, "order")
		if got := Switch(w.view(), mapped()); !reflect.DeepEqual(got, want) {
			t.Fatalf("order matters:\n%s", cmp.Diff(want.String(), got.String()))
		}
	})
}

// TestDocument keeps the samples of docs/pipeline.md in step. A fenced block that begins
// with "flows SCENE BRIDGE TABLE" holds the flows of that table; -update writes it anew.
func TestDocument(t *testing.T) {
	file := filepath.Join("..", "..", "..", "docs", "pipeline.md")
	doc, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?ms)^```flows (\\S+) (\\S+) (\\d+)\n(.*?)^```$")
	n := 0
	fresh := block.ReplaceAllStringFunc(string(doc), func(s string) string {
		n++
		m := block.FindStringSubmatch(s)
		return "```flows " + strings.Join(m[1:4], " ") + "\n" + sample(t, m[1], m[2], m[3]) + "```"
	})
	if *update {
		if err := os.WriteFile(file, []byte(fresh), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if d := cmp.Diff(string(doc), fresh); d != "" {
		t.Errorf("%s is out of step; run with -update (-is +should be):\n%s", file, d)
	}
	for table := range IntTables() {
		if !strings.Contains(fresh, sectionOf("br-int", table)) {
			t.Errorf("%s has no section %q", file, sectionOf("br-int", table))
		}
	}
	for table := range TunTables() {
		if !strings.Contains(fresh, sectionOf("br-tun", table)) {
			t.Errorf("%s has no section %q", file, sectionOf("br-tun", table))
		}
	}
	if n < 10 {
		t.Errorf("%s has only %d samples", file, n)
	}
}

func sectionOf(bridge string, table uint8) string {
	names := IntTables()
	if bridge == "br-tun" {
		names = TunTables()
	}
	return "\n### " + bridge + " " + strconv.Itoa(int(table)) + " " + names[table] + "\n"
}

// sample is a table of a scene without cookies, which would only make it wide.
func sample(t *testing.T, scene, bridge, table string) string {
	for _, s := range scenes {
		if s.name != scene {
			continue
		}
		out := ""
		for _, f := range Switch(s.world.view(), s.settings).Flows[bridge].All() {
			if strconv.Itoa(int(f.Table)) == table {
				f.Cookie = 0
				out += f.String() + "\n"
			}
		}
		return out
	}
	t.Errorf("no scene %q", scene)
	return ""
}

// TestManyPorts: a network of more ports than a flow can list is spread over several.
func TestManyPorts(t *testing.T) {
	w := crowd(7000)
	sw := Switch(w.view(), settings())
	parts, reached := map[string]int{}, map[uint32]int{}
	for _, f := range sw.Flows["br-int"].All() {
		if f.Table != Delivery || f.Priority != 20 {
			continue
		}
		parts[vswitch.MatchString(f.Match)] = len(f.Actions)
		for _, a := range f.Actions {
			if o, ok := a.(vswitch.Output); ok {
				reached[o.Port]++
			}
		}
	}
	const all = ",dl_dst=01:00:00:00:00:00/01:00:00:00:00:00"
	want := map[string]int{"reg3=0,reg4=0x2,reg6=0x1" + all: 3}
	for part, n := range map[string]int{"0": 3002, "0x1": 3002, "0x2": 1003} {
		want["reg3="+part+",reg4=0x1,reg6=0x1"+all] = n
	}
	for _, ip := range []string{"ip", "ipv6"} {
		for part, n := range map[string]int{"0": 2002, "0x1": 2002, "0x2": 2002, "0x3": 2002, "0x4": 2002, "0x5": 2002, "0x6": 2003} {
			want[ip+",reg3="+part+",reg4=0x3,reg6=0x1"+all] = n
		}
	}
	if d := cmp.Diff(want, parts); d != "" {
		t.Error(d)
	}
	if len(reached) != 7001 || reached[OFPatchTun] != 4 {
		t.Errorf("%d ports are reached", len(reached))
	}
}

// TestMemory: a switch made with what is remembered of others is the one made without, and
// what is the same is the same pointer.
func TestMemory(t *testing.T) {
	var m Memory
	w := kinds()
	first := m.Switch(w.view(), settings())
	again := m.Switch(w.view(), settings())
	if !slices.Equal(first.Flows["br-int"], again.Flows["br-int"]) {
		t.Error("parts of the same view differ")
	}
	for _, change := range []func(){
		func() { p := *w.Ports[vm1]; p.AdminStateUp = false; w.Ports[vm1] = &p },
		func() { w.join(defaultGroup(), vm2) },
		func() { w.at = w.at[1:] },
		func() { w.join(&view.SecurityGroup{ID: grpOpen}) },
		func() { w.vlans[netA] = 9 },
		func() { w.Ports[vm1] = &model.Port{ID: vm1, NetworkID: netA} },
		func() {
			p := *w.Ports[dhcpA]
			p.Binding = model.Binding{VIFType: model.VIFDistributed}
			w.Ports[dhcpA] = &p
		},
	} {
		change()
		got, want := m.Switch(w.view(), settings()), Switch(w.view(), settings())
		if d := cmp.Diff(want.String(), got.String()); d != "" {
			t.Error(d)
		}
	}
	if got, want := m.Switch(w.view(), mapped()).String(), Switch(w.view(), mapped()).String(); got != want {
		t.Error("other settings are not noticed")
	}
}

func BenchmarkSwitch1000(b *testing.B) {
	w := crowd(1000)
	for b.Loop() {
		Switch(view.Of(w.Cloud, w.at, "host1", w.vlans), settings())
	}
}
