package neutron

import (
	"iter"
	"math/big"
	"net/netip"
	"slices"
	"strings"

	"weft/internal/model"
	"weft/internal/store"
)

// availability is a row of /v2.0/network-ip-availabilities: how many addresses a network
// has to give and how many of them ports hold. It is not stored.
type availability struct {
	network *model.Network
	subnets []subnetUse
}

// subnetUse is one subnet of it. IPv6 subnets have more addresses than an integer counts.
type subnetUse struct {
	*model.Subnet
	used  int
	total *big.Int
}

// availabilities is the table of /v2.0/network-ip-availabilities.
func availabilities() *table[availability, struct{}] {
	id := func(a *availability) string { return string(a.network.ID) }
	project := func(a *availability) string { return string(a.network.Project) }
	return newTable(table[availability, struct{}]{
		kind: model.KindNetwork, singular: "network_ip_availability", plural: "network_ip_availabilities", path: "network-ip-availabilities",
		attributes: []attribute[availability, struct{}]{
			{name: "network_id", use: filter | order, kind: "UUID", text: id},
			{name: "network_name", use: filter, kind: "string", text: func(a *availability) string { return a.network.Name }},
			{name: "tenant_id", use: filter, kind: "project", text: project},
			{name: "total_ips", kind: "integer", wire: func(b []byte, a *availability, _ *aside) []byte {
				sum := new(big.Int)
				for _, s := range a.subnets {
					sum.Add(sum, s.total)
				}
				return sum.Append(b, 10)
			}},
			{name: "used_ips", kind: "integer", wire: func(b []byte, a *availability, _ *aside) []byte {
				sum := 0
				for _, s := range a.subnets {
					sum += s.used
				}
				return appendInt(b, int64(sum))
			}},
			{name: "subnet_ip_availability", kind: "list of {subnet_id, subnet_name, cidr, ip_version, used_ips, total_ips}",
				wire: func(b []byte, a *availability, _ *aside) []byte { return appendList(b, a.subnets, appendSubnetUse) }},
			// Which subnets count is decided when the rows are made.
			{name: "ip_version", use: filter, kind: "4 or 6", match: func(values []string) (predicate[availability], error) {
				_, err := versions(values)
				return func(a *availability, _ *aside) bool { return len(a.subnets) > 0 }, err
			}},
			{name: "project_id", use: filter, kind: "project", text: project},
		},
		owner: func(a *availability) model.ProjectID { return a.network.Project },
	})
}

func appendSubnetUse(b []byte, s subnetUse) []byte {
	b = append(b, `{"subnet_id":`...)
	b = appendString(b, string(s.ID))
	b = append(b, `,"subnet_name":`...)
	b = appendString(b, s.Name)
	b = append(b, `,"cidr":`...)
	b = appendText(b, s.CIDR)
	b = append(b, `,"ip_version":`...)
	b = appendInt(b, s.Version())
	b = append(b, `,"used_ips":`...)
	b = appendInt(b, int64(s.used))
	b = append(b, `,"total_ips":`...)
	return append(s.total.Append(b, 10), '}')
}

// versions reads the values of a filter for IP versions.
func versions(values []string) ([]int64, error) {
	var out []int64
	for _, v := range values {
		n, err := toInt(v)
		if err != nil {
			return nil, err
		}
		out = append(out, n)
	}
	return out, nil
}

// availabilityCollection counts; what it costs follows from the networks asked for.
func availabilityCollection() *collection[availability, struct{}] {
	return &collection[availability, struct{}]{
		table: availabilities(),
		id:    func(a *availability) string { return string(a.network.ID) },
		find: func(r store.Reader, id string) *store.Entry[availability] {
			if n := r.Network(model.NetworkID(id)); n != nil {
				return availabilityOf(r, n.Value, nil)
			}
			return nil
		},
		list: func(r store.Reader, q *query[availability, struct{}]) iter.Seq[*store.Entry[availability]] {
			wanted, _ := versions(q.filters["ip_version"]) // the filter itself reports what is wrong
			return func(yield func(*store.Entry[availability]) bool) {
				for n := range networksFor(r, q) {
					if !yield(availabilityOf(r, n.Value, wanted)) {
						return
					}
				}
			}
		},
		aliases: []string{"network-ip-availability"},
	}
}

// networksFor starts from the networks or projects that a query names, or from all.
func networksFor(r store.Reader, q *query[availability, struct{}]) iter.Seq[*store.Entry[model.Network]] {
	if ids, ok := q.wanted("network_id"); ok {
		return found(ids, func(id string) *store.Entry[model.Network] { return r.Network(model.NetworkID(id)) })
	}
	if ids, ok := q.wanted("project_id", "tenant_id"); ok {
		return each(ids, func(id string) iter.Seq[*store.Entry[model.Network]] { return r.NetworksOfProject(model.ProjectID(id)) })
	}
	return r.Networks()
}

// availabilityOf counts the addresses of a network on subnets of the IP versions wanted; nil is all.
func availabilityOf(r store.Reader, n *model.Network, wanted []int64) *store.Entry[availability] {
	a := &availability{network: n}
	for _, e := range r.SubnetsOf(n.ID) {
		if s := e.Value; len(wanted) == 0 || slices.Contains(wanted, s.Version()) {
			a.subnets = append(a.subnets, subnetUse{Subnet: s, used: r.AddressCountOf(s.ID), total: size(s)})
		}
	}
	slices.SortFunc(a.subnets, func(x, y subnetUse) int { return strings.Compare(string(x.ID), string(y.ID)) })
	return &store.Entry[availability]{Value: a}
}

// size is how many addresses the pools of a subnet have; without pools, as in Neutron, its prefix.
func size(s *model.Subnet) *big.Int {
	if len(s.Pools) == 0 {
		return new(big.Int).Lsh(big.NewInt(1), uint(s.CIDR.Addr().BitLen()-s.CIDR.Bits()))
	}
	sum := new(big.Int)
	for _, p := range s.Pools {
		sum.Add(sum, number(p.Last).Sub(number(p.Last), number(p.First)))
		sum.Add(sum, big.NewInt(1))
	}
	return sum
}

func number(a netip.Addr) *big.Int { return new(big.Int).SetBytes(a.AsSlice()) }
