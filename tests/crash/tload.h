/* Operations of two threads that interleave (src/crash/fs_threads.h), as workloads by name: runs of a seed, until time is up. */
#ifndef HF_TESTS_CRASH_TLOAD_H
#define HF_TESTS_CRASH_TLOAD_H

#include "load.h"

int tload_trees(const struct load *l, struct load_limits *limits, struct hf_crash_result *sum);
int tload_orders(const struct load *l, struct load_limits *limits, struct hf_crash_result *sum);

#endif
