#!/usr/bin/env bash
# Runs the sandbox tests on unified control groups (version 2), whatever this machine has: in a virtual machine with
# Debian's cloud kernel. Emulated, so slow: about five minutes, and tests that compare times with limits may need a
# second look. Usage: tests/sandbox/unified_vm.sh [pytest arguments; default: all of tests/sandbox]
#
# Needs root, Debian, and the packages qemu-system-x86, cpio and e2fsprogs. Leaves nothing behind.
set -euo pipefail
repository=$(cd "$(dirname "$0")/../.." && pwd)
scratch=$(mktemp -d /var/tmp/sentinel-vm-XXXXXX)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"

kernel=$(apt-cache depends linux-image-cloud-amd64 | grep -o 'linux-image-[0-9][^ ]*' | head -1)
apt-get download "$kernel" busybox-static 2>/dev/null
for package in ./*.deb; do dpkg -x "$package" unpacked; done

# A root with what the tests need of this machine: compilers and interpreters, the repository, its virtual environment.
mkdir -p root/{etc,proc,sys,dev,run,tmp,home,mnt,root,var/tmp,var/lib,usr/lib/x86_64-linux-gnu,usr/libexec}
for name in bin sbin lib lib64; do ln -s "usr/$name" "root/$name"; done
cp -a /usr/bin /usr/sbin /usr/lib64 /usr/include root/usr/
cp -a /usr/lib/python3.11 /usr/lib/gcc root/usr/lib/
tar -C /usr/lib/x86_64-linux-gnu --exclude='libLLVM*' --exclude=valgrind --exclude=dri --exclude=perl -cf - . |
  tar -C root/usr/lib/x86_64-linux-gnu -xf -
cp -a /etc/alternatives /etc/passwd /etc/group /etc/ld.so.cache root/etc/
cp unpacked/bin/busybox root/usr/bin/
mkdir -p "root$repository"
tar -C "$repository" --exclude=node_modules --exclude=site-packages/envoy \
  -cf - services gen tests proto deploy cli bench pyproject.toml .venv | tar -C "root$repository" -xf -

tests=${*:-tests/sandbox}
cat > root/run.sh <<RUN
#!/bin/sh
export PATH=/usr/local/bin:/usr/bin:/usr/sbin HOME=/root
mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs devtmpfs /dev
mount -t tmpfs tmpfs /tmp; mount -t tmpfs tmpfs /run; mkdir -p /dev/shm; mount -t tmpfs tmpfs /dev/shm
mount -t cgroup2 -o nsdelegate cgroup2 /sys/fs/cgroup
busybox ifconfig lo up
cd $repository
.venv/bin/python -m pytest -p no:cacheprovider -q --tb=short --timeout 900 $tests
echo "pytest ended with \$?"
sync; echo o > /proc/sysrq-trigger; sleep 9
RUN
chmod +x root/run.sh
mke2fs -q -t ext4 -O ^has_journal -d root disk.img 2600M

mkdir -p first/{bin,modules,new,proc}
cp unpacked/bin/busybox first/bin/
modules="virtio_ring virtio virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci virtio_blk"
for module in $modules; do
  find unpacked/lib/modules -name "$module.ko" -exec cp {} first/modules/ \;
done
cat > first/init <<INIT
#!/bin/busybox sh
/bin/busybox mkdir -p /dev
/bin/busybox mount -t devtmpfs devtmpfs /dev
for module in $modules; do /bin/busybox insmod /modules/\$module.ko; done
while [ ! -b /dev/vda ]; do /bin/busybox sleep 0.1; done
/bin/busybox mount -t ext4 /dev/vda /new
exec /bin/busybox switch_root /new /run.sh
INIT
chmod +x first/init
(cd first && find . | cpio -o -H newc 2>/dev/null | gzip -1) > first.gz

timeout 1200 qemu-system-x86_64 -accel tcg,thread=multi -smp 2 -m 3000 -cpu max -nographic -no-reboot -nic none \
  -kernel unpacked/boot/vmlinuz-* -initrd first.gz -append "console=ttyS0 quiet panic=-1" \
  -drive file=disk.img,if=virtio,format=raw,cache=unsafe < /dev/null | tee console.log
grep -q 'pytest ended with 0' console.log
