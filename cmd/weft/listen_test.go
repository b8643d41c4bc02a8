package main

import (
	"bytes"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"weft/internal/access"
)

// Who vanishes is given up in time: connections of the APIs have the setting of their listener.
func TestVanishedClients(t *testing.T) {
	l, err := (&Config{}).listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	ms := 0
	if failed := raw.Control(func(fd uintptr) { ms, err = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT) }); failed != nil || err != nil || int64(ms) != vanished.Milliseconds() {
		t.Errorf("%d ms: %v, %v", ms, failed, err)
	}
}

func TestPolicyFile(t *testing.T) {
	member := access.Caller{ProjectID: "p", Roles: access.Expand([]string{"member"})}
	for _, c := range []struct {
		name, text string
		shares     bool   // whether a member may then share a network
		fault      string // part of the error
		warning    string // part of the log
	}{
		{"defaults", "", false, "", ""},
		{"override", "create_network:shared: \"role:member\"\n", true, "", ""},
		{"alias", "trusted: \"role:member\"\ncreate_network:shared: \"rule:trusted\"\n", true, "", ""},
		{"misspelt", "create_netwrk:shared: \"role:member\"\n", false, "", "create_netwrk:shared"},
		{"bad expression", "create_network: \"role:member and\"\n", false, "create_network", ""},
		{"unknown rule", "create_network: \"rule:nonsense\"\n", false, "nonsense", ""},
		{"no rules", "- a\n- b\n", false, "want lines of the form", ""},
	} {
		file := filepath.Join(t.TempDir(), "policy.yaml")
		if err := os.WriteFile(file, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		conf := Config{PolicyFile: file}
		var log bytes.Buffer
		p, err := conf.policy(slog.New(slog.NewTextHandler(&log, nil)))
		if c.fault != "" {
			if err == nil || !strings.Contains(err.Error(), c.fault) || !strings.Contains(err.Error(), file) {
				t.Errorf("%s: error %v, want one that names the file and %q", c.name, err, c.fault)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if got := log.String(); (got != "") != (c.warning != "") || !strings.Contains(got, c.warning) {
			t.Errorf("%s: logged %q, want %q", c.name, got, c.warning)
		}
		if got := p.Allows("create_network:shared", member, nil); got != c.shares {
			t.Errorf("%s: a member may share: %v, want %v", c.name, got, c.shares)
		}
	}
	if _, err := (&Config{PolicyFile: "/nonexistent"}).policy(slog.New(slog.DiscardHandler)); err == nil {
		t.Error("a policy file that is not there is no error")
	}
}

func TestQuotaSettings(t *testing.T) {
	got, err := parseQuotas(map[string]string{"port": "-1", "network": "7"})
	if err != nil || got["port"] != -1 || got["network"] != 7 || got["subnet"] != 100 {
		t.Errorf("got %v, %v", got, err)
	}
	for _, bad := range []map[string]string{{"prt": "1"}, {"port": "many"}, {"port": "-2"}} {
		if _, err := parseQuotas(bad); err == nil {
			t.Errorf("%v is taken", bad)
		}
	}
}
