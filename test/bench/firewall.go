package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"weft/internal/model"
	"weft/internal/plan/vif"
)

// crowd is how many ports of the default group are on the host, others how many members
// a remote group has that are elsewhere.
const crowd, others = 1000, 2000

// benchFirewall measures security groups: a thousand ports of the default group on one host.
// A change is timed from the request to the moment at which Open vSwitch itself tells a monitor of
// the new flow: the API, the store and the feed are in it.
func benchFirewall(ctx context.Context, c *cloud, t *table) error {
	network, err := c.network("crowd", "10.130.0.0/16")
	if err != nil {
		return err
	}
	ports, err := c.ports(network, crowd, m{"binding:host_id": "bench"})
	if err != nil {
		return err
	}
	if err := c.plugAll(ports); err != nil {
		return err
	}
	if err := c.allActive(ctx, network, crowd); err != nil {
		return err
	}
	if err := c.firstProgramming(ctx, t, network); err != nil {
		return err
	}
	watch, err := c.monitor(ctx)
	if err != nil {
		return err
	}
	defer watch.stop()
	if err := c.portChanges(t, watch, ports); err != nil {
		return err
	}
	if err := c.memberChanges(t, watch, ports); err != nil {
		return err
	}
	return c.pingThrough(ctx, t, network, ports)
}

// ports makes many ports at once.
func (c *cloud) ports(network string, n int, more m) ([]port, error) {
	var all []port
	for len(all) < n {
		var bulk []m
		for range min(500, n-len(all)) {
			p := m{"network_id": network}
			for k, v := range more {
				p[k] = v
			}
			bulk = append(bulk, p)
		}
		var made struct{ Ports []port }
		if err := c.call("POST", "/v2.0/ports", m{"ports": bulk}, &made); err != nil {
			return nil, err
		}
		all = append(all, made.Ports...)
	}
	return all, nil
}

// plugAll puts an internal port of Open vSwitch on br-int for each port.
func (c *cloud) plugAll(ports []port) error {
	for begin := 0; begin < len(ports); begin += 100 {
		args := []string{"--db=" + c.ovs.OVSDB, "--no-wait"}
		for _, p := range ports[begin:min(begin+100, len(ports))] {
			tap := vif.TapName(model.PortID(p.ID))
			args = append(args, "--", "add-port", "br-int", tap, "--", "set", "Interface", tap, "type=internal",
				"external_ids:iface-id="+p.ID, fmt.Sprintf("external_ids:attached-mac=%q", p.MAC), "external_ids:iface-status=active")
		}
		if _, err := execute("ovs-vsctl", args...); err != nil {
			return err
		}
	}
	return nil
}

func (c *cloud) allActive(ctx context.Context, network string, n int) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	for {
		var list struct{ Ports []port }
		if err := c.call("GET", "/v2.0/ports?status=ACTIVE&fields=id&network_id="+network, nil, &list); err != nil {
			return err
		}
		if len(list.Ports) >= n {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d of %d ports are ACTIVE", len(list.Ports), n)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// firstProgramming starts weft anew on a switch without flows.
func (c *cloud) firstProgramming(ctx context.Context, t *table, network string) error {
	c.halt()
	if _, err := c.ovs.Ofctl("del-flows", "br-int"); err != nil {
		return err
	}
	watch, err := c.monitor(ctx)
	if err != nil {
		return err
	}
	defer watch.stop()
	began := time.Now()
	if err := c.launch(); err != nil {
		return err
	}
	if _, _, err := watch.wait(began, "table=82"); err != nil {
		return err
	}
	flowsIn := watch.last
	begun, err := c.logged("agent begins to apply")
	if err != nil {
		return err
	}
	if err := c.allActive(ctx, network, crowd); err != nil {
		return err
	}
	n, err := c.flowCount()
	if err != nil {
		return err
	}
	t.add("first programming of 1,000 ports in the default group", "-", "<= 1 s", ms(flowsIn.Sub(begun)),
		fmt.Sprintf("%d flows on br-int; from the agent's beginning, plan included", n))
	return nil
}

// logged is when weft last wrote a line of its log.
func (c *cloud) logged(msg string) (time.Time, error) {
	b, err := os.ReadFile(filepath.Join(c.run, "weft.log"))
	if err != nil {
		return time.Time{}, err
	}
	lines := strings.Split(string(b), "\n")
	for i := len(lines) - 1; i >= 0; i-- {
		if at, ok := strings.CutPrefix(lines[i], "time="); ok && strings.Contains(lines[i], msg) {
			at, _, _ = strings.Cut(at, " ")
			return time.Parse(time.RFC3339Nano, at)
		}
	}
	return time.Time{}, fmt.Errorf("weft has not logged %q", msg)
}

// portChanges puts single ports in and out of a group.
func (c *cloud) portChanges(t *table, watch *monitor, ports []port) error {
	web, err := c.group("web")
	if err != nil {
		return err
	}
	if err := c.rule(web, m{"protocol": "tcp", "port_range_min": 80, "port_range_max": 80}); err != nil {
		return err
	}
	var took durations
	for i := range 100 {
		p := ports[i]
		began := time.Now()
		if err := c.call("PUT", "/v2.0/ports/"+p.ID, m{"port": m{"security_groups": []string{web}}}, nil); err != nil {
			return err
		}
		d, _, err := watch.wait(began, "cookie=0x3ef703", p.ID[:8])
		if err != nil {
			return err
		}
		took = append(took, d)
		time.Sleep(120 * time.Millisecond) // each change alone
	}
	t.add("one port's groups changed -> new flows in the switch, p50", "-", "<= 10 ms", ms(took.at(50)),
		fmt.Sprintf("p95 %s; from the PUT, 1,000 ports on the host", ms(took.at(95))))
	return nil
}

// memberChanges lets ports that are elsewhere join a group that rules of all ports here refer to.
func (c *cloud) memberChanges(t *table, watch *monitor, ports []port) error {
	remote, err := c.group("remote")
	if err != nil {
		return err
	}
	far, err := c.network("far", "10.131.0.0/16")
	if err != nil {
		return err
	}
	if _, err := c.ports(far, others, m{"security_groups": []string{remote}}); err != nil {
		return err
	}
	joining, err := c.ports(far, 50, m{"security_groups": []string{}})
	if err != nil {
		return err
	}
	def, err := c.defaultGroup(ports[len(ports)-1])
	if err != nil {
		return err
	}
	before, err := c.flowCount()
	if err != nil {
		return err
	}
	began := time.Now()
	if err := c.rule(def, m{"protocol": "tcp", "port_range_min": 22, "port_range_max": 22, "remote_group_id": remote}); err != nil {
		return err
	}
	all, _, err := watch.wait(began, "nw_src=10.131.")
	if err != nil {
		return err
	}
	time.Sleep(500 * time.Millisecond)
	after, err := c.flowCount()
	if err != nil {
		return err
	}
	t.add("900 ports get a rule for a remote group of 2,000: flows more", "-", "members, not members x ports", strconv.Itoa(after-before), "in "+ms(all))
	var took durations
	for _, p := range joining {
		began := time.Now()
		if err := c.call("PUT", "/v2.0/ports/"+p.ID, m{"port": m{"security_groups": []string{remote}}}, nil); err != nil {
			return err
		}
		d, _, err := watch.wait(began, "nw_src="+p.FixedIPs[0].IP+" ")
		if err != nil {
			return err
		}
		took = append(took, d)
		time.Sleep(120 * time.Millisecond)
	}
	last, err := c.flowCount()
	if err != nil {
		return err
	}
	t.add("a member joins a remote group of 2,000 -> its flow in the switch, p50", "4-500 s (LP1975674, a member that leaves)", "<= 10 ms", ms(took.at(50)),
		fmt.Sprintf("p95 %s; from the PUT; %d flows for %d members", ms(took.at(95)), last-after, len(joining)))
	return nil
}

// pingThrough counts lost packets between two guests while rules of other ports change.
func (c *cloud) pingThrough(ctx context.Context, t *table, network string, ports []port) error {
	var guests []port
	for i := range 2 {
		name := fmt.Sprint("ping", i)
		p, err := c.port(network, m{"name": name})
		if err != nil {
			return err
		}
		if _, err := execute("ip", "netns", "add", name); err != nil {
			return err
		}
		cmd := exec.CommandContext(ctx, c.weft, "plug", name, "--netns", name, "--host", "bench", "--ovsdb", c.ovs.OVSDB, "--datapath-type", "netdev")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("plug: %w: %s", err, out)
		}
		if _, err := execute("ip", "-n", name, "addr", "add", p.FixedIPs[0].IP+"/16", "dev", "eth0"); err != nil {
			return err
		}
		guests = append(guests, p)
	}
	other, err := c.group("other")
	if err != nil {
		return err
	}
	for _, p := range ports[:20] {
		if err := c.call("PUT", "/v2.0/ports/"+p.ID, m{"port": m{"security_groups": []string{other}}}, nil); err != nil {
			return err
		}
	}
	if _, err := execute("ip", "netns", "exec", "ping0", "ping", "-c", "3", "-i", "0.2", guests[1].FixedIPs[0].IP); err != nil {
		return err
	}
	ping := exec.CommandContext(ctx, "ip", "netns", "exec", "ping0", "ping", "-D", "-i", "0.01", guests[1].FixedIPs[0].IP)
	var out strings.Builder
	ping.Stdout = &out
	if err := ping.Start(); err != nil {
		return err
	}
	began := time.Now()
	var failed error
	for i := 0; i < 1000 && failed == nil; i++ {
		failed = c.rule(other, m{"protocol": "udp", "port_range_min": 1000 + i, "port_range_max": 1000 + i + i%50})
	}
	took := time.Since(began)
	// What is on its way when ping is stopped is not lost: it goes on until all that was sent during
	// the changes must have come back.
	time.Sleep(time.Second)
	_ = ping.Process.Signal(os.Interrupt)
	_ = ping.Wait()
	if failed != nil {
		return failed
	}
	sent, lost, last := gaps(out.String())
	if last.Before(began.Add(took)) {
		return fmt.Errorf("nothing was answered after the changes; ping says %s", out.String())
	}
	t.add("10 ms ping while 1,000 rules of others change: lost", "-", "0", strconv.Itoa(lost),
		fmt.Sprintf("of %d, in %.1f s", sent, took.Seconds()))
	return nil
}

var pingAnswer = regexp.MustCompile(`(?m)^\[(\d+)\.(\d{6})\].* icmp_seq=(\d+) ttl`)

// gaps counts the pings up to the last that was answered, and those of them that were not; last is
// when that answer came.
func gaps(out string) (sent, lost int, last time.Time) {
	answered := map[int]bool{}
	for _, r := range pingAnswer.FindAllStringSubmatch(out, -1) {
		at, _ := strconv.ParseInt(r[1]+r[2], 10, 64)
		n, _ := strconv.Atoi(r[3])
		answered[n] = true
		sent, last = max(sent, n), time.UnixMicro(at)
	}
	return sent, sent - len(answered), last
}

func (c *cloud) group(name string) (string, error) {
	var g struct {
		Group struct{ ID string } `json:"security_group"`
	}
	err := c.call("POST", "/v2.0/security-groups", m{"security_group": m{"name": name}}, &g)
	return g.Group.ID, err
}

func (c *cloud) rule(group string, match m) error {
	match["security_group_id"], match["direction"], match["ethertype"] = group, "ingress", "IPv4"
	return c.call("POST", "/v2.0/security-group-rules", m{"security_group_rule": match}, nil)
}

func (c *cloud) defaultGroup(p port) (string, error) {
	var got struct {
		Port struct {
			Groups []string `json:"security_groups"`
		}
	}
	if err := c.call("GET", "/v2.0/ports/"+p.ID, nil, &got); err != nil {
		return "", err
	}
	if len(got.Port.Groups) != 1 {
		return "", fmt.Errorf("port %s is in %d groups", p.ID, len(got.Port.Groups))
	}
	return got.Port.Groups[0], nil
}

var flowsNow = regexp.MustCompile(`flow_count=(\d+)`)

func (c *cloud) flowCount() (int, error) {
	out, err := c.ovs.Ofctl("dump-aggregate", "br-int")
	if err != nil {
		return 0, err
	}
	r := flowsNow.FindStringSubmatch(out)
	if r == nil {
		return 0, fmt.Errorf("ovs-ofctl says %s", out)
	}
	return strconv.Atoi(r[1])
}

// monitor hears from Open vSwitch itself of flows of tables 72 and 82.
type monitor struct {
	cmd   *exec.Cmd
	lines chan event
	// last is when the last awaited event was heard of.
	last time.Time
}

type event struct {
	at   time.Time
	line string
}

func (c *cloud) monitor(ctx context.Context) (*monitor, error) {
	cmd := exec.CommandContext(ctx, "ovs-ofctl", "monitor", "br-int", "watch:!initial,table=82")
	cmd.Env = c.ovs.Env()
	out, err := cmd.StderrPipe() // where ovs-ofctl says what it hears
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	w := &monitor{cmd: cmd, lines: make(chan event, 1<<20)}
	go func() {
		defer close(w.lines)
		s := bufio.NewScanner(out)
		s.Buffer(nil, 1<<20)
		for s.Scan() {
			w.lines <- event{time.Now(), s.Text()}
		}
	}()
	time.Sleep(200 * time.Millisecond) // until the switch knows it
	return w, nil
}

func (w *monitor) stop() {
	_ = w.cmd.Process.Kill()
	_ = w.cmd.Wait()
}

// wait returns how long after began the first line with all the words came.
func (w *monitor) wait(began time.Time, words ...string) (time.Duration, string, error) {
	timeout := time.After(30 * time.Second)
next:
	for {
		select {
		case e, ok := <-w.lines:
			if !ok {
				return 0, "", fmt.Errorf("the monitor has ended")
			}
			for _, word := range words {
				if !strings.Contains(e.line, word) {
					continue next
				}
			}
			if e.at.Before(began) {
				continue
			}
			w.last = e.at
			return e.at.Sub(began), e.line, nil
		case <-timeout:
			return 0, "", fmt.Errorf("the switch does not tell of %v", words)
		}
	}
}
