package identity

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// input is the object that a body carries, its attributes not decoded yet: an update
// changes those that are there.
type input map[string]json.RawMessage

// input reads a body of the form {noun: {...}}.
func (c *call) input(noun string) (input, error) {
	var body map[string]input
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	in, ok := body[noun]
	if !ok || in == nil {
		return nil, lacks(noun, "request body")
	}
	return in, nil
}

// has reports whether an attribute is there, be it null.
func (in input) has(field string) bool { _, ok := in[field]; return ok }

// text reads a text into dst; null is the empty one.
func (in input) text(field string, dst *string) error {
	raw, ok := in[field]
	if !ok {
		return nil
	}
	*dst = ""
	if json.Unmarshal(raw, dst) != nil {
		return invalidField(field, string(raw)+" is not of type 'string'")
	}
	return nil
}

// flag reads a boolean into dst.
func (in input) flag(field string, dst *bool) error {
	raw, ok := in[field]
	if !ok {
		return nil
	}
	if string(raw) == "null" || json.Unmarshal(raw, dst) != nil {
		return invalidField(field, string(raw)+" is not of type 'boolean'")
	}
	return nil
}

// name reads a name of up to longest characters; a new object must have one.
func (in input) name(dst *string, longest int) error {
	if err := in.text("name", dst); err != nil {
		return err
	}
	if n := utf8.RuneCountInString(*dst); strings.TrimSpace(*dst) == "" || n > longest {
		if !in.has("name") {
			return invalid("'name' is a required property")
		}
		return invalidField("name", fmt.Sprintf("want 1 to %d characters, not all of them space", longest))
	}
	return nil
}

// words reads a list of texts.
func (in input) words(field string, dst *[]string) error {
	raw, ok := in[field]
	if !ok {
		return nil
	}
	var list []string
	if json.Unmarshal(raw, &list) != nil {
		return invalidField(field, string(raw)+" is not a list of strings")
	}
	*dst = list
	return nil
}

// fixed refuses a change of an attribute that cannot change; now is its value.
func (in input) fixed(field, now string) error {
	v := now
	if err := in.text(field, &v); err != nil {
		return err
	}
	if v != now {
		return invalidField(field, "it cannot be changed")
	}
	return nil
}

// time reads a time of ISO 8601; without a zone it is UTC.
func (in input) time(field string, dst *time.Time) error {
	var s string
	if err := in.text(field, &s); err != nil || s == "" {
		return err
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999"} {
		if t, err := time.Parse(layout, s); err == nil {
			*dst = t.UTC()
			return nil
		}
	}
	return invalidField(field, fmt.Sprintf("%q is not a time such as 2030-01-31T12:00:00", s))
}

// first returns the first error.
func first(errs ...error) error {
	i := slices.IndexFunc(errs, func(e error) bool { return e != nil })
	if i < 0 {
		return nil
	}
	return errs[i]
}

// wants reports whether an object passes the filters of the query: the given attributes,
// as text, by name.
func (c *call) wants(attributes map[string]string) bool {
	q := c.r.URL.Query()
	for name, v := range attributes {
		if q.Has(name) && q.Get(name) != v {
			return false
		}
	}
	return true
}

// wantsEnabled applies the filter enabled, which is true unless it says that it is not.
func (c *call) wantsEnabled(enabled bool) bool {
	q := c.r.URL.Query()
	return !q.Has("enabled") || c.isSet("enabled") == enabled
}

// isSet reports whether a parameter of the query is there and does not say no.
func (c *call) isSet(name string) bool {
	q := c.r.URL.Query()
	return q.Has(name) && !slices.Contains([]string{"0", "false", "f", "no", "off", "n"}, strings.ToLower(q.Get(name)))
}

// byName sorts a list for clients by name, then by ID.
func byName(list []object) []object {
	slices.SortFunc(list, func(a, b object) int {
		if n := strings.Compare(fmt.Sprint(a["name"]), fmt.Sprint(b["name"])); n != 0 {
			return n
		}
		return strings.Compare(fmt.Sprint(a["id"]), fmt.Sprint(b["id"]))
	})
	return list
}

// sendNew answers with an object that was made.
func (c *call) sendNew(noun string, o object) error {
	return c.send(http.StatusCreated, object{noun: o})
}

func (c *call) sendObject(noun string, o object) error {
	return c.send(http.StatusOK, object{noun: o})
}
