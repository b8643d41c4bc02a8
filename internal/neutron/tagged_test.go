package neutron

import "testing"

// TestEverythingTaggable: resources have tags without a word of their own.
func TestEverythingTaggable(t *testing.T) {
	a := startAPI(t)
	for path, body := range map[string]m{
		"subnetpools":     {"subnetpool": m{"name": "p", "prefixes": []string{"10.0.0.0/8"}}},
		"security-groups": {"security_group": m{"name": "g"}},
	} {
		at := "/v2.0/" + path + "/" + id(a.must(201, "POST", "/v2.0/"+path, body))
		a.must(201, "PUT", at+"/tags/red", nil)
		if got := a.tagsOf(at); got != "[red]" {
			t.Errorf("%s: tags %s", path, got)
		}
		if got := a.do("GET", "/v2.0/"+path+"?tags=red", nil).list(); len(got) != 1 || len(got[0]["tags"].([]any)) != 1 {
			t.Errorf("%s found by their tag: %v", path, got)
		}
	}
}
