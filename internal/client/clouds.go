package client

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Files says where clouds.yaml and secure.yaml are looked for.
type Files struct {
	// First are files that come before all directories, as OS_CLIENT_CONFIG_FILE does.
	First []string
	Dirs  []string
}

// DefaultFiles are the places that every OpenStack client looks into, then more.
func DefaultFiles(getenv func(string) string, more ...string) Files {
	var f Files
	if file := getenv("OS_CLIENT_CONFIG_FILE"); file != "" {
		f.First = []string{file}
	}
	f.Dirs = []string{"."}
	if dir := getenv("XDG_CONFIG_HOME"); dir != "" {
		f.Dirs = append(f.Dirs, filepath.Join(dir, "openstack"))
	} else if home := getenv("HOME"); home != "" {
		f.Dirs = append(f.Dirs, filepath.Join(home, ".config", "openstack"))
	}
	f.Dirs = append(append(f.Dirs, "/etc/openstack"), more...)
	return f
}

// NoSuchCloud says that no clouds.yaml has a cloud of that name.
type NoSuchCloud struct {
	Name string
	// There are the clouds that exist, and Read the files that were read.
	There, Read []string
	// Unreadable are files that exist but may not be read.
	Unreadable []string
}

// Error names the clouds that there are.
func (e NoSuchCloud) Error() string {
	unreadable := ""
	if len(e.Unreadable) > 0 {
		unreadable = fmt.Sprintf(" (%s may not be read)", strings.Join(e.Unreadable, ", "))
	}
	switch {
	case len(e.Read) == 0:
		return fmt.Sprintf("there is no cloud %q: no clouds.yaml was found%s", e.Name, unreadable)
	case len(e.There) == 0:
		return fmt.Sprintf("there is no cloud %q: there are none in %s%s", e.Name, strings.Join(e.Read, ", "), unreadable)
	}
	return fmt.Sprintf("there is no cloud %q; %s has %s%s", e.Name, strings.Join(e.Read, ", "), strings.Join(e.There, ", "), unreadable)
}

// section is a mapping of clouds.yaml.
type section = map[string]any

// FindCloud is the cloud of that name, from the first file that has it. What it leaves
// open may come from secure.yaml and from a few variables. The error is a NoSuchCloud
// if there is none.
func FindCloud(f Files, name string, getenv func(string) string) (Cloud, error) {
	missing := NoSuchCloud{Name: name}
	var found section
	source := ""
	for _, file := range candidates(f, "clouds") {
		clouds, err := readClouds(file)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case errors.Is(err, fs.ErrPermission):
			missing.Unreadable = append(missing.Unreadable, file)
			continue
		case err != nil:
			return Cloud{}, err
		}
		missing.Read = append(missing.Read, file)
		missing.There = append(missing.There, slices.Sorted(maps.Keys(clouds))...)
		if c, ok := clouds[name]; ok && found == nil {
			found, source = c, file
		}
	}
	if found == nil {
		return Cloud{}, missing
	}
	// Secrets may lie in a file of their own, which others cannot read.
	secure := Files{Dirs: f.Dirs}
	if file := getenv("OS_CLIENT_SECURE_FILE"); file != "" {
		secure.First = []string{file}
	}
	for _, file := range candidates(secure, "secure") {
		clouds, err := readClouds(file)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
			continue
		}
		if err != nil {
			return Cloud{}, err
		}
		merge(found, clouds[name])
		break
	}
	return decodeCloud(found, fmt.Sprintf("cloud %s of %s", name, source), getenv)
}

// candidates are the files that may exist, in the order of their precedence.
func candidates(f Files, base string) []string {
	all := slices.Clone(f.First)
	for _, dir := range f.Dirs {
		for _, ext := range []string{".yaml", ".yml", ".json"} {
			all = append(all, filepath.Join(dir, base+ext))
		}
	}
	return all
}

// readClouds reads one file. JSON is YAML.
func readClouds(file string) (map[string]section, error) {
	data, err := os.ReadFile(filepath.Clean(file))
	if err != nil {
		return nil, err
	}
	var doc struct{ Clouds map[string]yaml.Node }
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	clouds := map[string]section{}
	for name, n := range doc.Clouds {
		s, _ := plain(&n).(section)
		clouds[name] = underscores(s)
	}
	return clouds, nil
}

// plain is a value with each scalar as it is written: a project ID may consist of digits.
func plain(n *yaml.Node) any {
	switch {
	case n.Kind == yaml.AliasNode:
		return plain(n.Alias)
	case n.Kind == yaml.MappingNode:
		m := section{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			m[n.Content[i].Value] = plain(n.Content[i+1])
		}
		return m
	case n.Kind == yaml.SequenceNode:
		var list []any
		for _, e := range n.Content {
			list = append(list, plain(e))
		}
		return list
	case n.Tag == "!!null":
		return nil
	}
	return n.Value
}

// merge puts what over has on top of base, section by section.
func merge(base, over section) {
	for k, v := range over {
		b, isMap := base[k].(section)
		if o, ok := v.(section); ok && isMap {
			merge(b, o)
		} else {
			base[k] = v
		}
	}
}

func decodeCloud(s section, source string, getenv func(string) string) (Cloud, error) {
	c := Cloud{Source: source}
	auth, _ := s["auth"].(section)
	firstRegion(s)
	for _, set := range settings {
		for _, key := range set.yaml {
			if v := cmpText(auth[key], s[key]); v != "" {
				*set.field(&c) = v
				break
			}
		}
	}
	for _, set := range settings {
		if field := set.field(&c); *field == "" && slices.Contains(completing, set.env[0]) {
			*field = getenv(set.env[0])
		}
	}
	verify, has := s["verify"]
	insecure := s["insecure"]
	c.Insecure = has && isFalse(verify) || insecure != nil && !isFalse(insecure)
	return c, c.complete()
}

// firstRegion takes the first of a cloud's regions if it is not said which.
func firstRegion(s section) {
	list, _ := s["regions"].([]any)
	if s["region_name"] != nil || len(list) == 0 {
		return
	}
	region := list[0]
	if m, ok := region.(section); ok {
		region = m["name"]
		values, _ := m["values"].(section)
		merge(s, values)
	}
	s["region_name"] = region
}

// underscores are the same settings with keys spelt region_name, not region-name.
func underscores(s section) section {
	out := section{}
	for k, v := range s {
		if below, ok := v.(section); ok {
			v = underscores(below)
		}
		out[strings.ReplaceAll(k, "-", "_")] = v
	}
	return out
}

// cmpText is the first of two values that is there.
func cmpText(a, b any) string {
	for _, v := range []any{a, b} {
		if v != nil && v != "" {
			return fmt.Sprint(v)
		}
	}
	return ""
}

func isFalse(v any) bool {
	text, _ := v.(string)
	return slices.Contains([]string{"false", "no", "0", "off"}, strings.ToLower(text))
}
