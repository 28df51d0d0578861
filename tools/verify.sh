#!/usr/bin/env bash
# verify.sh FILE: the build has its keeper. A forgotten linker flag would show only when a runner dies.
set -euo pipefail
says=$("$1" version --json) || { echo "verify: $1 does not run" >&2; exit 1; }
if ! grep -q '"keeper": true' <<<"$says"; then
	echo "verify: $1 does not start in the keeper; is -ldflags -E ... missing, or was it linked externally?" >&2
	exit 1
fi
