#!/usr/bin/env bash
# Runs all linters and prints what each objects to. They are built once, at the versions of tools/go.mod, into .tools/.
set -euo pipefail
cd "$(dirname "$0")/.."
GO=${GO:-go}
# go-nvml binds what NVIDIA has deprecated as well, and the compiler says so a hundred times. A file can't tell it not to.
export CGO_CFLAGS="-O2 -g -Wno-deprecated-declarations"

tools=$PWD/.tools
if ! cmp -s tools/go.sum "$tools/go.sum" || [ "$("$GO" env GOVERSION)" != "$(cat "$tools/go.version" 2>/dev/null)" ]; then
	echo "lint: building the linters (once; some minutes)"
	GOBIN=$tools "$GO" -C tools install tool
	cp tools/go.sum "$tools/go.sum"
	"$GO" env GOVERSION >"$tools/go.version"
fi

bad=0
check() { # NAME COMMAND...: bad if the command fails or prints anything
	local name=$1 said
	shift
	if ! said=$("$@" 2>&1) || [ -n "$said" ]; then
		printf 'lint: %s objects:\n%s\n' "$name" "$said" >&2
		bad=1
	fi
}

# These two make pointers from addresses that the kernel gave them: mappings, and the first stack.
unsafe='^autoglm-sidecar/sockets/(arena|keeper)$'
mapfile -t packages < <("$GO" list ./...)
mapfile -t safe < <(printf '%s\n' "${packages[@]}" | grep -Ev "$unsafe")
mapfile -t unsafe < <(printf '%s\n' "${packages[@]}" | grep -E "$unsafe")

check gofumpt "$tools/gofumpt" -l .
check "go vet" "$GO" vet "${safe[@]}"
check "go vet" "$GO" vet -unsafeptr=false "${unsafe[@]}"
check "go fix" "$GO" fix -diff ./...
check staticcheck "$tools/staticcheck" ./...
# A default case counts: it says that the rest was thought of. Enums of others (signals, ...) are not ours to list.
check exhaustive "$tools/exhaustive" -d -typeonly '^autoglm-sidecar/' ./...
exit $bad
