package access

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// parse compiles an expression. Its rules are not linked yet.
func parse(s string) (*node, error) {
	if s == "" {
		return &node{op: opAlways}, nil
	}
	p := parser{tokens: tokenize(s)}
	n, err := p.or()
	if err != nil {
		return nil, err
	}
	if p.next() != "" {
		return nil, fmt.Errorf("%q is not expected", p.next())
	}
	return n, nil
}

// tokenize splits at spaces. Parentheses at the ends of a word are tokens; within it they are
// part of it, as in %(name)s.
func tokenize(s string) []string {
	var all []string
	for _, word := range strings.Fields(s) {
		for strings.HasPrefix(word, "(") {
			all, word = append(all, "("), word[1:]
		}
		bare := strings.TrimRight(word, ")")
		if bare != "" {
			all = append(all, bare)
		}
		for range len(word) - len(bare) {
			all = append(all, ")")
		}
	}
	return all
}

// parser reads, from weak to strong: or, and, not, parentheses and checks.
type parser struct{ tokens []string }

func (p *parser) next() string {
	if len(p.tokens) == 0 {
		return ""
	}
	return p.tokens[0]
}

// skip drops the next token if it is the given one.
func (p *parser) skip(token string) bool {
	if !strings.EqualFold(p.next(), token) {
		return false
	}
	p.tokens = p.tokens[1:]
	return true
}

func (p *parser) or() (*node, error)  { return p.list(opOr, "or", p.and) }
func (p *parser) and() (*node, error) { return p.list(opAnd, "and", p.not) }

// list reads one or more parts with a word between them. Parts that are lists of the same
// kind are taken apart.
func (p *parser) list(o op, word string, part func() (*node, error)) (*node, error) {
	all := &node{op: o}
	for {
		n, err := part()
		if err != nil {
			return nil, err
		}
		if n.op == o {
			all.kids = append(all.kids, n.kids...)
		} else {
			all.kids = append(all.kids, n)
		}
		if !p.skip(word) {
			break
		}
	}
	if len(all.kids) == 1 {
		return all.kids[0], nil
	}
	return all, nil
}

func (p *parser) not() (*node, error) {
	if p.skip("not") {
		n, err := p.not()
		if err != nil {
			return nil, err
		}
		return &node{op: opNot, kids: []*node{n}}, nil
	}
	if p.skip("(") {
		n, err := p.or()
		if err == nil && !p.skip(")") {
			err = errors.New("a parenthesis is not closed")
		}
		return n, err
	}
	t := p.next()
	switch strings.ToLower(t) {
	case "":
		return nil, errors.New("a check is missing at the end")
	case ")", "and", "or":
		return nil, fmt.Errorf("a check is missing before %q", t)
	}
	p.tokens = p.tokens[1:]
	return check(t)
}

// check compiles one check, "kind:operand".
func check(text string) (*node, error) {
	switch text {
	case "!":
		return &node{op: opNever}, nil
	case "@":
		return &node{op: opAlways}, nil
	}
	kind, operand, ok := strings.Cut(text, ":")
	if !ok || kind == "" || operand == "" {
		return nil, fmt.Errorf("%q is no check", text)
	}
	n := &node{text: text}
	switch kind {
	case "rule":
		n.op, n.rule = opRule, operand
		return n, nil
	case "field":
		return n, n.field(operand)
	case "is_admin":
		return isAdmin(text, operand)
	case "role":
		n.op = opRole
	default:
		if lit, ok := literal(kind); ok {
			n.op, n.lit = opEqual, lit
		} else if cred, ok := creds[kind]; ok {
			n.op, n.cred = opCred, cred
		} else {
			return nil, fmt.Errorf("%q: a caller has no %s", text, kind)
		}
	}
	if name, ok := strings.CutPrefix(operand, "%("); ok {
		name, ok = strings.CutSuffix(name, ")s")
		if n.attr = attribute(name); ok && name != "" && !strings.ContainsAny(name, "%()") {
			return n, nil
		}
	} else if n.value = operand; !strings.Contains(operand, "%") {
		return n, nil
	}
	return nil, fmt.Errorf("%q: what follows the colon is neither a literal nor a %%(name)s", text)
}

// isAdmin compiles is_admin:True and is_admin:False, which ask the rule context_is_admin.
func isAdmin(text, operand string) (*node, error) {
	rule := &node{op: opRule, text: "rule:" + contextIsAdmin, rule: contextIsAdmin}
	switch operand {
	case "True":
		return rule, nil
	case "False":
		return &node{op: opNot, kids: []*node{rule}}, nil
	}
	return nil, fmt.Errorf("%q: is_admin is True or False", text)
}

// field compiles the operand of a field check, resource:attribute=value. A value that begins
// with ~ is a regular expression that the attribute's beginning matches.
func (n *node) field(operand string) error {
	resource, rest, _ := strings.Cut(operand, ":")
	name, value, ok := strings.Cut(rest, "=")
	if !ok || name == "" {
		return fmt.Errorf("%q: a field check is field:resource:attribute=value", n.text)
	}
	n.attr = attribute(name)
	if resource == "networks" {
		n.alt = "network:" + n.attr // the target may be a port or a subnet
	}
	if pattern, ok := strings.CutPrefix(value, "~"); ok {
		re, err := regexp.Compile("^(?:" + pattern + ")")
		if err != nil {
			return fmt.Errorf("%q: %w", n.text, err)
		}
		n.op, n.re = opMatch, re
		return nil
	}
	n.op, n.lit = opEqual, value
	for _, truth := range []string{"True", "False"} {
		if strings.EqualFold(value, truth) {
			n.lit = truth
		}
	}
	return nil
}

// attribute returns the target's name for an attribute: project where an expression says tenant.
func attribute(name string) string {
	if s, ok := strings.CutSuffix(name, "tenant_id"); ok {
		return s + "project_id"
	}
	if name == "target_tenant" {
		return "target_project"
	}
	return name
}

// literal returns the text of a quoted string, a number, or a constant that stands on the
// left of a check.
func literal(s string) (string, bool) {
	if q := s[0]; q == '\'' || q == '"' {
		if len(s) < 2 || s[len(s)-1] != q {
			return "", false
		}
		return s[1 : len(s)-1], true
	}
	if _, err := strconv.Atoi(s); err == nil {
		return s, true
	}
	return s, s == "True" || s == "False" || s == "None"
}
