/* Several threads: words of their own, bits in shared words, lanes and rings that fill up,
 * checkpoints beside them; then the same on the simulated device with power failures. */
#include "cunit_main.h"
#include "journal_sim.h"
#include "journal/internal.h"
#include "base/sanitize.h"

#include <sched.h>
#include <time.h>

#define THREADS 3u
#define WORDS	24u /* of each thread */
#define SHARED	16u /* words of bits that all share: bit of thread t is t * 7 */

struct world;
struct worker {
	struct world *w;
	unsigned t;
	uint64_t done; /* under the device's mutex, where there is one */
	uint64_t todo;
	int err;
};

struct world {
	struct pm *pm;
	struct sim *sim, *b; /* NULL: a plain memfd */
	struct geo geo;
	struct journal *j;
	uint64_t base;
	struct worker worker[THREADS];
	struct rng rng;
	uint8_t *image;
	unsigned odds;
	bool busy, failed, large;
	uint64_t crashes;
	_Atomic bool stop;
};

static uint64_t word_at(const struct world *w, unsigned t, unsigned i)
{
	/* Side by side, so that threads share lines. */
	return w->base + ((uint64_t)i * THREADS + t) * 8;
}

static uint64_t shared_bit(const struct world *w, unsigned t, unsigned i)
{
	return (w->base + 4096 + i * 8) * 8 + t * 7;
}

static void gather(struct world *w, struct txn *t, unsigned me, uint64_t n)
{
	static const uint8_t zeros[2048];

	for (unsigned i = 0; i < WORDS; i++) {
		txn_set64(t, MOFF(word_at(w, me, i)), n);
		if (i < SHARED && n % 2)
			txn_bits_set(t, shared_bit(w, me, i), 1);
		else if (i < SHARED)
			txn_bits_clear(t, shared_bit(w, me, i), 1);
	}
	if (w->large && n % 3 == 0)
		txn_copy(t, MOFF(w->base + (2 + me) * 4096), zeros, sizeof(zeros));
}

static void *work(void *arg)
{
	struct worker *k = arg;
	struct world *w = k->w;

	for (uint64_t n = 1; n <= k->todo && k->err == 0; n++) {
		struct txn *t = txn_begin(w->j);

		gather(w, t, k->t, n);
		k->err = txn_commit(t, NULL);
		if (k->err)
			break;
		if (w->sim)
			pthread_mutex_lock(&w->sim->mtx);
		k->done = n;
		if (w->sim)
			pthread_mutex_unlock(&w->sim->mtx);
	}
	return NULL;
}

static void *checkpoint_now_and_then(void *arg)
{
	struct world *w = arg;
	struct timespec pause = {0, 50000};

	while (!atomic_load(&w->stop)) {
		journal_checkpoint(w->j);
		nanosleep(&pause, NULL);
	}
	return NULL;
}

/* The number that thread t's words agree on, or -1. */
static int64_t number_of(const struct world *w, const struct pm *pm, unsigned t)
{
	uint64_t n = pm_load64(pm, MOFF(word_at(w, t, 0)));

	for (unsigned i = 0; i < WORDS; i++)
		if (pm_load64(pm, MOFF(word_at(w, t, i))) != n)
			return -1;
	for (unsigned i = 0; i < SHARED; i++) {
		uint64_t bit = shared_bit(w, t, i);

		if ((pm_load64(pm, MOFF(bit / 64 * 8)) >> bit % 64 & 1) != n % 2)
			return -1;
	}
	return (int64_t)n;
}

static void run_workers(struct world *w, uint64_t todo, bool checkpoints)
{
	pthread_t th[THREADS], ck;

	atomic_store(&w->stop, false);
	for (unsigned t = 0; t < THREADS; t++) {
		w->worker[t] = (struct worker){.w = w, .t = t, .todo = todo};
		pthread_create(&th[t], NULL, work, &w->worker[t]);
	}
	if (checkpoints)
		pthread_create(&ck, NULL, checkpoint_now_and_then, w);
	for (unsigned t = 0; t < THREADS; t++)
		pthread_join(th[t], NULL);
	atomic_store(&w->stop, true);
	if (checkpoints)
		pthread_join(ck, NULL);
}

static void world_open(struct world *w)
{
	struct mkfs_args args = {0};

	if (mkfs_write(w->pm, &args) || geo_read(w->pm, &w->geo) ||
	    journal_open(w->pm, &w->geo, &w->j)) {
		fprintf(stderr, "%s\n", err_msg());
		abort();
	}
	w->base = w->geo.first_data.v * HF_BLOCK_SIZE;
}

static void stress(bool large, bool checkpoints, unsigned ring)
{
	struct pm_open_args line = {.force_gran = true, .gran = PM_LINE};
	struct world *w = calloc(1, sizeof(*w));
	uint64_t todo = HF_TSAN ? 4000 : 20000;
	struct journal_stat st;

	w->large = large;
	if (pm_open_memfd(4ull << 20, &line, &w->pm) != 0)
		abort();
	world_open(w);
	if (ring)
		for (unsigned i = 0; i < w->geo.nlanes; i++)
			w->j->lanes[i].dirty.mask = ring - 1;
	run_workers(w, todo, checkpoints);
	for (unsigned t = 0; t < THREADS; t++) {
		CU_ASSERT_EQUAL(w->worker[t].err, 0);
		CU_ASSERT_EQUAL(number_of(w, w->pm, t), (int64_t)todo);
	}
	journal_stat(w->j, &st);
	CU_ASSERT_EQUAL(st.commits, THREADS * todo);
	CU_ASSERT_EQUAL(st.next.v, w->geo.nlanes + THREADS * todo + 1);
	CU_ASSERT(st.checkpoints > 10);
	CU_ASSERT_EQUAL(journal_close(&w->j), 0);
	CU_ASSERT_EQUAL(journal_open(w->pm, &w->geo, &w->j), 0);
	journal_stat(w->j, &st);
	CU_ASSERT_EQUAL(st.replayed, 0);
	journal_close(&w->j);
	pm_close(&w->pm);
	free(w);
}

static void test_stress(void)
{
	stress(false, false, 0);
}

static void test_stress_checkpoints(void)
{
	stress(true, true, 0);
}

/* Rings that hold hardly more than one transaction: they fill before the lanes do. */
static void test_ring_full(void)
{
	stress(false, true, 128);
}

static void test_ring_too_small(void)
{
	struct pm *pm;
	struct world w = {0};
	struct txn *t;

	if (pm_open_memfd(4ull << 20, NULL, &pm) != 0)
		abort();
	w.pm = pm;
	world_open(&w);
	for (unsigned i = 0; i < w.geo.nlanes; i++)
		w.j->lanes[i].dirty.mask = 31;
	t = txn_begin(w.j);
	gather(&w, t, 0, 1);
	CU_ASSERT_EQUAL(txn_commit(t, NULL), -E2BIG);
	CU_ASSERT_EQUAL(journal_state(w.j), 0);
	journal_close(&w.j);
	pm_close(&pm);
}

/* Shut down under way: everyone gets -ESHUTDOWN and nobody hangs, also with a lane that stays
 * claimed. */
static int fail_now(struct sim *s, void *ctx)
{
	(void)ctx;
	s->on_fence = NULL;
	return -EIO;
}

static void *fail_soon(void *arg)
{
	struct world *w = arg;
	struct timespec pause = {0, 3000000};

	nanosleep(&pause, NULL);
	pthread_mutex_lock(&w->sim->mtx);
	w->sim->on_fence = fail_now;
	pthread_mutex_unlock(&w->sim->mtx);
	return NULL;
}

static void test_fail_under_way(void)
{
	struct world *w = calloc(1, sizeof(*w));
	pthread_t th;
	int eio = 0;

	if (HF_TSAN) {
		free(w);
		return;
	}
	w->sim = sim_new(4ull << 20);
	w->pm = w->sim->pm;
	world_open(w);
	pthread_create(&th, NULL, fail_soon, w);
	run_workers(w, UINT64_MAX, false);
	pthread_join(th, NULL);
	for (unsigned t = 0; t < THREADS; t++) {
		CU_ASSERT(w->worker[t].err == -EIO || w->worker[t].err == -ESHUTDOWN);
		eio += w->worker[t].err == -EIO;
	}
	CU_ASSERT(eio <= 2);
	CU_ASSERT_EQUAL(journal_close(&w->j), -ESHUTDOWN);
	/* The power goes: all that had returned is there. */
	sim_load(w->sim, w->sim->shadow);
	CU_ASSERT_EQUAL(journal_open(w->pm, &w->geo, &w->j), 0);
	for (unsigned t = 0; t < THREADS; t++) {
		int64_t n = number_of(w, w->pm, t);

		CU_ASSERT(n == (int64_t)w->worker[t].done || n == (int64_t)w->worker[t].done + 1);
	}
	journal_close(&w->j);
	sim_free(w->sim);
	free(w);
}

/* ---- power failures */

static void *recover(void *arg)
{
	struct world *w = arg;
	struct journal *j;

	if (journal_open(w->b->pm, &w->geo, &j) != 0) {
		printf("\nnot recovered: %s\n", err_msg());
		w->failed = true;
		return NULL;
	}
	for (unsigned t = 0; t < THREADS; t++) {
		int64_t n = number_of(w, w->b->pm, t), done = (int64_t)w->worker[t].done;

		if (n != done && n != done + 1) {
			printf("\nthread %u: found %lld, had returned %lld\n", t, (long long)n,
			       (long long)done);
			w->failed = true;
		}
	}
	journal_close(&j);
	return NULL;
}

/* Another machine: it shares no locks with the thread in whose fence this happens. */
static void trial(struct world *w)
{
	pthread_t th;

	w->crashes++;
	sim_crash_image(w->sim, &w->rng, w->image);
	sim_load(w->b, w->image);
	pthread_create(&th, NULL, recover, w);
	pthread_join(th, NULL);
}

static int maybe_crash(struct sim *s, void *ctx)
{
	struct world *w = ctx;

	(void)s;
	if (!w->busy && !w->failed && rng_below(&w->rng, w->odds) == 0) {
		w->busy = true;
		trial(w);
		w->busy = false;
	}
	return 0;
}

/* Lets others in between any two stores. */
static void maybe_yield(struct sim *s, void *ctx, moff_t off, uint64_t len, bool nt)
{
	struct world *w = ctx;

	(void)off;
	(void)len;
	(void)nt;
	if (w->busy || rng_below(&w->rng, 6) != 0)
		return;
	/* Held once by this store. */
	pthread_mutex_unlock(&s->mtx);
	sched_yield();
	pthread_mutex_lock(&s->mtx);
}

static void test_crash(void)
{
	uint64_t total = 0;

	if (HF_TSAN)
		return;
	for (uint64_t seed = 1; seed <= 3; seed++) {
		struct world *w = calloc(1, sizeof(*w));

		w->rng.s = seed;
		w->odds = 20;
		w->sim = sim_new(4ull << 20);
		w->b = sim_new(4ull << 20);
		w->image = malloc(4ull << 20);
		w->pm = w->sim->pm;
		world_open(w);
		pthread_mutex_lock(&w->sim->mtx);
		w->sim->ctx = w;
		w->sim->on_fence = maybe_crash;
		w->sim->on_store = maybe_yield;
		pthread_mutex_unlock(&w->sim->mtx);
		run_workers(w, 800, true);
		pthread_mutex_lock(&w->sim->mtx);
		w->sim->on_fence = NULL;
		w->sim->on_store = NULL;
		pthread_mutex_unlock(&w->sim->mtx);
		CU_ASSERT_FALSE(w->failed);
		for (unsigned t = 0; t < THREADS; t++)
			CU_ASSERT_EQUAL(number_of(w, w->pm, t), 800);
		total += w->crashes;
		journal_close(&w->j);
		sim_free(w->sim);
		sim_free(w->b);
		free(w->image);
		free(w);
	}
	printf("\n    %llu power failures ... ", (unsigned long long)total);
}

static const struct hf_case cases[] = {
    {"stress", test_stress},
    {"stress_checkpoints", test_stress_checkpoints},
    {"ring_full", test_ring_full},
    {"ring_too_small", test_ring_too_small},
    {"fail_under_way", test_fail_under_way},
    {"crash", test_crash},
};

int main(void)
{
	return hf_run_suite("journal_threads", cases, HF_COUNT(cases));
}
