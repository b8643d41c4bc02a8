package store

import "weft/internal/model"

// What joining a cloud leaves behind. Tokens are by the hash of their secret.
var (
	JoinTokens = define(definition[model.JoinToken]{
		kind: model.KindJoinToken,
		id:   func(t *model.JoinToken) string { return t.Hash },
	})

	// HostIdentities are by host. Those who follow changes are told, as a host that was
	// removed loses its stream at once.
	HostIdentities = define(definition[model.HostIdentity]{
		kind: model.KindHostIdentity,
		id:   func(i *model.HostIdentity) string { return string(i.Host) },
		indexes: map[string]func(*model.HostIdentity) []string{
			"token": func(i *model.HostIdentity) []string { return some(i.Token) },
		},
		tells: func(i *model.HostIdentity) Change {
			return Change{Kind: model.KindHostIdentity, ID: string(i.Host)}
		},
	})
)
