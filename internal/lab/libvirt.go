package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// libvirtFiles are what a libvirt of the lab is told. QEMU's output goes to files, as
// virtlogd is not there; QEMU runs as root and unconfined, as nothing here is anybody
// else's; and libvirt leaves control groups, mounts and device nodes alone. With another
// user than root libvirt would probe QEMU anew at each definition wherever that user may
// not open /dev/kvm, which takes half a minute.
var libvirtFiles = map[string]string{
	"libvirtd.conf": `auth_unix_rw = "none"
auth_unix_ro = "none"
log_outputs = "2:stderr"
`,
	"qemu.conf": `stdio_handler = "file"
security_driver = "none"
user = "root"
group = "root"
dynamic_ownership = 0
cgroup_controllers = []
namespaces = []
`,
	"libvirt.conf": "uri_default = \"qemu:///system\"\n",
}

// Libvirt is a running private libvirtd.
type Libvirt struct {
	cmd    *exec.Cmd
	log    *bytes.Buffer
	mounts []string
}

// HaveLibvirt says why a private libvirt cannot be started here; nil if it can.
func HaveLibvirt() error {
	for _, name := range []string{"libvirtd", "virsh", "qemu-system-x86_64"} {
		if _, err := LookPath(name); err != nil {
			return err
		}
	}
	// The driver is a package of its own on some systems.
	drivers, err := filepath.Glob("/usr/lib*/*/libvirt/connection-driver/libvirt_driver_qemu.so")
	if flat, _ := filepath.Glob("/usr/lib*/libvirt/connection-driver/libvirt_driver_qemu.so"); err == nil && len(drivers)+len(flat) == 0 {
		return errors.New("libvirt's driver for QEMU is not installed")
	}
	return err
}

// StartLibvirt starts a libvirtd that answers at qemu:///system of this process and its
// children. Its ovs-vsctl finds the given Open vSwitch and no other.
//
// libvirt's directories cannot be chosen, so the process must be isolated: empty ones are
// mounted over /etc/libvirt, /var/lib, /var/cache and /var/log until Stop. A libvirt that
// runs on the machine is not seen.
func StartLibvirt(ctx context.Context, ovs *OVS) (*Libvirt, error) {
	if !isolated {
		return nil, errors.New("start libvirt: this process is not isolated")
	}
	l := &Libvirt{log: &bytes.Buffer{}}
	if err := l.start(ctx, ovs); err != nil {
		return nil, errors.Join(fmt.Errorf("start libvirt: %w", err), l.Stop())
	}
	return l, nil
}

func (l *Libvirt) start(ctx context.Context, ovs *OVS) error {
	for _, dir := range []string{"/etc/libvirt", "/var/lib", "/var/cache", "/var/log"} {
		if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755"); err != nil {
			return fmt.Errorf("mount %s: %w", dir, err)
		}
		l.mounts = append(l.mounts, dir)
	}
	// These directories and the account belong to a package of libvirt's that a lab does
	// not need: it is the one that runs libvirt as a service.
	for _, dir := range []string{"/var/lib/libvirt/boot", "/var/log/libvirt/qemu"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	for _, file := range []string{"/etc/passwd", "/etc/group"} {
		if err := l.addAccount(file); err != nil {
			return err
		}
	}
	for name, text := range libvirtFiles {
		if err := os.WriteFile(filepath.Join("/etc/libvirt", name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	libvirtd, err := LookPath("libvirtd")
	if err != nil {
		return err
	}
	l.cmd = exec.Command(libvirtd)
	l.cmd.Env = ovs.Env()
	l.cmd.Stdout, l.cmd.Stderr = l.log, l.log
	// Guests hold the standard error of the daemon that made them.
	l.cmd.WaitDelay = time.Second
	l.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := startHere(l.cmd); err != nil {
		return err
	}
	deadline := time.Now().Add(30 * time.Second)
	for {
		// It listens before it has loaded its drivers, and an ill driver ends it.
		if _, err := l.Virsh("version"); err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("libvirtd does not answer within 30 s")
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// addAccount puts a copy of /etc/passwd or /etc/group in its place, for this mount
// namespace only, that has the account of Debian's libvirt; without it libvirtd does not
// start, even if told to use another.
func (l *Libvirt) addAccount(file string) error {
	const name = "libvirt-qemu"
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	text := string(b)
	if strings.HasPrefix(text, name+":") || strings.Contains(text, "\n"+name+":") {
		return nil
	}
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	line := name + ":x:64055:64055::/var/lib/libvirt:/usr/sbin/nologin\n"
	if file == "/etc/group" {
		line = name + ":x:64055:\n"
	}
	cover := filepath.Join("/etc/libvirt", filepath.Base(file))
	if err := os.WriteFile(cover, []byte(text+line), 0o644); err != nil {
		return err
	}
	if err := unix.Mount(cover, file, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount %s: %w", file, err)
	}
	l.mounts = append(l.mounts, file)
	return nil
}

// Virsh runs virsh and returns what it prints.
func (l *Libvirt) Virsh(args ...string) (string, error) {
	cmd := exec.Command("virsh", append([]string{"-q", "-c", "qemu:///system"}, args...)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("virsh %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}

// Log is what libvirtd has said; to be called after Stop.
func (l *Libvirt) Log() string { return l.log.String() }

// Stop destroys all domains, ends libvirtd and takes the mounts away.
func (l *Libvirt) Stop() error {
	var errs []error
	if l.cmd != nil && l.cmd.Process != nil {
		out, _ := l.Virsh("list", "--name")
		for _, name := range strings.Fields(out) {
			_, err := l.Virsh("destroy", name)
			errs = append(errs, err)
		}
		errs = append(errs, end(l.cmd, syscall.SIGTERM))
		l.cmd = nil
	}
	for len(l.mounts) > 0 {
		last := l.mounts[len(l.mounts)-1]
		l.mounts = l.mounts[:len(l.mounts)-1]
		// Lazily: somebody's working directory may be there.
		if err := unix.Unmount(last, unix.MNT_DETACH); err != nil {
			errs = append(errs, fmt.Errorf("unmount %s: %w", last, err))
		}
	}
	return errors.Join(errs...)
}
