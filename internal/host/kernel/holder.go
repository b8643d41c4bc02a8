package kernel

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
)

// Holder is the process that holds the other end of a tap: that of the virtual machine.
type Holder struct {
	PID int
	// Name is the process's, as ps shows it; Domain that of the virtual machine, if the command line tells.
	Name, Domain string
}

// Holders finds out who holds taps. It remembers where it found them: to look through all open
// files of a hypervisor takes long. It is safe for concurrent use.
type Holders struct {
	mu sync.Mutex
	// at is the file in /proc that tells of an open tap, by the tap's name.
	at map[string]string
}

// procDir is where the kernel shows processes.
const procDir = "/proc"

// Of returns who holds a tap, and whether that can be seen.
func (h *Holders) Of(tap string) (Holder, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if tapOf(h.at[tap]) != tap {
		h.at = openTaps()
	}
	pid, err := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(h.at[tap]))))
	if err != nil {
		return Holder{}, false
	}
	dir := filepath.Join(procDir, strconv.Itoa(pid))
	name, _ := os.ReadFile(filepath.Join(dir, "comm"))
	command, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
	return Holder{PID: pid, Name: strings.TrimSpace(string(name)), Domain: domainOf(strings.Split(string(command), "\x00"))}, true
}

// openTaps are the files in /proc that tell of open taps. What cannot be read is passed over.
func openTaps() map[string]string {
	all := map[string]string{}
	fds, _ := filepath.Glob(filepath.Join(procDir, "[0-9]*", "fd"))
	for _, dir := range fds {
		files, err := os.ReadDir(dir)
		if err != nil {
			continue
		}
		for _, f := range files {
			if to, err := os.Readlink(filepath.Join(dir, f.Name())); err != nil || !strings.HasSuffix(to, "/net/tun") {
				continue
			}
			info := filepath.Join(filepath.Dir(dir), "fdinfo", f.Name())
			if tap := tapOf(info); tap != "" {
				all[tap] = info
			}
		}
	}
	return all
}

// tapOf reads which tap an open file is; empty for none.
func tapOf(info string) string {
	b, err := os.ReadFile(info)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(b)) {
		if name, ok := strings.CutPrefix(line, "iff:"); ok {
			return strings.TrimSpace(name)
		}
	}
	return ""
}

// domainOf reads the name of the virtual machine from QEMU's command line, as libvirt writes it:
// -name guest=instance-00000001,debug-threads=on.
func domainOf(args []string) string {
	for i, a := range args[:max(0, len(args)-1)] {
		if a != "-name" && a != "--name" {
			continue
		}
		for option := range strings.SplitSeq(args[i+1], ",") {
			if name, ok := strings.CutPrefix(option, "guest="); ok {
				return name
			}
		}
		name, _, _ := strings.Cut(args[i+1], ",")
		return name
	}
	return ""
}
