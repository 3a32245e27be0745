/* Work on a volume that is cut off at some instant, its log, and the look at what is left: each operation that had returned is there, whole; the
 * one in flight is there wholly or not at all; of plain data, each aligned 8 bytes are old or new. */
#ifndef HF_TESTS_CRASH_WORK_H
#define HF_TESTS_CRASH_WORK_H

#include "verify.h"

#include <pthread.h>
#include <stdatomic.h>

#define WORK_THREADS 2
#define WORK_LOG_MAX 6000

extern const struct op_profile work_profile;

struct work_entry {
	struct op op;
	int64_t ret;
};
/* Written by who is cut off, in memory that outlives him, read by who looks. */
struct work_log {
	_Atomic uint64_t started, done;
	_Atomic bool mismatch;
	struct work_entry e[WORK_LOG_MAX];
};

struct worker {
	struct op_gen gen;
	struct model *m;
	struct real real;
	struct out a, b;
	struct work_log *log;
};

struct crash_work {
	struct worker w[WORK_THREADS];
	struct verify v;
	uint8_t *old, *new;
	char path[512];
	unsigned flags;	       /* of mounts in this round */
	uint64_t round, ops, whole, nothing, partial, replayed, orphans;
};

/* The model is empty, the logs are the caller's: each a struct work_log of zeros. prefixes: a directory of its own for each thread. */
void work_setup(struct crash_work *cw, const char *const prefixes[WORK_THREADS], struct work_log *const logs[WORK_THREADS]);
int work_mount(struct crash_work *cw, hf_volume **vol);
/* Empties the logs and seeds what comes next: before anybody can be cut off, or an old log would be taken for what he did. */
void work_clear(struct crash_work *cw, uint64_t seed);
/* The threads begin; they end when the log is full. */
void work_begin(struct crash_work *cw, hf_volume *vol, pthread_t t[WORK_THREADS]);
/* What the log says is done to the model. */
int work_replay(struct crash_work *cw);
/* The volume is mounted, nothing works on it: 0, or 1 and a message. Afterwards the model is what is there. */
int work_verify(struct crash_work *cw, hf_volume *vol);
/* Prints cw->v.text, and the operation; 1. */
int work_fail(struct crash_work *cw, const struct worker *w, const struct op *op);

#endif
