package client

import (
	"fmt"
	"slices"
	"strings"
)

// Cloud says where an API is and as whom to speak to it. Its words are those of
// clouds.yaml and of the OS_* variables.
type Cloud struct {
	// Source is where all this was read, for messages.
	Source string

	AuthType string // password, token, v3applicationcredential, none
	AuthURL  string

	Username, UserID, Password, Token   string
	UserDomainID, UserDomainName        string
	ProjectID, ProjectName              string
	ProjectDomainID, ProjectDomainName  string
	DomainID, DomainName, SystemScope   string
	ApplicationCredentialID             string
	ApplicationCredentialName           string
	ApplicationCredentialSecret         string
	Region, Interface, Endpoint, CACert string
	// Insecure is "verify: false": certificates are not checked.
	Insecure bool
	// Cert and Key are a client's certificate, for clouds that want one.
	Cert, Key string
}

// setting is one thing that clouds.yaml, the environment or both can say.
type setting struct {
	// yaml are the keys, in a cloud or its auth section; the first that is there counts.
	yaml []string
	// env are the variables, likewise.
	env   []string
	field func(*Cloud) *string
}

// settings are all that is text. An older name comes after its newer one.
var settings = []setting{
	{[]string{"auth_type"}, []string{"OS_AUTH_TYPE"}, func(c *Cloud) *string { return &c.AuthType }},
	{[]string{"auth_url"}, []string{"OS_AUTH_URL"}, func(c *Cloud) *string { return &c.AuthURL }},
	{[]string{"username", "user_name"}, []string{"OS_USERNAME"}, func(c *Cloud) *string { return &c.Username }},
	{[]string{"user_id"}, []string{"OS_USER_ID"}, func(c *Cloud) *string { return &c.UserID }},
	{[]string{"password"}, []string{"OS_PASSWORD"}, func(c *Cloud) *string { return &c.Password }},
	{[]string{"token", "auth_token"}, []string{"OS_TOKEN", "OS_AUTH_TOKEN"}, func(c *Cloud) *string { return &c.Token }},
	{[]string{"user_domain_id", "default_domain_id", "default_domain"}, []string{"OS_USER_DOMAIN_ID", "OS_DEFAULT_DOMAIN_ID", "OS_DEFAULT_DOMAIN"}, func(c *Cloud) *string { return &c.UserDomainID }},
	{[]string{"user_domain_name", "default_domain_name"}, []string{"OS_USER_DOMAIN_NAME", "OS_DEFAULT_DOMAIN_NAME"}, func(c *Cloud) *string { return &c.UserDomainName }},
	{[]string{"project_id", "tenant_id"}, []string{"OS_PROJECT_ID", "OS_TENANT_ID"}, func(c *Cloud) *string { return &c.ProjectID }},
	{[]string{"project_name", "tenant_name"}, []string{"OS_PROJECT_NAME", "OS_TENANT_NAME"}, func(c *Cloud) *string { return &c.ProjectName }},
	{[]string{"project_domain_id", "default_domain_id", "default_domain"}, []string{"OS_PROJECT_DOMAIN_ID", "OS_DEFAULT_DOMAIN_ID", "OS_DEFAULT_DOMAIN"}, func(c *Cloud) *string { return &c.ProjectDomainID }},
	{[]string{"project_domain_name", "default_domain_name"}, []string{"OS_PROJECT_DOMAIN_NAME", "OS_DEFAULT_DOMAIN_NAME"}, func(c *Cloud) *string { return &c.ProjectDomainName }},
	{[]string{"domain_id"}, []string{"OS_DOMAIN_ID"}, func(c *Cloud) *string { return &c.DomainID }},
	{[]string{"domain_name"}, []string{"OS_DOMAIN_NAME"}, func(c *Cloud) *string { return &c.DomainName }},
	{[]string{"system_scope"}, []string{"OS_SYSTEM_SCOPE"}, func(c *Cloud) *string { return &c.SystemScope }},
	{[]string{"application_credential_id"}, []string{"OS_APPLICATION_CREDENTIAL_ID"}, func(c *Cloud) *string { return &c.ApplicationCredentialID }},
	{[]string{"application_credential_name"}, []string{"OS_APPLICATION_CREDENTIAL_NAME"}, func(c *Cloud) *string { return &c.ApplicationCredentialName }},
	{[]string{"application_credential_secret"}, []string{"OS_APPLICATION_CREDENTIAL_SECRET"}, func(c *Cloud) *string { return &c.ApplicationCredentialSecret }},
	{[]string{"network_region_name", "region_name"}, []string{"OS_REGION_NAME"}, func(c *Cloud) *string { return &c.Region }},
	{[]string{"network_interface", "interface", "endpoint_type"}, []string{"OS_INTERFACE", "OS_ENDPOINT_TYPE"}, func(c *Cloud) *string { return &c.Interface }},
	{[]string{"network_endpoint_override", "network_endpoint", "endpoint"}, []string{"OS_NETWORK_ENDPOINT_OVERRIDE", "OS_ENDPOINT", "OS_URL"}, func(c *Cloud) *string { return &c.Endpoint }},
	{[]string{"cacert"}, []string{"OS_CACERT"}, func(c *Cloud) *string { return &c.CACert }},
	{[]string{"cert"}, []string{"OS_CERT"}, func(c *Cloud) *string { return &c.Cert }},
	{[]string{"key"}, []string{"OS_KEY"}, func(c *Cloud) *string { return &c.Key }},
}

// completing are the variables that fill in what a cloud of clouds.yaml leaves open. They
// never override it: variables that were meant for another cloud do no harm.
var completing = []string{"OS_PASSWORD", "OS_REGION_NAME", "OS_INTERFACE", "OS_CACERT"}

// InEnvironment reports whether the environment by itself says where an API is.
func InEnvironment(getenv func(string) string) bool {
	return slices.ContainsFunc([]string{"OS_AUTH_URL", "OS_AUTH_TYPE", "OS_ENDPOINT", "OS_URL", "OS_NETWORK_ENDPOINT_OVERRIDE"},
		func(name string) bool { return getenv(name) != "" })
}

// FromEnvironment is the cloud that OS_* variables describe.
func FromEnvironment(getenv func(string) string) (Cloud, error) {
	c := Cloud{Source: "the OS_* variables"}
	for _, s := range settings {
		for _, name := range s.env {
			if v := getenv(name); v != "" {
				*s.field(&c) = v
				break
			}
		}
	}
	c.Insecure = strings.EqualFold(getenv("OS_INSECURE"), "true") || getenv("OS_INSECURE") == "1"
	return c, c.complete()
}

// complete derives what is left open, and says what is missing, in the words of clouds.yaml.
func (c *Cloud) complete() error {
	switch strings.TrimPrefix(c.AuthType, "v3") {
	case "":
		switch {
		case c.ApplicationCredentialID != "" || c.ApplicationCredentialName != "":
			c.AuthType = "v3applicationcredential"
		case c.Token != "" && c.Password == "":
			c.AuthType = "token"
		default:
			c.AuthType = "password"
		}
	case "password", "token":
		c.AuthType = strings.TrimPrefix(c.AuthType, "v3")
	case "applicationcredential":
		c.AuthType = "v3applicationcredential"
	case "none":
	default:
		return fmt.Errorf("%s: auth_type %q is none of password, v3password, token, v3token, v3applicationcredential, none", c.Source, c.AuthType)
	}
	c.Interface = strings.TrimSuffix(c.Interface, "URL")
	if c.Interface == "" {
		c.Interface = "public"
	}
	if missing := c.missing(); len(missing) > 0 {
		return fmt.Errorf("%s: for auth_type %s there is no %s", c.Source, c.AuthType, strings.Join(missing, " and no "))
	}
	if c.UserDomainID == "" && c.UserDomainName == "" {
		c.UserDomainID = "default"
	}
	if c.ProjectDomainID == "" && c.ProjectDomainName == "" {
		c.ProjectDomainID = "default"
	}
	return nil
}

// missing are the settings without which nobody can be authenticated.
func (c *Cloud) missing() []string {
	var names []string
	want := func(name string, any ...string) {
		if strings.Join(any, "") == "" {
			names = append(names, name)
		}
	}
	switch c.AuthType {
	case "none":
		want("endpoint", c.Endpoint)
		return names
	case "token":
		want("token", c.Token)
		want("auth_url", c.AuthURL, c.Endpoint)
		return names
	case "password":
		want("username", c.Username, c.UserID)
		want("password", c.Password)
	case "v3applicationcredential":
		want("application_credential_id", c.ApplicationCredentialID, c.ApplicationCredentialName)
		want("application_credential_secret", c.ApplicationCredentialSecret)
		if c.ApplicationCredentialID == "" {
			want("username (whose application credential it is)", c.Username, c.UserID)
		}
	}
	want("auth_url", c.AuthURL)
	return names
}
