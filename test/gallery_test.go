package test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"weft/internal/inspect"
	"weft/internal/lab"
	"weft/internal/lab/labtest"
	"weft/internal/trace"
)

// galleryVar, if set, has the gallery printed as it is walked.
const galleryVar = "WEFT_GALLERY"

// answerLimit is how long it may take until what an agent has to notice is seen: generous, for busy machines.
const answerLimit = time.Minute

// exhibit is one way of breaking a port, and what weft trace must answer. docs/trace.md is made of them.
type exhibit struct {
	name string
	// made and undone say in a command or two how, for people.
	made, undone string
	// verdict is broken unless it is given.
	verdict trace.Verdict
	cause   trace.Cause
	// text is the answer's, with placeholders: see showing.plain.
	text string
	// userspace is the answer on that datapath, where it is another than on the kernel's.
	userspace told
	// harms says which of the neighbours the fault hits too; nil: none.
	harms func(*neighbour) bool
	// victim plugs the port that is to be broken, in place of a guest on compute-0 that has got its address.
	victim func(*showing)
	// make breaks the port; the function that it returns undoes that.
	make func(*showing) (undo func())
	// lasting: it cannot be undone, and the port is not healthy afterwards.
	lasting bool
	// long: only make gallery makes it, for it needs a second build of weft, of some minutes.
	long bool
}

// told is an answer.
type told struct {
	verdict trace.Verdict
	text    string
}

// exhibits are all, in the order in which they are shown.
func exhibits() (all []exhibit) {
	for _, group := range [][]exhibit{recordExhibits, interfaceExhibits, settingExhibits, flowExhibits, dhcpExhibits, clockExhibits, hostExhibits} {
		all = append(all, group...)
	}
	return all
}

// neighbour is a healthy port, which must be healthy in trace's eyes all the time.
type neighbour struct {
	*guest
	node, network string
}

// gallery is the cloud in which all is shown.
type gallery struct {
	*manyHosts
	network    string
	neighbours []*neighbour
}

// showing is one exhibit being shown.
type showing struct {
	*gallery
	exhibit
	*guest
	// asked is what weft trace is asked.
	asked string
	// names are further placeholders, by what they stand for.
	names map[string]string
	// again, if not nil, breaks the port once more, in case that was undone.
	again func()
}

// shown is what came of an exhibit.
type shown struct {
	answer trace.Finding
	// wrong says what was not as it must be; empty if all was.
	wrong []string
	// took is how long the command took that had the right answer, after is when after the fault that was.
	took, after time.Duration
}

// Everything that can be wrong with a port, made for real one after the other; weft trace must name each, and take no
// healthy port for a broken one meanwhile.
func TestGallery(t *testing.T) {
	labtest.Require(t, "busybox", "ping", "nft")
	g := newGallery(t)
	right, wrong, began := 0, 0, time.Now()
	say("%-42s %-8s %-7s %-7s %s", "fault", "", "trace", "after", "answer")
	for i, x := range exhibits() {
		if x.long && os.Getenv(galleryVar) == "" {
			continue
		}
		t.Run(x.name, func(t *testing.T) {
			s := g.show(t, x, i)
			verdict := "right"
			if len(s.wrong) > 0 {
				verdict = "WRONG"
				wrong++
			} else {
				right++
			}
			say("%-42s %-8s %-7s %-7s %s: %s", x.name, verdict, s.took.Round(time.Millisecond), s.after.Round(10*time.Millisecond), s.answer.Cause, s.answer.Text)
			for _, w := range s.wrong {
				say("    %s", strings.ReplaceAll(w, "\n", "\n    "))
				t.Error(w)
			}
		})
	}
	say("%d faults, %d right, %d wrong; %s", right+wrong, right, wrong, time.Since(began).Round(100*time.Millisecond))
	t.Logf("%d right, %d wrong, in %s", right, wrong, time.Since(began).Round(100*time.Millisecond))
}

func say(format string, args ...any) {
	if os.Getenv(galleryVar) != "" {
		fmt.Printf(format+"\n", args...)
	}
}

// newGallery makes a cloud with healthy ports on each host.
func newGallery(t testing.TB) *gallery {
	t.Helper()
	g := &gallery{manyHosts: newManyHosts(t, lab.ReferenceCloud, "agent_down_time: 6s", "heartbeat_interval: 1s", "resync_interval: 2m")}
	g.network = g.host.network("gallery", "10.70.0.0/24")
	other := g.host.network("other", "10.71.0.0/24")
	for _, n := range []neighbour{{node: "compute-0", network: g.network}, {node: "compute-1", network: g.network}, {node: "compute-0", network: other}, {node: "compute-1", network: other}} {
		n.guest = g.guestOn(n.node, n.network, fmt.Sprintf("near-%d", len(g.neighbours)), nil)
		g.getsAddress(n.guest)
		g.neighbours = append(g.neighbours, &n)
	}
	return g
}

// getsAddress has a guest ask by DHCP.
func (c *manyHosts) getsAddress(g *guest) {
	c.t.Helper()
	c.await("an address for "+g.Name, 30*time.Second, func() error {
		got, err := c.udhcpc(g.Name)
		if err == nil && got != g.ip() {
			err = fmt.Errorf("got %s, want %s", got, g.ip())
		}
		return err
	})
}

// show shows an exhibit.
func (g *gallery) show(t *testing.T, x exhibit, i int) (out shown) {
	t.Helper()
	part := *g
	part.manyHosts = g.in(t)
	s := &showing{gallery: &part, exhibit: x, names: map[string]string{}}
	if s.verdict == "" {
		s.verdict = trace.Broken
	}
	if other := x.userspace; other.text != "" && g.Node("compute-0").OVS.Datapath == lab.DatapathNetdev {
		s.verdict, s.text = other.verdict, other.text
	}
	if x.victim != nil {
		x.victim(s)
	} else {
		s.guest = part.guestOn("compute-0", g.network, fmt.Sprintf("victim-%d", i), nil)
		part.getsAddress(s.guest)
	}
	if s.asked == "" {
		s.asked = s.guest.ID
	}
	if x.victim == nil {
		out.check(part.healthy("before", s.guest, nil))
	}
	undo := x.make(s)
	out.answered(s)
	out.check(part.spared("meanwhile", x.harms))
	undo()
	if !x.lasting {
		out.check(part.healthy("afterwards", s.guest, nil))
	}
	out.check(part.spared("afterwards", nil))
	return out
}

func (o *shown) check(err error) {
	if err != nil {
		o.wrong = append(o.wrong, err.Error())
	}
}

// answered asks until the answer is right, as long as it may take an agent to notice.
func (o *shown) answered(s *showing) {
	began := time.Now()
	err := lab.Await(s.t.Context(), "the answer", answerLimit, func() error {
		if s.again != nil {
			s.again()
		}
		asked := time.Now()
		r, code, err := s.trace(s.asked)
		if err != nil {
			return err
		}
		o.took, o.after = time.Since(asked), time.Since(began)
		o.answer = s.answer(r)
		want := fmt.Sprintf("%s (exit %d) %s: %s", s.verdict, exits[s.verdict], s.cause, s.text)
		if got := fmt.Sprintf("%s (exit %d) %s: %s", r.Verdict, code, o.answer.Cause, o.answer.Text); got != want {
			return fmt.Errorf("the answer is\n%s\nand must be\n%s", got, want)
		}
		return nil
	})
	o.check(err)
}

// exits are the exit codes of weft trace.
var exits = map[trace.Verdict]int{trace.OK: 0, trace.Warning: 0, trace.Broken: 1, trace.Unknown: 2}

// trace runs weft trace where the API is.
func (s *showing) trace(q string) (r trace.Report, code int, err error) {
	out, err := s.Node("controller").Weft("trace", q, "-o", "json")
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		code = exit.ExitCode()
	} else if err != nil {
		return r, 0, err
	}
	if bad := json.Unmarshal([]byte(out), &r); bad != nil {
		return r, code, fmt.Errorf("weft trace %s: %w: %s", q, errors.Join(err, bad), out)
	}
	return r, code, nil
}

// answer is the report's, with placeholders.
func (s *showing) answer(r trace.Report) trace.Finding {
	var f trace.Finding
	switch {
	case len(r.Chains) > 0:
		f = r.Chains[0].Answer
	case len(r.Refused) > 0:
		f = trace.Finding{Cause: trace.CausePortRefused, Text: r.Refused[0].Message}
	}
	f.Text = s.plain(f.Text)
	return f
}

var (
	anyID       = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)
	anyTime     = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`)
	anyDuration = regexp.MustCompile(`\b(\d+h)?(\d+m)?\d+(\.\d+)?(s|ms|µs)\b`)
	anyNumber   = regexp.MustCompile(`\b\d+ of the \d+ flows\b`)
	anyPackets  = regexp.MustCompile(`: \d+ packets so far`)
	inPort      = regexp.MustCompile(`in_port=\d+`)
	anyTimes    = regexp.MustCompile(`\b\d+ times\b`)
)

// plain is a text with what differs each time replaced: PORT, TAP, MAC and ADDRESS are those of the port, NETWORK its
// network, ID any other identifier, TIME a time and N s a duration.
func (s *showing) plain(text string) string {
	var pairs []string
	for is, name := range s.names {
		pairs = append(pairs, is, name)
	}
	if g := s.guest; g != nil {
		pairs = append(pairs, "fe"+g.MAC[2:], "fe:MAC", g.MAC, "MAC", "tap"+g.ID[:11], "TAP", g.ID, "PORT", g.NetworkID, "NETWORK")
		if g.ip() != "" {
			pairs = append(pairs, g.ip(), "ADDRESS")
		}
	}
	text = strings.NewReplacer(pairs...).Replace(text)
	text = anyID.ReplaceAllString(text, "ID")
	text = anyTime.ReplaceAllString(text, "TIME")
	text = anyPackets.ReplaceAllString(text, "")
	text = inPort.ReplaceAllString(text, "in_port=N")
	text = anyNumber.ReplaceAllString(text, "N of the N flows")
	text = anyTimes.ReplaceAllString(text, "N times")
	return anyDuration.ReplaceAllString(text, "N s")
}

// healthy waits until a port is, in trace's eyes; a warning is allowed.
func (g *gallery) healthy(when string, of *guest, at *neighbour) error {
	err := lab.Await(g.t.Context(), "it to be healthy", answerLimit, func() error {
		var report trace.Report
		if err := g.call("GET", inspect.Path+"?q="+url.QueryEscape(of.ID), nil, &report); err != nil {
			return err
		}
		if c := report.Chains[0]; c.Verdict != trace.OK && c.Verdict != trace.Warning {
			return fmt.Errorf("%s: %s: %s", c.Verdict, c.Answer.Cause, c.Answer.Text)
		}
		return nil
	})
	if err != nil && at != nil {
		return fmt.Errorf("%s, the healthy port %s on %s is taken for broken: %w", when, of.Name, at.node, err)
	} else if err != nil {
		return fmt.Errorf("%s, the port is taken for broken: %w", when, err)
	}
	return nil
}

// spared holds trace to its word on all neighbours that are not harmed.
func (g *gallery) spared(when string, harms func(*neighbour) bool) error {
	errs := make([]error, len(g.neighbours))
	var wg sync.WaitGroup
	for i, n := range g.neighbours {
		if harms == nil || !harms(n) {
			wg.Go(func() { errs[i] = g.healthy(when, n.guest, n) })
		}
	}
	wg.Wait()
	return errors.Join(errs...)
}

// Whom a fault harms besides its victim.

func sameNetwork(n *neighbour) bool {
	return n.NetworkID == n.network && strings.HasPrefix(n.ip(), "10.70.")
}
func sameHost(n *neighbour) bool { return n.node == "compute-0" }
func everybody(*neighbour) bool  { return true }

// sh runs a script on a node; it must succeed.
func (s *showing) sh(node, script string) {
	s.t.Helper()
	_, err := s.Node(node).Run("sh", "-ec", script)
	s.must(err)
}

// vsctl runs ovs-vsctl on the victim's host.
func (s *showing) vsctl(args ...string) {
	s.t.Helper()
	_, err := s.Node("compute-0").OVS.Vsctl(args...)
	s.must(err)
}

func (s *showing) tap() string { return "tap" + s.guest.ID[:11] }

// set changes the victim by the API.
func (s *showing) set(attrs m) {
	s.t.Helper()
	s.must(s.call("PUT", "/v2.0/ports/"+s.guest.ID, m{"port": attrs}, nil))
}
