package feed

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"weft/internal/control"
	"weft/internal/model"
)

// ServerName is the name that every server certificate carries and every host expects,
// so that a host may reach the server by any address.
const ServerName = "weft-server"

// A certificate outlives its machine: nothing here renews one while in use, so one
// that ran out would cut the host off. EnsureCA and the Issue functions replace those
// that have less than renewBefore left, at the next start.
const (
	caLife      = 30 * 365 * 24 * time.Hour
	leafLife    = 20 * 365 * 24 * time.Hour
	renewBefore = 180 * 24 * time.Hour
	// backdate tolerates a host whose clock is behind.
	backdate = 24 * time.Hour
)

const (
	caCertFile     = "ca.crt"
	caKeyFile      = "ca.key"
	serverCertFile = "server.crt"
	serverKeyFile  = "server.key"
	hostCertFile   = "host.crt"
	hostKeyFile    = "host.key"
	hostsDir       = "hosts"
)

// CA is the certificate authority of one cloud: whoever holds its key can be any host.
type CA struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// Hash is the SHA-256 of the authority's certificate, by which those who join know it.
func (ca *CA) Hash() [32]byte { return sha256.Sum256(ca.cert.Raw) }

// EnsureCA reads the authority in dir, making it and dir (0700, keys 0600) if they are
// not there. A certificate whose key is lost is an error, not a reason to begin anew:
// every host would be cut off.
func EnsureCA(dir string) (*CA, error) {
	if err := makeDir(dir); err != nil {
		return nil, fmt.Errorf("certificate authority: %w", err)
	}
	key, err := readKey(filepath.Join(dir, caKeyFile))
	if errors.Is(err, fs.ErrNotExist) {
		if _, e := os.Stat(filepath.Join(dir, caCertFile)); e == nil {
			return nil, fmt.Errorf("certificate authority: %s is there but its key %s is missing",
				filepath.Join(dir, caCertFile), caKeyFile)
		}
		key, err = writeNewKey(filepath.Join(dir, caKeyFile))
	}
	if err != nil {
		return nil, fmt.Errorf("certificate authority: %w", err)
	}
	cert, err := readCert(filepath.Join(dir, caCertFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("certificate authority: %w", err)
	}
	if cert == nil || !key.PublicKey.Equal(cert.PublicKey) || time.Until(cert.NotAfter) < renewBefore {
		// The same key and subject: certificates issued before stay good.
		cert, err = sign(filepath.Join(dir, caCertFile), &x509.Certificate{
			Subject:               pkix.Name{CommonName: "weft CA"},
			NotAfter:              time.Now().Add(caLife),
			KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
			BasicConstraintsValid: true,
			IsCA:                  true,
			MaxPathLenZero:        true,
		}, nil, &key.PublicKey, key)
		if err != nil {
			return nil, fmt.Errorf("certificate authority: %w", err)
		}
	}
	return &CA{dir: dir, cert: cert, key: key}, nil
}

// IssueServer makes the server's certificate and key in the authority's own directory,
// unless good ones are there. Names are further DNS names and addresses of the server;
// hosts do not need them.
func (ca *CA) IssueServer(names ...string) error {
	t := &x509.Certificate{
		Subject:     pkix.Name{CommonName: ServerName},
		DNSNames:    []string{ServerName, "localhost"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, n := range names {
		if a, err := netip.ParseAddr(n); err == nil {
			t.IPAddresses = append(t.IPAddresses, a.AsSlice())
		} else if !slices.Contains(t.DNSNames, n) {
			t.DNSNames = append(t.DNSNames, n)
		}
	}
	if err := ca.issue(filepath.Join(ca.dir, serverCertFile), filepath.Join(ca.dir, serverKeyFile), t); err != nil {
		return fmt.Errorf("certificate of the server: %w", err)
	}
	return nil
}

// IssueHost makes a host's certificate and key, unless good ones are there, and returns
// the directory that holds all that the host needs (see ClientTLS): copy it there.
func (ca *CA) IssueHost(name model.HostName) (string, error) {
	if err := control.CheckHostName(name); err != nil {
		return "", fmt.Errorf("certificate of a host: %w", err)
	}
	dir := filepath.Join(ca.dir, hostsDir, string(name))
	err := makeDir(filepath.Join(ca.dir, hostsDir))
	if err == nil {
		err = makeDir(dir)
	}
	if err == nil {
		err = ca.issue(filepath.Join(dir, hostCertFile), filepath.Join(dir, hostKeyFile), &x509.Certificate{
			Subject: pkix.Name{CommonName: string(name)},
			// Client only: a host's certificate cannot pose as the server.
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		})
	}
	if err == nil {
		err = writeFile(filepath.Join(dir, caCertFile), encodeCert(ca.cert.Raw))
	}
	if err != nil {
		return "", fmt.Errorf("certificate of host %s: %w", name, err)
	}
	return dir, nil
}

// ServerTLS is the server's side of mutual TLS, read from the authority's directory
// after IssueServer: only certificates of this authority may connect.
func ServerTLS(dir string) (*tls.Config, error) {
	pool, cert, err := loadTLS(dir, serverCertFile, serverKeyFile)
	if err != nil {
		return nil, fmt.Errorf("server certificates: %w", err)
	}
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{cert},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    pool,
	}, nil
}

// ClientTLS is a host's side of mutual TLS, read from the directory that IssueHost made.
// The name is the host's, as its certificate has it.
func ClientTLS(dir string) (*tls.Config, model.HostName, error) {
	pool, cert, err := loadTLS(dir, hostCertFile, hostKeyFile)
	if err != nil {
		return nil, "", fmt.Errorf("host certificates: %w", err)
	}
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{cert},
		RootCAs:      pool,
		ServerName:   ServerName,
	}, model.HostName(cert.Leaf.Subject.CommonName), nil
}

func loadTLS(dir, certFile, keyFile string) (*x509.CertPool, tls.Certificate, error) {
	cert, err := tls.LoadX509KeyPair(filepath.Join(dir, certFile), filepath.Join(dir, keyFile))
	if err != nil {
		return nil, cert, err
	}
	ca, err := readCert(filepath.Join(dir, caCertFile))
	if err != nil {
		return nil, cert, err
	}
	pool := x509.NewCertPool()
	pool.AddCert(ca)
	return pool, cert, nil
}

// issue makes a certificate for template unless the one on disk is as good.
func (ca *CA) issue(certFile, keyFile string, template *x509.Certificate) error {
	key, err := readKey(keyFile)
	if errors.Is(err, fs.ErrNotExist) {
		key, err = writeNewKey(keyFile)
	}
	if err != nil {
		return err
	}
	old, err := readCert(certFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if old != nil && ca.good(old, key, template) {
		return nil
	}
	template.NotAfter = time.Now().Add(leafLife)
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.BasicConstraintsValid = true
	_, err = sign(certFile, template, ca.cert, &key.PublicKey, ca.key)
	return err
}

func (ca *CA) good(old *x509.Certificate, key *ecdsa.PrivateKey, want *x509.Certificate) bool {
	return key.PublicKey.Equal(old.PublicKey) &&
		old.CheckSignatureFrom(ca.cert) == nil &&
		time.Until(old.NotAfter) > renewBefore &&
		old.Subject.CommonName == want.Subject.CommonName &&
		slices.Equal(old.DNSNames, want.DNSNames) &&
		slices.EqualFunc(old.IPAddresses, want.IPAddresses, func(a, b net.IP) bool {
			x, _ := netip.AddrFromSlice(a)
			y, _ := netip.AddrFromSlice(b)
			return x.Unmap() == y.Unmap()
		})
}

// sign writes a certificate for template, signed by parent (nil: by itself).
func sign(file string, template, parent *x509.Certificate, public *ecdsa.PublicKey, signer *ecdsa.PrivateKey) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	template.SerialNumber = serial
	template.NotBefore = time.Now().Add(-backdate)
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, signer)
	if err != nil {
		return nil, err
	}
	if err := writeFile(file, encodeCert(der)); err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

func encodeCert(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func writeNewKey(file string) (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return key, writeFile(file, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

func readKey(file string) (*ecdsa.PrivateKey, error) {
	block, err := readPEM(file, "PRIVATE KEY")
	if err != nil {
		return nil, err
	}
	k, err := x509.ParsePKCS8PrivateKey(block)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	key, ok := k.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%s: not an ECDSA key", file)
	}
	return key, nil
}

func readCert(file string) (*x509.Certificate, error) {
	block, err := readPEM(file, "CERTIFICATE")
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(block)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return cert, nil
}

func readPEM(file, kind string) ([]byte, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(data)
	if block == nil || block.Type != kind {
		return nil, fmt.Errorf("%s: no %s in it", file, kind)
	}
	return block.Bytes, nil
}

// makeDir makes dir with nobody else allowed in, also when it was there before.
func makeDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return os.Chmod(dir, 0o700)
}

// writeFile replaces file as a whole or not at all, readable by its owner only.
func writeFile(file string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+".*") // made 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(f.Name(), file)
	}
	return err
}
