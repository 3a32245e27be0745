#!/bin/bash
# pmem-guest itself. cli.sh options: what it refuses, without a machine. cli.sh machine: what passes through, ends and stays.
set -u
guest=${PMEM_GUEST:-$(realpath "$(dirname "$0")")/pmem-guest}
t=$(mktemp -d) || exit 1
trap 'rm -rf "$t"' EXIT
failed=0
fail() { echo "FAILED: $*"; failed=1; }
wants() { # STATUS WORDS ARG...
	local want=$1 words=$2 got
	shift 2
	"$guest" "$@" >"$t/out" 2>&1 </dev/null
	got=$?
	[ "$got" = "$want" ] || fail "$*: exit status $got, not $want: $(cat "$t/out")"
	[[ $(cat "$t/out") == *"$words"* ]] || fail "$*: said '$(cat "$t/out")', not '$words'"
}

options() {
	wants 0 "usage:" --help
	wants 0 "qemu-system-x86" --packages
	wants 125 "no command"
	wants 125 "no command" --mode devdax --
	wants 125 "unknown option --frobnicate" --frobnicate -- true
	wants 125 "--size needs a value" --size
	wants 125 "is no size" --size much -- true
	wants 125 "no multiple of 16M" --size 100000 -- true
	wants 125 "no multiple of 16M" --size 8M -- true
	wants 125 "is none of" --mode floppy -- true
	wants 125 "is none of" --align 3M -- true
	wants 125 "is none of" --domain none -- true
	wants 125 "not with --kvm" --icount --kvm -- true
	wants 125 "is none of" --map none -- true
	wants 125 "needs --size 2G" --align 1G -- true
	wants 125 "no whole number" --count 0 -- true
	wants 125 "no whole number" --cpus two -- true
	wants 125 "no whole number" --timeout -1 -- true
	wants 125 "too little for a kernel" --mem 16M -- true
	wants 125 "no version" --kernel latest -- true
	wants 125 "no such directory" --rw "$t/none" -- true
	wants 125 "nothing to keep" --mode none --backing "$t/b" -- true
}

machine() {
	export TMPDIR=$t/tmp HF_GUEST_WORD="two words"
	mkdir "$t/tmp" "$t/rw"
	wants 7 "two words here" --mode none -- bash -c 'echo "$HF_GUEST_WORD" here; exit 7'
	cd "$t" || exit 1
	wants 0 "$t" --mode none pwd
	wants 0 "" --mode none --rw "$t/rw" -- bash -c "echo kept >$t/rw/file; echo lost >$t/lost"
	[ "$(cat "$t/rw/file" 2>/dev/null)" = kept ] || fail "--rw: nothing was written"
	[ ! -e "$t/lost" ] || fail "the host's root was written to"
	# waiting costs nothing, and the machine's clock goes on
	wants 0 "counted" --mode none --icount -- bash -c 'a=$(date +%s%N); sleep 100; b=$(date +%s%N); [ $((b - a)) -gt 100000000000 ] && [ "$(nproc)" = 1 ] && echo counted'
	wants 124 "stopped after 12 s" --mode none --timeout 12 -- sleep 100
	wants 0 "534773760" --size 512M --backing "$t/nv" -- cat /sys/bus/dax/devices/dax0.0/size
	wants 125 "--size says" --size 1G --backing "$t/nv" -- true
	wants 137 "before" --backing "$t/nv" --size 512M -- bash -c 'echo before; pmem-cut; echo after' && grep -q after "$t/out" && fail "the power did not fail"
	ls -A "$t/tmp" | grep -q . && fail "scratch files are left: $(ls -A "$t/tmp")"

	# cut from outside, and killed
	"$guest" --size 512M --backing "$t/nv" --pidfile "$t/pid" -- sleep 100 >"$t/out" 2>&1 &
	for _ in $(seq 600); do [ -s "$t/pid" ] && break; sleep 0.1; done
	kill -KILL "$(cat "$t/pid")"
	wait $!
	[ $? = 137 ] || fail "QEMU killed: not 137"
	"$guest" --size 512M --backing "$t/nv" -- sleep 100 >"$t/out" 2>&1 &
	for _ in $(seq 600); do pgrep -f "mem-path=$t/nv" >/dev/null && break; sleep 0.1; done
	kill -KILL $!
	wait $! 2>/dev/null
	for _ in $(seq 100); do { pgrep -f "mem-path=$t/nv" >/dev/null || [ -n "$(ls -A "$t/tmp")" ]; } || break; sleep 0.1; done
	pgrep -f "mem-path=$t/nv" >/dev/null && fail "pmem-guest killed: QEMU still runs"
	[ -z "$(ls -A "$t/tmp")" ] || fail "pmem-guest killed: scratch files are left: $(ls -A "$t/tmp")"
}
case ${1:-} in
options) options ;;
machine)
	"$guest" --check || { echo "skipped: no machine can run here"; exit 77; }
	machine
	;;
*) echo "usage: cli.sh options|machine" >&2; exit 2 ;;
esac
exit $failed
