package control_test

import (
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"weft/internal/access"
	"weft/internal/control"
	"weft/internal/model"
	"weft/internal/store"
)

// TestSharingStaysSound: whatever owners, others and administrators do to networks, the
// policies about them and ports on them, and however often it is refused, a network says
// of itself what its policies say, and nobody keeps a port where it may not have one.
func TestSharingStaysSound(t *testing.T) {
	c := newCloud(t)
	projects := []model.ProjectID{"p1", "p2", "p3"}
	rapid.Check(t, func(t *rapid.T) {
		var networks []model.NetworkID
		for _, p := range projects[:2] {
			networks = append(networks, c.network(control.NetworkRequest{Project: p, Shared: ptr(rapid.Bool().Draw(t, "shared"))}).ID)
		}
		network := func() model.NetworkID { return rapid.SampledFrom(networks).Draw(t, "network") }
		project := func() model.ProjectID { return rapid.SampledFrom(projects).Draw(t, "project") }
		as := func(p model.ProjectID) access.Caller {
			return access.Caller{ProjectID: p, Roles: access.Expand([]string{"member"})}
		}
		target := func() model.ProjectID {
			return rapid.SampledFrom(append(projects[:3:3], model.AllProjects)).Draw(t, "target")
		}
		policies := func() []string {
			var ids []string
			c.Read(func(r store.Reader) {
				for _, n := range networks {
					for e := range store.RBACPolicies.By(r, "object", string(n)) {
						ids = append(ids, e.Value.ID)
					}
				}
			})
			slices.Sort(ids)
			return append(ids, "none")
		}
		ctx := c.t.Context()
		verbs := []func() error{
			func() error {
				var ch control.Change[model.RBACPolicy]
				n, to := network(), target()
				action := rapid.SampledFrom([]string{model.AccessAsShared, model.AccessAsExternal}).Draw(t, "action")
				ch.Default(func(p *model.RBACPolicy) {
					p.ObjectType, p.ObjectID, p.Action, p.Target = "network", string(n), action, to
				})
				_, err := c.CreateRBACPolicies(ctx, []control.Change[model.RBACPolicy]{ch})
				return err
			},
			func() error {
				var ch control.Change[model.RBACPolicy]
				to := target()
				ch.Default(func(p *model.RBACPolicy) { p.Target = to })
				_, err := c.UpdateRBACPolicy(ctx, rapid.SampledFrom(policies()).Draw(t, "policy"), ch)
				return err
			},
			func() error {
				return c.DeleteRBACPolicy(ctx, rapid.SampledFrom(policies()).Draw(t, "policy"), control.Opt[int]{})
			},
			func() error {
				_, err := c.UpdateNetwork(ctx, network(), control.NetworkRequest{Shared: ptr(rapid.Bool().Draw(t, "shared"))})
				return err
			},
			func() error {
				_, err := c.UpdateNetwork(ctx, network(), control.NetworkRequest{External: ptr(rapid.Bool().Draw(t, "external"))})
				return err
			},
			func() error {
				p, id := project(), network()
				if n, err := c.Network(ctx, id); err == nil && n.Value.External {
					return nil // where the API's policy is in the way
				}
				_, err := c.CreatePort(control.WithCaller(ctx, as(p)), control.PortRequest{Project: p, NetworkID: id})
				return err
			},
			func() error {
				var ports []model.PortID
				c.Read(func(r store.Reader) {
					for e := range r.PortsOf(network()) {
						ports = append(ports, e.Value.ID)
					}
				})
				slices.Sort(ports)
				return c.DeletePort(ctx, rapid.SampledFrom(append(ports, "none")).Draw(t, "port"), control.Opt[int]{})
			},
			func() error { return c.DeleteNetwork(ctx, network(), control.Opt[int]{}) },
		}
		for range rapid.IntRange(1, 15).Draw(t, "verbs") {
			err := rapid.SampledFrom(verbs).Draw(t, "verb")()
			var fault model.Fault
			var missing model.NotFound
			if err != nil && !errors.As(err, &fault) && !errors.As(err, &missing) {
				t.Fatal(err)
			}
			c.Read(func(r store.Reader) {
				for _, id := range networks {
					if e := r.Network(id); e != nil {
						saysWhatIsSo(t, r, e.Value)
					}
				}
			})
		}
		for _, id := range networks {
			var ports []model.PortID
			c.Read(func(r store.Reader) {
				for e := range r.PortsOf(id) {
					ports = append(ports, e.Value.ID)
				}
			})
			for _, p := range ports {
				if err := c.DeletePort(ctx, p, control.Opt[int]{}); err != nil {
					t.Fatal(err)
				}
			}
			if err := c.DeleteNetwork(ctx, id, control.Opt[int]{}); err != nil && !errors.As(err, new(model.NotFound)) {
				t.Fatal(err)
			}
		}
		problems, err := control.Fsck(ctx, c.client)
		if err != nil || len(problems) > 0 {
			t.Fatalf("%v %v", problems, err)
		}
	})
}

// saysWhatIsSo compares a network with the policies about it and the ports on it.
func saysWhatIsSo(t *rapid.T, r store.Reader, n *model.Network) {
	shared, external := false, false
	for e := range store.RBACPolicies.By(r, "object", string(n.ID)) {
		shared = shared || e.Value.Action == model.AccessAsShared && e.Value.Target == model.AllProjects
		external = external || e.Value.Action == model.AccessAsExternal
	}
	if n.Shared != shared || n.External != external {
		t.Fatalf("network is shared %v and external %v, by its policies %v and %v", n.Shared, n.External, shared, external)
	}
	for e := range r.PortsOf(n.ID) {
		p := e.Value
		if p.Project != n.Project && !control.SharedWith(r, string(n.ID), p.Project) {
			t.Fatalf("a port of %s is on a network of %s that is not shared with it", p.Project, n.Project)
		}
	}
}
