package test

import (
	"os/exec"
	"strings"
	"testing"

	"weft/internal/lab/labtest"
)

// A small run of weft bench cloud: its counts are exact, whatever the machine does. Times are not judged.
func TestBenchCloud(t *testing.T) {
	labtest.Require(t, "root") // a network of its own
	cmd := exec.CommandContext(t.Context(), weftBinary(t), "bench", "cloud", "--hosts", "50", "--networks", "25", "--ports", "1000", "--bindings", "200", "--rate", "100", "--log", t.TempDir())
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"bindings that arrived", "messages to the other hosts", "its hosts in sync elsewhere after"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("no line %q", want)
		}
	}
}
