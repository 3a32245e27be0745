#!/bin/bash
# cli_pins.sh BIN JSON_OK HOLDER: 'holdfast frames', 'busy' and 'df' at rest, beside a process that holds pins, and after its death.
# HOLDER: examples/pin_unlink, which runs a command while it holds 8 MiB of a file that is gone.
set -u
bin=$1 json_ok=$2 holder=$3
t=$(mktemp -d "${TMPDIR:-/tmp}/holdfast_pins.XXXXXX")
trap 'rm -rf "$t"' EXIT
bad=0
vol=$t/vol
hf=$bin/holdfast mkfs=$bin/mkfs.holdfast fsck=$bin/fsck.holdfast
export HOLDFAST_RUNTIME_DIR=$t/run COLUMNS=
mkdir -m 700 "$t/run"

. "$(dirname "$0")/status.sh"
# says TEXT: the last command printed it
says() {
	grep -qe "$1" "$t/out" || { wrong "does not say '$1':"; head -20 "$t/out" >&2; }
}
complains() {
	grep -qe "$1" "$t/err" || { wrong "does not complain of '$1':"; head -5 "$t/err" >&2; }
}
# number FILE KEY: the value of the first "KEY": N
number() {
	sed -n "s/^ *\"$2\": \([0-9]*\),*$/\1/p" "$1" | head -1
}

# ---- usage
for command in frames busy df bench; do
	status 0 "$hf" $command --help
done
status 2 "$hf" frames
status 2 "$hf" frames "$vol" "$vol"
status 2 "$hf" frames --color=red "$vol"
status 2 "$hf" frames --width 3 "$vol"
status 2 "$hf" frames --width wide "$vol"
status 2 "$hf" frames --svg "$t/x.svg" --json "$vol"
status 2 "$hf" frames --none "$vol"
status 2 "$hf" busy
status 2 "$hf" busy "$vol" "$vol"
status 2 "$hf" busy --none "$vol"
status 2 "$hf" bench --none

# ---- no volume, another file, a damaged one
printf x >"$t/file"
head -c 8M /dev/urandom >"$t/noise"
for what in /none/vol "$t/file" "$t/noise" "$t" /dev/null; do
	status 1 "$hf" frames "$what"
	status 1 "$hf" busy "$what"
	status 1 "$hf" busy --release "$what"
	status 1 "$hf" df "$what"
done
status 0 "$mkfs" -s 64M "$vol"
head -c 9M /dev/urandom >"$t/big"
status 0 "$hf" put "$vol" "$t/big" "$t/file" /
head -c 32M "$vol" >"$t/short"
status 1 "$hf" frames "$t/short"
complains truncated
cp "$vol" "$t/hurt"
for at in 200 $((67108864 - 4096 + 200)); do		# both superblocks
	printf '\xff\xfe\xfd' | dd of="$t/hurt" bs=1 seek=$at conv=notrunc status=none
done
for command in frames busy df; do
	status 1 "$hf" $command "$t/hurt"
done
# one inode: the rest is shown, and it is said that something is missing
block=$("$hf" dump "$vol" map 1 | awk '/"file_block": 2,/ {on = 1} on && /"block":/ {print $2 + 0; exit}')
cp "$vol" "$t/hurt"
printf '\xff\xfe\xfd\xfc' | dd of="$t/hurt" bs=1 seek=$((block * 4096 + 40)) conv=notrunc status=none
status 1 "$hf" frames "$t/hurt"
complains damaged
says '32 frames'
status 1 "$hf" frames --json "$t/hurt"
"$json_ok" <"$t/out" || wrong "frames --json of a damaged volume is no JSON"
[ "$(number "$t/out" damaged)" -gt 0 ] || wrong "frames --json does not count the damage"

# ---- a volume at rest
json "$hf" frames --json "$vol"
[ "$(number "$t/out" frames)" = 32 ] || wrong "a volume of 64 MiB has 32 frames: $(number "$t/out" frames)"
status 0 "$hf" frames "$vol"
says '32 frames of 2 MiB'
sum=$(sed -n 's/^[^ ]*  *\([0-9]*\) frames.*/\1/p' "$t/out" | awk '{s += $1} END {print s}')
[ "$sum" = 32 ] || wrong "the states of all frames add up to $sum, not to 32"
# what the files say of themselves, and what a mount counts
huge=$("$hf" stat --json "$vol" /big | awk '/"length":/ {n = $2 + 0} /"huge": true/ {sum += n} END {print sum / 2097152}')
json "$hf" frames --json "$vol"
[ "$(sed -n '/"huge": {/,/}/p' "$t/out" | sed -n 's/.*"frames": \([0-9]*\).*/\1/p')" = "$huge" ] && [ "$huge" -gt 2 ] ||
	wrong "the file has $huge huge leaves, frames shows something else"
free=$("$hf" df --json "$vol" | sed -n 's/.*"frames_free": \([0-9]*\).*/\1/p')
[ "$(sed -n '/"free": {/,/}/p' "$t/out" | sed -n 's/.*"frames": \([0-9]*\).*/\1/p')" = "$free" ] || wrong "df says $free frames are free, frames not"
status 0 "$hf" frames "$vol"
grep -q "$(printf '\033')" "$t/out" && wrong "colours, but standard output is no terminal"
status 0 "$hf" frames --color=always "$vol"
says "$(printf '\033')"
status 0 "$hf" frames --color=never --width 50 "$vol"
awk 'NR > 2 && /MiB  [.:0-9A-Z]*$/ && length > 50 {bad = 1} END {exit bad}' "$t/out" || wrong "--width 50 prints longer lines"
status 0 "$hf" frames --runs "$vol"
says '^frame.*huge'
says '^frame.*free'
status 0 "$hf" frames --svg "$t/map.svg" "$vol"
head -c 5 "$t/map.svg" | grep -q '<?xml' && tail -1 "$t/map.svg" | grep -q '^</svg>$' || wrong "--svg wrote no SVG"
[ "$(grep -o '<rect ' "$t/map.svg" | wc -l)" = "$(grep -oe '/>' -e '</rect>' "$t/map.svg" | wc -l)" ] || wrong "the SVG's elements do not match"
cp "$vol" "$t/before"
status 1 "$hf" frames --svg "$vol" "$vol"		# a slip of the hand
status 1 "$hf" frames --svg /none/x.svg "$vol"
status 1 "$hf" frames --svg /dev/full "$vol"
cmp -s "$vol" "$t/before" || wrong "looking at a volume changed it"
"$hf" frames "$vol" >/dev/full 2>/dev/null && wrong "frames to a full disk succeeded"
if command -v script >/dev/null; then
	NO_COLOR= TERM=xterm script -qec "'$hf' frames '$vol'" /dev/null </dev/null >"$t/out"
	says "$(printf '\033')\[[0-9;]*mH"
	NO_COLOR=1 TERM=xterm script -qec "'$hf' frames '$vol'" /dev/null </dev/null >"$t/out"
	grep -q "$(printf '\033')\[48" "$t/out" && wrong "colours although NO_COLOR is set"
fi
truncate -s 64G "$t/large"
status 0 "$mkfs" --sparse "$t/large"
status 0 "$hf" frames "$t/large"
says 'each character is [0-9]* frames'
[ "$(wc -l <"$t/out")" -lt 60 ] || wrong "64 GiB take $(wc -l <"$t/out") lines"
status 0 "$hf" frames --svg "$t/large.svg" "$t/large"
[ "$(wc -c <"$t/large.svg")" -lt 4000000 ] || wrong "the SVG of 64 GiB has $(wc -c <"$t/large.svg") bytes"
rm -f "$t/large" "$t/large.svg"

json "$hf" df --json "$vol"
[ "$(number "$t/out" busy_pinned)" = 0 ] || wrong "busy without pins"
status 0 "$hf" busy "$vol"
says 'not mounted'
json "$hf" busy --json "$vol"
json "$hf" busy --release --json "$vol"
[ "$(number "$t/out" released)" = 0 ] || wrong "released what was not there"

# ---- while a process holds 8 MiB of a file that is gone
status 0 "$mkfs" -f -s 64M "$vol"
cat >"$t/look.sh" <<-EOF
	"$hf" busy "$vol" >"$t/busy.txt" && "$hf" busy --json "$vol" >"$t/busy.json" &&
	"$hf" frames "$vol" >"$t/frames.txt" && "$hf" frames --json "$vol" >"$t/frames.json" &&
	"$hf" frames --svg "$t/frames.svg" "$vol" &&
	"$hf" df "$vol" >"$t/df.txt" && "$hf" df --json "$vol" >"$t/df.json" || exit 1
	"$hf" busy --release "$vol" >/dev/null 2>"$t/release.err" && exit 1
	"$hf" ls "$vol" / >/dev/null 2>&1 && exit 1
	exit 0
EOF
status 0 "$holder" "$vol" "sh $t/look.sh"
for f in busy frames df; do
	"$json_ok" <"$t/$f.json" || wrong "$f --json of a mounted volume is no JSON"
done
eight=$((8 << 20))
[ "$(number "$t/busy.json" pinned_bytes)" = $eight ] || wrong "8 MiB are pinned, not $(number "$t/busy.json" pinned_bytes) bytes"
[ "$(number "$t/busy.json" busy_bytes)" = $eight ] || wrong "8 MiB are busy, not $(number "$t/busy.json" busy_bytes) bytes"
[ "$(number "$t/df.json" busy_pinned)" = $((eight / 4096)) ] || wrong "df: $(number "$t/df.json" busy_pinned) blocks busy"
[ "$(number "$t/busy.json" offset)" = 0 ] && [ "$(number "$t/busy.json" length)" = $eight ] || wrong "busy: the range is another one"
grep -q '"publisher": "alive"' "$t/busy.json" || wrong "the owner is not said to be alive"
grep -q ': mounted by process [0-9]' "$t/busy.txt" && grep -q pin_unlink "$t/busy.txt" && grep -q ' held ' "$t/busy.txt" || {
	wrong "busy does not say who holds what:"
	head -20 "$t/busy.txt" >&2
}
grep -q 'B' "$t/frames.txt" && grep -q '"busy"' "$t/frames.json" || wrong "frames shows nothing busy"
grep -q "by 'pin_unlink' (held)" "$t/frames.svg" || wrong "the picture does not say who"
grep -q 'in use by process' "$t/release.err" || wrong "--release of a mounted volume: $(head -1 "$t/release.err")"
status 0 "$fsck" -n "$vol"
json "$hf" busy --json "$vol"
grep -q '"publisher": "none"' "$t/out" || wrong "after the unmount a table is left"
json "$hf" frames --json "$vol"
grep -q '"state": "busy"' "$t/out" && wrong "after the unmount something is busy"

# ---- the holder is killed: its blocks stay busy until they are released
status 0 "$mkfs" -f -s 64M "$vol"
{ "$holder" "$vol" 'kill -9 $PPID' >/dev/null; } 2>/dev/null
json "$hf" busy --json "$vol"
grep -q '"publisher": "dead"' "$t/out" || wrong "the owner is not said to be dead"
[ "$(number "$t/out" busy_bytes)" = $eight ] || wrong "a dead owner's $(number "$t/out" busy_bytes) bytes are busy"
status 0 "$hf" busy "$vol"
says 'died with these pins'
json "$hf" df --json "$vol"				# mounts it for reading
[ "$(number "$t/out" busy_pinned)" = $((eight / 4096)) ] || wrong "df: $(number "$t/out" busy_pinned) blocks of a dead process busy"
status 0 "$hf" mkdir "$vol" /adopted			# mounts it for writing: the pins are orphaned from now on
json "$hf" busy --json "$vol"
grep -q '"orphaned": true' "$t/out" || wrong "a mount does not call a dead owner's pin orphaned"
[ "$(number "$t/out" busy_bytes)" = $eight ] || wrong "after a mount $(number "$t/out" busy_bytes) bytes of the dead owner are busy"
json "$hf" df --json "$vol"
[ "$(number "$t/out" busy_pinned)" = $((eight / 4096)) ] || wrong "a mount does not keep a dead owner's blocks: $(number "$t/out" busy_pinned)"
status 0 "$hf" rm "$vol" /other
status 0 "$hf" frames "$vol"
says B
status 0 "$hf" busy --release "$vol"
says "released: pin .*pin_unlink"
says '^1 orphaned pin released'
json "$hf" busy --json "$vol"
[ "$(number "$t/out" busy_bytes)" = 0 ] || wrong "after the release something is busy"
json "$hf" df --json "$vol"
[ "$(number "$t/out" busy_pinned)" = 0 ] || wrong "after the release df counts something as busy"
status 0 "$fsck" -n "$vol"

# ---- tables that mean nothing: of another boot, damaged
status 0 "$mkfs" -f -s 64M "$vol"
"$holder" "$vol" "cp $t/run/* $t/table" >/dev/null 2>&1 && [ -s "$t/table" ] || wrong "no table was published in $t/run"
status 0 "$mkfs" -f -s 64M "$vol"
name=$("$holder" "$vol" "ls $t/run" 2>/dev/null | grep -v -e blocks -e full -e 'pin ' | head -1)
status 0 "$mkfs" -f -s 64M "$vol"			# the same file, another volume: its uuid is another one
cp "$t/table" "$t/run/$name"
json "$hf" busy --json "$vol"
grep -q '"publisher": "stale"' "$t/out" || wrong "the table of another volume is believed: $(grep publisher "$t/out")"
status 0 "$hf" busy "$vol"
says 'means nothing'
printf 'rubbish' | dd of="$t/run/$name" conv=notrunc status=none
status 1 "$hf" busy "$vol"
complains table
status 0 "$hf" frames "$vol"				# the rest can be shown
complains 'without pins'
: >"$t/run/$name"
status 1 "$hf" busy "$vol"
head -c 200000 /dev/urandom >"$t/noise"
for seed in 1 2 3 4 5 6 7 8; do				# a table with a good head and noise behind it
	{ head -c 4096 "$t/table"; tail -c +$((seed * 1000)) "$t/noise"; } >"$t/run/$name"
	timeout 60 "$hf" busy --json "$vol" >"$t/out" 2>"$t/err"
	[ $? -le 1 ] || wrong "noise in the table kills it"
done
rm -f "$t/run/$name"
exit $bad
