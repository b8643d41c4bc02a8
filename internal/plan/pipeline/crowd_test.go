package pipeline

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestMulticastToACrowd: Open vSwitch is ready to do what a multicast to a thousand filtered
// ports of one network takes, and to go on with the next thousand.
func TestMulticastToACrowd(t *testing.T) {
	w := crowd(2100)
	all := w.at
	w.at = all[:1]
	st := newStage(t, w, settings())
	w.at = all
	var text strings.Builder
	for _, f := range Switch(w.view(), st.s).Flows["br-int"].All() {
		text.WriteString(f.String() + "\n")
	}
	file := filepath.Join(st.ovs.Dir, "crowd.flows")
	if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := st.ovs.Ofctl("--bundle", "replace-flows", "br-int", file); err != nil {
		t.Fatal(err)
	}
	flow := "in_port=1,udp,dl_src=fa:16:3e:00:00:00,dl_dst=01:00:5e:00:00:fb,nw_src=10.10.0.0,nw_dst=224.0.0.251,udp_src=5353,udp_dst=5353"
	args := []string{"ofproto/trace", "br-int", flow}
	for range 4 {
		args = append(args, "--ct-next", "trk,new")
	}
	out, err := st.ovs.Appctl(args...)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(out, "output:NXM_NX_REG5[]"); n != 2100 {
		t.Errorf("%d receivers of 2,100", n)
	}
	for _, limit := range []string{"over max", "over 4096", "resubmits yielded"} {
		if strings.Contains(out, limit) {
			t.Errorf("Open vSwitch gave up: %s", limit)
		}
	}
}
