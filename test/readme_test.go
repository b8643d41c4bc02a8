package test

import (
	"bytes"
	"encoding/xml"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"weft/internal/lab"
	"weft/internal/lab/labtest"
)

var shellBlock = regexp.MustCompile("(?ms)^```sh\n(.*?)^```$")

// The steps of the README, copied and pasted, do what it says: every block marked sh, in
// order, in one shell. Only what would leave the test's namespaces is replaced: sudo
// (the test is root), systemctl (Open vSwitch runs) and make (weft is built).
func TestReadme(t *testing.T) {
	labtest.Require(t, "root", "ovs", "tun", "qemu", "guest", "curl")
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := shellBlock.FindAllSubmatch(readme, -1)
	if len(blocks) < 6 {
		t.Fatalf("%d blocks in the README", len(blocks))
	}
	script := "set -eu -o pipefail\n"
	for _, b := range blocks {
		// The guest has gone by then, and weft trace says so by its exit code.
		script += strings.ReplaceAll(string(b[1]), "weft trace vm1\n", "weft trace vm1 || test $? = 1\n")
		// Between the blocks a reader looks at what happens.
		script += "echo '--- end of block'\n"
	}
	const ovsDir = "/run/openvswitch"
	if err := os.MkdirAll(ovsDir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(ovsDir) })
	ovs, err := lab.StartOVS(t.Context(), lab.OVSOptions{Dir: ovsDir, Datapath: lab.DatapathNetdev})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ovs.Stop() })

	dir := readmeDir(t)
	cmd := exec.CommandContext(t.Context(), "bash", "-c", script)
	cmd.Dir = dir
	// There is no kernel module here, or it knows nothing of this namespace.
	cmd.Env = append(os.Environ(), "PATH="+dir+"/shims:"+os.Getenv("PATH")+":/usr/sbin:/sbin", "WEFT_DATAPATH_TYPE=netdev", "HOME="+dir)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out := &watched{want: "weft-guest: shell", found: func() {
		time.Sleep(300 * time.Millisecond)
		_, _ = io.WriteString(stdin, "poweroff -f\n")
	}}
	cmd.Stdout, cmd.Stderr = out, out
	timer := time.AfterFunc(6*time.Minute, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	err = cmd.Run()
	text := out.String()
	t.Log(text)
	if err != nil {
		log, _ := os.ReadFile(filepath.Join(dir, "weft.log"))
		t.Fatalf("%v\n%s", err, log)
	}
	for _, want := range []string{"DOWN\n", "ACTIVE after", "weft-guest: lease", "inet 10.20.0.", "BROKEN: Nothing holds the other end of", "binding:vif_type       ovs\n", "link/ether fa:16:3e",
		"the store is whole", "bridge br-int removed", "bridge br-tun removed", "namespace qdhcp-"} {
		if !strings.Contains(text, want) {
			t.Errorf("the README's steps do not show %q", want)
		}
	}
	if show, _ := ovs.Vsctl("show"); strings.Contains(show, "Bridge") {
		t.Errorf("left behind:\n%s", show)
	}
	links, _ := exec.Command("ip", "-br", "link").CombinedOutput()
	if strings.Contains(string(links), "tap") {
		t.Errorf("left behind:\n%s", links)
	}
	if _, err := os.Stat("/var/lib/weft"); err == nil {
		t.Error("left behind: /var/lib/weft")
	}
	checkInterfaceElement(t, readme)
}

// readmeDir is like a clone in which make build has been run.
func readmeDir(t *testing.T) string {
	t.Helper()
	// weft up keeps its state in /var/lib/weft, by default; that must not be the machine's.
	private(t, "/var/lib")
	t.Cleanup(func() {
		stopLeftOver(t)
		sweep(t)
	})
	dir := t.TempDir()
	guest, err := lab.FindGuest("")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{"bin", ".cache", "shims"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, target := range map[string]string{"bin/weft": weftBinary(t), ".cache/guest": filepath.Dir(guest.Kernel)} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	for name, body := range map[string]string{"sudo": `exec "$@"`, "systemctl": ":", "make": ":"} {
		if err := os.WriteFile(filepath.Join(dir, "shims", name), []byte("#!/bin/sh\n"+body+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// stopLeftOver ends the weft up of a document's steps, if the story ended before them: every
// process of that name, of which there are only the test's own in its process namespace.
func stopLeftOver(t *testing.T) {
	t.Helper()
	if !lab.Isolated() {
		return
	}
	for range 200 {
		left := false
		procs, _ := filepath.Glob("/proc/[0-9]*/comm")
		for _, p := range procs {
			if name, err := os.ReadFile(p); err != nil || string(name) != "weft\n" {
				continue
			}
			if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(p))); err == nil {
				left = true
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
		if !left {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("a weft does not end")
}

// private puts an empty tmpfs over a directory, in this test's mount namespace.
func private(t *testing.T, dir string) {
	t.Helper()
	if out, err := exec.Command("mount", "-t", "tmpfs", "tmpfs", dir).CombinedOutput(); err != nil {
		t.Fatalf("mount: %v: %s", err, out)
	}
	t.Cleanup(func() { _ = exec.Command("umount", dir).Run() })
}

// checkInterfaceElement holds the README's libvirt element to what a real compute node has.
func checkInterfaceElement(t *testing.T, readme []byte) {
	t.Helper()
	m := regexp.MustCompile("(?ms)^```xml\n(.*?)^```$").FindSubmatch(readme)
	if m == nil {
		t.Fatal("no xml in the README")
	}
	var e struct {
		Type string `xml:"type,attr"`
		MAC  struct {
			Address string `xml:"address,attr"`
		} `xml:"mac"`
		Source struct {
			Bridge string `xml:"bridge,attr"`
		} `xml:"source"`
		VirtualPort struct {
			Type       string `xml:"type,attr"`
			Parameters struct {
				ID string `xml:"interfaceid,attr"`
			} `xml:"parameters"`
		} `xml:"virtualport"`
		Target struct {
			Dev string `xml:"dev,attr"`
		} `xml:"target"`
		MTU struct {
			Size int `xml:"size,attr"`
		} `xml:"mtu"`
	}
	if err := xml.Unmarshal(m[1], &e); err != nil {
		t.Fatal(err)
	}
	if e.Type != "bridge" || e.MAC.Address != "MAC" || e.Source.Bridge != "br-int" || e.VirtualPort.Type != "openvswitch" ||
		e.VirtualPort.Parameters.ID != "PORT" || e.Target.Dev != "TAP" || e.MTU.Size != 1450 {
		t.Errorf("the element is %+v", e)
	}
}

// watched is a buffer that calls found once, when want has been written.
type watched struct {
	mu    sync.Mutex
	buf   bytes.Buffer
	want  string
	found func()
}

func (w *watched) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.buf.Write(b)
	if w.found != nil && strings.Contains(w.buf.String(), w.want) {
		go w.found()
		w.found = nil
	}
	return len(b), nil
}

func (w *watched) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.buf.String()
}
