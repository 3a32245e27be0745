#!/bin/sh
# Compiles the layers base and media for aarch64, and runs their instructions in qemu-aarch64 where that is installed.
# usage: media_cross.sh SOURCE-DIR. Exit 77: no cross compiler.
set -eu
cc=${HF_CROSS_CC:-aarch64-linux-gnu-gcc}
src=$1/src
command -v "$cc" >/dev/null || { echo "no $cc: skipped"; exit 77; }
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
flags="-std=gnu11 -O2 -D_GNU_SOURCE -Wall -Wextra -Wconversion -Wshadow -Wcast-qual -Wundef -Wvla -Werror -I$src"
for f in "$src"/base/*.c "$src"/media/*.c; do
	# The libraries' headers are this machine's: they say nothing about the architecture.
	# shellcheck disable=SC2086,SC2046
	"$cc" $flags $(pkg-config --cflags libpmem2 libndctl libdaxctl) -fsyntax-only "$f"
done
echo "compiled"
command -v qemu-aarch64 >/dev/null || { echo "no qemu-aarch64: not run"; exit 0; }
# shellcheck disable=SC2086
"$cc" $flags -static -o "$out/cross" "$1/tests/unit/media_cross.c" "$src/media/arch_aarch64.c" "$src/base/cpu.c"
# A CPU without dc cvap: qemu 7.2 announces it in user mode and then does not know it.
qemu-aarch64 -cpu cortex-a53 "$out/cross"
# That it is encoded right can be read.
"$cc" $flags -c -o "$out/arch.o" "$src/media/arch_aarch64.c"
aarch64-linux-gnu-objdump -d -M no-aliases "$out/arch.o" | grep -q 'sys.*#3, C7, C12, #1'
