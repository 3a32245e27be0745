/* libpmemobj: small objects. */
#include "bench_rivals.h"

#define TITLE "libpmemobj"

#ifndef HF_HAVE_PMEMOBJ

void bench_pmemobj(struct bench *b)
{
	bench_note(b, TITLE, "not measured: libpmemobj-dev was not there when this program was built");
}

#else

#define PMEMOBJ_DIRECT_NON_INLINE
#include <libpmemobj.h>
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define POOL_BYTES (256ull << 20)
#define OBJECTS	   (1u << 16)
#define OPS	   2000u

struct obj {
	struct bench_keys keys;		/* first: ours */
	struct bench_io io;
	__typeof__(pmemobj_create) *create;
	__typeof__(pmemobj_close) *close;
	__typeof__(pmemobj_alloc) *alloc;
	__typeof__(pmemobj_free) *free;
	__typeof__(pmemobj_direct) *direct;
	__typeof__(pmemobj_tx_begin) *tx_begin;
	__typeof__(pmemobj_tx_add_range_direct) *tx_add;
	__typeof__(pmemobj_tx_commit) *tx_commit;
	__typeof__(pmemobj_tx_end) *tx_end;
	PMEMobjpool *pool;
	uint8_t *objects;
};

static const struct bench_symbol symbols[] = {
	{"pmemobj_create", offsetof(struct obj, create)},
	{"pmemobj_close", offsetof(struct obj, close)},
	{"pmemobj_alloc", offsetof(struct obj, alloc)},
	{"pmemobj_free", offsetof(struct obj, free)},
	{"pmemobj_direct", offsetof(struct obj, direct)},
	{"pmemobj_tx_begin", offsetof(struct obj, tx_begin)},
	{"pmemobj_tx_add_range_direct", offsetof(struct obj, tx_add)},
	{"pmemobj_tx_commit", offsetof(struct obj, tx_commit)},
	{"pmemobj_tx_end", offsetof(struct obj, tx_end)},
};

static void need(int bad, const char *what)
{
	if (bad)
		bench_must(errno ? -errno : -EIO, what);
}

static void their_alloc_free(struct bench *b, void *ctx, unsigned ops)
{
	struct obj *o = ctx;
	PMEMoid oid;

	(void)b;
	while (ops--) {
		need(o->alloc(o->pool, &oid, 64, 1, NULL, NULL), "pmemobj_alloc");
		o->free(&oid);
	}
}

static void our_create_unlink(struct bench *b, void *ctx, unsigned ops)
{
	while (ops--) {
		bench_keys_create(b, ctx, 1);
		bench_keys_unlink(b, ctx, 1);
	}
}

static void their_update(struct bench *b, void *ctx, unsigned ops)
{
	struct obj *o = ctx;

	while (ops--) {
		uint8_t *to = o->objects + bench_random(b) % OBJECTS * 64;

		need(o->tx_begin(o->pool, NULL, TX_PARAM_NONE), "pmemobj_tx_begin");
		need(o->tx_add(to, 64), "pmemobj_tx_add_range_direct");
		memcpy(to, b->src, 64);
		o->tx_commit();
		need(o->tx_end(), "pmemobj_tx_end");
	}
}

static void our_update(struct bench *b, void *ctx, unsigned ops)
{
	bench_write(b, &((struct obj *)ctx)->io, ops);
}

static void obj_rows(struct bench *b, struct obj *o)
{
	o->keys.dir = bench_mkdir(b, "/bench.objects");
	bench_run(b, &(struct bench_row){.name = "create + unlink, times faster", .raw_name = "pmemobj_alloc + _free of 64 B", .faster = true,
					 .ops = OPS, .ours = our_create_unlink, .raw = their_alloc_free, .ctx = o});
	o->io.bytes = 64;
	bench_huge_file(b, &o->io, "/bench.data", OBJECTS * 64);
	bench_run(b, &(struct bench_row){.name = "overwrite 64 B, times faster", .raw_name = "a transaction of libpmemobj", .faster = true, .ops = OPS,
					 .ours = our_update, .raw = their_update, .ctx = o});
	bench_drop_file(b, &o->io, "/bench.data");
	bench_must(hf_rmdir(b->vol, "/bench.objects"), "rmdir");
}

/* On tmpfs, as persistent memory: it is told so by the environment, which it reads as it is loaded. */
void bench_pmemobj(struct bench *b)
{
	struct obj o = {.pool = NULL};
	PMEMoid all;
	char path[96];
	void *lib;

	setenv("PMEM_IS_PMEM_FORCE", "1", 0);
	lib = bench_load("libpmemobj.so.1", symbols, sizeof(symbols) / sizeof(symbols[0]), &o);
	if (!lib)
		return bench_note(b, TITLE, "not measured: libpmemobj.so.1 is not installed");
	snprintf(path, sizeof(path), "%s/pool", b->tmpfs);
	o.pool = o.create(path, "bench", POOL_BYTES, 0600);
	if (!o.pool) {
		dlclose(lib);
		return bench_note(b, TITLE, "not measured: pmemobj_create fails");
	}
	need(o.alloc(o.pool, &all, OBJECTS * 64, 2, NULL, NULL), "pmemobj_alloc");
	o.objects = o.direct(all);
	obj_rows(b, &o);
	o.close(o.pool);
	unlink(path);
	dlclose(lib);
}

#endif
