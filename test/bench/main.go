// Command bench measures weft as a whole and prints the figures beside those of a real
// Neutron.
//
// It starts `weft up` with its ordinary settings (fsync on) on a private Open vSwitch of
// the userspace datapath, in namespaces of its own, and is a client like any other. The
// state directory is on the disk that --dir names. Run it by `make bench`.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"text/tabwriter"
	"time"

	"weft/internal/lab"
)

func main() {
	var o options
	flag.StringVar(&o.weft, "weft", "bin/weft", "the program to measure")
	flag.StringVar(&o.dir, "dir", "/var/tmp", "directory on the disk to measure on")
	flag.StringVar(&o.only, "only", "", "run one part: api, plug, dhcp, firewall, trace, memory or scale")
	flag.Parse()
	if err := lab.Isolate(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

type options struct{ weft, dir, only string }

// figure is one line of the table.
type figure struct{ what, real, reach, ours, note string }

type table struct{ figures []figure }

func (t *table) add(what, real, reach, ours, note string) {
	fmt.Fprintf(os.Stderr, "bench: %s: %s %s\n", what, ours, note)
	t.figures = append(t.figures, figure{what, real, reach, ours, note})
}

func (t *table) print() {
	w := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "what\treal Neutron 21.0\treach\tweft\t")
	for _, f := range t.figures {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", f.what, f.real, f.reach, f.ours, f.note)
	}
	w.Flush()
}

func run(ctx context.Context, o options) error {
	var t table
	parts := []struct {
		name string
		f    func(context.Context, *cloud, *table) error
	}{{"memory", benchMemory}, {"api", benchAPI}, {"plug", benchPlug}, {"dhcp", benchDHCP}, {"firewall", benchFirewall}, {"trace", benchTrace}}
	for _, p := range parts {
		if o.only != "" && o.only != p.name {
			continue
		}
		fmt.Fprintf(os.Stderr, "bench: starting weft for %s\n", p.name)
		c, err := startCloud(ctx, o)
		if err != nil {
			return err
		}
		err = p.f(ctx, c, &t)
		c.stop()
		if err != nil {
			return fmt.Errorf("%s: %w\n%s", p.name, err, c.logTail())
		}
	}
	if o.only == "" || o.only == "trace" {
		fmt.Fprintln(os.Stderr, "bench: starting a cloud for trace")
		if err := benchTraceCloud(ctx, o, &t); err != nil {
			return fmt.Errorf("trace: %w", err)
		}
	}
	if o.only == "" || o.only == "scale" {
		fmt.Fprintln(os.Stderr, "bench: starting weft server for scale")
		if err := benchScale(ctx, o, &t); err != nil {
			return fmt.Errorf("scale: %w", err)
		}
	}
	fmt.Println()
	t.print()
	return nil
}

// durations are samples of one thing.
type durations []time.Duration

// at is the p-th percentile.
func (d durations) at(p int) time.Duration {
	if len(d) == 0 {
		return 0
	}
	slices.Sort(d)
	return d[min(len(d)-1, len(d)*p/100)]
}

// ms prints milliseconds with three digits.
func ms(d time.Duration) string { return fmt.Sprintf("%.3g ms", float64(d.Microseconds())/1000) }
