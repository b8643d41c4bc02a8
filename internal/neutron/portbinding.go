package neutron

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"

	"weft/internal/access"
	"weft/internal/control"
	"weft/internal/model"
	"weft/internal/store"
)

// portBinding is a row of /v2.0/ports/{id}/bindings: a port's binding to one host.
type portBinding struct {
	model.Binding
	port   *model.Port
	active bool
}

type (
	bindingRequest   = control.BindingRequest
	bindingAttribute = attribute[portBinding, bindingRequest]
)

const kindPortBinding model.Kind = "port_binding"

// portBindings is the table of /v2.0/ports/{id}/bindings.
func portBindings() *table[portBinding, bindingRequest] {
	return newTable(table[portBinding, bindingRequest]{
		kind: kindPortBinding, singular: "binding", plural: "bindings", rules: "port_binding",
		attributes: []bindingAttribute{
			{name: "host", use: post | put | need | filter, kind: "string(255)",
				take: takeText(func(r *bindingRequest) *control.Opt[string] { return &r.Host }, maxName),
				text: func(b *portBinding) string { return string(b.Host) }},
			{name: "vif_type", use: filter, text: func(b *portBinding) string { return vifType(&b.Binding) }},
			{name: "vnic_type", def: "normal", use: post | put | filter, kind: "VNIC type",
				take: takeVNIC(func(r *bindingRequest) *control.Opt[string] { return &r.VNICType }),
				text: func(b *portBinding) string { return vnicType(&b.Binding) }},
			{name: "status", use: filter, text: func(b *portBinding) string {
				if b.active {
					return "ACTIVE"
				}
				return "INACTIVE"
			}},
			{name: "profile", use: post | put, kind: "object",
				take: takeProfile(func(r *bindingRequest) *control.Opt[map[string]any] { return &r.Profile }),
				wire: func(w []byte, b *portBinding, _ *aside) []byte { return appendProfile(w, &b.Binding) }},
			{name: "vif_details", kind: "object", wire: func(w []byte, b *portBinding, _ *aside) []byte {
				return appendVIFDetails(w, &b.Binding, true)
			}},
		},
		project:  func(r *bindingRequest) *model.ProjectID { return &r.Project },
		revision: func(r *bindingRequest) *control.Opt[int] { return &r.IfRevision },
		owner:    func(b *portBinding) model.ProjectID { return b.port.Project },
	})
}

// bindingsOf lists the bindings of a port, the active one first.
func bindingsOf(e *store.Entry[model.Port]) []*store.Entry[portBinding] {
	if e == nil {
		return nil
	}
	list := []*store.Entry[portBinding]{{Value: &portBinding{e.Value.Binding, e.Value, true}}}
	for _, b := range e.Value.Inactive {
		list = append(list, &store.Entry[portBinding]{Value: &portBinding{b, e.Value, false}})
	}
	return list
}

// bindingOf finds the binding of a port to a host.
func bindingOf(e *store.Entry[model.Port], host string) *store.Entry[portBinding] {
	for _, b := range bindingsOf(e) {
		if string(b.Value.Host) == host {
			return b
		}
	}
	return nil
}

// portBindingCollection makes the collection of one port's bindings.
func portBindingCollection(c *control.Control, t *table[portBinding, bindingRequest]) func(parent string) *collection[portBinding, bindingRequest] {
	return func(parent string) *collection[portBinding, bindingRequest] {
		id := model.PortID(parent)
		return &collection[portBinding, bindingRequest]{
			table: t,
			id:    func(b *portBinding) string { return string(b.Host) },
			find: func(r store.Reader, host string) *store.Entry[portBinding] {
				return bindingOf(r.Port(id), host)
			},
			list: func(r store.Reader, _ *query[portBinding, bindingRequest]) iter.Seq[*store.Entry[portBinding]] {
				return func(yield func(*store.Entry[portBinding]) bool) {
					for _, e := range bindingsOf(r.Port(id)) {
						if !yield(e) {
							return
						}
					}
				}
			},
			inside: func(r store.Reader, _ access.Caller) error {
				e := r.Port(id)
				if e == nil {
					return model.NotFound{Kind: model.KindPort, ID: parent}
				}
				return control.SeveralBindings(e.Value)
			},
			missing: func(host string) error {
				return fault{Status: 404, Type: "PortBindingNotFound",
					Message: fmt.Sprintf("Binding for port %s for host %s could not be found.", parent, host)}
			},
			create: func(ctx context.Context, many []bindingRequest) ([]*store.Entry[portBinding], error) {
				if len(many) > 1 {
					return nil, badRequest("Bulk operation not supported")
				}
				e, err := c.AddBinding(ctx, id, many[0])
				return []*store.Entry[portBinding]{bindingOf(e, many[0].Host.Value)}, err
			},
			update: func(ctx context.Context, host string, r bindingRequest) (*store.Entry[portBinding], error) {
				e, err := c.ChangeBinding(ctx, id, model.HostName(host), r)
				return bindingOf(e, r.Host.Or(host)), err
			},
			remove: func(ctx context.Context, host string, _ control.Opt[int]) error {
				return c.RemoveBinding(ctx, id, model.HostName(host))
			},
			actions: []action{{name: "activate", rule: "activate", serve: func(ctx context.Context, host string, _ map[string]any) (any, error) {
				e, err := c.ActivateBinding(ctx, id, model.HostName(host))
				if err != nil {
					return nil, err
				}
				return json.RawMessage(t.encode(nil, bindingOf(e, host).Value, &aside{}, store.WholeView, nil)), nil
			}}},
		}
	}
}
