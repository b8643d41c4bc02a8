package neutron

import (
	"fmt"
	"strings"
	"testing"

	"weft/internal/lab/labtest"
)

func TestOpenstackCLIForQoS(t *testing.T) {
	labtest.Require(t, "openstack")
	if testing.Short() {
		t.Skip("the CLI takes seconds per command")
	}
	c := &cli{api: startAPI(t)}
	c.has(c.object("network", "qos", "policy", "create", "gold", "--share", "--default"), "name", "gold", "shared", true, "is_default", true)
	rule := c.object("network", "qos", "rule", "create", "gold", "--type", "bandwidth-limit", "--max-kbps", "2000", "--max-burst-kbits", "200", "--ingress")
	c.has(rule, "max_kbps", 2000, "max_burst_kbps", 200, "direction", "ingress")
	c.has(c.object("network", "qos", "rule", "create", "gold", "--type", "dscp-marking", "--dscp-mark", "26"), "dscp_mark", 26)
	c.run("network", "qos", "rule", "set", "gold", fmt.Sprint(rule["id"]), "--max-kbps", "3000")
	if rows := c.rows("network", "qos", "rule", "list", "gold"); len(rows) != 2 || fmt.Sprint(rows[0]["Max Kbps"]) != "3000" {
		t.Errorf("rules: %v", rows)
	}
	c.has(c.object("network", "create", "n"), "qos_policy_id", c.object("network", "qos", "policy", "show", "gold")["id"])
	if out, err := c.start("network", "qos", "policy", "delete", "gold"); err == nil || !strings.Contains(out, "is used by network") {
		t.Errorf("a policy in use was deleted: %s", out)
	}
	c.run("network", "set", "n", "--no-qos-policy")
	c.run("network", "qos", "rule", "delete", "gold", fmt.Sprint(rule["id"]))
	c.run("network", "qos", "policy", "set", "gold", "--no-default", "--name", "silver")
	if rows := c.rows("network", "qos", "rule", "type", "list"); len(rows) != 5 {
		t.Errorf("rule types: %v", rows)
	}
	c.has(c.object("network", "qos", "rule", "type", "show", "dscp_marking"), "rule_type_name", "dscp_marking")
	c.run("network", "qos", "policy", "delete", "silver")
	if rows := c.rows("network", "qos", "policy", "list"); len(rows) != 0 {
		t.Errorf("left over: %v", rows)
	}
}
