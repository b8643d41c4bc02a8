package ovs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/ovn-kubernetes/libovsdb/ovsdb"

	"weft/internal/host/openflow"
)

// Setting is something in Open vSwitch that keeps packets from where flows send them, that weft never sets and that no
// flow shows.
type Setting struct {
	// Port is empty for a setting of the bridge.
	Bridge, Port string
	Name         SettingName
	// Value is as Open vSwitch writes it.
	Value string
}

// SettingName is what is set.
type SettingName string

// The settings. The first two are flags of the OpenFlow port (ovs-ofctl mod-port), the others columns of the database.
const (
	NoReceive  SettingName = "no-receive"
	NoForward  SettingName = "no-forward"
	VLANMode   SettingName = "vlan_mode"
	Protected  SettingName = "protected"
	MirrorOut  SettingName = "mirror"                // the port is the output of this mirror, which makes it receive nothing else
	Policing   SettingName = "ingress_policing_rate" // kbit/s
	MaxRate    SettingName = "qos"                   // max-rate, bit/s
	STP        SettingName = "stp_enable"            // of a bridge: true; of a port: its state, if that lets nothing pass
	RSTP       SettingName = "rstp_enable"           // the same
	accessMode             = "access"
)

// Settings looks for settings at bridges of weft, at their ports that weft has made, and at the given ones.
func (s *Switch) Settings(ctx context.Context, ports ...string) ([]Setting, error) {
	db := s.db.Load()
	snap := db.current()
	s.mu.Lock()
	bridges := slices.Sorted(maps.Keys(s.flows))
	s.mu.Unlock()
	// Of those of other networks, which are internal, nothing is asked.
	concerns := func(name string) bool {
		p := snap.ports[name]
		i := snap.iface(p)
		return slices.Contains(ports, name) || i != nil && owned(p.ExternalIDs) && i.Type != "internal"
	}
	var all []Setting
	for _, b := range bridges {
		descs, err := ask(ctx, s, b, func(ctx context.Context, c *conn) ([]openflow.PortDesc, error) { return c.portDescs(ctx) })
		if errors.Is(err, ErrNotConnected) {
			continue // told otherwise
		}
		if err != nil {
			return nil, err
		}
		for _, d := range descs {
			if d.Config&openflow.PortNoReceive != 0 && concerns(d.Name) {
				all = append(all, Setting{b, d.Name, NoReceive, "true"})
			}
			if d.Config&openflow.PortNoForward != 0 && concerns(d.Name) {
				all = append(all, Setting{b, d.Name, NoForward, "true"})
			}
		}
	}
	rows, err := s.settingRows(ctx, db, snap, bridges, ports)
	if err != nil {
		return nil, err
	}
	for _, r := range rows {
		if r.Port == "" || concerns(r.Port) {
			all = append(all, r)
		}
	}
	slices.SortFunc(all, func(a, b Setting) int {
		return cmp.Or(cmp.Compare(a.Bridge, b.Bridge), cmp.Compare(a.Port, b.Port), cmp.Compare(a.Name, b.Name))
	})
	return all, nil
}

// settingRows reads them from the database. The columns are not among those that are monitored: they are for this alone.
func (s *Switch) settingRows(ctx context.Context, db *database, snap *snapshot, bridges, ports []string) (all []Setting, err error) {
	ops := []ovsdb.Operation{{Op: ovsdb.OperationSelect, Table: "Mirror", Where: []ovsdb.Condition{}, Columns: []string{"name", "output_port"}}}
	var of []Setting // what each further answer is of
	for _, b := range bridges {
		of = append(of, Setting{Bridge: b})
		ops = append(ops, ovsdb.Operation{Op: ovsdb.OperationSelect, Table: tableBridge, Where: byName(b), Columns: []string{string(STP), string(RSTP)}})
	}
	for _, name := range ports {
		p := snap.ports[name]
		if p == nil {
			continue
		}
		at := Setting{Bridge: snap.bridgeOf[p.UUID], Port: name}
		of = append(of, at, at)
		ops = append(ops, ovsdb.Operation{Op: ovsdb.OperationSelect, Table: tablePort, Where: byUUID(p.UUID),
			Columns: []string{string(VLANMode), string(Protected), string(MaxRate), "status", "rstp_status"}},
			ovsdb.Operation{Op: ovsdb.OperationSelect, Table: tableInterface, Where: byName(name), Columns: []string{string(Policing)}})
	}
	results, err := db.query(ctx, ops)
	if err != nil {
		return nil, err
	}
	for _, row := range results[0].Rows {
		out, _ := row["output_port"].(ovsdb.UUID)
		if p := snap.portByUUID[out.GoUUID]; p != nil && slices.Contains(bridges, snap.bridgeOf[p.UUID]) {
			all = append(all, Setting{snap.bridgeOf[p.UUID], p.Name, MirrorOut, fmt.Sprint(row["name"])})
		}
	}
	var qos []string
	var limited []Setting
	for i, r := range results[1:] {
		for _, row := range r.Rows {
			all = append(all, settingsOf(of[i], row)...)
			if id, ok := row[string(MaxRate)].(ovsdb.UUID); ok {
				qos, limited = append(qos, id.GoUUID), append(limited, of[i])
			}
		}
	}
	rates, err := s.rates(ctx, db, qos, limited)
	return append(all, rates...), err
}

// settingsOf are those in a row.
func settingsOf(at Setting, row ovsdb.Row) (all []Setting) {
	add := func(name SettingName, value string) {
		at.Name, at.Value = name, value
		all = append(all, at)
	}
	for _, name := range []SettingName{STP, RSTP, Protected} {
		if row[string(name)] == true {
			add(name, "true")
		}
	}
	if mode, ok := row[string(VLANMode)].(string); ok && mode != accessMode {
		add(VLANMode, mode)
	}
	if rate, ok := row[string(Policing)].(float64); ok && rate > 0 {
		add(Policing, strconv.Itoa(int(rate)))
	}
	for _, c := range []struct {
		name        SettingName
		column, key string
		passes      []string
	}{
		{STP, "status", "stp_state", []string{"forwarding", "disabled"}},
		{RSTP, "rstp_status", "rstp_port_state", []string{"Forwarding", "Disabled"}},
	} {
		if m, ok := row[c.column].(ovsdb.OvsMap); ok {
			if state, ok := m.GoMap[c.key].(string); ok && !slices.Contains(c.passes, state) {
				add(c.name, state)
			}
		}
	}
	return all
}

// rates reads what the rows of table QoS let through at most.
func (s *Switch) rates(ctx context.Context, db *database, qos []string, of []Setting) (all []Setting, err error) {
	if len(qos) == 0 {
		return nil, nil
	}
	var ops []ovsdb.Operation
	for _, id := range qos {
		ops = append(ops, ovsdb.Operation{Op: ovsdb.OperationSelect, Table: "QoS", Where: byUUID(id), Columns: []string{"other_config"}})
	}
	results, err := db.query(ctx, ops)
	if err != nil {
		return nil, err
	}
	for i, r := range results {
		for _, row := range r.Rows {
			m, _ := row["other_config"].(ovsdb.OvsMap)
			if rate, ok := m.GoMap["max-rate"].(string); ok {
				of[i].Name, of[i].Value = MaxRate, rate
				all = append(all, of[i])
			}
		}
	}
	return all, nil
}
