/* Paths: one component and eight, the same one again and again, and another one each time. */
#include "bench.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH	   8u		/* components: the tree's name, and seven in it */
#define COLD_PATHS 10000u

struct tree {
	unsigned fan;			/* names in each directory of it */
	char warm[64];
	char (*cold)[64];		/* of so many random leaves: COLD_PATHS */
};

/* "/bench.tree/d/d/..." of the digits of 'leaf' in base fan, as many as levels. */
static void path_of(const struct tree *t, char out[64], uint64_t leaf, unsigned levels)
{
	size_t n = (size_t)snprintf(out, 64, "/bench.tree");

	for (; levels; levels--, leaf /= t->fan) {
		out[n++] = '/';
		out[n++] = (char)('0' + leaf % t->fan);
	}
	out[n] = 0;
}

static uint64_t leaves(const struct tree *t, unsigned levels)
{
	uint64_t n = 1;

	while (levels--)
		n *= t->fan;
	return n;
}

static void stat_warm(struct bench *b, void *ctx, unsigned ops)
{
	struct tree *t = ctx;
	struct hf_stat st;

	while (ops--)
		bench_must(hf_stat(b->vol, t->warm, &st), t->warm);
}

static void choose_cold(struct bench *b, void *ctx, unsigned ops)
{
	struct tree *t = ctx;
	uint64_t n = leaves(t, DEPTH - 1);

	while (ops--)
		path_of(t, t->cold[ops], bench_random(b) % n, DEPTH - 1);
}

static void stat_cold(struct bench *b, void *ctx, unsigned ops)
{
	struct tree *t = ctx;
	struct hf_stat st;

	while (ops--)
		bench_must(hf_stat(b->vol, t->cold[ops], &st), t->cold[ops]);
}

static void open_warm(struct bench *b, void *ctx, unsigned ops)
{
	hf_file *file;

	(void)ctx;
	while (ops--) {
		bench_must(hf_open(b->vol, "/bench.file", HF_O_RDWR, 0, &file), "open");
		bench_must(hf_close(&file), "close");
	}
}

/* Level by level, and the other way round for removal. */
static void each_directory(struct bench *b, const struct tree *t, bool make)
{
	unsigned i, level;
	uint64_t leaf;
	char path[64];

	for (i = 0; i < DEPTH; i++) {
		level = make ? i : DEPTH - 1 - i;
		for (leaf = 0; leaf < leaves(t, level); leaf++) {
			path_of(t, path, leaf, level);
			bench_must(make ? hf_mkdir(b->vol, path, 0755) : hf_rmdir(b->vol, path), path);
		}
	}
}

void bench_paths(struct bench *b)
{
	struct tree t = {.fan = b->quick ? 2 : 5};	/* 97,656 directories: more than inodes and names are cached */
	struct bench_row row = {.raw_name = "a cold line", .ops = COLD_PATHS, .ours = stat_warm, .raw = bench_raw_read_64, .ctx = &t};
	struct bench_io io = {0};

	t.cold = calloc(COLD_PATHS, sizeof(*t.cold));
	if (!t.cold)
		bench_must(-ENOMEM, "paths");
	each_directory(b, &t, true);
	row.name = "stat of a path, 1 component, warm";
	path_of(&t, t.warm, 0, 0);
	bench_run(b, &row);
	row.name = "stat of a path, 8 components, warm";
	path_of(&t, t.warm, 1234, DEPTH - 1);
	bench_run(b, &row);
	row.name = "stat of a path, 8 components, of 78,125 leaves";
	row.prepare = choose_cold;
	row.ours = stat_cold;
	bench_run(b, &row);
	row.prepare = NULL;
	each_directory(b, &t, false);
	bench_huge_file(b, &io, "/bench.file", HF_BLOCK_SIZE);
	row.name = "open + close, 1 component, warm";
	row.ours = open_warm;
	bench_run(b, &row);
	bench_drop_file(b, &io, "/bench.file");
	free(t.cold);
}
