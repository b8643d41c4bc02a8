package vif

import (
	"maps"
	"slices"
	"strconv"

	"weft/internal/model"
)

// Local VLANs run from 1 to 4094. DeadVLAN is the tag of a port that must be closed, as
// in Neutron.
const (
	MinVLAN  = 1
	MaxVLAN  = 4094
	DeadVLAN = 4095
)

// LocalVLANs gives each network its VLAN inside br-int. A network in prev keeps its
// number, so that a restart changes no flow; others take the lowest free ones, in the
// order of their IDs. One that is in prev is not free yet: the flows of a network that
// is gone hold it until the plan without it is applied. Numbers in prev that cannot be, or
// that two networks claim (the lower ID keeps it), are as if absent. Networks for which no number is left are
// returned, sorted, and are absent from the map.
//
// V is view.LocalVLAN; it is a parameter so that this package needs no view.
func LocalVLANs[V ~uint16](prev map[model.NetworkID]V, networks []model.NetworkID) (map[model.NetworkID]V, []model.NetworkID) {
	ids := slices.Compact(slices.Sorted(slices.Values(networks)))
	vlans := make(map[model.NetworkID]V, len(ids))
	var taken [MaxVLAN + 1]bool
	var fresh, exhausted []model.NetworkID
	for _, id := range ids {
		n, ok := prev[id]
		if !ok || n < MinVLAN || n > MaxVLAN || taken[n] {
			fresh = append(fresh, id)
			continue
		}
		taken[n], vlans[id] = true, n
	}
	for _, n := range prev {
		if n <= MaxVLAN {
			taken[n] = true
		}
	}
	next := MinVLAN
	for _, id := range fresh {
		for next <= MaxVLAN && taken[next] {
			next++
		}
		if next > MaxVLAN {
			exhausted = append(exhausted, id)
			continue
		}
		taken[next], vlans[id] = true, V(next)
	}
	return vlans, exhausted
}

// OtherConfig is what the other_config of a Port row says of the network that the port
// is on, in Neutron's words; ParseOtherConfig reads it back after a restart.
func OtherConfig(n *model.Network, vlan uint16) map[string]string {
	physical, segment := "None", "None" // as Python prints an absent value
	if n.Segment.Physical != "" {
		physical = n.Segment.Physical
	}
	if n.Segment.ID != 0 {
		segment = strconv.FormatUint(uint64(n.Segment.ID), 10)
	}
	return map[string]string{
		"net_uuid":         string(n.ID),
		"network_type":     string(n.Segment.Type),
		"physical_network": physical,
		"segmentation_id":  segment,
		"tag":              strconv.Itoa(int(vlan)),
	}
}

// ParseOtherConfig returns the network and the local VLAN that a Port row's other_config
// names; ok is false when it names none.
func ParseOtherConfig(other map[string]string) (id model.NetworkID, vlan uint16, ok bool) {
	n, err := strconv.ParseUint(other["tag"], 10, 16)
	if err != nil || n < MinVLAN || n > MaxVLAN || other["net_uuid"] == "" {
		return "", 0, false
	}
	return model.NetworkID(other["net_uuid"]), uint16(n), true
}

// Restore collects the local VLANs named by the other_config of a bridge's ports. A
// network with several takes the one most ports name, then the lowest.
func Restore[V ~uint16](ports []map[string]string) map[model.NetworkID]V {
	votes := map[model.NetworkID]map[V]int{}
	for _, other := range ports {
		id, n, ok := ParseOtherConfig(other)
		if !ok {
			continue
		}
		if votes[id] == nil {
			votes[id] = map[V]int{}
		}
		votes[id][V(n)]++
	}
	vlans := make(map[model.NetworkID]V, len(votes))
	for id, count := range votes {
		best := V(0)
		for _, n := range slices.Sorted(maps.Keys(count)) {
			if best == 0 || count[n] > count[best] {
				best = n
			}
		}
		vlans[id] = best
	}
	return vlans
}
