package feed

import (
	"context"
	"crypto/sha256"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"weft/internal/feed/feedpb"
	"weft/internal/model"
	"weft/internal/store"
)

// ServerAdmission is how servers let others in.
type ServerAdmission struct {
	// Spend uses up a token for a server, or says why not.
	Spend func(ctx context.Context, secret []byte) error
	// Add makes the new server a member of the cluster of the embedded etcds; nil when the
	// servers have an etcd of their own elsewhere.
	Add func(ctx context.Context, name, peerURL string) ([]store.Member, error)
}

// JoinServer lets a server in that has a token.
func (s *Server) JoinServer(ctx context.Context, q *feedpb.JoinServerRequest) (*feedpb.JoinServerReply, error) {
	a, from := s.admission, addressOf(ctx)
	switch {
	case a.Spend == nil:
		return nil, status.Error(codes.Unimplemented, "no server can join here")
	case !s.guesses.allow(from, time.Now()):
		return nil, errGuesses
	case a.Add == nil && q.PeerUrl != "":
		return nil, status.Error(codes.FailedPrecondition, "the servers of this cloud use an etcd of their own elsewhere: set etcd_endpoints as there, and no peer_listen")
	case a.Add != nil && q.PeerUrl == "":
		return nil, status.Error(codes.FailedPrecondition, "the servers of this cloud are a cluster: set peer_listen, and no etcd_endpoints")
	}
	if err := refusal(a.Spend(ctx, secretOf(q.Token))); err != nil {
		if status.Code(err) == codes.PermissionDenied {
			s.guesses.failed(from, time.Now())
			s.log.Warn("server refused", "name", q.Name, "address", from, "reason", status.Convert(err).Message())
		}
		return nil, err
	}
	cert, key, err := s.ca.Export()
	if err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	reply := &feedpb.JoinServerReply{Ca: cert, CaKey: key}
	if a.Add != nil {
		members, err := a.Add(ctx, q.Name, q.PeerUrl)
		if err != nil {
			return nil, status.Errorf(codes.FailedPrecondition, "%v (the token is used up: make another)", err)
		}
		for _, m := range members {
			reply.Members = append(reply.Members, &feedpb.Member{Name: m.Name, PeerUrl: m.PeerURL})
		}
	}
	s.log.Info("server let in", "name", q.Name, "address", from, "peer", q.PeerUrl)
	return reply, nil
}

// JoinServer asks the servers in a token, one after the other, to let the server name in,
// whose etcd the others are to reach at peerURL; empty when its etcd is elsewhere.
func JoinServer(ctx context.Context, t Token, name, peerURL string) (reply *feedpb.JoinServerReply, err error) {
	if t.Kind != model.JoinServer {
		return nil, fmt.Errorf("the token is for a %s to join, not for a server", t.Kind)
	}
	err = anyServer(ctx, t.Servers, pinnedTLS(t.CA), func(ctx context.Context, f feedpb.FeedClient) (err error) {
		reply, err = f.JoinServer(ctx, &feedpb.JoinServerRequest{Token: t.wire(), Name: name, PeerUrl: peerURL})
		return err
	})
	if err != nil {
		return nil, err
	}
	if sha256.Sum256(reply.Ca) != t.CA {
		return nil, errOtherCloud
	}
	return reply, CheckCA(reply.Ca, reply.CaKey)
}
