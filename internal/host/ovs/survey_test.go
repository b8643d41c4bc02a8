package ovs

import (
	"os/exec"
	"testing"
)

// TestSurvey: what others have plugged for ports of the cloud is listed, wherever it is, and goes only if it is still the same.
func TestSurvey(t *testing.T) {
	w := newWorld(t)
	w.apply(w.example())
	w.plug("tap1", "iface-id="+portID(1))
	w.plug("tap2", "iface-id=not-a-uuid")
	w.plug("tap3")
	w.vsctl("add-port", "br-tun", "tap9", "--", "set", "interface", "tap9", "type=internal", "external_ids:iface-id="+portID(9))
	w.vsctl("set", "Open_vSwitch", ".", "external_ids:ovn-remote=tcp:192.0.2.9:6642")
	var s Survey
	w.eventually("all to be there", func() bool { s = w.s.Survey(t.Context()); return len(s.VIFs) == 2 && s.OVN != "" })
	one, nine := s.VIFs[0], s.VIFs[1]
	if one.Name != "tap1" || one.Bridge != "br-int" || string(one.PortID) != portID(1) || nine.Name != "tap9" || nine.Bridge != "br-tun" || nine.Type != "internal" {
		t.Errorf("%+v", s.VIFs)
	}
	if s.Empty || s.Silence != "" || s.Running == "" || len(s.DatapathTypes) == 0 {
		t.Errorf("%+v", s)
	}
	w.vsctl("del-port", "br-int", "tap1")
	w.plug("tap1", "iface-id="+portID(1))
	w.eventually("the new one", func() bool { v := w.s.VIFs(); return len(v) == 2 && v[0].UUID != one.UUID })
	if err := w.s.RemoveVIF(t.Context(), one); err == nil {
		t.Error("another port of the same name was removed")
	}
	one = w.s.VIFs()[0]
	if err := w.s.RemoveVIF(t.Context(), one); err != nil {
		t.Error(err)
	}
	w.eventually("it to be gone", func() bool { return len(w.s.VIFs()) == 1 })
}

// TestNeverInitialised: a database without the row that all else hangs on is not taken for an empty switch.
func TestNeverInitialised(t *testing.T) {
	w := newWorld(t)
	w.eventually("the database to be read", func() bool { return w.s.Observe().Known && !w.s.Survey(t.Context()).Empty })
	out, err := exec.Command("ovsdb-client", "transact", w.lab.OVSDB, `["Open_vSwitch",{"op":"delete","table":"Open_vSwitch","where":[]}]`).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	w.eventually("it to be found empty", func() bool { return w.s.Survey(t.Context()).Empty })
}

func TestLookups(t *testing.T) {
	const shown = `system@ovs-system:
  lookups: hit:41 missed:7 lost:2
  flows: 3
  masks: hit:60 total:2 hit/pkt:1.25
netdev@ovs-netdev:
  lookups: hit:10 missed:x lost:1
`
	if all, lost := lookups(shown); all != 61 || lost != 3 {
		t.Errorf("%d, %d", all, lost)
	}
}
