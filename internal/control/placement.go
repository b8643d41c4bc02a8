package control

import (
	"cmp"
	"hash/fnv"
	"maps"
	"slices"

	"weft/internal/model"
)

// placement is what decides on which hosts the DHCP ports of a network are. A port has a
// slot: a number from which its ID follows.
type placement struct {
	network model.NetworkID
	// number is how many ports are wanted, unless byHand names hosts: then one on each.
	number int
	byHand []model.HostName
	// ports are the hosts of the ports there are, by slot.
	ports map[int]model.HostName
	hosts map[model.HostName]candidate
	// failover: dead hosts lose their ports, as far as others can take them.
	failover bool
}

// candidate is a host as a place for a DHCP port.
type candidate struct {
	// able: it can serve the network. dead: it could if it were alive.
	able, dead bool
	// load is how many networks it serves.
	load int
}

// slots returns the host of each port that there is to be. A slot that is not in it is to
// be empty. What can stay stays: a host that comes back gets nothing back, except what was
// put there by hand. A port that no host can take stays where it is.
func (p placement) slots() map[int]model.HostName {
	want := p.number
	if len(p.byHand) > 0 {
		want = len(p.byHand)
	}
	out := make(map[int]model.HostName, want)
	used := map[model.HostName]bool{}
	put := func(slot int, h model.HostName) { out[slot], used[h] = h, true }
	holds := func(h model.HostName) bool { c := p.hosts[h]; return c.able || c.dead && !p.failover }

	var substitutes, lost []int
	seen := map[model.HostName]bool{}
	for _, slot := range slices.Sorted(maps.Keys(p.ports)) {
		h := p.ports[slot]
		switch {
		case seen[h] || !holds(h):
			lost = append(lost, slot)
		case slices.Contains(p.byHand, h):
			put(slot, h)
		default:
			substitutes = append(substitutes, slot)
		}
		seen[h] = true
	}
	// The hosts that were named, before any other: with ports that nobody serves, with those
	// of substitutes, or with new ones.
	for _, h := range p.byHand {
		switch {
		case used[h] || !p.hosts[h].able:
		case len(lost) > 0:
			put(lost[0], h)
			lost = lost[1:]
		case len(substitutes) > 0:
			last := len(substitutes) - 1
			put(substitutes[last], h)
			substitutes = substitutes[:last]
		default:
			put(p.free(out), h)
		}
	}
	for _, slot := range substitutes {
		if h := p.ports[slot]; len(out) < want && !used[h] {
			put(slot, h)
		}
	}
	for _, slot := range lost {
		if len(out) == want {
			break
		}
		if h, ok := p.best(used); ok {
			put(slot, h)
		} else if !used[p.ports[slot]] {
			put(slot, p.ports[slot])
		}
	}
	for len(out) < want {
		h, ok := p.best(used)
		if !ok {
			break
		}
		put(p.free(out), h)
	}
	return out
}

// free is the lowest slot without a port, now and then.
func (p placement) free(out map[int]model.HostName) int {
	for slot := 0; ; slot++ {
		_, now := p.ports[slot]
		if _, then := out[slot]; !now && !then {
			return slot
		}
	}
}

// best is the host with the fewest networks of those that can take one more port. Between
// equals a hash decides, so that the networks of hosts that all joined at once spread.
func (p placement) best(used map[model.HostName]bool) (best model.HostName, ok bool) {
	rank := func(h model.HostName) uint32 {
		sum := fnv.New32a()
		_, _ = sum.Write([]byte(string(p.network) + "/" + string(h))) // never fails
		return sum.Sum32()
	}
	for h, c := range p.hosts {
		if !c.able || used[h] {
			continue
		}
		if !ok || cmp.Or(cmp.Compare(c.load, p.hosts[best].load), cmp.Compare(rank(h), rank(best)), cmp.Compare(h, best)) < 0 {
			best, ok = h, true
		}
	}
	return best, ok
}
