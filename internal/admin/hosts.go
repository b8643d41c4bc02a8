package admin

import (
	"net/http"
	"net/netip"
	"time"

	"weft/internal/control"
	"weft/internal/model"
	"weft/internal/store"
)

// HostsPath is where the hosts are.
const HostsPath = "/weft/v1/hosts"

// Host is a host as an administrator sees it.
type Host struct {
	Name    model.HostName    `json:"name"`
	State   control.HostState `json:"state"`
	Drained bool              `json:"drained"`
	Roles   []model.HostRole  `json:"roles"`
	VTEP    netip.Addr        `json:"tunnel_ip,omitzero"`
	// PortCount is how many ports are bound to it, GuestCount and DHCPCount how many of them
	// are of guests and how many serve DHCP.
	PortCount  int `json:"port_count"`
	GuestCount int `json:"guest_count"`
	DHCPCount  int `json:"dhcp_count"`
	// Server is the one that it connected to last, at ConnectedAt.
	Server           string            `json:"server,omitempty"`
	ConnectedAt      time.Time         `json:"connected_at,omitzero"`
	HeartbeatAt      time.Time         `json:"heartbeat_at,omitzero"`
	StartedAt        time.Time         `json:"started_at,omitzero"`
	CreatedAt        time.Time         `json:"created_at,omitzero"`
	Version          string            `json:"version,omitempty"`
	OVSVersion       string            `json:"ovs_version,omitempty"`
	DatapathType     string            `json:"datapath_type,omitempty"`
	BridgeMappings   map[string]string `json:"bridge_mappings"`
	TunnelTypes      []string          `json:"tunnel_types"`
	CertificateUntil time.Time         `json:"certificate_until,omitzero"`
	// Generation counts how often a host joined by this name with a token.
	Generation int       `json:"generation"`
	JoinedAt   time.Time `json:"joined_at,omitzero"`
	RemovedAt  time.Time `json:"removed_at,omitzero"`
	// Ports are those bound to it; only where one host is shown.
	Ports []HostPort `json:"ports,omitempty"`
}

// HostPort is a port bound to a host.
type HostPort struct {
	ID          model.PortID     `json:"id"`
	Name        string           `json:"name,omitempty"`
	DeviceOwner string           `json:"device_owner,omitempty"`
	NetworkID   model.NetworkID  `json:"network_id"`
	Status      model.PortStatus `json:"status"`
}

func hostOf(h control.HostInfo) Host {
	o := Host{Name: h.Name, State: h.State, Drained: h.Drained, Roles: h.Roles, VTEP: h.VTEP, PortCount: len(h.Bound),
		Server: h.Server, ConnectedAt: whole(h.ConnectedAt), HeartbeatAt: whole(h.HeartbeatAt), StartedAt: whole(h.StartedAt), CreatedAt: whole(h.CreatedAt),
		Version: h.AgentVersion, OVSVersion: h.OVSVersion, DatapathType: h.DatapathType,
		BridgeMappings: h.BridgeMappings, TunnelTypes: h.TunnelTypes, CertificateUntil: whole(h.CertificateUntil),
		Generation: h.Identity.Generation, JoinedAt: whole(h.Identity.JoinedAt), RemovedAt: whole(h.Identity.RemovedAt)}
	for _, p := range h.Bound {
		switch {
		case p.DeviceOwner == model.OwnerDHCP:
			o.DHCPCount++
		case !model.TrustedOwner(p.DeviceOwner):
			o.GuestCount++
		}
	}
	return o
}

// whole is a time without what nobody wants to read.
func whole(t time.Time) time.Time { return t.UTC().Truncate(time.Second) }

// fresh waits until all that other servers have written is known here.
func (h handler) fresh(r *http.Request, read func(store.Reader)) error {
	if err := h.Control.Sync(r.Context()); err != nil {
		return err
	}
	h.Control.Read(read)
	return nil
}

func (h handler) listHosts(r *http.Request) (any, error) {
	name := model.HostName(r.URL.Query().Get("name"))
	hosts := []Host{}
	err := h.fresh(r, func(rd store.Reader) {
		for _, i := range h.Control.HostInfos(rd) {
			if i.Name == name || name == "" && i.State != control.HostRemoved {
				hosts = append(hosts, hostOf(i))
			}
		}
	})
	return map[string]any{"hosts": hosts}, err
}

func (h handler) showHost(r *http.Request) (any, error) {
	var one Host
	var missing error
	err := h.fresh(r, func(rd store.Reader) {
		var i control.HostInfo
		if i, missing = h.Control.HostInfo(rd, nameIn(r)); missing != nil {
			return
		}
		one = hostOf(i)
		for _, p := range i.Bound {
			one.Ports = append(one.Ports, HostPort{p.ID, p.Name, p.DeviceOwner, p.NetworkID, p.Status})
		}
	})
	if err == nil {
		err = missing
	}
	return map[string]any{"host": one}, err
}

func nameIn(r *http.Request) model.HostName { return model.HostName(r.PathValue("name")) }

func (h handler) drainHost(r *http.Request) (any, error) {
	if err := h.Control.DrainHost(r.Context(), nameIn(r)); err != nil {
		return nil, err
	}
	h.Log.Info("host drained", "host", nameIn(r))
	return h.showHost(r)
}

func (h handler) undrainHost(r *http.Request) (any, error) {
	if err := h.Control.UndrainHost(r.Context(), nameIn(r)); err != nil {
		return nil, err
	}
	h.Log.Info("host is drained no longer", "host", nameIn(r))
	return h.showHost(r)
}

func (h handler) removeHost(r *http.Request) (any, error) {
	return nil, h.Control.RemoveHost(r.Context(), nameIn(r), control.Removal{Force: r.URL.Query().Get("force") == "true"})
}
