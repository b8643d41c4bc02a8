package ovs

import (
	"maps"

	"github.com/ovn-kubernetes/libovsdb/model"
)

// events hears of every row that changes and decides whether it is news. It must be
// quick: libovsdb drops events while nobody takes them.
type events struct{ s *Switch }

// OnAdd hears of a new row.
func (e *events) OnAdd(_ string, m model.Model) { e.row(nil, m) }

// OnUpdate hears of a changed row.
func (e *events) OnUpdate(_ string, old, now model.Model) { e.row(old, now) }

// OnDelete hears of a row that went away.
func (e *events) OnDelete(_ string, m model.Model) { e.row(m, nil) }

func (e *events) row(old, now model.Model) {
	any := old
	if any == nil {
		any = now
	}
	switch any.(type) {
	case *rowInterface:
		o, _ := old.(*rowInterface)
		n, _ := now.(*rowInterface)
		if interfaceNews(o) != interfaceNews(n) || o != nil && n != nil && attached(n) && (!maps.Equal(o.ExternalIDs, n.ExternalIDs) || !maps.Equal(o.Options, n.Options)) {
			e.s.notify()
		}
	case *rowPort:
		o, _ := old.(*rowPort)
		n, _ := now.(*rowPort)
		if o != nil && n != nil && e.portNews(o, n) {
			e.s.notify()
		}
	case *rowBridge:
		o, _ := old.(*rowBridge)
		n, _ := now.(*rowBridge)
		e.bridge(o, n)
	case *rowController:
		o, _ := old.(*rowController)
		n, _ := now.(*rowController)
		if o == nil || n == nil || o.IsConnected != n.IsConnected {
			e.s.notify()
		}
	}
}

// interfaceState is what others want to know of an interface. One without an ofport
// and without an error is being made: as good as not there, and no news.
type interfaceState struct {
	name, iface, mac, err string
	ofport                int
}

func interfaceNews(r *rowInterface) interfaceState {
	if r == nil || !attached(r) && or(r.Error) == "" {
		return interfaceState{}
	}
	return interfaceState{r.Name, r.ExternalIDs[keyIfaceID], r.ExternalIDs[keyAttachedMAC], or(r.Error), or(r.OFPort)}
}

// attached reports whether the interface works: ofport is -1 when it could not be made.
// A device that was there and went away keeps its ofport in the userspace datapath, but
// has a link state and no MAC any more.
func attached(r *rowInterface) bool {
	gone := r.Type == "" && r.LinkState != nil && r.MACInUse == nil
	return or(r.OFPort) >= 1 && !gone
}

// portNews: what Apply wrote itself is none.
func (e *events) portNews(o, n *rowPort) bool {
	if or(o.Tag) == or(n.Tag) && maps.Equal(o.OtherConfig, n.OtherConfig) {
		return false
	}
	e.s.mu.Lock()
	defer e.s.mu.Unlock()
	t, ok := e.s.tags[n.Name]
	return !ok || !tagged(n, t)
}

func (e *events) bridge(o, n *rowBridge) {
	if o == nil || n == nil {
		e.s.notify()
	} else if or(o.DatapathID) != or(n.DatapathID) || or(o.FailMode) != or(n.FailMode) || o.DatapathType != n.DatapathType ||
		len(o.Controller) != len(n.Controller) {
		e.s.notify()
	}
	if n != nil && or(n.DatapathID) != "" && (o == nil || or(o.DatapathID) != or(n.DatapathID)) {
		select {
		case e.s.kick <- struct{}{}:
		default:
		}
	}
}
