#!/bin/bash
# hostile.sh BIN HOSTILE: nothing in a volume makes the tools write outside the destination, go on for ever, or send control bytes to
# the terminal. HOSTILE makes the volume (hostile.c).
set -u
bin=$1 hostile=$2
t=$(mktemp -d "${TMPDIR:-/tmp}/holdfast_hostile.XXXXXX")
trap 'rm -rf "$t"' EXIT
cd "$t" || exit 1
bad=0
fail() {
	echo "hostile.sh: $*" >&2
	bad=1
}
get() { timeout 60 "$bin/holdfast" get "$@" >out 2>err; }
# what there is outside of the destinations, and what it holds
outside() { find . -path ./in -prune -o \( -type f -o -type l \) -print0 | sort -z | xargs -0 sha256sum 2>/dev/null | grep -v ' ./\(out\|err\|vol\|before\)$'; }

"$hostile" vol || exit 1
mkdir outside in
echo mine >outside/evil
echo mine >outside/file
echo mine >evil
echo mine >escape
cp -p outside/evil outside/setuid
chmod 600 outside/*
outside >before

# names that no directory may hold are refused, the others come out
get -v vol / in/all
[ $? = 1 ] || fail "get of names like '..' did not fail: $(cat err)"
[ -f in/all/cycle/file ] && [ -f in/all/way/dir/evil ] || fail "get left out what is sound: $(cat err)"
[ "$(ls -A in/all/names | wc -l)" -le 2 ] || fail "names came out that no directory may hold: $(ls -A in/all/names)"
[ ! -e /tmp/hf-ab ] || fail "get wrote to an absolute path"
grep -q 'twice' err || fail "get did not say that a directory is there twice: $(cat err)"
[ "$(find in/all/cycle in/all/many | wc -l)" -le 8 ] || fail "get went on within a cycle: $(find in/all | wc -l) names"
outside | cmp -s - before || fail "get / wrote outside: $(outside | diff - before)"

# a symbolic link in the way: a directory is not entered through it, a file replaces it
mkdir -p in/way
ln -s ../../outside in/way/dir
ln -s ../../outside/file in/way/file
ln -s ../../outside/setuid in/way/setuid
get vol /way in
[ $? = 1 ] || fail "get through a symbolic link did not fail"
[ -f in/way/file ] && [ ! -L in/way/file ] || fail "a symbolic link in the way of a file was not replaced"
[ "$(readlink in/way/absolute)" = /etc/passwd ] || fail "an absolute symbolic link did not come out as it is"
outside | cmp -s - before || fail "get wrote through a symbolic link: $(outside | diff - before)"
[ "$(stat -c %a outside/setuid)" = 600 ] || fail "get changed the mode of what a symbolic link names"

# a symbolic link that comes and goes while get works
mkdir -p in/race
(
	while [ ! -e stop ]; do
		for n in dir file setuid; do
			rm -rf "in/race/way/$n" && ln -s "../../../outside/$([ $n = dir ] || echo $n)" "in/race/way/$n"
		done
	done
) 2>/dev/null &
racer=$!
for _ in $(seq 60); do
	get vol /way in/race
done
touch stop
wait $racer
rm stop
outside | cmp -s - before || fail "get wrote through a symbolic link that came meanwhile: $(outside | diff - before)"
[ "$(stat -c %a outside/*)" = "$(printf '600\n600\n600')" ] || fail "get changed a mode outside: $(stat -c '%n %a' outside/*)"

# setuid: with the owner of the volume's file only
if [ "$(id -u)" = 0 ] && command -v setpriv >/dev/null; then
	mkdir in/user
	chown 65534 in/user
	chmod 711 "$t"
	chmod 644 vol
	cp "$bin/holdfast" tool	# the build folder may be closed to others
	chmod 755 tool
	setpriv --reuid 65534 --regid 65534 --clear-groups ./tool get vol /way in/user >out 2>err
	[ -e in/user/way/setuid ] && [ ! -u in/user/way/setuid ] || fail "a user's get made a setuid file: $(cat err; ls -l in/user/way)"
	rm tool
fi

# no control bytes where people look, and an end
for c in "ls vol /names" "ls -l vol /names" "ls -lR vol /" "info vol" "dump vol super" "stat vol /" "get -v vol / in/again" "rm -r vol /cycle" \
	"rm -r vol /many" "rm -r vol /names"; do
	timeout 60 "$bin/holdfast" $c >out 2>err </dev/null
	[ $? -lt 3 ] || fail "holdfast $c: exit status $?"
	LC_ALL=C grep -q "$(printf '[\001-\010\013-\037\177]')" out err && fail "holdfast $c: control bytes: $(cat -v out err | head -5)"
done
timeout 60 "$bin/fsck.holdfast" -n vol >out 2>err
[ $? = 4 ] || fail "fsck found nothing: $(cat out)"
LC_ALL=C grep -q "$(printf '[\001-\010\013-\037\177]')" out err && fail "fsck: control bytes: $(cat -v out | head -5)"
outside | cmp -s - before || fail "something was written outside: $(outside | diff - before)"
exit $bad
