package feed

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
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
	"strconv"
	"time"

	"weft/internal/control"
	"weft/internal/model"
)

// ServerName is the name that every server certificate carries and every host expects,
// so that a host may reach the server by any address.
const ServerName = "weft-server"

// DefaultLife is how long a certificate of a host or a server is good. Each is renewed by
// its holder after two thirds of its life (dueAt); one that ran out is good for nothing.
const DefaultLife = 90 * 24 * time.Hour

const (
	caLife = 30 * 365 * 24 * time.Hour
	// renewCA is what the authority's certificate must have left when a server starts.
	renewCA = 180 * 24 * time.Hour
	// backdate tolerates a host whose clock is behind.
	backdate = 24 * time.Hour
)

// dueAt is when a certificate is to be renewed.
func dueAt(cert *x509.Certificate) time.Time {
	return cert.NotAfter.Add(-cert.NotAfter.Sub(cert.NotBefore.Add(backdate)) / 3)
}

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
	// Life is how long the certificates that it makes are good; DefaultLife unless changed.
	Life time.Duration
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
	if cert == nil || !key.PublicKey.Equal(cert.PublicKey) || time.Until(cert.NotAfter) < renewCA {
		// The same key and subject: certificates issued before stay good.
		cert, err = sign(&x509.Certificate{
			Subject:               pkix.Name{CommonName: "weft CA"},
			NotAfter:              time.Now().Add(caLife),
			KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
			BasicConstraintsValid: true,
			IsCA:                  true,
			MaxPathLenZero:        true,
		}, nil, &key.PublicKey, key)
		if err == nil {
			err = writeFile(filepath.Join(dir, caCertFile), encodeCert(cert.Raw))
		}
		if err != nil {
			return nil, fmt.Errorf("certificate authority: %w", err)
		}
	}
	return &CA{Life: DefaultLife, dir: dir, cert: cert, key: key}, nil
}

// IssueServer makes the server's certificate and key in the authority's own directory,
// unless good ones are there. Names are further DNS names and addresses of the server;
// hosts do not need them.
func (ca *CA) IssueServer(names ...string) error {
	t := &x509.Certificate{
		Subject:     pkix.Name{CommonName: ServerName},
		DNSNames:    []string{ServerName, "localhost"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, // servers ask each other
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
		certFile, generation := filepath.Join(dir, hostCertFile), 0
		if old, e := readCert(certFile); e == nil && old.CheckSignatureFrom(ca.cert) == nil {
			generation = generationOf(old) // a host that joined stays the one that it is
		}
		err = ca.issue(certFile, filepath.Join(dir, hostKeyFile), hostTemplate(name, generation))
	}
	if err == nil {
		err = writeFile(filepath.Join(dir, caCertFile), encodeCert(ca.cert.Raw))
	}
	if err != nil {
		return "", fmt.Errorf("certificate of host %s: %w", name, err)
	}
	return dir, nil
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
	cert, err := ca.leaf(template, &key.PublicKey)
	if err != nil {
		return err
	}
	return writeFile(certFile, encodeCert(cert.Raw))
}

// leaf makes a certificate that makes no others.
func (ca *CA) leaf(template *x509.Certificate, public *ecdsa.PublicKey) (*x509.Certificate, error) {
	template.NotAfter = time.Now().Add(ca.Life)
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.BasicConstraintsValid = true
	return sign(template, ca.cert, public, ca.key)
}

// hostTemplate is what a host's certificate says. The serial number in its subject is the
// host's generation; that of a certificate made without a token is not said.
func hostTemplate(name model.HostName, generation int) *x509.Certificate {
	t := &x509.Certificate{
		Subject: pkix.Name{CommonName: string(name)},
		// Client only: a host's certificate cannot pose as the server.
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if generation > 0 {
		t.Subject.SerialNumber = strconv.Itoa(generation)
	}
	return t
}

// generationOf is the generation in a host's certificate; -1, which is good for nothing,
// if what it says is no number.
func generationOf(cert *x509.Certificate) int {
	if cert.Subject.SerialNumber == "" {
		return 0
	}
	n, err := strconv.Atoi(cert.Subject.SerialNumber)
	if err != nil {
		return -1
	}
	return n
}

func (ca *CA) good(old *x509.Certificate, key *ecdsa.PrivateKey, want *x509.Certificate) bool {
	return key.PublicKey.Equal(old.PublicKey) &&
		old.CheckSignatureFrom(ca.cert) == nil &&
		time.Now().Before(dueAt(old)) &&
		old.Subject.CommonName == want.Subject.CommonName &&
		slices.Equal(old.ExtKeyUsage, want.ExtKeyUsage) &&
		slices.Equal(old.DNSNames, want.DNSNames) &&
		slices.EqualFunc(old.IPAddresses, want.IPAddresses, func(a, b net.IP) bool {
			x, _ := netip.AddrFromSlice(a)
			y, _ := netip.AddrFromSlice(b)
			return x.Unmap() == y.Unmap()
		})
}

// sign makes a certificate for template, signed by parent (nil: by itself).
func sign(template, parent *x509.Certificate, public *ecdsa.PublicKey, signer *ecdsa.PrivateKey) (*x509.Certificate, error) {
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

// Validity is from when to when a certificate is good, and when its holder renews it.
type Validity struct {
	Name              string
	Since, Until, Due time.Time
}

// Validities are those of the certificates in the authority's directory by which servers are known. What
// is not there has none.
func Validities(dir string) (list []Validity, err error) {
	for _, c := range []struct{ name, file string }{{"of the authority", caCertFile}, {"of the server", serverCertFile}, {"for other servers", peerCertFile}} {
		cert, e := readCert(filepath.Join(dir, c.file))
		switch {
		case e == nil:
			v := Validity{Name: c.name, Since: cert.NotBefore, Until: cert.NotAfter}
			if !cert.IsCA {
				v.Due = dueAt(cert)
			}
			list = append(list, v)
		case !errors.Is(e, fs.ErrNotExist):
			err = errors.Join(err, fmt.Errorf("certificate %s: %w", c.name, e))
		}
	}
	return list, err
}
