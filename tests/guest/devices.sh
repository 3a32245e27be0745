#!/bin/bash
# A volume over two device-DAX nodes: named in both orders, filled over the border, refused where one is missing, a damaged superblock of
# the second mended in place.
#   devices.sh BUILD
# Exit status: 0, 1 something is wrong, 77 no machine can run here.
set -u
if [ "${1:-}" != --inside ]; then
	guest=${PMEM_GUEST:-$(realpath "$(dirname "$0")")/pmem-guest}
	[ -x "${1:-}/src/tools/holdfast" ] || { echo "devices.sh: no build in '${1:-}'" >&2; exit 2; }
	"$guest" --check || { echo "skipped: no machine can run here"; exit 77; }
	exec "$guest" --size 128M --count 2 --timeout 300 -- bash "$(realpath "$0")" --inside "$(realpath "$1")"
fi

build=$2 hf=$2/src/tools/holdfast mkfs=$2/src/tools/mkfs.holdfast fsck=$2/src/tools/fsck.holdfast
a=/dev/dax0.0 b=/dev/dax1.0
t=$(mktemp -d)
fail() { echo "devices.sh: $*" >&2; exit 1; }

"$mkfs" -f "$a" "$b" || fail "mkfs"
head -c 9000000 /dev/urandom >"$t/f"
for i in $(seq 22); do
	[ $((i % 2)) = 0 ] && vol=$a:$b || vol=$b:$a
	"$hf" put "$vol" "$t/f" "/$i" >"$t/out" || fail "put $i: $(cat "$t/out")"
done
"$hf" stat "$a:$b" /22 | grep -q 'at 1[3-9][0-9]\{7\}\|at 2[0-9]\{8\}' || fail "the last file is not on the second device"
for i in 1 7 14 15 16 22; do
	"$hf" get "$b:$a" "/$i" "$t/g$i" >"$t/out" && cmp "$t/f" "$t/g$i" || fail "file $i"
done
for vol in "$a" "$b"; do
	"$hf" ls "$vol" 2>"$t/out" && fail "$vol alone was taken"
	grep -q "name all of them" "$t/out" || fail "$vol alone: $(cat "$t/out")"
done
"$fsck" -n "$b:$a" || fail "fsck"

"$build/tests/guest/poke" "$b" 2000 40 || fail "poke"
"$hf" ls "$a:$b" 2>"$t/out" && fail "a damaged superblock was taken"
grep -q "fsck.holdfast -p" "$t/out" || fail "damaged: $(cat "$t/out")"
"$fsck" -p "$a:$b"
[ $? = 1 ] || fail "it was not mended"
"$fsck" -n "$b:$a" || fail "fsck after mending"
"$hf" get "$b:$a" /22 "$t/again" >"$t/out" && cmp "$t/f" "$t/again" || fail "file 22 after mending"
echo "devices.sh: all well"
