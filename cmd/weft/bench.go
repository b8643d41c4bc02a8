package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"weft/internal/model"
)

func benchCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure weft on this machine",
	}
	b := bench{}
	cloud := &cobra.Command{
		Use:   "cloud",
		Short: "Measure servers with many simulated hosts",
		Long: `Runs servers of its own, in a directory that it removes afterwards, and simulated hosts: the
feed's real client with its certificate, for each host, but no switch. All hosts are in this
process, the servers are processes of their own. It prints each figure beside its reach, and
fails when a count is wrong; times depend on the machine.

A tenant has one network, and ports on it on any host. The binding of a port counts as
arrived when its host has it; the host then reports it as wired, and it becomes ACTIVE.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt)
			defer stop()
			b.out, b.progress = cmd.OutOrStdout(), cmd.ErrOrStderr()
			return b.run(ctx)
		},
	}
	f := cloud.Flags()
	f.IntVar(&b.hosts, "hosts", 1000, "simulated hosts")
	f.IntVar(&b.networks, "networks", 500, "networks, each of a project of its own")
	f.IntVar(&b.ports, "ports", 20000, "ports, those of the storm included")
	f.IntVar(&b.storm, "bindings", 5000, "ports that are bound in the boot storm")
	f.IntVar(&b.rate, "rate", 200, "bindings in a second")
	f.StringVar(&b.keep, "log", "", "keep the servers' logs in this `directory`")
	f.StringVar(&b.profile, "profile", "", "write a profile of this process during the storm to this `file`")
	cmd.AddCommand(cloud)
	return cmd
}

// bench is a run of weft bench cloud.
type bench struct {
	hosts, networks, ports, storm, rate int
	keep, profile                       string
	out, progress                       io.Writer

	dir   string
	nets  []benchNetwork
	bound []string // ports that are bound from the beginning
	free  []string // ports that the storm binds
	wrong []string // counts that are not as they should be
}

// networkHosts is how many of the hosts serve DHCP.
func (b *bench) networkHosts() int { return max(1, b.hosts/300) }

func (b *bench) hostName(i int) model.HostName { return model.HostName(fmt.Sprintf("h%04d", i)) }

func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(b.progress, "%s  %s\n", time.Now().Format("15:04:05"), fmt.Sprintf(format, args...))
}

// figure prints one line of the result.
func (b *bench) figure(what, value, reach string) {
	fmt.Fprintf(b.out, "%-58s %20s   %s\n", what, value, reach)
}

// count prints a count, and notes if it is not what it must be.
func (b *bench) count(what string, got, want int) {
	b.figure(what, fmt.Sprint(got), fmt.Sprintf("must be %d", want))
	if got != want {
		b.wrong = append(b.wrong, fmt.Sprintf("%s: %d, not %d", what, got, want))
	}
}

func (b *bench) run(ctx context.Context) (err error) {
	if b.storm > b.ports || b.hosts < 2 || b.networks < 1 || b.rate < 1 {
		return usageError{errors.New("want at least 2 hosts, 1 network, 1 binding in a second, and no more bindings than ports")}
	}
	if b.dir, err = os.MkdirTemp("", "weft-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	debug.SetGCPercent(400) // of 1,000 agents in one process, which real ones are not
	fmt.Fprintf(b.out, "%d hosts, %d ports, %d networks, %d bindings at %d/s\n\n", b.hosts, b.ports, b.networks, b.storm, b.rate)
	if err := b.one(ctx); err != nil {
		return err
	}
	if err := b.three(ctx); err != nil {
		return err
	}
	if len(b.wrong) > 0 {
		return fmt.Errorf("%d counts are wrong: %v", len(b.wrong), b.wrong)
	}
	return nil
}

// one measures with one server and its embedded etcd.
func (b *bench) one(ctx context.Context) (err error) {
	s, err := b.startServer(ctx, "s0")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	b.say("certificates of %d hosts", b.hosts)
	fleet, err := b.newFleet()
	if err != nil {
		return err
	}
	if err := b.register(ctx, fleet, s); err != nil {
		return err
	}
	if err := b.fill(ctx, s); err != nil {
		return err
	}
	began := time.Now()
	if err := fleet.start(ctx, s.feed); err != nil {
		return err
	}
	defer fleet.stop()
	if err := fleet.inSync(ctx); err != nil {
		return err
	}
	b.figure(fmt.Sprintf("%d hosts join at once: all in sync after", b.hosts), short(time.Since(began)), "")
	if err := fleet.reported(ctx, s, len(b.bound)); err != nil {
		return err
	}
	if err := b.boot(ctx, fleet, s); err != nil {
		return err
	}
	if err := b.reach(ctx, fleet, s); err != nil {
		return err
	}
	if err := b.reconnect(ctx, fleet, s); err != nil {
		return err
	}
	pss, err := s.mostPSS()
	if err != nil {
		return err
	}
	b.figure("memory of the server, most (PSS)", megabytes(pss), "reach 1.5 GB")
	return nil
}

// register lets all hosts join once, so that ports can be bound to them.
func (b *bench) register(ctx context.Context, fleet *fleet, s *benchServer) error {
	if err := fleet.start(ctx, s.feed); err != nil {
		return err
	}
	defer fleet.stop()
	return fleet.inSync(ctx)
}

// boot binds ports at the rate asked for, and measures until their hosts have them.
func (b *bench) boot(ctx context.Context, fleet *fleet, s *benchServer) error {
	b.say("boot storm")
	stopProfile, err := profileTo(b.profile)
	if err != nil {
		return err
	}
	defer stopProfile()
	server, own := s.cpu(), ownCPU()
	began := time.Now()
	every := time.Second / time.Duration(b.rate)
	var wg sync.WaitGroup
	var mu sync.Mutex
	var failed error
	var answered []time.Duration
	busy := make(chan struct{}, 256)
	for i, id := range b.free {
		due := began.Add(time.Duration(i) * every)
		select {
		case <-time.After(time.Until(due)):
		case <-ctx.Done():
			return ctx.Err()
		}
		host := fleet.hosts[b.networkHosts()+(i*7919)%(b.hosts-b.networkHosts())]
		host.expect(model.PortID(id), due)
		busy <- struct{}{}
		wg.Go(func() {
			defer func() { <-busy }()
			body := map[string]any{"port": map[string]any{"binding:host_id": host.name}}
			err := s.call(ctx, "PUT", "/v2.0/ports/"+id, body, nil)
			mu.Lock()
			defer mu.Unlock()
			answered = append(answered, time.Since(due))
			if err != nil {
				failed = err
			}
		})
	}
	wg.Wait()
	if failed != nil {
		return failed
	}
	took, err := fleet.arrived(ctx, len(b.free))
	if err != nil {
		return err
	}
	span := time.Since(began)
	server, own = s.cpu()-server, ownCPU()-own
	slices.Sort(took)
	slices.Sort(answered)
	b.count("bindings that arrived", len(took), len(b.free))
	b.figure("PUT of a binding until it is answered, p50 and p99", short(answered[len(answered)/2])+", "+short(answered[len(answered)*99/100]), "")
	b.figure("PUT of a binding until its host has it, p50", short(took[len(took)/2]), "")
	b.figure("PUT of a binding until its host has it, p99", short(took[len(took)*99/100]), "reach 100 ms")
	b.figure("PUT of a binding until its host has it, longest", short(took[len(took)-1]), "")
	b.figure("processors busy meanwhile: server + hosts", fmt.Sprintf("%.2f + %.2f", server.Seconds()/span.Seconds(), own.Seconds()/span.Seconds()), "")
	return fleet.reported(ctx, s, len(b.bound)+len(b.free))
}

// reach changes single ports and counts the hosts that hear of it.
func (b *bench) reach(ctx context.Context, fleet *fleet, s *benchServer) error {
	b.say("who hears of a change")
	view, err := openView(ctx, s.dir)
	if err != nil {
		return err
	}
	defer view.close()
	heard, should, stray := 0, 0, 0
	for i := range 20 {
		id := b.bound[i*len(b.bound)/20]
		want := view.hostsOf(model.PortID(id))
		quiet, err := fleet.quiet(ctx)
		if err != nil {
			return err
		}
		body := map[string]any{"port": map[string]any{"name": fmt.Sprint("renamed-", i)}}
		if err := s.call(ctx, "PUT", "/v2.0/ports/"+id, body, nil); err != nil {
			return err
		}
		if err := fleet.await(ctx, func() bool { return len(fleet.changed(quiet)) >= len(want) }); err != nil {
			return fmt.Errorf("a change of port %s reached %d hosts of %d: %w", id, len(fleet.changed(quiet)), len(want), err)
		}
		after, err := fleet.quiet(ctx)
		if err != nil {
			return err
		}
		should += len(want)
		for h, n := range after {
			switch changes := int(n - quiet[h]); {
			case slices.Contains(want, h):
				heard += changes
			default:
				stray += changes
			}
		}
	}
	b.count("messages to hosts that need a changed port (20 changes)", heard, should)
	b.count("messages to the other hosts", stray, 0)
	return nil
}

// reconnect reads a host's snapshot and compares it with the cloud.
func (b *bench) reconnect(ctx context.Context, fleet *fleet, s *benchServer) error {
	view, err := openView(ctx, s.dir)
	if err != nil {
		return err
	}
	defer view.close()
	compute, err := fleet.hosts[b.hosts-1].snapshotBytes(ctx, s.feed)
	if err != nil {
		return err
	}
	network, err := fleet.hosts[0].snapshotBytes(ctx, s.feed)
	if err != nil {
		return err
	}
	whole := view.bytes()
	b.figure("a compute host's reconnect: its snapshot, of the whole cloud's", fmt.Sprintf("%s of %s", kilobytes(compute), kilobytes(whole)), "its own view")
	b.figure("a network host's (DHCP of many networks)", kilobytes(network), "its own view")
	return nil
}

// three measures how hosts move between servers.
func (b *bench) three(ctx context.Context) (err error) {
	b.say("three servers")
	etcd, err := b.startEtcd(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, etcd.Close()) }()
	var servers []*benchServer
	var feeds []string
	for _, name := range []string{"s1", "s2", "s3"} {
		s, err := b.startServer(ctx, name, "--etcd-endpoints", etcd.Endpoint)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, s.stop()) }()
		servers, feeds = append(servers, s), append(feeds, s.feed)
	}
	fleet, err := b.newFleet()
	if err != nil {
		return err
	}
	began := time.Now()
	if err := fleet.start(ctx, feeds...); err != nil {
		return err
	}
	defer fleet.stop()
	if err := fleet.inSync(ctx); err != nil {
		return err
	}
	b.figure(fmt.Sprintf("%d hosts join three servers: all in sync after", b.hosts), short(time.Since(began)), "")
	if err := fleet.reported(ctx, servers[0], len(b.bound)+len(b.free)); err != nil {
		return err
	}
	if _, err := fleet.quiet(ctx); err != nil {
		return err
	}
	for i, kill := range []struct {
		what string
		how  func(*benchServer) error
	}{{"killed", (*benchServer).kill}, {"stopped", (*benchServer).stop}} {
		victim := servers[i]
		theirs, others := fleet.at(victim.feed)
		b.figure(fmt.Sprintf("hosts at the server that is %s, of %d", kill.what, b.hosts), fmt.Sprint(len(theirs)), "")
		began := time.Now()
		if err := kill.how(victim); err != nil {
			return err
		}
		if i > 0 { // a planned stop: from when it begins
			began = victim.asked
		}
		if err := fleet.await(ctx, func() bool {
			return !slices.ContainsFunc(theirs, func(h *benchHost) bool { st := h.client.Status(); return !st.InSync || st.Server == victim.feed })
		}); err != nil {
			return fmt.Errorf("hosts of the %s server: %w", kill.what, err)
		}
		b.figure(fmt.Sprintf("a server %s: its hosts in sync elsewhere after", kill.what), short(fleet.lastSync(theirs).Sub(began)), "reach 5 s")
		disturbed := 0
		for h, session := range others {
			if st := h.client.Status(); !st.InSync || st.Session != session {
				disturbed++
			}
		}
		b.count("hosts of the other servers that lost theirs meanwhile", disturbed, 0)
	}
	return nil
}

func short(d time.Duration) string {
	if d < time.Second {
		return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
	}
	return fmt.Sprintf("%.2f s", d.Seconds())
}

func kilobytes(n int) string { return fmt.Sprintf("%d kB", (n+500)/1000) }

func megabytes(kb int) string { return fmt.Sprintf("%d MB", kb*1024/1000000) }
