/* Workloads of the journal alone, on the bare device: fast, and free to do at any event what a second thread might. */
#ifndef HF_TESTS_CRASH_JLOAD_H
#define HF_TESTS_CRASH_JLOAD_H

#include "load.h"

enum { JLOAD_OPS = 20 };

/* One letter per operation, for up to two threads:
 *	s  a small transaction: the hot words
 *	b  a large one: 9000 bytes, three fill a half of a lane
 *	m  sets and clears bits; two threads have different bits of the same words
 *	f  a fresh block and the pointer to it
 *	d  a block of data stored non-temporally, from an odd place on, and the pointer to it
 *	c  a checkpoint (at the end of a list for two threads: one round of it, which does not wait)
 *	w  raises a word of both threads by one, under a lock of both
 *	l  the other lane from here on
 *	|  with two threads: until here the first is alone
 *	o  closes the journal and opens it again
 *	F  a new volume where the old one was, with the same seed; what is in its blocks stays
 */
int jload_run(const struct load *l, struct load_limits *limits, struct hf_crash_result *sum);
/* The same, and recovery goes on: after it the journal is used until each lane was written over, and all that may crash. */
int jload_run_on(const struct load *l, struct load_limits *limits, struct hf_crash_result *sum);
/* Each schedule of the two threads with one switch each. */
int jload_run_two(const struct load *l, struct load_limits *limits, struct hf_crash_result *sum);

#endif
