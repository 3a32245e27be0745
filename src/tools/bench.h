/* holdfast bench: each row is measured in alternation with its raw counterpart in the same process, medians of the pairs. */
#ifndef HF_TOOLS_BENCH_H
#define HF_TOOLS_BENCH_H

#include "file/volume.h"
#include "tool.h"
#include <libpmem2.h>

#define BENCH_RAW_BYTES	 (256ull << 20)	/* of the area that raw writes go to */
#define BENCH_ROUNDS	 31u		/* many short ones: most are disturbed by nobody */
#define BENCH_ROUNDS_MAX 31u

struct bench {
	hf_volume *vol;
	struct pm *pm;
	pmem2_memcpy_fn copy;		/* libpmem2's own, for the same mapping */
	pmem2_drain_fn drain;
	pmem2_persist_fn persist;
	uint8_t *raw;			/* raw_bytes of the mapping, whole frames */
	uint64_t raw_bytes;
	uint64_t raw_at;		/* the ring of raw 64-byte records */
	uint8_t *src, *dst;		/* 2 MiB each */
	uint8_t zero;			/* which the compiler does not know */
	uint64_t rng;
	json_t *rows, *plots;
	const char *group;		/* that runs */
	const char *svg;		/* the directory for plots, or NULL */
	bool json, full, quick;
	char tmpfs[64];			/* a directory in /dev/shm, "" if there is none */
};

/* Runs 'ops' operations; setup that is not to be timed goes into prepare and undo. */
typedef void bench_fn(struct bench *b, void *ctx, unsigned ops);

struct bench_row {
	const char *name;
	const char *raw_name;		/* what it is compared with */
	double target;			/* ratio: at most (or, for 'faster', at least); 0: none */
	bool faster;			/* the ratio is raw / ours: how many times faster */
	unsigned ops;
	unsigned raw_ops;		/* 0: as many. One long operation is compared with many short ones */
	unsigned rounds;		/* 0: BENCH_ROUNDS; at most BENCH_ROUNDS_MAX */
	bench_fn *prepare, *ours, *raw, *undo;	/* all but 'ours' may be NULL */
	void *ctx;
};

/* A figure that was measured elsewhere. */
struct bench_result {
	const char *name, *raw_name;	/* raw_name: "-" if there is none */
	double ns, raw_ns;		/* raw_ns 0: it has no counterpart */
	double ratio, low, high;	/* the median and the quartiles of the pairs' ratios; without a counterpart of ns / its median */
	double target;
	bool faster;
};
/* Ours and raw in turn; reports it. */
struct bench_result bench_run(struct bench *b, const struct bench_row *row);
void bench_add(struct bench *b, json_t *row);	/* a row of other columns; takes it */
void bench_report(struct bench *b, const struct bench_result *r);
/* Samples, ours and raw of the same round (or NULL): the result's figures from them. Sorts nothing of the caller's. */
void bench_pairs(struct bench_result *r, const double *ours, const double *raw, unsigned n);
void bench_single(struct bench *b, const char *name, double ns);	/* measured once, no counterpart */
void bench_note(struct bench *b, const char *name, const char *text);
/* For the plots (bench_svg.c): a point of a line of a plot. */
void bench_point(struct bench *b, const char *plot, const char *line, double x, double y);

unsigned bench_count(const struct bench *b, unsigned n);	/* fewer with --quick */
uint64_t bench_bytes(const struct bench *b, uint64_t n);
unsigned bench_rounds(const struct bench *b, unsigned n);
uint64_t bench_random(struct bench *b);
double bench_now_ns(void);
long bench_preemptions(void);	/* how often another one got the processor that this thread wanted */
void bench_must(int64_t ret, const char *what);	/* ends the program if negative */
void bench_sys(int64_t ret, const char *what);	/* the same of a system call */
double bench_median(double *v, unsigned n);	/* sorts v */
int bench_compare_double(const void *a, const void *b);
/* A directory for files of other filesystems, on tmpfs; it goes with the process, also at a signal. "" if there is none. */
#define BENCH_NO_TMPFS "not measured: /dev/shm has no GiB to spare"
void bench_scratch(char dir[64]);
const char *bench_size(uint64_t bytes, char buf[16]);	/* "64 B", "4 KiB" */
struct hf_id bench_mkdir(struct bench *b, const char *path);

/* Places in a file, or in the raw area: 'bytes' at multiples of them, plus 'shift'. */
struct bench_io {
	hf_file *file;
	int fd;				/* of another filesystem */
	size_t bytes;
	uint64_t span, at, raw_at;
	unsigned shift;
	bool sequential;
	bool dependent;			/* where the next read goes is known only when this one is done */
};
uint64_t bench_place(struct bench *b, const struct bench_io *io, uint64_t *at);
void bench_write(struct bench *b, void *io, unsigned ops);	/* ours: hf_pwrite, hf_pread */
void bench_read(struct bench *b, void *io, unsigned ops);
void bench_raw_write(struct bench *b, void *io, unsigned ops);	/* libpmem2's non-temporal copy, and a fence */
void bench_raw_read(struct bench *b, void *io, unsigned ops);
void bench_raw_write_64(struct bench *b, void *unused, unsigned ops);	/* a ring of records */
void bench_raw_read_64(struct bench *b, void *unused, unsigned ops);	/* at random: a line that is not in the cache */
/* Files of the volume: whole frames; single blocks, each in the place of another. */
void bench_huge_file(struct bench *b, struct bench_io *io, const char *path, uint64_t bytes);
void bench_scattered_file(struct bench *b, struct bench_io *io, const char *path, uint64_t bytes);
void bench_drop_file(struct bench *b, struct bench_io *io, const char *path);

void bench_data(struct bench *b);	/* read, overwrite, append */
void bench_space(struct bench *b);	/* truncate, punch, allocate, fsync, checkpoint */
void bench_names(struct bench *b);
void bench_paths(struct bench *b);	/* of the same group */
void bench_volume(struct bench *b);	/* mount, fsck */
void bench_threads(struct bench *b);
void bench_threads_pins(struct bench *b);
void bench_pins(struct bench *b);
void bench_views(struct bench *b);
void bench_latency(struct bench *b);	/* of single calls */
void bench_compare(struct bench *b);	/* what a user would pick instead */
void bench_rivals(struct bench *b);	/* of the same group: libraries */
void bench_media(struct bench *b);	/* stores, lines and fences of each operation */

#endif
