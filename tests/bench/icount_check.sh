#!/bin/bash
# icount_ops works on a volume and on a directory, and says so when an operation does not. No machine: the figures are times here.
#   icount_check.sh ICOUNT_OPS MKFS
set -u
ops=$1 mkfs=$2 failed=0
t=$(mktemp -d /dev/shm/hf-icount-XXXXXX) || exit 77
trap 'rm -rf "$t"' EXIT
fail() { echo "FAILED: $*"; failed=1; }
mkdir "$t/dir" "$t/taken" "$t/taken/d"
"$mkfs" -s 64M "$t/vol" >/dev/null || exit 1
"$mkfs" -s 4M "$t/small" >/dev/null || exit 1
for place in "hf:$t/vol" "dir:$t/dir"; do
	"$ops" "$place" --ops 20 --rounds 2 >"$t/out" 2>&1 || fail "$place: status $?: $(cat "$t/out")"
	lines=$(grep -c '"durable": [0-9]' "$t/out")
	[ "$lines" = 17 ] || fail "$place: $lines operations, not 17"
done
wrong() { # WORDS PLACE
	out=$("$ops" "$2" --ops 20 --rounds 2 2>&1) && fail "$2: succeeded"
	[[ $out == *"$1"* ]] || fail "$2: said '$out', not '$1'"
	[[ $out != *durable* ]] || fail "$2: numbers all the same"
}
wrong "No space left" "hf:$t/small"
wrong "No such file" "dir:$t/none"
wrong "File exists" "dir:$t/taken"
wrong "usage" "$t/vol"
exit $failed
