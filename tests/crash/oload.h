/* The sequences of one operation that 'holdfast crash' has, of some kinds: all of them, as a workload. */
#ifndef HF_TESTS_CRASH_OLOAD_H
#define HF_TESTS_CRASH_OLOAD_H

#include "load.h"

/* lists[0]: the kind, as 'holdfast crash --ops' has it; lists[1]: which setups, a digit each. Ends with the first failure. */
int oload_run(const struct load *l, struct load_limits *limits, struct hf_crash_result *sum);
/* The same, and at each point images with a page of bad media. */
int oload_run_bad(const struct load *l, struct load_limits *limits, struct hf_crash_result *sum);

#endif
