/* What a user would pick instead, in libraries. A file that is mapped by hand; libpmemobj and LMDB are in files of their own. */
#include "bench_rivals.h"
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* ---- by hand: what one writes who has only the mapping */

static void by_hand(struct bench *b, void *ctx, unsigned ops)
{
	struct bench_io *io = ctx;

	while (ops--) {
		uint8_t *to = b->raw + bench_place(b, io, NULL);

		memcpy(to, b->src, io->bytes);
		b->persist(to, io->bytes);
	}
}

static void against_mapping(struct bench *b)
{
	static const size_t sizes[] = {64, 512, 4096, 65536};
	struct bench_io io = {0};
	struct bench_result r;
	char name[64], size[16];
	size_t i;

	bench_huge_file(b, &io, "/bench.data", b->raw_bytes);
	for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		io.bytes = sizes[i];
		snprintf(name, sizeof(name), "overwrite %s, times faster", bench_size(sizes[i], size));
		r = bench_run(b, &(struct bench_row){.name = name, .raw_name = "mapped by hand: memcpy, flush, fence", .faster = true, .ops = 4000,
						 .ours = bench_write, .raw = by_hand, .ctx = &io});
		bench_point(b, "overwrite", "mapped by hand", (double)sizes[i], r.raw_ns);
	}
	bench_drop_file(b, &io, "/bench.data");
}

/* ---- what the libraries' files share */

void *bench_load(const char *file, const struct bench_symbol *symbols, size_t n, void *api)
{
	void *lib = dlopen(file, RTLD_NOW | RTLD_LOCAL), *at;

	for (; lib && n; n--, symbols++) {
		at = dlsym(lib, symbols->name);
		if (!at) {
			dlclose(lib);
			return NULL;
		}
		memcpy((char *)api + symbols->at, &at, sizeof(at));
	}
	return lib;
}

const char *bench_key(char out[16], unsigned i)
{
	snprintf(out, 16, "name-%08u", i);
	return out;
}

void bench_keys_create(struct bench *b, void *ctx, unsigned ops)
{
	struct hf_create how = {.mode = S_IFREG | 0644};
	struct bench_keys *k = ctx;
	char name[16];
	unsigned i;

	for (i = 0; i < ops; i++)
		bench_must(hf_inode_create(b->vol, k->dir, bench_key(name, k->base + i), &how, NULL), "create");
}

void bench_keys_unlink(struct bench *b, void *ctx, unsigned ops)
{
	struct bench_keys *k = ctx;
	char name[16];
	unsigned i;

	for (i = 0; i < ops; i++)
		bench_must(hf_inode_unlink(b->vol, k->dir, bench_key(name, k->base + i)), "unlink");
}

void bench_rivals(struct bench *b)
{
	against_mapping(b);
	bench_pmemobj(b);
	bench_lmdb(b);
}
