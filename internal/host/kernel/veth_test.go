package kernel_test

import (
	"strings"
	"testing"

	"weft/internal/host/kernel"
	"weft/internal/lab/labtest"
	"weft/internal/model"
)

func TestVeth(t *testing.T) {
	labtest.Require(t, "root")
	if err := kernel.CreateNamespace("vethns"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = kernel.RemoveNamespace("vethns") })
	inner := model.MAC{0xfa, 0x16, 0x3e, 1, 2, 3}
	outer := model.MAC{0xfe, 0x16, 0x3e, 1, 2, 3}
	v := kernel.Veth{Name: "tapveth", MAC: outer, Namespace: "vethns", Inner: "eth0", InnerMAC: inner, MTU: 1450}
	for range 2 { // a second time is no error
		if err := kernel.CreateVeth(v); err != nil {
			t.Fatal(err)
		}
	}
	for _, end := range []struct {
		ns, name string
		mac      model.MAC
	}{{"", "tapveth", outer}, {"vethns", "eth0", inner}} {
		l, err := kernel.LinkInfo(end.ns, end.name)
		if err != nil {
			t.Fatal(err)
		}
		if l.Type != "veth" || l.MAC != end.mac || l.MTU != 1450 || !l.Up || !l.Carrier {
			t.Errorf("%s is %+v", end.name, l)
		}
	}
	if err := kernel.DeleteTap("tapveth"); err == nil || !strings.Contains(err.Error(), "is a veth device") {
		t.Errorf("DeleteTap of a veth: %v", err)
	}
	for range 2 {
		if err := kernel.DeleteVeth("tapveth"); err != nil {
			t.Fatal(err)
		}
	}
	if l, err := kernel.LinkInfo("vethns", "eth0"); err == nil {
		t.Errorf("the inner end is still there: %+v", l)
	}
	if err := kernel.DeleteVeth("lo"); err == nil {
		t.Error("DeleteVeth takes the loopback")
	}
	v.Namespace = "no-such-namespace"
	if err := kernel.CreateVeth(v); err == nil || !strings.Contains(err.Error(), "no-such-namespace") {
		t.Errorf("CreateVeth: %v", err)
	}
}
