package store

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.etcd.io/etcd/client/pkg/v3/transport"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
)

// PeerConfig is what a member of a cluster needs to speak with the others. Both sides of
// each connection show a certificate of the CA whose common name is PeerName, and no other.
type PeerConfig struct {
	// Listen is the address, IP:PORT, at which the others are awaited.
	Listen string
	// Advertise is the address, HOST:PORT, by which they reach this member.
	Advertise string
	// CertFile, KeyFile and CAFile are in PEM. The certificate's common name and DNS name
	// are PeerName. It is read anew at each connection.
	CertFile, KeyFile, CAFile string
	// Join are the peer URLs of members of the cluster that has let this one in. They count
	// only while the state directory holds no etcd; none begins a cluster of one.
	Join []string
}

// PeerName is the name in the certificate of every member.
const PeerName = "weft-peer"

// ErrRemoved says that this member is no longer one of the cluster.
var ErrRemoved = errors.New("this server was removed from the cluster; empty its state directory before it joins again")

// A leader that is silent for the election timeout, or up to twice as long, is replaced:
// with three members about 0.8 s after it died. Longer than any pause seen on two busy
// cores; and PreVote keeps a member that was itself asleep from disturbing the others.
const (
	clusterTick     = 100 * time.Millisecond
	clusterElection = 600 * time.Millisecond
)

// maxLearners is how many servers may be joining at a time.
const maxLearners = 4

// apply puts into cfg what one of several is. first says that there is no etcd yet.
func (p *PeerConfig) apply(ctx context.Context, cfg *embed.Config, first bool) error {
	listen, advertise := peerURL(p.Listen), peerURL(p.Advertise)
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = []url.URL{listen}, []url.URL{advertise}
	cfg.PeerTLSInfo = p.tls()
	cfg.TickMs, cfg.ElectionMs = uint(clusterTick.Milliseconds()), uint(clusterElection.Milliseconds())
	cfg.MaxLearners = maxLearners
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	if !first || len(p.Join) == 0 {
		return nil
	}
	all, err := p.askMembers(ctx)
	if err != nil {
		return err
	}
	var initial []string
	for _, m := range all {
		name := fmt.Sprintf("%x", m.ID) // another that never came has none
		if m.PeerURL == advertise.String() {
			name = cfg.Name
		}
		initial = append(initial, cmp.Or(m.Name, name)+"="+m.PeerURL)
	}
	cfg.InitialCluster, cfg.ClusterState = strings.Join(initial, ","), embed.ClusterStateFlagExisting
	return nil
}

func (p *PeerConfig) tls() transport.TLSInfo {
	return transport.TLSInfo{CertFile: p.CertFile, KeyFile: p.KeyFile, TrustedCAFile: p.CAFile,
		ClientCertAuth: true, AllowedCNs: []string{PeerName}, ServerName: PeerName,
		SkipClientSANVerify: true} // it would want the address from which a member happens to call
}

// joinPatience is how long others may take to hear that a new server has been let in, or to come back.
const joinPatience = 5 * time.Second

// askMembers asks the members in Join for all there are now; this one must be among them. One that has itself just
// joined, or started, may know of fewer than there are.
func (p *PeerConfig) askMembers(ctx context.Context) ([]Member, error) {
	ctx, cancel := context.WithTimeout(ctx, joinPatience)
	defer cancel()
	for {
		var known []Member
		var errs []error
		for _, u := range p.Join {
			all, err := AskPeer(ctx, *p, u)
			switch {
			case err != nil:
				errs = append(errs, err)
			case !slices.ContainsFunc(all, func(m Member) bool { return m.PeerURL == PeerURL(p.Advertise) }):
				errs = append(errs, fmt.Errorf("%s knows of no member at %s: it is not let in, or no longer; join again", u, PeerURL(p.Advertise)))
			case len(all) > len(known):
				known = all
			}
		}
		if known != nil {
			return known, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("no server of the cluster answers as it must: %w", errors.Join(errs...))
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// AskPeer asks the member at a peer URL for all members of its cluster.
func AskPeer(ctx context.Context, p PeerConfig, peer string) ([]Member, error) {
	t, err := p.tls().ClientConfig()
	if err != nil {
		return nil, err
	}
	tr := &http.Transport{TLSClientConfig: t}
	defer tr.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(ctx, memberTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, peer+"/members", nil)
	if err != nil {
		return nil, err
	}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", peer, err)
	}
	defer resp.Body.Close()
	var said []struct {
		ID       uint64   `json:"id"`
		Name     string   `json:"name"`
		PeerURLs []string `json:"peerURLs"`
		Learner  bool     `json:"isLearner"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&said); err != nil {
		return nil, fmt.Errorf("ask %s: %s: %w", peer, resp.Status, err)
	}
	var all []Member
	for _, m := range said {
		all = append(all, Member{ID: m.ID, Name: m.Name, PeerURL: strings.Join(m.PeerURLs, ","), Learner: m.Learner})
	}
	return all, nil
}

func peerURL(hostPort string) url.URL { return url.URL{Scheme: "https", Host: hostPort} }

// PeerURL is the URL of a member at HOST:PORT.
func PeerURL(hostPort string) string {
	u := peerURL(hostPort)
	return u.String()
}

// Member is one etcd of the cluster.
type Member struct {
	ID uint64
	// Name is empty as long as the member was never there.
	Name    string
	PeerURL string
	// Learner: it still catches up and has no vote.
	Learner bool
}

// memberNames names members for people.
func memberNames(ms []Member) string {
	var names []string
	for _, m := range ms {
		names = append(names, cmp.Or(m.Name, m.PeerURL))
	}
	return strings.Join(names, " ")
}

// Members are those of the cluster as this one knows them, by name. It asks nobody.
func (e *EmbeddedEtcd) Members() []Member {
	var out []Member
	for _, m := range e.etcd.Server.Cluster().Members() {
		out = append(out, Member{ID: uint64(m.ID), Name: m.Name, PeerURL: strings.Join(m.PeerURLs, ","), Learner: m.IsLearner})
	}
	sortMembers(out)
	return out
}

func sortMembers(ms []Member) {
	slices.SortFunc(ms, func(a, b Member) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.PeerURL, b.PeerURL))
	})
}

// Several reports whether others may write too. A member is known to the one that was alone
// before it can write.
func (e *EmbeddedEtcd) Several() bool { return len(e.etcd.Server.Cluster().Members()) > 1 }

// LeaderChanged returns a channel that closes when another member leads; nil while none does.
func (e *EmbeddedEtcd) LeaderChanged() <-chan struct{} {
	changed := e.etcd.Server.LeaderChangedNotify()
	if e.etcd.Server.Leader() == 0 {
		return nil
	}
	return changed
}

// Members are those of the cluster that a client speaks to.
func Members(ctx context.Context, c *Client) ([]Member, error) {
	resp, err := c.MemberList(ctx)
	if err != nil {
		return nil, fmt.Errorf("list the members of the cluster: %w", err)
	}
	out := membersOf(resp.Members)
	sortMembers(out)
	return out, nil
}

func membersOf(ms []*etcdserverpb.Member) []Member {
	var out []Member
	for _, m := range ms {
		out = append(out, Member{ID: m.ID, Name: m.Name, PeerURL: strings.Join(m.PeerURLs, ","), Learner: m.IsLearner})
	}
	return out
}

// Surveyed is a member, and how it is.
type Surveyed struct {
	Member
	// Role is leader, follower or learner.
	Role string
	// Health is yes, or why not.
	Health string
}

// Survey asks all members of the cluster, as the one that c speaks to knows it; p is nil for
// a lone one.
func Survey(ctx context.Context, c *Client, p *PeerConfig) ([]Surveyed, error) {
	ctx, cancel := context.WithTimeout(ctx, memberTimeout)
	defer cancel()
	resp, err := c.MemberList(ctx, clientv3.WithSerializable()) // also without most others
	if err != nil {
		return nil, fmt.Errorf("list the members of the cluster: %w", err)
	}
	self := resp.Header.MemberId
	status, err := c.Status(ctx, c.Endpoints()[0])
	if err != nil {
		return nil, fmt.Errorf("ask the member of the cluster on this machine: %w", err)
	}
	members := membersOf(resp.Members)
	sortMembers(members)
	out := make([]Surveyed, len(members))
	var asked sync.WaitGroup
	for i, m := range members {
		role := "follower"
		switch {
		case m.Learner:
			role = "learner"
		case m.ID == status.Leader:
			role = "leader"
		}
		out[i] = Surveyed{Member: m, Role: role, Health: "yes"}
		if m.ID == self || p == nil {
			continue
		}
		asked.Go(func() {
			if _, err := AskPeer(ctx, *p, m.PeerURL); err != nil {
				out[i].Health = "no: " + err.Error()
			}
		})
	}
	asked.Wait()
	return out, nil
}

// enter makes a member that has just started reached at its address. Only the first address
// of one that was alone is waited for.
func (e *EmbeddedEtcd) enter(ctx context.Context, p PeerConfig) error {
	if !e.Several() {
		if err := e.announce(ctx, p.Advertise); err != nil {
			return fmt.Errorf("change the address of this member of the cluster: %w", err)
		}
	} else {
		e.tasks.Go(func() {
			e.until("tell the other servers the address of this one", func() error { return e.announce(e.ctx, p.Advertise) })
		})
	}
	e.tasks.Go(e.sweepLearners)
	return nil
}

// announce makes the member's stored address what it is now.
func (e *EmbeddedEtcd) announce(ctx context.Context, hostPort string) error {
	id := e.etcd.Server.MemberID()
	want := PeerURL(hostPort)
	if m := e.etcd.Server.Cluster().Member(id); m == nil || slices.Equal(m.PeerURLs, []string{want}) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, memberTimeout)
	defer cancel()
	_, err := e.Client.MemberUpdate(ctx, uint64(id), []string{want})
	return err
}

// promote asks for a vote, if this member has none yet.
func (e *EmbeddedEtcd) promote() error {
	ctx, cancel := context.WithTimeout(e.ctx, memberTimeout)
	defer cancel()
	all, err := Members(ctx, e.Client) // what it knows by itself may be of before it was let in
	self := uint64(e.etcd.Server.MemberID())
	if err != nil || !slices.ContainsFunc(all, func(m Member) bool { return m.ID == self && m.Learner }) {
		return err
	}
	if _, err = e.Client.MemberPromote(ctx, self); err == nil {
		e.log.Info("this server is a full member of the cluster now", "members", memberNames(e.Members()))
	}
	return err
}

// memberTimeout bounds a change of the cluster.
const memberTimeout = 5 * time.Second

// until tries until there is no error or Close, and says once that it did not succeed for long.
func (e *EmbeddedEtcd) until(what string, f func() error) {
	began, told := time.Now(), false
	for {
		err := f()
		if err == nil || e.ctx.Err() != nil {
			return
		}
		if !told && time.Since(began) > 5*time.Second {
			e.log.Warn("still trying to "+what, "members", memberNames(e.Members()), "err", err)
			told = true
		}
		select {
		case <-time.After(250 * time.Millisecond):
		case <-e.ctx.Done():
			return
		}
	}
}

// learnerPatience is how long a server that was let in may take to come.
const learnerPatience = 10 * time.Minute

// sweepLearners removes, while this member leads, those that were let in and never came.
func (e *EmbeddedEtcd) sweepLearners() {
	since := map[uint64]time.Time{}
	tick := time.NewTicker(learnerPatience / 20)
	defer tick.Stop()
	for {
		select {
		case <-e.ctx.Done():
			return
		case <-tick.C:
		}
		now := time.Now()
		seen := map[uint64]time.Time{}
		for _, m := range e.Members() {
			if !m.Learner || m.Name != "" {
				continue
			}
			seen[m.ID] = now
			if t, known := since[m.ID]; known {
				seen[m.ID] = t
			}
			if now.Sub(seen[m.ID]) > learnerPatience && e.etcd.Server.Leader() == e.etcd.Server.MemberID() {
				ctx, cancel := context.WithTimeout(e.ctx, memberTimeout)
				_, err := e.Client.MemberRemove(ctx, m.ID)
				cancel()
				e.log.Warn("a server that was let in never came; it is removed", "peer", m.PeerURL, "err", err)
			}
		}
		since = seen
	}
}

// How long AddMember waits for the members to be connected, and how often it looks.
const (
	admitPatience = 12 * time.Second
	admitRetry    = 250 * time.Millisecond
)

// AddMember lets a server into the cluster, at first without a vote, and returns all
// members, the new one with its name. One by the same address that never got a vote is
// replaced, so that who failed may try again. A name or address that a full member has
// is refused.
func AddMember(ctx context.Context, c *Client, name, peerURL string) ([]Member, error) {
	ctx, cancel := context.WithTimeout(ctx, admitPatience)
	defer cancel()
	have, err := Members(ctx, c)
	if err != nil {
		return nil, err
	}
	for _, m := range have {
		if strings.HasPrefix(m.PeerURL, "unix:") {
			return nil, fmt.Errorf("server %s cannot be reached by others: set peer_listen there and restart it", m.Name)
		}
		same := m.PeerURL == peerURL || m.Name == name
		switch {
		case same && !m.Learner:
			return nil, fmt.Errorf("the cluster has a server %s at %s already; if it is lost for good, remove it first (weft server remove %s)", m.Name, m.PeerURL, m.Name)
		case same:
			if _, err := c.MemberRemove(ctx, m.ID); err != nil && !errors.Is(err, rpctypes.ErrMemberNotFound) {
				return nil, fmt.Errorf("remove the remains of an earlier try to join: %w", err)
			}
		}
	}
	resp, err := c.MemberAddAsLearner(ctx, []string{peerURL})
	for (errors.Is(err, rpctypes.ErrUnhealthy) || errors.Is(err, rpctypes.ErrMemberNotFound)) && ctx.Err() == nil {
		// etcd wants all members to have been connected for five seconds; and a member that
		// comes again within a second would have the ID of the one removed, which is used up.
		time.Sleep(admitRetry)
		resp, err = c.MemberAddAsLearner(ctx, []string{peerURL})
	}
	if err != nil {
		return nil, fmt.Errorf("let server %s into the cluster: %w", name, err)
	}
	all := membersOf(resp.Members)
	for i := range all {
		if all[i].ID == resp.Member.ID {
			all[i].Name = name
		}
	}
	return all, nil
}

// RemoveMember takes a server out of the cluster, by its name or peer URL, and what it told
// of itself below prefix out of the store.
func RemoveMember(ctx context.Context, c *Client, prefix, name string) error {
	ctx, cancel := context.WithTimeout(ctx, memberTimeout)
	defer cancel()
	have, err := Members(ctx, c)
	if err != nil {
		return err
	}
	var names []string
	for _, m := range have {
		if m.Name != name && m.PeerURL != name {
			names = append(names, cmp.Or(m.Name, m.PeerURL))
			continue
		}
		if len(have) == 1 {
			return fmt.Errorf("%s is the only server", name)
		}
		if _, err := c.MemberRemove(ctx, m.ID); err != nil {
			return fmt.Errorf("remove server %s: %w", name, err)
		}
		if m.Name == "" {
			return nil
		}
		if _, err := c.Delete(ctx, keys{prefix}.object(dirServer, m.Name)); err != nil {
			return fmt.Errorf("forget server %s: %w", name, err)
		}
		return nil
	}
	return fmt.Errorf("there is no server %s; there are %s", name, strings.Join(names, ", "))
}
