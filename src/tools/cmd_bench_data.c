/* Reads and writes of file bytes. */
#include "bench.h"
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DATA_BYTES (256ull << 20)

struct data {
	size_t bytes;			/* first: the raw functions read it */
	hf_file *file;
	int fd;				/* tmpfs */
	uint64_t span, at;
	bool sequential;
};

static uint64_t data_place(struct bench *b, struct data *d)
{
	uint64_t unit = d->bytes < 4096 ? 64 : d->bytes;

	return bench_random(b) % (d->span / unit) * unit;
}

static void overwrite(struct bench *b, void *ctx, unsigned ops)
{
	struct data *d = ctx;

	while (ops--)
		bench_must(hf_pwrite(d->file, b->src, d->bytes, data_place(b, d)), "overwrite");
}

static void read_random(struct bench *b, void *ctx, unsigned ops)
{
	struct data *d = ctx;

	while (ops--)
		bench_must(hf_pread(d->file, b->dst, d->bytes, data_place(b, d)), "read");
}

static void tmpfs_write(struct bench *b, void *ctx, unsigned ops)
{
	struct data *d = ctx;

	while (ops--)
		bench_must(pwrite(d->fd, b->src, d->bytes, (off_t)data_place(b, d)), "tmpfs write");
}

static void tmpfs_read(struct bench *b, void *ctx, unsigned ops)
{
	struct data *d = ctx;

	while (ops--)
		bench_must(pread(d->fd, b->dst, d->bytes, (off_t)data_place(b, d)), "tmpfs read");
}

static void append(struct bench *b, void *ctx, unsigned ops)
{
	struct data *d = ctx;

	while (ops--) {
		bench_must(hf_pwrite(d->file, b->src, d->bytes, d->at), "append");
		d->at += d->bytes;
	}
}

static void tmpfs_append(struct bench *b, void *ctx, unsigned ops)
{
	struct data *d = ctx;
	off_t at = 0;

	while (ops--) {
		bench_must(pwrite(d->fd, b->src, d->bytes, at), "tmpfs append");
		at += (off_t)d->bytes;
	}
}

static void append_prepare(struct bench *b, void *ctx, unsigned ops)
{
	struct data *d = ctx;

	(void)ops;
	d->at = 0;
	bench_must(hf_open(b->vol, "/bench.append", HF_O_RDWR | HF_O_CREAT | HF_O_TRUNC, 0600, &d->file), "append file");
	if (d->fd >= 0)
		bench_must(ftruncate(d->fd, 0), "tmpfs truncate");
	bench_must(hf_syncfs(b->vol), "sync");		/* the last round's blocks come back */
}

static void append_undo(struct bench *b, void *ctx, unsigned ops)
{
	struct data *d = ctx;

	(void)ops;
	bench_must(hf_close(&d->file), "close");
	bench_must(hf_unlink(b->vol, "/bench.append"), "unlink");
}

/* Hot: the same 64 bytes. */
static void read_hot(struct bench *b, void *ctx, unsigned ops)
{
	struct data *d = ctx;

	while (ops--)
		bench_must(hf_pread(d->file, b->dst, d->bytes, 4096), "read");
}

static void raw_read_hot(struct bench *b, void *ctx, unsigned ops)
{
	struct data *d = ctx;

	while (ops--) {
		memcpy(b->dst, b->raw + 4096, d->bytes);
		__asm__ volatile("" ::: "memory");
	}
}

/* A file of single blocks, each in the place of another: no two are adjacent. */
static void scattered_file(struct bench *b, struct data *d, const char *name, uint64_t span)
{
	hf_file *other;
	uint64_t off;

	bench_must(hf_open(b->vol, name, HF_O_RDWR | HF_O_CREAT, 0600, &d->file), name);
	bench_must(hf_open(b->vol, "/bench.other", HF_O_RDWR | HF_O_CREAT, 0600, &other), "other");
	bench_must(hf_ftruncate(d->file, span), "size");	/* not at the end: blocks, no frames */
	bench_must(hf_ftruncate(other, span), "size");
	for (off = 0; off < span; off += 4096) {
		bench_must(hf_pwrite(d->file, b->src, 4096, off), "fill");
		bench_must(hf_pwrite(other, b->src, 4096, off), "fill");
	}
	hf_close(&other);
	bench_must(hf_unlink(b->vol, "/bench.other"), "unlink");
	d->span = span;
}

static void huge_file(struct bench *b, struct data *d, const char *name)
{
	bench_must(hf_open(b->vol, name, HF_O_RDWR | HF_O_CREAT, 0600, &d->file), name);
	bench_must(hf_fallocate(d->file, 0, 0, DATA_BYTES), "fallocate");
	d->span = DATA_BYTES;
}

static void tmpfs_file(struct bench *b, struct data *d, uint64_t bytes)
{
	char path[128];
	uint64_t off;

	snprintf(path, sizeof(path), "%s/data", b->tmpfs);
	d->fd = b->tmpfs[0] ? open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600) : -1;
	for (off = 0; d->fd >= 0 && off < bytes; off += 2 << 20)
		bench_must(pwrite(d->fd, b->src, 2 << 20, (off_t)off), "tmpfs fill");
}

static void data_overwrites(struct bench *b, struct data *d)
{
	static const struct {
		const char *name;
		size_t bytes;
		double target;
		unsigned ops;
	} sizes[] = {{"overwrite 4 KiB", 4096, 1.08, 20000}, {"overwrite 64 KiB", 65536, 1.02, 2000}, {"overwrite 64 B", 64, 1.12, 50000}};
	size_t i;

	for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		d->bytes = sizes[i].bytes;
		bench_run(b, &(struct bench_row){.name = sizes[i].name, .raw_name = "raw", .target = sizes[i].target, .ops = sizes[i].ops,
						 .ours = overwrite, .raw = bench_raw_write_random, .ctx = d});
	}
}

static void data_appends(struct bench *b, struct data *d)
{
	struct data a = {.fd = d->fd, .bytes = 4096};

	bench_run(b, &(struct bench_row){.name = "append 4 KiB", .raw_name = "raw", .target = 2.05, .ops = 8000,
					 .prepare = append_prepare, .ours = append, .raw = bench_raw_write_random, .undo = append_undo,
					 .ctx = &a});
	a.bytes = 64;
	bench_run(b, &(struct bench_row){.name = "append 64 B", .raw_name = "raw", .target = 3.0, .ops = 50000,
					 .prepare = append_prepare, .ours = append, .raw = bench_raw_write_64, .undo = append_undo,
					 .ctx = &a});
}

static void data_reads(struct bench *b, struct data *huge, struct data *blocks)
{
	huge->bytes = blocks->bytes = 4096;
	bench_run(b, &(struct bench_row){.name = "read 4 KiB, cold, huge leaf", .raw_name = "raw", .target = 1.06, .ops = 20000,
					 .ours = read_random, .raw = bench_raw_read_random, .ctx = huge});
	bench_run(b, &(struct bench_row){.name = "read 4 KiB, cold, blocks", .raw_name = "raw", .target = 1.15, .ops = 20000,
					 .ours = read_random, .raw = bench_raw_read_random, .ctx = blocks});
	huge->bytes = 64;
	bench_run(b, &(struct bench_row){.name = "read 64 B, hot (target: raw + 8 ns)", .raw_name = "raw", .ops = 200000,
					 .ours = read_hot, .raw = raw_read_hot, .ctx = huge});
}

static void data_against_tmpfs(struct bench *b, struct data *d)
{
	struct data a = {.fd = d->fd, .bytes = 4096};

	if (d->fd < 0)
		return bench_note(b, "against tmpfs", "no /dev/shm: not measured");
	d->bytes = 4096;
	bench_run(b, &(struct bench_row){.name = "overwrite 4 KiB, times faster", .raw_name = "tmpfs pwrite", .target = 2.2, .faster = true,
					 .ops = 10000, .ours = overwrite, .raw = tmpfs_write, .ctx = d});
	bench_run(b, &(struct bench_row){.name = "read 4 KiB, times faster", .raw_name = "tmpfs pread", .target = 2.3, .faster = true,
					 .ops = 10000, .ours = read_random, .raw = tmpfs_read, .ctx = d});
	bench_run(b, &(struct bench_row){.name = "append 4 KiB, times faster", .raw_name = "tmpfs pwrite", .target = 1.4, .faster = true,
					 .ops = 8000, .prepare = append_prepare, .ours = append, .raw = tmpfs_append, .undo = append_undo,
					 .ctx = &a});
}

void bench_data(struct bench *b)
{
	struct data huge = {0}, blocks = {.fd = -1};

	huge_file(b, &huge, "/bench.huge");
	scattered_file(b, &blocks, "/bench.blocks", 64ull << 20);
	tmpfs_file(b, &huge, DATA_BYTES);
	data_overwrites(b, &huge);
	data_appends(b, &huge);
	data_reads(b, &huge, &blocks);
	data_against_tmpfs(b, &huge);
	if (huge.fd >= 0)
		close(huge.fd);
	hf_close(&huge.file);
	hf_close(&blocks.file);
	bench_must(hf_unlink(b->vol, "/bench.huge"), "unlink");
	bench_must(hf_unlink(b->vol, "/bench.blocks"), "unlink");
}
