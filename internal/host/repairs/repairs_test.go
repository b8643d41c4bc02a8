package repairs

import (
	"strings"
	"testing"
	"time"
)

func TestRepairsAreForgotten(t *testing.T) {
	var m Memory
	begin := time.Now().Add(-time.Hour)
	for i := range 2 * most {
		m.Note(begin.Add(time.Duration(i)*time.Millisecond), []Repair{{Kind: "port", Name: strings.Repeat("x", i)}})
	}
	if len(m.all) != most || m.all[key{kind: "port", name: strings.Repeat("x", 2*most-1)}] == nil {
		t.Errorf("%d are kept", len(m.all))
	}
	m.Note(begin.Add(30*time.Minute), []Repair{{Kind: "port"}})
	if len(m.all) != 1 {
		t.Errorf("%d are kept after half an hour", len(m.all))
	}
}
