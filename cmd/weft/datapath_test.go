package main

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestKernelDatapath(t *testing.T) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		t.Fatal(err)
	}
	modules := filepath.Join("lib/modules", unix.ByteSliceToString(u.Release[:]))
	for name, c := range map[string]struct {
		files map[string]string
		want  bool
	}{
		"nothing":   {nil, false},
		"loaded":    {map[string]string{"sys/module/openvswitch/refcnt": "0"}, true},
		"built in":  {map[string]string{modules + "/modules.builtin": "kernel/net/openvswitch/openvswitch.ko\n"}, true},
		"installed": {map[string]string{modules + "/modules.dep": "kernel/net/openvswitch/openvswitch.ko: kernel/net/nsh/nsh.ko\n"}, true},
		"others":    {map[string]string{modules + "/modules.dep": "kernel/net/openvswitch/vport-vxlan.ko.xz:\nkernel/drivers/net/tun.ko:\n"}, false},
	} {
		root := t.TempDir()
		for f, text := range c.files {
			f = filepath.Join(root, f)
			if err := os.MkdirAll(filepath.Dir(f), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(f, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got := kernelDatapath(root); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
