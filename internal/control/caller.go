package control

import (
	"context"

	"weft/internal/access"
)

type callerKey struct{}

// WithCaller returns a context in which verbs know who asks.
func WithCaller(ctx context.Context, c access.Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// CallerOf returns who asks. Without WithCaller that is weft itself, which may do everything.
func CallerOf(ctx context.Context) access.Caller {
	c, ok := ctx.Value(callerKey{}).(access.Caller)
	if !ok {
		return access.Caller{Admin: true}
	}
	return c
}

// admin reports whether the caller is an administrator of the cloud.
func (c *Control) admin(ctx context.Context) bool { return c.policy.IsAdmin(CallerOf(ctx)) }
