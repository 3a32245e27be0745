/* Crashes of the journal on a simulated device: random transactions; at random fences, and at
 * random stores inside a commit with a checkpoint squeezed in, the power fails or the process is
 * killed; recovery runs, crashes itself, runs again; then the content must be that of all
 * transactions that had returned, and of the one under way wholly or not at all.
 *
 * HF_SEED=n runs with one seed, HF_ROUNDS=n with that many per seed.
 */
#include "cunit_main.h"
#include "journal_sim.h"
#include "journal/internal.h"
#include "base/sanitize.h"

#define VOLUME	    (4ull << 20)
#define AREA_BLOCKS 8u /* what transactions change, from first_data on */
#define AREA_BYTES  (AREA_BLOCKS * HF_BLOCK_SIZE)
#define BITS_BYTES  128u /* two frames' lines */
#if HF_TSAN || HF_ASAN
#define SCALE 4u /* copying the devices is slow there */
#else
#define SCALE 1u
#endif
#define PTRS	 64u /* words in the area's last block that point to fresh blocks or data */
#define PTR_BYTE (AREA_BYTES - PTRS * 8)

struct model {
	uint8_t area[AREA_BYTES], bits[BITS_BYTES];
};

/* Transactions on one device and what they should leave. */
struct run {
	struct sim *sim;
	struct geo geo;
	struct journal *j;
	struct rng rng;
	struct model now, next; /* under sim->mtx */
	bool in_flight;		/* 'next' may be there already */
	uint64_t fresh; /* next block to use as a fresh one; each is used once; under sim->mtx */
	bool failed;	/* under sim->mtx */
};

struct stats {
	uint64_t crashes, kills, again, commits, replayed;
};

struct world {
	struct run main;
	struct sim *b; /* where images are recovered */
	uint8_t *image;
	struct rng rng;
	struct stats st;
	bool busy; /* a trial or a squeezed-in checkpoint is running */
	uint64_t seed;
	unsigned fence_odds, store_odds;
};

static uint64_t area_off(const struct geo *g)
{
	return g->first_data.v * HF_BLOCK_SIZE;
}

static void report(const char *what, const struct world *w)
{
	printf("\n%s: seed %llu, commit %llu: %s\n", what, (unsigned long long)w->seed,
	       (unsigned long long)w->st.commits, err_msg());
}

static void run_fail(struct run *r)
{
	pthread_mutex_lock(&r->sim->mtx);
	r->failed = true;
	pthread_mutex_unlock(&r->sim->mtx);
}

static bool run_failed(struct run *r)
{
	bool failed;

	pthread_mutex_lock(&r->sim->mtx);
	failed = r->failed;
	pthread_mutex_unlock(&r->sim->mtx);
	return failed;
}

/* ---- random transactions */

static void model_bits(struct model *m, uint64_t bit, uint64_t n, bool set)
{
	for (; n > 0; n--, bit++) {
		if (set)
			m->bits[bit / 8] |= (uint8_t)(1u << bit % 8);
		else
			m->bits[bit / 8] &= (uint8_t) ~(1u << bit % 8);
	}
}

static uint64_t fresh_word(uint64_t blk, uint64_t i)
{
	return hash_mix2(blk, i);
}

/* A block that is new: a map node through the cache, or file data non-temporally; then a pointer to
 * it. */
static void op_new_block(struct run *r, struct txn *t, struct model *m)
{
	uint64_t blk = r->fresh, slot = rng_below(&r->rng, PTRS), off = blk * HF_BLOCK_SIZE;
	uint64_t at = PTR_BYTE + slot * 8;

	if (blk + 1 >= r->geo.nblocks)
		return;
	pthread_mutex_lock(&r->sim->mtx);
	r->fresh++;
	pthread_mutex_unlock(&r->sim->mtx);
	if (rng_below(&r->rng, 2)) {
		txn_fresh(t, MBLK(blk));
		for (uint64_t i = 0; i < 512; i += 3)
			txn_set64(t, MOFF(off + i * 8), fresh_word(blk, i));
		if (txn_load64(t, MOFF(off + 9 * 8)) != fresh_word(blk, 9))
			run_fail(r);
	} else {
		uint64_t data[512] = {0};

		for (uint64_t i = 0; i < 512; i += 3)
			data[i] = fresh_word(blk, i);
		pm_copy_nt(r->sim->pm, MOFF(off), data, sizeof(data));
		txn_fence_first(t);
	}
	txn_set64(t, MOFF(area_off(&r->geo) + at), blk);
	memcpy(m->area + at, &blk, 8);
}

static void op_copy(struct run *r, struct txn *t, struct model *m)
{
	uint8_t buf[4096];
	uint64_t len = 8 * (1 + rng_below(&r->rng, rng_below(&r->rng, 6) ? 24 : 500));
	uint64_t at = 8 * rng_below(&r->rng, (PTR_BYTE - len) / 8);

	if (rng_below(&r->rng, 4) == 0) {
		/* Somebody's content that looks like records: it is some. */
		memcpy(buf, r->sim->mem + r->geo.lanes_off.v + 64 * rng_below(&r->rng, 1024), len);
	} else {
		for (uint64_t i = 0; i < len; i += 8) {
			uint64_t v = rng_next(&r->rng);

			memcpy(buf + i, &v, 8);
		}
	}
	if (len > txn_room(t) - 16)
		return;
	txn_copy(t, MOFF(area_off(&r->geo) + at), buf, (uint32_t)len);
	memcpy(m->area + at, buf, len);
}

static void op_bits(struct run *r, struct txn *t, struct model *m)
{
	uint64_t n = 1 + rng_below(&r->rng, rng_below(&r->rng, 3) ? 5 : 300);
	uint64_t bit = rng_below(&r->rng, BITS_BYTES * 8 - n);
	bool set = rng_below(&r->rng, 2);

	if (set)
		txn_bits_set(t, r->geo.alloc_off.v * 8 + bit, n);
	else
		txn_bits_clear(t, r->geo.alloc_off.v * 8 + bit, n);
	model_bits(m, bit, n, set);
}

static void op_set(struct run *r, struct txn *t, struct model *m)
{
	/* Mostly a few hot words, so that transactions overwrite each other. */
	uint64_t at = 8 * rng_below(&r->rng, rng_below(&r->rng, 4) ? 40 : PTR_BYTE / 8),
		 v = rng_next(&r->rng), seen;

	memcpy(&seen, m->area + at, 8);
	if (txn_load64(t, MOFF(area_off(&r->geo) + at)) != seen)
		run_fail(r);
	txn_set64(t, MOFF(area_off(&r->geo) + at), v);
	memcpy(m->area + at, &v, 8);
}

static int one_txn(struct run *r)
{
	struct txn *t = txn_begin(r->j);
	struct model *m = malloc(sizeof(*m));
	uint64_t ops = 1 + rng_below(&r->rng, 7);
	int err;

	*m = r->now;
	for (uint64_t i = 0; i < ops; i++) {
		uint64_t kind = rng_below(&r->rng, 12);

		if (kind == 0)
			op_new_block(r, t, m);
		else if (kind < 3)
			op_copy(r, t, m);
		else if (kind < 6)
			op_bits(r, t, m);
		else
			op_set(r, t, m);
	}
	pthread_mutex_lock(&r->sim->mtx);
	r->next = *m;
	r->in_flight = true;
	pthread_mutex_unlock(&r->sim->mtx);
	free(m);
	err = txn_commit(t, NULL);
	pthread_mutex_lock(&r->sim->mtx);
	if (!err) {
		r->now = r->next;
		r->in_flight = false;
	}
	pthread_mutex_unlock(&r->sim->mtx);
	return err;
}

/* ---- what is there */

static bool same(const struct sim *s, const struct geo *g, const struct model *m)
{
	return memcmp(s->mem + area_off(g), m->area, AREA_BYTES) == 0 &&
	       memcmp(s->mem + g->alloc_off.v, m->bits, BITS_BYTES) == 0;
}

static bool blocks_whole(const struct sim *s, const struct geo *g, const struct model *m)
{
	for (uint64_t p = 0; p < PTRS; p++) {
		uint64_t blk;

		memcpy(&blk, m->area + PTR_BYTE + p * 8, 8);
		if (blk == 0)
			continue;
		for (uint64_t i = 0; i < 512; i++) {
			uint64_t v;

			memcpy(&v, s->mem + blk * HF_BLOCK_SIZE + i * 8, 8);
			if (v != (i % 3 ? 0 : fresh_word(blk, i)))
				return false;
		}
	}
	(void)g;
	return true;
}

/* 1: the old state, 2: the new one, 0: neither. */
static int which(const struct sim *s, const struct run *r)
{
	if (same(s, &r->geo, &r->now) && blocks_whole(s, &r->geo, &r->now))
		return 1;
	if (r->in_flight && same(s, &r->geo, &r->next) && blocks_whole(s, &r->geo, &r->next))
		return 2;
	return 0;
}

/* ---- recovery, which crashes */

struct stop {
	struct world *w;
	uint64_t left;
};

static int stop_at_fence(struct sim *s, void *ctx)
{
	struct stop *p = ctx;

	if (p->left-- != 0)
		return 0;
	sim_crash_image(s, &p->w->rng, p->w->image);
	s->on_fence = NULL;
	return -EIO;
}

/* Opens what is on b; power fails at up to three fences on the way. NULL: refused, or a bug. */
static struct journal *recover(struct world *w)
{
	const struct geo *g = &w->main.geo;
	struct journal *j = NULL;
	unsigned crashes = (unsigned)rng_below(&w->rng, 4);

	for (unsigned i = 0; i < crashes; i++) {
		struct stop stop = {w, rng_below(&w->rng, 4)};

		sim_watch_fences(w->b, stop_at_fence, &stop);
		if (journal_open(w->b->pm, g, &j) == 0) {
			sim_watch_fences(w->b, NULL, NULL);
			return j;
		}
		if (w->b->on_fence != NULL)
			return NULL;
		w->st.again++;
		sim_load(w->b, w->image);
	}
	if (journal_open(w->b->pm, g, &j) != 0)
		return NULL;
	return j;
}

/* Recovers b and compares; goes on working there, fails the power once more, compares again. */
static bool check_recovered(struct world *w)
{
	struct run *r2 = malloc(sizeof(*r2));
	struct journal_stat st;
	bool ok = false;
	int state;

	*r2 = (struct run){.sim = w->b,
			   .geo = w->main.geo,
			   .now = w->main.now,
			   .next = w->main.next,
			   .in_flight = w->main.in_flight,
			   .fresh = w->main.fresh,
			   .rng = w->rng};
	r2->j = recover(w);
	if (!r2->j) {
		report("not recovered", w);
		goto out;
	}
	journal_stat(r2->j, &st);
	w->st.replayed += st.replayed;
	state = which(w->b, r2);
	if (state == 0) {
		report("neither old nor new", w);
		goto out_close;
	}
	if (state == 2)
		r2->now = r2->next;
	r2->in_flight = false;
	r2->fresh += 8; /* those of the transaction under way may be in use */
	for (uint64_t n = rng_below(&w->rng, 3) ? rng_below(&w->rng, 6) : rng_below(&w->rng, 120);
	     n > 0; n--)
		one_txn(r2);
	sim_crash_image(w->b, &w->rng, w->image);
	ok = !r2->failed;
out_close:
	journal_close(&r2->j);
	if (ok) {
		sim_load(w->b, w->image);
		r2->j = recover(w);
		ok = r2->j && which(w->b, r2) == 1;
		if (!ok)
			report("second crash", w);
		if (r2->j)
			journal_close(&r2->j);
	}
out:
	free(r2);
	return ok;
}

static void *recovered(void *arg)
{
	return check_recovered(arg) ? arg : NULL;
}

static void trial(struct world *w)
{
	pthread_t th;
	void *ok;

	if (w->main.failed)
		return;
	w->busy = true;
	if (rng_below(&w->rng, 4) == 0) {
		w->st.kills++;
		sim_kill(w->b, w->main.sim);
	} else {
		w->st.crashes++;
		sim_crash_image(w->main.sim, &w->rng, w->image);
		sim_load(w->b, w->image);
	}
	/* Another machine: it shares no locks with the thread in whose store or fence this happens.
	 */
	pthread_create(&th, NULL, recovered, w);
	pthread_join(th, &ok);
	if (!ok)
		w->main.failed = true;
	w->busy = false;
}

static int maybe_crash(struct sim *s, void *ctx)
{
	struct world *w = ctx;

	(void)s;
	if (!w->busy && rng_below(&w->rng, w->fence_odds) == 0)
		trial(w);
	return 0;
}

/* A checkpoint of another thread in the middle of a commit, and perhaps the power. */
static void maybe_checkpoint(struct sim *s, void *ctx, moff_t off, uint64_t len, bool nt)
{
	struct world *w = ctx;

	(void)off;
	(void)len;
	(void)nt;
	/* The checkpoint thread's own stores: its mutex is held. */
	if (w->busy || s->as >= 0 || !w->main.in_flight || w->main.failed ||
	    off.v < 3 * HF_BLOCK_SIZE)
		return;
	if (rng_below(&w->rng, w->store_odds) != 0)
		return;
	if (!mtx_trylock(&w->main.j->ckpt_mtx))
		return;
	s->as = 15;
	ckpt_run_locked(w->main.j);
	s->as = -1;
	mtx_unlock(&w->main.j->ckpt_mtx);
	if (!w->busy && rng_below(&w->rng, 2))
		trial(w);
}

static bool world_run(uint64_t seed, unsigned rounds, struct stats *total, unsigned fence_odds,
		      unsigned store_odds)
{
	struct world *w = calloc(1, sizeof(*w));
	struct mkfs_args args = {0};
	struct run *r = &w->main;
	bool ok;

	w->seed = seed;
	w->fence_odds = fence_odds;
	w->store_odds = store_odds;
	w->rng.s = hash_mix(seed);
	r->rng.s = hash_mix(~seed);
	w->image = aligned_alloc(HF_FRAME_SIZE, VOLUME);
	w->b = sim_new(VOLUME);
	r->sim = sim_new(VOLUME);
	if (mkfs_write(r->sim->pm, &args) || geo_read(r->sim->pm, &r->geo) ||
	    journal_open(r->sim->pm, &r->geo, &r->j)) {
		report("set-up", w);
		abort();
	}
	memcpy(r->now.bits, r->sim->mem + r->geo.alloc_off.v, BITS_BYTES);
	r->fresh = r->geo.first_data.v + AREA_BLOCKS;
	pthread_mutex_lock(&r->sim->mtx);
	r->sim->ctx = w;
	r->sim->on_fence = maybe_crash;
	r->sim->on_store = maybe_checkpoint;
	pthread_mutex_unlock(&r->sim->mtx);
	for (unsigned i = 0; i < rounds && !run_failed(r); i++) {
		if (one_txn(r) != 0) {
			report("commit", w);
			run_fail(r);
		}
		if (rng_below(&r->rng, 60) == 0 && journal_checkpoint(r->j) != 0)
			run_fail(r);
		pthread_mutex_lock(&r->sim->mtx);
		w->st.commits++;
		if (!r->failed && !same(r->sim, &r->geo, &r->now)) {
			report("not applied", w);
			r->failed = true;
		}
		pthread_mutex_unlock(&r->sim->mtx);
	}
	pthread_mutex_lock(&r->sim->mtx);
	if (!r->failed)
		trial(w);
	r->sim->on_fence = NULL;
	r->sim->on_store = NULL;
	pthread_mutex_unlock(&r->sim->mtx);
	ok = !r->failed;
	journal_close(&r->j);
	total->crashes += w->st.crashes;
	total->kills += w->st.kills;
	total->again += w->st.again;
	total->commits += w->st.commits;
	total->replayed += w->st.replayed;
	sim_free(r->sim);
	sim_free(w->b);
	free(w->image);
	free(w);
	return ok;
}

static uint64_t from_env(const char *name, uint64_t none)
{
	const char *s = getenv(name);

	return s ? strtoull(s, NULL, 0) : none;
}

static void run_seeds(const char *name, uint64_t seeds, unsigned rounds, unsigned fence_odds,
		      unsigned store_odds)
{
	uint64_t one = from_env("HF_SEED", 0);
	struct stats st = {0};

	rounds = (unsigned)from_env("HF_ROUNDS", rounds);
	for (uint64_t seed = one ? one : 1; seed <= (one ? one : seeds); seed++) {
		bool ok = world_run(seed, rounds, &st, fence_odds, store_odds);

		CU_ASSERT_TRUE(ok);
		if (!ok)
			break;
	}
	printf("\n    %s: %llu commits, %llu power failures, %llu kills, %llu crashes of recovery, "
	       "%llu replayed\n",
	       name, (unsigned long long)st.commits, (unsigned long long)st.crashes,
	       (unsigned long long)st.kills, (unsigned long long)st.again,
	       (unsigned long long)st.replayed);
}

static void test_dense(void)
{
	run_seeds("dense", 12 / SCALE, 60, 2, 12);
}

/* Long enough to go round the halves many times; fewer crashes. */
static void test_long(void)
{
	run_seeds("long", 4 / SCALE, 2500, 60 * SCALE, 300 * SCALE);
}

static const struct hf_case cases[] = {
    {"dense", test_dense},
    {"long", test_long},
};

int main(void)
{
	return hf_run_suite("journal_crash", cases, HF_COUNT(cases));
}
