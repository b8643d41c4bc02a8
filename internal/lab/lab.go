// Package lab makes private places to run the real thing in: namespaces that die with
// the process, an Open vSwitch of one's own, a small Linux guest.
//
// Tests, `weft demo` and the benchmarks use it; the daemons never do. Everything made
// here is gone when the process is, however it ends, and nothing of the machine's own
// (its Open vSwitch, its namespaces, its ports 6633, 6640 and 9696) is seen or touched.
package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// stageVar tells a re-executed process which part of Isolate it has to play. It is
// removed from the environment before the program proper goes on, so that its children
// can isolate themselves again.
const stageVar = "WEFT_LAB_STAGE"

const (
	stageInit = "init"
	stageRun  = "run"
)

// ErrNotRoot is returned by Isolate to a caller without root's rights.
var ErrNotRoot = errors.New("new namespaces need root")

var isolated bool

// Isolated reports whether this process runs in namespaces made by Isolate.
func Isolated() bool { return isolated }

// Isolate runs the rest of this program in network, mount and process namespaces of its own.
//
// It re-executes the program with the same arguments and, in the original process, does
// not return: it passes signals on, waits and exits with the same code. In the new
// process it returns nil; there the loopback is up, /run is an empty tmpfs (so that no
// daemon of the machine can be reached by its usual socket), /run/netns is ready for
// named namespaces, and /proc and /sys show the new namespaces. When the program ends,
// or its original process is killed, the kernel kills everything it has started.
//
// An error means that isolation is not possible and that nothing has happened.
// Call it first thing in main or TestMain, before goroutines are started.
func Isolate() error {
	switch os.Getenv(stageVar) {
	case stageInit:
		runInit()
	case stageRun:
		isolated = true
		return os.Unsetenv(stageVar)
	}
	if os.Geteuid() != 0 {
		return ErrNotRoot
	}
	return outer()
}

// outer starts the init stage in new namespaces and, once that has started, becomes its shadow.
func outer() error {
	// The child must be killed when its parent's *thread* ends; so the thread must not end before.
	runtime.LockOSThread()
	cmd := self(stageInit)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWPID,
		Pdeathsig:  syscall.SIGKILL,
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start in new namespaces: %w", err)
	}
	sigs := make(chan os.Signal, 8)
	signal.Notify(sigs, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	go func() {
		for s := range sigs {
			_ = cmd.Process.Signal(s)
		}
	}()
	err := cmd.Wait()
	os.Exit(exitCode(cmd.ProcessState, err))
	return nil
}

// SelfExe is this program to whoever starts it again: its own path may be hidden by the
// mounts of the isolation.
const SelfExe = "/proc/self/exe"

// self is this program once more, to play the given stage.
func self(stage string) *exec.Cmd {
	cmd := exec.Command(SelfExe, os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, stageVar+"=") {
			cmd.Env = append(cmd.Env, e)
		}
	}
	cmd.Env = append(cmd.Env, stageVar+"="+stage)
	return cmd
}

// runInit is process 1 of the new process namespace: it prepares the namespaces, starts
// the program proper, buries the dead (daemons that detach become its children) and
// never returns.
func runInit() {
	if err := prepare(); err != nil {
		fmt.Fprintln(os.Stderr, "isolate:", err)
		os.Exit(125)
	}
	cmd := self(stageRun)
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(os.Stderr, "isolate:", err)
		os.Exit(125)
	}
	pid := cmd.Process.Pid
	// A terminal's Ctrl-C reaches the child by itself, and outer passes it on as well: a
	// second SIGINT must not hurt. The others come through outer only.
	sigs := make(chan os.Signal, 8)
	signal.Notify(sigs, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	go func() {
		for s := range sigs {
			_ = syscall.Kill(pid, s.(syscall.Signal))
		}
	}()
	for {
		var ws syscall.WaitStatus
		got, err := syscall.Wait4(-1, &ws, 0, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil {
			os.Exit(125)
		}
		if got == pid {
			os.Exit(statusCode(ws))
		}
	}
}

// prepare gives the new namespaces their mounts and their loopback.
func prepare() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	if err := unix.Mount("tmpfs", "/run", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755"); err != nil {
		return fmt.Errorf("mount /run: %w", err)
	}
	if err := os.MkdirAll("/run/netns", 0o755); err != nil {
		return err
	}
	// /var/run is /run on Debian; where it is a directory of its own it gets the same.
	if fi, err := os.Lstat("/var/run"); err == nil && fi.IsDir() {
		if err := unix.Mount("/run", "/var/run", "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("mount /var/run: %w", err)
		}
	}
	// sysfs shows the network namespace in which it was mounted. Some containers forbid
	// this mount; nothing here needs it.
	_ = unix.Mount("sysfs", "/sys", "sysfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("loopback: %w", err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return fmt.Errorf("loopback up: %w", err)
	}
	return nil
}

func exitCode(ps *os.ProcessState, err error) int {
	if ps == nil {
		fmt.Fprintln(os.Stderr, "isolate:", err)
		return 125
	}
	if ws, ok := ps.Sys().(syscall.WaitStatus); ok {
		return statusCode(ws)
	}
	return ps.ExitCode()
}

// statusCode is the exit code by shells' custom: 128 more than the signal for the killed.
func statusCode(ws syscall.WaitStatus) int {
	if ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return ws.ExitStatus()
}
