package test

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"weft/internal/lab"
	"weft/internal/trace"
)

// clockExhibits are faults of clocks and certificates, and of a switch that hangs.
var clockExhibits = []exhibit{
	{
		name: "clock of a host wrong", long: true, made: "the agent of compute-0 runs 90 s ahead of the servers", undone: "set the clock (the agent is started again)",
		harms: sameHost, verdict: trace.Warning, cause: trace.CauseClockSkew, text: "The clock of host compute-0 is N s ahead, compared with the server's.",
		make: func(s *showing) func() {
			n := s.Node("compute-0")
			program, env := n.Program, n.Env
			again := func() {
				s.must(n.Agent.Stop())
				s.must(n.StartAgent())
			}
			n.Program, n.Env = skewedWeft(s.t), append(slices.Clone(env), skewVar+"=90")
			again()
			return func() { n.Program, n.Env = program, env; again() }
		},
	},
	{
		name: "certificate expired", made: "compute-0 is away for longer than its certificate is good", undone: "weft server token; on compute-0 weft agent join, and start the agent",
		harms: sameHost, cause: trace.CauseCertificateExpired, text: "The certificate of host compute-0 ran out at TIME, so no server lets its agent in.",
		make: func(s *showing) func() {
			n, server := s.Node("compute-0"), s.Node("controller")
			env := server.Env
			joins := func() {
				// A host that was alive a moment ago is not taken for another one.
				s.await("compute-0 to be dead", 30*time.Second, func() error {
					var r struct{ Agents []struct{ Alive bool } }
					err := s.call("GET", "/v2.0/agents?host=compute-0", nil, &r)
					if err == nil && slices.ContainsFunc(r.Agents, func(a struct{ Alive bool }) bool { return a.Alive }) {
						err = errors.New("it is alive")
					}
					return err
				})
				token, err := s.Token("agent")
				s.must(err)
				_, err = n.Weft("agent", "join", token)
				s.must(err)
				s.must(n.StartAgent())
			}
			s.must(n.Agent.Stop())
			s.must(os.RemoveAll(filepath.Join(n.StateDir(), "tls", "hosts", n.Spec.Name)))
			server.Env = append(slices.Clone(env), "WEFT_CERTIFICATE_LIFE=15s")
			s.restartServer()
			joins()
			s.await("compute-0 with a certificate of 15 s", 10*time.Second, func() error {
				if !s.connected("compute-0") {
					return errors.New("it is not connected")
				}
				return nil
			})
			n.Agent.Kill()
			server.Env = env
			s.restartServer()
			return joins
		},
	},
	{
		name: "vswitchd hangs", made: "kill -STOP ovs-vswitchd on compute-0", undone: "kill -CONT",
		harms: sameHost, cause: trace.CauseNoVswitchd, text: "ovs-vswitchd does not answer on host compute-0: no answer within N s.",
		make: func(s *showing) func() {
			_, pid := s.Node("compute-0").OVS.Pids()
			s.must(syscall.Kill(pid, syscall.SIGSTOP))
			return func() { s.must(syscall.Kill(pid, syscall.SIGCONT)) }
		},
	},
}

// restartServer starts the server again, and waits until it answers.
func (s *showing) restartServer() {
	s.t.Helper()
	n := s.Node("controller")
	s.must(n.Server.Stop())
	s.must(n.StartServer())
	s.must(lab.Await(s.t.Context(), "the API", time.Minute, func() error {
		conn, err := net.Dial("tcp", n.IP.String()+":9696")
		if err == nil {
			conn.Close()
		}
		return err
	}))
}

// connected reports whether a host's agent answers.
func (s *showing) connected(host string) bool {
	r, _, err := s.trace(s.asked)
	if err != nil || len(r.Chains) == 0 {
		return false
	}
	for _, step := range r.Chains[0].Steps {
		for _, it := range step.Items {
			if step.Name == trace.StepHost && string(step.Host) == host && it.What == "feed" && it.Verdict == trace.OK {
				return true
			}
		}
	}
	return false
}
