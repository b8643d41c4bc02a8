package host

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"weft/internal/capture"
	"weft/internal/host/kernel"
	"weft/internal/model"
	"weft/internal/plan/vif"
)

// Packets are those of a port, as they pass its device.
type Packets struct {
	Reader interface {
		Read(buf []byte) (capture.Packet, error)
		Dropped() uint64
		Close() error
	}
	Device, Namespace string
	// Internal: who has the port is at this side of the device, not beyond it as a virtual machine is.
	Internal bool
}

// Packets listens to the device of a port in a namespace, or wherever the device is.
func (h *Host) Packets(id model.PortID, ns string, filter capture.Program) (Packets, error) {
	p := Packets{Device: vif.TapName(id), Namespace: ns}
	i, _ := h.findInterface(id)
	switch {
	case i == nil:
		return p, errors.New("nothing is plugged for the port on this host")
	case strings.HasPrefix(i.Type, "dpdk"):
		return p, fmt.Errorf("interface %s is of type %s: the kernel sees nothing of its packets", i.Name, i.Type)
	}
	p.Device, p.Internal = i.Name, i.Type == "internal"
	r, err := kernel.OpenPackets(ns, p.Device, filter)
	if errors.Is(err, kernel.ErrNoLink) && ns == "" {
		r, p.Namespace, err = openElsewhere(p.Device, filter, err)
	}
	p.Reader = r
	return p, err
}

// openElsewhere looks for a device in the named namespaces, where containers have theirs.
func openElsewhere(device string, filter capture.Program, failure error) (*kernel.Packets, string, error) {
	names, err := os.ReadDir(kernel.Dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, "", err
	}
	for _, n := range names {
		r, err := kernel.OpenPackets(n.Name(), device, filter)
		if err == nil {
			return r, n.Name(), nil
		}
		if !errors.Is(err, kernel.ErrNoLink) && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, os.ErrInvalid) {
			failure = fmt.Errorf("namespace %s: %w", n.Name(), err)
		}
	}
	return nil, "", failure
}
