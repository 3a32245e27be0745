#!/bin/sh
# your_own.sh PROGRAM: the example finds its planted mistake, replays it from the id, and passes when it is repaired.
set -u
out=$("$1")
[ $? -eq 1 ] || { echo "the mistake was not found: $out"; exit 1; }
id=$(echo "$out" | sed -n 's/.*--replay //p')
[ -n "$id" ] || { echo "no id: $out"; exit 1; }
again=$("$1" --replay "$id")
[ $? -eq 1 ] || { echo "the id $id does not replay: $again"; exit 1; }
[ "$(echo "$out" | head -1)" = "$(echo "$again" | head -1)" ] || { echo "another failure: $again"; exit 1; }
"$1" --fixed || { echo "the repaired one fails"; exit 1; }
