/* Several threads against one: the speed-up, beside that of the raw memory. */
#include "bench.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define THREADS_MAX   64u
#define THREAD_ROUNDS 7u
#define FILE_BYTES    (16ull << 20)

struct worker {
	struct bench *b;
	const struct job *job;
	unsigned index, ops, threads;
	pthread_t thread;
	struct hf_id dir;
	hf_file *file;
	uint64_t rng;
	_Atomic unsigned *ready;
};

struct job {
	const char *name;
	void (*run)(struct worker *w);
	unsigned ops;
	bool shared;			/* all of them in one directory and one file */
	double target;			/* of two threads: at least */
	const struct job *raw;
};

static void job_names(struct worker *w)
{
	struct hf_create how = {.mode = S_IFREG | 0644};
	char name[32];
	unsigned i;

	for (i = 0; i < w->ops; i++) {
		snprintf(name, sizeof(name), "%u-%u", w->index, i & 255);
		bench_must(hf_inode_create(w->b->vol, w->dir, name, &how, NULL), "create");
		bench_must(hf_inode_unlink(w->b->vol, w->dir, name), "unlink");
	}
}

static void job_stat(struct worker *w)
{
	struct hf_stat st;
	unsigned i;

	for (i = 0; i < w->ops; i++)
		bench_must(hf_stat(w->b->vol, "/bench.t0", &st), "stat");
}

static void job_read_64(struct worker *w)
{
	char buf[64];
	unsigned i;

	for (i = 0; i < w->ops; i++)
		bench_must(hf_pread(w->file, buf, sizeof(buf), (uint64_t)(i & 1023) * 64), "read");
}

static uint64_t place_of(struct worker *w, uint64_t places)
{
	w->rng ^= w->rng << 13;
	w->rng ^= w->rng >> 7;
	w->rng ^= w->rng << 17;
	return w->rng % places * HF_BLOCK_SIZE;
}

/* Of one file, each its own part: 1/64 of it. */
static void job_write(struct worker *w)
{
	uint64_t part = FILE_BYTES / THREADS_MAX, first = w->job->shared ? w->index * part : 0;
	unsigned i;

	for (i = 0; i < w->ops; i++)
		bench_must(hf_pwrite(w->file, w->b->src, HF_BLOCK_SIZE, first + place_of(w, (w->job->shared ? part : FILE_BYTES) / HF_BLOCK_SIZE)), "write");
}

static void job_raw(struct worker *w)
{
	uint64_t part = w->b->raw_bytes / THREADS_MAX;
	unsigned i;

	for (i = 0; i < w->ops; i++) {
		w->b->copy(w->b->raw + w->index * part + place_of(w, part / HF_BLOCK_SIZE), w->b->src, HF_BLOCK_SIZE,
			   PMEM2_F_MEM_NONTEMPORAL | PMEM2_F_MEM_NODRAIN);
		w->b->drain();
	}
}

static void job_pin(struct worker *w)
{
	const struct hf_pin_options opts = {.struct_size = sizeof(opts), .tag = "bench"};
	uint64_t frames = FILE_BYTES / HF_FRAME_SIZE;
	hf_pin_id id;
	unsigned i;

	for (i = 0; i < w->ops; i++) {
		/* two threads have frames of their own, also where the file is shared */
		bench_must(hf_pin(w->file, (w->index * 8 + (i & 7)) % frames * HF_FRAME_SIZE, HF_FRAME_SIZE, &opts, NULL, NULL, &id), "pin");
		bench_must(hf_unpin(w->b->vol, id), "unpin");
	}
}

static const struct job raw_job = {"raw: copy + fence of 4 KiB", job_raw, 100000, false, 0, NULL};
static const struct job jobs[] = {
	{"create + unlink, own directories", job_names, 50000, false, 1.9, NULL},
	{"create + unlink, one directory", job_names, 50000, true, 0, NULL},
	{"stat of one path", job_stat, 500000, true, 0, NULL},
	{"read 64 B of one file", job_read_64, 1000000, true, 1.9, NULL},
	{"overwrite 4 KiB, own files", job_write, 100000, false, 0.95, &raw_job},
	{"overwrite 4 KiB of one file", job_write, 100000, true, 0, &raw_job},
};
static const struct job pin_jobs[] = {
	{"pin + unpin, own files", job_pin, 100000, false, 1.9, NULL},
	{"pin + unpin, own frames of one file", job_pin, 100000, true, 1.9, NULL},
};

static void *worker_main(void *arg)
{
	struct worker *w = arg;

	atomic_fetch_add(w->ready, 1);
	while (atomic_load(w->ready) < w->threads)
		;
	w->job->run(w);
	return NULL;
}

/* Of all threads together. */
static double ns_per_op(struct bench *b, const struct job *job, struct worker *all, unsigned threads)
{
	unsigned i, ops = bench_count(b, job->ops);
	_Atomic unsigned ready = 0;
	struct worker w[THREADS_MAX];
	double t0;

	t0 = bench_now_ns();
	for (i = 0; i < threads; i++) {
		w[i] = all[job->shared ? 0 : i];
		w[i].job = job;
		w[i].index = i;
		w[i].ops = ops;
		w[i].rng = 0x9e3779b97f4a7c15ull * (i + 1);
		w[i].ready = &ready;
		w[i].threads = threads;
		bench_must(-pthread_create(&w[i].thread, NULL, worker_main, &w[i]), "thread");
	}
	for (i = 0; i < threads; i++)
		pthread_join(w[i].thread, NULL);
	return (bench_now_ns() - t0) / ops / threads;
}

/* With a raw counterpart: what it reaches of that one's speed-up. */
static void threads_row(struct bench *b, const char *plot, const struct job *job, struct worker *w, unsigned threads)
{
	double many[THREAD_ROUNDS], one[THREAD_ROUNDS], ours[THREAD_ROUNDS], raws[THREAD_ROUNDS];
	struct bench_result r = {.target = threads == 2 ? job->target : 0, .faster = true};
	unsigned i, n = bench_rounds(b, THREAD_ROUNDS);
	char name[96];

	for (i = 0; i < n; i++) {
		one[i] = ns_per_op(b, job, w, 1);
		many[i] = ns_per_op(b, job, w, threads);
		ours[i] = one[i] / many[i];
		raws[i] = job->raw ? ns_per_op(b, job->raw, w, 1) / ns_per_op(b, job->raw, w, threads) : 1;
		one[i] /= raws[i];
	}
	snprintf(name, sizeof(name), "%u threads: %s", threads, job->name);
	r.name = name;
	r.raw_name = job->raw ? "one thread, by raw's speed-up" : "one thread";
	bench_pairs(&r, many, one, n);
	bench_report(b, &r);
	bench_point(b, plot, job->name, threads, bench_median(ours, n));
	if (job->raw && !job->shared)
		bench_point(b, plot, job->raw->name, threads, bench_median(raws, n));
}

static void worker_path(char path[32], char kind, unsigned i)
{
	snprintf(path, 32, "/bench.%c%u", kind, i);
}

/* 2, 4, 8 ... and as many threads as there are processors. */
static void threads_rows(struct bench *b, const char *plot, const struct job *job, size_t n)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	unsigned i, threads, most = cpus < 2 || b->quick ? 2 : cpus > (long)THREADS_MAX ? THREADS_MAX : (unsigned)cpus;
	struct worker w[THREADS_MAX] = {0};
	struct bench_io io;
	char path[32];

	for (i = 0; i < most; i++) {
		worker_path(path, 't', i);
		w[i].dir = bench_mkdir(b, path);
		worker_path(path, 'w', i);
		bench_huge_file(b, &io, path, FILE_BYTES);
		w[i].file = io.file;
		w[i].b = b;
	}
	bench_point(b, plot, "as many times as threads", 1, 1);
	bench_point(b, plot, "as many times as threads", most, most);
	for (; n; n--, job++) {
		bench_point(b, plot, job->name, 1, 1);
		if (job->raw && !job->shared)
			bench_point(b, plot, job->raw->name, 1, 1);
		for (threads = 2; threads < most; threads *= 2)
			threads_row(b, plot, job, w, threads);
		threads_row(b, plot, job, w, most);
	}
	for (i = 0; i < most; i++) {
		io.file = w[i].file;
		worker_path(path, 'w', i);
		bench_drop_file(b, &io, path);
		worker_path(path, 't', i);
		bench_must(hf_rmdir(b->vol, path), path);
	}
}

void bench_threads(struct bench *b)
{
	threads_rows(b, "threads", jobs, sizeof(jobs) / sizeof(jobs[0]));
}

void bench_threads_pins(struct bench *b)
{
	threads_rows(b, "threads_pins", pin_jobs, sizeof(pin_jobs) / sizeof(pin_jobs[0]));
}
