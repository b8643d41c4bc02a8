package test

import (
	"strings"
	"testing"

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
	if _, err := c.udhcpc("web-1"); err != nil {
		t.Fatal(err)
	}
	b := newBrowser(t, c.url)

	b.open("")
	b.until("the picture", `document.querySelectorAll(".canvas .chip").length >= 6`)
	b.until("all tags", `[...document.querySelectorAll(".tag")].every(e => e.textContent == "tag 1" || e.textContent == "tag 2")`)
	for _, want := range []string{"compute-0", "compute-1", "network", "br-int", "br-tun", "web-1", "database", "qdhcp-" + front[:8], "10.0.0.11", "On no host", "waiting"} {
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

	// By the keyboard: search, and there it is.
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

	b.open("#/port/" + waiting.ID)
	b.shows(".answer .verdict", "Broken")
	b.shows(".answer .sentence", "bound to no host")
	b.shoot("waiting")
	b.open("#/ports")
	b.shows(".list", "database")
	b.shoot("ports")
	if !strings.Contains(b.text("h1"), "Ports") {
		t.Error("no heading")
	}
}
