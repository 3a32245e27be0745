#!/bin/bash
# A C project built on the mount by make -j, again after a change, and run. build.sh BIN SOURCE
bin=$1 source=$2
. "$(dirname "$0")/../mounted.sh"
for p in make cc ar; do command -v $p >/dev/null || skip "$p is missing"; done
volume 256M
mount_volume
cd "$mnt" || exit 1

cp -r "$source/src/base" "$source/include" . || fail copy
mkdir gen obj
for n in $(seq 40); do
	printf 'int f%d(int x);\nint f%d(int x)\n{\n\treturn x * %d + %d;\n}\n' "$n" "$n" "$n" "$((n * n))" >"gen/f$n.c"
done
{
	seq -f 'int f%g(int x);' 40
	echo '#include <stdio.h>'
	echo 'int main(void)'
	echo '{'
	echo '	int x = 1;'
	seq -f '	x = f%g(x) %% 1000003;' 40
	echo '	printf("%d\n", x);'
	echo '	return 0;'
	echo '}'
} >gen/main.c
cat >Makefile <<'END'
CFLAGS = -O1 -g -D_GNU_SOURCE -Iinclude -I.
GEN = $(patsubst gen/%.c,obj/%.o,$(wildcard gen/*.c))
BASE = $(patsubst base/%.c,obj/base_%.o,$(wildcard base/*.c))
all: prog libbase.a
prog: $(GEN)
	cc -o $@ $^
libbase.a: $(BASE)
	ar rcs $@ $^
obj/%.o: gen/%.c
	cc $(CFLAGS) -MMD -c -o $@ $<
obj/base_%.o: base/%.c
	cc $(CFLAGS) -MMD -c -o $@ $<
-include obj/*.d
END
make -s -j4 2>"$tmp/err" || fail "make: $(tail -5 "$tmp/err")"
was=$(./prog)
make -q || fail "there is still something to make"
sed -i 's/\* 7 +/* 8 +/' gen/f7.c
make -q && fail "the change was not seen"
make -s -j4 2>"$tmp/err" || fail "make again: $(tail -5 "$tmp/err")"
[ "$(./prog)" != "$was" ] || fail "the program is the old one"
ar t libbase.a | grep -q base_ || fail "the archive is empty"

# the same sources elsewhere give the same program
mkdir "$out/b" && cp -r gen "$out/b" && mkdir "$out/b/obj" && cp Makefile "$out/b" && cp -r base include "$out/b"
make -s -j4 -C "$out/b" prog 2>/dev/null || fail "make elsewhere"
[ "$("$out/b/prog")" = "$(./prog)" ] || fail "the programs differ"
cd /
unmount_volume
check_volume
