#!/bin/bash
# holdfast in two minutes, on a fresh Debian 12, without any hardware: installs what it needs, builds, and then
# imports a real tree into a volume in a file, kills the import half-way with SIGKILL, opens the volume again, checks it, imports
# to the end, exports, and compares with the original byte for byte. Last, a program pins a file, unlinks it and fills the volume:
# what fails on Linux today holds here.
#
#   examples/quickstart.sh [TREE]        (default: /usr/include)
set -eu
cd "$(dirname "$0")/.."
case ${1:-} in -h | --help) sed -n '2,8s/^# \{0,1\}//p' "$0"; exit 0 ;; esac
tree=${1:-/usr/include}
say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
fail() { echo "quickstart: $*" >&2; exit 1; }

say "1. Packages and build"
tests/setup.sh build
[ -d "$tree" ] || fail "$tree is not a directory"
tree=$(realpath "$tree")
cmake -S . -B build/quickstart -G Ninja -DHF_BUILD_TESTS=OFF >build-quickstart.log 2>&1 &&
	cmake --build build/quickstart >>build-quickstart.log 2>&1 || { tail -30 build-quickstart.log; fail "the build failed"; }
rm -f build-quickstart.log
bin=$PWD/build/quickstart/src/tools
holdfast=$bin/holdfast
"$holdfast" --version

work=$(mktemp -d "${TMPDIR:-/tmp}/holdfast.XXXXXX")
trap 'rm -rf "$work"' EXIT
vol=$work/volume

files=$(find "$tree" | wc -l)
bytes=$(du -sb --apparent-size "$tree" | cut -f1)
size=$(((bytes * 2 + files * 8192) / 1048576 + 64))
say "2. A volume in a file: $size MiB for $files names and $((bytes / 1048576)) MiB in $tree"
"$bin/mkfs.holdfast" -s "${size}M" -L quickstart "$vol"
echo "On a device-DAX node the same command would take /dev/dax0.0. This file stands in for one. The imports below leave out msync:"
echo "what returns then survives the death of the process, which is what is tried here, and not a power failure."

say "3. Import, and SIGKILL half-way"
half=$((files / 2))
t0=$(date +%s.%N)
: >"$work/done"
"$holdfast" put --no-msync -v "$vol" "$tree/." /tree >"$work/done" 2>"$work/err" &
pid=$!
while kill -0 $pid 2>/dev/null && [ "$(wc -l <"$work/done")" -lt "$half" ]; do :; done
if kill -9 $pid 2>/dev/null; then killed=yes; else killed=no; fi
wait $pid 2>/dev/null || true
t1=$(date +%s.%N)
# the last line may have been cut by the kill
finished=$(wc -l <"$work/done")
head -n "$finished" "$work/done" >"$work/finished"
echo "killed: $killed; it had reported $finished names as durable"
[ "$killed" = yes ] || fail "the import ended before it could be killed; try a larger tree"

say "4. What a crash leaves: check, mount, compare"
"$bin/fsck.holdfast" -n "$vol" || fail "fsck found something after the kill"
"$holdfast" info "$vol" | grep 'at mount'
"$bin/fsck.holdfast" -n "$vol" >/dev/null || fail "fsck found something after recovery"
mkdir "$work/half"
"$holdfast" get "$vol" /tree "$work/half"
lost=0
while IFS= read -r path; do
	rel=${path#/tree}
	if [ -L "$tree$rel" ]; then
		[ "$(readlink "$tree$rel")" = "$(readlink "$work/half/tree$rel")" ] || lost=$((lost + 1))
	elif [ -f "$tree$rel" ]; then
		cmp -s "$tree$rel" "$work/half/tree$rel" || lost=$((lost + 1))
	elif [ ! -e "$work/half/tree$rel" ]; then
		lost=$((lost + 1))
	fi
done <"$work/finished"
torn=$(cd "$work/half/tree" && find . -type f -print0 | while IFS= read -r -d '' f; do
	cmp -s "$f" "$tree/$f" || echo "$f"
done | wc -l)
echo "of $finished names reported durable, lost or damaged: $lost; of all files found, torn: $torn"
[ "$lost" = 0 ] && [ "$torn" = 0 ] || fail "the crash lost something"
rm -rf "$work/half"

say "5. Import to the end (what is there already is skipped)"
t2=$(date +%s.%N)
"$holdfast" put --no-msync "$vol" "$tree/." /tree
t3=$(date +%s.%N)
"$bin/fsck.holdfast" -n "$vol" || fail "fsck found something"

say "6. Export, and compare with the original"
"$holdfast" get "$vol" /tree "$work/out"
examples/compare_trees.sh "$tree" "$work/out" || fail "the export differs"
echo "identical: names, content, modes, owners, times, symbolic and hard links, attributes, holes"

say "7. The volume"
"$holdfast" df "$vol"
"$holdfast" frames "$vol"

say "8. Pin, unlink, close, and fill the volume with another file's data"
pinvol=$work/pinned
"$bin/mkfs.holdfast" -s 64M "$pinvol" >/dev/null
cc -std=c11 -O2 -Iinclude examples/pin_unlink.c -o "$work/pin_unlink" -Lbuild/quickstart -lholdfast "-Wl,-rpath,$PWD/build/quickstart"
"$work/pin_unlink" "$pinvol" "'$holdfast' busy '$pinvol'" || fail "a pin did not hold"
"$bin/fsck.holdfast" -n "$pinvol" || fail "fsck found something after the pin"

say "What this showed"
row() { printf '  %-62s %s\n' "$1" "$2"; }
row "names in $tree" "$files"
row "import killed with SIGKILL after" "$(echo "$t1 $t0" | awk '{printf "%.1f s", $1 - $2}'), $finished names durable"
row "durable names lost or damaged by the kill" "$lost"
row "files seen half-written after the kill" "$torn"
row "findings of fsck: after the kill, after recovery, at the end" "0, 0, 0"
row "second import, to the end" "$(echo "$t3 $t2" | awk '{printf "%.1f s", $1 - $2}')"
row "differences between the export and the original" "0"
row "bytes of a pinned, unlinked file that changed on a full volume" "0"
