package kernel

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Dir is where named namespaces are, as for ip-netns(8).
const Dir = "/run/netns"

// nsfsMagic is the file system type of a namespace that is mounted somewhere.
const nsfsMagic = 0x6e736673

// Do runs fn in the named network namespace, on a thread of its own; ns "" is the
// namespace of the process. What fn opens there (sockets, above all) keeps belonging to
// the namespace and may be used from anywhere.
//
// The thread is locked for as long as it is in the other namespace. Should it be
// impossible to bring it back, it dies with its goroutine instead of serving others.
// fn must not start goroutines that rely on the namespace: they run on other threads.
func Do(ns string, fn func() error) error {
	if ns == "" {
		return fn()
	}
	target, err := netns.GetFromPath(filepath.Join(Dir, ns))
	if err != nil {
		return fmt.Errorf("namespace %s: %w", ns, err)
	}
	defer target.Close()
	return onThread(func() error {
		if err := netns.Set(target); err != nil {
			return fmt.Errorf("enter namespace %s: %w", ns, err)
		}
		return fn()
	})
}

// onThread runs fn, which may change its thread's network namespace, on a locked thread
// and brings that back afterwards.
func onThread(fn func() error) error {
	result := make(chan error, 1)
	go func() {
		// A fn that leaves by runtime.Goexit must not leave the caller waiting.
		err := errors.New("function did not return")
		defer func() { result <- err }()
		runtime.LockOSThread()
		origin, gerr := netns.Get()
		if gerr != nil {
			runtime.UnlockOSThread()
			err = gerr
			return
		}
		defer origin.Close()
		defer func() {
			if netns.Set(origin) == nil {
				runtime.UnlockOSThread()
			}
		}()
		err = fn()
	}()
	return <-result
}

// exists reports whether the named namespace is there, and mounted.
func exists(name string) bool {
	var st unix.Statfs_t
	return unix.Statfs(filepath.Join(Dir, name), &st) == nil && int64(st.Type) == nsfsMagic
}

// create makes a named namespace as ip-netns does: a file with the namespace mounted on it.
func create(name string) error {
	if err := shareDir(); err != nil {
		return fmt.Errorf("prepare %s: %w", Dir, err)
	}
	path := filepath.Join(Dir, name)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDONLY, 0)
	if errors.Is(err, os.ErrExist) && !exists(name) {
		// Left by a process that died between the file and the mount.
		f, err = os.OpenFile(path, os.O_RDONLY, 0)
	}
	if err != nil {
		return err
	}
	f.Close()
	err = onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("unshare: %w", err)
		}
		self := fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid())
		if err := unix.Mount(self, path, "none", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("mount: %w", err)
		}
		return nil
	})
	if err != nil {
		os.Remove(path)
	}
	return err
}

// shareDir makes Dir a mount point whose mounts are seen in all mount namespaces, so
// that a namespace deleted in one does not live on in another.
func shareDir() error {
	if err := os.MkdirAll(Dir, 0o755); err != nil {
		return err
	}
	err := unix.Mount("", Dir, "none", unix.MS_SHARED|unix.MS_REC, "")
	if !errors.Is(err, unix.EINVAL) {
		return err
	}
	if err := unix.Mount(Dir, Dir, "none", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return err
	}
	return unix.Mount("", Dir, "none", unix.MS_SHARED|unix.MS_REC, "")
}

// remove deletes a named namespace. It lives on for as long as a process or socket is in it.
func remove(name string) error {
	path := filepath.Join(Dir, name)
	if err := unix.Unmount(path, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("unmount: %w", err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// CreateNamespace makes a named namespace with its loopback up, if there is none.
func CreateNamespace(name string) error {
	if !exists(name) {
		if err := create(name); err != nil {
			return err
		}
	}
	h, err := handleAt(name)
	if err != nil {
		return err
	}
	defer h.Close()
	return loopbackUp(h)
}

// RemoveNamespace deletes a named namespace; it is no error if there is none.
func RemoveNamespace(name string) error { return remove(name) }

// uuidName matches the names that we give; the rest of the proof that a namespace is
// ours is the mark on its loopback.
var uuidName = regexp.MustCompile(`^qdhcp-[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)

// named lists the namespaces whose names are of our kind.
func named() ([]string, error) {
	es, err := os.ReadDir(Dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range es {
		if strings.HasPrefix(e.Name(), "qdhcp-") && uuidName.MatchString(e.Name()) && exists(e.Name()) {
			out = append(out, e.Name())
		}
	}
	return out, nil
}
