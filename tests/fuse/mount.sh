#!/bin/bash
# The life of a mount: bad input, a round of work, all ways to end it, read-only, death of the serving process.
# mount.sh BIN FUSE_OPS [NO_HANDLES]
set -u
export PATH=$1:$PATH
ops=$2 no_handles=${3-}
tmp=$(mktemp -d /dev/shm/hf-fuse-XXXXXX 2>/dev/null || mktemp -d) # a disk's fsync takes its time
vol=$tmp/vol dir=$tmp/mnt
failed=0
# A serving process has no standard error to say it on.
export LSAN_OPTIONS=${LSAN_OPTIONS:+$LSAN_OPTIONS:}print_suppressions=0
export ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}log_path=$tmp/sanitizer UBSAN_OPTIONS=${UBSAN_OPTIONS:+$UBSAN_OPTIONS:}log_path=$tmp/sanitizer

cleanup() {
	for d in "$dir" "$tmp/host" "$tmp/user/mnt"; do
		while grep -q " $d " /proc/mounts; do umount -l "$d" || break; done
	done
	rm -rf "$tmp"
}
trap cleanup EXIT
skip() { echo "skipped: $*"; exit 77; }
fail() { echo "FAILED: $*"; failed=1; }
# says WHAT COMMAND...: the command fails and its message has WHAT in it
says() {
	local what=$1 out
	shift
	if out=$("$@" 2>&1); then
		fail "'$*' should fail: $what"
	elif [[ $out != *"$what"* ]]; then
		fail "'$*' said '$out', not '$what'"
	fi
}
clean() {
	fsck.holdfast "$vol" >"$tmp/fsck" 2>&1 || { cat "$tmp/fsck"; fail "$1: the volume is not clean"; }
}
server() { holdfast busy --json "$vol" | sed -n 's/.*"owner": \([0-9]*\),*/\1/p'; }
wait_unmounted() {
	for _ in $(seq 200); do
		grep -q " $dir " /proc/mounts || return 0
		sleep 0.02
	done
	fail "$1: still mounted"
}

[ -e /dev/fuse ] || skip "there is no /dev/fuse"
[ "$(id -u)" = 0 ] || skip "not root"
mkdir "$dir"
mkfs.holdfast -s 64M "$vol" >/dev/null || exit 1
mount.holdfast "$vol" "$dir" 2>"$tmp/err" || { grep -qiE 'permitted|permission' "$tmp/err" && skip "$(cat "$tmp/err")"; cat "$tmp/err"; exit 1; }
umount "$dir"
clean "first mount"

# ---- bad input: a sentence each, and nothing is changed
cp "$vol" "$tmp/before"
truncate -s 8M "$tmp/zeros"
touch "$tmp/file"
says "VOLUME and a DIR" mount.holdfast "$vol"
says "VOLUME and a DIR" mount.holdfast "$vol" "$dir" "$dir"
says "cannot mount: $tmp/none: No such file" mount.holdfast "$tmp/none" "$dir"
says "there is no such device: 'daxctl list'" mount.holdfast /dev/dax99.0 "$dir"
mkdir "$tmp/a:b" && cp --sparse=always "$vol" "$tmp/a:b/vol" && ln -s "$tmp/a:b/vol" "$tmp/plain"
says "has a colon" mount.holdfast "$tmp/zeros:$tmp/plain" "$dir"
says "directory to mount on cannot be found" mount.holdfast "$vol" "$tmp/none"
says "Not a directory" mount.holdfast "$vol" "$tmp/file"
says "cannot mount: $tmp/zeros" mount.holdfast "$tmp/zeros" "$dir"
says "unknown option 'colour'" mount.holdfast "$vol" "$dir" -o ro,colour
says "unknown option or missing argument: -x" mount.holdfast "$vol" "$dir" -x
says "takes a number from 1" mount.holdfast "$vol" "$dir" -o max_inodes=none
says "number of a node" mount.holdfast "$vol" "$dir" -o numa_node=-1
says "no device of the volume is on NUMA node 0: of none of them a node is known" mount.holdfast "$vol" "$dir" -o numa_node=0
says "no uuid" mount.holdfast "$vol" "$dir" -o uuid=1234
says "and not 01234567-89ab-cdef-0123-456789abcdef, which was asked for" mount.holdfast "$vol" "$dir" -o uuid=01234567-89ab-cdef-0123-456789abcdef
says "cannot be remounted" mount.holdfast "$vol" "$dir" -o remount,ro
no_fuse() {
	unshare -m sh -c 'mkdir "$1/dev" && mount -t tmpfs none "$1/dev" && mknod "$1/dev/null" c 1 3 && mkdir "$1/dev/shm" &&
		mount --bind /dev/shm "$1/dev/shm" && mount --move "$1/dev" /dev && exec mount.holdfast "$2" "$3"' sh "$tmp" "$vol" "$dir"
}
says "modprobe fuse" no_fuse
chmod 755 "$tmp"
if setpriv --reuid 65534 --regid 65534 --clear-groups true 2>/dev/null; then
	says "mount.holdfast:" setpriv --reuid 65534 --regid 65534 --clear-groups "$(command -v mount.holdfast)" "$vol" "$dir"
fi
mountpoint -q "$dir" && fail "mounted by bad input"
cmp "$vol" "$tmp/before" || fail "bad input changed the volume"

# ---- a round of work, by umount
round() {
	mkdir "$dir/ops-$1" || fail "mkdir"
	"$ops" "$dir/ops-$1" $1 || fail "operations with '$1'"
	rm -rf "$dir/ops-$1" || fail "rm -rf"
}
uuid=$(holdfast info "$vol" | sed -n 's/^uuid *//p')
mount.holdfast "$vol" "$dir" -o "allow_other,uuid=$uuid" || fail "mount"
round plain
grep -q " $dir fuse.holdfast rw,.*default_permissions,allow_other" /proc/mounts || fail "/proc/mounts: $(grep holdfast /proc/mounts)"
says "mounted on $dir" fsck.holdfast "$vol"
says "mounted on $dir" holdfast ls "$vol" /
says "mounted on $dir" mkfs.holdfast -f "$vol"
says "mounted on $dir" mount.holdfast "$vol" "$tmp"
holdfast busy "$vol" | grep -q "mounted by process $(server) on $dir" || fail "busy: $(holdfast busy "$vol")"
umount "$dir" || fail "umount"
clean umount

# ---- without the page cache, as mount(8) and fstab would say it, by fusermount3
mount.holdfast "$vol" "$dir" -n -t holdfast -o rw,nosuid,nodev,noexec,user,x-systemd.automount,direct_io,allow_other || fail "mount"
round direct_io
grep -q " $dir fuse.holdfast rw,nosuid,nodev,noexec," /proc/mounts || fail "/proc/mounts: $(grep holdfast /proc/mounts)"
echo kept >"$dir/kept"
fusermount3 -u "$dir" || fail "fusermount3 -u"
clean fusermount3

# ---- read-only
mount.holdfast "$vol" "$dir" -o ro || fail "mount -o ro"
[ "$(cat "$dir/kept")" = kept ] || fail "read-only: the file is not there"
says "Read-only" touch "$dir/new"
says "Read-only" rm "$dir/kept"
umount "$dir"

# ---- SIGTERM, with an open file that has no name any more; before it, no access times
mount.holdfast "$vol" "$dir" -o noatime || fail "mount -o noatime"
before=$(stat -c %x "$dir/kept")
cat "$dir/kept" >/dev/null
[ "$(stat -c %x "$dir/kept")" = "$before" ] || fail "noatime: reading moved the access time"
exec 7>"$dir/open"
echo bytes >&7
rm "$dir/open"
pid=$(server)
kill -TERM "$pid"
wait_unmounted SIGTERM
echo more >&7 2>/dev/null && fail "an open file outlives its mount"
exec 7>&-
clean SIGTERM

# ---- a create that fails leaves nothing, and the kernel does not remember otherwise: more files open than the inode cache holds
cannot_create() { # NAME [REASON, A FILE THAT GOES]
	! { true >"$dir/$1"; } 2>/dev/null || fail "$1: should fail"
	rm -f "${2-}"
	! ls "$dir" | grep -qx "$1" && [ ! -e "$dir/$1" ] || fail "$1: could not be created, and is there"
}
mount.holdfast "$vol" "$dir" -o max_inodes=32 || fail "mount"
fds=()
for i in $(seq 40); do
	{ exec {fd}>"$dir/full$i"; } 2>/dev/null || break
	fds+=("$fd")
done
[ $i -lt 40 ] || fail "40 files are open in a cache of 32 inodes"
cannot_create "full$i"
! mkdir "$dir/fulldir" 2>/dev/null && [ ! -e "$dir/fulldir" ] && ! ls "$dir" | grep -qx fulldir || fail "mkdir with a full cache"
for fd in "${fds[@]}"; do exec {fd}>&-; done
echo later >"$dir/full$i" && rm "$dir"/full* || fail "the cache stays full"
umount "$dir"
clean "full cache"
if [ -n "$no_handles" ]; then	# it is made, and then cannot be opened
	HF_NO_HANDLES=$tmp/no_handles LD_PRELOAD=$no_handles mount.holdfast "$vol" "$dir" || fail "mount"
	touch "$tmp/no_handles"
	cannot_create unopened "$tmp/no_handles"
	echo later >"$dir/unopened" && rm "$dir/unopened" || fail "a file that could not be opened once"
	umount "$dir"
	clean "no handles"
fi

# ---- a user's own volume, on a directory of his. A user's fusermount3 -u looks into /etc/mtab, which the barest of systems have not.
if [ -e /etc/mtab ] && command -v setpriv >/dev/null && [ -u "$(command -v fusermount3)" ]; then
	user() { (cd "$tmp/user" && setpriv --reuid=65534 --regid=65534 --clear-groups env PATH="$tmp/user:$PATH" "$@"); }
	chmod 755 "$tmp"
	mkdir "$tmp/user" && cp "$1"/{mkfs,mount}.holdfast "$tmp/user" && chown -R 65534:65534 "$tmp/user" && chmod 700 "$tmp/user"
	user mkfs.holdfast -s 16M vol >/dev/null && user mkdir mnt || fail "a user's volume"
	user mount.holdfast vol mnt || fail "a user's mount"
	grep -q " $tmp/user/mnt fuse.holdfast rw,nosuid,nodev," /proc/mounts || fail "a user's mount: $(grep holdfast /proc/mounts)"
	user sh -c 'echo mine >mnt/f && chmod 600 mnt/f' && [ "$(user stat -c %u:%a mnt/f)" = 65534:600 ] || fail "a user's file"
	ls "$tmp/user/mnt" >/dev/null 2>&1 && fail "root may look into a user's mount without allow_other"
	user fusermount3 -u mnt || fail "a user's fusermount3 -u"
	says "no write access" user mount.holdfast vol "$dir"
	grep -qx user_allow_other /etc/fuse.conf 2>/dev/null || says "user_allow_other" user mount.holdfast vol mnt -o allow_other
	fsck.holdfast "$tmp/user/vol" >/dev/null || fail "a user's volume is not clean"
	rm -r "$tmp/user"
fi

# ---- media that cannot be read any more (SIGBUS), under a file: EIO for that, and the process serves the rest. A file of which the
# end is cut off is such a medium; it gets its end back afterwards.
mount.holdfast "$vol" "$dir" -o direct_io || fail "mount"
echo small >"$dir/small"
head -c 40M /dev/urandom >"$dir/big" || fail "writing before the media goes bad"
sum=$(sha256sum <"$dir/big")
tail -c 44M "$vol" >"$tmp/end"
pid=$(server)
truncate -s 20M "$vol"
says "Input/output error" cat "$dir/big"
says "Input/output error" dd if="$dir/big" of=/dev/null bs=4k count=1 skip=$((39 * 256)) status=none
[ "$(cat "$dir/small")" = small ] || fail "bad media: the file that is not hit"
[ "$(stat -c %s "$dir/big")" = $((40 << 20)) ] || fail "bad media: stat"
says "Input/output error" cat "$dir/big"
kill -0 "$pid" || fail "bad media: the server is gone"
umount "$dir" || fail "umount with bad media"
truncate -s 64M "$vol"
dd if="$tmp/end" of="$vol" bs=1M seek=20 conv=notrunc status=none
clean "bad media"
mount.holdfast "$vol" "$dir" || fail "mount"
[ "$(sha256sum <"$dir/big")" = "$sum" ] || fail "bad media: what could not be read is another one"
rm "$dir/big" "$dir/small"
umount "$dir"
rm "$tmp/end"

# ---- in the foreground, SIGINT
env --default-signal=INT mount.holdfast -f "$vol" "$dir" 2>"$tmp/err" &
pid=$!
for _ in $(seq 100); do mountpoint -q "$dir" && break; sleep 0.02; done
echo foreground >"$dir/f" || fail "foreground"
kill -INT $pid
wait $pid || fail "foreground: exit status $?, $(cat "$tmp/err")"
clean SIGINT

# ---- SIGKILL: what had returned is there
mount.holdfast "$vol" "$dir" || fail "mount"
mkdir "$dir/k"
for i in $(seq 50); do echo "$i" >"$dir/k/$i"; done
mv "$dir/k/50" "$dir/k/fifty"
rm "$dir/k/49"
pid=$(server)
kill -KILL "$pid"
for _ in $(seq 200); do ls "$dir" 2>&1 | grep -q "not connected" && break; sleep 0.02; done
says "not connected: unmount" mount.holdfast "$vol" "$dir"
umount "$dir"
clean SIGKILL
mount.holdfast "$vol" "$dir" || fail "mount after SIGKILL"
[ "$(ls "$dir/k" | wc -l)" = 49 ] && [ "$(cat "$dir/k/fifty")" = 50 ] && [ "$(cat "$dir/k/7")" = 7 ] && [ ! -e "$dir/k/49" ] ||
	fail "after SIGKILL: $(ls "$dir/k")"
umount "$dir"

# ---- and so that the mount goes with it. fusermount3 sees to that, and leaves a mount alone whose process is not quite dead yet.
if mount.holdfast "$vol" "$dir" -o auto_unmount; then
	pid=$(server)
	kill -KILL "$pid"
	for _ in $(seq 50); do grep -q " $dir " /proc/mounts || break; sleep 0.02; done
	grep -q " $dir " /proc/mounts && echo "auto_unmount came too early" && umount "$dir"
	clean auto_unmount
else
	fail "mount -o auto_unmount"
fi

# ---- media that cannot be had (the host of a sparse volume is full): errors, said on the log, and the mount goes on
mkdir "$tmp/host"
if mount -t tmpfs -o size=6M none "$tmp/host" 2>/dev/null; then
	mkfs.holdfast --sparse -s 32M "$tmp/host/vol" >/dev/null
	mount.holdfast -f "$tmp/host/vol" "$dir" 2>"$tmp/err" &
	pid=$!
	for _ in $(seq 100); do mountpoint -q "$dir" && break; sleep 0.02; done
	echo first >"$dir/first"
	says "Input/output error" dd if=/dev/zero of="$dir/large" bs=64k count=200
	[ "$(cat "$dir/first")" = first ] || fail "after an I/O error the other files cannot be read"
	ls "$dir" >/dev/null || fail "after an I/O error the directory cannot be read"
	grep -q "$tmp/host/vol" "$tmp/err" || fail "the I/O error is not in the log: $(cat "$tmp/err")"
	umount "$dir" || fail "umount after an I/O error"
	wait $pid || fail "exit status $? after an I/O error"
	fsck.holdfast "$tmp/host/vol" >/dev/null || fail "after an I/O error the volume is not clean"
	umount "$tmp/host"
fi

# ---- mount(8) and umount(8), where a file can be put over /sbin for them alone
by_mount8() {
	unshare -m bash -c '
		sbin=$(realpath /sbin)
		mkdir "$1/upper" "$1/work" && mount -t overlay overlay -o "lowerdir=$sbin,upperdir=$1/upper,workdir=$1/work" "$sbin" 2>/dev/null &&
			cp "$(command -v mount.holdfast)" "$sbin/" || exit 77
		mount -t holdfast -o ro,noatime "$2" "$3" && cat "$3/kept" >/dev/null && umount "$3"' bash "$tmp" "$vol" "$dir"
}
by_mount8
case $? in
0) clean "mount(8)" ;;
77) echo "not tried: mount -t holdfast" ;;
*) fail "mount -t holdfast" ;;
esac

cat "$tmp"/sanitizer* 2>/dev/null && fail "sanitizers found something"
[ $failed = 0 ] && echo "all as it should be"
exit $failed
