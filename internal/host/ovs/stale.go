package ovs

import (
	"context"
	"strconv"
	"strings"
)

// forget empties the cache of a userspace datapath whose Open vSwitch is known to mix it up
// when flows change: what matches two cached flows may be given the fate of one by the other, for as long as its
// like keeps coming. A packet would pass that no flow lets pass. The kernel's datapath does not
// do so, nor do later versions (Open vSwitch commit 21410ff80, "Fix dpif_netdev_flow_put").
func (s *Switch) forget(ctx context.Context, bridge string) {
	for _, r := range rows[rowBridge](s.db.Load(), tableBridge) {
		if r.Name == bridge && (r.DatapathType == "" || r.DatapathType == "system") {
			return
		}
	}
	version, err := s.control.Call(ctx, "version")
	if err == nil && mixesUp(version) {
		_, err = s.control.Call(ctx, "revalidator/purge")
	}
	if ctx.Err() != nil {
		return
	}
	if was := s.stale.Swap(err != nil); err != nil && !was {
		s.log.Warn("the datapath may go on with old flows for a while after each change", "bridge", bridge, "err", err)
	} else if err == nil && was {
		s.log.Info("the datapath forgets old flows again", "bridge", bridge)
	}
}

// mixesUp reads a version such as "ovs-vswitchd (Open vSwitch) 3.1.0".
func mixesUp(version string) bool {
	words := strings.Fields(version)
	if len(words) == 0 {
		return false
	}
	var n [3]int
	for i, part := range strings.SplitN(words[len(words)-1], ".", 3) {
		n[i], _ = strconv.Atoi(part)
	}
	fixed := map[[2]int]int{{2, 17}: 8, {3, 0}: 5, {3, 1}: 3}
	if patch, known := fixed[[2]int{n[0], n[1]}]; known {
		return n[2] < patch
	}
	return n[0] < 3
}
