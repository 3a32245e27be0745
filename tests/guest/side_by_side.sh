#!/bin/bash
# holdfast on device-DAX beside ext4 and XFS with DAX: one program, the same steps, in virtual machines with emulated persistent memory.
# Prints the table that is in README.md. Installs packages and builds what is missing.
#
#   tests/guest/side_by_side.sh [--build DIR] [--kernel X.Y]... [--size SIZE] [--log FILE] [--readme]
#
#     --kernel   default: 6.1 and 6.12
#     --size     of the device (default 1G)
#     --log      all that the program prints (default: DIR/side_by_side.log)
#     --readme   put the table into README.md, too
# Exit status: 0 when the program ran to its end everywhere, and holdfast did what it promises; 77 no machine can run here.
cd "$(dirname "$0")/../.." || exit 1
if [ "${1:-}" = --inside ]; then # in the machine
	. tests/guest/inside.sh
	soft_roce
	exec "$2/tests/side_by_side" "$3"
fi

kernels=() build=build/gcc size=1G log= readme=
while [ $# -gt 0 ]; do
	case $1 in
	--build) build=$2; shift ;;
	--kernel) kernels+=("$2"); shift ;;
	--size) size=$2; shift ;;
	--log) log=$2; shift ;;
	--readme) readme=1 ;;
	--help | -h) sed -n '2,11s/^# \{0,1\}//p' "$0"; exit 0 ;;
	*) echo "side_by_side.sh: unknown option $1; see --help" >&2; exit 2 ;;
	esac
	shift
done
[ ${#kernels[@]} -gt 0 ] || kernels=(6.1 6.12)
tests/setup.sh build test guest pinners || exit 1
tests/guest/pmem-guest --check || exit 77
mkdir -p "$build"
build=$(realpath "$build")
log=${log:-$build/side_by_side.log}
{ cmake -S . -B "$build" -G Ninja && cmake --build "$build" --target side_by_side; } >"$log" 2>&1 || { tail -30 "$log"; exit 1; }

. tests/into_doc.sh
failed=0
: >"$log"
for kernel in "${kernels[@]}"; do
	for mode in devdax fsdax-ext4 fsdax-xfs; do
		where=/mnt/pmem
		[ $mode = devdax ] && where=/dev/dax0.0
		printf '====\t%s\t%s\n' "$kernel" $mode >>"$log"
		tests/guest/pmem-guest --kernel "$kernel" --mode $mode --size "$size" --timeout 1200 -- \
			tests/guest/side_by_side.sh --inside "$build" $where >>"$log" 2>&1 ||
			{ echo "FAILED: kernel $kernel, $mode; see $log" >&2; failed=1; }
	done
done

# A line for each step; a cell says it once where all kernels do the same.
table() {
	awk -F'\t' '
	$1 == "====" { kernel = $2; mode = $3; kernels[kernel] || (order[++nk] = kernel); kernels[kernel] = 1; next }
	NF < 2 || $1 == "kernel" { if ($1 == "kernel") release[kernel] = $2; next }
	!($1 in seen) { seen[$1] = 1; step[++n] = $1 }
	{ value[$1, mode, kernel] = $2 }
	function cell(s, m,    i, same, text) {
		same = 1
		for (i = 1; i <= nk; i++) {
			if (value[s, m, order[i]] != value[s, m, order[1]]) same = 0
			text = text (i > 1 ? "; " : "") order[i] ": " value[s, m, order[i]]
		}
		return same ? value[s, m, order[1]] : text
	}
	END {
		for (i = 1; i <= nk; i++) names = names (i > 1 ? ", " : "") release[order[i]]
		print "| Linux " names " | holdfast, device-DAX | ext4-DAX | XFS-DAX |"
		print "| --- | --- | --- | --- |"
		for (i = 1; i <= n; i++)
			print "| " step[i] " | " cell(step[i], "devdax") " | " cell(step[i], "fsdax-ext4") " | " cell(step[i], "fsdax-xfs") " |"
	}' "$log"
}
table
# What holdfast promises whatever the kernel does.
promise() { # STEP VALUE
	local n
	n=$(awk -F'\t' -v s="$1" -v v="$2" '$1 == "====" { mode = $3 } mode == "devdax" && $1 == s && $2 == v { n++ } END { print n + 0 }' "$log")
	[ "$n" = ${#kernels[@]} ] || { echo "FAILED: holdfast: $1: not '$2' on each kernel" >&2; failed=1; }
}
promise 'ibv_reg_mr' works
promise 'truncate of a held page' 'does not wait'
promise 'punch of a held page' 'does not wait'
for how in truncate unlink; do
	promise "and what the holder sees when others have filled the volume, after $how" 'its own data'
done
promise 'the kernel warns in its log' no
if [ -n "$readme" ] && [ $failed = 0 ]; then
	table >"$log.table"
	into_doc README.md "side by side" "$log.table" || failed=1
	rm -f "$log.table"*
fi
exit $failed
