package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"
)

var formats = []string{"table", "json", "yaml"}

func addFormatFlag(cmd *cobra.Command) {
	cmd.Flags().StringP("output", "o", "table", "table, json or yaml")
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp))
}

// format is how the command is to print.
func format(cmd *cobra.Command) string { return cmd.Flags().Lookup("output").Value.String() }

// checkFormat refuses a format that there is not before anything is asked or changed.
func checkFormat(cmd *cobra.Command) error {
	if cmd.Flags().Lookup("output") == nil || slices.Contains(formats, format(cmd)) {
		return nil
	}
	return usageError{fmt.Errorf("-o %s: there is only %s", format(cmd), strings.Join(formats, ", "))}
}

// printEncoded prints what the API said as JSON or YAML: all of it, in its order.
func printEncoded(cmd *cobra.Command, raw json.RawMessage) error {
	var b bytes.Buffer
	if format(cmd) == "yaml" {
		var doc yaml.Node
		if err := yaml.Unmarshal(raw, &doc); err != nil { // JSON is YAML
			return fmt.Errorf("read the answer: %w", err)
		}
		plainStyle(&doc)
		e := yaml.NewEncoder(&b)
		e.SetIndent(2)
		if err := e.Encode(&doc); err != nil {
			return err
		}
	} else {
		if err := json.Indent(&b, raw, "", "  "); err != nil {
			return fmt.Errorf("read the answer: %w", err)
		}
		b.WriteByte('\n')
	}
	_, err := cmd.OutOrStdout().Write(b.Bytes())
	return err
}

// plainStyle lets the encoder choose how to write each value, instead of as in JSON.
func plainStyle(n *yaml.Node) {
	n.Style = 0
	for _, c := range n.Content {
		plainStyle(c)
	}
}

// printObject prints one object: in a table one attribute a line.
func printObject(cmd *cobra.Command, raw json.RawMessage) error {
	if format(cmd) != "table" {
		return printEncoded(cmd, raw)
	}
	o, err := decodeObject(raw)
	if err != nil {
		return err
	}
	t := table{head: []string{"FIELD", "VALUE"}}
	for _, name := range slices.Sorted(maps.Keys(o)) {
		if name == "tenant_id" && o["project_id"] != nil {
			continue // the same by an older name
		}
		list, isList := o[name].([]any)
		if !isList || len(list) == 0 {
			t.rows = append(t.rows, []string{name, cell(o[name])})
			continue
		}
		if within, ok := list[0].(map[string]any); ok && within["id"] != nil { // things of their own, in no order
			slices.SortFunc(list, func(a, b any) int { return strings.Compare(cell(a), cell(b)) })
		}
		for i, e := range list {
			t.rows = append(t.rows, []string{map[bool]string{true: name}[i == 0], cell(e)})
		}
	}
	return t.print(cmd.OutOrStdout())
}

// printList prints the columns of each object, by name.
func (n noun) printList(cmd *cobra.Command, objects []json.RawMessage) error {
	if format(cmd) != "table" {
		var all bytes.Buffer
		all.WriteByte('[')
		for i, raw := range objects {
			if i > 0 {
				all.WriteByte(',')
			}
			all.Write(raw)
		}
		all.WriteByte(']')
		return printEncoded(cmd, all.Bytes())
	}
	long, err := cmd.Flags().GetBool("long")
	if err != nil {
		return err
	}
	var t table
	for _, c := range n.columns {
		if long || !c.long {
			t.head = append(t.head, c.title)
		}
	}
	for _, raw := range objects {
		o, err := decodeObject(raw)
		if err != nil {
			return err
		}
		var row []string
		for _, c := range n.columns {
			if long || !c.long {
				row = append(row, cell(dig(o, strings.Split(c.path, "."))))
			}
		}
		t.rows = append(t.rows, row)
	}
	slices.SortFunc(t.rows, func(a, b []string) int { // IDs are random: they count last
		if n.columns[0].path != "id" {
			return slices.Compare(a, b)
		}
		return cmp.Or(slices.Compare(a[1:], b[1:]), strings.Compare(a[0], b[0]))
	})
	return t.print(cmd.OutOrStdout())
}

func decodeObject(raw json.RawMessage) (map[string]any, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var o map[string]any
	if err := d.Decode(&o); err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	return o, nil
}

// dig follows a path into a value; a list is followed in each of its elements.
func dig(v any, path []string) any {
	if len(path) == 0 {
		return v
	}
	switch v := v.(type) {
	case map[string]any:
		return dig(v[path[0]], path[1:])
	case []any:
		var all []any
		for _, e := range v {
			all = append(all, dig(e, path))
		}
		return all
	}
	return nil
}

// noise is what an object within another, as a rule in its group, says as all objects do.
var noise = []string{"created_at", "updated_at", "revision_number", "tenant_id", "project_id", "tags", "security_group_id", "belongs_to_default_sg", "normalized_cidr"}

// cell is a value on one line; what is not there is a dash.
func cell(v any) string {
	switch v := v.(type) {
	case nil:
		return "-"
	case []any:
		return cmpOr(strings.Join(eachCell(v), ", "), "-")
	case map[string]any:
		var parts []string
		for _, k := range slices.Sorted(maps.Keys(v)) {
			if v[k] != nil && !slices.Contains(noise, k) {
				parts = append(parts, k+"="+inner(v[k]))
			}
		}
		return cmpOr(strings.Join(parts, " "), "-")
	}
	return cmpOr(strings.ReplaceAll(fmt.Sprint(v), "\n", `\n`), "-")
}

// inner is a value within another: in brackets, if it has parts itself.
func inner(v any) string {
	switch v := v.(type) {
	case []any:
		return "[" + strings.Join(eachCell(v), ", ") + "]"
	case map[string]any:
		return "[" + cell(v) + "]"
	}
	return cell(v)
}

func eachCell(list []any) []string {
	var all []string
	for _, e := range list {
		all = append(all, cell(e))
	}
	return all
}

// table is text in columns.
type table struct {
	head []string
	rows [][]string
}

func (t table) print(w io.Writer) error {
	width := make([]int, len(t.head))
	all := append([][]string{t.head}, t.rows...)
	for _, row := range all {
		for i, c := range row {
			width[i] = max(width[i], utf8.RuneCountInString(c))
		}
	}
	var b strings.Builder
	for _, row := range all {
		var line strings.Builder
		for i, c := range row {
			line.WriteString(c + strings.Repeat(" ", width[i]-utf8.RuneCountInString(c)+2))
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}
