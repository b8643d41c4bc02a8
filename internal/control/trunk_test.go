package control_test

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"weft/internal/control"
	"weft/internal/model"
	"weft/internal/store"
)

// TestTrunksAndBindingsStaySound: whatever is done to ports by trunks and bindings, and
// however often it is refused, nothing is left half done.
func TestTrunksAndBindingsStaySound(t *testing.T) {
	c := newCloud(t)
	c.host(model.Host{Name: "h1"})
	c.host(model.Host{Name: "h2"})
	n := c.network(control.NetworkRequest{})
	rapid.Check(t, func(t *rapid.T) {
		ctx := c.t.Context()
		var ports []model.PortID
		for range 4 {
			e, err := c.CreatePort(ctx, control.PortRequest{NetworkID: n.ID, DeviceOwner: ptr("compute:nova")})
			if err != nil {
				t.Fatal(err)
			}
			ports = append(ports, e.Value.ID)
		}
		port := func() model.PortID { return rapid.SampledFrom(ports).Draw(t, "port") }
		host := func() model.HostName { return rapid.SampledFrom([]model.HostName{"h1", "h2", "h3"}).Draw(t, "host") }
		trunk := func() string {
			var ids []string
			c.Read(func(r store.Reader) {
				for e := range store.Trunks.All(r) {
					ids = append(ids, e.Value.ID)
				}
			})
			if len(ids) == 0 {
				return "none"
			}
			return rapid.SampledFrom(ids).Draw(t, "trunk")
		}
		sub := func() model.SubPort {
			return model.SubPort{PortID: port(), Type: "vlan", ID: rapid.IntRange(1, 2).Draw(t, "vlan")}
		}
		verbs := map[string]func() error{
			"trunk": func() error {
				var ch control.Change[model.Trunk]
				id, up := port(), rapid.Bool().Draw(t, "up")
				ch.Default(func(t *model.Trunk) { t.PortID, t.AdminStateUp = id, up })
				_, err := c.CreateTrunks(ctx, []control.Change[model.Trunk]{ch})
				return err
			},
			"add":     func() error { _, err := c.AddSubPorts(ctx, trunk(), []model.SubPort{sub(), sub()}); return err },
			"remove":  func() error { _, err := c.RemoveSubPorts(ctx, trunk(), []model.PortID{port()}); return err },
			"untrunk": func() error { return c.DeleteTrunk(ctx, trunk(), control.Opt[int]{}) },
			"mac": func() error {
				_, err := c.UpdatePort(ctx, port(), control.PortRequest{MAC: ptr(model.MAC{})})
				return err
			},
			"delete": func() error { return c.DeletePort(ctx, port(), control.Opt[int]{}) },
			"bind": func() error {
				_, err := c.UpdatePort(ctx, port(), control.PortRequest{HostID: ptr(string(host()))})
				return err
			},
			"bind too": func() error {
				_, err := c.AddBinding(ctx, port(), control.BindingRequest{Host: ptr(string(host()))})
				return err
			},
			"activate": func() error { _, err := c.ActivateBinding(ctx, port(), host()); return err },
			"unbind":   func() error { return c.RemoveBinding(ctx, port(), host()) },
		}
		for range rapid.IntRange(1, 20).Draw(t, "verbs") {
			name := rapid.SampledFrom([]string{"trunk", "add", "remove", "untrunk", "mac", "delete", "bind", "bind too", "activate", "unbind"}).Draw(t, "verb")
			err := verbs[name]()
			switch err.(type) {
			case nil, model.Fault, model.NotFound:
			default:
				t.Fatalf("%s: %v", name, err)
			}
		}
		c.Read(func(r store.Reader) {
			for _, id := range ports {
				if e := r.Port(id); e != nil {
					oneHostEach(t, e.Value)
				}
			}
		})
	})
	c.sound()
}

// oneHostEach fails when a port has two bindings to one host.
func oneHostEach(t *rapid.T, p *model.Port) {
	seen := map[string]bool{}
	for _, b := range append([]model.Binding{p.Binding}, p.Inactive...) {
		key := fmt.Sprint(b.Host)
		if seen[key] {
			t.Fatalf("port %s is bound twice to %q", p.ID, key)
		}
		seen[key] = true
	}
}
