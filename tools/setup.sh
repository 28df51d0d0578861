#!/usr/bin/env bash
# setup.sh go|gcc ...: sees to it that what is named is there. What is missing is installed by apt where we are root;
# else it says what to install.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() {
	echo "setup: $*" >&2
	exit 1
}

need_go() {
	local go=${GO:-go} want have
	want=$(sed -n 's/^go //p' go.mod)
	command -v "$go" >/dev/null || fail "there is no $go; install Go $want or newer: https://go.dev/doc/install"
	have=$("$go" env GOVERSION) || fail "$go does not run"
	have=${have#go}
	# The older of the two, by version order, has to be the wanted one.
	[ "$(printf '%s\n%s\n' "$want" "${have%%[- ]*}" | sort -V | head -n 1)" = "$want" ] ||
		fail "Go $want or newer is needed, this is $have; install a newer one: https://go.dev/doc/install"
}

# The race detector is C.
need_gcc() {
	echo 'int main(void) { return 0; }' | "${CC:-gcc}" -x c -o /dev/null - 2>/dev/null && return
	[ -z "${CC:-}" ] || fail "CC=$CC can't build a C program"
	local packages="gcc libc6-dev"
	command -v apt-get >/dev/null || fail "a C compiler is needed for go test -race; install gcc and the C library's headers"
	[ "$(id -u)" = 0 ] || fail "a C compiler is needed for go test -race; type: sudo apt-get install $packages"
	echo "setup: installing $packages" >&2
	export DEBIAN_FRONTEND=noninteractive
	# shellcheck disable=SC2086 # words on purpose
	{ apt-get update -q && apt-get install -q -y --no-install-recommends $packages; } >&2
}

for what in "$@"; do
	"need_$what"
done
