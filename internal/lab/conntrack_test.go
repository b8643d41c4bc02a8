package lab_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"weft/internal/lab"
	"weft/internal/lab/labtest"
)

// conversation lets a begin conversations with b, and b only answer.
const conversation = `
table=0,priority=10,arp,actions=NORMAL
table=0,priority=5,ip,ct_state=-trk,in_port=1,actions=ct(table=1,zone=5)
table=0,priority=5,ip,ct_state=-trk,in_port=2,actions=ct(table=2,zone=5)
table=1,priority=30,ct_state=+inv+trk,actions=drop
table=1,priority=20,ct_state=+new-rel+trk,ip,actions=ct(commit,zone=5),output:2
table=1,priority=10,ct_state=+est+trk,actions=output:2
table=2,priority=30,ct_state=+inv+trk,actions=drop
table=2,priority=20,ct_state=-new+est-rel+rpl+trk,actions=output:1
table=2,priority=20,ct_state=-new-est+rel+rpl+trk,actions=output:1
table=2,priority=10,ct_state=+new+trk,actions=drop
`

// twoNamespaces makes br0 with two namespaces on it, 10.0.0.1 in ct-a and 10.0.0.2 in ct-b.
func twoNamespaces(t *testing.T) *lab.OVS {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "weft-ovs-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	o, err := lab.StartOVS(t.Context(), lab.OVSOptions{Dir: dir, Datapath: lab.DatapathReal()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := o.Stop(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		_ = exec.Command("sh", "-c", "for n in a b; do ip link del ct-$n; ip netns del ct-$n; done").Run()
	})
	script := `add() {
	ip netns add ct-$1
	ip link add ct-$1 type veth peer name eth0 netns ct-$1
	ip link set ct-$1 up
	ip -n ct-$1 link set eth0 up
	ip -n ct-$1 addr add $2/24 dev eth0
	ovs-vsctl --db=$DB add-port br0 ct-$1
}
ovs-vsctl --db=$DB add-br br0 -- set Bridge br0 datapath_type=$DATAPATH fail_mode=secure
add a 10.0.0.1
add b 10.0.0.2`
	cmd := exec.Command("sh", "-ec", script)
	cmd.Env = append(o.Env(), "DB="+o.OVSDB, "DATAPATH="+o.Datapath)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return o
}

// TestConntrack holds what docs/pipeline.md says of connection tracking on the datapaths.
func TestConntrack(t *testing.T) {
	labtest.Require(t, "root", "ovs", "tun", "ip", "ping", "ethtool")
	o := twoNamespaces(t)
	flows := filepath.Join(o.Dir, "flows")
	if err := os.WriteFile(flows, []byte(conversation), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := o.Ofctl("add-flows", "br0", flows); err != nil {
		t.Fatal(err)
	}
	kernel := o.Datapath == lab.DatapathSystem
	for _, c := range []struct {
		what string
		try  func() error
		want bool
	}{
		{"a conversation that b begins", func() error { return ping("b", "10.0.0.1") }, false},
		{"a conversation that a begins", func() error { return ping("a", "10.0.0.2") }, true},
		{"in fragments", func() error { return ping("a", "10.0.0.2", "-s", "4000") }, true},
		{"TCP whose checksums are left to the device", stream, kernel},
		{"an error about UDP whose checksum is left to the device", portUnreachable, kernel},
		{"no offload", func() error {
			return exec.Command("sh", "-ec", "for n in a b; do ip netns exec ct-$n ethtool -K eth0 tx off; done").Run()
		}, true},
		{"TCP with checksums", stream, true},
		{"an error about UDP with a checksum", portUnreachable, true},
		{"what has been said is tracked", func() error { return tracked(o) }, true},
		{"forwarding while ovs-vswitchd is away", func() error {
			if err := errors.Join(ping("a", "10.0.0.2"), o.StopVswitchd(lab.Crash)); err != nil {
				t.Fatal(err)
			}
			return ping("a", "10.0.0.2")
		}, kernel},
		{"what was tracked still is when it is back", func() error {
			if err := o.StartVswitchd(t.Context()); err != nil {
				t.Fatal(err)
			}
			return tracked(o)
		}, kernel},
	} {
		began := time.Now()
		err := c.try()
		t.Logf("%s: %v, after %s", c.what, err == nil, time.Since(began).Round(time.Millisecond))
		if (err == nil) != c.want {
			dump, _ := o.Appctl("dpctl/dump-flows")
			t.Errorf("%s on the %s datapath: %v\n%s", c.what, o.Datapath, err, dump)
		}
	}
}

func tracked(o *lab.OVS) error {
	got, err := o.Appctl("dpctl/dump-conntrack", "zone=5")
	if err == nil && !strings.Contains(got, "tcp,orig=(src=10.0.0.1") {
		err = fmt.Errorf("tracked are %q", got)
	}
	return err
}

func ping(ns, to string, more ...string) error {
	args := append([]string{"netns", "exec", "ct-" + ns, "ping", "-c", "2", "-i", "0.2", "-W", "1"}, append(more, to)...)
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// stream sends a line from a to b by TCP and reads its echo.
func stream() error {
	var l net.Listener
	err := within("b", func() (err error) { l, err = net.Listen("tcp", "10.0.0.2:0"); return err })
	if err != nil {
		return err
	}
	defer l.Close()
	go func() {
		if c, err := l.Accept(); err == nil {
			buf := make([]byte, 64)
			n, _ := c.Read(buf)
			_, _ = c.Write(buf[:n])
			c.Close()
		}
	}()
	var c net.Conn
	err = within("a", func() (err error) { c, err = net.DialTimeout("tcp", l.Addr().String(), 2*time.Second); return err })
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(2 * time.Second))
	if _, err := c.Write([]byte("hello")); err != nil {
		return err
	}
	_, err = c.Read(make([]byte, 64))
	return err
}

// portUnreachable succeeds when a is told that b has no such port: an ICMP error that is
// related to the conversation.
func portUnreachable() error {
	var c net.Conn
	err := within("a", func() (err error) { c, err = net.Dial("udp", "10.0.0.2:9"); return err })
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(2 * time.Second))
	if _, err := c.Write([]byte("hello")); err != nil {
		return err
	}
	if _, err = c.Read(make([]byte, 64)); errors.Is(err, syscall.ECONNREFUSED) {
		return nil
	}
	return fmt.Errorf("told %v", err)
}

// within runs f on a thread in a namespace; sockets stay there.
func within(ns string, f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		fd, err := unix.Open("/run/netns/ct-"+ns, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err == nil {
			defer unix.Close(fd)
			if err = unix.Setns(fd, unix.CLONE_NEWNET); err == nil {
				err = f()
			}
		}
		done <- err
	}()
	return <-done
}
