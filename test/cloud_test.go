package test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"weft/internal/feed"
	"weft/internal/lab/labtest"
	"weft/internal/model"
)

// cloud is a weft server with its built-in identity, for clients that look at the API and
// at nothing behind it: there is no switch, and a host that only says that it is there.
type cloud struct {
	*host
	admin account
	token string
}

const feedAddr = "127.0.0.1:9697"

// account is an entry of clouds.yaml.
type account struct {
	AuthURL  string `yaml:"auth_url"`
	Username string `yaml:"username"`
	Password string `yaml:"password"`
	Project  string `yaml:"project_name"`
}

// newCloud starts a server in a directory of its own. It could do without root's rights, but
// not without a network of its own: what listens on this machine must not be in its way.
func newCloud(t testing.TB) *cloud {
	t.Helper()
	labtest.Require(t, "root")
	// Short, for unix socket paths; and a tmpfs, as /run is the test's own.
	dir, err := os.MkdirTemp("/run", "c")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	c := &cloud{host: &host{t: t, bin: weftBinary(t), dir: dir, log: filepath.Join(dir, "weft.log"), http: &http.Client{Timeout: 30 * time.Second},
		args: []string{"--host", "controller", "--state-dir", filepath.Join(dir, "state"),
			"--vlan-ranges", "physnet1:100:199,physnet2:100:199"}}}
	t.Cleanup(func() {
		if t.Failed() {
			b, _ := os.ReadFile(c.log)
			t.Logf("the end of weft's log:\n%s", b[max(0, len(b)-8000):])
		}
	})
	c.start("server", "--identity", "builtin")
	c.await("the API", 20*time.Second, func() error {
		resp, err := c.http.Get(apiURL + "/")
		if err == nil {
			resp.Body.Close()
		}
		return err
	})
	c.readAccount()
	c.authenticate()
	c.joinHost("compute-1")
	return c
}

// cloudsFile is the file that weft writes for its first user.
func (c *cloud) cloudsFile() string { return filepath.Join(c.dir, "state", "clouds.yaml") }

func (c *cloud) readAccount() {
	c.t.Helper()
	b, err := os.ReadFile(c.cloudsFile())
	c.must(err)
	var file struct {
		Clouds map[string]struct{ Auth account }
	}
	c.must(yaml.Unmarshal(b, &file))
	c.admin = file.Clouds["weft"].Auth
	if c.admin.Password == "" {
		c.t.Fatalf("%s names no password:\n%s", c.cloudsFile(), b)
	}
}

// authenticate gets the administrator's token.
func (c *cloud) authenticate() {
	c.t.Helper()
	domain := m{"id": "default"}
	body, err := json.Marshal(m{"auth": m{
		"identity": m{"methods": []string{"password"}, "password": m{"user": m{"name": c.admin.Username, "password": c.admin.Password, "domain": domain}}},
		"scope":    m{"project": m{"name": c.admin.Project, "domain": domain}},
	}})
	c.must(err)
	resp, err := c.http.Post(c.admin.AuthURL+"/auth/tokens", "application/json", bytes.NewReader(body))
	c.must(err)
	defer resp.Body.Close()
	if b, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusCreated {
		c.t.Fatalf("POST /v3/auth/tokens: %s: %s", resp.Status, b)
	}
	c.token = resp.Header.Get("X-Subject-Token")
}

// call sends a request to the API as administrator; in and out may be nil.
func (c *cloud) call(method, path string, in, out any) error {
	return c.send(method, apiURL+path, in, out)
}

// identity sends a request to the identity API as administrator; path is what follows /v3.
func (c *cloud) identity(method, path string, in, out any) error {
	return c.send(method, c.admin.AuthURL+path, in, out)
}

func (c *cloud) send(method, url string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequest(method, url, body)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-Auth-Token", c.token)
	resp, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode >= 300 {
		return fmt.Errorf("%s %s: %w", method, url, statusError{resp.StatusCode, string(b)})
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(b, out)
}

// joinHost makes the certificate of a host and keeps a connection to the feed for it, as
// its agent would: the host counts as alive and serves DHCP, as far as the API knows.
func (c *cloud) joinHost(name model.HostName) {
	c.t.Helper()
	state := filepath.Join(c.dir, "state")
	c.run(c.bin, "certificate", string(name), "--state-dir", state)
	tls, _, err := feed.ClientTLS(filepath.Join(state, "tls", "hosts", string(name)))
	c.must(err)
	client := feed.NewClient(feed.ClientOptions{Servers: []string{feedAddr}, TLS: tls, Name: name, Host: func() model.Host {
		return model.Host{Name: name, Roles: model.AllRoles(), IntegrationBridge: "br-int", DatapathType: "system",
			TunnelTypes: []string{"vxlan"}, BridgeMappings: map[string]string{"physnet1": "br-ex"}}
	}})
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = client.Run(ctx) })
	c.t.Cleanup(func() { cancel(); wg.Wait() })
	c.await("host "+string(name), 10*time.Second, func() error {
		if s := client.Status(); !s.InSync {
			return fmt.Errorf("%s", s.Err)
		}
		return nil
	})
}

// publicNetwork makes the external network that tempest and the stories of routers use.
func (c *cloud) publicNetwork() (id string) {
	c.t.Helper()
	var n struct{ Network struct{ ID string } }
	c.must(c.call("POST", "/v2.0/networks", m{"network": m{"name": "public", "router:external": true}}, &n))
	for version, cidr := range map[int]string{4: "172.24.4.0/24"} {
		c.must(c.call("POST", "/v2.0/subnets", m{"subnet": m{"network_id": n.Network.ID, "ip_version": version, "cidr": cidr, "enable_dhcp": false}}, nil))
	}
	return n.Network.ID
}

// aliases are the extensions that the server says it has.
func (c *cloud) aliases() (all []string) {
	c.t.Helper()
	var list struct{ Extensions []struct{ Alias string } }
	c.must(c.call("GET", "/v2.0/extensions", nil, &list))
	for _, e := range list.Extensions {
		all = append(all, e.Alias)
	}
	return all
}
