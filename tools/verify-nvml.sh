#!/usr/bin/env bash
# verify-nvml.sh FILE: the build can meet NVML. Bound at its start it would be killed before main; built against a newer glibc than
# an image has, it wouldn't start there. Prints which glibc it needs. Works for a build for another machine as well.
set -euo pipefail
most=2.34 # Debian 12 and Ubuntu 22.04 have newer, RHEL 9 has it
dynamic=$(readelf -dW "$1") || { echo "verify: $1 is no program" >&2; exit 1; }
if grep -qE 'BIND_NOW|FLAGS_1.*NOW' <<<"$dynamic"; then
	echo "verify: $1 is bound at its start; is -extldflags=-Wl,-z,lazy missing?" >&2
	exit 1
fi
others=$(sed -nE 's/.*\(NEEDED\).*\[(.*)\]/\1/p' <<<"$dynamic" | grep -vE '^(libc\.so\.6|ld-linux.*)$' || true)
if [ -n "$others" ]; then
	echo "verify: $1 needs more than libc: $others" >&2
	exit 1
fi
needs=$(readelf -VW "$1" | grep -oE 'GLIBC_[0-9.]+' | sed 's/GLIBC_//' | sort -uV | tail -n 1)
if [ -z "$needs" ] || [ "$(printf '%s\n' "$needs" "$most" | sort -V | tail -n 1)" != "$most" ]; then
	echo "verify: $1 needs glibc ${needs:-of no version?}; at most $most is wanted" >&2
	exit 1
fi
echo "$1 needs glibc $needs"
