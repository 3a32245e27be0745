#!/bin/sh
# Each public header compiles alone, as C11 and as C++17, without a warning.
set -eu
dir=$1
shift
for h in "$@"; do
	echo "#include \"$h\"" | cc -std=c11 -Wall -Wextra -Wpedantic -Wconversion -Werror -I"$dir" -fsyntax-only -x c -
	echo "#include \"$h\"" | c++ -std=c++17 -Wall -Wextra -Werror -I"$dir" -fsyntax-only -x c++ -
	echo "$h: C and C++"
done
