/* What reaches the media: stores, lines and fences of each operation, and of the checkpoint after it. Nothing is timed. */
#include "bench.h"
#include "media/insn.h"
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define MEDIA_BYTES (64ull << 20)
#define MEDIA_OPS   1000u
#define FILL_OPS    500u	/* of 4 KiB: below 2 MiB, where a file has blocks */

struct traffic {
	_Atomic uint64_t stores, bytes, nt_bytes;	/* through the cache; past it */
	_Atomic uint64_t lines, fences;			/* written past the cache, or flushed */
};

struct counts {
	struct pm *pm;
	pthread_t thread;		/* that does the operations; others, and the sync behind them, are the checkpoint */
	bool after;
	struct traffic now, later;
};

static struct traffic *counted(struct counts *c)
{
	return c->after || !pthread_equal(pthread_self(), c->thread) ? &c->later : &c->now;
}

static uint64_t lines_of(moff_t off, uint64_t len)
{
	return len == 0 ? 0 : (off.v + len - 1) / HF_LINE - off.v / HF_LINE + 1;
}

static void count_store(void *ctx, moff_t off, uint64_t len, bool nontemporal)
{
	struct traffic *t = counted(ctx);

	t->stores++;
	if (nontemporal)
		t->nt_bytes += len;
	else
		t->bytes += len;
	if (nontemporal)
		t->lines += lines_of(off, len);
}

static int count_flush(void *ctx, moff_t off, uint64_t len)
{
	struct counts *c = ctx;

	counted(c)->lines += lines_of(off, len);
	c->pm->ops->flush(pm_at(c->pm, off), len);
	return 0;
}

static int count_fence(void *ctx)
{
	counted(ctx)->fences++;
	insn_fence();
	return 0;
}

enum kind { CREATE, LOOKUP, SETXATTR, CHMOD, LINK, UNLINK_LINK, RENAME, RENAME_ACROSS, UNLINK, MKDIR, RMDIR, NAME_KINDS,
	    READ, OVERWRITE, UNALIGNED, APPEND, FILL, CUT_LAST, ALLOCATE, PUNCH, FSYNC, PIN, CUT_ALL };

/* In this order: each finds what those before it left. */
static const struct media_op {
	const char *name;
	enum kind kind;
	uint64_t bytes;
	unsigned ops;
	bool moves;			/* the bytes are the user's, and go to the media */
} media_ops[] = {
	{"create", CREATE, 0, MEDIA_OPS, false},
	{"look up", LOOKUP, 0, MEDIA_OPS, false},
	{"setxattr of 32 bytes", SETXATTR, 32, MEDIA_OPS, true},
	{"chmod", CHMOD, 0, MEDIA_OPS, false},
	{"link", LINK, 0, MEDIA_OPS, false},
	{"unlink one of two names", UNLINK_LINK, 0, MEDIA_OPS, false},
	{"rename", RENAME, 0, MEDIA_OPS, false},
	{"rename across directories", RENAME_ACROSS, 0, MEDIA_OPS, false},
	{"unlink", UNLINK, 0, MEDIA_OPS, false},
	{"mkdir", MKDIR, 0, MEDIA_OPS, false},
	{"rmdir", RMDIR, 0, MEDIA_OPS, false},
	{"read 4 KiB", READ, 4096, MEDIA_OPS, false},
	{"overwrite 64 B", OVERWRITE, 64, MEDIA_OPS, true},
	{"overwrite 4 KiB", OVERWRITE, 4096, MEDIA_OPS, true},
	{"overwrite 4 KiB, unaligned", UNALIGNED, 4096, MEDIA_OPS, true},
	{"overwrite 2 MiB", OVERWRITE, 2 << 20, 16, true},
	{"append 64 B into frames", APPEND, 64, MEDIA_OPS, true},
	{"append 4 KiB into frames", APPEND, 4096, MEDIA_OPS, true},
	{"append 64 KiB into frames", APPEND, 65536, 100, true},
	{"append 2 MiB", APPEND, 2 << 20, 16, true},
	{"append 4 KiB into blocks", FILL, 4096, FILL_OPS, true},
	{"truncate a block off the end", CUT_LAST, 4096, FILL_OPS, false},
	{"allocate 2 MiB", ALLOCATE, 2 << 20, 32, false},
	{"punch 2 MiB, a huge leaf", PUNCH, 2 << 20, 32, false},
	{"fsync, nothing to do", FSYNC, 0, MEDIA_OPS, false},
	{"pin + unpin of a frame", PIN, 2 << 20, MEDIA_OPS, false},
	{"truncate 64 MiB of huge leaves", CUT_ALL, 0, 1, false},
};

struct media {
	struct bench_io huge, grow, blocks, small;
};

static const char *path_of(char out[32], const char *prefix, unsigned i)
{
	snprintf(out, 32, "/bench.m/%s%u", prefix, i);
	return out;
}

static int64_t do_name(struct bench *b, enum kind kind, unsigned i)
{
	char at[32], to[32];
	struct hf_stat st;

	switch (kind) {
	case CREATE: return hf_mknod(b->vol, path_of(at, "f", i), S_IFREG | 0644, 0);
	case LOOKUP: return hf_stat(b->vol, path_of(at, "f", i), &st);
	case SETXATTR: return hf_setxattr(b->vol, path_of(at, "f", i), "user.bench", b->src, 32, 0);
	case CHMOD: return hf_chmod(b->vol, path_of(at, "f", i), 0600);
	case LINK: return hf_link(b->vol, path_of(at, "f", i), path_of(to, "l", i));
	case UNLINK_LINK: return hf_unlink(b->vol, path_of(at, "l", i));
	case RENAME: return hf_rename(b->vol, path_of(at, "f", i), path_of(to, "g", i), 0);
	case RENAME_ACROSS: return hf_rename(b->vol, path_of(at, "g", i), path_of(to, "d/", i), 0);
	case UNLINK: return hf_unlink(b->vol, path_of(at, "d/", i));
	case MKDIR: return hf_mkdir(b->vol, path_of(at, "s", i), 0755);
	default: return hf_rmdir(b->vol, path_of(at, "s", i));
	}
}

static int64_t do_pin(struct bench *b, hf_file *file, uint64_t off, uint64_t bytes)
{
	hf_pin_id id;
	int err = hf_pin(file, off, bytes, NULL, NULL, NULL, &id);

	return err ? err : hf_unpin(b->vol, id);
}

static int64_t do_file(struct bench *b, struct media *m, const struct media_op *op, unsigned i)
{
	uint64_t bytes = op->bytes, next = i * bytes;

	m->huge.bytes = bytes;
	m->huge.shift = op->kind == UNALIGNED ? 13 : 0;
	switch (op->kind) {
	case READ: return hf_pread(m->huge.file, b->dst, bytes, bench_place(b, &m->huge, NULL));
	case OVERWRITE:
	case UNALIGNED: return hf_pwrite(m->huge.file, b->src, bytes, bench_place(b, &m->huge, NULL));
	case APPEND: return hf_append(m->grow.file, b->src, bytes, NULL);
	case FILL: return hf_append(m->small.file, b->src, bytes, NULL);
	case CUT_LAST: return hf_ftruncate(m->small.file, (FILL_OPS - 1) * bytes - next);
	case ALLOCATE: return hf_fallocate(m->blocks.file, 0, next, bytes);
	case PUNCH: return hf_fallocate(m->blocks.file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, next, bytes);
	case FSYNC: return hf_fsync(m->grow.file);
	case PIN: return do_pin(b, m->huge.file, next % MEDIA_BYTES, bytes);
	default: return hf_ftruncate(m->huge.file, 0);
	}
}

static void media_print(struct bench *b, const struct media_op *op, const struct counts *c, unsigned ops)
{
	double n = ops, lines = (double)c->now.lines / n, later = (double)c->later.lines / n;
	double factor = op->moves ? (lines + later) * HF_LINE / (double)op->bytes : 0;
	char text[32] = "";

	bench_add(b, json_pack("{s:s,s:s,s:I,s:f,s:f,s:f,s:f,s:f,s:f,s:f,s:f}", "group", b->group, "name", op->name, "payload",
						 (json_int_t)(op->moves ? op->bytes : 0), "stores", (double)c->now.stores / n, "cached_bytes",
						 (double)c->now.bytes / n, "nontemporal_bytes", (double)c->now.nt_bytes / n, "lines", lines, "fences",
						 (double)c->now.fences / n, "later_lines", later, "later_fences", (double)c->later.fences / n,
						 "amplification", factor));
	if (b->json)
		return;
	if (op->moves)
		snprintf(text, sizeof(text), "%.2f", factor);
	printf("%-34s %9.1f %10.1f %12.1f %10.2f %8.2f %10.2f %8.3f %8s\n", op->name, (double)c->now.stores / n, (double)c->now.bytes / n,
	       (double)c->now.nt_bytes / n, lines, (double)c->now.fences / n, later, (double)c->later.fences / n, text);
}

static void media_row(struct bench *b, struct media *m, const struct media_op *op)
{
	struct counts c = {.pm = b->pm, .thread = pthread_self()};
	const struct pm_hook hook = {.ctx = &c, .store = count_store, .flush = count_flush, .fence = count_fence};
	unsigned i;

	bench_must(hf_syncfs(b->vol), "sync");
	b->pm->hook = &hook;		/* nobody else is at work */
	for (i = 0; i < op->ops; i++)
		bench_must(op->kind < NAME_KINDS ? do_name(b, op->kind, i) : do_file(b, m, op, i), op->name);
	c.after = true;
	bench_must(hf_syncfs(b->vol), "sync");
	b->pm->hook = NULL;
	media_print(b, op, &c, op->ops);
}

void bench_media(struct bench *b)
{
	struct media m = {0};
	size_t i;

	bench_huge_file(b, &m.huge, "/bench.huge", MEDIA_BYTES);
	bench_huge_file(b, &m.grow, "/bench.grow", HF_FRAME_SIZE);
	bench_must(hf_open(b->vol, "/bench.blocks", HF_O_RDWR | HF_O_CREAT, 0600, &m.blocks.file), "file");
	bench_must(hf_open(b->vol, "/bench.small", HF_O_RDWR | HF_O_CREAT, 0600, &m.small.file), "file");
	bench_mkdir(b, "/bench.m");
	bench_mkdir(b, "/bench.m/d");
	if (!b->json)
		printf("%-34s %9s %10s %12s %10s %8s %10s %8s %8s\n", "per operation", "stores", "cached B", "past cache B", "lines", "fences",
		       "ckpt lines", "fences", "factor");
	for (i = 0; i < sizeof(media_ops) / sizeof(media_ops[0]); i++)
		media_row(b, &m, &media_ops[i]);
	bench_must(hf_rmdir(b->vol, "/bench.m/d"), "rmdir");
	bench_must(hf_rmdir(b->vol, "/bench.m"), "rmdir");
	bench_drop_file(b, &m.huge, "/bench.huge");
	bench_drop_file(b, &m.grow, "/bench.grow");
	bench_drop_file(b, &m.blocks, "/bench.blocks");
	bench_drop_file(b, &m.small, "/bench.small");
}
