#!/bin/bash
# cli.sh BIN JSON_OK: exit statuses and --json of the tools. BIN: where they are; JSON_OK: a program that reads JSON.
set -u
bin=$1 json_ok=$2
t=$(mktemp -d "${TMPDIR:-/tmp}/holdfast_cli.XXXXXX")
trap 'rm -rf "$t"' EXIT
bad=0
vol=$t/vol

. "$(dirname "$0")/status.sh"
hf=$bin/holdfast mkfs=$bin/mkfs.holdfast fsck=$bin/fsck.holdfast

# usage is 2, of fsck 16
status 2 "$mkfs"
status 2 "$mkfs" --none "$vol"
status 2 "$mkfs" -s nonsense "$vol"
status 2 "$mkfs" -U not-a-uuid -s 16M "$vol"
status 2 "$hf"
status 2 "$hf" nonsense
status 2 "$hf" ls
status 2 "$hf" ls --none "$vol" /
status 2 "$hf" put "$vol"
status 2 "$hf" get "$vol" /
status 16 "$fsck"
status 16 "$fsck" --none "$vol"
status 16 "$fsck" "$vol" more
for tool in "$mkfs" "$fsck" "$hf"; do
	status 0 "$tool" --help
done
for command in put get ls cat stat mkdir rm mv ln truncate punch df info busy frames dump bench scrub grow; do
	status 0 "$hf" "$command" --help
done

# mkfs
status 1 "$mkfs" "$vol"				# a new file needs a size
status 1 "$mkfs" -s 1M "$vol"
status 0 "$mkfs" -s 16M -L label "$vol"
status 1 "$mkfs" "$vol"				# holds a volume
grep -q holdfast "$t/err" || wrong "mkfs does not say what it saw: $(cat "$t/err")"
json "$mkfs" -f --json "$vol"
status 1 "$mkfs" -s 16M /none/vol
status 1 "$mkfs" -s 16M /dev/null

# the rest
printf 'hello\n' >"$t/file"
mkdir "$t/tree"
printf x >"$t/tree/$(printf 'odd\n\xff')"
ln -s nowhere "$t/tree/link"
status 0 "$hf" put "$vol" "$t/file" /
status 0 "$hf" cat "$vol" /file
cmp -s "$t/out" "$t/file" || wrong "cat printed something else"
json "$hf" put --json "$vol" "$t/tree" /tree
json "$hf" ls -l --json "$vol" /
json "$hf" stat --json "$vol" /file
json "$hf" df --json "$vol"
json "$hf" info --json "$vol"
json "$fsck" --json "$vol"
json "$hf" scrub --json "$vol"
json "$hf" get --json "$vol" /tree "$t/back"
diff -r --no-dereference "$t/tree" "$t/back" >&2 || bad=1
status 0 "$hf" mkdir -p "$vol" /a/b/c
status 1 "$hf" mkdir "$vol" /a
status 1 "$hf" mkdir "$vol" /none/x
status 0 "$hf" ln -s "$vol" target /sym
status 0 "$hf" ln "$vol" /file /hard
status 0 "$hf" mv "$vol" /hard /a/hard
status 0 "$hf" truncate "$vol" /file 1M
status 0 "$hf" rm "$vol" /file
status 1 "$hf" rm "$vol" /file
status 0 "$hf" rm -r "$vol" /a
status 0 "$hf" rm -f "$vol" /none
status 1 "$hf" cat "$vol" /none
status 1 "$hf" ls "$vol" /none
status 1 "$hf" stat "$vol" /none
status 1 "$hf" get "$vol" /none "$t/none"
status 1 "$hf" put "$vol" "$t/none" /x
status 1 "$hf" ls /none/vol /
status 1 "$hf" ls "$t/file" /
# a closed or full standard output is a failure
"$hf" ls -l "$vol" / >/dev/full 2>/dev/null && wrong "ls to a full disk succeeded"

# grow: what the file became larger by; twice is once
status 0 "$hf" grow "$vol"
json "$hf" grow --json "$vol"
truncate -s 24M "$vol"
json "$hf" grow --json "$vol"
grep -Eq '"to": ?25165824' "$t/out" || wrong "grow says another size: $(cat "$t/out")"
status 0 "$hf" grow "$vol"
status 0 "$fsck" -n "$vol"
cp "$vol" "$t/cut"
truncate -s 16M "$t/cut"
status 1 "$hf" grow "$t/cut"			# volumes do not shrink
status 2 "$hf" grow "$vol" more

# fsck: 0 clean, 4 something found, 8 could not be checked
status 0 "$fsck" -n "$vol"
status 0 "$hf" scrub "$vol"
status 1 "$hf" scrub /none/vol
status 2 "$hf" scrub "$vol" more
status 8 "$fsck" /none/vol
status 8 "$fsck" "$t/file"
printf '\xff\xff\xff\xff' | dd of="$vol" bs=1 seek=200 conv=notrunc status=none	# in the first superblock
status 4 "$fsck" -n "$vol"
status 4 "$hf" scrub "$vol"
"$fsck" -n --json "$vol" >"$t/out" 2>/dev/null
"$json_ok" <"$t/out" || wrong "fsck --json of a damaged volume is not JSON"

# repair: 1 corrected; undone it is as before, but not once it was mounted
status 16 "$fsck" -n -y "$vol"
status 16 "$fsck" -z "$t/undo" "$vol"
status 16 "$fsck" --undo "$t/undo" -y "$vol"
status 8 "$fsck" --undo "$t/none" "$vol"
status 1 "$fsck" -p -z "$t/undo" "$vol"
status 0 "$fsck" "$vol"
status 0 "$fsck" --undo "$t/undo" "$vol"
status 4 "$fsck" "$vol"
"$fsck" -y --json "$vol" >"$t/out" 2>/dev/null
"$json_ok" <"$t/out" || wrong "fsck -y --json is not JSON"
grep -q '"repair": *"' "$t/out" || wrong "fsck -y --json does not say what was done"
status 0 "$fsck" "$vol"
status 0 "$hf" mkdir "$vol" /after
status 8 "$fsck" --undo "$t/undo" "$vol"
exit $bad
