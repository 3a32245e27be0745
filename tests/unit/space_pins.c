/* References to blocks: what they keep, and who frees what was kept. */
#include "space_vol.h"
#include "base/hash.h"
#include <pthread.h>
#include <sys/resource.h>
#include <time.h>

/* Blocks of x that can be had. */
static uint64_t probe_count(struct vol *v, struct mext x)
{
	uint64_t n = 0;

	space_drain(v->s);
	for (uint64_t i = 0; i < x.n; i++) {
		struct txn *t = txn_begin(v->j);
		struct mext got;

		n += space_alloc(v->s, t, 1, MBLK(x.first.v + i), SPACE_EXACT | SPACE_RESERVE,
				 &got) == 0;
		txn_abort(t);
	}
	return n;
}

static void check_sum(struct vol *v)
{
	struct space_stat st = vol_stat(v);

	CU_ASSERT_EQUAL(st.free + st.busy_journal + st.busy_pinned + st.pending + vol_allocated(v),
			st.blocks);
	CU_ASSERT_EQUAL(st.free_frames + st.full_frames + st.partial_frames, st.frames);
}

/* Allocates exactly x. */
static void take(struct vol *v, struct mext x)
{
	struct txn *t = txn_begin(v->j);
	uint64_t end = x.first.v + x.n, at, n;

	for (at = x.first.v; at < end; at += n) {
		struct mext got;

		n = min_u64(end - at, 512 - at % 512);
		vol_must(
		    space_alloc(v->s, t, (uint32_t)n, MBLK(at), SPACE_EXACT | SPACE_RESERVE, &got),
		    "space_alloc");
		CU_ASSERT_EQUAL_FATAL(got.n, n);
	}
	vol_must(txn_commit(t, NULL), "txn_commit");
}

static void pin_blocks(struct vol *v, uint64_t first, uint64_t n)
{
	frame_t need;

	while (!space_pin_blocks(v->s, MBLK(first), n, &need))
		vol_must(space_pin_counts(v->s, need), "space_pin_counts");
}

static void unpin_blocks(struct vol *v, uint64_t first, uint64_t n)
{
	space_unpin_blocks(v->s, MBLK(first), n);
}

static void free_blocks(struct vol *v, uint64_t first, uint64_t n)
{
	vol_free(v, (struct mext){MBLK(first), n}, SPACE_DATA);
}

static uint64_t busy(struct vol *v)
{
	return vol_stat(v).busy_pinned;
}

static void test_frame(void)
{
	struct vol v;
	struct mext x = {MBLK(512 * 3 + 100), 512 * 4 - 200}, held = {MBLK(512 * 5), 512};
	uint64_t whole;

	vol_open(&v, 64 * MIB, NULL);
	whole = vol_stat(&v).free_frames;
	take(&v, x);
	space_pin_frames(v.s, FRAME(5), 1);
	space_pin_frames(v.s, FRAME(4), 2);
	CU_ASSERT_TRUE(space_pinned(v.s, MBLK(512 * 5 + 9), 1));
	CU_ASSERT_FALSE(space_pinned(v.s, MBLK(512 * 6), 10));
	space_unpin_frames(v.s, FRAME(4), 1);
	free_blocks(&v, x.first.v, x.n);
	CU_ASSERT_EQUAL(busy(&v), 512);
	CU_ASSERT_EQUAL(vol_stat(&v).pending, 0);
	CU_ASSERT_EQUAL(probe_count(&v, x), x.n - 512);
	CU_ASSERT_EQUAL(probe_count(&v, held), 0);
	CU_ASSERT_STRING_EQUAL(space_held_reason(v.s, held.first), "pinned");
	check_sum(&v);
	space_unpin_frames(v.s, FRAME(5), 1);
	CU_ASSERT_EQUAL(busy(&v), 512);
	CU_ASSERT_EQUAL(probe_count(&v, held), 0);
	space_unpin_frames(v.s, FRAME(5), 1);
	CU_ASSERT_EQUAL(busy(&v), 0);
	CU_ASSERT_EQUAL(probe_count(&v, held), 512);
	CU_ASSERT_EQUAL(vol_stat(&v).free_frames, whole);
	check_sum(&v);
	vol_close(&v);
}

/* Nested and overlapping pins of blocks, over the edge of a frame; the neighbours go at once. */
static void test_blocks(void)
{
	struct vol v;
	struct mext x = {MBLK(512 * 3 + 100), 512 * 4 - 200};
	frame_t need = FRAME(0);

	vol_open(&v, 64 * MIB, NULL);
	take(&v, x);
	CU_ASSERT_FALSE(space_pin_blocks(v.s, MBLK(512 * 4 - 10), 20, &need));
	CU_ASSERT_EQUAL(need.v, 3);
	CU_ASSERT_EQUAL(space_pin_counts(v.s, FRAME(3)), 0);
	CU_ASSERT_FALSE(space_pin_blocks(v.s, MBLK(512 * 4 - 10), 20, &need));
	CU_ASSERT_EQUAL(need.v, 4);
	CU_ASSERT_FALSE(space_pinned(v.s, x.first, x.n)); /* the refused ones counted nothing */
	pin_blocks(&v, 512 * 4 - 10, 20);
	pin_blocks(&v, 512 * 4 - 5, 3);
	CU_ASSERT_TRUE(space_pinned(v.s, x.first, x.n));
	CU_ASSERT_FALSE(space_pinned(v.s, MBLK(512 * 4 + 10), 500));
	free_blocks(&v, x.first.v, x.n);
	CU_ASSERT_EQUAL(busy(&v), 20);
	CU_ASSERT_EQUAL(probe_count(&v, x), x.n - 20);
	CU_ASSERT_STRING_EQUAL(space_held_reason(v.s, MBLK(512 * 4 + 9)), "pinned");
	CU_ASSERT_PTR_NULL(space_held_reason(v.s, MBLK(512 * 4 + 10)));
	check_sum(&v);
	unpin_blocks(&v, 512 * 4 - 10, 20);
	CU_ASSERT_EQUAL(busy(&v), 3);
	CU_ASSERT_EQUAL(probe_count(&v, x), x.n - 3);
	check_sum(&v);
	unpin_blocks(&v, 512 * 4 - 5, 3);
	CU_ASSERT_EQUAL(busy(&v), 0);
	CU_ASSERT_EQUAL(probe_count(&v, x), x.n);
	check_sum(&v);
	vol_close(&v);
}

/* Part of a huge leaf goes while its frame is pinned as a whole (rule B1). committed: the split is;
 * late: the pin goes before the transaction ends. */
static void split(bool committed, bool late)
{
	struct vol v;
	struct mext x = {MBLK(512 * 5), 512};
	struct txn *t;

	vol_open(&v, 64 * MIB, NULL);
	take(&v, x);
	space_pin_frames(v.s, FRAME(5), 1);
	t = txn_begin(v.j);
	CU_ASSERT_EQUAL(space_split(v.s, t, FRAME(5)), -EAGAIN);
	txn_abort(t);
	CU_ASSERT_EQUAL(space_pin_counts(v.s, FRAME(5)), 0);
	t = txn_begin(v.j);
	CU_ASSERT_EQUAL(space_free(v.s, t, MBLK(512 * 5), 100, SPACE_DATA, INUM(16), FBLK(0)), 0);
	CU_ASSERT_EQUAL(space_split(v.s, t, FRAME(5)), 0);
	CU_ASSERT_EQUAL(space_free(v.s, t, MBLK(512 * 5 + 300), 100, SPACE_DATA, INUM(16), FBLK(0)),
			0);
	if (late)
		space_unpin_frames(v.s, FRAME(5), 1);
	if (committed)
		CU_ASSERT_EQUAL(txn_commit(t, NULL), 0)
	else
		txn_abort(t);
	CU_ASSERT_EQUAL(busy(&v), committed && !late ? 200 : 0);
	CU_ASSERT_EQUAL(probe_count(&v, x), committed && late ? 200 : 0);
	CU_ASSERT_EQUAL(space_pinned(v.s, MBLK(512 * 5 + 200), 1), !late);
	check_sum(&v);
	if (committed) { /* new pins are exact now */
		pin_blocks(&v, 512 * 5 + 200, 2);
		free_blocks(&v, 512 * 5 + 150, 100);
		CU_ASSERT_EQUAL(busy(&v), late ? 2 : 300);
	}
	if (!late)
		space_unpin_frames(v.s, FRAME(5), 1);
	CU_ASSERT_EQUAL(busy(&v), committed ? 2 : 0);
	CU_ASSERT_EQUAL(probe_count(&v, x), committed ? 298 : 0);
	if (committed)
		unpin_blocks(&v, 512 * 5 + 200, 2);
	CU_ASSERT_EQUAL(busy(&v), 0);
	CU_ASSERT_EQUAL(probe_count(&v, x), committed ? 300 : 0);
	CU_ASSERT_FALSE(space_pinned(v.s, x.first, x.n));
	check_sum(&v);
	vol_close(&v);
}

static void test_B1_split(void)
{
	split(true, false);
}

static void test_B1_split_aborted(void)
{
	split(false, false);
}

static void test_B1_last_pin_goes_before_split(void)
{
	split(true, true);
	split(false, true);
}

static const struct hf_case cases[] = {
    {"frame", test_frame},
    {"blocks", test_blocks},
    {"B1_split", test_B1_split},
    {"B1_split_aborted", test_B1_split_aborted},
    {"B1_last_pin_goes_before_split", test_B1_last_pin_goes_before_split},
};

int main(void)
{
	return hf_run_suite("space_pins", cases, HF_COUNT(cases));
}
