package admin

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"

	"weft/internal/doctor"
	"weft/internal/model"
	"weft/internal/trace"
)

// GCPath is where what is left over on hosts is listed and removed.
const GCPath = "/weft/v1/gc"

// Garbage is what is left over on hosts, by name.
type Garbage struct {
	Hosts []HostGarbage `json:"hosts"`
}

// HostGarbage is what is left over on a host.
type HostGarbage struct {
	Name model.HostName `json:"name"`
	// Silence says why the host did not answer.
	Silence   string            `json:"silence,omitempty"`
	Leftovers []doctor.Leftover `json:"leftovers"`
	// Removals say what became of those that were to be removed; only in the answer to that.
	Removals []doctor.Removal `json:"removals,omitempty"`
}

func (h handler) listGarbage(r *http.Request) (any, error) {
	return h.garbage(r.Context(), r.URL.Query()["host"])
}

func (h handler) garbage(ctx context.Context, names []string) (Garbage, error) {
	infos, err := h.infos(ctx, names)
	if err != nil {
		return Garbage{}, err
	}
	hosts := h.askHosts(ctx, infos)
	if err := h.sift(ctx, hosts); err != nil {
		return Garbage{}, model.Faultf(model.Unavailable, "The store does not say what there is, so nothing can be told to be left over: %v.", err)
	}
	g := Garbage{Hosts: []HostGarbage{}}
	for _, o := range hosts {
		one := HostGarbage{Name: o.Name, Silence: o.Silence, Leftovers: o.Leftovers}
		if one.Leftovers == nil {
			one.Leftovers = []doctor.Leftover{}
		}
		g.Hosts = append(g.Hosts, one)
	}
	return g, nil
}

// removeGarbage removes, of what is asked for, that which is still left over: hosts and store are looked at anew.
func (h handler) removeGarbage(r *http.Request) (any, error) {
	var asked Garbage
	if err := read(r, &asked); err != nil {
		return nil, err
	}
	var names []string
	for _, o := range asked.Hosts {
		names = append(names, string(o.Name))
	}
	if len(names) == 0 {
		return Garbage{Hosts: []HostGarbage{}}, nil
	}
	now, err := h.garbage(r.Context(), names)
	if err != nil {
		return nil, err
	}
	for i := range now.Hosts {
		o := &now.Hosts[i]
		var list []doctor.Leftover
		for _, l := range asked.Hosts[i].Leftovers {
			at := slices.IndexFunc(o.Leftovers, l.Same)
			switch {
			case o.Silence != "":
				o.Removals = append(o.Removals, doctor.Removal{Leftover: l, Error: "the host does not answer: " + o.Silence})
			case at < 0:
				o.Removals = append(o.Removals, doctor.Removal{Leftover: l, Error: "it is not there any more, or belongs to something now"})
			default:
				list = append(list, o.Leftovers[at])
			}
		}
		o.Removals = append(o.Removals, h.remove(r.Context(), o.Name, list)...)
		o.Leftovers = []doctor.Leftover{}
	}
	return now, nil
}

// remove has a host take things away.
func (h handler) remove(ctx context.Context, host model.HostName, list []doctor.Leftover) (out []doctor.Removal) {
	if len(list) == 0 {
		return nil
	}
	asked, err := json.Marshal(list)
	var query, body []byte
	if err == nil {
		query, err = json.Marshal(trace.Query{Remove: asked})
	}
	if err == nil {
		ctx, cancel := context.WithTimeout(ctx, removePatience)
		defer cancel()
		body, err = h.Feed.Evidence(ctx, host, query)
	}
	if err == nil {
		err = json.Unmarshal(body, &out)
	}
	if err != nil {
		// Some may be gone: the next list tells.
		out = nil
		for _, l := range list {
			out = append(out, doctor.Removal{Leftover: l, Error: err.Error()})
		}
	}
	for _, r := range out {
		h.Log.Info("removal of what is left over", "host", host, "what", r.Title(), "of", r.Object, "err", r.Error)
	}
	return out
}
