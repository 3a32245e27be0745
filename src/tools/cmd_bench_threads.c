/* Two threads against one: the speed-up, beside that of the raw memory. */
#include "bench.h"
#include <pthread.h>
#include <stdlib.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/stat.h>

struct worker {
	struct bench *b;
	const struct job *job;
	unsigned index, ops;
	pthread_t thread;
	struct hf_id dir;
	hf_file *file;
	_Atomic unsigned *ready;
	unsigned threads;
};

struct job {
	const char *name;
	void (*run)(struct worker *w);
	unsigned ops;
	double target;			/* speed-up of two threads, 0: see text */
	size_t bytes;
};

static void job_names(struct worker *w)
{
	struct hf_create how = {.mode = S_IFREG | 0644};
	char name[32];
	unsigned i;

	for (i = 0; i < w->ops; i++) {
		snprintf(name, sizeof(name), "%u", i & 255);
		bench_must(hf_inode_create(w->b->vol, w->dir, name, &how, NULL), "create");
		bench_must(hf_inode_unlink(w->b->vol, w->dir, name), "unlink");
	}
}

static void job_read_one_file(struct worker *w)
{
	char buf[64];
	unsigned i;

	for (i = 0; i < w->ops; i++)
		bench_must(hf_pread(w->file, buf, sizeof(buf), (uint64_t)(i & 1023) * 64), "read");
}

static void job_write(struct worker *w)
{
	uint64_t rng = 0x9e3779b97f4a7c15ull * (w->index + 1);
	unsigned i;

	for (i = 0; i < w->ops; i++) {
		rng ^= rng << 13;
		rng ^= rng >> 7;
		rng ^= rng << 17;
		bench_must(hf_pwrite(w->file, w->b->src, 4096, rng % 8192 * 4096), "write");
	}
}

static void job_raw(struct worker *w)
{
	uint64_t rng = 0x9e3779b97f4a7c15ull * (w->index + 1), half = BENCH_RAW_BYTES / 2 / 4096;
	unsigned i;

	for (i = 0; i < w->ops; i++) {
		rng ^= rng << 13;
		rng ^= rng >> 7;
		rng ^= rng << 17;
		w->b->copy(w->b->raw + (w->index * half + rng % half) * 4096, w->b->src, 4096,
			   PMEM2_F_MEM_NONTEMPORAL | PMEM2_F_MEM_NODRAIN);
		w->b->drain();
	}
}

static void job_pin(struct worker *w)
{
	const struct hf_pin_options opts = {.struct_size = sizeof(opts), .tag = "bench"};
	hf_pin_id id;
	unsigned i;

	for (i = 0; i < w->ops; i++) {
		/* frames of its own, also where the file is shared */
		bench_must(hf_pin(w->file, (w->index * 8 + (i & 7)) * (2ull << 20), 2 << 20, &opts, NULL, NULL, &id), "pin");
		bench_must(hf_unpin(w->b->vol, id), "unpin");
	}
}

static void *worker_main(void *arg)
{
	struct worker *w = arg;

	atomic_fetch_add(w->ready, 1);
	while (atomic_load(w->ready) < w->threads)
		;
	w->job->run(w);
	return NULL;
}

/* Operations per nanosecond of all threads together. */
static double rate(struct bench *b, const struct job *job, struct worker *w, unsigned threads)
{
	_Atomic unsigned ready = 0;
	double t0;
	unsigned i;

	t0 = bench_now_ns();
	for (i = 0; i < threads; i++) {
		w[i].b = b;
		w[i].job = job;
		w[i].index = i;
		w[i].ops = job->ops;
		w[i].ready = &ready;
		w[i].threads = threads;
		bench_must(-pthread_create(&w[i].thread, NULL, worker_main, &w[i]), "thread");
	}
	for (i = 0; i < threads; i++)
		pthread_join(w[i].thread, NULL);
	return (double)job->ops * threads / (bench_now_ns() - t0);
}

static double speedup(struct bench *b, const struct job *job, struct worker *w, double *one_ns)
{
	double ratio[7], one[7];
	unsigned i;

	for (i = 0; i < 7; i++) {
		one[i] = rate(b, job, w, 1);
		ratio[i] = rate(b, job, w, 2) / one[i];
	}
	qsort(ratio, 7, sizeof(ratio[0]), bench_compare_double);
	qsort(one, 7, sizeof(one[0]), bench_compare_double);
	*one_ns = 1.0 / one[3];
	return ratio[3];
}

void bench_threads(struct bench *b)
{
	static const struct job jobs[] = {
		{"two threads: create + unlink, own directories", job_names, 50000, 1.9, 0},
		{"two threads: read 64 B of one file", job_read_one_file, 1000000, 1.9, 0},
	};
	static const struct job writes = {"two threads: overwrite 4 KiB, own files", job_write, 100000, 0, 4096};
	static const struct job raw = {"raw", job_raw, 100000, 0, 4096};
	struct worker w[2] = {0};
	double one_ns, ours, theirs;
	hf_file *shared;
	struct hf_stat st;
	char path[32];
	size_t i;

	for (i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "/bench.t%zu", i);
		bench_must(hf_mkdir(b->vol, path, 0755), path);
		bench_must(hf_stat(b->vol, path, &st), path);
		w[i].dir = st.id;
		snprintf(path, sizeof(path), "/bench.w%zu", i);
		bench_must(hf_open(b->vol, path, HF_O_RDWR | HF_O_CREAT, 0600, &w[i].file), path);
		bench_must(hf_fallocate(w[i].file, 0, 0, 32 << 20), path);
	}
	for (i = 0; i < sizeof(jobs) / sizeof(jobs[0]); i++) {
		shared = w[1].file;
		if (jobs[i].run == job_read_one_file)
			w[1].file = w[0].file;
		ours = speedup(b, &jobs[i], w, &one_ns);
		w[1].file = shared;
		/* printed as a speed-up: 'ns' is one thread's, 'raw' what two would need at best */
		bench_print(b, jobs[i].name, one_ns / ours, one_ns, "one thread", jobs[i].target, true);
	}
	ours = speedup(b, &writes, w, &one_ns);
	theirs = speedup(b, &raw, w, &one_ns);
	bench_print(b, writes.name, 1000 / ours, 1000 / theirs, "raw's own speed-up", 0.95, true);
	for (i = 0; i < 2; i++) {
		hf_close(&w[i].file);
		snprintf(path, sizeof(path), "/bench.w%zu", i);
		hf_unlink(b->vol, path);
		snprintf(path, sizeof(path), "/bench.t%zu", i);
		hf_rmdir(b->vol, path);
	}
}

void bench_threads_pins(struct bench *b)
{
	static const struct job one_file = {"two threads: pin + unpin, own frames of one file", job_pin, 100000, 1.9, 0};
	static const struct job two_files = {"two threads: pin + unpin, own files", job_pin, 100000, 1.9, 0};
	struct worker w[2] = {0};
	double one_ns, ours;
	hf_file *own;
	char path[32];
	size_t i;

	for (i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "/bench.w%zu", i);
		bench_must(hf_open(b->vol, path, HF_O_RDWR | HF_O_CREAT, 0600, &w[i].file), path);
		bench_must(hf_fallocate(w[i].file, 0, 0, 32 << 20), path);
	}
	ours = speedup(b, &two_files, w, &one_ns);
	bench_print(b, two_files.name, one_ns / ours, one_ns, "one thread", two_files.target, true);
	own = w[1].file;
	w[1].file = w[0].file;
	ours = speedup(b, &one_file, w, &one_ns);
	bench_print(b, one_file.name, one_ns / ours, one_ns, "one thread", one_file.target, true);
	w[1].file = own;
	for (i = 0; i < 2; i++) {
		bench_must(hf_close(&w[i].file), "close");
		snprintf(path, sizeof(path), "/bench.w%zu", i);
		bench_must(hf_unlink(b->vol, path), path);
	}
}
