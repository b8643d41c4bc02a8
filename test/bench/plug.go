package main

import (
	"context"
	"fmt"
	"os/exec"
	"time"

	"weft/internal/host/kernel"
	"weft/internal/host/ovs"
	"weft/internal/model"
	"weft/internal/plan/vif"
	"weft/internal/plan/vswitch"
)

// benchPlug measures from the moment an interface is asked of Open vSwitch.
func benchPlug(ctx context.Context, c *cloud, t *table) error {
	const rounds = 40
	network, err := c.network("plug", "10.110.0.0/16")
	if err != nil {
		return err
	}
	sw, err := ovs.Dial(ctx, ovs.Options{OVSDB: c.ovs.OVSDB})
	if err != nil {
		return err
	}
	defer sw.Close()
	if _, err := execute("ip", "netns", "add", "bench"); err != nil {
		return err
	}
	var active, acked durations
	for i := range rounds {
		p, err := c.port(network, m{"binding:host_id": "bench", "name": fmt.Sprint("plug", i)})
		if err != nil {
			return err
		}
		// As when a virtual machine is started: the server has long told the agent of the port.
		time.Sleep(50 * time.Millisecond)
		a, d, err := c.plugOne(ctx, sw, p)
		if err != nil {
			return err
		}
		active, acked = append(active, a), append(acked, d)
	}
	t.add("interface appears -> port ACTIVE, p50", "1.57 s", "<= 20 ms", ms(active.at(50)),
		fmt.Sprintf("p95 %s; asked by GET every 0.5 ms, Open vSwitch's own part included", ms(active.at(95))))
	t.add("plug -> DHCPACK of a client that starts at once, p50", "1.5 s", "<= 50 ms", ms(acked.at(50)),
		fmt.Sprintf("p95 %s; the client repeats itself every 10 ms", ms(acked.at(95))))
	return nil
}

// plugOne plugs a port and times how long it takes to be ACTIVE, and to get its address.
func (c *cloud) plugOne(ctx context.Context, sw *ovs.Switch, p port) (active, acked time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	mac, err := model.ParseMAC(p.MAC)
	if err != nil {
		return 0, 0, err
	}
	tap := vif.TapName(model.PortID(p.ID))
	err = kernel.CreateVeth(kernel.Veth{Name: tap, MAC: vif.TapMAC(mac), Namespace: "bench", Inner: "eth0", InnerMAC: mac, MTU: 1450})
	if err != nil {
		return 0, 0, err
	}
	defer func() {
		_ = exec.Command("ovs-vsctl", "--db="+c.ovs.OVSDB, "del-port", tap).Run()
		_ = kernel.DeleteVeth(tap)
	}()
	began := time.Now()
	ackedAt := make(chan error, 1)
	go func() {
		err := kernel.Do("bench", func() error { return dora(ctx, p) })
		acked = time.Since(began)
		ackedAt <- err
	}()
	added := make(chan error, 1)
	go func() {
		_, err := sw.AddPort(ctx, "br-int", vswitch.Port{Name: tap, MTU: 1450, ExternalIDs: map[string]string{
			"iface-id": p.ID, "attached-mac": p.MAC, "iface-status": "active"}})
		added <- err
	}()
	for p.Status != "ACTIVE" {
		time.Sleep(500 * time.Microsecond)
		var now struct{ Port port }
		if err := c.call("GET", "/v2.0/ports/"+p.ID, nil, &now); err != nil {
			return 0, 0, err
		}
		p.Status = now.Port.Status
		if ctx.Err() != nil {
			return 0, 0, fmt.Errorf("port %s does not become ACTIVE", p.ID)
		}
	}
	active = time.Since(began)
	if err := <-added; err != nil {
		return 0, 0, err
	}
	return active, acked, <-ackedAt
}
