package control_test

import (
	"strings"
	"testing"

	"weft/internal/control"
	"weft/internal/store"
)

// TestFsckFinds breaks a sound store in each way and wants each to be named.
func TestFsckFinds(t *testing.T) {
	c := newCloud(t)
	n := c.network(control.NetworkRequest{})
	s := c.subnet(n, "10.0.0.0/24")
	p := c.port(control.PortRequest{NetworkID: n.ID})
	c.sound()
	ip, mac := p.FixedIPs[0].Addr.String(), p.MAC.String()
	addressKey, macKey := "address/"+string(s.ID)+"/"+ip, "mac/"+string(n.ID)+"/"+mac
	segmentKey := "segment/" + store.SegmentName(n.Segment)
	object := `{"id":"x","network_id":"` + string(n.ID) + `","mac":"02:00:00:00:00:01"}`
	for _, x := range []struct{ name, key, value, want string }{
		{"address key lost", addressKey, "", `its address ` + ip + ` is held by ""`},
		{"address key of another", addressKey, "other", addressKey + `: port "other" does not hold it`},
		{"address key too many", "address/" + string(s.ID) + "/10.0.0.254x", "y", "cannot be read"},
		{"mac key lost", macKey, "", `its MAC ` + mac + ` is held by ""`},
		{"mac key too many", "mac/" + string(n.ID) + "/02:00:00:00:00:09", "gone", `port "gone" does not hold it`},
		{"segment key lost", segmentKey, "", "is held by"},
		{"segment key too many", "segment/vxlan/5", "gone", `network "gone" does not hold it`},
		{"network lost", "network/" + string(n.ID), "", "there is no network"},
		{"subnet lost", "subnet/" + string(s.ID), "", "there is no subnet"},
		{"unreadable", "port/" + string(p.ID), "{", "cannot be read"},
		{"misplaced", "port/y", object, `the object inside is called "x"`},
		{"stray", "nothing/1", "{}", "no such kind of key"},
		{"heartbeat of nobody", "heartbeat/ghost", "2026-11-23T12:00:00Z", "there is no such host"},
	} {
		key := store.DefaultPrefix + x.key
		old, err := c.client.Get(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		if x.value == "" {
			_, err = c.client.Delete(t.Context(), key)
		} else {
			_, err = c.client.Put(t.Context(), key, x.value)
		}
		if err != nil {
			t.Fatal(err)
		}
		problems, err := control.Fsck(t.Context(), c.client)
		if err != nil {
			t.Fatal(err)
		}
		var all []string
		for _, p := range problems {
			all = append(all, p.String())
		}
		if text := strings.Join(all, "\n"); !strings.Contains(text, x.want) {
			t.Errorf("%s: want %q in:\n%s", x.name, x.want, text)
		}
		if len(old.Kvs) > 0 {
			_, err = c.client.Put(t.Context(), key, string(old.Kvs[0].Value))
		} else {
			_, err = c.client.Delete(t.Context(), key)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	c.sound()
}
