#!/bin/bash
# Real pinners on real devices: runs the programs pin_* in a virtual machine with persistent memory, each on a file of pages of 2 MiB, on a
# scattered one, and once with the range unpinned too early, which has to do harm. Prints a table of what worked, what the kernel refused,
# and what the busy list showed. Installs packages and builds what is missing.
#
#   tests/guest/pinners.sh [--build DIR] [--kernel X.Y]... [--mode devdax|fsdax-ext4|fsdax-xfs]... [--log FILE] [PINNER...]
#
# Default: kernels 6.1 and 6.12, modes devdax and fsdax-ext4, all pinners. FILE gets all that the programs print (default: DIR/pinners.log).
# Exit status: 0 when all of it is as it should be; 77 no machine can run here.
cd "$(dirname "$0")/../.." || exit 1
all='vmsplice vmwrite backend odirect uring rdma'

# ---- in the machine: inside BINARIES VOLUME PINNER...
inside() {
	local bin=$1 volume=$2 p how
	shift 2
	. tests/guest/inside.sh
	modprobe -a dm_mod virtio_blk
	soft_roce
	for p in "$@"; do
		for how in --scattered --no-pin ''; do
			# shellcheck disable=SC2086
			timeout 300 "$bin/tests/pin_$p" $how --tool "$bin/src/tools/holdfast" "$volume"
			printf 'status\t%s\t%s\t%s\n' "$p" "${how:-frames}" $?
		done
	done
}
if [ "${1:-}" = --inside ]; then
	shift
	inside "$@"
	exit 0
fi

# ---- on the host
kernels=() modes=() build=build/gcc log=
while [ $# -gt 0 ]; do
	case $1 in
	--build) build=$2; shift ;;
	--kernel) kernels+=("$2"); shift ;;
	--mode) modes+=("$2"); shift ;;
	--log) log=$2; shift ;;
	--help | -h) sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 0 ;;
	-*) echo "pinners.sh: unknown option $1; see --help" >&2; exit 2 ;;
	*) break ;;
	esac
	shift
done
[ ${#kernels[@]} -gt 0 ] || kernels=(6.1 6.12)
[ ${#modes[@]} -gt 0 ] || modes=(devdax fsdax-ext4)
# shellcheck disable=SC2086
[ $# -gt 0 ] || set -- $all
tests/setup.sh build test guest pinners || exit 1
tests/guest/pmem-guest --check || exit 77
mkdir -p "$build"
build=$(realpath "$build")
log=${log:-$build/pinners.log}
{ cmake -S . -B "$build" -G Ninja && cmake --build "$build" --target pinners; } >"$log" 2>&1 || { tail -30 "$log"; exit 1; }
disk=$(mktemp /dev/shm/hf-pinners.XXXXXX) || exit 1
trap 'rm -f "$disk"' EXIT
truncate -s 16M "$disk"

# What is to be seen: the kernel holds pages of device-DAX for long (io_uring: from 6.12 on), those of files on a DAX file system never.
expected() { # PINNER KERNEL MODE
	case $1:$2:$3 in
	uring:*:fsdax* | rdma:*:fsdax* | uring:6.1:devdax) echo 'refused: EOPNOTSUPP' ;;
	*) echo works ;;
	esac
}

declare -A what=([vmsplice]=vmsplice [vmwrite]='process_vm_writev of another process' [backend]='stores of another process, by a descriptor'
	[odirect]='O_DIRECT read of a disk' [uring]='io_uring registered buffers' [rdma]='ibv_reg_mr, RDMA WRITE of another process')
failed=0
complain() {
	echo "FAILED: $*" >&2
	failed=1
}

: >"$log"
rows=$log.rows
: >"$rows"
for kernel in "${kernels[@]}"; do
	for mode in "${modes[@]}"; do
		volume=/dev/dax0.0
		[ "$mode" = devdax ] || volume=/mnt/pmem/volume
		size=128M
		[ "$mode" != fsdax-xfs ] || size=1G # mkfs.xfs wants room for its log
		echo "==== $kernel $mode" >>"$log"
		tests/guest/pmem-guest --kernel "$kernel" --mode "$mode" --size $size --timeout 1500 \
			--qemu -drive --qemu "file=$disk,if=none,format=raw,id=disk" --qemu -device --qemu virtio-blk-pci,drive=disk \
			-- env HF_TEST_DISK=/dev/vda tests/guest/pinners.sh --inside "$build" "$volume" "$@" >"$log.one" 2>&1 ||
			complain "the machine: kernel $kernel, $mode; see $log"
		cat "$log.one" >>"$log"
		for p in "$@"; do
			want=$(expected "$p" "$kernel" "$mode")
			while IFS=$'\t' read -r _ name release kind layout result busy; do
				printf '%s\t%s\t%s\t%s\t%s\t%s\n' "${what[$name]}" "$release" "$kind" "$layout" "$result" "${busy/, pin/: pin}" >>"$rows"
				case $result in "$want"*) ;; *) complain "$name, $layout, on kernel $kernel, $mode: $result, not $want" ;; esac
			done < <(grep "^row	$p	" "$log.one")
			for how in frames --scattered --no-pin; do
				status=$(sed -n "s/^status	$p	$how	//p" "$log.one")
				case $want:$how:$status in *:0 | refused*:--no-pin:77) ;; *)
					complain "pin_$p ${how/frames/} on kernel $kernel, $mode: exit status ${status:-none}" ;;
				esac
			done
		done
		rm -f "$log.one"
	done
done
echo '| pinner | kernel | volume | | the busy list while it held: pages of 2 MiB; scattered |'
echo '| --- | --- | --- | --- | --- |'
# the two layouts of the file in one line
awk -F'\t' '$4 == "scattered" { busy = $6; sub(/:.*/, "", busy); result = $5; next }
	{ printf "| %s | %s | %s | %s | %s; %s |\n", $1, $2, $3, $5 == result ? $5 : $5 "; scattered: " result, $6, busy }' "$rows"
rm -f "$rows"
[ $failed = 0 ] && echo && echo 'all as expected; where a pinner works, leaving the pin out was seen to do harm'
exit $failed
