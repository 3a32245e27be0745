/* Reads and writes of file bytes: every size, in every place, in both orders. */
#include "bench.h"
#include <stdlib.h>
#include <string.h>

#define DATA_BYTES  (256ull << 20)
#define BLOCK_BYTES (64ull << 20)
#define BATCH_BYTES (4ull << 20)	/* that a round moves at most ... */
#define BATCH_OPS   5000u		/* ... and how often it is called */

enum op { READ, OVERWRITE, APPEND };
enum place { HUGE_LEAF, BLOCKS, ONE_BLOCK, PLACES };
static const size_t sizes[] = {64, 512, 4096, 65536, 2 << 20};
static const char *const op_name[] = {"read", "overwrite", "append"};
static const char *const place_name[] = {"huge leaf", "blocks", "one-block file"};

static const struct {
	enum op op;
	enum place place;
	size_t bytes;
	double at_most;
} targets[] = {
	{OVERWRITE, HUGE_LEAF, 4096, 1.08}, {OVERWRITE, HUGE_LEAF, 65536, 1.02}, {OVERWRITE, HUGE_LEAF, 64, 1.12}, {READ, HUGE_LEAF, 4096, 1.06},
	{READ, BLOCKS, 4096, 1.15},	    {APPEND, HUGE_LEAF, 4096, 2.05},	 {APPEND, HUGE_LEAF, 64, 3.0},
};

static double target_of(enum op op, enum place place, size_t bytes)
{
	size_t i;

	for (i = 0; i < sizeof(targets) / sizeof(targets[0]); i++)
		if (targets[i].op == op && targets[i].place == place && targets[i].bytes == bytes)
			return targets[i].at_most;
	return 0;
}

static void point(struct bench *b, enum op op, const struct bench_result *r, size_t bytes)
{
	bench_point(b, op_name[op], "holdfast", (double)bytes, r->ns);
	bench_point(b, op_name[op], op == READ ? "memcpy" : "copy + fence", (double)bytes, r->raw_ns);
}

static void data_row(struct bench *b, enum op op, enum place place, struct bench_io *io)
{
	bool plain = !io->sequential && !io->shift && !io->dependent;
	char name[96], size[16];
	struct bench_result r;

	snprintf(name, sizeof(name), "%s %s, %s, %s", op_name[op], bench_size(io->bytes, size),
		 io->dependent ? "each after the other" : io->shift ? "unaligned" : io->sequential ? "sequential" : "random", place_name[place]);
	r = bench_run(b, &(struct bench_row){.name = name, .raw_name = op == READ ? "memcpy" : "copy + fence",
					      .target = plain || io->dependent ? target_of(op, place, io->bytes) : 0,
					      .ops = (unsigned)min_u64(BATCH_OPS, BATCH_BYTES / io->bytes),
					      .ours = op == READ ? bench_read : bench_write,
					      .raw = op == READ ? bench_raw_read : bench_raw_write, .ctx = io});
	if (place == HUGE_LEAF && plain)
		point(b, op, &r, io->bytes);
}

static void data_rows(struct bench *b, enum place place, struct bench_io *io)
{
	enum op op;
	size_t i;

	for (op = READ; op <= OVERWRITE; op++) {
		for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]) && sizes[i] <= io->span; i++) {
			io->bytes = sizes[i];
			data_row(b, op, place, io);
			if (place == ONE_BLOCK)
				continue;
			io->sequential = true;
			data_row(b, op, place, io);
			io->sequential = false;
			io->dependent = op == READ;	/* the processor cannot begin the next copy before: as a program that uses what it read */
			if (op == READ)
				data_row(b, op, place, io);
			io->dependent = false;
			if (place != HUGE_LEAF)
				continue;
			io->shift = 13;		/* no multiple of 8 */
			data_row(b, op, place, io);
			io->shift = 0;
		}
	}
}

/* ---- append */

struct append {
	struct bench_io io;		/* first: the raw functions' */
	enum place place;
};

/* The first 2 MiB of a file are blocks, what is added behind them are frames. */
static void append_prepare(struct bench *b, void *ctx, unsigned ops)
{
	struct append *a = ctx;

	(void)ops;
	bench_must(hf_open(b->vol, "/bench.append", HF_O_RDWR | HF_O_CREAT, 0600, &a->io.file), "append file");
	if (a->place == HUGE_LEAF)
		bench_must(hf_fallocate(a->io.file, 0, 0, HF_FRAME_SIZE), "append file");
	bench_must(hf_syncfs(b->vol), "sync");		/* the last round's blocks come back */
}

static void append(struct bench *b, void *ctx, unsigned ops)
{
	struct append *a = ctx;

	while (ops--)
		bench_must(hf_append(a->io.file, b->src, a->io.bytes, NULL), "append");
}

static void append_undo(struct bench *b, void *ctx, unsigned ops)
{
	struct append *a = ctx;

	(void)ops;
	bench_drop_file(b, &a->io, "/bench.append");
}

static void append_rows(struct bench *b, enum place place)
{
	struct append a = {.io = {.span = b->raw_bytes}, .place = place};
	char name[96], size[16];
	struct bench_result r;
	size_t i;

	for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		unsigned ops = (unsigned)min_u64(BATCH_OPS, (place == BLOCKS ? HF_FRAME_SIZE - 1 : 8 * BATCH_BYTES) / sizes[i]);

		if (ops == 0)
			continue;
		a.io.bytes = sizes[i];
		a.io.sequential = sizes[i] < 4096;	/* as the journal's records are */
		snprintf(name, sizeof(name), "append %s, into %s", bench_size(sizes[i], size), place == BLOCKS ? "blocks" : "frames");
		r = bench_run(b, &(struct bench_row){.name = name, .raw_name = "copy + fence", .target = target_of(APPEND, place, sizes[i]),
						      .ops = ops, .prepare = append_prepare, .ours = append, .raw = bench_raw_write,
						      .undo = append_undo, .ctx = &a});
		if (place == HUGE_LEAF)
			point(b, APPEND, &r, sizes[i]);
	}
}

void bench_data(struct bench *b)
{
	struct bench_io io = {0};

	bench_huge_file(b, &io, "/bench.data", bench_bytes(b, DATA_BYTES));
	data_rows(b, HUGE_LEAF, &io);
	bench_drop_file(b, &io, "/bench.data");
	bench_scattered_file(b, &io, "/bench.data", bench_bytes(b, BLOCK_BYTES));
	data_rows(b, BLOCKS, &io);
	bench_drop_file(b, &io, "/bench.data");
	bench_scattered_file(b, &io, "/bench.data", HF_BLOCK_SIZE);
	data_rows(b, ONE_BLOCK, &io);
	bench_drop_file(b, &io, "/bench.data");
	append_rows(b, HUGE_LEAF);
	append_rows(b, BLOCKS);
}
