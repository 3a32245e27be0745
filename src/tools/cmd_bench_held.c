/* Many pins, and many busy extents: whether they slow down who does not care. */
#include "bench_pins.h"
#include <errno.h>
#include <linux/falloc.h>
#include <stdlib.h>

#define HELD_PINS    1000000u
#define HELD_EXTENTS 100000u
#define HELD_ROUNDS  15u
#define ALLOC_OPS    500u

struct held {
	struct pins frame, block;
	hf_pin_id *pins, *busy;
	uint64_t npins, nbusy;
	hf_file *holes;			/* every other block of it is in use */
};

enum { PIN_FRAME, PIN_BLOCK, ALLOCATE, PUNCH, COSTS };
static const char *const cost_name[COSTS] = {"pin + unpin of a frame", "pin + unpin of 4 KiB", "allocate 4 KiB", "punch 4 KiB"};
struct costs {
	double ns[COSTS][HELD_ROUNDS];
};

static void timed_pins(struct bench *b, struct pins *p, double ns[HELD_ROUNDS])
{
	unsigned i, ops = bench_count(b, PIN_OPS);
	double t0;

	for (i = 0; i < bench_rounds(b, HELD_ROUNDS); i++) {
		t0 = bench_now_ns();
		pins_pair(b, p, ops);
		ns[i] = (bench_now_ns() - t0) / ops;
	}
}

/* A block at a time is put into a file of holes; punched out again. */
static void timed_alloc(struct bench *b, double take[HELD_ROUNDS], double give[HELD_ROUNDS])
{
	double t0;
	hf_file *file;
	unsigned i, k, ops = bench_count(b, ALLOC_OPS);

	bench_must(hf_open(b->vol, "/bench.alloc", HF_O_RDWR | HF_O_CREAT, 0600, &file), "file");
	bench_must(hf_ftruncate(file, ops * 8192ull), "size");
	for (i = 0; i < bench_rounds(b, HELD_ROUNDS); i++) {
		bench_must(hf_syncfs(b->vol), "sync");
		t0 = bench_now_ns();
		for (k = 0; k < ops; k++)
			bench_must(hf_fallocate(file, 0, k * 8192ull, 4096), "allocate");
		take[i] = (bench_now_ns() - t0) / ops;
		t0 = bench_now_ns();
		for (k = 0; k < ops; k++)
			bench_must(hf_fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, k * 8192ull, 4096), "punch");
		give[i] = (bench_now_ns() - t0) / ops;
	}
	bench_must(hf_close(&file), "close");
	bench_must(hf_unlink(b->vol, "/bench.alloc"), "unlink");
}

static void costs_now(struct bench *b, struct held *h, struct costs *c)
{
	timed_pins(b, &h->frame, c->ns[PIN_FRAME]);
	timed_pins(b, &h->block, c->ns[PIN_BLOCK]);
	timed_alloc(b, c->ns[ALLOCATE], c->ns[PUNCH]);
}

static void costs_print(struct bench *b, const char *with, const struct costs *now, const struct costs *empty)
{
	char name[96];
	struct bench_result r = {.name = name, .raw_name = "the same, none held", .target = 2};
	size_t i;

	for (i = 0; i < COSTS; i++) {
		snprintf(name, sizeof(name), "%s, %s", cost_name[i], with);
		bench_pairs(&r, now->ns[i], empty->ns[i], bench_rounds(b, HELD_ROUNDS));
		bench_report(b, &r);
	}
}

/* Half of them on frames, half on blocks; every place many times. */
static void hold_pins(struct bench *b, struct held *h)
{
	unsigned n = b->quick ? 1000 : HELD_PINS;
	double t0 = bench_now_ns();
	struct pins *p;

	for (h->npins = 0; h->npins < n; h->npins++) {
		p = h->npins & 1 ? &h->block : &h->frame;
		h->pins[h->npins] = bench_pin_at(p->file, h->npins / 2 % (p->bytes / p->unit) * p->unit, p->unit);
	}
	bench_single(b, "pin, the first 1,000,000, each", (bench_now_ns() - t0) / n);
}

/* Each second block is pinned and punched: no two busy ones are adjacent. */
static void hold_busy(struct bench *b, struct held *h, uint64_t extents)
{
	double t0;
	uint64_t i;

	for (i = 0; i < extents; i++)
		h->busy[i] = bench_pin_at(h->holes, i * 8192, 4096);
	t0 = bench_now_ns();
	for (i = 0; i < extents; i++)
		bench_must(hf_fallocate(h->holes, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, i * 8192, 4096), "punch");
	bench_single(b, "punch of a pinned block, each of many", (bench_now_ns() - t0) / (double)extents);
	h->nbusy = extents;
}

static void let_go(struct bench *b, hf_pin_id *ids, uint64_t n, const char *name)
{
	double t0 = bench_now_ns();
	uint64_t i;

	for (i = 0; i < n; i++)
		bench_must(hf_unpin(b->vol, ids[i]), "unpin");
	bench_single(b, name, (bench_now_ns() - t0) / (double)n);
}

static void holes_file(struct bench *b, struct held *h, uint64_t extents)
{
	uint64_t off, bytes = extents * 8192;

	bench_must(hf_open(b->vol, "/bench.holes", HF_O_RDWR | HF_O_CREAT, 0600, &h->holes), "file");
	bench_must(hf_ftruncate(h->holes, bytes), "size");
	for (off = 0; off < bytes; off += 65536)		/* not at the end, not whole frames: blocks */
		bench_must(hf_pwrite(h->holes, b->src, min_u64(65536, bytes - off), off), "fill");
}

void bench_held(struct bench *b)
{
	struct costs empty, pinned, busy;
	struct held h = {0};
	struct hf_statfs s;
	uint64_t extents;
	char with[48];

	bench_must(hf_statfs(b->vol, &s), "statfs");
	extents = b->quick ? 1000 : min_u64(HELD_EXTENTS, s.blocks_free / 4);
	h.pins = calloc(HELD_PINS, sizeof(hf_pin_id));
	h.busy = calloc(HELD_EXTENTS, sizeof(hf_pin_id));
	if (!h.pins || !h.busy)
		bench_must(-ENOMEM, "pins");
	pins_file(b, &h.frame, "/bench.frame", bench_bytes(b, PIN_BYTES), HF_FRAME_SIZE, false);
	pins_file(b, &h.block, "/bench.block", bench_bytes(b, PIN_BYTES / 8), 4096, true);
	holes_file(b, &h, extents);
	costs_now(b, &h, &empty);
	hold_pins(b, &h);
	costs_now(b, &h, &pinned);
	costs_print(b, "1 M pins held", &pinned, &empty);
	hold_busy(b, &h, extents);
	costs_now(b, &h, &busy);
	snprintf(with, sizeof(with), "and %llu busy extents", (unsigned long long)extents);
	costs_print(b, with, &busy, &empty);
	let_go(b, h.busy, h.nbusy, "the last unpin of a punched block, each of many");
	let_go(b, h.pins, h.npins, "unpin, 1,000,000, each");
	bench_must(hf_close(&h.holes), "close");
	bench_must(hf_unlink(b->vol, "/bench.holes"), "unlink");
	pins_done(b, &h.frame, "/bench.frame");
	pins_done(b, &h.block, "/bench.block");
	free(h.pins);
	free(h.busy);
}
