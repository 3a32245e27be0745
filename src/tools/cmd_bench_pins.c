/* Pins, against raw atomics. */
#include "bench_pins.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

static hf_pin_id pin_for(hf_file *file, uint64_t off, uint64_t len, unsigned flags)
{
	const struct hf_pin_options opts = {.struct_size = sizeof(opts), .flags = flags, .tag = "bench"};
	struct iovec iov[4];
	size_t n = 4;
	hf_pin_id id;

	bench_must(hf_pin(file, off, len, &opts, iov, &n, &id), "pin");
	return id;
}

hf_pin_id bench_pin_at(hf_file *file, uint64_t off, uint64_t len)
{
	return pin_for(file, off, len, 0);
}

void pins_pair(struct bench *b, void *ctx, unsigned ops)
{
	struct pins *p = ctx;
	uint64_t places = p->bytes / p->unit;

	while (ops--)
		bench_must(hf_unpin(b->vol, bench_pin_at(p->file, bench_random(b) % places * p->unit, p->unit)), "unpin");
}

/* The unpin flushes what may have been stored: 2 MiB. */
static void pin_write_unpin(struct bench *b, void *ctx, unsigned ops)
{
	struct pins *p = ctx;
	uint64_t places = p->bytes / p->unit;

	while (ops--)
		bench_must(hf_unpin(b->vol, pin_for(p->file, bench_random(b) % places * p->unit, p->unit, HF_PIN_WRITE)), "unpin");
}

static void raw_flush(struct bench *b, void *ctx, unsigned ops)
{
	struct pins *p = ctx;

	while (ops--) {
		bench_must(pm_flush(b->pm, MOFF((uint64_t)(b->raw - b->pm->base) + bench_random(b) % (b->raw_bytes / p->unit) * p->unit),
				    p->unit), "flush");
		bench_must(pm_fence(b->pm), "fence");
	}
}

static void raw_add(struct bench *b, void *ctx, unsigned ops)
{
	struct pins *p = ctx;

	while (ops--)
		atomic_fetch_add(&p->words[bench_random(b) % p->nwords * 8], 1);
}

static void raw_pair(struct bench *b, void *ctx, unsigned ops)
{
	struct pins *p = ctx;

	while (ops--) {
		_Atomic uint64_t *w = &p->words[bench_random(b) % p->nwords * 8];

		atomic_fetch_add(w, 1);
		atomic_fetch_sub(w, 1);
	}
}

void pins_file(struct bench *b, struct pins *p, const char *name, uint64_t bytes, uint64_t unit, bool split)
{
	uint64_t off;

	*p = (struct pins){.bytes = bytes, .unit = unit, .nwords = bytes / unit};
	bench_must(hf_open(b->vol, name, HF_O_RDWR | HF_O_CREAT, 0600, &p->file), name);
	bench_must(split ? hf_ftruncate(p->file, bytes) : hf_fallocate(p->file, 0, 0, bytes), name);
	for (off = 0; split && off < bytes; off += 4096)	/* not at the end: blocks, no frames */
		bench_must(hf_pwrite(p->file, b->src, 4096, off), name);
	p->words = aligned_alloc(64, (size_t)p->nwords * 64);
	if (!p->words)
		bench_must(-ENOMEM, name);
	memset(p->words, 0, (size_t)p->nwords * 64);
}

void pins_done(struct bench *b, struct pins *p, const char *name)
{
	bench_must(hf_close(&p->file), name);
	bench_must(hf_unlink(b->vol, name), name);
	free(p->words);
}

static void bench_pair(struct bench *b)
{
	struct pins p;

	pins_file(b, &p, "/bench.pins", bench_bytes(b, PIN_BYTES), HF_FRAME_SIZE, false);
	bench_run(b, &(struct bench_row){.name = "pin + unpin of a frame", .raw_name = "an atomic add", .target = 4, .ops = PIN_OPS,
					 .ours = pins_pair, .raw = raw_add, .ctx = &p});
	bench_run(b, &(struct bench_row){.name = "the same, against both", .raw_name = "a pair of atomic adds", .ops = PIN_OPS,
					 .ours = pins_pair, .raw = raw_pair, .ctx = &p});
	bench_run(b, &(struct bench_row){.name = "pin + unpin of a frame for writing", .raw_name = "a flush of 2 MiB", .ops = PIN_OPS / 200,
					 .ours = pin_write_unpin, .raw = raw_flush, .ctx = &p});
	pins_done(b, &p, "/bench.pins");
	pins_file(b, &p, "/bench.pins", bench_bytes(b, PIN_BYTES / 4), 4096, true);
	bench_run(b, &(struct bench_row){.name = "pin + unpin of 4 KiB in a split frame", .raw_name = "an atomic add", .ops = PIN_OPS,
					 .ours = pins_pair, .raw = raw_add, .ctx = &p});
	pins_done(b, &p, "/bench.pins");
	pins_file(b, &p, "/bench.pins", 4096, 4096, true);
	bench_run(b, &(struct bench_row){.name = "pin + unpin of a file of one block", .raw_name = "an atomic add", .ops = PIN_OPS,
					 .ours = pins_pair, .raw = raw_add, .ctx = &p});
	pins_done(b, &p, "/bench.pins");
}

void bench_pins(struct bench *b)
{
	bench_pair(b);
	bench_threads_pins(b);
	bench_cuts(b);
	bench_held(b);
}
