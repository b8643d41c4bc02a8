package feed

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"weft/internal/feed/feedpb"
	"weft/internal/model"
	"weft/internal/store"
)

// rawStream says Hello and leaves the rest to the test.
func (w *world) rawStream(name model.HostName) feedpb.Feed_ConnectClient {
	w.t.Helper()
	dir, err := w.ca.IssueHost(name)
	if err != nil {
		w.t.Fatal(err)
	}
	tc, _, err := ClientTLS(dir)
	if err != nil {
		w.t.Fatal(err)
	}
	conn, err := grpc.NewClient(w.addr, grpc.WithTransportCredentials(credentials.NewTLS(tc)))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { conn.Close() })
	stream, err := feedpb.NewFeedClient(conn).Connect(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	hello, err := json.Marshal(model.Host{Name: name})
	if err != nil {
		w.t.Fatal(err)
	}
	if err := stream.Send(&feedpb.ToServer{Kind: &feedpb.ToServer_Hello{Hello: &feedpb.Hello{Host: hello}}}); err != nil {
		w.t.Fatal(err)
	}
	if !eventually(func() bool { return w.server.Connected(name) }) {
		w.t.Fatal("not connected")
	}
	return stream
}

// A host that reads nothing holds up neither the others nor the end of the server, and
// when it reads again it gets each object once, as it is then.
func TestSlowHost(t *testing.T) {
	w := newWorld(t)
	n1 := w.network(1)
	slow := w.rawStream("slow")
	for i := 0; i < 1000; i += 100 {
		w.txn(func(tx *store.Txn) {
			for j := range 100 {
				tx.CreatePort(port(i+j+1, n1, "slow"))
			}
		})
	}
	fast, _ := w.client("fast", nil)
	w.create(port(2000, n1, "fast"))
	w.settled(fast)
	const changes = 300
	for i := range changes {
		w.update(port(1, n1, "").ID, func(p *model.Port) { p.Name = fmt.Sprint(i) })
	}
	w.settled(fast)

	var got int
	name := ""
	deadline := time.Now().Add(time.Minute)
	for name != fmt.Sprint(changes-1) && time.Now().Before(deadline) {
		m, err := slow.Recv()
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range append(m.GetChanges().GetObjects(), m.GetObjects().GetObjects()...) {
			if o.Id != string(port(1, n1, "").ID) {
				continue
			}
			var p model.Port
			if err := json.Unmarshal(o.Value, &p); err != nil {
				t.Fatal(err)
			}
			got, name = got+1, p.Name
		}
	}
	if name != fmt.Sprint(changes-1) || got > changes/2 {
		t.Errorf("the slow host got the port %d times, at last as %q", got, name)
	}

	t.Log("and again it reads nothing, while the server ends")
	for i := 0; i < 1000; i += 100 {
		w.txn(func(tx *store.Txn) {
			for j := range 100 {
				tx.CreatePort(port(3000+i+j, n1, "slow"))
			}
		})
	}
	begin := time.Now()
	w.stop()
	if d := time.Since(begin); d > 20*time.Second {
		t.Errorf("the server took %v to end", d)
	}
}

// What a host must not send ends its stream with a reason.
func TestOutOfPlaceMessages(t *testing.T) {
	w := newWorld(t)
	s := w.rawStream("h1")
	// An answer to no question and facts of ports that do not exist are passed over.
	for _, m := range []*feedpb.ToServer{
		{Kind: &feedpb.ToServer_Answer{Answer: &feedpb.Answer{Id: 99, Body: []byte("x")}}},
		{Kind: &feedpb.ToServer_Facts{Facts: &feedpb.Facts{Ports: []*feedpb.PortFact{{PortId: "nobody", Wired: true}}}}},
		{}, {Kind: &feedpb.ToServer_Hello{Hello: &feedpb.Hello{}}},
	} {
		if err := s.Send(m); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(20 * time.Millisecond)
	if !w.server.Connected("h1") {
		t.Error("the stream ended")
	}
}
