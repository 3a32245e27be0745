/* Two threads whose operations interleave at every store, flush and fence, by a schedule from the seed.
 *
 * Trees: many operations of each, in a tree of its own and in one directory that both have. What a crash leaves of a tree is
 * judged as if the other thread were not there.
 * Orders: few operations of each, on the same files. What a crash leaves must be as after some order of those that had
 * returned and any of those in flight, in which nothing that had returned comes after what began later. */
#ifndef HF_CRASH_FS_THREADS_H
#define HF_CRASH_FS_THREADS_H

#include "crash/fs.h"
#include "crash/sched.h"

enum {
	FS_THREADS_OPS = 60,  /* of each thread, in trees */
	FS_ORDERS_STEPS = 3,  /* of each thread, in orders */
	FS_SCHEDULES = 4,     /* of the same operations, in so many runs one after the other; in orders */
	FS_THREADS_STEPS = 4 * FS_THREADS_OPS,
	FS_THREADS_RUNS = 1 << 20,
	FS_PATHS = 4,
	FS_THREADS_NTH = 1024, /* the second thread's operations have numbers from here on */
};

struct fs_threads {
	bool orders;
	unsigned nops; /* of each thread */
	uint32_t run;
};

/* One thread's. */
struct fs_side {
	struct fs_op op[FS_THREADS_OPS], then[FS_THREADS_OPS];
	char path[FS_THREADS_OPS][FS_PATHS][16];
	unsigned nops;
	struct fs_step step[FS_THREADS_STEPS];
	unsigned nsteps;
	struct fs_world world;
	/* How far it is, and what the others could know of that. */
	unsigned begun, done;
	uint64_t began_at[FS_THREADS_STEPS], ended_at[FS_THREADS_STEPS];
	int64_t ret[FS_THREADS_STEPS];
	/* Trees: alone, before the first step and after each. */
	struct snap *whole[FS_THREADS_STEPS + 1], *snap[FS_THREADS_STEPS + 1];
	int64_t want[FS_THREADS_STEPS];
};

enum { FS_ORDERS_NODES = 1 << (2 * FS_ORDERS_STEPS + 1) };
/* After some steps in some order. */
struct fs_order {
	struct snap *whole, *snap;
	int64_t ret; /* of the last one */
};

struct fs_pair {
	struct hf_crash_options opts;
	struct crash_arena arena;
	struct hf_crash_media *stage; /* for rehearsals */
	void (*failure)(void *ctx, const struct hf_crash_failure *f, const char *what);
	void *ctx;
	struct fs_threads what;
	uint64_t seed;	   /* of the operations */
	uint64_t schedule; /* of what else this run has */
	struct fs_side side[2];
	struct snap *common_whole, *common; /* trees: what nobody changes */
	unsigned setup, theme;		    /* orders: of fs_setup; what is chosen */
	const char *hot;		    /* the file of the theme */
	struct fs_order order[FS_ORDERS_NODES];
	hf_crash_run *run;
	struct sched sched;
	uint64_t clock;
	int err; /* of an operation that says that the volume is damaged */
	char err_text[512];
};

/* ---- fs_threads.c */
uint32_t fs_threads_number(const struct fs_threads *t);
/* False: no run of two threads has it. */
bool fs_threads_of(uint32_t number, struct fs_threads *out);
/* opts: of the explorer; workload, setup, check, ctx and number are filled in. */
struct fs_pair *fs_pair_new(const struct hf_crash_options *opts,
			    void (*failure)(void *ctx, const struct hf_crash_failure *f,
					    const char *what),
			    void *ctx);
void fs_pair_free(struct fs_pair *p);
int fs_pair_explore(struct fs_pair *p, const struct fs_threads *t, struct hf_crash_result *out);
/* The explorations from now on stop after so long; 0: no limit. */
void fs_pair_limit(struct fs_pair *p, double seconds);
int fs_pair_replay(struct fs_pair *p, const char *id, struct hf_crash_result *out);
/* A number by the run's seed; 'what' tells one use from the others. */
uint64_t fs_pair_random(const struct fs_pair *p, uint64_t what, uint64_t n);
/* An operation of the table, by chance: every fifth is a checkpoint, for what the other thread has in flight then. */
const struct fs_op *fs_pair_pick(const struct fs_pair *p, uint64_t what,
				 bool (*usable)(const struct fs_pair *p, const struct fs_op *op));
/* Formats and mounts the stage, and closes it again. */
int fs_pair_stage(struct fs_pair *p, hf_volume **out);
int fs_pair_unstage(hf_volume *vol, int err);
/* Step i of side t, outside of the explorer. */
int64_t fs_pair_try(struct fs_pair *p, hf_volume *vol, unsigned t, unsigned i);
/* Appends the steps of an operation. */
void fs_side_add(struct fs_side *s, const struct fs_op *op, unsigned nth);
bool fs_side_flying(const struct fs_side *s);

/* ---- fs_trees.c */
int trees_setup(const struct fs_pair *p, hf_volume *vol);
/* Chooses the operations and does them, each thread's alone. */
int trees_rehearse(struct fs_pair *p);
bool trees_ok(struct fs_pair *p, hf_crash_run *run, const struct snap *have);
void trees_free(struct fs_pair *p);

/* ---- fs_orders.c */
int orders_setup(const struct fs_pair *p, hf_volume *vol);
int orders_rehearse(struct fs_pair *p);
bool orders_ok(struct fs_pair *p, hf_crash_run *run, const struct snap *have);
void orders_free(struct fs_pair *p);

#endif
