package agent

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"weft/internal/host"
	"weft/internal/model"
	"weft/internal/plan/view"
)

// TestZones: whatever networks come and go, and whenever flushing or applying fails or the
// agent is restarted, no network uses a number before it is flushed of the network that
// used it last, of which nothing is left in the switch by then.
func TestZones(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m, z := newMachine(), &zones{}
		stained := map[view.LocalVLAN]model.NetworkID{} // which network has had connections in a zone
		used := map[model.NetworkID]view.LocalVLAN{}    // in the last plan, and written to the database
		left := map[model.NetworkID]view.LocalVLAN{}    // flows that may be in the switch
		for range 20 {
			c := view.Cloud{Networks: map[model.NetworkID]*model.Network{}, Ports: map[model.PortID]*model.Port{}}
			for i := range 6 {
				id := model.NetworkID(fmt.Sprint("n", i))
				if rapid.Bool().Draw(t, "has "+string(id)) {
					c.Networks[id] = &model.Network{ID: id}
					c.Ports[model.PortID(id)] = &model.Port{ID: model.PortID(id), NetworkID: id, Binding: model.Binding{Host: "h1"}}
				}
			}
			obs := host.Observed{Connected: true}
			if rapid.IntRange(0, 4).Draw(t, "restart") == 0 {
				// The database tells of a network as long as it has a port here.
				z = &zones{}
				maps.DeleteFunc(left, func(id model.NetworkID, _ view.LocalVLAN) bool { _, ok := used[id]; return !ok })
				for id, n := range used {
					obs.OtherConfig = append(obs.OtherConfig, map[string]string{"net_uuid": string(id), "tag": fmt.Sprint(n)})
				}
			}
			if m.noFlush = nil; rapid.IntRange(0, 2).Draw(t, "flush fails") == 0 {
				m.noFlush = errInjected
			}
			m.flushed = nil
			z.number(c, obs, "h1", slog.New(slog.DiscardHandler))
			faults := z.flush(t.Context(), m, obs)
			for _, n := range m.flushed {
				delete(stained, view.LocalVLAN(n))
			}
			for id := range c.Networks {
				n, ok := z.clean[id]
				if faulty := slices.ContainsFunc(faults, func(f host.Fault) bool { return f.Network == id }); ok == faulty {
					t.Fatalf("network %s: usable %v, fault %v", id, ok, faulty)
				}
				if other, dirty := stained[n]; ok && dirty && other != id {
					t.Fatalf("network %s gets zone %d with connections of %s", id, n, other)
				}
				for other, of := range left {
					if ok && of == n && other != id {
						t.Fatalf("network %s has number %d, which is that of the flows of %s", id, n, other)
					}
				}
			}
			var failed []host.Fault
			if rapid.IntRange(0, 2).Draw(t, "apply fails") == 0 {
				failed = []host.Fault{{Part: host.PartSwitch}}
			} else {
				clear(left)
			}
			clear(used)
			for id := range c.Networks {
				if n, ok := z.clean[id]; ok {
					stained[n], used[id], left[id] = id, n, n
				}
			}
			z.applied(failed)
		}
	})
}

// TestZoneCannotBeFlushed: a network whose zone cannot be flushed is not wired and says why; it recovers.
func TestZoneCannotBeFlushed(t *testing.T) {
	w, m, l := newWorld(t), newMachine(), &logs{}
	m.noFlush = errInjected
	a, _ := w.agent(w.options(m, l))
	w.joined()
	n, _ := w.network()
	p := w.port(n)
	m.plug(p.ID)
	w.eventually("the fault is told", func() bool {
		ev := a.Evidence(t.Context(), traceQuery(p))
		return len(ev.Faults) == 1 && ev.Faults[0].Op == "flush" && ev.Faults[0].Tries > 1
	})
	if l.count("degraded") != 1 || w.status(p.ID) == model.PortActive {
		t.Errorf("status %s; log:\n%s", w.status(p.ID), l)
	}
	m.mu.Lock()
	for _, applied := range m.applied {
		for _, f := range flowsOf(applied.Switch.Flows["br-int"], p.ID) {
			t.Errorf("flow of an unwired port: %s", f)
		}
	}
	m.noFlush = nil
	m.mu.Unlock()
	w.becomes(p.ID, model.PortActive)
	w.eventually("recovery is told", func() bool { return l.count("recovered") == 1 })
	if m.mu.Lock(); !slices.Equal(m.flushed, []uint16{1}) {
		t.Errorf("flushed %v", m.flushed)
	}
	m.mu.Unlock()
}
