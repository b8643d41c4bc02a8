package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"weft/internal/client"
	"weft/internal/inspect"
)

// portAPI is what weft plug, unplug, trace and demo do with the API. They have no back door.
type portAPI struct{ *client.Client }

// apiPort is what the commands need of a port's record.
type apiPort struct {
	ID        string `json:"id"`
	Name      string `json:"name"`
	NetworkID string `json:"network_id"`
	MAC       string `json:"mac_address"`
	Status    string `json:"status"`
	HostID    string `json:"binding:host_id"`
	VIFType   string `json:"binding:vif_type"`
	DeviceID  string `json:"device_id"`
	FixedIPs  []struct {
		SubnetID string `json:"subnet_id"`
		Addr     string `json:"ip_address"`
	} `json:"fixed_ips"`
}

// port finds a port by ID or else by name.
func (c portAPI) port(ctx context.Context, ref string) (apiPort, error) {
	raw, err := c.Find(ctx, nounOf("port").Collection, ref)
	if err != nil {
		return apiPort{}, err
	}
	var p apiPort
	return p, json.Unmarshal(raw, &p)
}

// mtu is the MTU of a network.
func (c portAPI) mtu(ctx context.Context, network string) (int, error) {
	var one struct {
		Network struct {
			MTU int `json:"mtu"`
		}
	}
	err := c.Do(ctx, http.MethodGet, "/v2.0/networks/"+url.PathEscape(network), nil, &one)
	return one.Network.MTU, err
}

// bind binds a port to a host, or unbinds it from its host when host is empty, and returns
// the port as it then is. That a binding fails is no error here: the port says so.
func (c portAPI) bind(ctx context.Context, id, host string) (apiPort, error) {
	var out struct{ Port apiPort }
	err := c.Do(ctx, http.MethodPut, "/v2.0/ports/"+url.PathEscape(id),
		map[string]any{"port": map[string]any{"binding:host_id": host}}, &out)
	return out.Port, err
}

// trace asks for the ports that ref means, as JSON of a trace.Report.
func (c portAPI) trace(ctx context.Context, ref string) (json.RawMessage, error) {
	return c.inspect(ctx, inspect.Path, url.Values{"q": {ref}})
}

// awaitStatus waits until the port has the status; it asks more often at first.
func (c portAPI) awaitStatus(ctx context.Context, id, status string) (apiPort, error) {
	for wait := 2 * time.Millisecond; ; wait = min(2*wait, 200*time.Millisecond) {
		p, err := c.port(ctx, id)
		if err != nil || p.Status == status {
			return p, err
		}
		select {
		case <-ctx.Done():
			return p, fmt.Errorf("port %s is %s, not %s", id, p.Status, status)
		case <-time.After(wait):
		}
	}
}
