#!/usr/bin/env bash
# real-nvml.sh: downloads NVIDIA's own library as Debian packages it (non-free, 0.7 MB), once, into .tools/, and prints its path.
# Nothing is installed, and nothing of it may be committed. Where it can't be had it says why and fails.
set -euo pipefail
cd "$(dirname "$0")/.."
dir=$PWD/.tools/nvml
found() { find "$dir/root" -name 'libnvidia-ml.so.1' -print -quit 2>/dev/null; }

if [ -z "$(found)" ]; then
	command -v apt-get dpkg-deb >/dev/null || { echo "real-nvml: there is no apt" >&2; exit 1; }
	release=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
	mkdir -p "$dir"/{lists,cache/archives}/partial "$dir/root"
	# The place where this machine has Debian's main from has non-free as well. The lists are ours, so the machine's are not touched.
	signed=/usr/share/keyrings/debian-archive-keyring.gpg
	[ -e "$signed" ] && signed="[signed-by=$signed] " || signed=
	apt-get indextargets --format '$(RELEASE) $(COMPONENT) $(SITE)' 'Created-By: Packages' | sort -u |
		awk -v r="$release" -v s="$signed" '$1 == r && $2 == "main" { print "deb " s $3 " " r " non-free"; exit }' >"$dir/sources.list"
	[ -s "$dir/sources.list" ] || { echo "real-nvml: apt has no Debian to get it from" >&2; exit 1; }
	ours() {
		apt-get -qq -o Dir::Etc::SourceList="$dir/sources.list" -o Dir::Etc::SourceParts=/dev/null -o Dir::State::Lists="$dir/lists" \
			-o Dir::Cache="$dir/cache" -o Acquire::Languages=none -o Acquire::http::Timeout=20 -o Acquire::Retries=1 \
			-o APT::Sandbox::User="$(id -un)" "$@" >&2
	}
	ours update
	(cd "$dir" && ours download libnvidia-ml1)
	dpkg-deb -x "$dir"/libnvidia-ml1_*.deb "$dir/root"
fi
[ -n "$(found)" ] || { echo "real-nvml: the package has no libnvidia-ml.so.1" >&2; exit 1; }
found
