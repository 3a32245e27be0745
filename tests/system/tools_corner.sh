#!/bin/bash
# tools_corner.sh BIN: what the tools do with closed descriptors, slashes at the end, names that are taken, and odd destinations.
set -u
export TZ=UTC
bin=$1
t=$(mktemp -d "${TMPDIR:-/tmp}/holdfast_corner.XXXXXX")
trap 'rm -rf "$t"' EXIT
cd "$t" || exit 1
bad=0
fail() {
	echo "tools_corner.sh: $*" >&2
	bad=1
}
hf() { "$bin/holdfast" "$@" 2>err; }
# wants STATUS WHAT COMMAND...
wants() {
	local want=$1 what=$2
	shift 2
	"$@" >out 2>err
	local got=$?
	[ $got = "$want" ] || fail "$what: exit status $got and not $want: $(cat err)"
}
clean() { "$bin/fsck.holdfast" vol >out 2>&1 || fail "$1: fsck: $(cat out)"; }

"$bin/mkfs.holdfast" -s 16M vol >/dev/null || exit 1
head -c 100000 /dev/urandom >file
hf put vol file /file || fail "put: $(cat err)"

# What is printed into a closed descriptor must not be written into the volume, which would get its number.
"$bin/holdfast" cat vol /file >&- 2>err && fail "cat into a closed stdout said that it was done"
clean "cat with stdout closed"
"$bin/holdfast" ls vol /missing 2>&-
clean "a message with stderr closed"
"$bin/holdfast" put vol file /file2 2>&- || fail "put with stderr closed"
clean "put with stderr closed"
"$bin/holdfast" ls vol 0<&- >out 2>err || fail "ls with stdin closed"

# A device that is not there is no file to be made, and each tool says the same of it.
if mountpoint -q /dev; then
	for c in "mkfs.holdfast" "mkfs.holdfast -f -s 16M" "holdfast ls"; do
		wants 1 "$c without a device" $bin/$c /dev/dax99.0
		grep -q "there is no such device: 'daxctl list'" err || fail "$c without a device: $(cat err)"
	done
	wants 8 "fsck without a device" "$bin/fsck.holdfast" /dev/dax99.0
	grep -q "there is no such device: 'daxctl list'" err || fail "fsck without a device: $(cat err)"
	[ -e /dev/dax99.0 ] && fail "mkfs made a file among the devices" && rm /dev/dax99.0
fi

# Two files, and one whose name is theirs with a colon between: it is not what is formatted.
echo precious >one:two
wants 2 "mkfs of two beside a file of their name" "$bin/mkfs.holdfast" -f -s 16M one two
wants 2 "mkfs of several, one with a colon" "$bin/mkfs.holdfast" -f -s 16M one:two three
[ "$(cat one:two)" = precious ] || fail "mkfs formatted a file that was not named"
rm -f one:two
wants 0 "mkfs of two" "$bin/mkfs.holdfast" -s 16M one two
rm -f one two three

# rm -r: slashes at the end; '/', '.' and '..' are refused and nothing is removed.
hf mkdir -p vol /q/r /q/s/t
wants 0 "rm -r q/" hf rm -r vol q/
hf mkdir -p vol /q/r /q/s/t
wants 0 "rm -r /q//" hf rm -r vol /q//
hf mkdir -p vol /q/r /w
for p in / // . /q/. /q/..; do
	wants 1 "rm -rf $p" hf rm -rf vol $p
done
[ "$(hf ls vol | sort | tr '\n' ' ')" = "file file2 q w " ] || fail "rm of '/' and the like removed something: $(hf ls vol)"

# mkdir -p
wants 1 "mkdir -p over a file" hf mkdir -p vol /file
wants 1 "mkdir -p ''" hf mkdir -p vol ""
wants 0 "mkdir -p -m 700 a/b/" hf mkdir -p -m 700 vol a/b/
hf ls -l vol a | grep -q '^drwx------' || fail "mkdir -m with a slash at the end: $(hf ls -l vol a)"

# put: a file where a directory is leaves nothing behind; long names are replaced; what failed is not printed as durable.
echo x >q
wants 1 "put of a file over a directory" hf put -v vol q /
[ ! -s out ] || fail "put -v printed what failed: $(cat out)"
wants 1 "put to ''" hf put vol q ""
[ "$(hf ls vol | sort | tr '\n' ' ')" = "a file file2 q w " ] || fail "put left something behind: $(hf ls vol)"
long=$(printf 'n%.0s' $(seq 255))
echo 1 >"$long"
wants 0 "put of a long name" hf put vol "$long" /
echo 22 >"$long"
wants 0 "put of a long name again" hf put vol "$long" /
[ "$(hf cat vol "/$long")" = 22 ] || fail "a file with a long name was not replaced"
# An import that was killed between a symbolic link and its times.
ln -s target sl
touch -h -d '2001-02-03 04:05:06' sl
hf ln -s vol target /sl
wants 0 "put of a symbolic link that is there" hf put vol sl /
hf stat --json vol /sl | grep -q '"mtime_ns": 981173106000000000' || fail "a symbolic link's time was not set the second time"
# Two sources, whose hard link's first name is taken by the second.
mkdir -p p/a q2/a
echo one >p/a/x
ln p/a/x q2/a/y
echo other >q2/a/x
wants 0 "put of two sources" hf put vol p/a q2/a /w
[ "$(hf cat vol /w/a/y)" = one ] || fail "a hard link across sources has another file's content"

# get
mkdir out1
wants 2 "get of two into no directory" hf get vol /file /file2 out1/x
wants 0 "get to new/" hf get vol /w out1/new/
[ -f out1/new/a/x ] || fail "get to 'new/' made no such directory"
wants 0 "get of dir/" hf get vol /w/ out1
[ -f out1/w/a/x ] || fail "get of 'w/' did not go by its own name"
mkdir out2 out2/sub
wants 0 "get of .." hf get vol .. out2/sub
[ "$(ls out2)" = sub ] || fail "get of '..' wrote outside the destination: $(ls out2)"
clean "at the end"
exit $bad
