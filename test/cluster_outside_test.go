package test

import (
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/server/v3/embed"

	"weft/internal/feed"
	"weft/internal/lab/labtest"
)

// etcdVar makes this test binary an etcd: NAME, DIRECTORY, and the directory of certificates.
const etcdVar = "WEFT_TEST_ETCD"

// maybeEtcd runs an etcd if this process is to be one.
func maybeEtcd() {
	f := strings.Fields(os.Getenv(etcdVar))
	if len(f) != 3 {
		return
	}
	cfg := outsideConfig(f[0], f[1], f[2])
	e, err := embed.StartEtcd(cfg)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Fprintln(os.Stderr, <-e.Err())
	os.Exit(1)
}

func outsideConfig(name, dir, certs string) *embed.Config {
	tls := transport.TLSInfo{CertFile: filepath.Join(certs, "server.crt"), KeyFile: filepath.Join(certs, "server.key"),
		TrustedCAFile: filepath.Join(certs, "ca.crt"), ClientCertAuth: true}
	at := func(name string, port int) url.URL {
		return url.URL{Scheme: "https", Host: fmt.Sprintf("127.0.8.%s:%d", strings.TrimPrefix(name, "e"), port)}
	}
	cfg := embed.NewConfig()
	cfg.Name, cfg.Dir, cfg.UnsafeNoFsync, cfg.LogLevel = name, dir, true, "error"
	cfg.ClientTLSInfo, cfg.PeerTLSInfo = tls, tls
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{at(name, 2379)}, []url.URL{at(name, 2379)}
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = []url.URL{at(name, 2380)}, []url.URL{at(name, 2380)}
	var all []string
	for _, n := range []string{"e1", "e2", "e3"} {
		u := at(n, 2380)
		all = append(all, n+"="+u.String())
	}
	cfg.InitialCluster = strings.Join(all, ",")
	cfg.MaxTxnOps, cfg.MaxRequestBytes = 16384, 16<<20
	return cfg
}

// TestOutsideEtcd: two servers on three etcds of their own elsewhere, with TLS, each of which
// is killed in turn; and a restore into another prefix of it.
func TestOutsideEtcd(t *testing.T) {
	labtest.Require(t, "root")
	certs := t.TempDir()
	ca, err := feed.EnsureCA(certs)
	if err != nil {
		t.Fatal(err)
	}
	if err := ca.IssueServer("127.0.8.1", "127.0.8.2", "127.0.8.3", "127.0.0.1"); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	running := map[string]*exec.Cmd{}
	start := func(name string) {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %s %s", etcdVar, name, filepath.Join(dir, name), certs))
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		running[name] = cmd
	}
	kill := func(name string) {
		_ = running[name].Process.Kill()
		_ = running[name].Wait()
	}
	for _, name := range []string{"e1", "e2", "e3"} {
		start(name)
		defer kill(name)
	}
	c := newCluster(t, "--etcd-endpoints", "https://127.0.8.1:2379,https://127.0.8.2:2379,https://127.0.8.3:2379",
		"--etcd-ca", filepath.Join(certs, "ca.crt"), "--etcd-cert", filepath.Join(certs, "server.crt"), "--etcd-key", filepath.Join(certs, "server.key"))
	first, second := c.member(), c.member()
	for _, m := range c.all {
		for i := 0; i+1 < len(c.args); i += 2 {
			m.env = append(m.env, "WEFT_"+strings.ToUpper(strings.ReplaceAll(strings.TrimPrefix(c.args[i], "--"), "-", "_"))+"="+c.args[i+1])
		}
	}
	first.start()
	first.awaitHealth()
	second.join(first)
	second.start()
	second.awaitHealth()
	network := first.network("10.60.0.0/16")
	w := c.write(network, 2, c.all...)
	w.goOn(c.all...)
	for _, name := range []string{"e1", "e2", "e3"} { // one of them leads
		kill(name)
		w.goOn(c.all...)
		start(name)
		first.awaitHealth()
		second.awaitHealth()
		w.goOn(c.all...)
	}
	w.stop("each etcd killed", c.all...)
	first.fsck()

	file := filepath.Join(c.dir, "backup")
	t.Log(second.mustWeft("backup", file))
	if _, err := first.weft("restore", file); err == nil {
		t.Error("restored over a store")
	}
	third := c.member()
	third.env = append(first.env, "WEFT_ETCD_PREFIX=/weft/again/")
	third.mustWeft("restore", file)
	if _, err := third.weft("restore", file); err == nil || !strings.Contains(err.Error(), "there is a store already") {
		t.Errorf("restored twice: %v", err)
	}
	third.fsck()
}
