#!/bin/bash
# For each operation: locks taken, lines written, and lines taken from other processors, counted in the library itself as eight threads do it
# by turns; how long locks are held; and a model of what that means for up to 64 threads (contention.awk).
#
#   sharing.sh BUILD [--line-ns N] [--json] [--doc]
#     BUILD      a build directory of CMake; what is needed is built there
#     --line-ns  what it costs to get a line from another processor, for the model (80)
#     --json     what was measured, a line for each row and each line of memory, instead of the tables
#     --doc      put the tables into docs/PERFORMANCE.md
# Exit status: 0; 1 something failed, or what is known to be shared was not seen.
set -u
here=$(realpath "$(dirname "$0")")
. "$here/../into_doc.sh"
build= line_ns=80 json= doc=
while [ $# -gt 0 ]; do
	case $1 in
	--line-ns) line_ns=$2; shift ;;
	--json) json=1 ;;
	--doc) doc=$here/../../docs/PERFORMANCE.md ;;
	--help | -h) sed -n '2,11s/^# \{0,1\}//p' "$0"; exit 0 ;;
	-*) echo "sharing.sh: unknown option $1; see --help" >&2; exit 2 ;;
	*) build=$1 ;;
	esac
	shift
done
[ -e "$build/CMakeCache.txt" ] || { echo "sharing.sh: '$build' is no build directory; see --help" >&2; exit 2; }
t=$(mktemp -d /dev/shm/hf-sharing-XXXXXX) || exit 1
trap 'rm -rf "$t"' EXIT
cmake --build "$build" --target sharing_trace sharing_hold mkfs.holdfast >"$t/log" 2>&1 || { tail -30 "$t/log"; exit 1; }
trace=$build/tests/bench/sharing_trace mkfs=$build/src/tools/mkfs.holdfast

# Lanes as of a volume of 1 GiB or more. Where times matter, its memory is there already.
"$mkfs" --sparse -s 2G "$t/vol" >/dev/null && "$trace" "$t/vol" >"$t/traced" || exit 1
rm "$t/vol"
for i in 1 2 3 4 5; do
	"$mkfs" -f -s 1100M "$t/vol" >/dev/null && "$build/tests/bench/sharing_hold" "$t/vol" --threads 1 --ops 800 >"$t/held.$i" || exit 1
done
rm "$t/vol"

# Addresses of code become "function (file:line)": the function that was not inlined, and the place in what was.
grep -oE '"(where|caller|lock)": "0x[0-9a-f]*' "$t/traced" | grep -o '0x.*' | sort -u >"$t/sites"
while read -r pc; do printf '0x%x\n' $((pc - 1)); done <"$t/sites" | addr2line -a -f -i -s -e "$trace" |
	awk 'function flush() { if (pc) print pc, outer, at }
		/^0x/ { flush(); pc = $1; at = ""; fn = 1; next }
		fn { outer = $1; fn = 0; next }
		{ if (at == "" || at ~ /^(lock|types|pm|internal)\.h:/) at = $1; fn = 1 }
		END { flush() }' | paste -d' ' "$t/sites" - >"$t/names"
awk 'FNR == NR { name[$1] = $3 " (" $4 ")"; next }
	{
		while (match($0, /"0x[0-9a-f]*"/)) $0 = substr($0, 1, RSTART) name[substr($0, RSTART + 1, RLENGTH - 2)] substr($0, RSTART + RLENGTH - 1)
		sub(/"\(nil\)"/, "\"\"")
		print
	}' "$t/names" "$t/traced" >"$t/all"
cat "$t"/held.* >>"$t/all"
# What is known: an atomic add to a word of one's own moves no line, to a word of all one each time.
grep -q '"op": "probe", "scope": "own words".*"moves": 0.00' "$t/all" && grep -q '"op": "probe", "scope": "one word".*"moves": 1.00' "$t/all" ||
	{ echo "sharing.sh: the trace did not see what it was shown" >&2; exit 1; }
if [ -n "$json" ]; then cat "$t/all"; exit; fi
"$here/sharing.awk" "$t/all" >"$t/table" || exit 1
echo >>"$t/table"
"$here/contention.awk" -v line_ns="$line_ns" "$t/all" >"$t/model" || exit 1
cat "$t/table" "$t/model"
[ -z "$doc" ] || { into_doc "$doc" sharing "$t/table" && into_doc "$doc" contention "$t/model"; }
