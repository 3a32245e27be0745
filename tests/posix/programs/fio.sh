#!/bin/bash
# fio with verification, by the engines that there are. fio.sh BIN
bin=$1
. "$(dirname "$0")/../mounted.sh"
command -v fio >/dev/null || skip "fio is missing"
volume 512M
mount_volume

job() { # NAME ARGUMENTS
	local name=$1
	shift
	rm -rf "$mnt/fio" && mkdir "$mnt/fio"
	timeout 60 fio --name="$name" --directory="$mnt/fio" --randseed=17 --verify=crc32c --verify_fatal=1 --do_verify=1 --verify_state_save=0 --minimal "$@" >"$tmp/fio.log" 2>&1 ||
		fail "$name: $(tail -3 "$tmp/fio.log")"
	echo "$name: verified"
}
job sync --ioengine=sync --rw=randwrite --bs=4k --size=8m
job unaligned --ioengine=psync --rw=randwrite --bsrange=512-9000 --bs_unaligned --size=4m --verify_interval=512 --fallocate=none
job mmap --ioengine=mmap --rw=randwrite --bs=4k --size=8m
job vectors --ioengine=pvsync2 --rw=randrw --bs=16k --size=8m
job two --ioengine=psync --rw=randwrite --bs=8k --size=4m --numjobs=2 --fsync=16
job libaio --ioengine=libaio --iodepth=8 --rw=randwrite --bs=4k --size=8m
job libaio_direct --ioengine=libaio --iodepth=8 --direct=1 --rw=randwrite --bs=4k --size=8m
if fio --enghelp | grep -qw io_uring && fio --name=try --ioengine=io_uring --size=4k --filename="$mnt/try" --rw=write >/dev/null 2>&1; then
	job io_uring --ioengine=io_uring --iodepth=8 --rw=randwrite --bs=4k --size=8m
else
	echo "io_uring: not there"
fi
job trim --ioengine=psync --rw=randwrite --bs=64k --size=8m --fallocate=native
unmount_volume
check_volume
