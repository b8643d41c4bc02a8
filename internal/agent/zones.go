package agent

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"

	"weft/internal/host"
	"weft/internal/model"
	"weft/internal/plan/view"
	"weft/internal/plan/vif"
)

// zones are the local VLANs of this host's networks, each of which is also a conntrack zone.
type zones struct {
	restored bool
	// given are the numbers that networks have; held are also those of networks that are gone
	// while a bridge may still have flows of them.
	given, held map[model.NetworkID]view.LocalVLAN
	// clean are those of held that may be used: the connections of the number's former
	// network are forgotten.
	clean map[model.NetworkID]view.LocalVLAN
}

// number gives the networks of a cloud their local VLANs.
func (z *zones) number(c view.Cloud, obs host.Observed, name model.HostName, log *slog.Logger) {
	if !z.restored {
		// A number once given to a network stays with it while it is here: flows hold it. It
		// was clean before anything was written that it is restored from.
		z.held, z.restored = vif.Restore[view.LocalVLAN](obs.OtherConfig), true
		z.clean = maps.Clone(z.held)
	}
	given, exhausted := vif.LocalVLANs(z.held, view.NetworksOf(c, name))
	z.given = given
	maps.Copy(z.held, given)
	maps.DeleteFunc(z.clean, func(id model.NetworkID, n view.LocalVLAN) bool { return z.held[id] != n })
	if len(exhausted) > 0 {
		log.Error("no local VLAN left; these networks are not realised here", "networks", exhausted)
	}
}

// flush makes the switch forget the connections of every number that a network was given
// since the last time. If it cannot, those networks are not wired: a packet could pass as the
// answer on a connection of another network.
func (z *zones) flush(ctx context.Context, m Machine, obs host.Observed) []host.Fault {
	var fresh []model.NetworkID
	for id, n := range z.given {
		if z.clean[id] != n {
			fresh = append(fresh, id)
		}
	}
	if len(fresh) == 0 {
		return nil
	}
	slices.Sort(fresh)
	numbers := make([]uint16, len(fresh))
	for i, id := range fresh {
		numbers[i] = uint16(z.given[id])
	}
	err := m.FlushZones(ctx, numbers)
	var faults []host.Fault
	for i, id := range fresh {
		if err == nil {
			z.clean[id] = z.given[id]
			continue
		}
		faults = append(faults, host.Fault{Object: fmt.Sprintf("conntrack zone %d", numbers[i]), Op: "flush", Err: err,
			Part: host.PartSwitch, Network: id, Waiting: !obs.Connected})
	}
	return faults
}

// applied hears what the switch could not do of the plan. When it has done everything,
// the numbers of networks that are gone are free.
func (z *zones) applied(faults []host.Fault) {
	if !slices.ContainsFunc(faults, func(f host.Fault) bool { return f.Part == host.PartSwitch }) {
		z.held = maps.Clone(z.given)
	}
}
