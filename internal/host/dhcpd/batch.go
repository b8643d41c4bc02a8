package dhcpd

import (
	"errors"
	"net/netip"
	"runtime"
	"time"
	"unsafe"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/sys/unix"

	"weft/internal/model"
	"weft/internal/plan/dhcp"
)

const (
	// batchSize is the number of messages read and written by one system call.
	batchSize = 32
	// frameSize is room for a frame. No client sends longer requests, and replies are made
	// to fit into 1500 octets.
	frameSize = 2048
)

// mmsghdr is the kernel's struct mmsghdr.
type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
}

// batch is the memory for one round of messages. A service has one only while it works.
type batch struct {
	rx, tx, relay queue
	req, reply    dhcpv4.DHCPv4
	notes         []note
}

// queue is a vector of messages.
type queue struct {
	n    int
	buf  [batchSize][]byte
	iov  [batchSize]unix.Iovec
	msg  [batchSize]mmsghdr
	to   [batchSize]unix.RawSockaddrInet4
	from [batchSize]pktinfo
}

// pktinfo is a control message that tells the kernel the source address, IP_PKTINFO.
type pktinfo struct {
	hdr unix.Cmsghdr
	inf unix.Inet4Pktinfo
	_   [4]byte // to a multiple of 8, as CMSG_SPACE
}

// note is what is remembered of one message once its reply is under way.
type note struct {
	mac  model.MAC
	port model.PortID
	t    Transaction
}

func newBatch() *batch {
	b := new(batch)
	for _, q := range []*queue{&b.rx, &b.tx, &b.relay} {
		mem := make([]byte, batchSize*frameSize)
		for i := range q.msg {
			q.buf[i] = mem[i*frameSize : (i+1)*frameSize : (i+1)*frameSize]
			q.iov[i].Base = &q.buf[i][0]
			q.msg[i].hdr.Iov = &q.iov[i]
			q.msg[i].hdr.SetIovlen(1)
		}
	}
	for i := range b.relay.msg {
		h, c := &b.relay.msg[i].hdr, &b.relay.from[i]
		h.Name = (*byte)(unsafe.Pointer(&b.relay.to[i]))
		h.Namelen = unix.SizeofSockaddrInet4
		h.Control = (*byte)(unsafe.Pointer(c))
		h.SetControllen(int(unsafe.Sizeof(*c)))
		c.hdr.Level, c.hdr.Type = unix.IPPROTO_IP, unix.IP_PKTINFO
		c.hdr.SetLen(unix.CmsgLen(unix.SizeofInet4Pktinfo))
	}
	b.notes = make([]note, 0, batchSize)
	return b
}

// push takes the frame or message in the next free buffer, of n octets, into the queue.
func (q *queue) push(n int) {
	q.iov[q.n].SetLen(n)
	q.n++
}

// receive reads as many messages as there are, up to the batch.
func (q *queue) receive(fd int) (int, error) {
	for i := range q.iov {
		q.iov[i].SetLen(frameSize)
	}
	n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(&q.msg[0])), batchSize, unix.MSG_DONTWAIT, 0, 0)
	runtime.KeepAlive(q)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// flush sends the queue. A message that cannot be sent is counted and left out: its
// client asks again.
func (q *queue) flush(fd int, v *service) {
	for first := 0; first < q.n; {
		n, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&q.msg[first])), uintptr(q.n-first), unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case 0:
			first += int(n)
		case unix.EINTR:
		default:
			v.counters.unsent.Add(1)
			v.totals.unsent.Add(1)
			first++
		}
	}
	runtime.KeepAlive(q)
	q.n = 0
}

// serve answers messages until the socket fails.
func (v *service) serve(so *sockets) error {
	for {
		var b *batch
		var n int
		var err error
		rerr := so.conn.Read(func(fd uintptr) bool {
			b = v.pool.Get().(*batch)
			for {
				if n, err = b.rx.receive(int(fd)); !errors.Is(err, unix.EINTR) {
					break
				}
			}
			if errors.Is(err, unix.EAGAIN) {
				// A batch is too much to hold while sleeping.
				v.pool.Put(b)
				b = nil
				return false
			}
			if err == nil {
				v.round(b, n, int(fd), so.udp)
			}
			return true
		})
		if b != nil {
			v.pool.Put(b)
		}
		if rerr != nil {
			return rerr
		}
		if err != nil {
			return err
		}
	}
}

// round answers the n messages of a batch.
func (v *service) round(b *batch, n, packetFD, udpFD int) {
	start := time.Now()
	t := v.table.Load()
	b.notes = b.notes[:0]
	for i := range n {
		v.one(b, t, b.rx.buf[i][:min(int(b.rx.msg[i].len), frameSize)])
	}
	b.tx.flush(packetFD, v)
	b.relay.flush(udpFD, v)
	took := time.Since(start)
	v.history.add(b.notes, start, took)
	v.heard.tell()
	// Do not hold on to the octets of others through the maps.
	clear(b.req.Options)
	clear(b.reply.Options)
}

// one answers one frame, into the batch's queues.
func (v *service) one(b *batch, t *dhcp.Table, frame []byte) {
	msg := payload(frame)
	if msg == nil || dhcp.Decode(msg, &b.req) != nil {
		v.counters.reasons[dhcp.Malformed].Add(1)
		v.totals.note(Transaction{Reason: dhcp.Malformed})
		return
	}
	nt := note{mac: macOf(&b.req)}
	if nt.mac == probeMAC {
		v.hear(XID(b.req.TransactionID))
		return
	}
	a := t.Answer(&b.req, &b.reply)
	v.counters.reasons[a.Reason].Add(1)
	nt.t = Transaction{XID: XID(b.req.TransactionID), Reason: a.Reason, Asked: a.Asked}
	if id := b.req.Options[54]; a.Reason == dhcp.OtherServer && len(id) == 4 {
		nt.t.Server = netip.AddrFrom4([4]byte(id))
	}
	if k := b.req.Options[53]; len(k) == 1 {
		nt.t.Message = MessageType(k[0])
	}
	if a.Lease != nil {
		nt.port = a.Lease.PortID
	}
	if a.Reply != nil {
		left := v.enqueue(b, &a)
		nt.t.Reply, nt.t.Left = MessageType(a.Reply.Options[53][0]), left
		nt.t.To = a.Dest.Addr
		if a.Reply.YourIPAddr != nil {
			nt.t.Given = a.Lease.Addr
		}
	}
	v.totals.note(nt.t)
	b.notes = append(b.notes, nt)
}

func macOf(m *dhcpv4.DHCPv4) (mac model.MAC) {
	copy(mac[:], m.ClientHWAddr)
	return mac
}

// enqueue writes a reply into the queue for its way.
func (v *service) enqueue(b *batch, a *dhcp.Answer) (left []uint8) {
	if a.Dest.Way == dhcp.ToRelay {
		q := &b.relay
		out, left := dhcp.Append(q.buf[q.n][:0], a.Reply, a.Limit)
		q.to[q.n] = unix.RawSockaddrInet4{Family: unix.AF_INET, Port: htons(serverPort), Addr: a.Dest.Addr.As4()}
		q.from[q.n].inf.Spec_dst = a.Dest.Source.As4()
		if len(out) <= frameSize {
			q.push(len(out))
		}
		return left
	}
	q := &b.tx
	frame, left := dhcp.Append(q.buf[q.n][:headersLen], a.Reply, a.Limit)
	if len(frame) > frameSize {
		return left
	}
	to := a.Dest.MAC
	if a.Dest.Way == dhcp.ToAll {
		to = model.MAC{255, 255, 255, 255, 255, 255}
	}
	seal(frame, v.mac, to, a.Dest.Source, a.Dest.Addr)
	q.push(len(frame))
	return left
}
