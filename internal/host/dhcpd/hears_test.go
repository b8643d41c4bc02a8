package dhcpd

import (
	"errors"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"weft/internal/lab/labtest"
	"weft/internal/model"
)

// A service that hears says so at once; one whose messages are dropped in its namespace is found deaf.
func TestHears(t *testing.T) {
	labtest.Require(t, "nft")
	s := start(t, plan())
	c := newRawClient(t)
	send := func(frame []byte) error {
		return unix.Sendto(c.fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: c.ifindex})
	}
	began := time.Now()
	if err := s.Hears(t.Context(), "net", send); err != nil {
		t.Fatal(err)
	}
	t.Logf("heard after %v", time.Since(began))
	if err := s.Hears(t.Context(), "other", send); !errors.Is(err, ErrNotServed) {
		t.Errorf("of a network that is not served: %v", err)
	}
	inServer := func(args ...string) {
		t.Helper()
		if out, err := exec.CommandContext(t.Context(), "ip", append([]string{"netns", "exec", serverNS}, args...)...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
	// What the namespace's firewall refuses is heard all the same: the service reads frames, not packets.
	inServer("nft", "add table inet x; add chain inet x in { type filter hook input priority 0; policy drop; }")
	if err := s.Hears(t.Context(), "net", send); err != nil {
		t.Errorf("with an input chain that drops: %v", err)
	}
	inServer("nft", "add table netdev x; add chain netdev x in { type filter hook ingress device "+tap+" priority 0; }; add rule netdev x in udp dport 67 drop")
	if err := s.Hears(t.Context(), "net", send); !errors.Is(err, ErrUnheard) {
		t.Errorf("with an ingress chain that drops: %v", err)
	}
	inServer("nft", "delete table netdev x")
	if err := s.Hears(t.Context(), "net", send); err != nil {
		t.Error(err)
	}
	inServer("ip", "link", "set", tap, "down")
	if err := s.Hears(t.Context(), "net", send); err == nil {
		t.Error("heard although the device is down")
	}
	if st := s.Stats(); len(st[0].Reasons) != 0 || len(st[0].Strangers) != 0 {
		t.Errorf("tests are counted: %+v", st[0])
	}
}

// Clients that no port is for, and those that choose another server, are remembered by network.
func TestSeen(t *testing.T) {
	other := plan()
	s := start(t, plan())
	c := newRawClient(t)
	c.send(request(t, "dhclient-discover"), func(frame []byte) { frame[headersLen+28+5]++ })
	stranger := clientMAC
	stranger[5]++
	waitFor(t, func() bool { return len(s.Seen("net", clientMAC).Strangers) == 1 })
	if seen := s.Seen("net", clientMAC); seen.Strangers[0].MAC != stranger || seen.Since.IsZero() || seen.Elsewhere != nil {
		t.Errorf("%+v", seen)
	}
	if seen := s.Seen("x", stranger); !seen.Since.IsZero() || seen.Elsewhere[other.NetworkID].Count != 1 {
		t.Errorf("%+v", seen)
	}
	h := s.services["net"].history
	at := time.Unix(1, 0)
	for i := range strangersSize + 1 {
		h.other(addr("10.10.0.66"), clientMAC, at)
		h.other(addr("10.10.0.67"), model.MAC{byte(i)}, at.Add(time.Duration(i)*time.Second))
	}
	if o := s.Seen("net", clientMAC).Others; len(o) != 2 || o[0].Count != strangersSize+1 || o[1].MAC != (model.MAC{strangersSize}) {
		t.Errorf("%+v", o)
	}
}
