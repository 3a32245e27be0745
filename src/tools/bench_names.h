/* Names in directories of a size: what the rows' file and that of their directories share. */
#ifndef HF_TOOLS_BENCH_NAMES_H
#define HF_TOOLS_BENCH_NAMES_H

#include "bench.h"

#define NAMES_BATCH 1000u
enum { NAMES_10, NAMES_1000, NAMES_MILLION, NAMES_SIZES };

struct names {
	unsigned size, ndirs;		/* names in each of so many directories, used in turn */
	struct hf_id *dir;
	struct hf_id other;		/* to move names to */
	struct hf_id *id;		/* of the names that stay */
	struct hf_id fresh[NAMES_BATCH];	/* of those that a row made */
	unsigned which, batch;		/* which of the sizes; how many names a row makes */
	const char *text;		/* "1,000" */
};
/* "name-00000012" */
const char *names_name(char out[32], uint64_t number);
struct hf_id names_make(struct bench *b, struct names *n, unsigned dir, uint64_t number);
void names_rows(struct bench *b, struct names *n);	/* cmd_bench_names.c */

#endif
