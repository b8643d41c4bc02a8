package vswitch

import (
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Commands returns the ovs-vsctl commands that would make b and its ports, one per
// line, for a person or a shell. Running them twice changes nothing the second time,
// but for the Flow_Table rows, which are made anew.
func (b Bridge) Commands() []string {
	cmd := "ovs-vsctl --may-exist add-br " + quote(b.Name)
	var set []string
	if b.DatapathType != "" {
		set = append(set, "datapath_type="+quote(b.DatapathType))
	}
	if b.FailMode != "" {
		set = append(set, "fail_mode="+quote(b.FailMode))
	}
	if len(b.Protocols) > 0 {
		set = append(set, "protocols="+strings.Join(b.Protocols, ","))
	}
	if len(set) > 0 {
		cmd += " -- set Bridge " + quote(b.Name) + " " + strings.Join(set, " ")
	}
	lines := []string{cmd}
	if b.Controller != "" {
		lines = append(lines, "ovs-vsctl set-controller "+quote(b.Name)+" "+quote(b.Controller))
	}
	for _, t := range slices.Sorted(maps.Keys(b.TableNames)) {
		lines = append(lines, "ovs-vsctl -- --id=@t create Flow_Table name="+quote(b.TableNames[t])+
			" -- set Bridge "+quote(b.Name)+" flow_tables:"+strconv.Itoa(int(t))+"=@t")
	}
	for _, p := range b.Ports {
		lines = append(lines, p.Command(b.Name))
	}
	for _, t := range b.Tags {
		lines = append(lines, t.Command())
	}
	return lines
}

// Command returns the ovs-vsctl command that would make p on a bridge.
func (p Port) Command(bridge string) string {
	cmd := "ovs-vsctl --may-exist add-port " + quote(bridge) + " " + quote(p.Name)
	var set []string
	if p.Type != "" {
		set = append(set, "type="+quote(p.Type))
	}
	if p.OFPort != 0 {
		set = append(set, "ofport_request="+strconv.FormatUint(uint64(p.OFPort), 10))
	}
	if p.MTU != 0 {
		set = append(set, "mtu_request="+strconv.Itoa(p.MTU))
	}
	set = append(set, pairs("options", p.Options)...)
	set = append(set, pairs("external_ids", p.ExternalIDs)...)
	if len(set) > 0 {
		cmd += " -- set Interface " + quote(p.Name) + " " + strings.Join(set, " ")
	}
	if row := portRow(p.Tag, p.OtherConfig); len(row) > 0 {
		cmd += " -- set Port " + quote(p.Name) + " " + strings.Join(row, " ")
	}
	return cmd
}

// Command returns the ovs-vsctl command that would write t.
func (t PortTag) Command() string {
	return "ovs-vsctl set Port " + quote(t.Name) + " " + strings.Join(portRow(t.Tag, t.OtherConfig), " ")
}

func portRow(tag uint16, other map[string]string) []string {
	var set []string
	if tag != 0 {
		set = append(set, "tag="+strconv.Itoa(int(tag)))
	}
	return append(set, pairs("other_config", other)...)
}

func pairs(column string, m map[string]string) []string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, column+":"+quote(k)+"="+quote(m[k]))
	}
	return out
}

// quote returns s as a word that both a shell and ovs-vsctl take as s.
func quote(s string) string {
	plain := s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("_.:-/", r)
	})
	if plain {
		return s
	}
	return "'" + strings.ReplaceAll(strconv.Quote(s), "'", `'\''`) + "'"
}

// String prints the whole switch: the ovs-vsctl commands of each bridge, then its flows
// as files for ovs-ofctl.
func (s Switch) String() string {
	var b strings.Builder
	if s.Manager != "" {
		b.WriteString("ovs-vsctl set-manager " + quote(s.Manager) + "\n")
	}
	for _, br := range s.Bridges {
		for _, line := range br.Commands() {
			b.WriteString(line + "\n")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Flows)) {
		b.WriteString("# ovs-ofctl -O OpenFlow14 --bundle replace-flows " + quote(name) + " - <<EOF\n")
		for _, f := range s.Flows[name].All() {
			b.WriteString(f.String() + "\n")
		}
		b.WriteString("# EOF\n")
	}
	return b.String()
}
