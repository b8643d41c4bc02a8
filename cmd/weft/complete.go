package main

import (
	"context"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"weft/internal/client"
)

// completionPatience is how long a person who pressed the tab key is kept waiting.
const completionPatience = 2 * time.Second

// completeArgs completes each argument with objects of its noun, and then nothing.
func completeArgs(words ...string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, start string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) >= len(words) {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return completeNoun(words[len(args)])(cmd, nil, start)
	}
}

// completeNoun completes with the names of objects, or the ID where a name is not enough;
// what is an argument already is not offered again.
func completeNoun(word string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, start string) ([]cobra.Completion, cobra.ShellCompDirective) {
		n := nounOf(word)
		var found []cobra.Completion
		// An error has no place on a half-written command line.
		_ = speak(cmd, func(ctx context.Context, _ Config, api *client.Client) error {
			ctx, cancel := context.WithTimeout(ctx, completionPatience)
			defer cancel()
			objects, err := api.List(ctx, n.Path, n.Key, url.Values{"fields": {"id", n.Name}})
			found = completions(n, objects, args, start)
			return err
		})
		return found, cobra.ShellCompDirectiveNoFileComp
	}
}

func completions(n noun, objects []json.RawMessage, not []string, start string) []cobra.Completion {
	type named struct{ id, name string }
	var all []named
	count := map[string]int{}
	for _, raw := range objects {
		var o map[string]any
		if json.Unmarshal(raw, &o) != nil {
			continue
		}
		e := named{cell(o["id"]), cell(o[n.Name])}
		all = append(all, e)
		count[e.name]++
	}
	var found []cobra.Completion
	add := func(word, about string) {
		if strings.HasPrefix(word, start) && !slices.Contains(not, word) {
			found = append(found, cobra.CompletionWithDesc(word, about))
		}
	}
	for _, e := range all {
		// Who begins to write an ID gets IDs.
		byID := e.name == "-" || e.name == e.id || count[e.name] > 1 || start != "" && strings.HasPrefix(e.id, start)
		if byID {
			add(e.id, e.name)
		} else {
			add(e.name, e.id)
		}
	}
	slices.Sort(found)
	return found
}
