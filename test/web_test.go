package test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"weft/internal/lab"
	"weft/internal/model"
	"weft/internal/plan/vif"
)

// pageCloud is what the page is looked at with.
var pageCloud = []lab.NodeSpec{
	{Name: "controller", Server: true},
	{Name: "compute-0", Roles: "compute"},
	{Name: "compute-1", Roles: "compute"},
	{Name: "network", Roles: "network"},
}

// The page shows hosts, guests, tags, tunnels and namespaces; a healthy port as healthy, and, while one looks, a tap
// that is set down as broken and set up as healthy again; all by the keyboard alone, narrow, and in the dark.
func TestPage(t *testing.T) {
	c := newManyHosts(t, pageCloud)
	front, back := c.network("front", "10.30.0.0/24"), c.network("back", "10.31.0.0/24")
	web := c.guestOn("compute-0", front, "web-1", nil)
	c.guestOn("compute-1", front, "web-2", nil)
	c.guestOn("compute-1", back, "database", nil)
	waiting := c.newPort(front, "waiting", nil)
	var router struct{ Router struct{ ID string } }
	c.must(c.call("POST", "/v2.0/routers", m{"router": m{"name": "way"}}, &router))
	var subnets struct{ Subnets []struct{ ID string } }
	c.must(c.call("GET", "/v2.0/subnets", nil, &subnets))
	for _, s := range subnets.Subnets {
		gateway := m{"subnet_id": s.ID}
		c.must(c.call("PUT", "/v2.0/routers/"+router.Router.ID+"/add_router_interface", gateway, nil))
		t.Cleanup(func() { _ = c.call("PUT", "/v2.0/routers/"+router.Router.ID+"/remove_router_interface", gateway, nil) })
	}
	if _, err := c.udhcpc("web-1"); err != nil {
		t.Fatal(err)
	}
	b := newBrowser(t, c.url)

	b.open("")
	b.until("the picture", `document.querySelectorAll(".canvas .chip").length >= 6`)
	b.until("all tags", `[...document.querySelectorAll(".tag")].every(e => e.textContent == "tag 1" || e.textContent == "tag 2")`)
	for _, want := range []string{"compute-0", "compute-1", "network", "br-int", "br-tun", "web-1", "database", "qdhcp-" + front[:8], "10.0.0.11", "On no host", "waiting", "qrouter-way"} {
		b.shows(".canvas text", want)
	}
	if n := eval[int](b, `document.querySelectorAll(".tunnel[data-nets]").length`); n != 3 {
		t.Errorf("%d hosts have tunnels, not 3", n)
	}
	b.shoot("picture")
	b.dark(true)
	b.shoot("picture-dark")
	b.dark(false)
	b.window(400, 800)
	b.until("the picture to be redrawn", `document.querySelector(".canvas svg").getBoundingClientRect().width < 400`)
	b.fits("the picture")
	b.shoot("picture-400")
	b.window(1280, 900)

	// By the keyboard: what can be reached is seen to have the focus; arrows walk in the picture, Enter opens, / searches.
	var walked []string
	for range 9 {
		b.press(kb.Tab)
		walked = append(walked, eval[string](b, `document.activeElement.getAttribute("aria-label") || document.activeElement.innerText || ""`))
		if !eval[bool](b, `(() => { const a = document.activeElement, s = getComputedStyle(a), r = a.querySelector("rect"); return s.outlineStyle == "solid" && s.outlineWidth != "0px" || r && getComputedStyle(r).strokeWidth == "3px" })()`) {
			t.Errorf("%q has the focus, and nobody sees it", walked[len(walked)-1])
		}
	}
	t.Logf("Tab goes to %q", walked)
	if got := eval[string](b, `document.activeElement.className.baseVal || ""`); !strings.Contains(got, "chip") {
		t.Errorf("after %q the focus is not in the picture", walked)
	}
	here := walked[len(walked)-1]
	b.shoot("keyboard")
	b.press(kb.ArrowRight)
	if there := eval[string](b, `document.activeElement.getAttribute("aria-label")`); there == here || !strings.Contains(there, "10.3") {
		t.Errorf("an arrow leads from %q to %q", here, there)
	}
	b.press(kb.Enter)
	b.until("a port", `document.querySelector(".answer .verdict")?.innerText`)
	b.do(chromedp.NavigateBack())
	b.shows(".canvas text", "compute-0")
	b.slash()
	b.press("web-1")
	b.shows("#found", "web-1")
	b.shoot("search")
	b.press(kb.Enter)
	b.shows(".answer .verdict", "Healthy")
	b.shows(".talk", "DISCOVER")
	b.shows(".talk", "ACK")
	b.shoot("port")
	b.window(400, 800)
	b.fits("a port")
	b.shoot("port-400")
	b.window(1280, 900)

	tap := vif.TapName(model.PortID(web.ID))
	down := func(state string) {
		t.Helper()
		if _, err := c.Node("compute-0").Run("ip", "link", "set", tap, state); err != nil {
			t.Fatal(err)
		}
	}
	down("down")
	b.shows(".answer .verdict", "Broken")
	b.shows(".answer .sentence", tap)
	if open := eval[bool](b, `[...document.querySelectorAll(".step.v-broken details")].every(d => d.open)`); !open {
		t.Error("a broken step does not show itself")
	}
	b.shoot("broken")
	b.dark(true)
	b.shoot("broken-dark")
	b.window(400, 800)
	b.fits("a broken port")
	b.shoot("broken-400")
	b.window(1280, 900)
	b.dark(false)
	down("up")
	b.shows(".answer .verdict", "Healthy")
	// What weft has put right is a warning, in words and not only in colour.
	if _, err := c.Node("compute-0").OVS.Vsctl("set", "Port", tap, "tag=999"); err != nil {
		t.Fatal(err)
	}
	b.shows(".answer .verdict", "Warning")
	b.shows(".step.v-warning .says", "Warning")
	b.shoot("warning")

	b.open("#/port/" + waiting.ID)
	b.shows(".answer .verdict", "Broken")
	b.shows(".answer .sentence", "bound to no host")
	b.shoot("waiting")
	// A port that was refused is no port, and yet has an answer.
	if err := c.call("POST", "/v2.0/ports", m{"port": m{"network_id": front, "name": "never", "fixed_ips": []m{{"ip_address": web.ip()}}}}, nil); err == nil {
		t.Fatal("an address is given out twice")
	}
	b.slash()
	b.press("never", kb.Enter)
	b.shows(".answer .verdict", "Broken: refused")
	b.shows(".refused", web.ip())
	b.shoot("refused")
	b.open("#/ports")
	b.shows(".list", "database")
	b.shoot("ports")
	if !strings.Contains(b.text("h1"), "Ports") {
		t.Error("no heading")
	}
}

// Who logs in sees what the API shows him: an administrator hosts, a member the networks of his project only. Without a
// valid token there is the log-in again.
func TestPageLogin(t *testing.T) {
	c := newCloud(t)
	c.must(c.call("POST", "/v2.0/ports", m{"port": m{"network_id": c.subnetted("front", "10.30.0.0/24"), "name": "web-1", "binding:host_id": "compute-1"}}, nil))
	member := c.member("shop", "anna", "secret-9")
	var p struct{ Port port }
	c.must(member.call("POST", "/v2.0/ports", m{"port": m{"network_id": member.subnetted("members", "10.40.0.0/24"), "name": "till"}}, &p))
	c.must(c.call("PUT", "/v2.0/ports/"+p.Port.ID, m{"port": m{"binding:host_id": "compute-1"}}, nil))

	b := newBrowser(t, apiURL)
	b.do(chromedp.Navigate(apiURL + "/")) // leads to the page
	b.shows("h1", "weft")
	b.until("the focus in the form", `document.activeElement.id == "user"`)
	b.shoot("login")
	logIn := func(user, password, project string) {
		t.Helper()
		b.until("the form", `document.activeElement.id == "user"`)
		b.press(user, kb.Tab, password, kb.Tab, project, kb.Enter)
	}
	logIn("admin", "wrong", "admin")
	b.shows("[role=alert]", "not right")
	b.shoot("login-refused")
	b.open("")
	logIn("admin", c.admin.Password, "admin")
	b.shows(".canvas text", "compute-1")
	b.shows("#who", "admin · admin")
	b.shows(".canvas text", "till")
	// The session outlives a reload, and ends with the token.
	b.open("#/ports")
	b.shows(".list", "web-1")
	token := eval[string](b, `JSON.parse(sessionStorage.getItem("weft.session")).token`)
	revoke := fmt.Sprintf(`fetch("/weft/v1/ui/auth/tokens", {method: "DELETE", headers: {"X-Auth-Token": %[1]q, "X-Subject-Token": %[1]q}}).then(r => r.ok)`, token)
	if ok, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool](revoke, chromedp.EvalAwaitPromise)); err != nil || !ok {
		t.Fatalf("cannot revoke the token: %t, %v", ok, err)
	}
	b.shows("main", "Your session has ended")
	logIn("anna", "secret-9", "shop")
	b.shows(".list", "till") // where he was
	if strings.Contains(b.text(".list"), "web-1") {
		t.Error("a member sees a port of others")
	}
	b.open("#/")
	b.shows(".canvas text", "members")
	if strings.Contains(b.text(".canvas"), "compute-1") {
		t.Error("a member sees a host")
	}
	b.shoot("member")
	b.open("#/port/" + p.Port.ID)
	b.shows(".answer .verdict", "Unknown") // no agent runs on that host
	c.must(member.call("PUT", "/v2.0/ports/"+p.Port.ID, m{"port": m{"admin_state_up": false}}, nil))
	b.shows(".answer .verdict", "Broken")
	if strings.Contains(b.text("main"), "compute-1") {
		t.Error("a member sees the host of a port")
	}
	b.shoot("member-port")
	b.do(chromedp.Click("#who button"))
	b.until("the form", `document.activeElement.id == "user"`)
	if eval[bool](b, `sessionStorage.length > 0`) {
		t.Error("the token is still there after logging out")
	}
	// A token that was had elsewhere does as well.
	eval[bool](b, `document.querySelector(".token").open = true`)
	b.do(chromedp.SendKeys("#token", member.token+kb.Enter))
	b.shows(".canvas text", "till")
	b.shows("#who", "by token")
}

// subnetted makes a network with a subnet, in the name of who is logged in.
func (c *cloud) subnetted(name, cidr string) (id string) {
	c.t.Helper()
	var n struct{ Network struct{ ID string } }
	c.must(c.call("POST", "/v2.0/networks", m{"network": m{"name": name}}, &n))
	c.must(c.call("POST", "/v2.0/subnets", m{"subnet": m{"network_id": n.Network.ID, "ip_version": 4, "cidr": cidr}}, nil))
	return n.Network.ID
}

// member makes a project and a user who is a member of it, and logs in as that one.
func (c *cloud) member(project, user, password string) *cloud {
	c.t.Helper()
	var p struct{ Project struct{ ID string } }
	var u struct{ User struct{ ID string } }
	var r struct{ Roles []struct{ ID string } }
	c.must(c.identity("POST", "/projects", m{"project": m{"name": project}}, &p))
	c.must(c.identity("POST", "/users", m{"user": m{"name": user, "password": password}}, &u))
	c.must(c.identity("GET", "/roles?name=member", nil, &r))
	c.must(c.identity("PUT", "/projects/"+p.Project.ID+"/users/"+u.User.ID+"/roles/"+r.Roles[0].ID, nil, nil))
	other := *c
	other.admin = account{AuthURL: c.admin.AuthURL, Username: user, Password: password, Project: project}
	other.authenticate()
	return &other
}

// With 2,000 ports the picture is there at once, what is many is counted, a search answers by each letter, and of the
// list only what is in sight exists.
func TestPageManyPorts(t *testing.T) {
	c := newCloud(t)
	const hosts, networks, ports = 12, 8, 2000
	for i := 2; i <= hosts; i++ {
		c.joinHost(model.HostName(fmt.Sprintf("compute-%d", i)))
	}
	var n struct {
		Network struct {
			ProjectID string `json:"project_id"`
		}
	}
	c.must(c.call("POST", "/v2.0/networks", m{"network": m{"name": "first"}}, &n))
	c.must(c.call("PUT", "/v2.0/quotas/"+n.Network.ProjectID, m{"quota": m{"port": -1}}, nil))
	for i := range networks {
		net := c.subnetted(fmt.Sprintf("net-%d", i), fmt.Sprintf("10.%d.0.0/16", 50+i))
		var some []m
		for j := range ports / networks {
			some = append(some, m{"network_id": net, "name": fmt.Sprintf("vm-%d-%03d", i, j), "device_owner": "compute:nova", "binding:host_id": fmt.Sprintf("compute-%d", 1+(i*3+j)%hosts)})
		}
		c.must(c.call("POST", "/v2.0/ports", m{"ports": some}, nil))
	}
	b := newBrowser(t, apiURL)
	b.open("")
	b.until("the form", `document.activeElement.id == "user"`)
	b.press("admin", kb.Tab, c.admin.Password, kb.Tab, "admin", kb.Enter)
	b.shows(".canvas text", "compute-12")

	b.do(chromedp.Reload())
	b.shows(".canvas text", "compute-12")
	t.Logf("2,000 ports: the picture is there %.0f ms after the page was asked for", eval[float64](b, "performance.now()"))
	if n := eval[int](b, `document.querySelectorAll("*").length`); n > 4000 {
		t.Errorf("the picture has %d elements", n)
	}
	b.shoot("many")
	b.window(400, 800)
	b.until("the picture to be redrawn", `document.querySelector(".canvas svg").getBoundingClientRect().width < 400`)
	b.fits("the picture of many")
	b.shoot("many-400")
	b.open("#/ports?network=&status=down")
	b.shows(".list", "vm-0-000")
	b.fits("the list")
	b.shoot("many-list-400")
	b.open("#/")
	b.window(1280, 900)

	took := eval[float64](b, `(() => { const q = document.querySelector("#q"), began = performance.now(); q.focus(); q.value = "vm-7-2"; q.dispatchEvent(new Event("input")); return performance.now() - began })()`)
	t.Logf("a letter of a search takes %.1f ms", took)
	b.shows("#found", "All 50 ports with")
	b.open("#/ports")
	b.shows("[role=status]", "ports")
	b.shows(".list", "vm-0-000")
	if n := eval[int](b, `document.querySelectorAll(".row").length`); n > 60 {
		t.Errorf("the list has %d rows", n)
	}
	b.do(chromedp.Focus("#filter"))
	b.press(kb.ArrowDown, kb.End)
	b.shows(".list", "vm-7-249")
	b.until("the last row to have the focus", `document.activeElement.textContent.includes("vm-7-249")`)
	b.shoot("many-list")
	b.press(kb.Enter)
	b.shows("h1", "vm-7-249")
	b.shows(".answer .verdict", "")
}
