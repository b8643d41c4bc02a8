package weft_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// layers says which packages of ours each package may import (paths below
// internal/; "plan/..." is plan and all beneath). Tests are free: they may start real
// daemons and read what a package would never ask for. A package that is missing here fails the test.
var layers = map[string]string{
	// Pure: values in, values out.
	"model":         "",
	"ipam":          "model",
	"access":        "model",
	"plan":          "model plan/...",
	"plan/view":     "model",
	"plan/vif":      "model",
	"plan/vswitch":  "model",
	"plan/netns":    "model",
	"plan/firewall": "model plan/view plan/vswitch",
	"plan/pipeline": "model plan/view plan/vif plan/vswitch plan/firewall",
	"plan/dhcp":     "model plan/view plan/vif plan/netns",
	"host/diff":     "",
	"host/openflow": "",
	"host/repairs":  "",
	"metrics":       "",
	"capture":       "model",
	"trace":         "model ipam plan/...",
	"doctor":        "model trace",

	// The server.
	"store":           "model ipam metrics",
	"store/storetest": "store",
	"control":         "model ipam access store metrics",
	"identity":        "model access store",
	"neutron":         "model access control store",
	"feed":            "model plan/view store control feed/feedpb metrics",
	"feed/feedpb":     "",
	"admin":           "model store control feed trace doctor",
	"inspect":         "model plan/view plan/firewall store feed trace capture metrics",
	"web":             "",

	// The host.
	"host/ovs":    "model plan/vswitch plan/vif plan/view host/diff host/openflow host/repairs metrics",
	"host/kernel": "model plan/netns plan/vif host/diff host/repairs capture",
	"host/dhcpd":  "model plan/dhcp host/kernel metrics",
	"host":        "model plan/... host/... capture doctor trace",
	"agent":       "model plan/... host feed trace metrics capture doctor",

	// Its own client.
	"client": "",

	// Tests and the demonstration.
	"lab":         "model",
	"lab/labtest": "lab",
}

// pure are the packages that can neither block nor look at the machine, a clock or a coin.
// That they have no context.Context is the proof.
func pure(pkg string) bool {
	switch pkg {
	case "model", "ipam", "access", "host/diff", "host/openflow", "trace", "capture", "doctor":
		return true
	}
	return pkg == "plan" || strings.HasPrefix(pkg, "plan/")
}

var impure = []string{
	"context", "os", "os/exec", "os/signal", "io/ioutil", "net", "net/http", "log", "log/slog", "sync", "sync/atomic",
	"syscall", "math/rand", "math/rand/v2", "crypto/rand", "golang.org/x/sys/unix", "unsafe",
}

// clocks are the functions of package time that read the clock or wait. Pure packages may
// use the types.
var clocks = []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker"}

// owners says which packages may import an outside library. The longest prefix counts;
// cmd/weft, which wires everything, may import any.
var owners = map[string]string{
	"go.etcd.io/etcd":                    "store store/storetest",
	"go.uber.org/zap":                    "store store/storetest",
	"google.golang.org/grpc":             "feed feed/feedpb",
	"google.golang.org/protobuf":         "feed feed/feedpb",
	"github.com/ovn-kubernetes/libovsdb": "host/ovs",
	"github.com/go-logr/logr":            "host/ovs",
	"github.com/vishvananda":             "host/kernel lab",
	"github.com/insomniacslk/dhcp":       "plan/dhcp host/dhcpd",
	"github.com/prometheus":              "metrics",
	"github.com/spf13/cobra":             "",
	"go.yaml.in/yaml":                    "client",
	"golang.org/x/crypto":                "identity plan/vif",
	"golang.org/x/net":                   "capture",
	// Small ones that do no work of their own.
	"golang.org/x/sys":       "*",
	"golang.org/x/sync":      "*",
	"github.com/google/uuid": "*",
}

// source is one Go file of ours that is no test.
type source struct {
	pkg, file string
	ast       *ast.File
}

func sources(t *testing.T) []source {
	t.Helper()
	var all []source
	fset := token.NewFileSet()
	for _, root := range []string{"internal", "cmd"} {
		err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case d.IsDir() && (d.Name() == "testdata" || file == filepath.Join("internal", "deps")):
				return filepath.SkipDir // deps only pins versions, under a build tag
			case d.IsDir() || !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go"):
				return nil
			}
			f, err := parser.ParseFile(fset, file, nil, parser.ParseComments|parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			pkg := strings.TrimPrefix(filepath.ToSlash(filepath.Dir(file)), "internal/")
			all = append(all, source{pkg, file, f})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return all
}

func imports(s source) []string {
	var all []string
	for _, i := range s.ast.Imports {
		p, err := strconv.Unquote(i.Path.Value)
		if err != nil {
			panic(err) // the parser would have refused it
		}
		all = append(all, p)
	}
	return all
}

// allows reports whether a list of layers names pkg.
func allows(list, pkg string) bool {
	return slices.ContainsFunc(strings.Fields(list), func(l string) bool {
		below, wild := strings.CutSuffix(l, "/...")
		return l == "*" || l == pkg || wild && (pkg == below || strings.HasPrefix(pkg, below+"/"))
	})
}

func TestLayers(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range sources(t) {
		seen[s.pkg] = true
		if strings.HasPrefix(s.pkg, "cmd/") {
			continue
		}
		list, known := layers[s.pkg]
		if !known {
			t.Errorf("%s: package %s is not in the table of layers", s.file, s.pkg)
			continue
		}
		for _, p := range imports(s) {
			if ours, ok := strings.CutPrefix(p, "weft/internal/"); ok && !allows(list, ours) {
				t.Errorf("%s: %s may not import %s", s.file, s.pkg, ours)
			} else if strings.HasPrefix(p, "weft/cmd/") {
				t.Errorf("%s: nothing imports a command", s.file)
			}
		}
	}
	for pkg := range layers {
		if !seen[pkg] {
			t.Errorf("%s is in the table of layers, but does not exist", pkg)
		}
	}
}

func TestOwners(t *testing.T) {
	prefixes := slices.SortedFunc(maps.Keys(owners), func(a, b string) int { return len(b) - len(a) })
	for _, s := range sources(t) {
		for _, p := range imports(s) {
			first, _, _ := strings.Cut(p, "/")
			if !strings.Contains(first, ".") || strings.HasPrefix(s.pkg, "cmd/") {
				continue
			}
			i := slices.IndexFunc(prefixes, func(x string) bool { return p == x || strings.HasPrefix(p, x+"/") })
			if i < 0 {
				t.Errorf("%s: %s has no owner", s.file, p)
			} else if !allows(owners[prefixes[i]], s.pkg) {
				t.Errorf("%s: %s belongs to %q", s.file, p, owners[prefixes[i]])
			}
		}
	}
}

func TestPure(t *testing.T) {
	for _, s := range sources(t) {
		if !pure(s.pkg) {
			continue
		}
		for _, p := range imports(s) {
			if slices.Contains(impure, p) {
				t.Errorf("%s: %s is pure and may not import %s", s.file, s.pkg, p)
			}
		}
		ast.Inspect(s.ast, func(n ast.Node) bool {
			if sel, ok := n.(*ast.SelectorExpr); ok {
				if x, ok := sel.X.(*ast.Ident); ok && x.Name == "time" && slices.Contains(clocks, sel.Sel.Name) {
					t.Errorf("%s: %s is pure and may not call time.%s", s.file, s.pkg, sel.Sel.Name)
				}
			}
			return true
		})
	}
}

// TestPackageDocs: each package says in one place what it does, in the indicative.
func TestPackageDocs(t *testing.T) {
	docs := map[string][]string{}
	for _, s := range sources(t) {
		if _, seen := docs[s.pkg]; !seen {
			docs[s.pkg] = nil
		}
		if s.ast.Doc == nil {
			continue
		}
		docs[s.pkg] = append(docs[s.pkg], s.file)
		want := "Package " + path.Base(s.pkg) + " "
		if strings.HasPrefix(s.pkg, "cmd/") {
			want = "Command " + path.Base(s.pkg) + " "
		}
		if text := s.ast.Doc.Text(); !strings.HasPrefix(text, want) {
			t.Errorf("%s: the package comment does not begin with %q", s.file, want)
		}
	}
	for _, pkg := range slices.Sorted(maps.Keys(docs)) {
		if len(docs[pkg]) != 1 {
			t.Errorf("package %s is described in %d files %v, want 1", pkg, len(docs[pkg]), docs[pkg])
		}
	}
}
