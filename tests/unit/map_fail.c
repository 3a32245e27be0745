/* Every allocation, every free and every look at the room of the transaction fails once: after the
 * abort nothing has changed, on the media or in what may be handed out. */
#include "map_rand.h"

enum fail { FAIL_ALLOC, FAIL_FREE, FAIL_ROOM, FAIL_KINDS };

static enum fail fail_kind;
static unsigned fail_left; /* 0: never */
static bool fail_hit;

static bool fail_now(enum fail kind)
{
	if (kind != fail_kind || fail_left == 0 || --fail_left > 0)
		return false;
	fail_hit = true;
	return true;
}

static void fail_arm(enum fail kind, unsigned nth)
{
	fail_kind = kind;
	fail_left = nth;
	fail_hit = false;
}

int __real_space_alloc(struct space *s, struct txn *t, uint32_t want, mblk_t hint, unsigned flags,
		       struct mext *out);
int __wrap_space_alloc(struct space *s, struct txn *t, uint32_t want, mblk_t hint, unsigned flags,
		       struct mext *out);
int __wrap_space_alloc(struct space *s, struct txn *t, uint32_t want, mblk_t hint, unsigned flags,
		       struct mext *out)
{
	if (fail_now(FAIL_ALLOC)) {
		*out = (struct mext){MBLK_NULL, 0};
		return err_set(-ENOSPC, "injected");
	}
	return __real_space_alloc(s, t, want, hint, flags, out);
}

int __real_space_free(struct space *s, struct txn *t, mblk_t first, uint64_t n,
		      enum space_kind kind, inum_t owner, fblk_t fblk);
int __wrap_space_free(struct space *s, struct txn *t, mblk_t first, uint64_t n,
		      enum space_kind kind, inum_t owner, fblk_t fblk);
int __wrap_space_free(struct space *s, struct txn *t, mblk_t first, uint64_t n,
		      enum space_kind kind, inum_t owner, fblk_t fblk)
{
	if (fail_now(FAIL_FREE))
		return err_set(-ENOMEM, "injected");
	return __real_space_free(s, t, first, n, kind, owner, fblk);
}

uint32_t __real_txn_room(const struct txn *t);
uint32_t __wrap_txn_room(const struct txn *t);
uint32_t __wrap_txn_room(const struct txn *t)
{
	return fail_now(FAIL_ROOM) ? 0 : __real_txn_room(t);
}

/* ---- the media, but for free blocks, C and the lanes */

static uint8_t *snapshot(struct mv *v)
{
	uint8_t *p = malloc(v->fs.geo.bytes);

	HF_ASSERT(p);
	memcpy(p, v->fs.pm->base, v->fs.geo.bytes);
	return p;
}

static bool same_media(struct mv *v, const uint8_t *was)
{
	uint64_t lanes = moff_to_mblk(v->fs.geo.lanes_off).v;

	for (uint64_t b = FMT_BLK_ITNODE; b < v->fs.geo.nblocks; b++) {
		bool used = b < lanes || (b >= v->fs.geo.first_data.v &&
					  space_is_allocated(v->fs.space, MBLK(b)));

		if (used && memcmp(was + b * HF_BLOCK_SIZE, v->fs.pm->base + b * HF_BLOCK_SIZE,
				   HF_BLOCK_SIZE) != 0)
			return false;
	}
	return true;
}

/* ---- */

static void prepare(struct mv *v, uint64_t seed, unsigned ops)
{
	struct mr r;

	mv_open(v, 8 * MIB);
	v->rng += seed * 7919;
	for (unsigned i = 0; i < ops; i++) {
		mr_choose(v, &r);
		if (mr_do(v, &r))
			continue;
		mr_model(&v->model, &r);
		mv_must(mr_finish(v, &r), "the rest");
	}
}

/* The nth failure in an operation. True: it was never reached. */
static bool fail_nth(struct mv *v, const struct mr *op, enum fail kind, unsigned nth)
{
	uint8_t *was = snapshot(v);
	struct space_stat a, b;
	struct mr r = *op;
	int err;

	space_drain(v->fs.space);
	space_stat(v->fs.space, &a);
	fail_arm(kind, nth);
	err = mr_do(v, &r);
	fail_left = 0;
	if (err) {
		space_drain(v->fs.space);
		space_stat(v->fs.space, &b);
		CU_ASSERT(same_media(v, was));
		/* A checkpoint on the way may have freed more. */
		CU_ASSERT_EQUAL(a.free + a.busy_journal, b.free + b.busy_journal);
		CU_ASSERT_EQUAL(b.pending, 0);
	} else {
		mr_model(&v->model, &r);
		mv_must(mr_finish(v, &r), "the rest");
	}
	MV_OK(v);
	free(was);
	return !err;
}

static void run(enum fail kind, unsigned seeds)
{
	unsigned points = 0;

	for (uint64_t seed = 0; seed < mr_ops(seeds); seed++) {
		bool end = false;

		for (unsigned nth = 1; !end;) {
			struct mr r;
			struct mv v;

			prepare(&v, seed, 40);
			do
				mr_choose(&v, &r);
			while (r.op == MR_INSERT && seed % 2);
			/* On, as long as the map stays as it is. */
			while (!fail_nth(&v, &r, kind, nth)) {
				points++;
				nth++;
				if (!fail_hit)
					break; /* it failed without our help */
			}
			/* An operation that does a part when there is no room has succeeded: the
			 * next needs a new map. */
			end = !fail_hit || nth >= 40;
			points += fail_hit;
			nth++;
			mv_close(&v);
		}
	}
	printf("\n    %u points of failure\n", points);
	CU_ASSERT(points > mr_ops(seeds) / 2);
}

static void test_no_space(void)
{
	run(FAIL_ALLOC, 200);
}

static void test_no_memory(void)
{
	run(FAIL_FREE, 150);
}

static void test_no_room(void)
{
	run(FAIL_ROOM, 40);
}

/* What an operation leaves of the room is enough for the inode: a transaction that it did not
 * refuse commits. */
static void test_every_room(void)
{
	unsigned tight = 0;

	for (uint64_t seed = 0; seed < mr_ops(40); seed++) {
		struct mr r;
		struct mv v;

		prepare(&v, 1000 + seed, 40);
		for (unsigned words = 0; words < 1024; words += 11) {
			struct inode_edit e;
			int err;

			mr_choose(&v, &r);
			mv_begin(&v, &e);
			/* The rest of the inode's block is nobody's; a word twice would be one
			 * item. */
			for (unsigned i = 0; i < words; i++)
				txn_set64(e.t, moff_add(v.in.off, 512 + 8 * (i % 448)), i);
			for (unsigned i = 448; i < words && txn_room(e.t) >= 24; i++)
				txn_copy(e.t, moff_add(v.in.off, 512), &(uint64_t){i}, 8);
			err = mr_apply(&v, &r, &e);
			if (err) {
				tight += err == -E2BIG;
				txn_abort(e.t);
			} else {
				mv_must(mv_end(&e), "commit of what fitted");
				mr_model(&v.model, &r);
				mv_must(mr_finish(&v, &r), "the rest");
			}
			MV_OK(&v);
		}
		mv_close(&v);
	}
	CU_ASSERT(tight > mr_ops(40));
}

int main(void)
{
	static const struct hf_case cases[] = {
	    {"no space at every allocation", test_no_space},
	    {"no memory at every free", test_no_memory},
	    {"no room at every look", test_no_room},
	    {"transactions with little room", test_every_room},
	};

	return hf_run_suite("map failures", cases, HF_COUNT(cases));
}
