package control_test

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"weft/internal/control"
	"weft/internal/model"
	"weft/internal/store"
	"weft/internal/store/storetest"
)

// cloud is a Control on a real etcd, with shorthands that fail the test.
type cloud struct {
	*control.Control
	t      testing.TB
	client *store.Client
	store  *store.Store
}

func testConfig() control.Config {
	cfg := control.DefaultConfig()
	cfg.VLANRanges = map[string][2]int{"physnet1": {100, 102}, "bare": {0, 0}}
	cfg.FlatNetworks = []string{"physnet1"}
	return cfg
}

func newCloud(t testing.TB) *cloud {
	client := storetest.Etcd(t)
	return cloudOn(t, client, nil)
}

func cloudOn(t testing.TB, client *store.Client, now func() time.Time) *cloud {
	s := storetest.OpenWith(t, client, store.Options{Now: now})
	return &cloud{Control: control.New(control.Options{Store: s, Config: testConfig(), Now: now}), t: t, client: client, store: s}
}

func (c *cloud) network(req control.NetworkRequest) *model.Network {
	c.t.Helper()
	e, err := c.CreateNetwork(c.t.Context(), req)
	if err != nil {
		c.t.Fatal(err)
	}
	return e.Value
}

func (c *cloud) subnet(n *model.Network, cidr string) *model.Subnet {
	c.t.Helper()
	e, err := c.CreateSubnet(c.t.Context(), control.SubnetRequest{NetworkID: n.ID, CIDR: netip.MustParsePrefix(cidr)})
	if err != nil {
		c.t.Fatal(err)
	}
	return e.Value
}

func (c *cloud) port(req control.PortRequest) *model.Port {
	c.t.Helper()
	e, err := c.CreatePort(c.t.Context(), req)
	if err != nil {
		c.t.Fatal(err)
	}
	return e.Value
}

func (c *cloud) host(h model.Host) *model.Host {
	c.t.Helper()
	if h.IntegrationBridge == "" {
		h.IntegrationBridge, h.DatapathType, h.TunnelTypes = "br-int", "netdev", []string{"vxlan"}
	}
	made, err := c.RegisterHost(c.t.Context(), h)
	if err != nil {
		c.t.Fatal(err)
	}
	return made
}

func (c *cloud) dhcpPort(n model.NetworkID) *model.Port {
	var found *model.Port
	c.Read(func(r store.Reader) {
		for e := range r.PortsOf(n) {
			if e.Value.DeviceOwner == model.OwnerDHCP {
				found = e.Value
			}
		}
	})
	return found
}

// sound fails the test when fsck finds a problem.
func (c *cloud) sound() {
	c.t.Helper()
	problems, err := control.Fsck(c.t.Context(), c.client)
	if err != nil {
		c.t.Fatal(err)
	}
	for _, p := range problems {
		c.t.Error("fsck:", p)
	}
}

// wantFault checks the kind and the text of an error.
func wantFault(t testing.TB, err error, kind model.FaultKind, message string) {
	t.Helper()
	var f model.Fault
	if !errors.As(err, &f) {
		t.Errorf("got %v, want fault %d: %s", err, kind, message)
		return
	}
	if f.Kind != kind || f.Message != message {
		t.Errorf("got fault %d: %s\nwant    %d: %s", f.Kind, f.Message, kind, message)
	}
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func ptr[T any](v T) control.Opt[T] { return control.Some(v) }
