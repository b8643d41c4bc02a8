package dhcpd

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/sys/unix"

	"weft/internal/lab/labtest"
	"weft/internal/model"
	"weft/internal/plan/dhcp"
)

// manyHosts is a plan with n hosts whose MACs count up from fa:16:3e:00:00:00.
func manyHosts(n int) dhcp.Server {
	p := plan()
	sub := p.Subnets[0]
	p.Leases = make([]dhcp.Lease, n)
	for i := range p.Leases {
		a := sub.Prefix.Addr().As4()
		a[2], a[3] = byte((i+256)>>8), byte(i)
		ip := netip.AddrFrom4(a)
		p.Leases[i] = dhcp.Lease{
			PortID: model.PortID(fmt.Sprintf("%08x-1111-2222-3333-444444444444", i)),
			MAC:    model.MAC{0xfa, 0x16, 0x3e, byte(i >> 16), byte(i >> 8), byte(i)},
			Addr:   ip, Hostname: "host-" + strings.ReplaceAll(ip.String(), ".", "-"), Subnet: sub,
		}
	}
	return p
}

// BenchmarkPerfdhcp lets Kea's load generator, as a relay across a pair of devices, run
// 1000 clients at rising rates. WEFT_PERFDHCP_RATES and _SECONDS change what is tried.
func BenchmarkPerfdhcp(b *testing.B) {
	labtest.Require(b, "root", "perfdhcp")
	rates, seconds := "4000,7000,7500,8000,10000", "5"
	if v := os.Getenv("WEFT_PERFDHCP_RATES"); v != "" {
		rates = v
	}
	if v := os.Getenv("WEFT_PERFDHCP_SECONDS"); v != "" {
		seconds = v
	}
	s := start(b, manyHosts(1000))
	inClient(b, "ip", "addr", "add", "10.10.0.1/16", "dev", nic)
	for rate := range strings.SplitSeq(rates, ",") {
		b.Run("offered="+rate, func(b *testing.B) {
			for b.Loop() {
				before, answered := cpu(), s.Stats()[0].Reasons[dhcp.Selected]
				out := perfdhcp(b, "-4", "-l", "10.10.0.1", "-r", rate, "-R", "1000", "-p", seconds, "-W", "200000", "-b", "mac=fa:16:3e:00:00:00", "10.10.0.2")
				report(b, out)
				// What the server itself spends, which other load on the machine does not change much.
				b.ReportMetric(float64((cpu()-before).Microseconds())/float64(s.Stats()[0].Reasons[dhcp.Selected]-answered), "server-µs/DORA")
			}
		})
	}
	st := s.Stats()[0]
	b.Logf("answered %v, requests dropped %d, replies unsent %d", st.Reasons, st.Dropped, st.Unsent)
}

// cpu is the processor time of this process, its children not included.
func cpu() time.Duration {
	var u unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func perfdhcp(b *testing.B, args ...string) string {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), 60*time.Second)
	defer cancel()
	// It exits with 3 when there were drops.
	out, err := exec.CommandContext(ctx, "ip", append([]string{"netns", "exec", clientNS, "perfdhcp"}, args...)...).CombinedOutput()
	if err != nil && !strings.Contains(string(out), "drops ratio") {
		b.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}

var (
	achieved = regexp.MustCompile(`Rate: ([0-9.]+) 4-way`)
	ratio    = regexp.MustCompile(`drops ratio: ([0-9.]+)`)
	avgDelay = regexp.MustCompile(`avg delay: ([0-9.]+)`)
)

func report(b *testing.B, out string) {
	b.Helper()
	m := achieved.FindStringSubmatch(out)
	if m == nil {
		b.Fatalf("no rate in:\n%s", out)
	}
	rate, _ := strconv.ParseFloat(m[1], 64)
	b.ReportMetric(rate, "DORA/s")
	worst, delay := 0.0, 0.0
	for _, m := range ratio.FindAllStringSubmatch(out, -1) {
		v, _ := strconv.ParseFloat(m[1], 64)
		worst = max(worst, v)
	}
	for _, m := range avgDelay.FindAllStringSubmatch(out, -1) {
		v, _ := strconv.ParseFloat(m[1], 64)
		delay += v
	}
	b.ReportMetric(worst, "drops-%")
	b.ReportMetric(delay, "delay-ms")
}

// BenchmarkAnswer is the work for one message without the kernel: read, answer, write, seal.
func BenchmarkAnswer(b *testing.B) {
	for _, name := range []string{"dhclient-request", "windows10-request"} {
		b.Run(name, func(b *testing.B) {
			t, _ := dhcp.NewTable(plan())
			v := &service{mac: serverMAC, history: newHistory(), totals: new(totals)}
			ba := newBatch()
			frame := append(make([]byte, headersLen), request(b, name)...)
			seal(frame, clientMAC, serverMAC, netip.AddrFrom4([4]byte{}), addr("255.255.255.255"))
			b.ReportAllocs()
			for b.Loop() {
				ba.notes = ba.notes[:0]
				v.one(ba, t, frame)
				ba.tx.n = 0
			}
			if v.counters.reasons[dhcp.Selected].Load() == 0 {
				b.Fatal("not answered")
			}
		})
	}
}

// BenchmarkDORA does whole exchanges across a pair of devices, 64 clients at a time.
func BenchmarkDORA(b *testing.B) {
	labtest.Require(b, "root")
	const hosts, window = 1000, 64
	start(b, manyHosts(hosts))
	c := newRawClient(b)
	unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 4<<20)
	frame := func(name string) []byte {
		f := append(make([]byte, headersLen), request(b, name)...)
		seal(f, clientMAC, model.MAC{255, 255, 255, 255, 255, 255}, netip.AddrFrom4([4]byte{}), addr("255.255.255.255"))
		f[headersLen-8+1], f[headersLen-8+3] = clientPort, serverPort
		return f
	}
	discover, req := frame("dhclient-discover"), frame("dhclient-request")
	to := &unix.SockaddrLinklayer{Ifindex: c.ifindex}
	buf := make([]byte, 2048)
	next, done := 0, 0
	ask := func() {
		i := next % hosts
		next++
		copy(discover[headersLen+28:], []byte{0xfa, 0x16, 0x3e, 0, byte(i >> 8), byte(i)})
		if err := unix.Sendto(c.fd, discover, 0, to); err != nil {
			b.Fatal(err)
		}
	}
	for range window {
		ask()
	}
	b.ResetTimer()
	for done < b.N {
		n, _, err := recvfrom(c.fd, buf)
		if err != nil {
			b.Fatalf("after %d: %v", done, err)
		}
		m := buf[headersLen:n]
		switch dhcpv4.MessageType(m[242]) {
		case dhcpv4.MessageTypeOffer:
			copy(req[headersLen+28:], m[28:34])
			// dhclient-request: 53 at 240, 54 at 243, 50 at 249.
			copy(req[headersLen+251:], m[16:20])
			if err := unix.Sendto(c.fd, req, 0, to); err != nil {
				b.Fatal(err)
			}
		case dhcpv4.MessageTypeAck:
			done++
			ask()
		default:
			b.Fatalf("%x", m)
		}
	}
	b.ReportMetric(float64(done)/b.Elapsed().Seconds(), "DORA/s")
}

// BenchmarkTable is the time from a plan with 65,535 hosts to being ready to answer them.
func BenchmarkTable(b *testing.B) {
	p := manyHosts(65000)
	b.Run("new", func(b *testing.B) {
		for b.Loop() {
			dhcp.NewTable(p)
		}
	})
	q := manyHosts(65000)
	b.Run("unchanged", func(b *testing.B) {
		for b.Loop() {
			if !p.Equal(&q) {
				b.Fatal("differs")
			}
		}
	})
}
