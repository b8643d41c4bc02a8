package kernel

import (
	"errors"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Underlay is the device that has the address of Options.VTEP; Device is empty if none has.
type Underlay struct {
	Device string
	MTU    int
	// Down: nothing passes the device, because it is down or has no carrier.
	Down bool
}

// underlay is what is known of it, and by which number the kernel knows the device.
type underlay struct {
	Underlay
	index int
	known bool
}

// Underlay says what is under the tunnels; it is not known before Run has looked. Changed reports when it
// has become another.
func (k *Kernel) Underlay() (u Underlay, known bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.underlay.Underlay, k.underlay.known
}

// watchUnderlay subscribes to addresses, and looks at the VTEP for the first time. Without a VTEP it
// subscribes to nothing.
func (k *Kernel) watchUnderlay(done <-chan struct{}) (<-chan netlink.AddrUpdate, error) {
	if !k.vtep.IsValid() {
		return nil, nil
	}
	updates := make(chan netlink.AddrUpdate, 64)
	if err := netlink.AddrSubscribeWithOptions(updates, done, netlink.AddrSubscribeOptions{
		ErrorCallback: func(error) {}, ReceiveBufferSize: 1 << 20}); err != nil {
		return nil, err
	}
	k.lookUnderlay()
	return updates, nil
}

// isUnderlay reports whether news of a link may concern the VTEP's device.
func (k *Kernel) isUnderlay(a *netlink.LinkAttrs) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.underlay.index != 0 && a.Index == k.underlay.index && (a.MTU != k.underlay.MTU || a.Name != k.underlay.Device || isDown(a) != k.underlay.Down)
}

// isDown: IFF_LOWER_UP alone stays when a device without a carrier of its own is set down.
func isDown(a *netlink.LinkAttrs) bool {
	const up = unix.IFF_UP | unix.IFF_LOWER_UP
	return a.RawFlags&up != up
}

// lookUnderlay finds the device that has the VTEP.
func (k *Kernel) lookUnderlay() {
	now, err := k.findUnderlay()
	if err != nil {
		k.log.Warn("the device under the tunnels cannot be looked at", "vtep", k.vtep, "err", err)
		return
	}
	k.mu.Lock()
	news := now != k.underlay
	k.underlay = now
	k.mu.Unlock()
	if news {
		k.signal()
	}
}

func (k *Kernel) findUnderlay() (underlay, error) {
	u := underlay{known: true}
	family := unix.AF_INET
	if k.vtep.Is6() {
		family = unix.AF_INET6
	}
	addrs, err := netlink.AddrList(nil, family)
	if err != nil {
		return u, err
	}
	for _, a := range addrs {
		if !a.IP.Equal(k.vtep.AsSlice()) {
			continue
		}
		link, err := netlink.LinkByIndex(a.LinkIndex)
		if errors.As(err, new(netlink.LinkNotFoundError)) {
			continue // gone meanwhile
		}
		if err != nil {
			return u, err
		}
		u.Underlay, u.index = Underlay{Device: link.Attrs().Name, MTU: link.Attrs().MTU, Down: isDown(link.Attrs())}, a.LinkIndex
		return u, nil
	}
	return u, nil
}
