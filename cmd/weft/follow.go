package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/url"

	"weft/internal/inspect"
	"weft/internal/trace"
)

// follow prints what happens to a port, or to those of a VM, until ctx ends, which is no error, or the last port is deleted.
func follow(ctx context.Context, api portAPI, q string, asJSON bool, out io.Writer) error {
	lines, err := api.lines(ctx, inspect.FollowPath, url.Values{"q": {q}})
	if err != nil {
		return err
	}
	defer lines.close()
	ports := false // they are told apart
	for lines.next() {
		var e trace.Event
		if err := json.Unmarshal(lines.line, &e); err != nil {
			return fmt.Errorf("read the answer: %w", err)
		}
		ports = ports || e.PortID != ""
		text := e.Line(ports)
		if asJSON {
			text = string(lines.line)
		}
		if _, err := fmt.Fprintln(out, text); err != nil || e.Kind == trace.EventEnd {
			return err
		}
	}
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("the server has ended the answer: %w", lines.err)
}
