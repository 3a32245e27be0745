#!/bin/sh
# What the libraries export is exactly what the version maps list, and that is exactly what the headers declare.
# symbols.sh SHARED STATIC SOURCE CRASH_SHARED CRASH_STATIC
set -eu
src=$3
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
status=0
of_map() {
	sed -n 's/^\t\(hf_[a-z0-9_]*\);$/\1/p' "$@" | sort
}
of_headers() {
	cat "$@" | grep '^HF_API' | grep -o '\bhf_[a-z0-9_]*(' | tr -d '(' | sort -u
}
# compare NAME SHARED STATIC: with $tmp/map
compare() {
	nm -D --defined-only "$2" | awk '$2 ~ /[TDBR]/ {print $3}' | sed 's/@.*//' | grep -v '^HOLDFAST_' | sort -u >"$tmp/so"
	nm -g --defined-only "$3" | awk '$2 ~ /[TDBR]/ {print $3}' | sort -u >"$tmp/ar"
	diff "$tmp/map" "$tmp/so" || { echo "$1: map (<) and the shared library (>) differ"; status=1; }
	diff "$tmp/map" "$tmp/ar" || { echo "$1: map (<) and the static library (>) differ"; status=1; }
}
find "$src/include" -name '*.h' ! -name crash.h >"$tmp/list"
of_headers $(cat "$tmp/list") >"$tmp/headers"
of_map "$src/cmake/holdfast.map" >"$tmp/map"
diff "$tmp/headers" "$tmp/map" || { echo "headers (<) and cmake/holdfast.map (>) differ"; status=1; }
[ "$(wc -l <"$tmp/map")" -gt 50 ] || { echo "the map is nearly empty"; status=1; }
compare holdfast "$1" "$2"

of_headers "$src/include/holdfast/crash.h" >"$tmp/headers"
of_map "$src/cmake/holdfast-crash.map" >"$tmp/map"
diff "$tmp/headers" "$tmp/map" || { echo "crash.h (<) and cmake/holdfast-crash.map (>) differ"; status=1; }
of_map "$src/cmake/holdfast.map" "$src/cmake/holdfast-crash.map" >"$tmp/map"
compare holdfast-crash "$4" "$5"
exit $status
