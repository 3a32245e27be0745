# To be sourced: a volume, mounted. $bin is where the tools are; 77 is the exit code of a test that cannot run here.
#
#	volume SIZE		makes $vol, empty
#	mount_volume [OPTIONS]	mounts it on $mnt
#	unmount_volume		and waits until the daemon has gone, which has to end well
#	check_volume		fsck has to find nothing
set -u
skip() {
	echo "skipped: $*"
	exit 77
}
fail() {
	echo "FAIL: $*"
	exit 1
}
[ -x "$bin/mount.holdfast" ] || skip "mount.holdfast was not built: libfuse is missing"
[ -w /dev/fuse ] || skip "/dev/fuse is not there, or not for us"
command -v fusermount3 >/dev/null || skip "fusermount3 is missing"

tmp=$(mktemp -d "${HF_TEST_DIR:-/dev/shm}/holdfast-mounted.XXXXXX") || exit 1
vol=$tmp/volume
mnt=$tmp/mnt
out=$tmp/out
mkdir "$mnt" "$out"
daemon=

unmount_volume() {
	fusermount3 -u "$mnt" || fail "it cannot be unmounted: $(ls -l /proc/*/cwd /proc/*/fd/* 2>/dev/null | grep "$mnt" | head -3)"
	wait "$daemon" || fail "mount.holdfast ended with $?"
	daemon=
}
finish() {
	cd /
	mountpoint -q "$mnt" && fusermount3 -uz "$mnt"
	[ -n "$daemon" ] && kill -9 "$daemon" 2>/dev/null
	rm -rf "$tmp"
}
trap finish EXIT

volume() {
	"$bin/mkfs.holdfast" -s "$1" -f "$vol" >/dev/null || fail mkfs
}
mount_volume() {
	"$bin/mount.holdfast" "$vol" "$mnt" -f -o "allow_other,suid,dev${1:+,$1}" &
	daemon=$!
	for _ in $(seq 200); do
		mountpoint -q "$mnt" && return 0
		kill -0 "$daemon" 2>/dev/null || skip "it cannot be mounted"
		sleep 0.05
	done
	fail "the mount does not appear"
}
check_volume() {
	"$bin/fsck.holdfast" "$vol" >"$tmp/fsck.log" 2>&1 || fail "fsck: $(cat "$tmp/fsck.log")"
}
