/* A process is killed in the middle of it, again and again: each finished operation is there, the
 * one in flight is wholly there or not at all. (What the CPU's caches lose is the explorer's part;
 * a kill loses none of it.) */
#include "file_vol.h"

#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <time.h>

#define CRASH_MAX (6 * MIB)
#define CRASH_OPS 100000u

struct crash_model {
	uint64_t size;
	uint8_t bytes[CRASH_MAX];
};
struct crash_shared {
	_Atomic uint64_t done; /* operations that have returned */
	_Atomic uint64_t failed;
};

struct crash_op {
	enum { OP_APPEND, OP_TRUNCATE, OP_PUNCH, OP_COLLAPSE, OP_INSERT, OP_RENAME } what;
	uint64_t off, len;
};

/* Operation i of a run: a function of the seed, i and the size. */
static struct crash_op crash_op(uint64_t seed, uint64_t i, uint64_t size)
{
	struct vol_rand r = {seed * 1000003 + i};
	struct crash_op op = {OP_APPEND, size,
			      1 + vol_below(&r, vol_below(&r, 10) ? 9000 : 3 * MIB)};
	uint64_t blocks = size / BLK;

	if (vol_below(&r, 20) == 0)
		op = (struct crash_op){OP_RENAME, i, 0};
	else if (size + op.len > CRASH_MAX || vol_below(&r, 12) == 0)
		op = (struct crash_op){OP_TRUNCATE, vol_below(&r, size + 1), 0};
	else if (blocks > 4 && vol_below(&r, 4) == 0) {
		op.off = vol_below(&r, blocks - 1) * BLK;
		op.len = (1 + vol_below(&r, blocks - 1 - op.off / BLK)) * BLK;
		op.what = OP_PUNCH + (unsigned)vol_below(&r, 3);
		if (op.what == OP_INSERT && size + op.len > CRASH_MAX)
			op.what = OP_PUNCH;
		if (op.what == OP_COLLAPSE && op.off + op.len >= size)
			op.what = OP_PUNCH;
	}
	return op;
}

static void crash_apply(struct crash_model *m, const struct crash_op *op, uint64_t i)
{
	switch (op->what) {
	case OP_APPEND:
		vol_fill(m->bytes + m->size, op->len, i);
		m->size += op->len;
		break;
	case OP_TRUNCATE:
		memset(m->bytes + op->off, 0, m->size - op->off);
		m->size = op->off;
		break;
	case OP_PUNCH:
		memset(m->bytes + op->off, 0, op->len);
		break;
	case OP_COLLAPSE:
		memmove(m->bytes + op->off, m->bytes + op->off + op->len,
			m->size - op->off - op->len);
		m->size -= op->len;
		memset(m->bytes + m->size, 0, op->len);
		break;
	case OP_INSERT:
		memmove(m->bytes + op->off + op->len, m->bytes + op->off, m->size - op->off);
		memset(m->bytes + op->off, 0, op->len);
		m->size += op->len;
		break;
	case OP_RENAME:
		break;
	}
}

static const char *crash_name(uint64_t renames)
{
	return renames % 2 ? "/second" : "/first";
}

static int64_t crash_do(hf_volume *vol, hf_file *f, const struct crash_op *op, uint64_t i,
			uint64_t *renames, uint8_t *buf)
{
	switch (op->what) {
	case OP_APPEND:
		vol_fill(buf, op->len, i);
		return hf_append(f, buf, op->len, NULL) == (ssize_t)op->len ? 0 : -1;
	case OP_TRUNCATE:
		return hf_ftruncate(f, op->off);
	case OP_PUNCH:
		return hf_fallocate(f, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, op->off,
				    op->len);
	case OP_COLLAPSE:
		return hf_fallocate(f, FALLOC_FL_COLLAPSE_RANGE, op->off, op->len);
	case OP_INSERT:
		return hf_fallocate(f, FALLOC_FL_INSERT_RANGE, op->off, op->len);
	case OP_RENAME:
		++*renames;
		return hf_rename(vol, crash_name(*renames - 1), crash_name(*renames), 0);
	}
	return -1;
}

static void crash_child(const char *path, struct crash_shared *sh, uint64_t seed)
{
	uint8_t *buf = malloc(CRASH_MAX);
	hf_volume *vol = vol_mount(path, 0);
	hf_file *f = vol_create(vol, "/first");
	uint64_t renames = 0;

	for (uint64_t i = 0; i < CRASH_OPS; i++) {
		struct crash_op op = crash_op(seed, i, vol_size(f));

		if (crash_do(vol, f, &op, i, &renames, buf)) {
			fprintf(stderr, "operation %llu failed: %s\n", (unsigned long long)i,
				hf_errormsg());
			atomic_store(&sh->failed, 1);
			_exit(1);
		}
		atomic_store(&sh->done, i + 1);
	}
	_exit(0);
}

static bool crash_matches(hf_volume *vol, const struct crash_model *m, uint64_t renames,
			  uint8_t *buf)
{
	struct hf_stat st;
	hf_file *f = NULL;
	bool same;

	if (hf_stat(vol, crash_name(renames + 1), &st) != -ENOENT ||
	    hf_open(vol, crash_name(renames), HF_O_RDONLY, 0, &f))
		return false;
	same = hf_pread(f, buf, CRASH_MAX, 0) == (ssize_t)m->size &&
	       memcmp(buf, m->bytes, m->size) == 0;
	OK(hf_close(&f));
	return same;
}

static void crash_verify(const char *path, uint64_t seed, uint64_t done)
{
	struct crash_model *m = calloc(1, sizeof(*m));
	uint8_t *buf = malloc(CRASH_MAX);
	hf_volume *vol;
	uint64_t renames = 0;
	bool before, after;

	CHECK(path); /* with what is in the journal */
	vol = vol_mount(path, 0);
	for (uint64_t i = 0; i < done; i++) {
		struct crash_op op = crash_op(seed, i, m->size);

		crash_apply(m, &op, i);
		renames += op.what == OP_RENAME;
	}
	before = crash_matches(vol, m, renames, buf);
	if (!before) {
		struct crash_op op = crash_op(seed, done, m->size);

		crash_apply(m, &op, done);
		renames += op.what == OP_RENAME;
		after = crash_matches(vol, m, renames, buf);
		if (!after)
			fprintf(stderr,
				"seed %llu, killed after operation %llu: neither before nor after "
				"the next (%d)\n",
				(unsigned long long)seed, (unsigned long long)done, (int)op.what);
		CU_ASSERT(after);
	}
	/* Usable, and nothing is lost. */
	OK(hf_unlink(vol, crash_name(renames)));
	OK(hf_syncfs(vol));
	CU_ASSERT(vol_used(vol) <= 16);
	OK(hf_unmount(&vol));
	CHECK(path);
	free(buf);
	free(m);
}

static void test_kill(void)
{
	struct crash_shared *sh =
	    mmap(NULL, sizeof(*sh), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	uint64_t rounds = vol_env("HF_TEST_ROUNDS", 60), seed = vol_env("HF_TEST_SEED", 1);
	const char *path = vol_path("crash");

	for (uint64_t i = 0; i < rounds && CU_get_number_of_failures() == 0; i++, seed++) {
		struct timespec t = {0,
				     (long)vol_below(&(struct vol_rand){seed}, 30000000) + 2000000};
		int status;
		pid_t pid;

		vol_format(path, 32 * MIB);
		atomic_store(&sh->done, 0);
		pid = fork();
		if (pid == 0)
			crash_child(path, sh, seed);
		while (atomic_load(&sh->done) == 0 && !atomic_load(&sh->failed))
			nanosleep(&(struct timespec){0, 100000}, NULL);
		nanosleep(&t, NULL);
		kill(pid, SIGKILL);
		CU_ASSERT_EQUAL(waitpid(pid, &status, 0), pid);
		CU_ASSERT_EQUAL(atomic_load(&sh->failed), 0);
		crash_verify(path, seed, atomic_load(&sh->done));
	}
	unlink(path);
	munmap(sh, sizeof(*sh));
}

int main(void)
{
	static const struct hf_case cases[] = {
	    {"kill", test_kill},
	};

	return hf_run_suite("killed", cases, HF_COUNT(cases));
}
