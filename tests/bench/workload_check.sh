#!/bin/bash
# The workloads, verified: contents say whose they are and are checked at each read; on a volume and on tmpfs, by three threads.
#   workload_check.sh WORKLOAD MKFS FSCK [SEED]
set -u
workload=$1 mkfs=$2 fsck=$3 seed=${4:-1} failed=0
[ "$(stat -f -c %T /dev/shm)" = tmpfs ] || { echo "skipped: /dev/shm is no tmpfs"; exit 77; }
t=$(mktemp -d /dev/shm/hf-workload-XXXXXX) || exit 1
trap 'rm -rf "$t"' EXIT
fail() { echo "FAILED: $*"; failed=1; }
loops=300
[ -z "${HF_TEST_SHORT:-}" ] || loops=60
run() { # PLACE NAME
	"$workload" "$1" "$2" --verify --threads 3 --loops $loops --seconds 5 --scale 8 --seed "$seed" --json >"$t/out" 2>"$t/err" ||
		fail "$2 on $1, seed $seed: $(cat "$t/err")"
}
for name in varmail fileserver webserver webproxy engine; do
	"$mkfs" -s 512M --sparse "$t/vol" >/dev/null || exit 1
	run "hf:$t/vol" $name
	"$fsck" -n "$t/vol" >"$t/fsck" 2>&1 || fail "$name: the volume is damaged: $(cat "$t/fsck")"
	rm "$t/vol"
	mkdir "$t/dir"
	run "dir:$t/dir" $name
	rm -r "$t/dir"
done

# And what is not what was written is found: somebody else writes to the pages meanwhile.
mkdir "$t/dir"
"$workload" "dir:$t/dir" engine --verify --loops 2000 --seconds 5 >"$t/out" 2>&1 & pid=$!
while kill -0 $pid 2>/dev/null; do
	[ -e "$t/dir/db0/manifest" ] && head -c 8M /dev/urandom | dd of="$t/dir/db0/pages" bs=1M seek=4 conv=notrunc,nocreat 2>/dev/null
done
wait $pid && fail "foreign bytes were not noticed"
grep -q "has other bytes" "$t/out" || fail "foreign bytes: said '$(tail -1 "$t/out")'"
exit $failed
