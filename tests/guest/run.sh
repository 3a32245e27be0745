#!/bin/bash
# Runs the suites on emulated persistent memory, in virtual machines, and prints a table with times. One command on a fresh Debian 12: packages,
# kernel and build are seen to.
#
#   tests/guest/run.sh [--short] [--build DIR] [--out DIR] [--list] [MACHINE...] [-- ROW|SUITE...]
#     MACHINE      adr eadr align-1g hmem ext4 xfs linux-6.12 (default: all)
#     --short      what CI runs: a few core suites on one device
#     --build DIR  use the build that is there (default: build/guest beside tests/, made)
#     --out DIR    where the logs go (default: DIR of the build, guest-logs)
#     --list       print rows, suites, and what is left out on which machine
#
# Each machine runs the suites of suites.list. Seconds are those of an emulated processor: they say which suite is long, not how quick holdfast is.
# Exit status: 0, 1 a suite failed, 77 no machine can run here.
set -u
here=$(realpath "$(dirname "$0")")
src=$(realpath "$here/../..")
guest=${PMEM_GUEST:-$here/pmem-guest}
machines=() suites=() build= out= short= ready=
all_machines=(adr eadr align-1g hmem ext4 xfs linux-6.12)
while [ $# -gt 0 ]; do
	case $1 in
	--short) short=1 ;;
	--build) build=$2; ready=1; shift ;;
	--out) out=$2; shift ;;
	--list) sed '/^$/d' "$here/suites.list"; sed -n '/^#left-out /s/^#left-out //p' "$here/run.sh"; exit 0 ;;
	-h | --help) sed -n '2,14s/^# \{0,1\}//p' "$0"; exit 0 ;;
	--) shift; suites=("$@"); break ;;
	-*) echo "run.sh: unknown option $1; see --help" >&2; exit 2 ;;
	*)
		[[ " ${all_machines[*]} " == *" $1 "* ]] || { echo "run.sh: no machine '$1'; there are: ${all_machines[*]}" >&2; exit 2; }
		machines+=("$1")
		;;
	esac
	shift
done
if [ -n "$short" ]; then
	machines=(adr)
	suites=(media_device space_alloc rw_ops pin_api view_ops huge kill9)
fi
[ ${#machines[@]} -gt 0 ] || machines=("${all_machines[@]}")

if [ -z "$ready" ]; then
	build=$src/build/guest
	"$src/tests/setup.sh" build test guest || exit 1
	mkdir -p "$build"
	{ cmake -S "$src" -B "$build" -G Ninja && cmake --build "$build"; } >"$build.log" 2>&1 || { tail -40 "$build.log"; exit 1; }
fi
build=$(realpath "$build")
out=${out:-$build/guest-logs}
"$guest" --check || { echo "skipped: no machine with persistent memory can run here (see above)"; exit 77; }

#left-out align-1g: the row views, for a device of that alignment cannot be mapped in 2 MiB pages (hf_view_map says so, and the suite huge looks); the suites pin_stress,
#left-out   pin_scenarios, huge_slot and deadlock, which use views; and the explorer's images are in memory there
#left-out ext4, xfs: media_device, which is about /dev/dax
#left-out hmem: media_device, which wants memory that survives a power failure
#left-out linux-6.12: all but the core, as for CI
options_of() { # MACHINE
	case $1 in
	adr) echo --mode devdax ;;
	eadr) echo --mode devdax --domain eadr ;;
	align-1g) echo --mode devdax --align 1G --size 2G ;;
	hmem) echo --mode hmem ;;
	ext4) echo --mode fsdax-ext4 ;;
	xfs) echo --mode fsdax-xfs ;;
	linux-6.12) echo --mode devdax --kernel 6.12 ;;
	esac
}
left_out() { # MACHINE
	case $1 in
	align-1g) echo view_ops view_buffers view_fork view_flush view_threads view_limit view_model view_huge pin_stress pin_scenarios huge_slot deadlock ;;
	ext4 | xfs | hmem) echo media_device ;;
	esac
}

failed=0
for m in "${machines[@]}"; do
	rm -rf "${out:?}/$m"
	mkdir -p "$out/$m"
	echo "---- $m: $(options_of "$m")"
	t0=$SECONDS
	# shellcheck disable=SC2046
	HF_GUEST_LEFT_OUT=$(left_out "$m") "$guest" $(options_of "$m") --mem 1536M --timeout 3000 --rw "$out/$m" -- \
		"$here/in_guest.sh" "$build" "$out/$m" "${suites[@]}" >"$out/$m/machine.log" 2>&1
	status=$?
	echo "$m $((SECONDS - t0))" >"$out/$m/seconds"
	if [ "$status" != 0 ]; then
		failed=1
		tail -5 "$out/$m/machine.log"
		awk '$3 != 0 && $3 != 77 { print $2 }' "$out/$m/results" 2>/dev/null | while read -r n; do
			echo "==== $m: $n"
			tail -40 "$out/$m/$n.log"
		done
		[ "$status" = 1 ] || echo "==== $m: the machine ended with status $status"
	fi
done
"$here/table.awk" -v out="$out" -v machines="${machines[*]}"
exit $failed
