package trace

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"weft/internal/model"
)

// Print writes the chain for people: one line per item, expected and observed side by
// side, "!" before what is not as expected, and last a line that names the first such item.
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
	what, want := len("ITEM"), len("EXPECTED")
	for _, s := range c.Steps {
		for _, it := range s.Items {
			what = max(what, utf8.RuneCountInString(it.What))
			// One long expectation (a missing flow) must not push all others aside.
			if n := utf8.RuneCountInString(expectedText(it)); n <= maxColumn {
				want = max(want, n)
			}
		}
	}
	line := func(mark, step, item, expected, observed string) {
		l := fmt.Sprintf("%s %-10s %-*s  %-*s  %s", mark, step, what, item, want, expected, observed)
		b.WriteString(strings.TrimRight(l, " ") + "\n")
	}
	line(" ", "STEP", "ITEM", "EXPECTED", "OBSERVED")
	for _, s := range c.Steps {
		for i, it := range s.Items {
			step, mark := s.Name, " "
			if i > 0 {
				step = ""
			}
			if !it.Same {
				mark = "!"
			}
			line(mark, step, it.What, expectedText(it), it.Observed)
		}
	}
	b.WriteString("\n")
	if s, it, ok := c.First(); ok {
		fmt.Fprintf(&b, "first difference: %s, %s: expected %s, observed %s\n", s.Name, it.What, expectedText(it), orNone(it.Observed))
	} else {
		b.WriteString("everything is as expected\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
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
