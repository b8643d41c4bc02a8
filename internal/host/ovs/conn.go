package ovs

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"weft/internal/host/openflow"
)

// handshakeTimeout bounds hello and features; a switch that is alive needs a millisecond.
const handshakeTimeout = 5 * time.Second

// missSendLen is how much the controller wants of packets that no flow says a length for; there are none.
const missSendLen = 128

// errClosed is the fault of a call whose connection went away.
var errClosed = errors.New("the bridge closed the connection")

// errReplaced is why a connection is closed when its bridge has made another.
var errReplaced = errors.New("the bridge connected again")

// conn is one OpenFlow connection of a bridge. Calls are made one at a time.
type conn struct {
	net  net.Conn
	r    *bufio.Reader
	dpid uint64

	write sync.Mutex // serialises echo replies with calls
	calls sync.Mutex // one call at a time
	xid   uint32

	mu     sync.Mutex
	active *call
	closed chan struct{}
	err    error
}

// call is a request that waits for its answers.
type call struct {
	first, last uint32
	since       uint32
	errs        map[uint32]*openflow.Error
	flows       []openflow.FlowStats
	ports       []openflow.PortDesc
	counters    []openflow.PortStats
	counts      []uint32
	tables      []openflow.TableStats
	done        chan struct{}
}

// accept does the handshake of a new connection.
func accept(ctx context.Context, nc net.Conn) (*conn, error) {
	c := &conn{net: nc, r: bufio.NewReaderSize(nc, 1<<16), closed: make(chan struct{}), xid: 1}
	stop := context.AfterFunc(ctx, func() { _ = nc.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := nc.SetDeadline(time.Now().Add(handshakeTimeout)); err != nil {
		return nil, err
	}
	b := openflow.Encode(nil, 1, &openflow.Hello{Versions: 1 << openflow.Version})
	if _, err := nc.Write(b); err != nil {
		return nil, err
	}
	for {
		_, m, err := c.read()
		if err != nil {
			return nil, err
		}
		switch m := m.(type) {
		case *openflow.Hello:
			if m.Versions&(1<<openflow.Version) == 0 {
				return nil, fmt.Errorf("the bridge speaks OpenFlow versions %#x, not 1.4", m.Versions)
			}
			if _, err := nc.Write(openflow.Encode(nil, 2, &openflow.FeaturesRequest{})); err != nil {
				return nil, err
			}
		case *openflow.FeaturesReply:
			c.dpid, c.xid = m.DatapathID, 3
			// By default no fragment has ports or types for flows to match: it would pass
			// by whoever may not be a DHCP server or router. So the first one has. A bridge that
			// was called (see reach) sends packets only to who wants some of each.
			if _, err := nc.Write(openflow.Encode(nil, 3, &openflow.SetConfig{Flags: openflow.FirstFragmentMatches, MissSendLen: missSendLen})); err != nil {
				return nil, err
			}
			return c, nc.SetDeadline(time.Time{})
		case *openflow.EchoRequest:
			if _, err := nc.Write(openflow.Encode(nil, 0, &openflow.EchoReply{Data: m.Data})); err != nil {
				return nil, err
			}
		case *openflow.Error:
			return nil, m
		}
	}
}

// read reads one message.
func (c *conn) read() (uint32, openflow.Message, error) {
	header, err := c.r.Peek(openflow.HeaderLen)
	if err != nil {
		return 0, nil, err
	}
	n, err := openflow.Length(header)
	if err != nil {
		return 0, nil, err
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(c.r, b); err != nil {
		return 0, nil, err
	}
	return openflow.Decode(b)
}

// serve reads until the connection ends, and answers echo requests; what comes out of tunnels for the
// controller is for probes.
func (c *conn) serve(probes *probes) error {
	for {
		xid, m, err := c.read()
		if err != nil {
			c.close(err)
			return err
		}
		switch m := m.(type) {
		case *openflow.EchoRequest:
			err = c.send(openflow.Encode(nil, xid, &openflow.EchoReply{Data: m.Data}))
		case *openflow.Error, *openflow.BarrierReply, *openflow.FlowStatsReply, *openflow.AggregateReply, *openflow.TableStatsReply, *openflow.PortDescReply, *openflow.PortStatsReply:
			c.answer(xid, m)
		case *openflow.PacketIn:
			probes.take(c, m)
		}
		// Anything else (port status) tells nothing that OVSDB does not.
		if err != nil {
			c.close(err)
			return err
		}
	}
}

// answer hands an answer to the call that waits for it.
func (c *conn) answer(xid uint32, m openflow.Message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	a := c.active
	// The range may wrap around.
	if a == nil || xid-a.since > a.last-a.since {
		return
	}
	finished := false
	switch m := m.(type) {
	case *openflow.Error:
		if a.errs == nil {
			a.errs = map[uint32]*openflow.Error{}
		}
		if a.errs[xid] == nil {
			a.errs[xid] = m
		}
	case *openflow.BarrierReply:
		finished = xid == a.last
	case *openflow.FlowStatsReply:
		a.flows = append(a.flows, m.Flows...)
	case *openflow.AggregateReply:
		a.counts = append(a.counts, m.Flows)
	case *openflow.TableStatsReply:
		a.tables = append(a.tables, m.Tables...)
	case *openflow.PortDescReply:
		a.ports = append(a.ports, m.Ports...)
	case *openflow.PortStatsReply:
		a.counters = append(a.counters, m.Ports...)
	}
	if finished {
		c.active = nil
		close(a.done)
	}
}

func (c *conn) close(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return
	}
	c.err = errors.Join(errClosed, err)
	close(c.closed)
	_ = c.net.Close()
}

// replaced reports whether the connection ended because its bridge has made another.
func (c *conn) replaced() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return errors.Is(c.err, errReplaced)
}

func (c *conn) send(b []byte) error {
	c.write.Lock()
	defer c.write.Unlock()
	if err := c.net.SetWriteDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	_, err := c.net.Write(b)
	return err
}

// call sends messages with consecutive transaction IDs and a barrier after them, and
// waits for the barrier. What the switch complained of is in errs, by transaction ID;
// since, if not 0, is an earlier one from which on complaints are heard.
func (c *conn) call(ctx context.Context, since uint32, size int, ms func(i int, xid uint32) openflow.Message, n int) (*call, error) {
	c.calls.Lock()
	defer c.calls.Unlock()
	a := &call{first: c.xid + 1, last: c.xid + 1 + uint32(n), done: make(chan struct{})}
	a.since = a.first
	if since != 0 {
		a.since = since
	}
	c.xid = a.last
	buf := make([]byte, 0, size)
	for i := range n {
		xid := a.first + uint32(i)
		buf = openflow.Encode(buf, xid, ms(i, xid))
	}
	buf = openflow.Encode(buf, a.last, &openflow.BarrierRequest{})
	c.mu.Lock()
	if c.err != nil {
		defer c.mu.Unlock()
		return nil, c.err
	}
	c.active = a
	c.mu.Unlock()
	if err := c.send(buf); err != nil {
		c.close(err)
		return nil, c.err // closed before, it may be for another reason
	}
	select {
	case <-a.done:
		return a, nil
	case <-c.closed:
		return nil, c.err
	case <-ctx.Done():
		// The answers of this call must not be taken for those of the next.
		c.close(ctx.Err())
		return nil, ctx.Err()
	}
}

// bundle does all flow mods at once or none. When some are refused, refused tells
// which, by index, and nothing has changed.
//
// A bundle that is asked to commit does so with what has come to be in it: a message that the
// switch would not even add does not keep it from doing the others. So the switch is asked
// to commit when it has acknowledged every one. One message alone needs no bundle.
func (c *conn) bundle(ctx context.Context, mods []openflow.Message) (refused map[int]*openflow.Error, err error) {
	const flags = openflow.BundleAtomic | openflow.BundleOrdered
	// Any ID does: there is one bundle at a time on a connection.
	const id = 1
	control := func(t openflow.BundleType) func(int, uint32) openflow.Message {
		return func(int, uint32) openflow.Message { return &openflow.BundleControl{ID: id, Type: t, Flags: flags} }
	}
	fail := func(err error) (map[int]*openflow.Error, error) {
		return nil, fmt.Errorf("bundle of %d flow changes: %w", len(mods), err)
	}
	if len(mods) == 1 {
		one, err := c.call(ctx, 0, 1024, func(int, uint32) openflow.Message { return mods[0] }, 1)
		if err != nil {
			return fail(err)
		}
		if e := one.errs[one.first]; e != nil {
			return map[int]*openflow.Error{0: e}, nil
		}
		return nil, nil
	}
	adds, err := c.call(ctx, 0, 96+200*len(mods), func(i int, xid uint32) openflow.Message {
		if i == 0 {
			return control(openflow.BundleOpen)(0, 0)
		}
		return &openflow.BundleAdd{ID: id, Flags: flags, XID: xid, Message: mods[i-1]}
	}, len(mods)+1)
	if err != nil {
		return fail(err)
	}
	end := openflow.BundleCommit
	if len(adds.errs) > 0 {
		end = openflow.BundleDiscard
	}
	// What fails only at the commit is told of under the number of the message that was added.
	ended, err := c.call(ctx, adds.first, 64, control(end), 1)
	if err != nil {
		return fail(err)
	}
	refused = map[int]*openflow.Error{}
	for _, errs := range []map[uint32]*openflow.Error{adds.errs, ended.errs} {
		for xid, e := range errs {
			if i := int(xid - adds.first); i >= 1 && i <= len(mods) {
				refused[i-1] = e
			} else {
				err = e
			}
		}
	}
	if len(refused) == 0 && err != nil {
		return fail(err)
	}
	return refused, nil
}

// dump reads the flows that the requests ask for.
func (c *conn) dump(ctx context.Context, requests ...openflow.Message) ([]openflow.FlowStats, error) {
	a, err := c.call(ctx, 0, 128*len(requests), func(i int, _ uint32) openflow.Message { return requests[i] }, len(requests))
	if err != nil {
		return nil, fmt.Errorf("dump flows: %w", err)
	}
	for _, e := range a.errs {
		return nil, fmt.Errorf("dump flows: %w", e)
	}
	return a.flows, nil
}

// count counts the flows that each request would get.
func (c *conn) count(ctx context.Context, requests ...*openflow.FlowStatsRequest) ([]uint32, error) {
	a, err := c.call(ctx, 0, 128*len(requests), func(i int, _ uint32) openflow.Message { return (*openflow.AggregateRequest)(requests[i]) }, len(requests))
	if err != nil {
		return nil, fmt.Errorf("count flows: %w", err)
	}
	for _, e := range a.errs {
		return nil, fmt.Errorf("count flows: %w", e)
	}
	if len(a.counts) != len(requests) {
		return nil, fmt.Errorf("count flows: %d answers to %d questions", len(a.counts), len(requests))
	}
	return a.counts, nil
}

// ports reads the numbers of the bridge's ports, by name.
func (c *conn) ports(ctx context.Context) (map[string]uint32, error) {
	list, err := c.portDescs(ctx)
	if err != nil {
		return nil, err
	}
	numbers := make(map[string]uint32, len(list))
	for _, p := range list {
		numbers[p.Name] = p.Number
	}
	return numbers, nil
}

// portDescs reads the bridge's ports.
func (c *conn) portDescs(ctx context.Context) ([]openflow.PortDesc, error) {
	a, err := c.call(ctx, 0, 64, func(int, uint32) openflow.Message { return &openflow.PortDescRequest{} }, 1)
	if err != nil {
		return nil, fmt.Errorf("list ports: %w", err)
	}
	for _, e := range a.errs {
		return nil, fmt.Errorf("list ports: %w", e)
	}
	return a.ports, nil
}
