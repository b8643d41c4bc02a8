package client

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
)

// Fault is an answer that is not a success.
type Fault struct {
	// Service is who answered: neutron or keystone.
	Service string
	Status  int
	// Type is Neutron's name of the error, Message its text, Detail what more is known.
	Type, Message, Detail string
	RequestID             string
}

// Error says it as the service did.
func (f Fault) Error() string {
	var parts []string
	for _, p := range []string{f.Type, fmt.Sprint(f.Status), f.RequestID} {
		if p != "" {
			parts = append(parts, p)
		}
	}
	text := strings.TrimSpace(f.Message)
	if text == "" {
		text = http.StatusText(f.Status)
	}
	if f.Detail != "" {
		text += " " + f.Detail
	}
	return fmt.Sprintf("%s says: %s (%s)", f.Service, text, strings.Join(parts, ", "))
}

// readFault reads {"NeutronError": {...}}, Keystone's and its middleware's {"error":
// {...}}, and weft's own {"error": TEXT}.
func readFault(service string, resp *http.Response, body []byte) Fault {
	f := Fault{Service: service, Status: resp.StatusCode, RequestID: resp.Header.Get("X-Openstack-Request-Id")}
	var doc struct {
		NeutronError json.RawMessage
		Error        json.RawMessage `json:"error"`
	}
	if json.Unmarshal(body, &doc) != nil {
		// Not from the service itself: a proxy, say.
		if t := resp.Header.Get("Content-Type"); strings.HasPrefix(t, "text/plain") && len(body) < 300 {
			f.Message = string(body)
		}
		return f
	}
	for _, raw := range []json.RawMessage{doc.NeutronError, doc.Error} {
		var e struct{ Type, Message, Detail string }
		switch {
		case raw == nil:
		case json.Unmarshal(raw, &e) == nil:
			f.Type, f.Message, f.Detail = e.Type, e.Message, e.Detail
		default:
			_ = json.Unmarshal(raw, &f.Message) // then it is a text, or nothing that can be said
		}
	}
	return f
}

// Unreachable says that a service does not answer at all.
type Unreachable struct {
	Service, URL string
	// Source is where the URL comes from.
	Source string
	Err    error
}

// Error says who does not answer, and where the address comes from.
func (e Unreachable) Error() string {
	return fmt.Sprintf("%s does not answer at %s: %v (the address is from %s)", e.Service, e.URL, e.Err, e.Source)
}

// Unwrap gives the cause.
func (e Unreachable) Unwrap() error { return e.Err }

// NoneFound says that nothing has that ID or name.
type NoneFound struct{ Kind, Ref, Attribute string }

// Error says what was looked for.
func (e NoneFound) Error() string {
	by := "ID or " + strings.TrimPrefix(e.Attribute, "floating_ip_")
	if e.Attribute == "id" {
		by = "ID"
	}
	return fmt.Sprintf("no %s has the %s %q", e.Kind, by, e.Ref)
}

// Candidate is one of several objects that a name could mean.
type Candidate struct {
	ID        string `json:"id"`
	ProjectID string `json:"project_id"`
}

// Ambiguous says that several objects have the name; a person has to choose one.
type Ambiguous struct {
	Kind, Ref string
	Found     []Candidate
}

// Error lists the candidates.
func (e Ambiguous) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d %s are named %q; give the ID of one:", len(e.Found), e.Kind, e.Ref)
	for _, o := range e.Found {
		fmt.Fprintf(&b, "\n  %s", o.ID)
		if o.ProjectID != "" {
			fmt.Fprintf(&b, " (project %s)", o.ProjectID)
		}
	}
	return b.String()
}
