/* What pins cost a truncate, and what the unpin of what it cut off costs. */
#include "bench_pins.h"
#include <errno.h>
#include <stdlib.h>

#define CUT_BYTES  (1ull << 30)
#define CUT_ROUNDS 7u
#define RAW_OPS	   20000u

/* One round: the time of the truncate, and of dropping the pins of what it detached, each. */
static void cut_round(struct bench *b, uint64_t bytes, uint64_t pins, double *cut, double *drop)
{
	hf_pin_id *id = calloc((size_t)pins + 1, sizeof(*id));
	hf_file *file;
	uint64_t i;
	double t0;

	if (!id)
		bench_must(-ENOMEM, "pins");
	bench_must(hf_syncfs(b->vol), "sync");
	bench_must(hf_open(b->vol, "/bench.cut", HF_O_RDWR | HF_O_CREAT, 0600, &file), "file");
	bench_must(hf_fallocate(file, 0, 0, bytes), "fallocate");
	for (i = 0; i < pins; i++)
		id[i] = bench_pin_at(file, i * HF_FRAME_SIZE, HF_FRAME_SIZE);
	t0 = bench_now_ns();
	bench_must(hf_ftruncate(file, 0), "truncate");
	*cut = bench_now_ns() - t0;
	t0 = bench_now_ns();
	for (i = 0; i < pins; i++)
		bench_must(hf_unpin(b->vol, id[i]), "unpin");
	*drop = pins ? (bench_now_ns() - t0) / (double)pins : 0;
	bench_must(hf_close(&file), "close");
	bench_must(hf_unlink(b->vol, "/bench.cut"), "unlink");
	free(id);
}

static double raw_64_ns(struct bench *b)
{
	unsigned ops = bench_count(b, RAW_OPS);
	double t0 = bench_now_ns();

	bench_raw_write_64(b, NULL, ops);
	return (bench_now_ns() - t0) / ops;
}

static void bench_cut(struct bench *b, uint64_t bytes, uint64_t pins, const char *how, double target)
{
	struct bench_result r = {.raw_name = "64 B + fence", .target = bytes == CUT_BYTES ? target : 0};	/* the targets are of 1 GiB */
	double cut[CUT_ROUNDS], raw[CUT_ROUNDS], drop[CUT_ROUNDS];
	unsigned i, n = bench_rounds(b, CUT_ROUNDS);
	char name[64];

	for (i = 0; i < n; i++) {
		raw[i] = raw_64_ns(b);
		cut_round(b, bytes, pins, &cut[i], &drop[i]);
	}
	snprintf(name, sizeof(name), "truncate %llu MiB of huge leaves, %s pinned", (unsigned long long)(bytes >> 20), how);
	r.name = name;
	bench_pairs(&r, cut, raw, n);
	bench_report(b, &r);
	if (pins <= 1)
		return;
	r.name = "the last unpin of a frame that was cut off";
	r.target = 0;
	bench_pairs(&r, drop, raw, n);
	bench_report(b, &r);
}

void bench_cuts(struct bench *b)
{
	uint64_t bytes = b->quick ? 64 << 20 : CUT_BYTES;
	struct hf_statfs s;

	bench_must(hf_syncfs(b->vol), "sync");
	bench_must(hf_statfs(b->vol, &s), "statfs");
	while (bytes > HF_FRAME_SIZE && bytes / HF_FRAME_SIZE + 16 > s.frames_free)
		bytes /= 2;
	bench_cut(b, bytes, 0, "none", 45);
	bench_cut(b, bytes, 1, "one", 45);
	bench_cut(b, bytes, bytes / HF_FRAME_SIZE, "all", 75);
}
