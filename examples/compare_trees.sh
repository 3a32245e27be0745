#!/bin/bash
# compare_trees.sh A B: says how two trees differ: names, types, content, modes, owners, times, symbolic links, hard links, extended
# attributes, holes. Exits 0 when they do not.
# Access times are not compared: reading the original changes them.
set -u
[ $# -eq 2 ] && [ -d "$1" ] && [ -d "$2" ] || { echo "usage: compare_trees.sh DIR DIR" >&2; exit 2; }
t=$(mktemp -d)
trap 'rm -rf "$t"' EXIT
bad=0

# every name with its attributes; a directory's size is the file system's business
attributes() {
	(cd "$1" && find . -printf '%P\t%y\t%m\t%U\t%G\t%T@\t%l\t' \( -type d -printf 'dir\n' -o -type b -o -type c -printf '%s\n' -o -printf '%s\n' \)) |
		LC_ALL=C sort
}
# which names are one inode: the first name of the group for each. A file whose other names lie outside is no group.
hardlinks() {
	(cd "$1" && find . ! -type d -links +1 -printf '%i\t%P\n') | LC_ALL=C sort -k2 |
		awk -F'\t' '{ if ($1 in first) print first[$1] "\t" $2; else first[$1] = $2 }'
}
xattrs() {
	command -v getfattr >/dev/null || return 0
	(cd "$1" && find . -print0 | xargs -0 -r getfattr -h -d -m - -e hex 2>/dev/null)
}
# sparse files: fewer blocks than their size wants. The other file system may round, so only 'has holes' is compared.
holes() {
	(cd "$1" && find . -type f -size +64k -printf '%P\t%s\t%b\n') | awk -F'\t' '$3 * 512 + 65536 < $2 {print $1}' | LC_ALL=C sort
}
for what in attributes hardlinks xattrs holes; do
	$what "$1" >"$t/a" 2>"$t/err"
	$what "$2" >"$t/b" 2>>"$t/err"
	if [ -s "$t/err" ]; then
		cat "$t/err" >&2
		bad=1
	fi
	if ! diff "$t/a" "$t/b" >"$t/d"; then
		echo "$what differ:"
		head -20 "$t/d"
		bad=1
	fi
done
if ! diff -r --no-dereference "$1" "$2" >"$t/d" 2>&1; then
	# diff cannot compare special files; their type and numbers were compared above
	if grep -vE '^File .* is a (fifo|socket|character special file|block special file) while' "$t/d" >"$t/d2"; then
		echo "content differs:"
		head -20 "$t/d2"
		bad=1
	fi
fi
exit $bad
