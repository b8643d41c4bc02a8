package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"weft/internal/doctor"
	"weft/internal/feed"
	"weft/internal/store"
)

// Self is what the doctor has to know of a server.
type Self struct {
	// Etcd is the store, below Prefix; Embedded says that it is a part of the server.
	Etcd     *store.Client
	Prefix   string
	Embedded bool
	// StateDir and Certificates are directories.
	StateDir, Certificates string
	Version                string
	PhysicalMTU            int
}

// Answer says how this server is, to itself or another: it is feed.ServerOptions.Self.
func (s Self) Answer(ctx context.Context, _ []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, hostPatience)
	defer cancel()
	f := doctor.ServerFacts{Version: s.Version}
	gap := func(what string, err error) { f.Gaps = append(f.Gaps, fmt.Sprintf("%s: %v", what, err)) }
	var err error
	if f.Disk, err = lookAtDisk(s.StateDir); err != nil {
		gap("the disk", err)
	}
	valid, err := feed.Validities(s.Certificates)
	if err != nil {
		gap("certificates", err)
	}
	for _, v := range valid {
		f.Certificates = append(f.Certificates, doctor.Certificate(v))
	}
	f.Etcd = s.etcd(ctx)
	// As late as can be: the clock is judged by it.
	f.At = time.Now().UTC()
	return json.Marshal(f)
}

func (s Self) etcd(ctx context.Context) doctor.Etcd {
	h := store.CheckHealth(ctx, s.Etcd, s.Prefix)
	e := doctor.Etcd{Embedded: s.Embedded, Alarms: h.Alarms}
	if h.Err != nil {
		e.Error = h.Err.Error()
	}
	e.Commit, e.WorstCommit = mostAndWorst(h.Commits)
	for _, p := range h.Endpoints {
		d := doctor.Endpoint{URL: p.URL, Version: p.Version, Leader: p.Leader, Learner: p.Learner, Size: p.Size, InUse: p.InUse, Quota: p.Quota, Behind: p.Behind}
		if p.Err != nil {
			d.Error = p.Err.Error()
		}
		e.Endpoints = append(e.Endpoints, d)
	}
	for _, m := range h.Members {
		e.Members = append(e.Members, doctor.Member{Name: m.Name, Learner: m.Learner, Leader: m.ID == h.Leader})
	}
	return e
}

// mostAndWorst are the median and the longest of sorted times.
func mostAndWorst(sorted []time.Duration) (most, worst time.Duration) {
	if len(sorted) == 0 {
		return 0, 0
	}
	return sorted[len(sorted)/2], sorted[len(sorted)-1]
}

// Writes to the disk that are timed, and their size: that of a small entry of etcd's log.
const (
	diskProbes = 5
	diskWrite  = 4096
)

// lookAtDisk times small writes to a file that is gone at once.
func lookAtDisk(dir string) (*doctor.Disk, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return nil, err
	}
	d := &doctor.Disk{Path: dir, Free: int64(st.Bavail) * st.Bsize, Size: int64(st.Blocks) * st.Bsize}
	f, err := os.CreateTemp(dir, ".doctor-*")
	if err != nil {
		return d, err
	}
	defer f.Close()
	if err := os.Remove(f.Name()); err != nil {
		return d, err
	}
	var took []time.Duration
	for range diskProbes {
		began := time.Now()
		if _, err := f.Write(make([]byte, diskWrite)); err != nil {
			return d, err
		}
		if err := unix.Fdatasync(int(f.Fd())); err != nil {
			return d, err
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	d.Sync, d.WorstSync = mostAndWorst(took)
	return d, nil
}
