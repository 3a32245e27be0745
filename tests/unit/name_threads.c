/* Threads that create, remove, link, rename and look up at the same time in a few directories that move about: no deadlock, no
 * error that cannot be, and at the end every link count, '..' and size is right. */
#include "dir_vol.h"

#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#define THREADS 4u

static struct dvol shared;
static pthread_barrier_t start;
static _Atomic unsigned odd;

static unsigned rounds(void)
{
	const char *n = getenv("HF_THREAD_ROUNDS");

	if (n)
		return (unsigned)atoi(n);
	return getenv("HF_TEST_SHORT") ? 300 : 15000;
}

/* Errors that a race or the random choice explains. */
static bool expected(int err)
{
	switch (-err) {
	case 0:
	case ENOENT:
	case EEXIST:
	case ENOTDIR:
	case EISDIR:
	case ENOTEMPTY:
	case EINVAL:
	case EBUSY:
	case ELOOP:
	case EPERM:
		return true;
	default:
		return false;
	}
}

static void note(const char *what, int err)
{
	if (expected(err))
		return;
	if (atomic_fetch_add(&odd, 1) < 10)
		printf("  %s: %d: %s\n", what, err, err_msg());
}

static const char *random_name(struct rng *r, char *name)
{
	static const char *const names[] = {"a", "b", "c", "d", "e", "f"};

	snprintf(name, 40, "%s", names[rng_below(r, HF_COUNT(names))]);
	return name;
}

/* A directory one to three levels down, or the root. */
static struct inode *random_dir(struct rng *r)
{
	unsigned n = (unsigned)rng_below(r, 4);
	char path[64] = "/", name[40];
	struct inode *in;
	int err;

	for (unsigned i = 0; i < n; i++) {
		strcat(path, random_name(r, name));
		strcat(path, "/");
	}
	err = name_walk(shared.fs, NULL, path, 0, &in, NULL, NULL);
	note("walk", err);
	if (!err)
		return in;
	inode_ref(shared.root);
	return shared.root;
}

static void read_dir(struct inode *dir, struct rng *r)
{
	struct dir_entry e[8];
	uint64_t from = 0;
	unsigned n = 1;

	for (int i = 0; i < 4 && n; i++) {
		struct rwl *lock = rng_below(r, 2) ? &dir->layout : &dir->content;	/* either will do: I-DIR-1 */
		int err = 0;

		n = 0;
		rwl_rdlock(lock);
		if (!atomic_load(&dir->dead))
			err = dir_read(dir, from, e, 1 + (unsigned)rng_below(r, 8), &n);
		rwl_rdunlock(lock);
		note("read", err);
		if (n)
			from = e[n - 1].key + 1;
	}
}

static int create(struct inode *dir, const char *name, struct rng *r)
{
	static const uint32_t types[] = {S_IFREG, S_IFREG, S_IFDIR, S_IFDIR, S_IFLNK};
	char target[300];
	struct name_new n = {.mode = types[rng_below(r, 5)] | 0755, .symlink = target};
	struct inode *in;
	int err;

	memset(target, '/', sizeof(target));
	strcpy(target + (rng_below(r, 2) ? 200 : 0), "a/b");
	err = name_create(dir, name, &n, &in);
	if (!err)
		inode_put(in);
	return err;
}

/* Opens what the name stands for, removes it, perhaps gives it another name, and closes it. */
static int unlink_open(struct inode *dir, const char *name, struct rng *r)
{
	struct inode *in;
	int err = name_lookup(dir, name, &in);
	char other[40];
	bool open = false;

	if (err)
		return err;
	rwl_rdlock(&in->layout);
	if (!atomic_load(&in->dead) && dv_nlink(in) > 0) {
		atomic_fetch_add(&in->opens, 1);
		open = true;
	}
	rwl_rdunlock(&in->layout);
	err = name_is_dir(in) ? name_rmdir(dir, name) : name_unlink(dir, name, NULL);
	note("unlink open", err);
	if (open && !name_is_dir(in) && rng_below(r, 2))
		note("link again", name_link(in, dir, random_name(r, other)));
	if (open)
		err = dv_release(in);
	inode_put(in);
	return err;
}

static int tmpfile_link(struct inode *dir, const char *name)
{
	struct name_new n = {.mode = S_IFREG | 0600};
	struct inode *in;
	int err = name_tmpfile(shared.fs, &n, &in);

	if (err)
		return err;
	note("link tmpfile", name_link(in, dir, name));
	err = dv_release(in);
	inode_put(in);
	return err;
}

static int link_one(struct inode *from, const char *name, struct inode *dir, const char *to)
{
	struct inode *in;
	int err = name_lookup(from, name, &in);

	if (err)
		return err;
	err = name_link(in, dir, to);
	inode_put(in);
	return err;
}

static void one_round(struct rng *r)
{
	struct inode *dir = random_dir(r), *other = random_dir(r);
	char name[40], to[40];

	random_name(r, name);
	random_name(r, to);
	switch (rng_below(r, 12)) {
	case 0:
	case 1:
	case 2:
		note("create", create(dir, name, r));
		break;
	case 3:
		note("unlink", name_unlink(dir, name, NULL));
		break;
	case 4:
		note("rmdir", name_rmdir(dir, name));
		break;
	case 5:
	case 6:
		note("rename", name_rename(dir, name, other, to, (unsigned)rng_below(r, 3), NULL));
		break;
	case 7:
		note("rename within", name_rename(dir, name, dir, to, (unsigned)rng_below(r, 3), NULL));
		break;
	case 8:
		note("link", link_one(dir, name, other, to));
		break;
	case 9:
		note("unlink open", unlink_open(dir, name, r));
		break;
	case 10:
		note("tmpfile", tmpfile_link(dir, name));
		break;
	default:
		read_dir(dir, r);
		break;
	}
	inode_put(dir);
	inode_put(other);
}

static void *worker(void *arg)
{
	struct rng r = {(uint64_t)(uintptr_t)arg};
	unsigned n = rounds();

	pthread_barrier_wait(&start);
	for (unsigned i = 0; i < n; i++)
		one_round(&r);
	return NULL;
}

static void run(void *(*fn)(void *), uint64_t seed)
{
	pthread_t t[THREADS];

	atomic_store(&odd, 0);
	pthread_barrier_init(&start, NULL, THREADS);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_create(&t[i], NULL, fn, (void *)(uintptr_t)(seed * 100 + i));
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	pthread_barrier_destroy(&start);
	CU_ASSERT_EQUAL(atomic_load(&odd), 0);
}

static void test_mix(void)
{
	for (uint64_t seed = 1; seed <= 3; seed++) {
		dvol_open(&shared, 64 * MIB);
		run(worker, seed);
		DVOL_ASSERT_SOUND(shared.fs);
		dvol_remount(&shared);
		DVOL_ASSERT_SOUND(shared.fs);
		dvol_close(&shared);
	}
}

/* Directories that are moved below each other at the same time: the classic way to make a ring that hangs nowhere. */
static void *mover(void *arg)
{
	struct rng r = {(uint64_t)(uintptr_t)arg};
	unsigned n = rounds();

	pthread_barrier_wait(&start);
	for (unsigned i = 0; i < n; i++) {
		struct inode *a = random_dir(&r), *b = random_dir(&r);
		char name[40], to[40];

		random_name(&r, name);
		random_name(&r, to);
		note("move", name_rename(a, name, b, to, rng_below(&r, 3) ? 0 : NAME_EXCHANGE, NULL));
		if (rng_below(&r, 4) == 0)
			note("mkdir", dv_make(a, name, S_IFDIR | 0755, NULL));
		inode_put(a);
		inode_put(b);
	}
	return NULL;
}

static void test_movers(void)
{
	dvol_open(&shared, 64 * MIB);
	run(mover, 7);
	DVOL_ASSERT_SOUND(shared.fs);
	dvol_close(&shared);
}

/* Two directories, each moved below the other at the same moment: one of the two has to fail, or both hang nowhere. */
static struct inode *pair[2];
static _Atomic unsigned arrived;

/* For two threads that have to start within a few hundred ns of each other: a futex's wake-up takes far longer. */
static void meet(unsigned round)
{
	unsigned spins = 0;

	atomic_fetch_add(&arrived, 1);
	while (atomic_load(&arrived) < 2 * round)
		if (++spins % 10000 == 0)
			sched_yield();
}

static void run_pair(void *(*fn)(void *), void *result[2])
{
	pthread_t t[2];

	atomic_store(&odd, 0);
	atomic_store(&arrived, 0);
	for (unsigned i = 0; i < 2; i++)
		pthread_create(&t[i], NULL, fn, (void *)(uintptr_t)i);
	for (unsigned i = 0; i < 2; i++)
		pthread_join(t[i], &result[i]);
	CU_ASSERT_EQUAL(atomic_load(&odd), 0);
}

static void *swapper(void *arg)
{
	unsigned me = (unsigned)(uintptr_t)arg, n = rounds() / 2, moved = 0;
	static const char *const name[2] = {"p", "q"};

	for (unsigned i = 0; i < n; i++) {
		int err;

		meet(2 * i + 1);
		for (volatile unsigned k = 0; k < (i * 7 + me * 13) % 97; k++)
			;
		err = name_rename(shared.root, name[me], pair[!me], "below", 0, NULL);
		moved += !err;
		if (err != -EINVAL)
			note("move below", err);
		meet(2 * i + 2);
		if (!err)
			err = name_rename(pair[!me], "below", shared.root, name[me], 0, NULL);
		if (err != -EINVAL)
			note("move back", err);
		if (dv_ino(shared.root, name[me]) != pair[me]->ino.v)
			atomic_fetch_add(&odd, 1);
	}
	return (void *)(uintptr_t)moved;
}

static void test_ring(void)
{
	void *moved[2];

	dvol_open(&shared, 16 * MIB);
	pair[0] = dv_must_make(shared.root, "p", S_IFDIR | 0755);
	pair[1] = dv_must_make(shared.root, "q", S_IFDIR | 0755);
	run_pair(swapper, moved);
	CU_ASSERT_EQUAL((uintptr_t)moved[0] + (uintptr_t)moved[1], rounds() / 2);
	DVOL_ASSERT_SOUND(shared.fs);
	inode_put(pair[0]);
	inode_put(pair[1]);
	dvol_close(&shared);
}

/* One removes a directory by a name, which the other makes stand for another directory meanwhile. */
static void *remover(void *arg)
{
	unsigned me = (unsigned)(uintptr_t)arg, n = rounds();

	for (unsigned i = 0; i < n; i++) {
		meet(i + 1);
		for (volatile unsigned k = 0; k < (i * 7 + me * 13) % 97; k++)
			;
		if (me) {
			note("exchange", name_rename(shared.root, "x", pair[0], "y", NAME_EXCHANGE, NULL));
			note("exchange", name_rename(shared.root, "x", pair[0], "y", NAME_EXCHANGE, NULL));
			continue;
		}
		note("rmdir", name_rmdir(i % 2 ? shared.root : pair[0], i % 2 ? "x" : "y"));
		note("mkdir", dv_make(shared.root, "x", S_IFDIR | 0755, NULL));
		note("mkdir", dv_make(pair[0], "y", S_IFDIR | 0755, NULL));
	}
	return NULL;
}

static void test_removed_meanwhile(void)
{
	void *none[2];

	dvol_open(&shared, 16 * MIB);
	pair[0] = dv_must_make(shared.root, "p", S_IFDIR | 0755);
	run_pair(remover, none);
	DVOL_ASSERT_SOUND(shared.fs);
	inode_put(pair[0]);
	dvol_close(&shared);
}

/* A directory is not taken away under somebody who reads it and holds its content lock only. */
static _Atomic bool finished;

static void *taker(void *arg)
{
	note("take away", arg ? name_rmdir(shared.root, "victim") : name_rename(shared.root, "other", shared.root, "victim", 0, NULL));
	atomic_store(&finished, true);
	return NULL;
}

static void test_waits_for_readers(void)
{
	dvol_open(&shared, 8 * MIB);
	atomic_store(&odd, 0);
	for (unsigned rmdir = 0; rmdir < 2; rmdir++) {
		struct inode *dir = dv_must_make(shared.root, "victim", S_IFDIR | 0755);
		pthread_t t;

		DV_EXPECT(dv_make(shared.root, "other", S_IFDIR | 0755, NULL), 0);
		atomic_store(&finished, false);
		rwl_rdlock(&dir->content);
		pthread_create(&t, NULL, taker, rmdir ? &finished : NULL);
		usleep(30000);
		CU_ASSERT_FALSE(atomic_load(&finished));
		rwl_rdunlock(&dir->content);
		pthread_join(t, NULL);
		CU_ASSERT_TRUE(atomic_load(&dir->dead));
		inode_put(dir);
		DV_EXPECT(name_rmdir(shared.root, rmdir ? "other" : "victim"), 0);
	}
	CU_ASSERT_EQUAL(atomic_load(&odd), 0);
	DVOL_ASSERT_SOUND(shared.fs);
	dvol_close(&shared);
}

/* Each thread makes and removes names of its own in one directory, while all iterate: nobody misses his own. */
static void *filler(void *arg)
{
	unsigned me = (unsigned)(uintptr_t)arg % THREADS, n = rounds() / 20, bad = 0;
	static _Thread_local struct dir_entry e[64];
	char name[40];

	pthread_barrier_wait(&start);
	for (unsigned i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "%u-%u", me, i);
		note("create", dv_make(shared.root, name, S_IFREG | 0644, NULL));
		if (i % 3 == 0) {
			snprintf(name, sizeof(name), "%u-%u", me, i / 2);
			note("unlink", name_unlink(shared.root, name, NULL));
		}
		if (i % 64 == 63) {
			unsigned got, mine = 0;
			uint64_t from = 0;

			do {
				rwl_rdlock(&shared.root->content);
				note("read", dir_read(shared.root, from, e, 64, &got));
				rwl_rdunlock(&shared.root->content);
				for (unsigned k = 0; k < got; k++) {
					mine += (unsigned)e[k].name[0] == '0' + me;
					from = e[k].key + 1;
				}
			} while (got);
			bad += mine < i / 2;
		}
	}
	if (bad)
		atomic_fetch_add(&odd, bad);
	return NULL;
}

static void test_fillers(void)
{
	dvol_open(&shared, 64 * MIB);
	run(filler, 1);
	DVOL_ASSERT_SOUND(shared.fs);
	dvol_close(&shared);
}

/* ---- what is to be moved is another by now, and the old one is above where it goes */

static _Atomic bool stale_stop;
static struct inode *stale_goal;	/* "n"; "x" is never above it */

static void *stale_changer(void *arg)
{
	unsigned n = rounds();
	struct inode *y;

	for (unsigned i = 0; i < n; i++) {
		if (name_rename(shared.root, "x", shared.root, "y", NAME_NOREPLACE, NULL))
			continue;
		ivol_must(name_lookup(shared.root, "y", &y), "y");
		ivol_must(name_rename(shared.root, "n", y, "n", 0, NULL), "n below y");
		note("another x", dv_make(shared.root, "x", S_IFDIR | 0755, NULL));
		ivol_must(name_rename(y, "n", shared.root, "n", 0, NULL), "n back");
		inode_put(y);
		note("y back", name_rename(shared.root, "y", shared.root, "x", 0, NULL));
	}
	atomic_store(&stale_stop, true);
	return arg;
}

static void *stale_mover(void *arg)
{
	while (!atomic_load(&stale_stop)) {
		int err = name_rename(shared.root, "x", stale_goal, "z", 0, NULL);

		if (err == -EINVAL)
			atomic_fetch_add(&odd, 1);
		note("x below n", err);
	}
	return arg;
}

static void test_stale(void)
{
	pthread_t t[THREADS];
	struct inode *z;

	dvol_open(&shared, 16 * MIB);
	atomic_store(&odd, 0);
	atomic_store(&stale_stop, false);
	stale_goal = dv_must_make(shared.root, "n", S_IFDIR | 0755);
	ivol_must(dv_make(shared.root, "x", S_IFDIR | 0755, NULL), "x");
	ivol_must(dv_make(stale_goal, "z", S_IFDIR | 0755, &z), "z");	/* in the way */
	ivol_must(dv_make(z, "full", S_IFREG | 0644, NULL), "full");
	inode_put(z);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_create(&t[i], NULL, i ? stale_mover : stale_changer, NULL);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	CU_ASSERT_EQUAL(atomic_load(&odd), 0);
	DVOL_ASSERT_SOUND(shared.fs);
	inode_put(stale_goal);
	dvol_close(&shared);
}

int main(void)
{
	static const struct hf_case cases[] = {
		{"mix", test_mix},
		{"movers", test_movers},
		{"ring", test_ring},
		{"removed_meanwhile", test_removed_meanwhile},
		{"waits_for_readers", test_waits_for_readers},
		{"fillers", test_fillers},
		{"stale", test_stale},
	};

	alarm(280);	/* a deadlock ends the test */
	return hf_run_suite("name_threads", cases, HF_COUNT(cases));
}
