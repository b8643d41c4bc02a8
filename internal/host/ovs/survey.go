package ovs

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"weft/internal/model"
)

// Survey is what concerns the switch as a whole.
type Survey struct {
	// Empty: the database can be read and has never been initialised.
	Empty bool
	// Running is the version of the ovs-vswitchd that runs; Silence says why it did not answer.
	Running, Silence string
	DatapathTypes    []string
	// OVN is the database that an ovn-controller is told to obey.
	OVN string
	// Lookups are the packets that the datapaths have seen, Lost those that found no room on the way to ovs-vswitchd.
	Lookups, Lost uint64
	// VIFs are as the method has them.
	VIFs []VIF
}

// VIF is a port that somebody has plugged for a port of the cloud.
type VIF struct {
	Bridge, Name, Type string
	PortID             model.PortID
	// UUID is that of the Port row.
	UUID string
}

// Survey looks at the switch as a whole.
func (s *Switch) Survey(ctx context.Context) Survey {
	db := s.db.Load()
	snap := db.current()
	out := Survey{Empty: db.connected() && snap.root == nil}
	if snap.root != nil {
		out.DatapathTypes = slices.Sorted(slices.Values(snap.root.DatapathTypes))
		out.OVN = snap.root.ExternalIDs["ovn-remote"]
	}
	out.VIFs = vifs(snap)
	version, err := s.control.Call(ctx, "version")
	if err != nil {
		out.Silence = err.Error()
		return out
	}
	if words := strings.Fields(version); len(words) > 0 {
		out.Running = words[len(words)-1]
	}
	if shown, err := s.control.Call(ctx, "dpctl/show", "-s"); err == nil {
		out.Lookups, out.Lost = lookups(shown)
	}
	return out
}

// VIFs are the ports of all bridges that others have made with the iface-id of a port, working or not, by name.
func (s *Switch) VIFs() []VIF { return vifs(s.db.Load().current()) }

func vifs(snap *snapshot) (list []VIF) {
	for _, name := range slices.Sorted(maps.Keys(snap.ports)) {
		p := snap.ports[name]
		i := snap.iface(p)
		if i == nil || owned(p.ExternalIDs) {
			continue
		}
		if id, ok := parsePortID(i.ExternalIDs[keyIfaceID]); ok {
			list = append(list, VIF{Bridge: snap.bridgeOf[p.UUID], Name: name, Type: i.Type, PortID: id, UUID: p.UUID})
		}
	}
	return list
}

// lookups adds up the lines "lookups: hit:41 missed:7 lost:0" of all datapaths.
func lookups(shown string) (all, lost uint64) {
	for line := range strings.Lines(shown) {
		rest, ok := strings.CutPrefix(strings.TrimSpace(line), "lookups:")
		if !ok {
			continue
		}
		for _, word := range strings.Fields(rest) {
			name, number, _ := strings.Cut(word, ":")
			n, err := strconv.ParseUint(number, 10, 64)
			switch {
			case err != nil:
			case name == "lost":
				lost += n
				all += n
			default:
				all += n
			}
		}
	}
	return all, lost
}

// RemoveVIF takes a port off its bridge that others have made, if it is still the one that
// Survey has shown.
func (s *Switch) RemoveVIF(ctx context.Context, v VIF) error {
	if r := s.db.Load().snapshot().ports[v.Name]; r == nil || r.UUID != v.UUID {
		return fmt.Errorf("delete port %s: it is not there any more", v.Name)
	}
	return s.DelPort(ctx, v.Bridge, v.Name)
}
