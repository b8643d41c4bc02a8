package lab

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Guest is the small Linux that scripts/guest.sh makes.
type Guest struct {
	Kernel string
	Initrd string
}

// FindGuest looks for the guest's files in dir or, when dir is empty, in $WEFT_GUEST_DIR,
// in .cache/guest of the working directory and of those above it, and in ~/.cache/weft/guest.
func FindGuest(dir string) (Guest, error) {
	var dirs []string
	switch env := os.Getenv("WEFT_GUEST_DIR"); {
	case dir != "":
		dirs = []string{dir}
	case env != "":
		dirs = []string{env}
	default:
		wd, err := os.Getwd()
		for err == nil {
			dirs = append(dirs, filepath.Join(wd, ".cache", "guest"))
			if wd == filepath.Dir(wd) {
				break
			}
			wd = filepath.Dir(wd)
		}
		if cache, err := os.UserCacheDir(); err == nil {
			dirs = append(dirs, filepath.Join(cache, "weft", "guest"))
		}
	}
	for _, d := range dirs {
		g := Guest{Kernel: filepath.Join(d, "vmlinuz"), Initrd: filepath.Join(d, "initrd")}
		if isFile(g.Kernel) && isFile(g.Initrd) {
			return g, nil
		}
	}
	return Guest{}, fmt.Errorf("no guest kernel in %s: run scripts/guest.sh first", strings.Join(dirs, ", "))
}

func isFile(name string) bool {
	fi, err := os.Stat(name)
	return err == nil && fi.Mode().IsRegular() && fi.Size() > 0
}

// GuestOptions says how a guest is started.
type GuestOptions struct {
	Guest Guest
	// Tap is an existing tap device; MAC is the guest's own, MTU what the host tells it.
	Tap string
	MAC string
	MTU int
	// Demo makes the guest run through the demo's steps, reporting each; with Peer it gets an
	// address and pings that one; with neither it gets an address and then offers a shell. It
	// always runs until Stop.
	Demo bool
	Peer string
	// Machine is where it runs, if not beside the caller.
	Machine *Machine
	// Accel is "kvm", "tcg" or empty: kvm if it works.
	Accel string
	// Console receives all that the guest prints; nil means nobody does.
	Console io.Writer
}

// GuestEvent is one report of the guest: "weft-guest: lease ip=10.10.0.121 ...".
type GuestEvent struct {
	Name   string
	Fields map[string]string
}

// GuestVM is a running guest.
type GuestVM struct {
	Accel  string
	events chan GuestEvent
	cmd    *exec.Cmd
	errOut *strings.Builder
	done   chan struct{}
	err    error
}

// StartGuest boots the guest in QEMU. It runs until it powers off, the context ends or Stop is called.
func StartGuest(ctx context.Context, o GuestOptions) (*GuestVM, error) {
	qemu, err := LookPath("qemu-system-x86_64")
	if err != nil {
		return nil, err
	}
	accel := o.Accel
	if accel == "" {
		accel = Accel(ctx)
	}
	nic := "virtio-net-pci,netdev=nic0,mac=" + o.MAC
	if o.MTU > 0 {
		nic += fmt.Sprintf(",host_mtu=%d", o.MTU)
	}
	// An emulated timer that comes late, on a busy machine, is not broken: without the check, which panics, the guest
	// boots. Whatever else makes it panic ends QEMU, so that nobody waits for it.
	kernelArgs := "console=ttyS0 quiet loglevel=1 no_timer_check panic=-1"
	if o.Demo {
		kernelArgs += " weft.demo"
	}
	if o.Peer != "" {
		kernelArgs += " weft.peer=" + o.Peer
	}
	cmd := exec.CommandContext(ctx, qemu,
		"-accel", accel, "-m", "128", "-nodefaults", "-no-user-config", "-display", "none",
		"-no-reboot", "-serial", "stdio",
		"-kernel", o.Guest.Kernel, "-initrd", o.Guest.Initrd, "-append", kernelArgs,
		"-netdev", "tap,id=nic0,ifname="+o.Tap+",script=no,downscript=no",
		"-device", nic)
	start := startHere
	if o.Machine != nil {
		start = o.Machine.Start
	}
	vm := &GuestVM{Accel: accel, cmd: cmd, errOut: &strings.Builder{}, events: make(chan GuestEvent, 64), done: make(chan struct{})}
	cmd.Stderr = vm.errOut
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := start(cmd); err != nil {
		return nil, fmt.Errorf("start guest: %w", err)
	}
	go vm.read(out, o.Console)
	return vm, nil
}

// read passes the console on and picks the reports out of it.
func (vm *GuestVM) read(out io.Reader, console io.Writer) {
	defer close(vm.done)
	defer close(vm.events)
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		line := strings.TrimRight(lines.Text(), "\r")
		if console != nil {
			fmt.Fprintln(console, line)
		}
		if rest, ok := strings.CutPrefix(line, "weft-guest: "); ok {
			select {
			case vm.events <- parseGuestEvent(rest):
			default: // nobody is listening; the guest must not hang for that
			}
		}
	}
	if err := vm.cmd.Wait(); err != nil {
		vm.err = fmt.Errorf("guest: %w: %s", err, strings.TrimSpace(vm.errOut.String()))
	}
}

func parseGuestEvent(s string) GuestEvent {
	words := strings.Fields(s)
	e := GuestEvent{Fields: map[string]string{}}
	for i, w := range words {
		if k, v, ok := strings.Cut(w, "="); ok {
			e.Fields[k] = v
		} else if i == 0 {
			e.Name = w
		}
	}
	return e
}

// Next waits for the next report. After the last one the error is io.EOF, or says how QEMU failed.
func (vm *GuestVM) Next(ctx context.Context) (GuestEvent, error) {
	select {
	case e, ok := <-vm.events:
		if ok {
			return e, nil
		}
		<-vm.done
		if vm.err != nil {
			return e, vm.err
		}
		return e, io.EOF
	case <-ctx.Done():
		return GuestEvent{}, fmt.Errorf("waiting for the guest: %w", ctx.Err())
	}
}

// Expect waits for the report of that name, passing over others.
func (vm *GuestVM) Expect(ctx context.Context, name string) (GuestEvent, error) {
	for {
		e, err := vm.Next(ctx)
		if err != nil {
			return e, fmt.Errorf("guest did not report %q: %w", name, err)
		}
		if e.Name == name {
			return e, nil
		}
	}
}

// Stop ends the guest at once.
func (vm *GuestVM) Stop() {
	_ = vm.cmd.Process.Kill()
	<-vm.done
}

// startHere starts a command that must die with this process. The kernel ties that to
// the thread that started the child, and Go ends threads when it likes; so one thread
// is kept for it.
func startHere(cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	parent.once.Do(func() {
		parent.calls = make(chan func())
		go func() {
			runtime.LockOSThread()
			for f := range parent.calls {
				f()
			}
		}()
	})
	errc := make(chan error, 1)
	parent.calls <- func() { errc <- cmd.Start() }
	return <-errc
}

var parent struct {
	once  sync.Once
	calls chan func()
}

var accel struct {
	once sync.Once
	name string
}

// Accel is the accelerator that works for QEMU on this machine: "kvm" or "tcg".
//
// That /dev/kvm can be opened says little: inside some virtual machines it accepts a
// guest and then hangs. So a machine without disks is started, and its firmware must
// come to the point of looking for something to boot.
func Accel(ctx context.Context) string {
	accel.once.Do(func() {
		accel.name = "tcg"
		if kvmWorks(ctx) {
			accel.name = "kvm"
		}
	})
	return accel.name
}

func kvmWorks(ctx context.Context) bool {
	f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return false
	}
	f.Close()
	qemu, err := LookPath("qemu-system-x86_64")
	if err != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, 1500*time.Millisecond)
	defer cancel()
	cmd := exec.CommandContext(ctx, qemu, "-accel", "kvm", "-m", "16", "-nodefaults", "-no-user-config", "-display", "none",
		"-chardev", "stdio,id=log", "-device", "isa-debugcon,iobase=0x402,chardev=log")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return false
	}
	if err := startHere(cmd); err != nil {
		return false
	}
	works := false
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if strings.Contains(lines.Text(), "handle_19") {
			works = true
			break
		}
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	return works
}
