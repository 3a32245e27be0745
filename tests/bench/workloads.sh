#!/bin/bash
# The workloads on the library and on tmpfs, in turn; medians of the rounds, and of the ratios within a round.
#
#   workloads.sh BUILD [--rounds N] [--seconds S] [--threads N] [--json] [--doc] [NAME...]
#     BUILD      where workload and mkfs.holdfast have been built
#     --rounds   (5)    --seconds  of each run (1)
#     --threads  (1 and 2)
#     --json     a line for each run instead of the table
#     --doc      put the table into docs/PERFORMANCE.md
#     NAME       varmail fileserver webserver webproxy engine (all)
#
# The volume is a file in a tmpfs of 2 MiB pages where one can be mounted (as root), with the granularity of persistent memory claimed: each write
# is flushed. The directory is in /dev/shm, whose fsync does nothing.
set -u
here=$(realpath "$(dirname "$0")")
. "$here/../into_doc.sh"
build= rounds=5 seconds=1 threads="1 2" json= doc= names=()
while [ $# -gt 0 ]; do
	case $1 in
	--rounds) rounds=$2; shift ;;
	--seconds) seconds=$2; shift ;;
	--threads) threads=$2; shift ;;
	--json) json=1 ;;
	--doc) doc=$here/../../docs/PERFORMANCE.md ;;
	--help | -h) sed -n '2,13s/^# \{0,1\}//p' "$0"; exit 0 ;;
	-*) echo "workloads.sh: unknown option $1; see --help" >&2; exit 2 ;;
	*) if [ -z "$build" ]; then build=$1; else names+=("$1"); fi ;;
	esac
	shift
done
[ -x "$build/tests/bench/workload" ] && [ -x "$build/src/tools/mkfs.holdfast" ] ||
	{ echo "workloads.sh: no workload and mkfs.holdfast in '$build'; see --help" >&2; exit 2; }
[ ${#names[@]} -gt 0 ] || names=(varmail fileserver webserver webproxy engine)
[ "$(stat -f -c %T /dev/shm)" = tmpfs ] || { echo "skipped: /dev/shm is no tmpfs"; exit 77; }
t=$(mktemp -d /dev/shm/hf-workloads-XXXXXX) || exit 1
trap 'mountpoint -q "$t/huge" && umount "$t/huge"; rm -rf "$t"' EXIT
mkdir "$t/huge" "$t/dir"
mount -t tmpfs -o huge=always,size=6G hf-workloads "$t/huge" 2>/dev/null || echo "workloads.sh: no tmpfs of large pages: the volume is in small ones" >&2
vol=$t/huge/vol

once() { # library|tmpfs NAME THREADS
	local place=dir:$t/dir
	rm -rf "$t/dir"
	mkdir "$t/dir"
	if [ "$1" = library ]; then
		"$build/src/tools/mkfs.holdfast" -f -s 4G "$vol" >/dev/null || return 1
		place=hf:$vol
	fi
	"$build/tests/bench/workload" "$place" "$2" --threads "$3" --seconds "$seconds" --json
}
for name in "${names[@]}"; do
	for n in $threads; do
		for ((i = 0; i < rounds; i++)); do
			order=(library tmpfs)
			[ $((i % 2)) = 0 ] || order=(tmpfs library)
			for where in "${order[@]}"; do
				once "$where" "$name" "$n" >>"$t/lines" || { echo "workloads.sh: $name on $where failed" >&2; exit 1; }
			done
		done
	done
done
if [ -n "$json" ]; then cat "$t/lines"; exit; fi

awk -v date="$(date -u +%F)" -v rounds="$rounds" -v seconds="$seconds" '
function median(a, n,   i, j, x, s) {
	for (i = 1; i <= n; i++) s[i] = a[i]
	for (i = 2; i <= n; i++) for (j = i; j > 1 && s[j - 1] > s[j]; j--) { x = s[j]; s[j] = s[j - 1]; s[j - 1] = x }
	return n % 2 ? s[(n + 1) / 2] : (s[n / 2] + s[n / 2 + 1]) / 2
}
function text(key) { match($0, "\"" key "\": \"[^\"]*\""); return substr($0, RSTART + length(key) + 5, RLENGTH - length(key) - 6) }
# of all calls, the first of the objects
function num(key) { match($0, "\"" key "\": [0-9.]+"); return substr($0, RSTART + length(key) + 4, RLENGTH - length(key) - 4) + 0 }
{
	row = text("workload") "," num("threads"); s = text("store") == "holdfast" ? "library" : "tmpfs"
	if (!(row in seen)) { seen[row] = 1; rows[++n] = row }
	c = ++count[row, s]; per_s[row, s, c] = num("per_s"); p50[row, s, c] = num("p50_ns"); p99[row, s, c] = num("p99_ns")
}
function col(v, row, s,   i) { for (i = 1; i <= count[row, s]; i++) m[i] = v[row, s, i]; return median(m, count[row, s]) }
function ratios(v, row,   i, c) { c = count[row, "library"]; for (i = 1; i <= c; i++) m[i] = v[row, "library", i] / v[row, "tmpfs", i]; lo = hi = m[1]
	for (i = 1; i <= c; i++) { if (m[i] < lo) lo = m[i]; if (m[i] > hi) hi = m[i] } return median(m, c) }
END {
	print date ", " rounds " rounds of " seconds " s."
	print ""
	print "| workload | threads | library, 1,000 calls/s | tmpfs | library to tmpfs (rounds) | median call, us: library / tmpfs | p99, us |"
	print "| --- | --- | --- | --- | --- | --- | --- |"
	for (i = 1; i <= n; i++) {
		split(rows[i], p, ",")
		r = ratios(per_s, rows[i])
		printf "| %s | %d | %.0f | %.0f | %.2f (%.2f to %.2f) | %.2f / %.2f | %.1f / %.1f |\n", p[1], p[2], col(per_s, rows[i], "library") / 1000,
			col(per_s, rows[i], "tmpfs") / 1000, r, lo, hi, col(p50, rows[i], "library") / 1000, col(p50, rows[i], "tmpfs") / 1000,
			col(p99, rows[i], "library") / 1000, col(p99, rows[i], "tmpfs") / 1000
	}
}' "$t/lines" >"$t/table" || exit 1
cat "$t/table"
[ -z "$doc" ] || into_doc "$doc" workloads "$t/table"
