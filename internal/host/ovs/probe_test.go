package ovs

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"weft/internal/host/openflow"
	"weft/internal/model"
)

func TestProbeFrame(t *testing.T) {
	for _, want := range []probe{
		{probeAsks, 1, MinProbe, "h1"},
		{probeAnswers, 1<<64 - 1, 1464, "compute-0.example.org"},
		{probeAsks, 7, MaxProbe, strings.Repeat("x", 255)},
	} {
		frame := want.frame()
		if got, ok := parseProbe(frame); !ok || got != want || len(frame) != want.size {
			t.Errorf("%+v reads back as %+v, %v, in %d bytes", want, got, ok, len(frame))
		}
		for i := range 30 {
			// Nothing that is not quite one is taken for one.
			if _, ok := parseProbe(frame[:i]); ok {
				t.Errorf("%d bytes of a probe are one", i)
			}
		}
		if _, ok := parseProbe(append(frame, 0)); ok {
			t.Error("a byte more is a probe")
		}
	}
	if got, ok := parseProbe(probe{probeAsks, 1, MinProbe, strings.Repeat("long", 30)}.frame()); !ok || got.name != strings.Repeat("long", 30)[:MinProbe-probeHeader] {
		t.Errorf("a long name is %q, %v", got.name, ok)
	}
}

// TestProbesHeard: what is heard counts by trial, tunnel and size; it is forgotten, and bounded; what has another VNI is no probe.
func TestProbesHeard(t *testing.T) {
	p := probes{host: "h2"}
	here, there := net.Pipe()
	t.Cleanup(func() { here.Close() })
	go func() { _, _ = io.Copy(io.Discard, there) }()
	c := &conn{dpid: 5, net: here}
	in := func(run, vni uint64, port uint32) *openflow.PacketIn {
		return &openflow.PacketIn{Data: probe{probeAsks, run, MinProbe, "h1"}.frame(), Match: openflow.Match{
			{Field: openflow.InPort, Value: openflow.Value{Lo: uint64(port)}}, {Field: openflow.TunID, Value: openflow.Value{Lo: vni}}}}
	}
	p.take(c, in(1, model.ProbeVNI, 2))
	p.take(c, in(1, model.ProbeVNI, 2))
	p.take(c, in(1, model.ProbeVNI, 3))
	p.take(c, in(1, 7, 2))
	p.take(c, in(2, model.ProbeVNI, 2))
	trial := Trial{Run: 1, Ports: []uint32{2, 3, 4}, Sizes: []int{MinProbe}}
	tr, err := p.begin(trial)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.begin(trial); err == nil {
		t.Error("one trial twice")
	}
	got := p.end(c, trial, tr)
	if got[2][0].Heard != 2 || got[3][0].Heard != 1 || got[4][0].Heard != 0 {
		t.Errorf("heard %+v", got)
	}
	for i := range uint64(maxHeard + 10) {
		p.note(heardKey{run: i})
	}
	if len(p.heard) > maxHeard {
		t.Errorf("%d are remembered", len(p.heard))
	}
	for _, h := range p.heard {
		h.last = h.last.Add(-2 * heardFor)
	}
	if p.note(heardKey{run: 1 << 40}); len(p.heard) != 1 {
		t.Errorf("%d are remembered after a while", len(p.heard))
	}
}

// TestTrialNoAnswer: a probe that nobody answers is sent twice and given up; the bridge is not disturbed.
func TestTrialNoAnswer(t *testing.T) {
	w := newWorld(t)
	w.apply(w.example())
	w.vsctl("add-port", "br-tun", "nowhere", "--", "set", "Interface", "nowhere", "type=dummy", "ofport_request=9")
	w.eventually("the port", func() bool { return portNumber(w, "nowhere") == 9 })
	trial := Trial{Run: 1, Bridge: "br-tun", Ports: []uint32{9}, Sizes: []int{MinProbe, 1464}, Again: 20 * time.Millisecond, GiveUp: 60 * time.Millisecond}
	got, counters, err := w.s.TryTunnels(t.Context(), trial)
	if err != nil {
		t.Fatal(err)
	}
	if r := got[9]; len(r) != 2 || r[0].Sent != 2 || r[1].Sent != 2 || r[0].Answered() || r[1].Size != 1464 || r[1].Heard != 0 {
		t.Errorf("tried %+v", r)
	}
	if n := counters[9].TxPackets; n != 4 {
		t.Errorf("%d packets went out", n)
	}
	trial.Bridge = "br-none"
	if _, _, err := w.s.TryTunnels(t.Context(), trial); err == nil {
		t.Error("a bridge that is not there")
	}
}
