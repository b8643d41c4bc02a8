package feed

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"weft/internal/model"
	"weft/internal/store"
)

// walker does anything that can happen to ports, groups and rules, at random.
type walker struct {
	*world
	rng   *rand.Rand
	nets  []model.NetworkID
	ports map[int]bool
	rules map[int]bool
}

func newWalker(w *world) *walker {
	seed := uint64(time.Now().UnixNano())
	w.t.Logf("seed %d", seed)
	k := &walker{world: w, rng: rand.New(rand.NewPCG(seed, seed)), ports: map[int]bool{}, rules: map[int]bool{}}
	for n := range 3 {
		k.nets = append(k.nets, w.network(n+1))
	}
	for _, h := range walkHosts[1:4] {
		w.host(h, "10.0.0.9")
	}
	w.groups(walkGroups...)
	w.addresses("a0")
	w.addresses("a1")
	return k
}

var (
	walkGroups = []string{"g0", "g1", "g2", "g3"}
	walkHosts  = []model.HostName{"h1", "h1", "h2", "h3", ""}
)

func pick[T any](rng *rand.Rand, from []T) T { return from[rng.IntN(len(from))] }

// anyOf picks an element of a small set, or fails.
func anyOf(rng *rand.Rand, set map[int]bool, most int) (int, bool) {
	if len(set) == 0 {
		return 0, false
	}
	for i := rng.IntN(most); ; i = (i + 1) % most {
		if set[i] {
			return i, true
		}
	}
}

func (k *walker) someGroups() []string {
	var some []string
	for _, g := range walkGroups {
		if k.rng.IntN(3) == 0 {
			some = append(some, g)
		}
	}
	return some
}

// bind gives a port a binding: to one of the hosts, to none, or a failed one.
func (k *walker) bind(p *model.Port) {
	p.Binding = model.Binding{Host: pick(k.rng, walkHosts), VIFType: model.VIFOVS}
	if p.Binding.Host == "" {
		p.Binding.VIFType = model.VIFUnbound
	} else if k.rng.IntN(8) == 0 {
		p.Binding.VIFType = model.VIFBindingFailed
	}
}

const most = 12

func (k *walker) step() {
	if id, ok := anyOf(k.rng, k.ports, most); ok && k.rng.IntN(3) > 0 {
		k.changePort(id)
		return
	}
	switch k.rng.IntN(10) {
	case 8:
		k.host(pick(k.rng, walkHosts[:4]), fmt.Sprint("10.0.0.", 1+k.rng.IntN(2)))
	case 9:
		k.dropHost(pick(k.rng, walkHosts[:4]))
	case 0, 1, 2:
		if i := k.rng.IntN(most); !k.ports[i] {
			k.ports[i] = true
			p := guarded(i+1, pick(k.rng, k.nets), "", k.someGroups()...)
			k.bind(p)
			k.create(p)
		}
	case 3, 4:
		if i := k.rng.IntN(most); !k.rules[i] {
			k.rules[i] = true
			remote, addresses := "", ""
			switch k.rng.IntN(4) {
			case 0, 1:
				remote = pick(k.rng, walkGroups)
			case 2:
				addresses = fmt.Sprint("a", k.rng.IntN(2))
			}
			k.rule(fmt.Sprint(i), pick(k.rng, walkGroups), remote, addresses)
		}
	case 5:
		if i, ok := anyOf(k.rng, k.rules, most); ok {
			delete(k.rules, i)
			k.removeRule(fmt.Sprint(i))
		}
	case 6:
		k.addresses(fmt.Sprint("a", k.rng.IntN(2)), fmt.Sprintf("10.%d.0.0/16", k.rng.IntN(250)))
	case 7:
		k.dropGroup(pick(k.rng, walkGroups))
	}
}

func (k *walker) changePort(i int) {
	id := guarded(i+1, "", "").ID
	if k.rng.IntN(6) == 0 {
		delete(k.ports, i)
		k.remove(id)
		return
	}
	k.update(id, func(p *model.Port) {
		switch k.rng.IntN(6) {
		case 0:
			p.SecurityGroups = k.someGroups()
		case 1:
			k.bind(p)
		case 2:
			p.PortSecurity = !p.PortSecurity
		case 3:
			p.AddressPairs = []model.AddressPair{{Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(k.rng.IntN(4)), 0, 0}), 16)}}
		case 4:
			p.DeviceOwner = pick(k.rng, []string{"compute:nova", model.OwnerDHCP})
		case 5:
			p.Name = fmt.Sprint(k.rng.Int())
		}
	})
}

// dropGroup removes a group that no port is in, and makes it anew.
func (k *walker) dropGroup(id string) {
	used := false
	k.store.View(func(r store.Reader) {
		for range r.PortsInGroup(id) {
			used = true
		}
		for ref := range r.Referrers(model.KindSecurityGroup, id) {
			if ref.Kind == model.KindSecurityGroupRule && !used {
				var i int
				_, _ = fmt.Sscan(ref.ID, &i)
				delete(k.rules, i)
			}
		}
	})
	if !used {
		k.removeGroup(id)
		k.groups(id)
	}
}

// After any verbs, one by one or many at a time, each host holds exactly its part; also
// over a restart of the server.
func TestGroupsWalk(t *testing.T) {
	w := newWorld(t)
	k := newWalker(w)
	h1, _ := w.client("h1", nil)
	h2, _ := w.client("h2", nil)
	w.settled(h1)
	w.settled(h2)
	rounds := 150
	if testing.Short() {
		rounds = 30
	}
	ports, members, peers := 0, 0, 0 // the most there were at a time
	for i := range rounds {
		for range 1 + i%2*k.rng.IntN(20) { // one by one, and many that are coalesced
			k.step()
		}
		if i%40 == 39 {
			w.stop()
			k.step()
			w.serve()
		}
		w.settled(h1)
		w.settled(h2)
		c := w.cloud()
		ports, members, peers = max(ports, len(c.Ports)), max(members, len(c.Members)), max(peers, len(h1.State().Cloud.Peers), len(h2.State().Cloud.Peers))
	}
	if ports == 0 || members == 0 || peers == 0 {
		t.Errorf("a walk with %d ports, %d members, %d peers at most", ports, members, peers)
	}
	// In the end the server tells hosts of what they hold and of nothing else.
	want := map[store.Ref]int{}
	for _, c := range []*Client{h1, h2} {
		w.store.View(func(r store.Reader) {
			for t := range needAnew(r, c.o.Name, part{}, nil).topics {
				want[t]++
			}
		})
	}
	var got map[store.Ref]int
	if !eventually(func() bool {
		w.server.mu.Lock()
		defer w.server.mu.Unlock()
		got = map[store.Ref]int{}
		for topic, streams := range w.server.interest {
			got[topic] = len(streams)
		}
		return maps.Equal(got, want)
	}) {
		t.Errorf("hosts that hear of topics: %v\nwant %v", got, want)
	}
}

// While hosts connect and ask for all, the cloud changes under them.
func TestGroupsWalkDuringSnapshots(t *testing.T) {
	w := newWorld(t)
	k := newWalker(w)
	for range 10 {
		done := make(chan struct{})
		go func() {
			defer close(done)
			for range 30 {
				k.step()
			}
		}()
		h1, stop1 := w.client("h1", nil)
		h2, stop2 := w.client("h2", nil)
		<-done
		w.settled(h1)
		w.settled(h2)
		stop1()
		stop2()
	}
}
