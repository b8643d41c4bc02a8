package neutron

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"weft/internal/control"
	"weft/internal/model"
)

// maxProfile is the length of binding:profile as JSON that Neutron's database holds.
const maxProfile = 4095

// maxAddressPairs is Neutron's default max_allowed_address_pair.
const maxAddressPairs = 10

// blankDHCPOptions may have an empty value, which suppresses them.
var blankDHCPOptions = []string{"router", "classless-static-route"}

// takeMAC takes null as a wish for a new address.
func takeMAC(r *portRequest, name string, v any) error {
	if v == nil {
		r.MAC = control.Some(model.MAC{})
		return nil
	}
	m, reason := toMAC(v)
	if reason != "" {
		return invalidFor(name, reason)
	}
	r.MAC = control.Some(m)
	return nil
}

func takeDataPlane(r *portRequest, name string, v any) error {
	if v == nil {
		r.DataPlane = control.Some("")
		return nil
	}
	s, reason := oneOf(v, []string{string(model.PortActive), string(model.PortDown)})
	if reason != "" {
		return invalidFor(name, pyStr(v)+" is not in [None, 'ACTIVE', 'DOWN']")
	}
	r.DataPlane = control.Some(s)
	return nil
}

func takeFixedIPs(r *portRequest, name string, v any) error {
	ips, err := toFixedIPs(name, v)
	r.FixedIPs = control.Some(ips)
	return err
}

// toFixedIPs reads a list of subnets and addresses, each by one or both.
func toFixedIPs(name string, v any) ([]control.FixedIPRequest, error) {
	list, ok := v.([]any)
	if !ok {
		return nil, invalidFor(name, fmt.Sprintf("Invalid data format for fixed IP: '%s'", pyStr(v)))
	}
	out := make([]control.FixedIPRequest, 0, len(list))
	seen := map[netip.Addr]bool{}
	for _, e := range list {
		d, ok := e.(map[string]any)
		if !ok {
			return nil, invalidFor(name, fmt.Sprintf("Invalid data format for fixed IP: '%s'", pyStr(e)))
		}
		f, reason := toFixedIP(d)
		if reason == "" && f.Addr.IsValid() && seen[f.Addr] {
			reason = fmt.Sprintf("Duplicate IP address '%s'", f.Addr)
		}
		if reason != "" {
			return nil, invalidFor(name, reason)
		}
		if !f.Addr.IsValid() && f.SubnetID == "" {
			return nil, invalidInput("IP allocation requires subnet_id or ip_address")
		}
		seen[f.Addr] = true
		out = append(out, f)
	}
	return out, nil
}

func toFixedIP(d map[string]any) (f control.FixedIPRequest, reason string) {
	if v, has := d["ip_address"]; has {
		if f.Addr, reason = toAddr(v); reason != "" {
			return f, reason
		}
	}
	if v, has := d["subnet_id"]; has {
		id, reason := toUUID(v)
		if reason != "" {
			return f, reason
		}
		f.SubnetID = model.SubnetID(id)
	}
	return f, ""
}

// takeProfile makes the taker of a binding profile.
func takeProfile[R any](field func(*R) *control.Opt[map[string]any]) func(*R, string, any) error {
	return func(r *R, name string, v any) error {
		if v == nil {
			*field(r) = control.Some(map[string]any(nil))
			return nil
		}
		m, ok := v.(map[string]any)
		if !ok {
			return invalidFor(name, fmt.Sprintf("'%s' is not a dictionary", pyStr(v)))
		}
		text, err := json.Marshal(m)
		if err != nil || len(text) > maxProfile {
			return invalidInput("binding:profile value too large")
		}
		*field(r) = control.Some(m)
		return nil
	}
}

// takeDHCPOptions accepts entries of opt_name, opt_value (null removes) and ip_version.
func takeDHCPOptions(r *portRequest, _ string, v any) error {
	list, ok := v.([]any)
	if !ok && v != nil {
		return invalidInput("'%s' is not a list", pyStr(v))
	}
	out := make([]control.DHCPOptionRequest, 0, len(list))
	seen := make(map[string]bool, len(list))
	for _, e := range list {
		o, ok := toDHCPOption(e)
		if !ok {
			return invalidInput("No valid key specs matched for: %s", pyStr(e))
		}
		text := pyStr(e)
		if seen[text] {
			return invalidInput("Duplicate items in the list: '%s'", text)
		}
		seen[text] = true
		out = append(out, o)
	}
	r.DHCPOptions = control.Some(out)
	return nil
}

func toDHCPOption(v any) (o control.DHCPOptionRequest, ok bool) {
	d, ok := v.(map[string]any)
	if !ok {
		return o, false
	}
	for k, v := range d {
		switch k {
		case "opt_name", "opt_value", "ip_version":
		case "id":
			if _, reason := toUUID(v); reason != "" {
				return o, false
			}
		default:
			return o, false
		}
	}
	name, reason := toString(d["opt_name"], 64)
	if reason != "" || strings.TrimSpace(name) == "" {
		return o, false
	}
	o.Name, o.IPVersion = name, 4
	value, has := d["opt_value"]
	if !has {
		return o, false
	}
	o.Delete = value == nil
	if !o.Delete {
		if o.Value, reason = toString(value, 255); reason != "" {
			return o, false
		}
		if strings.TrimSpace(o.Value) == "" && !slices.Contains(blankDHCPOptions, name) {
			return o, false
		}
	}
	if v, has := d["ip_version"]; has {
		n, err := toInt(v)
		if err != nil || n != 4 && n != 6 {
			return o, false
		}
		o.IPVersion = int(n)
	}
	return o, true
}

func takeAddressPairs(r *portRequest, name string, v any) error {
	list, ok := v.([]any)
	if !ok && v != nil {
		return badRequest("Allowed address pairs must be a list.")
	}
	if len(list) > maxAddressPairs {
		return model.Faultf(model.AddressPairExhausted,
			"The number of allowed address pair exceeds the maximum %d.", maxAddressPairs)
	}
	out := make([]control.AddressPairRequest, 0, len(list))
	for _, e := range list {
		p, err := toAddressPair(name, e)
		if err != nil {
			return err
		}
		if slices.Contains(out, p) {
			mac := "None"
			if !p.MAC.IsZero() {
				mac = p.MAC.String()
			}
			return fault{Status: 400, Type: "DuplicateAddressPairInRequest", Message: fmt.Sprintf(
				"Request contains duplicate address pair: mac_address %s ip_address %s.", mac, pairText(p.Prefix))}
		}
		out = append(out, p)
	}
	r.AddressPairs = control.Some(out)
	return nil
}

func pairText(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}

func toAddressPair(name string, v any) (p control.AddressPairRequest, err error) {
	d, ok := v.(map[string]any)
	if !ok {
		return p, badRequest("Invalid input for %s. Reason: '%s' is not a valid address pair.", name, pyStr(v))
	}
	for k := range d {
		if k != "mac_address" && k != "ip_address" {
			return p, badRequest("Unrecognized attribute(s) '%s'", k)
		}
	}
	ip, has := d["ip_address"]
	if !has {
		return p, fault{Status: 400, Type: "AllowedAddressPairsMissingIP", Message: "AllowedAddressPair must contain ip_address"}
	}
	if m, has := d["mac_address"]; has && m != nil {
		var reason string
		if p.MAC, reason = toMAC(m); reason != "" {
			return p, invalidFor(name, reason)
		}
	}
	if a, reason := toAddr(ip); reason == "" {
		p.Prefix = netip.PrefixFrom(a, a.BitLen())
	} else if p.Prefix, reason = toSubnet(ip); reason != "" {
		return p, invalidFor(name, fmt.Sprintf("'%s' is not a valid IP subnet", pyStr(ip)))
	}
	return p, nil
}

func takeSecurityGroups(r *portRequest, name string, v any) error {
	list, ok := v.([]any)
	if !ok && v != nil {
		return invalidFor(name, fmt.Sprintf("'%s' is not a list", pyStr(v)))
	}
	ids := make([]string, 0, len(list))
	for _, e := range list {
		id, reason := toUUID(e)
		if reason != "" {
			return invalidFor(name, reason)
		}
		if slices.Contains(ids, id) {
			return invalidFor(name, fmt.Sprintf("Duplicate items in the list: '%s'", strings.Join(append(ids, id), ", ")))
		}
		ids = append(ids, id)
	}
	r.SecurityGroups = control.Some(ids)
	return nil
}

// matchGroups finds the ports that are in one of several security groups.
func matchGroups(values []string) (predicate[model.Port], error) {
	return func(p *model.Port, _ *aside) bool {
		return slices.ContainsFunc(values, func(id string) bool { return slices.Contains(p.SecurityGroups, id) })
	}, nil
}

// matchMAC compares addresses, so that any notation finds the port.
func matchMAC(values []string) (predicate[model.Port], error) {
	var wanted []model.MAC
	for _, v := range values {
		if m, err := model.ParseMAC(v); err == nil {
			wanted = append(wanted, m)
		}
	}
	return func(p *model.Port, _ *aside) bool { return slices.Contains(wanted, p.MAC) }, nil
}

// matchFixedIPs reads ip_address=.., subnet_id=.. and ip_address_substr=..: values of one
// key are alternatives, different keys must all hold.
func matchFixedIPs(values []string) (predicate[model.Port], error) {
	byKey := make(map[string][]string)
	for _, v := range values {
		key, value, ok := strings.Cut(v, "=")
		key = strings.TrimSpace(key)
		if !ok || key == "" {
			return nil, invalidInput("'%s' is not of the form <key>=[value]", v)
		}
		byKey[key] = append(byKey[key], strings.TrimSpace(value))
	}
	some := func(p *model.Port, key string, holds func(f model.FixedIP, want string) bool) bool {
		wanted, has := byKey[key]
		return !has || slices.ContainsFunc(p.FixedIPs, func(f model.FixedIP) bool {
			return slices.ContainsFunc(wanted, func(w string) bool { return holds(f, w) })
		})
	}
	return func(p *model.Port, _ *aside) bool {
		return some(p, "subnet_id", func(f model.FixedIP, w string) bool { return string(f.SubnetID) == w }) &&
			some(p, "ip_address", func(f model.FixedIP, w string) bool {
				a, err := netip.ParseAddr(w)
				return err == nil && a == f.Addr
			}) &&
			some(p, "ip_address_substr", func(f model.FixedIP, w string) bool { return strings.Contains(f.Addr.String(), w) })
	}, nil
}
