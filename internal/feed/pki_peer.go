package feed

import (
	"crypto/ecdsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"weft/internal/store"
)

const (
	peerCertFile = "peer.crt"
	peerKeyFile  = "peer.key"
)

// IssuePeer makes the certificate and key by which this server's etcd is a member of the
// cluster, unless good ones are there. No host can have such a certificate: the name is
// reserved, and no host's certificate is good for a server.
func (ca *CA) IssuePeer() error {
	err := ca.issue(filepath.Join(ca.dir, peerCertFile), filepath.Join(ca.dir, peerKeyFile), &x509.Certificate{
		Subject:     pkix.Name{CommonName: store.PeerName},
		DNSNames:    []string{store.PeerName},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return fmt.Errorf("certificate of the member of the cluster: %w", err)
	}
	return nil
}

// PeerFiles adds to c the files that IssuePeer made in the authority's directory.
func PeerFiles(dir string, c *store.PeerConfig) {
	c.CertFile, c.KeyFile, c.CAFile = filepath.Join(dir, peerCertFile), filepath.Join(dir, peerKeyFile), filepath.Join(dir, caCertFile)
}

// Export returns the authority's certificate and key in DER, the key as PKCS 8: all that
// another server needs, and all that must never be lost or seen.
func (ca *CA) Export() (cert, key []byte, err error) {
	key, err = x509.MarshalPKCS8PrivateKey(ca.key)
	if err != nil {
		return nil, nil, fmt.Errorf("certificate authority: %w", err)
	}
	return ca.cert.Raw, key, nil
}

// ImportCA makes dir hold the authority that Export returned. Another that is there
// already is never replaced.
func ImportCA(dir string, cert, key []byte) (*CA, error) {
	if err := CheckCA(cert, key); err != nil {
		return nil, err
	}
	if err := makeDir(dir); err != nil {
		return nil, fmt.Errorf("certificate authority: %w", err)
	}
	old, err := os.ReadFile(filepath.Join(dir, caKeyFile))
	text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = writeFile(filepath.Join(dir, caKeyFile), text)
	case err == nil && string(old) != string(text):
		err = fmt.Errorf("%s is of another cloud", filepath.Join(dir, caKeyFile))
	}
	if err == nil {
		err = writeFile(filepath.Join(dir, caCertFile), encodeCert(cert))
	}
	if err != nil {
		return nil, fmt.Errorf("certificate authority: %w", err)
	}
	return EnsureCA(dir)
}

// CheckCA says whether cert and key, in DER, are an authority.
func CheckCA(cert, key []byte) error {
	c, err := x509.ParseCertificate(cert)
	if err != nil {
		return fmt.Errorf("certificate authority: %w", err)
	}
	k, err := x509.ParsePKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("certificate authority: %w", err)
	}
	if e, is := k.(*ecdsa.PrivateKey); !is || !c.IsCA || !e.PublicKey.Equal(c.PublicKey) {
		return errors.New("certificate authority: certificate and key do not belong together")
	}
	return nil
}
