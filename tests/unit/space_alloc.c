/* What may be handed out, and when: commit, abort and failure, the windows in between, the reserve,
 * runs and frames. */
#include "space_vol.h"
#include <pthread.h>

/* ---- a hook that lets another thread look at the volume in the middle of a fence, or makes the
 * fence fail */

struct probe {
	struct vol *v;
	struct mext x;
	int fences; /* seen while armed */
	bool armed;
	bool fail;	 /* the fence returns -EIO */
	uint64_t handed; /* blocks of x that could be had during the fences */
};

static void *probe_main(void *arg)
{
	struct probe *p = arg;

	p->handed += probe_count(p->v, p->x);
	return NULL;
}

static int probe_fence(void *ctx)
{
	struct probe *p = ctx;
	pthread_t th;

	if (!p->armed)
		return 0;
	if (p->fail)
		return -EIO;
	p->fences++;
	pthread_create(&th, NULL, probe_main, p);
	pthread_join(th, NULL);
	return 0;
}

static void vol_open_probed(struct vol *v, struct probe *p, struct pm_hook *hook)
{
	memset(p, 0, sizeof(*p));
	p->v = v;
	*hook = (struct pm_hook){.ctx = p, .fence = probe_fence};
	vol_open(v, 64 * MIB, hook);
}

/* ---- commit, abort, failure */

static void check_sum(struct vol *v)
{
	struct space_stat st = vol_stat(v);

	CU_ASSERT_EQUAL(st.free + st.busy_journal + st.busy_pinned + st.pending + vol_allocated(v),
			st.blocks);
	CU_ASSERT_EQUAL(st.free_frames + st.full_frames + st.partial_frames, st.frames);
}

static void test_alloc_commit(void)
{
	struct vol v;
	struct space_stat a, b;
	struct mext x;
	struct txn *t;

	vol_open(&v, 64 * MIB, NULL);
	a = vol_stat(&v);
	CU_ASSERT_EQUAL(a.free, a.blocks);
	check_sum(&v);
	t = txn_begin(v.j);
	CU_ASSERT_EQUAL_FATAL(space_alloc(v.s, t, 10, MBLK_NULL, 0, &x), 0);
	CU_ASSERT_EQUAL(x.n, 10);
	b = vol_stat(&v);
	CU_ASSERT_EQUAL(b.pending, 10);
	CU_ASSERT_EQUAL(b.free, a.free - 10);
	CU_ASSERT_FALSE(space_is_allocated(v.s, x.first));
	CU_ASSERT_STRING_EQUAL(space_held_reason(v.s, x.first), "pending");
	CU_ASSERT_EQUAL(txn_commit(t, NULL), 0);
	b = vol_stat(&v);
	CU_ASSERT_EQUAL(b.pending, 0);
	CU_ASSERT_TRUE(space_is_allocated(v.s, x.first));
	CU_ASSERT_PTR_NULL(space_held_reason(v.s, x.first));
	CU_ASSERT_EQUAL(probe_count(&v, x), 0);
	check_sum(&v);
	vol_close(&v);
}

static void test_alloc_abort(void)
{
	struct vol v;
	struct space_stat a, b;
	struct mext x, y;
	struct txn *t;

	vol_open(&v, 64 * MIB, NULL);
	a = vol_stat(&v);
	t = txn_begin(v.j);
	CU_ASSERT_EQUAL(space_alloc(v.s, t, 10, MBLK_NULL, 0, &x), 0);
	CU_ASSERT_EQUAL(space_alloc(v.s, t, 512, MBLK_NULL, 0, &y), 0);
	CU_ASSERT_EQUAL(y.n, 512);
	CU_ASSERT_EQUAL(probe_count(&v, x) + probe_count(&v, y), 0);
	txn_abort(t);
	b = vol_stat(&v);
	CU_ASSERT_EQUAL(memcmp(&a, &b, sizeof(a)), 0);
	CU_ASSERT_EQUAL(probe_count(&v, x), 10);
	CU_ASSERT_EQUAL(probe_count(&v, y), 512);
	check_sum(&v);
	vol_close(&v);
}

/* An extent of part of a frame, whole frames, part of a frame; and one that lies inside of a frame.
 */
static struct mext make_long(struct vol *v)
{
	struct mext all = {MBLK_NULL, 0};
	struct txn *t = txn_begin(v->j);
	uint64_t got;

	vol_must(space_alloc_frames(v->s, t, 4, FRAME(3), SPACE_EXACT, &all.first, &got),
		 "space_alloc_frames");
	vol_must(txn_commit(t, NULL), "txn_commit");
	return (struct mext){MBLK(all.first.v + 100), got * 512 - 200};
}

static void free_data(struct mext x, struct vol *v)
{
	struct space_stat a = vol_stat(v), b;
	struct txn *t = txn_begin(v->j);

	CU_ASSERT_EQUAL(space_free(v->s, t, x.first, x.n, SPACE_DATA, INUM(16), FBLK(7)), 0);
	b = vol_stat(v);
	CU_ASSERT_EQUAL(b.pending, x.n);
	CU_ASSERT_EQUAL(b.free, a.free);
	CU_ASSERT_EQUAL(probe_count(v, x), 0);
	CU_ASSERT_EQUAL(txn_commit(t, NULL), 0);
	b = vol_stat(v);
	CU_ASSERT_EQUAL(b.pending, 0);
	CU_ASSERT_EQUAL(b.free, a.free + x.n);
	CU_ASSERT_EQUAL(probe_count(v, x), x.n);
	check_sum(v);
}

static void test_free_data(void)
{
	struct vol v;
	struct mext x;

	vol_open(&v, 64 * MIB, NULL);
	x = make_long(&v);
	free_data(x, &v);
	x = vol_alloc(&v, 63, 0);
	free_data((struct mext){MBLK(x.first.v + 1), 1}, &v);
	free_data((struct mext){MBLK(x.first.v + 2), 61}, &v);
	x = vol_alloc(&v, 512, 0);
	free_data(x, &v);
	vol_close(&v);
}

static void free_meta(struct mext x, struct vol *v)
{
	struct space_stat a = vol_stat(v), b;

	vol_free(v, x, SPACE_METADATA);
	b = vol_stat(v);
	CU_ASSERT_EQUAL(b.pending, 0);
	CU_ASSERT_EQUAL(b.busy_journal, x.n);
	CU_ASSERT_EQUAL(b.free, a.free);
	CU_ASSERT_FALSE(space_is_allocated(v->s, x.first));
	CU_ASSERT_STRING_EQUAL(space_held_reason(v->s, x.first), "journal");
	CU_ASSERT_EQUAL(probe_count(v, x), 0);
	check_sum(v);
	CU_ASSERT_EQUAL(journal_checkpoint(v->j), 0);
	CU_ASSERT_EQUAL(probe_count(v, x), x.n);
	b = vol_stat(v);
	CU_ASSERT_EQUAL(b.busy_journal, 0);
	CU_ASSERT_EQUAL(b.free, a.free + x.n);
	check_sum(v);
}

static void test_free_meta(void)
{
	struct vol v;

	vol_open(&v, 64 * MIB, NULL);
	free_meta(make_long(&v), &v);
	free_meta(vol_alloc(&v, 1, SPACE_META), &v);
	free_meta(vol_alloc(&v, 512, SPACE_META), &v);
	vol_close(&v);
}

static void test_free_abort(void)
{
	struct vol v;
	struct space_stat a, b;
	struct mext x;
	struct txn *t;

	vol_open(&v, 64 * MIB, NULL);
	x = make_long(&v);
	a = vol_stat(&v);
	t = txn_begin(v.j);
	CU_ASSERT_EQUAL(space_free(v.s, t, x.first, x.n, SPACE_METADATA, INUM(16), FBLK(0)), 0);
	txn_abort(t);
	b = vol_stat(&v);
	CU_ASSERT_EQUAL(memcmp(&a, &b, sizeof(a)), 0);
	CU_ASSERT_EQUAL(probe_count(&v, x), 0);
	check_sum(&v);
	free_data(x, &v); /* it can be freed again */
	vol_close(&v);
}

static void test_commit_fails(void)
{
	struct vol v;
	struct probe p;
	struct pm_hook hook;
	struct mext x, y;
	struct txn *t;

	vol_open_probed(&v, &p, &hook);
	x = make_long(&v);
	t = txn_begin(v.j);
	CU_ASSERT_EQUAL(space_alloc(v.s, t, 7, MBLK_NULL, 0, &y), 0);
	CU_ASSERT_EQUAL(space_free(v.s, t, x.first, x.n, SPACE_DATA, INUM(16), FBLK(0)), 0);
	p.armed = p.fail = true;
	CU_ASSERT_EQUAL(txn_commit(t, NULL), -EIO);
	p.armed = false;
	CU_ASSERT_EQUAL(vol_stat(&v).pending, x.n + 7);
	CU_ASSERT_EQUAL(probe_count(&v, x) + probe_count(&v, y), 0);
	CU_ASSERT_STRING_EQUAL(space_held_reason(v.s, y.first), "pending");
	vol_close(&v);
}

/* ---- the windows: from the call to the commit, and from the commit's fence to the apply */

static void test_window_free(void)
{
	struct vol v;
	struct probe p;
	struct pm_hook hook;
	struct txn *t;

	vol_open_probed(&v, &p, &hook);
	p.x = make_long(&v);
	t = txn_begin(v.j);
	CU_ASSERT_EQUAL(space_free(v.s, t, p.x.first, p.x.n, SPACE_DATA, INUM(16), FBLK(0)), 0);
	p.armed = true;
	CU_ASSERT_EQUAL(txn_commit(t, NULL), 0);
	p.armed = false;
	CU_ASSERT_EQUAL(p.fences, 1);
	CU_ASSERT_EQUAL(p.handed, 0);
	CU_ASSERT_EQUAL(probe_count(&v, p.x), p.x.n);
	vol_close(&v);
}

static void test_window_alloc(void)
{
	struct vol v;
	struct probe p;
	struct pm_hook hook;
	struct txn *t;

	vol_open_probed(&v, &p, &hook);
	t = txn_begin(v.j);
	CU_ASSERT_EQUAL(space_alloc(v.s, t, 40, MBLK_NULL, 0, &p.x), 0);
	p.armed = true;
	CU_ASSERT_EQUAL(txn_commit(t, NULL), 0);
	CU_ASSERT_EQUAL(p.handed, 0);
	t = txn_begin(v.j);
	CU_ASSERT_EQUAL(space_alloc(v.s, t, 512, MBLK_NULL, 0, &p.x), 0);
	CU_ASSERT_EQUAL(txn_commit(t, NULL), 0);
	p.armed = false;
	CU_ASSERT_EQUAL(p.handed, 0);
	CU_ASSERT_EQUAL(p.fences, 2);
	CU_ASSERT_EQUAL(probe_count(&v, p.x), 0);
	vol_close(&v);
}

/* Metadata: not before the fence that makes C durable has returned. At the store of C it would be
 * too early: a crash may still find the old C, and replay into the block. */
static void test_window_checkpoint(void)
{
	struct vol v;
	struct probe p;
	struct pm_hook hook;

	vol_open_probed(&v, &p, &hook);
	p.x = vol_alloc(&v, 20, SPACE_META);
	vol_free(&v, p.x, SPACE_METADATA);
	p.armed = true;
	CU_ASSERT_EQUAL(journal_checkpoint(v.j), 0);
	p.armed = false;
	CU_ASSERT_EQUAL(p.fences, 2);
	CU_ASSERT_EQUAL(p.handed, 0);
	CU_ASSERT_EQUAL(probe_count(&v, p.x), 20);
	vol_close(&v);
}

/* A later transaction's checkpoint number alone does not release an earlier record, nor the other
 * way round. */
static void test_meta_waits_for_its_own_number(void)
{
	struct vol v;
	struct mext x, y;

	vol_open(&v, 64 * MIB, NULL);
	x = vol_alloc(&v, 1, SPACE_META);
	y = vol_alloc(&v, 1, SPACE_META);
	vol_free(&v, x, SPACE_METADATA);
	CU_ASSERT_EQUAL(journal_checkpoint(v.j), 0);
	vol_free(&v, y, SPACE_METADATA);
	CU_ASSERT_EQUAL(probe_count(&v, y), 0);
	CU_ASSERT_EQUAL(probe_count(&v, x), 1);
	CU_ASSERT_EQUAL(vol_stat(&v).busy_journal, 1);
	vol_close(&v);
}

/* ---- what must not be freed */

static int try_free(struct vol *v, uint64_t first, uint64_t n)
{
	struct space_stat a = vol_stat(v), b;
	struct txn *t = txn_begin(v->j);
	int err = space_free(v->s, t, MBLK(first), n, SPACE_DATA, INUM(16), FBLK(0));

	CU_ASSERT_TRUE(err == 0 || txn_is_empty(t));
	if (err) {
		b = vol_stat(v);
		CU_ASSERT_EQUAL(memcmp(&a, &b, sizeof(a)), 0);
	}
	txn_abort(t);
	return err;
}

static void test_double_free(void)
{
	struct vol v;
	struct mext x;
	struct txn *t;

	vol_open(&v, 64 * MIB, NULL);
	x = make_long(&v);
	CU_ASSERT_EQUAL(try_free(&v, x.first.v, x.n), 0);
	CU_ASSERT_EQUAL(try_free(&v, x.first.v - 101, x.n),
			-EUCLEAN); /* the frame before is free */
	t = txn_begin(v.j);
	CU_ASSERT_EQUAL(space_free(v.s, t, x.first, x.n, SPACE_DATA, INUM(16), FBLK(0)), 0);
	/* While it is under way: all of it, one block of a part, one of a whole frame, a whole
	 * frame. */
	CU_ASSERT_EQUAL(try_free(&v, x.first.v, x.n), -EUCLEAN);
	CU_ASSERT_EQUAL(try_free(&v, x.first.v, 1), -EUCLEAN);
	CU_ASSERT_EQUAL(try_free(&v, x.first.v + 600, 1), -EUCLEAN);
	CU_ASSERT_EQUAL(try_free(&v, x.first.v - 100 + 512, 512), -EUCLEAN);
	CU_ASSERT_EQUAL(try_free(&v, x.first.v - 100, 100), 0);
	CU_ASSERT_EQUAL(txn_commit(t, NULL), 0);
	CU_ASSERT_EQUAL(try_free(&v, x.first.v, x.n), -EUCLEAN);
	CU_ASSERT_EQUAL(try_free(&v, x.first.v - 100 + 512, 512), -EUCLEAN);
	/* A frame of which one block is missing. */
	x = vol_alloc(&v, 512, 0);
	vol_free(&v, (struct mext){MBLK(x.first.v + 5), 1}, SPACE_METADATA);
	CU_ASSERT_EQUAL(try_free(&v, x.first.v, 512), -EUCLEAN);
	CU_ASSERT_EQUAL(try_free(&v, x.first.v + 5, 1), -EUCLEAN);
	/* A frame of which some are free: no blocks of it are held. */
	x = vol_alloc(&v, 512, 0);
	CU_ASSERT_EQUAL(try_free(&v, x.first.v, 512), 0);
	for (unsigned i = 0; i < 511; i += 73) {
		vol_free(&v, (struct mext){MBLK(x.first.v + i), 73}, SPACE_DATA);
		CU_ASSERT_EQUAL(try_free(&v, x.first.v, 512), -EUCLEAN);
	}
	check_sum(&v);
	vol_close(&v);
}

static void test_free_out_of_range(void)
{
	struct vol v;

	vol_open(&v, 64 * MIB, NULL);
	CU_ASSERT_EQUAL(try_free(&v, 0, 1), -EUCLEAN);
	CU_ASSERT_EQUAL(try_free(&v, v.geo.first_data.v - 1, 1), -EUCLEAN);
	CU_ASSERT_EQUAL(try_free(&v, v.geo.nblocks - 1, 1), -EUCLEAN);
	CU_ASSERT_EQUAL(try_free(&v, v.geo.nblocks - 2, 2), -EUCLEAN);
	CU_ASSERT_EQUAL(try_free(&v, v.geo.nblocks + 5, 1), -EUCLEAN);
	CU_ASSERT_EQUAL(try_free(&v, v.geo.first_data.v, UINT64_MAX), -EUCLEAN);
	CU_ASSERT_EQUAL(try_free(&v, v.geo.first_data.v, 0), -EUCLEAN);
	vol_close(&v);
}

/* ---- the end of the space */

static uint64_t fill(struct vol *v, unsigned int flags)
{
	uint64_t n = 0;

	for (;;) {
		struct mext x = vol_alloc(v, 512, flags);

		if (x.n == 0)
			return n;
		n += x.n;
	}
}

static void test_reserve(void)
{
	struct vol v;
	struct space_stat st;
	struct mext x;

	vol_open(&v, 64 * MIB, NULL);
	st = vol_stat(&v);
	CU_ASSERT_EQUAL(st.reserved, 16);
	CU_ASSERT_EQUAL(fill(&v, 0), st.free - 16);
	CU_ASSERT_EQUAL(vol_stat(&v).free, 16);
	CU_ASSERT_PTR_NOT_NULL(strstr(err_msg(), "no space"));
	CU_ASSERT_EQUAL(fill(&v, SPACE_META), 8);
	CU_ASSERT_EQUAL(fill(&v, SPACE_META | SPACE_RESERVE), 8);
	CU_ASSERT_EQUAL(vol_stat(&v).free, 0);
	CU_ASSERT_EQUAL(vol_stat(&v).reserved, 0);
	check_sum(&v);
	/* What comes back fills the reserve first. */
	x = (struct mext){MBLK(2048), 17};
	vol_free(&v, x, SPACE_DATA);
	CU_ASSERT_EQUAL(fill(&v, 0), 1);
	vol_close(&v);
}

static void test_reserve_frames(void)
{
	struct vol v;
	struct txn *t;
	mblk_t first;
	uint64_t got;

	vol_open(&v, 64 * MIB, NULL);
	fill(&v, SPACE_RESERVE);
	vol_free(&v, (struct mext){MBLK(2048), 1024}, SPACE_DATA);
	t = txn_begin(v.j);
	CU_ASSERT_EQUAL(space_alloc_frames(v.s, t, 2, FRAME(0), 0, &first, &got), 0);
	CU_ASSERT_EQUAL(got, 1); /* the second is all there is to reserve blocks in */
	CU_ASSERT_EQUAL(space_alloc_frames(v.s, t, 1, FRAME(0), 0, &first, &got), -ENOSPC);
	CU_ASSERT_EQUAL(space_alloc_frames(v.s, t, 1, FRAME(0), SPACE_RESERVE, &first, &got), 0);
	txn_abort(t);
	check_sum(&v);
	vol_close(&v);
}

static void test_journal_share(void)
{
	struct vol v;
	struct journal_stat before, after;
	struct mext x = {MBLK(2048 + 100), 300}, got;

	vol_open(&v, 64 * MIB, NULL);
	fill(&v, SPACE_RESERVE);
	vol_free(&v, x, SPACE_METADATA);
	CU_ASSERT_EQUAL(vol_stat(&v).free, 0);
	journal_stat(v.j, &before);
	got = vol_alloc(&v, 200, SPACE_META);
	journal_stat(v.j, &after);
	CU_ASSERT_EQUAL(got.n, 200);
	CU_ASSERT_EQUAL(after.checkpoints, before.checkpoints + 1);
	CU_ASSERT_EQUAL(vol_stat(&v).busy_journal, 0);
	/* Nothing waits any more: -ENOSPC does not checkpoint again and again. */
	journal_stat(v.j, &before);
	fill(&v, SPACE_RESERVE);
	CU_ASSERT_EQUAL(vol_alloc(&v, 1, 0).n, 0);
	journal_stat(v.j, &after);
	CU_ASSERT_EQUAL(after.checkpoints, before.checkpoints);
	vol_close(&v);
}

static void test_journal_share_frames(void)
{
	struct vol v;
	struct mext x;
	mblk_t b;
	struct txn *t;

	vol_open(&v, 64 * MIB, NULL);
	fill(&v, SPACE_RESERVE);
	x = (struct mext){MBLK(2048), 512};
	vol_free(&v, x, SPACE_METADATA);
	t = txn_begin(v.j);
	CU_ASSERT_EQUAL(space_alloc_frame(v.s, t, FRAME(0), SPACE_RESERVE, &b), 0);
	CU_ASSERT_EQUAL(b.v, 2048);
	txn_abort(t);
	vol_close(&v);
}

/* ---- where */

static void test_hint(void)
{
	struct vol v;
	struct mext x, y;
	struct txn *t;

	vol_open(&v, 64 * MIB, NULL);
	x = vol_alloc(&v, 10, 0);
	vol_alloc(&v, 10, 0);
	t = txn_begin(v.j);
	/* The block behind is taken: exactly there or nothing, else in the same frame. */
	CU_ASSERT_EQUAL(space_alloc(v.s, t, 1, MBLK(x.first.v + 10), SPACE_EXACT, &y), -ENOSPC);
	CU_ASSERT_EQUAL(y.n, 0);
	CU_ASSERT_EQUAL(space_alloc(v.s, t, 1, MBLK(x.first.v + 10), 0, &y), 0);
	CU_ASSERT_EQUAL(mblk_to_frame(y.first).v, mblk_to_frame(x.first).v);
	/* The block behind is free. */
	CU_ASSERT_EQUAL(space_alloc(v.s, t, 4, MBLK(y.first.v + 1), 0, &x), 0);
	CU_ASSERT_EQUAL(x.first.v, y.first.v + 1);
	CU_ASSERT_EQUAL(x.n, 4);
	/* Into a whole frame only if told so. */
	CU_ASSERT_EQUAL(space_alloc(v.s, t, 4, MBLK(512 * 7), 0, &x), 0);
	CU_ASSERT_NOT_EQUAL(mblk_to_frame(x.first).v, 7);
	CU_ASSERT_EQUAL(space_alloc(v.s, t, 4, MBLK(512 * 7 + 3), SPACE_EXACT, &x), 0);
	CU_ASSERT_EQUAL(x.first.v, 512 * 7 + 3);
	/* A run ends with its frame. */
	CU_ASSERT_EQUAL(space_alloc(v.s, t, 100, MBLK(512 * 8 - 20), SPACE_EXACT, &x), 0);
	CU_ASSERT_EQUAL(x.n, 20);
	txn_abort(t);
	vol_close(&v);
}

static void test_runs(void)
{
	struct vol v;
	struct mext x;

	vol_open(&v, 64 * MIB, NULL);
	fill(&v, SPACE_RESERVE);
	/* Holes of 3, 30 and 130 blocks in three frames, and enough elsewhere for the reserve. */
	vol_free(&v, (struct mext){MBLK(512 * 5 + 100), 3}, SPACE_DATA);
	vol_free(&v, (struct mext){MBLK(512 * 6 + 60), 30}, SPACE_DATA);
	vol_free(&v, (struct mext){MBLK(512 * 7 + 250), 130}, SPACE_DATA);
	x = vol_alloc(&v, 3, 0);
	CU_ASSERT_EQUAL(x.first.v, 512 * 5 + 100);
	CU_ASSERT_EQUAL(x.n, 3);
	x = vol_alloc(&v, 20, 0);
	CU_ASSERT_EQUAL(x.first.v, 512 * 6 + 60);
	CU_ASSERT_EQUAL(x.n, 20);
	x = vol_alloc(&v, 100, 0);
	CU_ASSERT_EQUAL(x.first.v, 512 * 7 + 250);
	CU_ASSERT_EQUAL(x.n, 100);
	x = vol_alloc(&v, 500, 0); /* the longest that there is */
	CU_ASSERT_EQUAL(x.first.v, 512 * 7 + 350);
	CU_ASSERT_EQUAL(x.n, 24); /* of 30: the rest is reserve, with the 10 in frame 6 */
	check_sum(&v);
	vol_close(&v);
}

static void test_small_fill_partial_frames(void)
{
	struct vol v;
	uint64_t whole;

	vol_open(&v, 64 * MIB, NULL);
	vol_alloc(&v, 1, 0);
	whole = vol_stat(&v).free_frames;
	for (int i = 0; i < 100; i++)
		vol_alloc(&v, (uint32_t)(1 + i % 3), 0);
	CU_ASSERT_EQUAL(vol_stat(&v).free_frames, whole);
	vol_close(&v);
}

static void test_frames_adjacent(void)
{
	struct vol v;
	struct txn *t;
	mblk_t b;

	vol_open(&v, 64 * MIB, NULL);
	t = txn_begin(v.j);
	CU_ASSERT_EQUAL(space_alloc_frame(v.s, t, FRAME(9), 0, &b), 0);
	CU_ASSERT_EQUAL(b.v, 512 * 9);
	CU_ASSERT_EQUAL(space_alloc_frame(v.s, t, FRAME(9), SPACE_EXACT, &b), -ENOSPC);
	CU_ASSERT_EQUAL(b.v, 0);
	CU_ASSERT_EQUAL(space_alloc_frame(v.s, t, FRAME(9), 0, &b), 0);
	CU_ASSERT_EQUAL(b.v, 512 * 10);
	CU_ASSERT_EQUAL(space_alloc_frame(v.s, t, FRAME(31), 0, &b),
			0); /* the last one is never whole */
	CU_ASSERT_TRUE(b.v != 0 && b.v % 512 == 0);
	txn_abort(t);
	vol_close(&v);
}

/* Frames 0 and 63, 64, ... of four groups of 64: runs over their borders, and the best of several
 * runs. */
static void test_frames_over_groups(void)
{
	struct vol v;
	struct txn *t;
	mblk_t first, b;
	uint64_t got, whole;

	vol_open(&v, 512 * MIB, NULL);
	whole = vol_stat(&v).free_frames;
	t = txn_begin(v.j);
	CU_ASSERT_EQUAL(space_alloc_frames(v.s, t, 1000, FRAME(0), 0, &first, &got), 0);
	CU_ASSERT_EQUAL(got, whole);
	CU_ASSERT_EQUAL(vol_stat(&v).free_frames, 0);
	txn_abort(t);
	check_sum(&v);

	t = txn_begin(v.j);
	CU_ASSERT_EQUAL(space_alloc_frame(v.s, t, FRAME(20), SPACE_EXACT, &b), 0);
	CU_ASSERT_EQUAL(space_alloc_frame(v.s, t, FRAME(90), SPACE_EXACT, &b), 0);
	CU_ASSERT_EQUAL(space_alloc_frame(v.s, t, FRAME(120), SPACE_EXACT, &b), 0);
	CU_ASSERT_EQUAL(space_alloc_frames(v.s, t, 100, FRAME(0), 0, &first, &got), 0);
	CU_ASSERT_EQUAL(first.v, 512 * 121);
	CU_ASSERT_EQUAL(got, 100);
	CU_ASSERT_EQUAL(space_alloc_frames(v.s, t, 29, FRAME(91), SPACE_EXACT, &first, &got), 0);
	CU_ASSERT_EQUAL(first.v, 512 * 91);
	CU_ASSERT_EQUAL(got, 29);
	CU_ASSERT_EQUAL(txn_commit(t, NULL), 0);
	check_sum(&v);

	/* And back, in one extent over three groups, of which one frame does not belong to it. */
	CU_ASSERT_EQUAL(try_free(&v, 512 * 90, 512 * 132), -EUCLEAN);
	vol_free(&v, (struct mext){MBLK(512 * 90 + 1), 512 * 131 - 2}, SPACE_METADATA);
	check_sum(&v);
	CU_ASSERT_EQUAL(vol_stat(&v).busy_journal, 512 * 131 - 2);
	CU_ASSERT_EQUAL(journal_checkpoint(v.j), 0);
	space_drain(v.s);
	CU_ASSERT_EQUAL(vol_stat(&v).busy_journal, 0);
	check_sum(&v);
	vol_close(&v);
}

/* ---- opening */

static void frames_at(struct vol *v, uint64_t hint, unsigned int flags, uint64_t want, uint64_t first, uint64_t n)
{
	struct txn *t = txn_begin(v->j);
	uint64_t got = 0;
	mblk_t at;

	CU_ASSERT_EQUAL(space_alloc_frames(v->s, t, want, FRAME(hint), flags, &at, &got), 0);
	CU_ASSERT_EQUAL(at.v, 512 * first);
	CU_ASSERT_EQUAL(got, n);
	CU_ASSERT_EQUAL(txn_commit(t, NULL), 0);
}

/* Windows that begin and end inside a group of 64 frames, and one over the border of two: nothing goes beyond them while they have
 * room. */
static void test_prefer(void)
{
	struct mext x;
	struct vol v;

	vol_open(&v, 256 * MIB, NULL);
	space_prefer(v.s, FRAME(10), 3);
	space_prefer(v.s, FRAME(62), 4);
	space_prefer(v.s, FRAME(100), 9);
	frames_at(&v, 104, SPACE_EXACT, 1, 104, 1);
	frames_at(&v, 12, 0, 8, 12, 1); /* at the hint, to the end of the window */
	frames_at(&v, 30, 0, 8, 10, 2); /* a hint elsewhere is none */
	frames_at(&v, 0, 0, 8, 62, 4);
	frames_at(&v, 0, 0, 6, 100, 4); /* no shorter than the one that goes on behind the window */
	for (uint64_t taken = 0; taken < 4 * 512; taken += x.n) {
		x = vol_alloc(&v, 7, 0);
		CU_ASSERT_FATAL(x.n > 0 && x.first.v >= 105 * 512 && x.first.v + x.n <= 109 * 512);
	}
	for (uint32_t want = 512; want > 0; want /= 8) {
		x = vol_alloc(&v, want, 0);
		CU_ASSERT_EQUAL(x.n, want);
	}
	vol_close(&v);
}

static void test_reopen(void)
{
	struct vol v;
	struct space_stat a, b;

	vol_open(&v, 512 * MIB, NULL);
	make_long(&v);
	for (uint32_t i = 1; i < 512; i += 7)
		vol_free(&v, vol_alloc(&v, i, 0), i % 2 ? SPACE_DATA : SPACE_METADATA);
	vol_alloc(&v, 77, SPACE_META);
	vol_must(journal_checkpoint(v.j), "checkpoint");
	space_drain(v.s);
	a = vol_stat(&v);
	vol_stop(&v);
	vol_start(&v);
	b = vol_stat(&v);
	CU_ASSERT_EQUAL(memcmp(&a, &b, sizeof(a)), 0);
	check_sum(&v);
	vol_close(&v);
}

static void test_fixed_blocks_marked_free(void)
{
	uint64_t bad[3];
	struct vol v;

	vol_open(&v, 64 * MIB, NULL);
	bad[0] = 0;
	bad[1] = v.geo.first_data.v - 1;
	bad[2] = v.geo.nblocks - 1;
	space_close(&v.s);
	for (int i = 0; i < 3; i++) {
		moff_t word = moff_add(v.geo.alloc_off, bad[i] / 64 * 8);

		pm_and64(v.pm, word, ~(1ull << bad[i] % 64));
		CU_ASSERT_EQUAL(space_open(v.pm, &v.geo, v.j, &v.s), -EUCLEAN);
		CU_ASSERT_PTR_NULL(v.s);
		pm_or64(v.pm, word, 1ull << bad[i] % 64);
	}
	CU_ASSERT_EQUAL(space_open(v.pm, &v.geo, v.j, &v.s), 0);
	vol_close(&v);
}

/* A stray store of the program into a line: the frame is not taken for free. */
static void test_scribbled_line(void)
{
	struct vol v;
	struct txn *t;
	mblk_t b;

	vol_open(&v, 64 * MIB, NULL);
	pm_or64(v.pm, moff_add(v.geo.alloc_off, 9 * 64 + 24), 0x100);
	t = txn_begin(v.j);
	CU_ASSERT_EQUAL(space_alloc_frame(v.s, t, FRAME(9), SPACE_EXACT, &b), -ENOSPC);
	CU_ASSERT_EQUAL(space_alloc_frame(v.s, t, FRAME(9), 0, &b), 0);
	CU_ASSERT_EQUAL(b.v, 512 * 10);
	txn_abort(t);
	vol_close(&v);
}

static const struct hf_case cases[] = {
    {"alloc_commit", test_alloc_commit},
    {"alloc_abort", test_alloc_abort},
    {"free_data", test_free_data},
    {"free_meta", test_free_meta},
    {"free_abort", test_free_abort},
    {"commit_fails", test_commit_fails},
    {"window_free", test_window_free},
    {"window_alloc", test_window_alloc},
    {"window_checkpoint", test_window_checkpoint},
    {"meta_waits_for_its_own_number", test_meta_waits_for_its_own_number},
    {"double_free", test_double_free},
    {"free_out_of_range", test_free_out_of_range},
    {"reserve", test_reserve},
    {"reserve_frames", test_reserve_frames},
    {"journal_share", test_journal_share},
    {"journal_share_frames", test_journal_share_frames},
    {"hint", test_hint},
    {"runs", test_runs},
    {"small_fill_partial_frames", test_small_fill_partial_frames},
    {"frames_adjacent", test_frames_adjacent},
    {"frames_over_groups", test_frames_over_groups},
    {"prefer", test_prefer},
    {"reopen", test_reopen},
    {"fixed_blocks_marked_free", test_fixed_blocks_marked_free},
    {"scribbled_line", test_scribbled_line},
};

int main(void)
{
	return hf_run_suite("space_alloc", cases, HF_COUNT(cases));
}
