#!/bin/bash
# Memory, mount and fsck as volumes and the number of files grow, and what that means for 16 TiB with a billion files.
#
#   scale.sh BUILD [--json] [--doc] [--short]
#     BUILD    where scale has been built
#     --json   a line for each volume instead of the tables
#     --doc    put the tables into docs/PERFORMANCE.md
#     --short  10,000 files at most
# Volumes are sparse files in memory, of 2 MiB pages as a device has where those can be mounted (as root); the largest takes 3 GiB. Half a
# minute; the quietest of three times each.
set -u
here=$(realpath "$(dirname "$0")")
. "$here/../into_doc.sh"
build= json= doc= short=
while [ $# -gt 0 ]; do
	case $1 in
	--json) json=1 ;;
	--doc) doc=$here/../../docs/PERFORMANCE.md ;;
	--short) short=1 ;;
	--help | -h) sed -n '2,10s/^# \{0,1\}//p' "$0"; exit 0 ;;
	-*) echo "scale.sh: unknown option $1; see --help" >&2; exit 2 ;;
	*) build=$1 ;;
	esac
	shift
done
[ -x "$build/tests/bench/scale" ] || { echo "scale.sh: no scale in '$build'; see --help" >&2; exit 2; }
[ "$(stat -f -c %T /dev/shm)" = tmpfs ] || { echo "skipped: /dev/shm is no tmpfs"; exit 77; }
t=$(mktemp -d /dev/shm/hf-scale-XXXXXX) || exit 1
trap 'mountpoint -q "$t/huge" && umount "$t/huge"; rm -rf "$t"' EXIT
mkdir "$t/huge"
mount -t tmpfs -o huge=always,size=8G hf-scale "$t/huge" 2>/dev/null || echo "scale.sh: no tmpfs of large pages: each page costs a fault of its own" >&2
volumes=("1G 10000 0" "32G 10000 0" "1T 10000 0" "16T 10000 0" "1T 100000 0" "1T 1000000 0" "1T 100000 1" "1T 100000 3" "1T 100000 6")
[ -z "$short" ] || volumes=("1G 1000 0" "1T 1000 0" "1T 10000 0" "1T 1000 3")
for v in "${volumes[@]}"; do
	read -r bytes files blocks <<<"$v"
	"$build/tests/bench/scale" "$t/huge/vol" --bytes "$bytes" --files "$files" --blocks "$blocks" >>"$t/lines" || exit 1
done
if [ -n "$json" ] || [ -n "$short" ]; then cat "$t/lines"; exit; fi

awk -v date="$(date -u +%F)" '
function num(key) { match($0, "\"" key "\": [0-9.]+"); return substr($0, RSTART + length(key) + 4, RLENGTH - length(key) - 4) + 0 }
function size(b) { return b >= 2^40 ? b / 2^40 " TiB" : b / 2^30 " GiB" }
function amount(x) { return x >= 100 ? sprintf("%.0f", x) : x >= 10 ? sprintf("%.1f", x) : sprintf("%.2f", x) }
# seconds from milliseconds, GiB from MiB
function large(key, x) { return key ~ /_ms$/ ? (x >= 1000 ? amount(x / 1000) " s" : amount(x) " ms") : (x >= 1024 ? amount(x / 1024) " GiB" : amount(x) " MiB") }
BEGIN {
	n = split("mount_ms killed_ms mount_mib mount_reserved_mib fsck_ms fsck_mib fsck_reserved_mib", keys, " ")
	split("mount, clean|mount, after a kill|memory of a mount|allocated by it|fsck|memory of fsck|allocated by it", titles, "|")
	print date ". Memory: touched, anonymous; *allocated*: what it may come to touch."
	print ""
	print "| volume | files, blocks of each | mount, ms: clean / after a kill | first create, us | its memory, MiB: touched / allocated | fsck, ms | its memory, MiB |"
	print "| --- | --- | --- | --- | --- | --- | --- |"
}
{
	at = size(num("bytes")) "," num("files") "," num("blocks")
	for (i = 1; i <= n; i++) v[at, keys[i]] = num(keys[i])
	printf "| %s | %d, %d | %.1f / %.1f | %.0f | %.1f / %.0f | %.0f | %.1f / %.0f |\n", size(num("bytes")), num("files"), num("blocks"), num("mount_ms"),
		num("killed_ms"), num("first_create_us"), num("mount_mib"), num("mount_reserved_mib"), num("fsck_ms"), num("fsck_mib"), num("fsck_reserved_mib")
}
function nonneg(x) { return x > 0 ? x : 0 }
END {
	print ""
	print "| | for a TiB more (1 to 16) | for a million files more (10,000 to 100,000; 100,000 to 1 million) | if these have 3 blocks | for a million blocks more | 16 TiB, a billion files of 12 KiB |"
	print "| --- | --- | --- | --- | --- | --- |"
	for (i = 1; i <= n; i++) {
		k = keys[i]
		tib = nonneg((v["16 TiB,10000,0", k] - v["1 TiB,10000,0", k]) / 15)
		few = nonneg((v["1 TiB,100000,0", k] - v["1 TiB,10000,0", k]) / 0.09)
		many = nonneg((v["1 TiB,1000000,0", k] - v["1 TiB,100000,0", k]) / 0.9)
		map = nonneg((v["1 TiB,100000,3", k] - v["1 TiB,100000,0", k]) / 0.1)
		block = nonneg((v["1 TiB,100000,6", k] - v["1 TiB,100000,3", k]) / 0.3)
		# mounts do not look at files: what differs there is noise
		looks = k ~ /^fsck/
		all = v["16 TiB,10000,0", k] + (looks ? 1000 * (many + map) : 0)
		printf "| %s, %s | %s | %s | %s | %s | %s |\n", titles[i], k ~ /_ms$/ ? "ms" : "MiB", amount(tib), looks ? amount(few) "; " amount(many) : "none",
			looks ? "+ " amount(map) : "none", looks ? amount(block) : "none", large(k, all)
	}
}' "$t/lines" >"$t/table" || exit 1
cat "$t/table"
[ -z "$doc" ] || into_doc "$doc" scale "$t/table"
