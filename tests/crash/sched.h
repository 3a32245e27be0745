/* Two threads that take turns, at events of the media: a schedule is two numbers, and the same one gives the same run. */
#ifndef HF_TESTS_CRASH_SCHED_H
#define HF_TESTS_CRASH_SCHED_H

#include "media/pm.h"

#include <pthread.h>

struct sched {
	struct pm *pm;
	const struct pm_hook *under;
	struct pm_hook hook;
	pthread_mutex_t mutex;
	pthread_cond_t turned;
	pthread_t second;
	int turn; /* 1 or 2 */
	bool done[3];
	bool parked[3];	  /* waits for its turn */
	bool inside[3];	  /* in the media, which the explorer may have stopped */
	uint64_t left[3]; /* events until the other one's turn */
	uint64_t events[3]; /* that each had */
	void (*fn)(void *ctx);
	void *ctx;
};

/* The first (this thread) runs 'first' for k events, then the second runs 'second' for m events, then the first to its end, then
 * the second to its end. Who waits for a lock of the other, so that nothing happens any more, loses its turn; it goes on no further
 * than its next event until it has it again. */
void sched_run(struct sched *s, struct pm *pm, void (*first)(void *), void (*second)(void *),
	       void *ctx, uint64_t k, uint64_t m);
/* Around what may take long without an event: announcements, at which the explorer stops the thread. */
void sched_inside(struct sched *s, bool on);

#endif
