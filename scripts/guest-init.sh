#!/bin/busybox sh
# The whole user space of the small guest. It asks for its address by DHCP.
#
# On the kernel command line:
#   weft.demo       report each step on the console, take the NIC down and up once, wait
#   weft.peer=ADDR  report on DHCP and on pings to that address, wait
#   (nothing)       one DHCP exchange, then a shell on the console
#
# Reports are lines "weft-guest: WHAT key=value ...", read by internal/lab.

busybox=/bin/busybox
$busybox mkdir -p /proc /sys /dev /bin /etc
$busybox mount -t proc proc /proc
$busybox mount -t sysfs sysfs /sys
$busybox mount -t devtmpfs dev /dev
$busybox --install -s /bin
export PATH=/bin


exec </dev/console >/dev/console 2>&1
ln -sf /proc/mounts /etc/mtab
while read -r m; do insmod "/modules/$m"; done </modules/order

# What udhcpc runs at each change of its lease.
cat >/etc/udhcpc.sh <<'SCRIPT'
#!/bin/sh
case $1 in
deconfig)
	ip addr flush dev "$interface"
	ip link set "$interface" up
	;;
bound | renew)
	[ -z "$mtu" ] || ip link set "$interface" mtu "$mtu"
	ip addr flush dev "$interface"
	ip addr add "$ip/$mask" dev "$interface"
	[ -z "$hostname" ] || hostname "$hostname"
	[ -z "$router" ] || ip route add default via "${router%% *}" dev "$interface"
	# RFC 3442 routes come as pairs "destination next-hop"; the default is there already.
	set -- $staticroutes
	while [ $# -ge 2 ]; do
		if [ "$1" != 0.0.0.0/0 ]; then
			if [ "$2" = 0.0.0.0 ]; then ip route add "$1" dev "$interface"; else ip route add "$1" via "$2" dev "$interface"; fi
		fi
		shift 2
	done
	: >/etc/resolv.conf
	[ -z "$domain" ] || echo "search $domain" >>/etc/resolv.conf
	for s in $dns; do echo "nameserver $s" >>/etc/resolv.conf; done
	echo "$ip/$mask" >/tmp/address
	echo "$serverid" >/tmp/server
	echo "weft-guest: lease mac=$(cat /sys/class/net/$interface/address) ip=$ip mask=$mask router=${router:-none} server=$serverid mtu=$mtu hostname=$hostname lease=$lease"
	;;
nak) echo "weft-guest: nak" ;;
leasefail) echo "weft-guest: no-answer" ;;
esac
SCRIPT
chmod 755 /etc/udhcpc.sh

ip link set lo up
n=0
while [ ! -e /sys/class/net/eth0 ] && [ $n -lt 50 ]; do usleep 100000; n=$((n + 1)); done
if [ ! -e /sys/class/net/eth0 ]; then
	echo "weft-guest: no-nic"
	poweroff -f
fi
ip link set eth0 up
echo "weft-guest: booted mac=$(cat /sys/class/net/eth0/address) mtu=$(cat /sys/class/net/eth0/mtu) uptime=$(cut -d' ' -f1 /proc/uptime)"

dhcp() { udhcpc -i eth0 -f -n -q -t 8 -T 1 -O staticroutes -O mtu -s /etc/udhcpc.sh >/tmp/udhcpc.log 2>&1; grep weft-guest /tmp/udhcpc.log; }
ping_to() {
	if ping -c "$2" -W 3 "$1" >/tmp/ping.log 2>&1; then
		echo "weft-guest: ping to=$1 ok=yes $(sed -n 's/.*= \([0-9.]*\)\/\([0-9.]*\)\/\([0-9.]*\).*/avg=\2ms/p' /tmp/ping.log)"
	else
		echo "weft-guest: ping to=$1 ok=no"
	fi
}

dhcp
peer=$(sed -n 's/.*weft\.peer=\([^ ]*\).*/\1/p' /proc/cmdline)
if [ -n "$peer" ]; then
	ping_to "$peer" 5
	echo "weft-guest: done"
	while :; do sleep 60; done
fi
if grep -q weft.demo /proc/cmdline; then
	ping_to "$(cat /tmp/server)" 2
	ip link set eth0 down
	echo "weft-guest: nic state=down"
	sleep 1
	ip link set eth0 up
	echo "weft-guest: nic state=up"
	dhcp
	ping_to "$(cat /tmp/server)" 2
	echo "weft-guest: show"
	ip addr show eth0
	ip route
	# It stays up, so that the host can look at it; the host ends it.
	echo "weft-guest: done"
	while :; do sleep 60; done
fi

ip addr show eth0
echo "weft-guest: shell (poweroff -f ends it)"
while :; do setsid cttyhack sh; done
