package ovs

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/ovn-kubernetes/libovsdb/ovsdb"

	"weft/internal/plan/vswitch"
)

// deadVLAN is where ports are that nobody has wired: Neutron's number for it.
const deadVLAN = 4095

// wiring are the keys of a port's other_config that say what it is wired to.
var wiring = []string{"net_uuid", "network_type", "physical_network", "segmentation_id", "tag"}

// Settings of the controller row of each bridge.
const (
	// inactivityProbe is Neutron's, in milliseconds.
	inactivityProbe = 10000
	// maxBackoff is how long a bridge should wait at most before it tries to reach the
	// controller again. OVS allows no less; OVS 3.1 was seen to wait eight seconds all
	// the same, which is why Apply can also go to the bridge (see reach).
	maxBackoff = 1000
	// outOfBand: the controller is on this host, so no hidden flows are needed to reach it.
	outOfBand = "out-of-band"
)

// changes is everything that must be done to the database, in an order in which each
// can be done alone. seen says which interfaces were there when the plan was made.
func changes(s *snapshot, want *vswitch.Switch, integration string, seen map[string]bool) []change {
	var list []change
	add := func(object, op string, ops ...ovsdb.Operation) {
		if len(ops) > 0 {
			list = append(list, change{object, op, ops})
		}
	}
	if s.root == nil {
		return nil
	}
	if want.Manager != "" {
		add("manager "+want.Manager, "set", managerOps(s, want.Manager)...)
	}
	at := s.bridgeOf
	for i := range want.Bridges {
		b := &want.Bridges[i]
		row := s.bridges[b.Name]
		if row == nil {
			add("bridge "+b.Name, "create", newBridge(s, b)...)
		} else {
			add("bridge "+b.Name, "set", bridgeOps(s, row, b)...)
		}
		keep := map[string]bool{b.Name: true}
		for j := range b.Ports {
			p := &b.Ports[j]
			keep[p.Name] = true
			op := "set"
			if s.ports[p.Name] == nil {
				op = "create"
			}
			add("port "+p.Name, op, portOps(s, b.Name, p, at)...)
		}
		for _, t := range b.Tags {
			keep[t.Name] = true
			if r := s.ports[t.Name]; r != nil && at[r.UUID] == b.Name && !tagged(r, t) {
				add("port "+t.Name, "tag", tagOp(r, t))
			}
		}
		if row != nil {
			for _, c := range removals(s, row, keep, b.Name == integration, seen) {
				add(c.object, c.op, c.ops...)
			}
		}
	}
	for _, c := range bridgeRemovals(s, want) {
		add(c.object, c.op, c.ops...)
	}
	return list
}

func managerOps(s *snapshot, target string) []ovsdb.Operation {
	for _, m := range s.managers {
		if m.Target == target {
			return nil
		}
	}
	return []ovsdb.Operation{
		insert(tableManager, "manager", ovsdb.Row{"target": target}),
		mutate(tableRoot, byUUID(s.root.UUID), "manager_options", ovsdb.MutateOperationInsert, set(uuid("manager"))),
	}
}

// newBridge creates a bridge with its local port.
func newBridge(s *snapshot, b *vswitch.Bridge) []ovsdb.Operation {
	named := func(what string) string { return named(what, b.Name) }
	row := ovsdb.Row{
		"name": b.Name, "ports": set(uuid(named("port"))), "external_ids": strMap(map[string]string{keyOwner: valueOwner}),
		"other_config": strMap(map[string]string{"disable-in-band": "true"}), "fail_mode": optional(b.FailMode),
		"protocols": set(b.Protocols...),
	}
	if b.DatapathType != "" && b.DatapathType != "system" {
		row["datapath_type"] = b.DatapathType
	}
	ops := []ovsdb.Operation{
		insert(tableInterface, named("iface"), ovsdb.Row{"name": b.Name, "type": "internal"}),
		insert(tablePort, named("port"), ovsdb.Row{"name": b.Name, "interfaces": set(uuid(named("iface")))}),
	}
	if b.Controller != "" {
		ops = append(ops, insert(tableController, named("controller"), controllerRow(b.Controller)))
		row["controller"] = set(uuid(named("controller")))
	}
	tables := map[any]any{}
	for _, n := range slices.Sorted(maps.Keys(b.TableNames)) {
		id := named(fmt.Sprintf("table%dof", n))
		ops = append(ops, insert(tableFlowTable, id, ovsdb.Row{"name": set(b.TableNames[n])}))
		tables[int(n)] = uuid(id)
	}
	if len(tables) > 0 {
		row["flow_tables"] = ovsdb.OvsMap{GoMap: tables}
	}
	return append(ops, insert(tableBridge, named("bridge"), row),
		mutate(tableRoot, byUUID(s.root.UUID), "bridges", ovsdb.MutateOperationInsert, set(uuid(named("bridge")))))
}

// named makes a UUID's name for a transaction: unique in it, of letters and digits.
func named(what, of string) string { return fmt.Sprintf("%s%x", what, of) }

func controllerRow(target string) ovsdb.Row {
	return ovsdb.Row{"target": target, "inactivity_probe": set(inactivityProbe), "max_backoff": set(maxBackoff), "connection_mode": set(outOfBand)}
}

// bridgeOps puts right the columns of a bridge that differ.
func bridgeOps(s *snapshot, r *rowBridge, b *vswitch.Bridge) []ovsdb.Operation {
	var ops []ovsdb.Operation
	row := ovsdb.Row{}
	if b.FailMode != "" && or(r.FailMode) != b.FailMode {
		row["fail_mode"] = set(b.FailMode)
	}
	if b.DatapathType != "" && datapathType(r.DatapathType) != datapathType(b.DatapathType) {
		row["datapath_type"] = b.DatapathType
	}
	if len(b.Protocols) > 0 && !sameSet(r.Protocols, b.Protocols) {
		row["protocols"] = set(b.Protocols...)
	}
	if r.OtherConfig["disable-in-band"] != "true" {
		row["other_config"] = strMap(merged(r.OtherConfig, map[string]string{"disable-in-band": "true"}))
	}
	if b.Controller != "" {
		switch c := onlyController(s, r, b.Controller); {
		case c == nil:
			id := named("controller", b.Name)
			ops = append(ops, insert(tableController, id, controllerRow(b.Controller)))
			row["controller"] = set(uuid(id))
		case or(c.InactivityProbe) != inactivityProbe || or(c.MaxBackoff) != maxBackoff || or(c.ConnectionMode) != outOfBand:
			ops = append(ops, update(tableController, byUUID(c.UUID), controllerRow(b.Controller)))
		}
	}
	if len(row) > 0 {
		ops = append(ops, update(tableBridge, byName(b.Name), row))
	}
	return append(ops, tableNameOps(s, r, b)...)
}

// datapathType: the empty one is the kernel's.
func datapathType(t string) string {
	if t == "" {
		return "system"
	}
	return t
}

func sameSet(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

// onlyController is the bridge's controller row if it has one alone and to that target.
func onlyController(s *snapshot, r *rowBridge, target string) *rowController {
	if len(r.Controller) != 1 {
		return nil
	}
	if c := s.controllers[r.Controller[0]]; c != nil && c.Target == target {
		return c
	}
	return nil
}

// tableNameOps names the flow tables that have not their name, and leaves other tables alone.
func tableNameOps(s *snapshot, r *rowBridge, b *vswitch.Bridge) []ovsdb.Operation {
	var ops []ovsdb.Operation
	tables := map[any]any{}
	for n, id := range r.FlowTables {
		tables[n] = uuid(id)
	}
	for _, n := range slices.Sorted(maps.Keys(b.TableNames)) {
		id, ok := r.FlowTables[int(n)]
		switch row := s.flowTables[id]; {
		case !ok || row == nil:
			id := named(fmt.Sprintf("table%dof", n), b.Name)
			ops = append(ops, insert(tableFlowTable, id, ovsdb.Row{"name": set(b.TableNames[n])}))
			tables[int(n)] = uuid(id)
		case or(row.Name) != b.TableNames[n]:
			ops = append(ops, update(tableFlowTable, byUUID(id), ovsdb.Row{"name": set(b.TableNames[n])}))
		}
	}
	if len(tables) > len(r.FlowTables) {
		ops = append(ops, update(tableBridge, byName(b.Name), ovsdb.Row{"flow_tables": ovsdb.OvsMap{GoMap: tables}}))
	}
	return ops
}

// portOps makes or puts right a port of our own.
func portOps(s *snapshot, bridge string, p *vswitch.Port, at map[string]string) []ovsdb.Operation {
	port, iface := s.ports[p.Name], s.interfaces[p.Name]
	if port == nil || iface == nil {
		return newPort(bridge, p, map[string]string{keyOwner: valueOwner})
	}
	var ops []ovsdb.Operation
	if now := at[port.UUID]; now != bridge {
		if now != "" {
			ops = append(ops, mutate(tableBridge, byName(now), "ports", ovsdb.MutateOperationDelete, set(uuid(port.UUID))))
		}
		ops = append(ops, mutate(tableBridge, byName(bridge), "ports", ovsdb.MutateOperationInsert, set(uuid(port.UUID))))
	}
	if row := interfaceDiff(iface, p); len(row) > 0 {
		ops = append(ops, update(tableInterface, byName(p.Name), row))
	}
	row := ovsdb.Row{}
	if !owned(port.ExternalIDs) {
		// Left by a process that died before it could mark it, or by Neutron: ours now.
		row["external_ids"] = strMap(merged(port.ExternalIDs, map[string]string{keyOwner: valueOwner}))
	}
	if or(port.Tag) != int(p.Tag) {
		row["tag"] = optional(int(p.Tag))
	}
	if !contains(port.OtherConfig, p.OtherConfig) {
		row["other_config"] = strMap(merged(port.OtherConfig, p.OtherConfig))
	}
	if len(row) > 0 {
		ops = append(ops, update(tablePort, byName(p.Name), row))
	}
	return ops
}

func interfaceDiff(r *rowInterface, p *vswitch.Port) ovsdb.Row {
	row := ovsdb.Row{}
	if r.Type != p.Type {
		row["type"] = p.Type
	}
	if !maps.Equal(r.Options, p.Options) && len(r.Options)+len(p.Options) > 0 {
		row["options"] = strMap(p.Options)
	}
	if !contains(r.ExternalIDs, p.ExternalIDs) {
		row["external_ids"] = strMap(merged(r.ExternalIDs, p.ExternalIDs))
	}
	if p.MTU != 0 && or(r.MTURequest) != p.MTU {
		row["mtu_request"] = set(p.MTU)
	}
	if p.OFPort != 0 && or(r.OFPortRequest) != int(p.OFPort) {
		row["ofport_request"] = set(int(p.OFPort))
	}
	return row
}

// newPort creates a port with its interface.
func newPort(bridge string, p *vswitch.Port, ids map[string]string) []ovsdb.Operation {
	ifaceID, portID := named("iface", p.Name), named("port", p.Name)
	iface := ovsdb.Row{"name": p.Name, "type": p.Type}
	if len(p.Options) > 0 {
		iface["options"] = strMap(p.Options)
	}
	if len(p.ExternalIDs) > 0 {
		iface["external_ids"] = strMap(p.ExternalIDs)
	}
	if p.MTU != 0 {
		iface["mtu_request"] = set(p.MTU)
	}
	if p.OFPort != 0 {
		iface["ofport_request"] = set(int(p.OFPort))
	}
	port := ovsdb.Row{"name": p.Name, "interfaces": set(uuid(ifaceID)), "tag": optional(int(p.Tag))}
	if len(ids) > 0 {
		port["external_ids"] = strMap(ids)
	}
	if len(p.OtherConfig) > 0 {
		port["other_config"] = strMap(p.OtherConfig)
	}
	return []ovsdb.Operation{
		insert(tableInterface, ifaceID, iface),
		insert(tablePort, portID, port),
		mutate(tableBridge, byName(bridge), "ports", ovsdb.MutateOperationInsert, set(uuid(portID))),
	}
}

// tagged reports whether the port is as t says.
func tagged(r *rowPort, t vswitch.PortTag) bool {
	return or(r.Tag) == int(t.Tag) && contains(r.OtherConfig, t.OtherConfig)
}

func tagOp(r *rowPort, t vswitch.PortTag) ovsdb.Operation {
	return update(tablePort, byUUID(r.UUID), ovsdb.Row{
		"tag": optional(int(t.Tag)), "other_config": strMap(merged(r.OtherConfig, t.OtherConfig)),
	})
}

// removals takes our own ports off a bridge that are not to be kept, and closes VIFs
// that the plan has nothing to say about: on the dead VLAN no flooded frame of any
// network reaches them. A VIF that came after the plan was made is left for the next.
func removals(s *snapshot, r *rowBridge, keep map[string]bool, integration bool, seen map[string]bool) []change {
	var list []change
	for _, id := range r.Ports {
		p := s.portByUUID[id]
		if p == nil || keep[p.Name] {
			continue
		}
		if owned(p.ExternalIDs) {
			list = append(list, change{"port " + p.Name, "delete", []ovsdb.Operation{
				mutate(tableBridge, byName(r.Name), "ports", ovsdb.MutateOperationDelete, set(uuid(id)))}})
			continue
		}
		i := s.iface(p)
		// One that is no VIF any more was wired as one by us.
		_, wired := p.OtherConfig["net_uuid"]
		if !integration || i == nil || !seen[i.UUID] || i.ExternalIDs[keyIfaceID] == "" && !wired {
			continue
		}
		if ops := closeOps(p); ops != nil {
			list = append(list, change{"port " + p.Name, "close", ops})
		}
	}
	slices.SortFunc(list, func(a, b change) int { return strings.Compare(a.object, b.object) })
	return list
}

func closeOps(p *rowPort) []ovsdb.Operation {
	left := maps.Clone(p.OtherConfig)
	for _, k := range wiring {
		delete(left, k)
	}
	if or(p.Tag) == deadVLAN && len(left) == len(p.OtherConfig) {
		return nil
	}
	return []ovsdb.Operation{update(tablePort, byUUID(p.UUID), ovsdb.Row{"tag": set(deadVLAN), "other_config": strMap(left)})}
}

// bridgeRemovals deletes bridges that we made, that are no more wanted, and on which
// nobody else has a port.
func bridgeRemovals(s *snapshot, want *vswitch.Switch) []change {
	var list []change
	for _, name := range slices.Sorted(maps.Keys(s.bridges)) {
		r := s.bridges[name]
		wanted := slices.ContainsFunc(want.Bridges, func(b vswitch.Bridge) bool { return b.Name == name })
		if wanted || !owned(r.ExternalIDs) || slices.ContainsFunc(r.Ports, func(id string) bool {
			p := s.portByUUID[id]
			return p == nil || p.Name != name && !owned(p.ExternalIDs)
		}) {
			continue
		}
		list = append(list, change{"bridge " + name, "delete", []ovsdb.Operation{
			mutate(tableRoot, byUUID(s.root.UUID), "bridges", ovsdb.MutateOperationDelete, set(uuid(r.UUID)))}})
	}
	return list
}

// ofportText is an ofport for a message.
func ofportText(p *int) string {
	if p == nil {
		return "none"
	}
	return strconv.Itoa(*p)
}
