#!/usr/bin/env bash
# test.sh             all tests
# test.sh e2e [NAME]  the end-to-end tests whose names go on with NAME, with all that they print
#
# End-to-end tests (TestEndToEnd...) have the machine for themselves, one package at a time: they measure pauses. They
# build the program themselves, as it is shipped and with the race detector.
set -euo pipefail
cd "$(dirname "$0")/.."
GO=${GO:-go}
# go-nvml binds what NVIDIA has deprecated as well, and the compiler says so a hundred times. A file can't tell it not to.
export CGO_CFLAGS="-O2 -g -Wno-deprecated-declarations"

mapfile -t endtoend < <(grep -rlE '^func TestEndToEnd' --include='*_test.go' . | xargs -r -n 1 dirname | sort -u)

if [ "${1:-}" = e2e ]; then
	exec "$GO" test -count=1 -p 1 -timeout 4h -v -run "^TestEndToEnd${2:-}" "${endtoend[@]}"
fi
# The race detector is too slow for a death at every point.
"$GO" test -timeout 30m -run '^(TestKilledAtEveryPoint|TestWhoBelieves)' ./sockets/relay
"$GO" test -race -timeout 30m -skip '^TestEndToEnd' ./...
"$GO" test -count=1 -p 1 -timeout 40m -run '^TestEndToEnd' "${endtoend[@]}"
