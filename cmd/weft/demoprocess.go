package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"weft/internal/lab"
)

// process is a child whose end can be waited for.
type process struct {
	cmd  *exec.Cmd
	done chan struct{}
	err  error
}

// startSelf starts this program with other arguments, its output in a file.
func startSelf(log string, args ...string) (*process, error) {
	out, err := os.OpenFile(filepath.Clean(log), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	p := &process{cmd: exec.Command(lab.SelfExe, args...), done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = out, out
	p.cmd.Env = demoEnv()
	// Ctrl-C is for the demo, which then stops its children in order.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(p.done)
		p.err = p.cmd.Wait()
	}()
	return p, nil
}

// stop asks a process to end, and insists after the grace.
func (p *process) stop(grace time.Duration) error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
		return p.err
	case <-time.After(grace):
		_ = p.cmd.Process.Kill()
		<-p.done
		return fmt.Errorf("did not end within %s of SIGTERM", grace)
	}
}

// demoVars are the settings and the credentials of the demo.
var demoVars = map[string]string{"WEFT_CONFIG": "/dev/null", "WEFT_HOST": "demo-host", "WEFT_STATE_DIR": demoState,
	"OS_CLIENT_CONFIG_FILE": demoState + "/clouds.yaml"}

// demoEnv is the environment without settings of the user's own weft and cloud, which are
// not for the demo.
func demoEnv() []string {
	env := slices.DeleteFunc(os.Environ(), func(e string) bool { return strings.HasPrefix(e, "WEFT_") || strings.HasPrefix(e, "OS_") })
	for k, v := range demoVars {
		env = append(env, k+"="+v)
	}
	return env
}

// runSelf runs this program with other arguments and returns what it prints.
func runSelf(ctx context.Context, args ...string) (string, error) {
	var out, errOut bytes.Buffer
	cmd := exec.CommandContext(ctx, lab.SelfExe, args...)
	cmd.Stdout, cmd.Stderr = &out, &errOut
	cmd.Env = demoEnv()
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("weft %s: %w: %s", args[0], err, strings.TrimSpace(errOut.String()))
	}
	return out.String(), nil
}
