package client

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
)

// Collection says how the objects of one kind are asked for.
type Collection struct {
	// Path is /v2.0/networks; Key, networks, is the list in an answer and One, network, an object.
	Path, Key, One string
	// Name is the attribute that names an object, mostly name.
	Name string
}

// Kind is what people call one object.
func (c Collection) Kind() string {
	switch c.One { // two that the API writes as one word
	case "floatingip":
		return "floating IP"
	case "subnetpool":
		return "subnet pool"
	}
	return strings.ReplaceAll(c.One, "_", " ")
}

// Find finds one object by ID or else by name.
func (c *Client) Find(ctx context.Context, in Collection, ref string) (json.RawMessage, error) {
	if isUUID(ref) {
		var one map[string]json.RawMessage
		err := c.Do(ctx, http.MethodGet, in.Path+"/"+url.PathEscape(ref), nil, &one)
		var f Fault
		if err == nil {
			return one[in.One], nil
		}
		if !errors.As(err, &f) || f.Status != http.StatusNotFound {
			return nil, err
		}
	}
	found, err := c.List(ctx, in.Path, in.Key, url.Values{in.Name: {ref}})
	if err != nil {
		return nil, err
	}
	switch len(found) {
	case 0:
		return nil, NoneFound{Kind: in.Kind(), Ref: ref, Attribute: in.Name}
	case 1:
		return found[0], nil
	}
	many := Ambiguous{Kind: in.Kind() + "s", Ref: ref}
	for _, raw := range found {
		var o Candidate
		if err := json.Unmarshal(raw, &o); err != nil {
			return nil, err
		}
		many.Found = append(many.Found, o)
	}
	return nil, many
}

// isUUID reports whether s looks like an ID of Neutron's.
func isUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		dash := i == 8 || i == 13 || i == 18 || i == 23
		if dash != (s[i] == '-') || !dash && !strings.ContainsRune("0123456789abcdefABCDEF", rune(s[i])) {
			return false
		}
	}
	return true
}
