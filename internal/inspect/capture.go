package inspect

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/google/uuid"

	"weft/internal/capture"
	"weft/internal/model"
	"weft/internal/store"
	"weft/internal/trace"
)

// CapturePath is where packets are asked for: GET with q, which names a port, and, if wanted, filter, snap,
// count, for and format. It answers trace.CaptureLine by line, or a pcap file with format=pcap.
const CapturePath = "/weft/v1/capture"

const (
	// maxCaptures is how many may run through a server at a time.
	maxCaptures = 16
	// defaultSnap is what is kept of a packet unless something else is asked for, and the most.
	defaultSnap = 1 << 16
	// maxCaptureTime is when a capture ends that is still wanted.
	maxCaptureTime = time.Hour
	// captureRetries is how long a host may be away, on its way to another server, say.
	captureRetries = 10 * time.Second
	// awayAsks is how often it is looked whether a port without a device is still to have one.
	awayAsks = time.Second
)

// captureRequest is what is asked for.
type captureRequest struct {
	filter string
	snap   uint32
	count  uint64
	time   time.Duration
	pcap   bool
}

func readCaptureRequest(v url.Values) (captureRequest, error) {
	q := captureRequest{filter: v.Get("filter"), snap: defaultSnap, time: maxCaptureTime}
	var err error
	if s := v.Get("snap"); s != "" {
		n, e := strconv.ParseUint(s, 10, 32)
		if e != nil || n < 14 || n > defaultSnap {
			err = errors.Join(err, fmt.Errorf("snap: %q is no number from 14 to %d", s, defaultSnap))
		}
		q.snap = uint32(n)
	}
	if s := v.Get("count"); s != "" {
		n, e := strconv.ParseUint(s, 10, 63)
		if e != nil || n == 0 {
			err = errors.Join(err, fmt.Errorf("count: %q is no number from 1 on", s))
		}
		q.count = n
	}
	if s := v.Get("for"); s != "" {
		d, e := time.ParseDuration(s)
		if e != nil || d <= 0 || d > maxCaptureTime {
			err = errors.Join(err, fmt.Errorf("for: %q is no time up to %s, such as 30s", s, maxCaptureTime))
		}
		q.time = d
	}
	switch f := v.Get("format"); f {
	case "", "lines":
	case "pcap":
		q.pcap = true
	default:
		err = errors.Join(err, fmt.Errorf("format: %q is neither lines nor pcap", f))
	}
	if err == nil {
		_, err = capture.Compile(q.filter, q.snap)
	}
	return q, err
}

// capturing is a capture under way.
type capturing struct {
	in   *Inspector
	port *model.Port
	captureRequest
	query trace.CaptureQuery
	out   *stream
	// sent counts the packets.
	sent, dropped uint64
	// devices and away are of the last answer.
	devices int
	away    bool
}

// capture answers a GET of CapturePath.
func (in *Inspector) capture(w http.ResponseWriter, r *http.Request) {
	req, err := readCaptureRequest(r.URL.Query())
	var port *model.Port
	if err == nil {
		in.o.Cloud.Read(func(rd store.Reader) { port, err = find(rd, r.URL.Query().Get("q")) })
	}
	if err == nil && port.Binding.Host == "" {
		err = unable{http.StatusConflict, fmt.Sprintf("port %s is bound to no host: there is nothing to listen to yet", port.ID)}
	}
	if err != nil {
		in.refuse(w, err)
		return
	}
	select {
	case in.capturing <- struct{}{}:
		defer func() { <-in.capturing }()
	default:
		in.refuse(w, unable{http.StatusServiceUnavailable, fmt.Sprintf("%d captures run through this server, and no more may", maxCaptures)})
		return
	}
	c := &capturing{in: in, port: port, captureRequest: req,
		query: trace.CaptureQuery{ID: uuid.NewString(), Begin: true, Filter: req.filter, Snap: req.snap, Who: in.who(r)}}
	log := in.o.Log.With("capture", c.query.ID, "who", c.query.Who, "port", port.ID, "host", port.Binding.Host)
	begin := time.Now()
	first, err := c.ask(r.Context(), 0)
	if err == nil && first.End != "" {
		err = errors.New(first.End)
	}
	if err != nil {
		log.Info("capture refused", "err", err)
		in.refuse(w, unable{http.StatusConflict, err.Error()})
		return
	}
	log.Info("capture begins", "filter", req.filter, "device", first.Device, "snap", req.snap, "count", req.count, "for", req.time)
	defer c.stop(r.Context())
	reason := c.run(w, r, first)
	log.Info("capture ends", "reason", reason, "packets", c.sent, "dropped", c.dropped, "after", time.Since(begin).Round(time.Millisecond))
}

// who names the caller, for the log.
func (in *Inspector) who(r *http.Request) string {
	if in.o.Who == nil {
		return r.RemoteAddr
	}
	return in.o.Who(r) + " at " + r.RemoteAddr
}

// run sends packets until there is a reason to end.
func (c *capturing) run(w http.ResponseWriter, r *http.Request, first trace.Captured) (reason string) {
	kind := "application/x-ndjson"
	if c.pcap {
		kind = "application/vnd.tcpdump.pcap"
	}
	ctx, cancel, out := c.in.newStream(w, r, kind)
	defer cancel()
	c.out = out
	timed, cancelTimed := context.WithTimeout(ctx, c.time)
	defer cancelTimed()
	if err := c.begin(first); err != nil {
		return err.Error()
	}
	for got := first; ; {
		done, err := c.send(got)
		switch {
		case err != nil:
			return err.Error()
		case done:
			reason = "there are as many packets as were asked for"
		case got.End != "":
			reason = got.End
		default:
			if got, err = c.next(timed); err == nil {
				continue
			}
			switch {
			case ctx.Err() != nil:
				reason = "the client has left, or the server stops"
			case timed.Err() != nil:
				reason = "the time is over"
			default:
				reason = err.Error()
			}
		}
		c.end(reason)
		return reason
	}
}

// next asks for more packets; a host that goes to another server is waited for.
func (c *capturing) next(ctx context.Context) (trace.Captured, error) {
	if err := c.stays(); err != nil {
		return trace.Captured{}, err
	}
	wait := streamSilence
	if c.away {
		wait = awayAsks // it may be for good
	}
	for since := time.Now(); ; {
		got, err := c.ask(ctx, wait)
		if err == nil || ctx.Err() != nil || time.Since(since) > captureRetries {
			return got, err
		}
		select {
		case <-ctx.Done():
			return got, ctx.Err()
		case <-time.After(captureRetries / 20):
		}
	}
}

// stays says why no more packets can come from where the port was bound.
func (c *capturing) stays() error {
	var now *model.Port
	c.in.o.Cloud.Read(func(r store.Reader) {
		if e := r.Port(c.port.ID); e != nil {
			now = e.Value
		}
	})
	switch {
	case now == nil:
		return errors.New("the port is deleted")
	case now.Binding.Host != "" && now.Binding.Host != c.port.Binding.Host:
		return fmt.Errorf("the port has moved to host %s", now.Binding.Host)
	}
	return nil
}

// ask asks the host once.
func (c *capturing) ask(ctx context.Context, wait time.Duration) (trace.Captured, error) {
	c.query.Wait = wait
	var got trace.Captured
	err := c.in.question(ctx, c.port.Binding.Host, trace.Query{PortID: c.port.ID, NetworkID: c.port.NetworkID, Capture: &c.query}, wait, &got)
	c.query.Begin = false
	return got, err
}

// stop makes the host stop at once.
func (c *capturing) stop(ctx context.Context) {
	c.query.Stop = true
	if _, err := c.ask(context.WithoutCancel(ctx), 0); err != nil {
		c.in.o.Log.Info("the host could not be told that the capture has ended; it will notice by itself", "capture", c.query.ID, "err", err)
	}
}

// begin sends what comes before the packets.
func (c *capturing) begin(first trace.Captured) error {
	if c.pcap {
		return c.out.send(capture.AppendHeader(nil, c.snap))
	}
	return c.out.send(line(trace.CaptureLine{Begin: &trace.CaptureBegin{PortID: c.port.ID, Host: c.port.Binding.Host,
		Device: first.Device, Namespace: first.Namespace, Snap: c.snap}}))
}

// send sends what a host has answered, as far as it is wanted; done when that is all.
func (c *capturing) send(got trace.Captured) (done bool, err error) {
	var b []byte
	switch {
	case c.pcap:
	case got.Dropped > c.dropped:
		b = line(trace.CaptureLine{Dropped: got.Dropped})
	case len(got.Packets) == 0:
		b = []byte("\n")
	}
	if note := c.moved(got); note != "" && !c.pcap {
		b = append(b, line(trace.CaptureLine{Note: note})...)
	}
	c.dropped, c.devices, c.away = got.Dropped, got.Devices, got.Away
	for i := range got.Packets {
		p := &got.Packets[i]
		if c.pcap {
			b = capture.AppendPacket(b, capture.Packet{At: p.At, Len: p.Len, Data: p.Data})
		} else {
			b = append(b, line(trace.CaptureLine{Packet: p})...)
		}
		c.sent++
		c.query.After = got.First + uint64(i)
		if done = c.sent == c.count; done {
			break
		}
	}
	return done, c.out.send(b)
}

// moved says what has become of the device since the last answer.
func (c *capturing) moved(got trace.Captured) string {
	switch {
	case got.Away && !c.away:
		return "device " + got.Device + " is gone; the capture goes on when the port has one again"
	case !got.Away && c.devices > 0 && got.Devices > c.devices:
		return "the port has device " + got.Device + " again; the capture goes on"
	}
	return ""
}

// end sends what comes after the packets.
func (c *capturing) end(reason string) {
	if !c.pcap {
		_ = c.out.send(line(trace.CaptureLine{End: &trace.CaptureEnd{Reason: reason, Packets: c.sent, Dropped: c.dropped}})) // or he has left
	}
}

// question asks a host something of which the answer may take a while.
func (in *Inspector) question(ctx context.Context, host model.HostName, q trace.Query, wait time.Duration, answer any) error {
	query, err := json.Marshal(q)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, wait+in.o.Timeout)
	defer cancel()
	body, err := in.o.Hosts.Evidence(ctx, host, query)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, answer); err != nil {
		return fmt.Errorf("answer of host %s cannot be read: %w", host, err)
	}
	return nil
}
