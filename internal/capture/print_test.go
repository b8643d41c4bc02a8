package capture

import (
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weft/internal/lab/labtest"
)

const (
	macs4 = "fa163e000002 fa163e000001 0800 "
	macs6 = "fa163e000002 fa163e000001 86dd "
	ends4 = " 0a000001 0a000002 "
	ends6 = " fd000000000000000000000000000001 fd000000000000000000000000000002 "
)

var packets = []struct{ hex, want, tcpdump string }{
	{"ffffffffffff fa163e000001 0806 0001080006040001 fa163e000001 0a000001 000000000000 0a000002", "ARP, request who-has 10.0.0.2 tell 10.0.0.1 (fa:16:3e:00:00:01)", "ARP, Request who-has 10.0.0.2 tell 10.0.0.1"},
	{"fa163e000001 fa163e000002 0806 0001080006040002 fa163e000002 0a000002 fa163e000001 0a000001", "ARP, reply 10.0.0.2 is-at fa:16:3e:00:00:02 to 10.0.0.1", "ARP, Reply 10.0.0.2 is-at fa:16:3e:00:00:02"},
	{macs4 + "4500001c 00000000 4001 0000" + ends4 + "0800 0000 0102 0003", "IP 10.0.0.1 > 10.0.0.2: ICMP echo request, id 258, seq 3, length 8", "IP 10.0.0.1 > 10.0.0.2: ICMP echo request, id 258, seq 3, length 8"},
	{macs4 + "45000038 00000000 4001 0000" + ends4 + "0304 0000 0000 05aa 4500001c000000004011000001020304010203040000000000000000", "IP 10.0.0.1 > 10.0.0.2: ICMP unreachable - need to frag (mtu 1450), length 36", "need to frag (mtu 1450)"},
	{macs4 + "45000028 00000000 4006 0000" + ends4 + "c350 0016 00000001 00000000 5002 ffff 0000 0000", "IP 10.0.0.1.50000 > 10.0.0.2.22: Flags [S], seq 1, win 65535, length 0", "IP 10.0.0.1.50000 > 10.0.0.2.22: Flags [S], seq 1, win 65535, length 0"},
	{macs4 + "4500002a 00000000 4006 0000" + ends4 + "c350 0016 00000001 00000009 5018 ffff 0000 0000 6869", "IP 10.0.0.1.50000 > 10.0.0.2.22: Flags [P.], seq 1, ack 9, win 65535, length 2", "Flags [P.]"},
	{macs4 + "45000020 00000000 4011 0000" + ends4 + "c350 0035 000c 0000 01020304", "IP 10.0.0.1.50000 > 10.0.0.2.53: UDP, length 4", "10.0.0.1.50000 > 10.0.0.2.53"},
	{macs4 + "45000020 00000010 4011 0000" + ends4 + "c350 0035 000c 0000 01020304", "IP 10.0.0.1 > 10.0.0.2: UDP fragment at 128", "10.0.0.1 > 10.0.0.2"},
	{macs4 + "45000020 00000000 4059 0000" + ends4 + "c350 0035 000c 0000 01020304", "IP 10.0.0.1 > 10.0.0.2: protocol 89, length 12", "10.0.0.1 > 10.0.0.2"},
	{macs6 + "60000000 0018 3a ff" + ends6 + "8700 0000 00000000 fd000000000000000000000000000002", "IP6 fd00::1 > fd00::2: ICMP6, neighbor solicitation, who has fd00::2, length 24", "IP6 fd00::1 > fd00::2: ICMP6, neighbor solicitation, who has fd00::2, length 24"},
	{macs6 + "60000000 0008 3a ff" + ends6 + "8000 0000 0001 0002", "IP6 fd00::1 > fd00::2: ICMP6, echo request, id 1, seq 2, length 8", "IP6 fd00::1 > fd00::2: ICMP6, echo request, id 1, seq 2, length 8"},
	{macs6 + "60000000 0010 00 01" + ends6 + "3a00050200000100 8f00 0000 0000 0000", "IP6 fd00::1 > fd00::2: ICMP6, multicast listener report v2, length 8", "multicast listener report v2"},
	{"fa163e000002 fa163e000001 88cc 0000", "fa:16:3e:00:00:01 > fa:16:3e:00:00:02, ethertype 0x88cc, length 16", "LLDP"},
	{macs4 + "45000020", "IP, cut off", ""},
	{"fa163e", "3 bytes, too short for Ethernet", ""},
}

func packet(t *testing.T, s string) Packet {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return Packet{At: time.Unix(1700000000, 123456789), Len: len(b), Data: b}
}

// Lines say what tcpdump says, and files are read by it.
func TestLines(t *testing.T) {
	file := AppendHeader(nil, 65536)
	for _, p := range packets {
		if got := Line(packet(t, p.hex)); got != p.want {
			t.Errorf("%s\n got %s\nwant %s", p.hex, got, p.want)
		}
		file = AppendPacket(file, packet(t, p.hex))
	}
	labtest.Require(t, "tcpdump")
	name := filepath.Join(t.TempDir(), "x.pcap")
	if err := os.WriteFile(name, file, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("tcpdump", "-nn", "-tt", "--nano", "-r", name).Output()
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if err != nil || len(lines) < len(packets)-2 {
		t.Fatalf("%v\n%s", err, out)
	}
	for i, p := range packets {
		if i < len(lines) && p.tcpdump != "" && (!strings.Contains(lines[i], p.tcpdump) || !strings.HasPrefix(lines[i], "1700000000.123456789 ")) {
			t.Errorf("tcpdump says %s, want %s", lines[i], p.tcpdump)
		}
	}
}

func FuzzLine(f *testing.F) {
	for _, p := range packets {
		b, _ := hex.DecodeString(strings.ReplaceAll(p.hex, " ", ""))
		f.Add(b)
	}
	f.Fuzz(func(_ *testing.T, b []byte) { Line(Packet{Len: len(b), Data: b}) })
}
