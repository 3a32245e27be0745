#!/bin/bash
# Bad memory under a volume, on device-DAX (machine checks, MADV_HWPOISON) and in a file on ext4-DAX (bad blocks of the device below).
# poison.sh BIN DEVICE_FAULTS: starts a guest for each.
set -u
here=$(cd "${0%/*}" && pwd)
if [ -z "${PMEM_DEV:-}" ]; then
	command -v qemu-system-x86_64 >/dev/null || { echo "skipped: no QEMU"; exit 77; }
	"$here/pmem-guest" --kernel "${HF_GUEST_KERNEL:-6.1}" --count 2 --size 256M --cpus 2 --timeout 400 -- "$here/poison.sh" "$@" || exit
	exec "$here/pmem-guest" --kernel "${HF_GUEST_KERNEL:-6.1}" --mode fsdax-ext4 --size 256M --timeout 400 -- "$here/poison.sh" "$@"
fi
export PATH=$1:$PATH
faults=$2
tmp=/dev/shm/poison
mkdir -p $tmp/mnt
failed=0
fail() { echo "FAILED: $*"; failed=1; }
quiet() { "$@" >$tmp/out 2>&1 || fail "'$*': $(cat $tmp/out)"; }
# says STATUS PART COMMAND...
says() {
	local status=$1 text=$2 out got
	shift 2
	out=$("$@" 2>&1 </dev/null)
	got=$?
	[ $got = "$status" ] || fail "'$*' ended with status $got, not $status: $out"
	[[ $out == *"$text"* ]] || fail "'$*' said '$out', not '$text'"
	echo "$* ($got): $(grep -m1 -F -- "$text" <<<"$out")"
}
modprobe fuse || fail "modprobe fuse"

device() {
	local d0=/dev/dax0.0 d1=/dev/dax1.0 pfn server
	printf '#!/bin/sh\nexec pmem-mce "$1" dax0.0 srar 0\n' >$tmp/inject
	chmod +x $tmp/inject
	"$faults" bad $d0 || fail "pages that go bad"
	quiet fsck.holdfast $d0
	"$faults" read $d0 $tmp/inject || fail "a machine check in hf_pread"
	for r in /sys/bus/nd/devices/region*/badblocks; do echo "$r: $(tr '\n' ';' <"$r")"; done
	says 4 "('a' in directory 3): bytes 12288 to 16383 cannot be read: bad media" fsck.holdfast $d0
	says 4 "('a' in directory 3): bytes 12288 to 16383 cannot be read: bad media" holdfast scrub $d0
	says 4 "'a' in directory 3" fsck.holdfast -y $d0
	[ "$(holdfast cat $d0 /b | wc -c)" = 8388608 ] || fail "the other file cannot be read"
	# What is listed stays listed where the platform has no way to clear it; whole blocks over it are written all the same.
	head -c 16384 /dev/zero >$tmp/blocks
	quiet holdfast put $d0 $tmp/blocks /a
	# mkfs, where nobody has the bad block
	quiet pmem-mce $((100 << 20)) dax1.0 srao
	for _ in $(seq 100); do [ -s /sys/bus/nd/devices/region1/badblocks ] && break; sleep 0.05; done
	says 1 "lists bad media, 4096 bytes from byte 104857600 on, and it cannot be cleared" mkfs.holdfast $d1
	quiet mkfs.holdfast -f $d1
	says 4 "which holds nothing that a file has, cannot be read: bad media" fsck.holdfast $d1
	echo "ndctl clear-errors namespace1.0: $(ndctl clear-errors namespace1.0 2>&1 | tr '\n' ' ')"
	# An error that nobody has touched, under a mount: it lives.
	quiet holdfast put $d1 /etc/passwd /passwd
	quiet mount.holdfast $d1 $tmp/mnt
	server=$(holdfast busy --json $d1 | sed -n 's/.*"owner": \([0-9]*\),*/\1/p')
	modprobe hwpoison-inject && mount -t debugfs debugfs /sys/kernel/debug || fail "hwpoison-inject"
	pfn=$(($(cat /sys/bus/dax/devices/dax1.0/resource) / 4096))
	echo $((pfn + 4)) >/sys/kernel/debug/hwpoison/corrupt-pfn || fail "corrupt-pfn"
	kill -0 "$server" || fail "mount.holdfast died of an error that it has not touched"
	cmp /etc/passwd $tmp/mnt/passwd || fail "reading after it"
	quiet umount $tmp/mnt
}

# bad VOLUME OFFSET LENGTH: the device below lists these bytes of the file as bad; they fail when they are mapped.
bad() {
	local vol=$1 at=$2 len=$3 blk
	blk=$(filefrag -v -b4096 "$vol" | awk -v want=$((at / 4096)) '$1 ~ /^[0-9]+:$/ {
		gsub(/[.:]/, " "); if (want >= $2 && want <= $3) print $4 + want - $2 }')
	[ -n "$blk" ] || fail "where is byte $at of $vol?"
	echo "$((blk * 8)) $((len / 512))" >/sys/block/pmem0/badblocks || fail "badblocks"
}
at() { holdfast stat $vol "$1" | sed -n 's/^  \[0, .* at \([0-9]*\).*/\1/p'; }

file() {
	local vol=$PMEM_MNT/vol off server
	head -c 1M /dev/urandom >$tmp/f
	quiet mkfs.holdfast -s 64M $vol
	holdfast info $vol | grep -q "dax-file" || fail "no DAX: $(holdfast info $vol)"
	for f in f g; do quiet holdfast put $vol $tmp/f /$f; done
	off=$(at /f)
	bad $vol $((off + 65536)) 4096
	says 1 "bad media" sh -c "holdfast cat $vol /f >/dev/null"
	holdfast cat $vol /g | cmp - $tmp/f || fail "the other file"
	says 4 "('f' in directory 3): bytes 65536 to 69631 cannot be read: bad media" holdfast scrub $vol
	quiet mount.holdfast $vol $tmp/mnt
	server=$(holdfast busy --json $vol | sed -n 's/.*"owner": \([0-9]*\),*/\1/p')
	says 1 "Input/output error" dd if=$tmp/mnt/f of=/dev/null bs=4096 skip=16 count=1 iflag=direct
	cmp -n 65536 $tmp/mnt/f $tmp/f || fail "what is before the bad block"
	cmp -i 69632 $tmp/mnt/f $tmp/f || fail "what is behind the bad block"
	cmp $tmp/mnt/g $tmp/f || fail "the other file"
	mkdir $tmp/mnt/new || fail "a change"
	kill -0 "$server" || fail "mount.holdfast died"
	# A whole block over it: other memory, for a file.
	dd if=$tmp/f of=$tmp/mnt/f bs=4096 skip=16 seek=16 count=1 conv=notrunc status=none || fail "a whole block over the bad one"
	cmp $tmp/mnt/f $tmp/f || fail "the block that was written over the bad one"
	quiet umount $tmp/mnt
	holdfast scrub $vol >$tmp/out || fail "scrub: $(cat $tmp/out)"
	# The root's inode: the volume does not mount for writing, and says why.
	bad $vol $((4 * 4096)) 4096
	says 1 "bad media" mount.holdfast $vol $tmp/mnt
	says 1 "bad media" holdfast ls $vol /
	says 4 "bad media" fsck.holdfast $vol
}

if [ -n "$PMEM_MNT" ]; then file; else device; fi
[ $failed = 0 ] && echo "poison: all as it should be${PMEM_MNT:+, in a file}, kernel $(uname -r)"
exit $failed
