package test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"weft/internal/lab/labtest"
	"weft/internal/model"
	"weft/internal/plan/vif"
	"weft/internal/trace"
)

// All ports of a VM are followed in one timeline, each line with its port: those that there are, one that
// is made meanwhile, one that is attached; what is of the whole host is told once. A capture is of one port.
func TestFollowVM(t *testing.T) {
	labtest.Require(t, "busybox")
	h := newHost(t)
	h.up()
	network := h.network("net", "10.20.0.0/24")
	of := m{"device_id": "vm-1"}
	first, second, loose := h.newPort(network, "first", of), h.newPort(network, "second", of), h.newPort(network, "loose", nil)
	out, err := h.weft("capture", "vm-1")
	for _, p := range []port{first, second} {
		if want := p.ID + " " + p.MAC + " " + p.ip(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("capture of two ports: no %q in %s %v", want, out, err)
		}
	}
	text, lines := h.begin("trace", "vm-1", "--follow"), h.begin("trace", "vm-1", "--follow", "-o", "json")
	h.await("followers", 20*time.Second, func() error {
		if n := h.logged(`msg="port is followed"`, "vm=vm-1"); n < 2 {
			return fmt.Errorf("%d", n)
		}
		return nil
	})
	third := h.newPort(network, "third", of)
	set := func(p port, attrs m) {
		t.Helper()
		h.must(h.call("PUT", "/v2.0/ports/"+p.ID, m{"port": attrs}, nil))
	}
	set(loose, of)
	for _, p := range []port{first, third} {
		h.namespace(p.Name)
		h.mustWeft("plug", p.ID, "--netns", p.Name)
		if _, err := h.udhcpc(p.Name); err != nil {
			t.Fatal(err)
		}
	}
	h.vsctl("set-fail-mode", "br-int", "standalone")
	h.await("the bridge to be put right", 20*time.Second, func() error {
		if mode := h.vsctl("get-fail-mode", "br-int"); mode != "secure" {
			return fmt.Errorf("it is %s", mode)
		}
		return nil
	})
	set(loose, m{"device_id": "vm-2"})
	h.await("all to be told", 30*time.Second, func() error { return has(lines.out.String(), "the port is not of the VM any more", "fail_mode") })
	for _, p := range []port{first, second, third} {
		h.must(h.call("DELETE", "/v2.0/ports/"+p.ID, nil, nil))
	}
	out, _ = text.end() // with the last port
	t.Logf("\n%s", out)
	h.judgeVM(out, []port{first, second, third, loose})
	raw, _ := lines.end()
	repairs, ends := 0, 0
	for l := range strings.Lines(raw) {
		var e trace.Event
		h.must(json.Unmarshal([]byte(l), &e))
		if e.Kind == trace.EventRepair {
			repairs++
		}
		if e.Kind == trace.EventEnd {
			ends++
		}
		if e.PortID == "" && e.Kind != trace.EventRepair && e.Kind != trace.EventNote {
			t.Errorf("of no port: %s", l)
		}
	}
	if repairs != 1 || ends != 1 {
		t.Errorf("%d repairs, %d ends", repairs, ends)
	}
}

// judgeVM checks of each port what the timeline says of it.
func (h *host) judgeVM(out string, ports []port) {
	h.t.Helper()
	for _, p := range ports {
		tap, ofPort := vif.TapName(model.PortID(p.ID)), ""
		for l := range strings.Lines(out) {
			if _, rest, _ := strings.Cut(l, "  "); strings.HasPrefix(rest, tap) {
				ofPort += l
			}
		}
		want := []string{"is DOWN, admin state up, " + p.MAC + ", " + p.ip(), "the port is deleted"}
		switch p.Name {
		case "first", "third":
			want = []string{want[0], "bound to host " + hostName, tap + " has appeared", "becomes ACTIVE", "DISCOVER", "OFFER " + p.ip(), "ACK " + p.ip(), want[1]}
		case "loose":
			want[1] = "the port is not of the VM any more"
		}
		h.inOrder(ofPort, want)
	}
}
