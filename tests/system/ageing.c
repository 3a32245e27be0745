/* What a volume looks like after a long life.
 *
 *	ageing [--mib N] [--times N] [--fill PERCENT] [--seed S]
 *
 * Fills a volume in memory, then writes N times its size, always making room by removing files at
 *random. Many files are small, most bytes are in large ones (1 KiB to 64 MiB); several grow at the
 *same time, in pieces; some are appended to, cut, punched. Printed: how much of the free space is
 *whole frames, and how much of the large files' bytes is in huge leaves. Asserted: that the
 *accounts add up and that the volume is clean.
 */
#include <holdfast.h>

#include "rng.h"

#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define KIB	  1024ull
#define MIB	  (1024 * KIB)
#define FRAME	  (2 * MIB)
#define FILES_MAX 200000u
#define GROWING	  3u
#define PIECE_MAX MIB

struct old_file {
	uint32_t name;
	uint64_t size;
};

struct age {
	hf_volume *vol;
	struct rng rng;
	struct old_file *files;
	uint32_t count, next_name;
	uint64_t live; /* bytes of all files, in whole blocks */
	uint64_t limit;
	uint64_t written;
	uint8_t *buf;
};

static void must(int64_t ret, const char *what)
{
	if (ret >= 0)
		return;
	fprintf(stderr, "ageing: %s gave %" PRId64 ": %s\n", what, ret, hf_errormsg());
	exit(1);
}

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static uint64_t in_blocks(uint64_t bytes)
{
	return (bytes + 4095) / 4096 * 4096;
}

/* From 'low' to nearly 'low' << doublings, each doubling as likely. */
static uint64_t log_uniform(struct rng *r, uint64_t low, unsigned doublings)
{
	uint64_t base = low << rng_below(r, doublings);

	return base + rng_below(r, base);
}

static uint64_t random_size(struct rng *r)
{
	uint64_t p = rng_below(r, 100);

	if (p < 80)
		return log_uniform(r, KIB, 6); /* to 64 KiB */
	if (p < 95)
		return log_uniform(r, 64 * KIB, 5); /* to 2 MiB */
	return log_uniform(r, FRAME, 5);	    /* to 64 MiB: nine tenths of all bytes */
}

static void file_path(uint32_t name, char path[32])
{
	snprintf(path, 32, "/d%u/f%u", name % 16, name);
}

static void remove_at(struct age *a, uint32_t i)
{
	char path[32];

	file_path(a->files[i].name, path);
	must(hf_unlink(a->vol, path), "unlink");
	a->live -= in_blocks(a->files[i].size);
	a->files[i] = a->files[--a->count];
}

static void make_room(struct age *a, uint64_t bytes)
{
	while (a->count && (a->live + bytes > a->limit || a->count + GROWING > FILES_MAX))
		remove_at(a, (uint32_t)rng_below(&a->rng, a->count));
}

struct growing {
	hf_file *file;
	uint64_t size, at;
};

static void grow_begin(struct age *a, struct growing *g)
{
	struct old_file *f;
	char path[32];

	*g = (struct growing){.size = random_size(&a->rng)};
	make_room(a, in_blocks(g->size));
	f = &a->files[a->count++];
	*f = (struct old_file){.name = a->next_name++, .size = g->size};
	a->live += in_blocks(g->size);
	file_path(f->name, path);
	must(hf_open(a->vol, path, HF_O_RDWR | HF_O_CREAT | HF_O_EXCL, 0644, &g->file), "create");
}

/* False: it is as long as it should be. */
static bool grow_some(struct age *a, struct growing *g)
{
	uint64_t n = log_uniform(&a->rng, 4 * KIB, 8);
	ssize_t got;

	if (n > PIECE_MAX)
		n = PIECE_MAX;
	if (n > g->size - g->at)
		n = g->size - g->at;
	got = hf_pwrite(g->file, a->buf, n, g->at);
	must(got, "write");
	g->at += (uint64_t)got;
	a->written += (uint64_t)got;
	return g->at < g->size;
}

/* Several files at once, each a piece in turn: that is what scatters them. */
static void grow(struct age *a)
{
	struct growing g[GROWING];
	unsigned n = 1 + (unsigned)rng_below(&a->rng, GROWING), left = n, i;
	bool more[GROWING];

	for (i = 0; i < n; i++) {
		grow_begin(a, &g[i]);
		more[i] = true;
	}
	while (left) {
		i = (unsigned)rng_below(&a->rng, n);
		if (more[i] && !grow_some(a, &g[i])) {
			more[i] = false;
			left--;
		}
	}
	for (i = 0; i < n; i++)
		must(hf_close(&g[i].file), "close");
}

static void change(struct age *a)
{
	struct old_file *f = &a->files[rng_below(&a->rng, a->count)];
	uint64_t at = rng_below(&a->rng, f->size + 1), n = log_uniform(&a->rng, 4 * KIB, 6);
	hf_file *file;
	char path[32];

	file_path(f->name, path);
	must(hf_open(a->vol, path, HF_O_RDWR, 0, &file), "open");
	switch (rng_below(&a->rng, 3)) {
	case 0: /* appended to */
		if (a->live + n + 4096 > a->limit)
			break;
		a->live += in_blocks(f->size + n) - in_blocks(f->size);
		must(hf_append(file, a->buf, n, NULL), "append");
		f->size += n;
		a->written += n;
		break;
	case 1: /* cut */
		a->live -= in_blocks(f->size) - in_blocks(at);
		must(hf_ftruncate(file, at), "truncate");
		f->size = at;
		break;
	default: /* punched, and the hole filled again */
		n = n < f->size - at ? n : f->size - at;
		if (!n)
			break;
		must(hf_fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, n),
		     "punch");
		must(hf_pwrite(file, a->buf, n, at), "fill");
		a->written += n;
	}
	must(hf_close(&file), "close");
}

/* ---- what has become of it */
struct figures {
	struct hf_statfs fs;
	uint64_t large, huge; /* bytes: of large files; of them, in huge leaves */
};

static void count_file(struct age *a, const struct old_file *f, struct figures *out)
{
	struct hf_extent e[64];
	uint64_t off = 0;
	hf_file *file;
	size_t n, i;
	char path[32];

	file_path(f->name, path);
	must(hf_open(a->vol, path, HF_O_RDONLY, 0, &file), "open");
	for (;;) {
		must(hf_extents(file, off, e, 64, &n), "extents");
		if (!n)
			break;
		/* a huge leaf may reach beyond the end of file */
		for (i = 0; i < n; i++)
			if (e[i].huge && e[i].off < f->size)
				out->huge +=
				    e[i].len < f->size - e[i].off ? e[i].len : f->size - e[i].off;
		off = e[n - 1].off + e[n - 1].len;
	}
	must(hf_close(&file), "close");
	out->large += f->size;
}

static struct figures look(struct age *a)
{
	struct figures out = {.large = 0};
	uint64_t sum;
	uint32_t i;

	must(hf_syncfs(a->vol), "sync"); /* nothing waits for the journal */
	must(hf_statfs(a->vol, &out.fs), "statfs");
	sum = out.fs.blocks_free + out.fs.blocks_busy_journal + out.fs.blocks_busy_pinned +
	      out.fs.blocks_used;
	if (sum != out.fs.blocks || out.fs.blocks_busy_pinned) {
		fprintf(stderr,
			"ageing: %" PRIu64 " blocks free, busy and used of %" PRIu64 "; %" PRIu64
			" pinned\n",
			sum, out.fs.blocks, out.fs.blocks_busy_pinned);
		exit(1);
	}
	for (i = 0; i < a->count; i++)
		if (a->files[i].size >= FRAME)
			count_file(a, &a->files[i], &out);
	return out;
}

static double percent(uint64_t part, uint64_t of)
{
	return of ? 100.0 * (double)part / (double)of : 100.0;
}

/* Sums over several looks; 'least' is the worst of them. */
struct mean {
	double frames, huge, least;
	unsigned n;
};

static void report(struct age *a, double times, double seconds, bool print, struct mean *m)
{
	struct figures f = look(a);
	double frames = percent(f.fs.frames_free * 512, f.fs.blocks_free);
	double huge = percent(f.huge, f.large);

	m->frames += frames;
	m->huge += huge;
	m->least = m->n == 0 || frames < m->least ? frames : m->least;
	m->n++;
	if (!print)
		return;
	printf("%7.1f %7u %8.1f %8.1f %12.1f %17.1f %8.1f\n", times, a->count,
	       percent(a->live / 4096, f.fs.blocks), percent(f.fs.blocks_used, f.fs.blocks), frames,
	       huge, seconds);
	fflush(stdout);
}

static void check(struct age *a)
{
	struct hf_check_options o = {.struct_size = sizeof(o)};
	struct hf_check_result r;

	must(hf_check_mounted(a->vol, &o, &r), "check");
	if (r.findings) {
		fprintf(stderr, "ageing: fsck finds %" PRIu64 " faults\n", r.findings);
		exit(1);
	}
}

static void age_some(struct age *a, uint64_t until)
{
	while (a->written < until) {
		grow(a);
		if (a->count && rng_one_in(&a->rng, 4))
			change(a);
	}
}

static void age_volume(struct age *a, uint64_t bytes, uint64_t times)
{
	uint64_t lines = times >= 20 ? times / 10 : 1, i;
	struct mean young = {.n = 0}, old = {.n = 0};
	double t0 = now();

	printf("%7s %7s %8s %8s %12s %17s %8s\n", "written", "files", "content", "used",
	       "free space", "large files' in", "");
	printf("%7s %7s %8s %8s %12s %17s %8s\n", "x size", "", "%", "%", "in frames %",
	       "huge leaves %", "s");
	while (a->live < a->limit * 9 / 10)
		grow(a);
	a->written = 0;
	for (i = 0; i <= times; i++) {
		age_some(a, i * bytes);
		report(a, (double)a->written / (double)bytes, now() - t0, i % lines == 0,
		       2 * i < times ? &young : &old);
	}
	printf("mean of the second half: %.1f %% of the free space in whole frames (at least "
	       "%.1f), %.1f %% of the large files' bytes in huge leaves\n",
	       old.frames / old.n, old.least, old.huge / old.n);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"mib", required_argument, NULL, 'm'},
						{"times", required_argument, NULL, 't'},
						{"fill", required_argument, NULL, 'f'},
						{"seed", required_argument, NULL, 's'},
						{NULL, 0, NULL, 0}};
	const struct hf_mount_options mount = {.struct_size = sizeof(mount),
					       .flags = HF_MOUNT_FORCE_CACHE_LINE};
	uint64_t mib = 256, times = 3, fill = 75, seed = 1;
	struct hf_statfs fs;
	struct age a = {.count = 0};
	char path[32];
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		uint64_t *to = c == 'm'	  ? &mib
			       : c == 't' ? &times
			       : c == 'f' ? &fill
			       : c == 's' ? &seed
					  : NULL;

		if (!to)
			return 2;
		*to = strtoull(optarg, NULL, 10);
	}
	a.rng.s = seed;
	a.files = calloc(FILES_MAX, sizeof(*a.files));
	a.buf = malloc(PIECE_MAX);
	if (!a.files || !a.buf)
		return 1;
	memset(a.buf, 0x5a, PIECE_MAX);
	must(hf_mount_memory(&a.vol, mib * MIB, &mount), "mount");
	must(hf_statfs(a.vol, &fs), "statfs");
	a.limit = fs.blocks * 4096 / 100 * fill;
	for (c = 0; c < 16; c++) {
		snprintf(path, sizeof(path), "/d%d", c);
		must(hf_mkdir(a.vol, path, 0755), "mkdir");
	}
	printf("%" PRIu64 " MiB, filled to %" PRIu64 " %%, %" PRIu64
	       " times its size written, seed %" PRIu64 "\n",
	       mib, fill, times, seed);
	age_volume(&a, mib * MIB, times);
	check(&a);
	while (a.count)
		remove_at(&a, a.count - 1);
	must(hf_unmount(&a.vol), "unmount");
	free(a.files);
	free(a.buf);
	return 0;
}
