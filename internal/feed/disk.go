package feed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"weft/internal/model"
	"weft/internal/plan/view"
)

// diskFile is the name of the last known cloud in the agent's state directory.
const diskFile = "cloud.json"

// diskDelay is how long changes are gathered before the disk copy is written. The copy
// matters only to an agent that starts while the server is away.
const diskDelay = 200 * time.Millisecond

// diskCloud is the form of the file. Revision is the one at which the cloud was so.
type diskCloud struct {
	Format        int                   `json:"format"`
	Host          model.HostName        `json:"host"`
	Revision      int64                 `json:"revision"`
	Networks      []*model.Network      `json:"networks"`
	Subnets       []*model.Subnet       `json:"subnets"`
	Ports         []*model.Port         `json:"ports"`
	Groups        []*view.SecurityGroup `json:"security_groups"`
	Members       []*view.Member        `json:"security_group_members"`
	AddressGroups []*model.AddressGroup `json:"address_groups"`
	Peers         []*view.Peer          `json:"hosts"`
}

// diskFormat 1 had no security groups, and 2 no other hosts. A host that filtered, or
// removed its tunnels, by such a file would cut off its guests, so it is refused, and the
// switch stays as it is until the server comes.
const diskFormat = 3

// readDisk reads the last known cloud of host; ok is false when there is none.
func readDisk(dir string, host model.HostName) (c view.Cloud, rev int64, ok bool, err error) {
	data, err := os.ReadFile(filepath.Join(dir, diskFile))
	if errors.Is(err, fs.ErrNotExist) {
		return c, 0, false, nil
	}
	var d diskCloud
	if err == nil {
		err = json.Unmarshal(data, &d)
	}
	if err == nil && d.Format != diskFormat {
		err = fmt.Errorf("it is of format %d, not %d", d.Format, diskFormat)
	}
	if err == nil && d.Host != host {
		err = fmt.Errorf("it is of host %q", d.Host)
	}
	if err != nil {
		return c, 0, false, fmt.Errorf("last known cloud in %s: %w", filepath.Join(dir, diskFile), err)
	}
	c = view.NewCloud()
	for _, n := range d.Networks {
		c.Networks[n.ID] = n
	}
	for _, s := range d.Subnets {
		c.Subnets[s.ID] = s
	}
	for _, p := range d.Ports {
		c.Ports[p.ID] = p
	}
	for _, g := range d.Groups {
		c.Groups[g.ID] = g
	}
	for _, m := range d.Members {
		c.Members[view.MemberID{Group: m.Group, Port: m.Port}] = m
	}
	for _, a := range d.AddressGroups {
		c.AddressGroups[a.ID] = a
	}
	for _, h := range d.Peers {
		c.Peers[h.Host] = h
	}
	return c, d.Revision, true, nil
}

// writeDisk replaces the disk copy.
func writeDisk(dir string, host model.HostName, c view.Cloud, rev int64) error {
	d := diskCloud{Format: diskFormat, Host: host, Revision: rev,
		Networks: slices.Collect(maps.Values(c.Networks)), Subnets: slices.Collect(maps.Values(c.Subnets)),
		Ports: slices.Collect(maps.Values(c.Ports)), Groups: slices.Collect(maps.Values(c.Groups)),
		Members: slices.Collect(maps.Values(c.Members)), AddressGroups: slices.Collect(maps.Values(c.AddressGroups)),
		Peers: slices.Collect(maps.Values(c.Peers))}
	data, err := json.Marshal(d)
	if err == nil {
		err = makeDir(dir)
	}
	if err == nil {
		err = writeFile(filepath.Join(dir, diskFile), data)
	}
	if err != nil {
		return fmt.Errorf("keep the last known cloud in %s: %w", dir, err)
	}
	return nil
}

// keeper writes the disk copy in the background, coalesced.
type keeper struct {
	dir  string
	host model.HostName
	log  *slog.Logger
	// take gives the cloud to write.
	take func() (view.Cloud, int64)

	mu     sync.Mutex
	failed bool
	wake   chan struct{}
}

func (k *keeper) changed() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// run writes after changes, and once more when ctx ends with a change unwritten.
func (k *keeper) run(ctx context.Context) {
	delay := diskDelay
	for {
		select {
		case <-ctx.Done():
			select {
			case <-k.wake:
				k.write()
			default:
			}
			return
		case <-k.wake:
		}
		select {
		case <-ctx.Done():
			k.write()
			return
		case <-time.After(delay):
		}
		// Another change in the meantime is covered by this write.
		select {
		case <-k.wake:
		default:
		}
		begin := time.Now()
		k.write()
		// A large cloud that changes all the time takes a twentieth of one core at most.
		delay = max(diskDelay, 20*time.Since(begin))
	}
}

func (k *keeper) write() {
	cloud, rev := k.take()
	err := writeDisk(k.dir, k.host, cloud, rev)
	k.mu.Lock()
	was := k.failed
	k.failed = err != nil
	k.mu.Unlock()
	switch {
	case err != nil && !was:
		k.log.Warn("this host would forget its ports at a restart without the server", "err", err)
	case err == nil && was:
		k.log.Info("last known cloud is on disk again")
	}
}
