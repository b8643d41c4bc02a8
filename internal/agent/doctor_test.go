package agent

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"weft/internal/doctor"
	"weft/internal/trace"
)

// TestRemoveLeftovers: what is left over goes only when it is known for long enough, unused, and the same; and only then.
func TestRemoveLeftovers(t *testing.T) {
	w, m, l := newWorld(t), newMachine(), &logs{}
	old := doctor.Leftover{Kind: doctor.KindNamespace, Name: "qdhcp-x", Object: "x", Mark: "inode 7"}
	young := doctor.Leftover{Kind: doctor.KindTap, Name: "tap11111111-22", Object: "11111111-22", Mark: "index 9"}
	used := doctor.Leftover{Kind: doctor.KindPort, Name: "tap33333333-44", Bridge: "br-int", Object: "33333333", Mark: "row 1", Use: "qemu, process 7, holds it"}
	m.left = []doctor.Leftover{old, young, used}
	a, stop := w.agent(w.options(m, l))
	w.joined()
	w.eventually("in step", func() bool { return a.feed.State().InSync })
	ask := func(list ...doctor.Leftover) map[string]string {
		t.Helper()
		asked, err := json.Marshal(list)
		if err != nil {
			t.Fatal(err)
		}
		q, err := json.Marshal(trace.Query{Remove: asked})
		if err != nil {
			t.Fatal(err)
		}
		body, err := a.answer(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		var done []doctor.Removal
		if err := json.Unmarshal(body, &done); err != nil {
			t.Fatal(err)
		}
		said := map[string]string{}
		for _, r := range done {
			said[r.Name] = r.Error
		}
		return said
	}
	if said := ask(old); !strings.Contains(said[old.Name], "may still be wanted") {
		t.Errorf("what was just seen: %q", said)
	}
	a.left.mu.Lock()
	key := old
	a.left.since[key] = time.Now().Add(-2 * doctor.MinAge)
	a.left.mu.Unlock()
	another := old
	another.Mark = "inode 8"
	if said := ask(another); !strings.Contains(said[old.Name], "another one") {
		t.Errorf("another of the same name: %q", said)
	}
	said := ask(old, young, used)
	if said[old.Name] != "" || !strings.Contains(said[young.Name], "may still be wanted") || !strings.Contains(said[used.Name], "in use") {
		t.Errorf("%q", said)
	}
	if left, _ := m.Leftovers(a.surveyQuery()); len(left) != 2 {
		t.Errorf("left: %+v", left)
	}
	a.left.mu.Lock()
	if len(a.left.since) != 2 && len(a.left.since) != 3 {
		t.Errorf("remembered: %v", a.left.since)
	}
	for k := range a.left.since {
		a.left.since[k] = time.Now().Add(-2 * doctor.MinAge)
	}
	a.left.mu.Unlock()
	w.stop()
	w.eventually("out of step", func() bool { return !a.feed.State().InSync })
	if said := ask(young); !strings.Contains(said[young.Name], "not in step") {
		t.Errorf("without a server: %q", said)
	}
	stop()
}

// TestDoctorFacts: an agent says what it is to make of the machine, and when.
func TestDoctorFacts(t *testing.T) {
	w, m, l := newWorld(t), newMachine(), &logs{}
	a, _ := w.agent(w.options(m, l))
	w.joined()
	n, _ := w.network()
	p := w.port(n)
	m.plug(p.ID)
	w.becomes(p.ID, "ACTIVE")
	q, err := json.Marshal(trace.Query{Doctor: true})
	if err != nil {
		t.Fatal(err)
	}
	body, err := a.answer(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	var f doctor.HostFacts
	if err := json.Unmarshal(body, &f); err != nil {
		t.Fatal(err)
	}
	if !f.Feed.InSync || len(f.Wanted) != 2 || f.Wanted[0].FailMode != "secure" || len(f.Wanted[0].Controllers) != 1 || time.Since(f.At) > time.Minute {
		t.Errorf("%+v", f)
	}
	if s := a.surveyQuery(); !s.Ports[p.ID] || !s.Taps["tap"+string(p.ID)[:11]] || !s.Namespaces["qdhcp-"+string(n)] {
		t.Errorf("%+v", s)
	}
}
