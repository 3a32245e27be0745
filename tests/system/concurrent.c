/* Threads that do random things to the same few directories and files. What each call gives is not
 *known; that it is one of the documented errors is, and that nothing deadlocks, that the check
 *finds nothing at the end, and that what a thread alone writes to, it reads.
 *
 *	concurrent [--seconds N] [--threads N] [--seed S]
 */
#include <holdfast.h>
#include "rng.h"

#include <dirent.h>
#include <errno.h>
#include <getopt.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define THREADS_MAX 16
#define BUF	    (64u << 10)
#define OWN_BYTES   40000u

struct thread {
	pthread_t id;
	struct rng rng;
	int no;
	uint64_t ops, errors;
	char buf[BUF];
};

static hf_volume *vol;
static _Atomic bool stop, failed;

static void complain(const char *what, int64_t ret)
{
	if (!atomic_exchange(&failed, true))
		fprintf(stderr, "concurrent: %s gave %lld: %s\n", what, (long long)ret,
			hf_errormsg());
	atomic_store(&stop, true);
}

/* What may come of a race with others, or of a full volume. */
static void allowed(struct thread *t, const char *what, int64_t ret)
{
	static const int ok[] = {ENOENT,  EEXIST, ENOTDIR, EISDIR,	 ENOTEMPTY,
				 EINVAL,  ENOSPC, ELOOP,   EPERM,	 ENXIO,
				 ENODATA, ESTALE, EBUSY,   ENAMETOOLONG, EFBIG};

	t->ops++;
	if (ret >= 0)
		return;
	t->errors++;
	for (size_t i = 0; i < sizeof(ok) / sizeof(ok[0]); i++)
		if (ret == -ok[i])
			return;
	complain(what, ret);
}

static const char *pick_dir(struct thread *t)
{
	static const char *const dirs[] = {"/", "/a", "/b", "/a/c", "/a/c/d", "/b/a"};

	return dirs[rng_below(&t->rng, 6)];
}

static const char *pick(struct thread *t, char path[64])
{
	static const char *const names[] = {"a", "b", "c", "d", "f0", "f1", "f2", "f3", "l"};
	const char *dir = pick_dir(t);

	snprintf(path, 64, "%s/%s", dir[1] ? dir : "", names[rng_below(&t->rng, 9)]);
	return path;
}

static void do_names(struct thread *t)
{
	char a[64], b[64];
	struct hf_stat st;

	pick(t, a);
	pick(t, b);
	switch (rng_below(&t->rng, 9)) {
	case 0:
		allowed(t, "mkdir", hf_mkdir(vol, a, 0755));
		break;
	case 1:
		allowed(t, "rmdir", hf_rmdir(vol, a));
		break;
	case 2:
		allowed(t, "unlink", hf_unlink(vol, a));
		break;
	case 3:
		allowed(t, "link", hf_link(vol, a, b));
		break;
	case 4:
		allowed(t, "symlink", hf_symlink(vol, b, a));
		break;
	case 5:
		allowed(t, "rename", hf_rename(vol, a, b, (unsigned)rng_below(&t->rng, 3)));
		break;
	case 6:
		allowed(t, "lstat", hf_lstat(vol, a, &st));
		break;
	case 7:
		allowed(t, "mknod", hf_mknod(vol, a, S_IFREG | 0644, 0));
		break;
	default:
		allowed(t, "stat", hf_stat(vol, a, &st));
	}
}

static void do_file(struct thread *t)
{
	static const int modes[] = {0,
				    FALLOC_FL_KEEP_SIZE,
				    FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				    FALLOC_FL_ZERO_RANGE,
				    FALLOC_FL_COLLAPSE_RANGE,
				    FALLOC_FL_INSERT_RANGE};
	uint64_t off = rng_below(&t->rng, 300000), len = 1 + rng_below(&t->rng, BUF);
	char path[64], path2[64];
	hf_file *f, *g;
	int err = hf_open(vol, pick(t, path), HF_O_RDWR | (rng_one_in(&t->rng, 2) ? HF_O_CREAT : 0),
			  0644, &f);

	allowed(t, "open", err);
	if (err)
		return;
	switch (rng_below(&t->rng, 8)) {
	case 0 ... 1:
		allowed(t, "pwrite", hf_pwrite(f, t->buf, len, off));
		break;
	case 2:
		allowed(t, "pread", hf_pread(f, t->buf, len, off));
		break;
	case 3:
		allowed(t, "append", hf_append(f, t->buf, len, NULL));
		break;
	case 4:
		allowed(t, "ftruncate", hf_ftruncate(f, off));
		break;
	case 5:
		allowed(t, "fallocate",
			hf_fallocate(f, modes[rng_below(&t->rng, 6)], off & ~4095ull,
				     (len + 4095) & ~4095ull));
		break;
	case 6:
		err = hf_open(vol, pick(t, path2), HF_O_RDWR, 0, &g);
		allowed(t, "open", err);
		if (err)
			break;
		allowed(t, "copy_file_range", hf_copy_file_range(f, 0, g, off, len));
		allowed(t, "close", hf_close(&g));
		break;
	default:
		allowed(t, "fsync", hf_fsync(f));
	}
	allowed(t, "close", hf_close(&f));
}

static void do_readdir(struct thread *t)
{
	struct hf_dirent e;
	hf_dir *d;
	int ret = hf_opendir(vol, pick_dir(t), &d);

	allowed(t, "opendir", ret);
	if (ret)
		return;
	do {
		ret = hf_readdir(d, &e);
	} while (ret == 1);
	allowed(t, "readdir", ret);
	allowed(t, "closedir", hf_closedir(&d));
}

static void do_attributes(struct thread *t)
{
	const struct hf_setattr a = {
	    .set = HF_SET_MODE | HF_SET_MTIME, .mode = 0700, .mtime_ns = 1};
	struct hf_statfs s;
	char path[64], list[4096];

	pick(t, path);
	switch (rng_below(&t->rng, 6)) {
	case 0:
		allowed(t, "setattr", hf_setattr(vol, path, &a, true));
		break;
	case 1:
		allowed(t, "setxattr",
			hf_setxattr(vol, path, "user.x", t->buf, rng_below(&t->rng, 6000), 0));
		break;
	case 2:
		allowed(t, "getxattr", hf_getxattr(vol, path, "user.x", t->buf, BUF));
		break;
	case 3:
		allowed(t, "removexattr", hf_removexattr(vol, path, "user.x"));
		break;
	case 4:
		allowed(t, "listxattr", hf_listxattr(vol, path, list, sizeof(list)));
		break;
	default:
		allowed(t, "statfs", hf_statfs(vol, &s));
	}
}

/* Only this thread writes to it: what it wrote is there, whatever the others do. */
static void do_own(struct thread *t)
{
	char path[64], want[64], got[64];
	uint64_t off = rng_below(&t->rng, OWN_BYTES - sizeof(want)) & ~7ull;
	hf_file *f;
	int err;

	snprintf(path, sizeof(path), "/own%d", t->no);
	err = hf_open(vol, path, HF_O_RDWR | HF_O_CREAT, 0600, &f);
	if (err) {
		allowed(t, "open of the thread's own file", err);
		return;
	}
	rng_fill(off + (uint64_t)t->no, want, sizeof(want));
	if (hf_pwrite(f, want, sizeof(want), off) == (ssize_t)sizeof(want) &&
	    (hf_pread(f, got, sizeof(got), off) != (ssize_t)sizeof(got) ||
	     memcmp(want, got, sizeof(want))))
		complain("reading the thread's own file", 0);
	if (rng_one_in(&t->rng, 50))
		allowed(t, "truncate", hf_ftruncate(f, off));
	if (rng_one_in(&t->rng, 100))
		allowed(t, "unlink", hf_unlink(vol, path));
	t->ops += 2;
	allowed(t, "close", hf_close(&f));
}

static void *run(void *arg)
{
	struct hf_check_result res;
	struct thread *t = arg;

	while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
		switch (rng_below(&t->rng, 10)) {
		case 0 ... 3:
			do_names(t);
			break;
		case 4 ... 5:
			do_file(t);
			break;
		case 6:
			do_readdir(t);
			break;
		case 7:
			do_attributes(t);
			break;
		default:
			do_own(t);
		}
		if (rng_one_in(&t->rng, 2000))
			allowed(t, "syncfs", hf_syncfs(vol));
		if (rng_one_in(&t->rng, 5000) &&
		    (hf_check_mounted(vol, NULL, &res) || res.findings))
			complain("a check meanwhile", (int64_t)res.findings);
	}
	return NULL;
}

static void finding(void *ctx, const struct hf_finding *f)
{
	(void)ctx;
	fprintf(stderr, "finding: %s: %s\n", f->structure, f->text);
}

/* Everything at rest: clean, and the sums are right. */
static void look(void)
{
	const struct hf_check_options o = {.struct_size = sizeof(o), .finding = finding};
	struct hf_check_result res;
	struct hf_statfs s;
	int err = hf_check_mounted(vol, &o, &res);

	if (err || res.findings || res.orphans)
		complain("the check at the end", err ? err : (int64_t)(res.findings + res.orphans));
	if (hf_statfs(vol, &s) ||
	    s.blocks_free + s.blocks_busy_journal + s.blocks_busy_pinned + s.blocks_used !=
		s.blocks)
		complain("statfs at the end", 0);
}

int main(int argc, char **argv)
{
	static const struct option longs[] = {
	    {"seconds", required_argument, NULL, 's'},
	    {"threads", required_argument, NULL, 't'},
	    {"seed", required_argument, NULL, 'r'},
	    {0},
	};
	static struct thread threads[THREADS_MAX];
	uint64_t seed = (uint64_t)time(NULL), ops = 0, errors = 0;
	unsigned seconds = getenv("HF_TEST_SHORT") ? 1 : 5, n = 4;
	int c;

	for (c = getopt_long(argc, argv, "", longs, NULL); c != -1;
	     c = getopt_long(argc, argv, "", longs, NULL)) {
		if (c == 's')
			seconds = (unsigned)strtoul(optarg, NULL, 0);
		else if (c == 't')
			n = (unsigned)strtoul(optarg, NULL, 0);
		else if (c == 'r')
			seed = strtoull(optarg, NULL, 0);
		else
			return 2;
	}
	n = n < THREADS_MAX ? n : THREADS_MAX;
	printf("concurrent: %u threads, %u s, seed %llu\n", n, seconds, (unsigned long long)seed);
	fflush(stdout);
	alarm(seconds * 20 + 60); /* a deadlock ends by SIGALRM */
	if (hf_mount_memory(&vol, 24u << 20, NULL)) {
		fprintf(stderr, "concurrent: %s\n", hf_errormsg());
		return 1;
	}
	for (unsigned i = 0; i < n; i++) {
		threads[i].rng.s = seed + i;
		threads[i].no = (int)i;
		memset(threads[i].buf, 'a' + (int)i, BUF);
		pthread_create(&threads[i].id, NULL, run, &threads[i]);
	}
	for (unsigned i = 0; i < seconds * 20 && !stop; i++)
		nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
	atomic_store(&stop, true);
	for (unsigned i = 0; i < n; i++) {
		pthread_join(threads[i].id, NULL);
		ops += threads[i].ops;
		errors += threads[i].errors;
	}
	look();
	if (hf_unmount(&vol))
		complain("unmount", -1);
	printf("concurrent: %s: %llu operations, %llu errors\n", failed ? "FAILED" : "ok",
	       (unsigned long long)ops, (unsigned long long)errors);
	return failed ? 1 : 0;
}
