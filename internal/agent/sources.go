package agent

import (
	"weft/internal/host"
	"weft/internal/model"
	"weft/internal/plan/view"
	"weft/internal/trace"
)

// evidenceSources tells the guest's own frames from those that others have sent on its network
// with the guest's MAC or addresses. On another network they may have both.
func evidenceSources(f host.Found, v view.View, net *view.Network) (own, rivals []trace.Source) {
	if f.Interface == nil || net == nil {
		return nil, nil
	}
	for _, s := range f.Sources {
		t := trace.Source{MAC: s.MAC, Addr: s.Addr, ARP: s.ARP, Packets: s.Packets, Age: s.Age, Dropped: s.Dropped}
		if s.Device == f.Interface.Name {
			own = append(own, t)
			continue
		}
		t.Device, t.VTEP = s.Device, s.VTEP
		for _, peer := range net.Peers {
			if s.VTEP.IsValid() && peer.VTEP == s.VTEP {
				t.Host = peer.Host
			}
		}
		var here bool
		if t.Port, here = onNetwork(v, s.Device, net.ID); here ||
			s.VNI != 0 && net.Segment.Type == model.SegmentVXLAN && s.VNI == uint32(net.Segment.ID) ||
			s.VLAN != 0 && net.Segment.Type == model.SegmentVLAN && s.VLAN == uint16(net.Segment.ID) {
			rivals = append(rivals, t)
		}
	}
	return own, rivals
}

// onNetwork finds the port of a device of this host, if it is on the network.
func onNetwork(v view.View, device string, id model.NetworkID) (model.PortID, bool) {
	for i := range v.Local {
		if l := &v.Local[i]; l.Attachment.Device == device {
			return l.ID, l.NetworkID == id
		}
	}
	return "", false
}
