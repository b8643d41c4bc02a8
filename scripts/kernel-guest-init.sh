#!/bin/sh
# Process 1 of the guest of `make test-kernel`. It runs /weft/run from the second disk and
# tells its exit status on the console, which test/kernel reads; or, with weft.shell on the
# kernel's command line, it gives a shell.
PATH=/usr/sbin:/usr/bin:/sbin:/bin
HOME=/root
export PATH HOME
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs -o mode=755 run /run
mount -t tmpfs tmp /tmp
exec </dev/console >/dev/console 2>&1
mount -o ro /dev/vdb /weft
ip link set lo up
echo weft-kernel >/proc/sys/kernel/hostname
for m in openvswitch vport_vxlan vport_geneve veth tun nf_tables nf_conntrack nf_nat virtio_rng; do modprobe $m; done
# In the first ten seconds after boot Open vSwitch 3.1 counts no processor and starts no
# thread that takes packets from the kernel (docs/pipeline.md, "Differences between the datapaths").
until [ "$(cut -d. -f1 /proc/uptime)" -ge 10 ]; do sleep 0.1; done
echo "weft-kernel: booted kernel=$(uname -r) uptime=$(cut -d' ' -f1 /proc/uptime)"
if grep -q weft.shell /proc/cmdline; then
	echo "weft-kernel: shell (/weft/run runs the tests, exit ends the guest)"
	busybox setsid busybox cttyhack sh
else
	/weft/run
	echo "weft-kernel: exit $?"
fi
busybox poweroff -f
