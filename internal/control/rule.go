package control

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"

	"weft/internal/model"
	"weft/internal/store"
)

type (
	// SecurityGroupRuleChange asks to create a rule.
	SecurityGroupRuleChange = Change[model.SecurityGroupRule]
	// SecurityGroupRuleEntry is a stored rule.
	SecurityGroupRuleEntry = *store.Entry[model.SecurityGroupRule]
)

// CreateSecurityGroupRules adds rules to one group, all or none.
func (c *Control) CreateSecurityGroupRules(ctx context.Context, changes []SecurityGroupRuleChange) ([]SecurityGroupRuleEntry, error) {
	if err := checkTogether(len(changes)); err != nil {
		return nil, err
	}
	rules := make([]*model.SecurityGroupRule, len(changes))
	for i, ch := range changes {
		rules[i] = &model.SecurityGroupRule{Project: ch.Project}
		ch.Apply(rules[i])
	}
	if err := oneGroup(rules); err != nil {
		return nil, err
	}
	for _, rule := range rules {
		if err := checkMatch(&rule.RuleMatch); err != nil {
			return nil, err
		}
	}
	var made []SecurityGroupRuleEntry
	err := c.attempt(ctx, func(res *store.Reservation) error {
		txn := c.store.Txn()
		if err := c.within(ctx, txn, res, func(w *work) error { return w.addRules(rules) }); err != nil {
			return err
		}
		rev, err := txn.Commit(ctx)
		if err != nil {
			return err
		}
		made = entries(c, rules, rev, func(r store.Reader, m *model.SecurityGroupRule) SecurityGroupRuleEntry {
			return store.SecurityGroupRules.Get(r, m.ID)
		})
		return nil
	})
	return made, err
}

// oneGroup refuses rules of several groups or projects.
func oneGroup(rules []*model.SecurityGroupRule) error {
	for _, rule := range rules {
		switch {
		case rule.Group != rules[0].Group:
			return model.Faultf(model.RulesOfSeveralGroups, "Only allowed to update rules for one security profile at a time")
		case rule.Project != rules[0].Project:
			return model.Faultf(model.RulesOfSeveralProjects, "Multiple project_ids in bulk security group rule create not allowed")
		}
	}
	return nil
}

func (w *work) addRules(rules []*model.SecurityGroupRule) error {
	if len(rules) == 0 {
		return nil
	}
	if err := w.count("security_group_rule", rules[0].Project, len(rules)); err != nil {
		return err
	}
	var group SecurityGroupEntry
	for _, rule := range rules {
		if err := w.checkRemotes(&rule.RuleMatch); err != nil {
			return err
		}
		var err error
		if group, err = w.c.VisibleGroup(w.r, CallerOf(w.ctx), rule.Group); err != nil {
			return err
		}
	}
	had := map[string]string{} // ID by name
	for e := range store.SecurityGroupRules.By(w.r, "group", rules[0].Group) {
		had[store.RuleName(&e.Value.RuleMatch)] = e.Value.ID
	}
	names := map[string]bool{}
	now := w.c.stamp()
	for i := range rules {
		rule := *rules[i]
		name := store.RuleName(&rule.RuleMatch)
		if names[name] {
			return model.Faultf(model.RuleTwiceInRequest, "Duplicate Security Group Rule in POST.")
		}
		names[name] = true
		rule.ID, rule.OfDefault = uuid.NewString(), group.Value.Default
		rule.CreatedAt, rule.UpdatedAt = now, now
		rules[i] = &rule
	}
	for _, rule := range rules {
		if id, has := had[store.RuleName(&rule.RuleMatch)]; has {
			return model.Faultf(model.RuleExists, "Security group rule already exists. Rule id is %s.", id)
		}
		store.SecurityGroupRules.Create(w.txn, rule)
	}
	w.touchGroup(rules[0].Group, len(rules))
	return nil
}

// checkRemotes requires the groups that a rule names as the other side.
func (w *work) checkRemotes(m *model.RuleMatch) error {
	if id := m.RemoteGroup; id != "" && id != model.ParentGroup {
		if _, err := w.c.VisibleGroup(w.r, CallerOf(w.ctx), id); err != nil {
			return err
		}
	}
	if id := m.RemoteAddressGroup; id != "" {
		if g := store.AddressGroups.Get(w.r, id); g == nil || !w.seesAddresses(g.Value) {
			return model.NotFound{Kind: model.KindAddressGroup, ID: id}
		}
	}
	return nil
}

// DeleteSecurityGroupRule removes a rule from its group.
func (c *Control) DeleteSecurityGroupRule(ctx context.Context, id string, ifRevision Opt[int]) error {
	return c.transact(ctx, func(w *work) error {
		old := store.SecurityGroupRules.Get(w.r, id)
		if old == nil {
			return model.NotFound{Kind: model.KindSecurityGroupRule, ID: id}
		}
		if err := checkRevision(ifRevision, old.Value.Meta); err != nil {
			return err
		}
		store.SecurityGroupRules.Delete(w.txn, old, w.r.Revision())
		w.touchGroup(old.Value.Group, 1)
		return nil
	})
}

const allPorts = 65535

// portProtocols have ports, by number.
var portProtocols = []string{"33", "132", "6", "17", "136"}

// onlyIPv6 are the protocols that occur in IPv6 alone, by number.
var onlyIPv6 = []string{"41", "44", "58", "59", "60", "43"}

// checkMatch completes and judges what a rule matches by itself.
func checkMatch(m *model.RuleMatch) error {
	if m.Ethertype == "IPv6" {
		switch m.Protocol {
		case "icmp", "icmpv6":
			m.Protocol = "ipv6-icmp"
		case "1":
			m.Protocol = "58"
		}
	}
	if m.PortMin != nil && m.PortMax != nil && *m.PortMin == 1 && *m.PortMax == allPorts {
		m.PortMin, m.PortMax = nil, nil
	}
	if err := checkPorts(m); err != nil {
		return err
	}
	if p := m.RemotePrefix; p.IsValid() && p.Addr().Is4() != (m.Ethertype == "IPv4") {
		return model.Faultf(model.RuleEthertypePrefix, "Conflicting value ethertype %s for CIDR %s", m.Ethertype, p)
	}
	if m.Ethertype == "IPv4" && slices.Contains(onlyIPv6, model.ProtocolNumber(m.Protocol, m.Ethertype)) {
		return model.Faultf(model.RuleEthertypeProtocol, "Invalid ethertype %s for protocol %s.", m.Ethertype, m.Protocol)
	}
	remotes := 0
	for _, has := range []bool{m.RemotePrefix.IsValid(), m.RemoteGroup != "", m.RemoteAddressGroup != ""} {
		if has {
			remotes++
		}
	}
	if remotes > 1 {
		return model.Faultf(model.RuleSeveralRemotes,
			"Only one of remote_ip_prefix or remote_group_id or remote_address_group_id may be provided.")
	}
	return nil
}

// checkPorts judges port_range_min and port_range_max, which are type and code for ICMP.
func checkPorts(m *model.RuleMatch) error {
	if m.PortMin == nil && m.PortMax == nil {
		return nil
	}
	if m.Protocol == "" {
		return model.Faultf(model.RulePortsNeedProtocol, "Must also specify protocol if port range is given.")
	}
	number := model.ProtocolNumber(m.Protocol, m.Ethertype)
	switch {
	case slices.Contains(portProtocols, number):
		if m.PortMin != nil && *m.PortMin == 0 || m.PortMax != nil && *m.PortMax == 0 {
			return model.Faultf(model.RuleInvalidPort, "Invalid value for port 0")
		}
		if m.PortMin == nil || m.PortMax == nil || *m.PortMin > *m.PortMax {
			return model.Faultf(model.RuleInvalidPortRange, "For TCP/UDP protocols, port_range_min must be <= port_range_max")
		}
	case number == "1" || number == "58":
		return checkICMP(m)
	default:
		return model.Faultf(model.RuleProtocolWithoutPorts,
			"Ports cannot be specified for protocol %s. Ports are only supported for %s.", number,
			strings.ToUpper("dccp, sctp, tcp, udp, udplite"))
	}
	return nil
}

func checkICMP(m *model.RuleMatch) error {
	invalid := func(field, attribute string, v int64) error {
		return model.Faultf(model.RuleInvalidICMP, "Invalid value for ICMP %s (%s) %s. It must be 0 to 255.",
			field, attribute, fmt.Sprint(v))
	}
	switch {
	case m.PortMin != nil && *m.PortMin > 255:
		return invalid("type", "port_range_min", *m.PortMin)
	case m.PortMax != nil && *m.PortMax > 255:
		return invalid("code", "port_range_max", *m.PortMax)
	case m.PortMin == nil:
		return model.Faultf(model.RuleICMPCodeAlone,
			"ICMP code (port-range-max) %d is provided but ICMP type (port-range-min) is missing.", *m.PortMax)
	}
	return nil
}
