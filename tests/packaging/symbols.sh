#!/bin/sh
# What the libraries export is exactly what the version map lists, and that is exactly what the headers declare.
set -eu
so=$1 ar=$2 src=$3
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
sed -n 's/^\t\(hf_[a-z0-9_]*\);$/\1/p' "$src/cmake/holdfast.map" | sort >"$tmp/map"
nm -D --defined-only "$so" | awk '$2 ~ /[TDBR]/ {print $3}' | sed 's/@.*//' | grep -v '^HOLDFAST_' | sort -u >"$tmp/so"
nm -g --defined-only "$ar" | awk '$2 ~ /[TDBR]/ {print $3}' | sort -u >"$tmp/ar"
cat "$src"/include/holdfast.h "$src"/include/holdfast/*.h 2>/dev/null | grep '^HF_API' | grep -o '\bhf_[a-z0-9_]*(' | tr -d '(' |
	sort -u >"$tmp/headers"
status=0
diff "$tmp/headers" "$tmp/map" || { echo "headers (<) and cmake/holdfast.map (>) differ"; status=1; }
diff "$tmp/map" "$tmp/so" || { echo "map (<) and the shared library (>) differ"; status=1; }
diff "$tmp/map" "$tmp/ar" || { echo "map (<) and the static library (>) differ"; status=1; }
[ "$(wc -l <"$tmp/map")" -gt 50 ] || { echo "the map is nearly empty"; status=1; }
exit $status
