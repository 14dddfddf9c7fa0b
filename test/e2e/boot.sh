#!/bin/bash
# boot.sh DIR: this machine's systemd as the first process of namespaces of its own, over a
# root that is this machine's, with DIR/files laid over it. Nothing is written through to
# the real root. To be run by unshare with new namespaces of all kinds but two; machine.ts.
set -eu
files=$1/files

# A control group of our own for the root of systemd's, and only then their namespace.
if [ "${2-}" != confined ]; then
  for hierarchy in /sys/fs/cgroup /sys/fs/cgroup/unified /sys/fs/cgroup/systemd; do
    [ -e "$hierarchy/cgroup.procs" ] || continue
    mkdir -p "$hierarchy/mintmark-e2e"
    echo 0 >"$hierarchy/mintmark-e2e/cgroup.procs"
  done
  exec unshare --cgroup bash "$0" "$1" confined
fi

mkdir "$1/system"
mount -t tmpfs tmpfs "$1/system"
cd "$1/system"
mkdir upper work root
mount -t overlay overlay -o lowerdir=/,upperdir=upper,workdir=work root
cp -a "$files/." root/
cd root
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys # the kernel's settings are shared
mount -t sysfs -o ro sysfs sys
if [ -e /sys/fs/cgroup/cgroup.procs ]; then
  mount -t cgroup2 cgroup2 sys/fs/cgroup
else # a machine with both versions
  mount -t tmpfs -o mode=755 tmpfs sys/fs/cgroup
  mkdir sys/fs/cgroup/unified sys/fs/cgroup/systemd
  mount -t cgroup2 cgroup2 sys/fs/cgroup/unified
  mount -t cgroup -o none,name=systemd cgroup sys/fs/cgroup/systemd
fi
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mount -t tmpfs -o mode=755 tmpfs dev
for device in null zero full random urandom tty; do
  touch "dev/$device"
  mount --bind "/dev/$device" "dev/$device"
done
mkdir dev/shm dev/pts old
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ip link set lo up
pivot_root . old
umount -l /old
mount --make-rshared / # systemd shows credentials to services by way of it
exec env -i container=mintmark-e2e PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
  /lib/systemd/systemd --unit=mintmark.service \
  systemd.mask=systemd-modules-load.service systemd.mask=timers.target systemd.mask=sockets.target
