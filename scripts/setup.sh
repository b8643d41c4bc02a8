#!/bin/sh
# Installs the Debian packages that are missing, and nothing else.
#
#   scripts/setup.sh demo    what make demo needs
#   scripts/setup.sh test    what make test needs (more programs to test against)
#
# What is there already, from Debian or not, is left as it is: a program counts, not a
# package. Services of new packages are not started; the demo and the tests run their
# own in private directories.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
PATH=$PATH:/usr/sbin:/sbin
export DEBIAN_FRONTEND=noninteractive

missing=""
# need PROGRAM PACKAGE
need() {
	if ! command -v "$1" >/dev/null 2>&1; then
		case " $missing " in *" $2 "*) ;; *) missing="$missing $2" ;; esac
	fi
}

need ovs-vswitchd openvswitch-switch
need ovsdb-server openvswitch-common
need qemu-system-x86_64 qemu-system-x86
need sha256sum coreutils
need xz xz-utils
need ip iproute2
if ! "$here/go.sh" >/dev/null 2>&1; then
	need go golang-go
	# A download over TLS needs these; they are no program.
	[ -e /etc/ssl/certs/ca-certificates.crt ] || missing="$missing ca-certificates"
fi
if [ "${1:-test}" = test ]; then
	need nft nftables
	need curl curl
	need jq jq
	need ping iputils-ping
	need ps procps
	need busybox busybox-static
	need dhclient isc-dhcp-client
	need udhcpc udhcpc
	need perfdhcp kea-admin
	need openstack python3-openstackclient
	need tempest tempest
	need stestr python3-stestr
	need ansible-playbook ansible
	need keystone-manage python3-keystone
	need ethtool ethtool
	need tcpdump tcpdump
	# Ubuntu has it as a snap only: there the tests of the page are skipped unless one is at hand.
	grep -qs '^ID=ubuntu' /etc/os-release || need chromium chromium
	need promtool prometheus
	# The guest of make test-kernel.
	need mkfs.ext4 e2fsprogs
	need depmod kmod
	# Without libvirt-daemon-system, so that no service of libvirt's is there to start at boot.
	need libvirtd libvirt-daemon
	need virsh libvirt-clients
fi

root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

if [ -n "$missing" ]; then
	if ! command -v apt-get >/dev/null; then
		echo "setup: this machine has no apt-get; please install by hand:$missing" >&2
		exit 1
	fi
	if [ "$(id -u)" != 0 ] && ! command -v sudo >/dev/null; then
		echo "setup: not root and no sudo; as root run: apt-get install$missing" >&2
		exit 1
	fi
	echo "setup: installing$missing" >&2
	# policy-rc.d is Debian's way to say that no service may be started.
	policy=/usr/sbin/policy-rc.d
	if [ ! -e $policy ]; then
		printf '#!/bin/sh\nexit 101\n' | root tee $policy >/dev/null
		root chmod 755 $policy
		trap 'root rm -f $policy' EXIT
		trap 'exit 1' INT TERM
	fi
	log=$(mktemp)
	install() {
		# shellcheck disable=SC2086 # a list of words
		root env DEBIAN_FRONTEND=noninteractive apt-get -y -qq -o Dpkg::Use-Pty=0 --no-install-recommends install $missing >"$log" 2>&1
	}
	if ! install; then
		echo "setup: refreshing apt's lists" >&2
		root apt-get -qq update >&2 || true
		if ! install; then
			cat "$log" >&2
			echo "setup: apt-get could not install:$missing" >&2
			exit 1
		fi
	fi
	rm -f "$log"
fi

"$here/go.sh" --install >/dev/null
"$here/guest.sh"
