package dhcpd

import (
	"context"
	"sync/atomic"
	"time"

	"weft/internal/metrics"
	"weft/internal/plan/dhcp"
)

// maxType is the last message type of RFC 2131, INFORM.
const maxType = 8

// strangerTime is how long ago a stranger may have been heard of to be counted.
const strangerTime = 5 * time.Minute

// totals count over all networks, those that are served no more included.
type totals struct {
	messages        [maxType + 1][maxType + 1][dhcp.ReasonCount]atomic.Uint64
	unsent, dropped atomic.Uint64
}

// note counts a message. Types that no RFC has count as none: a guest may send any.
func (t *totals) note(m Transaction) {
	asked, reply := m.Message, m.Reply
	if asked > maxType {
		asked = 0
	}
	t.messages[asked][reply][m.Reason].Add(1)
}

// count declares what is counted, and shows it when somebody reads.
func (s *Server) count(m *metrics.Registry) {
	messages := m.Count("weft_dhcp_messages_total", "DHCP messages received, by their type, the reply's type (none is silence) and the reason.", "message", "reply", "reason")
	unsent := m.Count("weft_dhcp_unsent_total", "DHCP replies that the device did not take.")
	dropped := m.Count("weft_dhcp_dropped_total", "DHCP messages for which the socket had no room.")
	networks := m.Gauge("weft_dhcp_networks", "Networks that this host serves DHCP for: serving, or waiting for their device.", "state")
	leases := m.Gauge("weft_dhcp_leases", "Addresses that this host would give out by DHCP.")
	strangers := m.Gauge("weft_dhcp_strangers", "Clients that asked for an address in the last five minutes and that no port of their network has; no more than 16 are remembered for each network.")
	m.OnRead(func(_ context.Context, now *metrics.Reading) {
		for asked := range s.totals.messages {
			for reply := range s.totals.messages[asked] {
				for reason := range dhcp.ReasonCount {
					if n := s.totals.messages[asked][reply][reason].Load(); n > 0 {
						now.Set(messages, float64(n), typeName(asked), typeName(reply), reason.String())
					}
				}
			}
		}
		n := map[bool]int{}
		given, unknown, since := 0, 0, time.Now().Add(-strangerTime)
		for _, st := range s.Stats() { // it asks the sockets what they dropped
			n[st.Serving]++
			given += st.Leases
			for _, c := range st.Strangers {
				if c.Last.After(since) {
					unknown++
				}
			}
		}
		now.Set(unsent, float64(s.totals.unsent.Load()))
		now.Set(dropped, float64(s.totals.dropped.Load()))
		now.Set(networks, float64(n[true]), "serving")
		now.Set(networks, float64(n[false]), "waiting")
		now.Set(leases, float64(given))
		now.Set(strangers, float64(unknown))
	})
}

func typeName(t int) string {
	if t == 0 {
		return "none"
	}
	return MessageType(t).String()
}
