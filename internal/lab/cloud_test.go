package lab_test

import (
	"os"
	"testing"

	"weft/internal/lab"
	"weft/internal/lab/labtest"
)

// Machines of a cloud reach each other by the underlay, and by an Open vSwitch on it, until that has its troubles; and
// nothing of them stays.
func TestCloudMachines(t *testing.T) {
	labtest.Require(t, "root", "ovs", "tun", "ip", "ping", "netfilter")
	dir, err := os.MkdirTemp("/run", "c")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	c, err := lab.NewCloud(t.Context(), lab.CloudOptions{Dir: dir, Nodes: lab.ReferenceCloud})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	a, b := c.Node("compute-0"), c.Node("compute-1")
	check := func(what, to string, want bool) {
		t.Helper()
		// Of one that is to be heard, one answer will do, and may take its time.
		patience := map[bool][]string{true: {"-c", "3", "-W", "20"}, false: {"-c", "1", "-W", "1"}}[want]
		if _, err := a.Run("ping", append([]string{"-i", "0.2", to}, patience...)...); (err == nil) != want {
			t.Errorf("%s: %v", what, err)
		}
	}
	if out, err := a.Run("hostname"); err != nil || out != "compute-0\n" {
		t.Errorf("hostname: %q %v", out, err)
	}
	run(t, "ping", "-c", "3", "-i", "0.2", "-W", "20", a.IP.String())
	check("management", b.IP.String(), true)
	check("data", b.VTEP.String(), true)
	if err := c.Underlay.Suffer(lab.Cut(lab.Cable("compute-0", lab.Data), lab.Cable("compute-1", lab.Data))...); err != nil {
		t.Fatal(err)
	}
	check("data, cut", b.VTEP.String(), false)
	check("data, to another", c.Node("network").VTEP.String(), true)
	check("management beside the cut", b.IP.String(), true)
	if err := c.Underlay.Suffer(lab.Unplug(lab.Cable("compute-0", lab.Data))...); err != nil {
		t.Fatal(err)
	}
	check("data, unplugged", b.VTEP.String(), false)
	if err := c.Underlay.Suffer(); err != nil {
		t.Fatal(err)
	}
	check("data, healed", b.VTEP.String(), true)
}
