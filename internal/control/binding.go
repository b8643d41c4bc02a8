package control

import (
	"fmt"
	"reflect"
	"slices"

	"weft/internal/model"
	"weft/internal/store"
)

// bind decides how the port is realised on the host its binding names. It never fails: a
// port that cannot be realised is stored as binding_failed, with the reason.
func (c *Control) bind(p *model.Port, n *model.Network) {
	if p.Binding.Host == "" && p.Binding.VIFType == model.VIFUnbound {
		return
	}
	c.Read(func(r store.Reader) { c.bindIn(r, p, n) })
}

// bindIn is bind with the hosts of a Reader.
func (c *Control) bindIn(r store.Reader, p *model.Port, n *model.Network) {
	b := &p.Binding
	b.BridgeName, b.DatapathType, b.Reason = "", "", ""
	if b.Host == "" {
		b.VIFType = model.VIFUnbound
		return
	}
	host := r.Host(b.Host)
	reason := c.cannotBind(host, b, n)
	if id := store.HostIdentities.Get(r, string(b.Host)); host == nil && id != nil && !id.Value.RemovedAt.IsZero() {
		reason = fmt.Sprintf("host %q was removed", b.Host)
	}
	if reason != "" {
		b.VIFType, b.Reason = model.VIFBindingFailed, reason
		return
	}
	b.VIFType = model.VIFOVS
	b.BridgeName, b.DatapathType = host.Value.IntegrationBridge, host.Value.DatapathType
}

// cannotBind says in words why a port of network n cannot be realised on a host, or "".
func (c *Control) cannotBind(host *store.Entry[model.Host], b *model.Binding, n *model.Network) string {
	if host == nil {
		return fmt.Sprintf("no agent has ever joined from host %q", b.Host)
	}
	if b.VNICType != defaultVNIC {
		return fmt.Sprintf("VNIC type %q is not supported", b.VNICType)
	}
	return c.cannotServe(host.Value, n)
}

// cannotServe says in words why a host cannot realise a network now, or "".
func (c *Control) cannotServe(h *model.Host, n *model.Network) string {
	if now := c.now(); !c.HostAlive(h, now) {
		return fmt.Sprintf("the agent on host %q was last heard of %s ago", h.Name, now.Sub(h.HeartbeatAt).Round(1e9))
	}
	return c.cannotCarry(h, n)
}

// cannotCarry says in words why a host cannot realise a network even if it lives, or "".
func (c *Control) cannotCarry(h *model.Host, n *model.Network) string {
	switch g := n.Segment; {
	case h.Agents[model.AgentSwitch].Disabled:
		return fmt.Sprintf("the agent on host %q is disabled", h.Name)
	case g.Physical != "" && h.BridgeMappings[g.Physical] == "":
		return fmt.Sprintf("host %q has no bridge mapped to physical network %q", h.Name, g.Physical)
	case g.Type == model.SegmentVXLAN && !slices.Contains(h.TunnelTypes, string(g.Type)):
		return fmt.Sprintf("host %q does not do %s tunnels", h.Name, g.Type)
	}
	return ""
}

// rebind applies the binding fields of an update. A binding that holds is left alone; one
// that failed is tried again whenever a host is named.
func (c *Control) rebind(p *model.Port, req PortRequest, n *model.Network) {
	old := p.Binding
	b := &p.Binding
	if req.HostID.Set {
		b.Host = model.HostName(req.HostID.Value)
	}
	if b.Host != old.Host {
		dropInactive(p, b.Host)
	}
	set(&b.VNICType, req.VNICType)
	setProfile(b, req.Profile)
	same := b.Host == old.Host && b.VNICType == old.VNICType
	if same && (old.VIFType != model.VIFBindingFailed || !req.HostID.Set) {
		return
	}
	c.bind(p, n)
	if !reflect.DeepEqual(p.Binding, old) {
		p.Status = model.PortDown // until the host says otherwise
	}
}

// setProfile assigns binding:profile when present; {} is nil, as it reads when it comes
// back from the store.
func setProfile(b *model.Binding, o Opt[map[string]any]) {
	if !o.Set {
		return
	}
	if b.Profile = o.Value; len(b.Profile) == 0 {
		b.Profile = nil
	}
}
