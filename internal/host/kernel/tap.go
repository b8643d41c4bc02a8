package kernel

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"weft/internal/model"
)

// Tap is a tap device for a virtual machine.
type Tap struct {
	Name string
	// MAC is the host's end, with fe: first.
	MAC model.MAC
	MTU int
	// Owner is the user who may open the device without being root.
	Owner int
}

// CreateTap makes a persistent tap device, up, in the process's namespace: frames with
// virtio-net header, without packet information, as QEMU and libvirt use them. A tap of
// that name that exists already is given the same properties.
func CreateTap(t Tap) error {
	if err := openTap(t); err != nil {
		return fmt.Errorf("tap %s: %w", t.Name, err)
	}
	// The host itself has no business on the guest's network.
	err := os.WriteFile(filepath.Join("/proc/sys/net/ipv6/conf", t.Name, "disable_ipv6"), []byte("1"), 0)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("tap %s: disable IPv6: %w", t.Name, err)
	}
	l, err := netlink.LinkByName(t.Name)
	if err != nil {
		return fmt.Errorf("tap %s: %w", t.Name, err)
	}
	if !t.MAC.IsZero() {
		if err := netlink.LinkSetHardwareAddr(l, t.MAC[:]); err != nil {
			return fmt.Errorf("tap %s: set MAC %s: %w", t.Name, t.MAC, err)
		}
	}
	if t.MTU > 0 {
		if err := netlink.LinkSetMTU(l, t.MTU); err != nil {
			return fmt.Errorf("tap %s: set MTU %d: %w", t.Name, t.MTU, err)
		}
	}
	if err := netlink.LinkSetUp(l); err != nil {
		return fmt.Errorf("tap %s: set up: %w", t.Name, err)
	}
	return nil
}

func openTap(t Tap) error {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("/dev/net/tun: %w", err)
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq(t.Name)
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr); err != nil {
		// A guest has it open: then it exists and is somebody's already.
		if errors.Is(err, unix.EBUSY) {
			return nil
		}
		return fmt.Errorf("create: %w", err)
	}
	if err := unix.IoctlSetInt(fd, unix.TUNSETOWNER, t.Owner); err != nil {
		return fmt.Errorf("set owner %d: %w", t.Owner, err)
	}
	if err := unix.IoctlSetInt(fd, unix.TUNSETPERSIST, 1); err != nil {
		return fmt.Errorf("make persistent: %w", err)
	}
	return nil
}

// DeleteTap removes a tap device; it is no error if there is none. A device of another
// kind is refused.
func DeleteTap(name string) error {
	l, err := netlink.LinkByName(name)
	var none netlink.LinkNotFoundError
	if errors.As(err, &none) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("tap %s: %w", name, err)
	}
	if l.Type() != "tuntap" && l.Type() != "tun" {
		return fmt.Errorf("tap %s: is a %s device", name, l.Type())
	}
	if err := netlink.LinkDel(l); err != nil {
		return fmt.Errorf("tap %s: remove: %w", name, err)
	}
	return nil
}

// ethtool requests, linux/ethtool.h.
const (
	ethtoolGetTxCsum = 0x16
	ethtoolSetTxCsum = 0x17
)

type ethtoolValue struct{ cmd, data uint32 }

type ifreqData struct {
	name [unix.IFNAMSIZ]byte
	data unsafe.Pointer
	_    [16]byte
}

// txChecksumOff makes the kernel fill in checksums itself on a device of the thread's
// namespace. Devices that know no offloading need nothing.
func txChecksumOff(name string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	v := ethtoolValue{cmd: ethtoolGetTxCsum}
	if err := ethtool(fd, name, &v); err != nil || v.data == 0 {
		if errors.Is(err, unix.EOPNOTSUPP) {
			return nil
		}
		return err
	}
	v = ethtoolValue{cmd: ethtoolSetTxCsum}
	err = ethtool(fd, name, &v)
	if errors.Is(err, unix.EOPNOTSUPP) {
		return nil
	}
	return err
}

func ethtool(fd int, name string, v *ethtoolValue) error {
	ifr := ifreqData{data: unsafe.Pointer(v)}
	if len(name) >= len(ifr.name) {
		return unix.ENAMETOOLONG
	}
	copy(ifr.name[:], name)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&ifr)))
	if errno != 0 {
		return errno
	}
	return nil
}
