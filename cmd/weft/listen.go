package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"go.yaml.in/yaml/v3"
	"golang.org/x/sys/unix"

	"weft/internal/access"
)

// vanished is after what time a client is given up that acknowledges nothing, or has room for nothing. The kernel would go
// on trying for a quarter of an hour, and a stream has its place for as long.
const vanished = time.Minute

// listenTCP listens for clients who may vanish; what they connect by inherits the listener's setting.
func listenTCP(address string) (net.Listener, error) {
	lc := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var err error
		failed := raw.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(vanished.Milliseconds()))
		})
		return errors.Join(failed, err)
	}}
	return lc.Listen(context.Background(), "tcp", address)
}

// listen opens a listener of the APIs, with TLS when the settings have a certificate. The
// files are read again for each connection, so that a renewed certificate needs no restart.
func (c *Config) listen(address string) (net.Listener, error) {
	l, err := listenTCP(address)
	if err != nil || c.TLSCert == "" {
		return l, err
	}
	read := func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		cert, err := tls.LoadX509KeyPair(c.TLSCert, c.TLSKey)
		return &cert, err
	}
	if _, err := read(nil); err != nil {
		return nil, errors.Join(fmt.Errorf("tls_cert: %w", err), l.Close())
	}
	return tls.NewListener(l, &tls.Config{GetCertificate: read, MinVersion: tls.VersionTLS12}), nil
}

// scheme is that of the APIs' URLs.
func (c *Config) scheme() string {
	if c.TLSCert != "" {
		return "https"
	}
	return "http"
}

// policy is Neutron's with the overrides of the policy file. A rule in it that nothing
// asks for, such as a misspelt one, is logged.
func (c *Config) policy(log *slog.Logger) (*access.Policy, error) {
	if c.PolicyFile == "" {
		return access.Default(), nil
	}
	text, err := os.ReadFile(c.PolicyFile)
	if err != nil {
		return nil, fmt.Errorf("policy_file: %w", err)
	}
	var rules map[string]string
	if err := yaml.Unmarshal(text, &rules); err != nil {
		return nil, fmt.Errorf("policy_file %s: want lines of the form RULE: \"EXPRESSION\": %w", c.PolicyFile, err)
	}
	p, err := access.New(rules)
	if err != nil {
		return nil, fmt.Errorf("policy_file %s: %w", c.PolicyFile, err)
	}
	asked := access.Default()
	for name := range rules {
		named := slices.ContainsFunc(p.Rules(), func(r access.Rule) bool {
			return slices.Contains(strings.FieldsFunc(r.Expression, func(c rune) bool { return c == ' ' || c == '(' || c == ')' }), "rule:"+name)
		})
		if !asked.Defined(name) && !named {
			log.Warn("policy_file has a rule that nothing asks for", "file", c.PolicyFile, "rule", name)
		}
	}
	return p, nil
}
