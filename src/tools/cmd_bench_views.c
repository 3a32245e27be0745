/* Views: first touch, touch after a revocation, a scan. */
#include "bench.h"
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>

#define VIEW_BYTES   (128ull << 20)
#define VIEW_ROUNDS  9u

struct view {
	hf_file *file;
	hf_view *view;
	uint8_t *at;
	uint64_t bytes, slots;
};

static void view_map_it(struct view *v)
{
	struct hf_view_options o = {.struct_size = sizeof(o), .prot = HF_VIEW_READ | HF_VIEW_WRITE};
	void *at;

	bench_must(hf_view_map(v->file, 0, v->bytes, &o, &at, &v->view), "view");
	v->at = at;
}

/* One store in each slot; each a page fault at least. */
static double touch_all(struct view *v)
{
	double t0 = bench_now_ns();
	uint64_t i;

	for (i = 0; i < v->slots; i++)
		*(volatile uint8_t *)(v->at + i * HF_FRAME_SIZE) = 1;
	return (bench_now_ns() - t0) / (double)v->slots;
}

static void touch_row(struct bench *b, const char *name, const double *ns, unsigned n)
{
	struct bench_result r = {.name = name, .raw_name = "-"};

	bench_pairs(&r, ns, NULL, n);
	bench_report(b, &r);
}

static void bench_touch(struct bench *b, struct view *v)
{
	double first[VIEW_ROUNDS], again[VIEW_ROUNDS], revoke[VIEW_ROUNDS], t0;
	unsigned i, n = bench_rounds(b, VIEW_ROUNDS);

	for (i = 0; i < n; i++) {
		view_map_it(v);
		first[i] = touch_all(v);
		t0 = bench_now_ns();
		bench_must(hf_fallocate(v->file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, v->bytes), "punch");
		revoke[i] = (bench_now_ns() - t0) / (double)v->slots;
		bench_must(hf_fallocate(v->file, 0, 0, v->bytes), "fallocate");
		again[i] = touch_all(v);
		bench_must(hf_view_unmap(&v->view), "unmap");
	}
	touch_row(b, "view: first touch of a page (at most 10 us)", first, n);
	touch_row(b, "view: touch after a revocation (at most 5 us)", again, n);
	touch_row(b, "view: punch under 64 mapped pages, each", revoke, n);
}

/* Reads 2 MiB at a time, one behind the other, round and round. */
struct scan {
	const uint8_t *at;
	uint64_t next, bytes;
};

static void scan_some(struct bench *b, struct scan *s, unsigned ops)
{
	while (ops--) {
		memcpy(b->dst, s->at + s->next, HF_FRAME_SIZE);
		__asm__ volatile("" ::: "memory");
		s->next = (s->next + HF_FRAME_SIZE) % s->bytes;
	}
}

struct scans {
	struct scan view, raw;
};

static void scan_view(struct bench *b, void *ctx, unsigned ops)
{
	scan_some(b, &((struct scans *)ctx)->view, ops);
}

static void scan_raw(struct bench *b, void *ctx, unsigned ops)
{
	scan_some(b, &((struct scans *)ctx)->raw, ops);
}

static void bench_scan(struct bench *b, struct view *v)
{
	struct scans s = {0};

	view_map_it(v);
	bench_must(hf_view_populate(v->view, 0, v->bytes, true), "populate");
	s.view.at = v->at;
	s.raw.at = b->raw;
	s.view.bytes = s.raw.bytes = v->bytes;
	scan_view(b, &s, (unsigned)v->slots);		/* the kernel's part of mapping is not the scan's */
	scan_raw(b, &s, (unsigned)v->slots);
	bench_run(b, &(struct bench_row){.name = "view: sequential scan", .raw_name = "the linear map", .target = 1.02, .ops = (unsigned)v->slots,
					 .ours = scan_view, .raw = scan_raw, .ctx = &s});
	bench_must(hf_view_unmap(&v->view), "unmap");
}

void bench_views(struct bench *b)
{
	struct view v = {.bytes = bench_bytes(b, VIEW_BYTES)};

	v.slots = v.bytes / HF_FRAME_SIZE;
	bench_must(hf_open(b->vol, "/bench.view", HF_O_RDWR | HF_O_CREAT, 0600, &v.file), "file");
	bench_must(hf_fallocate(v.file, 0, 0, v.bytes), "fallocate");
	bench_touch(b, &v);
	bench_scan(b, &v);
	bench_must(hf_close(&v.file), "close");
	bench_must(hf_unlink(b->vol, "/bench.view"), "unlink");
}
