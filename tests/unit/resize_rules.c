/* Rules of changing sizes that show only when threads meet, or when a process is killed half-way.
 */
#include "file_vol.h"

#include "file/volume.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/uio.h>

#define RECORD	    5000u
#define RECORDS_MAX 40u

struct race {
	hf_volume *vol;
	uint64_t appends; /* of each appender */
	_Atomic unsigned appenders, bad;
};

static void *run_append(void *arg)
{
	struct race *r = arg;
	hf_file *f = vol_open(r->vol, "/f", HF_O_RDWR);
	char *record = malloc(RECORD);

	memset(record, 'x', RECORD);
	for (uint64_t i = 0; i < r->appends; i++) {
		uint64_t at = 0;

		if (hf_append(f, record, RECORD, &at) != (ssize_t)RECORD || at % RECORD)
			atomic_fetch_add(&r->bad, 1);
		if (at > RECORD * RECORDS_MAX && hf_ftruncate(f, 0))
			atomic_fetch_add(&r->bad, 1);
	}
	atomic_fetch_sub(&r->appenders, 1);
	free(record);
	hf_close(&f);
	return NULL;
}

static void *run_truncate(void *arg)
{
	struct race *r = arg;
	hf_file *f = vol_open(r->vol, "/f", HF_O_RDWR);

	while (atomic_load(&r->appenders)) {
		if (hf_ftruncate(f, 0))
			atomic_fetch_add(&r->bad, 1);
		sched_yield();
	}
	hf_close(&f);
	return NULL;
}

/* Rule T1: an append that computed its place before a truncate, and commits after it: its bytes
 * stand behind a hole that nobody made. */
static void rule_T1_append_against_truncate(void)
{
	struct race r = {.vol = vol_memory(16 * MIB),
			 .appends = getenv("HF_TEST_SHORT") ? 2000 : 10000,
			 .appenders = 2};
	void *(*const fns[])(void *) = {run_append, run_append, run_truncate};
	char *buf = malloc(RECORD * (RECORDS_MAX + 8));
	hf_file *f = vol_create(r.vol, "/f");
	pthread_t t[3];

	for (unsigned i = 0; i < 3; i++)
		pthread_create(&t[i], NULL, fns[i], &r);
	while (atomic_load(&r.appenders)) {
		ssize_t got = hf_pread(f, buf, RECORD * (RECORDS_MAX + 8), 0);

		if (got < 0 || got % RECORD || (got > 0 && memchr(buf, 0, (size_t)got)))
			atomic_fetch_add(&r.bad, 1);
	}
	for (unsigned i = 0; i < 3; i++)
		pthread_join(t[i], NULL);
	CU_ASSERT_EQUAL(atomic_load(&r.bad), 0);
	free(buf);
	OK(hf_close(&f));
	OK(hf_unmount(&r.vol));
}

/* ---- rule T9: what a process finds that is killed at any fence of a long operation */

#define CUT_BYTES  (12 * MIB) /* of the volume */
#define CUT_BLOCKS 1200ull    /* of the file: three slots */

struct cut {
	struct pm *pm;
	char path[256];
	unsigned images;
	uint8_t before[CUT_BLOCKS * BLK], after[(CUT_BLOCKS + 8) * BLK],
	    found[(CUT_BLOCKS + 8) * BLK];
	uint64_t size_before, size_after;
};

static void cut_path(const struct cut *c, unsigned i, char out[300])
{
	snprintf(out, 300, "%s.%u", c->path, i);
}

static int cut_fence(void *ctx)
{
	struct cut *c = ctx;
	char path[300];
	FILE *f;

	cut_path(c, c->images++, path);
	f = fopen(path, "w");
	if (!f || fwrite(c->pm->base, 1, c->pm->size, f) != c->pm->size)
		exit(1);
	fclose(f);
	return 0;
}

static void cut_look(struct cut *c, unsigned i, unsigned *old, unsigned *new)
{
	char path[300];
	hf_volume *vol;
	uint64_t size;
	hf_file *f;

	cut_path(c, i, path);
	vol = vol_mount(path, HF_MOUNT_NO_MSYNC);
	f = vol_open(vol, "/f", HF_O_RDONLY);
	size = vol_size(f);
	GET(size, hf_pread(f, c->found, sizeof(c->found), 0));
	if (size == c->size_before && memcmp(c->found, c->before, size) == 0)
		(*old)++;
	else if (size == c->size_after && memcmp(c->found, c->after, size) == 0)
		(*new)++;
	OK(hf_close(&f));
	OK(hf_unmount(&vol));
	unlink(path);
}

/* Every second block is a hole: a record cannot name what is left. */
static hf_file *cut_file(struct cut *c, hf_volume *vol)
{
	hf_file *f = vol_create(vol, "/f");

	vol_fill(c->before, sizeof(c->before), 7);
	GET(sizeof(c->before), hf_pwrite(f, c->before, sizeof(c->before), 0));
	for (uint64_t i = 1; i < CUT_BLOCKS; i += 2) {
		OK(hf_fallocate(f, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, i * BLK, BLK));
		memset(c->before + i * BLK, 0, BLK);
	}
	OK(hf_syncfs(vol));
	return f;
}

static void cut_by(int mode, uint64_t off, uint64_t len)
{
	struct cut *c = calloc(1, sizeof(*c));
	hf_volume *vol = vol_memory(CUT_BYTES);
	hf_file *f = cut_file(c, vol);
	struct pm_hook hook = {.ctx = c, .fence = cut_fence};
	unsigned old = 0, new = 0;

	snprintf(c->path, sizeof(c->path), "%s", vol_path("cut"));
	c->pm = f->in->fs->pm;
	c->size_before = vol_size(f);
	c->pm->hook = &hook;
	cut_fence(c); /* at the beginning and at the end, too */
	OK(hf_fallocate(f, mode, off, len));
	cut_fence(c);
	c->pm->hook = NULL;
	c->size_after = vol_size(f);
	GET(c->size_after, hf_pread(f, c->after, sizeof(c->after), 0));
	for (unsigned i = 0; i < c->images; i++)
		cut_look(c, i, &old, &new);
	CU_ASSERT(old > 0 && new > 1);
	CU_ASSERT_EQUAL(old + new, c->images);
	OK(hf_close(&f));
	OK(hf_unmount(&vol));
	free(c);
}

static void rule_T9_punch_is_one_transaction(void)
{
	cut_by(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 3 * BLK, (CUT_BLOCKS - 10) * BLK);
}

static void rule_T9_collapse_is_one_transaction(void)
{
	cut_by(FALLOC_FL_COLLAPSE_RANGE, 5 * BLK, 3 * BLK);
	cut_by(FALLOC_FL_COLLAPSE_RANGE, 5 * BLK, 600 * BLK);
}

static void rule_T9_insert_is_one_transaction(void)
{
	cut_by(FALLOC_FL_INSERT_RANGE, 5 * BLK, 3 * BLK);
}

/* ---- rule B5: a volume that is full of data and of metadata still has a block for a split */

static void eat_data(hf_file *f)
{
	uint64_t at = vol_size(f), len = 64 * KIB;
	char *buf = malloc(len);

	memset(buf, 'e', len);
	while (len > 0) {
		ssize_t got = hf_pwrite(f, buf, len, at);

		CU_ASSERT_FATAL(got > 0 || got == -ENOSPC);
		at += got > 0 ? (uint64_t)got : 0;
		len = got > 0 ? len : len / 2;
	}
	free(buf);
}

/* Metadata gets what is kept back from data: names, until there is no more. */
static void eat_metadata(hf_volume *vol)
{
	char name[256];
	int err = 0;

	for (unsigned i = 0; !err; i++) {
		snprintf(name, sizeof(name), "/%0200u", i);
		err = hf_mknod(vol, name, S_IFREG | 0600, 0);
	}
	GET(-ENOSPC, err);
	for (unsigned i = 0; i < 64; i++) {
		snprintf(name, sizeof(name), "/d%u", i);
		err = hf_mkdir(vol, name, 0700);
		CU_ASSERT(!err || err == -ENOSPC);
	}
}

static void rule_B5_block_kept_for_a_split(void)
{
	const struct hf_pin_options o = {.struct_size = sizeof(o)};
	hf_volume *vol = vol_memory(16 * MIB);
	hf_file *f = vol_create(vol, "/f"), *g = vol_create(vol, "/g");
	char *buf = malloc(FRM);
	struct hf_extent e;
	struct hf_statfs s;
	struct iovec iov;
	size_t n = 1;
	hf_pin_id pin;

	memset(buf, 'f', FRM);
	GET(FRM, hf_pwrite(f, buf, FRM, 0));
	OK(hf_extents(f, 0, &e, 1, &n));
	CU_ASSERT(n == 1 && e.huge);
	n = 1;
	OK(hf_pin(f, 0, FRM, &o, &iov, &n, &pin));
	eat_data(g);
	eat_metadata(vol);
	OK(hf_fallocate(f, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 100 * BLK, BLK));
	GET(100 * BLK, hf_seek(f, 0, SEEK_HOLE));
	CU_ASSERT_EQUAL(memcmp(iov.iov_base, buf, FRM), 0);
	OK(hf_statfs(vol, &s));
	CU_ASSERT_EQUAL(s.blocks_busy_pinned, 1);
	OK(hf_unpin(vol, pin));
	free(buf);
	OK(hf_close(&f));
	OK(hf_close(&g));
	OK(hf_unmount(&vol));
}

static const struct hf_case cases[] = {
    {"rule_T1_append_against_truncate", rule_T1_append_against_truncate},
    {"rule_T9_punch_is_one_transaction", rule_T9_punch_is_one_transaction},
    {"rule_T9_collapse_is_one_transaction", rule_T9_collapse_is_one_transaction},
    {"rule_T9_insert_is_one_transaction", rule_T9_insert_is_one_transaction},
    {"rule_B5_block_kept_for_a_split", rule_B5_block_kept_for_a_split},
};

int main(void)
{
	return hf_run_suite("rules of resizing", cases, HF_COUNT(cases));
}
