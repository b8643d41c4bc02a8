package test

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
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
	limit := time.After(2 * time.Minute)
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
	t.Cleanup(func() {
		if t.Failed() {
			log, _ := os.ReadFile(filepath.Join(dir, "weft.log"))
			t.Logf("weft:\n%s", log)
		}
	})
	return sh, ovs, virt
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
	if strings.Contains(out, "first difference") {
		t.Errorf("weft show port sees a difference:\n%s", out)
	}
}
