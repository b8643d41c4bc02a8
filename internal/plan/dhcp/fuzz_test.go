package dhcp

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"weft/internal/model"
)

// FuzzReply feeds arbitrary octets to the reader, the table and the writer. The requests
// of real clients are its seeds.
func FuzzReply(f *testing.F) {
	files, err := filepath.Glob("testdata/*.request")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range files {
		f.Add(readRequest(f, strings.TrimSuffix(filepath.Base(name), ".request")))
	}
	f.Add([]byte{})
	f.Add(append(make([]byte, 236), 99, 130, 83, 99, 53, 255))
	s := testServer()
	s.Leases[2].Extra = []model.DHCPOption{{Name: "67", Value: "pxelinux.0"}, {Name: "tag:ipxe,67", Value: "http://10.10.0.9/boot.ipxe"}, {Name: "224", Value: strings.Repeat("x", 400)}}
	tab := table(f, s)
	f.Fuzz(func(t *testing.T, b []byte) {
		req := new(dhcpv4.DHCPv4)
		if Decode(b, req) != nil {
			return
		}
		a := tab.Answer(req, new(dhcpv4.DHCPv4))
		if a.Reason >= ReasonCount || a.Reason.Answered() != (a.Reply != nil) {
			t.Fatalf("reason %d and reply %v", a.Reason, a.Reply)
		}
		if a.Reply == nil {
			return
		}
		out, _ := Append(nil, a.Reply, a.Limit)
		// The options that the client and its relay sent come back whatever their length.
		echoed := optionLength(req.Options[82])
		if len(out) > a.Limit+echoed {
			t.Fatalf("reply of %d octets, limit %d", len(out), a.Limit)
		}
		if _, err := dhcpv4.FromBytes(out); err != nil {
			t.Fatalf("unreadable reply: %v", err)
		}
		if !a.Dest.Addr.IsValid() || !a.Dest.Source.IsValid() {
			t.Fatalf("reply without destination: %+v", a.Dest)
		}
	})
}
