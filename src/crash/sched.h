/* Two threads that take turns: one of them runs at a time, and the turn changes at events of the media and where one waits for
 * the other. A schedule is a few numbers, and the same one gives the same run. */
#ifndef HF_CRASH_SCHED_H
#define HF_CRASH_SCHED_H

#include "media/pm.h"

#include <pthread.h>

struct schedule {
	/* The first has k events, the second m, then the first goes on to its end, then the second; 0: no limit. */
	uint64_t k, m;
	/* Not 0: after so many events as it says, again and again. */
	uint64_t seed;
	uint32_t number; /* of the second thread, and so its lane; 0: 3 (the explorer's own are 1 and 2) */
	const char *name; /* said when both wait for each other; may be NULL */
};

struct sched {
	struct schedule how;
	struct pm *pm;
	const struct pm_hook *under;
	struct pm_hook hook;
	pthread_mutex_t mutex;
	pthread_cond_t turned;
	pthread_t second;
	int turn; /* 1 or 2 */
	bool done[3];
	uint64_t left[3];   /* events until the other one's turn; 0: no limit */
	uint64_t events[3]; /* that each had */
	uint64_t turns;
	uint32_t waits; /* since the last event */
	void (*fn)(void *ctx);
	void *ctx;
};

/* Runs 'first' on this thread and 'second' on another one, to their ends. */
void sched_run(struct sched *s, struct pm *pm, void (*first)(void *), void (*second)(void *),
	       void *ctx, const struct schedule *how);

#endif
