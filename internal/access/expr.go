package access

import (
	"regexp"
	"slices"
	"strings"
)

type op uint8

const (
	opNever  op = iota // !
	opAlways           // @
	opAnd
	opOr
	opNot
	opRule  // rule:name
	opRole  // role:operand
	opCred  // an attribute of the caller equals the operand
	opEqual // a literal equals the operand
	opMatch // the operand matches a regular expression
)

// node is one node of an expression. It is a struct and not an interface so that the
// compiler sees that an evaluation keeps no pointer to the caller.
type node struct {
	op   op
	text string  // of a leaf: as it was written
	kids []*node // of and, or, not

	rule string // of opRule: the name,
	to   *node  // and the expression in force, once linked

	cred cred
	lit  string
	re   *regexp.Regexp

	// The operand is the literal value, or the target's attribute attr if that is not empty;
	// alt is asked for when the target has no attr.
	value, attr, alt string
}

// verdict is what is known of a decision.
type verdict uint8

const (
	no verdict = iota
	yes
	unknown // depends on the target
)

func sure(b bool) verdict {
	if b {
		return yes
	}
	return no
}

// eval decides for a caller and a target. Without a target (nil) it says unknown where the
// answer depends on one.
func (n *node) eval(c *Caller, t Target) verdict {
	switch n.op {
	case opAlways:
		return yes
	case opAnd:
		return n.fold(c, t, no, yes)
	case opOr:
		return n.fold(c, t, yes, no)
	case opNot:
		switch v := n.kids[0].eval(c, t); v {
		case unknown:
			return v
		default:
			return sure(v == no)
		}
	case opRule:
		return n.to.eval(c, t)
	case opRole, opCred, opEqual, opMatch:
		return n.check(c, t)
	}
	return no
}

// fold is the conjunction (stop no, rest yes) or the disjunction (stop yes, rest no) of the kids.
func (n *node) fold(c *Caller, t Target, stop, rest verdict) verdict {
	v := rest
	for _, k := range n.kids {
		switch k.eval(c, t) {
		case stop:
			return stop
		case unknown:
			v = unknown
		}
	}
	return v
}

func (n *node) check(c *Caller, t Target) verdict {
	value := n.value
	switch {
	case n.attr == "":
	case n.op == opCred && !c.any(n.cred), n.op == opRole && len(c.Roles) == 0:
		return no
	case t == nil:
		return unknown
	default:
		v, ok := t(n.attr)
		if !ok && n.alt != "" {
			v, ok = t(n.alt)
		}
		if !ok {
			return no
		}
		value = v
	}
	switch n.op {
	case opRole:
		return sure(c.Has(strings.ToLower(value)))
	case opCred:
		return sure(c.is(n.cred, value))
	case opMatch:
		return sure(n.re.MatchString(value))
	default:
		return sure(n.lit == value)
	}
}

// cred is an attribute of the caller.
type cred uint8

const (
	userID cred = iota
	userName
	userDomainID
	projectID
	projectName
	projectDomainID
	domainID
	systemScope
	roles
	serviceRoles
)

// creds are the names of the caller's attributes in expressions.
var creds = map[string]cred{
	"user_id": userID, "user_name": userName, "user_domain_id": userDomainID,
	"project_id": projectID, "project_name": projectName, "project_domain_id": projectDomainID,
	"tenant_id": projectID, "tenant_name": projectName,
	"domain_id": domainID, "system_scope": systemScope,
	"roles": roles, "service_roles": serviceRoles,
}

// is reports whether the caller's attribute has, or is a list that contains, the value. An
// attribute that the caller lacks equals nothing: a caller without project does not own
// what belongs to nobody.
func (c *Caller) is(a cred, value string) bool {
	switch a {
	case roles:
		return slices.Contains(c.Roles, value)
	case serviceRoles:
		return slices.Contains(c.ServiceRoles, value)
	}
	own := c.attribute(a)
	return own != "" && own == value
}

// any reports whether the caller has any value in the attribute.
func (c *Caller) any(a cred) bool {
	switch a {
	case roles:
		return len(c.Roles) > 0
	case serviceRoles:
		return len(c.ServiceRoles) > 0
	}
	return c.attribute(a) != ""
}

func (c *Caller) attribute(a cred) string {
	switch a {
	case userID:
		return c.UserID
	case userName:
		return c.UserName
	case userDomainID:
		return c.UserDomainID
	case projectID:
		return string(c.ProjectID)
	case projectName:
		return c.ProjectName
	case projectDomainID:
		return c.ProjectDomainID
	case domainID:
		return c.DomainID
	case systemScope:
		if c.SystemScope {
			return "all"
		}
	}
	return ""
}

// String prints the expression so that parse gives an equal one.
func (n *node) String() string {
	var b strings.Builder
	n.print(&b)
	return b.String()
}

func (n *node) print(b *strings.Builder) {
	switch n.op {
	case opNever:
		b.WriteString("!")
	case opAlways:
		b.WriteString("@")
	case opNot:
		b.WriteString("not ")
		n.kids[0].inner(b)
	case opAnd, opOr:
		for i, k := range n.kids {
			switch {
			case i == 0:
			case n.op == opAnd:
				b.WriteString(" and ")
			default:
				b.WriteString(" or ")
			}
			k.inner(b)
		}
	default:
		b.WriteString(n.text)
	}
}

// inner prints a part of an expression.
func (n *node) inner(b *strings.Builder) {
	if n.op != opAnd && n.op != opOr {
		n.print(b)
		return
	}
	b.WriteByte('(')
	n.print(b)
	b.WriteByte(')')
}
