package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"weft/internal/control"
	"weft/internal/feed"
	"weft/internal/model"
)

// Config is everything that can be set, with its defaults in defaults(). A field is one
// key of the YAML file, one flag (dashes for underscores) and one environment variable
// (WEFT_ and upper case). docs/configuration.md is written from these tags.
type Config struct {
	StateDir  string `key:"state_dir" use:"server agent client api join" help:"Directory of everything that weft keeps: the embedded etcd, certificates, the agent's last known cloud. Made with mode 0700."`
	Host      string `key:"host" use:"server agent client join" help:"Name of this host, as in binding:host_id. Empty: the machine's host name."`
	LogLevel  string `key:"log_level" use:"server agent" help:"Least level that is logged: debug, info, warn or error."`
	LogFormat string `key:"log_format" use:"server agent" help:"text or json."`

	APIListen      string        `key:"api_listen" use:"server" help:"Address of the Neutron API."`
	Identity       string        `key:"identity" use:"server" help:"Who may use the API. none: everybody, as administrator. builtin: users, projects and roles that weft keeps itself. keystone: those of an outside Keystone, at keystone_url. See identity.md."`
	InsecureNoAuth bool          `key:"insecure_no_auth" use:"server" help:"Let everybody use the API although others than this host can reach it: identity is none and api_listen not on the loopback."`
	IdentityListen string        `key:"identity_listen" use:"server" help:"Address of the Keystone v3 API of the builtin identity."`
	IdentityURL    string        `key:"identity_url" use:"server" help:"URL of that API in the catalog, without /v3. Empty: the address by which the client came."`
	NetworkURL     string        `key:"network_url" use:"server" help:"URL of the Neutron API in the catalog. Empty: api_listen, or when that is no single address, the host by which the client came, with its port."`
	Region         string        `key:"region" use:"server" help:"Name of the one region of the catalog."`
	TokenLifetime  time.Duration `key:"token_lifetime" use:"server" help:"How long a token of the builtin identity is good for."`

	PolicyFile  string            `key:"policy_file" use:"server" help:"YAML file with rules that override Neutron's default policies, in the form of oslo.policy: one RULE: \"EXPRESSION\" a line. Empty: the defaults."`
	Quotas      map[string]string `key:"quotas" use:"server" help:"Quotas of projects that have none of their own, where they differ from Neutron's: RESOURCE=NUMBER, -1 for no limit."`
	TLSCert     string            `key:"tls_cert" use:"server" help:"File with the certificate (and its chain) by which the APIs are served over TLS. Empty: no TLS."`
	TLSKey      string            `key:"tls_key" use:"server" help:"File with the key of tls_cert."`
	CORSOrigins []string          `key:"cors_allowed_origins" use:"server" help:"Origins of web pages that browsers let use the API, such as https://dashboard.example; * for any."`

	KeystoneURL           string        `key:"keystone_url" use:"server" help:"URL of the outside Keystone's v3 API."`
	KeystoneUsername      string        `key:"keystone_username" use:"server" help:"Service user that asks the outside Keystone about tokens. It needs the role service or admin in its project."`
	KeystonePassword      string        `key:"keystone_password" use:"server" help:"Its password. Keep it in the file or the environment: others can see flags."`
	KeystoneProject       string        `key:"keystone_project" use:"server" help:"Its project."`
	KeystoneUserDomain    string        `key:"keystone_user_domain" use:"server" help:"Name of the domain of the service user."`
	KeystoneProjectDomain string        `key:"keystone_project_domain" use:"server" help:"Name of the domain of its project."`
	KeystoneCA            string        `key:"keystone_ca" use:"server" help:"File with the CA certificate of the outside Keystone. Empty: those of the system."`
	KeystoneCacheTime     time.Duration `key:"keystone_cache_time" use:"server" help:"How long the outside Keystone's answer about a token is remembered. So long a revoked token may still be good."`

	FeedListen      string        `key:"feed_listen" use:"server" help:"Address at which the server awaits agents (gRPC with mutual TLS)."`
	FeedNames       []string      `key:"feed_names" use:"server" help:"Further host names and addresses that the server's certificate is made for, when agents reach it by another one than feed_listen. Takes effect when the certificate is made."`
	FeedAdvertise   []string      `key:"feed_advertise" use:"server" help:"Addresses (host:port) at which hosts reach this server's feed, told to those who join. Empty: feed_listen, or when that is all addresses, this host's name with its port."`
	CertificateLife time.Duration `key:"certificate_life" use:"server" help:"How long the certificates of hosts and servers are good. Each is renewed by itself after two thirds of it; a host that is away for the last third needs a new token."`

	PeerListen    string `key:"peer_listen" use:"server" help:"Address, IP:PORT, at which the etcd inside this server awaits those of other servers (mutual TLS). Empty: it stays alone. See servers.md."`
	PeerAdvertise string `key:"peer_advertise" use:"server" help:"Address, HOST:PORT, by which other servers reach it. Empty: peer_listen, or when that is all addresses, this host's name with its port."`

	EtcdEndpoints []string `key:"etcd_endpoints" use:"server" help:"Addresses of an external etcd cluster. Empty: an etcd inside the server, in state_dir. An external one needs --max-txn-ops 16384 --max-request-bytes 16777216 for bulk requests of more than 30 ports."`
	EtcdPrefix    string   `key:"etcd_prefix" use:"server" help:"Prefix of all keys in etcd."`
	EtcdCA        string   `key:"etcd_ca" use:"server" help:"File with the CA certificate of the external etcd; empty: no TLS."`
	EtcdCert      string   `key:"etcd_cert" use:"server" help:"File with the client certificate for the external etcd."`
	EtcdKey       string   `key:"etcd_key" use:"server" help:"File with the key of etcd_cert."`

	BaseMAC       string        `key:"base_mac" use:"server" help:"First octets of generated MAC addresses: three, or four if the fourth is not 00."`
	PhysicalMTU   int           `key:"physical_mtu" use:"server" help:"MTU of the physical networks, also of the one that carries tunnels; a vxlan network gets 50 less, or 70 (see overlay_ip_version)."`
	OverlayIP     int           `key:"overlay_ip_version" use:"server" help:"IP version of the addresses that tunnels end at: 4, or 6, which takes 20 bytes more of each packet."`
	VNIRange      string        `key:"vni_range" use:"server" help:"First and last VNI of vxlan networks, FIRST:LAST."`
	VLANRanges    []string      `key:"vlan_ranges" use:"server" help:"VLAN IDs that networks may get by themselves, as PHYSICAL_NETWORK:FIRST:LAST; PHYSICAL_NETWORK alone admits only IDs that are asked for."`
	FlatNetworks  []string      `key:"flat_networks" use:"server" help:"Physical networks on which a flat network may be made; * for all."`
	DNSDomain     string        `key:"dns_domain" use:"server agent" help:"Domain of ports, given to guests by DHCP."`
	MaxDNS        int           `key:"max_dns_nameservers" use:"server" help:"Most DNS servers of a subnet."`
	MaxRoutes     int           `key:"max_subnet_host_routes" use:"server" help:"Most host routes of a subnet."`
	AgentDownTime time.Duration `key:"agent_down_time" use:"server" help:"An agent that has not been heard of for so long counts as dead."`

	DHCPMode       string `key:"dhcp_mode" use:"server" help:"agents: DHCP of a network is answered by hosts of the role network, from dhcp_agents_per_network ports. distributed: by each host for its own guests, from one port that all hosts have. The server that was started last decides for all. See architecture.md."`
	DHCPPerNetwork int    `key:"dhcp_agents_per_network" use:"server" help:"On how many hosts DHCP of a network is answered, as far as there are so many. The server that was started last decides for all."`
	DHCPFailover   bool   `key:"allow_automatic_dhcp_failover" use:"server" help:"Whether DHCP of a network moves to another host when the agent of its host is dead."`

	Server            []string          `key:"server" use:"agent" help:"Addresses of the servers' feeds, or of some: of the others the agent learns from the first that it reaches. It holds a connection to one, any, and goes on to another when that one dies. On a host that joined by a token: those that it was told, unless others are set here. weft up uses its own."`
	CertDir           string            `key:"cert_dir" use:"server agent join" help:"Directory of the certificates: of the server, its authority (empty: tls in state_dir); of an agent, what weft agent join has brought, or weft certificate made, for its host (empty: tls/hosts/HOST in state_dir)."`
	HeartbeatInterval time.Duration     `key:"heartbeat_interval" use:"agent" help:"How often the agent tells the server that it lives."`
	OVSDB             string            `key:"ovsdb" use:"agent client" help:"Address of the database of Open vSwitch: unix:PATH or tcp:HOST:PORT."`
	OpenFlowListen    string            `key:"openflow_listen" use:"agent" help:"Address at which the agent is the controller of its bridges."`
	IntegrationBridge string            `key:"integration_bridge" use:"agent client" help:"Bridge that VIFs are plugged into."`
	TunnelBridge      string            `key:"tunnel_bridge" use:"agent" help:"Bridge of the tunnels to other hosts."`
	DatapathType      string            `key:"datapath_type" use:"agent client" help:"system (the kernel's), netdev (user space), or auto: system where the kernel module can be had, else netdev."`
	Manager           string            `key:"manager" use:"agent" help:"Target to set as manager of Open vSwitch, such as ptcp:6640:127.0.0.1. Empty leaves the manager alone."`
	BridgeMappings    map[string]string `key:"bridge_mappings" use:"agent" help:"Bridge of each physical network that this host is connected to."`
	TunnelTypes       []string          `key:"tunnel_types" use:"agent" help:"Types of tunnel network that this host takes part in: vxlan, or none at all."`
	TunnelIP          string            `key:"tunnel_ip" use:"agent" help:"Address of this host that tunnels end at; the MTU of its device must be that of the vxlan networks and 50 (IPv6: 70). Empty: no tunnels, as one host needs none."`
	Roles             []string          `key:"roles" use:"agent" help:"What this host is for: compute (guests run here), network (it serves DHCP to networks), or both."`
	LeaseTime         time.Duration     `key:"dhcp_lease_time" use:"agent" help:"Lease time given to guests; they renew after half of it."`
	ResyncInterval    time.Duration     `key:"resync_interval" use:"agent" help:"How often the agent compares all of the host with the plan, beyond reacting to changes."`
	RetryMax          time.Duration     `key:"retry_max" use:"agent" help:"What failed on the host is tried again after 100ms, then after twice as long each time, up to this."`
	ReconnectMax      time.Duration     `key:"reconnect_max" use:"agent" help:"Longest wait between attempts to reach the server."`
	ServerWait        time.Duration     `key:"server_wait" use:"agent" help:"How long an agent that has just started waits for the server before it acts on the cloud it knew before."`
	MetricsListen     string            `key:"metrics_listen" use:"server agent" help:"Address at which metrics for Prometheus are served, at /metrics, to whoever can reach it: such as 127.0.0.1:9480. Empty: none. See metrics.md."`
	StatusGrace       time.Duration     `key:"status_grace" use:"agent" help:"How long a port that was ACTIVE stays so while the whole switch or its network's DHCP is in trouble, as when ovs-vswitchd restarts."`

	API string `key:"api" use:"client api" help:"URL of the API, for commands that talk to it. It is used without authentication, unless a cloud is named too; see cli.md."`
}

func defaults() Config {
	return Config{
		StateDir: "/var/lib/weft", LogLevel: "info", LogFormat: "text",
		APIListen: "127.0.0.1:9696",
		Identity:  "builtin", IdentityListen: "127.0.0.1:5000", Region: "RegionOne", TokenLifetime: time.Hour,
		KeystoneUsername: "neutron", KeystoneProject: "service", KeystoneUserDomain: "Default", KeystoneProjectDomain: "Default", KeystoneCacheTime: 5 * time.Minute,
		FeedListen: "127.0.0.1:9697", CertificateLife: feed.DefaultLife, EtcdPrefix: "/weft/v1/",
		BaseMAC: "fa:16:3e:00:00:00", PhysicalMTU: 1500, OverlayIP: 4, VNIRange: "1:16777214", FlatNetworks: []string{"*"},
		DNSDomain: "openstacklocal", MaxDNS: 5, MaxRoutes: 20, AgentDownTime: 75 * time.Second,
		DHCPMode: model.DHCPAgents, DHCPPerNetwork: 1, DHCPFailover: true,
		Server: []string{"127.0.0.1:9697"}, HeartbeatInterval: 30 * time.Second,
		OVSDB: "unix:/var/run/openvswitch/db.sock", OpenFlowListen: "127.0.0.1:6633",
		IntegrationBridge: "br-int", TunnelBridge: "br-tun", TunnelTypes: []string{"vxlan"}, DatapathType: "auto",
		Roles: []string{"compute", "network"}, LeaseTime: 24 * time.Hour, ResyncInterval: time.Minute,
		RetryMax: 15 * time.Second, ReconnectMax: 5 * time.Second, ServerWait: time.Second, StatusGrace: 10 * time.Second,
		API: "http://127.0.0.1:9696",
	}
}

// complete fills in what follows from other settings and refuses what cannot be.
func (c *Config) complete() error {
	var errs []error
	bad := func(key, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s: %s", key, fmt.Sprintf(format, args...)))
	}
	if c.Host == "" {
		name, err := os.Hostname()
		if err != nil {
			bad("host", "not set, and the machine does not say its name: %v", err)
		}
		c.Host = name
	}
	if c.StateDir == "" {
		bad("state_dir", "must not be empty")
	}
	for key, addr := range map[string]string{"api_listen": c.APIListen, "identity_listen": c.IdentityListen, "feed_listen": c.FeedListen, "openflow_listen": c.OpenFlowListen, "metrics_listen": c.MetricsListen} {
		if addr == "" && key == "metrics_listen" {
			continue
		}
		if _, _, err := net.SplitHostPort(addr); err != nil {
			bad(key, "want HOST:PORT: %v", err)
		}
	}
	for _, addr := range c.FeedAdvertise {
		if _, _, err := net.SplitHostPort(addr); err != nil {
			bad("feed_advertise", "want HOST:PORT: %v", err)
		}
	}
	if len(c.Server) == 0 {
		bad("server", "must not be empty")
	}
	for _, addr := range c.Server {
		if _, _, err := net.SplitHostPort(addr); err != nil {
			bad("server", "want HOST:PORT: %v", err)
		}
	}
	if c.PeerListen != "" {
		if _, err := netip.ParseAddrPort(c.PeerListen); err != nil {
			bad("peer_listen", "want IP:PORT: %v", err)
		}
		if len(c.EtcdEndpoints) > 0 {
			bad("peer_listen", "is for the etcd inside the server, but etcd_endpoints names another")
		}
	}
	if c.PeerAdvertise != "" {
		if _, _, err := net.SplitHostPort(c.PeerAdvertise); err != nil {
			bad("peer_advertise", "want HOST:PORT: %v", err)
		}
	}
	if _, err := model.ParseMAC(c.BaseMAC); err != nil {
		bad("base_mac", "%v", err)
	}
	oneOf := func(key, v string, allowed ...string) {
		for _, a := range allowed {
			if v == a {
				return
			}
		}
		bad(key, "%q is none of %s", v, strings.Join(allowed, ", "))
	}
	if len(c.Roles) == 0 {
		bad("roles", "a host needs one")
	}
	for _, r := range c.Roles {
		oneOf("roles", r, "compute", "network")
	}
	oneOf("log_level", c.LogLevel, "debug", "info", "warn", "error")
	oneOf("log_format", c.LogFormat, "text", "json")
	oneOf("datapath_type", c.DatapathType, "auto", "system", "netdev")
	oneOf("dhcp_mode", c.DHCPMode, model.DHCPAgents, model.DHCPDistributed)
	oneOf("identity", c.Identity, "none", "builtin", "keystone")
	if c.Identity == "keystone" && (c.KeystoneURL == "" || c.KeystonePassword == "") {
		bad("identity", "keystone needs keystone_url and keystone_password")
	}
	for _, t := range c.TunnelTypes {
		oneOf("tunnel_types", t, "vxlan")
	}
	if len(c.TunnelTypes) == 0 {
		c.TunnelBridge, c.TunnelIP = "", "" // there is nothing to tunnel
	}
	if c.TunnelIP != "" {
		switch a, err := netip.ParseAddr(c.TunnelIP); {
		case err != nil:
			bad("tunnel_ip", "%v", err)
		case a.Zone() != "" || a.IsUnspecified() || a.IsMulticast():
			bad("tunnel_ip", "%s is no address that other hosts reach this one by", a)
		}
	}
	if first, last, err := parseRange(c.VNIRange); err != nil {
		bad("vni_range", "%v", err)
	} else if first < 1 || last >= model.ProbeVNI {
		bad("vni_range", "%q leaves 1:%d", c.VNIRange, model.ProbeVNI-1)
	}
	if _, err := parseQuotas(c.Quotas); err != nil {
		bad("quotas", "%v", err)
	}
	if (c.TLSCert == "") != (c.TLSKey == "") {
		bad("tls_key", "tls_cert and tls_key go together")
	}
	for _, r := range c.VLANRanges {
		if _, _, _, err := parseVLANRange(r); err != nil {
			bad("vlan_ranges", "%v", err)
		}
	}
	if c.OverlayIP != 4 && c.OverlayIP != 6 {
		bad("overlay_ip_version", "%d is neither 4 nor 6", c.OverlayIP)
	}
	for key, n := range map[string]int{"physical_mtu": c.PhysicalMTU, "max_dns_nameservers": c.MaxDNS, "max_subnet_host_routes": c.MaxRoutes, "dhcp_agents_per_network": c.DHCPPerNetwork} {
		if n <= 0 {
			bad(key, "%d is not above 0", n)
		}
	}
	for key, d := range map[string]time.Duration{"token_lifetime": c.TokenLifetime, "certificate_life": c.CertificateLife, "keystone_cache_time": c.KeystoneCacheTime, "agent_down_time": c.AgentDownTime, "heartbeat_interval": c.HeartbeatInterval,
		"dhcp_lease_time": c.LeaseTime, "resync_interval": c.ResyncInterval,
		"retry_max": c.RetryMax, "reconnect_max": c.ReconnectMax, "server_wait": c.ServerWait, "status_grace": c.StatusGrace} {
		if d <= 0 {
			bad(key, "%s is not above 0", d)
		}
	}
	return errors.Join(errs...)
}

// authorityDir is where the server keeps its certificates.
func (c *Config) authorityDir() string {
	if c.CertDir != "" {
		return c.CertDir
	}
	return filepath.Join(c.StateDir, "tls")
}

// agentCertDir is where an agent that runs by itself finds its certificate.
func (c *Config) agentCertDir() string {
	if c.CertDir != "" {
		return c.CertDir
	}
	return filepath.Join(c.StateDir, "tls", "hosts", c.Host)
}

// parseRange reads FIRST:LAST.
func parseRange(s string) (first, last int, err error) {
	a, b, ok := strings.Cut(s, ":")
	if ok {
		first, err = strconv.Atoi(a)
		if err == nil {
			last, err = strconv.Atoi(b)
		}
	}
	if !ok || err != nil || first > last {
		return 0, 0, fmt.Errorf("%q is not FIRST:LAST", s)
	}
	return first, last, nil
}

// parseQuotas reads numbers and puts them in place of the defaults.
func parseQuotas(given map[string]string) (map[string]int, error) {
	quotas := control.DefaultConfig().Quotas
	known := control.QuotaResources()
	for name, text := range given {
		n, err := strconv.Atoi(text)
		switch {
		case !slices.Contains(known, name):
			return nil, fmt.Errorf("%q is none of %s", name, strings.Join(known, ", "))
		case err != nil || n < -1:
			return nil, fmt.Errorf("%s: %q is neither a number nor -1", name, text)
		}
		quotas[name] = n
	}
	return quotas, nil
}

// parseVLANRange reads PHYSICAL:FIRST:LAST or PHYSICAL (0, 0).
func parseVLANRange(s string) (physical string, first, last int, err error) {
	physical, rest, ok := strings.Cut(s, ":")
	if !ok {
		return physical, 0, 0, nil
	}
	first, last, err = parseRange(rest)
	if err == nil && (first < 1 || last > 4094) {
		err = fmt.Errorf("%q leaves 1:4094", rest)
	}
	return physical, first, last, err
}

// option is one field of Config.
type option struct {
	Key, Help string
	Use       []string
	index     int
}

// options are all fields of Config, in order.
func options() []option {
	var out []option
	t := reflect.TypeFor[Config]()
	for i := range t.NumField() {
		tag := t.Field(i).Tag
		out = append(out, option{Key: tag.Get("key"), Help: tag.Get("help"), Use: strings.Fields(tag.Get("use")), index: i})
	}
	return out
}

func (o option) flag() string { return strings.ReplaceAll(o.Key, "_", "-") }
func (o option) env() string  { return "WEFT_" + strings.ToUpper(o.Key) }

// set reads a value from text: lists are separated by commas, maps are k=v lists.
func (o option) set(c *Config, text string) error {
	v := reflect.ValueOf(c).Elem().Field(o.index)
	switch p := v.Addr().Interface().(type) {
	case *string:
		*p = text
	case *int:
		n, err := strconv.Atoi(text)
		if err != nil {
			return fmt.Errorf("%q is not a whole number", text)
		}
		*p = n
	case *bool:
		b, err := strconv.ParseBool(text)
		if err != nil {
			return fmt.Errorf("%q is neither true nor false", text)
		}
		*p = b
	case *time.Duration:
		d, err := time.ParseDuration(text)
		if err != nil {
			return fmt.Errorf("%q is not a duration such as 30s", text)
		}
		*p = d
	case *[]string:
		*p = splitList(text)
	case *map[string]string:
		m := map[string]string{}
		for _, kv := range splitList(text) {
			k, val, ok := strings.Cut(kv, "=")
			if !ok {
				return fmt.Errorf("%q is not NAME=VALUE", kv)
			}
			m[k] = val
		}
		*p = m
	default:
		panic("option " + o.Key + " has a type that set does not know")
	}
	return nil
}

func splitList(s string) []string {
	var out []string
	for w := range strings.SplitSeq(s, ",") {
		if w = strings.TrimSpace(w); w != "" {
			out = append(out, w)
		}
	}
	return out
}

// text is a value as set would read it.
func (o option) text(c *Config) string {
	switch v := reflect.ValueOf(c).Elem().Field(o.index).Interface().(type) {
	case []string:
		return strings.Join(v, ",")
	case map[string]string:
		var kvs []string
		for k, val := range v {
			kvs = append(kvs, k+"="+val)
		}
		return strings.Join(kvs, ",")
	case time.Duration:
		return shortDuration(v)
	default:
		return fmt.Sprint(v)
	}
}

// shortDuration prints 1m0s as 1m.
func shortDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}
