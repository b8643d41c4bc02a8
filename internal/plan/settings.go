package plan

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"weft/internal/plan/dhcp"
	"weft/internal/plan/pipeline"
)

// Settings are what the operator of a host decides about its plan.
type Settings struct {
	// IntegrationBridge is the name of the bridge to which VIFs are plugged: br-int.
	IntegrationBridge string
	// TunnelBridge is the name of the bridge that leads to other hosts: br-tun. Empty means
	// that there are no tunnels: vxlan networks end at this host.
	TunnelBridge string
	// VTEP is the address of this host that tunnels end at; without one there are none.
	VTEP netip.Addr
	// DatapathType of every bridge: "system" (the kernel's), "netdev" (userspace) or
	// "dummy" (tests).
	DatapathType string
	// Controller is the OpenFlow target that the bridges connect to: tcp:127.0.0.1:6633.
	Controller string
	// Manager is an OVSDB target to add for others, such as ptcp:6640:127.0.0.1. Empty
	// leaves the managers alone.
	Manager string
	// BridgeMappings maps the name of a physical network to the bridge that leads to it.
	// Networks of type flat and vlan on other physical networks end at this host.
	BridgeMappings map[string]string
	// CookieOwner is the first 16 bits of the cookie of every flow: whose cookie begins
	// otherwise is not weft's. Not 0, which is everyone's.
	CookieOwner uint16
	// Domain is the DNS domain told by DHCP, without a trailing dot: openstacklocal. Empty
	// tells none.
	Domain string
	// LeaseTime is how long a DHCP lease lasts, in seconds.
	LeaseTime uint32
}

// Defaults are the settings of a host about which nothing was said; they are Neutron's.
func Defaults() Settings {
	return Settings{
		IntegrationBridge: "br-int",
		TunnelBridge:      "br-tun",
		DatapathType:      "system",
		Controller:        "tcp:127.0.0.1:6633",
		CookieOwner:       0x3ef7,
		Domain:            "openstacklocal",
		LeaseTime:         86400,
	}
}

// maxBridge is the longest name of a bridge: it is a network interface too.
const maxBridge = 15

// Validate says everything that is wrong with s; nil if nothing is.
func (s Settings) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	bridge := func(field, name string) {
		if name == "" || len(name) > maxBridge || strings.ContainsAny(name, "/ \t\n") || name == "." || name == ".." {
			bad("%s: %q is no name for a bridge (1 to %d characters, no slash or space)", field, name, maxBridge)
		}
	}
	used := map[string]string{}
	once := func(field, name string) {
		if other, taken := used[name]; taken {
			bad("%s: bridge %q is the %s already", field, name, other)
		}
		used[name] = field
	}
	bridge("integration bridge", s.IntegrationBridge)
	once("integration bridge", s.IntegrationBridge)
	if s.TunnelBridge != "" {
		bridge("tunnel bridge", s.TunnelBridge)
		once("tunnel bridge", s.TunnelBridge)
	}
	for _, physical := range slices.Sorted(maps.Keys(s.BridgeMappings)) {
		field := fmt.Sprintf("bridge of physical network %q", physical)
		if physical == "" {
			bad("a bridge mapping has no physical network")
		}
		bridge(field, s.BridgeMappings[physical])
		once(field, s.BridgeMappings[physical])
	}
	if !slices.Contains([]string{"system", "netdev", "dummy"}, s.DatapathType) {
		bad("datapath type: %q is not system, netdev or dummy", s.DatapathType)
	}
	if s.CookieOwner == 0 {
		bad("cookie owner: 0 marks the flows of everyone")
	}
	if s.LeaseTime < 60 {
		bad("lease time: %d s is less than a minute", s.LeaseTime)
	}
	return errors.Join(errs...)
}

func (s Settings) pipeline() pipeline.Settings {
	return pipeline.Settings{
		IntegrationBridge: s.IntegrationBridge, TunnelBridge: s.TunnelBridge, VTEP: s.VTEP, DatapathType: s.DatapathType,
		Controller: s.Controller, Manager: s.Manager, BridgeMappings: s.BridgeMappings, CookieOwner: s.CookieOwner,
	}
}

func (s Settings) dhcp() dhcp.Settings {
	return dhcp.Settings{Domain: s.Domain, LeaseTime: s.LeaseTime}
}
