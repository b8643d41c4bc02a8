package test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// skewVar says, to the weft of skewedWeft, by how many seconds its clock is ahead.
const skewVar = "WEFT_TEST_SKEW"

var skewed struct {
	once sync.Once
	bin  string
	err  error
}

// skewedWeft is weft, built with a package time whose clock can be wrong: the program is static, and no library can come
// between it and the kernel. All packages are compiled anew the first time; then Go's cache has them.
func skewedWeft(t testing.TB) string {
	t.Helper()
	skewed.once.Do(func() {
		began := time.Now()
		skewed.bin, skewed.err = buildSkewed()
		t.Logf("a weft with another clock is built after %s", time.Since(began).Round(time.Second))
	})
	if skewed.err != nil {
		t.Fatal(skewed.err)
	}
	return skewed.bin
}

const skewedNow = `	sec += skew
`

const skewSource = `
var skew = func() (n int64) {
	s, _ := syscall.Getenv("` + skewVar + `")
	sign := int64(1)
	for _, c := range []byte(s) {
		if c == '-' {
			sign = -1
			continue
		}
		n = n*10 + int64(c-'0')
	}
	return sign * n
}()
`

func buildSkewed() (string, error) {
	dir, err := os.MkdirTemp("/run", "skew")
	if err != nil {
		return "", err
	}
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return "", err
	}
	original := filepath.Join(strings.TrimSpace(string(root)), "src", "time", "time.go")
	source, err := os.ReadFile(original)
	if err != nil {
		return "", err
	}
	text := strings.Replace(string(source), "import (", "import (\n\t\"syscall\"", 1)
	text = strings.Replace(text, "	sec, nsec, mono := runtimeNow()\n", "	sec, nsec, mono := runtimeNow()\n"+skewedNow, 1) + skewSource
	changed := filepath.Join(dir, "time.go")
	if err := os.WriteFile(changed, []byte(text), 0o600); err != nil {
		return "", err
	}
	overlay, err := json.Marshal(m{"Replace": m{original: changed}})
	if err != nil {
		return "", err
	}
	file, bin := filepath.Join(dir, "overlay.json"), filepath.Join(dir, "weft")
	if err := os.WriteFile(file, overlay, 0o600); err != nil {
		return "", err
	}
	cmd := exec.Command("go", "build", "-trimpath", "-overlay", file, "-o", bin, "weft/cmd/weft")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build weft with another clock: %w: %s", err, out)
	}
	return bin, nil
}
