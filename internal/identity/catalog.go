package identity

import (
	"crypto/sha256"
	"encoding/hex"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// service is an entry of the catalog. The catalog follows from the settings: nobody can
// change it through the API.
type service struct{ typ, name string }

var services = []service{
	{"identity", "keystone"},
	{"network", "neutron"},
}

var interfaces = []string{"public", "internal", "admin"}

// fixedID is the ID of something that has none stored, the same at each start.
func fixedID(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "/")))
	return hex.EncodeToString(sum[:16])
}

func (s service) id() string { return fixedID("service", s.typ) }

// url is where the service answers this client.
func (c *call) url(s service) string {
	if s.typ == "identity" {
		return c.base() + "/v3"
	}
	u, err := url.Parse(c.o.NetworkURL)
	if err != nil || u.Hostname() != "" {
		return c.o.NetworkURL
	}
	host := c.host()
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	u.Host = net.JoinHostPort(strings.Trim(host, "[]"), u.Port())
	return u.String()
}

func (c *call) endpoint(s service, on string) object {
	return object{"id": fixedID("endpoint", s.typ, on), "interface": on, "region": c.o.Region, "region_id": c.o.Region, "url": c.url(s)}
}

// catalog is the catalog as it is in a token.
func (c *call) catalog() []object {
	var out []object
	for _, s := range services {
		var endpoints []object
		for _, on := range interfaces {
			endpoints = append(endpoints, c.endpoint(s, on))
		}
		out = append(out, object{"id": s.id(), "type": s.typ, "name": s.name, "endpoints": endpoints})
	}
	return out
}

func (c *call) listedServices() []object {
	var out []object
	for _, s := range services {
		out = append(out, object{"id": s.id(), "type": s.typ, "name": s.name,
			"enabled": true, "links": c.link("services", s.id())})
	}
	return out
}

func (c *call) listedEndpoints() []object {
	var out []object
	for _, s := range services {
		for _, on := range interfaces {
			e := c.endpoint(s, on)
			e["service_id"], e["enabled"] = s.id(), true
			e["links"] = c.link("endpoints", fixedID("endpoint", s.typ, on))
			out = append(out, e)
		}
	}
	return out
}

func (c *call) listedRegions() []object {
	return []object{{"id": c.o.Region, "description": "", "parent_region_id": nil, "links": c.link("regions", c.o.Region)}}
}

// filtered keeps the objects whose attributes are as the query says.
func (c *call) filtered(list []object, attributes ...string) []object {
	return slices.DeleteFunc(list, func(o object) bool {
		for _, a := range attributes {
			if c.r.URL.Query().Has(a) && c.r.URL.Query().Get(a) != o[a] {
				return true
			}
		}
		return false
	})
}

// sendOne answers with the object of a list that the path names.
func (c *call) sendOne(noun string, list []object) error {
	id := c.r.PathValue("id")
	for _, o := range list {
		if o["id"] == id {
			return c.send(http.StatusOK, object{noun: o})
		}
	}
	return notFound(noun, id)
}

func (c *call) listServices() error {
	return c.sendList("services", c.filtered(c.listedServices(), "type", "name"))
}

func (c *call) listEndpoints() error {
	return c.sendList("endpoints", c.filtered(c.listedEndpoints(), "interface", "service_id", "region_id"))
}

func (c *call) listRegions() error  { return c.sendList("regions", c.listedRegions()) }
func (c *call) showService() error  { return c.sendOne("service", c.listedServices()) }
func (c *call) showEndpoint() error { return c.sendOne("endpoint", c.listedEndpoints()) }
func (c *call) showRegion() error   { return c.sendOne("region", c.listedRegions()) }

func (c *call) versionBody() object {
	return object{
		"id": "v3.14", "status": "stable", "updated": "2020-04-07T00:00:00Z",
		"links":       []object{{"rel": "self", "href": c.base() + "/v3/"}},
		"media-types": []object{{"base": "application/json", "type": "application/vnd.openstack.identity-v3+json"}},
	}
}

// versions answers GET /: that there are several choices, of which there is one.
func (c *call) versions() error {
	c.w.Header().Set("Location", c.base()+"/v3/")
	return c.send(http.StatusMultipleChoices, object{"versions": object{"values": []object{c.versionBody()}}})
}

func (c *call) version() error {
	return c.send(http.StatusOK, object{"version": c.versionBody()})
}
