/* The inode cache: its bound, eviction, references to the dead; lookups by number against create and free. */
#include "itable_vol.h"
#include "inode/itable_priv.h"

#include <pthread.h>

static unsigned scale(unsigned n)
{
	return getenv("HF_TEST_SHORT") ? (n + 19) / 20 : n;
}

static void test_bound(void)
{
	enum { MAX = 16 };
	struct inode *in[MAX], *more;
	inum_t ino[MAX + 1];
	struct ivol v;

	ivol_open(&v, 16 * MIB, MAX);
	for (int i = 0; i <= MAX; i++)
		ino[i] = ivol_create(&v.fs, S_IFREG, 1);
	for (int i = 0; i < MAX; i++)
		in[i] = ivol_get(&v.fs, ino[i]);
	CU_ASSERT_EQUAL(inode_get(&v.fs, ino[MAX], 0, &more), -ENFILE);
	CU_ASSERT_PTR_NULL(more);
	/* One that is cached is still found; a number from outside costs nobody his place. */
	CU_ASSERT_EQUAL(inode_get(&v.fs, ino[3], 0, &more), 0);
	CU_ASSERT_PTR_EQUAL(more, in[3]);
	inode_put(more);
	CU_ASSERT_EQUAL(inode_get(&v.fs, INUM(9999), 0, &more), -ESTALE);
	inode_put(in[5]);
	CU_ASSERT_EQUAL(inode_get(&v.fs, ino[MAX], 0, &in[5]), 0);
	for (int i = 0; i < MAX; i++) {
		CU_ASSERT_EQUAL(in[i]->ino.v, ino[i == 5 ? MAX : i].v);
		inode_put(in[i]);
	}
	ivol_close(&v);
}

/* Many more inodes than slots, each as it was made. */
static void test_eviction(void)
{
	enum { N = 2000 };
	uint64_t gen[N];
	inum_t ino[N];
	struct ivol v;
	struct rng r = { 1 };

	ivol_open(&v, 16 * MIB, 50);
	for (int i = 0; i < N; i++)
		ivol_must(ivol_try_create(&v.fs, INUM(3), S_IFREG, 1, &ino[i], &gen[i]), "create");
	for (unsigned i = 0; i < scale(20000); i++) {
		uint64_t k = rng_below(&r, N);
		struct inode *in;

		CU_ASSERT_EQUAL(inode_get(&v.fs, ino[k], gen[k], &in), 0);
		CU_ASSERT_EQUAL(in->ino.v, ino[k].v);
		inode_put(in);
	}
	CU_ASSERT(v.fs.itable->cache.fresh <= 50);
	ivol_close(&v);
}

/* What is used often stays: the clock does not throw out the one that every lookup passes. */
static void test_recent_stays(void)
{
	struct inode *root, *in, *again;
	inum_t ino[200];
	struct ivol v;
	unsigned lost = 0;

	ivol_open(&v, 16 * MIB, 32);
	for (size_t i = 0; i < HF_COUNT(ino); i++)
		ino[i] = ivol_create(&v.fs, S_IFREG, 1);
	root = ivol_get(&v.fs, INUM(FMT_INO_ROOT));
	inode_put(root);
	for (size_t i = 0; i < HF_COUNT(ino); i++) {
		in = ivol_get(&v.fs, ino[i]);
		inode_put(in);
		again = ivol_get(&v.fs, INUM(FMT_INO_ROOT));
		lost += again != root;
		root = again;
		inode_put(again);
	}
	CU_ASSERT_EQUAL(lost, 0);
	ivol_close(&v);
}

static struct timespec mtime_of(struct inode *in)
{
	struct stat st;

	rwl_rdlock(&in->layout);
	inode_stat(in, &st, NULL);
	rwl_rdunlock(&in->layout);
	return st.st_mtim;
}

/* J8: an inode with unwritten times is not evicted; when there is no other, its times are written first. */
static void test_pending_is_not_lost(void)
{
	enum { N = 64 };
	inum_t ino[N];
	struct ivol v;
	uint64_t before;

	ivol_open(&v, 16 * MIB, 16);
	for (int i = 0; i < N; i++)
		ino[i] = ivol_create(&v.fs, S_IFREG, 1);
	/* As long as there are clean ones, nothing is written. */
	for (int i = 0; i < 8; i++) {
		struct inode *in = ivol_get(&v.fs, ino[i]);

		inode_touch(in, INODE_MTIME, 1000000000ll * (i + 1));
		inode_put(in);
	}
	before = ivol_commits(&v.fs);
	for (int i = 8; i < N; i++)
		inode_put(ivol_get(&v.fs, ino[i]));
	CU_ASSERT_EQUAL(ivol_commits(&v.fs), before);
	for (int i = 0; i < N; i++) {
		struct inode *in = ivol_get(&v.fs, ino[i]);

		inode_touch(in, INODE_MTIME, 1000000000ll * (i + 1));
		inode_put(in);
	}
	CU_ASSERT(ivol_commits(&v.fs) > before);
	for (int i = 0; i < N; i++) {
		struct inode *in = ivol_get(&v.fs, ino[i]);

		CU_ASSERT_EQUAL(mtime_of(in).tv_sec, i + 1);
		inode_put(in);
	}
	CU_ASSERT_EQUAL(itable_flush_times(&v.fs), 0);
	ivol_remount(&v, 16);
	for (int i = 0; i < N; i++) {
		struct inode *in = ivol_get(&v.fs, ino[i]);

		CU_ASSERT_EQUAL(mtime_of(in).tv_sec, i + 1);
		inode_put(in);
	}
	IVOL_ASSERT_SOUND(&v.fs);
	ivol_close(&v);
}

/* All are pending and locked by others: -ENFILE rather than a wait. */
static void test_pending_and_locked(void)
{
	struct inode *in, *more;
	inum_t a, b;
	struct ivol v;

	ivol_open(&v, 16 * MIB, 1);
	a = ivol_create(&v.fs, S_IFREG, 1);
	b = ivol_create(&v.fs, S_IFREG, 1);
	in = ivol_get(&v.fs, a);
	inode_touch(in, INODE_ATIME, 5);
	CU_ASSERT_EQUAL(inode_get(&v.fs, b, 0, &more), -ENFILE);
	inode_put(in);
	CU_ASSERT_EQUAL(inode_get(&v.fs, b, 0, &more), 0);
	inode_put(more);
	ivol_remount(&v, 2);
	/* One of them is locked, by this very thread: the last resort passes it over and takes the other. */
	in = ivol_get(&v.fs, a);
	inode_touch(in, INODE_ATIME, 7);
	more = ivol_get(&v.fs, b);
	inode_touch(more, INODE_ATIME, 7);
	inode_put(more);
	rwl_wrlock(&in->layout);
	CU_ASSERT_EQUAL(inode_get(&v.fs, INUM(FMT_INO_ROOT), 0, &more), 0);
	rwl_wrunlock(&in->layout);
	CU_ASSERT(inode_times_pending(in));
	inode_put(more);
	inode_put(in);
	ivol_close(&v);
}

/* I-INO-3. A freed inode: references to it live on, nobody gets a new one; the number's next life is another struct. */
static void test_dead(void)
{
	struct inode *dead, *in;
	struct ivol v;
	inum_t ino, next;
	uint64_t gen;

	ivol_open(&v, 16 * MIB, 8);
	ino = ivol_create(&v.fs, S_IFREG, 1);
	dead = ivol_get(&v.fs, ino);
	inode_touch(dead, INODE_MTIME, 1);
	CU_ASSERT_EQUAL(ivol_free(dead), 0);
	CU_ASSERT(dead->dead);
	CU_ASSERT(!inode_times_pending(dead));
	CU_ASSERT_EQUAL(inode_get(&v.fs, ino, 0, &in), -ESTALE);
	inode_ref(dead);
	inode_put(dead);
	ivol_must(ivol_try_create(&v.fs, ino, S_IFREG, 1, &next, &gen), "create");
	CU_ASSERT_EQUAL(next.v, ino.v);
	in = ivol_get(&v.fs, next);
	CU_ASSERT_PTR_NOT_EQUAL(in, dead);
	CU_ASSERT(!in->dead);
	inode_put(dead);
	/* Its slot is free again: 8 at once fit. */
	for (int i = 0; i < 7; i++)
		ivol_create(&v.fs, S_IFREG, 1);
	{
		struct inode *all[7];

		for (uint64_t i = 0; i < 7; i++)
			all[i] = ivol_get(&v.fs, INUM(ino.v + 1 + i));
		for (int i = 0; i < 7; i++)
			inode_put(all[i]);
	}
	inode_put(in);
	/* It is the first to be used again: a file that comes and goes takes no second slot. */
	ivol_remount(&v, 1000);
	for (int i = 0; i < 20; i++) {
		in = ivol_new(&v.fs, S_IFREG, 1);
		ivol_free(in);
		inode_put(in);
	}
	CU_ASSERT_EQUAL(v.fs.itable->cache.fresh, 1);
	ivol_close(&v);
}

static void test_lock_sets(void)
{
	struct ivol v;
	struct inode *a, *b, *d, *set[6];

	ivol_open(&v, 16 * MIB, 0);
	a = ivol_new(&v.fs, S_IFREG, 1);
	b = ivol_new(&v.fs, S_IFREG, 1);
	d = ivol_new(&v.fs, S_IFDIR, 2);
	set[0] = d;
	set[1] = b;
	set[2] = NULL;
	set[3] = a;
	set[4] = b;
	set[5] = d;
	/* Under HF_DEBUG_LOCKS the ranks and the order are checked as they are taken. */
	inode_lock_contents(set, 6);
	inode_lock_layouts(set, 6);
	CU_ASSERT_EQUAL(lock_depth(), 6);
	CU_ASSERT(!rwl_tryrdlock(&a->layout));
	CU_ASSERT(!rwl_tryrdlock(&d->content));
	inode_unlock_layouts(set, 6);
	inode_unlock_contents(set, 6);
	CU_ASSERT_EQUAL(lock_depth(), 0);
	inode_put(a);
	inode_put(b);
	inode_put(d);
	ivol_close(&v);
}

/* ---- threads */

enum { RACE_NUMBERS = 24, RACE_THREADS = 4 };

struct race {
	struct fs *fs;
	_Atomic uint64_t gen[64];	/* of the inode whose number is 16 + i; 0: none that lasts */
	_Atomic bool stop;
	_Atomic unsigned wrong, got, stale;
	unsigned rounds;
};

static void must_be(struct race *r, bool ok, const char *what)
{
	if (ok)
		return;
	if (atomic_fetch_add(&r->wrong, 1) == 0)
		fprintf(stderr, "race: %s: %s\n", what, err_msg());
}

/* Creates and frees. */
static void *race_change(void *arg)
{
	struct race *r = arg;

	for (unsigned i = 0; i < r->rounds; i++) {
		struct inode *in;
		uint64_t gen;
		inum_t ino;
		int err = ivol_try_create(r->fs, INUM(FMT_INO_ROOT), S_IFREG | 0600, 1, &ino, &gen);

		must_be(r, err == 0, "create");
		if (err)
			break;
		if (ino.v - 16 < HF_COUNT(r->gen))
			atomic_store(&r->gen[ino.v - 16], gen);
		err = inode_get(r->fs, ino, gen, &in);
		must_be(r, err == 0 || err == -ENFILE, "get of an own inode");
		if (err)
			continue;
		if (i % 3 == 0)
			inode_touch(in, INODE_MTIME, (int64_t)i);
		if (ino.v - 16 < HF_COUNT(r->gen))
			atomic_store(&r->gen[ino.v - 16], 0);
		must_be(r, ivol_free(in) == 0, "free");
		must_be(r, in->dead, "dead");
		inode_put(in);
	}
	return NULL;
}

/* Looks numbers up, as a server does with its clients' handles. */
static void *race_get(void *arg)
{
	struct race *r = arg;
	struct rng rng = { (uint64_t)(uintptr_t)&rng };

	while (!atomic_load(&r->stop)) {
		uint64_t k = rng_below(&rng, RACE_NUMBERS);
		uint64_t gen = atomic_load(&r->gen[k]);
		struct inode *in;
		int err = inode_get(r->fs, INUM(16 + k), rng_below(&rng, 2) ? gen : 0, &in);

		must_be(r, err == 0 || err == -ESTALE || err == -ENFILE, "lookup");
		if (err) {
			atomic_fetch_add_explicit(&r->stale, 1, memory_order_relaxed);
			continue;
		}
		must_be(r, in->ino.v == 16 + k, "another inode");
		rwl_rdlock(&in->layout);
		if (!atomic_load(&in->dead)) {
			struct stat st;

			inode_stat(in, &st, NULL);
			must_be(r, st.st_mode == (S_IFREG | 0600), "a mode");
			must_be(r, le64_get(inode_media(in)->gen) == in->gen, "a generation");
			atomic_fetch_add_explicit(&r->got, 1, memory_order_relaxed);
		}
		rwl_rdunlock(&in->layout);
		inode_put(in);
	}
	return NULL;
}

static void run_race(uint32_t max_cached)
{
	pthread_t change[2], get[RACE_THREADS];
	struct race r = { .rounds = scale(20000) };
	struct ivol v;

	ivol_open(&v, 16 * MIB, max_cached);
	r.fs = &v.fs;
	for (size_t i = 0; i < HF_COUNT(change); i++)
		pthread_create(&change[i], NULL, race_change, &r);
	for (size_t i = 0; i < HF_COUNT(get); i++)
		pthread_create(&get[i], NULL, race_get, &r);
	for (size_t i = 0; i < HF_COUNT(change); i++)
		pthread_join(change[i], NULL);
	atomic_store(&r.stop, true);
	for (size_t i = 0; i < HF_COUNT(get); i++)
		pthread_join(get[i], NULL);
	CU_ASSERT_EQUAL(r.wrong, 0);
	printf(" (%u found, %u not)", r.got, r.stale);
	IVOL_ASSERT_SOUND(&v.fs);
	ivol_close(&v);
}

static void test_race(void)
{
	run_race(0);
}

static void test_race_small_cache(void)
{
	run_race(6);
}

/* A stable population, read by all, with touches, flushes and a cache that holds a third of it. */
struct churn {
	struct fs *fs;
	inum_t ino[60];
	_Atomic unsigned wrong;
	_Atomic uint64_t seed;
	unsigned rounds;
};

static void *churn_run(void *arg)
{
	struct churn *c = arg;
	struct rng rng = { atomic_fetch_add(&c->seed, 77) };

	for (unsigned i = 0; i < c->rounds; i++) {
		uint64_t k = rng_below(&rng, HF_COUNT(c->ino));
		struct inode *in;

		if (inode_get(c->fs, c->ino[k], 0, &in) != 0) {
			atomic_fetch_add(&c->wrong, 1);
			continue;
		}
		if (in->ino.v != c->ino[k].v || in->dead)
			atomic_fetch_add(&c->wrong, 1);
		if (i % 7 == 0)
			inode_touch(in, INODE_ATIME | INODE_CTIME, (int64_t)i + 1);
		if (i % 11 == 0) {
			struct txn *t = txn_begin(c->fs->journal);
			struct inode_edit e;

			rwl_wrlock(&in->layout);
			inode_edit_begin(&e, in, t);
			e.img.uid = le32_of(i);
			inode_edit_end(&e);
			if (txn_commit(t, NULL) != 0)
				atomic_fetch_add(&c->wrong, 1);
			rwl_wrunlock(&in->layout);
		}
		if (i % 500 == 0 && itable_flush_times(c->fs) != 0)
			atomic_fetch_add(&c->wrong, 1);
		inode_put(in);
	}
	return NULL;
}

static void test_churn(void)
{
	struct churn c = { .rounds = scale(20000) };
	pthread_t t[RACE_THREADS];
	struct ivol v;

	ivol_open(&v, 16 * MIB, 20);
	c.fs = &v.fs;
	for (size_t i = 0; i < HF_COUNT(c.ino); i++)
		c.ino[i] = ivol_create(&v.fs, S_IFREG, 1);
	for (size_t i = 0; i < HF_COUNT(t); i++)
		pthread_create(&t[i], NULL, churn_run, &c);
	for (size_t i = 0; i < HF_COUNT(t); i++)
		pthread_join(t[i], NULL);
	CU_ASSERT_EQUAL(c.wrong, 0);
	CU_ASSERT_EQUAL(itable_flush_times(&v.fs), 0);
	IVOL_ASSERT_SOUND(&v.fs);
	ivol_close(&v);
}

/* Several threads grow the table at once. */
static void *grow_run(void *arg)
{
	struct churn *c = arg;

	for (unsigned i = 0; i < c->rounds; i++) {
		uint64_t gen;
		inum_t ino;

		if (ivol_try_create(c->fs, INUM(atomic_fetch_add(&c->seed, 1)), S_IFREG, 1, &ino, &gen) != 0)
			atomic_fetch_add(&c->wrong, 1);
	}
	return NULL;
}

static void test_grow_by_threads(void)
{
	struct churn c = { .rounds = scale(3000) };
	pthread_t t[RACE_THREADS];
	struct ivol v;

	ivol_open(&v, 32 * MIB, 0);
	c.fs = &v.fs;
	for (size_t i = 0; i < HF_COUNT(t); i++)
		pthread_create(&t[i], NULL, grow_run, &c);
	for (size_t i = 0; i < HF_COUNT(t); i++)
		pthread_join(t[i], NULL);
	CU_ASSERT_EQUAL(c.wrong, 0);
	CU_ASSERT_EQUAL(itable_in_use(&v.fs), 1 + RACE_THREADS * (uint64_t)c.rounds);
	IVOL_ASSERT_SOUND(&v.fs);
	ivol_close(&v);
}

static const struct hf_case cases[] = {
	{ "bound", test_bound },
	{ "eviction", test_eviction },
	{ "recently used stays", test_recent_stays },
	{ "pending times are not lost", test_pending_is_not_lost },
	{ "pending and in use", test_pending_and_locked },
	{ "dead", test_dead },
	{ "lock sets", test_lock_sets },
	{ "lookups against create and free", test_race },
	{ "the same, small cache", test_race_small_cache },
	{ "churn", test_churn },
	{ "growth by threads", test_grow_by_threads },
};

int main(void)
{
	return hf_run_suite("itable_cache", cases, HF_COUNT(cases));
}
