package ovs

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"weft/internal/model"
	"weft/internal/plan/view"
	"weft/internal/plan/vswitch"
)

// portFlows are 20 flows of one port, as a port with a security group has them.
func portFlows(n int) []vswitch.Flow {
	of, vlan, c := uint32(n), uint16(n%100+1), vswitch.Cookie(owner, vswitch.KindPort, uint32(n))
	list := flowsOfPort(of, vlan, mac(n))
	for i := range 16 {
		list = append(list, vswitch.NewFlow(82, uint16(100+i), c,
			vswitch.Any().Reg(vswitch.Reg5, of).IPv4().Proto(vswitch.ProtoTCP).Is(vswitch.TCPDst, vswitch.Num(uint64(i+1))).
				Masked(vswitch.CTState, vswitch.Num(0x21), vswitch.Num(0x23)),
			vswitch.CT{Commit: true, Table: vswitch.NoTable, ZoneField: vswitch.Reg6}, vswitch.Output{Port: of}, vswitch.Resubmit{Table: 92}))
	}
	return list
}

func (w *world) thousand(ports int) vswitch.Switch {
	want := w.example()
	for n := 1; n <= ports; n++ {
		want.Flows["br-int"] = append(want.Flows["br-int"], partOf(portFlows(n)...))
	}
	return want
}

// measure reports the median and the worst of n runs.
func measure(t testing.TB, name string, n int, f func(i int)) time.Duration {
	t.Helper()
	var all []time.Duration
	for i := range n {
		start := time.Now()
		f(i)
		all = append(all, time.Since(start))
	}
	slices.Sort(all)
	t.Logf("%-48s p50 %-12v worst %v (n=%d)", name, all[n/2], all[n-1], n)
	return all[n/2]
}

// TestThousandPorts: 1,000 ports with 20 flows each. The figures are printed (-v).
func TestThousandPorts(t *testing.T) {
	w := newWorld(t)
	small := w.example(1, 2, 3)
	w.apply(small)
	other := w.example(1, 2, 3, 4)
	measure(t, "4 flows more or less, 20 there", 200, func(i int) { w.apply([]vswitch.Switch{other, small}[i%2]) })
	one := w.example(1, 2, 3)
	one.Flows["br-int"] = append(one.Flows["br-int"], partOf(vswitch.NewFlow(61, 1, vswitch.Cookie(owner, vswitch.KindPort, 1), nil)))
	measure(t, "one flow more or less, 16 there", 200, func(i int) { w.apply([]vswitch.Switch{one, small}[i%2]) })
	fifty := w.thousand(50)
	measure(t, "1,000 flows more or less", 20, func(i int) { w.apply([]vswitch.Switch{fifty, small}[i%2]) })

	full := w.thousand(1000)
	start := time.Now()
	w.apply(full)
	t.Logf("%d flows from nothing: %v", len(full.Flows["br-int"].All()), time.Since(start))
	measure(t, "apply of 20,000 flows, nothing to do", 10, func(int) { w.apply(full) })
	plusOne := full
	plusOne.Flows = map[string]vswitch.Flows{"br-int": append(slices.Clone(full.Flows["br-int"]), partOf(portFlows(1001)...)), "br-tun": full.Flows["br-tun"]}
	measure(t, "one port (20 flows) more or less, 20,000 there", 10, func(i int) { w.apply([]vswitch.Switch{plusOne, full}[i%2]) })
	w.apply(full)
	measure(t, "resync of 20,000 flows, nothing to do", 5, func(int) {
		if f := w.s.Resync(t.Context()); len(f) > 0 {
			t.Error(f)
		}
	})
	w.ofctl("del-flows", "br-int", "table=82")
	start = time.Now()
	if f := w.s.Resync(t.Context()); len(f) > 0 {
		t.Error(f)
	}
	t.Logf("resync with 16,000 flows missing: %v", time.Since(start))
	if n := len(w.flowTexts("br-int")); n != len(full.Flows["br-int"].All()) {
		t.Errorf("%d flows", n)
	}
	if _, err := w.lab.Ofctl("dump-aggregate", "br-int"); err != nil {
		t.Error(err)
	}
}

// TestPlugLatency: from the transaction that adds an interface to the news of it, and
// from the news to acknowledged flows and tag.
func TestPlugLatency(t *testing.T) {
	w := newWorld(t)
	w.apply(w.example())
	drain(w.s)
	plugger, err := Dial(t.Context(), Options{OVSDB: w.lab.OVSDB})
	if err != nil {
		t.Fatal(err)
	}
	defer plugger.Close()
	var news, wired []time.Duration
	var ports []int
	for n := 1; n <= 50; n++ {
		name := fmt.Sprintf("tap%d", n)
		start := time.Now()
		done := make(chan error, 1)
		go func() {
			_, err := plugger.AddPort(t.Context(), "br-int", vswitch.Port{Name: name, ExternalIDs: map[string]string{"iface-id": portID(n)}})
			done <- err
		}()
		for range w.s.Changed() {
			o := w.s.Observe()
			if i := slices.IndexFunc(o.Attachments, func(a view.Attachment) bool { return a.PortID == model.PortID(portID(n)) }); i >= 0 {
				break
			}
		}
		news = append(news, time.Since(start))
		ports = append(ports, n)
		want := w.example(ports...)
		for _, n := range ports {
			want.Bridges[0].Tags = append(want.Bridges[0].Tags, vswitch.PortTag{Name: fmt.Sprintf("tap%d", n), Tag: 1, OtherConfig: map[string]string{"tag": "1"}})
		}
		w.apply(want)
		wired = append(wired, time.Since(start))
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(news)
	slices.Sort(wired)
	t.Logf("interface appears -> news p50 %v worst %v; -> tag and flows acknowledged p50 %v worst %v",
		news[len(news)/2], news[len(news)-1], wired[len(wired)/2], wired[len(wired)-1])
	if p50 := wired[len(wired)/2]; p50 > time.Second { // it waits for somebody's timer
		t.Errorf("wired after %v", p50)
	}
}

// TestManyPorts: 300 VIFs plugged at once, then tagged in one transaction.
func TestManyPorts(t *testing.T) {
	w := newWorld(t)
	want := w.example()
	w.apply(want)
	const n = 300
	for i := range n {
		want.Bridges[0].Ports = append(want.Bridges[0].Ports, vswitch.Port{Name: fmt.Sprintf("own%d", i), Type: "internal"})
	}
	before := w.s.Stats()
	start := time.Now()
	w.apply(want)
	t.Logf("%d ports in %v", n, time.Since(start))
	if d := w.s.Stats().Transactions - before.Transactions; d != 1 {
		t.Errorf("%d transactions", d)
	}
	measure(t, "observe with 300 ports", 100, func(int) { w.s.Observe() })
	measure(t, "apply with 300 ports, nothing to do", 100, func(int) { w.apply(want) })
}

// BenchmarkFromNothing is what 37,000 flows of 1,850 parts cost before the first byte goes to a
// switch that holds none: to encode them, and to see that all are missing.
func BenchmarkFromNothing(b *testing.B) {
	w := &world{TB: b}
	flows := w.thousand(1850).Flows["br-int"]
	for b.Loop() {
		t := compile(flows, nil, nil)
		if d := t.fromFlows(table{}, t.without(nil)); len(d.put) < 37000 {
			b.Fatal(len(d.put))
		}
	}
}
