package main

import (
	"os"
	"path/filepath"
	"regexp"

	"golang.org/x/sys/unix"
)

var ovsModule = regexp.MustCompile(`(?m)/openvswitch\.ko`)

// datapath is the datapath type that "auto" stands for: the kernel's where its module is
// loaded, built in or installed, else user space.
func (c *Config) datapath() string {
	if c.DatapathType != "auto" {
		return c.DatapathType
	}
	if kernelDatapath("/") {
		return "system"
	}
	return "netdev"
}

func kernelDatapath(root string) bool {
	if _, err := os.Stat(filepath.Join(root, "sys/module/openvswitch")); err == nil {
		return true
	}
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return false
	}
	for _, list := range []string{"modules.builtin", "modules.dep"} {
		b, err := os.ReadFile(filepath.Join(root, "lib/modules", unix.ByteSliceToString(u.Release[:]), list))
		if err == nil && ovsModule.Match(b) {
			return true
		}
	}
	return false
}
