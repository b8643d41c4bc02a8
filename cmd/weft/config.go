package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"
)

// defaultFile is read when it exists and no other file is named.
const defaultFile = "/etc/weft/weft.yaml"

// addFlags gives a command a flag for each option that concerns it.
func addFlags(cmd *cobra.Command, use ...string) {
	d := defaults()
	cmd.Flags().String("config", "", "YAML file with these settings (default "+defaultFile+" if it exists)")
	for _, o := range options() {
		if slices.ContainsFunc(o.Use, func(u string) bool { return slices.Contains(use, u) }) {
			cmd.Flags().String(o.flag(), o.text(&d), firstSentence(o.Help))
		}
	}
}

func firstSentence(s string) string {
	if i := strings.Index(s, ". "); i >= 0 {
		s = s[:i]
	}
	return strings.TrimSuffix(s, ".")
}

// loadConfig is defaults, overridden by the file, by the environment, by the flags.
func loadConfig(cmd *cobra.Command) (Config, error) {
	c := defaults()
	file, _ := cmd.Flags().GetString("config")
	if file == "" {
		file = os.Getenv("WEFT_CONFIG")
	}
	data, err := os.ReadFile(cmpOr(file, defaultFile))
	switch {
	case err == nil:
		if err := c.readYAML(cmpOr(file, defaultFile), data); err != nil {
			return c, err
		}
	case file == "" && errors.Is(err, fs.ErrNotExist):
	default:
		return c, fmt.Errorf("read settings: %w", err)
	}
	for _, o := range options() {
		if v, ok := os.LookupEnv(o.env()); ok {
			if err := o.set(&c, v); err != nil {
				return c, fmt.Errorf("environment %s: %w", o.env(), err)
			}
		}
	}
	for _, o := range options() {
		f := cmd.Flags().Lookup(o.flag())
		if f == nil || !f.Changed || f.Value.Type() != "string" { // another is the command's own, by the same name
			continue
		}
		if err := o.set(&c, f.Value.String()); err != nil {
			return c, fmt.Errorf("--%s: %w", o.flag(), err)
		}
	}
	if err := c.complete(); err != nil {
		return c, fmt.Errorf("settings: %w", err)
	}
	return c, nil
}

func cmpOr(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// readYAML applies a file. It is strict: a key that is unknown, or there twice, is an error with its line.
func (c *Config) readYAML(name string, data []byte) error {
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if len(doc.Content) == 0 {
		return nil // empty, or only comments
	}
	top := doc.Content[0]
	if top.Kind != yaml.MappingNode {
		return fmt.Errorf("%s:%d: want lines of the form key: value", name, top.Line)
	}
	var errs []error
	seen := map[string]int{}
	for i := 0; i+1 < len(top.Content); i += 2 {
		key, value := top.Content[i], top.Content[i+1]
		fail := func(format string, args ...any) {
			errs = append(errs, fmt.Errorf("%s:%d: %s", name, key.Line, fmt.Sprintf(format, args...)))
		}
		all := options()
		n := slices.IndexFunc(all, func(o option) bool { return o.Key == key.Value })
		if n < 0 {
			fail("unknown key %q%s", key.Value, suggest(key.Value))
			continue
		}
		if line, dup := seen[key.Value]; dup {
			fail("key %q is on line %d already", key.Value, line)
			continue
		}
		seen[key.Value] = key.Line
		text, err := nodeText(value)
		if err == nil {
			err = all[n].set(c, text)
		}
		if err != nil {
			fail("%s: %v", key.Value, err)
		}
	}
	return errors.Join(errs...)
}

// nodeText is a YAML value in the form that flags have.
func nodeText(n *yaml.Node) (string, error) {
	switch n.Kind {
	case yaml.ScalarNode:
		if n.Tag == "!!null" {
			return "", nil
		}
		return n.Value, nil
	case yaml.SequenceNode:
		var words []string
		for _, e := range n.Content {
			if e.Kind != yaml.ScalarNode {
				return "", errors.New("want a list of plain values")
			}
			words = append(words, e.Value)
		}
		return strings.Join(words, ","), nil
	case yaml.MappingNode:
		var words []string
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i+1].Kind != yaml.ScalarNode {
				return "", errors.New("want name: value pairs")
			}
			words = append(words, n.Content[i].Value+"="+n.Content[i+1].Value)
		}
		return strings.Join(words, ","), nil
	}
	return "", errors.New("want a value, a list or name: value pairs")
}

// suggest names the known key that was probably meant.
func suggest(key string) string {
	best, least := "", 4
	for _, o := range options() {
		if d := distance(strings.ReplaceAll(key, "-", "_"), o.Key); d < least {
			best, least = o.Key, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %q?", best)
}

// distance is Levenshtein's.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		prev := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := prev
			if a[i] != b[j] {
				cost++
			}
			prev, row[j+1] = row[j+1], min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
