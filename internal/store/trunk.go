package store

import "weft/internal/model"

// Trunks: a port has one place in one trunk at most, as the parent or as a subport.
var Trunks = define(definition[model.Trunk]{
	kind: model.KindTrunk,
	id:   func(t *model.Trunk) string { return t.ID },
	indexes: map[string]func(*model.Trunk) []string{
		"project": func(t *model.Trunk) []string { return []string{string(t.Project)} },
		"parent":  func(t *model.Trunk) []string { return []string{string(t.PortID)} },
		"subport": subPorts,
	},
	unique: trunkPorts,
	refs: func(t *model.Trunk) []Ref {
		var refs []Ref
		for _, id := range trunkPorts(t) {
			refs = append(refs, Ref{model.KindPort, id})
		}
		return refs
	},
})

func subPorts(t *model.Trunk) []string {
	ids := make([]string, len(t.SubPorts))
	for i, s := range t.SubPorts {
		ids[i] = string(s.PortID)
	}
	return ids
}

func trunkPorts(t *model.Trunk) []string { return append([]string{string(t.PortID)}, subPorts(t)...) }

// TrunkOfParent returns the trunk that a port is the parent of, or nil.
func (r Reader) TrunkOfParent(id model.PortID) *Entry[model.Trunk] {
	for e := range Trunks.By(r, "parent", string(id)) {
		return e
	}
	return nil
}

// TrunkOfSubPort returns the trunk that a port is a subport of, or nil.
func (r Reader) TrunkOfSubPort(id model.PortID) *Entry[model.Trunk] {
	for e := range Trunks.By(r, "subport", string(id)) {
		return e
	}
	return nil
}
