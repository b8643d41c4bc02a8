#!/bin/sh
# Makes the small Linux guest of the demo and the tests: a Debian kernel and an initramfs
# of busybox. Packages are downloaded and unpacked into a cache, never installed.
#
#   scripts/guest.sh [DIRECTORY]     default: .cache/guest beside this repository's Makefile
#
# Leaves DIRECTORY/vmlinuz and DIRECTORY/initrd. Does nothing when they are up to date.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
dir=${1:-${WEFT_GUEST_DIR:-$here/../.cache/guest}}
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)

# The stamp holds the scripts' checksum, so a changed init makes a new image.
stamp=$(cat "$here/guest.sh" "$here/guest-init.sh" | sha256sum | cut -c1-16)
if [ -s "$dir/vmlinuz" ] && [ -s "$dir/initrd" ] && [ "$(cat "$dir/stamp" 2>/dev/null)" = "$stamp" ]; then
	exit 0
fi

if [ "$(dpkg --print-architecture)" != amd64 ]; then
	echo "guest.sh: the demo's guest is made for amd64 only" >&2
	exit 1
fi

work=$(mktemp -d "$dir/build.XXXXXX")
trap 'rm -rf "$work"' EXIT
# apt downloads as user _apt where it can; the directory must be reachable for that.
chmod 755 "$work"
cd "$work"

kernel() { apt-cache depends linux-image-cloud-amd64 2>/dev/null | sed -n 's/.*Depends: \(linux-image-[0-9].*\)/\1/p' | head -1; }

download() {
	image=$(kernel)
	[ -n "$image" ] && apt-get -qq -o APT::Sandbox::User=root download "$image" busybox-static cpio
}

echo "guest: downloading a Debian kernel and busybox (28 MB)" >&2
if ! download 2>download.log; then
	# The lists may be absent (a fresh container) or too old (the version is gone).
	echo "guest: refreshing apt's lists" >&2
	if [ "$(id -u)" = 0 ]; then apt-get -qq update >&2; else sudo apt-get -qq update >&2; fi
	download
fi
for deb in *.deb; do dpkg -x "$deb" tree; done

busybox=$(find tree -path '*bin/busybox' -type f | head -1)
modules=$(echo tree/lib/modules/*)
if [ ! -d "$modules" ]; then modules=$(echo tree/usr/lib/modules/*); fi

mkdir -p root/bin root/modules root/etc root/proc root/sys root/dev root/tmp
cp "$busybox" root/bin/busybox
# In the order in which they must be loaded; one that a kernel has built in is absent.
for m in virtio_ring virtio virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci failover net_failover virtio_net af_packet; do
	f=$(find "$modules" -name "$m.ko*" | head -1)
	[ -n "$f" ] || continue
	case $f in
	*.xz) xz -dc "$f" >"root/modules/$m.ko" ;;
	*) cp "$f" "root/modules/$m.ko" ;;
	esac
	echo "$m.ko" >>root/modules/order
done
cp "$here/guest-init.sh" root/init
chmod 755 root/init
cpio=$work/$(find tree -path '*bin/cpio' -type f | head -1)
(cd root && find . | "$cpio" --quiet -o -H newc -R 0:0 | gzip -9) >initrd

mv tree/boot/vmlinuz-* "$dir/vmlinuz"
mv initrd "$dir/initrd"
chmod 644 "$dir/vmlinuz" "$dir/initrd"
echo "$stamp" >"$dir/stamp"
echo "guest: $dir/vmlinuz and $dir/initrd are ready" >&2
