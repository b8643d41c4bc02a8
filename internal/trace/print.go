package trace

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"weft/internal/model"
)

// Print writes the chain for people: the answer, then one line per item, expected and observed
// side by side, "!" before what is broken, "?" before what nobody could look at, "~" before a warning.
func (c *Chain) Print(w io.Writer) error {
	var b strings.Builder
	name := string(c.PortID)
	if c.Name != "" {
		name = c.Name + " (" + name + ")"
	}
	if name == "" {
		name = "unknown"
	}
	fmt.Fprintf(&b, "port %s as found at %s\n\n", name, c.At.UTC().Format(time.RFC3339))
	fmt.Fprintf(&b, "%s: %s\n", strings.ToUpper(string(c.Verdict)), c.Answer.Text)
	if c.Answer.Do != "" {
		fmt.Fprintf(&b, "  -> %s\n", c.Answer.Do)
	}
	if c.Answer.Cause != CauseHealthy {
		fmt.Fprintf(&b, "     (%s; docs/trace.md)\n", c.Answer.Cause)
	}
	b.WriteString("\n")
	c.table(&b)
	_, err := io.WriteString(w, b.String())
	return err
}

var marks = map[Verdict]string{Broken: "!", Unknown: "?", Warning: "~"}

// table writes the items in columns.
func (c *Chain) table(b *strings.Builder) {
	step, what, want := len("STEP"), len("ITEM"), len("EXPECTED")
	for _, s := range c.Steps {
		step = max(step, utf8.RuneCountInString(s.title()))
		for _, it := range s.Items {
			what = max(what, utf8.RuneCountInString(it.What))
			// One long expectation (a missing flow) must not push all others aside.
			if n := utf8.RuneCountInString(expectedText(it)); n <= maxColumn {
				want = max(want, n)
			}
		}
	}
	line := func(mark, name, item, expected, observed string) {
		l := fmt.Sprintf("%1s %-*s  %-*s  %-*s  %s", mark, step, name, what, item, want, expected, observed)
		b.WriteString(strings.TrimRight(l, " ") + "\n")
	}
	line("", "STEP", "ITEM", "EXPECTED", "OBSERVED")
	for _, s := range c.Steps {
		if len(s.Items) == 0 {
			line(marks[s.Verdict], s.title(), "", "", string(s.Verdict))
		}
		for i, it := range s.Items {
			name := s.title()
			if i > 0 {
				name = ""
			}
			line(marks[it.Verdict], name, it.What, expectedText(it), it.Observed)
		}
	}
}

// title is the step's name, with the host that it is about.
func (s *Step) title() string {
	if s.Host == "" {
		return s.Name
	}
	return s.Name + "@" + string(s.Host)
}

// Print writes the report for people.
func (r *Report) Print(w io.Writer) error {
	for i := range r.Chains {
		if i > 0 {
			if _, err := io.WriteString(w, "\n"); err != nil {
				return err
			}
		}
		if err := r.Chains[i].Print(w); err != nil {
			return err
		}
	}
	for _, f := range r.Refused {
		name := f.Name
		if name == "" {
			name = "without a name"
		}
		if _, err := fmt.Fprintf(w, "%s: a port %s on network %s was refused at %s (%s): %s\n", strings.ToUpper(string(Broken)), name, f.NetworkID,
			f.At.UTC().Format(time.RFC3339), CausePortRefused, f.Message); err != nil {
			return err
		}
	}
	return nil
}

const maxColumn = 52

func expectedText(it Item) string {
	if it.Expected == anything {
		return "-"
	}
	return it.Expected
}

func orNone(s string) string {
	if s == "" {
		return none
	}
	return s
}

// number prints n, or nothing for 0, which in our columns always means "not set".
func number(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}

func upDown(up bool) string {
	if up {
		return "up"
	}
	return "down"
}

func yesNo(yes bool) string {
	if yes {
		return "yes"
	}
	return "no"
}

func segment(s model.Segment) string {
	t := string(s.Type)
	if s.Physical != "" {
		t += " " + s.Physical
	}
	if s.ID != 0 {
		t += fmt.Sprintf(" %d", s.ID)
	}
	return t
}

// ago says how long before now t was, in the one or two units that matter.
func ago(now, t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	d := now.Sub(t)
	switch {
	case d < 0:
		return "in the future by the server's clock"
	case d < 10*time.Second:
		return fmt.Sprintf("%.1fs ago", d.Seconds())
	case d < 48*time.Hour:
		return d.Truncate(time.Second).String() + " ago"
	}
	return fmt.Sprintf("%d days ago", int(d.Hours()/24))
}
