package neutron

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"os"
	"strings"
	"testing"

	"weft/internal/model"
)

// faultKinds counts the constants of type FaultKind in the source, so that a new one
// without a row here fails.
func faultKinds(t *testing.T) int {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), "../model/errors.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range f.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Tok != token.CONST {
			continue
		}
		if id, ok := g.Specs[0].(*ast.ValueSpec).Type.(*ast.Ident); ok && id.Name == "FaultKind" {
			return len(g.Specs)
		}
	}
	t.Fatal("no constants of type FaultKind found")
	return 0
}

func TestFaultOfEveryKind(t *testing.T) {
	text, err := os.ReadFile("testdata/faults.txt")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{} // "404 PortNotFound"
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) == 2 {
			known[f[1]+" "+f[0]] = true
		}
	}
	known["409 SubnetAllocationError"] = true // Neutron says 500 and no reason when a subnet pool is used up
	n := faultKinds(t)
	for k := model.FaultKind(1); k <= model.FaultKind(n); k++ {
		err := fmt.Errorf("create port: %w", model.Fault{Kind: k, Message: "text", Detail: "253 of 253"})
		f, ok := faultOf(err)
		if got := fmt.Sprint(f.Status, " ", f.Type); !ok || !known[got] {
			t.Errorf("kind %d: got %s (known %v), which Neutron does not have", k, got, ok)
		}
		if f.Message != "text" || f.Detail != "253 of 253" {
			t.Errorf("kind %d: message %q, detail %q", k, f.Message, f.Detail)
		}
	}
}

func TestFaultOfOthers(t *testing.T) {
	for _, c := range []struct {
		err   error
		want  fault
		known bool
	}{
		{model.NotFound{Kind: model.KindNetwork, ID: "x"}, fault{404, "NetworkNotFound", "Network x could not be found.", ""}, true},
		{model.NotFound{Kind: model.KindSubnet, ID: "x"}, fault{404, "SubnetNotFound", "Subnet x could not be found.", ""}, true},
		{fmt.Errorf("wrapped: %w", model.NotFound{Kind: model.KindPort, ID: "x"}), fault{404, "PortNotFound", "Port x could not be found.", ""}, true},
		{model.NotFound{Kind: model.KindAgent, ID: "x"}, fault{404, "AgentNotFound", "Agent x could not be found.", ""}, true},
		{model.NotFound{Kind: model.KindHost, ID: "x"}, fault{404, "AgentNotFound", "Agent x could not be found.", ""}, true},
		{model.NotFound{Kind: model.KindSecurityGroup, ID: "x"}, fault{404, "SecurityGroupNotFound", "Security group x does not exist", ""}, true},
		{model.NotFound{Kind: model.KindSubnetPool, ID: "x"}, fault{404, "SubnetPoolNotFound", "Subnet pool x could not be found.", ""}, true},
		{model.NotFound{Kind: kindZone, ID: "x"}, fault{404, "AvailabilityZoneNotFound", "AvailabilityZone x could not be found.", ""}, true},
		{&http.MaxBytesError{Limit: 1}, faultTooLarge, true},
		{context.DeadlineExceeded, faultNoService, true},
		{fmt.Errorf("commit: %w", context.Canceled), faultNoService, true},
		{badRequest("no %s", "x"), fault{400, "HTTPBadRequest", "no x", ""}, true},
		// What is not known tells a client nothing.
		{errors.New("password=secret"), faultInternal, false},
		{model.Fault{Kind: 9999, Message: "secret"}, faultInternal, false},
		{model.NotFound{Kind: "teapot", ID: "secret"}, faultInternal, false},
	} {
		got, known := faultOf(c.err)
		if got != c.want || known != c.known {
			t.Errorf("%v: got %+v, %v; want %+v, %v", c.err, got, known, c.want, c.known)
		}
	}
}
