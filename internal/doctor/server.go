package doctor

import (
	"fmt"
	"strings"
	"time"
)

// What disks and etcd are judged by: etcd's own advice is 10 ms for a sync; an election is
// called after 600 ms (store.clusterElection).
const (
	slowSync   = 25 * time.Millisecond
	badSync    = 200 * time.Millisecond
	slowCommit = 100 * time.Millisecond
	badCommit  = 500 * time.Millisecond
	// farBehind is how many changes an etcd may have still to apply.
	farBehind = 5000
)

// serverGroup judges one server.
func serverGroup(s Server, f Facts) Group {
	g := Group{Kind: GroupServer, Name: s.Name}
	if s.Silence != "" {
		g.unknown("answer", "Look at the log of weft server there; if the machine is lost for good, weft server remove.",
			"The server does not answer: %s.", strings.TrimSuffix(s.Silence, "."))
		return g
	}
	g.ok("answer", "It answered in %s.", round(s.Received.Sub(s.Sent)))
	g.clock(s.Answer, s.At)
	etcd(&g, s.Etcd)
	disk(&g, s.Disk)
	for _, c := range s.Certificates {
		g.certificate(c, f.Now, "Look why the server could not renew it (its log says so); a restart of weft server makes a new one.")
	}
	for _, gap := range s.Gaps {
		g.unknown("gap", "", "Nobody could look at %s.", gap)
	}
	return g
}

func etcd(g *Group, e Etcd) {
	if e.Error != "" {
		g.broken("etcd", "See that most of the servers (or of the etcds in etcd_endpoints) run and reach each other; weft server list shows who does.",
			"etcd does not take changes: %s.", e.Error)
	}
	for _, p := range e.Endpoints {
		endpoint(g, p, e.Embedded)
	}
	for _, a := range e.Alarms {
		do := "Restore from a backup (weft restore): the members of the cluster do not agree on what is stored."
		if strings.Contains(a, "NOSPACE") {
			do = "Compact and defragment (etcdctl defrag), then disarm the alarm (etcdctl alarm disarm); until then nothing can be changed."
		}
		g.broken("etcd alarm", do, "etcd has raised the alarm %s.", a)
	}
	if len(e.Alarms) == 0 && e.Error == "" {
		g.ok("etcd alarm", "etcd has raised no alarm.")
	}
	members(g, e)
	const do = "Look for what else uses the disks of the servers, and for a slow network between them; etcd wants an SSD of its own."
	switch text := fmt.Sprintf("A change takes %s until most servers have it (the worst of a few %s).", round(e.Commit), round(e.WorstCommit)); {
	case e.Error != "":
	case e.Commit >= badCommit:
		g.broken("etcd commit", do, "%s The servers are near to losing their leader.", text)
	case e.Commit >= slowCommit:
		g.warn("etcd commit", do, "%s", text)
	default:
		g.ok("etcd commit", "%s", text)
	}
}

func endpoint(g *Group, p Endpoint, embedded bool) {
	name := "etcd"
	if !embedded {
		name = "etcd " + p.URL
	}
	switch {
	case p.Error != "":
		g.broken(name, "Look at the log of this etcd.", "etcd does not answer: %s.", p.Error)
		return
	case p.Leader == 0:
		g.broken(name, "See that most of the servers run and reach each other (weft server list).", "etcd %s has no leader: nothing can be changed.", p.Version)
	case p.Learner:
		g.warn(name, "Wait; if it lasts for minutes, see whether it reaches the others.", "etcd %s still catches up and has no vote.", p.Version)
	case p.Behind > farBehind:
		g.warn(name, "See whether its disk and its processor keep up.", "etcd %s has %d changes still to apply.", p.Version, p.Behind)
	default:
		g.ok(name, "etcd %s has a leader and is up to date.", p.Version)
	}
	space(g, name+" size", p)
}

func space(g *Group, name string, p Endpoint) {
	const do = "Defragment (etcdctl defrag) if much of it is unused; else see what fills the store (weft fsck)."
	if p.Quota <= 0 {
		g.ok(name, "The store takes %s, of which %s are in use.", size(p.Size), size(p.InUse))
		return
	}
	share := float64(p.Size) / float64(p.Quota)
	text := fmt.Sprintf("The store takes %s of the %s that it may (%.0f %%); %s are in use.", size(p.Size), size(p.Quota), 100*share, size(p.InUse))
	switch {
	case share >= 0.95:
		g.broken(name, do, "%s When it is full nothing can be changed.", text)
	case share >= 0.75:
		g.warn(name, do, "%s When it is full nothing can be changed.", text)
	default:
		g.ok(name, "%s", text)
	}
}

func members(g *Group, e Etcd) {
	votes, leader, awaited := 0, "", []string(nil)
	for _, m := range e.Members {
		if !m.Learner {
			votes++
		}
		if m.Leader {
			leader = m.Name
		}
		if m.Name == "" {
			awaited = append(awaited, "one that never came")
		}
	}
	switch {
	case len(e.Members) == 0:
	case len(awaited) > 0:
		g.warn("etcd members", "Start the server that has joined, or wait: after ten minutes it is removed by itself.", "%s, and %s.", count(votes, "member"), awaited[0])
	case votes == 2:
		g.warn("etcd members", "Add a third server (docs/servers.md).", "There are 2 servers: if either is lost nothing can be changed, so they are less safe than one.")
	case votes > 1 && votes%2 == 0:
		g.warn("etcd members", "Add a server, or take one out.", "There are %d servers, an even number: no more may be lost than of %d.", votes, votes-1)
	case votes == 1:
		g.ok("etcd members", "One member; weft backup is what there is if it is lost.")
	default:
		g.ok("etcd members", "%d members, %s leads; %d may be lost.", votes, leader, (votes-1)/2)
	}
}

func disk(g *Group, d *Disk) {
	if d == nil {
		return
	}
	const do = "Put the state directory on a faster disk, or see what else writes to it: each change of the cloud waits for it."
	switch text := fmt.Sprintf("A write to %s takes %s to be on the disk (the worst of a few %s).", d.Path, round(d.Sync), round(d.WorstSync)); {
	case d.Sync >= badSync:
		g.broken("disk", do, "%s The server may lose its leadership again and again.", text)
	case d.Sync >= slowSync:
		g.warn("disk", do, "%s etcd wants less than %s.", text, 10*time.Millisecond)
	default:
		g.ok("disk", "%s", text)
	}
	const room = "Make room there: without it nothing can be changed, and etcd ends."
	switch text := fmt.Sprintf("%s of %s are free in %s.", size(d.Free), size(d.Size), d.Path); {
	case d.Free < 64<<20:
		g.broken("disk space", room, "%s", text)
	case d.Free < d.Size/20 && d.Free < 2<<30:
		g.warn("disk space", room, "%s", text)
	default:
		g.ok("disk space", "%s", text)
	}
}

// size is a number of bytes for people.
func size(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%.0f KiB", float64(n)/(1<<10))
}
