#!/usr/bin/env bash
# Boots an ordinary Debian (its own kernel, systemd, cgroup v2, 2 GB of memory) in an emulator and lets Lotse run the demo there:
# what a container or a development machine cannot show, such as modules that nobody has loaded yet, and a real reboot.
#   tests/machine/run.sh DIRECTORY-OF-BINARIES
# Without KVM this takes about ten minutes. MACHINE_ACCEL=kvm uses KVM.
set -euo pipefail
cd "$(dirname "$0")/../.."
binaries=$(realpath "${1:?usage: tests/machine/run.sh DIRECTORY-OF-BINARIES}")
accel=${MACHINE_ACCEL:-tcg,thread=multi}
[ "$accel" = kvm ] && cpu=host || cpu=Nehalem
suite=bookworm

packages=()
command -v qemu-system-x86_64 >/dev/null || packages+=(qemu-system-x86)
command -v mmdebstrap >/dev/null || packages+=(mmdebstrap)
command -v mke2fs >/dev/null || packages+=(e2fsprogs)
if [ ${#packages[@]} -gt 0 ]; then
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
fi
kubectl=$(readlink -f "$(command -v kubectl)")

scripts/images.sh "$binaries"
cache=$PWD/.cache/machine
mkdir -p "$cache"
if [ ! -e "$cache/debian.tar" ]; then
	mmdebstrap --quiet --format=tar --variant=minbase \
		--include=systemd,systemd-sysv,udev,kmod,dbus,linux-image-cloud-amd64,initramfs-tools,iproute2,curl,ca-certificates,git,procps \
		"$suite" "$cache/debian.tar.tmp"
	mv "$cache/debian.tar.tmp" "$cache/debian.tar"
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
mkdir "$root"
tar xf "$cache/debian.tar" -C "$root"
git clone --quiet . "$root/root/lotse"
mkdir -p "$root/root/lotse/.cache" "$root/root/bin"
cp -a .cache/images "$root/root/lotse/.cache/"
cp "$binaries/lotse" "$binaries/students" "$root/root/bin/"
cp "$binaries/lotse" "$kubectl" "$root/usr/local/bin/"
# The images are older than nothing: the machine has no tools to make them again.
find "$root/root" -path '*/.cache' -prune -o -type f -exec touch -d 2020-01-01 {} +
cp contrib/lotse.service "$root/etc/systemd/system/"
cp tests/machine/guest.sh "$root/root/guest.sh"
cat > "$root/etc/systemd/system/guest.service" <<-UNIT
	[Unit]
	After=multi-user.target
	[Service]
	ExecStart=/bin/bash /root/guest.sh
UNIT
wants=$root/etc/systemd/system/multi-user.target.wants
mkdir -p "$wants"
ln -s ../guest.service "$wants/guest.service"
ln -s /usr/lib/systemd/system/systemd-networkd.service "$wants/systemd-networkd.service"
printf '[Match]\nName=en* eth*\n[Network]\nDHCP=yes\n' > "$root/etc/systemd/network/10.network"
echo machine > "$root/etc/hostname"
echo '127.0.0.1 localhost machine' > "$root/etc/hosts"
echo '/dev/vda / ext4 defaults 0 1' > "$root/etc/fstab"
truncate -s 6G "$work/disk"
mke2fs -q -t ext4 -d "$root" "$work/disk"

timeout 2400 qemu-system-x86_64 -accel "$accel" -cpu "$cpu" -m 2048 -smp 2 -drive "file=$work/disk,format=raw,if=virtio" \
	-kernel "$root"/boot/vmlinuz-* -initrd "$root"/boot/initrd.img-* -append 'root=/dev/vda rw console=ttyS0 quiet' \
	-netdev user,id=net -device virtio-net-pci,netdev=net,romfile= \
	-display none -serial "file:$cache/console.log" -serial "file:$cache/guest.log" < /dev/null || true
grep -a '^ok\|^not ok' "$cache/guest.log" || true
if ! grep -aq '^end' "$cache/guest.log" || grep -aq '^not ok' "$cache/guest.log"; then
	echo "the machine did not pass; its output:" >&2
	cat "$cache/guest.log" >&2
	exit 1
fi
