package main

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"weft/internal/admin"
	"weft/internal/control"
	"weft/internal/feed"
	"weft/internal/inspect"
	"weft/internal/model"
	"weft/internal/neutron"
	"weft/internal/store/storetest"
)

// cliEnv takes away all that the caller's own environment says of clouds, and returns an
// empty home directory, which is also the working directory.
func cliEnv(t *testing.T) string {
	t.Helper()
	home := t.TempDir()
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		if strings.HasPrefix(name, "OS_") || strings.HasPrefix(name, "WEFT_") || name == "XDG_CONFIG_HOME" {
			t.Setenv(name, "") // restores it afterwards
			if err := os.Unsetenv(name); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Setenv("HOME", home)
	t.Setenv("WEFT_CONFIG", "/dev/null")
	t.Setenv("WEFT_STATE_DIR", filepath.Join(home, "state"))
	t.Chdir(home)
	return home
}

// startAPI serves the real API on a real etcd, without authentication.
func startAPI(t *testing.T) string {
	t.Helper()
	cfg := control.DefaultConfig()
	cfg.VNIRange = [2]uint32{100000, 199999}
	st := storetest.New(t)
	c := control.New(control.Options{Store: st, Config: cfg})
	_, err := c.RegisterHost(t.Context(), model.Host{
		Name: "node-1", AgentID: "28ed2da2-49bd-4db2-b2d8-85ba5c47efb3", IntegrationBridge: "br-int", TunnelBridge: "br-tun",
		DatapathType: "netdev", TunnelTypes: []string{"vxlan"}, VTEP: netip.MustParseAddr("192.0.2.1"),
		InterfaceTypes: []string{"internal", "tap"}, Roles: model.AllRoles(),
	})
	if err != nil {
		t.Fatal(err)
	}
	hosts := feed.NewServer(feed.ServerOptions{Store: st, Control: c, Log: slog.New(slog.DiscardHandler)})
	srv := httptest.NewServer(apiHandler(&identityParts{},
		admin.Options{Control: c, Feeds: func() []string { return []string{"192.0.2.1:9697"} }},
		inspect.Options{Cloud: c, Hosts: hosts}, neutron.Options{Control: c}))
	t.Cleanup(srv.Close)
	return srv.URL
}

// weft runs a command in this process; what it prints includes an exit code that is not 0.
func weft(t *testing.T, args ...string) string {
	t.Helper()
	var out bytes.Buffer
	cmd := root()
	cmd.SetArgs(args)
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	if code := run(t.Context(), cmd); code != 0 {
		fmt.Fprintf(&out, "[exit code %d]\n", code)
	}
	return out.String()
}

// mask replaces what differs from run to run by as many characters of the same kind; one
// ID is masked by the same number each time.
type mask map[string]string

var (
	anyID      = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)
	anyRequest = regexp.MustCompile(`req-00000000-0000-0000-0000-0{4}\d{8}`)
	anyMAC     = regexp.MustCompile(`fa:16:3e:[0-9a-f:]{8}`)
	anyTime    = regexp.MustCompile(`\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\dZ?`)
	anyVNI     = regexp.MustCompile(`\b1\d{5}\b`)
	manyBlanks = regexp.MustCompile(` {3,}`)
	failed     = regexp.MustCompile(`^(weft: |\[exit code )`)
	anyURL     = regexp.MustCompile(`127\.0\.0\.1:\d+`)
)

func (m mask) apply(s string) string {
	s = anyID.ReplaceAllStringFunc(s, func(id string) string {
		if m[id] == "" {
			m[id] = fmt.Sprintf("00000000-0000-0000-0000-%012d", len(m)+1)
		}
		return m[id]
	})
	s = anyRequest.ReplaceAllString(s, "req-ID")
	s = anyTime.ReplaceAllStringFunc(s, func(v string) string { return "2026-01-01T00:00:00Z"[:len(v)] })
	s = anyURL.ReplaceAllString(s, "127.0.0.1:9696")
	return anyVNI.ReplaceAllString(anyMAC.ReplaceAllString(s, "fa:16:3e:00:00:00"), "123456")
}

// TestCommands runs the commands after "$ " in each file of testdata/cli against the real
// API, and compares what they print with what is there; -update writes it.
func TestCommands(t *testing.T) {
	files, err := filepath.Glob("testdata/cli/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	for i, f := range files {
		if files[i], err = filepath.Abs(f); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			cliEnv(t)
			t.Setenv("WEFT_API", startAPI(t))
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := replay(t, string(want))
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if got != string(want) {
				t.Errorf("-want +got:\n%s", cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")))
			}
		})
	}
}

// replay runs a transcript's commands again; lines that begin with # stay as they are.
// "| grep -E REGEXP" after a command keeps the lines that matter, as objects get new attributes, and those that say what failed;
// their columns are two blanks apart, as the width of a table follows from the lines left out.
func replay(t *testing.T, transcript string) string {
	var out strings.Builder
	m := mask{}
	for line := range strings.Lines(transcript) {
		command, is := strings.CutPrefix(strings.TrimSpace(line), "$ weft ")
		switch {
		case is:
			command, filter, _ := strings.Cut(command, " | grep -E ")
			keep := regexp.MustCompile(strings.Trim(filter, `"`))
			text := m.apply(weft(t, shellWords(command)...))
			out.WriteString(line)
			for _, l := range sortSetIn(strings.SplitAfter(text, "\n")) {
				if filter != "" && !strings.HasPrefix(l, " ") {
					l = manyBlanks.ReplaceAllString(l, "  ")
				}
				if keep.MatchString(l) || failed.MatchString(l) {
					out.WriteString(l)
				}
			}
		case strings.HasPrefix(line, "#"):
			out.WriteString("\n" + line)
		}
	}
	return strings.TrimPrefix(out.String(), "\n")
}

// sortSetIn sorts lines that are set in: candidates come in the order of random IDs.
func sortSetIn(lines []string) []string {
	for i := range lines {
		for j := i; j > 0 && strings.HasPrefix(lines[j], "  0") && strings.HasPrefix(lines[j-1], "  0") && lines[j] < lines[j-1]; j-- {
			lines[j], lines[j-1] = lines[j-1], lines[j]
		}
	}
	return lines
}

// shellWords splits a line at blanks outside of double quotes.
func shellWords(s string) []string {
	var words []string
	for i, part := range strings.Split(s, `"`) {
		if i%2 == 1 {
			words = append(words, part)
		} else {
			words = append(words, strings.Fields(part)...)
		}
	}
	return words
}

// TestCompletion: what the shell is offered after the tab key.
func TestCompletion(t *testing.T) {
	cliEnv(t)
	t.Setenv("WEFT_API", startAPI(t))
	for _, args := range []string{"network create lab", "network create lake", "network create twin", "network create twin", "port create vm1 --network lab"} {
		if out := weft(t, strings.Fields(args)...); strings.Contains(out, "exit code") {
			t.Fatal(out)
		}
	}
	m := mask{}
	for args, want := range map[string]string{
		"network show la":                          "lab\tID lake\tID",
		"network delete lab la":                    "lake\tID",
		"network show lab la":                      "",
		"network delete tw":                        "",
		"port create x --network l":                "lab\tID lake\tID",
		"port list --network=l":                    "lab\tID lake\tID",
		"plug v":                                   "vm1\tID",
		"port show vm1 -o ":                        "table json yaml",
		"port list --host ":                        "",
		"network sh":                               "show\tShow all attributes of one network",
		"network show --api http://127.0.0.1:1 la": "",
	} {
		out := m.apply(weft(t, append([]string{"__complete"}, strings.Split(args, " ")...)...))
		out, _, _ = strings.Cut(out, "\n:")
		out = anyID.ReplaceAllString(strings.ReplaceAll(out, "\n", " "), "ID")
		if strings.HasPrefix(out, ":") {
			out = ""
		}
		if out != want {
			t.Errorf("%s: offered %q, want %q", args, out, want)
		}
	}
	// A name that two have is completed by IDs.
	out := weft(t, "__complete", "network", "show", "")
	if n := len(regexp.MustCompile(`(?m)^[0-9a-f-]{36}\ttwin$`).FindAllString(out, -1)); n != 2 {
		t.Errorf("%d of the two networks named twin are offered by ID:\n%s", n, out)
	}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		if out := weft(t, "completion", shell); !strings.Contains(out, "__complete") {
			t.Errorf("no completion for %s: %.200s", shell, out)
		}
	}
}

// TestChooseCloud: what is named counts before what is there.
func TestChooseCloud(t *testing.T) {
	home := cliEnv(t)
	c := defaults()
	c.StateDir = filepath.Join(home, "state")
	other := c
	other.API = "http://192.0.2.1:9696"
	choose := func(c Config, name string, env ...string) string {
		cloud, err := chooseCloud(c, name, func(k string) string {
			for _, e := range env {
				if v, ok := strings.CutPrefix(e, k+"="); ok {
					return v
				}
			}
			return ""
		})
		if err != nil {
			return strings.ReplaceAll(err.Error(), home, "HOME")
		}
		return cloud.AuthType + " " + cmpOr(cloud.Endpoint, cloud.AuthURL)
	}
	check := func(got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	check(choose(c, ""), "none http://127.0.0.1:9696")
	if err := os.MkdirAll(c.StateDir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(c.StateDir, "clouds.yaml"), []byte(
		"clouds: {weft: {auth: {auth_url: http://own, username: admin, password: p}}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	check(choose(c, ""), "password http://own")
	check(choose(other, ""), "none http://192.0.2.1:9696")
	check(choose(other, "weft"), "password http://192.0.2.1:9696")
	vars := []string{"OS_AUTH_URL=http://env", "OS_USERNAME=u", "OS_PASSWORD=p"}
	check(choose(c, "", vars...), "password http://env")
	check(choose(c, "", append(vars, "OS_CLOUD=weft")...), "password http://own")
	check(choose(c, "away"), `there is no cloud "away"; HOME/state/clouds.yaml has weft`)
}
