// Package access says who may do what to which noun.
//
// A Policy is a set of named rules, each an expression in the language of oslo.policy over
// the caller's roles and attributes and the attributes of what is acted upon. The defaults
// are those of Neutron with the roles admin, service, manager, member and reader; rules that
// Neutron only keeps for releases before those roles are not among them. Expressions are
// compiled once, when the Policy is made; to decide does not allocate, because lists ask for
// each object in them.
package access

import (
	"errors"
	"slices"
	"strings"

	"weft/internal/model"
)

// Caller is who asks.
type Caller struct {
	UserID, UserName, UserDomainID string

	ProjectID                    model.ProjectID
	ProjectName, ProjectDomainID string

	DomainID    string // of a domain-scoped token
	SystemScope bool   // the token's scope is the system

	Roles        []string // lower-case, with the implied ones: see Expand
	ServiceRoles []string // of the service that forwards the request, lower-case

	// Admin is set where nobody authenticates: everything is allowed, without a look at the
	// rules. A user with the role admin does not have it.
	Admin bool
}

// Has reports whether the caller has a role, named in lower case.
func (c Caller) Has(role string) bool { return slices.Contains(c.Roles, role) }

// Target answers for an attribute of what is acted upon: "project_id", "shared",
// "router:external"; booleans are "True" or "False". Attributes of related objects have a
// prefix: "network:project_id" and "network:shared" are of the network of a port or a subnet,
// "security_group:project_id" of the group of a rule, "ext_parent:project_id" of the object in
// whose path the target lies, such as the QoS policy of a rule. Expressions that say tenant
// where they mean project are asked for as project. ok is false for what the target has not.
type Target func(name string) (value string, ok bool)

// ErrUnauthorized says that a token is nobody's: unknown, expired or revoked.
var ErrUnauthorized = errors.New("the token is not valid")

// nothing is the target without attributes.
func nothing(string) (string, bool) { return "", false }

// ladder are the roles that imply those after them, as Keystone sets them up.
var ladder = []string{"admin", "manager", "member", "reader"}

// Expand returns the roles and those they imply, in lower case, sorted, each once.
func Expand(roles []string) []string {
	var all []string
	for _, r := range roles {
		r = strings.ToLower(r)
		all = append(all, r)
		if i := slices.Index(ladder, r); i >= 0 {
			all = append(all, ladder[i+1:]...)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}
