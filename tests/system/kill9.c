/* Kills a process that works on a volume, again and again, and looks at what is left.
 *
 *	kill9 [--rounds N] [--seed S] [--file PATH] [--keep] [--verbose]
 *
 * A child works on the volume with two threads, each in its own directory. Before and after each
 *operation it writes a log in shared memory. At a random moment it gets SIGKILL; sometimes so does
 *a second one that recovers. Then:
 *
 *	- the check finds nothing, before the mount (with the journal's records) and after it
 *	- each operation that had returned is there, whole: the log is replayed on a model, which
 *the volume must equal
 *	- the one in flight is there wholly or not at all; of plain data, each aligned 8 bytes are
 *old or new
 *
 * and the next child goes on with the same volume. What SIGKILL leaves is what the processor's
 *caches hold: this tests recovery at arbitrary moments, not missing flushes.
 */
#include "verify.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define THREADS 2
#define LOG_MAX 6000

static const struct op_profile profile = {
    .name = "kill9",
    .volume_bytes = 512u << 20,
    .inodes = 150,
    .off_max = 3u << 20,
    .pages_max = 5000,
    .huge = true,
    .crash = true,
};
static const char *const prefixes[THREADS] = {"/t0", "/t1"};

struct entry {
	struct op op;
	int64_t ret;
};
/* Written by the child, read by the parent after its death. */
struct log {
	_Atomic uint64_t started, done;
	_Atomic bool mismatch;
	struct entry e[LOG_MAX];
};

struct worker {
	struct op_gen gen;
	struct model *m;
	struct real real;
	struct out a, b;
	struct log *log;
};

struct run {
	struct worker w[THREADS];
	struct verify v;
	uint8_t *old, *new;
	struct rng rng;
	char path[512];
	_Atomic bool *mounted; /* shared with the child */
	unsigned flags;	       /* of mounts in this round */
	uint64_t rounds, round, ops, whole, nothing, partial, replayed, orphans, in_recovery;
	bool keep, verbose;
};

/* ---- the child */

/* Nothing happened and nothing is wrong: a map that is too scattered to be shifted in one record.
 */
static bool refused(const struct model *m, const struct op *op, int64_t ret)
{
	return ret == -EFBIG && op->kind == OP_FALLOCATE &&
	       op->mode & (FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_INSERT_RANGE) &&
	       m->handles[op->slot].in->npages > 64;
}

/* The same in the child and, from the log, in the parent. */
static bool model_step(struct worker *w, const struct op *op, int64_t ret)
{
	bool unclear;

	if (refused(w->m, op, ret))
		return true;
	w->b.ret = ret;
	op_model(w->m, op, &w->b, &unclear);
	return w->b.ret == ret || (unclear && ret < 0 && w->b.ret < 0);
}

static void *child_thread(void *arg)
{
	struct worker *w = arg;

	for (uint64_t i = 0; i < LOG_MAX; i++) {
		struct entry *e = &w->log->e[i];

		op_generate(&w->gen, w->m, &e->op);
		atomic_store(&w->log->started, i + 1);
		op_real(&w->real, &e->op, &w->a);
		e->ret = w->a.ret;
		atomic_store(&w->log->done, i + 1);
		if (!model_step(w, &e->op, e->ret)) {
			atomic_store(&w->log->mismatch, true);
			break;
		}
	}
	return NULL;
}

static int mount_volume(struct run *run, hf_volume **vol)
{
	const struct hf_mount_options o = {
	    .struct_size = sizeof(o),
	    .flags = run->flags,
	    .uid = 1000,
	    .gid = 100,
	    .use_ids = true,
	    .max_cached_inodes = 64,
	};
	int err = hf_mount(vol, run->path, &o);

	if (err)
		fprintf(stderr, "kill9: round %llu: mount: %d: %s\n",
			(unsigned long long)run->round, err, hf_errormsg());
	return err;
}

static void child_work(struct run *run)
{
	pthread_t t[THREADS];
	hf_volume *vol;

	if (mount_volume(run, &vol))
		_exit(1);
	atomic_store(run->mounted, true);
	for (int i = 0; i < THREADS; i++) {
		run->w[i].real.vol = vol;
		pthread_create(&t[i], NULL, child_thread, &run->w[i]);
	}
	for (int i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	pause(); /* the log is full: be killed here */
}

/* ---- the parent: killing */

static void nap(uint64_t us)
{
	const struct timespec ts = {.tv_sec = (time_t)(us / 1000000),
				    .tv_nsec = (long)(us % 1000000) * 1000};

	nanosleep(&ts, NULL);
}

static int reap(struct run *run, pid_t pid)
{
	int status;

	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
		return 0;
	fprintf(stderr, "kill9: round %llu: the child ended by itself: status %#x\n",
		(unsigned long long)run->round, (unsigned)status);
	return 1;
}

static int work_and_kill(struct run *run)
{
	uint64_t us = 1ull << (6 + rng_below(&run->rng, 12)); /* to 131 ms */
	bool wait = !rng_one_in(&run->rng, 8); /* one in eight may die while it mounts */
	pid_t pid;

	*run->mounted = false;
	for (int i = 0; i < THREADS; i++) {
		run->w[i].log->started = run->w[i].log->done = 0;
		run->w[i].gen.rng.s = rng_next(&run->rng);
	}
	fflush(NULL);
	pid = fork();
	if (pid == 0)
		child_work(run);
	for (int i = 0; i < 20000 && wait && !*run->mounted; i++)
		nap(500);
	nap(us + rng_below(&run->rng, us));
	return reap(run, pid);
}

/* A process that only mounts, and is killed meanwhile. */
static int recover_and_kill(struct run *run)
{
	uint64_t us = 1ull << rng_below(&run->rng, 13);
	hf_volume *vol;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		if (mount_volume(run, &vol))
			_exit(1);
		pause();
	}
	nap(us + rng_below(&run->rng, us));
	run->in_recovery++;
	return reap(run, pid);
}

/* ---- the parent: looking */

static int fail(struct run *run, const struct worker *w, const struct op *op)
{
	char a[64];

	fprintf(stderr, "kill9: round %llu%s%s: %s\n", (unsigned long long)run->round,
		w ? ", thread in " : "", w ? w->real.prefix : "", run->v.text);
	if (op) {
		fprintf(stderr, "in flight or last: ");
		op_print(stderr, op);
		fprintf(stderr, "the model: %s\n", op_error(w->b.ret, a));
	}
	return 1;
}

static int replay_log(struct run *run, struct worker *w)
{
	uint64_t done = atomic_load(&w->log->done);

	for (uint64_t i = 0; i < done; i++) {
		struct entry *e = &w->log->e[i];

		if (!model_step(w, &e->op, e->ret)) {
			snprintf(run->v.text, sizeof(run->v.text), "operation %llu gave %lld",
				 (unsigned long long)i, (long long)e->ret);
			return fail(run, w, &e->op);
		}
	}
	run->ops += done;
	return 0;
}

/* Inode numbers that a comparison with the wrong model learned are forgotten. */
static void ids_forget(struct model *m, const struct hf_id *ids, size_t n)
{
	for (size_t i = 0; i < n && i < m->n; i++)
		m->inodes[i]->id = ids[i];
}

static struct hf_id *ids_save(const struct model *m)
{
	struct hf_id *ids = calloc(m->n, sizeof(*ids));

	for (size_t i = 0; i < m->n; i++)
		ids[i] = m->inodes[i]->id;
	return ids;
}

struct flight {
	const struct op *op;
	struct m_inode *in; /* whose bytes change; NULL: none */
	uint64_t off, len, size_old, size_new;
	bool plain; /* the size may be between as well */
};

/* The bytes that the operation changes, as they were. */
static void flight_before(struct run *run, struct worker *w, struct flight *f)
{
	const struct op *op = f->op;

	f->in = op_file(w->m, op);
	if (!f->in)
		return;
	f->plain = op->kind == OP_WRITE || op->kind == OP_APPEND || op->kind == OP_COPY;
	f->size_old = f->in->size;
	f->off = op->kind == OP_COPY ? op->off2 : op->off;
	if (op->kind == OP_APPEND ||
	    (op->kind == OP_WRITE && w->m->handles[op->slot].flags & HF_O_APPEND))
		f->off = f->size_old;
	f->len = f->plain || op->kind == OP_FALLOCATE ? op->len : 0;
	if (op->kind == OP_FALLOCATE &&
	    op->mode & (FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_INSERT_RANGE))
		f->len = 0;
	m_read(f->in, run->old, f->len, f->off);
}

/* The bytes of the file in flight: old or new. */
static int flight_bytes(struct run *run, struct worker *w, struct flight *f)
{
	struct hf_stat st;
	hf_file *file;
	int err = hf_inode_open(w->real.vol, f->in->id, HF_O_RDONLY, &file);

	if (err || hf_fstat(file, &st)) {
		snprintf(run->v.text, sizeof(run->v.text),
			 "the file in flight cannot be opened: %d", err);
		return 1;
	}
	f->size_new = f->in->size;
	if (st.size != f->size_old && st.size != f->size_new &&
	    !(f->plain && st.size > f->size_old && st.size < f->size_new)) {
		snprintf(run->v.text, sizeof(run->v.text),
			 "the file in flight has size %#llx, old %#llx, new %#llx",
			 (unsigned long long)st.size, (unsigned long long)f->size_old,
			 (unsigned long long)f->size_new);
		err = 1;
	}
	if (!err) {
		m_read(f->in, run->new, f->len, f->off);
		m_resize(w->m, f->in, st.size);
		err =
		    verify_adopt(&run->v, w->m, f->in, file, run->old, run->new, f->off, f->len, 8);
	}
	if (!err)
		err = verify_content(&run->v, f->in, "the file in flight");
	hf_close(&file);
	return err;
}

/* Not at all, wholly, or data between. */
static int verify_flight(struct run *run, struct worker *w, const struct op *op)
{
	struct flight f = {.op = op};
	struct hf_id *ids = ids_save(w->m);
	size_t n = w->m->n;
	int64_t ret = 0;
	int err;

	run->v.in_flight = NULL;
	err = verify_all(&run->v, w->m);
	run->nothing += !err;
	if (!err)
		goto out;
	ids_forget(w->m, ids, n);
	flight_before(run, w, &f);
	model_step(w, op, ret);
	err = verify_all(&run->v, w->m);
	run->whole += !err;
	if (!err || !f.in || f.in->nlink == 0)
		goto out;
	ids_forget(w->m, ids, n);
	run->v.in_flight = f.in;
	err = verify_all(&run->v, w->m);
	run->v.in_flight = NULL;
	if (!err)
		err = flight_bytes(run, w, &f);
	run->partial += !err;
out:
	free(ids);
	return err ? fail(run, w, op) : 0;
}

static int verify_worker(struct run *run, struct worker *w, hf_volume *vol)
{
	uint64_t done = atomic_load(&w->log->done);
	const struct op *op = atomic_load(&w->log->started) > done ? &w->log->e[done].op : NULL;
	int err;

	w->real.vol = vol;
	run->v.r = &w->real;
	run->v.crashed = true;
	if (op) {
		err = verify_flight(run, w, op);
	} else {
		err = verify_all(&run->v, w->m);
		if (err)
			fail(run, w, done ? &w->log->e[done - 1].op : NULL);
	}
	m_crash(w->m);
	return err;
}

/* The volume as it was found, for looking at it later. */
static void keep_image(struct run *run)
{
	char cmd[1100];

	snprintf(cmd, sizeof(cmd), "cp --sparse=always '%s' '%s.crash'", run->path, run->path);
	if (system(cmd))
		fprintf(stderr, "kill9: the image could not be kept\n");
}

static int look(struct run *run)
{
	struct hf_check_result res;
	struct hf_info info;
	hf_volume *vol;
	int err = 0;

	if (verify_check(&run->v, NULL, run->path, &res))
		return fail(run, NULL, NULL);
	if (rng_one_in(&run->rng, 3) && recover_and_kill(run))
		return 1;
	if (mount_volume(run, &vol))
		return 1;
	hf_info(vol, &info);
	run->replayed += info.replayed;
	run->orphans += info.orphans_finished;
	if (verify_check(&run->v, vol, NULL, &res))
		return fail(run, NULL, NULL);
	for (int i = 0; i < THREADS && !err; i++)
		err = verify_worker(run, &run->w[i], vol);
	if (!err && res.orphans) {
		snprintf(run->v.text, sizeof(run->v.text), "%llu orphans are left after the mount",
			 (unsigned long long)res.orphans);
		err = fail(run, NULL, NULL);
	}
	if (hf_unmount(&vol) && !err) {
		snprintf(run->v.text, sizeof(run->v.text), "unmount: %s", hf_errormsg());
		err = fail(run, NULL, NULL);
	}
	return err;
}

static int one_round(struct run *run)
{
	static const unsigned flags[] = {HF_MOUNT_NO_MSYNC, HF_MOUNT_FORCE_CACHE_LINE,
					 HF_MOUNT_FORCE_CACHE_LINE, 0};
	int err;

	run->flags = flags[rng_below(&run->rng, 4)];
	err = work_and_kill(run);
	if (run->keep)
		keep_image(run);
	for (int i = 0; i < THREADS && !err; i++)
		err = replay_log(run, &run->w[i]);
	if (!err)
		err = look(run);
	if (run->verbose)
		printf("round %llu: flags %u, %llu + %llu operations\n",
		       (unsigned long long)run->round, run->flags,
		       (unsigned long long)run->w[0].log->done,
		       (unsigned long long)run->w[1].log->done);
	return err;
}

/* ---- beginning */

static int volume_make(struct run *run)
{
	const struct hf_format_options o = {
	    .struct_size = sizeof(o),
	    .bytes = profile.volume_bytes,
	    .force = true,
	    .sparse = true,
	    .uid = 1000,
	    .gid = 100,
	};
	hf_volume *vol;
	int err;

	unlink(run->path);
	err = hf_format(run->path, &o);
	if (err) {
		fprintf(stderr, "kill9: format: %s\n", hf_errormsg());
		return err;
	}
	err = mount_volume(run, &vol);
	for (int i = 0; i < THREADS && !err; i++)
		err = hf_mkdir(vol, prefixes[i], 0755);
	return err ? err : hf_unmount(&vol);
}

static void *shared(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		abort();
	return p;
}

static void run_setup(struct run *run)
{
	run->mounted = shared(4096);
	run->v.a = malloc(OP_LEN_MAX + 4096);
	run->v.b = malloc(OP_LEN_MAX + 4096);
	run->old = malloc(OP_LEN_MAX + 4096);
	run->new = malloc(OP_LEN_MAX + 4096);
	for (int i = 0; i < THREADS; i++) {
		struct worker *w = &run->w[i];

		w->gen.profile = &profile;
		w->m = m_new(1000, 100);
		w->m->times = false;
		w->real = (struct real){.prefix = prefixes[i], .m = w->m};
		w->a.buf = malloc(OP_LEN_MAX + 4096);
		w->b.buf = malloc(OP_LEN_MAX + 4096);
		w->log = shared(sizeof(struct log));
	}
}

static int options(struct run *run, int argc, char **argv)
{
	static const struct option longs[] = {
	    {"rounds", required_argument, NULL, 'r'}, {"seed", required_argument, NULL, 's'},
	    {"file", required_argument, NULL, 'f'},   {"keep", no_argument, NULL, 'k'},
	    {"verbose", no_argument, NULL, 'v'},      {0},
	};
	int c;

	run->rounds = 25;
	run->rng.s = (uint64_t)time(NULL);
	snprintf(run->path, sizeof(run->path), "kill9.%d.vol", (int)getpid());
	for (c = getopt_long(argc, argv, "", longs, NULL); c != -1;
	     c = getopt_long(argc, argv, "", longs, NULL)) {
		switch (c) {
		case 'r':
			run->rounds = strtoull(optarg, NULL, 0);
			break;
		case 's':
			run->rng.s = strtoull(optarg, NULL, 0);
			break;
		case 'f':
			snprintf(run->path, sizeof(run->path), "%s", optarg);
			break;
		case 'k':
			run->keep = true;
			break;
		case 'v':
			run->verbose = true;
			break;
		default:
			fprintf(stderr, "usage: kill9 [--rounds N] [--seed S] [--file PATH] "
					"[--keep] [--verbose]\n");
			return 2;
		}
	}
	return 0;
}

int main(int argc, char **argv)
{
	static struct run run;
	int err = options(&run, argc, argv);

	if (err)
		return err;
	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("kill9: %llu rounds, seed %llu, %s\n", (unsigned long long)run.rounds,
	       (unsigned long long)run.rng.s, run.path);
	run_setup(&run);
	err = volume_make(&run);
	for (run.round = 0; run.round < run.rounds && !err; run.round++)
		err = one_round(&run);
	printf("kill9: %s: %llu kills (and %llu in recovery), %llu operations finished, in flight: "
	       "%llu not at all, %llu wholly, "
	       "%llu data in part; %llu transactions replayed, %llu orphans finished\n",
	       err ? "FAILED" : "ok", (unsigned long long)run.round,
	       (unsigned long long)run.in_recovery, (unsigned long long)run.ops,
	       (unsigned long long)run.nothing, (unsigned long long)run.whole,
	       (unsigned long long)run.partial, (unsigned long long)run.replayed,
	       (unsigned long long)run.orphans);
	if (err)
		fprintf(stderr, "kill9: the volume is left in %s\n", run.path);
	else
		unlink(run.path);
	return err ? 1 : 0;
}
