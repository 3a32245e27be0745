#!/bin/bash
# Cuts the power of a machine that works on a volume, again and again: QEMU gets SIGKILL, its NVDIMMs keep what was stored.
#   powercut.sh BUILD [--rounds N] [--seed S] [--keep DIR] [--lose]
# Each boot first checks what the last cut left (fsck, mount, and each operation that had returned is there), empties the volume, and works until it is
# cut. One boot in six is cut already while it checks, mounts or empties. ADR and eADR take turns. --lose puts the volume back to where it was before the
# last round, as a test of the test: it must fail. Exit status: 0, 1 something is wrong (the NVDIMMs are kept in DIR), 77 no machine can run here.
set -u
here=$(realpath "$(dirname "$0")")
guest=${PMEM_GUEST:-$here/pmem-guest}
rounds=10 seed=$(date +%s) keep=. build= lose=
while [ $# -gt 0 ]; do
	case $1 in
	--rounds) rounds=$2; shift ;;
	--seed) seed=$2; shift ;;
	--keep) keep=$2; shift ;;
	--lose) lose=1 ;;
	-h | --help) sed -n '2,7s/^# \{0,1\}//p' "$0"; exit 0 ;;
	-*) echo "powercut.sh: unknown option $1; see --help" >&2; exit 2 ;;
	*) build=$1 ;;
	esac
	shift
done
[ -x "$build/tests/guest/powercut" ] || { echo "powercut.sh: no build in '$build'" >&2; exit 2; }
build=$(realpath "$build")
"$guest" --check || { echo "skipped: no machine can run here"; exit 77; }
t=$(mktemp -d) nv=$(mktemp -d /dev/shm/powercut.XXXXXX)
pid=
trap '[ -z "$pid" ] || kill "$pid" 2>/dev/null; wait; rm -rf "$t" "$nv"' EXIT
trap 'exit 130' INT TERM
RANDOM=$seed
echo "powercut: $rounds rounds, seed $seed"

bin=$build/tests/guest/powercut hf=$build/src/tools/holdfast devs="/dev/dax0.0 /dev/dax1.0"
domains=(adr eadr)
boot() { # ROUND COMMAND
	: >"$t/out"
	"$guest" --size 528M --count 2 --domain "${domains[$1 % 2]}" --backing "$nv/nv" --pidfile "$t/pid" --timeout 150 -- bash -c "$2" >"$t/out" 2>&1 &
	pid=$!
}
fail() {
	mkdir -p "$keep" && cp --sparse=always "$nv"/nv* "$keep/"
	echo "powercut: FAILED in round $1, seed $seed: $2; the NVDIMMs are in $keep"
	cat "$t/out"
	exit 1
}
# Sleeps for 1 ms to 8 s, each power of two as likely as the others.
nap() {
	local ms=$((1 << RANDOM % 13))
	sleep "$(printf '%d.%03d' $(((ms + RANDOM % ms) / 1000)) $(((ms + RANDOM % ms) % 1000)))"
}

cuts=0 early=0 ops=0 stuck=0
for ((round = 1; round <= rounds; round++)); do
	until_word=working
	if [ $((RANDOM % 6)) = 0 ] && [ "$round" -gt 1 ]; then until_word=begun; fi
	[ -z "$lose" ] || [ "$round" != "$rounds" ] || { until_word=working; cp --sparse=always "$nv/nv" "$nv/old"; }
	boot "$round" "echo begun; $bin check $devs && $hf rm -rf /dev/dax0.0 /t0 /t1 && exec $bin work $devs $((seed * 1000 + round))"
	while ! grep -q "^$until_word" "$t/out" && kill -0 "$pid" 2>/dev/null; do sleep 0.05; done
	nap
	kill -KILL "$(cat "$t/pid" 2>/dev/null)" 2>/dev/null
	wait "$pid"
	status=$?
	pid=
	if [ "$status" = 124 ] && ! grep -q ^begun "$t/out" && [ "$stuck" -lt 3 ]; then
		stuck=$((stuck + 1))
		echo "round $round: the machine did not boot; again"
		round=$((round - 1))
		continue
	fi
	[ "$status" = 137 ] || fail "$round" "the machine ended by itself, status $status"
	cuts=$((cuts + 1))
	[ "$until_word" = working ] || early=$((early + 1))
	n=$(sed -n 's/^checked: \([0-9]*\) operations.*/\1/p' "$t/out")
	ops=$((ops + ${n:-0}))
	echo "round $round: $(grep ^checked "$t/out" || echo "cut before the check ended")"
done
[ -z "$lose" ] || mv "$nv/old" "$nv/nv"
boot 0 "$bin check $devs && $build/src/tools/fsck.holdfast /dev/dax0.0"
wait "$pid" || fail "$rounds" "the last check"
pid=
n=$(sed -n 's/^checked: \([0-9]*\) operations.*/\1/p' "$t/out")
ops=$((ops + ${n:-0}))
cat "$t/out"
echo "powercut: ok: $cuts cuts, $early of them before the work began; $ops operations had returned, 0 lost"
