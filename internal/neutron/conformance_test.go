package neutron

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"weft/internal/control"
	"weft/internal/model"
)

// The files of testdata/zed are requests and responses of a real Neutron 21.0. This test
// sends the same requests in the same order, with the IDs that this server gave in place
// of the recorded ones, and compares: keys and types everywhere, values where they are
// not chosen by the server, and errors word for word.

const (
	adminProject  = "9eb05e8e61854603a5850ef5bf3bdcae"
	memberProject = "85ac050fe4dc4244a7c2fc28ec0aae2f"
)

type recording struct {
	Request struct {
		Method string          `json:"method"`
		Path   string          `json:"path"`
		Body   json.RawMessage `json:"body"`
	} `json:"request"`
	Status   int            `json:"status"`
	Response map[string]any `json:"response"`
}

// replay remembers which of our texts stand for which recorded ones.
type replay struct {
	*api
	subst map[string]string
}

func load(t testing.TB, name string) recording {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "zed", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var r recording
	if err := json.Unmarshal(text, &r); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return r
}

// ours puts our texts in place of the recorded ones, all at once: ours may look like
// another recorded one.
func (p *replay) ours(text string) string {
	var pairs []string
	for _, theirs := range slices.SortedFunc(maps.Keys(p.subst), func(a, b string) int { return len(b) - len(a) }) {
		pairs = append(pairs, theirs, p.subst[theirs])
	}
	return strings.NewReplacer(pairs...).Replace(text)
}

// send replays the request of a recording.
func (p *replay) send(name string) (recording, answer) {
	p.t.Helper()
	rec := load(p.t, name)
	var body any
	if rec.Request.Body != nil {
		body = p.ours(string(rec.Request.Body))
	}
	project := adminProject
	if strings.HasSuffix(name, "-member") {
		project = memberProject
	}
	r := p.do(rec.Request.Method, p.ours(rec.Request.Path), body, "X-Project-Id", project)
	if r.status != rec.Status {
		p.t.Errorf("%s: status %d, want %d: %s", name, r.status, rec.Status, r.text)
	}
	return rec, r
}

// learn makes our object stand for the recorded one, and so its MAC and addresses.
func (p *replay) learn(theirs, ours any) {
	switch theirs := theirs.(type) {
	case map[string]any:
		ours, _ := ours.(map[string]any)
		for k, v := range theirs {
			p.learnValue(k, v, ours[k])
			p.learn(v, ours[k])
		}
	case []any:
		ours, _ := ours.([]any)
		theirs, ours = inOrder(theirs), inOrder(ours)
		for i := range min(len(theirs), len(ours)) {
			p.learn(theirs[i], ours[i])
		}
	}
}

// inOrder puts the rules of a security group, whose order is that of chosen IDs, in one
// that is the same for both sides.
func inOrder(list []any) []any {
	name := func(e any) string {
		rule, _ := e.(map[string]any)
		return fmt.Sprint(rule["direction"], rule["ethertype"], rule["protocol"])
	}
	return slices.SortedStableFunc(slices.Values(list), func(x, y any) int { return strings.Compare(name(x), name(y)) })
}

func (p *replay) learnValue(key string, theirs, ours any) {
	t, ok := theirs.(string)
	o, ok2 := ours.(string)
	if ok && ok2 && o != "" && slices.Contains([]string{"id", "mac_address", "ip_address", "floating_ip_address"}, key) {
		p.subst[t] = o
	}
}

// free are the keys whose values the server chooses; only their types are compared.
var free = map[string]bool{"created_at": true, "updated_at": true, "started_at": true, "heartbeat_timestamp": true,
	"provider:segmentation_id": true, "revision_number": true, "configurations": true, "href": true}

// compare reports where ours differs from the recorded value.
func (p *replay) compare(at string, theirs, ours any) {
	key := at[strings.LastIndex(at, ".")+1:]
	switch theirs := theirs.(type) {
	case map[string]any:
		o, ok := ours.(map[string]any)
		if !ok {
			p.t.Errorf("%s: %v, want an object", at, ours)
			return
		}
		if key == "configurations" { // its keys are the agent's own business
			return
		}
		p.compareKeys(at, theirs, o)
		for k, v := range theirs {
			if k == internal {
				continue
			}
			p.compare(at+"."+k, v, o[k])
		}
	case []any:
		o, ok := ours.([]any)
		if !ok {
			p.t.Errorf("%s: %v, want a list", at, ours)
			return
		}
		p.compareLists(at, key, theirs, o)
	default:
		if reflect.TypeOf(theirs) != reflect.TypeOf(ours) {
			p.t.Errorf("%s: %v (%T), want %v (%T)", at, ours, ours, theirs, theirs)
			return
		}
		if s, ok := theirs.(string); ok && strings.Contains(s, "http://127.0.0.1:9696") {
			theirs = strings.ReplaceAll(s, "http://127.0.0.1:9696", p.url)
		}
		if s, ok := theirs.(string); ok {
			theirs = p.ours(s)
		}
		if !free[key] && theirs != ours {
			p.t.Errorf("%s: %v, want %v", at, ours, theirs)
		}
	}
}

// beyond are attributes of extensions that the recorded server did not have.
var beyond = map[string]bool{"dns_name": true, "dns_domain": true, "dns_assignment": true, "belongs_to_default_sg": true,
	"dns_publish_fixed_ip": true, "data_plane_status": true, "ip_allocation": true, "resource_request": true,
	"port_forwardings": true,
	"qos_policy_id":    true}

// internal is a number of Neutron's database, which it lets slip out in rules that are
// shown in their group.
const internal = "standard_attr_id"

func (p *replay) compareKeys(at string, theirs, ours map[string]any) {
	for k := range theirs {
		if _, has := ours[k]; !has && k != internal {
			p.t.Errorf("%s: no key %s", at, k)
		}
	}
	for k := range ours {
		if _, has := theirs[k]; !has && !beyond[k] {
			p.t.Errorf("%s: key %s, which Neutron does not give", at, k)
		}
	}
}

// compareLists matches elements by id where they have one, and compares the first ones
// otherwise: recorded lists also hold IPv6 addresses, which are a later issue.
func (p *replay) compareLists(at, key string, theirs, ours []any) {
	switch key {
	case "subnets":
		if len(theirs) == 0 || reflect.TypeOf(theirs[0]).Kind() == reflect.String {
			return
		}
	case "resources":
		theirs = slices.DeleteFunc(slices.Clone(theirs), func(e any) bool { return e.(map[string]any)["name"] == "subnetpool" })
	case "fixed_ips":
		theirs = theirs[:min(len(theirs), len(ours))]
	}
	byID := make(map[string]any)
	for _, o := range ours {
		if m, ok := o.(map[string]any); ok && m["id"] != nil {
			byID[id(m)] = o
		}
	}
	for i, e := range theirs {
		m, _ := e.(map[string]any)
		if m["id"] != nil && at != ".versions" {
			o, has := byID[p.ours(id(m))]
			if !has {
				if p.subst[id(m)] == "" { // not replayed: IPv6, L3 and metadata agents
					continue
				}
				p.t.Errorf("%s: no element %s", at, p.ours(id(m)))
				continue
			}
			p.compare(fmt.Sprintf("%s[%d]", at, i), e, o)
			continue
		}
		if i >= len(ours) {
			p.t.Errorf("%s: %d elements, want %d", at, len(ours), len(theirs))
			return
		}
		p.compare(fmt.Sprintf("%s[%d]", at, i), e, ours[i])
	}
}

// check replays and compares a successful request.
func (p *replay) check(name string) {
	p.t.Helper()
	rec, r := p.send(name)
	p.compare(name, map[string]any(rec.Response), map[string]any(r.body))
}

// make replays a create, learns its IDs, and compares.
func (p *replay) make(name string) {
	p.t.Helper()
	rec, r := p.send(name)
	p.learn(rec.Response, r.body)
	if !strings.HasSuffix(name, "-member") { // a member sees less, here everybody is admin
		p.compare(name, map[string]any(rec.Response), map[string]any(r.body))
	}
}

// refused replays an error; type and message must be the recorded ones.
func (p *replay) refused(name string) {
	p.t.Helper()
	rec, r := p.send(name)
	theirs := rec.Response["NeutronError"].(map[string]any)
	ours, ok := r.body["NeutronError"].(map[string]any)
	if !ok {
		p.t.Errorf("%s: no NeutronError: %s", name, r.text)
		return
	}
	p.compareKeys(name, theirs, ours)
	if ours["type"] != theirs["type"] || ours["message"] != p.ours(theirs["message"].(string)) {
		p.t.Errorf("%s\n got %v: %v\nwant %v: %v", name, ours["type"], ours["message"], theirs["type"], p.ours(theirs["message"].(string)))
	}
	if _, ok := ours["detail"].(string); !ok {
		p.t.Errorf("%s: detail %v", name, ours["detail"])
	}
}

func TestConformance(t *testing.T) {
	p := &replay{api: startAPI(t), subst: map[string]string{}}
	p.host("node-1")
	for _, a := range p.do("GET", "/v2.0/agents", nil).list() {
		switch a["agent_type"] {
		case model.AgentSwitch:
			p.subst["466b6613-1240-4002-9860-36772f403480"] = id(a)
		case model.AgentDHCP:
			p.subst["56623beb-7a2c-4dc5-b8ce-817cba122614"] = id(a)
		case model.AgentL3:
			p.subst["728d02cf-0af9-4245-85d1-430fd0d0cb30"] = id(a)
		}
	}
	p.check("versions")
	p.check("v2-resources")
	p.check("agent-list")
	p.make("network-create")
	p.make("network-create-member")
	p.make("network-create-external")
	p.check("tags-put")
	p.must(204, "DELETE", p.ours("/v2.0/networks/7ac9e862-c147-4691-b95e-a6289d3deed4/tags"), nil)
	p.make("subnet-create")
	p.make("subnet-create-ipv6-slaac")
	p.make("subnet-create-member")
	p.replayGroups()
	p.replayDHCPPort()
	p.make("port-create-unbound")
	p.make("port-create-member")
	p.make("port-create-bound-admin")
	p.replayBulk()

	p.check("network-dhcp-agents")
	p.make("rbac-policy-create")
	p.unshare()
	p.check("network-show")
	p.check("network-list")
	p.check("subnet-show")
	p.check("subnet-list")
	p.check("port-show-unbound")
	p.activate("f7fbeb63-10c9-4074-9649-c82ca753ae12", "38ce9d69-89e1-45e2-9659-dda3dabdcdd3")
	p.check("port-show-bound-active-admin")
	p.check("port-dhcp")
	p.check("port-list")
	p.check("port-list-page")

	p.make("port-create-binding-fails-unknown-host")
	p.replayErrors()
	p.check("port-update")
}

// unshare takes back what the recorded policy did: the recorded network was not shared afterwards.
func (p *replay) unshare() {
	p.t.Helper()
	for _, e := range p.do("GET", "/v2.0/rbac-policies?action=access_as_shared", nil).list() {
		p.must(204, "DELETE", "/v2.0/rbac-policies/"+id(e), nil)
	}
}

// activate reports ports as a host that has done all its work.
func (p *replay) activate(theirs ...string) {
	p.t.Helper()
	var facts []control.PortFact
	for _, t := range theirs {
		facts = append(facts, control.PortFact{PortID: model.PortID(p.subst[t]), Wired: true, DHCP: true})
	}
	if err := p.control.ReportPorts(p.t.Context(), "node-1", facts); err != nil {
		p.t.Fatal(err)
	}
}

// replayDHCPPort learns the port that appeared with the subnet.
func (p *replay) replayDHCPPort() {
	p.t.Helper()
	rec, r := p.send("port-dhcp")
	p.learn(rec.Response, r.body)
	if len(r.list()) != 1 {
		p.t.Fatalf("want one DHCP port: %s", r.text)
	}
	if ip := p.subst["10.77.0.2"]; ip != "10.77.0.2" {
		p.t.Errorf("the DHCP port has %s, want the lowest free address", ip)
	}
}

// replayGroups learns the default groups, which ports are in, and makes a group of its own.
func (p *replay) replayGroups() {
	p.t.Helper()
	// A member sees its own; here everybody is admin, and sees two default groups.
	p.learn(load(p.t, "security-group-list-default-member").Response, p.do("GET", "/v2.0/security-groups?project_id="+memberProject, nil).body)
	p.check("security-group-show-default")
	p.subst["eacbbfc2-d72a-402a-ab32-67ce7dea4050"] = id(p.do("GET", "/v2.0/security-groups?project_id="+adminProject, nil).list()[0])
	p.make("security-group-create")
	p.make("security-group-rule-create")
	p.check("security-group-rule-show")
	p.check("security-group-rule-list")
	for _, name := range []string{"404-security-group", "404-security-group-rule", "409-sg-default-exists", "409-sg-rule-duplicate"} {
		p.refused("error-" + name)
	}
}

func (p *replay) replayBulk() {
	p.t.Helper()
	network, subnet := p.network("s-bulk", "10.76.0.0/24")
	p.subst["920d10ec-f7b4-44a3-8e77-9658a82880b4"] = network
	p.subst["3c67aac3-dc5a-47ab-82cc-85b1bcbb319e"] = subnet
	p.make("port-bulk-create")
	before := len(p.do("GET", "/v2.0/ports?network_id="+network, nil).list())
	p.refused("error-400-bulk-one-bad")
	if after := len(p.do("GET", "/v2.0/ports?network_id="+network, nil).list()); after != before {
		p.t.Errorf("a refused bulk left %d ports", after-before)
	}
}

func (p *replay) replayErrors() {
	p.t.Helper()
	for _, name := range []string{"400-bad-cidr", "400-bad-uuid-in-body", "400-filter-unknown", "400-ip-outside-subnet",
		"400-missing-network-id", "400-name-too-long", "400-no-body", "400-overlapping-cidr", "400-read-only", "400-unknown-attribute",
		"400-wrong-type", "404-network", "404-port", "404-port-on-missing-network", "404-subnet", "404-agent", "404-unknown-collection",
		"405", "409-delete-dhcp-sg-default", "409-ip-in-use", "409-mac-in-use", "409-subnet-in-use"} {
		p.refused("error-" + name)
	}
	// A subnet of one free address, and that one taken.
	member := p.subst["09150bc6-72f7-4294-a054-c06eab23bb5d"]
	small := id(p.must(201, "POST", "/v2.0/subnets", map[string]any{"subnet": map[string]any{"network_id": member,
		"cidr": "10.79.0.0/30", "ip_version": 4, "enable_dhcp": false}}))
	p.subst["9de857a6-5033-4ae0-ad8f-d2418059d84c"] = small
	p.must(201, "POST", "/v2.0/ports", map[string]any{"port": map[string]any{"network_id": member,
		"fixed_ips": []any{map[string]any{"subnet_id": small}}}})
	p.refused("error-409-ip-exhausted")

	p.networkInUse()
}

// networkInUse compares the text up to the IDs, and the IDs as a set; the last of the
// recorded ones is a router's port.
func (p *replay) networkInUse() {
	p.t.Helper()
	rec, r := p.send("error-409-network-in-use")
	theirs := p.ours(rec.Response["NeutronError"].(map[string]any)["message"].(string))
	theirs = strings.Replace(theirs, ",db7c8cda-2607-4fcd-9ba5-c125e7e1a4f9", "", 1)
	ours, _ := r.body["NeutronError"].(map[string]any)["message"].(string)
	split := func(s string) (string, []string) {
		text, ids, _ := strings.Cut(strings.TrimSuffix(s, "."), "these ports is: ")
		list := strings.Split(ids, ",")
		slices.Sort(list)
		return text, list
	}
	text1, ids1 := split(theirs)
	text2, ids2 := split(ours)
	if text1 != text2 || !slices.Equal(ids1, ids2) {
		p.t.Errorf("network in use\n got %s\nwant %s", ours, theirs)
	}
}

func TestAgents(t *testing.T) {
	p := &replay{api: startAPI(t), subst: map[string]string{}}
	p.host("node-1")
	list := p.do("GET", "/v2.0/agents?agent_type=DHCP+agent&host=node-1&alive=True", nil).list()
	if len(list) != 1 {
		t.Fatalf("agents: %v", list)
	}
	// The recorded one is another type of agent; the keys are the same.
	rec := load(t, "agent-show")
	r := p.do("GET", "/v2.0/agents/"+id(list[0]), nil)
	p.compareKeys("agent", rec.Response["agent"].(map[string]any), r.object())
	stamp, _ := r.object()["heartbeat_timestamp"].(string)
	if _, err := time.Parse("2006-01-02 15:04:05", stamp); err != nil {
		t.Error(err)
	}
	if again := p.do("GET", "/v2.0/agents?agent_type=DHCP+agent", nil).list(); len(again) != 1 || id(again[0]) != id(list[0]) {
		t.Errorf("the ID of an agent changed: %v", again)
	}
	late := httptest.NewServer(New(Options{Control: p.control, Now: func() time.Time { return time.Now().Add(76 * time.Second) }}))
	defer late.Close()
	p.url = late.URL
	if l := p.do("GET", "/v2.0/agents?alive=False", nil).list(); len(l) != 3 {
		t.Errorf("agents not heard of for 76 s: %v", l)
	}
}

// TestExtensionsAreNeutrons holds names and dates to the recorded ones.
func TestExtensionsAreNeutrons(t *testing.T) {
	a := startAPI(t)
	theirs := make(map[string]map[string]any)
	for _, e := range load(t, "extensions-list").Response["extensions"].([]any) {
		m := e.(map[string]any)
		theirs[m["alias"].(string)] = m
	}
	ours := a.do("GET", "/v2.0/extensions", nil).list()
	if len(ours) == 0 {
		t.Fatal("no extensions")
	}
	p := &replay{api: a, subst: map[string]string{}}
	shown := load(t, "extension-show").Response["extension"].(map[string]any)
	for _, e := range ours {
		alias, _ := e["alias"].(string)
		want := theirs[alias]
		if want == nil {
			continue // newer than the recorded release, or of a plugin that it did not have
		}
		if e["name"] != want["name"] || e["updated"] != want["updated"] {
			t.Errorf("%s: %v of %v, want %v of %v", alias, e["name"], e["updated"], want["name"], want["updated"])
		}
		p.compareKeys(alias, shown, a.must(200, "GET", "/v2.0/extensions/"+alias, nil))
	}
}
