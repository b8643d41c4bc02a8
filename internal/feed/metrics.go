package feed

import (
	"context"
	"time"

	"weft/internal/feed/feedpb"
	"weft/internal/metrics"
	"weft/internal/model"
)

// counts are what the feed's server counts.
type counts struct {
	messages, objects, changes metrics.Counter
	sent, applied              metrics.Duration
}

// count declares what is counted, and shows the hosts when somebody reads.
func (s *Server) count(m *metrics.Registry) {
	s.counts = counts{
		messages: m.Counter("weft_feed_messages_total", "Messages to hosts and of hosts on their streams, by direction and kind.", "direction", "kind"),
		objects:  m.Counter("weft_feed_objects_total", "Objects sent to hosts: in snapshots when they join, and as changes after that.", "in"),
		changes:  m.Counter("weft_feed_store_changes_total", "Changes of the store that were looked at for hosts they concern."),
		sent:     m.Duration("weft_feed_send_duration_seconds", "From a change of the store until it was sent to a host that it concerns."),
		applied:  m.Duration("weft_feed_apply_duration_seconds", "From changes sent to a host until it said that they were applied."),
	}
	hosts := m.Gauge("weft_feed_hosts", "Hosts connected to this server.")
	lag := m.Gauge("weft_feed_lag_seconds", "For each host connected to this server, how long ago the oldest change was sent that it has not said to be applied; 0 if there is none.", "host")
	m.OnRead(func(_ context.Context, now *metrics.Reading) {
		late := map[model.HostName]time.Duration{}
		at := time.Now()
		s.mu.Lock()
		for name, st := range s.hosts {
			late[name] = st.lag.of(at)
		}
		s.mu.Unlock()
		now.Set(hosts, float64(len(late)))
		for name, d := range late {
			now.Set(lag, d.Seconds(), string(name))
		}
	})
}

// kindToHost and kindToServer name messages.
func kindToHost(m *feedpb.ToHost) string {
	switch m.Kind.(type) {
	case *feedpb.ToHost_Begin, *feedpb.ToHost_Objects, *feedpb.ToHost_End:
		return "snapshot"
	case *feedpb.ToHost_Changes:
		return "changes"
	case *feedpb.ToHost_Query:
		return "query"
	}
	return "ping"
}

func kindToServer(m *feedpb.ToServer) string {
	switch m.Kind.(type) {
	case *feedpb.ToServer_Hello:
		return "hello"
	case *feedpb.ToServer_Facts:
		return "facts"
	case *feedpb.ToServer_Answer:
		return "answer"
	case *feedpb.ToServer_Heartbeat:
		return "heartbeat"
	}
	return "other"
}
