package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"weft/internal/client"
)

// noun describes one kind of object of the API; all its commands follow from it.
type noun struct {
	// word is what commands call it: weft network list.
	word, short string
	client.Collection
	// verbs are those it has beside list: show, create, set, delete.
	verbs string
	// arg is what create takes as its argument; optional says that it may be left out.
	arg      attr
	optional bool
	columns  []column
	// attrs are the flags of create and set, filters those of list.
	attrs, filters []attr
	// finish derives what create was not told.
	finish func(ctx context.Context, api *client.Client, attrs map[string]any) error
	// more are commands of its own.
	more []func(noun) *cobra.Command
}

// column is one column of a list. path is an attribute, or a.b for b within a.
type column struct {
	title, path string
	// long columns are shown with --long.
	long bool
}

// kind says how a flag's text becomes an attribute's value.
type kind int

const (
	text kind = iota
	number
	yesNo
	// ref is the name or ID of another object, project that of a project.
	ref
	project
	// words, refs and pairs may be given several times and make a list.
	words
	refs
	pairs
	// portRange is FIRST:LAST or one number, and two attributes.
	portRange
)

// attr is one attribute as a flag. name is the attribute on the wire.
type attr struct {
	flag, name string
	kind       kind
	help       string
	// of is the noun that a ref names.
	of string
	// keys are those that pairs may have: the word and the attribute; one ending in _id names
	// the noun before it.
	keys map[string]string
	// only is "create" or "set" if not both; must says that create cannot do without.
	only string
	must bool
	// null lets "none" stand for null, or for an empty list.
	null bool
}

func (a attr) list() bool { return a.kind == words || a.kind == refs || a.kind == pairs }

// addTo defines the flag.
func (a attr) addTo(cmd *cobra.Command) {
	f := cmd.Flags()
	switch {
	case a.kind == number:
		f.Int(a.flag, 0, a.help)
	case a.kind == yesNo:
		f.Bool(a.flag, false, a.help)
	case a.list():
		f.StringArray(a.flag, nil, a.help+" (may be repeated)")
	default:
		f.String(a.flag, "", a.help)
	}
	if a.of != "" {
		_ = cmd.RegisterFlagCompletionFunc(a.flag, completeNoun(a.of)) // fails only for a flag that is not there
	} else {
		_ = cmd.RegisterFlagCompletionFunc(a.flag, cobra.NoFileCompletions)
	}
}

// readAttrs makes attributes of those flags that were given.
func readAttrs(ctx context.Context, api *client.Client, cmd *cobra.Command, attrs []attr) (map[string]any, error) {
	out := map[string]any{}
	for _, a := range attrs {
		f := cmd.Flags().Lookup(a.flag)
		if f == nil || !f.Changed {
			continue
		}
		var err error
		if a.list() {
			var given []string
			if given, err = cmd.Flags().GetStringArray(a.flag); err == nil {
				out[a.name], err = a.values(ctx, api, given)
			}
		} else {
			err = a.put(ctx, api, f.Value.String(), out)
		}
		if err != nil {
			return nil, fmt.Errorf("--%s: %w", a.flag, err)
		}
	}
	return out, nil
}

// put sets the attribute, or the two of a range, from one text.
func (a attr) put(ctx context.Context, api *client.Client, s string, out map[string]any) error {
	if a.null && s == "none" {
		out[a.name] = nil
		return nil
	}
	switch a.kind {
	case number:
		n, err := strconv.Atoi(s)
		out[a.name] = n
		return err
	case yesNo:
		out[a.name] = s == "true"
	case ref:
		id, err := findID(ctx, api, nounOf(a.of), s)
		out[a.name] = id
		return err
	case project:
		p, err := api.Project(ctx, s)
		out[a.name] = p.ID
		return err
	case portRange:
		first, last, several := strings.Cut(s, ":")
		if !several {
			last = first
		}
		lo, err := strconv.Atoi(first)
		hi, err2 := strconv.Atoi(last)
		if err != nil || err2 != nil {
			return usageError{fmt.Errorf("%q is not a number or FIRST:LAST", s)}
		}
		out["port_range_min"], out["port_range_max"] = lo, hi
	default:
		out[a.name] = s
	}
	return nil
}

// values makes the list of a flag that was given several times; "none" is the empty one.
func (a attr) values(ctx context.Context, api *client.Client, given []string) ([]any, error) {
	list := []any{}
	if a.null && slices.Equal(given, []string{"none"}) {
		return list, nil
	}
	for _, s := range given {
		var v any = s
		var err error
		switch a.kind {
		case refs:
			v, err = findID(ctx, api, nounOf(a.of), s)
		case pairs:
			v, err = a.pair(ctx, api, s)
		}
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return list, nil
}

// pair reads subnet=NAME,ip=ADDRESS.
func (a attr) pair(ctx context.Context, api *client.Client, s string) (map[string]any, error) {
	out := map[string]any{}
	for _, kv := range splitList(s) {
		k, v, ok := strings.Cut(kv, "=")
		name, known := a.keys[k]
		if !ok || !known {
			return nil, usageError{fmt.Errorf("%q is not KEY=VALUE with KEY of %s", kv, keysOf(a.keys))}
		}
		out[name] = v
		if of, isID := strings.CutSuffix(name, "_id"); isID {
			id, err := findID(ctx, api, nounOf(of), v)
			if err != nil {
				return nil, err
			}
			out[name] = id
		}
	}
	return out, nil
}

func keysOf(m map[string]string) string {
	var all []string
	for k := range m {
		all = append(all, k)
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

// findID is the ID of an object named by ID or name.
func findID(ctx context.Context, api *client.Client, n noun, ref string) (string, error) {
	raw, err := api.Find(ctx, n.Collection, ref)
	if err != nil {
		return "", err
	}
	var o struct{ ID string }
	return o.ID, json.Unmarshal(raw, &o)
}

// nounOf is the noun that commands call so; every word that occurs in this program is one.
func nounOf(word string) noun {
	for _, n := range nouns() {
		if n.word == word {
			return n
		}
	}
	panic("no noun " + word)
}

// familyOf is the IP version of a prefix, or 4: what it is not told the API says itself.
func familyOf(prefix any) int {
	s, _ := prefix.(string)
	if p, err := netip.ParsePrefix(s); err == nil && p.Addr().Is6() {
		return 6
	}
	return 4
}

// familyOfPool is the IP version of a subnet pool.
func familyOfPool(ctx context.Context, api *client.Client, id string) (int, error) {
	var one struct {
		Pool struct {
			IPVersion int `json:"ip_version"`
		} `json:"subnetpool"`
	}
	err := api.Do(ctx, http.MethodGet, "/v2.0/subnetpools/"+id, nil, &one)
	return one.Pool.IPVersion, err
}
