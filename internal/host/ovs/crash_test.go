package ovs

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"weft/internal/host/openflow"
	"weft/internal/lab"
	"weft/internal/plan/vswitch"
)

// mortal is an OpenFlow connection to a bridge that dies, as a process does, when it has
// sent so many messages and a few bytes of the next.
type mortal struct {
	net.Conn
	mu sync.Mutex
	// left are the messages that it may still send; negative: any number.
	left, more int
	dead       bool
	// last, if not nil, is called in the moment of death.
	last func()
}

var errDead = errors.New("the process is dead")

func (m *mortal) Write(b []byte) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dead {
		return 0, errDead
	}
	at := 0
	for at < len(b) && m.left != 0 {
		n, err := openflow.Length(b[at:])
		if err != nil {
			return 0, err
		}
		at += n
		m.left--
	}
	if at == len(b) {
		return m.Conn.Write(b)
	}
	_, _ = m.Conn.Write(b[:min(len(b), at+m.more)])
	if m.last != nil {
		m.last()
	}
	m.dead = true
	_ = m.Close()
	return 0, errDead
}

func (m *mortal) arm(messages, bytes int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.left, m.more = messages, bytes
}

// connect opens a connection to br-int of its own; without a handshake it has died.
func (w *world) connect(m *mortal) *conn {
	w.Helper()
	nc, err := net.Dial("unix", filepath.Join(w.lab.Dir, "br-int.mgmt"))
	if err != nil {
		w.Fatal(err)
	}
	m.Conn = nc
	c, err := accept(w.Context(), m)
	if err != nil {
		nc.Close()
		return nil
	}
	go func() { _ = c.serve(new(probes)) }()
	w.Cleanup(func() { c.close(nil) })
	return c
}

// change is two plans of br-int: parts stay, change, come and go, a flow moves from one part to
// another, and a new port has the number of one that is gone.
func (w *world) change() (before, after vswitch.Switch) {
	before, after = w.example(1, 2, 3, 4, 5), w.example(1, 6, 7)
	for i, p := range before.Flows["br-int"] {
		if i < 2 {
			after.Flows["br-int"][i] = p
		}
	}
	cookie := vswitch.Cookie(owner, vswitch.KindPort, 3)
	after.Flows["br-int"] = append(after.Flows["br-int"],
		vswitch.NewPart(cookie, vswitch.NewFlow(71, 95, cookie, vswitch.Any().InPort(3).ARP().EthSrc(mac(3)))),
		partOf(flowsOfPort(4, 2, mac(9))...))
	moved := slices.Clone(flowsOfPort(5, 1, mac(5))[:1])
	moved[0].Cookie = vswitch.Cookie(owner, vswitch.KindPort, 10)
	after.Flows["br-int"] = append(after.Flows["br-int"], partOf(moved...))
	return before, after
}

// TestDeathInTheMiddle: an agent that dies after any number of messages of a change, or in the middle
// of one, leaves the flows of before or those of after, whole; whether it knew what was there, or
// was born just before.
func TestDeathInTheMiddle(t *testing.T) {
	w := newWorld(t)
	before, after := w.change()
	w.apply(after)
	whole := map[string]string{}
	whole[strings.Join(w.flowTexts("br-int"), "\n")] = "after"
	w.apply(before)
	whole[strings.Join(w.flowTexts("br-int"), "\n")] = "before"
	w.stop() // the bridge's own controller is gone, and so is who would put things right

	seen := map[string]int{}
	for _, fresh := range []bool{false, true} {
		for messages, alive := 0, false; !alive; messages++ {
			for _, bytes := range []int{0, 5, 30} {
				b, m := &flows{bridge: "br-int"}, &mortal{left: -1}
				c := w.connect(m)
				b.set(before.Flows["br-int"], nil)
				if _, faults := b.sync(t.Context(), c, remembered); len(faults) > 0 {
					t.Fatal(faults)
				}
				if fresh {
					b, m = &flows{bridge: "br-int"}, &mortal{left: messages, more: bytes}
					c = w.connect(m)
				} else {
					m.arm(messages, bytes)
				}
				b.set(after.Flows["br-int"], nil)
				if c != nil {
					_, faults := b.sync(t.Context(), c, remembered)
					alive = !m.dead && len(faults) == 0
				}
				// What the bridge has read it may still be at work on.
				for range 3 {
					now := strings.Join(w.flowTexts("br-int"), "\n")
					if whole[now] == "" {
						t.Fatalf("dead after %d messages and %d bytes (born just before: %v): neither before nor after:\n%s", messages, bytes, fresh, now)
					}
					seen[whole[now]]++
				}
			}
		}
	}
	if seen["before"] == 0 || seen["after"] == 0 {
		t.Errorf("seen: %v", seen)
	}
	t.Logf("looked at the flows after each death: %v", seen)

	w.start(strings.TrimPrefix(w.target, "tcp:"))
	w.eventually("a new process makes it whole", func() bool { return len(w.s.Apply(t.Context(), after)) == 0 })
	w.wantFlows("br-int", after.Flows["br-int"].All())
}

// TestSwitchDiesInTheMiddle: ovs-vswitchd killed in the middle of a change, and started again
// while nobody tells it anything, forwards nothing.
func TestSwitchDiesInTheMiddle(t *testing.T) {
	w := newWorld(t)
	before, after := w.change()
	w.apply(before)
	for _, p := range []string{"p1", "p2"} {
		w.vsctl("add-port", "br-int", p, "--", "set", "Interface", p, "type=dummy")
	}
	addr := strings.TrimPrefix(w.target, "tcp:")
	for _, messages := range []int{0, 1, 7, 17, 18, 19} {
		w.apply(before)
		w.stop()
		b, m := &flows{bridge: "br-int"}, &mortal{left: -1}
		c := w.connect(m)
		b.set(before.Flows["br-int"], nil)
		if _, faults := b.sync(t.Context(), c, remembered); len(faults) > 0 {
			t.Fatal(faults)
		}
		m.last = func() {
			if err := w.lab.StopVswitchd(lab.Crash); err != nil {
				t.Error(err)
			}
		}
		m.arm(messages, 0)
		b.set(after.Flows["br-int"], nil)
		if _, faults := b.sync(t.Context(), c, remembered); len(faults) == 0 {
			t.Fatalf("%d messages are the whole change", messages)
		}
		if err := w.lab.StartVswitchd(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, bridge := range []string{"br-int", "br-tun"} {
			if left := w.flowTexts(bridge); len(left) > 0 {
				t.Errorf("%d messages: %s has flows: %q", messages, bridge, left)
			}
		}
		for range 5 {
			if out, err := w.lab.Appctl("netdev-dummy/receive", "p1", "eth(src=fa:16:3e:00:00:01,dst=ff:ff:ff:ff:ff:ff),eth_type(0x0806),"+
				"arp(sip=1.2.3.4,tip=1.2.3.5,op=1,sha=fa:16:3e:00:00:01,tha=00:00:00:00:00:00)"); err != nil {
				t.Fatal(out, err)
			}
		}
		for _, port := range []string{"p2", "patch-tun", "tapdhcp", "br-int"} {
			if out := w.ofctl("dump-ports", "br-int", strings.Replace(port, "br-int", "LOCAL", 1)); !strings.Contains(out, "tx pkts=0,") {
				t.Errorf("%d messages: %s has sent: %s", messages, port, out)
			}
		}
		if out, err := w.lab.Appctl("ofproto/trace", "br-int", "in_port=p1,dl_dst=ff:ff:ff:ff:ff:ff,arp"); err != nil || !strings.Contains(out, "Datapath actions: drop") {
			t.Errorf("%d messages: %s %v", messages, out, err)
		}
		w.start(addr)
		w.eventually("a new process makes it whole", func() bool { return len(w.s.Apply(t.Context(), after)) == 0 })
		w.wantFlows("br-int", after.Flows["br-int"].All())
		w.wantFlows("br-tun", after.Flows["br-tun"].All())
	}
}

// TestApplyDies: an Apply that ends after any of its calls to the database leaves the flows of before
// or of after, and the tag of a port that goes or comes is never another network's.
func TestApplyDies(t *testing.T) {
	w := newWorld(t)
	w.stop()
	sock := filepath.Join(w.lab.Dir, "cut.sock")
	cut := newCutter(t, "unix", sock, strings.TrimPrefix(w.lab.OVSDB, "unix:"))
	direct := w.lab.OVSDB
	addr := strings.TrimPrefix(w.target, "tcp:")
	w.start(addr)
	for _, p := range []string{"tap1", "tap6"} {
		w.apply(w.example())
		w.vsctl("add-port", "br-int", p, "--", "set", "Interface", p, "type=dummy", "external_ids:iface-id="+portID(int(p[3]-'0')), "--", "set", "Port", p, "tag=4095")
	}
	before, after := w.change()
	before.Bridges[0].Tags = []vswitch.PortTag{{Name: "tap1", Tag: 1, OtherConfig: map[string]string{"tag": "1"}}}
	after.Bridges[0].Tags = []vswitch.PortTag{{Name: "tap6", Tag: 2, OtherConfig: map[string]string{"tag": "2"}}}
	w.apply(after)
	whole := map[string]bool{strings.Join(w.flowTexts("br-int"), "\n"): true}
	w.apply(before)
	whole[strings.Join(w.flowTexts("br-int"), "\n")] = true
	for _, at := range []int{0, 1, 200, 400, 800, 1600} {
		w.apply(before)
		w.stop()
		w.lab.OVSDB = "unix:" + sock
		w.start(addr)
		w.lab.OVSDB = direct
		w.eventually("observed", func() bool { return w.s.Observe().Connected })
		cut.arm(at)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan []Fault)
		go func() { done <- w.s.Apply(ctx, after) }()
		// It dies when it has come to a halt, or is through.
		w.eventually("the change is on its way", func() bool { return w.s.Stats().Transactions > 0 || at == 0 })
		cancel()
		<-done
		w.stop()
		if now := strings.Join(w.flowTexts("br-int"), "\n"); !whole[now] {
			t.Errorf("cut after %d bytes: neither before nor after:\n%s", at, now)
		}
		for port, tags := range map[string][]string{"tap1": {"1", "4095"}, "tap6": {"4095", "2"}} {
			if tag := w.vsctl("get", "Port", port, "tag"); !slices.Contains(tags, tag) {
				t.Errorf("cut after %d bytes: %s has tag %s", at, port, tag)
			}
		}
		cut.arm(0)
		cut.heal()
		w.start(addr)
		w.eventually("a new process makes it whole", func() bool { return len(w.s.Apply(t.Context(), after)) == 0 })
		w.wantFlows("br-int", after.Flows["br-int"].All())
	}
}
