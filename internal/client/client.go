// Package client talks to the Neutron API as any client would: it finds credentials, gets
// a token from Keystone, finds the endpoint in the catalog, and reads and writes objects.
//
// It knows no resource and no attribute of Neutron. A Client is safe for concurrent use.
package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"
)

// Client speaks to one API as one user. It asks Keystone when the first request is made.
type Client struct {
	cloud Cloud
	http  *http.Client

	mu   sync.Mutex
	auth session
}

// session is what authentication gave.
type session struct {
	token, endpoint string
	project         Project
	valid           bool
}

// Project is the project that a token is for.
type Project struct{ ID, Name string }

// New makes a Client; nothing is asked yet.
func New(c Cloud) (*Client, error) {
	for _, u := range []string{c.AuthURL, c.Endpoint} {
		if u != "" && !strings.HasPrefix(u, "http://") && !strings.HasPrefix(u, "https://") {
			return nil, fmt.Errorf("%s: the URL %q does not begin with http:// or https://", c.Source, u)
		}
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	conf := &tls.Config{InsecureSkipVerify: c.Insecure} //nolint:gosec // the user's own "verify: false"
	if c.CACert != "" {
		pem, err := os.ReadFile(c.CACert)
		if err != nil {
			return nil, fmt.Errorf("cacert: %w", err)
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("cacert: %s has no certificate", c.CACert)
		}
	}
	if c.Cert != "" {
		key := c.Key
		if key == "" {
			key = c.Cert // both in one file
		}
		pair, err := tls.LoadX509KeyPair(c.Cert, key)
		if err != nil {
			return nil, fmt.Errorf("cert: %w", err)
		}
		conf.Certificates = []tls.Certificate{pair}
	}
	transport.TLSClientConfig = conf
	return &Client{cloud: c, http: &http.Client{Timeout: time.Minute, Transport: transport}}, nil
}

// Cloud is what the Client was made of.
func (c *Client) Cloud() Cloud { return c.cloud }

// Do sends in as JSON, if not nil, to a path such as /v2.0/ports, and reads the answer
// into out, if not nil. An answer that is no success is a Fault.
func (c *Client) Do(ctx context.Context, method, path string, in, out any) error {
	return c.authorized(ctx, func(s session) error { return c.once(ctx, s, method, path, in, out) })
}

// authorized does something with a session, and again with a new one if the token has expired.
func (c *Client) authorized(ctx context.Context, do func(session) error) error {
	s, err := c.session(ctx)
	if err != nil {
		return err
	}
	err = do(s)
	var f Fault
	if errors.As(err, &f) && f.Status == http.StatusUnauthorized && c.cloud.AuthURL != "" && c.cloud.AuthType != "none" {
		// The token has expired, or was revoked: a new one may do.
		c.mu.Lock()
		if c.auth.token == s.token {
			c.auth.valid = false
		}
		c.mu.Unlock()
		if s, err = c.session(ctx); err != nil {
			return err
		}
		err = do(s)
	}
	return err
}

func (c *Client) once(ctx context.Context, s session, method, path string, in, out any) error {
	_, err := c.send(ctx, request{service: "neutron", method: method, url: s.endpoint + path, token: s.token, in: in, out: out})
	return err
}

// Stream asks for an answer that goes on and on; the caller reads and closes it. An answer that is no
// success is a Fault.
func (c *Client) Stream(ctx context.Context, path string) (io.ReadCloser, error) {
	var body io.ReadCloser
	err := c.authorized(ctx, func(s session) (err error) {
		body, err = c.stream(ctx, s, path)
		return err
	})
	return body, err
}

func (c *Client) stream(ctx context.Context, s session, path string) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.endpoint+path, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", "weft")
	if s.token != "" {
		req.Header.Set("X-Auth-Token", s.token)
	}
	resp, err := (&http.Client{Transport: c.http.Transport}).Do(req) // c.http has a limit of time
	if err != nil {
		return nil, Unreachable{Service: "neutron", URL: req.URL.Scheme + "://" + req.URL.Host, Source: c.cloud.Source, Err: cause(err)}
	}
	if resp.StatusCode < 300 {
		return resp.Body, nil
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("GET %s: %w", path, err)
	}
	return nil, readFault("neutron", resp, b)
}

// request is one HTTP request.
type request struct {
	service, method, url, token string
	in, out                     any
}

func (c *Client) send(ctx context.Context, r request) (http.Header, error) {
	var body io.Reader
	if r.in != nil {
		b, err := json.Marshal(r.in)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, r.method, r.url, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "weft")
	if r.in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if r.token != "" {
		req.Header.Set("X-Auth-Token", r.token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, Unreachable{Service: r.service, URL: req.URL.Scheme + "://" + req.URL.Host, Source: c.cloud.Source, Err: cause(err)}
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", r.method, r.url, err)
	}
	if resp.StatusCode >= 300 {
		return nil, readFault(r.service, resp, b)
	}
	if r.out != nil {
		if err := json.Unmarshal(b, r.out); err != nil {
			return nil, fmt.Errorf("%s %s: the answer is not what %s would say: %w", r.method, r.url, r.service, err)
		}
	}
	return resp.Header, nil
}

// cause is an error of net/http without the method and URL in front.
func cause(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// List reads all objects of a collection, such as networks at /v2.0/networks, page by page.
func (c *Client) List(ctx context.Context, path, key string, query url.Values) ([]json.RawMessage, error) {
	var all []json.RawMessage
	for {
		var page map[string]json.RawMessage
		where := path
		if len(query) > 0 {
			where += "?" + query.Encode()
		}
		if err := c.Do(ctx, http.MethodGet, where, nil, &page); err != nil {
			return nil, err
		}
		var objects []json.RawMessage
		if err := json.Unmarshal(page[key], &objects); err != nil {
			return nil, fmt.Errorf("GET %s: the answer has no list %q: %w", where, key, err)
		}
		all = append(all, objects...)
		next, err := nextPage(page[key+"_links"])
		if err != nil {
			return nil, fmt.Errorf("GET %s: %w", where, err)
		}
		if next == nil || len(objects) == 0 {
			return all, nil
		}
		query = next
	}
}

// nextPage is the query of the page that follows, or nil. Only the query is taken of the
// link: behind a proxy its host may be wrong, and the token is for nobody else.
func nextPage(links json.RawMessage) (url.Values, error) {
	if links == nil {
		return nil, nil
	}
	var list []struct{ Rel, Href string }
	if err := json.Unmarshal(links, &list); err != nil {
		return nil, fmt.Errorf("links: %w", err)
	}
	for _, l := range list {
		if l.Rel != "next" {
			continue
		}
		u, err := url.Parse(l.Href)
		if err != nil {
			return nil, fmt.Errorf("links: %w", err)
		}
		return u.Query(), nil
	}
	return nil, nil
}

// trimEndpoint is an endpoint without the version, which the paths have.
func trimEndpoint(s string) string {
	s = strings.TrimRight(s, "/")
	return strings.TrimRight(strings.TrimSuffix(s, "/v2.0"), "/")
}
