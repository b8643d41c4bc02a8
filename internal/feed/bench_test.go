package feed

import (
	"fmt"
	"testing"

	"weft/internal/feed/feedpb"
	"weft/internal/model"
	"weft/internal/plan/view"
	"weft/internal/store"
)

// fullHost is a world with a host of 1,000 ports in one group, and a remote group of 2,000
// members that its rules name.
func fullHost(w *world) (here, away model.PortID) {
	n1, n2 := w.network(1), w.network(2)
	w.groups("mine", "big")
	w.rule("r1", "mine", "big", "")
	w.rule("r2", "mine", "", "")
	members(w, n2, "big", 2000)
	for i := 0; i < 1000; i += 100 {
		w.txn(func(tx *store.Txn) {
			for j := range 100 {
				tx.CreatePort(guarded(3000+i+j, n1, "h1", "mine"))
			}
		})
	}
	return port(3000, n1, "").ID, port(101, n2, "").ID
}

// BenchmarkLook is what one change costs the server for each host that it concerns, from
// the mark to the encoded objects, on a host of 1,000 ports.
func BenchmarkLook(b *testing.B) {
	w := newWorld(b)
	here, away := fullHost(w)
	st := newStream(w.server, caller{host: "h1"}, nil, nil)
	if _, _, err := st.look(nil); err != nil {
		b.Fatal(err)
	}
	n1, n2 := model.NetworkID(""), model.NetworkID("")
	w.store.View(func(r store.Reader) { n1, n2 = r.Port(here).Value.NetworkID, r.Port(away).Value.NetworkID })
	for _, c := range []struct {
		what    string
		change  store.Change
		objects int
	}{
		{"port", store.Change{Kind: model.KindPort, ID: string(here), Network: n1}, 1},
		{"member", store.Change{Kind: model.KindPort, ID: string(away), Network: n2, Groups: []string{"big"}}, 1},
		{"rule", store.Change{Kind: model.KindSecurityGroup, ID: "mine"}, 1},
	} {
		b.Run(c.what, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				objects, _, err := st.look(map[changeKey]store.Change{keyOf(c.change): c.change})
				if err != nil || len(objects) != c.objects {
					b.Fatal(len(objects), err)
				}
			}
		})
	}
	b.Run("snapshot", func(b *testing.B) {
		bytes := 0
		for b.Loop() {
			st := newStream(w.server, caller{host: "h1"}, nil, nil)
			objects, _, err := st.look(nil)
			if err != nil {
				b.Fatal(err)
			}
			bytes = 0
			for _, o := range objects {
				bytes += len(o.Value)
			}
			w.server.leave(st)
		}
		b.ReportMetric(float64(bytes), "bytes")
	})
}

// BenchmarkMemberToHost is a member that joins a group of 2,000, from the write to the host
// that has it.
func BenchmarkMemberToHost(b *testing.B) {
	w := newWorld(b)
	fullHost(w)
	c, _ := w.client("h1", nil)
	w.settled(c)
	n2 := model.NetworkID(fmt.Sprintf("%08d-0000-4000-8000-00000000000a", 2))
	i := 0
	for b.Loop() {
		p := guarded(5000+i%50000, n2, "", "big")
		i++
		w.create(p)
		for {
			if m := c.State().Cloud.Members[view.MemberID{Group: "big", Port: p.ID}]; m != nil {
				break
			}
			<-c.Changed()
		}
		w.remove(p.ID)
	}
}

// BenchmarkApply is a member that joins a group of 2,000 on a host that looks at each change.
func BenchmarkApply(b *testing.B) {
	c := NewClient(ClientOptions{Name: "h1"})
	var objects []*feedpb.Object
	for i := range 2000 {
		id := fmt.Sprintf("%08d-0000-4000-8000-00000000000b", i)
		value := fmt.Sprintf(`{"group":"big","port":%q,"sources":[{"mac":"fa:16:3e:00:00:01","prefix":"10.0.0.1/32"}]}`, id)
		objects = append(objects, &feedpb.Object{Kind: string(kindMember), Id: "big/" + id, Value: []byte(value)})
	}
	c.change(&feedpb.Changes{Objects: objects})
	if n := len(c.State().Cloud.Members); n != 2000 {
		b.Fatal(n)
	}
	b.ReportAllocs()
	for b.Loop() {
		c.change(&feedpb.Changes{Objects: objects[7:8]})
		c.State()
	}
}
