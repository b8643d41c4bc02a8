package doctor

import (
	"fmt"
	"io"
	"strings"
	"time"

	"weft/internal/trace"
)

// Report is what GET /weft/v1/doctor returns and `weft doctor -o json` prints; fields are only ever added.
type Report struct {
	At time.Time `json:"at"`
	// Verdict is the worst of the groups'.
	Verdict trace.Verdict `json:"verdict"`
	Groups  []Group       `json:"groups"`
}

// Group is what is checked of one server or host, or of the cloud as a whole.
type Group struct {
	// Kind is cloud, server or host.
	Kind    string        `json:"kind"`
	Name    string        `json:"name,omitempty"`
	Verdict trace.Verdict `json:"verdict"`
	Checks  []Check       `json:"checks"`
}

// Check is one thing looked at.
type Check struct {
	// Name is stable.
	Name    string        `json:"name"`
	Verdict trace.Verdict `json:"verdict"`
	// Text is one sentence.
	Text string `json:"text"`
	// Do says what to do, where there is something to do.
	Do string `json:"do,omitempty"`
}

// The kinds of groups.
const (
	GroupCloud  = "cloud"
	GroupServer = "server"
	GroupHost   = "host"
)

func (g *Group) add(v trace.Verdict, name, do, format string, args ...any) {
	g.Checks = append(g.Checks, Check{Name: name, Verdict: v, Text: fmt.Sprintf(format, args...), Do: do})
}

func (g *Group) ok(name, format string, args ...any) { g.add(trace.OK, name, "", format, args...) }

func (g *Group) warn(name, do, format string, args ...any) {
	g.add(trace.Warning, name, do, format, args...)
}

func (g *Group) broken(name, do, format string, args ...any) {
	g.add(trace.Broken, name, do, format, args...)
}

func (g *Group) unknown(name, do, format string, args ...any) {
	g.add(trace.Unknown, name, do, format, args...)
}

// Examine judges everything.
func Examine(f Facts) Report {
	r := Report{At: f.Now, Verdict: trace.OK, Groups: []Group{}}
	if f.Store != nil {
		r.Groups = append(r.Groups, cloudGroup(f))
	}
	for _, s := range f.Servers {
		r.Groups = append(r.Groups, serverGroup(s, f))
	}
	for _, h := range f.Hosts {
		r.Groups = append(r.Groups, hostGroup(h, f))
	}
	for i := range r.Groups {
		g := &r.Groups[i]
		g.Verdict = trace.OK
		for _, c := range g.Checks {
			g.Verdict = g.Verdict.Worse(c.Verdict)
		}
		r.Verdict = r.Verdict.Worse(g.Verdict)
	}
	return r
}

var marks = map[trace.Verdict]string{trace.Broken: "!", trace.Unknown: "?", trace.Warning: "~", trace.Shown: "-"}

// title names a group.
func (g *Group) title() string {
	if g.Name == "" {
		return g.Kind
	}
	return g.Kind + " " + g.Name
}

// Print writes the findings for people, by server and host; all writes also what is well and what cannot happen here.
func (r *Report) Print(w io.Writer, all bool) error {
	var b strings.Builder
	counts := map[trace.Verdict]int{}
	for i := range r.Groups {
		g := &r.Groups[i]
		var lines []string
		for _, c := range g.Checks {
			counts[c.Verdict]++
			if !all && (c.Verdict == trace.OK || c.Verdict == trace.Shown) {
				continue
			}
			mark := marks[c.Verdict]
			if mark == "" {
				mark = " "
			}
			lines = append(lines, fmt.Sprintf("%s %s: %s\n", mark, c.Name, c.Text))
			if c.Do != "" {
				lines = append(lines, "    -> "+c.Do+"\n")
			}
		}
		if len(lines) > 0 {
			fmt.Fprintf(&b, "%s\n%s\n", g.title(), strings.Join(lines, ""))
		}
	}
	fmt.Fprintf(&b, "%s: %d broken, %d unknown, %s, %d well", strings.ToUpper(string(r.Verdict)),
		counts[trace.Broken], counts[trace.Unknown], count(counts[trace.Warning], "warning"), counts[trace.OK])
	if n := counts[trace.Shown]; n > 0 {
		fmt.Fprintf(&b, "; %d troubles of Neutron cannot happen here", n)
	}
	if !all {
		b.WriteString(" (--all lists them)")
	}
	b.WriteString("\n")
	_, err := io.WriteString(w, b.String())
	return err
}
