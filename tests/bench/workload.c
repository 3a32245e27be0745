/* Workloads on a volume, by the library's calls, or on a directory of any file system, by the
 * kernel's.
 *
 *   workload PLACE NAME [--threads N] [--seconds S] [--loops N] [--scale PERCENT]
 *            [--seed N] [--verify] [--json]
 *
 *     PLACE      hf:VOLUME (formatted and empty), or dir:DIRECTORY (empty)
 *     NAME       varmail, fileserver, webserver, webproxy, engine
 *     --threads  (1)
 *     --seconds  of the run, without making the files (2)
 *     --loops    turns of each thread, then it ends (no limit)
 *     --scale    how many of the files that the workload has, percent (100)
 *     --seed     (1)
 *     --verify   contents say which file, place and version they are; each read is
 *                checked, and all files at the end, and once more after the volume was
 *                closed and opened. Costs time: do not compare figures
 *
 * Prints operations per second and latencies. Each call must succeed: the first that does
 * not, or a byte that is not what was written, ends the program with a sentence and status 1.
 * An operation is a call, but that a file is read to its end in one. */
#include "workload.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static const char *const op_names[WL_OPS] = {"create", "open",	"close",  "read", "write",
					     "append", "fsync", "delete", "stat", "rename"};
static struct wl wl = {.nthreads = 1, .scale = 100, .seed = 1};
static uint64_t seconds_ns = 2000000000u, loops_max = UINT64_MAX;
static bool json;
static _Atomic uint64_t deadline;
static pthread_barrier_t start;

void wl_must(int64_t err, const char *what, const char *path)
{
	if (err >= 0)
		return;
	fprintf(stderr, "workload: %s %s: %s\n", what, path, strerror((int)-err));
	exit(1);
}

void wl_want(bool ok, const char *what, const char *path)
{
	if (ok)
		return;
	fprintf(stderr, "workload: %s %s\n", path, what);
	exit(1);
}

uint64_t wl_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- latencies */

static unsigned int class_of(uint64_t ns)
{
	unsigned int log = ns < 16 ? 0 : 60 - (unsigned int)__builtin_clzll(ns);

	return ns < 16 ? (unsigned int)ns : log * 16 + (unsigned int)(ns >> (log - 1) & 15);
}

/* The middle of a class. */
static uint64_t class_ns(unsigned int class)
{
	unsigned int log = class / 16;

	return log ? ((uint64_t)(class % 16 + 16) << (log - 1)) + ((1ull << (log - 1)) >> 1)
		   : class;
}

static void hist_add(struct wl_hist *h, uint64_t ns)
{
	unsigned int class = class_of(ns);

	h->in[class < WL_CLASSES ? class : WL_CLASSES - 1]++;
	h->n++;
	if (ns > h->max)
		h->max = ns;
}

static void hist_merge(struct wl_hist *to, const struct wl_hist *from)
{
	for (unsigned int i = 0; i < WL_CLASSES; i++)
		to->in[i] += from->in[i];
	to->n += from->n;
	if (from->max > to->max)
		to->max = from->max;
}

static uint64_t hist_at(const struct wl_hist *h, double share)
{
	uint64_t left = (uint64_t)(share * (double)h->n);

	for (unsigned int i = 0; i < WL_CLASSES; i++) {
		if (left < h->in[i])
			return class_ns(i) < h->max ? class_ns(i) : h->max;
		left -= h->in[i];
	}
	return h->max;
}

static void done(struct wl_thread *t, enum wl_op op, uint64_t begun)
{
	uint64_t ns = wl_now() - begun;

	hist_add(&t->op[op], ns);
	hist_add(&t->all, ns);
}

/* ---- timed calls */

struct store_file *wl_open(struct wl_thread *t, const char *path, enum store_open how)
{
	struct store_file *f;
	uint64_t begun = wl_now();
	int err = t->wl->s->open(path, how, &f);

	done(t, how == STORE_CREATE ? WL_CREATE : WL_OPEN, begun);
	wl_must(err, "open", path);
	return f;
}

void wl_close(struct wl_thread *t, struct store_file *f)
{
	uint64_t begun = wl_now();
	int err = t->wl->s->close(f);

	done(t, WL_CLOSE, begun);
	wl_must(err, "close", "");
}

void wl_fsync(struct wl_thread *t, struct store_file *f)
{
	uint64_t begun = wl_now();
	int err = t->wl->s->fsync(f);

	done(t, WL_FSYNC, begun);
	wl_must(err, "fsync", "");
}

void wl_delete(struct wl_thread *t, const char *path)
{
	uint64_t begun = wl_now();
	int err = t->wl->s->unlink(path);

	done(t, WL_DELETE, begun);
	wl_must(err, "unlink", path);
}

void wl_rename(struct wl_thread *t, const char *from, const char *to)
{
	uint64_t begun = wl_now();
	int err = t->wl->s->rename(from, to);

	done(t, WL_RENAME, begun);
	wl_must(err, "rename", from);
}

uint64_t wl_stat(struct wl_thread *t, const char *path)
{
	uint64_t size, begun = wl_now();
	int err = t->wl->s->size(path, &size);

	done(t, WL_STAT, begun);
	wl_must(err, "stat", path);
	return size;
}

ssize_t wl_read_raw(struct wl_thread *t, struct store_file *f, void *buf, size_t len, uint64_t at)
{
	uint64_t begun = wl_now();
	ssize_t n = t->wl->s->pread(f, buf, len, at);

	done(t, WL_READ, begun);
	wl_must(n, "read", "");
	return n;
}

ssize_t wl_write_raw(struct wl_thread *t, struct store_file *f, enum wl_op op, const void *buf,
		     size_t len, uint64_t at)
{
	uint64_t begun = wl_now();
	ssize_t n = t->wl->s->pwrite(f, buf, len, at);

	done(t, op, begun);
	wl_must(n, "write", "");
	return n;
}

void wl_put(struct wl_thread *t, struct store_file *f, enum wl_op op, uint64_t seed, uint64_t off,
	    size_t len, uint64_t at)
{
	if (t->wl->verify)
		wl_fill(seed, off, t->data, len);
	wl_want(wl_write_raw(t, f, op, t->data, len, at) == (ssize_t)len, "was written in part",
		"a file");
}

void wl_get(struct wl_thread *t, struct store_file *f, uint64_t seed, uint64_t off, size_t len,
	    uint64_t at)
{
	wl_want(wl_read_raw(t, f, t->buf, len, at) == (ssize_t)len, "is too short", "a file");
	wl_want(!t->wl->verify || wl_is(seed, off, t->buf, len),
		"has other bytes than were written", "a file");
}

/* By reads of WL_IO_BYTES until one gets less; the last one's class is that of the whole. */
void wl_read_whole(struct wl_thread *t, struct store_file *f, uint64_t seed, uint64_t size)
{
	uint64_t begun = wl_now(), at = 0;
	ssize_t n;

	do {
		n = t->wl->s->pread(f, t->buf, WL_IO_BYTES, at);
		wl_must(n, "read", "");
		wl_want(!t->wl->verify || wl_is(seed, at, t->buf, (size_t)n),
			"has other bytes than were written", "a file");
		at += (uint64_t)n;
	} while (n == WL_IO_BYTES);
	done(t, WL_READ, begun);
	wl_want(at == size, "has another size than was written", "a file");
}

/* ---- the run */

static void *run_thread(void *arg)
{
	struct wl_thread *t = arg;

	if (pthread_barrier_wait(&start) == PTHREAD_BARRIER_SERIAL_THREAD)
		deadline = wl_now() + seconds_ns;
	pthread_barrier_wait(&start);
	while (t->loops < loops_max && wl_now() < deadline) {
		wl.workload->loop(t);
		t->loops++;
	}
	return NULL;
}

static void threads_make(void)
{
	wl.thread = calloc(wl.nthreads, sizeof(wl.thread[0]));
	wl_want(wl.thread, "out of memory", "");
	for (unsigned int i = 0; i < wl.nthreads; i++) {
		struct wl_thread *t = &wl.thread[i];

		t->wl = &wl;
		t->id = i;
		t->rng.s = rng_mix(wl.seed * 64 + i);
		t->buf = malloc(WL_IO_BYTES);
		t->data = malloc(WL_IO_BYTES);
		wl_want(t->buf && t->data, "out of memory", "");
		memset(t->buf, 0, WL_IO_BYTES);
		rng_fill(wl.seed, t->data, WL_IO_BYTES);
	}
}

static void latencies_forget(void)
{
	for (unsigned int i = 0; i < wl.nthreads; i++) {
		memset(wl.thread[i].op, 0, sizeof(wl.thread[i].op));
		memset(&wl.thread[i].all, 0, sizeof(wl.thread[i].all));
	}
}

/* Returns the seconds it took. */
static double run(void)
{
	pthread_t *id = calloc(wl.nthreads, sizeof(*id));
	uint64_t begun = wl_now();

	wl_want(id, "out of memory", "");
	wl_must(-pthread_barrier_init(&start, NULL, wl.nthreads), "barrier", "");
	for (unsigned int i = 0; i < wl.nthreads; i++)
		wl_must(-pthread_create(&id[i], NULL, run_thread, &wl.thread[i]), "thread", "");
	for (unsigned int i = 0; i < wl.nthreads; i++)
		pthread_join(id[i], NULL);
	free(id);
	return (double)(wl_now() - begun) / 1e9;
}

static void hist_print(const char *name, const struct wl_hist *h, double seconds)
{
	const char *form =
	    json ? ", \"%s\": {\"n\": %llu, \"per_s\": %.0f, \"p50_ns\": %llu, \"p99_ns\": %llu, "
		   "\"p999_ns\": %llu, \"max_ns\": %llu}"
		 : "%-8s %10llu %12.0f %10llu %10llu %10llu %12llu\n";

	if (h->n)
		printf(form, name, (unsigned long long)h->n, (double)h->n / seconds,
		       (unsigned long long)hist_at(h, 0.5), (unsigned long long)hist_at(h, 0.99),
		       (unsigned long long)hist_at(h, 0.999), (unsigned long long)h->max);
}

static void report(double seconds)
{
	struct wl_thread *all = &wl.thread[0];

	for (unsigned int i = 1; i < wl.nthreads; i++) {
		for (unsigned int op = 0; op < WL_OPS; op++)
			hist_merge(&all->op[op], &wl.thread[i].op[op]);
		hist_merge(&all->all, &wl.thread[i].all);
	}
	if (json)
		printf(
		    "{\"workload\": \"%s\", \"store\": \"%s\", \"threads\": %u, \"seconds\": %.3f",
		    wl.workload->name, wl.s->name, wl.nthreads, seconds);
	else
		printf("%s, %s, %u threads, %.2f s\n%-8s %10s %12s %10s %10s %10s %12s\n",
		       wl.workload->name, wl.s->name, wl.nthreads, seconds, "call", "n",
		       "per second", "p50 ns", "p99 ns", "p99.9 ns", "max ns");
	hist_print("all", &all->all, seconds);
	for (unsigned int op = 0; op < WL_OPS; op++)
		hist_print(op_names[op], &all->op[op], seconds);
	if (json)
		printf("}\n");
}

static void usage(void)
{
	fprintf(
	    stderr,
	    "usage: workload hf:VOLUME|dir:DIRECTORY NAME [--threads N] [--seconds S] [--loops N] "
	    "[--scale PERCENT] [--seed N] [--verify] [--json]\nworkloads:\n");
	for (const struct workload *w = workloads; w->name; w++)
		fprintf(stderr, "  %-10s %s\n", w->name, w->text);
	exit(2);
}

static double number(const char *text, double min, double max)
{
	char *tail = NULL;
	double v = text ? strtod(text, &tail) : 0;

	if (!text || tail == text || *tail || !(v >= min && v <= max))
		usage();
	return v;
}

static void arguments(int argc, char **argv)
{
	for (int i = 3; i < argc; i++) {
		if (!strcmp(argv[i], "--verify"))
			wl.verify = true;
		else if (!strcmp(argv[i], "--json"))
			json = true;
		else if (!strcmp(argv[i], "--threads"))
			wl.nthreads = (unsigned int)number(argv[++i], 1, 1024);
		else if (!strcmp(argv[i], "--seconds"))
			seconds_ns = (uint64_t)(number(argv[++i], 0.001, 100000) * 1e9);
		else if (!strcmp(argv[i], "--loops"))
			loops_max = (uint64_t)number(argv[++i], 1, 1e15);
		else if (!strcmp(argv[i], "--scale"))
			wl.scale = (unsigned int)number(argv[++i], 1, 10000);
		else if (!strcmp(argv[i], "--seed"))
			wl.seed = (uint64_t)number(argv[++i], 0, 1e15);
		else
			usage();
	}
	for (wl.workload = workloads; wl.workload->name && strcmp(wl.workload->name, argv[2]);)
		wl.workload++;
	if (!wl.workload->name)
		usage();
}

int main(int argc, char **argv)
{
	const char *place;
	double seconds;

	if (argc < 3)
		usage();
	wl.s = store_by_name(argv[1], &place);
	if (!wl.s)
		usage();
	arguments(argc, argv);
	threads_make();
	wl_must(wl.s->begin(place), "open", place);
	wl.workload->prepare(&wl);
	wl_must(wl.s->place_all(), "write back", place);
	latencies_forget();
	seconds = run();
	report(seconds);
	wl.workload->verify(&wl.thread[0]);
	wl_must(wl.s->end(), "close", place);
	if (!wl.verify)
		return 0;
	wl_must(wl.s->begin(place), "open again", place);
	wl.workload->verify(&wl.thread[0]);
	wl_must(wl.s->end(), "close again", place);
	return 0;
}
