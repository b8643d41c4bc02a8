package neutron

import (
	"testing"
)

// checkBut is check with a change of the recorded answer: what a cloud without L3 agents
// does not say.
func (p *replay) checkBut(name string, but func(theirs map[string]any)) {
	p.t.Helper()
	rec, r := p.send(name)
	but(rec.Response)
	p.compare(name, rec.Response, r.body)
}

// elements are the objects of a recorded answer, one or a list.
func elements(body map[string]any) []map[string]any {
	return append(answer{body: body}.list(), answer{body: body}.object())
}

func setAll(key string, v any) func(map[string]any) {
	return func(body map[string]any) {
		for _, e := range elements(body) {
			if e != nil {
				e[key] = v
			}
		}
	}
}

func TestConformanceL3(t *testing.T) {
	p := &replay{api: startAPI(t), subst: map[string]string{}}
	p.host("node-1")
	for _, name := range []string{"network-create", "network-create-external", "subnet-create", "subnet-create-external"} {
		rec, r := p.send(name)
		p.learn(rec.Response, r.body)
	}
	p.subst["eacbbfc2-d72a-402a-ab32-67ce7dea4050"] = id(p.do("GET", "/v2.0/security-groups?project_id="+adminProject, nil).list()[0])
	p.make("port-create-bound-admin")
	p.activate("f7fbeb63-10c9-4074-9649-c82ca753ae12")
	p.make("router-create")
	const router, iface, gatewayPort = "b5338e1f-3487-49d1-8e41-fd2a0f17ea40", "db7c8cda-2607-4fcd-9ba5-c125e7e1a4f9", "978c19c4-80ae-42d0-bd7f-2b2475fb0ace"
	rec, r := p.send("router-add-interface")
	p.subst[iface], _ = r.body["port_id"].(string)
	p.compare("router-add-interface", rec.Response, r.body)
	p.subst[gatewayPort] = id(p.do("GET", p.ours("/v2.0/ports?device_owner=network:router_gateway&device_id="+router), nil).list()[0])
	p.subst["fa:16:3e:f2:87:06"], _ = p.must(200, "GET", p.ours("/v2.0/ports/"+gatewayPort), nil)["mac_address"].(string)
	p.subst["fa:16:3e:5e:66:af"], _ = p.must(200, "GET", p.ours("/v2.0/ports/"+iface), nil)["mac_address"].(string)
	p.checkBut("router-interface-ports", func(body map[string]any) {
		for _, e := range elements(body) {
			if e != nil {
				e["status"], e["binding:host_id"], e["binding:vif_type"], e["binding:vif_details"] = "DOWN", "", "unbound", map[string]any{}
			}
		}
	})
	p.checkBut("router-show", setAll("availability_zones", []any{}))
	p.checkBut("router-list", setAll("availability_zones", []any{}))
	p.make("floatingip-create")
	p.checkBut("floatingip-show", setAll("status", "DOWN"))
	p.checkBut("floatingip-list", setAll("status", "DOWN"))
	for _, name := range []string{"404-router", "404-floatingip", "409-router-in-use", "409-router-port-delete"} {
		p.refused("error-" + name)
	}
	p.must(204, "DELETE", p.ours("/v2.0/floatingips/1e39693b-5914-47ec-b989-efc46d7bfc5d"), nil)
	if r := p.do("PUT", p.ours("/v2.0/routers/"+router+"/remove_router_interface"), map[string]any{"port_id": p.ours(iface)}); r.status != 200 {
		t.Fatal(r.text)
	}
	if _, r := p.send("router-delete"); r.text != "" {
		t.Errorf("router-delete: body %q", r.text)
	}
}
