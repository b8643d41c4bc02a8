package neutron

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"weft/internal/store/storetest"
)

// send returns the text of an answer 200 as it is, without reading its numbers.
func send(t *testing.T, method, url, body string) string {
	t.Helper()
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 200 {
		t.Fatalf("%s %s: %d %s, %v", method, url, resp.StatusCode, text, err)
	}
	return string(text)
}

// TestProfileIsKept: the numbers of binding:profile come back as they were given, also
// such as no float64 holds, and also after the value was read from the store again.
func TestProfileIsKept(t *testing.T) {
	client := storetest.Etcd(t)
	a := serveAPI(t, storetest.Open(t, client))
	network, _ := a.network("n", "10.0.0.0/24")
	const profile = `{"big":9007199254740993,"huge":1e400,"one":1.0}`
	p := a.must(201, "POST", "/v2.0/ports", `{"port":{"network_id":"`+network+`"}}`)
	send(t, "PUT", a.url+"/v2.0/ports/"+id(p), `{"port":{"binding:profile":`+profile+`}}`)
	b := serveAPI(t, storetest.Open(t, client))
	for _, server := range []*api{a, b} {
		if got := send(t, "GET", server.url+"/v2.0/ports/"+id(p)+"?fields=binding:profile", ""); got != `{"port":{"binding:profile":`+profile+`}}` {
			t.Error(got)
		}
	}
}

// TestLongLists: a body full of one list costs what its length costs, not its square.
func TestLongLists(t *testing.T) {
	a := startAPI(t)
	network, subnet := a.network("n", "10.0.0.0/24")
	many := func(format string) string {
		var b strings.Builder
		for i := range 40000 {
			if i > 0 {
				b.WriteByte(',')
			}
			fmt.Fprintf(&b, format, i>>16, i>>8&255, i&255)
		}
		return "[" + b.String() + "]"
	}
	for _, test := range []struct{ method, path, body string }{
		{"POST", "/v2.0/ports", `{"port":{"network_id":"` + network + `","extra_dhcp_opts":` + many(`{"opt_name":"a%d.%d.%d","opt_value":"x"}`) + `}}`},
		{"POST", "/v2.0/ports", `{"port":{"network_id":"` + network + `","fixed_ips":` + many(`{"ip_address":"10.%d.%d.%d"}`) + `}}`},
		{"PUT", "/v2.0/subnets/" + subnet, `{"subnet":{"dns_nameservers":` + many(`"10.%d.%d.%d"`) + `}}`},
		{"PUT", "/v2.0/subnets/" + subnet, `{"subnet":{"host_routes":` + many(`{"destination":"10.%d.%d.%d/32","nexthop":"10.0.0.1"}`) + `}}`},
	} {
		begin := time.Now()
		a.do(test.method, test.path, test.body)
		if d := time.Since(begin); d > 20*time.Second {
			t.Errorf("%s %s took %s: %.60s", test.method, test.path, d, test.body)
		}
	}
}

// TestBrokenRequests: what the client does wrong below JSON is its fault, not a 500.
func TestBrokenRequests(t *testing.T) {
	a := startAPI(t)
	for _, request := range []string{
		"POST /v2.0/networks HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
		"POST /v2.0/networks HTTP/1.1\r\nHost: a\r\nContent-Length: 50\r\n\r\n{",
		"DELETE /v2.0/networks/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
		"POST /v2.0/networks HTTP/1.1\r\nHost: a\r\nX-Project-Id: " + strings.Repeat("p", 256) + "\r\nContent-Length: 14\r\n\r\n{\"network\":{}}",
		"POST /v2.0/networks HTTP/1.1\r\nHost: a\r\nX-Project-Id: \xff\r\nContent-Length: 14\r\n\r\n{\"network\":{}}",
	} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(a.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, request); err != nil {
			t.Fatal(err)
		}
		_ = conn.(*net.TCPConn).CloseWrite()
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatalf("%.60q: %v", request, err)
		}
		if resp.StatusCode != 400 {
			t.Errorf("%.60q: %d", request, resp.StatusCode)
		}
		_ = resp.Body.Close()
		_ = conn.Close()
	}
	if n := len(a.do("GET", "/v2.0/networks", nil).list()); n != 0 {
		t.Errorf("%d networks were made", n)
	}
}
