package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"weft/internal/lab/labtest"
	"weft/internal/metrics"
)

const dashboards = "../../dashboards/"

// rule is an alert of dashboards/alerts.yml.
type rule struct {
	Alert, Expr string
	Annotations map[string]string
}

func alertRules(t *testing.T) (rules []rule) {
	t.Helper()
	text, err := os.ReadFile(dashboards + "alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	var f struct{ Groups []struct{ Rules []rule } }
	if err := yaml.Unmarshal(text, &f); err != nil {
		t.Fatal(err)
	}
	for _, g := range f.Groups {
		rules = append(rules, g.Rules...)
	}
	return rules
}

// panelQueries are the expressions of dashboards/weft.json, by panel.
func panelQueries(t *testing.T) map[string][]string {
	t.Helper()
	text, err := os.ReadFile(dashboards + "weft.json")
	if err != nil {
		t.Fatal(err)
	}
	var d struct {
		Templating struct {
			List []struct{ Name, Type, Query, Definition any }
		}
		Panels []struct {
			Title, Type string
			Datasource  struct{ Type, UID string }
			Targets     []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	if v := d.Templating.List; len(v) != 2 || v[0].Type != "datasource" || v[0].Query != "prometheus" {
		t.Errorf("the first variable is not the data source: %+v", v)
	}
	found := map[string][]string{"the variable": {fmt.Sprint(d.Templating.List[1].Definition)}}
	for _, p := range d.Panels {
		if p.Type == "row" {
			continue
		}
		if p.Datasource.UID != "${datasource}" || len(p.Targets) == 0 || len(found[p.Title]) > 0 {
			t.Errorf("panel %q: data source %+v, %d expressions; or there are two of the name", p.Title, p.Datasource, len(p.Targets))
		}
		for _, target := range p.Targets {
			found[p.Title] = append(found[p.Title], target.Expr)
		}
	}
	return found
}

var (
	metricName = regexp.MustCompile(`\b(?:weft|etcd|go|process)_[a-z0-9_]+(\{[^}]*\})?`)
	labelName  = regexp.MustCompile(`([a-z_]+)(?:=~|!~|!=|=)"`)
)

// known are the labels of all that a server and an agent serve, by name as in an expression.
func known(t *testing.T) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	for _, m := range []*metrics.Registry{serverMetrics(t), agentMetrics(t)} {
		for _, f := range m.Families() {
			if f.Type != "histogram" {
				all[f.Name] = f.Labels
				continue
			}
			for _, end := range []string{"_bucket", "_sum", "_count"} {
				all[f.Name+end] = append(slices.Clone(f.Labels), "le")
			}
		}
		rec := httptest.NewRecorder()
		m.Handler().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/metrics", nil))
		for line := range strings.Lines(rec.Body.String()) {
			name := line[:strings.IndexAny(line, " {")]
			if line[0] != '#' && !strings.HasPrefix(name, "weft_") {
				all[name] = []string{"le"}
			}
		}
	}
	return all
}

// TestExpressions: the dashboard and the alerts ask for metrics and labels that are served.
func TestExpressions(t *testing.T) {
	all := known(t)
	check := func(where, expr string) {
		names := metricName.FindAllString(expr, -1)
		if len(names) == 0 {
			t.Errorf("%s: no metric in %s", where, expr)
		}
		for _, n := range names {
			name, selector, _ := strings.Cut(n, "{")
			labels, ok := all[name]
			if !ok {
				t.Errorf("%s: nothing serves %s", where, name)
			}
			for _, l := range labelName.FindAllStringSubmatch(selector, -1) {
				if l[1] != "instance" && !slices.Contains(labels, l[1]) {
					t.Errorf("%s: %s has no label %s", where, name, l[1])
				}
			}
		}
	}
	for panel, exprs := range panelQueries(t) {
		for _, e := range exprs {
			check("panel "+panel, e)
		}
	}
	for _, r := range alertRules(t) {
		check("alert "+r.Alert, r.Expr)
		if r.Annotations["summary"] == "" || r.Annotations["description"] == "" {
			t.Errorf("alert %s does not say what it is and what to do", r.Alert)
		}
	}
}

// TestPromtool: Prometheus's own tool takes the alerts and the dashboard's expressions, the alerts fire as
// dashboards/alerts_test.yml says, and it finds nothing to say of the metrics themselves.
func TestPromtool(t *testing.T) {
	labtest.Require(t, "promtool")
	promtool := func(input string, args ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "promtool", args...)
		cmd.Stdin = strings.NewReader(input)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	promtool("", "check", "rules", dashboards+"alerts.yml")
	promtool("", "test", "rules", dashboards+"alerts_test.yml")

	// The dashboard's expressions as rules, with something in the place of Grafana's variables.
	type record struct {
		Record string `yaml:"record"`
		Expr   string `yaml:"expr"`
	}
	var records []record
	for panel, exprs := range panelQueries(t) {
		for _, e := range exprs {
			if panel != "the variable" {
				records = append(records, record{fmt.Sprintf("r%d", len(records)), strings.NewReplacer("$__rate_interval", "5m", "$instance", ".*").Replace(e)})
			}
		}
	}
	text, err := yaml.Marshal(map[string]any{"groups": []any{map[string]any{"name": "panels", "rules": records}}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "panels.yml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	promtool("", "check", "rules", file)

	for name, m := range map[string]*metrics.Registry{"server": serverMetrics(t), "agent": agentMetrics(t)} {
		rec := httptest.NewRecorder()
		m.Handler().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/metrics", nil))
		var own strings.Builder // etcd's own names are etcd's business
		for line := range strings.Lines(rec.Body.String()) {
			if !strings.HasPrefix(line, "etcd_") && !strings.HasPrefix(line, "# HELP etcd_") && !strings.HasPrefix(line, "# TYPE etcd_") {
				own.WriteString(line)
			}
		}
		t.Log(name)
		promtool(own.String(), "check", "metrics")
	}
}
