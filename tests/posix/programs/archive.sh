#!/bin/bash
# A tree with everything in it, through tar and rsync, onto the mount and back: contents, modes, owners, times, attributes, hard links,
# symlinks, holes. archive.sh BIN MAKE_TREE
bin=$1 make_tree=$2
. "$(dirname "$0")/../mounted.sh"
for p in tar rsync getfattr; do command -v $p >/dev/null || skip "$p is missing"; done
[ "$(id -u)" = 0 ] || skip "owners and devices need root"
volume 512M
mount_volume

src=$out/src
mkdir "$src"
"$make_tree" "$src" >/dev/null || fail "the tree cannot be made"

# One line per name: type, mode, owner, links, size, mtime to the nanosecond (of directories too), target; then attributes and sums.
listing() {
	(cd "$1" && find . -printf '%P %y %#m %U %G %n %T@ %l' \( -type f -printf ' %s' -o -true \) -printf '\n' | sort
		find . -print0 | sort -z | xargs -0 getfattr -h -d -m '^(user|trusted)\.' -- 2>/dev/null
		find . -type f -print0 | sort -z | xargs -0 sha256sum
		find . -type f -links +1 -printf '%i %P\n' | sort -k 2 | awk '{ if (!($1 in n)) n[$1] = ++k; print n[$1], $2 }')
}
same() { # WHAT DIR
	listing "$2" >"$tmp/got"
	diff "$tmp/want" "$tmp/got" >"$tmp/diff" || fail "$1: $(head -8 "$tmp/diff")"
	echo "$1: same ($(wc -l <"$tmp/got") lines)"
}
blocks() { du -s --block-size=1 "$1" | cut -f1; }
listing "$src" >"$tmp/want"

mkdir "$mnt/tar" "$out/tar"
tar -C "$src" --xattrs --xattrs-include='*' --acls -S -cf - . 2>/dev/null | tar -C "$mnt/tar" --xattrs --xattrs-include='*' -S -xpf - 2>"$tmp/err" || fail "tar onto it: $(cat "$tmp/err")"
same "tar onto the mount" "$mnt/tar"
tar -C "$mnt/tar" --xattrs --xattrs-include='*' -S -cf "$mnt/all.tar" . && tar -C "$out/tar" --xattrs --xattrs-include='*' -S -xpf "$mnt/all.tar" || fail "tar back"
same "tar back" "$out/tar"

rsync -aHAXS "$src/" "$mnt/rsync/" 2>"$tmp/err" || rsync -aHXS "$src/" "$mnt/rsync/" || fail "rsync onto it: $(cat "$tmp/err")"
same "rsync onto the mount" "$mnt/rsync"
[ -z "$(rsync -aHXSni --delete "$src/" "$mnt/rsync/")" ] || fail "rsync finds something to do again"
[ -z "$(rsync -aHXSnic --delete "$mnt/tar/" "$mnt/rsync/")" ] || fail "rsync finds that tar's tree differs"
rsync -aHXS "$mnt/rsync/" "$out/rsync/" || fail "rsync back"
same "rsync back" "$out/rsync"
cp -a --sparse=auto "$mnt/rsync" "$mnt/cp" || fail "cp -a"
same "cp -a on the mount" "$mnt/cp"

truncate -s 64M "$out/sparse"
printf x | dd of="$out/sparse" bs=1 seek=33554432 conv=notrunc status=none
rsync -aS "$out/sparse" "$mnt/sparse" && cmp "$out/sparse" "$mnt/sparse" || fail "the sparse file differs"
cp --sparse=auto "$mnt/sparse" "$mnt/sparse2" && cmp "$mnt/sparse" "$mnt/sparse2" || fail "the copy of the sparse file differs"
[ "$(blocks "$mnt/sparse")" -lt 4000000 ] && [ "$(blocks "$mnt/sparse2")" -lt 4000000 ] || fail "holes were filled"

unmount_volume
check_volume
mount_volume
same "after a remount" "$mnt/rsync"
rm -rf "$mnt"/* || fail "rm -rf"
[ -z "$(ls -A "$mnt")" ] || fail "something is left"
unmount_volume
check_volume
