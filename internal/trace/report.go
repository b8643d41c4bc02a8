package trace

import (
	"slices"
	"strings"
	"time"

	"weft/internal/model"
)

// Report answers a question about ports: a Chain for each that the question means. It is what
// GET /weft/v1/trace returns and `weft trace -o json` prints; fields are only ever added.
type Report struct {
	// Query is what was asked.
	Query string `json:"query"`
	// Verdict is the worst of the chains'; broken if there are none but Refused.
	Verdict Verdict `json:"verdict"`
	Chains  []Chain `json:"chains"`
	// Refused are ports that Query would mean, had they been made, newest first.
	Refused []model.Refusal `json:"refused,omitempty"`
}

// Verdict says how something is.
type Verdict string

// The verdicts. That of a step is the worst of its items', that of a chain the worst of its steps'.
const (
	// Shown: nothing is expected of it. Only items have it.
	Shown Verdict = "shown"
	OK    Verdict = "ok"
	// Warning: the port works, and something is worth a look.
	Warning Verdict = "warning"
	// Unknown: nobody could look.
	Unknown Verdict = "unknown"
	Broken  Verdict = "broken"
)

var severity = map[Verdict]int{Shown: 0, OK: 1, Warning: 2, Unknown: 3, Broken: 4}

// Worse returns the worse of two verdicts.
func (v Verdict) Worse(o Verdict) Verdict {
	if severity[o] > severity[v] {
		return o
	}
	return v
}

// Chain is the whole of a port, as expected and as observed.
type Chain struct {
	PortID    model.PortID    `json:"port_id"`
	Name      string          `json:"name"`
	NetworkID model.NetworkID `json:"network_id"`
	DeviceID  string          `json:"device_id"`
	MAC       string          `json:"mac"`
	Addresses []string        `json:"addresses"`
	Host      model.HostName  `json:"host"`
	At        time.Time       `json:"at"`
	Verdict   Verdict         `json:"verdict"`
	// Answer is the first broken step; else the first that nobody could look at; else the first
	// warning; else that all is well.
	Answer Finding `json:"answer"`
	Steps  []Step  `json:"steps"`
	// Conversation is the DHCP messages of the port and their answers, of all hosts that serve, oldest first.
	Conversation []Transaction `json:"conversation,omitempty"`
}

// Finding is what is the matter, for people.
type Finding struct {
	// Step and What say where; empty when all is well.
	Step  string `json:"step,omitempty"`
	What  string `json:"what,omitempty"`
	Cause Cause  `json:"cause"`
	// Text is one sentence; Do says what to do about it, and is empty when there is nothing to do.
	Text string `json:"text"`
	Do   string `json:"do,omitempty"`
}

// Step is one link of the chain.
type Step struct {
	// Name is one of the Step constants.
	Name string `json:"name"`
	// Host is the one that was looked at; empty for what the server's records say.
	Host    model.HostName `json:"host,omitempty"`
	Verdict Verdict        `json:"verdict"`
	Items   []Item         `json:"items"`
}

// The steps, in order.
const (
	StepRecord     = "record"     // the API's record
	StepAllocation = "allocation" // why this MAC and these addresses
	StepBinding    = "binding"    // where the port is to be realised
	StepHost       = "host"       // is that host's agent alive and in step
	StepInterface  = "interface"  // the OVS interface that carries the port's ID, and its tag
	StepDevice     = "tap"        // the tap in the kernel, and who holds its other end
	StepFilter     = "filter"     // port security and security groups, and what they have dropped
	StepFlows      = "flows"      // what the switch holds for the port, and what shadows it there or its DHCP packets on other hosts
	StepGuest      = "guest"      // what the guest sends: other addresses, duplicates on the wire
	StepExchange   = "exchange"   // what becomes of the packets of a DHCP exchange, by the records and by the switches
	StepTunnel     = "tunnel"     // the way between the port's host and the DHCP host
	StepDHCPServer = "dhcp"       // namespace, address and listener
	StepLease      = "lease"      // what the guest asked and was told
	StepStatus     = "status"     // the facts and the status derived from them
	StepFaults     = "faults"     // what the agent could not do, and what it had to put right
)

// hostSide are the steps that show what only an administrator may see: the insides of hosts.
var hostSide = map[string]bool{StepBinding: true, StepHost: true, StepInterface: true, StepDevice: true, StepFlows: true, StepExchange: true,
	StepTunnel: true, StepDHCPServer: true, StepFaults: true}

// Item is one fact of a step.
type Item struct {
	What string `json:"what"`
	// Expected is empty when nothing is.
	Expected string  `json:"expected"`
	Observed string  `json:"observed"`
	Verdict  Verdict `json:"verdict"`
	// Cause, Text and Do are those of a Finding; empty for items that are ok or only shown.
	Cause Cause  `json:"cause,omitempty"`
	Text  string `json:"text,omitempty"`
	Do    string `json:"do,omitempty"`
	// forAdmins: it says what only those may know to whom the API shows all ports. public is Text without that; an
	// item without one is left out for others.
	forAdmins bool
	public    string
}

const (
	unknown  = "unknown: "  // begins Observed of what nobody could look at
	none     = "none"       // Observed of what is not there
	anything = ""           // Expected of an item that is only shown
	present  = "present"    // Expected of what must be there, whatever it is
	timeForm = time.RFC3339 // of times in items
)

// show appends an item of which nothing is expected.
func (s *Step) show(what, observed string) {
	s.Items = append(s.Items, Item{What: what, Observed: observed, Verdict: Shown})
}

// want appends an item that is compared literally; cause and text say what it means that they differ.
func (s *Step) want(what, expected, observed string, cause Cause, text string) {
	s.judge(what, expected, observed, expected == observed, cause, text)
}

// judge appends an item with a verdict of the caller's, ok or broken.
func (s *Step) judge(what, expected, observed string, ok bool, cause Cause, text string) {
	if ok {
		s.Items = append(s.Items, Item{What: what, Expected: expected, Observed: observed, Verdict: OK})
		return
	}
	s.find(Broken, what, expected, observed, cause, text)
}

// find appends an item that is not as expected.
func (s *Step) find(v Verdict, what, expected, observed string, cause Cause, text string) {
	s.Items = append(s.Items, Item{What: what, Expected: expected, Observed: observed, Verdict: v, Cause: cause, Text: text, Do: Causes[cause].Do})
}

// onlyAdmins marks the last item as one for administrators; public is what others read instead, if anything.
func (s *Step) onlyAdmins(public string) {
	it := &s.Items[len(s.Items)-1]
	it.forAdmins, it.public = true, public
}

// unlooked appends an item that nobody could look at.
func (s *Step) unlooked(what, expected, why string) {
	s.find(Unknown, what, expected, unknown+why, CauseNotLooked, "Nobody could look at the "+what+": "+why+".")
	s.onlyAdmins("Nobody could look at the " + what + ".")
}

// finish adds steps with their verdicts; those without items are left out.
func (c *Chain) finish(steps ...Step) {
	for _, s := range steps {
		if len(s.Items) == 0 {
			continue
		}
		s.Verdict = OK
		for _, it := range s.Items {
			s.Verdict = s.Verdict.Worse(it.Verdict)
		}
		c.Steps = append(c.Steps, s)
	}
}

// conclude works out verdict and answer from the steps.
func (c *Chain) conclude(healthy string) {
	c.Verdict = OK
	for _, s := range c.Steps {
		c.Verdict = c.Verdict.Worse(s.Verdict)
	}
	c.Answer = Finding{Cause: CauseHealthy, Text: healthy}
	if c.Verdict == OK {
		return
	}
	for _, s := range c.Steps {
		for _, it := range s.Items {
			if it.Verdict == c.Verdict {
				c.Answer = Finding{Step: s.Name, What: it.What, Cause: it.Cause, Text: it.Text, Do: it.Do}
				return
			}
		}
	}
}

// Redact takes out what only those may see to whom the API shows hosts.
func (c *Chain) Redact() {
	if c.Answer.Cause == CauseHealthy {
		c.Answer.Text = strings.Replace(c.Answer.Text, onHost(c.Host), "", 1)
	}
	c.Host = ""
	for i := range c.Steps {
		s := &c.Steps[i]
		if hostSide[s.Name] {
			s.Host, s.Items = "", nil
		}
		s.Items = slices.DeleteFunc(s.Items, func(it Item) bool { return it.forAdmins && it.public == "" })
		for j := range s.Items {
			// Why nobody could look names hosts.
			if it := &s.Items[j]; it.Cause == CauseNotLooked {
				it.Observed, it.forAdmins, it.public = strings.TrimSuffix(unknown, ": "), true, "Nobody could look at the "+it.What+"."
			}
			if it := &s.Items[j]; it.forAdmins {
				if c.Answer.Text == it.Text {
					c.Answer.Text = it.public
				}
				it.Observed, it.Text = it.public, it.public
			}
		}
	}
	if c.Answer.Cause == CauseUnbound { // which is not the cloud's fault
		c.Answer = Finding{Step: c.Answer.Step, Cause: CauseUnbound, Text: unboundText, Do: "Start a VM that has the port; if one runs, tell an administrator of the cloud."}
	} else if hostSide[c.Answer.Step] {
		c.Answer = Finding{Step: c.Answer.Step, Cause: c.Answer.Cause, Text: "Something on the cloud's side is not as it should be: " + Causes[c.Answer.Cause].Title + ".",
			Do: "Tell an administrator of the cloud; weft trace shows it to them."}
	}
}
