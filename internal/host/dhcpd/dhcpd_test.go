package dhcpd

import (
	"context"
	"encoding/hex"
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"weft/internal/host/kernel"
	"weft/internal/lab/labtest"
	"weft/internal/model"
	"weft/internal/plan/dhcp"
	"weft/internal/plan/netns"
)

func TestMain(m *testing.M) { labtest.Main(m) }

const (
	serverNS = "qdhcp-c9cdbbed-8503-49b9-a636-ed707b68805a"
	clientNS = "client"
	tap      = "tapd677df3f-b5"
	nic      = "eth0"
)

var (
	serverMAC = model.MAC{0xfa, 0x16, 0x3e, 0xe4, 0x05, 0xe6}
	clientMAC = model.MAC{0xfa, 0x16, 0x3e, 0x7b, 0x71, 0x0b}
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func plan() dhcp.Server {
	a := &dhcp.Options{
		SubnetID: "a", Server: addr("10.10.0.2"), Prefix: netip.MustParsePrefix("10.10.0.0/16"), Gateway: addr("10.10.0.1"),
		DNS: []netip.Addr{addr("10.10.0.2")}, Domain: "openstacklocal", MTU: 1450, LeaseTime: 86400,
	}
	return dhcp.Server{
		NetworkID: "net", Namespace: serverNS, Device: tap, MAC: serverMAC, Subnets: []*dhcp.Options{a},
		Leases: []dhcp.Lease{{PortID: "one", MAC: clientMAC, Addr: addr("10.10.0.121"), Hostname: "host-10-10-0-121", Subnet: a}},
	}
}

// makeLink joins the server's namespace with the client's by a pair of devices.
func makeLink(t testing.TB) {
	t.Helper()
	for _, ns := range []string{serverNS, clientNS} {
		if err := kernel.CreateNamespace(ns); err != nil {
			t.Fatal(err)
		}
	}
	err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: tap}, PeerName: nic})
	if err != nil {
		t.Fatal(err)
	}
	for ns, l := range map[string]netns.Link{
		serverNS: {Name: tap, MAC: serverMAC, MTU: 1450, Addrs: []netip.Prefix{netip.MustParsePrefix("10.10.0.2/16")}},
		clientNS: {Name: nic, MAC: clientMAC, MTU: 1450},
	} {
		if err := kernel.PlaceLink(t.Context(), ns, l); err != nil {
			t.Fatal(err)
		}
	}
	// The kernel takes its time to notice that the pair is connected; what is sent until
	// then is lost.
	for ns, name := range map[string]string{serverNS: tap, clientNS: nic} {
		waitFor(t, func() bool {
			var up bool
			err := kernel.Do(ns, func() error {
				l, err := netlink.LinkByName(name)
				up = err == nil && l.Attrs().OperState == netlink.OperUp
				return err
			})
			return err == nil && up
		})
	}
}

func start(t testing.TB, servers ...dhcp.Server) *Server {
	t.Helper()
	labtest.Require(t, "root")
	makeLink(t)
	s := New(Options{})
	t.Cleanup(func() {
		s.Close()
		kernel.Do(serverNS, func() error {
			l, err := netlink.LinkByName(tap)
			if err == nil {
				err = netlink.LinkDel(l)
			}
			return err
		})
		kernel.RemoveNamespace(serverNS)
		kernel.RemoveNamespace(clientNS)
	})
	for _, f := range s.Apply(t.Context(), servers) {
		t.Fatal(f)
	}
	return s
}

// inClient runs a command where the client is.
func inClient(t testing.TB, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, "ip", append([]string{"netns", "exec", clientNS}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", args, err, out)
	}
	return string(out)
}

func waitFor(t testing.TB, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("waited for too long")
		}
	}
}

// rawClient is a packet socket in the client's namespace.
type rawClient struct {
	t       testing.TB
	fd      int
	ifindex int
}

func newRawClient(t testing.TB) *rawClient {
	t.Helper()
	c := &rawClient{t: t}
	err := kernel.Do(clientNS, func() (err error) {
		if c.ifindex, _, err = deviceNow(nic); err != nil {
			return err
		}
		if c.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(htons(unix.ETH_P_IP))); err != nil {
			return err
		}
		return unix.Bind(c.fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_IP), Ifindex: c.ifindex})
	})
	if err != nil {
		t.Fatal(err)
	}
	unix.SetsockoptTimeval(c.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 300000})
	t.Cleanup(func() { unix.Close(c.fd) })
	return c
}

// send sends a message as a client does that has no address yet.
func (c *rawClient) send(msg []byte, spoil func(frame []byte)) {
	c.t.Helper()
	frame := append(make([]byte, headersLen), msg...)
	seal(frame, clientMAC, model.MAC{255, 255, 255, 255, 255, 255}, netip.IPv4Unspecified(), addr("255.255.255.255"))
	frame[headersLen-8+1], frame[headersLen-8+3] = clientPort, serverPort
	// The ports are swapped within the checksum: it stays right.
	if spoil != nil {
		spoil(frame)
	}
	if err := unix.Sendto(c.fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: c.ifindex}); err != nil {
		c.t.Fatal(err)
	}
}

// receive returns the next frame; nil if there is none for a while.
func (c *rawClient) receive() []byte {
	c.t.Helper()
	b := make([]byte, 2048)
	n, _, err := recvfrom(c.fd, b)
	if errors.Is(err, unix.EAGAIN) {
		return nil
	}
	if err != nil {
		c.t.Fatal(err)
	}
	return b[:n]
}

// answer waits for a frame, however busy the machine is.
func (c *rawClient) answer() (f []byte) {
	c.t.Helper()
	waitFor(c.t, func() bool { f = c.receive(); return f != nil })
	return f
}

// recvfrom goes on after a signal: with a receive timeout the kernel does not (signal(7)),
// and Go's scheduler sends some.
func recvfrom(fd int, b []byte) (n int, from unix.Sockaddr, err error) {
	for err = unix.EINTR; errors.Is(err, unix.EINTR); {
		n, from, err = unix.Recvfrom(fd, b, 0)
	}
	return n, from, err
}

func request(t testing.TB, name string) []byte {
	t.Helper()
	text, err := os.ReadFile("../../plan/dhcp/testdata/" + name + ".request")
	if err != nil {
		t.Fatal(err)
	}
	_, digits, _ := strings.Cut(string(text), "\n")
	b, err := hex.DecodeString(strings.ReplaceAll(digits, "\n", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestFrames(t *testing.T) {
	s := start(t, plan())
	c := newRawClient(t)
	all := model.MAC{255, 255, 255, 255, 255, 255}
	for _, tt := range []struct {
		name, request string
		spoil         func([]byte)
		kind          dhcpv4.MessageType
		mac           model.MAC
		ip            string
	}{
		{"unicast without ARP", "dhclient-discover", nil, dhcpv4.MessageTypeOffer, clientMAC, "10.10.0.121"},
		{"broadcast flag", "windows10-discover", nil, dhcpv4.MessageTypeOffer, all, "255.255.255.255"},
		{"checksum left to hardware", "dhclient-discover", func(f []byte) { f[40], f[41] = 0x12, 0x34 }, dhcpv4.MessageTypeOffer, clientMAC, "10.10.0.121"},
		{"no checksum", "dhclient-discover", func(f []byte) { f[40], f[41] = 0, 0 }, dhcpv4.MessageTypeOffer, clientMAC, "10.10.0.121"},
		{"wrong address", "dhclient-wrong", nil, dhcpv4.MessageTypeNak, all, "255.255.255.255"},
		{"renewing", "networkd-renew", nil, dhcpv4.MessageTypeAck, clientMAC, "10.10.0.121"},
		{"inform", "windows10-inform", nil, dhcpv4.MessageTypeAck, clientMAC, "10.10.0.121"},
		{"stranger", "unknown-client", nil, 0, all, ""},
		{"other server", "other-server", nil, 0, all, ""},
		{"fragment", "dhclient-discover", func(f []byte) { f[20] |= 0x20 }, 0, all, ""},
		{"other port", "dhclient-discover", func(f []byte) { f[37] = 69 }, 0, all, ""},
		{"cut off", "dhclient-discover", func(f []byte) { f[39] = 200 }, 0, all, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c.t = t
			c.send(request(t, tt.request), tt.spoil)
			if tt.kind == 0 {
				if f := c.receive(); f != nil {
					t.Fatalf("answered: %x", f)
				}
				return
			}
			f := c.answer()
			m, err := dhcpv4.FromBytes(payload(f))
			if err != nil {
				t.Fatal(err)
			}
			if m.MessageType() != tt.kind || model.MAC(f[0:6]) != tt.mac || model.MAC(f[6:12]) != serverMAC || netip.AddrFrom4([4]byte(f[30:34])).String() != tt.ip || netip.AddrFrom4([4]byte(f[26:30])).String() != "10.10.0.2" {
				t.Errorf("got %v in %x", m.MessageType(), f[:headersLen])
			}
			if fold(sum(0, f[14:34])) != 0xffff || fold(sum(sum(uint32(17+len(f)-34), f[26:34]), f[34:])) != 0xffff {
				t.Error("checksum")
			}
		})
	}
	waitFor(t, func() bool { return s.Stats()[0].Reasons[dhcp.Malformed] > 0 })
	st := s.Stats()[0]
	if st.Reasons[dhcp.UnknownClient] != 1 || len(st.Strangers) != 1 || st.Strangers[0].MAC.String() != "52:54:00:11:22:aa" || st.Reasons[dhcp.Malformed] != 1 {
		t.Errorf("stats: %+v", st)
	}
	if h := s.History("one"); len(h) != ringSize || h[len(h)-1].Reason != dhcp.OtherServer {
		t.Errorf("history: %+v", h)
	}
}

// A client that has its address sends to the server's; the kernel must not refuse that.
func TestNoICMP(t *testing.T) {
	start(t, plan())
	inClient(t, "ip", "addr", "add", "10.10.0.121/16", "dev", nic)
	c := newRawClient(t)
	fd := -1
	err := kernel.Do(clientNS, func() (err error) {
		fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, &unix.SockaddrInet4{Port: clientPort}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Sendto(fd, request(t, "networkd-renew"), 0, &unix.SockaddrInet4{Port: serverPort, Addr: [4]byte{10, 10, 0, 2}}); err != nil {
		t.Fatal(err)
	}
	acks := 0
	for f := c.answer(); f != nil; f = c.receive() {
		if f[23] == unix.IPPROTO_ICMP {
			t.Errorf("ICMP: %x", f)
		}
		if m, err := dhcpv4.FromBytes(payload(f)); err == nil && m.MessageType() == dhcpv4.MessageTypeAck {
			acks++
		}
	}
	if acks != 1 {
		t.Errorf("%d ACKs", acks)
	}
}

func TestRelay(t *testing.T) {
	start(t, plan())
	inClient(t, "ip", "addr", "add", "10.10.0.1/16", "dev", nic)
	fd := -1
	err := kernel.Do(clientNS, func() (err error) {
		if fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0); err != nil {
			return err
		}
		return unix.Bind(fd, &unix.SockaddrInet4{Port: serverPort, Addr: [4]byte{10, 10, 0, 1}})
	})
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 60})
	if err := unix.Sendto(fd, request(t, "relay-discover"), 0, &unix.SockaddrInet4{Port: serverPort, Addr: [4]byte{10, 10, 0, 2}}); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 1500)
	n, from, err := recvfrom(fd, b)
	if err != nil {
		t.Fatal(err)
	}
	m, err := dhcpv4.FromBytes(b[:n])
	if err != nil || m.MessageType() != dhcpv4.MessageTypeOffer || hex.EncodeToString(m.Options[82]) != "010400000007" {
		t.Errorf("%v %v", m, err)
	}
	if f := from.(*unix.SockaddrInet4); f.Port != serverPort || f.Addr != [4]byte{10, 10, 0, 2} {
		t.Errorf("from %+v", f)
	}
}

// A restarted switch takes the device away and makes it anew.
func TestDeviceMadeAnew(t *testing.T) {
	s := start(t, plan())
	for i := range 3 {
		if err := kernel.Do(serverNS, func() error {
			l, err := netlink.LinkByName(tap)
			if err != nil {
				return err
			}
			return netlink.LinkDel(l)
		}); err != nil {
			t.Fatal(err)
		}
		waitFor(t, func() bool { return !s.Serving("net") })
		if fs := s.Apply(t.Context(), []dhcp.Server{plan()}); len(fs) != 1 || fs[0].NetworkID != "net" {
			t.Errorf("faults without device: %v", fs)
		}
		makeLink(t)
		// Once it heals by itself, once by Apply.
		if i%2 == 0 {
			waitFor(t, func() bool { return s.Serving("net") })
		} else {
			for _, f := range s.Apply(t.Context(), []dhcp.Server{plan()}) {
				t.Fatal(f)
			}
		}
		c := newRawClient(t)
		c.send(request(t, "dhclient-discover"), nil)
		c.answer()
	}
	// Down and up again: the same device.
	for _, state := range []string{"down", "up"} {
		if out, err := exec.Command("ip", "-n", serverNS, "link", "set", tap, state).CombinedOutput(); err != nil {
			t.Fatalf("%v %s", err, out)
		}
		time.Sleep(10 * time.Millisecond)
	}
	// What is sent before the kernel has noticed is lost.
	c := newRawClient(t)
	waitFor(t, func() bool { c.send(request(t, "dhclient-discover"), nil); return c.receive() != nil })
}

// A namespace that is deleted lives on in our sockets; they must let go.
func TestNamespaceMadeAnew(t *testing.T) {
	s := start(t, plan())
	if err := kernel.RemoveNamespace(serverNS); err != nil {
		t.Fatal(err)
	}
	if fs := s.Apply(t.Context(), []dhcp.Server{plan()}); len(fs) != 1 || s.Serving("net") {
		t.Errorf("without its namespace: %v, serving %v", fs, s.Serving("net"))
	}
	// The pair goes with the namespace, in the kernel's own time: it buries all the dead of
	// the machine one after the other.
	waitFor(t, func() bool { _, err := kernel.LinkInfo(clientNS, nic); return errors.Is(err, kernel.ErrNoLink) })
	makeLink(t)
	for _, f := range s.Apply(t.Context(), []dhcp.Server{plan()}) {
		t.Fatal(f)
	}
	c := newRawClient(t)
	c.send(request(t, "dhclient-discover"), nil)
	c.answer()
}

func TestCompletion(t *testing.T) {
	var got []Completion
	labtest.Require(t, "root")
	s := New(Options{Completed: func(c Completion) { got = append(got, c) }})
	defer s.Close()
	p := plan()
	two := dhcp.Lease{PortID: "two", MAC: model.MAC{0xfa, 0x16, 0x3e, 0, 0, 2}, Addr: addr("10.10.0.7"), Hostname: "host-10-10-0-7", Subnet: p.Subnets[0]}
	if fs := s.Apply(t.Context(), []dhcp.Server{p}); len(fs) != 1 || len(got) != 0 {
		t.Fatalf("without a namespace: %v, %v", fs, got)
	}
	if s.Serves(&model.Port{ID: "one", NetworkID: "net", MAC: clientMAC}) {
		t.Error("serves without a namespace")
	}
	makeLink(t)
	defer kernel.RemoveNamespace(serverNS)
	defer kernel.RemoveNamespace(clientNS)
	apply := func(p dhcp.Server) {
		t.Helper()
		for _, f := range s.Apply(t.Context(), []dhcp.Server{p}) {
			t.Fatal(f)
		}
	}
	apply(p)
	apply(plan()) // equal, not identical
	p.Leases = []dhcp.Lease{two, p.Leases[0]}
	apply(p)
	if !s.Serves(&model.Port{ID: "two", NetworkID: "net", MAC: two.MAC}) {
		t.Error("does not serve two")
	}
	want := "one; two; "
	var text string
	for _, c := range got {
		for _, id := range c.Ports {
			text += string(id) + "; "
		}
	}
	if text != want || got[0].Elapsed <= 0 {
		t.Errorf("completions %+v", got)
	}
	if fs := s.Apply(t.Context(), nil); len(fs) > 0 || s.Serving("net") || len(s.Stats()) != 0 {
		t.Error("still serving")
	}
}

// Tables change all the time; no message may be lost by that.
func TestSwapLosesNothing(t *testing.T) {
	s := start(t, plan())
	c := newRawClient(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ctx.Err() == nil; i++ {
			p := plan()
			p.Subnets[0].LeaseTime = uint32(1000 + i)
			s.Apply(context.Background(), []dhcp.Server{p})
		}
	}()
	for range 500 {
		c.send(request(t, "dhclient-discover"), nil)
		c.answer()
	}
	cancel()
	<-done
}
