#!/bin/sh
# Installs into a folder of its own and builds examples/hello.c against it three ways: pkg-config, pkg-config --static and the
# CMake package; each must run.
set -eu
build=$1 src=$2
if grep -q '^HF_SANITIZE:STRING=..*' "$build/CMakeCache.txt"; then
	echo "not with a sanitizer"
	exit 77
fi
# the program that README.md shows
sed -n '/^```c$/,/^```$/p' "$src/README.md" | sed '1d;$d' | cmp - "$src/examples/hello.c"
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cmake --install "$build" --prefix "$tmp/usr" >"$tmp/log" || { cat "$tmp/log"; exit 1; }
pc=$(find "$tmp/usr" -name holdfast.pc)
sed -i "s|^prefix=.*|prefix=$tmp/usr|" "$pc"
PKG_CONFIG_PATH=$(dirname "$pc")
export PKG_CONFIG_PATH
libdir=$(pkg-config --variable=libdir holdfast)

cc -std=c11 -Wall -Wextra -Werror "$src/examples/hello.c" -o "$tmp/shared" $(pkg-config --cflags --libs holdfast)
LD_LIBRARY_PATH=$libdir "$tmp/shared" "$tmp/vol1"
cc -std=c11 "$src/examples/hello.c" -o "$tmp/static" $(pkg-config --cflags holdfast) "$libdir/libholdfast.a" \
	$(pkg-config --libs libpmem2 libndctl libdaxctl libxxhash jansson) -pthread
"$tmp/static" "$tmp/vol2"

sed -i "s|^prefix=.*|prefix=$tmp/usr|" "$(find "$tmp/usr" -name holdfast-crash.pc)"
cc -std=c11 -Wall -Wextra -Werror "$src/examples/crash_your_own.c" -o "$tmp/own" $(pkg-config --cflags --libs holdfast-crash)
LD_LIBRARY_PATH=$libdir "$tmp/own" --fixed
cc -std=c11 "$src/examples/crash_your_own.c" -o "$tmp/own_static" $(pkg-config --cflags holdfast-crash) \
	"$libdir/libholdfast-crash.a" $(pkg-config --libs libpmem2 libndctl libdaxctl libxxhash jansson) -pthread
"$tmp/own_static" --fixed

mkdir "$tmp/proj"
cat >"$tmp/proj/CMakeLists.txt" <<EOF
cmake_minimum_required(VERSION 3.22)
project(hello C)
find_package(holdfast 0.1 REQUIRED)
add_executable(hello $src/examples/hello.c)
target_link_libraries(hello holdfast::holdfast)
EOF
cmake -S "$tmp/proj" -B "$tmp/proj/b" -G Ninja -DCMAKE_PREFIX_PATH="$tmp/usr" >"$tmp/log" || { cat "$tmp/log"; exit 1; }
cmake --build "$tmp/proj/b" >"$tmp/log" || { cat "$tmp/log"; exit 1; }
LD_LIBRARY_PATH=$libdir "$tmp/proj/b/hello" "$tmp/vol3"
for f in bin/holdfast sbin/mkfs.holdfast sbin/fsck.holdfast; do
	[ -x "$tmp/usr/$f" ] || { echo "$f is not installed"; exit 1; }
done
"$tmp/usr/bin/holdfast-guest" --help | grep -q '^usage: holdfast-guest' || { echo "holdfast-guest does not run"; exit 1; }
if [ -e "$build/src/tools/mount.holdfast" ] && ! [ -x "$tmp/usr/sbin/mount.holdfast" ]; then
	echo "mount.holdfast was built and is not installed"
	exit 1
fi
