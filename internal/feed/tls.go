package feed

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"path/filepath"
	"sync"

	"weft/internal/model"
)

// keyPair is a certificate with its key on disk, read anew for each handshake: so that one
// which was renewed is in use from then on, and no connection is cut for it.
type keyPair struct {
	dir, certFile, keyFile string
	// authority: send the certificate of the authority too, for those who know only its hash.
	authority bool

	mu   sync.Mutex
	last *tls.Certificate
}

// load reads the pair. While it cannot be read the last one stays in use.
func (p *keyPair) load() (*tls.Certificate, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	cert, err := tls.LoadX509KeyPair(filepath.Join(p.dir, p.certFile), filepath.Join(p.dir, p.keyFile))
	if err == nil && p.authority {
		var ca *x509.Certificate
		if ca, err = readCert(filepath.Join(p.dir, caCertFile)); err == nil {
			cert.Certificate = append(cert.Certificate, ca.Raw)
		}
	}
	if err != nil {
		if p.last != nil {
			return p.last, nil
		}
		return nil, err
	}
	p.last = &cert
	return p.last, nil
}

func readPool(dir string) (*x509.CertPool, error) {
	ca, err := readCert(filepath.Join(dir, caCertFile))
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AddCert(ca)
	return pool, nil
}

// ServerTLS is the server's side of mutual TLS, read from the authority's directory
// after IssueServer. Only certificates of this authority are taken; who has none may only
// join (see guard).
func ServerTLS(dir string) (*tls.Config, error) {
	pair := &keyPair{dir: dir, certFile: serverCertFile, keyFile: serverKeyFile, authority: true}
	_, err := pair.load()
	if err != nil {
		return nil, fmt.Errorf("server certificates: %w", err)
	}
	pool, err := readPool(dir)
	if err != nil {
		return nil, fmt.Errorf("server certificates: %w", err)
	}
	return &tls.Config{
		MinVersion:     tls.VersionTLS13,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return pair.load() },
		ClientAuth:     tls.VerifyClientCertIfGiven,
		ClientCAs:      pool,
	}, nil
}

// AskingTLS is the side of a server that asks another, read as ServerTLS is.
func AskingTLS(dir string) (*tls.Config, error) {
	c, _, err := clientTLS(&keyPair{dir: dir, certFile: serverCertFile, keyFile: serverKeyFile})
	if err != nil {
		return nil, fmt.Errorf("server certificates: %w", err)
	}
	return c, nil
}

// ClientTLS is a host's side of mutual TLS, read from the directory that IssueHost or Join
// made. The name is the host's, as its certificate has it.
func ClientTLS(dir string) (*tls.Config, model.HostName, error) {
	c, leaf, err := clientTLS(&keyPair{dir: dir, certFile: hostCertFile, keyFile: hostKeyFile})
	if err != nil {
		return nil, "", fmt.Errorf("host certificates: %w", err)
	}
	return c, model.HostName(leaf.Subject.CommonName), nil
}

func clientTLS(pair *keyPair) (*tls.Config, *x509.Certificate, error) {
	cert, err := pair.load()
	if err != nil {
		return nil, nil, err
	}
	pool, err := readPool(pair.dir)
	if err != nil {
		return nil, nil, err
	}
	return &tls.Config{
		MinVersion:           tls.VersionTLS13,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return pair.load() },
		RootCAs:              pool,
		ServerName:           ServerName,
	}, cert.Leaf, nil
}

// errOtherCloud says that a server is not one of the cloud that a token is of.
var errOtherCloud = errors.New("the server is not of the token's cloud")

// pinnedTLS is the side of somebody who joins: a server is believed when its certificate is
// by the authority whose certificate, which it shows too, has this hash.
func pinnedTLS(ca [32]byte) *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		ServerName:         ServerName,
		InsecureSkipVerify: true, // VerifyConnection does it
		VerifyConnection: func(c tls.ConnectionState) error {
			roots := x509.NewCertPool()
			for _, cert := range c.PeerCertificates {
				if cert.IsCA && sha256.Sum256(cert.Raw) == ca {
					roots.AddCert(cert)
				}
			}
			_, err := c.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots, DNSName: ServerName})
			if err != nil {
				return fmt.Errorf("%w: %w", errOtherCloud, err)
			}
			return nil
		},
	}
}
