// Kernel runs tests on the kernel datapath of Open vSwitch, in a Debian guest: the tests
// that tests.txt lists, compiled here, run there one after the other as root.
//
//	kernel               all of them (make test-kernel)
//	kernel -run REGEXP   those whose package and name ("internal/agent TestWholeHost") match
//	kernel -shell        no test: a shell in the guest, with everything in /weft
//
// Nothing here needs rights of root: scripts/kernel-guest.sh makes the guest's image.
package main

import (
	"context"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"weft/internal/lab"
)

//go:embed tests.txt
var listText string

// limit is for the whole run in the guest; it takes a third of it where nothing else runs.
const limit = 20 * time.Minute

func main() {
	only := flag.String("run", ".", "run only those lines of the list that match this regular `expression`")
	shell := flag.Bool("shell", false, "a shell in the guest instead of the tests")
	flag.Parse()
	if err := run(*only, *shell); err != nil {
		fmt.Fprintln(os.Stderr, "test-kernel:", err)
		os.Exit(1)
	}
}

func run(only string, shell bool) error {
	match, err := regexp.Compile(only)
	if err != nil {
		return err
	}
	groups, err := readList(listText, match)
	if err != nil {
		return err
	}
	if err := command("scripts/kernel-guest.sh"); err != nil {
		return err
	}
	const cache = ".cache/kernel-guest"
	dir, err := os.MkdirTemp(cache, "run.")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	began := time.Now()
	disk, err := payload(dir, groups)
	if err != nil {
		return err
	}
	fmt.Printf("test-kernel: tests compiled in %s\n", time.Since(began).Round(time.Second))
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	if shell {
		return qemu(context.Background(), cache, disk, " weft.shell", os.Stdin, os.Stdout)
	}
	return judge(ctx, cache, disk)
}

// group is what runs in one process: tests of one package, or parts of one test.
type group struct {
	pkg   string
	tests []string
	// parts are a regular expression.
	parts string
}

// run is the argument of -test.run.
func (g *group) run() string {
	run := "^(" + strings.Join(g.tests, "|") + ")$"
	if g.parts != "" {
		run += "/^(" + g.parts + ")$"
	}
	return run
}

// readList reads the lines of the list that match.
func readList(text string, match *regexp.Regexp) (groups []*group, err error) {
	byPkg := map[string]*group{}
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) == 0 || words[0] == "#" {
			continue
		}
		if len(words) != 2 {
			return nil, fmt.Errorf("tests.txt: %q is not a package and a test", strings.TrimSpace(line))
		}
		if !match.MatchString(strings.Join(words, " ")) {
			continue
		}
		if test, parts, ok := strings.Cut(words[1], "/"); ok {
			groups = append(groups, &group{pkg: words[0], tests: []string{test}, parts: parts})
			continue
		}
		g := byPkg[words[0]]
		if g == nil {
			g = &group{pkg: words[0]}
			byPkg[g.pkg] = g
			groups = append(groups, g)
		}
		g.tests = append(g.tests, words[1])
	}
	if len(groups) == 0 {
		return nil, errors.New("no test of tests.txt matches")
	}
	return groups, nil
}

// payload makes the disk image that the guest has as /weft: the test binaries, weft, the
// packages' test data and a script that runs it all.
func payload(dir string, groups []*group) (image string, err error) {
	root := filepath.Join(dir, "root")
	script := "#!/bin/sh\n# WEFT_REQUIRE: a test that cannot run here has failed.\n" +
		"export WEFT_REQUIRE=all WEFT_DATAPATH=" + lab.DatapathSystem + " WEFT_BIN=/weft/bin/weft\nfailed=0\n"
	for _, g := range groups {
		in := filepath.Join(root, "src", g.pkg)
		if err := os.MkdirAll(in, 0o755); err != nil {
			return "", err
		}
		binary := filepath.Join("bin", strings.ReplaceAll(g.pkg, "/", "-")+".test")
		if err := command("go", "test", "-c", "-ldflags=-s -w", "-o", filepath.Join(root, binary), "./"+g.pkg); err != nil {
			return "", err
		}
		script += fmt.Sprintf("cd /weft/src/%s && echo 'weft-kernel: package %s' && /weft/%s -test.v -test.timeout 18m -test.run '%s' || failed=1\n",
			g.pkg, g.pkg, binary, g.run())
	}
	if err := os.WriteFile(filepath.Join(root, "run"), []byte(script+"exit $failed\n"), 0o755); err != nil {
		return "", err
	}
	if err := command("find", "internal", "test", "-name", "testdata", "-exec", "cp", "-r", "--parents", "-t", filepath.Join(root, "src"), "{}", "+"); err != nil {
		return "", err
	}
	weft := os.Getenv("WEFT_BIN")
	if weft == "" {
		weft = "bin/weft"
	}
	if err := command("cp", weft, filepath.Join(root, "bin", "weft")); err != nil {
		return "", err
	}
	mkfs, err := lab.LookPath("mkfs.ext4")
	if err != nil {
		return "", err
	}
	image = filepath.Join(dir, "weft.img")
	return image, command(mkfs, "-q", "-F", "-O", "^has_journal", "-m", "0", "-d", root, image, "1g")
}

// command runs a program that must succeed.
func command(name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out)
	}
	return nil
}

// qemu boots the guest, with its console on in and out, and returns when it has ended.
func qemu(ctx context.Context, cache, disk, kernelArgs string, in io.Reader, out io.Writer) error {
	path, err := lab.LookPath("qemu-system-x86_64")
	if err != nil {
		return err
	}
	accel := lab.Accel(ctx)
	if accel == "tcg" {
		accel += ",thread=multi"
		// Without this the guest reads its time from an emulated chip, which costs a third of its speed.
		kernelArgs += " clocksource=tsc tsc=reliable"
	}
	drive := func(file, how string) string { return "if=virtio,format=raw,file=" + file + "," + how }
	cmd := exec.CommandContext(ctx, path,
		"-accel", accel, "-smp", "2", "-m", "2048", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", "mon:stdio",
		"-kernel", filepath.Join(cache, "vmlinuz"), "-initrd", filepath.Join(cache, "initrd"),
		"-append", "console=ttyS0 loglevel=3 no_timer_check panic=-1 oops=panic mitigations=off"+kernelArgs,
		// What the guest writes to its root is forgotten.
		"-drive", drive(filepath.Join(cache, "root.img"), "snapshot=on"), "-drive", drive(disk, "readonly=on"), "-device", "virtio-rng-pci")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, out, os.Stderr
	return cmd.Run()
}
