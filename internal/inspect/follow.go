package inspect

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"weft/internal/model"
	"weft/internal/store"
	"weft/internal/trace"
)

// FollowPath is where the life of a port, or of all of a VM, is asked for, as it goes on: GET with q. It answers
// trace.Event by line; an empty line now and then says that nothing has happened.
const FollowPath = "/weft/v1/trace/follow"

const (
	// maxFollows is how many may follow a port through a server at a time.
	maxFollows = 64
	// followOrders is how long an event waits for those before it, of other hosts.
	followOrders = 500 * time.Millisecond
	// maxPending bounds the events that wait.
	maxPending = 4096
	// maxTogether is how many ports of a VM are followed.
	maxTogether = 32
)

// serveFollow answers a GET of FollowPath.
func (in *Inspector) serveFollow(w http.ResponseWriter, r *http.Request) {
	f := &following{in: in, see: everything{}, ports: map[model.PortID]*followed{}, said: map[model.HostName]*hostSaid{}, heard: make(chan heardOf, 16)}
	if in.o.Sight != nil {
		f.see = in.o.Sight(r)
	}
	q := strings.TrimSpace(r.URL.Query().Get("q"))
	ports, err := in.seen(q, f.see)
	if err == nil && in.o.Changes == nil {
		err = unable{http.StatusNotImplemented, "this server tells of no changes"}
	}
	if err != nil {
		in.refuse(w, err)
		return
	}
	select {
	case in.following <- struct{}{}:
		defer func() { <-in.following }()
	default:
		in.refuse(w, unable{http.StatusServiceUnavailable, fmt.Sprintf("%d follow ports through this server, and no more may", maxFollows)})
		return
	}
	ctx, cancel, out := in.newStream(w, r, "application/x-ndjson")
	defer cancel()
	f.out = out
	log := in.o.Log.With("who", in.who(r), "port", ports[0].ID)
	if vm := ports[0].DeviceID; isID(vm, q) {
		f.vm = vm // then all of them are of it
		log = in.o.Log.With("who", in.who(r), "vm", vm)
	}
	for _, p := range ports {
		f.join(p)
	}
	log.Info("port is followed")
	begin := time.Now()
	err = f.run(ctx)
	log.Info("port is followed no more", "after", time.Since(begin).Round(time.Millisecond), "reason", err)
}

// following is one client who follows a port, or all ports of a VM.
type following struct {
	in *Inspector
	// vm is the VM whose ports are followed, and those that it gets; empty is one port alone.
	vm    string
	out   *stream
	see   Sight
	ports map[model.PortID]*followed
	// full: there was no room for a port of the VM, and that was said.
	full  bool
	said  map[model.HostName]*hostSaid
	heard chan heardOf

	pending []arrived
	// lost counts events for which there was no room.
	lost uint64
}

// followed is a port that is followed.
type followed struct {
	id      model.PortID
	network model.NetworkID
	// hosts: the client may see what happens inside hosts.
	hosts bool
	// last is the record as it was last seen; nil before.
	last *model.Port
	// asked are the hosts that are asked, each by a goroutine, with what ends it.
	asked map[model.HostName]context.CancelFunc
}

// arrived is an event that waits for its turn.
type arrived struct {
	trace.Event
	at time.Time
}

var errPortGone = errors.New("the port is deleted, or not the client's to see any more")

// run sends events until ctx ends or no port is left.
func (f *following) run(ctx context.Context) error {
	changes := f.in.o.Changes(ctx)
	silence := time.NewTicker(streamSilence)
	defer silence.Stop()
	gone := f.look(ctx)
	var turn <-chan time.Time // when what waits is looked at
	for {
		if turn == nil && (len(f.pending) > 0 || gone) {
			turn = time.After(f.patience())
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changes.C():
			if list, _ := changes.Changes(); f.concern(list) {
				gone = f.look(ctx)
			}
		case h := <-f.heard:
			f.hear(h)
		case <-turn:
			turn = nil
			if err := f.flush(gone); err != nil {
				return err
			}
			if gone {
				return errPortGone
			}
		case <-silence.C:
			if err := f.out.send([]byte("\n")); err != nil {
				return err
			}
		}
	}
}

// concern: some change may be one of a port, of where DHCP of its network is served, or of what is the VM's.
func (f *following) concern(list []store.Change) (concern bool) {
	f.in.o.Cloud.Read(func(r store.Reader) {
		concern = slices.ContainsFunc(list, func(c store.Change) bool {
			if c.Kind != model.KindPort {
				return false
			}
			for _, p := range f.ports {
				if c.ID == string(p.id) || c.Network == p.network {
					return true
				}
			}
			e := r.Port(model.PortID(c.ID))
			return f.vm != "" && e != nil && e.Value.DeviceID == f.vm
		})
	})
	return concern
}

// join begins to follow a port, if the client may see it.
func (f *following) join(p *model.Port) {
	if len(f.ports) == maxTogether {
		if !f.full {
			f.full = true
			f.add(true, trace.Event{At: f.in.o.Now(), Kind: trace.EventNote, Text: fmt.Sprintf("the VM has more than %d ports; the others are not followed", maxTogether)})
		}
		return
	}
	if ok, hosts := f.see.Port(p.ID); ok {
		f.ports[p.ID] = &followed{id: p.ID, network: p.NetworkID, hosts: hosts, asked: map[model.HostName]context.CancelFunc{}}
	}
}

// leave follows a port no more.
func (f *following) leave(p *followed, now time.Time, why string) {
	for _, cancel := range p.asked {
		cancel()
	}
	delete(f.ports, p.id)
	kind := trace.EventRecord
	if len(f.ports) == 0 {
		kind = trace.EventEnd
	}
	f.add(p.hosts, f.of(p, trace.Event{At: now.UTC(), Kind: kind, Text: why}))
}

// look compares the records with what they were, and sees to it that their hosts are asked. gone: no port is left.
func (f *following) look(ctx context.Context) (gone bool) {
	now := f.in.o.Now()
	records, hosts := map[model.PortID]*model.Port{}, map[model.PortID][]model.HostName{}
	var fresh []*model.Port
	f.in.o.Cloud.Read(func(r store.Reader) {
		if f.vm != "" {
			for _, e := range r.PortsOfDevice(f.vm) {
				if f.ports[e.Value.ID] == nil {
					fresh = append(fresh, e.Value)
				}
				hosts[e.Value.ID] = hostsAbout(r, e.Value)
				records[e.Value.ID] = e.Value
			}
		}
		for id := range f.ports {
			if e := r.Port(id); e != nil && records[id] == nil {
				records[id], hosts[id] = e.Value, hostsAbout(r, e.Value)
			}
		}
	})
	sortPorts(fresh)
	for _, p := range fresh {
		f.join(p)
	}
	for _, id := range slices.Sorted(maps.Keys(f.ports)) {
		p, rec := f.ports[id], records[id]
		if why := f.why(p, rec); why != "" {
			f.leave(p, now, why)
			continue
		}
		// What hosts do of a change comes after it, so the time is when it was made and not when it was seen.
		at := now
		if made := rec.UpdatedAt; made.Before(now) && now.Sub(made) < followOrders {
			at = made
		}
		for _, text := range recordChanges(p.last, rec, p.hosts) {
			f.add(p.hosts, f.of(p, trace.Event{At: at.UTC(), Kind: trace.EventRecord, Text: text}))
		}
		p.last = rec
		f.askOf(ctx, p, hosts[id])
	}
	return len(f.ports) == 0
}

// why says why a port with this record, or none, is followed no more; empty: it is.
func (f *following) why(p *followed, rec *model.Port) string {
	if rec == nil {
		return "the port is deleted"
	}
	if p.last != nil && p.last.Revision != rec.Revision {
		if ok, _ := f.see.Port(p.id); !ok {
			return "the port is not yours to see any more"
		}
	}
	if f.vm != "" && rec.DeviceID != f.vm {
		return "the port is not of the VM any more"
	}
	return ""
}

// hostsAbout are the hosts that have to do with a port: its own and those that serve its network's DHCP.
func hostsAbout(r store.Reader, p *model.Port) []model.HostName {
	hosts := []model.HostName{p.Binding.Host}
	for e := range r.PortsOf(p.NetworkID) {
		if e.Value.DeviceOwner == model.OwnerDHCP {
			hosts = append(hosts, e.Value.Binding.Host)
		}
	}
	return slices.DeleteFunc(hosts, func(h model.HostName) bool { return h == "" })
}

// askOf has these hosts asked about a port, and no others.
func (f *following) askOf(ctx context.Context, p *followed, hosts []model.HostName) {
	for _, h := range hosts {
		if p.asked[h] == nil {
			hctx, cancel := context.WithCancel(ctx)
			p.asked[h] = cancel
			go f.ask(hctx, p, h)
		}
	}
	for h, cancel := range p.asked {
		if !slices.Contains(hosts, h) {
			cancel()
			delete(p.asked, h)
		}
	}
}

// recordChanges says in what two records of a port differ; before may be nil.
func recordChanges(before, p *model.Port, hosts bool) (texts []string) {
	if before == nil {
		text := fmt.Sprintf("%s, admin state %s, %s, %s", p.Status, upDown(p.AdminStateUp), p.MAC, addresses(p))
		if hosts {
			text += ", " + boundTo(p)
		}
		return []string{"is " + text}
	}
	add := func(changed bool, format string, args ...any) {
		if changed {
			texts = append(texts, fmt.Sprintf(format, args...))
		}
	}
	add(hosts && (before.Binding.Host != p.Binding.Host || before.Binding.VIFType != p.Binding.VIFType), "%s", boundTo(p))
	add(before.AdminStateUp != p.AdminStateUp, "admin state %s", upDown(p.AdminStateUp))
	add(before.MAC != p.MAC, "MAC %s becomes %s", before.MAC, p.MAC)
	add(addresses(before) != addresses(p), "addresses become %s", addresses(p))
	add(before.DeviceID != p.DeviceID || before.DeviceOwner != p.DeviceOwner, "device %q of %q", p.DeviceID, p.DeviceOwner)
	add(!slices.Equal(before.SecurityGroups, p.SecurityGroups), "security groups become %s", strings.Join(p.SecurityGroups, ", "))
	add(before.Status != p.Status, "status %s becomes %s", before.Status, p.Status)
	return texts
}

func upDown(up bool) string {
	if up {
		return "up"
	}
	return "down"
}

func boundTo(p *model.Port) string {
	if p.Binding.Host == "" {
		return "bound to no host"
	}
	return fmt.Sprintf("bound to host %s (%s)", p.Binding.Host, p.Binding.VIFType)
}

func addresses(p *model.Port) string {
	if len(p.FixedIPs) == 0 {
		return "no address"
	}
	list := make([]string, len(p.FixedIPs))
	for i := range p.FixedIPs {
		list[i] = p.FixedIPs[i].Addr.String()
	}
	return strings.Join(list, ", ")
}

// of makes an event one of a port: it is said of which, where there may be several.
func (f *following) of(p *followed, e trace.Event) trace.Event {
	if f.vm != "" {
		e.PortID = p.id
	}
	return e
}

// add takes an event that is to be sent; hosts says whether the client may see what happens inside hosts.
func (f *following) add(hosts bool, e trace.Event) {
	if !hosts {
		if !e.Kind.Public() {
			return
		}
		e.Host = ""
	}
	if len(f.pending) >= maxPending {
		f.lost++
		return
	}
	f.pending = append(f.pending, arrived{e, f.in.o.Now()})
}

// patience is how long what came first has still to wait.
func (f *following) patience() time.Duration {
	if len(f.pending) == 0 {
		return followOrders
	}
	return max(followOrders-f.in.o.Now().Sub(f.pending[0].at), time.Millisecond)
}

// flush sends what has waited long enough, in the order of time.
func (f *following) flush(all bool) error {
	due := f.in.o.Now().Add(-followOrders)
	var now, later []arrived
	for _, a := range f.pending {
		if all || a.at.Before(due) || a.At.Before(due) {
			now = append(now, a)
		} else {
			later = append(later, a)
		}
	}
	slices.SortStableFunc(now, func(a, b arrived) int { return a.At.Compare(b.At) })
	if f.lost > 0 {
		now = append(now, arrived{Event: trace.Event{At: f.in.o.Now().UTC(), Kind: trace.EventNote, Text: fmt.Sprintf("%d events came faster than they could be sent, and are lost", f.lost)}})
		f.lost = 0
	}
	f.pending = later
	if len(now) == 0 {
		return nil
	}
	var b []byte
	for _, a := range now {
		b = append(b, line(a.Event)...)
	}
	return f.out.send(b)
}
