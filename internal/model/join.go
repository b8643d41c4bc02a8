package model

import "time"

// The kinds of what joining a cloud leaves in the store.
const (
	KindJoinToken    Kind = "join_token"
	KindHostIdentity Kind = "host_identity"
)

// JoinKind says what a token lets somebody become.
type JoinKind string

// What somebody may become.
const (
	JoinHost   JoinKind = "host"
	JoinServer JoinKind = "server"
)

// JoinToken lets whoever holds its secret become a host, or a server, once. The secret itself is
// kept nowhere.
type JoinToken struct {
	// Hash is the SHA-256 of the secret in hexadecimal digits.
	Hash string   `json:"hash"`
	Kind JoinKind `json:"kind"`
	// Roles are those that the host may have; none is all.
	Roles     []HostRole `json:"roles,omitempty"`
	CreatedAt time.Time  `json:"created_at"`
	ExpiresAt time.Time  `json:"expires_at"`
}

// HostIdentity says which certificates of a host are good: those of its generation, unless
// it was removed. A host without one is of generation 0, as certificates are that were made
// without a token.
type HostIdentity struct {
	Host HostName `json:"host"`
	// Generation counts how often a host joined by this name.
	Generation int       `json:"generation"`
	JoinedAt   time.Time `json:"joined_at,omitzero"`
	// Token is the hash of the token by which it joined last.
	Token string `json:"token,omitempty"`
	// Roles are those that the host may have, whatever it says; none is all.
	Roles []HostRole `json:"roles,omitempty"`
	// RemovedAt is when an administrator removed the host; zero while it is welcome.
	RemovedAt time.Time `json:"removed_at,omitzero"`
}
