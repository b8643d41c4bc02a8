package pipeline

import (
	"context"
	"os"
	"testing"
	"time"

	"weft/internal/host/ovs"
	"weft/internal/lab"
	"weft/internal/lab/labtest"
	"weft/internal/plan/vswitch"
)

// TestDriver puts every scene on a real Open vSwitch by the real driver: it takes each
// without a fault, has no more to do the second time, and what it reads back is what was planned.
func TestDriver(t *testing.T) {
	labtest.Require(t, "ovs")
	for _, scene := range scenes {
		t.Run(scene.name, func(t *testing.T) {
			dir, err := os.MkdirTemp("", "weft-driver")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { os.RemoveAll(dir) })
			o, err := lab.StartOVS(context.Background(), lab.OVSOptions{Dir: dir})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := o.Stop(); err != nil {
					t.Error(err)
				}
			})
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			sw, err := ovs.Dial(ctx, ovs.Options{OVSDB: o.OVSDB, ListenOpenFlow: "127.0.0.1:0"})
			if err != nil {
				t.Fatal(err)
			}
			done := make(chan error, 1)
			go func() { done <- sw.Run(ctx) }()
			t.Cleanup(func() { cancel(); <-done })
			through(ctx, t, sw, scene.world, scene.settings)
		})
	}
}

func through(ctx context.Context, t *testing.T, sw *ovs.Switch, w *world, s Settings) {
	t.Helper()
	s.DatapathType, s.Manager = "dummy", ""
	for s.Controller = ""; s.Controller == ""; time.Sleep(time.Millisecond) {
		s.Controller = sw.ControllerTarget()
		if ctx.Err() != nil {
			t.Fatal("the driver does not listen")
		}
	}
	want := Switch(w.view(), s)
	for i := range want.Bridges {
		want.Bridges[i].Tags = nil // nobody has plugged the VIFs
	}
	for deadline := time.Now().Add(15 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		faults := sw.Apply(ctx, want)
		if len(faults) == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(faults)
		}
	}
	before := sw.Stats().FlowChanges
	if faults := sw.Apply(ctx, want); len(faults) != 0 || sw.Stats().FlowChanges != before {
		t.Errorf("the second time there were %d changes and faults %v", sw.Stats().FlowChanges-before, faults)
	}
	for bridge, parts := range want.Flows {
		flows := parts.All()
		dump, foreign, err := sw.DumpFlows(ctx, bridge, 0, 0)
		if err != nil || foreign != 0 {
			t.Fatalf("%s: %d flows that we cannot read, %v", bridge, foreign, err)
		}
		got := map[vswitch.Key]vswitch.Flow{}
		for _, c := range dump {
			got[c.Key()] = c.Flow
		}
		for _, f := range flows {
			if g := got[f.Key()]; !g.Equal(f) {
				t.Errorf("%s: planned %s\nis %s", bridge, f, g)
			}
		}
		if len(got) != len(flows) {
			t.Errorf("%s: %d flows planned, %d there", bridge, len(flows), len(got))
		}
	}
}
