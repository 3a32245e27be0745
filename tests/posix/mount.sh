#!/bin/bash
# The table on a mounted volume; its read-only cases on the same volume mounted read-only. mount.sh BIN POSIX [ARGUMENTS]
bin=$1 posix=$2
shift 2
. "$(dirname "$0")/mounted.sh"
[ "$(id -u)" = 0 ] || skip "needs root, to be other users"
volume 256M
mount_volume
"$posix" "$@" mount "$mnt" "fusermount3 -u '$mnt' && sleep 0.5 && '$bin/mount.holdfast' '$vol' '$mnt' -o ro,allow_other" || exit 1
fusermount3 -u "$mnt"
sleep 0.5
daemon=
check_volume
