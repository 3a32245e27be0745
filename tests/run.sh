#!/bin/bash
# Builds and runs all tests on Debian 12, installing the packages that are missing. One command, no set-up.
#
#   tests/run.sh [--quick] [--build DIR]
#     --quick      one build (gcc), no sanitizers, no valgrind
#     --build DIR  where to build (default: build/ beside this folder)
#
# Stages: clang (unit tests), fuzz (a minute of the clock for each fuzzer, all at once, clang), AddressSanitizer + UBSan, ThreadSanitizer (concurrent
# suites), gcc (all tests, and valgrind memcheck). Ends with a ctest summary; exits non-zero if anything failed.
set -u
cd "$(dirname "$0")/.." || exit 1
build=build quick=
while [ $# -gt 0 ]; do
	case $1 in
	--quick) quick=1 ;;
	--build) build=$2; shift ;;
	-h | --help) sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 0 ;;
	*) echo "run.sh: unknown option $1; see --help" >&2; exit 2 ;;
	esac
	shift
done
tests/setup.sh build test || exit 1
tests/setup.sh guest || echo "run.sh: no virtual machine here: the tests that need emulated persistent memory are skipped"
jobs=$(nproc)
failed=()

# [target=TARGET] [parallel=N] stage NAME CMAKE-ARGS... -- CTEST-ARGS...
stage() {
	local name=$1 dir=$build/$1 cm=() t0=$SECONDS
	shift
	while [ "$1" != -- ]; do cm+=("$1"); shift; done
	shift
	printf '\n==== %s\n' "$name"
	if ! cmake -S . -B "$dir" -G Ninja "${cm[@]}" >"$dir.log" 2>&1 || ! cmake --build "$dir" -j "$jobs" --target "${target:-all}" >>"$dir.log" 2>&1; then
		tail -60 "$dir.log"
		failed+=("$name: build")
		return
	fi
	ctest --test-dir "$dir" --output-on-failure --no-tests=error -j "${parallel:-$jobs}" "$@" || failed+=("$name: tests")
	echo "---- $name: $((SECONDS - t0)) s"
}

mkdir -p "$build"
if [ -z "$quick" ]; then
	memcheck=ON
	stage clang -DCMAKE_C_COMPILER=clang -- -L 'unit|layer' -LE 'slow|nightly'
	target=fuzzers parallel=$((5 * jobs)) stage fuzz -DCMAKE_C_COMPILER=clang -DHF_SANITIZE=address,undefined -DHF_FUZZ=ON -- -R '^fuzzer_' -LE 'slow|nightly'
	HF_TEST_SHORT=1 stage asan -DCMAKE_C_COMPILER=gcc -DHF_SANITIZE=address,undefined -DHF_DEBUG_LOCKS=ON -- -L 'unit|system' -LE 'slow|nightly'
	target=concurrent_tests stage tsan -DCMAKE_C_COMPILER=gcc -DHF_SANITIZE=thread -- -L concurrent -LE 'nightly'
fi
stage gcc -DCMAKE_C_COMPILER=gcc -DHF_TEST_VALGRIND="${memcheck:-OFF}" -- -LE nightly

echo
if [ ${#failed[@]} -gt 0 ]; then
	printf 'FAILED: %s\n' "${failed[@]}"
	exit 1
fi
echo "all stages passed in $SECONDS s"
