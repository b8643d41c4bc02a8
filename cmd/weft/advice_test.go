package main

import (
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"weft/internal/trace"
)

var (
	// advised are commands of the API that a text names, with arguments as far as they are no prose.
	advised = regexp.MustCompile(`weft (?:network|subnet|port) [a-z]+(?: [A-Z]+\b| --[a-z-]+| [a-z]+=\S+)*`)
	// allowed is what is advised in addition: "or allow it: --allowed-address ip=ADDRESS".
	allowed = regexp.MustCompile(`--allowed-address \S+`)
)

// TestAdvice: what weft trace tells an operator to do can be done: the commands have these flags, and take such values.
func TestAdvice(t *testing.T) {
	var sent []string
	srv := httptest.NewServer(echoAPI(&sent))
	t.Cleanup(srv.Close)
	cliEnv(t)
	t.Setenv("WEFT_API", srv.URL)
	found := 0
	for cause, explained := range trace.Causes {
		commands := advised.FindAllString(explained.Do, -1)
		for _, more := range allowed.FindAllString(explained.Do, -1) {
			commands = append(commands, "weft port set PORT "+more)
		}
		for _, command := range commands {
			found++
			args := strings.Fields(strings.TrimRight(strings.ReplaceAll(command, " N", " 1400"), ".,;:)"))
			if out := weft(t, args[1:]...); strings.Contains(out, "exit code") {
				t.Errorf("%s advises %q:\n%s", cause, command, out)
			}
		}
	}
	if found < 15 {
		t.Errorf("only %d commands are advised", found)
	}
}
