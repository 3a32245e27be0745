#!/bin/bash
# tree.sh BIN SOURCE [TREE]: a tree goes in with put, fsck finds nothing, it comes out with get as it went in, and a second put
# leaves all of it alone. BIN: where the built tools are. SOURCE: the project. TREE: an existing tree instead of the made one.
set -eu
bin=$1 top=$2 tree=${3:-}
t=$(mktemp -d "${TMPDIR:-/tmp}/holdfast_tree.XXXXXX")
trap 'chmod -R u+rwx "$t" 2>/dev/null; rm -rf "$t"' EXIT
fail() {
	echo "tree.sh: $*" >&2
	exit 1
}

size=256M
if [ -z "$tree" ]; then
	tree=$t/tree
	"$top/tests/system/make_tree.sh" "$tree"
else
	# half as much again, and 16 MiB: what the names and inodes take
	size=$(($(du -s --block-size=1M "$tree" | cut -f1) * 3 / 2 + 16))M
fi
files=$(find "$tree" | wc -l)

"$bin/mkfs.holdfast" -s "$size" "$t/vol" >/dev/null
t0=$(date +%s.%N)
"$bin/holdfast" put --no-msync "$t/vol" "$tree" /copy || fail "put: exit status $?"
t1=$(date +%s.%N)
"$bin/fsck.holdfast" -n "$t/vol" || fail "fsck after put: exit status $?"
"$bin/holdfast" get "$t/vol" /copy "$t/out" || fail "get: exit status $?"
t2=$(date +%s.%N)
[ "$(find "$t/out" | wc -l)" = "$files" ] || fail "$(find "$t/out" | wc -l) names came out, $files went in"
bash "$top/examples/compare_trees.sh" "$tree" "$t/out" || fail "what came out differs"

again=$("$bin/holdfast" put --json --no-msync "$t/vol" "$tree/." /copy) || fail "second put: exit status $?"
skipped=$(printf '%s' "$again" | sed -n 's/.*"skipped": *\([0-9]*\).*/\1/p')
imported=$(printf '%s' "$again" | sed -n 's/.*"files": *\([0-9]*\).*/\1/p')
[ "$imported" = 0 ] || fail "the second put imported $imported files again: $again"
[ "$skipped" -gt 0 ] || fail "the second put skipped nothing: $again"
"$bin/fsck.holdfast" -n "$t/vol" >/dev/null || fail "fsck after the second put: exit status $?"
bash "$top/examples/compare_trees.sh" "$tree" "$t/out" >/dev/null || fail "the source changed meanwhile"
awk -v n="$files" -v a="$t0" -v b="$t1" -v c="$t2" -v s="$skipped" 'BEGIN {
	printf "%d names: put %.1f s, fsck and get %.1f s, second put skipped %d\n", n, b - a, c - b, s }'
