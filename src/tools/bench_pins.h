/* Pins: what the files of that group share. */
#ifndef HF_TOOLS_BENCH_PINS_H
#define HF_TOOLS_BENCH_PINS_H

#include "bench.h"
#include <stdatomic.h>

#define PIN_BYTES (256ull << 20)
#define PIN_OPS	  4000u		/* short: few are disturbed */

struct pins {
	hf_file *file;
	uint64_t bytes, unit;		/* pinned are 'unit' bytes at a multiple of it */
	_Atomic uint64_t *words;	/* one cache line each */
	uint64_t nwords;
};
hf_pin_id bench_pin_at(hf_file *file, uint64_t off, uint64_t len);
/* A file of 'bytes', whole frames or (split) blocks, of which each 'unit' is to be pinned. */
void pins_file(struct bench *b, struct pins *p, const char *name, uint64_t bytes, uint64_t unit, bool split);
void pins_done(struct bench *b, struct pins *p, const char *name);
void pins_pair(struct bench *b, void *pins, unsigned ops);	/* pin and unpin, at random */

void bench_cuts(struct bench *b);	/* cmd_bench_cuts.c: truncate under pins */
void bench_held(struct bench *b);	/* cmd_bench_held.c: what many of them cost others */

#endif
