package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"weft/internal/inspect"
)

// client speaks to the API as any other client would: the commands have no back door.
type client struct {
	base string
	http *http.Client
}

func newClient(base string) *client {
	return &client{base: strings.TrimSuffix(base, "/"), http: &http.Client{Timeout: 30 * time.Second}}
}

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

// apiError is an answer that is not a success.
type apiError struct {
	Status  int
	Type    string
	Message string
}

// Error says it as the API did.
func (e apiError) Error() string {
	if e.Message == "" {
		return fmt.Sprintf("the API answered %d", e.Status)
	}
	return fmt.Sprintf("the API answered %d: %s", e.Status, e.Message)
}

// do sends in as JSON, if not nil, and reads the answer into out, if not nil.
func (c *client) do(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return err
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("%w (is weft running, and is --api right?)", err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	if resp.StatusCode >= 300 {
		return readError(resp.StatusCode, b)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(b, out); err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	return nil
}

func readError(status int, body []byte) error {
	var fault struct {
		NeutronError struct{ Type, Message string }
		// What is weft's own says it so.
		Error string
	}
	e := apiError{Status: status}
	if json.Unmarshal(body, &fault) == nil {
		e.Type, e.Message = fault.NeutronError.Type, cmpOr(fault.NeutronError.Message, fault.Error)
	}
	return e
}

// port finds a port by ID or else by name.
func (c *client) port(ctx context.Context, ref string) (apiPort, error) {
	var one struct{ Port apiPort }
	err := c.do(ctx, http.MethodGet, "/v2.0/ports/"+url.PathEscape(ref), nil, &one)
	if err == nil {
		return one.Port, nil
	}
	var e apiError
	if !errors.As(err, &e) || e.Status != http.StatusNotFound {
		return apiPort{}, err
	}
	var list struct{ Ports []apiPort }
	if err := c.do(ctx, http.MethodGet, "/v2.0/ports?name="+url.QueryEscape(ref), nil, &list); err != nil {
		return apiPort{}, err
	}
	switch len(list.Ports) {
	case 0:
		return apiPort{}, fmt.Errorf("no port has the ID or name %q", ref)
	case 1:
		return list.Ports[0], nil
	}
	return apiPort{}, fmt.Errorf("%d ports are named %q; use the ID", len(list.Ports), ref)
}

// mtu is the MTU of a network.
func (c *client) mtu(ctx context.Context, network string) (int, error) {
	var one struct {
		Network struct {
			MTU int `json:"mtu"`
		}
	}
	err := c.do(ctx, http.MethodGet, "/v2.0/networks/"+url.PathEscape(network), nil, &one)
	return one.Network.MTU, err
}

// bind binds a port to a host, or unbinds it from its host when host is empty, and returns
// the port as it then is. That a binding fails is no error here: the port says so.
func (c *client) bind(ctx context.Context, id, host string) (apiPort, error) {
	var out struct{ Port apiPort }
	err := c.do(ctx, http.MethodPut, "/v2.0/ports/"+url.PathEscape(id),
		map[string]any{"port": map[string]any{"binding:host_id": host}}, &out)
	return out.Port, err
}

// chain asks for the chain of one port, by whatever names it, as JSON of a trace.Chain.
func (c *client) chain(ctx context.Context, ref string) (json.RawMessage, error) {
	var raw json.RawMessage
	err := c.do(ctx, http.MethodGet, inspect.Path+"?q="+url.QueryEscape(ref), nil, &raw)
	var e apiError
	if errors.As(err, &e) && e.Message != "" {
		return nil, errors.New(e.Message)
	}
	return raw, err
}

// awaitStatus waits until the port has the status; it asks more often at first.
func (c *client) awaitStatus(ctx context.Context, id, status string) (apiPort, error) {
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
