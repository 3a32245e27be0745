#!/bin/bash
# run.sh FUZZER CORPUS SECONDS: looks for new inputs for so long, from those that are kept. What is found stays in a folder of its own
# beside the fuzzer; only the input that fails is named.
set -u
fuzzer=$1 corpus=$2 seconds=$3
found=$fuzzer.found
mkdir -p "$found"
exec "$fuzzer" -seed=1 -timeout=5 -rss_limit_mb=2048 -malloc_limit_mb=512 -max_len=384 -max_total_time="$seconds" \
	-print_final_stats=1 -verbosity=0 -artifact_prefix="$found/" "$found" "$corpus"
