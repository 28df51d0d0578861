#!/usr/bin/env bash
# setup.sh go|gcc|gcc_arm64|haproxy|nginx|prometheus ...: sees to it that what is named is there. What is missing is installed by apt where we are root;
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

# install WHAT PACKAGE...: WHAT is missing; Debian has it in these packages.
install() {
	local what=$1
	shift
	command -v apt-get >/dev/null || fail "$what is needed; Debian has it as: $*"
	[ "$(id -u)" = 0 ] || fail "$what is needed; type: sudo apt-get install $*"
	echo "setup: installing $*" >&2
	export DEBIAN_FRONTEND=noninteractive
	{ apt-get update -q && apt-get install -q -y --no-install-recommends "$@"; } >&2
}

# The race detector is C, and so are NVML and its double.
need_gcc() {
	echo 'int main(void) { return 0; }' | "${CC:-gcc}" -x c -o /dev/null - 2>/dev/null && return
	[ -z "${CC:-}" ] || fail "CC=$CC can't build a C program"
	install "a C compiler" gcc libc6-dev
}

need_gcc_arm64() {
	echo 'int main(void) { return 0; }' | aarch64-linux-gnu-gcc -x c -o /dev/null - 2>/dev/null && return
	install "a C compiler for arm64" gcc-aarch64-linux-gnu libc6-dev-arm64-cross
}

# The peers of the benchmark.
need_haproxy() { command -v haproxy >/dev/null || install haproxy haproxy; }
need_nginx() { command -v nginx >/dev/null || install nginx nginx-light; }

# Its promtool judges our metrics, and the server itself watches a sidecar in a test. Nobody asks for a service.
need_prometheus() {
	{ command -v prometheus && command -v promtool; } >/dev/null || SYSTEMD_OFFLINE=1 install prometheus prometheus
}

for what in "$@"; do
	"need_$what"
done
