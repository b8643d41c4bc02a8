package model

// QoSPolicy is a set of limits and guarantees that networks and ports can be put under.
// It is kept and shown; no host enforces it yet.
type QoSPolicy struct {
	ID      string    `json:"id"`
	Project ProjectID `json:"project"`
	Name    string    `json:"name,omitempty"`
	Shared  bool      `json:"shared,omitempty"`
	// IsDefault makes it the policy of new networks of its project that name none.
	IsDefault bool `json:"is_default,omitempty"`
	// Rules are few: one of each type and direction.
	Rules []QoSRule `json:"rules,omitempty"`
	Meta
}

// QoSRule is one limit or guarantee of a policy.
type QoSRule struct {
	ID string `json:"id"`
	// Type is the name of a QoSRuleType, which says what the numbers are.
	Type      string `json:"type"`
	Value     int64  `json:"value"`
	Burst     int64  `json:"burst,omitempty"`
	Direction string `json:"direction,omitempty"`
}

// Rule returns the policy's rule of a type with this ID, nil if there is none.
func (p *QoSPolicy) Rule(ruleType, id string) *QoSRule {
	for i := range p.Rules {
		if r := &p.Rules[i]; r.ID == id && r.Type == ruleType {
			return r
		}
	}
	return nil
}

// The types of rule with a meaning of their own.
const (
	QoSBandwidthLimit    = "bandwidth_limit"
	QoSMinimumBandwidth  = "minimum_bandwidth"
	QoSMinimumPacketRate = "minimum_packet_rate"
)

// Directions of rules, as seen from the port. Any is for both together.
const (
	QoSIngress = "ingress"
	QoSEgress  = "egress"
	QoSAny     = "any"
)

// QoSRuleType says how Neutron calls the numbers of a type of rule and which directions it has.
type QoSRuleType struct {
	Name, Value string
	// Burst is empty for types without one, Directions for those that go in all directions.
	Burst      string
	Directions []string
}

// QoSRuleTypes are the types of rule, in the order of lists.
var QoSRuleTypes = []QoSRuleType{
	{Name: QoSBandwidthLimit, Value: "max_kbps", Burst: "max_burst_kbps", Directions: []string{QoSIngress, QoSEgress}},
	{Name: "packet_rate_limit", Value: "max_kpps", Burst: "max_burst_kpps", Directions: []string{QoSIngress, QoSEgress}},
	{Name: "dscp_marking", Value: "dscp_mark"},
	{Name: QoSMinimumBandwidth, Value: "min_kbps", Directions: []string{QoSIngress, QoSEgress}},
	{Name: QoSMinimumPacketRate, Value: "min_kpps", Directions: []string{QoSAny, QoSIngress, QoSEgress}},
}

// MaxQoSValue is the largest number in a rule.
const MaxQoSValue = 1<<31 - 1

// DSCPMarks are the code points that a rule may mark packets with.
var DSCPMarks = []int64{0, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30, 32, 34, 36, 38, 40, 44, 46, 48, 56}
