package host

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"testing"

	"weft/internal/host/dhcpd"
	"weft/internal/host/kernel"
	"weft/internal/host/ovs"
	"weft/internal/host/repairs"
	"weft/internal/model"
	"weft/internal/plan"
	"weft/internal/plan/dhcp"
	"weft/internal/plan/netns"
	"weft/internal/plan/view"
	"weft/internal/plan/vif"
	"weft/internal/plan/vswitch"
)

// machine is a switch, a kernel and a responder that remember what they were given, and
// of which the n-th operation fails. Real ones cannot be made to fail on demand; they
// are tested in their own packages and, together, in package agent.
type machine struct {
	mu          sync.Mutex // held during one Apply: switch and namespaces are done side by side
	ops, failAt int
	log         []string
	sw          vswitch.Switch
	made        map[string]bool // devices that the switch has made
	lost        map[string]bool // of those, the ones that are gone without its notice
	spaces      map[string]bool
	services    map[model.NetworkID]int
	attached    []view.Attachment
	resyncs     int
	swept       int
	changed     chan struct{}
}

func newFake() *machine {
	return &machine{failAt: -1, made: map[string]bool{}, lost: map[string]bool{}, spaces: map[string]bool{}, services: map[model.NetworkID]int{}, changed: make(chan struct{}, 1)}
}

var errInjected = errors.New("injected")

func (m *machine) op(name string) error {
	m.ops++
	m.log = append(m.log, name)
	if m.ops-1 == m.failAt {
		return errInjected
	}
	return nil
}

type fakeSwitch struct{ *machine }

func (m fakeSwitch) Apply(_ context.Context, want vswitch.Switch) (faults []ovs.Fault) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, b := range want.Bridges {
		if err := m.op("bridge " + b.Name); err != nil {
			faults = append(faults, ovs.Fault{Object: "bridge " + b.Name, Op: "create", Err: err})
			continue
		}
		for _, p := range b.Ports {
			if err := m.op("port " + p.Name); err != nil {
				faults = append(faults, ovs.Fault{Object: "port " + p.Name, Op: "create", Err: err})
				continue
			}
			m.made[p.Name] = true
		}
		for _, f := range want.Flows[b.Name].All() {
			if _, kind, _ := vswitch.SplitCookie(f.Cookie); kind != vswitch.KindPort {
				continue
			}
			if err := m.op("flow"); err != nil {
				faults = append(faults, ovs.Fault{Object: "flow x of bridge " + b.Name, Op: "add", Err: err, Cookie: f.Cookie})
			}
		}
	}
	m.sw = want
	return faults
}

func (m fakeSwitch) Observe() ovs.Observation {
	ports := []ovs.Port{{Name: "tapx", OtherConfig: map[string]string{"net_uuid": "n"}}}
	for name := range m.made {
		ports = append(ports, ovs.Port{Name: name, Ours: true, OFPort: 9})
	}
	return ovs.Observation{Known: true, Connected: true, Attachments: m.attached, Bridges: []ovs.Bridge{{Name: "br-int",
		Connected: true, InSync: true, Ports: ports}}}
}
func (m fakeSwitch) Survey(context.Context) ovs.Survey        { return ovs.Survey{} }
func (m fakeSwitch) VIFs() []ovs.VIF                          { return nil }
func (m fakeSwitch) RemoveVIF(context.Context, ovs.VIF) error { return nil }
func (m fakeSwitch) Changed() <-chan struct{}                 { return m.changed }
func (m fakeSwitch) Resync(context.Context) []ovs.Fault       { m.resyncs++; return nil }
func (m fakeSwitch) ForgetPort(_ context.Context, _, name string) error {
	delete(m.lost, name)
	delete(m.made, name)
	return m.op("forget " + name)
}
func (m fakeSwitch) DumpFlows(context.Context, string, uint64, uint64) ([]vswitch.Counted, int, error) {
	return nil, 0, errInjected
}
func (m fakeSwitch) Repairs() []repairs.Repair                                  { return nil }
func (m fakeSwitch) Drops(context.Context, string) ([]ovs.Drop, error)          { return nil, errInjected }
func (m fakeSwitch) Settings(context.Context, ...string) ([]ovs.Setting, error) { return nil, nil }
func (m fakeSwitch) Foreign(context.Context, string, uint16, []uint64) ([]ovs.Foreign, error) {
	return nil, errInjected
}
func (m fakeSwitch) Send(context.Context, string, uint32, []byte) error { return nil }
func (m fakeSwitch) Sources(context.Context, string, model.MAC, []netip.Addr) ([]ovs.Source, error) {
	return nil, errInjected
}
func (m fakeSwitch) Alive(context.Context) (database, vswitchd error) { return nil, nil }
func (m fakeSwitch) Trace(context.Context, string, string, ...string) (string, error) {
	return "", errInjected
}
func (m fakeSwitch) TryTunnels(context.Context, ovs.Trial) (map[uint32][]ovs.Tried, map[uint32]ovs.Counters, error) {
	return nil, nil, errInjected
}

func (m fakeSwitch) FlushZones(context.Context, string, []uint16) error { return nil }

type fakeKernel struct{ *machine }

func (m fakeKernel) Underlay() (u kernel.Underlay, known bool) { return u, false }

func (m fakeKernel) Changed() <-chan struct{}  { return nil }
func (m fakeKernel) Repairs() []repairs.Repair { return nil }
func (m fakeKernel) Apply(_ context.Context, want []netns.Namespace, e kernel.Extent) (faults []kernel.Fault) {
	m.mu.Lock()
	defer m.mu.Unlock()
	wanted := map[string]bool{}
	for _, n := range want {
		wanted[n.Name] = true
		for _, l := range n.Links {
			if !m.made[l.Name] || m.lost[l.Name] {
				faults = append(faults, kernel.Fault{Object: n.Name + "/" + l.Name, Op: "place link", Err: kernel.ErrNoDevice})
				continue
			}
			if m.spaces[n.Name] {
				continue
			}
			if err := m.op("namespace"); err != nil {
				faults = append(faults, kernel.Fault{Object: n.Name, Op: "create namespace", Err: err})
				continue
			}
			m.spaces[n.Name] = true
		}
	}
	if e.InSync {
		m.swept++
		for n := range m.spaces {
			if !wanted[n] {
				delete(m.spaces, n)
			}
		}
	}
	return faults
}

type fakeDHCP struct{ *machine }

func (m fakeDHCP) Apply(_ context.Context, want []dhcp.Server) (faults []dhcpd.Fault) {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.services)
	for _, s := range want {
		err := error(nil)
		if !m.spaces[s.Namespace] {
			err = errors.New("no namespace")
		} else {
			err = m.op("serve")
		}
		if err != nil {
			faults = append(faults, dhcpd.Fault{Object: s.Namespace, NetworkID: s.NetworkID, Op: "serve DHCP", Err: err})
			continue
		}
		m.services[s.NetworkID] = len(s.Leases)
	}
	return faults
}
func (m fakeDHCP) Serving(id model.NetworkID) bool            { _, ok := m.services[id]; return ok }
func (m fakeDHCP) Changed() <-chan struct{}                   { return nil }
func (m fakeDHCP) History(model.PortID) []dhcpd.Transaction   { return nil }
func (m fakeDHCP) Seen(model.NetworkID, model.MAC) dhcpd.Seen { return dhcpd.Seen{} }
func (m fakeDHCP) Hears(context.Context, model.NetworkID, func([]byte) error) error {
	return nil
}
func (m fakeDHCP) Heard() <-chan struct{} { return nil }

func (m *machine) host() *Host {
	return New(Parts{Switch: fakeSwitch{m}, Kernel: fakeKernel{m}, DHCP: fakeDHCP{m}, IntegrationBridge: "br-int"})
}

const network, dhcpPort, vmPort = "11111111-0000-4000-8000-000000000001", "22222222-0000-4000-8000-000000000002", "33333333-0000-4000-8000-000000000003"

func somePlan(m *machine) plan.Plan {
	addr := func(s string) []model.FixedIP { return []model.FixedIP{{SubnetID: "s", Addr: netip.MustParseAddr(s)}} }
	c := view.Cloud{
		Networks: map[model.NetworkID]*model.Network{network: {ID: network, AdminStateUp: true, MTU: 1450, Segment: model.Segment{Type: model.SegmentVXLAN, ID: 7}}},
		Subnets:  map[model.SubnetID]*model.Subnet{"s": {ID: "s", NetworkID: network, CIDR: netip.MustParsePrefix("10.0.0.0/24"), EnableDHCP: true}},
		Ports: map[model.PortID]*model.Port{
			dhcpPort: {ID: dhcpPort, NetworkID: network, AdminStateUp: true, DeviceOwner: model.OwnerDHCP, FixedIPs: addr("10.0.0.2"), Binding: model.Binding{Host: "h", VIFType: model.VIFOVS}},
			vmPort:   {ID: vmPort, NetworkID: network, AdminStateUp: true, FixedIPs: addr("10.0.0.3"), Binding: model.Binding{Host: "h", VIFType: model.VIFOVS}},
		},
	}
	m.attached = []view.Attachment{{PortID: vmPort, Device: vif.TapName(vmPort), OFPort: 5}}
	return plan.Make(view.Of(c, m.attached, "h", map[model.NetworkID]view.LocalVLAN{network: 1}), plan.Defaults())
}

func TestApplyOrderAndSweep(t *testing.T) {
	m := newFake()
	h, p := m.host(), somePlan(m)
	m.spaces["qdhcp-old"] = true
	if faults, _ := h.Apply(t.Context(), p, Options{}); len(faults) != 0 {
		t.Fatalf("faults %v", faults)
	}
	if m.spaces["qdhcp-old"] || m.swept != 1 || m.services[network] != 1 {
		t.Errorf("namespaces %v, swept %d, services %v", m.spaces, m.swept, m.services)
	}
	// The device must be there before the namespace can hold it, and that before DHCP listens.
	order := []string{"port " + vif.TapName(dhcpPort), "namespace", "serve"}
	at := -1
	for _, o := range order {
		i := slices.Index(m.log, o)
		if i <= at {
			t.Fatalf("order %v", m.log)
		}
		at = i
	}
	// The same again changes nothing and looks into no other namespace.
	if faults, _ := h.Apply(t.Context(), p, Options{}); len(faults) != 0 || m.swept != 1 || m.resyncs != 0 {
		t.Errorf("second time: faults %v, swept %d, resyncs %d", faults, m.swept, m.resyncs)
	}
	if faults, _ := h.Apply(t.Context(), p, Options{Verify: true}); len(faults) != 0 || m.swept != 2 || m.resyncs != 1 {
		t.Errorf("verify: faults %v, swept %d, resyncs %d", faults, m.swept, m.resyncs)
	}
	// An empty plan leaves nothing.
	if faults, _ := h.Apply(t.Context(), plan.Plan{}, Options{}); len(faults) != 0 || len(m.spaces) != 0 || len(m.services) != 0 {
		t.Errorf("empty plan: faults %v, left %v %v", faults, m.spaces, m.services)
	}
}

// A device that the switch believes it has and that is nowhere is made anew, in the same pass.
func TestLostDevice(t *testing.T) {
	m := newFake()
	h, p := m.host(), somePlan(m)
	tap := vif.TapName(dhcpPort)
	if faults, _ := h.Apply(t.Context(), p, Options{}); len(faults) != 0 {
		t.Fatal(faults)
	}
	clear(m.spaces)
	m.lost[tap] = true
	if faults, _ := h.Apply(t.Context(), p, Options{Verify: true}); len(faults) != 0 {
		t.Error(faults)
	}
	if n := slices.Index(m.log, "forget "+tap); n < 0 || !slices.Contains(m.log[n:], "port "+tap) {
		t.Errorf("not made anew: %v", m.log)
	}
}

// For each n, the n-th operation fails: there is a fault that says so and names who
// suffers, the rest is done, and the next Apply heals.
func TestApplyNthFails(t *testing.T) {
	for n := 0; ; n++ {
		m := newFake()
		h, p := m.host(), somePlan(m)
		m.failAt = n
		faults, _ := h.Apply(t.Context(), p, Options{})
		if m.ops <= n {
			if n < 6 {
				t.Fatalf("only %d operations", n)
			}
			return
		}
		// What fails at the first of two attempts inside one Apply has healed already.
		injected := slices.ContainsFunc(faults, func(f Fault) bool { return errors.Is(f, errInjected) })
		if name := m.log[n]; !injected && name != "namespace" && name != "serve" {
			t.Errorf("operation %d (%s) failed and nobody was told: %v", n, name, faults)
		}
		for _, f := range faults {
			if f.Object == "" || f.Op == "" || f.Part == "" || f.Error() == "" {
				t.Errorf("operation %d: fault says too little: %+v", n, f)
			}
			if f.Part != PartSwitch && f.Network != network {
				t.Errorf("operation %d: fault names network %q", n, f.Network)
			}
		}
		m.failAt = -1
		if faults, _ := h.Apply(t.Context(), p, Options{}); len(faults) != 0 || m.services[network] != 1 {
			t.Errorf("operation %d: not healed: %v, services %v", n, faults, m.services)
		}
	}
}

func TestSwitchFaultsNameTheirVictims(t *testing.T) {
	m := newFake()
	h, p := m.host(), somePlan(m)
	// A network that has no DHCP service here.
	const other = model.NetworkID("44444444-0000-4000-8000-000000000000")
	p.Switch.Bridges[0].Tags = append(p.Switch.Bridges[0].Tags, vswitch.PortTag{Name: "tapz", Tag: 9,
		OtherConfig: map[string]string{"net_uuid": string(other), "tag": "9"}})
	for _, c := range []struct {
		f    ovs.Fault
		want Fault
	}{
		{ovs.Fault{Object: "port " + vif.TapName(vmPort)}, Fault{Port: vmPort, Local: true}},
		{ovs.Fault{Object: "port " + vif.TapName(dhcpPort)}, Fault{Network: network, Local: true}},
		{ovs.Fault{Object: "flow f of bridge br-int", Cookie: vswitch.Cookie(1, vswitch.KindPort, 0x33333333)}, Fault{Port: vmPort}},
		{ovs.Fault{Object: "flow f of bridge br-int", Cookie: vswitch.Cookie(1, vswitch.KindNetwork, 0x11111111)}, Fault{Network: network}},
		{ovs.Fault{Object: "flow f of bridge br-int", Cookie: vswitch.Cookie(1, vswitch.KindNetwork, 0x44444444)}, Fault{Network: other}},
		{ovs.Fault{Object: "flow f of bridge br-int", Cookie: vswitch.Cookie(1, vswitch.KindPort, 0x99999999)}, Fault{Local: true}},
		{ovs.Fault{Object: "flow f of bridge br-int", Cookie: vswitch.Cookie(1, vswitch.KindGroup, 0x11111111)}, Fault{Rules: true, Local: true}},
		{ovs.Fault{Object: "bridge br-int"}, Fault{}},
		{ovs.Fault{Object: "manager ptcp:6640"}, Fault{Local: true}},
	} {
		c.f.Op, c.f.Err = "x", errInjected
		got := h.switchFaults(p, []ovs.Fault{c.f})[0]
		if got.Port != c.want.Port || got.Network != c.want.Network || got.Rules != c.want.Rules || got.Local != c.want.Local {
			t.Errorf("%s: %+v", c.f.Object, got)
		}
	}
}

func TestApplyCancelled(t *testing.T) {
	m := newFake()
	h, p := m.host(), somePlan(m)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	h.Apply(ctx, p, Options{})
	if m.swept != 0 {
		t.Error("swept although cancelled")
	}
}

func TestProbeSurvivesEverythingMissing(t *testing.T) {
	m := newFake()
	f := m.host().Probe(t.Context(), Query{PortID: vmPort, Bridge: "br-int", Device: "nosuchdev", Namespace: "nosuchns", DHCPDevice: "x"})
	if f.Interface != nil || f.Device != nil || f.DHCP == nil || f.DHCP.Exists || len(f.Gaps) != 1 {
		t.Errorf("%+v", f)
	}
	if o := m.host().Observe(); !o.Ready || !o.Connected || len(o.OtherConfig) != 1 {
		t.Errorf("%+v", o)
	}
}
