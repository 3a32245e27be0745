/* What one call costs, in nanoseconds of the monotonic clock, which are instructions (user's and
 * kernel's) in a machine that counts them: pmem-guest --icount. Elsewhere they are what they are
 * called.
 *
 *   icount_ops PLACE [--ops N] [--rounds N] [--no-idle]
 *     PLACE      hf:VOLUME (formatted), or dir:DIRECTORY
 *     --ops      calls of each kind in a round (400)
 *     --rounds   medians of them are printed (5)
 *     --no-idle  for a machine of one processor: what passes while it is idle does not count.
 *                (A thread that runs only then counts how long; without it, waiting for a
 *                timer passes as if it were work.)
 *
 * A line of JSON for each operation:
 *
 *   call       the call alone: what the store does later is not in it
 *   placed     the call, and its share of writing everything to its place afterwards
 *              (hf_syncfs; a freeze of the file system, which empties its journal):
 *              nothing is left for the background
 *   durable    the call followed by an fsync of the file, or of the directory. Of
 *              holdfast: 'placed', for its calls need none
 *
 * What has happened is looked at afterwards, but for attributes. The first error ends the
 * program with a sentence and status 1, and what is measured by then is worth nothing. */
#include "store.h"
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define OPS_MAX	   2000u
#define ROUNDS_MAX 31u
#define STANDING   1000u /* files beside those that come and go */
#define FILE_BYTES (4u << 20)

struct run {
	const struct store *s;
	unsigned int ops, rounds;
	struct store_file *file, *dir;
	char name[OPS_MAX][24], other[OPS_MAX][24];
	char buf[4096], key[4096];
};

/* The functions get how many calls have been made in this round. */
typedef int op_fn(struct run *r, unsigned int i);
struct row {
	const char *name;
	bool names; /* an fsync of the directory makes it durable, not of the file */
	op_fn *prepare, *op, *check, *undo;
};

static const char *where = "the beginning";

static void must(int64_t err, const char *what)
{
	if (err >= 0)
		return;
	fprintf(stderr, "icount_ops: %s: %s: %s\n", where, what, strerror((int)-err));
	exit(1);
}

static void must_be(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "icount_ops: %s: %s\n", where, what);
	exit(1);
}

static struct {
	_Atomic uint64_t turns;
	double ns; /* of a turn; 0: idle time is not looked at */
} idle;

static double clock_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* Without what passed idle. */
static double now(void)
{
	return clock_ns() -
	       (double)atomic_load_explicit(&idle.turns, memory_order_relaxed) * idle.ns;
}

static void *idle_turns(void *arg)
{
	const struct sched_param param = {0};

	(void)arg;
	if (sched_setscheduler(0, SCHED_IDLE, &param))
		return NULL;
	for (;;)
		atomic_fetch_add_explicit(&idle.turns, 1, memory_order_relaxed);
	return NULL;
}

static void idle_begin(void)
{
	const struct timespec a_while = {.tv_nsec = 200000000};
	pthread_t thread;
	uint64_t turns;
	double t;

	must(-pthread_create(&thread, NULL, idle_turns, NULL), "cannot make a thread");
	nanosleep(&a_while, NULL);
	turns = idle.turns;
	t = clock_ns();
	nanosleep(&a_while, NULL);
	t = clock_ns() - t;
	turns = idle.turns - turns;
	must(turns ? 0 : -EPERM, "no thread runs when the processor is idle");
	idle.ns = t / (double)turns;
}

/* ---- operations */

static int nothing(struct run *r, unsigned int i)
{
	(void)r;
	(void)i;
	return 0;
}

static int create(struct run *r, unsigned int i)
{
	struct store_file *f;
	int err = r->s->open(r->name[i], STORE_CREATE, &f);

	return err ? err : r->s->close(f);
}

static int unlink_name(struct run *r, unsigned int i)
{
	return r->s->unlink(r->name[i]);
}

static int unlink_other(struct run *r, unsigned int i)
{
	return r->s->unlink(r->other[i]);
}

static int rename_there(struct run *r, unsigned int i)
{
	return r->s->rename(r->name[i], r->other[i]);
}

static int link_there(struct run *r, unsigned int i)
{
	return r->s->link(r->name[0], r->other[i]);
}

static int mkdir_name(struct run *r, unsigned int i)
{
	return r->s->mkdir(r->name[i]);
}

static int rmdir_name(struct run *r, unsigned int i)
{
	return r->s->rmdir(r->name[i]);
}

static int stat_deep(struct run *r, unsigned int i)
{
	uint64_t size;

	(void)i;
	return r->s->size("p/q/r/file", &size);
}

static int open_close(struct run *r, unsigned int i)
{
	struct store_file *f;
	int err = r->s->open("d/keep0007", STORE_READ, &f);

	(void)i;
	return err ? err : r->s->close(f);
}

/* Places in the file that are far from each other. */
static uint64_t place_of(unsigned int i)
{
	return (uint64_t)i * 97 % (FILE_BYTES / 4096) * 4096;
}

static int whole(ssize_t n, size_t len)
{
	return n < 0 ? (int)n : (size_t)n == len ? 0 : -EIO;
}

static int read_4k(struct run *r, unsigned int i)
{
	return whole(r->s->pread(r->file, r->buf, 4096, place_of(i)), 4096);
}

static int read_64(struct run *r, unsigned int i)
{
	return whole(r->s->pread(r->file, r->buf, 64, place_of(i) + 128), 64);
}

static int write_4k(struct run *r, unsigned int i)
{
	return whole(r->s->pwrite(r->file, r->key, 4096, place_of(i)), 4096);
}

static int write_64(struct run *r, unsigned int i)
{
	return whole(r->s->pwrite(r->file, r->key, 64, place_of(i) + 128), 64);
}

static int append_4k(struct run *r, unsigned int i)
{
	return whole(r->s->pwrite(r->file, r->key, 4096, (uint64_t)i * 4096), 4096);
}

static int append_64(struct run *r, unsigned int i)
{
	return whole(r->s->pwrite(r->file, r->key, 64, (uint64_t)i * 64), 64);
}

static int fsync_file(struct run *r, unsigned int i)
{
	(void)i;
	return r->s->fsync(r->file);
}

static int shorten(struct run *r, unsigned int i)
{
	return r->s->truncate(r->file, (uint64_t)(r->ops - 1 - i) * 4096);
}

/* The first makes the attribute, the others give it another value. */
static int set_xattr(struct run *r, unsigned int i)
{
	char value[16];

	memset(value, 'a' + (int)(i % 26), sizeof(value));
	return r->s->setxattr(r->file, "user.bench", value, sizeof(value));
}

/* ---- what is there before, and after */

static int each(struct run *r, op_fn *fn)
{
	int err = 0;

	for (unsigned int i = 0; i < r->ops && !err; i++)
		err = fn(r, i);
	return err;
}

static int names_made(struct run *r, unsigned int n)
{
	(void)n;
	return each(r, create);
}

static int names_gone(struct run *r, unsigned int n)
{
	(void)n;
	return each(r, unlink_name);
}

static int others_gone(struct run *r, unsigned int n)
{
	(void)n;
	return each(r, unlink_other);
}

static int dirs_gone(struct run *r, unsigned int n)
{
	(void)n;
	return each(r, rmdir_name);
}

static int one_made(struct run *r, unsigned int n)
{
	(void)n;
	return create(r, 0);
}

static int links_gone(struct run *r, unsigned int n)
{
	(void)n;
	return each(r, unlink_other) ? -EIO : unlink_name(r, 0);
}

static int is_there(struct run *r, const char *path, bool wanted)
{
	uint64_t size;
	int err = r->s->size(path, &size);

	if (wanted)
		return err;
	return err == -ENOENT ? 0 : err ? err : -EEXIST;
}

static int check_name(struct run *r, unsigned int n)
{
	return is_there(r, r->name[n - 1], true);
}

static int check_gone(struct run *r, unsigned int n)
{
	return is_there(r, r->name[n - 1], false);
}

static int check_moved(struct run *r, unsigned int n)
{
	int err = is_there(r, r->name[n - 1], false);

	return err ? err : is_there(r, r->other[n - 1], true);
}

static int check_other(struct run *r, unsigned int n)
{
	return is_there(r, r->other[n - 1], true);
}

static int moves_across(struct run *r, unsigned int n)
{
	for (unsigned int i = 0; i < r->ops; i++)
		snprintf(r->other[i], sizeof(r->other[i]), "e/other%06u", i);
	return names_made(r, n);
}

static int moves_back(struct run *r, unsigned int n)
{
	int err = others_gone(r, n);

	for (unsigned int i = 0; i < r->ops; i++)
		snprintf(r->other[i], sizeof(r->other[i]), "d/other%06u", i);
	return err;
}

static int file_open(struct run *r, unsigned int n)
{
	(void)n;
	return r->s->open("big", STORE_WRITE, &r->file);
}

static int file_close(struct run *r, unsigned int n)
{
	struct store_file *f = r->file;

	(void)n;
	r->file = NULL;
	return r->s->close(f);
}

/* What was read last is what has been written there; what is overwritten differs from round to
 * round. */
static int check_read(struct run *r, unsigned int n)
{
	(void)n;
	return r->buf[0] == r->key[0] && r->buf[63] == r->key[63] ? 0 : -EIO;
}

static int overwrite_open(struct run *r, unsigned int n)
{
	memset(r->key, r->key[0] == 'x' ? 'y' : 'x', sizeof(r->key));
	return file_open(r, n);
}

static int check_write(struct run *r, unsigned int n)
{
	int err = read_64(r, n - 1);

	return err ? err : check_read(r, n);
}

static int file_new(struct run *r, unsigned int n)
{
	(void)n;
	return r->s->open("new", STORE_CREATE, &r->file);
}

static int file_new_full(struct run *r, unsigned int n)
{
	int err = file_new(r, n);

	return err ? err : each(r, append_4k);
}

static int file_delete(struct run *r, unsigned int n)
{
	int err = file_close(r, n);

	return err ? err : r->s->unlink("new");
}

static int size_is(struct run *r, uint64_t bytes)
{
	uint64_t size;
	int err = r->s->size("new", &size);

	return err ? err : size == bytes ? 0 : -EIO;
}

static int check_4k(struct run *r, unsigned int n)
{
	return size_is(r, (uint64_t)n * 4096);
}

static int check_64(struct run *r, unsigned int n)
{
	return size_is(r, (uint64_t)n * 64);
}

static int check_empty(struct run *r, unsigned int n)
{
	(void)n;
	return size_is(r, 0);
}

static const struct row rows[] = {
    {"create", true, NULL, create, check_name, names_gone},
    {"unlink", true, names_made, unlink_name, check_gone, NULL},
    {"rename", true, names_made, rename_there, check_moved, others_gone},
    {"rename across directories", true, moves_across, rename_there, check_moved, moves_back},
    {"link", true, one_made, link_there, check_other, links_gone},
    {"mkdir", true, NULL, mkdir_name, check_name, dirs_gone},
    {"stat, 4 components", true, NULL, stat_deep, NULL, NULL},
    {"open + close", true, NULL, open_close, NULL, NULL},
    {"truncate by 4 KiB", false, file_new_full, shorten, check_empty, file_delete},
    {"setxattr, 16 bytes", false, file_new, set_xattr, NULL, file_delete},
    {"read 4 KiB", false, file_open, read_4k, check_read, file_close},
    {"read 64 B", false, file_open, read_64, check_read, file_close},
    {"overwrite 4 KiB", false, overwrite_open, write_4k, check_write, file_close},
    {"overwrite 64 B", false, overwrite_open, write_64, check_write, file_close},
    {"append 4 KiB", false, file_new, append_4k, check_4k, file_delete},
    {"append 64 B", false, file_new, append_64, check_64, file_delete},
    {"fsync, nothing to do", false, file_open, fsync_file, NULL, file_close},
};

/* ---- measuring */

static double median(double *v, unsigned int n)
{
	for (unsigned int i = 1; i < n; i++) {
		double x = v[i];
		unsigned int j = i;

		for (; j > 0 && v[j - 1] > x; j--)
			v[j] = v[j - 1];
		v[j] = x;
	}
	return n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

struct spent {
	double call, place;
};

static int place_nothing(void)
{
	return 0;
}

/* One round; place: what is done after the calls, and before. */
static struct spent round_of(struct run *r, const struct row *row, bool fsyncs, int (*place)(void))
{
	struct store_file *to_sync;
	struct spent spent;
	double t0, t1;
	int err = 0;

	if (row->prepare)
		must(row->prepare(r, 0), "cannot prepare");
	must(r->s->place_all(), "cannot write all to its place");
	to_sync = row->names ? r->dir : r->file;
	t0 = now();
	for (unsigned int i = 0; i < r->ops && !err; i++) {
		err = row->op(r, i);
		if (fsyncs && !err)
			err = r->s->fsync(to_sync);
	}
	t1 = now();
	must(err, "failed");
	must(place(), "cannot write all to its place");
	spent = (struct spent){t1 - t0, now() - t1};
	if (row->check)
		must(row->check(r, r->ops), "returned success, and did not happen");
	if (row->undo)
		must(row->undo(r, 0), "cannot undo");
	return spent;
}

/* What loop and clock cost, and writing nothing to its place. */
static struct spent overhead(struct run *r)
{
	static const struct row none = {"nothing", true, NULL, nothing, NULL, NULL};
	double call[ROUNDS_MAX], place[ROUNDS_MAX];

	for (unsigned int i = 0; i < r->rounds; i++) {
		struct spent s = round_of(r, &none, false, r->s->place_all);

		call[i] = s.call;
		place[i] = s.place;
	}
	return (struct spent){median(call, r->rounds), median(place, r->rounds)};
}

static void row_run(struct run *r, const struct row *row, struct spent none)
{
	double call[ROUNDS_MAX], placed[ROUNDS_MAX], durable[ROUNDS_MAX], n = r->ops, spread;

	where = row->name;
	for (unsigned int i = 0; i < r->rounds; i++) {
		struct spent s = round_of(r, row, false, r->s->place_all);

		call[i] = (s.call - none.call) / n;
		placed[i] = (s.call - none.call + s.place - none.place) / n;
		durable[i] = placed[i];
		if (r->s->durable)
			continue;
		s = round_of(r, row, true, place_nothing);
		durable[i] = (s.call - none.call) / n;
	}
	median(call, r->rounds); /* sorts */
	spread = call[r->rounds - 1] - call[0];
	printf("{\"store\": \"%s\", \"op\": \"%s\", \"call\": %.0f, \"call_spread\": %.0f, "
	       "\"placed\": %.0f, \"durable\": %.0f}\n",
	       r->s->name, row->name, median(call, r->rounds), spread, median(placed, r->rounds),
	       median(durable, r->rounds));
	fflush(stdout);
}

static void furnish(struct run *r)
{
	static const char *const dirs[] = {"d", "e", "p", "p/q", "p/q/r"};
	struct store_file *f;

	for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++)
		must(r->s->mkdir(dirs[i]), dirs[i]);
	must(r->s->open_dir("d", &r->dir), "d");
	for (unsigned int i = 0; i < STANDING; i++) {
		snprintf(r->name[0], sizeof(r->name[0]), "d/keep%04u", i);
		must(create(r, 0), r->name[0]);
	}
	for (unsigned int i = 0; i < r->ops; i++) {
		snprintf(r->name[i], sizeof(r->name[i]), "d/file%06u", i);
		snprintf(r->other[i], sizeof(r->other[i]), "d/other%06u", i);
	}
	memset(r->key, 'y', sizeof(r->key));
	must(r->s->open("p/q/r/file", STORE_CREATE, &f), "p/q/r/file");
	must(r->s->close(f), "close");
	must(r->s->open("big", STORE_CREATE, &r->file), "big");
	for (unsigned int i = 0; i < FILE_BYTES / 4096; i++)
		must(append_4k(r, i), "big");
	must(file_close(r, 0), "close");
}

static unsigned int number(const char *text, unsigned int max)
{
	char *tail;
	unsigned long v = strtoul(text, &tail, 10);

	must_be(*text && !*tail && v > 0 && v <= max, "a number is too small, too large, or none");
	return (unsigned int)v;
}

int main(int argc, char **argv)
{
	static struct run r = {.ops = 400, .rounds = 5};
	const char *place = NULL;
	struct spent none;
	bool no_idle = false;

	for (int i = 2; i < argc; i++) {
		if (!strcmp(argv[i], "--no-idle"))
			no_idle = true;
		else if (!strcmp(argv[i], "--ops") && argv[i + 1])
			r.ops = number(argv[++i], OPS_MAX);
		else if (!strcmp(argv[i], "--rounds") && argv[i + 1])
			r.rounds = number(argv[++i], ROUNDS_MAX);
		else
			argc = 0;
	}
	if (argc > 1)
		r.s = store_by_name(argv[1], &place);
	if (!r.s) {
		fprintf(stderr, "usage: icount_ops hf:VOLUME|dir:DIRECTORY [--ops N] [--rounds N] "
				"[--no-idle]\n");
		return 2;
	}
	must(r.s->begin(place), place);
	furnish(&r);
	if (no_idle)
		idle_begin();
	none = overhead(&r);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		row_run(&r, &rows[i], none);
	must(r.s->close(r.dir), "close");
	must(r.s->end(), "the end");
	return 0;
}
