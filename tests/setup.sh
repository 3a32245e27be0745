#!/bin/bash
# Installs the Debian 12 packages that a task needs and that are missing: setup.sh build|test|guest|pinners ...
set -u
want=()
for what in "$@"; do
	case $what in
	build) want+=(gcc libc6-dev cmake ninja-build pkg-config libpmem2-dev libndctl-dev libdaxctl-dev libxxhash-dev libjansson-dev) ;;
	test) want+=(g++ clang binutils libcunit1-dev valgrind attr rsync patch util-linux clang-format man-db groff-base
		gcc-aarch64-linux-gnu libc6-dev-arm64-cross libclang-rt-14-dev liburing-dev libfabric-dev libibverbs-dev libfuse3-dev fuse3 libpmemobj-dev liblmdb-dev
		git sqlite3 make fio stress-ng) ;;
	guest) # shellcheck disable=SC2207
		want+=($("${0%/*}/guest/pmem-guest" --packages)) ;;
	pinners) want+=(ibverbs-providers iproute2 dmsetup) ;;
	*) echo "setup.sh: unknown set '$what'" >&2; exit 2 ;;
	esac
done
missing=()
for p in "${want[@]}"; do
	dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing+=("$p")
done
[ ${#missing[@]} -eq 0 ] && exit 0
echo "installing: ${missing[*]}"
as_root=
if [ "$(id -u)" != 0 ]; then
	as_root=sudo
	command -v sudo >/dev/null || { echo "setup.sh: be root, or install: ${missing[*]}" >&2; exit 1; }
fi
export DEBIAN_FRONTEND=noninteractive
$as_root apt-get update -qq || exit 1
$as_root apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null || exit 1
