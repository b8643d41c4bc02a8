package agent

import (
	"slices"
	"syscall"
	"testing"
	"time"

	"weft/internal/host/ovs"
	"weft/internal/inspect"
	"weft/internal/lab"
	"weft/internal/model"
	"weft/internal/trace"
)

// TestTraceOfDaemons: which process of a host is dead, or only stopped, is told.
func TestTraceOfDaemons(t *testing.T) {
	w, l, o := newWorld(t), &logs{}, realSwitch(t)
	h, sw, stopHost := onSwitch(t, o, "127.0.0.1:0")
	a, stopAgent := w.agent(noDHCP(w, l, h, sw.ControllerTarget()))
	w.joined()
	n, _ := w.network()
	w.eventually("br-int is in sync", func() bool {
		return slices.ContainsFunc(sw.Observe().Bridges, func(b ovs.Bridge) bool { return b.Name == "br-int" && b.InSync })
	})
	p := w.port(n)
	plugVIF(t, o, p)
	w.becomes(p.ID, model.PortActive)
	in := inspect.New(inspect.Options{Cloud: w.control, Hosts: w.server})
	says := func(what string, cause trace.Cause) {
		t.Helper()
		var answer trace.Finding
		var took time.Duration
		w.eventually(what, func() bool {
			begin := time.Now()
			rep, err := in.Report(t.Context(), string(p.ID), nil)
			if err != nil {
				t.Fatal(err)
			}
			took = time.Since(begin)
			// No DHCP is served here.
			if answer = rep.Chains[0].Answer; answer.Step != trace.StepHost {
				answer.Cause = trace.CauseHealthy
			}
			return answer.Cause == cause
		})
		t.Logf("%s, after %v: %s", what, took.Round(time.Millisecond), answer.Text)
	}
	server, switchd := o.Pids()
	signal := func(pid int, s syscall.Signal) {
		if err := syscall.Kill(pid, s); err != nil {
			t.Fatal(err)
		}
	}
	says("well", trace.CauseHealthy)
	signal(switchd, syscall.SIGSTOP)
	says("ovs-vswitchd is stopped", trace.CauseNoVswitchd)
	signal(switchd, syscall.SIGCONT)
	says("well", trace.CauseHealthy)
	signal(server, syscall.SIGSTOP)
	says("ovsdb-server is stopped", trace.CauseNoOVSDB)
	signal(server, syscall.SIGCONT)
	says("well", trace.CauseHealthy)
	if err := o.StopVswitchd(lab.Crash); err != nil {
		t.Fatal(err)
	}
	says("ovs-vswitchd is dead", trace.CauseNoVswitchd)
	w.eventually("the agent has found it out itself", func() bool {
		return slices.ContainsFunc(a.Evidence(t.Context(), traceQuery(p)).Faults, func(f trace.Fault) bool { return f.Object == "bridge br-int" })
	})
	if err := o.StartVswitchd(t.Context()); err != nil {
		t.Fatal(err)
	}
	says("well", trace.CauseHealthy)
	w.eventually("what was wrong is remembered", func() bool {
		past := a.Evidence(t.Context(), traceQuery(p)).Past
		return slices.ContainsFunc(past, func(f trace.Fault) bool { return f.Object == "bridge br-int" && f.Until.After(f.Since) })
	})
	signal(server, syscall.SIGKILL)
	says("ovsdb-server is dead", trace.CauseNoOVSDB)
	stopAgent()
	stopHost()
	says("the agent is dead", trace.CauseAgentDead)
}
