package ovs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// defaultRunDir is where the daemons have their sockets when the database is elsewhere.
const defaultRunDir = "/var/run/openvswitch"

// Control asks ovs-vswitchd on its control socket what ovs-appctl asks. Its connection
// stays open between calls, which are made one at a time.
type Control struct {
	// Dir is the directory of ovs-vswitchd's pid file and control socket.
	Dir string

	mu   sync.Mutex
	conn net.Conn
	dec  *json.Decoder
	id   int
}

// reply is the answer to a call. One of Result and Error is null.
type reply struct {
	ID     int     `json:"id"`
	Result *string `json:"result"`
	Error  *string `json:"error"`
}

// Call runs a command of ovs-vswitchd and returns what it prints. It is bounded by ctx and
// by the time that any call may take.
func (c *Control) Call(ctx context.Context, command string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	c.mu.Lock()
	defer c.mu.Unlock()
	reused := c.conn != nil
	out, err := c.call(ctx, command, args)
	if err != nil && c.conn == nil && reused && ctx.Err() == nil {
		// ovs-vswitchd has been restarted since the last call.
		out, err = c.call(ctx, command, args)
	}
	if err != nil {
		return "", fmt.Errorf("ovs-vswitchd: %s: %w", command, err)
	}
	return out, nil
}

// call makes one attempt. A connection on which it failed is closed and forgotten.
func (c *Control) call(ctx context.Context, command string, args []string) (string, error) {
	if err := c.dial(ctx); err != nil {
		return "", err
	}
	conn := c.conn
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	r, err := c.exchange(command, args)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		c.close()
		return "", errors.Join(ctx.Err(), err)
	}
	if r.Error != nil {
		return "", errors.New(strings.TrimSpace(*r.Error))
	}
	if r.Result == nil {
		return "", nil
	}
	return *r.Result, nil
}

// exchange sends a request and reads its answer.
func (c *Control) exchange(command string, args []string) (reply, error) {
	c.id++
	if args == nil {
		args = []string{}
	}
	request, err := json.Marshal(map[string]any{"id": c.id, "method": command, "params": args})
	if err != nil {
		return reply{}, err
	}
	if _, err := c.conn.Write(request); err != nil {
		return reply{}, err
	}
	var r reply
	if err := c.dec.Decode(&r); err != nil {
		return reply{}, err
	}
	if r.ID != c.id {
		return reply{}, fmt.Errorf("the answer is to request %d, not %d", r.ID, c.id)
	}
	return r, nil
}

// dial connects if there is no connection.
func (c *Control) dial(ctx context.Context) error {
	if c.conn != nil {
		return nil
	}
	pid, err := os.ReadFile(filepath.Join(c.Dir, "ovs-vswitchd.pid"))
	if err != nil {
		return err
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", filepath.Join(c.Dir, "ovs-vswitchd."+strings.TrimSpace(string(pid))+".ctl"))
	if errors.Is(err, os.ErrNotExist) {
		// Started with --unixctl, as our tests do, for a name without the pid.
		conn, err = d.DialContext(ctx, "unix", filepath.Join(c.Dir, "ovs-vswitchd.ctl"))
	}
	if err != nil {
		return err
	}
	c.conn, c.dec = conn, json.NewDecoder(conn)
	return nil
}

// Close closes the connection; the next call makes another.
func (c *Control) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.close()
}

func (c *Control) close() {
	if c.conn != nil {
		_ = c.conn.Close()
	}
	c.conn, c.dec = nil, nil
}

// controlDir is the directory of ovs-vswitchd's control socket: where the database has its own.
func controlDir(ovsdb string) string {
	if path, ok := strings.CutPrefix(ovsdb, "unix:"); ok {
		return filepath.Dir(path)
	}
	return defaultRunDir
}

// aliveTimeout is how long a daemon may take to say that it is there.
const aliveTimeout = 2 * time.Second

// silent is the error of a daemon that is there and does not answer: stopped, or in trouble.
type silent struct{}

func (silent) Error() string { return fmt.Sprintf("no answer within %v", aliveTimeout) }

func (silent) Is(target error) bool { return target == context.DeadlineExceeded }

// Alive asks both daemons whether they are there. A connection does not tell: the process at the other
// end may be stopped.
func (s *Switch) Alive(ctx context.Context) (database, vswitchd error) {
	ctx, cancel := context.WithTimeout(ctx, aliveTimeout)
	defer cancel()
	var wg sync.WaitGroup
	wg.Go(func() { database = s.db.Load().echo(ctx) })
	wg.Go(func() {
		_, err := s.control.Call(ctx, "version")
		vswitchd = errors.Unwrap(err)
	})
	wg.Wait()
	if database != nil && ctx.Err() != nil {
		database = silent{}
	}
	if errors.Is(vswitchd, context.DeadlineExceeded) {
		vswitchd = silent{}
	}
	return database, vswitchd
}

// Trace tells what the bridge does with a packet, as ofproto/trace prints it. The flow is
// in ovs-ofctl syntax. Each ctNext is what conntrack answers to one ct action, in order
// ("trk,new"); without one the packet counts as new.
func (s *Switch) Trace(ctx context.Context, bridge, flow string, ctNext ...string) (string, error) {
	args := []string{bridge, flow}
	for _, state := range ctNext {
		args = append(args, "--ct-next", state)
	}
	return s.control.Call(ctx, "ofproto/trace", args...)
}
