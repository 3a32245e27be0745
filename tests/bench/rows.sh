#!/bin/bash
# rows.sh BIN ROWS_OK: 'holdfast bench --quick': every group of rows, its JSON and its plots, a volume that is left as it was, and bad options.
# No time is judged.
set -u
hf=$1/holdfast mkfs=$1/mkfs.holdfast fsck=$1/fsck.holdfast rows_ok=$2
t=$(mktemp -d "${TMPDIR:-/tmp}/holdfast_rows.XXXXXX")
trap 'rm -rf "$t"' EXIT
export HOLDFAST_RUNTIME_DIR=$t/run
mkdir -m 700 "$t/run"
bad=0

. "$(dirname "$0")/../system/status.sh"

# ---- all of it
all=(data space names volume threads pins views media latency compare)
status 0 "$hf" bench --quick --json --svg "$t/plots"
"$rows_ok" "${all[@]}" <"$t/out" || wrong "all groups: see above"
plots=("$t"/plots/*.svg)
[ ${#plots[@]} = 12 ] || grep -q 'not measured: /dev/shm' "$t/out" || wrong "there are ${#plots[@]} plots: ${plots[*]##*/}"
for p in "${plots[@]}"; do
	head -c 5 "$p" | grep -q '<?xml' && tail -1 "$p" | grep -q '^</svg>$' || wrong "${p##*/} is no SVG"
	grep -qE '[" ,=-](nan|inf)' "$p" && wrong "${p##*/} has a figure that is none"
	[ "$(grep -o '<text' "$p" | wc -l)" = "$(grep -o '</text>' "$p" | wc -l)" ] || wrong "the elements of ${p##*/} do not match"
done
"$hf" bench --help | grep -qF "$(IFS=,; echo "${all[*]}" | sed 's/,/, /g')" || wrong "--help does not list the groups"

# ---- some of it, as text; on a volume, which is left empty and sound
vol=$t/vol$'\xff'	# not UTF-8
status 0 "$mkfs" -s 512M "$vol"
status 0 "$hf" bench --quick --rows media,data "$vol"
grep -q '^overwrite 4 KiB, random, huge leaf .*<= 1.08' "$t/out" && grep -q '^append 4 KiB into frames ' "$t/out" || wrong "the table lacks rows"
grep -q 'create, among' "$t/out" && wrong "it measured what was not asked for"
awk -f "$(dirname "$0")/tables.awk" "$t/out" >"$t/tables"
for row in '[|] overwrite 4 KiB, random, huge leaf [|] [0-9.]+ [num]s [|] [0-9.]+ [|] [0-9.]+ to [0-9.]+ [|] 1[.]08(, missed)? [|] copy [+] fence [|]' \
	'[|] read, sequential, blocks ([|] [0-9.]+ [num]s, [0-9.]+ ){5}[|]' '[|] append 4 KiB into frames ([|] [0-9.]+ ){4}[|]'; do
	grep -qxE "$row" "$t/tables" || wrong "tables.awk makes no row '$row'"
done
status 0 "$hf" bench --quick --json --rows=space --rows=views "$vol"
"$rows_ok" space views <"$t/out" || wrong "--rows twice: see above"
status 0 "$fsck" "$vol"
status 0 "$hf" ls "$vol" /
[ -s "$t/out" ] && wrong "it left something: $(cat "$t/out")"

# ---- what an interrupted run left
status 0 "$hf" mkdir "$vol" /bench.raw
status 1 "$hf" bench --quick --rows space "$vol"
grep -q 'was interrupted. Remove' "$t/err" || wrong "it does not say what is in its way: $(cat "$t/err")"
status 0 "$hf" rm -r "$vol" /bench.raw

# ---- nobody reads on: it ends, by way of the signal that has it remove what it has in /dev/shm
"$hf" bench --quick --rows media | true
ended=${PIPESTATUS[0]}
[ "$ended" = 143 ] || { [ "$ended" = 141 ] && [ "$(stat -fc '%a * %S / 1073741824' /dev/shm | xargs expr)" = 0 ]; } || wrong "with its reader gone it ended with $ended"

# ---- what is refused
status 2 "$hf" bench --none
status 2 "$hf" bench --rows
status 2 "$hf" bench --rows ''
status 2 "$hf" bench --rows names,none
status 2 "$hf" bench --rows name
status 2 "$hf" bench --rows ,
status 2 "$hf" bench --svg ''
status 2 "$hf" bench --quick --full
status 2 "$hf" bench --quick "$vol" "$vol"
status 1 "$hf" bench --quick --svg /none/plots
status 1 "$hf" bench --quick --svg "$vol"
status 1 "$hf" bench --quick "$t/none"
status 1 "$hf" bench --quick --rows data /dev/null
truncate -s 8M "$t/small"
status 0 "$mkfs" "$t/small"
status 1 "$hf" bench --quick --rows data "$t/small"
status 0 "$hf" ls "$t/small" /
[ -s "$t/out" ] && wrong "it left something in a volume that is too small: $(cat "$t/out")"
"$hf" bench --quick --rows views >/dev/full 2>/dev/null && wrong "printing to a full disk succeeded"
exit $bad
