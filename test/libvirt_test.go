package test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"weft/internal/lab"
	"weft/internal/lab/labtest"
)

// shell is one bash in which the steps of a document are pasted, one after the other.
type shell struct {
	t     *testing.T
	cmd   *exec.Cmd
	stdin io.WriteCloser
	lines chan string
}

func startShell(t *testing.T, dir string, env ...string) *shell {
	t.Helper()
	s := &shell{t: t, cmd: exec.CommandContext(t.Context(), "bash", "-eu", "-o", "pipefail"), lines: make(chan string, 256)}
	s.cmd.Dir, s.cmd.Env = dir, append(os.Environ(), env...)
	// What runs on in the background holds the shell's output.
	s.cmd.WaitDelay = time.Second
	var err error
	if s.stdin, err = s.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	r, w := io.Pipe()
	s.cmd.Stdout, s.cmd.Stderr = w, w
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(s.lines)
		for in := bufio.NewScanner(r); in.Scan(); {
			s.lines <- in.Text()
		}
	}()
	go func() { w.CloseWithError(s.cmd.Wait()) }()
	return s
}

// paste runs a block and returns all that it prints.
func (s *shell) paste(block string) string {
	s.t.Helper()
	const end = "--- end of block"
	began := time.Now()
	// A reader's terminal is no part of the block: nothing in it may read the blocks to come.
	if _, err := io.WriteString(s.stdin, "{\n"+block+"\n} </dev/null; echo '"+end+"'\n"); err != nil {
		s.t.Fatal(err)
	}
	var out strings.Builder
	limit := time.After(6 * time.Minute)
	for {
		select {
		case line, ok := <-s.lines:
			if !ok {
				s.t.Fatalf("the shell has ended in\n%s\n%s", block, out.String())
			}
			if line == end {
				s.t.Logf("%s\n(%s)\n%s", block, time.Since(began).Round(time.Millisecond), out.String())
				return out.String()
			}
			out.WriteString(line + "\n")
		case <-limit:
			s.t.Fatalf("takes more than two minutes:\n%s\n%s", block, out.String())
		}
	}
}

// value is what a variable of the shell holds.
func (s *shell) value(name string) string {
	s.t.Helper()
	return strings.TrimSpace(s.paste("echo $" + name))
}

// blocks are a document's steps.
func blocks(t *testing.T, file string) []string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, b := range shellBlock.FindAllSubmatch(text, -1) {
		out = append(out, strings.TrimSpace(string(b[1])))
	}
	return out
}

// libvirtHost is a machine with Open vSwitch, libvirt and weft, the latter started as the
// README says, and a shell in a clone.
func libvirtHost(t *testing.T) (*shell, *lab.OVS, *lab.Libvirt) {
	t.Helper()
	labtest.Require(t, "root", "ovs", "tun", "qemu", "guest", "curl", "jq", "libvirt")
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
	virt, err := lab.StartLibvirt(t.Context(), ovs)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := virt.Stop(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("libvirtd:\n%s", virt.Log())
		}
	})
	sh := startShell(t, dir, append(ovs.Env(), "PATH="+dir+"/shims:"+os.Getenv("PATH")+":/usr/sbin:/sbin", "WEFT_DATAPATH_TYPE=netdev")...)
	var up string
	for _, b := range blocks(t, "../README.md") {
		if strings.Contains(b, "bin/weft up") {
			up = b
			break
		}
	}
	sh.paste(up)
	t.Cleanup(func() { endWeft(t, dir, ovs) })
	t.Cleanup(func() {
		if t.Failed() {
			log, _ := os.ReadFile(filepath.Join(dir, "weft.log"))
			t.Logf("weft:\n%s", log)
		}
	})
	return sh, ovs, virt
}

// endWeft ends the weft that a shell has started, and removes what it leaves on the host.
func endWeft(t *testing.T, dir string, ovs *lab.OVS) {
	t.Helper()
	b, err := os.ReadFile("/var/lib/weft/server.lock")
	if err != nil {
		t.Error(err)
		return
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		t.Error(err)
		return
	}
	_ = syscall.Kill(pid, syscall.SIGTERM)
	for deadline := time.Now().Add(time.Minute); syscall.Kill(pid, 0) == nil; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Error("weft does not end within a minute of SIGTERM")
			_ = syscall.Kill(pid, syscall.SIGKILL)
			return
		}
	}
	cleanup := exec.Command(filepath.Join(dir, "bin/weft"), "cleanup")
	cleanup.Env = append(ovs.Env(), "WEFT_DATAPATH_TYPE=netdev")
	if out, err := cleanup.CombinedOutput(); err != nil {
		t.Errorf("weft cleanup: %v: %s", err, out)
	}
}

var (
	leaseLine = regexp.MustCompile(`weft-guest: lease mac=(\S+) ip=(\S+) `)
	apiLine   = regexp.MustCompile(`\{"status":"(\w+)","fixed_ips":.*"ip_address":"([0-9.]+)"`)
)

// The steps of docs/libvirt.md, copied and pasted: a domain of a real libvirt gets its NIC,
// its MAC and its IP, twice the same, and the port is DOWN in between and after.
func TestLibvirt(t *testing.T) {
	steps := blocks(t, "../docs/libvirt.md")
	if len(steps) != 6 {
		t.Fatalf("%d steps in docs/libvirt.md", len(steps))
	}
	sh, ovs, _ := libvirtHost(t)

	out := sh.paste(steps[0])
	if !strings.Contains(out, `"binding:vif_type":"ovs"`) || !strings.Contains(out, `"status":"DOWN"`) {
		t.Errorf("the new port: %s", out)
	}
	sh.paste(steps[1])
	port, mac, tap := sh.value("PORT"), sh.value("MAC"), sh.value("TAP")

	ip := checkStarted(t, sh.paste(steps[2]), mac)
	checkHost(t, sh.paste(steps[3]), ovs, port, mac, tap)

	out = sh.paste(steps[4])
	down, up, _ := strings.Cut(out, "started")
	if m := apiLine.FindStringSubmatch(down); m == nil || m[1] != "DOWN" || m[2] != ip {
		t.Errorf("after virsh destroy the port is not DOWN, or has another address than %s:\n%s", ip, down)
	}
	if again := checkStarted(t, up, mac); again != ip {
		t.Errorf("the second start got %s, the first %s", again, ip)
	}

	sh.paste(steps[5])
	if ports, _ := ovs.Vsctl("list-ports", "br-int"); strings.Contains(ports, "tap") {
		t.Errorf("left on br-int:\n%s", ports)
	}
	if out, err := exec.Command("ip", "link", "show", tap).CombinedOutput(); err == nil {
		t.Errorf("left behind: %s", out)
	}
}

// checkStarted holds what the guest says against what the API says, and returns its address.
func checkStarted(t *testing.T, out, mac string) (ip string) {
	t.Helper()
	lease, api := leaseLine.FindStringSubmatch(out), apiLine.FindStringSubmatch(out)
	if lease == nil || api == nil {
		t.Fatalf("no lease or no port in\n%s", out)
	}
	if lease[1] != mac || lease[2] != api[2] {
		t.Errorf("the guest has MAC %s and IP %s; the port %s and %s", lease[1], lease[2], mac, api[2])
	}
	if api[1] != "ACTIVE" {
		t.Errorf("with the guest up the port is %s", api[1])
	}
	return lease[2]
}

// checkHost looks at what libvirt and weft have made.
func checkHost(t *testing.T, out string, ovs *lab.OVS, port, mac, tap string) {
	t.Helper()
	for _, want := range []string{`iface-id="` + port + `"`, `attached-mac="` + mac + `"`, "iface-status=active", "vm-id=",
		"link/ether fe" + mac[2:], "tun type tap", "mtu 1450", ",UP"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %s in\n%s", want, out)
		}
	}
	if tag, err := ovs.Vsctl("get", "Port", tap, "tag"); err != nil || !regexp.MustCompile(`^[1-9]\d*\n$`).MatchString(tag) {
		t.Errorf("the tag is %q, %v", tag, err)
	}
	if !strings.Contains(out, "OK: All is well") {
		t.Errorf("weft trace sees a difference:\n%s", out)
	}
}

// On the userspace datapath a guest's TCP arrives only with the element of docs/libvirt.md
// that keeps virtio from leaving checksums to the host.
func TestLibvirtChecksums(t *testing.T) {
	steps := blocks(t, "../docs/libvirt.md")
	text, err := os.ReadFile("../docs/libvirt.md")
	if err != nil {
		t.Fatal(err)
	}
	driver := regexp.MustCompile("(?ms)^```xml\n(.*?)^```$").FindSubmatch(text)
	if driver == nil {
		t.Fatal("no xml in docs/libvirt.md")
	}
	sh, _, virt := libvirtHost(t)
	sh.paste(steps[0])
	sh.paste(steps[1])
	network := strings.TrimSpace(sh.paste("sudo bin/weft network show virt -o json | jq -r .id"))
	const size = 200_000
	sh.paste("sudo virsh start vm2")
	if n := tcpFromGuest(t, virt, network, size); n != 0 {
		t.Errorf("without %s %d bytes arrive: is it still needed?", driver[1], n)
	}
	sh.paste("sudo virsh destroy vm2\nsudo virsh undefine vm2\n" +
		"sed -i \"s|<model type='virtio'/>|&" + strings.TrimSpace(string(driver[1])) + "|\" vm2.xml\nsudo virsh define vm2.xml\nsudo virsh start vm2")
	if n := tcpFromGuest(t, virt, network, size); n != size {
		t.Errorf("with %s %d bytes of %d arrive", driver[1], n, size)
	}
	sh.paste(steps[5])
}

// tcpFromGuest has the guest of vm2 send that many bytes to its DHCP server's address and
// returns how many arrive.
func tcpFromGuest(t *testing.T, virt *lab.Libvirt, network string, size int) (arrived int) {
	t.Helper()
	awaitConsole(t, "weft-guest: shell")
	listen := exec.Command("ip", "netns", "exec", "qdhcp-"+network, "timeout", "8", "busybox", "nc", "-l", "-p", "9999")
	var got bytes.Buffer
	listen.Stdout = &got
	// An end of its input would be an end of the connection.
	if _, err := listen.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := listen.Start(); err != nil {
		t.Fatal(err)
	}
	tty, err := virt.Virsh("ttyconsole", "vm2")
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(strings.TrimSpace(tty), os.O_WRONLY|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	// Before its shell reads, the console loses what is typed.
	awaitConsole(t, "/ # ")
	// The answer must not be found in the echo of the question.
	line := fmt.Sprintf("ping -c 1 10.30.0.2 >/dev/null && echo pi''ng; head -c %d /dev/zero | nc -w 3 10.30.0.2 9999; echo do''ne\n", size)
	if _, err := f.WriteString(line); err != nil {
		t.Fatal(err)
	}
	console := awaitConsole(t, "done")
	_ = listen.Wait()
	if !strings.Contains(console, "ping\r") {
		t.Errorf("ping fails as well:\n%s", console)
	}
	return got.Len()
}

// awaitConsole waits for the guest of vm2 to print something and returns all that it has printed.
func awaitConsole(t *testing.T, want string) string {
	t.Helper()
	for deadline := time.Now().Add(4 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
		b, _ := os.ReadFile("/var/log/libvirt/qemu/vm2-console.log")
		if strings.Contains(string(b), want) {
			return string(b)
		}
		if time.Now().After(deadline) {
			t.Fatalf("the guest does not print %q:\n%s", want, b)
		}
	}
}
