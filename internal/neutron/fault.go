package neutron

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"weft/internal/model"
)

// fault is an answer that is not a success: what Neutron names it, its text, and the status.
type fault struct {
	Status  int
	Type    string
	Message string
	// Detail is for people: numbers that Neutron does not give. Mostly empty, as Neutron's is.
	Detail string
}

func (f fault) Error() string { return f.Type + ": " + f.Message }

// badRequest is a body or query that breaks the rules of an attribute table.
func badRequest(format string, args ...any) fault {
	return fault{Status: http.StatusBadRequest, Type: "HTTPBadRequest", Message: fmt.Sprintf(format, args...)}
}

// invalidFor is a value that its attribute's check refused.
func invalidFor(attribute, reason string) fault {
	return badRequest("Invalid input for %s. Reason: %s.", attribute, reason)
}

// invalidInput is a value that could not even be converted.
func invalidInput(format string, args ...any) fault {
	return fault{Status: http.StatusBadRequest, Type: "InvalidInput",
		Message: "Invalid input for operation: " + fmt.Sprintf(format, args...) + "."}
}

// badResource is a combination of attributes that Neutron answers with its BadRequest.
func badResource(resource, message string) fault {
	return fault{Status: http.StatusBadRequest, Type: "BadRequest",
		Message: fmt.Sprintf("Bad %s request: %s.", resource, message)}
}

// The faults without parameters.
var (
	faultNoRoute   = fault{Status: http.StatusNotFound, Type: "HTTPNotFound", Message: "The resource could not be found."}
	faultMethod    = fault{Status: http.StatusMethodNotAllowed, Type: "HTTPMethodNotAllowed", Message: "The server could not comply with the request since it is either malformed or otherwise incorrect."}
	faultMalformed = fault{Status: http.StatusBadRequest, Type: "MalformedRequestBody", Message: "Malformed request body: Cannot understand JSON."}
	faultTooLarge  = fault{Status: http.StatusRequestEntityTooLarge, Type: "HTTPRequestEntityTooLarge", Message: "Request is too large."}
	faultInternal  = fault{Status: http.StatusInternalServerError, Type: "HTTPInternalServerError", Message: "Request Failed: internal server error while processing your request."}
	faultNoService = fault{Status: http.StatusServiceUnavailable, Type: "ServiceUnavailable", Message: "The service is unavailable."}
	faultTwoOwners = fault{Status: http.StatusBadRequest, Type: "TenantIdProjectIdFilterConflict", Message: "Both tenant_id and project_id passed as filters."}
)

// wireName is how Neutron calls a kind of fault, and the status it answers with.
type wireName struct {
	Status int
	Type   string
}

// wireNames has a row for every model.FaultKind; a test holds it to that.
var wireNames = map[model.FaultKind]wireName{
	model.InvalidInput:             {400, "InvalidInput"},
	model.InvalidIPForSubnet:       {400, "InvalidIpForSubnet"},
	model.InvalidIPForNetwork:      {400, "InvalidIpForNetwork"},
	model.InvalidAllocationPool:    {400, "InvalidAllocationPool"},
	model.OutOfBoundsPool:          {400, "OutOfBoundsAllocationPool"},
	model.OverlappingPools:         {409, "OverlappingAllocationPools"},
	model.GatewayConflictsPool:     {409, "GatewayConflictWithAllocationPools"},
	model.GatewayInUse:             {409, "GatewayIpInUse"},
	model.NameserversExhausted:     {400, "DNSNameServersExhausted"},
	model.HostRoutesExhausted:      {400, "HostRoutesExhausted"},
	model.IPAlreadyAllocated:       {409, "IpAddressAlreadyAllocated"},
	model.IPInUse:                  {409, "IpAddressInUse"},
	model.IPExhausted:              {409, "IpAddressGenerationFailure"},
	model.MACInUse:                 {409, "MacAddressInUse"},
	model.MACExhausted:             {503, "NetworkMacAddressGenerationFailure"},
	model.NetworkInUse:             {409, "NetworkInUse"},
	model.SubnetInUse:              {409, "SubnetInUse"},
	model.RouterInUse:              {409, "RouterInUse"},
	model.InterfaceNotFound:        {404, "RouterInterfaceNotFound"},
	model.InterfaceNotOnSubnet:     {404, "RouterInterfaceNotFoundForSubnet"},
	model.InterfaceInUseByFIP:      {409, "RouterInterfaceInUseByFloatingIP"},
	model.InterfaceInUseByRoute:    {409, "RouterInterfaceInUseByRoute"},
	model.GatewayInUseByFloatingIP: {409, "RouterExternalGatewayInUseByFloatingIp"},
	model.SubnetMismatch:           {400, "SubnetMismatchForPort"},
	model.InvalidRoutes:            {400, "InvalidRoutes"},
	model.RoutesExhausted:          {400, "RoutesExhausted"},
	model.IPChangeNotAllowed:       {400, "IPAddressChangeNotAllowed"},
	model.DeviceOwnerUnsupported:   {409, "UnsupportedPortDeviceOwner"},
	model.NoGatewayForFloatingIP:   {404, "ExternalGatewayForFloatingIPNotFound"},
	model.FloatingIPPortAssociated: {409, "FloatingIPPortAlreadyAssociated"},
	model.FloatingIPAssociated:     {409, "FipAssociated"},
	model.FloatingIPForwards:       {409, "FipInUseByPortForwarding"},
	model.ExternalIPExhausted:      {400, "ExternalIpAddressExhausted"},
	model.PortHasFloatingIP:        {409, "PortHasBindingFloatingIP"},
	model.ServicePortInUse:         {409, "ServicePortInUse"},
	model.PortInUse:                {409, "PortInUse"},
	model.PortBound:                {409, "PortBound"},
	model.VLANInUse:                {409, "VlanIdInUse"},
	model.TunnelInUse:              {409, "TunnelIdInUse"},
	model.FlatInUse:                {409, "FlatNetworkInUse"},
	model.NoNetworkAvailable:       {503, "NoNetworkAvailable"},
	model.AddressOnAutoSubnet:      {400, "AllocationOnAutoAddressSubnet"},
	model.NoServiceSubnet:          {409, "IpAddressGenerationFailureNoMatchingSubnet"},
	model.MTUTooSmall:              {409, "NetworkMTUSubnetConflict"},
	model.BadRequest:               {400, "BadRequest"},
	model.PoolEmpty:                {400, "EmptySubnetPoolPrefixList"},
	model.PoolFamiliesMixed:        {400, "PrefixVersionMismatch"},
	model.PoolBounds:               {400, "IllegalSubnetPoolPrefixBounds"},
	model.PoolPrefixUpdate:         {400, "IllegalSubnetPoolPrefixUpdate"},
	model.PoolUpdate:               {400, "IllegalSubnetPoolUpdate"},
	model.PoolDelete:               {400, "SubnetPoolDeleteError"},
	model.PoolExhausted:            {409, "SubnetAllocationError"},
	model.PoolPrefixTooLong:        {400, "MaxPrefixSubnetAllocationError"},
	model.PoolPrefixTooShort:       {400, "MinPrefixSubnetAllocationError"},
	model.PoolQuota:                {409, "SubnetPoolQuotaExceeded"},
	model.PoolAffinity:             {400, "NetworkSubnetPoolAffinityError"},
	model.ScopeAffinity:            {400, "NetworkAddressScopeAffinityError"},
	model.ScopeFamily:              {400, "IllegalSubnetPoolIpVersionAssociationToAddressScope"},
	model.ScopeOverlap:             {409, "AddressScopePrefixConflict"},
	model.ScopeUpdate:              {400, "AddressScopeUpdateError"},
	model.ScopeInUse:               {409, "AddressScopeInUse"},
	model.NotAuthorized:            {403, "NotAuthorized"},
	model.RevisionConflict:         {412, "HTTPPreconditionFailed"},
	model.AddressPairExhausted:     {400, "AllowedAddressPairExhausted"},
	model.AddressPairNeedsSecurity: {409, "AddressPairAndPortSecurityRequired"},
	model.InvalidQuota:             {409, "InvalidQuotaValue"},
	model.OverQuota:                {409, "OverQuota"},
	model.TrunkPortInUse:           {409, "TrunkPortInUse"},
	model.ParentPortInUse:          {409, "ParentPortInUse"},
	model.TrunkInUse:               {409, "TrunkInUse"},
	model.TrunkDisabled:            {409, "TrunkDisabled"},
	model.DuplicateSubPort:         {409, "DuplicateSubPort"},
	model.SubPortNotFound:          {404, "SubPortNotFound"},
	model.SubPortMTU:               {409, "SubPortMtuGreaterThanTrunkPortMtu"},
	model.PortInUseAsSubPort:       {409, "PortInUseAsSubPort"},
	model.PortInUseAsParent:        {409, "PortInUseAsTrunkParent"},
	model.BadPortRequest:           {400, "BadRequest"},
	model.PortBindingExists:        {409, "PortBindingAlreadyExists"},
	model.PortBindingActive:        {409, "PortBindingAlreadyActive"},
	model.PortBindingMissing:       {404, "PortBindingNotFound"},
	model.PortBindingImpossible:    {500, "PortBindingError"},
	model.DuplicateRBACPolicy:      {409, "DuplicateRbacPolicy"},
	model.RBACPolicyInUse:          {409, "RbacPolicyInUse"},
	model.InvalidSharedSetting:     {409, "InvalidSharedSetting"},
	model.ExternalNetworkInUse:     {409, "ExternalNetworkInUse"},
	model.DefaultExternalExists:    {409, "DefaultExternalNetworkExists"},
	model.DeviceNotOwned:           {409, "DeviceIDNotOwnedByTenant"},
	model.InvalidDHCPAgent:         {404, "InvalidDHCPAgent"},
	model.DHCPHosted:               {409, "NetworkHostedByDHCPAgent"},
	model.DHCPNotHosted:            {409, "NetworkNotHostedByDhcpAgent"},
	model.AgentAlive:               {409, "InUse"},
	model.SegmentsAndProvider:      {400, "SegmentsSetInConjunctionWithProviders"},
	model.DuplicateSegment:         {400, "SegmentsContainDuplicateEntry"},
	model.SegmentInUse:             {409, "SegmentInUse"},
	model.SegmentElsewhere:         {400, "NetworkIdsDontMatch"},
	model.SegmentNotOfAll:          {400, "SubnetsNotAllAssociatedWithSegments"},
	model.SegmentChange:            {400, "SubnetSegmentAssociationChangeNotAllowed"},
	model.SegmentsSeveral:          {400, "NoUpdateSubnetWhenMultipleSegmentsOnNetwork"},
	model.QoSPolicyInUse:           {409, "QosPolicyInUse"},
	model.QoSDefaultExists:         {409, "QoSPolicyDefaultAlreadyExists"},
	model.QoSPolicyFixed:           {403, "PolicyRemoveAuthorizationError"},
	model.QoSRuleNotFound:          {404, "QosRuleNotFound"},
	model.QoSRulesConflict:         {409, "QoSRulesConflict"},
	model.QoSRuleParameterConflict: {409, "QoSRuleParameterConflict"},
	model.AutoAllocationFailure:    {409, "AutoAllocationFailure"},
	model.Unavailable:              {503, "ServiceUnavailable"},
	model.GroupInUse:               {409, "SecurityGroupInUse"},
	model.GroupNoRemoveDefault:     {409, "SecurityGroupCannotRemoveDefault"},
	model.GroupNoRenameDefault:     {409, "SecurityGroupCannotUpdateDefault"},
	model.GroupConflict:            {409, "SecurityGroupConflict"},
	model.RuleExists:               {409, "SecurityGroupRuleExists"},
	model.RuleTwiceInRequest:       {409, "DuplicateSecurityGroupRuleInPost"},
	model.RulesOfSeveralGroups:     {400, "SecurityGroupNotSingleGroupRules"},
	model.RulesOfSeveralProjects:   {400, "SecurityGroupRulesNotSingleProject"},
	model.RuleInvalidPort:          {400, "SecurityGroupInvalidPortValue"},
	model.RuleInvalidPortRange:     {400, "SecurityGroupInvalidPortRange"},
	model.RuleInvalidICMP:          {400, "SecurityGroupInvalidIcmpValue"},
	model.RuleICMPCodeAlone:        {400, "SecurityGroupMissingIcmpType"},
	model.RulePortsNeedProtocol:    {400, "SecurityGroupProtocolRequiredWithPorts"},
	model.RuleProtocolWithoutPorts: {400, "SecurityGroupInvalidProtocolForPort"},
	model.RuleEthertypeProtocol:    {400, "SecurityGroupEthertypeConflictWithProtocol"},
	model.RuleEthertypePrefix:      {400, "SecurityGroupRuleParameterConflict"},
	model.RuleSeveralRemotes:       {400, "SecurityGroupMultipleRemoteEntites"},
	model.TemplateExists:           {409, "DefaultSecurityGroupRuleExists"},
	model.TemplateTwiceInRequest:   {409, "DuplicateDefaultSgRuleInPost"},
	model.AddressGroupInUse:        {409, "AddressGroupInUse"},
	model.AddressesExist:           {400, "AddressesAlreadyExist"},
	model.AddressesMissing:         {404, "AddressesNotFound"},
	model.GroupsNeedPortSecurity:   {400, "PortSecurityAndIPRequiredForSecurityGroups"},
	model.PortHasGroups:            {409, "PortSecurityPortHasSecurityGroup"},
}

// notFoundNames says how Neutron calls a missing object of each kind.
var notFoundNames = map[model.Kind]struct{ Type, Format string }{
	model.KindNetwork:        {"NetworkNotFound", "Network %s could not be found."},
	model.KindSubnet:         {"SubnetNotFound", "Subnet %s could not be found."},
	model.KindPort:           {"PortNotFound", "Port %s could not be found."},
	model.KindRouter:         {"RouterNotFound", "Router %s could not be found"},
	model.KindFloatingIP:     {"FloatingIPNotFound", "Floating IP %s could not be found"},
	model.KindPortForwarding: {"PortForwardingNotFound", "Port Forwarding %s could not be found."},

	model.KindAgent:   {"AgentNotFound", "Agent %s could not be found."},
	model.KindHost:    {"AgentNotFound", "Agent %s could not be found."},
	model.KindQuota:   {"TenantQuotaNotFound", "Quota for project %s could not be found."},
	model.KindRBAC:    {"RbacPolicyNotFound", "RBAC policy of type unknown with ID %s not found"},
	model.KindSegment: {"SegmentNotFound", "Segment %s could not be found."},
	model.KindQoS:     {"QosPolicyNotFound", "QoS policy %s could not be found."},
	model.KindTrunk:   {"TrunkNotFound", "Trunk %s could not be found."},
	kindTag:           {"TagNotFound", "Tag %s could not be found."},
	kindZone:          {"AvailabilityZoneNotFound", "AvailabilityZone %s could not be found."},

	model.KindSecurityGroup:     {"SecurityGroupNotFound", "Security group %s does not exist"},
	model.KindSecurityGroupRule: {"SecurityGroupRuleNotFound", "Security group rule %s does not exist"},
	model.KindRuleTemplate:      {"DefaultSecurityGroupRuleNotFound", "Default Security Group rule %s does not exist"},
	model.KindAddressGroup:      {"AddressGroupNotFound", "Address group %s could not be found."},
	model.KindSubnetPool:        {"SubnetPoolNotFound", "Subnet pool %s could not be found."},
	model.KindAddressScope:      {"AddressScopeNotFound", "Address scope %s could not be found."},
}

// Kinds that this package can only say are missing.
const (
	kindTag  model.Kind = "tag"
	kindZone model.Kind = "availability_zone"
)

// faultOf says what to answer for an error. It is the only place where kinds of error
// meet Neutron's names and statuses. What it does not know becomes a 500 that tells the
// client nothing; ok is then false, and the caller must report the error.
func faultOf(err error) (f fault, ok bool) {
	var (
		own      fault
		broken   model.Fault
		missing  model.NotFound
		tooLarge *http.MaxBytesError
	)
	switch {
	case errors.As(err, &own):
		return own, true
	case errors.As(err, &missing):
		if n, known := notFoundNames[missing.Kind]; known {
			return fault{Status: http.StatusNotFound, Type: n.Type, Message: fmt.Sprintf(n.Format, missing.ID)}, true
		}
	case errors.As(err, &broken):
		if n, known := wireNames[broken.Kind]; known {
			return fault{Status: n.Status, Type: n.Type, Message: broken.Message, Detail: broken.Detail}, true
		}
	case errors.As(err, &tooLarge):
		return faultTooLarge, true
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return faultNoService, true
	}
	return faultInternal, false
}
