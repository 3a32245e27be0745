/* Random operations on a volume and on a model of a file system, step by step: each must give the
 *same.
 *
 *	lockstep [--profile NAME] [--seed S] [--ops N] [--file PATH] [--verbose]
 *
 * Same: return codes, bytes, attributes, and at intervals the whole tree, with the library's own
 *check finding nothing. The volume lies in a memfd with cache lines flushed, or with --file in a
 *file with page granularity. Same seed, same run.
 */
#include "verify.h"
#include "volume_file.h"

#include <errno.h>
#include <getopt.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static const struct op_profile profiles[] = {
    {.name = "small",
     .volume_bytes = 24u << 20,
     .inodes = 250,
     .off_max = 300000,
     .pages_max = 3500},
    /* full most of the time */
    {.name = "full",
     .volume_bytes = 8u << 20,
     .inodes = 3000,
     .off_max = 500000,
     .pages_max = 1u << 30},
    /* huge leaves */
    {.name = "large",
     .volume_bytes = 256u << 20,
     .inodes = 120,
     .off_max = 12u << 20,
     .pages_max = 24000,
     .huge = true},
    /* directories of many buckets, long chains */
    {.name = "names",
     .volume_bytes = 48u << 20,
     .inodes = 3000,
     .off_max = 9000,
     .pages_max = 3000},
    /* huge leaves and no room */
    {.name = "largefull",
     .volume_bytes = 32u << 20,
     .inodes = 1000,
     .off_max = 10u << 20,
     .pages_max = 1u << 30,
     .huge = true},
};

struct run {
	struct op_gen gen;
	struct model *m;
	struct real real;
	struct out a, b; /* the library's, the model's */
	struct verify v;
	uint8_t *old, *new;
	const char *file; /* NULL: memfd */
	char path[64];
	int fd;
	uint64_t op_no, ops, full, shorts, remounts, checks, errors;
	uint64_t inodes_base;
	bool verbose;
};

static int fail(struct run *run, const struct op *op)
{
	char a[64], b[64];

	fprintf(stderr, "lockstep: operation %llu: %s\n", (unsigned long long)run->op_no,
		run->v.text);
	if (op) {
		op_print(stderr, op);
		fprintf(stderr, "the library: %s (%s); the model: %s\n", op_error(run->a.ret, a),
			hf_errormsg(), op_error(run->b.ret, b));
	}
	return 1;
}

static int say(struct run *run, const struct op *op, const char *what)
{
	snprintf(run->v.text, sizeof(run->v.text), "%s", what);
	return fail(run, op);
}

/* ---- the volume */

static int volume_mount(struct run *run)
{
	const struct hf_mount_options o = {
	    .struct_size = sizeof(o),
	    .flags = run->file ? 0 : HF_MOUNT_FORCE_CACHE_LINE,
	    .max_cached_inodes = 64, /* so that they are evicted */
	    .uid = 1000,
	    .gid = 100,
	    .use_ids = true,
	};
	int err = hf_mount(&run->real.vol, run->path, &o);

	if (err)
		fprintf(stderr, "lockstep: mount: %d: %s\n", err, hf_errormsg());
	return err;
}

static uint64_t inodes_used(struct run *run)
{
	struct hf_statfs s = {0};

	hf_statfs(run->real.vol, &s);
	return s.inodes_used;
}

static int volume_make(struct run *run)
{
	const struct hf_format_options o = {
	    .struct_size = sizeof(o),
	    .bytes = run->gen.profile->volume_bytes,
	    .force = true,
	    .uid = 1000,
	    .gid = 100,
	};
	int err;

	run->fd = -1;
	if (run->file) {
		volume_file_remove(run->file);
		snprintf(run->path, sizeof(run->path), "%s", run->file);
	} else {
		run->fd = memfd_create("lockstep", MFD_CLOEXEC);
		snprintf(run->path, sizeof(run->path), "/proc/self/fd/%d", run->fd);
	}
	err = hf_format(run->path, &o);
	if (err) {
		fprintf(stderr, "lockstep: format: %d: %s\n", err, hf_errormsg());
		return err;
	}
	err = volume_mount(run);
	if (!err)
		run->inodes_base = inodes_used(run) - run->m->n;
	return err;
}

/* ---- a full volume */

/* May there be no space? */
static bool plausible(struct run *run, const struct op *op)
{
	struct hf_statfs s;
	uint64_t blocks;

	if (!op_wants_space(run->m, op, &blocks))
		return false;
	hf_statfs(run->real.vol, &s);
	return s.blocks_free + s.blocks_busy_journal <= blocks + blocks / 256;
}

/* Bytes [skip, len) of a data operation at off may be old or new. */
static int adopt(struct run *run, const struct op *op, struct m_inode *in, uint64_t off,
		 uint64_t skip)
{
	uint64_t len = op->len < OP_LEN_MAX ? op->len : OP_LEN_MAX;
	hf_file *f;
	int err;

	if (skip >= len || in->id.ino == 0)
		return 0;
	m_read(in, run->old, len, off);
	memcpy(run->new, run->old, len);
	if (op->kind == OP_WRITE || op->kind == OP_APPEND)
		op_data(op, run->new, len);
	else if (op->kind == OP_COPY)
		m_read(run->m->handles[op->slot].in, run->new, len, op->off);
	else if (op->kind == OP_FALLOCATE &&
		 op->mode & (FALLOC_FL_ZERO_RANGE | FALLOC_FL_PUNCH_HOLE))
		memset(run->new, 0, len);
	err = hf_inode_open(run->real.vol, in->id, HF_O_RDONLY, &f);
	if (err)
		return 1;
	err = verify_adopt(&run->v, run->m, in, f, run->old + skip, run->new + skip, off + skip,
			   len - skip, 1);
	hf_close(&f);
	return err;
}

static uint64_t data_off(const struct run *run, const struct op *op)
{
	if (op->kind == OP_COPY)
		return op->off2;
	if (op->kind == OP_APPEND ||
	    (op->kind == OP_WRITE && run->m->handles[op->slot].flags & HF_O_APPEND))
		return run->m->handles[op->slot].in->size;
	return op->off;
}

static bool is_data(const struct op *op)
{
	return op->kind == OP_WRITE || op->kind == OP_APPEND || op->kind == OP_COPY ||
	       op->kind == OP_FALLOCATE;
}

/* -ENOSPC, and the model says the operation is right: nothing happened, but to the bytes. */
static int step_full(struct run *run, const struct op *op)
{
	struct m_inode *in = op_file(run->m, op);

	run->full++;
	if (run->gen.shrink == 0 && rng_one_in(&run->gen.rng, 4))
		run->gen.shrink = 20 + (unsigned)rng_below(&run->gen.rng, 100);
	if (!in)
		return 0;
	m_may_touch(run->m, in, M_MTIME | M_CTIME);
	if (is_data(op) && adopt(run, op, in, data_off(run, op), 0))
		return fail(run, op);
	return 0;
}

/* Fewer bytes than asked for: the rest may be old or new. */
static int step_short(struct run *run, const struct op *op)
{
	struct m_inode *in = op_file(run->m, op);
	uint64_t off = data_off(run, op);
	struct op done = *op;
	bool unclear;

	run->shorts++;
	done.len = (uint64_t)run->a.ret;
	op_model(run->m, &done, &run->b, &unclear);
	if (run->b.ret != run->a.ret)
		return say(run, op, "short, and different");
	if (adopt(run, op, in, off, done.len))
		return fail(run, op);
	return 0;
}

static bool is_short(struct run *run, const struct op *op)
{
	const struct m_inode *in;
	uint64_t want = op->len;

	if (run->a.ret <= 0 || (uint64_t)run->a.ret >= want)
		return false;
	if (op->kind == OP_COPY) {
		in = run->m->handles[op->slot].in;
		want = op->off < in->size && in->size - op->off < want ? in->size - op->off : want;
		return (uint64_t)run->a.ret < want;
	}
	return op->kind == OP_WRITE || op->kind == OP_APPEND;
}

/* ---- comparing */

static int compare(struct run *run, const struct op *op, bool unclear)
{
	const struct out *a = &run->a, *b = &run->b;

	if (a->wrong)
		return say(run, op, a->wrong);
	if (a->ret != b->ret && !(unclear && a->ret < 0 && b->ret < 0))
		return say(run, op, "the results differ");
	if (a->ret < 0)
		return 0;
	if (a->aux != b->aux)
		return say(run, op, "the offsets differ");
	if (op->kind != OP_WRITE && op->kind != OP_APPEND && op->kind != OP_SETXATTR &&
	    (a->len != b->len || memcmp(a->buf, b->buf, a->len)))
		return say(run, op, "the bytes differ");
	return 0;
}

static int check_path(struct run *run, const char *path)
{
	struct m_walk w;
	struct hf_stat st;

	if (m_walk(run->m, path, M_NAME, &w) || w.slash)
		return 0;
	if (w.in && verify_inode(&run->v, run->m, w.in, path))
		return 1;
	if (!w.dir || w.dir->id.ino == 0 || w.dir->nlink == 0)
		return 0;
	if (hf_inode_stat(run->real.vol, w.dir->id, &st)) {
		snprintf(run->v.text, sizeof(run->v.text),
			 "%.200s: its directory cannot be looked at by number", path);
		return 1;
	}
	return verify_stat(&run->v, run->m, w.dir, &st, "the directory");
}

/* What the operation was about is now what it should be. */
static int check_near(struct run *run, const struct op *op)
{
	struct hf_stat st;
	int err = 0;

	for (int i = 0; i < M_HANDLES && !err; i++) {
		if (!run->m->handles[i].in || (i != op->slot && i != op->slot2) ||
		    op->kind >= OP_OPENDIR)
			continue;
		if (hf_fstat(run->real.files[i], &st))
			return say(run, op, "fstat failed");
		err = verify_stat(&run->v, run->m, run->m->handles[i].in, &st, "the open file");
	}
	if (!err && op->path[0])
		err = check_path(run, op->path);
	if (!err && op->path2[0] && op->kind != OP_SYMLINK)
		err = check_path(run, op->path2);
	return err ? fail(run, op) : 0;
}

static bool model_has(const struct model *m, struct hf_id id)
{
	for (size_t i = 0; i < m->n; i++)
		if (m->inodes[i]->id.ino == id.ino && m->inodes[i]->id.gen == id.gen)
			return true;
	return false;
}

/* The inode that may be freed by the operation. */
static struct hf_id victim(struct run *run, const struct op *op)
{
	struct hf_id none = {0};
	struct m_walk w;

	if (op->kind == OP_CLOSE)
		return run->m->handles[op->slot].in->id;
	if (op->kind != OP_UNLINK && op->kind != OP_RMDIR && op->kind != OP_RENAME)
		return none;
	if (m_walk(run->m, op->kind == OP_RENAME ? op->path2 : op->path, M_NAME, &w) || !w.in)
		return none;
	return w.in->id;
}

static int step(struct run *run)
{
	struct op op;
	struct hf_id gone;
	bool unclear;
	int ret;

	op_generate(&run->gen, run->m, &op);
	if (run->verbose) {
		printf("%llu: ", (unsigned long long)run->op_no);
		op_print(stdout, &op);
	}
	gone = victim(run, &op);
	run->m->now.lo = m_clock();
	op_real(&run->real, &op, &run->a);
	run->m->now.hi = m_clock();
	run->errors += run->a.ret < 0;
	if (run->verbose)
		printf("\t%lld\n", (long long)run->a.ret);
	if (run->a.ret == -ENOSPC && plausible(run, &op))
		return step_full(run, &op);
	if (run->a.ret == -ENOSPC && op.kind == OP_SETXATTR) /* a megabyte of them at most */
		return 0;
	/* A map that is too scattered to be shifted in one record. */
	if (run->a.ret == -EFBIG && op.kind == OP_FALLOCATE &&
	    op.mode & (FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_INSERT_RANGE) &&
	    run->m->handles[op.slot].in->npages > 64)
		return 0;
	if (is_short(run, &op))
		return step_short(run, &op);
	run->b.ret = run->a.ret;
	op_model(run->m, &op, &run->b, &unclear);
	ret = compare(run, &op, unclear);
	if (!ret && run->a.ret >= 0)
		ret = check_near(run, &op);
	if (!ret && gone.ino && !model_has(run->m, gone) &&
	    hf_inode_stat(run->real.vol, gone, NULL) != -ESTALE)
		ret = say(run, &op, "a freed inode's number and generation are still valid");
	return ret;
}

/* ---- at intervals */

static int check_whole(struct run *run)
{
	struct hf_check_result res;

	run->checks++;
	if (verify_all(&run->v, run->m) || verify_check(&run->v, run->real.vol, NULL, &res))
		return fail(run, NULL);
	if (res.inodes && inodes_used(run) != run->m->n + run->inodes_base) {
		snprintf(run->v.text, sizeof(run->v.text),
			 "statfs says %llu inodes, the model has %zu",
			 (unsigned long long)inodes_used(run), run->m->n);
		return fail(run, NULL);
	}
	return 0;
}

static bool any_open(const struct run *run)
{
	for (int i = 0; i < M_HANDLES; i++)
		if (run->real.files[i])
			return true;
	return false;
}

static int close_all(struct run *run)
{
	if (any_open(run) && hf_unmount(&run->real.vol) != -EBUSY)
		return say(run, NULL, "unmounted with open files");
	real_close_all(&run->real);
	m_crash(run->m);
	return 0;
}

static int remount(struct run *run)
{
	struct hf_check_result res;
	int err = close_all(run);

	run->remounts++;
	if (err)
		return err;
	err = hf_unmount(&run->real.vol);
	if (err || run->real.vol)
		return say(run, NULL, "unmount failed");
	if (verify_check(&run->v, NULL, run->path, &res))
		return fail(run, NULL);
	if (res.journal_records)
		return say(run, NULL, "there are journal records after an unmount");
	return volume_mount(run) || check_whole(run);
}

static int run_ops(struct run *run)
{
	uint64_t check_every = run->gen.profile->huge ? 2000 : 700,
		 remount_every = run->ops / 12 + 500;
	int err = 0;

	for (run->op_no = 0; run->op_no < run->ops && !err; run->op_no++) {
		err = step(run);
		if (!err && run->op_no % check_every == check_every - 1)
			err = check_whole(run);
		if (!err && run->op_no % remount_every == remount_every - 1)
			err = remount(run);
	}
	return err;
}

static double seconds_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static int usage(void)
{
	fprintf(stderr, "usage: lockstep [--profile small|full|large|names|largefull] [--seed S] "
			"[--ops N] [--file PATH] "
			"[--verbose]\n");
	return 2;
}

static int options(struct run *run, int argc, char **argv)
{
	static const struct option longs[] = {
	    {"profile", required_argument, NULL, 'p'}, {"seed", required_argument, NULL, 's'},
	    {"ops", required_argument, NULL, 'n'},     {"file", required_argument, NULL, 'f'},
	    {"verbose", no_argument, NULL, 'v'},       {0},
	};
	int c;

	run->gen.profile = &profiles[0];
	run->ops = getenv("HF_TEST_SHORT") ? 1000 : 20000;
	run->gen.rng.s = (uint64_t)time(NULL);
	for (c = getopt_long(argc, argv, "", longs, NULL); c != -1;
	     c = getopt_long(argc, argv, "", longs, NULL)) {
		switch (c) {
		case 'p':
			run->gen.profile = NULL;
			for (size_t i = 0; i < sizeof(profiles) / sizeof(profiles[0]); i++)
				if (strcmp(profiles[i].name, optarg) == 0)
					run->gen.profile = &profiles[i];
			if (!run->gen.profile)
				return usage();
			break;
		case 's':
			run->gen.rng.s = strtoull(optarg, NULL, 0);
			break;
		case 'n':
			run->ops = strtoull(optarg, NULL, 0);
			break;
		case 'f':
			run->file = optarg;
			break;
		case 'v':
			run->verbose = true;
			break;
		default:
			return usage();
		}
	}
	return 0;
}

int main(int argc, char **argv)
{
	static struct run run;
	double t0 = seconds_now();
	uint64_t seed;
	int err = options(&run, argc, argv);

	if (err)
		return err;
	setvbuf(stdout, NULL, _IOLBF, 0);
	seed = run.gen.rng.s;
	printf("lockstep: profile %s, seed %llu, %llu operations, %s\n", run.gen.profile->name,
	       (unsigned long long)seed, (unsigned long long)run.ops,
	       run.file ? run.file : "memfd, cache lines");
	run.a.buf = malloc(OP_LEN_MAX + 4096);
	run.b.buf = malloc(OP_LEN_MAX + 4096);
	run.v.a = malloc(OP_LEN_MAX + 4096);
	run.v.b = malloc(OP_LEN_MAX + 4096);
	run.old = malloc(OP_LEN_MAX + 4096);
	run.new = malloc(OP_LEN_MAX + 4096);
	run.m = m_new(1000, 100);
	run.real.prefix = "";
	run.real.m = run.m;
	run.v.r = &run.real;
	err = volume_make(&run) || check_whole(&run) || run_ops(&run) || remount(&run) ||
	      close_all(&run) || hf_unmount(&run.real.vol);
	if (run.file && !err)
		volume_file_remove(run.file);
	printf("lockstep: %s: %llu operations, %llu errors, %llu without space, %llu short, %llu "
	       "remounts, %llu comparisons, "
	       "%zu inodes, %.1f s\n",
	       err ? "FAILED" : "ok", (unsigned long long)run.op_no, (unsigned long long)run.errors,
	       (unsigned long long)run.full, (unsigned long long)run.shorts,
	       (unsigned long long)run.remounts, (unsigned long long)run.checks, run.m->n,
	       seconds_now() - t0);
	if (err)
		fprintf(stderr, "replay: %s --profile %s --seed %llu --ops %llu%s%s\n", argv[0],
			run.gen.profile->name, (unsigned long long)seed,
			(unsigned long long)run.op_no, run.file ? " --file " : "",
			run.file ? run.file : "");
	m_free(run.m);
	free(run.a.buf);
	free(run.b.buf);
	free(run.v.a);
	free(run.v.b);
	free(run.old);
	free(run.new);
	return err ? 1 : 0;
}
