/* What is compared with: filesystems, and libraries, which are loaded when their rows run: the program does not need them. */
#ifndef HF_TOOLS_BENCH_RIVALS_H
#define HF_TOOLS_BENCH_RIVALS_H

#include "bench.h"
#include <stddef.h>

#define RIVAL_PATH "a/b/c/d"

/* Another filesystem: 'dir' of it is for names, and has RIVAL_PATH in it; io.fd and grow are files. Ours beside it: io.file, home. */
struct rival {
	struct bench_io io;		/* first */
	const char *name;
	int dir, grow;
	bool sync;			/* each change is made durable, as ours is */
	hf_file *appended;
	struct hf_id home;
};
void bench_rival_rows(struct bench *b, struct rival *r);

struct bench_symbol {
	const char *name;
	size_t at;			/* of the pointer in the caller's struct */
};
/* NULL: it is not installed, or lacks one of them. */
void *bench_load(const char *file, const struct bench_symbol *symbols, size_t n, void *api);

/* Names in a directory of ours, keys in the rival's table. */
struct bench_keys {
	struct hf_id dir;
	unsigned base, count;		/* of the next new one; below it 'count' are there */
	void *rival;
};
const char *bench_key(char out[16], unsigned i);
void bench_keys_create(struct bench *b, void *keys, unsigned ops);
void bench_keys_unlink(struct bench *b, void *keys, unsigned ops);

void bench_pmemobj(struct bench *b);	/* cmd_bench_pmemobj.c */
void bench_lmdb(struct bench *b);	/* cmd_bench_lmdb.c */

#endif
