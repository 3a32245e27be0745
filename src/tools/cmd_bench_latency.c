/* How long single calls take: the distribution, where the other rows have means of many. */
#include "bench.h"
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SAMPLES	    100000u
#define BATCH	    1000u		/* of one kind, before the other kind's turn */
#define FILE_BYTES  (128ull << 20)
#define PLOT_POINTS 80u

struct calls {
	struct bench_io io;
	unsigned next;			/* the number of the next name */
	struct hf_id home;
	int dir, fd;			/* on tmpfs; -1: there is none */
	char path[32];
	_Atomic uint64_t *words;	/* a cache line for each frame */
};
typedef void call_fn(struct bench *b, struct calls *c);

static const char *name_of(struct calls *c, unsigned i)
{
	snprintf(c->path, sizeof(c->path), "name-%u", i);
	return c->path;
}

static void our_create(struct bench *b, struct calls *c)
{
	static const struct hf_create how = {.mode = S_IFREG | 0644};

	bench_must(hf_inode_create(b->vol, c->home, name_of(c, c->next), &how, NULL), "create");
}

static void their_create(struct bench *b, struct calls *c)
{
	int fd = openat(c->dir, name_of(c, c->next), O_CREAT | O_RDWR | O_CLOEXEC, 0644);

	(void)b;
	bench_sys(fd, "creat");
	close(fd);
}

static void our_unlink(struct bench *b, struct calls *c)
{
	bench_must(hf_inode_unlink(b->vol, c->home, name_of(c, c->next)), "unlink");
}

static void their_unlink(struct bench *b, struct calls *c)
{
	(void)b;
	bench_sys(unlinkat(c->dir, name_of(c, c->next), 0), "unlink");
}

static void our_write(struct bench *b, struct calls *c)
{
	bench_write(b, &c->io, 1);
}

static void raw_write(struct bench *b, struct calls *c)
{
	bench_raw_write(b, &c->io, 1);
}

static void their_write(struct bench *b, struct calls *c)
{
	bench_sys(pwrite(c->fd, b->src, c->io.bytes, (off_t)bench_place(b, &c->io, NULL)), "pwrite");
}

static void our_read(struct bench *b, struct calls *c)
{
	bench_read(b, &c->io, 1);
}

static void raw_read(struct bench *b, struct calls *c)
{
	bench_raw_read(b, &c->io, 1);
}

static void their_read(struct bench *b, struct calls *c)
{
	bench_sys(pread(c->fd, b->dst, c->io.bytes, (off_t)bench_place(b, &c->io, NULL)), "pread");
}

static void our_pin(struct bench *b, struct calls *c)
{
	uint64_t at = bench_random(b) % (c->io.span / HF_FRAME_SIZE) * HF_FRAME_SIZE;
	hf_pin_id id;

	bench_must(hf_pin(c->io.file, at, HF_FRAME_SIZE, NULL, NULL, NULL, &id), "pin");
	bench_must(hf_unpin(b->vol, id), "unpin");
}

static void raw_pin(struct bench *b, struct calls *c)
{
	_Atomic uint64_t *word = &c->words[bench_random(b) % (c->io.span / HF_FRAME_SIZE) * 8];

	atomic_fetch_add(word, 1);
	atomic_fetch_sub(word, 1);
}

static const struct row {
	const char *plot, *line;
	call_fn *call, *undo;		/* undo: of each call, after a batch of them */
	bool tmpfs;
} rows[] = {
	{"latency_create", "holdfast", our_create, our_unlink, false},
	{"latency_create", "tmpfs, creat + close", their_create, their_unlink, true},
	{"latency_overwrite", "holdfast", our_write, NULL, false},
	{"latency_overwrite", "libpmem2's copy + fence", raw_write, NULL, false},
	{"latency_overwrite", "tmpfs, pwrite", their_write, NULL, true},
	{"latency_read", "holdfast", our_read, NULL, false},
	{"latency_read", "memcpy", raw_read, NULL, false},
	{"latency_read", "tmpfs, pread", their_read, NULL, true},
	{"latency_pin", "holdfast", our_pin, NULL, false},
	{"latency_pin", "two atomic adds", raw_pin, NULL, false},
};
#define ROWS (sizeof(rows) / sizeof(rows[0]))

static double timer_ns(unsigned n)
{
	double *ns = calloc(n, sizeof(*ns)), t0, mid;
	unsigned i;

	if (!ns)
		bench_must(-ENOMEM, "latency");
	for (i = 0; i < n; i++) {
		t0 = bench_now_ns();
		ns[i] = bench_now_ns() - t0;
	}
	mid = bench_median(ns, n);
	free(ns);
	return mid;
}

static void batch(struct bench *b, struct calls *c, const struct row *row, double *ns, unsigned n)
{
	unsigned first = c->next, i;
	double t0;

	for (i = 0; i < n; i++, c->next++) {
		t0 = bench_now_ns();
		row->call(b, c);
		ns[i] = bench_now_ns() - t0;
	}
	for (c->next = first; row->undo && c->next < first + n; c->next++)
		row->undo(b, c);
}

static double quantile(const double *sorted, unsigned n, double q)
{
	unsigned i = (unsigned)(q * n);

	return sorted[i < n ? i : n - 1];
}

/* The timer's own time is taken off; what is left is a nanosecond at least. */
static void latency_report(struct bench *b, const struct row *row, double *ns, unsigned n, double timer)
{
	static const double at[] = {0.5, 0.9, 0.99, 0.999, 0.9999};
	double v[5], q;
	unsigned i;

	for (i = 0; i < n; i++)
		ns[i] = ns[i] > timer + 1 ? ns[i] - timer : 1;
	qsort(ns, n, sizeof(*ns), bench_compare_double);
	for (i = 0; i < 5; i++)
		v[i] = quantile(ns, n, at[i]);
	/* evenly spaced in the number of nines, up to 99.99 % */
	for (i = 0; i <= PLOT_POINTS; i++) {
		q = 1 - pow(10, -4.0 * i / PLOT_POINTS);
		bench_point(b, row->plot, row->line, quantile(ns, n, q), q);
	}
	bench_add(b, json_pack("{s:s,s:s,s:s,s:I,s:f,s:f,s:f,s:f,s:f,s:f,s:f}", "group", b->group, "name", row->plot, "of", row->line,
						 "samples", (json_int_t)n, "p50", v[0], "p90", v[1], "p99", v[2], "p99.9", v[3], "p99.99", v[4],
						 "max", ns[n - 1], "timer_ns", timer));
	if (!b->json)
		printf("%-20s %-26s %10.0f %10.0f %10.0f %10.0f %10.0f %12.0f\n", row->plot + strlen("latency_"), row->line, v[0], v[1], v[2], v[3], v[4],
		       ns[n - 1]);
}

/* All lines of a plot, a batch each in turn. */
static void latency_plot(struct bench *b, struct calls *c, size_t first, size_t end)
{
	unsigned n = b->quick ? 200 : SAMPLES, step = b->quick ? 100 : BATCH, done;
	double timer = timer_ns(b->quick ? 100 : 10000), *ns[ROWS] = {NULL};
	size_t i;

	for (i = first; i < end; i++) {
		ns[i] = calloc(n, sizeof(**ns));
		if (!ns[i])
			bench_must(-ENOMEM, "latency");
	}
	for (done = 0; done < n; done += step)
		for (i = first; i < end; i++)
			if (!rows[i].tmpfs || c->fd >= 0)
				batch(b, c, &rows[i], ns[i] + done, step);
	for (i = first; i < end; i++) {
		if (!rows[i].tmpfs || c->fd >= 0)
			latency_report(b, &rows[i], ns[i], n, timer);
		free(ns[i]);
	}
}

static void tmpfs_open(struct bench *b, struct calls *c)
{
	char path[96];
	uint64_t off;

	c->dir = c->fd = -1;
	if (!b->tmpfs[0])
		return bench_note(b, "tmpfs", BENCH_NO_TMPFS);
	snprintf(path, sizeof(path), "%s/latency", b->tmpfs);
	bench_sys(mkdir(path, 0700), path);
	c->dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	bench_sys(c->dir, path);
	c->fd = openat(c->dir, "data", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	bench_sys(c->fd, path);
	for (off = 0; off < c->io.span; off += HF_FRAME_SIZE)
		bench_sys(pwrite(c->fd, b->src, HF_FRAME_SIZE, (off_t)off), path);
}

void bench_latency(struct bench *b)
{
	struct calls c = {.io = {.bytes = 4096}};
	size_t i, first = 0;

	bench_huge_file(b, &c.io, "/bench.latency", bench_bytes(b, FILE_BYTES));
	c.home = bench_mkdir(b, "/bench.names");
	c.words = aligned_alloc(64, c.io.span / HF_FRAME_SIZE * 64);
	if (!c.words)
		bench_must(-ENOMEM, "latency");
	memset(c.words, 0, c.io.span / HF_FRAME_SIZE * 64);
	tmpfs_open(b, &c);
	if (!b->json)
		printf("%-20s %-26s %10s %10s %10s %10s %10s %12s\n", "one call, ns", "of", "p50", "p90", "p99", "p99.9", "p99.99", "max");
	for (i = 1; i <= ROWS; i++) {
		if (i < ROWS && !strcmp(rows[i].plot, rows[first].plot))
			continue;
		latency_plot(b, &c, first, i);
		first = i;
	}
	if (c.fd >= 0) {
		close(c.fd);
		close(c.dir);
	}
	free(c.words);
	bench_must(hf_rmdir(b->vol, "/bench.names"), "rmdir");
	bench_drop_file(b, &c.io, "/bench.latency");
}
