package neutron

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"

	"weft/internal/control"
	"weft/internal/model"
	"weft/internal/store"
)

// trunks is the table of /v2.0/trunks.
func trunks() *table[model.Trunk, change[model.Trunk]] {
	return simple(table[model.Trunk, change[model.Trunk]]{
		kind: model.KindTrunk, singular: "trunk", plural: "trunks",
		attributes: []attribute[model.Trunk, change[model.Trunk]]{
			flagAt("admin_state_up", post|put|filter|order, true, func(t *model.Trunk) *bool { return &t.AdminStateUp }),
			idOf(func(t *model.Trunk) *string { return &t.ID }),
			textAt("name", post|put|filter|order, maxName, func(t *model.Trunk) *string { return &t.Name }),
			{name: "port_id", use: post | need | filter | order, kind: "UUID",
				take: func(ch *change[model.Trunk], name string, v any) error {
					id, reason := toUUID(v)
					if reason != "" {
						return invalidFor(name, reason)
					}
					ch.Set(name, func(t *model.Trunk) { t.PortID = model.PortID(id) })
					return nil
				},
				text: func(t *model.Trunk) string { return string(t.PortID) }},
			{name: "status", use: filter | order, kind: "string", text: func(t *model.Trunk) string { return t.Status }},
			{name: "sub_ports", use: post, def: []any{}, kind: "list of {port_id, segmentation_type, segmentation_id}",
				take: func(ch *change[model.Trunk], name string, v any) error {
					subs, reason := toSubPorts(v)
					if reason != "" {
						return invalidFor(name, reason)
					}
					if err := allSegmented(subs); err != nil {
						return err
					}
					ch.Set(name, func(t *model.Trunk) { t.SubPorts = plain(subs) })
					return nil
				},
				wire: func(b []byte, t *model.Trunk, _ *aside) []byte { return appendList(b, t.SubPorts, appendSubPort) }},
		},
	}, func(t *model.Trunk) *model.Meta { return &t.Meta }, func(t *model.Trunk) *model.ProjectID { return &t.Project })
}

// trunkCollection joins the table of trunks to the verbs.
func trunkCollection(c *control.Control) *collection[model.Trunk, change[model.Trunk]] {
	t := trunks()
	answer := func(e *store.Entry[model.Trunk], err error) (any, error) {
		if err != nil {
			return nil, err
		}
		return json.RawMessage(t.encode(nil, e.Value, &aside{}, store.WholeView, nil)), nil
	}
	return &collection[model.Trunk, change[model.Trunk]]{
		table: t,
		id:    func(t *model.Trunk) string { return t.ID },
		find:  func(r store.Reader, id string) *store.Entry[model.Trunk] { return store.Trunks.Get(r, id) },
		list: func(r store.Reader, q *query[model.Trunk, change[model.Trunk]]) iter.Seq[*store.Entry[model.Trunk]] {
			if ids, ok := q.wanted("port_id"); ok {
				return each(ids, func(id string) iter.Seq[*store.Entry[model.Trunk]] { return store.Trunks.By(r, "parent", id) })
			}
			return indexed(r, store.Trunks, q)
		},
		create: c.CreateTrunks, update: c.UpdateTrunk, remove: c.DeleteTrunk,
		actions: []action{
			{name: "get_subports", method: "GET", rule: "get_subports", serve: func(_ context.Context, id string, _ map[string]any) (any, error) {
				var e *store.Entry[model.Trunk]
				if c.Read(func(r store.Reader) { e = store.Trunks.Get(r, id) }); e == nil {
					return nil, model.NotFound{Kind: model.KindTrunk, ID: id}
				}
				return map[string]any{"sub_ports": json.RawMessage(appendList(nil, e.Value.SubPorts, appendSubPort))}, nil
			}},
			{name: "add_subports", rule: "add_subports", serve: func(ctx context.Context, id string, body map[string]any) (any, error) {
				subs, err := givenSubPorts(body)
				if err == nil {
					err = allSegmented(subs)
				}
				if err != nil {
					return nil, err
				}
				return answer(c.AddSubPorts(ctx, id, plain(subs)))
			}},
			{name: "remove_subports", rule: "remove_subports", serve: func(ctx context.Context, id string, body map[string]any) (any, error) {
				subs, err := givenSubPorts(body)
				if err != nil {
					return nil, err
				}
				ids := make([]model.PortID, len(subs))
				for i, s := range subs {
					ids[i] = s.PortID
				}
				return answer(c.RemoveSubPorts(ctx, id, ids))
			}},
		},
		aliases: []string{"trunk", "trunk-details"},
	}
}

// subPort is a subport as it was given, which may lack its segmentation.
type subPort struct {
	model.SubPort
	given map[string]any
}

func plain(subs []subPort) []model.SubPort {
	out := make([]model.SubPort, len(subs))
	for i, s := range subs {
		out[i] = s.SubPort
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

// givenSubPorts reads the subports of an action's body.
func givenSubPorts(body map[string]any) ([]subPort, error) {
	subs, reason := toSubPorts(body["sub_ports"])
	if reason != "" {
		return nil, invalidInput("%s", reason)
	}
	return subs, nil
}

const textNoSegmentation = "Invalid subport details '%s': missing segmentation information. Must specify both segmentation_id and segmentation_type"

// toSubPorts reads a list of subports: each port once, each segmentation once. One of a
// port alone is a subport to remove.
func toSubPorts(v any) ([]subPort, string) {
	list, ok := v.([]any)
	if !ok {
		return nil, fmt.Sprintf("Invalid data format for subports: '%s' is not a list", pyStr(v))
	}
	var out []subPort
	seen, used := map[string]bool{}, map[string]bool{}
	for _, e := range list {
		d, ok := e.(map[string]any)
		if !ok {
			return nil, fmt.Sprintf("Invalid data format for subport: '%s' is not a dict", pyStr(e))
		}
		p, has := d["port_id"]
		if !has {
			return nil, "A valid port UUID must be specified"
		}
		id, reason := toUUID(p)
		switch {
		case reason != "":
			return nil, fmt.Sprintf("Invalid UUID for subport: '%s'", pyStr(p))
		case seen[id]:
			return nil, fmt.Sprintf("Non unique UUID for subport: '%s'", id)
		}
		seen[id] = true
		s := subPort{given: d}
		s.PortID = model.PortID(id)
		s.Type, _ = d["segmentation_type"].(string)
		number := d["segmentation_id"]
		if s.Type != model.SegmentationInherit {
			if (s.Type == "" || number == nil) && len(d) > 1 {
				return nil, fmt.Sprintf(textNoSegmentation, pyStr(d))
			}
			key := s.Type + "/" + pyStr(number)
			if number != nil && used[key] {
				return nil, fmt.Sprintf("Segmentation ID '%s' for '%s' is not unique", pyStr(number), id)
			}
			used[key] = true
		}
		out = append(out, s)
	}
	return out, ""
}

// allSegmented reads the segmentation of subports that are to be in a trunk.
func allSegmented(subs []subPort) error {
	for i := range subs {
		s := &subs[i]
		number, has := s.given["segmentation_id"]
		if s.Type == model.SegmentationInherit {
			continue
		}
		if s.Type == "" || !has {
			return invalidInput(textNoSegmentation, pyStr(s.given))
		}
		n, err := toInt(number)
		if err != nil {
			return invalidInput("Invalid subport details: segmentation_id '%s' is not an integer", pyStr(number))
		}
		s.ID = int(n)
	}
	return nil
}

func appendSubPort(b []byte, s model.SubPort) []byte {
	b = append(b, `{"port_id":`...)
	b = appendString(b, string(s.PortID))
	b = append(b, `,"segmentation_id":`...)
	b = appendInt(b, int64(s.ID))
	b = append(b, `,"segmentation_type":`...)
	b = appendString(b, s.Type)
	return append(b, '}')
}

// trunkOf is what a port shows of the trunk that it is the parent of.
type trunkOf struct {
	id   string
	subs []model.SubPort
	macs []string
}

// trunkDetails finds what a port shows of its trunk; nil when it has none.
func trunkDetails(r store.Reader, p *model.Port) *trunkOf {
	e := r.TrunkOfParent(p.ID)
	if e == nil {
		return nil
	}
	t := &trunkOf{id: e.Value.ID, subs: e.Value.SubPorts}
	for _, s := range t.subs {
		mac := ""
		if sub := r.Port(s.PortID); sub != nil {
			mac = sub.Value.MAC.String()
		}
		t.macs = append(t.macs, mac)
	}
	return t
}

func (t *trunkOf) append(b []byte) []byte {
	b = append(b, `{"trunk_id":`...)
	b = appendString(b, t.id)
	b = append(b, `,"sub_ports":[`...)
	for i, s := range t.subs {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendSubPort(b, s)
		b = append(b[:len(b)-1], `,"mac_address":`...)
		b = append(appendString(b, t.macs[i]), '}')
	}
	return append(b, ']', '}')
}
