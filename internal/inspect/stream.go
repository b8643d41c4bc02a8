package inspect

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"
)

const (
	// streamPatience is how long a client may take to read a piece.
	streamPatience = 30 * time.Second
	// streamSilence is how long a stream says nothing at all.
	streamSilence = 10 * time.Second
)

// stream is an answer that goes on: lines of JSON, or bytes.
type stream struct {
	w  io.Writer
	rc *http.ResponseController
}

// newStream begins an answer that goes on until the returned context ends: when the client leaves or
// the server stops. The limits of time that the server has for requests do not hold for it.
func (in *Inspector) newStream(w http.ResponseWriter, r *http.Request, kind string) (context.Context, context.CancelFunc, *stream) {
	ctx, cancel := context.WithCancel(r.Context())
	if in.o.Stopping != nil {
		go func() {
			select {
			case <-in.o.Stopping:
				cancel()
			case <-ctx.Done():
			}
		}()
	}
	s := &stream{w: w, rc: http.NewResponseController(w)}
	_ = s.rc.SetReadDeadline(time.Time{}) // where there is none, there was none
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Accel-Buffering", "no") // a proxy is to pass on what there is
	return ctx, cancel, s
}

// send writes, and waits until it is on its way.
func (s *stream) send(b []byte) error {
	_ = s.rc.SetWriteDeadline(time.Now().Add(streamPatience))
	if _, err := s.w.Write(b); err != nil {
		return fmt.Errorf("write to the client: %w", err)
	}
	return s.rc.Flush()
}

// line makes a line of JSON.
func line(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // our own types
	}
	return append(b, '\n')
}
