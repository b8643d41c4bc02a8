package feed

import (
	"context"
	"errors"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"weft/internal/feed/feedpb"
	"weft/internal/store"
)

// Word is what a server answered to a question about itself.
type Word struct {
	Body []byte
	Err  error
	// Sent and Received are when the question went out and the answer came in.
	Sent, Received time.Time
}

var errNotRunning = errors.New("it does not run, or reaches no etcd")

// AskServers asks all servers of the cloud, this one too, about themselves, at once.
func (s *Server) AskServers(ctx context.Context, query []byte) map[string]Word {
	words := map[string]Word{}
	s.store.View(func(r store.Reader) {
		for e := range store.Servers.All(r) {
			words[e.Value.Name] = Word{Err: errNotRunning}
		}
	})
	var mu sync.Mutex
	var wg sync.WaitGroup
	ask := func(name string, f func() ([]byte, error)) {
		wg.Go(func() {
			w := Word{Sent: time.Now()}
			w.Body, w.Err = f()
			w.Received = time.Now()
			mu.Lock()
			defer mu.Unlock()
			words[name] = w
		})
	}
	ask(s.servers.name, func() ([]byte, error) { return s.aboutSelf(ctx, query) })
	for name, c := range s.servers.clients() {
		ask(name, func() ([]byte, error) {
			a, err := c.Ask(ctx, &feedpb.AskRequest{Body: query})
			switch {
			case status.Code(err) == codes.NotFound:
				return nil, errors.New("it is of an older version, which cannot say")
			case ctx.Err() != nil:
				return nil, errors.New("it did not answer in time")
			case err != nil:
				return nil, err
			case a.Error != "":
				return nil, errors.New(a.Error)
			}
			return a.Body, nil
		})
	}
	wg.Wait()
	return words
}

// aboutSelf answers a question about this server.
func (s *Server) aboutSelf(ctx context.Context, query []byte) ([]byte, error) {
	if s.self == nil {
		return nil, errors.New("it says nothing of itself")
	}
	return s.self(ctx, query)
}
