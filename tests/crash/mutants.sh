#!/bin/sh
# Deliberate faults: each patch of mutants/ is put into a copy of the sources, and the crash explorer must catch it with the
# workload that the patch names. The copy without faults must pass the same workloads. The failure is then replayed alone, by
# its id, and must be reported in the same words.
#
#	mutants.sh SOURCE [--sample] [--seconds S] [--keep DIR] [--table] [PART-OF-A-NAME...]
#
# --table: as docs/TESTING.md has it. Seconds are of the exploration, milliseconds (not in the table) of the process that replays.
# A patch that does not apply any more is a failure: it must be kept up to date. First line of a patch:
#	what: ...; class: ...; workload: NAME[; seconds: S]
set -u
src=$(cd "$1" && pwd) || exit 2
shift
sample='overwrite-not-sealed|data-of-first|c-one-copy|inflight-ends|data-fence-ignored|checksum-ignored|rename-two|free-before-commit|format-super|slot-stored'
seconds=60 keep= only= table=
while [ $# -gt 0 ]; do
	case $1 in
	--sample) only=$sample ;;
	--table) table=yes ;;
	--seconds) seconds=$2; shift ;;
	--keep) keep=$2; shift ;;
	*) only="${only:+$only|}$1" ;;
	esac
	shift
done
work=$keep
[ -n "$work" ] || { work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT; }
tree=$work/src build=$work/build
mkdir -p "$tree" && (cd "$src" && tar cf - CMakeLists.txt cmake docs examples include src tests) | tar xmf - -C "$tree" || exit 2
# The faults may leave something unused.
cmake -S "$tree" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo -DCMAKE_C_FLAGS=-w >"$work/log" 2>&1 &&
	ninja -C "$build" crash_classes >>"$work/log" 2>&1 || { tail -20 "$work/log"; exit 2; }
bin=$build/tests/crash/crash_classes

field() { sed -n "1s/.*$1: \([^;]*\).*/\1/p" "$2"; }
patches=$(ls "$src"/tests/crash/mutants/*.patch | grep -E -- "${only:-.}")
[ -n "$patches" ] || { echo "no such fault"; exit 2; }
bad=0

for load in $(for p in $patches; do field workload "$p"; done | sort -u); do
	timeout 600 "$bin" --quiet --seconds 5 "$load" >"$work/out" 2>&1 ||
		{ cat "$work/out"; echo "$load: fails without a fault"; bad=1; }
done

# row FAULT WHAT CAUGHT-BY IMAGES SECONDS MILLISECONDS ID
row() {
	if [ -n "$table" ]; then
		echo "| ${1#[0-9][0-9]-} | $2 | $3 | $4 | $5 | $7 |"
	else
		printf '%-34s %-26s %8s %8s %6s  %s\n' "$1" "$3" "$4" "$5" "$6" "$7"
	fi
}

now_ms() { echo $(($(date +%s%N) / 1000000)); }

# replay WORKLOAD ID: $work/out has what the exploration printed. Prints the milliseconds.
replay() {
	grep -v FAILED "$work/out" >"$work/first"
	from=$(now_ms)
	timeout 60 "$bin" --replay "$2" "$1" >"$work/again" 2>&1
	ret=$?
	echo $(($(now_ms) - from))
	grep -v FAILED "$work/again" | cmp -s - "$work/first" && [ $ret -eq 1 ]
}

n=0
row fault what 'caught by' images s ms id
[ -z "$table" ] || row --- --- --- --- --- --- ---
for p in $patches; do
	name=$(basename "$p" .patch) load=$(field workload "$p")
	n=$((n + 1))
	if ! patch -d "$tree" -p1 -s -N --no-backup-if-mismatch <"$p" >"$work/out" 2>&1; then
		printf '%-34s DOES NOT APPLY\n' "$name"
		bad=1
		# Back to what it was.
		(cd "$src" && tar cf - src) | tar xmf - -C "$tree"
		continue
	fi
	if ! ninja -C "$build" crash_classes >"$work/log" 2>&1; then
		printf '%-34s DOES NOT BUILD\n' "$name"
		grep -m 3 error: "$work/log"
		bad=1
	else
		limit=$(field seconds "$p")
		timeout 600 "$bin" --seconds "${limit:-$seconds}" "$load" >"$work/out" 2>&1
		ret=$?
		if [ $ret -eq 1 ]; then
			line=$(grep FAILED "$work/out") id=$(sed -n 's/^ *id //p' "$work/out" | head -1)
			if ! ms=$(replay "$load" "$id"); then
				printf '%-34s the replay of %s is not the failure\n' "$name" "$id"
				diff "$work/first" "$work/again" | head -20
				bad=1
			fi
			row "$name" "$(field what "$p")" "$load" \
				"$(echo "$line" | sed 's/.* states, \([0-9]*\) images.*/\1/')" \
				"$(echo "$line" | sed 's/.*, \([0-9.]*\) s.*/\1/')" "$ms" "$id"
		else
			printf '%-34s NOT CAUGHT by %s (exit status %d)\n' "$name" "$load" $ret
			tail -3 "$work/out"
			bad=1
		fi
	fi
	patch -d "$tree" -p1 -s -R --no-backup-if-mismatch <"$p" >/dev/null
done
echo "$n faults, $([ $bad -eq 0 ] && echo all caught || echo NOT all caught)"
exit $bad
