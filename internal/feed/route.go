package feed

import (
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
)

// routeFile is the name of what a host learned of servers, in the agent's state directory.
const routeFile = "servers.json"

// route is the order in which a host tries servers: any order, but each host another one,
// so that the hosts spread over the servers.
type route struct {
	configured []string
	dir        string // empty: nothing is kept
	log        *slog.Logger

	mu      sync.Mutex
	learned []string
	order   []string
	at      int // the next to try
}

func newRoute(o ClientOptions, log *slog.Logger) *route {
	r := &route{configured: o.Servers, log: log}
	if !o.Observe {
		r.dir = o.StateDir
	}
	if o.StateDir != "" {
		data, err := os.ReadFile(filepath.Join(o.StateDir, routeFile))
		if err == nil {
			err = json.Unmarshal(data, &r.learned)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			log.Warn("cannot read which servers there are; those of the settings are tried", "err", err)
		}
	}
	r.extend()
	return r
}

// KnownServers are the configured servers and those that the host whose state directory this
// is has learned of since, in any order.
func KnownServers(dir string, configured []string) []string {
	return newRoute(ClientOptions{Servers: configured, StateDir: dir}, slog.New(slog.DiscardHandler)).order
}

// extend brings the order up to what is known: what is new gets a random place among those
// that are still to be tried, what nobody names any more goes.
func (r *route) extend() {
	known := slices.Concat(r.configured, r.learned)
	for i := len(r.order) - 1; i >= 0; i-- {
		if !slices.Contains(known, r.order[i]) {
			r.order = slices.Delete(r.order, i, i+1)
			if i < r.at {
				r.at--
			}
		}
	}
	for _, s := range known {
		if !slices.Contains(r.order, s) {
			r.at = min(r.at, len(r.order))
			i := r.at + rand.IntN(len(r.order)-r.at+1)
			r.order = slices.Insert(r.order, i, s)
		}
	}
}

// next is the server to try, and how many there are.
func (r *route) next() (server string, known int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.order) == 0 {
		return "", 1
	}
	if r.at >= len(r.order) {
		r.at = 0
	}
	server = r.order[r.at]
	r.at++
	return server, len(r.order)
}

// learn takes over what a server says of all servers; nothing when it says nothing.
func (r *route) learn(servers []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(servers) == 0 || slices.Equal(servers, r.learned) {
		return
	}
	r.learned = slices.Clone(servers)
	r.extend()
	if r.dir == "" {
		return
	}
	data, err := json.Marshal(r.learned)
	if err == nil {
		err = makeDir(r.dir)
	}
	if err == nil {
		err = writeFile(filepath.Join(r.dir, routeFile), data)
	}
	if err != nil {
		r.log.Warn("this host would not know the further servers after a restart", "err", err)
	}
}
