package neutron

import (
	"fmt"
	"regexp"
	"strings"

	"weft/internal/control"
	"weft/internal/model"
)

// maxFQDN is the length of a domain name as Neutron counts it.
const maxFQDN = 255

// dnsLabel also allows the keywords for which the caller's names are put in where names
// are published.
var (
	dnsLabel  = regexp.MustCompile(`^([a-z0-9-]{1,63}|<project_id>|<project_name>|<user_name>|<user_id>)$`)
	allDigits = regexp.MustCompile(`^[0-9]+$`)
)

// dnsAttributes are the names of a port: the one asked for, the domain under which a DNS
// service would publish it, and the name that each address has. No such service is fed.
func dnsAttributes() []portAttribute {
	return []portAttribute{
		{name: "dns_name", def: "", use: post | put, kind: "DNS name",
			take: takeDNS(func(r *portRequest) *control.Opt[string] { return &r.DNSName }, dnsNameReason),
			text: func(p *model.Port) string { return p.DNSName }},
		{name: "dns_assignment", kind: "list of {hostname, ip_address, fqdn}", wire: appendAssignments},
		{name: "dns_domain", def: "", use: post | put, kind: "DNS name with a final dot",
			take: takeDNS(func(r *portRequest) *control.Opt[string] { return &r.DNSDomain }, dnsDomainReason),
			text: func(p *model.Port) string { return p.DNSDomain }},
	}
}

// takeDNS takes a name in lower case.
func takeDNS[R any](field func(*R) *control.Opt[string], check func(string) string) func(*R, string, any) error {
	return func(r *R, name string, v any) error {
		s, ok := v.(string)
		if !ok {
			return invalidInput("Input value %s must be string type", pyStr(v))
		}
		s = strings.ToLower(s)
		if reason := check(s); reason != "" {
			return invalidFor(name, reason)
		}
		*field(r) = control.Some(s)
		return nil
	}
}

// dnsNameReason says what is wrong with a name that may be relative, or "" (RFC 1123 section 2.1).
func dnsNameReason(s string) string {
	if s == "" {
		return ""
	}
	reason := ""
	trimmed := strings.TrimSuffix(s, ".")
	labels := strings.Split(trimmed, ".")
	if len(trimmed) > maxFQDN {
		reason = fmt.Sprintf("'%s' exceeds the %d character FQDN limit", trimmed, maxFQDN)
	}
	for _, label := range labels {
		switch {
		case reason != "":
		case label == "":
			reason = "Encountered an empty component"
		case strings.HasPrefix(label, "-") || strings.HasSuffix(label, "-"):
			reason = fmt.Sprintf("Name '%s' must not start or end with a hyphen", label)
		case !dnsLabel.MatchString(label):
			reason = fmt.Sprintf("Name '%s' must be 1-63 characters long, each of which can only be alphanumeric or a hyphen", label)
		}
	}
	if last := labels[len(labels)-1]; reason == "" && len(labels) > 1 && allDigits.MatchString(last) {
		reason = fmt.Sprintf("TLD '%s' must not be all numeric", last)
	}
	if reason == "" {
		return ""
	}
	return fmt.Sprintf("'%s' not a valid PQDN or FQDN. Reason: %s", s, reason)
}

// dnsDomainReason says what is wrong with a domain, which ends with a dot, or "".
func dnsDomainReason(s string) string {
	switch {
	case s == "":
		return ""
	case !strings.HasSuffix(s, "."):
		return fmt.Sprintf("'%s' is not a FQDN", s)
	}
	if reason := dnsNameReason(s); reason != "" {
		return reason
	}
	if len(s) > maxFQDN-2 {
		return fmt.Sprintf("'%s' contains %d characters. Adding a sub-domain will cause it to exceed the maximum length of a FQDN of '%d'",
			s, len(s), maxFQDN)
	}
	return ""
}

// checkDNSName judges a port's name against the domain of the cloud: that of a name with a
// final dot is this one, and any other name still fits in front of it.
func checkDNSName(c *control.Control) func(r *portRequest, given map[string]any, created bool) error {
	return func(r *portRequest, _ map[string]any, _ bool) error {
		name, domain := r.DNSName.Value, dotted(c.Config().DNSDomain)
		if name == "" || !c.NamesPorts() {
			return nil
		}
		switch fits := len(name)+len(domain)+1 <= maxFQDN; {
		case !strings.HasSuffix(name, ".") && !fits:
			return invalidFor("dns_name", fmt.Sprintf("The dns_name passed is a PQDN and its size is '%d'. The dns_domain option in neutron.conf "+
				"is set to %s, with a length of '%d'. When the two are concatenated to form a FQDN (with a '.' at the end), "+
				"the resulting length exceeds the maximum size of '%d'", len(name), c.Config().DNSDomain, len(domain)+1, maxFQDN))
		case strings.HasSuffix(name, ".") && !strings.HasSuffix(name, "."+domain):
			return invalidFor("dns_name", fmt.Sprintf("The dns_name passed is a FQDN. Its higher level labels must be equal to the dns_domain "+
				"option in neutron.conf, that has been set to '%[1]s'. It must also include one or more valid DNS labels to the left of '%[1]s'",
				c.Config().DNSDomain))
		}
		return nil
	}
}

// dotted is a domain with a final dot; none stays none.
func dotted(domain string) string {
	if domain == "" || strings.HasSuffix(domain, ".") {
		return domain
	}
	return domain + "."
}

// appendAssignments writes the name of each address.
func appendAssignments(b []byte, p *model.Port, x *aside) []byte {
	return appendList(b, p.FixedIPs, func(b []byte, f model.FixedIP) []byte {
		host := p.DNSName
		if host == "" {
			host = "host-" + strings.NewReplacer(".", "-", ":", "-").Replace(f.Addr.String())
		}
		full := host
		if domain := dotted(x.domain); domain != "" && !strings.HasSuffix(host, ".") {
			full += "." + domain
		}
		b = append(b, `{"ip_address":`...)
		b = appendText(b, f.Addr)
		b = append(b, `,"hostname":`...)
		b = appendString(b, host)
		b = append(b, `,"fqdn":`...)
		b = appendString(b, full)
		return append(b, '}')
	})
}
