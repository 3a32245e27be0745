/* Transactions: what is gathered, what is seen before commit, what is left after it; errors;
 * deferred functions; shutdown. */
#include "cunit_main.h"
#include "journal_sim.h"
#include "journal/internal.h"

struct vol {
	struct sim *sim;
	struct geo geo;
	struct journal *j;
	uint64_t base; /* offset of the first block that the allocator owns */
	uint64_t bit0; /* its allocation bit */
};

static struct vol vol_new(void)
{
	struct vol v = {.sim = sim_new(4ull << 20)};
	struct mkfs_args args = {0};

	if (mkfs_write(v.sim->pm, &args) || geo_read(v.sim->pm, &v.geo) ||
	    journal_open(v.sim->pm, &v.geo, &v.j)) {
		fprintf(stderr, "%s\n", err_msg());
		abort();
	}
	v.base = v.geo.first_data.v * HF_BLOCK_SIZE;
	v.bit0 = geo_alloc_bit(&v.geo, v.geo.first_data);
	return v;
}

static void vol_free(struct vol *v)
{
	journal_close(&v->j);
	sim_free(v->sim);
}

static uint64_t word(const struct vol *v, uint64_t off)
{
	return pm_load64(v->sim->pm, MOFF(v->base + off));
}

static void set(struct vol *v, struct txn *t, uint64_t off, uint64_t x)
{
	txn_set64(t, MOFF(v->base + off), x);
}

static uint64_t get(struct vol *v, struct txn *t, uint64_t off)
{
	return txn_load64(t, MOFF(v->base + off));
}

static void test_overlay(void)
{
	struct vol v = vol_new();
	uint64_t data[4] = {10, 11, 12, 13};
	struct txn *t = txn_begin(v.j);
	uint32_t room;

	set(&v, t, 0, 1);
	CU_ASSERT_EQUAL(get(&v, t, 0), 1);
	CU_ASSERT_EQUAL(word(&v, 0), 0);
	room = txn_room(t);
	set(&v, t, 0, 2);
	CU_ASSERT_EQUAL(txn_room(t), room); /* the same word again takes no room */
	CU_ASSERT_EQUAL(get(&v, t, 0), 2);
	txn_copy(t, MOFF(v.base), data, sizeof(data)); /* over the word */
	CU_ASSERT_EQUAL(get(&v, t, 0), 10);
	CU_ASSERT_EQUAL(get(&v, t, 24), 13);
	CU_ASSERT_EQUAL(get(&v, t, 32), 0);
	room = txn_room(t);
	set(&v, t, 0, 3); /* and over the copy */
	set(&v, t, 24, 4);
	CU_ASSERT_EQUAL(txn_room(t), room);
	CU_ASSERT_EQUAL(get(&v, t, 0), 3);
	txn_copy(t, MOFF(v.base + 8), data, 16); /* two copies that overlap */
	CU_ASSERT_EQUAL(get(&v, t, 8), 10);
	CU_ASSERT_EQUAL(get(&v, t, 16), 11);
	CU_ASSERT_EQUAL(get(&v, t, 24), 4);
	CU_ASSERT_EQUAL(txn_commit(t, NULL), 0);
	CU_ASSERT_EQUAL(word(&v, 0), 3);
	CU_ASSERT_EQUAL(word(&v, 8), 10);
	CU_ASSERT_EQUAL(word(&v, 16), 11);
	CU_ASSERT_EQUAL(word(&v, 24), 4);
	/* A new transaction sees nothing of the old one's overlay but what is in place. */
	t = txn_begin(v.j);
	CU_ASSERT_EQUAL(get(&v, t, 24), 4);
	txn_abort(t);
	vol_free(&v);
}

/* Random sets and copies against a plain array. */
static void test_overlay_random(void)
{
	struct vol v = vol_new();
	struct rng r = {5};
	uint64_t model[256] = {0};
	int wrong = 0;

	for (int n = 0; n < 300; n++) {
		struct txn *t = txn_begin(v.j);
		uint64_t next[256];
		bool keep = rng_below(&r, 4) != 0;

		memcpy(next, model, sizeof(next));
		for (int i = 0; i < 60; i++) {
			uint64_t at = rng_below(&r, 240), len = 1 + rng_below(&r, 16),
				 x = rng_next(&r);

			if (rng_below(&r, 5) == 0) {
				uint64_t buf[16];

				for (uint64_t k = 0; k < len; k++)
					buf[k] = next[at + k] = rng_next(&r);
				txn_copy(t, MOFF(v.base + at * 8), buf, (uint32_t)len * 8);
			} else {
				next[at] = x;
				set(&v, t, at * 8, x);
			}
			at = rng_below(&r, 256);
			wrong += get(&v, t, at * 8) != next[at];
		}
		if (keep) {
			wrong += txn_commit(t, NULL) != 0;
			memcpy(model, next, sizeof(model));
		} else {
			txn_abort(t);
		}
		for (uint64_t k = 0; k < 256; k++)
			wrong += word(&v, k * 8) != model[k];
	}
	CU_ASSERT_EQUAL(wrong, 0);
	vol_free(&v);
}

enum { MAY_WORDS = 2048 };

/* A word in [at, at + n) that is not the media's. */
static bool any_pending(const struct vol *v, const uint64_t *next, uint64_t at, uint64_t n)
{
	for (uint64_t k = at; k < at + n; k++)
		if (next[k] != word(v, k * 8))
			return true;
	return false;
}

/* What is said to have nothing pending has nothing: few changes, copies and ranges of more than a block, from any word of a line. */
static void test_may_have(void)
{
	static uint64_t next[MAY_WORDS], buf[600];
	struct vol v = vol_new();
	struct rng r = {6};
	unsigned wrong = 0, none = 0;

	for (int n = 0; n < 400; n++) {
		struct txn *t = txn_begin(v.j);
		uint64_t changes = 1 + rng_below(&r, 4);

		memset(next, 0, sizeof(next));
		for (uint64_t i = 0; i < changes; i++) {
			uint64_t len = 1 + rng_below(&r, rng_below(&r, 20) ? 12 : HF_COUNT(buf)), at = rng_below(&r, MAY_WORDS - len);

			for (uint64_t k = 0; k < len; k++)
				buf[k] = next[at + k] = rng_next(&r) | 1;
			if (len == 1)
				set(&v, t, at * 8, buf[0]);
			else
				txn_copy(t, MOFF(v.base + at * 8), buf, (uint32_t)len * 8);
		}
		for (int i = 0; i < 100; i++) {
			uint64_t len = 1 + rng_below(&r, rng_below(&r, 3) ? 20 : HF_COUNT(buf)), at = rng_below(&r, MAY_WORDS - len);
			bool may = txn_may_have(t, MOFF(v.base + at * 8), len * 8);

			none += !may;
			wrong += !may && any_pending(&v, next, at, len);
			wrong += get(&v, t, at * 8) != next[at];
		}
		txn_abort(t);
	}
	CU_ASSERT_EQUAL(wrong, 0);
	CU_ASSERT(none > 1000);
	vol_free(&v);
}

/* The two buffers of a thread with two open at once are not mixed up. */
static void test_two_volumes(void)
{
	struct vol v = vol_new(), w = vol_new();

	for (uint64_t i = 1; i < 50; i++) {
		struct txn *t = txn_begin(v.j), *u = txn_begin(w.j);

		set(&v, t, 8 * i, i);
		CU_ASSERT_EQUAL(get(&w, u, 8 * i), 0);
		set(&w, u, 8 * i, 1000 + i);
		CU_ASSERT_EQUAL(get(&v, t, 8 * i), i);
		CU_ASSERT_EQUAL(txn_commit(i & 1 ? t : u, NULL), 0);
		CU_ASSERT_EQUAL(txn_commit(i & 1 ? u : t, NULL), 0);
		CU_ASSERT_EQUAL(word(&v, 8 * i), i);
		CU_ASSERT_EQUAL(word(&w, 8 * i), 1000 + i);
	}
	vol_free(&v);
	vol_free(&w);
}

static void test_bits(void)
{
	struct vol v = vol_new();
	struct rng r = {9};
	uint8_t model[128];
	uint8_t *lines = v.sim->mem + v.geo.alloc_off.v;
	struct txn *t;
	uint32_t room;
	int wrong = 0;

	memcpy(model, lines, sizeof(model));
	for (int n = 0; n < 400; n++) {
		t = txn_begin(v.j);
		for (int i = 0; i < 4; i++) {
			uint64_t len = 1 + rng_below(&r, rng_below(&r, 2) ? 8 : 500);
			uint64_t bit = rng_below(&r, 1024 - len);
			bool on = rng_below(&r, 2);

			if (rng_below(&r, 4) == 0) { /* lines */
				len = 512;
				bit = 512 * rng_below(&r, 2);
			}

			if (on)
				txn_bits_set(t, v.geo.alloc_off.v * 8 + bit, len);
			else
				txn_bits_clear(t, v.geo.alloc_off.v * 8 + bit, len);
			for (uint64_t b = bit; b < bit + len; b++)
				model[b / 8] = (uint8_t)(on ? model[b / 8] | 1u << b % 8
							    : model[b / 8] & ~(1u << b % 8));
		}
		wrong += txn_commit(t, NULL) != 0;
		wrong += memcmp(lines, model, sizeof(model)) != 0;
	}
	CU_ASSERT_EQUAL(wrong, 0);
	/* Adjacent runs are one item, from both sides; another kind in between keeps the order. */
	t = txn_begin(v.j);
	room = txn_room(t);
	txn_bits_set(t, v.bit0 + 10, 5);
	txn_bits_set(t, v.bit0 + 15, 5);
	txn_bits_set(t, v.bit0 + 8, 2);
	CU_ASSERT_EQUAL(room - txn_room(t), 16);
	txn_bits_clear(t, v.bit0 + 8, 100);
	txn_bits_set(t, v.bit0 + 20, 1);
	CU_ASSERT_EQUAL(room - txn_room(t), 48);
	CU_ASSERT_EQUAL(txn_commit(t, NULL), 0);
	CU_ASSERT_EQUAL(lines[(v.geo.first_data.v + 20) / 8] >> (v.geo.first_data.v + 20) % 8 & 1,
			1);
	CU_ASSERT_EQUAL(lines[(v.geo.first_data.v + 10) / 8] >> (v.geo.first_data.v + 10) % 8 & 1,
			0);
	vol_free(&v);
}

static void test_fresh(void)
{
	struct vol v = vol_new();
	struct txn *t;
	uint64_t blk = v.geo.first_data.v + 1, off = HF_BLOCK_SIZE, data[512];
	uint32_t room;

	memset(data, 0x33, sizeof(data));
	memset(v.sim->mem + v.base + off, 0xee, HF_BLOCK_SIZE);
	t = txn_begin(v.j);
	room = txn_room(t);
	txn_fresh(t, MBLK(blk));
	CU_ASSERT_TRUE(txn_is_fresh(t, MBLK(blk)));
	CU_ASSERT_FALSE(txn_is_fresh(t, MBLK(blk + 1)));
	CU_ASSERT_FALSE(txn_is_empty(t));
	CU_ASSERT_EQUAL(word(&v, off + 80), 0);
	set(&v, t, off + 8, 7);
	txn_bits_set(t, (v.base + off + 64) * 8, 3);
	CU_ASSERT_EQUAL(word(&v, off + 8), 7);
	CU_ASSERT_EQUAL(get(&v, t, off + 8), 7);
	CU_ASSERT_EQUAL(word(&v, off + 64), 7);
	CU_ASSERT_EQUAL(txn_room(t), room);
	/* A copy across the border: one half at once, the other with the commit. */
	txn_copy(t, MOFF(v.base + off + 4000), data, 192);
	CU_ASSERT_EQUAL(word(&v, off + 4000), data[0]);
	CU_ASSERT_EQUAL(word(&v, off + 4096), 0);
	CU_ASSERT_EQUAL(txn_commit(t, NULL), 0);
	CU_ASSERT_EQUAL(word(&v, off + 4096), data[0]);
	CU_ASSERT_EQUAL(
	    memcmp(v.sim->shadow + v.base + off, v.sim->mem + v.base + off, HF_BLOCK_SIZE), 0);
	/* More than fit the first array. */
	t = txn_begin(v.j);
	for (uint64_t i = 0; i < 100; i++)
		txn_fresh(t, MBLK(blk + i));
	for (uint64_t i = 0; i < 100; i++)
		CU_ASSERT_TRUE(txn_is_fresh(t, MBLK(blk + i)));
	CU_ASSERT_EQUAL(txn_commit(t, NULL), 0);
	/* Not a block of anybody's. */
	t = txn_begin(v.j);
	txn_fresh(t, MBLK(20));
	CU_ASSERT_EQUAL(txn_commit(t, NULL), -EUCLEAN);
	vol_free(&v);
}

/* ---- deferred */

struct calls {
	struct vol *v;
	unsigned n;
	uint64_t a[32];
	enum txn_outcome outcome[32];
	uint64_t seq[32];
	uint64_t seen; /* the word, as it stood when called */
};

static void called(void *ctx, uint64_t a, uint64_t b, jseq_t seq, enum txn_outcome outcome)
{
	struct calls *c = ctx;

	c->seen = word(c->v, b);
	if (c->n < 32) {
		c->outcome[c->n] = outcome;
		c->seq[c->n] = seq.v;
		c->a[c->n++] = a;
	}
}

static void test_defer(void)
{
	struct vol v = vol_new();
	struct calls c = {.v = &v};
	struct txn *t = txn_begin(v.j);
	jseq_t seq;

	for (uint64_t i = 0; i < 20; i++)
		CU_ASSERT_EQUAL(txn_defer(t, called, &c, i, 0), 0);
	set(&v, t, 0, 99);
	CU_ASSERT_EQUAL(c.n, 0);
	CU_ASSERT_EQUAL(txn_commit(t, &seq), 0);
	CU_ASSERT_EQUAL(c.n, 20);
	CU_ASSERT_EQUAL(c.seen, 99); /* after the apply (J2) */
	for (unsigned i = 0; i < 20; i++)
		CU_ASSERT(c.a[i] == i && c.outcome[i] == TXN_COMMITTED && c.seq[i] == seq.v);
	c.n = 0;
	t = txn_begin(v.j);
	set(&v, t, 0, 5);
	txn_defer(t, called, &c, 1, 0);
	txn_abort(t);
	CU_ASSERT(c.n == 1 && c.outcome[0] == TXN_ABORTED);
	CU_ASSERT_EQUAL(word(&v, 0), 99);
	/* Nothing gathered: no record, but they run. */
	c.n = 0;
	t = txn_begin(v.j);
	CU_ASSERT_TRUE(txn_is_empty(t));
	txn_defer(t, called, &c, 1, 0);
	CU_ASSERT_EQUAL(txn_commit(t, &seq), 0);
	CU_ASSERT(c.n == 1 && c.outcome[0] == TXN_COMMITTED && seq.v == 0);
	/* A kept error is what commit returns, and it is an abort. */
	c.n = 0;
	t = txn_begin(v.j);
	set(&v, t, 0, 5);
	txn_defer(t, called, &c, 1, 0);
	txn_fail(t, -ENOSPC);
	txn_fail(t, -EIO);
	CU_ASSERT_EQUAL(txn_error(t), -ENOSPC);
	CU_ASSERT_EQUAL(txn_commit(t, NULL), -ENOSPC);
	CU_ASSERT(c.n == 1 && c.outcome[0] == TXN_ABORTED);
	CU_ASSERT_EQUAL(word(&v, 0), 99);
	vol_free(&v);
}

static void test_too_big(void)
{
	struct vol v = vol_new();
	struct txn *t = txn_begin(v.j);
	struct journal_stat st;
	static uint8_t big[FMT_RECORD_MAX];
	unsigned n = 0;

	for (; txn_room(t) >= 16; n++)
		set(&v, t, 8 * n, n + 1);
	CU_ASSERT_EQUAL(txn_error(t), 0);
	CU_ASSERT_EQUAL(n, (FMT_RECORD_MAX - 24) / 16);
	CU_ASSERT_EQUAL(txn_commit(t, NULL), 0);
	CU_ASSERT_EQUAL(word(&v, 8 * (n - 1)), n);
	t = txn_begin(v.j);
	for (unsigned i = 0; i <= n; i++)
		set(&v, t, 8 * i, 1);
	CU_ASSERT_EQUAL(txn_error(t), -E2BIG);
	CU_ASSERT_EQUAL(txn_commit(t, NULL), -E2BIG);
	t = txn_begin(v.j);
	txn_copy(t, MOFF(v.base), big, sizeof(big));
	CU_ASSERT_EQUAL(txn_commit(t, NULL), -E2BIG);
	t = txn_begin(v.j);
	txn_copy(t, MOFF(v.base), big, FMT_RECORD_MAX - 24 - 16);
	CU_ASSERT_EQUAL(txn_room(t), 0);
	CU_ASSERT_EQUAL(txn_commit(t, NULL), 0);
	journal_stat(v.j, &st);
	CU_ASSERT_EQUAL(st.commits, 2);
	CU_ASSERT_FALSE(st.shutdown);
	vol_free(&v);
}

/* Where no transaction may store, whoever asks for it. */
static void test_ranges(void)
{
	struct vol v = vol_new();
	uint64_t end = v.geo.bytes, lanes_end = v.geo.lanes_off.v + v.geo.nlanes * v.geo.lane_bytes;
	uint64_t bad[] = {0,
			  4096,
			  8192,
			  3 * 4096 + 4088,
			  v.geo.lanes_off.v,
			  lanes_end - 8,
			  end - 4096,
			  end - 8,
			  end,
			  end + 8,
			  1ull << 50,
			  v.geo.lanes_off.v + 4096};
	uint64_t good[] = {4 * 4096, v.geo.lanes_off.v - 8, lanes_end, end - 4096 - 8};
	uint64_t two[2] = {0};
	struct txn *t;

	for (size_t i = 0; i < HF_COUNT(bad); i++) {
		t = txn_begin(v.j);
		txn_set64(t, MOFF(bad[i]), 1);
		CU_ASSERT_EQUAL(txn_commit(t, NULL), -EUCLEAN);
	}
	for (size_t i = 0; i < HF_COUNT(good); i++) {
		t = txn_begin(v.j);
		txn_set64(t, MOFF(good[i]), pm_load64(v.sim->pm, MOFF(good[i])));
		CU_ASSERT_EQUAL(txn_commit(t, NULL), 0);
	}
	t = txn_begin(v.j);
	txn_copy(t, MOFF(v.geo.lanes_off.v - 8), two, 16);
	CU_ASSERT_EQUAL(txn_commit(t, NULL), -EUCLEAN);
	t = txn_begin(v.j);
	txn_bits_set(t, (end - 4096) * 8 - 3, 4);
	CU_ASSERT_EQUAL(txn_commit(t, NULL), -EUCLEAN);
	t = txn_begin(v.j);
	txn_bits_clear(t, v.bit0, ~0ull);
	CU_ASSERT_EQUAL(txn_commit(t, NULL), -EUCLEAN);
	vol_free(&v);
}

/* ---- failures */

static void expect_shut(struct vol *v, uint64_t published)
{
	struct calls c = {.v = v};
	struct journal_stat st;
	struct txn *t = txn_begin(v->j);

	set(v, t, 512, 1);
	txn_defer(t, called, &c, 0, 0);
	CU_ASSERT_EQUAL(txn_commit(t, NULL), -ESHUTDOWN);
	CU_ASSERT(c.n == 1 && c.outcome[0] == TXN_ABORTED);
	/* Also a promise about data only. */
	t = txn_begin(v->j);
	txn_fence_first(t);
	CU_ASSERT_EQUAL(txn_commit(t, NULL), -ESHUTDOWN);
	CU_ASSERT_EQUAL(journal_state(v->j), -ESHUTDOWN);
	CU_ASSERT_EQUAL(journal_checkpoint(v->j), -ESHUTDOWN);
	journal_stat(v->j, &st);
	CU_ASSERT_TRUE(st.shutdown);
	CU_ASSERT_EQUAL(st.shutdown_err, -EIO);
	CU_ASSERT_EQUAL(st.published.v, published);
	CU_ASSERT_EQUAL(word(v, 512), 0);
}

static void test_fail_record(void)
{
	struct vol v = vol_new();
	struct calls c = {.v = &v};
	struct txn *t = txn_begin(v.j);
	uint64_t before;
	jseq_t now;

	set(&v, t, 0, 1);
	CU_ASSERT_EQUAL(txn_commit(t, NULL), 0);
	t = txn_begin(v.j);
	set(&v, t, 0, 2);
	txn_defer(t, called, &c, 0, 0);
	v.sim->fail_fence = v.sim->fences + 1;
	CU_ASSERT_EQUAL(txn_commit(t, NULL), -EIO);
	CU_ASSERT(c.n == 1 && c.outcome[0] == TXN_FAILED);
	CU_ASSERT_EQUAL(word(&v, 0), 1); /* nothing was applied */
	expect_shut(&v, v.geo.nlanes);
	/* Unmount writes nothing, and the next mount finds it done or not. */
	before = v.sim->stores;
	CU_ASSERT_EQUAL(journal_close(&v.j), -ESHUTDOWN);
	CU_ASSERT_EQUAL(v.sim->stores, before);
	CU_ASSERT_EQUAL(journal_read_c(v.sim->pm, &v.geo, &now), 0);
	CU_ASSERT_EQUAL(now.v, v.geo.nlanes);
	CU_ASSERT_EQUAL(journal_open(v.sim->pm, &v.geo, &v.j), 0);
	CU_ASSERT(word(&v, 0) == 1 || word(&v, 0) == 2);
	vol_free(&v);
}

static void test_fail_before_record(void)
{
	for (int flush = 0; flush < 2; flush++) {
		struct vol v = vol_new();
		struct calls c = {.v = &v};
		struct txn *t = txn_begin(v.j);

		txn_fresh(t, MBLK(v.geo.first_data.v + 3));
		set(&v, t, 0, 2);
		txn_defer(t, called, &c, 0, 0);
		if (flush)
			v.sim->fail_flush = v.sim->flushes + 1;
		else
			v.sim->fail_fence = v.sim->fences + 1;
		CU_ASSERT_EQUAL(txn_commit(t, NULL), -EIO);
		CU_ASSERT(c.n == 1 && c.outcome[0] == TXN_ABORTED);
		CU_ASSERT_EQUAL(word(&v, 0), 0);
		expect_shut(&v, v.geo.nlanes);
		vol_free(&v);
	}
}

/* At each flush and fence of a checkpoint: C is not published, now or later. */
static void test_fail_checkpoint(void)
{
	for (unsigned at = 0; at < 5; at++) {
		struct vol v = vol_new();
		struct txn *t = txn_begin(v.j);
		jseq_t c;

		set(&v, t, 0, 1);
		CU_ASSERT_EQUAL(txn_commit(t, NULL), 0);
		if (at < 3)
			v.sim->fail_flush = v.sim->flushes + 1 + at;
		else
			v.sim->fail_fence = v.sim->fences + 1 + (at - 3);
		CU_ASSERT_EQUAL(journal_checkpoint(v.j), -EIO);
		CU_ASSERT_EQUAL(word(&v, 0), 1);
		expect_shut(&v, v.geo.nlanes);
		CU_ASSERT_EQUAL(journal_close(&v.j), -ESHUTDOWN);
		memcpy(v.sim->mem, v.sim->shadow, v.sim->size); /* the power goes */
		CU_ASSERT_EQUAL(journal_read_c(v.sim->pm, &v.geo, &c), 0);
		CU_ASSERT_EQUAL(c.v, v.geo.nlanes);
		CU_ASSERT_EQUAL(journal_open(v.sim->pm, &v.geo, &v.j), 0);
		CU_ASSERT_EQUAL(word(&v, 0), 1);
		vol_free(&v);
	}
}

/* A flush failed somewhere above while the checkpoint was flushing: C stays. */
static int shut_during(struct sim *s, void *ctx)
{
	s->on_fence = NULL;
	journal_shutdown(ctx, -EIO);
	return 0;
}

static void test_shutdown_during_checkpoint(void)
{
	struct vol v = vol_new();
	struct txn *t = txn_begin(v.j);
	jseq_t c;

	set(&v, t, 0, 1);
	CU_ASSERT_EQUAL(txn_commit(t, NULL), 0);
	v.sim->ctx = v.j;
	v.sim->on_fence = shut_during;
	CU_ASSERT_NOT_EQUAL(journal_checkpoint(v.j), 0);
	CU_ASSERT_EQUAL(journal_read_c(v.sim->pm, &v.geo, &c), 0);
	CU_ASSERT_EQUAL(c.v, v.geo.nlanes);
	expect_shut(&v, v.geo.nlanes);
	vol_free(&v);
}

/* Commits word = value in the given lane: the others look taken meanwhile. */
static void commit_in_lane(struct vol *v, uint32_t lane, uint64_t off, uint64_t value)
{
	struct txn *t = txn_begin(v->j);

	for (uint32_t i = 0; i < v->geo.nlanes; i++)
		atomic_store(&v->j->lanes[i].claimed, i != lane);
	set(v, t, off, value);
	CU_ASSERT_EQUAL(txn_commit(t, NULL), 0);
	for (uint32_t i = 0; i < v->geo.nlanes; i++)
		atomic_store(&v->j->lanes[i].claimed, 0);
}

/* I-JNL-12: a line that this checkpoint has flushed for one lane is dirtied again through another
 * lane before the checkpoint comes there. The other thread gets in at each flush in turn. */
struct again {
	struct vol *v;
	uint32_t lane;
	uint64_t left;
	bool done;
};

static int dirty_again(struct sim *s, void *ctx)
{
	struct again *a = ctx;

	if (a->done || a->left-- != 0)
		return 0;
	a->done = true;
	s->as = 15;
	commit_in_lane(a->v, a->lane, 0, 2);
	s->as = -1;
	return 0;
}

static void test_dirtied_again(void)
{
	for (uint64_t n = 0; n < 8; n++) {
		struct vol v = vol_new();
		struct again a = {.v = &v, .lane = n & 1, .left = n >> 1};

		commit_in_lane(&v, !a.lane, 0, 1);
		commit_in_lane(&v, a.lane, 1024, 1);
		v.sim->ctx = &a;
		v.sim->on_flush = dirty_again;
		CU_ASSERT_EQUAL(journal_checkpoint(v.j), 0);
		v.sim->on_flush = NULL;
		CU_ASSERT_TRUE(a.done);
		CU_ASSERT_EQUAL(journal_checkpoint(v.j), 0);
		CU_ASSERT_EQUAL(journal_published(v.j).v, 3 + v.geo.nlanes);
		/* Power fails with C above it all: in place it must be. */
		sim_load(v.sim, v.sim->shadow);
		CU_ASSERT_EQUAL(word(&v, 0), 2);
		CU_ASSERT_EQUAL(word(&v, 1024), 1);
		vol_free(&v);
	}
}

/* A ring that fills before its lane does: no line is forgotten (I-JNL-12). */
static void test_ring_room(void)
{
	struct vol v = vol_new();
	struct journal_stat st;

	for (uint32_t i = 0; i < v.geo.nlanes; i++)
		v.j->lanes[i].dirty.mask = 63;
	for (uint64_t n = 0; n < 5; n++) {
		struct txn *t = txn_begin(v.j);

		for (uint64_t i = 0; i < 40; i++)
			set(&v, t, (n * 40 + i) * 64, n + 1);
		CU_ASSERT_EQUAL(txn_commit(t, NULL), 0);
	}
	CU_ASSERT_EQUAL(journal_checkpoint(v.j), 0);
	journal_stat(v.j, &st);
	CU_ASSERT(st.checkpoints >= 4 && st.lines_flushed == 200);
	sim_load(v.sim, v.sim->shadow);
	for (uint64_t i = 0; i < 200; i++)
		CU_ASSERT_EQUAL(word(&v, i * 64), i / 40 + 1);
	vol_free(&v);
}

static void test_shutdown_keeps_reason(void)
{
	struct vol v = vol_new();
	struct journal_stat st;
	struct txn *t;

	CU_ASSERT_EQUAL(journal_state(v.j), 0);
	journal_shutdown(v.j, -EBADMSG);
	journal_shutdown(v.j, -EIO);
	journal_stat(v.j, &st);
	CU_ASSERT_EQUAL(st.shutdown_err, -EBADMSG);
	/* What changes nothing is not refused. */
	t = txn_begin(v.j);
	CU_ASSERT_EQUAL(txn_commit(t, NULL), 0);
	vol_free(&v);
}

static void test_read_only(void)
{
	struct vol v = vol_new();
	struct txn *t = txn_begin(v.j);
	uint64_t before;

	set(&v, t, 0, 1);
	CU_ASSERT_EQUAL(txn_commit(t, NULL), 0);
	/* Something to replay: not read-only. */
	journal_shutdown(v.j, -EIO);
	journal_close(&v.j);
	v.sim->pm->read_only = true;
	before = v.sim->stores;
	CU_ASSERT_EQUAL(journal_open(v.sim->pm, &v.geo, &v.j), -EROFS);
	v.sim->pm->read_only = false;
	CU_ASSERT_EQUAL(v.sim->stores, before);
	CU_ASSERT_EQUAL(journal_open(v.sim->pm, &v.geo, &v.j), 0);
	CU_ASSERT_EQUAL(journal_close(&v.j), 0);
	v.sim->pm->read_only = true;
	before = v.sim->stores;
	CU_ASSERT_EQUAL(journal_open(v.sim->pm, &v.geo, &v.j), 0);
	t = txn_begin(v.j);
	set(&v, t, 0, 2);
	CU_ASSERT_EQUAL(txn_commit(t, NULL), -EROFS);
	CU_ASSERT_EQUAL(journal_close(&v.j), 0);
	CU_ASSERT_EQUAL(v.sim->stores, before);
	v.sim->pm->read_only = false;
	vol_free(&v);
}

/* C waits for what is in flight; 'published' moves with checkpoints only. */
static void test_stat(void)
{
	struct vol v = vol_new();
	struct journal_stat st;
	jseq_t seq = JSEQ(0);

	for (uint64_t i = 0; i < 10; i++) {
		struct txn *t = txn_begin(v.j);

		set(&v, t, 0, i);
		CU_ASSERT_EQUAL(txn_commit(t, &seq), 0);
		CU_ASSERT_EQUAL(seq.v, v.geo.nlanes + i + 1);
	}
	CU_ASSERT_EQUAL(journal_published(v.j).v, v.geo.nlanes);
	CU_ASSERT_EQUAL(journal_checkpoint(v.j), 0);
	CU_ASSERT_EQUAL(journal_published(v.j).v, v.geo.nlanes + 10);
	journal_stat(v.j, &st);
	CU_ASSERT(st.commits == 10 && st.checkpoints == 1 && st.lines_flushed == 1 &&
		  st.next.v == v.geo.nlanes + 11);
	CU_ASSERT_EQUAL(journal_checkpoint(v.j), 0);
	journal_stat(v.j, &st);
	CU_ASSERT_EQUAL(st.checkpoints, 1);
	CU_ASSERT_EQUAL(journal_close(&v.j), 0);
	CU_ASSERT_PTR_NULL(v.j);
	CU_ASSERT_EQUAL(journal_open(v.sim->pm, &v.geo, &v.j), 0);
	journal_stat(v.j, &st);
	CU_ASSERT(st.replayed == 0 && st.next.v == 2 * v.geo.nlanes + 11 &&
		  st.published.v == 2 * v.geo.nlanes + 10);
	vol_free(&v);
}

static const struct hf_case cases[] = {
    {"overlay", test_overlay},
    {"overlay_random", test_overlay_random},
    {"nothing is pending", test_may_have},
    {"two volumes", test_two_volumes},
    {"bits", test_bits},
    {"fresh", test_fresh},
    {"defer", test_defer},
    {"too_big", test_too_big},
    {"ranges", test_ranges},
    {"fail_record", test_fail_record},
    {"fail_before_record", test_fail_before_record},
    {"fail_checkpoint", test_fail_checkpoint},
    {"shutdown_during_checkpoint", test_shutdown_during_checkpoint},
    {"dirtied_again", test_dirtied_again},
    {"ring_room", test_ring_room},
    {"shutdown_keeps_reason", test_shutdown_keeps_reason},
    {"read_only", test_read_only},
    {"stat", test_stat},
};

int main(void)
{
	return hf_run_suite("journal_txn", cases, HF_COUNT(cases));
}
