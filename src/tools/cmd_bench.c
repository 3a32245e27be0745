/* holdfast bench: options, the volume, which groups of rows run. */
#include "bench_plot.h"
#include "media/pm_impl.h"
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define BENCH_VOLUME_BYTES  (3ull << 30)
#define BENCH_QUICK_BYTES   (512ull << 20)
#define BENCH_NEEDS	    (2560ull << 20)	/* of free space: 1 GiB, another one in between, and the raw area */
#define BENCH_QUICK_NEEDS   (256ull << 20)
#define RAW_FILE	    "/bench.raw"
#define BENCH_MADV_POPULATE 23	/* MADV_POPULATE_WRITE and MADV_COLLAPSE: not in all C libraries' headers yet */
#define BENCH_MADV_COLLAPSE 25

static const struct group {
	const char *name;
	void (*run)(struct bench *b);
} groups[] = {
	{"data", bench_data},	    {"space", bench_space}, {"names", bench_names}, {"volume", bench_volume},
	{"threads", bench_threads}, {"pins", bench_pins},   {"views", bench_views},
	{"media", bench_media}, {"latency", bench_latency}, {"compare", bench_compare},
};
#define GROUPS	   (sizeof(groups) / sizeof(groups[0]))
#define GROUP_LIST "data, space, names, volume, threads, pins, views, media, latency, compare"

struct wish {
	struct bench *b;
	unsigned groups;		/* bits; 0: all */
};

static bool want_groups(struct wish *w, const char *list)
{
	size_t i, len;

	for (; *list; list += len + (list[len] == ',')) {
		len = strcspn(list, ",");
		for (i = 0; i < GROUPS; i++)
			if (strlen(groups[i].name) == len && !memcmp(groups[i].name, list, len))
				break;
		if (i == GROUPS)
			return false;
		w->groups |= 1u << i;
	}
	return w->groups != 0;
}

static bool bench_option(void *ctx, char letter, const char *name, const char *arg)
{
	struct wish *w = ctx;

	(void)letter;
	if (!strcmp(name, "rows"))
		return want_groups(w, arg);
	if (!strcmp(name, "pins"))
		return want_groups(w, "pins,views");
	if (!strcmp(name, "svg")) {
		w->b->svg = arg;
		return *arg != 0;
	}
	if (!strcmp(name, "full"))
		w->b->full = true;
	else
		w->b->quick = true;
	return true;
}

static const struct tool_option options[] = {
	{"rows", 0, true, "only these groups of rows, with commas in between: " GROUP_LIST},
	{"pins", 0, false, "the same as --rows pins,views"},
	{"svg", 0, true, "a directory: plots of what was measured, as SVG files"},
	{"full", 0, false, "the rows that take long, too: all pairs of a size and a number of files"},
	{"quick", 0, false, "a few operations of each row: whether it works; the figures mean nothing"},
	{0},
};
static const char about[] =
	"Measures operations in alternation with what the memory itself can do (libpmem2's non-temporal copy to\n"
	"the same mapping), with the same in other ways, and with tmpfs, in the same run. A row is the medians of\n"
	"31 pairs, and the median and the quartiles of the pairs' ratios. Without VOLUME: a 3 GiB volume in memory.\n"
	"A VOLUME is written to (files /bench.*, removed at the end) and claimed to be persistent at\n"
	"cache-line granularity. '*' marks a row that misses its target. Takes up to five minutes.";

/* The area that raw writes go to is a file of the volume: the same mapping, the same page size. */
static int raw_area(struct bench *b)
{
	struct hf_extent e;
	hf_file *file;
	size_t n;
	int err = hf_open(b->vol, RAW_FILE, HF_O_RDWR | HF_O_CREAT | HF_O_EXCL, 0600, &file);

	b->raw_bytes = bench_bytes(b, BENCH_RAW_BYTES);
	if (!err)
		err = hf_fallocate(file, 0, 0, b->raw_bytes);
	if (!err)
		err = hf_extents(file, 0, &e, 1, &n);
	if (!err && (n != 1 || e.len < b->raw_bytes)) {
		tool_error("the volume has no %llu MiB in one piece for the raw copies", (unsigned long long)b->raw_bytes >> 20);
		err = -ENOSPC;
	}
	if (!err)
		b->raw = pm_at_mut(b->pm, MOFF(e.media_off));
	if (file)
		hf_close(&file);
	if (err && err != -EEXIST)
		hf_unlink(b->vol, RAW_FILE);
	return err;
}

/* A device maps 2 MiB pages; a memfd gets 4 KiB ones, and rows with random places then measure the TLB. Where the kernel can
 * (6.1 on), the mapping is made of 2 MiB pages: one small page is there, and collapsing it brings the rest. */
static double huge_pages(struct bench *b)
{
	uint64_t done = 0, off;

	for (off = 0; off < b->pm->size; off += HF_FRAME_SIZE)
		done += madvise(b->pm->base + off, HF_BLOCK_SIZE, BENCH_MADV_POPULATE) == 0 &&
			madvise(b->pm->base + off, HF_FRAME_SIZE, BENCH_MADV_COLLAPSE) == 0;
	if (!b->json)
		printf("pages of 2 MiB: %u%% of the volume\n", (unsigned)(done * 100 / (b->pm->size / HF_FRAME_SIZE)));
	return (double)done / (double)(b->pm->size / HF_FRAME_SIZE);
}

static int bench_open(struct bench *b, const char *path)
{
	struct hf_mount_options opts = {.struct_size = sizeof(opts), .flags = HF_MOUNT_FORCE_CACHE_LINE};
	uint64_t bytes = b->quick ? BENCH_QUICK_BYTES : BENCH_VOLUME_BYTES;
	int err;

	bench_scratch(b->tmpfs);	/* before any thread */
	err = path ? hf_mount(&b->vol, path, &opts) : hf_mount_memory(&b->vol, bytes, &opts);
	if (err)
		return tool_fail(err, "%s", path ? path : "memory");
	b->pm = b->vol->fs.pm;
	b->copy = pmem2_get_memcpy_fn(pm_priv_of(b->pm)->pmem2[0]);
	b->drain = pmem2_get_drain_fn(pm_priv_of(b->pm)->pmem2[0]);
	b->persist = pmem2_get_persist_fn(pm_priv_of(b->pm)->pmem2[0]);
	b->src = aligned_alloc(4096, HF_FRAME_SIZE);
	b->dst = aligned_alloc(4096, HF_FRAME_SIZE);
	if (!b->src || !b->dst)
		return tool_fail(-ENOMEM, "bench");
	memset(b->src, 0x5a, HF_FRAME_SIZE);
	memset(b->dst, 0, HF_FRAME_SIZE);
	return EXIT_OK;
}

/* Better now than in the middle. */
static int bench_room(struct bench *b)
{
	uint64_t need = b->quick ? BENCH_QUICK_NEEDS : BENCH_NEEDS;
	struct hf_statfs s;
	struct hf_stat st;
	char text[32];
	int err = hf_statfs(b->vol, &s);

	if (err)
		return tool_fail(err, "statfs");
	if (hf_stat(b->vol, RAW_FILE, &st) == 0) {
		tool_error("the volume has " RAW_FILE ": an earlier run was interrupted. Remove what is named /bench.* ('holdfast rm -r')");
		return EXIT_FAILED;
	}
	if (s.frames_free * HF_FRAME_SIZE >= need)
		return EXIT_OK;
	tool_error("the volume has too little free space in whole frames of 2 MiB: %s are needed", tool_human(need, text));
	return EXIT_FAILED;
}

static int bench_groups(struct bench *b, unsigned wanted)
{
	int err = bench_room(b);
	size_t i;

	if (err)
		return err;
	err = raw_area(b);
	if (err)
		return tool_fail(err, RAW_FILE);
	if (!b->json)
		printf("%-50s %11s %9s %8s %15s %-10s %s\n", "operation", "ns", "raw ns", "ratio", "quartiles", "target", "compared with");
	for (i = 0; i < GROUPS; i++) {
		if (wanted && !(wanted >> i & 1))
			continue;
		b->group = groups[i].name;
		if (!b->json)
			printf("--- %s\n", b->group);
		groups[i].run(b);
	}
	hf_unlink(b->vol, RAW_FILE);
	return EXIT_OK;
}

static int bench_json(struct bench *b, const char *path, double huge, double seconds)
{
	return tool_json_print(json_pack("{s:o,s:s,s:b,s:b,s:f,s:f,s:O,s:O}", "volume", tool_json_name(path ? path : "memory"), "granularity",
					 pm_gran_name(b->pm->gran), "full", b->full, "quick", b->quick, "huge_pages", huge, "seconds", seconds,
					 "rows", b->rows, "plots", b->plots));
}

int cmd_bench(int argc, char **argv)
{
	struct bench b = {.rows = json_array(), .plots = json_object(), .rng = 88172645463325252ull};
	struct wish wish = {.b = &b};
	double t0 = bench_now_ns(), huge = 0;
	int status = tool_options(argc, argv, "[--rows GROUP,...] [--pins] [--full | --quick] [--svg DIR] [--json] [VOLUME]", about, options, true,
				  bench_option, &wish, &b.json);
	const char *path;

	if (status < 0 && argc - optind > 1)
		status = tool_usage("one VOLUME at most");
	if (status < 0 && b.full && b.quick)
		status = tool_usage("--full and --quick exclude each other");
	if (status < 0 && b.svg && bench_svg_ready(b.svg) != EXIT_OK)
		status = EXIT_FAILED;
	if (status >= 0)
		goto out;
	path = argc > optind ? argv[optind] : NULL;
	status = bench_open(&b, path);
	if (status == EXIT_OK && b.pm->kind == PM_MEMFD && !b.quick)
		huge = huge_pages(&b);
	if (status == EXIT_OK)
		status = bench_groups(&b, wish.groups);
	if (status == EXIT_OK && b.svg)
		status = bench_svg(&b, b.svg, path);
	if (status == EXIT_OK && b.json)
		status = bench_json(&b, path, huge, (bench_now_ns() - t0) / 1e9);
	if (b.vol)
		status = tool_unmount(&b.vol, status);
out:
	json_decref(b.rows);
	json_decref(b.plots);
	free(b.src);
	free(b.dst);
	return status;
}
