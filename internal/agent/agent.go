// Package agent runs the loop of a host: feed, view, plan, apply, report; and gathers
// evidence for trace.
//
// One goroutine owns everything: it waits for the feed, for the switch, for a retry or
// for a resync, then works out the whole plan from what is known now and applies it. So
// the order in which things happen does not matter, and nothing waits for an event that
// was lost. It removes nothing before it knows both what the cloud wants and what the
// machine holds. When it stops it leaves the machine as it is: traffic flows on.
//
// A port's facts are reported at the generation they were found: wired when the
// attachment is seen and the switch has acknowledged the flows, dhcp when the responder
// has the port's lease.
package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"weft/internal/capture"
	"weft/internal/doctor"
	"weft/internal/feed"
	"weft/internal/host"
	"weft/internal/metrics"
	"weft/internal/model"
	"weft/internal/plan"
	"weft/internal/plan/view"
	"weft/internal/trace"
)

// Machine is the host to obey; *host.Host is one.
type Machine interface {
	// Apply makes the machine equal to the plan, as far as it can.
	Apply(ctx context.Context, p plan.Plan, o host.Options) ([]host.Fault, host.Timing)
	// FlushZones makes the switch forget the connections of conntrack zones.
	FlushZones(ctx context.Context, zones []uint16) error
	// Observe says what is attached. It does not block.
	Observe() host.Observed
	// Changed is signalled after Observe would give another answer.
	Changed() <-chan struct{}
	// Probe looks closely at one port.
	Probe(ctx context.Context, q host.Query) host.Found
	// Seek looks for the interface of one port. It does not block.
	Seek(q host.Query) host.Found
	// TryTunnels looks at tunnels and sends probes through them.
	TryTunnels(ctx context.Context, t host.TunnelTrial) host.TunnelsFound
	// Drops counts the packets that flows of the integration bridge have dropped for a reason, by cookie.
	Drops(ctx context.Context) (map[uint64]uint64, error)
	// Conversation returns the last DHCP messages of a port, and what is closed at the next of any port.
	Conversation(id model.PortID) ([]host.Transaction, <-chan struct{})
	// Packets listens to the device of a port; ns is its namespace, if that is known.
	Packets(id model.PortID, ns string, filter capture.Program) (host.Packets, error)
	// Survey looks at the machine as a whole; Leftovers is the part of it that Remove can take away.
	Survey(ctx context.Context, q host.SurveyQuery) doctor.Machine
	Leftovers(q host.SurveyQuery) ([]doctor.Leftover, error)
	Remove(ctx context.Context, l doctor.Leftover) error
}

// Options are what an Agent is made of.
type Options struct {
	// Feed says where the server is. New fills in Host, Evidence and Log.
	Feed feed.ClientOptions
	// Machine is what the plan is applied to.
	Machine Machine
	// Settings shape the plan.
	Settings plan.Settings
	// Host is what the server is told of this host; New fills in the name, the agent's ID and
	// what is observed.
	Host model.Host
	// StateDir keeps the agent's ID and the last known cloud; empty keeps nothing.
	StateDir string
	// Resync is the interval at which everything is compared with the machine; 0 means 5 min.
	Resync time.Duration
	// RetryMin and RetryMax bound the wait before what failed is tried again; 0 means 100 ms and 15 s.
	RetryMin, RetryMax time.Duration
	// DiskGrace is how long an agent that has just started waits for the server before it
	// acts on the cloud it knew before; 0 means 1 s.
	DiskGrace time.Duration
	// Grace is how long a port that was ACTIVE stays so while the whole switch, or its network's
	// DHCP service, is in trouble; 0 means 10 s. A restart of the switch takes a second or
	// two; telling the cloud that every port went down and came up would help nobody.
	Grace time.Duration
	// Log may be nil.
	Log *slog.Logger
	// Metrics counts; nil counts for nobody.
	Metrics *metrics.Registry
}

// Agent is the loop of one host. Make one with New.
type Agent struct {
	o     Options
	log   *slog.Logger
	feed  *feed.Client
	start time.Time

	// The rest belongs to the goroutine of Run; what evidence reads is published in now.
	zones   zones
	tunnels tunnels
	memory  plan.Memory
	waiting string
	plugged map[model.PortID]plugged
	// here are the ports bound to this host, with their revisions; strange are the devices of those that
	// are plugged without being known here.
	here     map[model.PortID]int
	strange  map[model.PortID]string
	problems []string
	reports  reporter
	faults   faultTable
	// seen is the generation of the feed's state that the last pass worked on.
	seen uint64

	// busy is when the pass under way began, in Unix nanoseconds; 0 between passes.
	busy atomic.Int64

	mu sync.Mutex
	// told is what the server was last told of the switch: its version and interface types.
	told string
	now  published

	passes   metrics.Duration
	drops    dropCounts
	captures captures
	left     sightings
	events   events
}

// published is what the loop last did, for evidence. The values are not changed once published.
type published struct {
	view     view.View
	plan     plan.Plan
	cloud    view.Cloud
	reported map[model.PortID]sent
	faults   []trackedFault
	past     []pastFault
}

// plugged is an attachment as the loop first saw it.
type plugged struct {
	device string
	since  time.Time
	// wired: it has been; off: it is not any more.
	wired, off bool
}

// New makes an Agent. It reads the state directory and touches nothing else.
func New(o Options) (*Agent, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	setDefault(&o.Resync, 5*time.Minute)
	setDefault(&o.RetryMin, 100*time.Millisecond)
	setDefault(&o.RetryMax, 15*time.Second)
	setDefault(&o.DiskGrace, time.Second)
	setDefault(&o.Grace, 10*time.Second)
	if o.Machine == nil || o.Feed.Name == "" {
		return nil, errors.New("agent: no machine or no host name")
	}
	a := &Agent{o: o, log: o.Log, start: time.Now(),
		plugged: map[model.PortID]plugged{}, here: map[model.PortID]int{}, strange: map[model.PortID]string{}}
	a.o.Host.Name, a.o.Host.StartedAt = o.Feed.Name, a.start.UTC()
	if a.o.Host.AgentID == "" {
		id, err := agentID(o.StateDir)
		if err != nil {
			return nil, err
		}
		a.o.Host.AgentID = id
	}
	fo := o.Feed
	fo.StateDir, fo.Log = o.StateDir, o.Log
	fo.Host, fo.Evidence, fo.Alive = a.describe, a.answer, a.alive
	a.feed = feed.NewClient(fo)
	a.count(o.Metrics)
	return a, nil
}

func setDefault(d *time.Duration, def time.Duration) {
	if *d <= 0 {
		*d = def
	}
}

// agentID is chosen once per host: the API knows the agent by it.
func agentID(dir string) (string, error) {
	if dir == "" {
		return uuid.NewString(), nil
	}
	file := filepath.Join(dir, "agent-id")
	b, err := os.ReadFile(file)
	if err == nil {
		if id, e := uuid.Parse(strings.TrimSpace(string(b))); e == nil {
			return id.String(), nil
		}
		return "", fmt.Errorf("agent ID in %s: not a UUID", file)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("agent ID: %w", err)
	}
	id := uuid.NewString()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("agent ID: %w", err)
	}
	if err := os.WriteFile(file, []byte(id+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("agent ID: %w", err)
	}
	return id, nil
}

// describe is what the server is told at each connection.
func (a *Agent) describe() model.Host {
	h := a.o.Host
	obs := a.o.Machine.Observe()
	h.OVSVersion, h.InterfaceTypes = obs.OVSVersion, obs.InterfaceTypes
	a.tell(obs)
	return h
}

// tell notes what the server is told of the switch, and reports whether that is news.
func (a *Agent) tell(obs host.Observed) bool {
	now := obs.OVSVersion + " " + strings.Join(obs.InterfaceTypes, ",")
	a.mu.Lock()
	defer a.mu.Unlock()
	news := now != a.told
	a.told = now
	return news
}

// Feed returns the agent's end of the feed, for asking whether it is in sync.
func (a *Agent) Feed() *feed.Client { return a.feed }

// Run runs the feed and the loop until ctx ends.
func (a *Agent) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	failed := make(chan error, 1)
	wg.Go(func() {
		if err := a.feed.Run(ctx); err != nil {
			failed <- err
			cancel()
		}
	})
	wg.Go(func() { a.lookAround(ctx) })
	a.loop(ctx)
	a.captures.close()
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}

// loop makes one pass per batch of inputs. It does not wait for a batch to fill up: what
// comes during a pass is the next batch. But a pass costs what the whole plan costs, so
// after one the feed alone does not start another for a few times as long: in a storm of
// changes the agent takes a quarter of one core, and what is plugged still goes at once.
func (a *Agent) loop(ctx context.Context) {
	resync := time.NewTicker(a.o.Resync)
	defer resync.Stop()
	again := time.NewTimer(0)
	defer again.Stop()
	rest := time.NewTimer(0)
	defer rest.Stop()
	changed := a.feed.Changed()
	for {
		verify := false
		select {
		case <-ctx.Done():
			a.log.Info("agent stops; switch, namespaces and flows stay as they are")
			return
		case <-rest.C:
			changed = a.feed.Changed()
			continue
		case <-changed:
			// A pass for another reason may have seen the change already.
			if a.feed.Status().Generation == a.seen {
				continue
			}
		case <-a.o.Machine.Changed():
		case <-again.C:
		case <-resync.C:
			verify = true
		}
		begin := time.Now()
		if wait := a.pass(ctx, verify); wait > 0 {
			again.Reset(wait)
		}
		changed = nil
		rest.Reset(min(restTimes*time.Since(begin), restMax))
	}
}

const (
	// restTimes is how many times as long as a pass took the feed is not looked at after it.
	restTimes = 3
	// restMax bounds that time, and so how late a host hears of a change.
	restMax = 100 * time.Millisecond
)

// pass works out and applies everything once. It returns after what time it wants to be
// called again without any input; 0 for never.
func (a *Agent) pass(ctx context.Context, verify bool) time.Duration {
	begin := time.Now()
	a.busy.Store(begin.UnixNano())
	defer a.busy.Store(0)
	st := a.feed.State()
	a.seen = st.Generation
	obs := a.o.Machine.Observe()
	if why, wait := a.unready(st, obs); why != "" {
		a.wait(why)
		return wait
	}
	a.wait("")
	if st.InSync && a.tell(obs) {
		// The Open vSwitch of this host is newer than the agent.
		a.feed.Redescribe()
	}
	a.noteProblems(obs.Problems)
	return a.work(ctx, st, obs, verify, begin)
}

// work makes the plan of what is known, applies it, and tells what came of it.
func (a *Agent) work(ctx context.Context, st feed.State, obs host.Observed, verify bool, begin time.Time) time.Duration {
	a.zones.number(st.Cloud, obs, a.o.Feed.Name, a.log)
	unclean := a.zones.flush(ctx, a.o.Machine, obs)
	v, p := a.plan(st, obs, a.zones.clean)
	planned := time.Now()
	a.noteRecords(st, begin)
	a.notePlugged(v, begin)
	a.noteStrangers(v.Strangers, begin)
	faults, timing := a.o.Machine.Apply(ctx, p, host.Options{Verify: verify})
	if ctx.Err() != nil {
		// Interrupted half way: what it returned says nothing about the machine.
		return 0
	}
	a.zones.applied(faults)
	faults = slices.Concat(faults, unclean, underlayFaults(v, a.o.Settings, obs.Underlay))
	applied := time.Now()
	wait := a.faults.update(faults, applied, a.o, a.log)
	facts := a.facts(st.Cloud, v, p, faults, applied)
	a.logWired(v, facts, applied)
	for _, f := range a.reports.report(a.feed, st, facts, applied) {
		a.events.add(f.PortID, applied, trace.EventReport, "told the server: wired %t, DHCP %t", f.Wired, f.DHCP)
	}
	a.publish(st, v, p, time.Since(begin))
	a.events.passed()
	a.log.Debug("pass", "rev", st.Revision, "networks", len(v.Networks), "local", len(v.Local), "faults", len(faults),
		"plan", planned.Sub(begin), "switch", timing.Switch, "kernel", timing.Kernel, "dhcp", timing.DHCP, "total", time.Since(begin))
	return wait
}

// stuck is how long a pass may take before the agent counts as dead. Each call to the
// switch and the kernel has a limit of its own, far below.
const stuck = time.Minute

// alive reports whether the loop turns: a heartbeat must not come from an agent whose
// connection is all that works.
func (a *Agent) alive() bool {
	b := a.busy.Load()
	return b == 0 || time.Since(time.Unix(0, b)) < stuck
}

// unready says why nothing may be done yet, and when to look again. Before both sides
// are known, a plan would lack what is not known and take it away.
func (a *Agent) unready(st feed.State, obs host.Observed) (why string, wait time.Duration) {
	switch {
	case !obs.Ready:
		return "the switch's database", 0
	case !st.Known:
		return "the server's snapshot; nothing is known from before", 0
	case st.FromDisk:
		// The server has newer knowledge, if it is there.
		if left := a.o.DiskGrace - time.Since(a.start); left > 0 {
			return "the server's snapshot", left
		}
	}
	return "", 0
}

// wait logs once what the agent is waiting for, and once when it has come.
func (a *Agent) wait(why string) {
	if why == a.waiting {
		return
	}
	if why != "" {
		a.log.Info("agent waits for " + why)
	} else {
		a.log.Info("agent begins to apply", "elapsed_ms", ms(time.Since(a.start)))
	}
	a.waiting = why
}

func (a *Agent) publish(st feed.State, v view.View, p plan.Plan, took time.Duration) {
	a.passes.Observe(took)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.now = published{view: v, plan: p, cloud: st.Cloud, reported: maps.Clone(a.reports.sent), faults: a.faults.list(), past: slices.Clone(a.faults.past)}
}

// Plan waits until everything is known and returns what would be applied, touching
// nothing: a dry run. It disturbs no agent that runs on this host.
func (a *Agent) Plan(ctx context.Context) (plan.Plan, error) {
	fo := a.o.Feed
	fo.Observe, fo.Log = true, a.log
	observer := feed.NewClient(fo)
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	failed := make(chan error, 1)
	wg.Go(func() { failed <- observer.Run(ctx) })
	for {
		st, obs := observer.State(), a.o.Machine.Observe()
		why, _ := a.unready(st, obs)
		if why == "" {
			a.zones.number(st.Cloud, obs, a.o.Feed.Name, a.log)
			_, p := a.plan(st, obs, a.zones.given)
			return p, nil
		}
		select {
		case <-ctx.Done():
			return plan.Plan{}, fmt.Errorf("waiting for %s: %w; feed: %s", why, ctx.Err(), st.Err)
		case err := <-failed:
			return plan.Plan{}, err
		case <-observer.Changed():
		case <-a.o.Machine.Changed():
		}
	}
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
