package lab

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Machine stands for a computer: processes with network, mount, process and host name namespaces of their own, and
// with a /run/netns of their own. It shares the files of the process that made it, which must be isolated.
type Machine struct {
	Name string
	// Dir is where its files are: Dir/ovs is /run/openvswitch in the machine.
	Dir string

	init   *exec.Cmd
	keeper *keeper
}

// machineInit is process 1 of a machine. What it mounts must not appear outside: "ip netns add" there has made
// /run/netns a mount that is shared with copies.
const machineInit = `set -e
mount --make-rprivate /
echo "$0" >/proc/sys/kernel/hostname
mount -t proc proc /proc
mount -t tmpfs tmpfs /run/netns
mount -t sysfs sysfs /sys 2>/dev/null || :
ip link set lo up
mkdir -p /run/openvswitch "$1/ovs"
mount --bind "$1/ovs" /run/openvswitch
echo up
exec sleep infinity`

// NewMachine makes a machine with nothing but its loopback; its files are in a directory of its name in dir.
func NewMachine(name, dir string) (*Machine, error) {
	m := &Machine{Name: name, Dir: filepath.Join(dir, name)}
	var err error
	if m.keeper, err = newKeeper(m.boot); err != nil {
		m.Close()
		return nil, fmt.Errorf("machine %s: %w", name, err)
	}
	return m, nil
}

// boot starts process 1 and takes the calling thread into its namespaces; all processes of the machine come from there.
func (m *Machine) boot() error {
	ip, err := LookPath("ip") // an early word where iproute2 is missing
	if err != nil {
		return err
	}
	m.init = exec.Command("sh", "-c", machineInit, m.Name, m.Dir)
	m.init.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":"+strings.TrimSuffix(ip, "/ip"))
	var trouble bytes.Buffer
	m.init.Stderr = &trouble
	m.init.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true,
		Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWUTS}
	out, err := m.init.StdoutPipe()
	if err != nil {
		return err
	}
	if err := m.init.Start(); err != nil {
		return err
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "up\n" {
		return fmt.Errorf("does not start: %w: %s%s", m.init.Wait(), line, &trouble)
	}
	return m.enter()
}

// enter takes the calling thread, for good, into the machine. Only what it starts is in the machine's process namespace.
func (m *Machine) enter() error {
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return err
	}
	kinds := map[string]int{"net": unix.CLONE_NEWNET, "uts": unix.CLONE_NEWUTS, "pid": unix.CLONE_NEWPID, "mnt": unix.CLONE_NEWNS}
	files := map[string]*os.File{}
	for kind := range kinds {
		f, err := os.Open(m.namespace(kind))
		if err != nil {
			return err
		}
		defer f.Close()
		files[kind] = f
	}
	for kind, flag := range kinds {
		if err := unix.Setns(int(files[kind].Fd()), flag); err != nil {
			return fmt.Errorf("enter its %s namespace: %w", kind, err)
		}
	}
	return nil
}

func (m *Machine) namespace(kind string) string {
	return fmt.Sprintf("/proc/%d/ns/%s", m.init.Process.Pid, kind)
}

// Do runs f on the machine's thread: sockets that it opens are the machine's, files are looked up there, and what it
// starts runs there. f must not block for long, for others wait, nor start goroutines that need the machine.
func (m *Machine) Do(f func() error) error { return m.keeper.do(f) }

// Run runs a program in the machine and returns all that it prints.
func (m *Machine) Run(name string, args ...string) (string, error) {
	var out bytes.Buffer
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	err := m.Start(cmd)
	if err == nil {
		err = cmd.Wait()
	}
	if err != nil {
		return out.String(), fmt.Errorf("%s: %s %s: %w: %s", m.Name, name, strings.Join(args, " "), err, strings.TrimSpace(out.String()))
	}
	return out.String(), nil
}

// Start starts a command in the machine. It is killed when the machine is, and so when the maker is; the caller must wait for it.
func (m *Machine) Start(cmd *exec.Cmd) error {
	// No Pdeathsig: Go's way to it takes the parent, unseen from another process namespace, for dead.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return m.Do(cmd.Start)
}

// Expose gives a named network namespace of the machine the same name outside of it.
func (m *Machine) Expose(ns string) error {
	to := filepath.Join("/run/netns", ns)
	if err := os.WriteFile(to, nil, 0o444); err != nil {
		return err
	}
	from := fmt.Sprintf("/proc/%d/root/run/netns/%s", m.init.Process.Pid, ns)
	if err := unix.Mount(from, to, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("expose namespace %s of %s: %w", ns, m.Name, err)
	}
	return nil
}

// Process is a program that runs in a machine.
type Process struct {
	Done chan struct{}
	Err  error // how it ended, once Done is closed

	cmd *exec.Cmd
}

// Daemon starts a program in the machine, its output appended to a file.
func (m *Machine) Daemon(log string, env []string, name string, args ...string) (*Process, error) {
	out, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	p := &Process{cmd: exec.Command(name, args...), Done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr, p.cmd.Env = out, out, env
	if err := m.Start(p.cmd); err != nil {
		return nil, fmt.Errorf("%s: %w", m.Name, err)
	}
	go func() {
		defer close(p.Done)
		p.Err = p.cmd.Wait()
	}()
	return p, nil
}

// Stop asks a process to end, and insists after ten seconds. It may be called twice.
func (p *Process) Stop() error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.Done:
		return p.Err
	case <-time.After(10 * time.Second):
		p.Kill()
		return fmt.Errorf("%s did not end within 10 s of SIGTERM", p.cmd)
	}
}

// Signal is for SIGSTOP and SIGCONT.
func (p *Process) Signal(s syscall.Signal) error { return p.cmd.Process.Signal(s) }

// Kill is kill -9.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill()
	<-p.Done
}

// Close ends the machine and every process in it. Those who started them must be waiting for them.
func (m *Machine) Close() {
	if m.init == nil || m.init.Process == nil {
		return
	}
	_ = m.init.Process.Kill()
	_ = m.init.Wait()
	m.keeper.close()
	m.init = nil
}
