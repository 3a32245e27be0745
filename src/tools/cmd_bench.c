/* The instrument: pairs, medians, rows. */
#include "bench.h"
#include "media/pm_impl.h"
#include <errno.h>
#include <ftw.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define BENCH_VOLUME_BYTES  (3ull << 30)
#define BENCH_MADV_POPULATE 23	/* MADV_POPULATE_WRITE and MADV_COLLAPSE: not in all C libraries' headers yet */
#define BENCH_MADV_COLLAPSE 25

double bench_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

uint64_t bench_random(struct bench *b)
{
	b->rng ^= b->rng << 13;
	b->rng ^= b->rng >> 7;
	b->rng ^= b->rng << 17;
	return b->rng;
}

void bench_must(int64_t ret, const char *what)
{
	if (ret >= 0)
		return;
	tool_fail((int)ret, "%s", what);
	exit(EXIT_FAILED);
}

int bench_compare_double(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

double bench_median(double *v, unsigned n)
{
	qsort(v, n, sizeof(*v), bench_compare_double);
	return v[n / 2];
}

void bench_print(struct bench *b, const char *name, double ns, double raw_ns, const char *raw_name, double target, bool faster)
{
	double ratio = raw_ns <= 0 ? 0 : faster ? raw_ns / ns : ns / raw_ns;
	char ratio_text[32] = "", target_text[32] = "";

	json_array_append_new(b->rows, json_pack("{s:s,s:f,s:f,s:s,s:f,s:f,s:b,s:b}", "name", name, "ns", ns, "raw_ns", raw_ns, "raw",
						 raw_name, "ratio", ratio, "target", target, "higher_is_better", faster, "reached",
						 target <= 0 || (faster ? ratio >= target : ratio <= target)));
	if (b->json)
		return;
	if (ratio > 0)
		snprintf(ratio_text, sizeof(ratio_text), "%.2f", ratio);
	if (target > 0)
		snprintf(target_text, sizeof(target_text), "%s %.2f%s", faster ? ">=" : "<=", target,
			 (faster ? ratio >= target : ratio <= target) ? "" : "  *");
	printf("%-46s %12.0f %12.0f %8s %s   %s\n", name, ns, raw_ns, ratio_text, target_text, raw_name);
	fflush(stdout);
}

void bench_note(struct bench *b, const char *name, const char *text)
{
	json_array_append_new(b->rows, json_pack("{s:s,s:s}", "name", name, "note", text));
	if (!b->json)
		printf("%-46s %s\n", name, text);
}

static double timed(struct bench *b, bench_fn *fn, void *ctx, unsigned ops)
{
	double t0 = bench_now_ns();

	fn(b, ctx, ops);
	return (bench_now_ns() - t0) / ops;
}

/* Ours and raw in turn, the order swapped each round; the ratio is the median of the pairs' ratios. */
void bench_run(struct bench *b, const struct bench_row *row)
{
	double ours[BENCH_ROUNDS], raw[BENCH_ROUNDS], ratio[BENCH_ROUNDS], mid_raw, mid_ratio;
	unsigned i;

	for (i = 0; i < BENCH_ROUNDS; i++) {
		if (row->prepare)
			row->prepare(b, row->ctx, row->ops);
		if (i & 1)
			raw[i] = timed(b, row->raw, row->ctx, row->ops);
		ours[i] = timed(b, row->ours, row->ctx, row->ops);
		if (!(i & 1))
			raw[i] = timed(b, row->raw, row->ctx, row->ops);
		if (row->undo)
			row->undo(b, row->ctx, row->ops);
		ratio[i] = ours[i] / raw[i];
	}
	mid_ratio = bench_median(ratio, BENCH_ROUNDS);
	mid_raw = bench_median(raw, BENCH_ROUNDS);
	bench_print(b, row->name, mid_raw * mid_ratio, mid_raw, row->raw_name, row->target, row->faster);
}

/* ---- what the memory can do: libpmem2's non-temporal copy and its drain, on the same mapping */
void bench_raw_write_random(struct bench *b, void *ctx, unsigned ops)
{
	size_t bytes = *(size_t *)ctx;
	uint64_t places = BENCH_RAW_BYTES / (bytes < 4096 ? 64 : bytes);

	while (ops--) {
		uint8_t *to = b->raw + bench_random(b) % places * (bytes < 4096 ? 64 : bytes);

		b->copy(to, b->src, bytes, PMEM2_F_MEM_NONTEMPORAL | PMEM2_F_MEM_NODRAIN);
		b->drain();
	}
}

void bench_raw_write_64(struct bench *b, void *ctx, unsigned ops)
{
	(void)ctx;
	while (ops--) {
		b->copy(b->raw + b->raw_at, b->src, 64, PMEM2_F_MEM_NONTEMPORAL | PMEM2_F_MEM_NODRAIN);
		b->drain();
		b->raw_at = (b->raw_at + 64) % BENCH_RAW_BYTES;
	}
}

double bench_raw_64_ns(struct bench *b)
{
	double t0 = bench_now_ns();

	bench_raw_write_64(b, NULL, 20000);
	return (bench_now_ns() - t0) / 20000;
}

void bench_raw_read_random(struct bench *b, void *ctx, unsigned ops)
{
	size_t bytes = *(size_t *)ctx;
	uint64_t places = BENCH_RAW_BYTES / (bytes < 4096 ? 64 : bytes);

	while (ops--) {
		memcpy(b->dst, b->raw + bench_random(b) % places * (bytes < 4096 ? 64 : bytes), bytes);
		__asm__ volatile("" ::: "memory");
	}
}

/* The area that raw writes go to is a file of the volume: the same mapping, the same page size. */
static int raw_area(struct bench *b)
{
	struct hf_extent e;
	hf_file *file;
	size_t n;
	int err = hf_open(b->vol, "/raw", HF_O_RDWR | HF_O_CREAT, 0600, &file);

	if (!err)
		err = hf_fallocate(file, 0, 0, BENCH_RAW_BYTES);
	if (!err)
		err = hf_extents(file, 0, &e, 1, &n);
	if (!err && (n != 1 || e.len < BENCH_RAW_BYTES)) {
		tool_error("the volume has no %llu MiB in one piece for the raw copies", BENCH_RAW_BYTES >> 20);
		err = -ENOSPC;
	}
	if (!err)
		b->raw = pm_at_mut(b->pm, MOFF(e.media_off));
	if (file)
		hf_close(&file);
	return err;
}

/* A device maps 2 MiB pages; a memfd gets 4 KiB ones, and rows with random places then measure the TLB. Where the kernel can
 * (6.1 on), the mapping is made of 2 MiB pages. */
static void huge_pages(struct bench *b)
{
	uint64_t done = 0, off;

	if (b->pm->kind != PM_MEMFD)
		return;
	for (off = 0; off < b->pm->size; off += HF_FRAME_SIZE)
		done += madvise(b->pm->base + off, HF_FRAME_SIZE, BENCH_MADV_POPULATE) == 0 &&
			madvise(b->pm->base + off, HF_FRAME_SIZE, BENCH_MADV_COLLAPSE) == 0;
	if (!b->json)
		printf("pages of 2 MiB: %u%% of the volume\n", (unsigned)(done * 100 / (b->pm->size / HF_FRAME_SIZE)));
	json_array_append_new(b->rows, json_pack("{s:s,s:f}", "name", "share of 2 MiB pages", "ratio",
						 (double)done / (double)(b->pm->size / HF_FRAME_SIZE)));
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static bool bench_option(void *ctx, char letter, const char *name, const char *arg)
{
	(void)letter;
	(void)name;
	(void)arg;
	*(bool *)ctx = true;
	return true;
}

static int bench_open(struct bench *b, const char *path)
{
	struct hf_mount_options opts = {.struct_size = sizeof(opts), .flags = HF_MOUNT_FORCE_CACHE_LINE};
	int err = path ? hf_mount(&b->vol, path, &opts) : hf_mount_memory(&b->vol, BENCH_VOLUME_BYTES, &opts);

	if (err)
		return tool_fail(err, "%s", path ? path : "memory");
	b->pm = b->vol->fs.pm;
	b->copy = pmem2_get_memcpy_fn(pm_priv_of(b->pm)->pmem2[0]);
	b->drain = pmem2_get_drain_fn(pm_priv_of(b->pm)->pmem2[0]);
	b->src = aligned_alloc(4096, 2 << 20);
	b->dst = aligned_alloc(4096, 2 << 20);
	b->rows = json_array();
	b->rng = 88172645463325252ull;
	if (!b->src || !b->dst)
		return tool_fail(-ENOMEM, "bench");
	memset(b->src, 0x5a, 2 << 20);
	memset(b->dst, 0, 2 << 20);
	snprintf(b->tmpfs, sizeof(b->tmpfs), "/dev/shm/holdfast-bench.XXXXXX");
	if (!mkdtemp(b->tmpfs))
		b->tmpfs[0] = 0;
	huge_pages(b);
	err = raw_area(b);
	return err ? tool_fail(err, "bench") : EXIT_OK;
}

int cmd_bench(int argc, char **argv)
{
	static const struct tool_option options[] = {{"pins", 0, false, "only the rows about pins and views"}, {0}};
	struct bench b = {0};
	bool pins_only = false;
	double t0 = bench_now_ns();
	int status = tool_options(argc, argv, "[--pins] [--json] [VOLUME]",
				  "Measures operations in alternation with what the memory itself can do (libpmem2's non-temporal copy to\n"
				  "the same mapping) and with tmpfs, in the same run; medians of 15 pairs. Without VOLUME: a 3 GiB volume in\n"
				  "memory. A VOLUME is written to (files /raw, /bench.*, removed at the end) and claimed to be persistent at\n"
				  "cache-line granularity. '*' marks a row that misses its target. Takes up to three minutes.",
				  options, true, bench_option, &pins_only, &b.json);

	if (status >= 0)
		return status;
	if (argc - optind > 1)
		return tool_usage("one VOLUME at most");
	status = bench_open(&b, argc > optind ? argv[optind] : NULL);
	if (status == EXIT_OK) {
		if (!b.json)
			printf("%-46s %12s %12s %8s %s\n", "operation", "ns", "raw ns", "ratio", "target   compared with");
		if (!pins_only) {
			bench_data(&b);
			bench_names(&b);
			bench_volume(&b);
			bench_threads(&b);
		}
		bench_pins(&b);
		bench_views(&b);
		if (b.json)
			tool_json_print(json_pack("{s:s,s:s,s:f,s:O}", "volume", argc > optind ? argv[optind] : "memory", "granularity",
						  pm_gran_name(b.pm->gran), "seconds", (bench_now_ns() - t0) / 1e9, "rows", b.rows));
		hf_unlink(b.vol, "/raw");
		status = tool_unmount(&b.vol, EXIT_OK);
	}
	if (b.tmpfs[0])
		nftw(b.tmpfs, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	json_decref(b.rows);
	free(b.src);
	free(b.dst);
	return status;
}
