package dhcpd

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"weft/internal/host/kernel"
	"weft/internal/model"
	"weft/internal/plan/dhcp"
)

// service answers for one network, from one device.
type service struct {
	log  *slog.Logger
	pool *sync.Pool
	// lost is called when the device has gone away.
	lost      func()
	heard     *heard
	network   model.NetworkID
	namespace string
	device    string
	mac       model.MAC

	table    atomic.Pointer[dhcp.Table]
	history  *history
	counters counters
	totals   *totals

	// pending are the ports whose change is not in effect yet, since when; guarded by Server.mu.
	pending []model.PortID
	since   time.Time

	mu sync.Mutex
	// awaited are our own test messages under way.
	awaited map[XID]chan struct{}
	sockets *sockets
	// held are the sockets that run has taken up, and will close; it closes no others.
	held    *sockets
	stopped chan struct{}
	done    chan struct{}
	running bool
}

func (s *Server) newService(w *dhcp.Server) *service {
	return &service{
		log: s.log, pool: &s.pool, lost: s.lost, heard: &s.heard, totals: &s.totals,
		network: w.NetworkID, namespace: w.Namespace, device: w.Device, mac: w.MAC,
		history: newHistory(), awaited: map[XID]chan struct{}{}, stopped: make(chan struct{}), done: make(chan struct{}),
	}
}

// at reports whether the service is where w wants it.
func (v *service) at(w *dhcp.Server) bool {
	return v.namespace == w.Namespace && v.device == w.Device && v.mac == w.MAC
}

// take puts a new table into effect, if there is anything new in it.
func (v *service) take(w dhcp.Server, now time.Time) {
	var was *dhcp.Server
	if t := v.table.Load(); t != nil {
		if was = t.Server(); was.Equal(&w) {
			return
		}
	}
	t, faults := dhcp.NewTable(w)
	v.table.Store(t)
	for _, f := range faults {
		// Once per change. The port has its lease and its other options.
		v.log.Warn("DHCP option of a port cannot be sent", "network", v.network, "port", f.PortID, "option", f.Name, "value", f.Value, "err", f.Err)
	}
	if len(v.pending) == 0 {
		v.since = now
	}
	v.pending = append(v.pending, changedPorts(was, &w)...)
	v.history.keep(&w)
}

// changedPorts lists the ports that are told something else by b than by a; a may be nil.
func changedPorts(a, b *dhcp.Server) []model.PortID {
	type key struct {
		port model.PortID
		addr [4]byte
	}
	old := map[key]*dhcp.Lease{}
	if a != nil {
		for i := range a.Leases {
			l := &a.Leases[i]
			old[key{l.PortID, l.Addr.As4()}] = l
		}
	}
	var out []model.PortID
	for i := range b.Leases {
		l := &b.Leases[i]
		was := old[key{l.PortID, l.Addr.As4()}]
		if was != nil && was.Equal(l) {
			continue
		}
		// The leases of one port follow each other.
		if n := len(out); n == 0 || out[n-1] != l.PortID {
			out = append(out, l.PortID)
		}
	}
	return out
}

// ready opens the sockets if they are not open, and starts the service once they are.
func (v *service) ready() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.sockets != nil && v.sockets.ns == namespaceID(v.namespace) {
		return nil
	}
	if v.sockets != nil {
		// Somebody has deleted the namespace: the sockets keep it alive, out of everybody's reach.
		if v.held == v.sockets {
			v.sockets.interrupt()
		} else {
			v.sockets.close()
		}
		v.sockets = nil
	}
	if v.stoppedNow() {
		return errStopped
	}
	so, err := openSockets(v.namespace, v.device)
	if err != nil {
		return err
	}
	v.sockets = so
	if !v.running {
		v.running = true
		go v.run()
	}
	return nil
}

func (v *service) serving() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.sockets != nil
}

// stop ends the service and waits for that.
func (v *service) stop() {
	v.mu.Lock()
	running := v.running
	close(v.stopped)
	if v.sockets != nil {
		v.sockets.interrupt()
	}
	v.mu.Unlock()
	if running {
		<-v.done
	}
}

var errStopped = errors.New("stopped")

// run serves until stop. A device that goes away (a restart of the switch takes it away
// and makes it anew) is waited for.
func (v *service) run() {
	defer close(v.done)
	for {
		v.mu.Lock()
		so := v.sockets
		v.held = so
		v.mu.Unlock()
		if so == nil {
			if !v.reopen() {
				return
			}
			continue
		}
		err := v.serve(so)
		// Down for a moment? Then the socket comes back with the device.
		again := errors.Is(err, unix.ENETDOWN) && v.comesUp(so)
		stopped := v.stoppedNow()
		v.mu.Lock()
		if again && !stopped && v.sockets == so {
			v.mu.Unlock()
			continue
		}
		so.close()
		v.held = nil
		if v.sockets == so {
			v.sockets = nil
		}
		v.mu.Unlock()
		if stopped {
			return
		}
		v.log.Warn("DHCP device lost", "network", v.network, "device", v.device, "err", err)
		v.lost()
	}
}

// comesUp waits as long as the device of the sockets is there and down, and reports whether
// it is up again. A device that is deleted goes down first, and of a socket whose device is
// down the kernel reports nothing more, not even the end.
func (v *service) comesUp(so *sockets) bool {
	const first, last = 5 * time.Millisecond, 200 * time.Millisecond
	for wait := first; ; wait = min(2*wait, last) {
		if up, same := so.state(v.namespace, v.device); up || !same {
			return same
		}
		if wait == first {
			v.lost() // nobody else will set it up again
		}
		select {
		case <-v.stopped:
			return false
		case <-time.After(wait):
		}
		v.mu.Lock()
		mine := v.sockets == so
		v.mu.Unlock()
		if !mine {
			return false
		}
	}
}

// reopen tries until the sockets are open; it is false when the service is to stop.
func (v *service) reopen() bool {
	const first, last = 10 * time.Millisecond, time.Second
	for wait := first; ; wait = min(2*wait, last) {
		select {
		case <-v.stopped:
			return false
		case <-time.After(wait):
		}
		// Apply may have been faster; then this is nothing.
		if err := v.ready(); err == nil {
			v.log.Info("DHCP device is back", "network", v.network, "device", v.device)
			return true
		}
	}
}

func (v *service) stoppedNow() bool {
	select {
	case <-v.stopped:
		return true
	default:
		return false
	}
}

// sockets are the two sockets of a service.
type sockets struct {
	// packet receives frames from the device and sends them, whatever the kernel thinks of
	// their addresses.
	packet  *os.File
	conn    syscall.RawConn
	ifindex int
	ns      nsID
	// udp is bound to port 67, so that the kernel takes it for open and sends no ICMP
	// errors; what it receives is dropped by a filter. It sends replies to relays, which
	// the kernel routes.
	udp int
}

// openSockets opens the sockets of a device inside its namespace.
func openSockets(namespace, device string) (*sockets, error) {
	so := &sockets{udp: -1, ns: namespaceID(namespace)}
	err := kernel.Do(namespace, func() error { return so.open(device) })
	if err != nil {
		so.close()
		return nil, err
	}
	return so, nil
}

// nsID tells a namespace from another of the same name.
type nsID struct{ dev, ino uint64 }

// namespaceID is that of the named namespace, zero if there is none.
func namespaceID(name string) nsID {
	var st unix.Stat_t
	if unix.Stat(filepath.Join(kernel.Dir, name), &st) != nil {
		return nsID{}
	}
	return nsID{uint64(st.Dev), st.Ino}
}

func (so *sockets) open(device string) error {
	var err error
	if so.ifindex, _, err = deviceNow(device); err != nil {
		return err
	}
	if so.udp, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0); err != nil {
		return os.NewSyscallError("socket", err)
	}
	if err := unix.SetsockoptSockFprog(so.udp, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, program(dropAll)); err != nil {
		return os.NewSyscallError("attach filter", err)
	}
	if err := unix.SetsockoptInt(so.udp, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return os.NewSyscallError("reuse address", err)
	}
	if err := unix.Bind(so.udp, &unix.SockaddrInet4{Port: serverPort}); err != nil {
		return os.NewSyscallError("bind port 67", err)
	}
	// No protocol yet: frames from before the filter must not get in.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	// With a non-blocking descriptor, the file uses the poller.
	so.packet = os.NewFile(uintptr(fd), device)
	if so.conn, err = so.packet.SyscallConn(); err != nil {
		return err
	}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, program(requests)); err != nil {
		return os.NewSyscallError("attach filter", err)
	}
	// Room for a burst of a thousand clients. It is a limit; nothing is allocated. Without
	// CAP_NET_ADMIN the ordinary limit has to do.
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 4<<20)
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 2<<20)
	err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_IP), Ifindex: so.ifindex})
	return os.NewSyscallError("bind "+device, err)
}

func htons(n uint16) uint16 { return n<<8 | n>>8 }

// deviceNow finds the device of the thread's namespace that has the name now.
func deviceNow(name string) (index int, up bool, err error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, false, os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return 0, false, err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, ifr); err != nil {
		return 0, false, os.NewSyscallError("device "+name, err)
	}
	index = int(ifr.Uint32())
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, ifr); err != nil {
		return 0, false, os.NewSyscallError("device "+name, err)
	}
	return index, ifr.Uint16()&unix.IFF_UP != 0, nil
}

// state reports whether the sockets belong to the device that has the name now, and
// whether that is up.
func (so *sockets) state(namespace, device string) (up, same bool) {
	var index int
	err := kernel.Do(namespace, func() (err error) {
		index, up, err = deviceNow(device)
		return err
	})
	same = err == nil && index == so.ifindex
	return up && same, same
}

// interrupt ends serve. The descriptors stay valid until its goroutine closes them: a
// number that is closed under its hands might belong to another file already.
func (so *sockets) interrupt() { _ = so.packet.SetReadDeadline(time.Unix(1, 0)) }

// dropped is how many frames the kernel had no room for since it was last asked.
func (so *sockets) dropped() (n uint64) {
	_ = so.conn.Control(func(fd uintptr) {
		if st, err := unix.GetsockoptTpacketStats(int(fd), unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil {
			n = uint64(st.Drops)
		}
	})
	return n
}

func (so *sockets) close() {
	if so.packet != nil {
		so.packet.Close()
	}
	if so.udp >= 0 {
		unix.Close(so.udp)
		so.udp = -1
	}
}

// dropAll lets nothing in.
var dropAll = []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: 0}}

// requests lets in IPv4 UDP to port 67 with op 1 (BOOTREQUEST), unfragmented. It does
// not look at checksums: guests and bridges leave them to hardware that is not there.
var requests = []unix.SockFilter{
	{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_ABS, K: 12},
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.ETH_P_IP, Jf: 10},
	{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: 23},
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.IPPROTO_UDP, Jf: 8},
	{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_ABS, K: 20},
	{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, K: 0x3fff, Jt: 6},
	{Code: unix.BPF_LDX | unix.BPF_B | unix.BPF_MSH, K: 14},
	{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_IND, K: 14 + 2},
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: serverPort, Jf: 3},
	{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_IND, K: 14 + 8},
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: 1, Jf: 1},
	{Code: unix.BPF_RET | unix.BPF_K, K: 0xffff},
	{Code: unix.BPF_RET | unix.BPF_K, K: 0},
}

func program(f []unix.SockFilter) *unix.SockFprog {
	return &unix.SockFprog{Len: uint16(len(f)), Filter: &f[0]}
}
