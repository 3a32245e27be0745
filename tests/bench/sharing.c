/* Operations by turns: each of the threads does one, then the next thread, so that whatever line of
 * memory they all write moves each time.
 *
 *   sharing VOLUME [--threads N] [--ops N]
 *     VOLUME     formatted and empty
 *     --threads  (8)    --ops  of each thread and row (64)
 *
 * Linked with trace.c it prints, as lines of JSON, the locks, the lines written and the lines that
 * moved of each operation; with hold.c how long each takes and holds locks. sharing.sh makes tables
 * of both. */
#include "sharing.h"
#include "file/volume.h"
#include "system/rng.h"
#include <errno.h>
#include <holdfast.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <time.h>

#define THREADS_MAX 32u
#define OPS_MAX	    4096u
#define FILE_BYTES  (4u << 20)

struct worker {
	unsigned int id;
	pthread_t thread;
	sem_t go, done;
	hf_file *file;
	double ns; /* spent in operations */
	uint64_t own_word __attribute__((aligned(128)));
};

/* Of worker w the i-th operation of the row. */
typedef void op_fn(struct worker *w, unsigned int i);
struct row {
	const char *name, *scope;
	bool shared; /* one directory, one file: else of each thread */
	op_fn *before, *op, *after;
};

static hf_volume *vol;
static struct worker workers[THREADS_MAX];
static unsigned int threads = 8, ops = 64;
static const struct row *row;
static unsigned int step;
static bool traced, stop;
static uint8_t buf[4096];
uint64_t sharing_word __attribute__((aligned(128)));
void sharing_probe(uint64_t *word); /* probe.c, traced as the library is */

static void must(int64_t err, const char *what)
{
	if (err >= 0)
		return;
	fprintf(stderr, "sharing: %s, %s: %s: %s\n", row ? row->name : "the beginning",
		row ? row->scope : "", what, hf_errormsg());
	exit(1);
}

static double now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* Around what a row is about. */
static double begun;
static bool timed;

static void op_begin(const struct worker *w)
{
	if (!traced)
		return;
	timed = sharing_begin(w->id);
	begun = now_ns();
}

static void op_end(struct worker *w, int64_t err, const char *what)
{
	if (traced) {
		w->ns += timed ? now_ns() - begun : 0;
		sharing_end();
	}
	must(err, what);
}

/* ---- operations */

static char *name_of(const struct worker *w, const char *what, unsigned int i, char path[64])
{
	snprintf(path, 64, "d%u/%s%u-%u", row->shared ? 0 : w->id + 1, what, w->id, i);
	return path;
}

static void create(struct worker *w, unsigned int i)
{
	hf_file *f = NULL;
	char path[64];
	int err;

	name_of(w, "f", i, path);
	op_begin(w);
	err = hf_open(vol, path, HF_O_RDWR | HF_O_CREAT | HF_O_EXCL, 0644, &f);
	if (!err)
		err = hf_close(&f);
	op_end(w, err, path);
}

static void unlink_name(struct worker *w, unsigned int i)
{
	char path[64];
	int err;

	name_of(w, "f", i, path);
	op_begin(w);
	err = hf_unlink(vol, path);
	op_end(w, err, path);
}

static void rename_there(struct worker *w, unsigned int i)
{
	char from[64], to[64];
	int err;

	name_of(w, "f", i, from);
	name_of(w, "g", i, to);
	op_begin(w);
	err = hf_rename(vol, from, to, 0);
	op_end(w, err, from);
}

static void rename_back(struct worker *w, unsigned int i)
{
	char from[64], to[64];

	name_of(w, "g", i, from);
	name_of(w, "f", i, to);
	must(hf_rename(vol, from, to, 0), from);
	unlink_name(w, i);
}

static void stat_name(struct worker *w, unsigned int i)
{
	struct hf_stat st;
	char path[64];
	int err;

	name_of(w, "f", i % 16, path); /* known by now */
	op_begin(w);
	err = hf_stat(vol, path, &st);
	op_end(w, err, path);
}

static void open_close(struct worker *w, unsigned int i)
{
	hf_file *f = NULL;
	char path[64];
	int err;

	name_of(w, "f", i % 16, path);
	op_begin(w);
	err = hf_open(vol, path, HF_O_RDONLY, 0, &f);
	if (!err)
		err = hf_close(&f);
	op_end(w, err, path);
}

static uint64_t place_of(const struct worker *w, unsigned int i)
{
	return rng_mix(i * 1000 + w->id) % (FILE_BYTES / 4096) * 4096;
}

static void read_4k(struct worker *w, unsigned int i)
{
	static _Thread_local uint8_t to[4096];
	ssize_t n;

	op_begin(w);
	n = hf_pread(w->file, to, 4096, place_of(w, i));
	op_end(w, n, "read");
}

static void write_4k(struct worker *w, unsigned int i)
{
	ssize_t n;

	op_begin(w);
	n = hf_pwrite(w->file, buf, 4096, place_of(w, i));
	op_end(w, n, "write");
}

static void append_4k(struct worker *w, unsigned int i)
{
	ssize_t n;

	(void)i;
	op_begin(w);
	n = hf_append(w->file, buf, 4096, NULL);
	op_end(w, n, "append");
}

static void pin_unpin(struct worker *w, unsigned int i)
{
	struct iovec iov[1];
	size_t n = 1;
	hf_pin_id pin;
	int err;

	op_begin(w);
	err = hf_pin(w->file, place_of(w, i), 4096, NULL, iov, &n, &pin);
	if (!err)
		err = hf_unpin(vol, pin);
	op_end(w, err, "pin");
}

/* Shorter by a block each time, whosever turn it is. */
static void truncate_4k(struct worker *w, unsigned int i)
{
	uint64_t nth = row->shared ? (uint64_t)i * threads + w->id : i;
	int err;

	op_begin(w);
	err = hf_ftruncate(w->file, FILE_BYTES - (nth + 1) * 4096);
	op_end(w, err, "truncate");
}

static void probe(struct worker *w, unsigned int i)
{
	(void)i;
	op_begin(w);
	sharing_probe(row->shared ? &sharing_word : &w->own_word);
	op_end(w, 0, "probe");
}

/* ---- files */

static char *file_name(const struct worker *w, char path[64])
{
	snprintf(path, 64, "big%u", row->shared ? 0 : w->id + 1);
	return path;
}

/* The file as long as it is at the beginning of each row. */
static void file_open(struct worker *w, unsigned int i)
{
	char path[64];

	if (i)
		return;
	must(hf_open(vol, file_name(w, path), HF_O_RDWR | HF_O_CREAT, 0644, &w->file), path);
	must(hf_ftruncate(w->file, FILE_BYTES), path);
	for (uint64_t at = 0; at < FILE_BYTES; at += sizeof(buf))
		must(hf_pwrite(w->file, buf, sizeof(buf), at), path);
}

static void file_close(struct worker *w, unsigned int i)
{
	if (!i)
		must(hf_close(&w->file), "close");
}

/* What is only the beginning: lists that fill, threads that get a number. */
static void warm_up(struct worker *w, unsigned int i)
{
	hf_file *f;
	char path[64];

	snprintf(path, sizeof(path), "warm%u", w->id);
	for (unsigned int n = 0; i == 0 && n < 200; n++) {
		must(hf_open(vol, path, HF_O_RDWR | HF_O_CREAT, 0644, &f), path);
		must(hf_close(&f), path);
	}
}

#define OWN   "own directories"
#define ONE   "one directory"
#define OWN_F "own files"
#define ONE_F "one file"
static const struct row rows[] = {
    {"probe", "own words", false, warm_up, probe, NULL},
    {"probe", "one word", true, NULL, probe, NULL},
    {"create", OWN, false, NULL, create, unlink_name},
    {"create", ONE, true, NULL, create, unlink_name},
    {"unlink", OWN, false, create, unlink_name, NULL},
    {"unlink", ONE, true, create, unlink_name, NULL},
    {"rename", OWN, false, create, rename_there, rename_back},
    {"rename", ONE, true, create, rename_there, rename_back},
    {"stat", OWN, false, create, stat_name, unlink_name},
    {"stat", ONE, true, create, stat_name, unlink_name},
    {"open + close", OWN, false, create, open_close, unlink_name},
    {"open + close", ONE, true, create, open_close, unlink_name},
    {"read 4 KiB", OWN_F, false, file_open, read_4k, file_close},
    {"read 4 KiB", ONE_F, true, file_open, read_4k, file_close},
    {"overwrite 4 KiB", OWN_F, false, file_open, write_4k, file_close},
    {"overwrite 4 KiB", ONE_F, true, file_open, write_4k, file_close},
    {"append 4 KiB", OWN_F, false, file_open, append_4k, file_close},
    {"append 4 KiB", ONE_F, true, file_open, append_4k, file_close},
    {"pin + unpin", OWN_F, false, file_open, pin_unpin, file_close},
    {"pin + unpin", ONE_F, true, file_open, pin_unpin, file_close},
    {"truncate by 4 KiB", OWN_F, false, file_open, truncate_4k, file_close},
    {"truncate by 4 KiB", ONE_F, true, file_open, truncate_4k, file_close},
};

/* ---- turns */

static void *work(void *arg)
{
	struct worker *w = arg;

	for (;;) {
		sem_wait(&w->go);
		if (stop)
			return NULL;
		row->op(w, step);
		sem_post(&w->done);
	}
}

/* Steps [from, to) of each thread, by turns. */
static void turns(unsigned int from, unsigned int to)
{
	for (step = from; step < to; step++) {
		for (unsigned int i = 0; i < threads; i++) {
			sem_post(&workers[i].go);
			sem_wait(&workers[i].done);
		}
	}
}

/* Each in its own thread, for files belong to none, but lanes and pools do. */
static void prepare(op_fn *fn)
{
	struct row other = *row;
	const struct row *was = row;

	if (!fn)
		return;
	traced = false;
	other.op = fn;
	row = &other;
	turns(0, ops);
	row = was;
}

static void row_run(void)
{
	unsigned int warm = ops / 4;
	double ns = 0;

	prepare(row->before);
	traced = true;
	turns(0, warm);
	sharing_reset();
	for (unsigned int i = 0; i < threads; i++)
		workers[i].ns = 0;
	turns(warm, ops);
	for (unsigned int i = 0; i < threads; i++)
		ns += workers[i].ns;
	sharing_report(row->name, row->scope, (double)(ops - warm) * threads, ns);
	prepare(row->after);
}

static unsigned int number(const char *text, unsigned int max)
{
	char *tail;
	unsigned long v = strtoul(text, &tail, 10);

	if (!*text || *tail || v < 1 || v > max) {
		fprintf(stderr, "sharing: '%s' is no number from 1 to %u\n", text, max);
		exit(2);
	}
	return (unsigned int)v;
}

static void begin(const char *volume)
{
	const struct hf_mount_options opts = {
	    .struct_size = sizeof(opts), .flags = HF_MOUNT_FORCE_CACHE_LINE | HF_MOUNT_NO_MSYNC};
	char path[64];

	must(hf_mount(&vol, volume, &opts), volume);
	sharing_attach(vol->fs.pm);
	for (unsigned int i = 0; i <= threads; i++) {
		snprintf(path, sizeof(path), "d%u", i);
		must(hf_mkdir(vol, path, 0755), path);
	}
	for (unsigned int i = 0; i < threads; i++) {
		workers[i].id = i;
		sem_init(&workers[i].go, 0, 0);
		sem_init(&workers[i].done, 0, 0);
		must(-pthread_create(&workers[i].thread, NULL, work, &workers[i]), "thread");
	}
}

int main(int argc, char **argv)
{
	for (int i = 2; i + 1 < argc; i += 2) {
		if (!strcmp(argv[i], "--threads"))
			threads = number(argv[i + 1], THREADS_MAX);
		else if (!strcmp(argv[i], "--ops"))
			ops = number(argv[i + 1], OPS_MAX);
		else
			argc = 0;
	}
	if (argc < 2 || argc % 2) {
		fprintf(stderr, "usage: sharing VOLUME [--threads N] [--ops N]\n");
		return 2;
	}
	memset(buf, 'x', sizeof(buf));
	sharing_calibrate();
	begin(argv[1]);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		row = &rows[i];
		row_run();
	}
	stop = true;
	for (unsigned int i = 0; i < threads; i++) {
		sem_post(&workers[i].go);
		pthread_join(workers[i].thread, NULL);
	}
	must(hf_unmount(&vol), "unmount");
	return 0;
}
