package control_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"weft/internal/control"
	"weft/internal/model"
	"weft/internal/store"
)

func TestServers(t *testing.T) {
	c := newCloud(t)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- c.ServeAs(ctx, model.Server{Name: "s1", Feeds: []string{"192.0.2.1:9697"}, API: "http://192.0.2.1:9696"})
	}()
	is := func(alive bool) bool {
		var all []control.Server
		c.Read(func(r store.Reader) { all = c.Servers(r) })
		return len(all) == 1 && all[0].Name == "s1" && all[0].Alive == alive && len(all[0].Feeds) == 1
	}
	wait := func(what string, alive bool) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); !is(alive); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal(what)
			}
		}
	}
	wait("the server is not there", true)
	if err := c.RemoveServer(ctx, "s1"); err == nil {
		t.Error("a server that runs was removed")
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	wait("the server still counts as running", false)
	if err := c.RemoveServer(t.Context(), "s1"); err != nil {
		t.Error(err)
	}
	if err := c.RemoveServer(t.Context(), "s1"); !errors.As(err, new(model.NotFound)) {
		t.Errorf("removed twice: %v", err)
	}
}
