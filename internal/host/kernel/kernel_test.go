package kernel

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"weft/internal/host/repairs"
	"weft/internal/lab/labtest"
	"weft/internal/model"
	"weft/internal/plan/netns"
)

func TestMain(m *testing.M) { labtest.Main(m) }

const (
	nsName  = "qdhcp-c9cdbbed-8503-49b9-a636-ed707b68805a"
	tapName = "tapd677df3f-b5"
)

func wanted() netns.Namespace {
	n := netns.Namespace{
		Name: nsName,
		Links: []netns.Link{{
			Name: tapName, MAC: model.MAC{0xfa, 0x16, 0x3e, 0xe4, 0x05, 0xe6}, MTU: 1450,
			Addrs: []netip.Prefix{netip.MustParsePrefix("10.10.0.2/24"), netip.MustParsePrefix("169.254.169.254/32")},
		}},
		Routes:  []netns.Route{{Destination: netip.MustParsePrefix("0.0.0.0/0"), Via: netip.MustParseAddr("10.10.0.1"), Device: tapName}},
		Sysctls: map[string]string{"net/ipv6/conf/default/accept_ra": "0"},
	}
	if _, err := os.Stat("/proc/sys/net/ipv6"); err != nil {
		n.Sysctls = nil
	}
	n.Sort()
	return n
}

// makeDevice makes a device as the switch would: in the namespace of the process.
func makeDevice(t *testing.T, name string) {
	t.Helper()
	if err := CreateTap(Tap{Name: name}); err != nil {
		t.Fatal(err)
	}
}

func fresh(t *testing.T) *Kernel {
	t.Helper()
	labtest.Require(t, "root", "tun")
	t.Cleanup(func() {
		remove(nsName)
		DeleteTap(tapName)
	})
	return New(Options{})
}

func noFaults(t *testing.T, fs []Fault) {
	t.Helper()
	for _, f := range fs {
		t.Fatal("fault: ", f)
	}
}

func observed(t *testing.T, k *Kernel) []netns.Namespace {
	t.Helper()
	got, fs := k.Observe(t.Context())
	noFaults(t, fs)
	return got
}

func TestApply(t *testing.T) {
	k := fresh(t)
	want := wanted()
	fs := k.Apply(t.Context(), []netns.Namespace{want}, Extent{})
	if len(fs) != 1 || !errors.Is(fs[0].Err, ErrNoDevice) || fs[0].Object != nsName+"/"+tapName {
		t.Fatalf("without the device: %v", fs)
	}
	makeDevice(t, tapName)
	start := time.Now()
	noFaults(t, k.Apply(t.Context(), []netns.Namespace{want}, Extent{}))
	t.Logf("device moved and set up in %v", time.Since(start))
	got := observed(t, k)
	if len(got) != 1 || !got[0].Equal(want) {
		t.Fatalf("got:\n%v\nwant:\n%v", got, want)
	}
	start = time.Now()
	noFaults(t, k.Apply(t.Context(), []netns.Namespace{want}, Extent{Full: true}))
	t.Logf("looked at again in %v", time.Since(start))
	noRepairs(t, k)
	// ip(8) agrees.
	out, err := exec.Command("ip", "-n", nsName, "-o", "addr", "show", "dev", tapName).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "inet 10.10.0.2/24 brd 10.10.0.255") || !strings.Contains(string(out), "169.254.169.254/32") {
		t.Errorf("ip: %v\n%s", err, out)
	}
	if l, err := LinkInfo(nsName, tapName); err != nil || l.Type != "tun" || !l.Up || l.MTU != 1450 || l.MAC != want.Links[0].MAC {
		t.Errorf("LinkInfo: %+v, %v", l, err)
	}
}

func TestApplyRepairs(t *testing.T) {
	k := fresh(t)
	makeDevice(t, tapName)
	want := wanted()
	noFaults(t, k.Apply(t.Context(), []netns.Namespace{want}, Extent{}))
	const link, space = nsName + "/" + tapName, nsName
	for _, c := range []struct{ name, cmd, of, found string }{
		{"address gone", "addr del 10.10.0.2/24 dev " + tapName, link, "no address 10.10.0.2/24"},
		{"address more", "addr add 10.10.0.3/24 dev " + tapName, link, "address 10.10.0.3/24 there"},
		{"route gone", "route del default", space, "no route default via 10.10.0.1 dev " + tapName + " proto static"},
		{"route other", "route replace default via 10.10.0.9 dev " + tapName + " proto static", space, "route default via 10.10.0.9 dev " + tapName + " proto static there"},
		{"route more", "route add 192.0.2.0/24 via 10.10.0.9 proto static", space, "route 192.0.2.0/24 via 10.10.0.9 dev " + tapName + " proto static there"},
		{"down", "link set down dev " + tapName, link, "link down"},
		{"mtu", "link set mtu 1500 dev " + tapName, link, "MTU 1500"},
		{"mac", "link set address fa:16:3e:00:00:99 dev " + tapName, link, "MAC fa:16:3e:00:00:99"},
		{"loopback down", "link set down dev lo", space, "lo down"},
		{"all addresses", "addr flush dev " + tapName, link, "no address 10.10.0.2/24, no address 169.254.169.254/32"},
		{"no mark", "link set alias other dev lo", space, "alias of lo other"},
		{"addresses same", "link set up dev " + tapName, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			k.repairs = repairs.Memory{}
			if out, err := exec.Command("ip", append([]string{"-n", nsName}, strings.Fields(c.cmd)...)...).CombinedOutput(); err != nil {
				t.Fatalf("ip %s: %v %s", c.cmd, err, out)
			}
			noFaults(t, k.Apply(t.Context(), []netns.Namespace{want}, Extent{Full: true}))
			if got := observed(t, k); len(got) != 1 || !got[0].Equal(want) {
				t.Fatalf("got:\n%v\nwant:\n%v", got, want)
			}
			if c.of == "" {
				noRepairs(t, k)
			} else if r := k.Repairs(); !slices.ContainsFunc(r, func(r repairs.Repair) bool {
				return r.Kind == "namespace" && r.Name == c.of && strings.HasPrefix(r.Found, c.found)
			}) {
				t.Errorf("it is not remembered that %s was found with %s: %+v", c.of, c.found, r)
			} else if len(r) != 1 {
				t.Errorf("more than that: %+v", r)
			}
		})
	}
	t.Run("namespace gone", func(t *testing.T) {
		k.repairs = repairs.Memory{}
		if err := remove(nsName); err != nil {
			t.Fatal(err)
		}
		makeDevice(t, tapName)
		noFaults(t, k.Apply(t.Context(), []netns.Namespace{want}, Extent{Full: true}))
		if r := k.Repairs(); len(r) != 1 || r[0].Name != nsName || r[0].Found != repairs.Gone {
			t.Errorf("%+v", r)
		}
	})
}

func noRepairs(t *testing.T, k *Kernel) {
	t.Helper()
	if r := k.Repairs(); len(r) > 0 {
		t.Errorf("what nobody has changed was put back: %+v", r)
	}
}

// What weft itself changes in a namespace is nobody else's doing: new settings, a plan that comes and goes, a network
// that comes back, an agent that begins.
func TestOwnChangesAreNoRepairs(t *testing.T) {
	k := fresh(t)
	makeDevice(t, tapName)
	apply := func(want ...netns.Namespace) {
		t.Helper()
		noFaults(t, k.Apply(t.Context(), want, Extent{Full: true, InSync: true}))
		noRepairs(t, k)
	}
	one, other := wanted(), wanted()
	other.Links[0].MTU, other.Routes = 1400, nil
	other.Links[0].Addrs = other.Links[0].Addrs[:1]
	apply(one)
	apply(other)
	// A plan that could not be made leaves half of it behind.
	worse := other
	worse.Sysctls = map[string]string{"net/ipv4/no_such": "1"}
	if fs := k.Apply(t.Context(), []netns.Namespace{worse}, Extent{}); len(fs) == 0 {
		t.Error("no fault")
	}
	apply(one)
	apply()
	makeDevice(t, tapName)
	apply(one)
	k = New(Options{})
	apply(other)
}

// A switch that restarts makes its devices anew, outside the namespace.
func TestDeviceMadeAnew(t *testing.T) {
	k := fresh(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- k.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error("Run: ", err)
		}
	}()
	want := wanted()
	apply := func() {
		t.Helper()
		deadline := time.Now().Add(time.Minute)
		for {
			fs := k.Apply(t.Context(), []netns.Namespace{want}, Extent{})
			if len(fs) == 0 {
				return
			}
			if time.Now().After(deadline) {
				t.Fatal(fs)
			}
			select {
			case <-k.Changed():
			case <-time.After(time.Minute):
				t.Fatal("the device's appearance was not told")
			}
		}
	}
	makeDevice(t, tapName)
	apply()
	for i := range 4 {
		// With the userspace datapath the old device may be left behind, without carrier.
		if i%2 == 0 {
			if out, err := exec.Command("ip", "-n", nsName, "link", "del", tapName).CombinedOutput(); err != nil {
				t.Fatalf("%v %s", err, out)
			}
		}
		for drained := false; !drained; {
			select {
			case <-k.Changed():
			case <-time.After(50 * time.Millisecond):
				drained = true
			}
		}
		makeDevice(t, tapName)
		select {
		case <-k.Changed():
		case <-time.After(time.Minute):
			t.Fatal("the device's appearance was not told")
		}
		apply()
		if got := observed(t, k); len(got) != 1 || !got[0].Equal(want) {
			t.Fatalf("got:\n%v\nwant:\n%v", got, want)
		}
		noRepairs(t, k) // it is the switch's doing
	}
}

func TestSweep(t *testing.T) {
	k := fresh(t)
	makeDevice(t, tapName)
	noFaults(t, k.Apply(t.Context(), []netns.Namespace{wanted()}, Extent{}))
	// Somebody else's: a name like ours without our mark, and other names.
	foreign := []string{"qdhcp-11111111-2222-3333-4444-555555555555", "qrouter-x", "qdhcp-mine"}
	for _, n := range foreign {
		if err := CreateNamespace(n); err != nil {
			t.Fatal(err)
		}
		defer remove(n)
	}
	// A new process, which knows nothing.
	k = New(Options{})
	noFaults(t, k.Apply(t.Context(), nil, Extent{}))
	if !exists(nsName) {
		t.Fatal("removed before the plan was complete")
	}
	noFaults(t, k.Apply(t.Context(), nil, Extent{InSync: true}))
	if exists(nsName) {
		t.Error("not removed")
	}
	if _, err := os.Stat(filepath.Join(Dir, nsName)); err == nil {
		t.Error("file not removed")
	}
	for _, n := range foreign {
		if !exists(n) {
			t.Errorf("%s was removed", n)
		}
	}
}

// A fault in one namespace leaves the others alone.
func TestFaultsAreApart(t *testing.T) {
	k := fresh(t)
	makeDevice(t, tapName)
	bad := netns.Namespace{Name: "qdhcp-00000000-0000-0000-0000-000000000000", Links: []netns.Link{{Name: "tapmissing", MTU: 1450}}}
	defer remove(bad.Name)
	worse := netns.Namespace{Name: "no/such/dir"}
	fs := k.Apply(t.Context(), []netns.Namespace{bad, worse, wanted()}, Extent{})
	if len(fs) != 2 || !errors.Is(fs[0].Err, ErrNoDevice) || fs[1].Object != worse.Name {
		t.Errorf("faults: %v", fs)
	}
	if got := observed(t, k); len(got) != 2 || !got[1].Equal(wanted()) {
		t.Errorf("got %v", got)
	}
}

// A process that died while it made a namespace leaves a plain file.
func TestHalfMadeNamespace(t *testing.T) {
	k := fresh(t)
	if err := os.MkdirAll(Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(Dir, nsName), nil, 0o444); err != nil {
		t.Fatal(err)
	}
	makeDevice(t, tapName)
	noFaults(t, k.Apply(t.Context(), []netns.Namespace{wanted()}, Extent{}))
}

func currentNS(t *testing.T) string {
	t.Helper()
	s, err := os.Readlink("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestDo(t *testing.T) {
	labtest.Require(t, "root")
	if err := CreateNamespace("do"); err != nil {
		t.Fatal(err)
	}
	defer remove("do")
	home := currentNS(t)
	var inside string
	if err := Do("do", func() error { inside = currentNS(t); return nil }); err != nil {
		t.Fatal(err)
	}
	if inside == home {
		t.Error("fn ran at home")
	}
	want := errors.New("mine")
	if err := Do("do", func() error { return want }); err != want {
		t.Errorf("error: %v", err)
	}
	if err := Do("nowhere", func() error { return nil }); err == nil {
		t.Error("a namespace that does not exist was entered")
	}
	if err := Do("do", func() error { runtime.Goexit(); return nil }); err == nil {
		t.Error("Goexit passed for success")
	}
	// No thread is left behind in the other namespace.
	var wg sync.WaitGroup
	for range 200 {
		wg.Go(func() {
			if err := Do("do", func() error { return nil }); err != nil {
				t.Error(err)
			}
			if s, err := os.Readlink("/proc/thread-self/ns/net"); err != nil || s != home {
				t.Errorf("in %s, not %s: %v", s, home, err)
			}
		})
	}
	wg.Wait()
	tasks, _ := filepath.Glob("/proc/self/task/*/ns/net")
	for _, p := range tasks {
		if s, err := os.Readlink(p); err == nil && s != home {
			t.Errorf("%s is in %s", p, s)
		}
	}
}

func TestTap(t *testing.T) {
	labtest.Require(t, "root", "tun")
	tap := Tap{Name: "tap01234567-89", MAC: model.MAC{0xfe, 0x16, 0x3e, 1, 2, 3}, MTU: 1450, Owner: 1000}
	defer DeleteTap(tap.Name)
	for range 2 { // twice is as good as once
		if err := CreateTap(tap); err != nil {
			t.Fatal(err)
		}
	}
	l, err := LinkInfo("", tap.Name)
	if err != nil || l.Type != "tun" || l.MAC != tap.MAC || l.MTU != 1450 || !l.Up || l.Carrier {
		t.Errorf("%+v, %v", l, err)
	}
	nl, err := netlink.LinkByName(tap.Name)
	if err != nil {
		t.Fatal(err)
	}
	if tt, ok := nl.(*netlink.Tuntap); !ok || tt.Owner != 1000 || tt.NonPersist || tt.Flags&netlink.TUNTAP_VNET_HDR == 0 || tt.Flags&netlink.TUNTAP_NO_PI == 0 {
		t.Errorf("%+v", nl)
	}
	if err := DeleteTap("lo"); err == nil {
		t.Error("loopback was taken for a tap")
	}
	for range 2 {
		if err := DeleteTap(tap.Name); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := LinkInfo("", tap.Name); !errors.Is(err, ErrNoLink) {
		t.Errorf("still there: %v", err)
	}
}

func TestPlaceLink(t *testing.T) {
	labtest.Require(t, "root", "tun")
	if err := CreateNamespace("guest"); err != nil {
		t.Fatal(err)
	}
	defer remove("guest")
	want := netns.Link{Name: "tapguest", MAC: model.MAC{0xfa, 0x16, 0x3e, 9, 9, 9}, MTU: 1400}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := PlaceLink(ctx, "guest", want); !errors.Is(err, ErrNoDevice) {
		t.Errorf("without a device: %v", err)
	}
	go func() {
		time.Sleep(10 * time.Millisecond)
		CreateTap(Tap{Name: want.Name})
	}()
	ctx, cancel = context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := PlaceLink(ctx, "guest", want); err != nil {
		t.Fatal(err)
	}
	if l, err := LinkInfo("guest", want.Name); err != nil || l.MAC != want.MAC || l.MTU != 1400 || !l.Up {
		t.Errorf("%+v, %v", l, err)
	}
}

func BenchmarkApplyUnchanged(b *testing.B) {
	labtest.Require(b, "root", "tun")
	k := New(Options{})
	if err := CreateTap(Tap{Name: tapName}); err != nil {
		b.Fatal(err)
	}
	defer remove(nsName)
	want := []netns.Namespace{wanted()}
	for _, full := range []bool{true, false} {
		b.Run(map[bool]string{true: "full", false: "watching"}[full], func(b *testing.B) {
			k.setWatching(!full)
			for b.Loop() {
				if fs := k.Apply(b.Context(), want, Extent{Full: full}); len(fs) > 0 {
					b.Fatal(fs)
				}
			}
		})
	}
}
