#!/bin/bash
# stress-ng's filesystem stressors on the mount, each for a moment, verifying. stress.sh BIN few|all [SECONDS]
bin=$1 which=$2 seconds=${3:-1}
. "$(dirname "$0")/../mounted.sh"
command -v stress-ng >/dev/null || skip "stress-ng is missing"
volume 512M
mount_volume

# Not here: what asks for swap, quotas, the root of a disk, or the whole machine; and io-uring, which fails on tmpfs and ext4, too.
few="access chmod chown copy-file dentry dirdeep fallocate fcntl flock fpunch getdent iomix lockofd mmap msync rename seek sendfile
	symlink xattr"
all="$few chattr chdir dir dirmany dup fault fiemap file-ioctl filename fstat handle hdd lease link locka lockf mknod open readahead
	revio splice sync-file touch utime vm-splice aio aiol"
stressors=$few
[ "$which" = all ] && stressors=$all
failed=()
for s in $stressors; do
	stress-ng --help 2>/dev/null | grep -qw -- "--$s" || continue
	rm -rf "$mnt/s" && mkdir -m 777 "$mnt/s"
	timeout -s KILL $((seconds + 30)) stress-ng --"$s" 2 --timeout "${seconds}s" --temp-path "$mnt/s" --verify --seed 17 --oom-avoid \
		--hdd-bytes 8M --fallocate-bytes 8M --iomix-bytes 8M --mmap-bytes 8M --mmap-file --msync-bytes 8M \
		--seek-size 4M --sync-file-bytes 4M --revio-bytes 4M --readahead-bytes 8M --sendfile-size 1M \
		>"$tmp/stress.log" 2>&1
	code=$?
	case $code in
	0) ;;
	3 | 4) echo "$s: not possible here" ;;
	*)
		failed+=("$s($code)")
		echo "$s: $code"
		grep -iE 'fail|error' "$tmp/stress.log" | head -4
		;;
	esac
	mountpoint -q "$mnt" && kill -0 "$daemon" || fail "$s: the mount is gone"
done
rm -rf "$mnt/s" || fail "rm"
unmount_volume
check_volume
[ ${#failed[@]} -eq 0 ] || fail "${failed[*]}"
