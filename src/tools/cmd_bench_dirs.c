/* Directories of ten, of a thousand, of a million names. */
#include "bench_names.h"
#include <errno.h>
#include <stdlib.h>

static const struct {
	unsigned size, ndirs, batch;
	const char *text;
} sizes[NAMES_SIZES] = {
	[NAMES_10] = {10, 100, 200, "10"},
	[NAMES_1000] = {1000, 1, NAMES_BATCH, "1,000"},
	[NAMES_MILLION] = {1000000, 1, NAMES_BATCH, "1,000,000"},
};

/* A figure per name of what happens once. */
static void once(struct bench *b, const char *what, const struct names *n, double t0)
{
	double ns = (bench_now_ns() - t0) / n->size / n->ndirs;
	char name[96];

	snprintf(name, sizeof(name), "%s of %s names, each", what, n->text);
	bench_single(b, name, ns);
}

static void names_fill(struct bench *b, struct names *n)
{
	struct progress bar;
	char path[32];
	double t0;
	unsigned d, i;

	for (d = 0; d < n->ndirs; d++) {
		snprintf(path, sizeof(path), "/bench.n%u", d);
		n->dir[d] = bench_mkdir(b, path);
	}
	n->other = bench_mkdir(b, "/bench.other");
	progress_begin(&bar, "names", !b->json);
	t0 = bench_now_ns();
	for (d = 0; d < n->ndirs; d++) {
		for (i = 0; i < n->size; i++) {
			n->id[d * n->size + i] = names_make(b, n, d, i);
			if (i % 10000 == 9999)
				progress_update(&bar, i, n->size, "names");
		}
	}
	progress_end(&bar);
	once(b, "create", n, t0);
}

static void names_empty(struct bench *b, struct names *n)
{
	char name[32], path[32];
	double t0 = bench_now_ns();
	unsigned d, i;

	for (d = 0; d < n->ndirs; d++)
		for (i = 0; i < n->size; i++)
			bench_must(hf_inode_unlink(b->vol, n->dir[d], names_name(name, i)), "unlink");
	once(b, "unlink", n, t0);
	for (d = 0; d < n->ndirs; d++) {
		snprintf(path, sizeof(path), "/bench.n%u", d);
		bench_must(hf_rmdir(b->vol, path), "rmdir");
	}
	bench_must(hf_rmdir(b->vol, "/bench.other"), "rmdir");
}

static void names_of_size(struct bench *b, unsigned which)
{
	struct names n = {.size = b->quick ? (unsigned)min_u64(sizes[which].size, 2000) : sizes[which].size, .ndirs = sizes[which].ndirs,
			  .batch = sizes[which].batch, .text = sizes[which].text, .which = which};

	n.dir = calloc(n.ndirs, sizeof(*n.dir));
	n.id = calloc((size_t)n.size * n.ndirs, sizeof(*n.id));
	if (!n.dir || !n.id)
		bench_must(-ENOMEM, "names");
	names_fill(b, &n);
	names_rows(b, &n);
	names_empty(b, &n);
	free(n.dir);
	free(n.id);
}

void bench_names(struct bench *b)
{
	unsigned i;

	for (i = 0; i < NAMES_SIZES; i++)
		names_of_size(b, i);
	bench_paths(b);
}
