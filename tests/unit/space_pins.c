/* References to blocks: what they keep, and who frees what was kept. */
#include "space_vol.h"
#include "space/internal.h"
#include <pthread.h>
#include <time.h>

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
	CU_ASSERT_EQUAL(space_free(v.s, t, MBLK(512 * 5), 100, SPACE_DATA, INUM(16), FBLK(0)),
			-EUCLEAN);
	CU_ASSERT_EQUAL(space_split(v.s, t, FRAME(5)), 0);
	CU_ASSERT_EQUAL(space_free(v.s, t, MBLK(512 * 5), 100, SPACE_DATA, INUM(16), FBLK(0)), 0);
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

/* ---- whole frames by their blocks */

/* All of a split frame goes at once: its blocks decide. */
static void test_frame_of_blocks(void)
{
	struct vol v;
	struct mext x = {MBLK(512 * 5), 512};
	struct txn *t;

	vol_open(&v, 64 * MIB, NULL);
	take(&v, x);
	space_pin_frames(v.s, FRAME(5), 1);
	CU_ASSERT_EQUAL(space_pin_counts(v.s, FRAME(5)), 0);
	t = txn_begin(v.j);
	CU_ASSERT_EQUAL(space_split(v.s, t, FRAME(5)), 0);
	CU_ASSERT_EQUAL(txn_commit(t, NULL), 0);
	pin_blocks(&v, 512 * 5 + 7, 2);
	free_blocks(&v, 512 * 5, 512);
	CU_ASSERT_EQUAL(busy(&v), 512);
	check_sum(&v);
	space_unpin_frames(v.s, FRAME(5), 1);
	CU_ASSERT_EQUAL(busy(&v), 2);
	CU_ASSERT_EQUAL(probe_count(&v, x), 510);
	check_sum(&v);
	unpin_blocks(&v, 512 * 5 + 7, 2);
	CU_ASSERT_EQUAL(probe_count(&v, x), 512);
	check_sum(&v);
	vol_close(&v);
}

/* Pinned as a whole and by blocks, as when a dead owner's pins meet new ones. */
static void test_frame_and_blocks(void)
{
	struct vol v;
	struct mext x = {MBLK(512 * 5), 512};

	vol_open(&v, 64 * MIB, NULL);
	take(&v, x);
	space_pin_frames(v.s, FRAME(5), 1);
	pin_blocks(&v, 512 * 5 + 100, 10);
	free_blocks(&v, 512 * 5, 512);
	CU_ASSERT_EQUAL(busy(&v), 512);
	unpin_blocks(&v, 512 * 5 + 100, 4);
	CU_ASSERT_EQUAL(busy(&v), 512);
	space_unpin_frames(v.s, FRAME(5), 1);
	CU_ASSERT_EQUAL(busy(&v), 6);
	CU_ASSERT_EQUAL(probe_count(&v, x), 506);
	check_sum(&v);
	unpin_blocks(&v, 512 * 5 + 104, 6);
	CU_ASSERT_EQUAL(probe_count(&v, x), 512);
	check_sum(&v);
	vol_close(&v);
}

/* Every frame of a group has a mask and counts. */
static void test_all_frames(void)
{
	struct vol v;
	uint64_t n;

	vol_open(&v, 128 * MIB, NULL);
	n = v.geo.nframes - 1; /* but the last, which has the superblock's copy */
	take(&v, (struct mext){MBLK(512), (n - 1) * 512});
	for (uint64_t f = 1; f < n; f++)
		pin_blocks(&v, f * 512 + f, 3);
	free_blocks(&v, 512, (n - 1) * 512);
	CU_ASSERT_EQUAL(busy(&v), (n - 1) * 3);
	check_sum(&v);
	for (uint64_t f = 1; f < n; f++)
		take(&v, (struct mext){MBLK(f * 512 + 300), 2});
	for (uint64_t f = 1; f < n; f++)
		unpin_blocks(&v, f * 512 + f, 3);
	CU_ASSERT_EQUAL(busy(&v), 0);
	check_sum(&v);
	vol_close(&v);
}

/* Handed out whole: nothing of its past is left. In parts: what counts stays. */
static void test_reuse(void)
{
	struct vol v;
	struct mext x = {MBLK(512 * 5), 512};
	struct frame *fr;
	struct txn *t;

	vol_open(&v, 64 * MIB, NULL);
	fr = space_frame(v.s, FRAME(5));
	take(&v, x);
	t = txn_begin(v.j);
	CU_ASSERT_EQUAL(space_split(v.s, t, FRAME(5)), 0); /* without pins: no counts needed */
	CU_ASSERT_EQUAL(txn_commit(t, NULL), 0);
	CU_ASSERT_EQUAL(fr->word, FRAME_SPLIT);
	pin_blocks(&v, 512 * 5 + 3, 1);
	free_blocks(&v, 512 * 5, 512);
	take(&v, (struct mext){MBLK(512 * 5 + 4), 1});
	CU_ASSERT_NOT_EQUAL(fr->blocks, 0);
	free_blocks(&v, 512 * 5 + 4, 1);
	unpin_blocks(&v, 512 * 5 + 3, 1);
	take(&v, x);
	CU_ASSERT_EQUAL(fr->blocks, 0);
	CU_ASSERT_EQUAL(fr->word, 0);
	/* Of a second file now: its pins are its own. */
	space_pin_frames(v.s, FRAME(5), 1);
	free_blocks(&v, 512 * 5, 512);
	CU_ASSERT_EQUAL(busy(&v), 512);
	space_unpin_frames(v.s, FRAME(5), 1);
	CU_ASSERT_EQUAL(probe_count(&v, x), 512);
	check_sum(&v);
	vol_close(&v);
}

/* ---- tickets */

static void free_with(struct vol *v, struct mext x, uint32_t ticket)
{
	struct txn *t = txn_begin(v->j);

	txn_set_ticket(t, ticket);
	vol_must(space_free(v->s, t, x.first, x.n, SPACE_DATA, INUM(16), FBLK(0)), "space_free");
	vol_must(txn_commit(t, NULL), "txn_commit");
}

static uint64_t after_ms(uint64_t ms)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec + ms * 1000000;
}

struct waiter {
	struct vol *v;
	uint32_t ticket;
	_Atomic int done;
};

static void *wait_main(void *arg)
{
	struct waiter *w = arg;

	vol_must(space_ticket_wait(w->v->s, w->ticket, UINT64_MAX), "space_ticket_wait");
	atomic_store(&w->done, 1);
	return NULL;
}

static void test_ticket(void)
{
	struct vol v;
	struct mext x = {MBLK(512 * 3 + 100), 512 * 4 - 200};
	struct waiter w = {.v = &v};
	pthread_t th;

	vol_open(&v, 64 * MIB, NULL);
	take(&v, x);
	CU_ASSERT_EQUAL(space_ticket_left(v.s, 0), 0);
	CU_ASSERT_EQUAL(space_ticket_wait(v.s, 0, 0), 0);
	space_ticket_put(v.s, 0);
	w.ticket = space_ticket_get(v.s);
	CU_ASSERT_NOT_EQUAL_FATAL(w.ticket, 0);
	CU_ASSERT_EQUAL(space_ticket_wait(v.s, w.ticket, 0), 0);
	space_pin_frames(v.s, FRAME(5), 1);
	pin_blocks(&v, 512 * 4 - 2, 4);
	free_with(&v, x, w.ticket);
	CU_ASSERT_EQUAL(space_ticket_left(v.s, w.ticket), 516);
	CU_ASSERT_EQUAL(space_ticket_wait(v.s, w.ticket, after_ms(2)), -ETIMEDOUT);
	CU_ASSERT_EQUAL(pthread_create(&th, NULL, wait_main, &w), 0);
	space_unpin_frames(v.s, FRAME(5), 1);
	CU_ASSERT_EQUAL(space_ticket_left(v.s, w.ticket), 4);
	nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
	CU_ASSERT_EQUAL(atomic_load(&w.done), 0);
	unpin_blocks(&v, 512 * 4 - 2, 4);
	pthread_join(th, NULL);
	CU_ASSERT_EQUAL(atomic_load(&w.done), 1);
	space_ticket_put(v.s, w.ticket);
	/* What nobody had pinned, and what was aborted, leave nothing on a ticket. */
	w.ticket = space_ticket_get(v.s);
	take(&v, x);
	free_with(&v, x, w.ticket);
	CU_ASSERT_EQUAL(space_ticket_left(v.s, w.ticket), 0);
	space_ticket_put(v.s, w.ticket);
	vol_close(&v);
}

/* The frame is freed, used, pinned and detached by somebody else before the waiter looks. */
static void test_B2_reuse(void)
{
	struct vol v;
	struct mext x = {MBLK(512 * 5), 512};
	uint32_t mine, other;

	vol_open(&v, 64 * MIB, NULL);
	mine = space_ticket_get(v.s);
	other = space_ticket_get(v.s);
	CU_ASSERT_NOT_EQUAL(mine, other);
	for (int i = 0; i < 2; i++) {
		take(&v, x);
		space_pin_frames(v.s, FRAME(5), 1);
		free_with(&v, x, i ? other : mine);
		CU_ASSERT_EQUAL(busy(&v), 512);
		if (i == 0)
			space_unpin_frames(v.s, FRAME(5), 1);
	}
	CU_ASSERT_EQUAL(space_ticket_wait(v.s, mine, UINT64_MAX), 0);
	CU_ASSERT_EQUAL(space_ticket_left(v.s, other), 512);
	space_ticket_put(v.s, mine);
	/* Blocks that name a ticket keep it, when its operation has gone. */
	space_ticket_put(v.s, other);
	for (int i = 0; i < 4; i++) {
		mine = space_ticket_get(v.s);
		CU_ASSERT_NOT_EQUAL(mine, other);
		CU_ASSERT_EQUAL(space_ticket_left(v.s, mine), 0);
	}
	space_unpin_frames(v.s, FRAME(5), 1);
	CU_ASSERT_EQUAL(space_ticket_get(v.s), other);
	CU_ASSERT_EQUAL(space_ticket_left(v.s, other), 0);
	vol_close(&v);
}

/* ---- a dead owner's pins */

static void test_adopt(void)
{
	struct vol v;
	struct mext x = {MBLK(512 * 4 - 100), 200};
	struct space_busy run[4];
	struct space_stat before;
	uint64_t cursor = 0;

	vol_open(&v, 64 * MIB, NULL);
	before = vol_stat(&v);
	CU_ASSERT_EQUAL(space_adopt(v.s, MBLK(1), 1, INUM(16), FBLK(0)), -EUCLEAN);
	CU_ASSERT_EQUAL(space_adopt(v.s, x.first, 0, INUM(16), FBLK(0)), -EUCLEAN);
	CU_ASSERT_EQUAL(space_adopt(v.s, x.first, UINT64_MAX, INUM(16), FBLK(0)), -EUCLEAN);
	CU_ASSERT_EQUAL(space_adopt(v.s, MBLK(v.geo.nblocks - 1), 1, INUM(16), FBLK(0)), -EUCLEAN);
	take(&v, (struct mext){MBLK(512 * 4 + 50), 10}); /* of a file that is still there */
	CU_ASSERT_EQUAL(space_adopt(v.s, x.first, x.n, INUM(77), FBLK(1000)), 0);
	CU_ASSERT_EQUAL(busy(&v), 190);
	CU_ASSERT_EQUAL(probe_count(&v, x), 0);
	check_sum(&v);
	CU_ASSERT_EQUAL(space_busy_list(v.s, &cursor, run, 4), 2);
	CU_ASSERT_EQUAL(cursor, UINT64_MAX);
	CU_ASSERT_EQUAL(run[0].first.v, x.first.v);
	CU_ASSERT_EQUAL(run[0].n, 150);
	CU_ASSERT_EQUAL(run[0].owner.v, 77);
	CU_ASSERT_EQUAL(run[0].fblk.v, 1000);
	CU_ASSERT_EQUAL(run[1].n, 40);
	CU_ASSERT_EQUAL(run[1].fblk.v, 1160);
	/* A second pin that overlaps. */
	CU_ASSERT_EQUAL(space_adopt(v.s, MBLK(512 * 4), 60, INUM(77), FBLK(1100)), 0);
	CU_ASSERT_EQUAL(busy(&v), 190);
	/* The file goes: its blocks join in. */
	free_blocks(&v, 512 * 4 + 50, 10);
	CU_ASSERT_EQUAL(busy(&v), 200);
	unpin_blocks(&v, x.first.v, x.n);
	CU_ASSERT_EQUAL(busy(&v), 60);
	CU_ASSERT_EQUAL(probe_count(&v, x), 140);
	check_sum(&v);
	unpin_blocks(&v, 512 * 4, 60);
	CU_ASSERT_EQUAL(busy(&v), 0);
	CU_ASSERT_EQUAL(vol_stat(&v).free, before.free);
	CU_ASSERT_EQUAL(vol_stat(&v).free_frames, before.free_frames);
	check_sum(&v);
	vol_close(&v);
}

/* The list says a block is pinned that is metadata: it is kept all the same. */
static void test_adopt_metadata(void)
{
	struct vol v;
	struct mext x = {MBLK(512 * 4), 8};

	vol_open(&v, 64 * MIB, NULL);
	take(&v, x);
	CU_ASSERT_EQUAL(space_adopt(v.s, MBLK(512 * 4 + 2), 3, INUM(16), FBLK(0)), 0);
	vol_free(&v, x, SPACE_METADATA);
	CU_ASSERT_EQUAL(vol_stat(&v).busy_journal, 8);
	CU_ASSERT_EQUAL(journal_checkpoint(v.j), 0);
	CU_ASSERT_EQUAL(probe_count(&v, x), 5);
	CU_ASSERT_EQUAL(busy(&v), 3);
	check_sum(&v);
	unpin_blocks(&v, 512 * 4 + 2, 3);
	CU_ASSERT_EQUAL(probe_count(&v, x), 8);
	check_sum(&v);
	vol_close(&v);
}

/* ---- the list */

struct expect {
	uint64_t first, n, fblk;
	bool journal;
};

static void check_list(struct vol *v, const struct expect *want, size_t n, size_t step)
{
	struct space_busy got[8];
	uint64_t cursor = 0;
	size_t seen = 0;

	while (cursor != UINT64_MAX) {
		size_t k = space_busy_list(v->s, &cursor, got, step);

		for (size_t i = 0; i < k && seen + i < n; i++) {
			const struct expect *w = &want[seen + i];

			CU_ASSERT_EQUAL(got[i].first.v, w->first);
			CU_ASSERT_EQUAL(got[i].n, w->n);
			CU_ASSERT_EQUAL(got[i].fblk.v, w->fblk);
			CU_ASSERT_EQUAL(got[i].journal, w->journal);
			CU_ASSERT_EQUAL(got[i].since_ns == 0, w->journal);
			CU_ASSERT_EQUAL(got[i].owner.v, 16);
		}
		seen += k;
	}
	CU_ASSERT_EQUAL(seen, n);
}

static void test_list(void)
{
	uint64_t a = 512 * 60 + 10; /* over the edge of a group, at frame 64 */
	struct expect want[] = {{a + 100, 2, 100, false},
				{a + 200, 3, 200, false},
				{512 * 62, 1024, 512 * 62 - a, false},
				{512 * 20 + 1, 30, 0, true},
				{512 * 64, 2, 512 * 64 - a, false}};
	struct space_busy run;
	uint64_t cursor = 0;
	struct vol v;

	vol_open(&v, 300 * MIB, NULL);
	check_list(&v, want, 0, 1);
	take(&v, (struct mext){MBLK(a), 512 * 8});
	take(&v, (struct mext){MBLK(512 * 20), 512});
	pin_blocks(&v, a + 100, 2);
	pin_blocks(&v, a + 200, 3);
	pin_blocks(&v, 512 * 64, 2);
	space_pin_frames(v.s, FRAME(62), 2);
	free_blocks(&v, a, 512 * 8);
	vol_free(&v, (struct mext){MBLK(512 * 20 + 1), 30}, SPACE_METADATA);
	for (size_t step = 1; step <= 8; step++)
		check_list(&v, want, HF_COUNT(want), step);
	/* What goes while somebody is in the middle of the list does not lead him astray. */
	CU_ASSERT_EQUAL(space_busy_list(v.s, &cursor, &run, 1), 1);
	unpin_blocks(&v, a + 100, 2);
	unpin_blocks(&v, a + 200, 3);
	CU_ASSERT_EQUAL(space_busy_list(v.s, &cursor, &run, 1), 1);
	CU_ASSERT_EQUAL(run.first.v, 512 * 62);
	space_unpin_frames(v.s, FRAME(62), 2);
	CU_ASSERT_EQUAL(space_busy_list(v.s, &cursor, &run, 1), 1);
	CU_ASSERT_EQUAL(run.journal, true);
	CU_ASSERT_EQUAL(space_busy_list(v.s, &cursor, &run, 1), 1);
	CU_ASSERT_EQUAL(run.first.v, 512 * 64);
	CU_ASSERT_EQUAL(space_busy_list(v.s, &cursor, &run, 1), 0);
	CU_ASSERT_EQUAL(cursor, UINT64_MAX);
	unpin_blocks(&v, 512 * 64, 2);
	check_sum(&v);
	vol_close(&v);
}

/* ---- no memory */

/* Slabs that have never grown, and cannot. */
static uint32_t slab_full(struct slab *s)
{
	uint32_t cap = s->cap;

	CU_ASSERT_EQUAL(s->ready, 0);
	s->cap = 0;
	return cap;
}

static void test_no_memory(void)
{
	struct vol v;
	struct mext x = {MBLK(512 * 5), 512};
	struct space_stat before;
	struct group *g;
	struct txn *t;
	uint32_t counts, recs, tickets;

	vol_open(&v, 64 * MIB, NULL);
	g = space_group_of(v.s, 5);
	take(&v, x);
	before = vol_stat(&v);
	counts = slab_full(&g->counts);
	recs = slab_full(&g->recs);
	tickets = slab_full(&v.s->tickets);
	CU_ASSERT_EQUAL(space_ticket_get(v.s), 0);
	CU_ASSERT_EQUAL(space_pin_counts(v.s, FRAME(5)), -ENOMEM);
	CU_ASSERT_EQUAL(space_adopt(v.s, MBLK(512 * 6), 8, INUM(16), FBLK(0)), -ENOMEM);
	g->counts.cap = counts;
	CU_ASSERT_EQUAL(space_adopt(v.s, MBLK(512 * 6), 8, INUM(16), FBLK(0)), -ENOMEM);
	/* What nobody refers to cannot come to wait, and needs none. */
	t = txn_begin(v.j);
	CU_ASSERT_EQUAL(space_free(v.s, t, x.first, x.n, SPACE_DATA, INUM(16), FBLK(0)), 0);
	txn_abort(t);
	t = txn_begin(v.j);
	CU_ASSERT_EQUAL(space_free(v.s, t, x.first, x.n, SPACE_METADATA, INUM(16), FBLK(0)), -ENOMEM);
	space_pin_frames(v.s, FRAME(5), 1);
	CU_ASSERT_EQUAL(space_free(v.s, t, x.first, x.n, SPACE_DATA, INUM(16), FBLK(0)), -ENOMEM);
	space_unpin_frames(v.s, FRAME(5), 1);
	txn_abort(t);
	CU_ASSERT_FALSE(space_pinned(v.s, MBLK(512 * 6), 8));
	CU_ASSERT_EQUAL(vol_stat(&v).free, before.free);
	CU_ASSERT_EQUAL(vol_stat(&v).pending, 0);
	g->recs.cap = recs;
	v.s->tickets.cap = tickets;
	pin_blocks(&v, 512 * 5, 1);
	free_blocks(&v, 512 * 5, 512);
	CU_ASSERT_EQUAL(busy(&v), 1);
	unpin_blocks(&v, 512 * 5, 1);
	CU_ASSERT_EQUAL(probe_count(&v, x), 512);
	check_sum(&v);
	vol_close(&v);
}

/* An adoption over two groups of which the second has no memory. */
static void test_adopt_undone(void)
{
	struct vol v;
	uint64_t free;
	uint32_t recs;

	vol_open(&v, 300 * MIB, NULL);
	free = vol_stat(&v).free;
	recs = slab_full(&space_group_of(v.s, 64)->recs);
	CU_ASSERT_EQUAL(space_adopt(v.s, MBLK(512 * 64 - 5), 10, INUM(16), FBLK(0)), -ENOMEM);
	CU_ASSERT_EQUAL(busy(&v), 0);
	CU_ASSERT_EQUAL(vol_stat(&v).free, free);
	CU_ASSERT_FALSE(space_pinned(v.s, MBLK(512 * 64 - 5), 10));
	space_group_of(v.s, 64)->recs.cap = recs;
	CU_ASSERT_EQUAL(space_adopt(v.s, MBLK(512 * 64 - 5), 10, INUM(16), FBLK(0)), 0);
	CU_ASSERT_EQUAL(busy(&v), 10);
	unpin_blocks(&v, 512 * 64 - 5, 10);
	CU_ASSERT_EQUAL(vol_stat(&v).free, free);
	check_sum(&v);
	vol_close(&v);
}

static const struct hf_case cases[] = {
    {"frame", test_frame},
    {"blocks", test_blocks},
    {"B1_split", test_B1_split},
    {"B1_split_aborted", test_B1_split_aborted},
    {"B1_last_pin_goes_before_split", test_B1_last_pin_goes_before_split},
    {"frame_of_blocks", test_frame_of_blocks},
    {"frame_and_blocks", test_frame_and_blocks},
    {"all_frames", test_all_frames},
    {"reuse", test_reuse},
    {"ticket", test_ticket},
    {"B2_reuse", test_B2_reuse},
    {"adopt", test_adopt},
    {"adopt_metadata", test_adopt_metadata},
    {"list", test_list},
    {"no_memory", test_no_memory},
    {"adopt_undone", test_adopt_undone},
};

int main(void)
{
	return hf_run_suite("space_pins", cases, HF_COUNT(cases));
}
