package ovs

import (
	"maps"
	"slices"

	"github.com/ovn-kubernetes/libovsdb/model"
)

// The rows of the Open_vSwitch database, with the columns that weft reads. Every
// column listed here is named in the monitor (see columns): libovsdb drops a whole
// update, and says so nowhere but in its log, when it holds a column that the row
// type lacks.
type (
	rowRoot struct {
		UUID           string            `ovsdb:"_uuid"`
		Bridges        []string          `ovsdb:"bridges"`
		ManagerOptions []string          `ovsdb:"manager_options"`
		OVSVersion     *string           `ovsdb:"ovs_version"`
		IfaceTypes     []string          `ovsdb:"iface_types"`
		DatapathTypes  []string          `ovsdb:"datapath_types"`
		NextCfg        int               `ovsdb:"next_cfg"`
		CurCfg         int               `ovsdb:"cur_cfg"`
		ExternalIDs    map[string]string `ovsdb:"external_ids"`
	}
	rowBridge struct {
		UUID         string            `ovsdb:"_uuid"`
		Name         string            `ovsdb:"name"`
		DatapathType string            `ovsdb:"datapath_type"`
		DatapathID   *string           `ovsdb:"datapath_id"`
		FailMode     *string           `ovsdb:"fail_mode"`
		Protocols    []string          `ovsdb:"protocols"`
		Controller   []string          `ovsdb:"controller"`
		Ports        []string          `ovsdb:"ports"`
		OtherConfig  map[string]string `ovsdb:"other_config"`
		ExternalIDs  map[string]string `ovsdb:"external_ids"`
		FlowTables   map[int]string    `ovsdb:"flow_tables"`
	}
	rowPort struct {
		UUID        string            `ovsdb:"_uuid"`
		Name        string            `ovsdb:"name"`
		Interfaces  []string          `ovsdb:"interfaces"`
		Tag         *int              `ovsdb:"tag"`
		OtherConfig map[string]string `ovsdb:"other_config"`
		ExternalIDs map[string]string `ovsdb:"external_ids"`
	}
	rowInterface struct {
		UUID          string            `ovsdb:"_uuid"`
		Name          string            `ovsdb:"name"`
		Type          string            `ovsdb:"type"`
		Options       map[string]string `ovsdb:"options"`
		ExternalIDs   map[string]string `ovsdb:"external_ids"`
		OFPort        *int              `ovsdb:"ofport"`
		OFPortRequest *int              `ovsdb:"ofport_request"`
		MTURequest    *int              `ovsdb:"mtu_request"`
		MTU           *int              `ovsdb:"mtu"`
		MACInUse      *string           `ovsdb:"mac_in_use"`
		LinkState     *string           `ovsdb:"link_state"`
		Error         *string           `ovsdb:"error"`
	}
	rowController struct {
		UUID            string  `ovsdb:"_uuid"`
		Target          string  `ovsdb:"target"`
		IsConnected     bool    `ovsdb:"is_connected"`
		InactivityProbe *int    `ovsdb:"inactivity_probe"`
		MaxBackoff      *int    `ovsdb:"max_backoff"`
		ConnectionMode  *string `ovsdb:"connection_mode"`
	}
	rowManager struct {
		UUID        string `ovsdb:"_uuid"`
		Target      string `ovsdb:"target"`
		IsConnected bool   `ovsdb:"is_connected"`
	}
	rowFlowTable struct {
		UUID string  `ovsdb:"_uuid"`
		Name *string `ovsdb:"name"`
	}
)

// The tables by name.
const (
	tableRoot       = "Open_vSwitch"
	tableBridge     = "Bridge"
	tablePort       = "Port"
	tableInterface  = "Interface"
	tableController = "Controller"
	tableManager    = "Manager"
	tableFlowTable  = "Flow_Table"
)

// The three rows that there are many of, or that are long, are copied by hand:
// libovsdb copies a row each time it touches it, by default through JSON.

// CloneModel returns a deep copy.
func (r *rowInterface) CloneModel() model.Model {
	c := *r
	c.Options, c.ExternalIDs = maps.Clone(r.Options), maps.Clone(r.ExternalIDs)
	c.OFPort, c.OFPortRequest, c.MTURequest, c.MTU = clone(r.OFPort), clone(r.OFPortRequest), clone(r.MTURequest), clone(r.MTU)
	c.MACInUse, c.LinkState, c.Error = clone(r.MACInUse), clone(r.LinkState), clone(r.Error)
	return &c
}

// CloneModelInto copies deeply into another row.
func (r *rowInterface) CloneModelInto(dst model.Model) {
	*dst.(*rowInterface) = *r.CloneModel().(*rowInterface)
}

// CloneModel returns a deep copy.
func (r *rowPort) CloneModel() model.Model {
	c := *r
	c.Interfaces, c.Tag = slices.Clone(r.Interfaces), clone(r.Tag)
	c.OtherConfig, c.ExternalIDs = maps.Clone(r.OtherConfig), maps.Clone(r.ExternalIDs)
	return &c
}

// CloneModelInto copies deeply into another row.
func (r *rowPort) CloneModelInto(dst model.Model) { *dst.(*rowPort) = *r.CloneModel().(*rowPort) }

// CloneModel returns a deep copy.
func (r *rowBridge) CloneModel() model.Model {
	c := *r
	c.DatapathID, c.FailMode = clone(r.DatapathID), clone(r.FailMode)
	c.Protocols, c.Controller, c.Ports = slices.Clone(r.Protocols), slices.Clone(r.Controller), slices.Clone(r.Ports)
	c.OtherConfig, c.ExternalIDs, c.FlowTables = maps.Clone(r.OtherConfig), maps.Clone(r.ExternalIDs), maps.Clone(r.FlowTables)
	return &c
}

// CloneModelInto copies deeply into another row.
func (r *rowBridge) CloneModelInto(dst model.Model) {
	*dst.(*rowBridge) = *r.CloneModel().(*rowBridge)
}

func clone[T any](p *T) *T {
	if p == nil {
		return nil
	}
	v := *p
	return &v
}

// or is what p points to, or the zero value.
func or[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}
