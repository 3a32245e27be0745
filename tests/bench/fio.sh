#!/bin/bash
# What the way through the kernel costs: the same fio jobs on the library, on a mount, on a mount with direct_io, and on tmpfs, all of them
# in the same memory, in turn; medians of the calls, of the rounds, and of the ratios within a round.
#
#   fio.sh BIN FIO_LIBRARY [--rounds N] [--size MIB] [--json]
#     BIN          the folder of mkfs.holdfast and mount.holdfast
#     FIO_LIBRARY  fio_library.so: the library for fio's psync engine
#     --rounds N   (9)    --size MIB  of the file (32)
#     --json       one object for each row instead of the table
#
# Each job is one thread and touches each block of a written file once, in random order; a read is not in the page cache when it
# begins. A write on a mount or the library is durable when it returns as far as the volume's medium is (here: kill -9).
set -u
[ $# -ge 2 ] || { sed -n '2,12s/^# \{0,1\}//p' "$0"; exit 2; }
bin=$1 shim=$2 rounds=9 mib=32 json=
shift 2
while [ $# -gt 0 ]; do
	case $1 in
	--rounds) rounds=$2; shift ;;
	--size) mib=$2; shift ;;
	--json) json=1 ;;
	*) echo "fio.sh: unknown option $1" >&2; exit 2 ;;
	esac
	shift
done
skip() { echo "skipped: $*"; exit 77; }
command -v fio >/dev/null || skip "fio is missing"
[ "$(id -u)" = 0 ] && [ -e /dev/fuse ] || skip "nothing can be mounted"
[ "$(stat -f -c %T /dev/shm)" = tmpfs ] || skip "/dev/shm is no tmpfs"
tmp=$(mktemp -d /dev/shm/hf-bench-XXXXXX)
cleanup() {
	for d in mount direct_io; do
		while grep -q " $tmp/$d " /proc/mounts; do umount -l "$tmp/$d" || break; done
	done
	rm -rf "$tmp"
}
trap cleanup EXIT
places=(library mount direct_io tmpfs)
for p in "${places[@]}"; do
	mkdir "$tmp/$p"
	[ "$p" = tmpfs ] && continue
	"$bin/mkfs.holdfast" -s $((mib * 2 + 64))M "$tmp/$p.vol" >/dev/null || exit 1
done
truncate -s "${mib}M" "$tmp/library/file"
"$bin/mount.holdfast" "$tmp/mount.vol" "$tmp/mount" || skip "nothing can be mounted"
"$bin/mount.holdfast" -o direct_io "$tmp/direct_io.vol" "$tmp/direct_io" || exit 1
for p in mount direct_io tmpfs; do
	head -c "${mib}M" /dev/zero >"$tmp/$p/file" || exit 1
done

# job PLACE RW BLOCK: microseconds per call, the median of one run: a mean is that of who was made to wait
job() {
	local lib=() out
	[ "$1" = library ] && lib=(env HF_FIO_DIR="$tmp/library" HF_FIO_VOLUME="$tmp/library.vol" LD_PRELOAD="$shim")
	out=$("${lib[@]}" fio --name=job --filename="$tmp/$1/file" --ioengine=psync --thread --rw="$2" --bs="$3" --size="${mib}m" \
		--randseed=17 --fallocate=none --percentile_list=50 --output-format=json 2>&1) &&
		awk '/"50.000000"/ {if ($3 + 0 > ns) ns = $3 + 0} END {if (!ns) exit 1; print ns / 1000}' <<<"$out" && return
	echo "fio.sh: $1 $2 $3: $out" >&2
	return 1
}

for bs in 4k 64k 1m; do
	for rw in randwrite randread; do
		for ((i = 0; i < rounds; i++)); do
			line="$rw $bs"
			for ((k = 0; k < 4; k++)); do	# another one begins each time
				p=${places[(i + k) % 4]}
				us=$(job "$p" $rw $bs) || exit 1
				line+=" $p=$us"
			done
			echo "$line"
		done
	done
done | awk -v json="$json" '
function median(a, n,   i, j, t, s) {
	for (i = 1; i <= n; i++) s[i] = a[i]
	for (i = 2; i <= n; i++) for (j = i; j > 1 && s[j - 1] > s[j]; j--) { t = s[j]; s[j] = s[j - 1]; s[j - 1] = t }
	return n % 2 ? s[(n + 1) / 2] : (s[n / 2] + s[n / 2 + 1]) / 2
}
function col(name, i) { for (i = 1; i <= n; i++) c[i] = v[name, i]; return median(c, n) }
function ratio(x, y, i) { for (i = 1; i <= n; i++) c[i] = v[x, i] / v[y, i]; return median(c, n) }
function row(   f) {
	if (!n) return
	f = json ? "{\"job\": \"%s\", \"library_us\": %.2f, \"mount_us\": %.2f, \"direct_io_us\": %.2f, \"tmpfs_us\": %.2f, \"mount_to_library\": %.1f, \"mount_to_tmpfs\": %.1f, \"direct_io_to_library\": %.1f, \"direct_io_to_tmpfs\": %.1f, \"library_to_tmpfs\": %.2f}\n" \
		: "| %s | %.2f | %.1f | %.1f | %.2f | %.1f / %.1f | %.1f / %.1f | %.2f |\n"
	printf f, now, col("library"), col("mount"), col("direct_io"), col("tmpfs"), ratio("mount", "library"), ratio("mount", "tmpfs"),
		ratio("direct_io", "library"), ratio("direct_io", "tmpfs"), ratio("library", "tmpfs")
	fflush()
}
BEGIN {
	if (!json) {
		print "| job | library, us | mount | mount, `direct_io` | tmpfs | mount to library / to tmpfs | `direct_io` to library / to tmpfs | library to tmpfs |"
		print "| --- | --- | --- | --- | --- | --- | --- | --- |"
	}
}
{
	if ($1 " " $2 != now) { row(); now = $1 " " $2; n = 0 }
	n++
	for (i = 3; i <= NF; i++) { split($i, kv, "="); v[kv[1], n] = kv[2] }
}
END { row() }'
exit "${PIPESTATUS[0]}"
