package identity

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"weft/internal/lab/labtest"
)

// cli runs the real openstack command as one user.
type cli struct {
	*cloud
	env []string
}

// shell is a command line as a user with a password, in a project.
func (c *cloud) shell(user, password, project string) *cli {
	return &cli{c, []string{"OS_USERNAME=" + user, "OS_PASSWORD=" + password, "OS_PROJECT_NAME=" + project,
		"OS_USER_DOMAIN_NAME=Default", "OS_PROJECT_DOMAIN_NAME=Default"}}
}

func (c *cli) start(args ...string) (string, error) {
	cmd := exec.Command("openstack", args...)
	// Nothing of the caller's cloud may leak in.
	cmd.Env = append([]string{"HOME=" + c.t.TempDir(), "PATH=" + os.Getenv("PATH"), "LANG=C.UTF-8",
		"OS_AUTH_URL=" + c.url + "/v3", "OS_IDENTITY_API_VERSION=3", "OS_REGION_NAME=RegionOne"}, c.env...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (c *cli) run(args ...string) string {
	c.t.Helper()
	out, err := c.start(args...)
	if err != nil {
		c.t.Fatalf("openstack %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// has runs a command that shows one object, checks attributes given in pairs, and returns it.
func (c *cli) has(command string, pairs ...string) map[string]any {
	c.t.Helper()
	var o map[string]any
	c.decode(command, &o)
	for i := 0; i < len(pairs); i += 2 {
		if got := fmt.Sprint(o[pairs[i]]); got != pairs[i+1] {
			c.t.Errorf("%s: %s is %s, want %s", command, pairs[i], got, pairs[i+1])
		}
	}
	return o
}

// rows runs a command that lists, and checks what is in a column, sorted.
func (c *cli) rows(command, column, want string) {
	c.t.Helper()
	var l []map[string]any
	c.decode(command, &l)
	var got []string
	for _, r := range l {
		got = append(got, fmt.Sprint(r[column]))
	}
	slices.Sort(got)
	if text := strings.Join(got, " "); text != want {
		c.t.Errorf("%s: %s, want %s", command, text, want)
	}
}

func (c *cli) decode(command string, v any) {
	c.t.Helper()
	out := c.run(append(strings.Fields(command), "-f", "json")...)
	if err := json.Unmarshal([]byte(out), v); err != nil {
		c.t.Fatalf("openstack %s: %v\n%s", command, err, out)
	}
}

func TestOpenstackCLI(t *testing.T) {
	labtest.Require(t, "openstack")
	if testing.Short() {
		t.Skip("the CLI takes seconds per command")
	}
	c := start(t)
	admin := c.shell("admin", c.password, "admin")
	admin.projects()
	admin.users()
	admin.roles()
	admin.catalogs()
	c.shell("ann", "pw", "web").credentials()
	admin.deletes()
	c.sound()
}

func (c *cli) projects() {
	c.t.Helper()
	c.has("project create web --description things --property a=b --tag x", "name", "web", "description", "things", "enabled", "true", "domain_id", "default")
	c.run("project", "set", "web", "--description", "other", "--disable")
	c.has("project show web", "description", "other", "enabled", "false")
	c.run("project", "set", "web", "--enable")
	c.rows("project list", "Name", "admin service web")
	c.rows("project list --my-projects", "Name", "admin")
	c.has("project create web --or-show", "description", "other")
	c.has("domain create shop --description d", "name", "shop", "enabled", "true")
	c.has("project create till --domain shop", "name", "till")
	c.rows("project list --domain shop", "Name", "till")
	c.rows("domain list", "Name", "Default shop")
	if out, err := c.start("project", "create", "web"); err == nil || !strings.Contains(out, "Duplicate entry found with name web") {
		c.t.Errorf("%v: %s", err, out)
	}
}

func (c *cli) users() {
	c.t.Helper()
	c.has("user create ann --project web --password pw --email ann@example.org", "name", "ann", "email", "ann@example.org")
	c.run("user", "set", "ann", "--description", "a user", "--disable")
	c.has("user show ann", "description", "a user", "enabled", "false")
	c.run("user", "set", "ann", "--enable", "--password", "first")
	c.rows("user list", "Name", "admin ann")
	c.has("user create bob --domain shop --password x", "name", "bob")
	c.rows("user list --domain shop --long", "Name", "bob")
}

func (c *cli) roles() {
	c.t.Helper()
	c.rows("role list", "Name", "admin manager member reader service")
	c.has("role create extra --description e", "name", "extra")
	c.run("role", "set", "extra", "--name", "more")
	c.has("role show more", "name", "more", "description", "e")
	c.run("role", "add", "--user", "ann", "--project", "web", "member")
	c.run("role", "add", "--user", "ann", "--domain", "shop", "more")
	c.run("role", "add", "--user", "ann", "--system", "all", "reader")
	c.rows("role assignment list --user ann --names --project web", "Role", "member")
	c.rows("role assignment list --user ann --names --system all", "System", "all")
	c.rows("role assignment list --user ann --domain shop --names", "Domain", "shop")
	c.rows("role assignment list --user ann --effective --names --project web", "User", "ann@Default ann@Default")
	c.run("role", "remove", "--user", "ann", "--system", "all", "reader")
	c.rows("role assignment list --user ann --system all", "Role", "")
	c.rows("user list --project web", "Name", "ann")
	c.rows("implied role list", "Implied Role Name", "manager member member reader reader reader")
	ann := &cli{c.cloud, c.shell("ann", "first", "web").env}
	ann.run("user", "password", "set", "--original-password", "first", "--password", "pw")
	if out, err := ann.start("token", "issue"); err == nil || !strings.Contains(out, "HTTP 401") {
		c.t.Errorf("the old password: %v: %s", err, out)
	}
}

func (c *cli) catalogs() {
	c.t.Helper()
	c.has("token issue", "project_id", c.ids["project/admin"], "user_id", c.ids["user/admin"])
	c.rows("catalog list", "Type", "identity network")
	c.has("catalog show network", "name", "neutron", "type", "network")
	c.rows("service list", "Name", "keystone neutron")
	c.has("service show network", "name", "neutron")
	c.rows("endpoint list --service network", "Interface", "admin internal public")
	c.rows("region list", "Region", "RegionOne")
	token := strings.TrimSpace(c.run("token", "issue", "-f", "value", "-c", "id"))
	c.run("token", "revoke", token)
	if c.valid(token) {
		c.t.Error("token revoke")
	}
	if out, err := c.start("group", "list"); err == nil || !strings.Contains(out, "has no groups") {
		c.t.Errorf("groups: %v: %s", err, out)
	}
}

// credentials is run by a user who is no admin.
func (c *cli) credentials() {
	c.t.Helper()
	o := c.has("application credential create robot --role member --description r", "name", "robot", "roles", "member", "unrestricted", "false")
	c.rows("application credential list", "Name", "robot")
	c.has("application credential show robot", "description", "r")
	robot := &cli{c.cloud, []string{"OS_AUTH_TYPE=v3applicationcredential",
		"OS_APPLICATION_CREDENTIAL_ID=" + fmt.Sprint(o["id"]), "OS_APPLICATION_CREDENTIAL_SECRET=" + fmt.Sprint(o["secret"])}}
	project := robot.has("token issue")["project_id"]
	robot.has("project show "+fmt.Sprint(project), "name", "web")
	if out, err := robot.start("user", "list"); err == nil || !strings.Contains(out, "identity:list_users") {
		c.t.Errorf("user list: %v: %s", err, out)
	}
	c.run("application", "credential", "delete", "robot")
	if out, err := robot.start("token", "issue"); err == nil {
		c.t.Errorf("it still works: %s", out)
	}
}

func (c *cli) deletes() {
	c.t.Helper()
	c.run("role", "remove", "--user", "ann", "--project", "web", "member")
	c.run("user", "delete", "ann")
	c.run("project", "delete", "web")
	c.run("role", "delete", "more")
	c.run("domain", "set", "shop", "--disable")
	c.run("domain", "delete", "shop")
	c.rows("project list", "Name", "admin service")
	c.rows("user list", "Name", "admin")
	c.rows("role assignment list --names", "Role", "admin admin")
}
