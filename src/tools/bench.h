/* holdfast bench: rows of DESIGN's table, each measured in alternation with its raw counterpart, medians of the pairs. */
#ifndef HF_TOOLS_BENCH_H
#define HF_TOOLS_BENCH_H

#include "file/volume.h"
#include "tool.h"
#include <libpmem2.h>

#define BENCH_RAW_BYTES (256ull << 20)	/* of the area that raw writes go to */
#define BENCH_ROUNDS    15u

struct bench {
	hf_volume *vol;
	struct pm *pm;
	pmem2_memcpy_fn copy;		/* libpmem2's own, for the same mapping */
	pmem2_drain_fn drain;
	uint8_t *raw;			/* BENCH_RAW_BYTES of the mapping, whole frames */
	uint64_t raw_at;		/* the ring of raw 64-byte records */
	uint8_t *src, *dst;		/* 2 MiB each */
	uint64_t rng;
	json_t *rows;
	bool json;
	char tmpfs[64];			/* a directory in /dev/shm, "" if there is none */
};

/* Runs 'ops' operations; setup that is not to be timed goes into prepare. Both may be NULL. */
typedef void bench_fn(struct bench *b, void *ctx, unsigned ops);

struct bench_row {
	const char *name;
	const char *raw_name;		/* what it is compared with */
	double target;			/* ratio: at most (or, for 'faster', at least); 0: none */
	bool faster;			/* the ratio is raw / ours: how many times faster */
	unsigned ops;
	bench_fn *prepare, *ours, *raw, *undo;
	void *ctx;
};
void bench_run(struct bench *b, const struct bench_row *row);
/* A figure that has no pair, or whose pair was measured elsewhere. unit: "ns", "ms". */
void bench_print(struct bench *b, const char *name, double ns, double raw_ns, const char *raw_name, double target, bool faster);
void bench_note(struct bench *b, const char *name, const char *text);
uint64_t bench_random(struct bench *b);
double bench_now_ns(void);
void bench_must(int64_t ret, const char *what);	/* ends the program if negative */
double bench_median(double *v, unsigned n);	/* sorts v */
int bench_compare_double(const void *a, const void *b);

/* raw counterparts; ctx of the first: size_t bytes */
void bench_raw_write_random(struct bench *b, void *ctx, unsigned ops);
void bench_raw_write_64(struct bench *b, void *ctx, unsigned ops);
void bench_raw_read_random(struct bench *b, void *ctx, unsigned ops);
double bench_raw_64_ns(struct bench *b);		/* of one, over many: what is too short to pair is compared with it */

void bench_data(struct bench *b);	/* cmd_bench_data.c */
void bench_names(struct bench *b);	/* cmd_bench_names.c */
void bench_volume(struct bench *b);	/* cmd_bench_volume.c: truncate, checkpoint, mount, fsck */
void bench_threads(struct bench *b);	/* cmd_bench_threads.c */
void bench_threads_pins(struct bench *b);
void bench_pins(struct bench *b);	/* cmd_bench_pins.c */
void bench_views(struct bench *b);	/* cmd_bench_views.c */

#endif
