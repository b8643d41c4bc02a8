#!/bin/sh
# Makes the Debian guest of `make test-kernel`: a kernel with the openvswitch module, Open
# vSwitch and the programs that the tests call. Packages are downloaded and unpacked into
# an image, never installed, and none of their scripts run; no rights of root are needed.
#
#   scripts/kernel-guest.sh      makes .cache/kernel-guest beside this repository's Makefile
#
# Leaves vmlinuz, initrd and root.img there. Does nothing when they are up to date.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$here/../.cache/kernel-guest"
dir=$(cd "$here/../.cache/kernel-guest" && pwd)

# With all that these depend on. What they only recommend stays out.
packages="linux-image-cloud-amd64 openvswitch-switch
	dash coreutils sed grep mawk util-linux mount kmod procps busybox-static cpio
	iproute2 iputils-ping ethtool tcpdump nftables conntrack curl udhcpc isc-dhcp-client"

# The stamp holds the scripts' checksum, so a changed init makes a new image.
stamp=$(cat "$here/kernel-guest.sh" "$here/kernel-guest-init.sh" | sha256sum | cut -c1-16)
if [ "$(cat "$dir/stamp" 2>/dev/null)" = "$stamp" ] && [ -s "$dir/vmlinuz" ] && [ -s "$dir/initrd" ] && [ -s "$dir/root.img" ]; then
	exit 0
fi
if [ "$(dpkg --print-architecture)" != amd64 ]; then
	echo "kernel-guest.sh: the guest is made for amd64 only" >&2
	exit 1
fi

rm -f "$dir/stamp"
work=$(mktemp -d "$dir/build.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM
# apt downloads as user _apt where it can; the directory must be reachable for that.
chmod 755 "$work"
cd "$work"
mkdir -p debs/partial

download() {
	# For apt nothing is installed yet, so it gets everything. It locks nothing, as it changes nothing.
	# shellcheck disable=SC2086 # a list of words
	apt-get -qq -y -o Dir::State::status=/dev/null -o Dir::Cache::archives="$work/debs" -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= \
		-o Debug::NoLocking=1 -o APT::Sandbox::User=root --no-install-recommends --download-only install $packages
}

echo "kernel guest: downloading Debian packages (82 MB)" >&2
if ! download >download.log 2>&1; then
	# The lists may be absent (a fresh container) or too old (the version is gone).
	echo "kernel guest: refreshing apt's lists" >&2
	if [ "$(id -u)" = 0 ]; then apt-get -qq update >&2; else sudo apt-get -qq update >&2; fi
	download >&2
fi

echo "kernel guest: unpacking" >&2
mkdir -p root/usr
for d in bin sbin lib lib64; do
	mkdir "root/usr/$d"
	ln -s "usr/$d" "root/$d"
done
for deb in debs/*.deb; do
	dpkg --fsys-tarfile "$deb" | tar -x -C root --no-same-owner --keep-directory-symlink \
		--exclude='./usr/share/doc/*' --exclude='./usr/share/man/*' --exclude='./usr/share/locale/*' --exclude='./usr/share/perl*'
done
version=$(basename root/lib/modules/*)
mv "root/boot/vmlinuz-$version" vmlinuz
rm -rf root/boot/*
PATH=$PATH:/usr/sbin:/sbin
depmod -b root "$version"
mkdir -p root/dev root/proc root/sys root/run root/tmp root/root root/weft root/var
cp "$here/kernel-guest-init.sh" root/init
chmod 755 root/init
# What the packages' scripts would have done, as far as it matters here.
printf '%s\n' root:x:0:0:root:/root:/bin/sh nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin >root/etc/passwd
printf '%s\n' root:x:0: nogroup:x:65534: >root/etc/group
printf '%s\n' "127.0.0.1 localhost" "::1 localhost" >root/etc/hosts
ln -s /run root/var/run
ln -s mawk root/usr/bin/awk
ln -s ../lib/openvswitch-switch/ovs-vswitchd root/usr/sbin/ovs-vswitchd

# The initrd only finds the disk.
mkdir -p initrd.d/bin initrd.d/modules initrd.d/dev initrd.d/root
cp root/bin/busybox initrd.d/bin/busybox
# In the order in which they must be loaded; one that a kernel has built in is absent.
for m in virtio_ring virtio virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci virtio_blk crc16 mbcache jbd2 crc32c_generic ext4; do
	f=$(find root/lib/modules -name "$m.ko*" | head -1)
	[ -n "$f" ] || continue
	case $f in
	*.xz) xz -dc "$f" >"initrd.d/modules/$m.ko" ;;
	*.zst) zstd -dcq "$f" >"initrd.d/modules/$m.ko" ;;
	*) cp "$f" "initrd.d/modules/$m.ko" ;;
	esac
	echo "$m.ko" >>initrd.d/modules/order
done
cat >initrd.d/init <<'INIT'
#!/bin/busybox sh
b=/bin/busybox
$b mount -t devtmpfs dev /dev
while read -r m; do $b insmod "/modules/$m"; done </modules/order
n=0
while [ ! -b /dev/vda ] && [ $n -lt 100 ]; do $b usleep 50000; n=$((n + 1)); done
$b mount -t ext4 /dev/vda /root && exec $b switch_root /root /init
echo "weft-kernel: no-disk"
$b poweroff -f
INIT
chmod 755 initrd.d/init
(cd initrd.d && find . | ../root/bin/busybox cpio -o -H newc 2>/dev/null | gzip -1) >initrd

echo "kernel guest: making the image" >&2
mkfs.ext4 -q -F -O ^has_journal -m 0 -d root root.img 600m
mv vmlinuz initrd root.img "$dir/"
chmod 644 "$dir/vmlinuz" "$dir/initrd" "$dir/root.img"
echo "$stamp" >"$dir/stamp"
echo "kernel guest: $dir is ready" >&2
