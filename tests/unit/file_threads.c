/* Threads on one file and on one directory. What one write stored, one read sees wholly or not at
 * all. */
#include "file_vol.h"

#include "file/volume.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#define UNITS	   24u
#define UNIT_BYTES (20 * BLK + 64)
#define TAIL	   (UNITS * UNIT_BYTES)
#define RECORD	   200u

struct shared {
	hf_volume *vol;
	uint64_t steps;
	_Atomic uint64_t stamp, appended, removed;
	_Atomic uint32_t seeds, bad, writers;
};

static void spoiled(struct shared *s, const char *why)
{
	if (atomic_fetch_add(&s->bad, 1) < 5)
		fprintf(stderr, "%s (%s)\n", why, hf_errormsg());
}

static struct vol_rand my_rand(struct shared *s)
{
	return (struct vol_rand){1000 + atomic_fetch_add(&s->seeds, 1)};
}

static void *run_writer(void *arg)
{
	static _Thread_local uint64_t unit[UNIT_BYTES / 8];
	struct shared *s = arg;
	struct vol_rand r = my_rand(s);
	hf_file *f = vol_open(s->vol, "/f", HF_O_RDWR);

	for (uint64_t i = 0; i < s->steps; i++) {
		uint64_t stamp = atomic_fetch_add(&s->stamp, 1) + 1, at = vol_below(&r, UNITS);

		for (size_t k = 0; k < UNIT_BYTES / 8; k++)
			unit[k] = stamp;
		if (hf_pwrite(f, unit, UNIT_BYTES, at * UNIT_BYTES) != (ssize_t)UNIT_BYTES)
			spoiled(s, "a write failed");
	}
	hf_close(&f);
	atomic_fetch_sub(&s->writers, 1);
	return NULL;
}

static void *run_reader(void *arg)
{
	static _Thread_local uint64_t unit[UNIT_BYTES / 8];
	struct shared *s = arg;
	struct vol_rand r = my_rand(s);
	hf_file *f = vol_open(s->vol, "/f", HF_O_RDONLY);

	while (atomic_load(&s->writers)) {
		ssize_t got = hf_pread(f, unit, UNIT_BYTES, vol_below(&r, UNITS) * UNIT_BYTES);

		if (got != (ssize_t)UNIT_BYTES)
			spoiled(s, "a read failed");
		for (size_t k = 1; k < UNIT_BYTES / 8; k++) {
			if (unit[k] != unit[0]) {
				spoiled(s, "half of a write was read");
				break;
			}
		}
	}
	hf_close(&f);
	return NULL;
}

/* Works behind the units: the map changes under the others' hands. */
static void *run_resizer(void *arg)
{
	struct shared *s = arg;
	struct vol_rand r = my_rand(s);
	hf_file *f = vol_open(s->vol, "/f", HF_O_RDWR);
	static uint8_t bytes[3 * MIB];
	struct hf_extent e[64];
	size_t n;

	while (atomic_load(&s->writers)) {
		uint64_t off = TAIL + vol_below(&r, 4 * MIB),
			 len = 1 + vol_below(&r, sizeof(bytes));
		int64_t ret;

		switch (vol_below(&r, 6)) {
		case 0:
			ret = hf_ftruncate(f, TAIL + vol_below(&r, 2) * off);
			break;
		case 1:
			ret = hf_fallocate(f, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off, len);
			break;
		case 2:
			ret = hf_fallocate(f, 0, off, len);
			break;
		case 3:
			ret = hf_extents(f, 0, e, 64, &n);
			break;
		case 4:
			ret = hf_fsync(f);
			break;
		default:
			ret = hf_pwrite(f, bytes, len, off);
			break;
		}
		if (ret < 0)
			spoiled(s, "resizing failed");
	}
	hf_close(&f);
	return NULL;
}

/* Looks at everything, and changes what stands beside size and root in the inode. */
static void *run_observer(void *arg)
{
	struct shared *s = arg;
	struct hf_statfs sf;
	struct hf_stat st;
	char value[100] = {0};

	while (atomic_load(&s->writers)) {
		if (hf_setxattr(s->vol, "/f", "user.x", value, sizeof(value), 0) ||
		    hf_chmod(s->vol, "/f", 0600) || hf_link(s->vol, "/f", "/g") ||
		    hf_unlink(s->vol, "/g") || hf_removexattr(s->vol, "/f", "user.x"))
			spoiled(s, "changing attributes failed");
		if (hf_stat(s->vol, "/f", &st) || st.size < TAIL || hf_statfs(s->vol, &sf) ||
		    hf_syncfs(s->vol))
			spoiled(s, "observing failed");
	}
	return NULL;
}

static void run_all(struct shared *s, void *(*const fns[])(void *), size_t n)
{
	pthread_t t[16];

	for (size_t i = 0; i < n; i++)
		CU_ASSERT_EQUAL(pthread_create(&t[i], NULL, fns[i], s), 0);
	for (size_t i = 0; i < n; i++)
		pthread_join(t[i], NULL);
	CU_ASSERT_EQUAL(atomic_load(&s->bad), 0);
}

static void test_one_file(void)
{
	void *(*const fns[])(void *) = {run_writer, run_writer,	 run_reader,
					run_reader, run_resizer, run_observer};
	struct shared s = {
	    .vol = vol_memory(64 * MIB), .steps = vol_env("HF_TEST_STEPS", 4000), .writers = 2};
	hf_file *f = vol_create(s.vol, "/f");

	OK(hf_fallocate(f, 0, 0, TAIL));
	run_all(&s, fns, HF_COUNT(fns));
	OK(hf_close(&f));
	OK(hf_unmount(&s.vol));
}

/* Without preallocation: readers see zeros or a whole write while blocks come. */
static void test_sparse_file(void)
{
	void *(*const fns[])(void *) = {run_writer, run_writer, run_reader, run_reader};
	struct shared s = {.vol = vol_memory(32 * MIB), .steps = 100, .writers = 2};

	for (int i = 0; i < 20; i++) {
		hf_file *f = vol_create(s.vol, "/f");

		OK(hf_ftruncate(f, 0));
		OK(hf_ftruncate(f, TAIL));
		atomic_store(&s.writers, 2);
		run_all(&s, fns, HF_COUNT(fns));
		OK(hf_close(&f));
	}
	OK(hf_unmount(&s.vol));
}

static void *run_appender(void *arg)
{
	struct shared *s = arg;
	struct vol_rand r = my_rand(s);
	hf_file *f = vol_open(s->vol, "/log", HF_O_WRONLY | HF_O_APPEND);
	uint8_t rec[RECORD];

	for (uint64_t i = 0; i < s->steps; i++) {
		memset(rec, (int)(1 + vol_below(&r, 255)), sizeof(rec));
		if (hf_pwrite(f, rec, sizeof(rec), 0) != RECORD)
			spoiled(s, "an append failed");
		atomic_fetch_add(&s->appended, 1);
	}
	hf_close(&f);
	return NULL;
}

static void test_appending(void)
{
	void *(*const fns[])(void *) = {run_appender, run_appender, run_appender};
	struct shared s = {.vol = vol_memory(64 * MIB), .steps = vol_env("HF_TEST_STEPS", 3000)};
	hf_file *f = vol_create(s.vol, "/log");
	uint8_t rec[RECORD];

	run_all(&s, fns, HF_COUNT(fns));
	GET(atomic_load(&s.appended) * RECORD, vol_size(f));
	for (uint64_t i = 0; i < atomic_load(&s.appended); i++) {
		GET(RECORD, hf_pread(f, rec, RECORD, i * RECORD));
		for (size_t k = 0; k < RECORD; k++)
			if (rec[0] == 0 || rec[k] != rec[0])
				spoiled(&s, "a torn record");
	}
	CU_ASSERT_EQUAL(atomic_load(&s.bad), 0);
	OK(hf_close(&f));
	OK(hf_unmount(&s.vol));
}

/* Opening, writing, unlinking and closing the same few names: each file is freed exactly once. */
static void *run_names(void *arg)
{
	struct shared *s = arg;
	struct vol_rand r = my_rand(s);
	static uint8_t bytes[64 * KIB];
	char a[16], b[16];
	hf_file *f;

	for (uint64_t i = 0; i < s->steps; i++) {
		int err;

		snprintf(a, sizeof(a), "/n%u", (unsigned)vol_below(&r, 4));
		snprintf(b, sizeof(b), "/n%u", (unsigned)vol_below(&r, 4));
		switch (vol_below(&r, 5)) {
		case 0:
			err = hf_unlink(s->vol, a);
			break;
		case 1:
			err = hf_rename(s->vol, a, b, 0);
			break;
		case 2:
			err = hf_link(s->vol, a, b);
			break;
		default:
			err = hf_open(s->vol, a, HF_O_RDWR | HF_O_CREAT, 0600, &f);
			if (err)
				break;
			if (hf_pwrite(f, bytes, 1 + vol_below(&r, sizeof(bytes)), 0) < 0 ||
			    hf_unlink(s->vol, b) == -EIO)
				spoiled(s, "writing failed");
			if (hf_close(&f))
				spoiled(s, "closing failed");
			break;
		}
		if (err && err != -ENOENT && err != -EEXIST)
			spoiled(s, "a name operation failed");
	}
	return NULL;
}

static void test_names(void)
{
	void *(*const fns[])(void *) = {run_names, run_names, run_names, run_names};
	struct shared s = {.vol = vol_memory(32 * MIB), .steps = vol_env("HF_TEST_STEPS", 3000)};
	struct hf_statfs sf;
	uint64_t used, inodes, numbers;
	char a[16];

	OK(hf_mknod(s.vol, "/first", 0600, 0));
	used = vol_used(s.vol);
	OK(hf_statfs(s.vol, &sf));
	inodes = sf.inodes_used;
	numbers = sf.inodes_used + sf.inodes_free;
	run_all(&s, fns, HF_COUNT(fns));
	for (unsigned i = 0; i < 4; i++) {
		snprintf(a, sizeof(a), "/n%u", i);
		hf_unlink(s.vol, a);
	}
	OK(hf_statfs(s.vol, &sf));
	CU_ASSERT_EQUAL(sf.inodes_used, inodes);
	/* All that is left is what the inode table grew by: each thread may have a block of it by itself. */
	numbers = sf.inodes_used + sf.inodes_free - numbers;
	CU_ASSERT(numbers % 16 == 0 && numbers / 16 <= HF_COUNT(fns) + 1);
	CU_ASSERT_EQUAL(vol_used(s.vol), used + numbers / 16);
	OK(hf_unmount(&s.vol));
}

/* ---- the gate */

static void *run_freezer(void *arg)
{
	struct shared *s = arg;
	struct hf_info a, b;

	do {
		volume_freeze(s->vol);
		hf_info(s->vol, &a);
		sched_yield();
		hf_info(s->vol, &b);
		volume_thaw(s->vol);
		if (a.commits != b.commits)
			spoiled(s, "a commit while the volume was frozen");
		atomic_fetch_add(&s->removed, 1);
	} while (atomic_load(&s->writers));
	return NULL;
}

static void test_freeze(void)
{
	void *(*const fns[])(void *) = {run_writer, run_writer, run_resizer, run_freezer,
					run_freezer};
	struct shared s = {
	    .vol = vol_memory(64 * MIB), .steps = vol_env("HF_TEST_STEPS", 2000), .writers = 2};
	hf_file *f = vol_create(s.vol, "/f");

	OK(hf_ftruncate(f, TAIL));
	run_all(&s, fns, HF_COUNT(fns));
	CU_ASSERT(atomic_load(&s.removed) > 0);
	OK(hf_close(&f));
	OK(hf_unmount(&s.vol));
}

/* ---- a name that comes and goes */

static void come_and_go(struct shared *s, hf_volume *vol)
{
	static const struct hf_setattr mode = {.set = HF_SET_MODE, .mode = 0600};
	hf_file *f = NULL;
	char value[8];
	int64_t ret;

	for (uint64_t i = 0; i < s->steps; i++) {
		if (hf_open(vol, "/x", HF_O_RDWR | HF_O_CREAT, 0644, &f))
			spoiled(s, "open for a file to be made failed");
		hf_close(&f);
		ret = hf_setattr(vol, "/x", &mode, true);
		if (ret && ret != -ENOENT)
			spoiled(s, "setattr");
		ret = hf_truncate(vol, "/x", i % 100);
		if (ret && ret != -ENOENT)
			spoiled(s, "truncate");
		ret = hf_setxattr(vol, "/x", "user.a", "b", 1, 0);
		if (ret && ret != -ENOENT)
			spoiled(s, "setxattr");
		ret = hf_getxattr(vol, "/x", "user.a", value, sizeof(value));
		if (ret < 0 && ret != -ENOENT && ret != -ENODATA)
			spoiled(s, "getxattr");
	}
}

static void *run_comer(void *arg)
{
	struct shared *s = arg;

	come_and_go(s, s->vol);
	atomic_fetch_sub(&s->writers, 1);
	return NULL;
}

static void *run_unlinker(void *arg)
{
	struct shared *s = arg;

	while (atomic_load(&s->writers)) {
		int err = hf_unlink(s->vol, "/x");

		if (err && err != -ENOENT)
			spoiled(s, "unlink");
	}
	return NULL;
}

static void test_coming_and_going(void)
{
	struct shared s = {.steps = vol_env("HF_TEST_STEPS", 3000), .writers = 2};
	void *(*const run[])(void *) = {run_comer, run_comer, run_unlinker};
	pthread_t t[3];

	s.vol = vol_memory(64 * MIB);
	for (int i = 0; i < 3; i++)
		CU_ASSERT_FATAL(pthread_create(&t[i], NULL, run[i], &s) == 0);
	for (int i = 0; i < 3; i++)
		pthread_join(t[i], NULL);
	CU_ASSERT_EQUAL(atomic_load(&s.bad), 0);
	OK(hf_unmount(&s.vol));
}

/* ---- a name that others are renamed onto is never gone */

static int put_new(struct shared *s)
{
	hf_file *f;
	int err = hf_open(s->vol, "/new", HF_O_RDWR | HF_O_CREAT, 0644, &f);

	if (!err)
		err = hf_lsetxattr(s->vol, "/new", "user.a", "x", 1, 0);
	if (!err)
		err = hf_close(&f);
	if (!err)
		err = hf_rename(s->vol, "/new", "/foo", 0);
	if (!err)
		err = hf_symlink(s->vol, "foo", "/newlink");
	if (!err)
		err = hf_rename(s->vol, "/newlink", "/link", 0);
	if (!err)
		err = hf_mkdir(s->vol, "/newdir", 0755);
	return err ? err : hf_rename(s->vol, "/newdir", "/dir", 0);
}

static void *run_replacer(void *arg)
{
	struct shared *s = arg;

	for (uint64_t i = 0; i < s->steps; i++)
		if (put_new(s) != 0)
			spoiled(s, "replacing");
	atomic_fetch_sub(&s->writers, 1);
	return NULL;
}

static int64_t use_name(hf_volume *vol, unsigned how)
{
	struct hf_stat st;
	hf_file *f;
	hf_dir *d;
	char buf[8];
	int64_t ret;

	switch (how) {
	case 0:
		ret = hf_open(vol, "/foo", HF_O_RDWR, 0, &f);
		return ret ? ret : hf_close(&f);
	case 1:
		return hf_stat(vol, "/link", &st);
	case 2:
		return hf_truncate(vol, "/foo", 10);
	case 3:
		return hf_chmod(vol, "/foo", 0600);
	case 4:
		return hf_setxattr(vol, "/link", "user.b", "y", 1, 0);
	case 5:
		return hf_getxattr(vol, "/foo", "user.a", buf, sizeof(buf));
	case 6:
		return hf_readlink(vol, "/link", buf, sizeof(buf));
	case 7:
		ret = hf_opendir(vol, "/dir", &d);
		return ret ? ret : hf_closedir(&d);
	default:
		ret = hf_link(vol, "/foo", "/other");
		return ret ? ret : hf_unlink(vol, "/other");
	}
}

enum { WAYS = 9 };

static void *run_user(void *arg)
{
	static const char *const names[WAYS] = {"open",	    "stat",	"truncate",
						"chmod",    "setxattr", "getxattr",
						"readlink", "opendir",	"link"};
	struct shared *s = arg;

	for (unsigned i = 0; atomic_load(&s->writers) > 0; i++)
		if (use_name(s->vol, i % WAYS) < 0)
			spoiled(s, names[i % WAYS]);
	return NULL;
}

static void test_replaced(void)
{
	struct shared s = {.steps = vol_env("HF_TEST_STEPS", 3000), .writers = 1};
	pthread_t t[2];

	s.vol = vol_memory(64 * MIB);
	OK(put_new(&s));
	CU_ASSERT_FATAL(pthread_create(&t[0], NULL, run_replacer, &s) == 0);
	CU_ASSERT_FATAL(pthread_create(&t[1], NULL, run_user, &s) == 0);
	for (int i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
	CU_ASSERT_EQUAL(atomic_load(&s.bad), 0);
	OK(hf_unmount(&s.vol));
}

/* ---- blocks that change hands: a read takes no lock while nobody writes, and must notice who does */

#define PIECE   (3 * BLK)
#define FOREIGN 0xee

/* /f is empty, or whole and of one letter; what it gives back goes to another file. */
static void *run_refiller(void *arg)
{
	static _Thread_local uint8_t piece[PIECE];
	struct shared *s = arg;
	hf_file *f = vol_open(s->vol, "/f", HF_O_RDWR), *other = vol_open(s->vol, "/g", HF_O_RDWR | HF_O_CREAT);

	for (uint64_t i = 0; i < s->steps; i++) {
		memset(piece, (int)(1 + i % 200), sizeof(piece));
		if (hf_pwrite(f, piece, sizeof(piece), 0) != (ssize_t)sizeof(piece))
			spoiled(s, "a write failed");
		while (i == 0 && !atomic_load(&s->stamp) && !atomic_load(&s->bad))
			usleep(100); /* until somebody has seen the file whole: valgrind runs one thread at a time */
		memset(piece, (int)(2 + i % 200), sizeof(piece));
		if (hf_pwrite(f, piece, sizeof(piece), 0) != (ssize_t)sizeof(piece) || hf_ftruncate(f, 0))
			spoiled(s, "an overwrite or a truncation failed");
		memset(piece, FOREIGN, sizeof(piece));
		if (hf_pwrite(other, piece, sizeof(piece), 0) != (ssize_t)sizeof(piece) || hf_ftruncate(other, 0))
			spoiled(s, "another file's write failed");
	}
	hf_close(&other);
	hf_close(&f);
	atomic_fetch_sub(&s->writers, 1);
	return NULL;
}

static void *run_looker(void *arg)
{
	static _Thread_local uint8_t piece[PIECE];
	struct shared *s = arg;
	hf_file *f = vol_open(s->vol, "/f", HF_O_RDONLY);

	while (atomic_load(&s->writers) > 0) {
		ssize_t n = hf_pread(f, piece, sizeof(piece), 0);

		if (n == 0)
			continue;
		if (n != (ssize_t)sizeof(piece)) {
			spoiled(s, "a part of a write, or an error");
			continue;
		}
		atomic_fetch_add(&s->stamp, 1);
		if (piece[0] == FOREIGN)
			spoiled(s, "another file's bytes");
		else if (memcmp(piece, piece + 1, sizeof(piece) - 1) != 0)
			spoiled(s, "bytes of two writes");
	}
	hf_close(&f);
	return NULL;
}

static void test_changing_hands(void)
{
	struct shared s = {.steps = vol_env("HF_TEST_STEPS", 5000), .writers = 1};
	pthread_t t[3];
	hf_file *f;

	s.vol = vol_memory(16 * MIB);
	f = vol_open(s.vol, "/f", HF_O_RDWR | HF_O_CREAT);
	hf_close(&f);
	CU_ASSERT_FATAL(pthread_create(&t[0], NULL, run_refiller, &s) == 0);
	CU_ASSERT_FATAL(pthread_create(&t[1], NULL, run_looker, &s) == 0);
	CU_ASSERT_FATAL(pthread_create(&t[2], NULL, run_looker, &s) == 0);
	for (int i = 0; i < 3; i++)
		pthread_join(t[i], NULL);
	CU_ASSERT_EQUAL(atomic_load(&s.bad), 0);
	CU_ASSERT_NOT_EQUAL(atomic_load(&s.stamp), 0);
	OK(hf_unmount(&s.vol));
}

/* Handles that one thread opens and another closes, and the unmount that comes between: they are counted, and used again. */
#define HANDED 4000u
struct handed {
	hf_volume *vol;
	_Atomic(hf_file *) file;
	_Atomic bool bad;
	bool reused;
};

static void *run_closer(void *arg)
{
	struct handed *h = arg;

	for (unsigned i = 0; i < HANDED; i++) {
		hf_file *f;

		do
			f = atomic_exchange(&h->file, NULL);
		while (!f && sched_yield() == 0);
		if (hf_close(&f))
			h->bad = true;
	}
	return NULL;
}

static void test_handed_over(void)
{
	struct handed h = {.vol = vol_memory(16 * MIB)};
	hf_file *first = vol_open(h.vol, "/f", HF_O_RDWR | HF_O_CREAT), *f = first;
	hf_volume *vol = h.vol;
	pthread_t t;

	CU_ASSERT_FATAL(pthread_create(&t, NULL, run_closer, &h) == 0);
	for (unsigned i = 0; i < HANDED; i++) {
		if (i)
			f = vol_open(h.vol, "/f", HF_O_RDWR);
		h.reused |= i && f == first;
		if (i % 100 == 0)
			CU_ASSERT_EQUAL(hf_unmount(&vol), -EBUSY);
		atomic_store(&h.file, f);
		while (atomic_load(&h.file))
			sched_yield();
	}
	pthread_join(t, NULL);
	CU_ASSERT_FALSE(h.bad);
	CU_ASSERT_TRUE(h.reused);
	OK(hf_unmount(&h.vol));
}

int main(void)
{
	static const struct hf_case cases[] = {
	    {"one file", test_one_file},
	    {"sparse file", test_sparse_file},
	    {"appending", test_appending},
	    {"names", test_names},
	    {"freeze", test_freeze},
	    {"coming and going", test_coming_and_going},
	    {"replaced by rename", test_replaced},
	    {"blocks that change hands", test_changing_hands},
	    {"handles that change hands", test_handed_over},
	};

	return hf_run_suite("threads", cases, HF_COUNT(cases));
}
