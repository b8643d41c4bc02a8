package control

import (
	"os"
	"strings"
	"testing"

	"weft/internal/model"
	"weft/internal/store"
	"weft/internal/store/storetest"
)

// TestOlderStore opens a store as release 0.1 left it (testdata/store-v1.txt is all its
// keys), and works on with it.
func TestOlderStore(t *testing.T) {
	text, err := os.ReadFile("testdata/store-v1.txt")
	if err != nil {
		t.Fatal(err)
	}
	client := storetest.Etcd(t)
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		if _, err := client.Put(t.Context(), key, value); err != nil {
			t.Fatal(err)
		}
	}
	whole := func(when string) {
		t.Helper()
		problems, err := Fsck(t.Context(), client)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range problems {
			t.Errorf("%s: %s", when, p)
		}
	}
	stored := func(key string) string {
		t.Helper()
		resp, err := client.Get(t.Context(), store.DefaultPrefix+key)
		if err != nil || len(resp.Kvs) != 1 {
			t.Fatalf("%s: %v", key, err)
		}
		return string(resp.Kvs[0].Value)
	}
	whole("as it was")
	c := New(Options{Store: storetest.Open(t, client), Config: DefaultConfig()})
	if v := stored("meta/version"); v != "2" {
		t.Errorf("the store says version %s; a program of version 1 would open it", v)
	}
	var web *store.Entry[model.Port]
	c.Read(func(r store.Reader) {
		for _, p := range r.PortsNamed("web") {
			web = p
		}
	})
	if web == nil {
		t.Fatal("the port is not there")
	}
	p := web.Value
	if p.MAC.String() != "fa:16:3e:c1:66:1c" || p.FixedIPs[0].Addr.String() != "10.0.0.224" || len(p.AddressPairs) != 1 || p.Binding.Host != "node-1" {
		t.Errorf("the port reads %+v", p)
	}
	if _, err := c.UpdatePort(t.Context(), p.ID, PortRequest{Name: Some("renamed")}); err != nil {
		t.Error(err)
	}
	if _, err := c.UpdateNetwork(t.Context(), p.NetworkID, NetworkRequest{Shared: Some(false), Name: Some("renamed")}); err != nil {
		t.Error(err)
	}
	if v := stored("port/" + string(p.ID)); !strings.HasPrefix(v, `{"v":2,`) {
		t.Errorf("the port is stored as %s", v)
	}
	whole("after changes")
	if err := c.DeletePort(t.Context(), p.ID, Opt[int]{}); err != nil {
		t.Error(err)
	}
	if err := c.DeleteNetwork(t.Context(), p.NetworkID, Opt[int]{}); err != nil {
		t.Error(err)
	}
	whole("after removal")
}
