#!/usr/bin/env bash
# Prints the version of this tree: git's name for it; without git's data, what there is.
set -euo pipefail
cd "$(dirname "$0")/.."
# Only this directory's own repository: an unpacked archive may lie inside another one.
if [ -e .git ] && version=$(git describe --tags --always --dirty 2>/dev/null); then
	echo "$version"
else
	echo unknown
fi
