#!/bin/sh
# cli.sh HOLDFAST: what 'holdfast crash' prints and returns.
set -u
bin=$1
fail() { echo "$*"; exit 1; }
out=$("$bin" crash --ops create,link --depth 1 --images 32 --json) || fail "exit status $? of: $out"
for key in states images seconds failures seed sequences; do
	echo "$out" | grep -q "\"$key\": " || fail "no $key in: $out"
done
a=$("$bin" crash --ops link --depth 1 --images 16 --json | grep -v seconds)
b=$("$bin" crash --ops link --depth 1 --images 16 --json | grep -v seconds)
[ "$a" = "$b" ] || fail "two runs differ: $a $b"
a=$("$bin" crash --threads 8 --sequences 6 --images 8 --json | grep -v seconds)
b=$("$bin" crash --threads 8 --sequences 6 --images 8 --json | grep -v seconds)
[ "$a" = "$b" ] || fail "two runs of threads differ: $a $b"
# Two halves are the whole.
n=0
for part in 1/2 2/2; do
	m=$("$bin" crash --ops link --depth 2 --images 4 --recovery 2 --recovery-from 4 --part $part --json | sed -n 's/.*"sequences": \([0-9]*\).*/\1/p')
	n=$((n + m))
done
[ $n -eq $((6 * (4 + 16))) ] || fail "$n sequences in two parts"
"$bin" crash --part 3/2 >/dev/null 2>&1 && fail "a third part of two is taken"
"$bin" crash --ops nothing >/dev/null 2>&1 && fail "an unknown operation is taken"
"$bin" crash --depth 9 >/dev/null 2>&1 && fail "a depth of 9 is taken"
"$bin" crash --replay s1.w >/dev/null 2>&1 && fail "a bad id is taken"
for id in s1.w16.p1killed s1.w16.p1bad3.r2- s1.w16.p1-.r1kill s1.w16.p1stray.r1-; do
	"$bin" crash --replay $id >/dev/null 2>&1 && fail "$id is taken"
done
"$bin" crash --threads 4 --part 1/2 --sequences 1 >/dev/null 2>&1 && fail "parts of runs of threads are taken"
# Operation 1 of the table, first setup: an image that passes.
"$bin" crash --replay s1.w16.p1- >/dev/null || fail "a replay of a good image"
# The first run of two threads, eight operations each.
"$bin" crash --replay s1.w135.p1- >/dev/null || fail "a replay of two threads"
"$bin" crash --threads 99 >/dev/null 2>&1 && fail "99 operations are taken"
exit 0
