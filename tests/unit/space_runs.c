/* Freeing many runs at once: in any order, over several groups, whole frames and parts, some of them
 * pinned. */
#include "space_vol.h"
#include "base/hash.h"
#include "space/internal.h"
#include <pthread.h>

#define OWNER INUM(77)
#define GROUP (512ull * 64) /* blocks of a group */

/* ---- a hook that lets another thread try to get the blocks in the middle of the commit's fence */

struct probe {
	struct vol *v;
	const struct space_run *run;
	uint32_t n;
	bool armed;
	uint64_t handed;
};

static uint64_t had(struct vol *v, const struct space_run *run, uint32_t n)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < n; i++)
		sum += probe_count(v, (struct mext){run[i].first, (uint32_t)run[i].n});
	return sum;
}

static void *probe_main(void *arg)
{
	struct probe *p = arg;

	p->handed += had(p->v, p->run, p->n);
	return NULL;
}

static int probe_fence(void *ctx)
{
	struct probe *p = ctx;
	pthread_t th;

	if (!p->armed)
		return 0;
	pthread_create(&th, NULL, probe_main, p);
	pthread_join(th, NULL);
	return 0;
}

/* ---- runs */

/* Whole frames one by one and in rows, parts of frames, over three groups; in the order of blocks,
 * with neighbours. */
static const struct space_run pattern[] = {
    {MBLK(512 * 9 + 7), 3, FBLK(1000)},
    {MBLK(512 * 9 + 10), 502, FBLK(2000)}, /* follows it, and ends its frame */
    {MBLK(512 * 10), 512, FBLK(3000)},	   /* follows that */
    {MBLK(512 * 12), 512, FBLK(4000)},
    {MBLK(512 * 14), 512 * 3, FBLK(5000)},
    {MBLK(512 * 20 + 511), 2, FBLK(7000)}, /* over the edge of a frame */
    {MBLK(512 * 21 + 1), 10, FBLK(7002)},
    {MBLK(512 * 60), 512 * 10, FBLK(8000)}, /* over the edge of a group */
    {MBLK(512 * 70), 512 * 70 + 5, FBLK(20000)},
};
#define RUNS ((uint32_t)HF_COUNT(pattern))

static uint64_t blocks_of(const struct space_run *run, uint32_t n)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < n; i++)
		sum += run[i].n;
	return sum;
}

static void take(struct vol *v)
{
	for (uint32_t r = 0; r < RUNS; r++) {
		uint64_t at = pattern[r].first.v, end = at + pattern[r].n, n;
		struct txn *t = txn_begin(v->j);

		for (; at < end; at += n) {
			struct mext got;

			n = min_u64(end - at, 512 - at % 512);
			vol_must(space_alloc(v->s, t, (uint32_t)n, MBLK(at),
					     SPACE_EXACT | SPACE_RESERVE, &got),
				 "space_alloc");
			CU_ASSERT_EQUAL_FATAL(got.n, n);
		}
		vol_must(txn_commit(t, NULL), "txn_commit");
	}
}

static void shuffle(struct space_run *run, uint32_t n, uint64_t seed)
{
	memcpy(run, pattern, sizeof(pattern));
	for (uint32_t i = n; i > 1; i--) {
		uint32_t j;
		struct space_run r;

		seed = hash_mix2(seed, i);
		j = (uint32_t)(seed % i);
		r = run[i - 1];
		run[i - 1] = run[j];
		run[j] = r;
	}
}

static void check_sum(struct vol *v)
{
	struct space_stat st = vol_stat(v);

	CU_ASSERT_EQUAL(st.free + st.busy_journal + st.busy_pinned + st.pending + vol_allocated(v),
			st.blocks);
	CU_ASSERT_EQUAL(st.free_frames + st.full_frames + st.partial_frames, st.frames);
	CU_ASSERT_EQUAL(st.pending, 0);
}

static void test_commit(void)
{
	struct vol v;
	struct probe p = {.v = &v, .run = pattern, .n = RUNS};
	struct pm_hook hook = {.ctx = &p, .fence = probe_fence};

	vol_open(&v, 300 * MIB, &hook);
	CU_ASSERT_EQUAL_FATAL(v.s->group_shift, 6);
	for (unsigned kind = SPACE_DATA; kind <= SPACE_METADATA; kind++) {
		for (uint64_t seed = 0; seed < 8; seed++) {
			struct space_stat before = vol_stat(&v), after;
			struct space_run run[RUNS];
			uint32_t room;
			struct txn *t;

			take(&v);
			shuffle(run, RUNS, seed);
			t = txn_begin(v.j);
			room = txn_room(t);
			CU_ASSERT_EQUAL(space_free_runs(v.s, t, run, RUNS, kind, OWNER), 0);
			/* Three, one, one, two and two of them are neighbours. */
			CU_ASSERT_EQUAL(room - txn_room(t), 5 * 16);
			CU_ASSERT_EQUAL(had(&v, pattern, RUNS), 0);
			CU_ASSERT_EQUAL(vol_stat(&v).pending, blocks_of(pattern, RUNS));
			p.armed = true;
			p.handed = 0;
			CU_ASSERT_EQUAL(txn_commit(t, NULL), 0);
			p.armed = false;
			CU_ASSERT_EQUAL(p.handed, 0);
			if (kind == SPACE_METADATA) {
				CU_ASSERT_EQUAL(had(&v, pattern, RUNS), 0);
				CU_ASSERT_EQUAL(journal_checkpoint(v.j), 0);
			}
			CU_ASSERT_EQUAL(had(&v, pattern, RUNS), blocks_of(pattern, RUNS));
			check_sum(&v);
			after = vol_stat(&v);
			CU_ASSERT_EQUAL(memcmp(&before, &after, sizeof(before)), 0);
		}
	}
	vol_close(&v);
}

static void test_abort(void)
{
	struct vol v;

	vol_open(&v, 300 * MIB, NULL);
	take(&v);
	for (unsigned kind = SPACE_DATA; kind <= SPACE_METADATA; kind++) {
		struct space_stat before = vol_stat(&v), after;
		struct space_run run[RUNS];
		struct txn *t = txn_begin(v.j);

		shuffle(run, RUNS, kind);
		CU_ASSERT_EQUAL(space_free_runs(v.s, t, run, RUNS, kind, OWNER), 0);
		txn_abort(t);
		after = vol_stat(&v);
		CU_ASSERT_EQUAL(memcmp(&before, &after, sizeof(before)), 0);
		CU_ASSERT_EQUAL(had(&v, pattern, RUNS), 0);
		for (uint32_t r = 0; r < RUNS; r++)
			CU_ASSERT_PTR_NULL(space_held_reason(v.s, pattern[r].first));
	}
	check_sum(&v);
	vol_close(&v);
}

/* ---- what must not be freed, in the last group: the first ones are let go of again */

static void refused(struct vol *v, struct space_run extra, int want)
{
	struct space_stat before = vol_stat(v), after;

	for (unsigned kind = SPACE_DATA; kind <= SPACE_METADATA; kind++) {
		struct space_run run[RUNS + 1];
		struct txn *t = txn_begin(v->j);

		shuffle(run, RUNS, kind);
		run[RUNS] = extra;
		CU_ASSERT_EQUAL(space_free_runs(v->s, t, run, RUNS + 1, kind, OWNER), want);
		CU_ASSERT_TRUE(txn_is_empty(t));
		after = vol_stat(v);
		CU_ASSERT_EQUAL(memcmp(&before, &after, sizeof(before)), 0);
		txn_abort(t);
		after = vol_stat(v);
		CU_ASSERT_EQUAL(memcmp(&before, &after, sizeof(before)), 0);
	}
}

static void test_refused(void)
{
	struct vol v;

	vol_open(&v, 300 * MIB, NULL);
	take(&v);
	refused(&v, (struct space_run){MBLK(512 * 142), 512, FBLK(0)}, -EUCLEAN);     /* free */
	refused(&v, (struct space_run){MBLK(512 * 140), 512, FBLK(0)}, -EUCLEAN);     /* in part */
	refused(&v, (struct space_run){MBLK(512 * 141 + 9), 1, FBLK(0)}, -EUCLEAN);
	refused(&v, (struct space_run){MBLK(512 * 139), 512, FBLK(0)}, -EUCLEAN);     /* twice */
	refused(&v, (struct space_run){MBLK(512 * 140 + 4), 1, FBLK(0)}, -EUCLEAN);   /* twice */
	refused(&v, (struct space_run){MBLK(512 * 139 + 100), 5, FBLK(0)}, -EUCLEAN); /* twice */
	refused(&v, pattern[3], -EUCLEAN);
	refused(&v, (struct space_run){MBLK(512 * 12 + 511), 3, FBLK(0)}, -EUCLEAN);
	refused(&v, (struct space_run){MBLK(512 * 11), 512, FBLK(0)}, -EUCLEAN); /* free, between */
	refused(&v, (struct space_run){MBLK(0), 1, FBLK(0)}, -EUCLEAN);
	refused(&v, (struct space_run){MBLK(512 * 142), UINT64_MAX, FBLK(0)}, -EUCLEAN);
	refused(&v, (struct space_run){MBLK(512 * 142), 0, FBLK(0)}, -EUCLEAN);
	check_sum(&v);
	vol_close(&v);
}

/* Records for what is pinned in the second group, which has no memory. */
static void test_no_memory(void)
{
	struct vol v;
	struct space_stat before, after;
	struct space_run run[RUNS];
	struct group *g;
	struct txn *t;
	uint32_t cap;

	vol_open(&v, 300 * MIB, NULL);
	take(&v);
	space_pin_frames(v.s, FRAME(14), 2);
	space_pin_frames(v.s, FRAME(80), 1);
	g = space_group_of(v.s, 80);
	cap = g->recs.cap;
	g->recs.cap = 0;
	before = vol_stat(&v);
	shuffle(run, RUNS, 3);
	t = txn_begin(v.j);
	CU_ASSERT_EQUAL(space_free_runs(v.s, t, run, RUNS, SPACE_DATA, OWNER), -ENOMEM);
	CU_ASSERT_TRUE(txn_is_empty(t));
	txn_abort(t);
	after = vol_stat(&v);
	CU_ASSERT_EQUAL(memcmp(&before, &after, sizeof(before)), 0);
	g->recs.cap = cap;
	space_unpin_frames(v.s, FRAME(14), 2);
	space_unpin_frames(v.s, FRAME(80), 1);
	check_sum(&v);
	vol_close(&v);
}

/* ---- pins */

static void pin_block(struct vol *v, uint64_t b)
{
	frame_t need;

	while (!space_pin_blocks(v->s, MBLK(b), 1, &need))
		vol_must(space_pin_counts(v->s, need), "space_pin_counts");
}

/* What is busy: where it was in its file is what its run said. */
static uint64_t listed(struct vol *v)
{
	struct space_busy b[64];
	uint64_t cursor = 0, sum = 0;
	size_t n = space_busy_list(v->s, &cursor, b, HF_COUNT(b));

	CU_ASSERT_EQUAL(cursor, UINT64_MAX);
	for (size_t i = 0; i < n; i++) {
		uint32_t r = 0;

		while (r < RUNS && b[i].first.v >= pattern[r].first.v + pattern[r].n)
			r++;
		CU_ASSERT_FATAL(r < RUNS);
		CU_ASSERT_EQUAL(b[i].owner.v, OWNER.v);
		CU_ASSERT_EQUAL(b[i].fblk.v,
				pattern[r].fblk.v + (b[i].first.v - pattern[r].first.v));
		sum += b[i].n;
	}
	return sum;
}

static void test_pinned(void)
{
	/* Frames: alone, in a row, at both edges of a group, among many; blocks: in a part, at the edge
	 * of a frame, one of a whole frame. */
	static const uint64_t frames[] = {12, 15, 63, 64, 100}, blocks[] = {512 * 9 + 8, 512 * 21, 512 * 10 + 77};
	const uint64_t pinned = 512 * HF_COUNT(frames) + HF_COUNT(blocks);
	struct vol v;

	vol_open(&v, 300 * MIB, NULL);
	for (uint64_t seed = 0; seed < 8; seed++) {
		uint64_t left = pinned, free = vol_stat(&v).free;
		struct space_run run[RUNS];
		struct txn *t;

		take(&v);
		for (unsigned i = 0; i < HF_COUNT(frames); i++)
			space_pin_frames(v.s, FRAME(frames[i]), 1);
		for (unsigned i = 0; i < HF_COUNT(blocks); i++)
			pin_block(&v, blocks[i]);
		shuffle(run, RUNS, seed);
		t = txn_begin(v.j);
		CU_ASSERT_EQUAL(space_free_runs(v.s, t, run, RUNS, SPACE_DATA, OWNER), 0);
		CU_ASSERT_EQUAL(listed(&v), 0);
		CU_ASSERT_EQUAL(txn_commit(t, NULL), 0);
		check_sum(&v);
		CU_ASSERT_EQUAL(had(&v, pattern, RUNS), blocks_of(pattern, RUNS) - pinned);
		for (unsigned i = 0; i < HF_COUNT(frames); i++, left -= 512) {
			CU_ASSERT_EQUAL(vol_stat(&v).busy_pinned, left);
			CU_ASSERT_EQUAL(listed(&v), left);
			CU_ASSERT_STRING_EQUAL(space_held_reason(v.s, MBLK(512 * frames[i])), "pinned");
			space_unpin_frames(v.s, FRAME(frames[i]), 1);
		}
		for (unsigned i = 0; i < HF_COUNT(blocks); i++, left--) {
			CU_ASSERT_EQUAL(vol_stat(&v).busy_pinned, left);
			CU_ASSERT_EQUAL(listed(&v), left);
			space_unpin_blocks(v.s, MBLK(blocks[i]), 1);
		}
		CU_ASSERT_EQUAL(vol_stat(&v).busy_pinned, 0);
		CU_ASSERT_EQUAL(vol_stat(&v).free, free);
		CU_ASSERT_EQUAL(had(&v, pattern, RUNS), blocks_of(pattern, RUNS));
		check_sum(&v);
	}
	vol_close(&v);
}

/* Many frames of one group in the order of a die: each is freed once. */
static void test_many(void)
{
	struct vol v;
	struct space_run run[60];
	uint64_t free;

	vol_open(&v, 300 * MIB, NULL);
	free = vol_stat(&v).free;
	for (uint64_t seed = 1; seed < 20; seed++) {
		struct txn *t = txn_begin(v.j);
		uint32_t n = 0;

		for (uint64_t f = 66; f < 126; f++) {
			struct mext x;

			vol_must(space_alloc(v.s, t, 512, MBLK(f * 512), SPACE_EXACT, &x), "alloc");
			run[n++] = (struct space_run){x.first, x.n, FBLK(f)};
		}
		vol_must(txn_commit(t, NULL), "commit");
		for (uint32_t i = n, j; i > 1; i--) {
			struct space_run r = run[i - 1];

			j = (uint32_t)(hash_mix2(seed, i) % i);
			run[i - 1] = run[j];
			run[j] = r;
		}
		t = txn_begin(v.j);
		CU_ASSERT_EQUAL(space_free_runs(v.s, t, run, n, SPACE_DATA, OWNER), 0);
		CU_ASSERT_EQUAL(vol_stat(&v).pending, 60 * 512);
		CU_ASSERT_EQUAL(txn_commit(t, NULL), 0);
		CU_ASSERT_EQUAL(vol_stat(&v).free, free);
		check_sum(&v);
	}
	vol_close(&v);
}

static const struct hf_case cases[] = {
    {"commit", test_commit}, {"abort", test_abort}, {"refused", test_refused},
    {"no_memory", test_no_memory}, {"pinned", test_pinned}, {"many", test_many},
};

int main(void)
{
	return hf_run_suite("space_runs", cases, HF_COUNT(cases));
}
