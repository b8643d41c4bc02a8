package neutron

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func (a *api) tagsOf(path string) string {
	a.t.Helper()
	r := a.do("GET", path+"/tags", nil)
	if r.status != 200 {
		return r.fault()
	}
	return fmt.Sprint(r.body["tags"])
}

func TestTags(t *testing.T) {
	a := startAPI(t)
	network, subnet := a.network("n", "10.0.0.0/24")
	port := id(a.must(201, "POST", "/v2.0/ports", map[string]any{"port": map[string]any{"network_id": network, "tags": []string{"z", "a"}}}))
	if got := a.tagsOf("/v2.0/ports/" + port); got != "[a z]" {
		t.Errorf("tags given at creation: %s", got)
	}
	for _, path := range []string{"/v2.0/networks/" + network, "/v2.0/subnets/" + subnet, "/v2.0/ports/" + port} {
		a.must(204, "DELETE", path+"/tags", nil)
		before := a.must(200, "GET", path, nil)["revision_number"].(float64)
		for _, c := range []struct {
			method, tail string
			body         any
			status       int
			then         string
		}{
			{"PUT", "/red", `"{}"`, 201, "[red]"},
			{"PUT", "/red", nil, 201, "[red]"},
			{"PUT", "/blue%2Fgreen", nil, 201, "[blue/green red]"},
			{"GET", "/red", nil, 204, "[blue/green red]"},
			{"GET", "/pink", nil, 404, "[blue/green red]"},
			{"DELETE", "/pink", nil, 404, "[blue/green red]"},
			{"DELETE", "/blue%2Fgreen", nil, 204, "[red]"},
			{"PUT", "", map[string]any{"tags": []string{"c", "b"}}, 200, "[b c]"},
			{"POST", "", map[string]any{"tags": []string{"a", "b"}}, 200, "[a b c]"},
			{"DELETE", "", nil, 204, "[]"},
		} {
			if r := a.do(c.method, path+"/tags"+c.tail, c.body); r.status != c.status {
				t.Errorf("%s %s/tags%s: %d %s", c.method, path, c.tail, r.status, r.text)
			}
			if got := a.tagsOf(path); got != c.then {
				t.Errorf("after %s %s/tags%s: %s, want %s", c.method, path, c.tail, got, c.then)
			}
		}
		if after := a.must(200, "GET", path, nil)["revision_number"].(float64); after != before+6 {
			t.Errorf("%s: %v changes counted, want 6", path, after-before)
		}
	}
}

func TestTagFaults(t *testing.T) {
	a := startAPI(t)
	network, _ := a.network("n", "")
	path := "/v2.0/networks/" + network
	var many []string
	for i := range 51 {
		many = append(many, fmt.Sprint(i))
	}
	long := strings.Repeat("x", 256)
	none := "/v2.0/networks/11111111-2222-4333-8444-555555555555/tags"
	for _, c := range []struct {
		method, path string
		body         any
		want         string
	}{
		{"GET", none, nil, "404 TagResourceNotFound: Resource networks 11111111-2222-4333-8444-555555555555 could not be found."},
		{"PUT", none + "/a", nil, "404 TagResourceNotFound: Resource networks 11111111-2222-4333-8444-555555555555 could not be found."},
		{"DELETE", path + "/tags/no", nil, "404 TagNotFound: Tag no could not be found."},
		{"PUT", path + "/tags", map[string]any{"tags": many}, "400 BadRequest: Bad networks request: The number of tags exceed the per-resource limit of 50."},
		{"PUT", path + "/tags", map[string]any{"tags": []any{"a", "a"}}, "400 InvalidInput: Invalid input for operation: Duplicate items in the list: 'a'."},
		{"PUT", path + "/tags", map[string]any{"tags": "a"}, "400 InvalidInput: Invalid input for operation: 'a' is not a list."},
		{"PUT", path + "/tags", map[string]any{"tags": []any{1}}, "400 InvalidInput: Invalid input for operation: '1' is not a valid string."},
		{"PUT", path + "/tags", map[string]any{}, "400 InvalidInput: Invalid input for operation: Invalid tags body."},
		{"PUT", path + "/tags/" + long, nil, "400 InvalidInput: Invalid input for operation: '" + long + "' exceeds maximum length of 255."},
		{"POST", "/v2.0/networks", map[string]any{"network": map[string]any{"tags": []string{"a"}}}, "400 HTTPBadRequest: Attribute 'tags' not allowed in POST"},
		{"PUT", path, map[string]any{"network": map[string]any{"tags": []string{"a"}}}, "400 HTTPBadRequest: Cannot update read-only attribute tags"},
		{"GET", "/v2.0/networks?changed_since=yesterday", nil, "400 InvalidInput: Invalid input for operation: The input changed_since must be in the following format: YYYY-MM-DDTHH:MM:SSZ."},
	} {
		if got := a.do(c.method, c.path, c.body).fault(); got != c.want {
			t.Errorf("%s %s\n got %s\nwant %s", c.method, c.path, got, c.want)
		}
	}
	if got := a.tagsOf(path); got != "[]" {
		t.Errorf("refused requests left tags %s", got)
	}
	a.must(200, "PUT", path+"/tags", map[string]any{"tags": many[:50]})
	if r := a.do("PUT", path+"/tags/more", nil); r.status != 400 {
		t.Errorf("a 51st tag: %s", r.fault())
	}
}

func TestTagFilters(t *testing.T) {
	a := startAPI(t)
	for name, tags := range map[string][]string{"none": {}, "a": {"a"}, "b": {"b"}, "ab": {"a", "b"}, "abc": {"a", "b", "c"}} {
		n, _ := a.network(name, "")
		a.must(200, "PUT", "/v2.0/networks/"+n+"/tags", map[string]any{"tags": tags})
	}
	for query, want := range map[string]string{
		"tags=a":                             "[a ab abc]",
		"tags=a,b":                           "[ab abc]",
		"tags=a&tags=b":                      "[ab abc]",
		"tags-any=b,c":                       "[ab abc b]",
		"not-tags=a,b":                       "[a b none]",
		"not-tags-any=a,b":                   "[none]",
		"tags=a&not-tags=c":                  "[a ab]",
		"changed_since=2020-01-01":           "[a ab abc b none]",
		"changed_since=2999-01-01T00:00:00Z": "[]",
	} {
		var names []string
		for _, n := range a.do("GET", "/v2.0/networks?"+query, nil).list() {
			names = append(names, n["name"].(string))
		}
		slices.Sort(names)
		if got := fmt.Sprint(names); got != want {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}
}
