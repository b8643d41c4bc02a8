package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"weft/internal/host/kernel"
	"weft/internal/host/ovs"
	"weft/internal/inspect"
	"weft/internal/lab"
	"weft/internal/model"
	"weft/internal/plan/vif"
	"weft/internal/plan/vswitch"
	"weft/internal/trace"
)

// traced is how many of the crowd's ports are guests with a lease, which weft trace then explains.
const traced = 10

// benchTrace measures how long weft trace takes for a healthy port, among a thousand of the default
// group on one host.
func benchTrace(ctx context.Context, c *cloud, t *table) error {
	network, err := c.network("traced", "10.140.0.0/16")
	if err != nil {
		return err
	}
	ports, err := c.ports(network, crowd, m{"binding:host_id": "bench", "device_id": "vm", "device_owner": "compute:nova"})
	if err != nil {
		return err
	}
	if err := c.plugAll(ports[traced:]); err != nil {
		return err
	}
	guests := ports[:traced]
	for i, p := range guests {
		if err := c.plugGuest(ctx, fmt.Sprint("guest", i), p); err != nil {
			return err
		}
	}
	if err := c.allActive(ctx, network, crowd); err != nil {
		return err
	}
	for i, p := range guests {
		if err := kernel.Do(fmt.Sprint("guest", i), func() error { return dora(ctx, p) }); err != nil {
			return err
		}
	}
	return c.timeTraces(t, guests, "1,000 ports on its host")
}

// benchTraceCloud measures it in a cloud: a server, two compute nodes with five hundred ports each, and a network
// node that answers DHCP through tunnels, which are tried each time.
func benchTraceCloud(ctx context.Context, o options, t *table) (err error) {
	dir, err := os.MkdirTemp("/run", "c")
	if err != nil {
		return err
	}
	state := filepath.Join(dir, "controller", "state")
	if err := os.MkdirAll(state, 0o755); err != nil {
		return err
	}
	if err := syscall.Mount("tmpfs", state, "tmpfs", 0, "size=256m,mode=700"); err != nil {
		return err
	}
	bin, err := filepath.Abs(o.weft)
	if err != nil {
		return err
	}
	nodes, err := lab.NewCloud(ctx, lab.CloudOptions{Dir: dir, Weft: bin, Nodes: lab.ReferenceCloud,
		Settings: "identity: none\ninsecure_no_auth: true\nquotas: [network=-1, subnet=-1, port=-1]\napi: http://192.168.0.10:9696\n"})
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, nodes.Close(), syscall.Unmount(state, syscall.MNT_DETACH), os.RemoveAll(dir))
	}()
	if err := nodes.Start(ctx); err != nil {
		return err
	}
	c := &cloud{weft: bin, base: nodes.Node("controller").API(), http: http.DefaultClient}
	network, err := c.network("traced", "10.140.0.0/16")
	if err != nil {
		return err
	}
	var guests []port
	for _, host := range []string{"compute-0", "compute-1"} {
		n := nodes.Node(host)
		ports, err := c.ports(network, crowd/2, m{"binding:host_id": host, "device_owner": "compute:nova"})
		if err != nil {
			return err
		}
		there := cloud{ovs: n.OVS}
		if err := there.plugAll(ports[traced/2:]); err != nil {
			return err
		}
		for _, p := range ports[:traced/2] {
			if _, err := n.Run("ip", "netns", "add", p.ID); err != nil {
				return err
			}
			if err := n.Expose(p.ID); err != nil {
				return err
			}
			if out, err := n.Weft("plug", p.ID, "--netns", p.ID, "--wait", "1m"); err != nil {
				return fmt.Errorf("%w: %s", err, out)
			}
			guests = append(guests, p)
		}
	}
	if err := c.allActive(ctx, network, crowd); err != nil {
		return err
	}
	for _, p := range guests {
		if err := kernel.Do(p.ID, func() error { return dora(ctx, p) }); err != nil {
			return err
		}
	}
	return c.timeTraces(t, guests, "1,000 ports on two hosts, DHCP on a third")
}

// plugGuest gives a port a namespace with eth0 in the place of a virtual machine.
func (c *cloud) plugGuest(ctx context.Context, namespace string, p port) error {
	sw, err := ovs.Dial(ctx, ovs.Options{OVSDB: c.ovs.OVSDB})
	if err != nil {
		return err
	}
	defer sw.Close()
	if _, err := execute("ip", "netns", "add", namespace); err != nil {
		return err
	}
	mac, err := model.ParseMAC(p.MAC)
	if err != nil {
		return err
	}
	tap := vif.TapName(model.PortID(p.ID))
	err = kernel.CreateVeth(kernel.Veth{Name: tap, MAC: vif.TapMAC(mac), Namespace: namespace, Inner: "eth0", InnerMAC: mac, MTU: 1450})
	if err != nil {
		return err
	}
	_, err = sw.AddPort(ctx, "br-int", vswitch.Port{Name: tap, MTU: 1450, ExternalIDs: map[string]string{
		"iface-id": p.ID, "attached-mac": p.MAC, "iface-status": "active"}})
	return err
}

// traceOf asks as weft trace does, and fails unless the port is found healthy.
func (c *cloud) traceOf(q string) (time.Duration, error) {
	began := time.Now()
	var r trace.Report
	if err := c.call("GET", inspect.Path+"?q="+url.QueryEscape(q), nil, &r); err != nil {
		return 0, err
	}
	took := time.Since(began)
	if r.Verdict != trace.OK && r.Verdict != trace.Warning {
		text, _ := json.MarshalIndent(r, "", " ")
		return 0, fmt.Errorf("a healthy port is %s:\n%s", r.Verdict, text)
	}
	return took, nil
}

func (c *cloud) timeTraces(t *table, guests []port, among string) error {
	const reach = "<= 1 s"
	what := "weft trace of a healthy port, " + among
	var took durations
	for i := range 100 {
		p := guests[i%len(guests)]
		d, err := c.traceOf([]string{p.ID, p.MAC, p.FixedIPs[0].IP}[i%3])
		if err != nil {
			return err
		}
		took = append(took, d)
	}
	t.add(what+", p50", "-", reach, ms(took.at(50)), fmt.Sprintf("p95 %s, longest %s; by HTTP", ms(took.at(95)), ms(took.at(100))))
	var command durations
	for i := range 20 {
		began := time.Now()
		out, err := exec.Command(c.weft, "trace", guests[i%len(guests)].ID, "--api", c.base).CombinedOutput()
		if err != nil {
			return fmt.Errorf("weft trace: %w\n%s", err, out)
		}
		command = append(command, time.Since(began))
	}
	t.add(strings.Replace(what, "weft trace", "the command weft trace", 1)+", p50", "-", reach, ms(command.at(50)), fmt.Sprintf("longest %s; start of the program included", ms(command.at(100))))

	var mu sync.Mutex
	var wg sync.WaitGroup
	var together durations
	var failed error
	for _, p := range guests {
		wg.Go(func() {
			d, err := c.traceOf(p.ID)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed = err
			}
			together = append(together, d)
		})
	}
	wg.Wait()
	t.add(fmt.Sprintf("%d at once, longest", traced), "-", "", ms(together.at(100)), "")
	return failed
}
