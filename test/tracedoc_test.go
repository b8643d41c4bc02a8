package test

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"weft/internal/trace"
)

// docs/trace.md says of every step, cause and fault what the program says.
func TestTraceDoc(t *testing.T) {
	const file = "../docs/trace.md"
	frame, err := os.ReadFile("testdata/trace.md")
	if err != nil {
		t.Fatal(err)
	}
	want := strings.NewReplacer("{{steps}}\n", stepsDoc(t), "{{causes}}\n", causesDoc(t), "{{faults}}\n", faultsDoc()).Replace(string(frame))
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(file); err != nil || string(got) != want {
		t.Errorf("%s is out of date (%v): go test ./test -run TestTraceDoc -update", file, err)
	}
	for _, of := range []any{trace.Report{}, trace.Chain{}, trace.Finding{}, trace.Step{}, trace.Item{}} {
		for f := range reflect.TypeOf(of).Fields() {
			if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" && name != "-" && !strings.Contains(want, "`"+name+"`") {
				t.Errorf("%T has a field %s, of which nothing is said", of, name)
			}
		}
	}
}

var (
	constant = regexp.MustCompile(`^\t(Cause\w+)\s+Cause = "(\w+)"`)
	group    = regexp.MustCompile(`^\t// (.*)`)
	stepLine = regexp.MustCompile(`\tStep\w+\s+= "(\w+)"\s+// (.*)`)
)

func source(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("../internal/trace", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func stepsDoc(t *testing.T) string {
	var b strings.Builder
	b.WriteString("| step | looks at |\n|---|---|\n")
	for _, m := range stepLine.FindAllStringSubmatch(source(t, "report.go"), -1) {
		fmt.Fprintf(&b, "| `%s` | %s |\n", m[1], m[2])
	}
	return b.String()
}

// causesDoc has a table for each group of causes, in the order in which they stand in the source.
func causesDoc(t *testing.T) string {
	var b strings.Builder
	title := "any step"
	told := 0
	_, constants, ok := strings.Cut(source(t, "cause.go"), "// The causes.")
	if !ok {
		t.Fatal("where are the causes?")
	}
	for line := range strings.Lines(constants) {
		if m := group.FindStringSubmatch(line); m != nil && told < len(trace.Causes) {
			title = m[1]
		}
		m := constant.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		if title != "" {
			fmt.Fprintf(&b, "%sOf %s:\n\n| cause | means | what to do |\n|---|---|---|\n", map[bool]string{true: "\n"}[told > 0], title)
			title = ""
		}
		c := trace.Causes[trace.Cause(m[2])]
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", m[2], c.Title, strings.ReplaceAll(cmp.Or(c.Do, "-"), "|", "\\|"))
		told++
	}
	if told != len(trace.Causes) {
		t.Errorf("%d of %d causes are in the document", told, len(trace.Causes))
	}
	return b.String()
}

func faultsDoc() string {
	var b strings.Builder
	for i, x := range exhibits() {
		if i > 0 {
			b.WriteString("\n")
		}
		fmt.Fprintf(&b, "### %s%s\n\n", strings.ToUpper(x.name[:1]), x.name[1:])
		fmt.Fprintf(&b, "Made: %s\n\n", x.made)
		fmt.Fprintf(&b, "> %s: %s\n\n", strings.ToUpper(string(cmp.Or(x.verdict, trace.Broken))), x.text)
		if other := x.userspace; other.text != "" {
			fmt.Fprintf(&b, "On the userspace datapath:\n\n> %s: %s\n\n", strings.ToUpper(string(other.verdict)), other.text)
		}
		if do := trace.Causes[x.cause].Do; do != "" {
			fmt.Fprintf(&b, "`%s`: %s\n\n", x.cause, do)
		}
		fmt.Fprintf(&b, "Undone: %s\n", x.undone)
	}
	return b.String()
}

// Every cause is shown: by a fault of the gallery, or by a test of package trace.
func TestCausesAreShown(t *testing.T) {
	var seen bytes.Buffer
	for _, pattern := range []string{"*_test.go", "testdata/*"} {
		files, err := filepath.Glob("../internal/trace/" + pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			seen.Write(b)
		}
	}
	for line := range strings.Lines(source(t, "cause.go")) {
		m := constant.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		inGallery := slices.ContainsFunc(exhibits(), func(x exhibit) bool { return x.cause == trace.Cause(m[2]) })
		if m[2] == string(trace.CauseDisagree) {
			continue // only a defect of weft leads to it
		}
		if !inGallery && !regexp.MustCompile(`\b(`+m[1]+`|`+m[2]+`)\b`).Match(seen.Bytes()) {
			t.Errorf("%s (%s) is shown by no fault of the gallery and no test of package trace", m[1], m[2])
		}
	}
}
