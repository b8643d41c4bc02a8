package store

import (
	"slices"

	"weft/internal/model"
)

// rebind counts the hosts of networks anew after a change of a port; either may be nil.
func (m *mirror) rebind(before, after *model.Port) {
	had, has := boundTo(before), boundTo(after)
	if had == has && (had == "" || before.NetworkID == after.NetworkID) {
		return
	}
	if had != "" {
		n := m.partsOf(before.NetworkID)
		if n.bound[had]--; n.bound[had] == 0 {
			delete(n.bound, had)
			i, _ := slices.BinarySearch(n.hosts, had)
			n.hosts = slices.Delete(slices.Clone(n.hosts), i, i+1)
		}
		m.dropNetworkParts(before.NetworkID)
	}
	if has != "" {
		n := m.partsOf(after.NetworkID)
		if n.bound[has]++; n.bound[has] == 1 {
			i, _ := slices.BinarySearch(n.hosts, has)
			n.hosts = slices.Insert(slices.Clone(n.hosts), i, has)
		}
	}
}

// boundTo is the host where a port is realised; one that failed to bind is on none.
func boundTo(p *model.Port) model.HostName {
	if p == nil || p.Binding.VIFType == model.VIFBindingFailed {
		return ""
	}
	return p.Binding.Host
}
