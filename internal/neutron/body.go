package neutron

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
)

// readBody decodes the body of a POST or PUT. No body at all is an empty object, so that
// what is missing is named; text that is not JSON is a fault.
func readBody(r *http.Request) (map[string]any, error) {
	if err := jsonBody(r); err != nil {
		return nil, err
	}
	text, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, unreadable(err)
	}
	return decodeBody(text)
}

// unreadable is the fault of a body that ends early or is badly framed: the client's,
// unless it is too large, which has a fault of its own.
func unreadable(err error) error {
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return err
	}
	return badRequest("The request body could not be read: %s", err)
}

func decodeBody(text []byte) (map[string]any, error) {
	if len(bytes.TrimSpace(text)) == 0 {
		return map[string]any{}, nil
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var body any
	if err := d.Decode(&body); err != nil {
		return nil, faultMalformed
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, faultMalformed
	}
	m, ok := body.(map[string]any)
	if !ok {
		return nil, badRequest("Body contains invalid data")
	}
	return m, nil
}

// given finds the attributes of the one or many objects of a body: under the singular
// name, or as a list under the plural, where each may again be under the singular.
func (t *table[M, R]) given(body map[string]any) (list []map[string]any, bulk bool, err error) {
	if many, ok := body[t.plural]; ok {
		list, err = t.givenMany(many)
		return list, true, err
	}
	one, ok := body[t.singular]
	if !ok || one == nil {
		return nil, false, badRequest("Unable to find '%s' in request body", t.singular)
	}
	m, ok := one.(map[string]any)
	if !ok {
		return nil, false, badRequest("Object '%s' contains invalid data", t.singular)
	}
	return []map[string]any{m}, false, nil
}

func (t *table[M, R]) givenMany(many any) ([]map[string]any, error) {
	items, ok := many.([]any)
	switch {
	case ok && len(items) == 0, many == nil:
		return nil, badRequest("Resources required")
	case !ok:
		return nil, badRequest("Body contains invalid data")
	}
	list := make([]map[string]any, 0, len(items))
	for _, item := range items {
		m, ok := item.(map[string]any)
		if !ok {
			return nil, badRequest("Body contains invalid data")
		}
		if inner, has := m[t.singular]; has {
			if m, ok = inner.(map[string]any); !ok {
				return nil, badRequest("Object '%s' contains invalid data", t.singular)
			}
		}
		list = append(list, m)
	}
	return list, nil
}
