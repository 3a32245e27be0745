#!/bin/bash
# Instructions per call, of program and kernel: holdfast on device-DAX beside ext4 and XFS with DAX, in virtual machines whose clocks
# count instructions (pmem-guest --icount). Prints a table.
#
#   icount.sh BUILD [--kernel X.Y] [--ops N] [--rounds N] [--json] [--doc]
#     BUILD      where icount_ops and mkfs.holdfast have been built
#     --kernel   of the machines (6.1)
#     --ops      calls of each kind in a round (400)       --rounds  medians of (5)
#     --json     an array with an object for each system and operation instead of the table
#     --doc      put the table into docs/PERFORMANCE.md
# Exit status: 0; 1 an operation or a machine failed, and there is no table; 77 no machine can run here. Takes a minute and a half.
set -u
here=$(realpath "$(dirname "$0")")
. "$here/../into_doc.sh"
guest=${PMEM_GUEST:-$here/../guest/pmem-guest}
if [ "${1:-}" = --inside ]; then # in the machine: BUILD OPS ROUNDS
	place=dir:$PMEM_MNT
	if [ -z "$PMEM_MNT" ]; then
		"$2/src/tools/mkfs.holdfast" "$PMEM_DEV" >/dev/null || exit 1
		place=hf:$PMEM_DEV
	fi
	echo "kernel $(uname -r)"
	exec "$2/tests/bench/icount_ops" "$place" --ops "$3" --rounds "$4" --no-idle
fi

build= kernel=6.1 ops=400 rounds=5 json= doc=
while [ $# -gt 0 ]; do
	case $1 in
	--kernel) kernel=$2; shift ;;
	--ops) ops=$2; shift ;;
	--rounds) rounds=$2; shift ;;
	--json) json=1 ;;
	--doc) doc=$here/../../docs/PERFORMANCE.md ;;
	--help | -h) sed -n '2,11s/^# \{0,1\}//p' "$0"; exit 0 ;;
	-*) echo "icount.sh: unknown option $1; see --help" >&2; exit 2 ;;
	*) build=$1 ;;
	esac
	shift
done
[ -x "$build/tests/bench/icount_ops" ] && [ -x "$build/src/tools/mkfs.holdfast" ] ||
	{ echo "icount.sh: no icount_ops and mkfs.holdfast in '$build'; see --help" >&2; exit 2; }
build=$(realpath "$build")
"$guest" --check || { echo "skipped: no machine can run here"; exit 77; }
t=$(mktemp -d) || exit 1
trap 'rm -rf "$t"' EXIT
for mode in devdax fsdax-ext4 fsdax-xfs; do
	"$guest" --icount --kernel "$kernel" --mode $mode --size 1G --timeout 600 -- "$here/icount.sh" --inside "$build" "$ops" "$rounds" >"$t/$mode" ||
		{ echo "icount.sh: $mode failed: $(tail -1 "$t/$mode")" >&2; exit 1; }
done

awk -v json=$json -v date="$(date -u +%F)" '
function text(key) { match($0, "\"" key "\": \"[^\"]*\""); return substr($0, RSTART + length(key) + 5, RLENGTH - length(key) - 6) }
function num(key) { match($0, "\"" key "\": -?[0-9]+"); return substr($0, RSTART + length(key) + 4, RLENGTH - length(key) - 4) + 0 }
function goal(op) { return op ~ /^(read|overwrite|append)/ ? 3 : op ~ /^fsync/ ? 0 : 20 }
function changes(op) { return op !~ /^(stat|open|read|fsync)/ }
function reached(op, plain, durable) {
	if (!goal(op)) return "-"
	return plain >= goal(op) ? "yes" : durable >= goal(op) && changes(op) ? "with fsync" : "no"
}
FNR == 1 { system_ = FILENAME; sub(/.*\//, "", system_); sub(/fsdax-/, "", system_); sub(/devdax/, "holdfast", system_); kernel = $2; next }
{
	op = text("op")
	if (!(op in seen)) { seen[op] = 1; ops[++n] = op }
	call[op, system_] = num("call"); placed[op, system_] = num("placed"); durable[op, system_] = num("durable")
	if (json) {
		sub(/"store": "[^"]*"/, "\"system\": \"" system_ "\", \"kernel\": \"" kernel "\"")
		all = all (all ? ",\n" : "") $0
	}
}
END {
	if (json) { print "[" all "]"; exit }
	print "Linux " kernel ", " date ". Instructions per call; '"'"'+ fsync'"'"': followed by an fsync of the file or directory."
	print ""
	print "| operation | holdfast | ext4-DAX | + fsync | XFS-DAX | + fsync | ext4 to holdfast | with fsync | goal reached |"
	print "| --- | --- | --- | --- | --- | --- | --- | --- | --- |"
	for (i = 1; i <= n; i++) {
		op = ops[i]; h = placed[op, "holdfast"]
		plain = placed[op, "ext4"] / h; synced = durable[op, "ext4"] / h
		printf "| %s | %d | %d | %s | %d | %s | %.1f | %s | %s |\n", op, h, placed[op, "ext4"],
			changes(op) ? durable[op, "ext4"] : "", placed[op, "xfs"], changes(op) ? durable[op, "xfs"] : "", plain,
			changes(op) ? sprintf("%.1f", synced) : "", reached(op, plain, synced) (goal(op) ? " (" goal(op) ")" : "")
	}
}' "$t/devdax" "$t/fsdax-ext4" "$t/fsdax-xfs" >"$t/table" || exit 1
cat "$t/table"
[ -z "$doc" ] || [ -n "$json" ] || into_doc "$doc" icount "$t/table"
