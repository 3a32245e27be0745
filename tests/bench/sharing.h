/* Which lines of memory an operation takes from other processors, and which locks it takes:
 * sharing.c runs the operations, trace.c sees every load and store of the library (compiled with
 * -fsanitize=thread, whose functions are trace.c's), hold.c how long locks are held. */
#ifndef BENCH_SHARING_H
#define BENCH_SHARING_H

#include <stdbool.h>
#include <stdint.h>

/* Ranks of src/base/lock.h, and a lane of the journal, which is claimed like a lock. */
#define SHARING_RANKS 16
#define SHARING_LANE  15
static const char *const sharing_rank_names[SHARING_RANKS] = {
    [1] = "rename", [2] = "directory",	 [3] = "data",	[4] = "layout",
    [5] = "itable", [6] = "orphan",	 [7] = "view",	[8] = "group",
    [9] = "busy",   [10] = "checkpoint", [12] = "leaf", [SHARING_LANE] = "lane",
};
/* A reader/writer lock; the others are mutexes. */
static inline bool sharing_rank_rw(unsigned int rank)
{
	return rank >= 2 && rank <= 4;
}

struct pm;
/* The media of the mounted volume. */
void sharing_attach(struct pm *pm);
/* Called around each operation, by the thread that does it. Only one at a time. True: its time counts. */
bool sharing_begin(unsigned int thread);
void sharing_end(void);
/* What is known by now belongs to the preparation: counts begin at 0. */
void sharing_reset(void);
/* Prints what is known of a row, in lines of JSON. ops: how many there were; ns: of those whose time counts. */
void sharing_report(const char *op, const char *scope, double ops, double ns);
/* Before anything else: what it costs to watch. */
void sharing_calibrate(void);

#endif
