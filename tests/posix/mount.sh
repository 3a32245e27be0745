#!/bin/bash
# The table on a mounted volume; its read-only cases on the same volume mounted read-only. mount.sh BIN POSIX [ARGUMENTS]
bin=$1 posix=$2
shift 2
. "$(dirname "$0")/mounted.sh"
[ "$(id -u)" = 0 ] || skip "needs root, to be other users"
volume 256M
mount_volume
# mounts it again, read-only, as soon as the first one has let go of it
again="fusermount3 -u '$mnt' && for _ in \$(seq 100); do '$bin/mount.holdfast' '$vol' '$mnt' -o ro,allow_other && exit 0; sleep 0.1; done; exit 1"
"$posix" "$@" mount "$mnt" "$again" 2>"$tmp/err" || { cat "$tmp/err"; exit 1; }
wait "$daemon" || fail "mount.holdfast ended with $?"
daemon=
fusermount3 -u "$mnt"
for _ in $(seq 100); do
	"$bin/fsck.holdfast" "$vol" >"$tmp/fsck.log" 2>&1 && exit 0
	sleep 0.1
done
fail "fsck: $(cat "$tmp/fsck.log")"
