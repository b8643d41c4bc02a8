package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
)

var update = flag.Bool("update", false, "write golden files")

func load(t *testing.T, yaml string, env map[string]string, args ...string) (Config, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "weft.yaml")
	if err := os.WriteFile(file, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	for k, v := range env {
		t.Setenv(k, v)
	}
	cmd := &cobra.Command{Use: "up"}
	addFlags(cmd, "server", "agent")
	if err := cmd.ParseFlags(append([]string{"--config", file}, args...)); err != nil {
		t.Fatal(err)
	}
	c, err := loadConfig(cmd)
	if err != nil {
		err = fmt.Errorf("%s", strings.ReplaceAll(err.Error(), file, "FILE"))
	}
	return c, err
}

func TestConfigOrder(t *testing.T) {
	c, err := load(t, "# mine\nhost: from-file\nlog_level: debug\nresync_interval: 5s\nbridge_mappings:\n  physnet1: br-ex\nvlan_ranges: [physnet1:100:200, other]\n",
		map[string]string{"WEFT_HOST": "from-env", "WEFT_LOG_LEVEL": "warn"}, "--host", "from-flag")
	if err != nil {
		t.Fatal(err)
	}
	if c.Host != "from-flag" || c.LogLevel != "warn" || c.ResyncInterval != 5*time.Second || c.APIListen != "127.0.0.1:9696" {
		t.Errorf("%+v", c)
	}
	if c.BridgeMappings["physnet1"] != "br-ex" || len(c.VLANRanges) != 2 || c.VLANRanges[0] != "physnet1:100:200" {
		t.Errorf("%+v", c)
	}
	if c.authorityDir() != "/var/lib/weft/tls" || c.agentCertDir() != "/var/lib/weft/tls/hosts/from-flag" {
		t.Errorf("%s, %s", c.authorityDir(), c.agentCertDir())
	}
}

func TestConfigRefused(t *testing.T) {
	for yaml, want := range map[string]string{
		"host: a\nlog_levle: info\n":     `FILE:2: unknown key "log_levle"; did you mean "log_level"?`,
		"no_such_thing_at_all: 1\n":      `FILE:1: unknown key "no_such_thing_at_all"`,
		"host: a\n\nhost: b\n":           `FILE:3: key "host" is on line 1 already`,
		"resync_interval: soon\n":        `FILE:1: resync_interval: "soon" is not a duration such as 30s`,
		"insecure_no_auth: maybe\n":      `FILE:1: insecure_no_auth: "maybe" is neither true nor false`,
		"roles: [compute, king]\n":       `settings: roles: "king" is none of compute, network`,
		"tunnel_types: [vxlan, gre]\n":   `settings: tunnel_types: "gre" is none of vxlan`,
		"roles: []\n":                    `settings: roles: a host needs one`,
		"physical_mtu: big\n":            `FILE:1: physical_mtu: "big" is not a whole number`,
		"overlay_ip_version: 5\n":        `settings: overlay_ip_version: 5 is neither 4 nor 6`,
		"bridge_mappings: [br-ex]\n":     `FILE:1: bridge_mappings: "br-ex" is not NAME=VALUE`,
		"- host\n":                       `FILE:1: want lines of the form key: value`,
		"datapath_type: fast\n":          `settings: datapath_type: "fast" is none of auto, system, netdev`,
		"api_listen: 9696\n":             `settings: api_listen: want HOST:PORT: address 9696: missing port in address`,
		"vlan_ranges: [physnet1:0:20]\n": `settings: vlan_ranges: "0:20" leaves 1:4094`,
		"tunnel_ip: fe80::1%eth0\n":      `settings: tunnel_ip: fe80::1%eth0 is no address that other hosts reach this one by`,
		"base_mac: fa:16\n":              `settings: base_mac: 'fa:16' is not a valid MAC address`,
		"resync_interval: 0s\n":          `settings: resync_interval: 0s is not above 0`,
		"host: {a: [b]}\n":               `FILE:1: host: want name: value pairs`,
	} {
		if _, err := load(t, yaml, nil); err == nil || err.Error() != want {
			t.Errorf("%q:\n got %v\nwant %s", yaml, err, want)
		}
	}
}

func TestConfigDefaultsHold(t *testing.T) {
	c, err := load(t, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	if c.StateDir != "/var/lib/weft" || c.Host == "" {
		t.Errorf("%+v", c)
	}
}

// TestConfigurationDocument keeps docs/configuration.md equal to the options; -update rewrites it.
func TestConfigurationDocument(t *testing.T) {
	const name = "../../docs/configuration.md"
	want := configurationDocument()
	if *update {
		if err := os.WriteFile(name, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s does not list the options as they are: run go test ./cmd/weft -update", name)
	}
	for _, o := range options() {
		if o.Key == "" || o.Help == "" || len(o.Use) == 0 || !strings.HasSuffix(o.Help, ".") {
			t.Errorf("option %+v is not fully described", o)
		}
	}
}

func configurationDocument() []byte {
	var b bytes.Buffer
	b.WriteString(`# Configuration

weft needs no configuration file: every setting has a default. To change some, write them
into a YAML file, one ` + "`key: value`" + ` per line, as /etc/weft/weft.yaml or with ` + "`--config FILE`" + `
(or WEFT_CONFIG). A key that is unknown or there twice is an error that names its line.

Each key is also an environment variable and a flag: ` + "`state_dir`" + ` is WEFT_STATE_DIR and
` + "`--state-dir`" + `. A flag wins over the environment, and that over the file. In the
environment and in flags a list is separated by commas (` + "`a,b`" + `) and a map is
` + "`name=value,name=value`" + `. Durations are written 500ms, 30s, 5m, 24h.

The column "used by" says which commands read a key: server (` + "`weft server`, `weft up`, `weft fsck`" + `),
agent (` + "`weft agent`, `weft up`" + `), client (` + "`weft plug`, `weft unplug`, `weft show`" + `), api (the commands of [cli.md](cli.md)).
One file can serve them all. This page is made from the program (` + "`make golden`" + `).

`)
	d := defaults()
	b.WriteString("| key | default | used by | meaning |\n|---|---|---|---|\n")
	for _, o := range options() {
		def := o.text(&d)
		if def != "" {
			def = "`" + def + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", o.Key, def, strings.Join(o.Use, ", "), o.Help)
	}
	b.WriteString(`
## An example

` + "```yaml" + `
# /etc/weft/weft.yaml of the only host of a lab
host: lab1
datapath_type: netdev
manager: ptcp:6640:127.0.0.1
vlan_ranges: [physnet1:100:199]
bridge_mappings:
  physnet1: br-ex
` + "```" + `
`)
	return b.Bytes()
}
