package agent

import (
	"path/filepath"
	"testing"
	"time"

	"weft/internal/feed"
	"weft/internal/inspect"
	"weft/internal/trace"
)

// TestTraceOfCertificates: a host whose certificate runs out while it is connected is warned of; once its connection has
// ended, that it cannot come back is the answer.
func TestTraceOfCertificates(t *testing.T) {
	w, l := newWorld(t), &logs{}
	ca, err := feed.EnsureCA(filepath.Join(w.dir, "pki"))
	if err != nil {
		t.Fatal(err)
	}
	// As IssueHost leaves it alone until it is due, it is there for the agent.
	ca.Life = 6 * time.Second
	if _, err := ca.IssueHost("h1"); err != nil {
		t.Fatal(err)
	}
	w.agent(w.options(newMachine(), l))
	w.joined()
	n, _ := w.network()
	p := w.port(n)
	says := func(cause trace.Cause, verdict trace.Verdict) {
		t.Helper()
		w.eventually("trace says "+string(cause), func() bool {
			in := inspect.New(inspect.Options{Cloud: w.control, Hosts: w.server})
			rep, err := in.Report(t.Context(), string(p.ID), nil)
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range rep.Chains[0].Steps {
				for _, it := range s.Items {
					if s.Name == trace.StepHost && it.Cause == cause && it.Verdict == verdict {
						return true
					}
				}
			}
			return false
		})
	}
	says(trace.CauseCertificateExpired, trace.Warning)
	w.stop()
	w.serve()
	says(trace.CauseCertificateExpired, trace.Broken)
}
