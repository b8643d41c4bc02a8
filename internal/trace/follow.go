package trace

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"weft/internal/model"
	"weft/internal/plan/vif"
)

// FollowQuery asks a host for what happens to a port; the answer is a Followed, when there is
// something, or after Wait. Epoch, After, Heard and Mended are those of the answer before.
type FollowQuery struct {
	Epoch  int64         `json:"epoch,omitempty"`
	After  uint64        `json:"after,omitempty"`
	Heard  time.Time     `json:"heard,omitzero"`
	Mended time.Time     `json:"mended,omitzero"`
	Wait   time.Duration `json:"wait_ns,omitempty"`
}

// Followed is what a host knows of a port that the asker has not heard.
type Followed struct {
	// Epoch is when the agent began: an agent that began later counts anew.
	Epoch int64 `json:"epoch"`
	// Now is the host's clock.
	Now time.Time `json:"now"`
	// Events are in the order of their times.
	Events []Event `json:"events,omitempty"`
	// Last is the number of the last event, Heard the time of the last DHCP message, Mended that of the last repair.
	Last   uint64    `json:"last"`
	Heard  time.Time `json:"heard,omitzero"`
	Mended time.Time `json:"mended,omitzero"`
	// Lost counts the events that are not kept any more.
	Lost uint64 `json:"lost,omitempty"`
}

// EventKind says what an event is about.
type EventKind string

// The kinds of events.
const (
	EventRecord    EventKind = "record"    // the API's record: binding, status, addresses
	EventHost      EventKind = "host"      // the port's record has come to its host, or left it
	EventInterface EventKind = "interface" // the OVS interface has appeared or gone
	EventFlows     EventKind = "flows"     // the switch has acknowledged the port's flows, or they are not in any more
	EventDHCP      EventKind = "dhcp"      // a message of the port, or an answer to one
	EventRepair    EventKind = "repair"    // somebody else had changed something, and it was put back
	EventReport    EventKind = "report"    // what the host has told the server
	EventEnd       EventKind = "end"       // no more will come, because the port is deleted
	EventNote      EventKind = "note"      // about the timeline itself: clocks, hosts that do not answer, what was lost
)

// Public reports whether those may see events of the kind to whom the API shows no hosts.
func (k EventKind) Public() bool { return k == EventRecord || k == EventDHCP || k == EventEnd }

// Event is a moment in the life of a port. It is a line of what GET /weft/v1/trace/follow answers.
type Event struct {
	// At is the time; where a host's clock is wrong it is the server's.
	At time.Time `json:"at"`
	// PortID is which port, when all of a VM are followed; empty is the whole host.
	PortID model.PortID `json:"port_id,omitempty"`
	// Host is where it happened; empty is the server.
	Host model.HostName `json:"host,omitempty"`
	Kind EventKind      `json:"kind"`
	Text string         `json:"text"`
}

// Line is what people see, with the time of where they are; ports says which port, by its tap.
func (e Event) Line(ports bool) string {
	host, port := string(e.Host), ""
	if host == "" {
		host = "API"
	}
	if ports {
		port = "-"
		if e.PortID != "" {
			port = vif.TapName(e.PortID)
		}
		port = fmt.Sprintf("%-14s  ", port)
	}
	return fmt.Sprintf("%s  %s%-12s %-9s  %s", e.At.Local().Format("15:04:05.000000"), port, host, e.Kind, e.Text)
}

// Event makes of a repair what happened.
func (r Repair) Event() Event {
	times := ""
	if r.Lately > 1 {
		times = fmt.Sprintf(", %d times in the last minute", r.Lately)
	}
	return Event{At: r.At, Kind: EventRepair, Text: fmt.Sprintf("something else had changed %s: it was %s and is put back to %s%s", strings.TrimSpace(r.Kind+" "+cmp.Or(r.Name, r.Bridge)), r.Found, r.Set, times)}
}

// Events makes of a DHCP message what happened: it came, and was answered, or why not.
func (t Transaction) Events() []Event {
	addr := ""
	if t.Addr != "" {
		addr = " " + t.Addr
	}
	if t.Reply == "" {
		return []Event{{At: t.At, Kind: EventDHCP, Text: fmt.Sprintf("%s%s: no answer: %s", t.Message, addr, t.Reason)}}
	}
	answer := fmt.Sprintf("%s%s", t.Reply, addr)
	if t.Reason != "" {
		answer += ": " + t.Reason
	}
	return []Event{
		{At: t.At, Kind: EventDHCP, Text: t.Message},
		{At: t.At.Add(t.Elapsed), Kind: EventDHCP, Text: fmt.Sprintf("%s, after %d us", answer, t.Elapsed.Microseconds())},
	}
}
