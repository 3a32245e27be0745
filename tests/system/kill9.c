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
#include "crash_work.h"
#include "volume_file.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const char *const prefixes[WORK_THREADS] = {"/t0", "/t1"};

struct run {
	struct crash_work cw;
	struct rng rng;
	_Atomic bool *mounted; /* shared with the child */
	uint64_t rounds, in_recovery;
	bool keep, verbose;
};

/* ---- the child */

static void child_work(struct run *run)
{
	pthread_t t[WORK_THREADS];
	hf_volume *vol;

	if (work_mount(&run->cw, &vol))
		_exit(1);
	atomic_store(run->mounted, true);
	work_begin(&run->cw, vol, t);
	for (int i = 0; i < WORK_THREADS; i++)
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
		(unsigned long long)run->cw.round, (unsigned)status);
	return 1;
}

static int work_and_kill(struct run *run)
{
	uint64_t us = 1ull << (6 + rng_below(&run->rng, 12)); /* to 131 ms */
	bool wait = !rng_one_in(&run->rng, 8); /* one in eight may die while it mounts */
	pid_t pid;

	*run->mounted = false;
	work_clear(&run->cw, rng_next(&run->rng));
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
		if (work_mount(&run->cw, &vol))
			_exit(1);
		pause();
	}
	nap(us + rng_below(&run->rng, us));
	run->in_recovery++;
	return reap(run, pid);
}

/* ---- the parent: looking */

/* The volume as it was found, for looking at it later. */
static void keep_image(struct run *run)
{
	char cmd[1100];

	snprintf(cmd, sizeof(cmd), "cp --sparse=always '%s' '%s.crash'", run->cw.path, run->cw.path);
	if (system(cmd))
		fprintf(stderr, "kill9: the image could not be kept\n");
}

static int look(struct run *run)
{
	struct hf_check_result res;
	struct hf_info info;
	hf_volume *vol;
	int err = 0;

	if (verify_check(&run->cw.v, NULL, run->cw.path, &res))
		return work_fail(&run->cw, NULL, NULL);
	if (rng_one_in(&run->rng, 3) && recover_and_kill(run))
		return 1;
	if (work_mount(&run->cw, &vol))
		return 1;
	hf_info(vol, &info);
	run->cw.replayed += info.replayed;
	run->cw.orphans += info.orphans_finished;
	if (verify_check(&run->cw.v, vol, NULL, &res))
		return work_fail(&run->cw, NULL, NULL);
	err = work_verify(&run->cw, vol);
	if (!err && res.orphans) {
		snprintf(run->cw.v.text, sizeof(run->cw.v.text), "%llu orphans are left after the mount",
			 (unsigned long long)res.orphans);
		err = work_fail(&run->cw, NULL, NULL);
	}
	if (hf_unmount(&vol) && !err) {
		snprintf(run->cw.v.text, sizeof(run->cw.v.text), "unmount: %s", hf_errormsg());
		err = work_fail(&run->cw, NULL, NULL);
	}
	return err;
}

static int one_round(struct run *run)
{
	static const unsigned flags[] = {HF_MOUNT_NO_MSYNC, HF_MOUNT_FORCE_CACHE_LINE,
					 HF_MOUNT_FORCE_CACHE_LINE, 0};
	int err;

	run->cw.flags = flags[rng_below(&run->rng, 4)];
	err = work_and_kill(run);
	if (run->keep)
		keep_image(run);
	if (!err)
		err = work_replay(&run->cw);
	if (!err)
		err = look(run);
	if (run->verbose)
		printf("round %llu: flags %u, %llu + %llu operations\n",
		       (unsigned long long)run->cw.round, run->cw.flags,
		       (unsigned long long)run->cw.w[0].log->done,
		       (unsigned long long)run->cw.w[1].log->done);
	return err;
}

/* ---- beginning */

static int volume_make(struct run *run)
{
	const struct hf_format_options o = {
	    .struct_size = sizeof(o),
	    .bytes = work_profile.volume_bytes,
	    .force = true,
	    .sparse = true,
	    .uid = 1000,
	    .gid = 100,
	};
	hf_volume *vol;
	int err;

	volume_file_remove(run->cw.path);
	err = hf_format(run->cw.path, &o);
	if (err) {
		fprintf(stderr, "kill9: format: %s\n", hf_errormsg());
		return err;
	}
	err = work_mount(&run->cw, &vol);
	for (int i = 0; i < WORK_THREADS && !err; i++)
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
	struct work_log *logs[WORK_THREADS];

	run->mounted = shared(4096);
	for (int i = 0; i < WORK_THREADS; i++)
		logs[i] = shared(sizeof(*logs[i]));
	work_setup(&run->cw, prefixes, logs);
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
	snprintf(run->cw.path, sizeof(run->cw.path), "kill9.%d.vol", (int)getpid());
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
			snprintf(run->cw.path, sizeof(run->cw.path), "%s", optarg);
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
	       (unsigned long long)run.rng.s, run.cw.path);
	run_setup(&run);
	err = volume_make(&run);
	for (run.cw.round = 0; run.cw.round < run.rounds && !err; run.cw.round++)
		err = one_round(&run);
	printf("kill9: %s: %llu kills (and %llu in recovery), %llu operations finished, in flight: "
	       "%llu not at all, %llu wholly, "
	       "%llu data in part; %llu transactions replayed, %llu orphans finished\n",
	       err ? "FAILED" : "ok", (unsigned long long)run.cw.round,
	       (unsigned long long)run.in_recovery, (unsigned long long)run.cw.ops,
	       (unsigned long long)run.cw.nothing, (unsigned long long)run.cw.whole,
	       (unsigned long long)run.cw.partial, (unsigned long long)run.cw.replayed,
	       (unsigned long long)run.cw.orphans);
	if (err)
		fprintf(stderr, "kill9: the volume is left in %s\n", run.cw.path);
	else
		volume_file_remove(run.cw.path);
	return err ? 1 : 0;
}
