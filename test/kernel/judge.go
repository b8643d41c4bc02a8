package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// judge runs the tests in the guest, shows how they go and says whether all have passed.
func judge(ctx context.Context, cache, disk string) error {
	logName := filepath.Join(cache, "log")
	log, err := os.Create(logName)
	if err != nil {
		return err
	}
	defer log.Close()
	r, w := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := qemu(ctx, cache, disk, "", nil, io.MultiWriter(w, log))
		w.Close()
		ended <- err
	}()
	v := &verdict{out: os.Stdout}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		v.line(strings.TrimRight(lines.Text(), "\r"))
	}
	if err := errors.Join(lines.Err(), <-ended, ctx.Err()); err != nil {
		v.flush()
		return fmt.Errorf("%w (the guest's console is in %s)", err, logName)
	}
	if err := v.end(); err != nil {
		return fmt.Errorf("%w (the guest's console is in %s)", err, logName)
	}
	return nil
}

// verdict reads the output of tests: it shows one line for each that passes, and all that
// one says which does not.
type verdict struct {
	out             io.Writer
	held            []string
	passed, skipped int
	exit            string
}

var result = regexp.MustCompile(`^(\s*)--- (PASS|FAIL|SKIP): `)

func (v *verdict) line(s string) {
	if rest, ok := strings.CutPrefix(s, "weft-kernel: exit "); ok {
		v.exit = rest
		return
	}
	m := result.FindStringSubmatch(s)
	if m == nil {
		v.held = append(v.held, s)
		if strings.HasPrefix(s, "weft-kernel: ") || strings.HasPrefix(s, "panic: ") {
			v.flush()
		}
		return
	}
	switch m[2] {
	case "PASS":
		v.passed++
		v.held = nil
	case "SKIP":
		v.skipped++
	}
	v.held = append(v.held, s)
	v.flush()
}

// flush shows what has been held back.
func (v *verdict) flush() {
	for _, s := range v.held {
		fmt.Fprintln(v.out, s)
	}
	v.held = nil
}

func (v *verdict) end() error {
	switch {
	case v.exit == "":
		v.flush()
		return errors.New("the guest has ended before its tests")
	case v.exit != "0":
		v.flush()
		return errors.New("tests have failed")
	case v.skipped > 0:
		return fmt.Errorf("%d tests were skipped", v.skipped)
	case v.passed == 0:
		return errors.New("no test has run")
	}
	fmt.Fprintf(v.out, "test-kernel: %d tests and subtests passed\n", v.passed)
	return nil
}
