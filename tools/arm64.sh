#!/usr/bin/env bash
# Runs the demonstration on arm64: the arm64 program on Debian's arm64 kernel, in a machine that qemu emulates. The keeper's
# entry point is a few lines of assembly an architecture, and only a whole kernel has the clone(2) that it asks for (qemu's
# user mode refuses CLONE_FILES without CLONE_VM). Needs qemu-system-arm and cpio, which it installs as root and names
# otherwise, and downloads a kernel (60 MB) by apt, once, into .tools/. It takes two minutes of a processor.
set -euo pipefail
cd "$(dirname "$0")/.."
GO=${GO:-go}
CLIENTS=${CLIENTS:-10}
work=$PWD/.tools/arm64
mkdir -p "$work"

missing=()
command -v qemu-system-aarch64 >/dev/null || missing+=(qemu-system-arm)
command -v cpio >/dev/null || missing+=(cpio)
if [ ${#missing[@]} -gt 0 ]; then
	if [ "$(id -u)" != 0 ]; then
		echo "arm64: install ${missing[*]}" >&2
		exit 1
	fi
	apt-get update -qq && apt-get install -y -qq --no-install-recommends "${missing[@]}"
fi

# apt with lists of its own, so that this machine's are not touched.
foreign() { # apt-get|apt-cache ARGUMENT...
	"$1" -qq -o APT::Architecture=arm64 -o APT::Architectures::=arm64 -o Dir::State::status=/dev/null \
		-o Dir::State::Lists="$work/lists" -o Dir::Cache="$work/cache" -o APT::Sandbox::User="$(id -un)" "${@:2}"
}
if ! compgen -G "$work/boot/vmlinuz-*" >/dev/null; then
	mkdir -p "$work"/{lists,cache/archives}/partial
	foreign apt-get update
	kernel=$(foreign apt-cache depends linux-image-arm64 | sed -nE 's/.*Depends: (linux-image-.*)/\1/p' | head -1)
	(cd "$work" && foreign apt-get download "$kernel")
	dpkg-deb --fsys-tarfile "$work"/linux-image-*.deb |
		tar -x -C "$work" --wildcards './boot/vmlinuz*' './lib/modules/*_diag.ko'
	rm "$work"/linux-image-*.deb
fi

root=$work/root
rm -rf "$root" && mkdir -p "$root/modules"
find "$work/lib" -name '*_diag.ko' -exec cp {} "$root/modules" \;
export GOOS=linux GOARCH=arm64 CGO_ENABLED=0
"$GO" build -trimpath -o "$root/init" tools/arm64/init.go
"$GO" build -trimpath -ldflags '-E autoglm-sidecar/sockets/keeper.Entry' -o "$root/autoglm-sidecar" .
(cd "$root" && find . | cpio -o -H newc --quiet | gzip -1) >"$work/initrd"

# Time in there goes by instructions (2 ns each) and not by the clock here, so that how busy this machine is decides nothing.
timeout 1800 qemu-system-aarch64 -M virt -cpu max -smp 2 -m 1536 -icount shift=1,sleep=off -rtc clock=vm -nic none -nographic -no-reboot \
	-kernel "$work"/boot/vmlinuz-* -initrd "$work/initrd" \
	-append "console=ttyAMA0 quiet panic=-1 rdinit=/init -- demo --clients $CLIENTS" </dev/null | tee "$work/output"
grep -q '^INIT PASSED' "$work/output"
