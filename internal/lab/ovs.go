package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Datapaths of a private Open vSwitch.
const (
	// DatapathDummy replaces every device by one in memory: no root, no traffic outside.
	DatapathDummy = "dummy"
	// DatapathNetdev is the userspace datapath with real tap devices. It needs root,
	// and a network namespace of its own: it makes a device ovs-netdev, of which a
	// namespace can hold only one.
	DatapathNetdev = "netdev"
	// DatapathSystem is the kernel's. It needs root, the module openvswitch, and a
	// network namespace of its own: there is one such datapath in each.
	DatapathSystem = "system"
)

// DatapathVar is the environment variable that chooses the datapath of tests with devices.
const DatapathVar = "WEFT_DATAPATH"

// DatapathReal is the datapath on which tests run that need real devices: netdev, or what
// $WEFT_DATAPATH says. In the guest of `make test-kernel` it says system.
func DatapathReal() string {
	if d := os.Getenv(DatapathVar); d != "" {
		return d
	}
	return DatapathNetdev
}

// ovsSchema is where Debian puts the schema of the Open_vSwitch database.
const ovsSchema = "/usr/share/openvswitch/vswitch.ovsschema"

// maxSocketPath is the longest path that fits into a unix socket address.
const maxSocketPath = 107

// OVSOptions say what StartOVS starts.
type OVSOptions struct {
	// Dir holds the database, the sockets, the pid files and the logs. It must exist.
	// Keep it short: unix socket paths end at 107 bytes.
	Dir string
	// Datapath is DatapathDummy (the default), DatapathNetdev or DatapathSystem.
	Datapath string
	// NetNS is the path of the network namespace to run in; empty is that of the process.
	NetNS string
	// Machine runs it in a machine instead. Only there it looks at the routes of its
	// namespace, as a userspace datapath with tunnels must.
	Machine *Machine
}

// OVS is a running private Open vSwitch: one ovsdb-server and one ovs-vswitchd.
type OVS struct {
	// Dir is where everything of it is (its OVS_RUNDIR).
	Dir string
	// OVSDB is the address of the database, "unix:DIR/db.sock".
	OVSDB string
	// Datapath is the one that it was started with; bridges want it as datapath_type.
	Datapath string

	machine *Machine
	keeper  *keeper
	server  *exec.Cmd
	switchd *exec.Cmd
}

// Restart says how RestartVswitchd ends the old process.
type Restart int

// The ways to end ovs-vswitchd.
const (
	// Clean asks it to exit (SIGTERM).
	Clean Restart = iota
	// Crash kills it (SIGKILL).
	Crash
)

// StartOVS starts a private Open vSwitch and returns when it is configured. The
// daemons die with this process, whatever happens to it. A running system Open
// vSwitch is never touched: every socket and file is in Dir.
func StartOVS(ctx context.Context, opt OVSOptions) (*OVS, error) {
	if opt.Datapath == "" {
		opt.Datapath = DatapathDummy
	}
	if !slices.Contains([]string{DatapathDummy, DatapathNetdev, DatapathSystem}, opt.Datapath) {
		return nil, fmt.Errorf("start ovs: unknown datapath %q", opt.Datapath)
	}
	dir, err := filepath.Abs(opt.Dir)
	if err != nil {
		return nil, fmt.Errorf("start ovs: %w", err)
	}
	if n := len(filepath.Join(dir, "ovs-vswitchd.ctl")); n > maxSocketPath {
		return nil, fmt.Errorf("start ovs: directory %s makes socket paths of %d bytes, more than %d", dir, n, maxSocketPath)
	}
	k, err := newKeeper(func() error { return enter(opt.NetNS) })
	if err != nil {
		return nil, fmt.Errorf("start ovs: %w", err)
	}
	o := &OVS{Dir: dir, OVSDB: "unix:" + filepath.Join(dir, "db.sock"), Datapath: opt.Datapath, machine: opt.Machine, keeper: k}
	if err := o.start(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("start ovs: %w", err), o.Stop())
	}
	return o, nil
}

// HaveOVS says why a private Open vSwitch cannot be started here; nil if it can.
func HaveOVS() error {
	for _, b := range []string{"ovsdb-tool", "ovsdb-server", "ovs-vswitchd", "ovs-vsctl", "ovs-ofctl", "ovs-appctl"} {
		if _, err := exec.LookPath(b); err != nil {
			return err
		}
	}
	_, err := os.Stat(ovsSchema)
	return err
}

func (o *OVS) start(ctx context.Context) error {
	db := filepath.Join(o.Dir, "conf.db")
	if _, err := os.Stat(db); errors.Is(err, os.ErrNotExist) {
		if _, err := o.run("ovsdb-tool", "create", db, ovsSchema); err != nil {
			return err
		}
	}
	var err error
	o.server, err = o.daemon("ovsdb-server", db, "--remote=p"+o.OVSDB,
		"--remote=db:Open_vSwitch,Open_vSwitch,manager_options")
	if err != nil {
		return err
	}
	if err := o.await(ctx, o.server, filepath.Join(o.Dir, "db.sock")); err != nil {
		return err
	}
	if _, err := o.Vsctl("--no-wait", "init"); err != nil {
		return err
	}
	return o.startVswitchd(ctx)
}

func (o *OVS) startVswitchd(ctx context.Context) error {
	args := []string{o.OVSDB}
	if o.machine == nil {
		args = append(args, "--disable-system-route")
	}
	switch o.Datapath {
	case DatapathDummy:
		args = append(args, "--disable-system", "--enable-dummy=override")
	case DatapathNetdev:
		args = append(args, "--disable-system")
	}
	var err error
	if o.switchd, err = o.daemon("ovs-vswitchd", args...); err != nil {
		return err
	}
	if err := o.await(ctx, o.switchd, filepath.Join(o.Dir, "ovs-vswitchd.ctl")); err != nil {
		return err
	}
	// Without --no-wait this returns after the first reconfiguration.
	_, err = o.Vsctl("set", "Open_vSwitch", ".", "external_ids:lab="+fmt.Sprint(o.switchd.Process.Pid))
	return err
}

// daemon starts one of the two daemons in the foreground, so that its pid is known
// and Wait works; its output joins its log.
func (o *OVS) daemon(name string, args ...string) (*exec.Cmd, error) {
	ctl := filepath.Join(o.Dir, name+".ctl")
	// A crash leaves the socket behind, and await must not see the old one.
	if err := os.Remove(ctl); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	args = append(args, "--unixctl="+ctl, "--pidfile="+filepath.Join(o.Dir, name+".pid"),
		"--overwrite-pidfile", "--log-file="+filepath.Join(o.Dir, name+".log"), "-vconsole:off", "-vsyslog:off")
	cmd := exec.Command(name, args...)
	cmd.Dir = o.Dir
	cmd.Env = o.env()
	out := &tail{}
	cmd.Stdout, cmd.Stderr = out, out
	if err := o.begin(cmd); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return cmd, nil
}

func (o *OVS) begin(cmd *exec.Cmd) error {
	if o.machine != nil {
		return o.machine.Start(cmd)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	return o.keeper.do(cmd.Start)
}

// await waits until the daemon listens on its socket, or has died of something.
func (o *OVS) await(ctx context.Context, cmd *exec.Cmd, path string) error {
	deadline := time.Now().Add(15 * time.Second)
	for {
		// The file is there a moment before somebody listens.
		if c, err := net.Dial("unix", path); err == nil {
			return c.Close()
		}
		var info unix.Siginfo
		err := unix.Waitid(unix.P_PID, cmd.Process.Pid, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
		if err == nil && info.Signo != 0 {
			err := cmd.Wait()
			return fmt.Errorf("%s ended: %v: %s", cmd.Args[0], err, cmd.Stderr)
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s does not listen on %s within 15 s", cmd.Args[0], path)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// RestartVswitchd ends ovs-vswitchd and starts it again; the database stays.
func (o *OVS) RestartVswitchd(ctx context.Context, how Restart) error {
	if err := o.StopVswitchd(how); err != nil {
		return err
	}
	if err := o.startVswitchd(ctx); err != nil {
		return fmt.Errorf("restart ovs-vswitchd: %w", err)
	}
	return nil
}

// StopVswitchd ends ovs-vswitchd only; StartVswitchd brings it back.
func (o *OVS) StopVswitchd(how Restart) error {
	sig := syscall.SIGTERM
	if how == Crash {
		sig = syscall.SIGKILL
	}
	err := end(o.switchd, sig)
	o.switchd = nil
	return err
}

// StartVswitchd starts ovs-vswitchd after StopVswitchd.
func (o *OVS) StartVswitchd(ctx context.Context) error { return o.startVswitchd(ctx) }

// Stop ends both daemons and waits for them. The files in Dir stay. It may be called twice.
func (o *OVS) Stop() error {
	var err error
	if o.Datapath == DatapathSystem && o.switchd != nil {
		// The kernel keeps a datapath with its devices when its daemon goes.
		_, err = o.Appctl("exit", "--cleanup")
	}
	err = errors.Join(err, end(o.switchd, syscall.SIGTERM), end(o.server, syscall.SIGTERM))
	o.switchd, o.server = nil, nil
	o.keeper.close()
	return err
}

// Pids are the process IDs of ovsdb-server and ovs-vswitchd (0 when not running).
func (o *OVS) Pids() (server, switchd int) {
	if o.server != nil {
		server = o.server.Process.Pid
	}
	if o.switchd != nil {
		switchd = o.switchd.Process.Pid
	}
	return server, switchd
}

// end signals a daemon and reaps it, with SIGKILL after three seconds.
func end(cmd *exec.Cmd, sig syscall.Signal) error {
	if cmd == nil || cmd.Process == nil {
		return nil
	}
	if err := cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("%s: %w", cmd.Args[0], err)
	}
	t := time.AfterFunc(3*time.Second, func() { _ = cmd.Process.Kill() })
	defer t.Stop()
	err := cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return fmt.Errorf("%s: %w", cmd.Args[0], err)
	}
	return nil
}

// Vsctl runs ovs-vsctl on the private database and returns what it prints.
func (o *OVS) Vsctl(args ...string) (string, error) {
	return o.run("ovs-vsctl", append([]string{"--db=" + o.OVSDB, "--timeout=20"}, args...)...)
}

// Ofctl runs ovs-ofctl; a bridge is named by its name, as in ovs-ofctl itself.
func (o *OVS) Ofctl(args ...string) (string, error) {
	return o.run("ovs-ofctl", append([]string{"-O", "OpenFlow14", "--timeout=20"}, args...)...)
}

// Appctl runs ovs-appctl on the private ovs-vswitchd.
func (o *OVS) Appctl(args ...string) (string, error) {
	return o.run("ovs-appctl", append([]string{"--timeout=20", "-t", filepath.Join(o.Dir, "ovs-vswitchd.ctl")}, args...)...)
}

// env points every OVS program at Dir, so that none can find the system's own.
func (o *OVS) env() []string {
	return append(os.Environ(), "OVS_RUNDIR="+o.Dir, "OVS_LOGDIR="+o.Dir, "OVS_DBDIR="+o.Dir, "OVS_SYSCONFDIR="+o.Dir)
}

// Env is the environment in which OVS programs find the private daemons: for commands of a test's own.
func (o *OVS) Env() []string { return o.env() }

func (o *OVS) run(name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Env = o.env()
	cmd.Dir = o.Dir
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}

// keeper is one thread that starts the daemons and lives as long as they do: the
// kernel sends Pdeathsig when the *thread* that forked ends, not the process, and a
// child is born in the network namespace of that thread.
type keeper struct {
	calls chan func()
}

// newKeeper keeps a thread on which enter has been called.
func newKeeper(enter func() error) (*keeper, error) {
	k := &keeper{calls: make(chan func())}
	ready := make(chan error)
	go func() {
		// Never unlocked: the thread ends with the goroutine and takes its namespace along.
		runtime.LockOSThread()
		if err := enter(); err != nil {
			ready <- err
			return
		}
		ready <- nil
		for f := range k.calls {
			f()
		}
	}()
	return k, <-ready
}

func enter(netns string) error {
	if netns == "" {
		return nil
	}
	f, err := os.Open(netns)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Setns(int(f.Fd()), unix.CLONE_NEWNET)
}

func (k *keeper) do(f func() error) error {
	done := make(chan error)
	k.calls <- func() { done <- f() }
	return <-done
}

func (k *keeper) close() {
	if k.calls != nil {
		close(k.calls)
		k.calls = nil
	}
}

// tail keeps the first kilobyte that a daemon prints, for the error message.
type tail struct{ b []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.b = append(t.b, p[:min(len(p), 1024-min(1024, len(t.b)))]...)
	return len(p), nil
}

func (t *tail) String() string { return strings.TrimSpace(string(t.b)) }
