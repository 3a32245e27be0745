/* Blocks that come and go: truncate, punch, allocate; and what makes things durable. */
#include "bench.h"
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define SMALL_OPS  500u
#define LARGE_OPS  64u
#define CKPT_OPS   500u
#define CUT_ROUNDS 7u
#define RAW_OPS	   20000u

struct space_row {
	const char *name;
	uint64_t unit, step;		/* what an operation is about, and where the next one is */
	unsigned ops;
	bool fill;			/* the file has these blocks before */
	int (*op)(hf_file *file, uint64_t off, uint64_t len, uint64_t end);
};

struct spaces {
	const struct space_row *row;
	hf_file *file;
};

static int allocate(hf_file *file, uint64_t off, uint64_t len, uint64_t end)
{
	(void)end;
	return hf_fallocate(file, 0, off, len);
}

static int punch(hf_file *file, uint64_t off, uint64_t len, uint64_t end)
{
	(void)end;
	return hf_fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off, len);
}

static int zero(hf_file *file, uint64_t off, uint64_t len, uint64_t end)
{
	(void)end;
	return hf_fallocate(file, FALLOC_FL_ZERO_RANGE, off, len);
}

static int fsync_clean(hf_file *file, uint64_t off, uint64_t len, uint64_t end)
{
	(void)end;
	(void)off;
	(void)len;
	return hf_fsync(file);
}

/* Its times have changed. */
static int fsync_written(hf_file *file, uint64_t off, uint64_t len, uint64_t end)
{
	static const uint8_t bytes[64] = {1};

	(void)end;
	(void)len;
	return hf_pwrite(file, bytes, sizeof(bytes), off) < 0 ? -EIO : hf_fsync(file);
}

static int cut_last(hf_file *file, uint64_t off, uint64_t len, uint64_t end)
{
	return hf_ftruncate(file, end - off - len);
}

static const struct space_row rows[] = {
	{"allocate 4 KiB", 4096, 8192, SMALL_OPS, false, allocate},
	{"allocate 2 MiB", 2 << 20, 2 << 20, LARGE_OPS, false, allocate},
	{"punch 4 KiB of blocks", 4096, 8192, SMALL_OPS, true, punch},
	{"punch 2 MiB, a huge leaf", 2 << 20, 2 << 20, LARGE_OPS, true, punch},
	{"punch 4 KiB of a huge leaf (splits it)", 4096, 2 << 20, LARGE_OPS, true, punch},
	{"zero 4 KiB of blocks", 4096, 8192, SMALL_OPS, true, zero},
	{"truncate 4 KiB off the end of blocks", 4096, 4096, SMALL_OPS, true, cut_last},
	{"truncate 2 MiB off the end of huge leaves", 2 << 20, 2 << 20, LARGE_OPS, true, cut_last},
	{"fsync, nothing to do", 64, 0, SMALL_OPS, true, fsync_clean},
	{"overwrite 64 B + fsync", 64, 64, SMALL_OPS, true, fsync_written},
};

static void space_prepare(struct bench *b, void *ctx, unsigned ops)
{
	struct spaces *s = ctx;
	uint64_t bytes = s->row->step * ops, off;

	bench_must(hf_open(b->vol, "/bench.space", HF_O_RDWR | HF_O_CREAT, 0600, &s->file), "file");
	if (s->row->fill && s->row->step >= HF_FRAME_SIZE)
		bench_must(hf_fallocate(s->file, 0, 0, bytes), "fill");
	bench_must(hf_ftruncate(s->file, max_u64(bytes, HF_BLOCK_SIZE)), "size");
	for (off = 0; s->row->fill && s->row->step < HF_FRAME_SIZE && off < max_u64(bytes, 1); off += HF_BLOCK_SIZE)
		bench_must(hf_pwrite(s->file, b->src, HF_BLOCK_SIZE, off), "fill");	/* not at the end: blocks, no frames */
	bench_must(hf_syncfs(b->vol), "sync");
}

static void space_ours(struct bench *b, void *ctx, unsigned ops)
{
	struct spaces *s = ctx;
	unsigned i;

	(void)b;
	for (i = 0; i < ops; i++)
		bench_must(s->row->op(s->file, s->row->step * i, s->row->unit, s->row->step * ops), s->row->name);
}

static void space_undo(struct bench *b, void *ctx, unsigned ops)
{
	struct spaces *s = ctx;

	(void)ops;
	bench_must(hf_close(&s->file), "close");
	bench_must(hf_unlink(b->vol, "/bench.space"), "unlink");
}

/* ---- 1 GiB at once */

struct cut {
	hf_file *file;
	uint64_t bytes;
	bool scattered;
};

/* Huge leaves; scattered: every other frame belongs to another file that is then removed. */
static void cut_prepare(struct bench *b, void *ctx, unsigned ops)
{
	struct cut *c = ctx;
	hf_file *other;
	uint64_t off;

	(void)ops;
	bench_must(hf_syncfs(b->vol), "sync");
	bench_must(hf_open(b->vol, "/bench.cut", HF_O_RDWR | HF_O_CREAT, 0600, &c->file), "file");
	if (!c->scattered) {
		bench_must(hf_fallocate(c->file, 0, 0, c->bytes), "fallocate");
		return;
	}
	bench_must(hf_open(b->vol, "/bench.other", HF_O_RDWR | HF_O_CREAT, 0600, &other), "file");
	for (off = 0; off < c->bytes; off += HF_FRAME_SIZE) {
		bench_must(hf_fallocate(c->file, 0, off, HF_FRAME_SIZE), "fallocate");
		bench_must(hf_fallocate(other, 0, off, HF_FRAME_SIZE), "fallocate");
	}
	hf_close(&other);
	bench_must(hf_unlink(b->vol, "/bench.other"), "unlink");
}

static void cut(struct bench *b, void *ctx, unsigned ops)
{
	struct cut *c = ctx;

	(void)b;
	(void)ops;
	bench_must(hf_ftruncate(c->file, 0), "truncate");
}

static void cut_undo(struct bench *b, void *ctx, unsigned ops)
{
	struct cut *c = ctx;

	(void)ops;
	hf_close(&c->file);
	bench_must(hf_unlink(b->vol, "/bench.cut"), "unlink");
}

static void cut_row(struct bench *b, bool scattered, double target)
{
	struct cut c = {.bytes = b->quick ? 64 << 20 : 1 << 30, .scattered = scattered};

	bench_run(b, &(struct bench_row){.name = scattered ? "truncate 1 GiB of scattered huge leaves" : "truncate 1 GiB of adjacent huge leaves",
					 .raw_name = "64 B + fence", .target = target, .ops = 1, .raw_ops = RAW_OPS, .rounds = CUT_ROUNDS,
					 .prepare = cut_prepare, .ours = cut, .raw = bench_raw_write_64, .undo = cut_undo, .ctx = &c});
}

/* ---- checkpoint: what it costs for each operation that came before it */

static void ckpt_names(struct bench *b, const struct hf_id *dir, bool make)
{
	struct hf_create how = {.mode = S_IFREG | 0644};
	char name[32];
	unsigned k;

	for (k = 0; k < CKPT_OPS; k++) {
		snprintf(name, sizeof(name), "%u", k);
		bench_must(make ? hf_inode_create(b->vol, *dir, name, &how, NULL) : hf_inode_unlink(b->vol, *dir, name), name);
	}
}

static void checkpoint_row(struct bench *b)
{
	struct bench_result r = {.name = "checkpoint, per create before it (at most 35 ns)", .raw_name = "-"};
	struct hf_id dir = bench_mkdir(b, "/bench.ckpt");
	unsigned i, n = bench_rounds(b, BENCH_ROUNDS);
	double per_op[BENCH_ROUNDS_MAX], t0;

	for (i = 0; i < n; i++) {
		bench_must(hf_syncfs(b->vol), "sync");
		ckpt_names(b, &dir, true);
		t0 = bench_now_ns();
		bench_must(hf_syncfs(b->vol), "sync");
		per_op[i] = (bench_now_ns() - t0) / CKPT_OPS;
		ckpt_names(b, &dir, false);
	}
	bench_must(hf_rmdir(b->vol, "/bench.ckpt"), "rmdir");
	bench_pairs(&r, per_op, NULL, n);
	bench_report(b, &r);
}

void bench_space(struct bench *b)
{
	struct spaces s;
	size_t i;

	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		s = (struct spaces){.row = &rows[i]};
		bench_run(b, &(struct bench_row){.name = rows[i].name, .raw_name = "64 B + fence", .ops = rows[i].ops, .raw_ops = RAW_OPS,
						 .prepare = space_prepare, .ours = space_ours, .raw = bench_raw_write_64, .undo = space_undo,
						 .ctx = &s});
	}
	cut_row(b, false, 45);
	cut_row(b, true, 120);
	checkpoint_row(b);
}
