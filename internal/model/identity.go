package model

import "time"

// Identities: who may call, and as what. Their IDs are 32 hexadecimal digits, except
// DefaultDomain.
type (
	// UserID names a user.
	UserID string
	// DomainID names a domain.
	DomainID string
	// RoleID names a role.
	RoleID string
)

// DefaultDomain is the ID of the domain that every cloud has.
const DefaultDomain DomainID = "default"

// The kinds of identity.
const (
	KindDomain     Kind = "domain"
	KindProject    Kind = "project"
	KindUser       Kind = "user"
	KindRole       Kind = "role"
	KindAssignment Kind = "assignment"
	KindAppCred    Kind = "application_credential"
	KindTokenKey   Kind = "token_key"
	KindRevocation Kind = "revocation"
)

// Domain is a name space of users and projects.
type Domain struct {
	ID          DomainID `json:"id"`
	Name        string   `json:"name"`
	Description string   `json:"description,omitempty"`
	Enabled     bool     `json:"enabled"`
	Tags        []string `json:"tags,omitempty"`
}

// Project owns resources. Projects are flat: each lies directly in its domain.
type Project struct {
	ID          ProjectID `json:"id"`
	DomainID    DomainID  `json:"domain_id"`
	Name        string    `json:"name"`
	Description string    `json:"description,omitempty"`
	Enabled     bool      `json:"enabled"`
	Tags        []string  `json:"tags,omitempty"`
}

// User is a person or a service that authenticates.
type User struct {
	ID             UserID    `json:"id"`
	DomainID       DomainID  `json:"domain_id"`
	Name           string    `json:"name"`
	Description    string    `json:"description,omitempty"`
	Email          string    `json:"email,omitempty"`
	Enabled        bool      `json:"enabled"`
	DefaultProject ProjectID `json:"default_project,omitempty"`
	// PasswordHash is empty for a user that has no password and cannot log in by one.
	PasswordHash string `json:"password_hash,omitempty"`
	// TokensSince is when the password was last changed or the user last disabled: tokens
	// from before are void.
	TokensSince time.Time `json:"tokens_since,omitzero"`
}

// Role is a name that policies speak of.
type Role struct {
	ID          RoleID `json:"id"`
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
}

// Target is what a role is held on, or a token is good for: a project, a domain or the
// whole system. The zero Target is none.
type Target struct {
	Project ProjectID `json:"project,omitempty"`
	Domain  DomainID  `json:"domain,omitempty"`
	System  bool      `json:"system,omitempty"`
}

// Assignment says that a user has a role on a target.
type Assignment struct {
	ID     string `json:"id"` // AssignmentID of the rest
	UserID UserID `json:"user_id"`
	RoleID RoleID `json:"role_id"`
	Target Target `json:"target"`
}

// AssignmentID is the ID of the one assignment that there can be of these three.
func AssignmentID(u UserID, r RoleID, t Target) string {
	id := string(u) + "." + string(r)
	switch {
	case t.Project != "":
		return id + ".project." + string(t.Project)
	case t.Domain != "":
		return id + ".domain." + string(t.Domain)
	}
	return id + ".system"
}

// AppCred is an application credential: a secret by which a program acts as a user in
// one project, with some of the user's roles there.
type AppCred struct {
	ID           string    `json:"id"`
	UserID       UserID    `json:"user_id"`
	Project      ProjectID `json:"project"`
	Name         string    `json:"name"`
	Description  string    `json:"description,omitempty"`
	SecretHash   string    `json:"secret_hash"`
	Roles        []RoleID  `json:"roles"`
	ExpiresAt    time.Time `json:"expires_at,omitzero"` // zero: never
	Unrestricted bool      `json:"unrestricted,omitempty"`
}

// TokenKey signs tokens. The newest one does; older ones verify until their last token
// has expired.
type TokenKey struct {
	ID        string    `json:"id"` // 8 hexadecimal digits
	Secret    []byte    `json:"secret"`
	CreatedAt time.Time `json:"created_at"`
}

// Revocation says that one token is void before its time.
type Revocation struct {
	ID        string    `json:"id"` // the token's audit ID
	ExpiresAt time.Time `json:"expires_at"`
}
