package ovs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"github.com/ovn-kubernetes/libovsdb/cache"
	"github.com/ovn-kubernetes/libovsdb/client"
	"github.com/ovn-kubernetes/libovsdb/model"
	"github.com/ovn-kubernetes/libovsdb/ovsdb"
)

// errNoDatabase is the fault of everything while ovsdb-server cannot be reached.
var errNoDatabase = errors.New("the OVSDB server cannot be reached")

// database is one connection to ovsdb-server with its copy of the tables. The copy can
// still be read when the connection is lost: what was last known. A nil one is the
// database that has never been reached: nothing is known.
type database struct {
	client client.Client
	cache  *cache.TableCache

	// changes counts the rows that have changed.
	changes atomic.Int64
	mu      sync.Mutex
	// last is the tables after that many changes.
	last        *snapshot
	lastChanges int64
}

// quiet passes only what libovsdb calls an error: the rest is its private life.
type quiet struct{ slog.Handler }

// Enabled reports whether the record is an error.
func (q quiet) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= slog.LevelError && q.Handler.Enabled(ctx, l)
}

// dialDatabase connects and returns when all rows are here.
func dialDatabase(ctx context.Context, addr string, log *slog.Logger, on cache.EventHandler) (*database, error) {
	dbModel, err := model.NewClientDBModel(tableRoot, map[string]model.Model{
		tableRoot: &rowRoot{}, tableBridge: &rowBridge{}, tablePort: &rowPort{}, tableInterface: &rowInterface{},
		tableController: &rowController{}, tableManager: &rowManager{}, tableFlowTable: &rowFlowTable{},
	})
	if err != nil {
		return nil, fmt.Errorf("ovsdb: %w", err)
	}
	l := logr.FromSlogHandler(quiet{log.Handler()})
	c, err := client.NewOVSDBClient(dbModel, client.WithEndpoint(addr), client.WithLogger(&l))
	if err != nil {
		return nil, fmt.Errorf("ovsdb %s: %w", addr, err)
	}
	if err := c.Connect(ctx); err != nil {
		c.Close()
		return nil, fmt.Errorf("ovsdb %s: %w", addr, err)
	}
	db := &database{client: c, cache: c.Cache()}
	if db.cache == nil {
		c.Close()
		return nil, fmt.Errorf("ovsdb %s: %w", addr, errNoDatabase)
	}
	changed := func() { db.changes.Add(1) }
	db.cache.AddEventHandler(&cache.EventHandlerFuncs{
		AddFunc:    func(string, model.Model) { changed() },
		UpdateFunc: func(string, model.Model, model.Model) { changed() },
		DeleteFunc: func(string, model.Model) { changed() },
	})
	db.cache.AddEventHandler(on) // after the other: who hears of news finds it
	if _, err := c.Monitor(ctx, c.NewMonitor(columns()...)); err != nil {
		c.Close()
		return nil, fmt.Errorf("ovsdb %s: monitor: %w", addr, err)
	}
	return db, nil
}

// columns names every column that is read.
func columns() []client.MonitorOption {
	o, b, p, i := &rowRoot{}, &rowBridge{}, &rowPort{}, &rowInterface{}
	c, m, f := &rowController{}, &rowManager{}, &rowFlowTable{}
	return []client.MonitorOption{
		client.WithTable(o, &o.Bridges, &o.ManagerOptions, &o.OVSVersion, &o.IfaceTypes, &o.DatapathTypes, &o.NextCfg, &o.CurCfg, &o.ExternalIDs),
		client.WithTable(b, &b.Name, &b.DatapathType, &b.DatapathID, &b.FailMode, &b.Protocols, &b.Controller, &b.Ports,
			&b.OtherConfig, &b.ExternalIDs, &b.FlowTables),
		client.WithTable(p, &p.Name, &p.Interfaces, &p.Tag, &p.OtherConfig, &p.ExternalIDs),
		client.WithTable(i, &i.Name, &i.Type, &i.Options, &i.ExternalIDs, &i.OFPort, &i.OFPortRequest, &i.MTURequest, &i.MTU,
			&i.MACInUse, &i.LinkState, &i.Error),
		client.WithTable(c, &c.Target, &c.IsConnected, &c.InactivityProbe, &c.MaxBackoff, &c.ConnectionMode),
		client.WithTable(m, &m.Target, &m.IsConnected),
		client.WithTable(f, &f.Name),
	}
}

// connected reports whether the copy is kept up to date.
func (d *database) connected() bool { return d != nil && d.client.CurrentEndpoint() != "" }

// echo is an error if ovsdb-server does not answer.
func (d *database) echo(ctx context.Context) error {
	if !d.connected() {
		return errNoDatabase
	}
	return d.client.Echo(ctx)
}

func (d *database) close() {
	if d != nil {
		d.client.Close()
	}
}

// wait returns when the connection is lost or ctx ends.
func (d *database) wait(ctx context.Context) {
	// The notification is lost if nobody listens at that instant, so look, too.
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for d.connected() {
		select {
		case <-ctx.Done():
			return
		case <-d.client.DisconnectNotify():
			return
		case <-tick.C:
		}
	}
}

// transact does the operations in one transaction. When it returns, the copy of the
// tables includes them: ovsdb-server sends the update before the reply.
func (d *database) transact(ctx context.Context, ops []ovsdb.Operation) error {
	_, err := d.query(ctx, ops)
	if d != nil {
		d.changes.Add(1)
	}
	return err
}

// query does the operations, which change nothing, and returns their results, one each.
func (d *database) query(ctx context.Context, ops []ovsdb.Operation) ([]ovsdb.OperationResult, error) {
	if d == nil {
		return nil, errNoDatabase
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	results, err := d.client.Transact(ctx, ops...)
	if err != nil {
		return nil, fmt.Errorf("ovsdb transaction: %w", err)
	}
	if errs, err := ovsdb.CheckOperationResults(results, ops); err != nil {
		for _, e := range errs {
			err = fmt.Errorf("%w: %w", err, e)
		}
		return nil, fmt.Errorf("ovsdb transaction: %w", err)
	}
	return results, nil
}

// snapshot is the tables at one moment. Rows are shared and must not be changed.
type snapshot struct {
	root        *rowRoot
	bridges     map[string]*rowBridge // by name
	ports       map[string]*rowPort   // by name
	interfaces  map[string]*rowInterface
	portByUUID  map[string]*rowPort
	ifaceByUUID map[string]*rowInterface
	controllers map[string]*rowController
	managers    map[string]*rowManager
	flowTables  map[string]*rowFlowTable
	// bridgeOf says on which bridge each port is, by UUID.
	bridgeOf map[string]string
}

// current is the tables as they are, or as they were before changes of which the news is
// still to come. Whoever acts on it must hear of that news.
func (d *database) current() *snapshot {
	if d == nil {
		return d.snapshot()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if n := d.changes.Load(); d.last == nil || d.lastChanges != n {
		d.last, d.lastChanges = d.snapshot(), n
	}
	return d.last
}

// snapshot is the tables as they are.
func (d *database) snapshot() *snapshot {
	s := &snapshot{
		bridges: map[string]*rowBridge{}, ports: map[string]*rowPort{}, interfaces: map[string]*rowInterface{},
		portByUUID: rows[rowPort](d, tablePort), ifaceByUUID: rows[rowInterface](d, tableInterface),
		controllers: rows[rowController](d, tableController), managers: rows[rowManager](d, tableManager),
		flowTables: rows[rowFlowTable](d, tableFlowTable),
	}
	s.root = rootOf(d)
	for _, r := range rows[rowBridge](d, tableBridge) {
		s.bridges[r.Name] = r
	}
	for _, r := range s.portByUUID {
		s.ports[r.Name] = r
	}
	for _, r := range s.ifaceByUUID {
		s.interfaces[r.Name] = r
	}
	s.bridgeOf = make(map[string]string, len(s.portByUUID))
	for name, b := range s.bridges {
		for _, p := range b.Ports {
			s.bridgeOf[p] = name
		}
	}
	return s
}

// rows are the rows of a table by UUID, without a copy: libovsdb puts a new row in
// the place of one that changes.
func rows[T any](d *database, table string) map[string]*T {
	if d == nil {
		return nil
	}
	t := d.cache.Table(table)
	if t == nil {
		return nil
	}
	shallow := t.RowsShallow()
	out := make(map[string]*T, len(shallow))
	for id, m := range shallow {
		if r, ok := m.(any).(*T); ok {
			out[id] = r
		}
	}
	return out
}

// rootOf is the one row of the root table; nil while nothing is known.
func rootOf(d *database) *rowRoot {
	for _, r := range rows[rowRoot](d, tableRoot) {
		return r
	}
	return nil
}

// iface is the one interface of a port; nil for a bond or while it is being made.
func (s *snapshot) iface(p *rowPort) *rowInterface {
	if len(p.Interfaces) != 1 {
		return nil
	}
	return s.ifaceByUUID[p.Interfaces[0]]
}
