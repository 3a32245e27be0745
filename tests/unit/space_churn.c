/* Threads allocate and free at random; every block carries a stamp of who owns it, outside of the
 * allocator.
 *
 * The stamp of a freed block is changed by a deferred function that runs between the apply and the
 * allocator's own, so that a block which is handed out any earlier is seen with its old owner. The
 * stamp of a freed metadata block keeps the number of the transaction that freed it: whoever gets
 * the block must find it checkpointed. */
#include "space_vol.h"
#include "base/hash.h"
#include <pthread.h>
#include <sched.h>

#define THREADS 4u
#define EXTENTS 4096u
#define FREED	4u
#define WAITS	(1ull << 63) /* | sequence number */

static struct vol v;
static _Atomic uint64_t *stamps; /* per block: 0 free, owner, or WAITS */
static _Atomic uint64_t violations, allocated_total, no_space;
static uint64_t base_seed;

struct churn {
	uint64_t me, seed, rounds;
	uint64_t n;
	struct mext own[EXTENTS];
};

static uint64_t roll(struct churn *c, uint64_t below)
{
	c->seed = hash_mix2(c->seed, c->me);
	return c->seed % below;
}

static void stamp_take(struct churn *c, struct mext x)
{
	for (uint64_t b = x.first.v; b < x.first.v + x.n; b++) {
		uint64_t old = atomic_exchange(&stamps[b], c->me);

		if (old == 0 || (old & WAITS && (old & ~WAITS) <= journal_published(v.j).v))
			continue;
		if (atomic_fetch_add(&violations, 1) < 5)
			fprintf(stderr, "block %llu: got by %llu, stamp %llx\n",
				(unsigned long long)b, (unsigned long long)c->me,
				(unsigned long long)old);
	}
}

/* b: number of blocks << 1 | metadata */
static void stamp_drop(void *ctx, uint64_t a, uint64_t b, jseq_t seq, enum txn_outcome outcome)
{
	(void)ctx;
	if (outcome != TXN_COMMITTED)
		return;
	for (uint64_t i = a; i < a + (b >> 1); i++)
		atomic_store(&stamps[i], b & 1 ? WAITS | seq.v : 0);
}

static void own_add(struct churn *c, struct mext x)
{
	if (c->n < EXTENTS)
		c->own[c->n++] = x;
}

static int churn_alloc(struct churn *c, struct txn *t, struct mext *out)
{
	static const uint32_t wants[] = {1, 1, 1, 2, 5, 16, 40, 64, 100, 300, 511, 512};
	unsigned int flags = (unsigned int)roll(c, 4); /* META, RESERVE */
	mblk_t hint = roll(c, 3) ? MBLK_NULL : MBLK(roll(c, v.geo.nblocks));
	int err;

	if (roll(c, 8) == 0) {
		uint64_t got = 0;

		err = space_alloc_frames(v.s, t, 1 + roll(c, 5), mblk_to_frame(hint), flags,
					 &out->first, &got);
		out->n = got * 512;
	} else {
		err = space_alloc(v.s, t, wants[roll(c, HF_COUNT(wants))], hint, flags, out);
	}
	if (err == -ENOSPC)
		atomic_fetch_add(&no_space, 1);
	else if (err)
		atomic_fetch_add(&violations, 1);
	return err;
}

/* All or a part of a few extents that this thread owns. */
static int churn_free(struct churn *c, struct txn *t)
{
	uint64_t kind = roll(c, 2), most = 1 + roll(c, FREED);
	struct space_run run[FREED];
	uint32_t n = 0;
	int err = 0;

	while (!err && n < most && c->n > 0) {
		uint64_t i = roll(c, c->n), cut;
		struct mext x = c->own[i];

		cut = roll(c, 3) ? x.n : 1 + roll(c, x.n);
		err = txn_defer(t, stamp_drop, NULL, x.first.v, cut << 1 | kind);
		run[n++] = (struct space_run){x.first, cut, FBLK(0)};
		if (cut == x.n)
			c->own[i] = c->own[--c->n];
		else
			c->own[i] = (struct mext){MBLK(x.first.v + cut), x.n - cut};
	}
	if (!err)
		err = space_free_runs(v.s, t, run, n, kind ? SPACE_METADATA : SPACE_DATA,
				      INUM(c->me));
	if (err) {
		atomic_fetch_add(&violations, 1);
		fprintf(stderr, "space_free_runs: %s\n", err_msg());
	}
	return err;
}

/* One transaction. An aborted one allocates only: what it frees would have to be put back into
 * own[]. */
static void churn_round(struct churn *c)
{
	struct txn *t = txn_begin(v.j);
	uint64_t items = 1 + roll(c, 4);
	bool abort_it = roll(c, 6) == 0;
	struct mext got[4];
	unsigned int n = 0;

	while (items-- > 0) {
		bool full = c->n + n + 4 >= EXTENTS;

		if (!abort_it && c->n > 0 && (full || roll(c, 100) < 28))
			churn_free(c, t);
		else if (churn_alloc(c, t, &got[n]) == 0)
			stamp_take(c, got[n++]);
	}
	for (unsigned int i = 0; i < n && abort_it; i++) {
		for (uint64_t b = got[i].first.v; b < got[i].first.v + got[i].n; b++)
			atomic_store(&stamps[b], 0);
	}
	if (abort_it) {
		txn_abort(t);
		return;
	}
	vol_must(txn_commit(t, NULL), "txn_commit");
	for (unsigned int i = 0; i < n; i++) {
		own_add(c, got[i]);
		atomic_fetch_add(&allocated_total, got[i].n);
	}
}

static void *churn_main(void *arg)
{
	struct churn *c = arg;

	for (uint64_t i = 0; i < c->rounds; i++) {
		churn_round(c);
		if (i % 256 == 0)
			journal_checkpoint(v.j);
	}
	return NULL;
}

static void check_end(void)
{
	struct space_stat a, b;
	uint64_t wrong = 0, set = 0;

	vol_must(journal_checkpoint(v.j), "checkpoint");
	space_drain(v.s);
	for (uint64_t i = v.geo.first_data.v; i < v.geo.nblocks - 1; i++) {
		bool owned = stamps[i] != 0 && !(stamps[i] & WAITS);

		wrong += owned != space_is_allocated(v.s, MBLK(i));
		wrong += space_held_reason(v.s, MBLK(i)) != NULL;
		set += owned;
	}
	CU_ASSERT_EQUAL(wrong, 0);
	a = vol_stat(&v);
	CU_ASSERT_EQUAL(a.free + set, a.blocks);
	CU_ASSERT_EQUAL(a.pending + a.busy_journal + a.busy_pinned, 0);
	vol_stop(&v);
	vol_start(&v);
	b = vol_stat(&v);
	CU_ASSERT_EQUAL(memcmp(&a, &b, sizeof(a)), 0);
}

/* Makes the time between a commit's number and its apply long enough for others to run in it. */
static int slow_fence(void *ctx)
{
	static _Atomic uint32_t n;

	(void)ctx;
	if (atomic_fetch_add(&n, 1) % 8 == 0)
		sched_yield();
	return 0;
}

static const struct pm_hook slow_hook = {.fence = slow_fence};

static void churn(uint64_t bytes, unsigned int threads, uint64_t rounds)
{
	static struct churn all[THREADS];
	pthread_t th[THREADS];

	vol_open(&v, bytes, &slow_hook);
	stamps = calloc(v.geo.nblocks, sizeof(*stamps));
	CU_ASSERT_PTR_NOT_NULL_FATAL(stamps);
	violations = allocated_total = no_space = 0;
	for (unsigned int i = 0; i < threads; i++) {
		all[i] = (struct churn){.me = i + 1, .seed = base_seed + i, .rounds = rounds};
		CU_ASSERT_EQUAL_FATAL(pthread_create(&th[i], NULL, churn_main, &all[i]), 0);
	}
	for (unsigned int i = 0; i < threads; i++)
		pthread_join(th[i], NULL);
	CU_ASSERT_EQUAL(violations, 0);
	check_end();
	printf(" %llu blocks allocated, %llu times no space;", (unsigned long long)allocated_total,
	       (unsigned long long)no_space);
	free(stamps);
	stamps = NULL;
	vol_close(&v);
}

static uint64_t rounds(uint64_t n)
{
	return getenv("HF_TEST_SHORT") ? n / 50 : n;
}

static void test_one_thread(void)
{
	churn(64 * MIB, 1, rounds(40000));
}

static void test_threads_one_group(void)
{
	churn(64 * MIB, THREADS, rounds(20000));
}

static void test_threads_groups(void)
{
	churn(600 * MIB, THREADS, rounds(20000));
}

/* ---- the last blocks */

static void *fill_main(void *arg)
{
	struct churn *c = arg;

	for (;;) {
		struct txn *t = txn_begin(v.j);
		struct mext x;
		int err;

		err = space_alloc(v.s, t, (uint32_t)(1 + roll(c, 100)), MBLK_NULL, 0, &x);
		if (err) {
			txn_abort(t);
			return NULL;
		}
		c->n += x.n;
		vol_must(txn_commit(t, NULL), "txn_commit");
	}
}

/* File data of several threads, in several groups: what is kept back is neither touched nor more
 * than promised. */
static void test_reserve_threads(void)
{
	static struct churn all[THREADS];
	pthread_t th[THREADS];
	struct space_stat st;
	uint64_t got = 0;

	for (uint64_t turn = 0; turn < 1 + rounds(50) / 10; turn++) {
		vol_open(&v, 300 * MIB, NULL);
		got = 0;
		for (unsigned int i = 0; i < THREADS; i++) {
			all[i] =
			    (struct churn){.me = i + 1, .seed = base_seed + turn * THREADS + i};
			CU_ASSERT_EQUAL_FATAL(pthread_create(&th[i], NULL, fill_main, &all[i]), 0);
		}
		for (unsigned int i = 0; i < THREADS; i++) {
			pthread_join(th[i], NULL);
			got += all[i].n;
		}
		st = vol_stat(&v);
		CU_ASSERT_EQUAL(st.free, st.reserved);
		CU_ASSERT_EQUAL(got, st.blocks - st.reserved);
		vol_close(&v);
	}
}

/* Two threads want the last blocks at the same moment, in two groups: together they get what there
 * is and no more. */
enum { LAST_TURNS = 100000, LAST_WANT = 8 };
static _Atomic uint64_t last_arrived, last_got;

static void last_meet(uint64_t upto)
{
	atomic_fetch_add(&last_arrived, 1);
	for (unsigned int spins = 0; atomic_load(&last_arrived) < upto; spins++) {
		if (spins > 1000)
			sched_yield();
	}
}

static void *last_main(void *arg)
{
	struct churn *c = arg;
	mblk_t hint = c->own[0].first;

	for (uint64_t turn = 0; turn < c->rounds; turn++) {
		struct txn *t = txn_begin(v.j);
		struct mext x = {MBLK_NULL, 0};

		last_meet(turn * 6 + 2);
		for (uint64_t skew = roll(c, 64); skew > 0; skew--)
			atomic_signal_fence(
			    memory_order_seq_cst); /* one of them is always late: by how much */
		if (space_alloc(v.s, t, LAST_WANT, hint, SPACE_EXACT, &x) == 0)
			atomic_fetch_add(&last_got, x.n);
		last_meet(turn * 6 + 4);
		if (c->me == 1 && atomic_exchange(&last_got, 0) != LAST_WANT)
			atomic_fetch_add(&violations, 1);
		txn_abort(t);
		last_meet(turn * 6 + 6);
	}
	return NULL;
}

static void test_last_blocks(void)
{
	static struct churn all[2];
	uint64_t kept, each;
	pthread_t th[2];

	vol_open(&v, 8192 * MIB, NULL); /* 64 groups: adding them up takes a while */
	while (vol_alloc(&v, 512, SPACE_RESERVE).n)
		;
	kept = min_u64(max_u64(vol_stat(&v).blocks / 4096, 8), 64) * 2;
	each = (kept + LAST_WANT) / 2;
	violations = last_arrived = last_got = 0;
	for (unsigned int i = 0; i < 2; i++) {
		all[i] = (struct churn){.me = i + 1, .rounds = rounds(LAST_TURNS)};
		all[i].own[0] = (struct mext){MBLK((10 + 64 * i) * 512), each};
		vol_free(&v, all[i].own[0], SPACE_DATA);
	}
	CU_ASSERT_EQUAL(vol_stat(&v).free, kept + LAST_WANT);
	for (unsigned int i = 0; i < 2; i++)
		CU_ASSERT_EQUAL_FATAL(pthread_create(&th[i], NULL, last_main, &all[i]), 0);
	for (unsigned int i = 0; i < 2; i++)
		pthread_join(th[i], NULL);
	CU_ASSERT_EQUAL(violations, 0);
	vol_close(&v);
}

static const struct hf_case cases[] = {
    {"one_thread", test_one_thread},	     {"threads_one_group", test_threads_one_group},
    {"threads_groups", test_threads_groups}, {"reserve_threads", test_reserve_threads},
    {"last_blocks", test_last_blocks},
};

int main(void)
{
	base_seed = getenv("HF_TEST_SEED") ? strtoull(getenv("HF_TEST_SEED"), NULL, 0) : 1;
	printf("HF_TEST_SEED=%llu\n", (unsigned long long)base_seed);
	return hf_run_suite("space_churn", cases, HF_COUNT(cases));
}
