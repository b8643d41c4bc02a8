package neutron

import (
	"bytes"
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"weft/internal/access"
)

var update = flag.Bool("update", false, "write golden files")

// describe writes what docs/api.md says of a collection.
func (c *collection[M, R]) describe(w *bytes.Buffer, path string, p *access.Policy) {
	path = strings.ReplaceAll(path, "{parent}", "PARENT")
	fmt.Fprintf(w, "\n## %s\n\n", strings.TrimPrefix(path, "/v2.0/"))
	verb := func(there bool, method, path, rule string) {
		if there {
			who := "those who may read its network, policy or group"
			if p.Defined(rule) {
				who = p.Who(rule)
			}
			fmt.Fprintf(w, "- `%s %s`: %s\n", method, path, who)
		}
	}
	name := c.ruleName()
	verb(true, "GET", path, "get_"+name)
	verb(c.create != nil, "POST", path, "create_"+name)
	verb(true, "GET", path+"/ID", "get_"+name)
	verb(c.update != nil, "PUT", path+"/ID", "update_"+name)
	verb(c.remove != nil, "DELETE", path+"/ID", "delete_"+name)
	for _, a := range c.actions {
		verb(true, cmp.Or(a.method, http.MethodPut), path+"/ID/"+a.name, a.rule)
	}
	if len(c.aliases) > 0 {
		fmt.Fprintf(w, "\nExtensions: %s.\n", strings.Join(c.aliases, ", "))
	}
	w.WriteString("\n| attribute | type | default | create | update | read | filter | sort |\n|---|---|---|---|---|---|---|---|\n")
	for i := range c.attributes {
		c.attributes[i].describe(w, name, p)
	}
}

func (a *attribute[M, R]) describe(w *bytes.Buffer, resource string, p *access.Policy) {
	who := func(verb string, can bool) string {
		rule := verb + "_" + resource + ":" + a.name
		switch {
		case !can:
			return ""
		case p.Defined(rule):
			return p.Who(rule)
		}
		return "yes"
	}
	mark := func(u use) string {
		if a.use&u != 0 {
			return "yes"
		}
		return ""
	}
	words := a.words()
	if words == "" {
		w.WriteString("(a row without words)") // which fails the test
	}
	create := who("create", a.use&post != 0)
	if a.use&need != 0 {
		create = "required"
	}
	def := ""
	if a.def != nil {
		text, _ := json.Marshal(a.def)
		def = "`" + string(text) + "`"
	}
	fmt.Fprintf(w, "| `%s` | %s | %s | %s | %s | %s | %s | %s |\n", a.name, words, def,
		create, who("update", a.use&put != 0), who("get", !a.hidden()), mark(filter), mark(order))
}

// words are the kind of an attribute's values.
func (a *attribute[M, R]) words() string {
	switch {
	case a.kind != "":
		return a.kind
	case a.flag != nil:
		return "boolean"
	case a.number != nil:
		return "integer"
	case a.text != nil:
		return "string"
	}
	return ""
}

const apiHead = `# The API

weft speaks the Network API v2.0 of OpenStack Neutron. This page is made from the tables
by which requests are decoded, checked, filtered and answered (` + "`make golden`" + `): what is not here
is not there. *create*, *update* and *read* say who may give or see an attribute, by the default
policies (` + "`policy_file`" + ` in [configuration.md](configuration.md) overrides them); "yes" is everyone who may do
that to the object at all, an empty field nobody. Users and tokens: [identity.md](identity.md).

Lists take ` + "`limit`, `marker`, `page_reverse`, `sort_key`, `sort_dir`, `fields`" + ` and every filter below, repeated for
alternatives. ` + "`If-Match: revision_number=N`" + ` binds a change to a revision.

`

// TestAPIDocument keeps docs/api.md equal to the tables; -update rewrites it.
func TestAPIDocument(t *testing.T) {
	a := startAPI(t)
	p := access.Default()
	var w bytes.Buffer
	w.WriteString(apiHead)
	var aliases []string
	for _, e := range a.handler.extensions {
		aliases = append(aliases, "`"+e.Alias+"`")
	}
	fmt.Fprintf(&w, "Extensions: %s.\n", strings.Join(aliases, ", "))
	for _, path := range slices.Sorted(maps.Keys(a.handler.collections)) {
		d, ok := a.handler.collections[path].(interface {
			describe(*bytes.Buffer, string, *access.Policy)
		})
		if !ok {
			t.Fatalf("%s cannot be described", path)
		}
		d.describe(&w, path, p)
	}
	if bytes.Contains(w.Bytes(), []byte("(a row without words)")) {
		t.Error("an attribute does not say what values it has: give it a kind")
	}
	const name = "../../docs/api.md"
	if *update {
		if err := os.WriteFile(name, w.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(name)
	if err != nil || !bytes.Equal(got, w.Bytes()) {
		t.Errorf("%s does not list the API as it is: run go test ./internal/neutron -run APIDocument -update (%v)", name, err)
	}
}
