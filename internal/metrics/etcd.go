package metrics

import (
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// etcdNames are those of etcd's own families that are served, under etcd's names, so that what is
// known of watching etcd holds here too. It has a hundred more.
var etcdNames = []string{
	"etcd_disk_backend_commit_duration_seconds",
	"etcd_disk_wal_fsync_duration_seconds",
	"etcd_mvcc_db_total_size_in_bytes",
	"etcd_mvcc_db_total_size_in_use_in_bytes",
	"etcd_network_peer_round_trip_time_seconds",
	"etcd_server_has_leader",
	"etcd_server_is_leader",
	"etcd_server_leader_changes_seen_total",
	"etcd_server_proposals_applied_total",
	"etcd_server_proposals_committed_total",
	"etcd_server_proposals_failed_total",
	"etcd_server_proposals_pending",
	"etcd_server_quota_backend_bytes",
	"etcd_server_slow_apply_total",
}

// Etcd adds the metrics of the etcd inside this process.
func (r *Registry) Etcd() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.etcd = true
}

// gatherEtcd takes them from where etcd, and only etcd, puts them: the library's own registry.
func gatherEtcd() ([]*dto.MetricFamily, error) {
	all, err := prometheus.DefaultGatherer.Gather()
	return slices.DeleteFunc(all, func(f *dto.MetricFamily) bool { return !slices.Contains(etcdNames, f.GetName()) }), err
}
