package vswitch

import (
	_ "embed"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

//go:embed testdata/walk.txt
var walkText string

// TestParseWalk reads what an Open vSwitch 3.1 has printed.
func TestParseWalk(t *testing.T) {
	w := ParseWalk(walkText)
	var got []string
	for _, s := range w.Steps {
		if s.Bridge != "br-int" {
			t.Errorf("%s on bridge %q", s.Flow(), s.Bridge)
		}
		got = append(got, s.Flow())
	}
	want := []string{"table=0,priority=9,in_port=7", "table=25,priority=5,dl_src=02:00:00:00:00:01", "table=60,priority=32768,in_port=7",
		"table=71,priority=65,ip", "table=72,priority=70,conj_id=8", "table=73,priority=90,ct_state=+new,ip", "table=91,priority=32768",
		"table=94,priority=32768", "table=95 (no flow matches)"}
	if d := cmp.Diff(want, got); d != "" {
		t.Fatal(d)
	}
	if c := w.Steps[1].Cookie; c != 0x100 {
		t.Errorf("cookie %#x", c)
	}
	if d := cmp.Diff([]string{"resubmit(,95)", "output:8"}, w.Steps[7].Actions); d != "" {
		t.Error(d)
	}
	if !slices.Equal(w.Steps[7].Outputs, []uint32{8}) {
		t.Errorf("outputs %v", w.Steps[7].Outputs)
	}
	for _, s := range w.Steps {
		if s.Drops() != (s.Table == 95) {
			t.Errorf("%s: drops is %v: %q", s.Flow(), s.Drops(), s.Actions)
		}
	}
	if want := []string{"ct(zone=1),recirc(0x1)", "ct(commit,zone=1),2"}; !slices.Equal(w.Datapath, want) {
		t.Errorf("%q, want %q", w.Datapath, want)
	}
	for _, text := range []string{"", "\n\n", "300. priority 5", " 0. priority 99999", "    drop", "bridge(\"x\")\n    drop\n"} {
		if w := ParseWalk(text); len(w.Steps) != 0 {
			t.Errorf("%q: %+v", text, w)
		}
	}
}

// On the userspace datapath the walk goes through the bridge of a tunnel's device, and comes back.
func TestParseWalkThroughTunnels(t *testing.T) {
	w := ParseWalk(`Flow: udp,in_port=1

bridge("br-int")
----------------
94. reg6=0x1, priority 20, cookie 0x3ef70200fd5ccfcf
    output:65000

bridge("br-tun")
----------------
22. dl_vlan=1, priority 1, cookie 0x3ef70200fd5ccfcf
    pop_vlan
    output:2
     -> output to native tunnel
     -> tunneling to 10.0.0.11 via br-phys

    bridge("br-phys")
    -----------------
         0. priority 0
            NORMAL
             -> forwarding to learned port
    output:3
     -> output to native tunnel
    resubmit(,23)
    23. priority 0
            drop

bridge("br-phys")
-----------------
 0. priority 0
    NORMAL

Final flow: udp
Datapath actions: 2
`)
	var got []string
	for _, s := range w.Steps {
		got = append(got, fmt.Sprintf("%s %s %v", s.Bridge, s.Flow(), s.Outputs))
	}
	want := []string{"br-int table=94,priority=20,reg6=0x1 [65000]", "br-tun table=22,priority=1,dl_vlan=1 [2 3]", "br-phys table=0,priority=0 []",
		"br-tun table=23,priority=0 []", "br-phys table=0,priority=0 []"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
	if a := w.Steps[1].Actions; !slices.Equal(a, []string{"pop_vlan", "output:2", "output:3", "resubmit(,23)"}) {
		t.Errorf("actions %q", a)
	}
}

// A bridge that a packet comes to from another has, for what matches no flow, a flow of Open vSwitch's own.
func TestParseWalkHiddenMiss(t *testing.T) {
	w := ParseWalk(`bridge("br-int")
----------------
 0. in_port=2, priority 9, cookie 0x77ef000000000000
    output:1

bridge("br-tun")
----------------
 0. reg0=0x2, priority 0
    drop
`)
	if n := len(w.Steps); n != 2 || !w.Steps[1].Miss || !w.Steps[1].Drops() || w.Steps[1].Flow() != "table=0 (no flow matches)" || w.Steps[0].Miss {
		t.Errorf("%+v", w.Steps)
	}
}
