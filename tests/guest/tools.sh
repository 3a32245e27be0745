#!/bin/bash
# The tools on a device: tools.sh TOOLS DEVICE [POKE]. mkfs refuses what has content, a tree goes in and comes out, damage is found and repaired and the
# repair undone, a holder's lock is seen. The device's content is lost.
set -u
export PATH=$1:$PATH
dev=$2 poke=${3:-}
t=$(mktemp -d) || exit 1
trap 'rm -rf "$t"' EXIT
failed=0
fail() { echo "FAILED: $*"; failed=1; }
wants() { # STATUS WORDS COMMAND...: the exit status, and words that the output has
	local want=$1 words=$2 got
	shift 2
	"$@" >"$t/out" 2>&1
	got=$?
	[ "$got" = "$want" ] || fail "$*: exit status $got, not $want: $(cat "$t/out")"
	[[ $(cat "$t/out") == *"$words"* ]] || fail "$*: said '$(cat "$t/out")', not '$words'"
}

wants 0 "" mkfs.holdfast -f "$dev"
wants 1 "a holdfast volume" mkfs.holdfast "$dev"
case $(stat -c %F "$dev") in
"character special file") wants 0 '"device-dax"' holdfast info --json "$dev" ;;
*) wants 0 '"dax-file"' holdfast info --json "$dev" ;;
esac
cat "$t/out"
wants 0 "" fsck.holdfast "$dev"

mkdir -p "$t/tree/a/b"
seq 100000 >"$t/tree/a/numbers"
head -c 5000000 /dev/urandom >"$t/tree/a/b/random"
ln -s ../a "$t/tree/a/b/link"
wants 0 "" holdfast put "$dev" "$t/tree" /
wants 0 "" holdfast get "$dev" /tree "$t/back"
diff -r --no-dereference "$t/tree" "$t/back" >"$t/diff" 2>&1 || fail "what came out is not what went in: $(head -3 "$t/diff")"
wants 0 "" fsck.holdfast "$dev"

if [ -n "$poke" ]; then
	"$poke" "$dev" 0 64 || fail "poke"
	wants 4 "superblock" fsck.holdfast -n "$dev"
	wants 1 "" fsck.holdfast -y -z "$t/undo" "$dev"
	wants 0 "" fsck.holdfast -n "$dev"
	wants 0 "" fsck.holdfast --undo "$t/undo" "$dev"
	wants 4 "superblock" fsck.holdfast -n "$dev"
	wants 1 "" fsck.holdfast -y "$dev"
	wants 0 "" fsck.holdfast -n "$dev"
	rm -rf "$t/back"
	wants 0 "" holdfast get "$dev" /tree "$t/back"
	diff -r --no-dereference "$t/tree" "$t/back" >"$t/diff" 2>&1 || fail "after the repair the files are not what they were"
fi
wants 0 "" holdfast rm -r "$dev" /tree
wants 0 "" holdfast scrub "$dev"
wants 0 "" fsck.holdfast "$dev"
exit $failed
