#!/bin/bash
# make_tree.sh DIR: about 2,000 files of every kind that a tree may hold, always the same.
set -eu
[ $# -eq 1 ] || { echo "usage: make_tree.sh DIR" >&2; exit 2; }
mkdir -p "$1"
cd "$1"
seq 1 400000 >"${TMPDIR:-/tmp}/make_tree.$$"
src=${TMPDIR:-/tmp}/make_tree.$$
trap 'rm -f "$src"' EXIT

# many small files: sizes around what fits into an inode, a block, two blocks
mkdir many
for i in $(seq 0 1499); do
	head -c $((i * 37 % 9000)) "$src" >"many/f$i"
done
# a directory of long names, so that its index grows
mkdir long
for i in $(seq 1 200); do
	: >"long/$(printf '%0240d' "$i")"
done
# sizes at the edges
mkdir sizes
for n in 0 1 63 64 127 128 129 4095 4096 4097 65535 65536 2097151 2097152 2097153 2500000; do
	head -c "$n" "$src" >"sizes/$n"
done
# holes: in the middle, at the end, only a hole, between frames
mkdir holes
truncate -s 10M holes/only
head -c 5000 "$src" >holes/end; truncate -s 5M holes/end
truncate -s 8M holes/middle; printf x | dd of=holes/middle bs=1 seek=4194304 conv=notrunc status=none
truncate -s 20M holes/frames
for at in 0 2097152 6291455 12582912; do
	head -c 9000 "$src" | dd of=holes/frames bs=4096 seek=$((at / 4096)) conv=notrunc status=none
done
# hard links in one directory and across two, of a symlink as well
mkdir links links/other
echo one >links/a
ln links/a links/b
ln links/a links/other/c
ln -s a links/sym
ln -P links/sym links/sym2
# symbolic links: relative, absolute, dangling, to a directory, long
mkdir sym
ln -s ../many/f1 sym/rel
ln -s /etc/passwd sym/abs
ln -s nowhere sym/dangling
ln -s ../many sym/dir
ln -s "$(printf 'x%.0s' $(seq 1 1000))" sym/long
# special files
mkdir special
mkfifo special/fifo
mkfifo -m 600 special/fifo2
mknod special/null c 1 3 2>/dev/null || true
mknod special/loop b 7 0 2>/dev/null || true
# odd names: spaces, newline, quotes, dashes, not UTF-8, control bytes
mkdir odd
for name in 'a b' ' lead' 'trail ' $'new\nline' $'tab\there' '-rf' "quo'te" 'dou"ble' '*' '?' '\' $'\x01' $'\xff\xfe' '...' 'ä€😀'; do
	printf '%s' "$name" >"odd/$name"
done
: >"odd/$(printf 'n%.0s' $(seq 1 255))"
# modes, times
mkdir modes
for m in 0000 0400 0444 0600 0644 0711 1644 2755 4755 6777 7777; do
	echo "$m" >"modes/$m"
	chmod "$m" "modes/$m"
	mkdir "modes/d$m"
	chmod "$m" "modes/d$m"
done
touch -d '1970-01-01 00:00:01.000000001 UTC' modes/0644
touch -d '2038-01-20 UTC' modes/0600
touch -d '1955-11-05 UTC' modes/0444
touch -h -d '2001-01-01 UTC' sym/rel
# depth
d=deep
for i in $(seq 1 60); do
	d=$d/level$i
done
mkdir -p "$d"
echo bottom >"$d/file"
mkdir empty
# attributes
mkdir xattr
if command -v setfattr >/dev/null; then
	echo x >xattr/f
	setfattr -n user.short -v hello xattr/f 2>/dev/null || true
	setfattr -n user.empty xattr/f 2>/dev/null || true
	setfattr -n user.binary -v 0x00ff00 xattr/f 2>/dev/null || true
	setfattr -n user.long -v "$(head -c 2000 "$src" | tr '\n' ' ')" xattr/f 2>/dev/null || true
	setfattr -n user.dir -v yes xattr 2>/dev/null || true
fi
if [ "$(id -u)" = 0 ]; then
	echo owned >modes/owned
	chown 1234:5678 modes/owned
	chown -h 1:2 sym/abs
fi
touch -d '2020-02-02 02:02:02.123456789 UTC' many modes .
