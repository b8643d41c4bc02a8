package labtest_test

import (
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"

	"weft/internal/lab"
	"weft/internal/lab/labtest"
)

func TestMain(m *testing.M) { labtest.Main(m) }

func TestIsolated(t *testing.T) {
	labtest.Require(t, "root")
	if !lab.Isolated() {
		t.Fatal("not isolated")
	}
	links, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		if l.Name == "lo" && l.Flags&net.FlagUp == 0 {
			t.Error("loopback is down")
		}
		// Kernels may put tunnel fallback devices into each namespace, but never an eth0.
		if strings.HasPrefix(l.Name, "eth") || strings.HasPrefix(l.Name, "en") {
			t.Errorf("sees the machine's %s", l.Name)
		}
	}
	ents, err := os.ReadDir("/run/netns")
	if err != nil || len(ents) != 0 {
		t.Errorf("/run/netns: %v, %v; want empty", ents, err)
	}
	if v := os.Getenv("WEFT_LAB_STAGE"); v != "" {
		t.Errorf("children would inherit stage %q", v)
	}
	if out, err := exec.Command("ip", "netns", "add", "weft-labtest").CombinedOutput(); err != nil {
		t.Errorf("ip netns add: %v: %s", err, out)
	}
}

func TestRequireFails(t *testing.T) {
	for env, want := range map[string]string{"": "skip", "root,no-such": "fail", "all": "fail", "other": "skip"} {
		t.Setenv(labtest.RequireVar, env)
		f := &fake{TB: t}
		func() {
			defer func() { _ = recover() }()
			labtest.Require(f, "no-such")
		}()
		if f.got != want {
			t.Errorf("%s=%q: %q, want %q", labtest.RequireVar, env, f.got, want)
		}
	}
}

// fake notes whether it was skipped or failed.
type fake struct {
	testing.TB
	got string
}

func (f *fake) Helper()               {}
func (f *fake) Skipf(string, ...any)  { f.got = "skip"; panic("skip") }
func (f *fake) Fatalf(string, ...any) { f.got = "fail"; panic("fail") }
