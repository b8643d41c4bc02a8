package neutron

import (
	"fmt"
	"sync"
	"testing"

	"weft/internal/store/storetest"
)

// TestTwoServersFillASubnet is the promise of the whole store: two servers on one etcd,
// sixteen writers, and each address is given out once.
func TestTwoServersFillASubnet(t *testing.T) {
	client := storetest.Etcd(t)
	servers := []*api{serveAPI(t, storetest.Open(t, client)), serveAPI(t, storetest.Open(t, client))}
	for _, a := range servers {
		a.handler.shared = func() bool { return true }
	}
	network, _ := servers[0].network("n", "10.0.0.0/24")
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		given = make(map[string]string) // address or MAC -> port
		ports int
	)
	for w := range 16 {
		wg.Go(func() {
			for {
				r, err := servers[w%2].try("POST", "/v2.0/ports", `{"port":{"network_id":"`+network+`"}}`)
				if err != nil {
					t.Error(err)
					return
				}
				if r.status != 201 {
					if want := "409 IpAddressGenerationFailure: No more IP addresses available on network " + network + "."; r.fault() != want {
						t.Errorf("got %s, want %s", r.fault(), want)
					}
					return
				}
				o := r.object()
				mu.Lock()
				ports++
				for _, v := range []any{o["mac_address"], o["fixed_ips"].([]any)[0].(map[string]any)["ip_address"]} {
					if other, taken := given[fmt.Sprint(v)]; taken {
						t.Errorf("%v given to %s and %s", v, other, id(o))
					}
					given[fmt.Sprint(v)] = id(o)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if ports != 253 {
		t.Errorf("%d ports, want 253", ports)
	}
	for i, a := range servers {
		if n := len(a.do("GET", "/v2.0/ports?network_id="+network, nil).list()); n != 253 {
			t.Errorf("server %d lists %d ports", i, n)
		}
	}
}
