package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// session is the present session, or a new one.
func (c *Client) session(ctx context.Context) (session, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.auth.valid {
		return c.auth, nil
	}
	s, err := c.login(ctx)
	if err == nil {
		s.valid = true
		c.auth = s
	}
	return s, err
}

// login gets a token, and the endpoint from its catalog.
func (c *Client) login(ctx context.Context) (session, error) {
	override := trimEndpoint(c.cloud.Endpoint)
	switch {
	case c.cloud.AuthType == "none":
		return session{endpoint: override}, nil
	case c.cloud.AuthType == "token" && override != "":
		return session{endpoint: override, token: c.cloud.Token}, nil
	}
	var answer struct {
		Token struct {
			Project Project
			Catalog []service
		}
	}
	header, err := c.send(ctx, request{service: "keystone", method: http.MethodPost, url: c.identity() + "/auth/tokens", in: c.credentials(), out: &answer})
	if err != nil {
		var f Fault
		if errors.As(err, &f) && f.Status == http.StatusUnauthorized {
			return session{}, fmt.Errorf("%s: %w\nThat is all it says when the user, the password or the project is wrong", c.cloud.Source, err)
		}
		return session{}, err
	}
	s := session{token: header.Get("X-Subject-Token"), endpoint: override, project: answer.Token.Project}
	if s.token == "" {
		return s, fmt.Errorf("%s/auth/tokens: the answer has no X-Subject-Token; is this Keystone?", c.identity())
	}
	if s.endpoint == "" {
		found, err := findEndpoint(answer.Token.Catalog, c.cloud.Region, c.cloud.Interface)
		if err != nil {
			return s, fmt.Errorf("%s: %w", c.cloud.Source, err)
		}
		s.endpoint = trimEndpoint(found)
	}
	return s, nil
}

// identity is the URL of Keystone's version 3, with which most auth_urls end.
func (c *Client) identity() string {
	s := strings.TrimRight(c.cloud.AuthURL, "/")
	if strings.HasSuffix(s, "/v3") {
		return s
	}
	return strings.TrimSuffix(s, "/v2.0") + "/v3"
}

type object = map[string]any

// named is {"id": ID}, or the name and what it is a name in.
func named(id, name string, more object) object {
	if id != "" {
		return object{"id": id}
	}
	o := object{"name": name}
	for k, v := range more {
		o[k] = v
	}
	return o
}

// credentials are the body of POST /v3/auth/tokens.
func (c *Client) credentials() object {
	d := c.cloud
	user := named(d.UserID, d.Username, object{"domain": named(d.UserDomainID, d.UserDomainName, nil)})
	var identity, scope object
	switch d.AuthType {
	case "token":
		identity = object{"methods": []string{"token"}, "token": object{"id": d.Token}}
	case "v3applicationcredential":
		credential := named(d.ApplicationCredentialID, d.ApplicationCredentialName, object{"user": user})
		credential["secret"] = d.ApplicationCredentialSecret
		// It has the scope in it, and none may be asked for.
		return object{"auth": object{"identity": object{"methods": []string{"application_credential"}, "application_credential": credential}}}
	default:
		user["password"] = d.Password
		identity = object{"methods": []string{"password"}, "password": object{"user": user}}
	}
	switch {
	case d.ProjectID != "" || d.ProjectName != "":
		scope = object{"project": named(d.ProjectID, d.ProjectName, object{"domain": named(d.ProjectDomainID, d.ProjectDomainName, nil)})}
	case d.SystemScope != "":
		scope = object{"system": object{d.SystemScope: true}}
	case d.DomainID != "" || d.DomainName != "":
		scope = object{"domain": named(d.DomainID, d.DomainName, nil)}
	}
	auth := object{"identity": identity}
	if scope != nil {
		auth["scope"] = scope
	}
	return object{"auth": auth}
}

// service is an entry of the catalog.
type service struct {
	Type      string
	Endpoints []struct {
		Interface, Region, URL string
		RegionID               string `json:"region_id"`
	}
}

// findEndpoint finds the network service, and says what there is if it is not there.
func findEndpoint(catalog []service, region, iface string) (string, error) {
	var regions, interfaces []string
	for _, s := range catalog {
		if s.Type != "network" {
			continue
		}
		for _, e := range s.Endpoints {
			switch {
			case region != "" && e.Region != region && e.RegionID != region:
				regions = append(regions, e.Region)
			case e.Interface != iface:
				interfaces = append(interfaces, e.Interface)
			default:
				return e.URL, nil
			}
		}
	}
	switch {
	case len(catalog) == 0:
		return "", errors.New("keystone's answer has no catalog; is a project named (project_name)?")
	case len(interfaces) > 0:
		return "", fmt.Errorf("keystone's catalog has the network service with interface %s, not %s", list(interfaces), iface)
	case len(regions) > 0:
		return "", fmt.Errorf("keystone's catalog has the network service in region %s, not in %q", list(regions), region)
	}
	return "", errors.New("keystone's catalog has no network service")
}

// list is the words, each once, in order.
func list(words []string) string {
	slices.Sort(words)
	return strings.Join(slices.Compact(words), ", ")
}

// Project finds a project by ID or name: the token's own, or else by asking Keystone,
// which tells only those who may know. Without Keystone what is given is the ID.
func (c *Client) Project(ctx context.Context, ref string) (Project, error) {
	s, err := c.session(ctx)
	if err != nil {
		return Project{}, err
	}
	if c.cloud.AuthURL == "" || c.cloud.AuthType == "none" {
		return Project{ID: ref}, nil
	}
	if ref == s.project.ID || ref == s.project.Name {
		return s.project, nil
	}
	ask := func(path string, out any) error {
		_, err := c.send(ctx, request{service: "keystone", method: http.MethodGet, url: c.identity() + path, token: s.token, out: out})
		return err
	}
	var one struct{ Project Project }
	if err := ask("/projects/"+url.PathEscape(ref), &one); err == nil {
		return one.Project, nil
	}
	var many struct{ Projects []Project }
	if err := ask("/projects?name="+url.QueryEscape(ref), &many); err != nil {
		return Project{}, fmt.Errorf("find project %q: %w", ref, err)
	}
	switch len(many.Projects) {
	case 0:
		return Project{}, fmt.Errorf("no project has the ID or name %q", ref)
	case 1:
		return many.Projects[0], nil
	}
	var found []Candidate
	for _, p := range many.Projects {
		found = append(found, Candidate{ID: p.ID})
	}
	return Project{}, Ambiguous{Kind: "projects", Ref: ref, Found: found}
}

// Own is the project that the requests are made in; its ID is empty without Keystone.
func (c *Client) Own(ctx context.Context) (Project, error) {
	s, err := c.session(ctx)
	return s.project, err
}
