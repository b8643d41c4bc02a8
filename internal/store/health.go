package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Health is how etcd is.
type Health struct {
	Endpoints []EndpointHealth
	Members   []Member
	// Leader is the ID of the member that leads; 0 is nobody.
	Leader uint64
	// Alarms are those raised, such as NOSPACE.
	Alarms []string
	// Commits are how long changes took that change nothing, sorted.
	Commits []time.Duration
	// Err says why etcd takes no changes.
	Err error
}

// EndpointHealth is how one etcd is.
type EndpointHealth struct {
	URL, Version string
	Leader       uint64
	Learner      bool
	// Size, InUse and Quota are those of its file, in bytes; Behind is how many changes it has still to apply.
	Size, InUse, Quota, Behind int64
	Err                        error
}

// healthProbes is how many changes are timed.
const healthProbes = 5

// CheckHealth asks each etcd that c knows how it is, and times changes that change nothing: they go
// the way of all changes, to the disks of most members. A lone one inside this process has no
// endpoint but itself.
func CheckHealth(ctx context.Context, c *Client, prefix string) Health {
	var h Health
	endpoints := c.Endpoints()
	if len(endpoints) == 0 {
		endpoints = []string{""}
	}
	h.Endpoints = make([]EndpointHealth, len(endpoints))
	var asked sync.WaitGroup
	for i, url := range endpoints {
		asked.Go(func() { h.Endpoints[i] = checkEndpoint(ctx, c, url) })
	}
	if resp, err := c.MemberList(ctx, clientv3.WithSerializable()); err == nil {
		h.Members = membersOf(resp.Members)
		sortMembers(h.Members)
	}
	if resp, err := c.AlarmList(ctx); err == nil {
		for _, a := range resp.Alarms {
			h.Alarms = append(h.Alarms, fmt.Sprintf("%s (member %x)", a.Alarm, a.MemberID))
		}
	}
	for range healthProbes {
		began := time.Now()
		// A key that never is: nothing is removed, and no revision is made.
		if _, err := c.Delete(ctx, prefix+"none"); err != nil {
			h.Err = err
			if ctx.Err() != nil {
				h.Err = errors.New("it did not answer in time")
			}
			break
		}
		h.Commits = append(h.Commits, time.Since(began))
	}
	slices.Sort(h.Commits)
	asked.Wait()
	for _, e := range h.Endpoints {
		if e.Leader != 0 {
			h.Leader = e.Leader
		}
	}
	return h
}

func checkEndpoint(ctx context.Context, c *Client, url string) EndpointHealth {
	e := EndpointHealth{URL: url}
	s, err := c.Status(ctx, url)
	if err != nil {
		e.Err = err
		if ctx.Err() != nil {
			e.Err = errors.New("it did not answer in time")
		}
		return e
	}
	e.Version, e.Leader, e.Learner = s.Version, s.Leader, s.IsLearner
	e.Size, e.InUse, e.Quota = s.DbSize, s.DbSizeInUse, s.DbSizeQuota
	e.Behind = max(0, int64(s.RaftIndex)-int64(s.RaftAppliedIndex))
	return e
}
