package feed

import (
	"crypto/x509"
	"os"
	"path/filepath"
	"testing"

	"weft/internal/model"
)

func TestPKIFilesAndModes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state", "pki")
	ca, err := EnsureCA(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := ca.IssueServer("127.0.0.1", "cloud.example"); err != nil {
		t.Fatal(err)
	}
	host, err := ca.IssueHost("compute-1.example")
	if err != nil {
		t.Fatal(err)
	}
	for file, mode := range map[string]os.FileMode{
		dir: 0o700 | os.ModeDir, host: 0o700 | os.ModeDir, filepath.Dir(host): 0o700 | os.ModeDir,
		filepath.Join(dir, "ca.key"): 0o600, filepath.Join(dir, "server.key"): 0o600,
		filepath.Join(host, "host.key"): 0o600, filepath.Join(host, "host.crt"): 0o600, filepath.Join(host, "ca.crt"): 0o600,
	} {
		fi, err := os.Stat(file)
		if err != nil || fi.Mode() != mode {
			t.Errorf("%s: mode %v, %v; want %v", file, fi.Mode(), err, mode)
		}
	}
	if _, name, err := ClientTLS(host); err != nil || name != "compute-1.example" {
		t.Errorf("ClientTLS: %q, %v", name, err)
	}
	cfg, err := ServerTLS(dir)
	if err != nil {
		t.Fatal(err)
	}
	shown, err := cfg.GetCertificate(nil)
	if err != nil || len(shown.Certificate) != 2 {
		t.Fatalf("%d certificates, %v: want the server's and the authority's", len(shown.Certificate), err)
	}
	if got := shown.Leaf.DNSNames; len(got) != 3 || got[0] != ServerName || got[2] != "cloud.example" {
		t.Errorf("names %v", got)
	}
}

func TestPKIIsIdempotent(t *testing.T) {
	dir := t.TempDir()
	read := func(f string) string {
		b, err := os.ReadFile(filepath.Join(dir, f))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	all := func() []string {
		ca, err := EnsureCA(dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := ca.IssueServer("192.0.2.1"); err != nil {
			t.Fatal(err)
		}
		if _, err := ca.IssueHost("h1"); err != nil {
			t.Fatal(err)
		}
		return []string{read("ca.crt"), read("ca.key"), read("server.crt"), read("server.key"), read("hosts/h1/host.crt"), read("hosts/h1/host.key")}
	}
	a, b := all(), all()
	for i := range a {
		if a[i] != b[i] {
			t.Errorf("file %d changed at the second call", i)
		}
	}
	ca, _ := EnsureCA(dir)
	if err := ca.IssueServer("192.0.2.2"); err != nil {
		t.Fatal(err)
	}
	if read("server.crt") == a[2] || read("server.key") != a[3] {
		t.Error("another address wants another certificate with the same key")
	}
}

func TestPKIInterruptedAndLost(t *testing.T) {
	dir := t.TempDir()
	ca, err := EnsureCA(dir)
	if err != nil {
		t.Fatal(err)
	}
	host, err := ca.IssueHost("h1")
	if err != nil {
		t.Fatal(err)
	}
	// A crash between key and certificate: the certificate is made again, hosts stay good.
	if err := os.Remove(filepath.Join(dir, "ca.crt")); err != nil {
		t.Fatal(err)
	}
	ca2, err := EnsureCA(dir)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := readCert(filepath.Join(host, "host.crt"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(ca2.cert)
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: pool, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		t.Errorf("the old host certificate is no longer good: %v", err)
	}
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: pool, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}); err == nil {
		t.Error("a host's certificate may pose as the server")
	}
	// A lost key must not silently found another authority.
	if err := os.Remove(filepath.Join(dir, "ca.key")); err != nil {
		t.Fatal(err)
	}
	if _, err := EnsureCA(dir); err == nil {
		t.Error("EnsureCA made a new authority over a lost key")
	}
	// Rubbish is an error, not overwritten.
	if err := os.WriteFile(filepath.Join(dir, "ca.key"), []byte("rubbish"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := EnsureCA(dir); err == nil {
		t.Error("EnsureCA took rubbish for a key")
	}
}

func TestPKIHostNames(t *testing.T) {
	ca, err := EnsureCA(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for name, ok := range map[string]bool{
		"h1": true, "compute-1.example.org": true, "UPPER_case": true,
		"": false, "..": false, "a/b": false, "../x": false, ".hidden": false, "a b": false, "a\x00": false,
	} {
		if _, err := ca.IssueHost(hostName(name)); (err == nil) != ok {
			t.Errorf("IssueHost(%q): %v", name, err)
		}
	}
}

func hostName(s string) model.HostName { return model.HostName(s) }
