package client

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// env is a getenv on a list of KEY=VALUE.
func env(pairs ...string) func(string) string {
	return func(name string) string {
		for _, p := range pairs {
			if v, ok := strings.CutPrefix(p, name+"="); ok {
				return v
			}
		}
		return ""
	}
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

const cloudsYAML = `
clouds:
  password:
    auth:
      auth_url: http://keystone:5000/v3
      username: alice
      password: secret
      project_name: lab
      user_domain_name: Users
      project_domain_name: Projects
    region_name: north
    interface: internal
    cacert: /etc/ssl/lab.pem
  defaults:
    auth: {auth_url: "http://keystone/identity/", user-id: 4711, password: secret, tenant_name: lab, default_domain: d1}
    endpoint_type: adminURL
    verify: false
    network_endpoint_override: http://neutron:9696/v2.0
  application:
    auth_type: v3applicationcredential
    auth: {auth_url: http://keystone, application_credential_id: id1, application_credential_secret: s1}
  token:
    auth_type: v3token
    auth: {auth_url: http://keystone, token: t1, project_id: 0123}
  none:
    auth_type: none
    auth: {endpoint: "http://127.0.0.1:9696"}
  none-override:
    auth_type: none
    endpoint_override: unused
    network_endpoint_override: http://127.0.0.1:9696
  regions:
    auth: {auth_url: http://keystone, username: u, password: p}
    regions: [west, east]
  region-values:
    auth: {auth_url: http://keystone, username: u, password: p}
    regions: [{name: west, values: {interface: internal}}]
  open:
    auth: {auth_url: http://keystone, username: u}
  strange:
    auth_type: v3oidcpassword
  empty:
`

// TestClouds: each form of a cloud, as it is understood.
func TestClouds(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "clouds.yaml"), cloudsYAML)
	base := Cloud{AuthType: "password", AuthURL: "http://keystone", Interface: "public", UserDomainID: "default", ProjectDomainID: "default"}
	with := func(f func(*Cloud)) Cloud {
		c := base
		f(&c)
		return c
	}
	for _, tc := range []struct {
		name string
		env  []string
		want Cloud
		err  string
	}{
		{name: "password", env: []string{"OS_PASSWORD=other", "OS_REGION_NAME=south", "OS_USERNAME=bob"}, want: Cloud{AuthType: "password",
			AuthURL: "http://keystone:5000/v3", Username: "alice", Password: "secret", ProjectName: "lab", UserDomainName: "Users",
			ProjectDomainName: "Projects", Region: "north", Interface: "internal", CACert: "/etc/ssl/lab.pem"}},
		{name: "defaults", want: Cloud{AuthType: "password", AuthURL: "http://keystone/identity/", UserID: "4711", Password: "secret",
			ProjectName: "lab", UserDomainID: "d1", ProjectDomainID: "d1", Interface: "admin", Insecure: true, Endpoint: "http://neutron:9696/v2.0"}},
		{name: "application", want: with(func(c *Cloud) {
			c.AuthType, c.ApplicationCredentialID, c.ApplicationCredentialSecret = "v3applicationcredential", "id1", "s1"
		})},
		{name: "token", want: with(func(c *Cloud) { c.AuthType, c.Token, c.ProjectID = "token", "t1", "0123" })},
		{name: "none", want: with(func(c *Cloud) { c.AuthType, c.AuthURL, c.Endpoint = "none", "", "http://127.0.0.1:9696" })},
		{name: "none-override", want: with(func(c *Cloud) { c.AuthType, c.AuthURL, c.Endpoint = "none", "", "http://127.0.0.1:9696" })},
		{name: "regions", want: with(func(c *Cloud) { c.Username, c.Password, c.Region = "u", "p", "west" })},
		{name: "region-values", want: with(func(c *Cloud) { c.Username, c.Password, c.Region, c.Interface = "u", "p", "west", "internal" })},
		{name: "open", env: []string{"OS_PASSWORD=p", "OS_AUTH_URL=http://elsewhere"}, want: with(func(c *Cloud) { c.Username, c.Password = "u", "p" })},
		{name: "open", err: "cloud open of FILE: for auth_type password there is no password"},
		{name: "strange", err: `cloud strange of FILE: auth_type "v3oidcpassword" is none of password, v3password, token, v3token, v3applicationcredential, none`},
		{name: "empty", err: "cloud empty of FILE: for auth_type password there is no username and no password and no auth_url"},
		{name: "nowhere", err: `there is no cloud "nowhere"; FILE has application, defaults, empty, none, none-override, open, password, region-values, regions, strange, token`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := FindCloud(Files{Dirs: []string{dir}}, tc.name, env(tc.env...))
			if err != nil || tc.err != "" {
				if err == nil || strings.ReplaceAll(err.Error(), filepath.Join(dir, "clouds.yaml"), "FILE") != tc.err {
					t.Errorf("got error %v, want %s", err, tc.err)
				}
				return
			}
			got.Source = ""
			if d := cmp.Diff(tc.want, got); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
		})
	}
}

// TestPlaces: which file counts, and what secure.yaml adds.
func TestPlaces(t *testing.T) {
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	cloud := func(name, user string) string {
		return "clouds: {" + name + ": {auth: {auth_url: http://k, username: " + user + "}}}\n"
	}
	write(t, file("named.yaml"), cloud("a", "named"))
	write(t, file("home/openstack/clouds.yaml"), cloud("a", "home"))
	write(t, file("home/openstack/secure.yaml"), "clouds: {a: {auth: {password: from-secure}}}\n")
	write(t, file("state/clouds.yaml"), "clouds: {weft: {auth: {auth_url: http://k, username: admin, password: own}}}\n")
	for _, tc := range []struct {
		name, want string
		env        []string
	}{
		{"a", "home from-secure", nil},
		{"a", "named from-secure", []string{"OS_CLIENT_CONFIG_FILE=" + file("named.yaml")}},
		{"weft", "admin own", nil},
	} {
		getenv := env(append(tc.env, "XDG_CONFIG_HOME="+file("home"))...)
		c, err := FindCloud(DefaultFiles(getenv, file("state")), tc.name, getenv)
		if got := c.Username + " " + c.Password; err != nil || got != tc.want {
			t.Errorf("%s %v: got %q %v, want %q", tc.name, tc.env, got, err, tc.want)
		}
	}
	write(t, file("bad/clouds.yaml"), "clouds: [\n")
	if _, err := FindCloud(Files{Dirs: []string{file("bad")}}, "a", env()); err == nil || !strings.Contains(err.Error(), file("bad/clouds.yaml")) {
		t.Errorf("a broken file: %v", err)
	}
	if _, err := FindCloud(Files{}, "a", env()); err == nil || err.Error() != `there is no cloud "a": no clouds.yaml was found` {
		t.Errorf("no file: %v", err)
	}
}

func TestEnvironment(t *testing.T) {
	c, err := FromEnvironment(env("OS_AUTH_URL=http://k:5000/v3", "OS_USERNAME=admin", "OS_PASSWORD=pw", "OS_TENANT_NAME=demo", "OS_PROJECT_NAME=admin",
		"OS_USER_DOMAIN_NAME=Default", "OS_PROJECT_DOMAIN_ID=default", "OS_REGION_NAME=R1", "OS_INTERFACE=internal", "OS_CACERT=/ca", "OS_INSECURE=1"))
	want := Cloud{Source: "the OS_* variables", AuthType: "password", AuthURL: "http://k:5000/v3", Username: "admin", Password: "pw", ProjectName: "admin",
		UserDomainName: "Default", ProjectDomainID: "default", Region: "R1", Interface: "internal", CACert: "/ca", Insecure: true}
	if d := cmp.Diff(want, c); err != nil || d != "" {
		t.Errorf("%v\n%s", err, d)
	}
	for vars, want := range map[string]string{
		"OS_AUTH_TYPE=none OS_ENDPOINT=http://n":                                                 "none",
		"OS_TOKEN=t OS_AUTH_URL=http://k":                                                        "token",
		"OS_APPLICATION_CREDENTIAL_ID=i OS_AUTH_URL=http://k OS_APPLICATION_CREDENTIAL_SECRET=s": "v3applicationcredential",
		"OS_AUTH_URL=http://k":                                                                   "the OS_* variables: for auth_type password there is no username and no password",
		"OS_AUTH_TYPE=none":                                                                      "the OS_* variables: for auth_type none there is no endpoint",
		"OS_AUTH_TYPE=kerberos":                                                                  `the OS_* variables: auth_type "kerberos" is none of password, v3password, token, v3token, v3applicationcredential, none`,
	} {
		getenv := env(strings.Fields(vars)...)
		c, err := FromEnvironment(getenv)
		got := c.AuthType
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s: got %s, want %s", vars, got, want)
		}
	}
	if InEnvironment(env("OS_CLOUD=x", "OS_PASSWORD=y")) || !InEnvironment(env("OS_AUTH_URL=x")) {
		t.Error("OS_AUTH_URL says where the API is, OS_PASSWORD does not")
	}
}
