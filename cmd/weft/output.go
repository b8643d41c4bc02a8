package main

import (
	"encoding/json"
	"fmt"
	"io"
	"sync"
)

// lineWriter prints whole pieces of text from several goroutines.
type lineWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lineWriter) printf(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintf(l.w, format, args...)
}

// compactJSON is v on one line; v is always one that can be encoded.
func compactJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(b)
}
