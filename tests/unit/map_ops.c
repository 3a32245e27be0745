/* The map's operations, one by one. */
#include "map_rand.h"

static const struct fmt_inode *img(struct mv *v)
{
	return inode_media(&v->in);
}

static int do_remove(struct mv *v, uint64_t f, uint64_t n)
{
	struct inode_edit e;
	int err;

	mv_begin(v, &e);
	err = map_remove(&e, FMT_FORK_DATA, FBLK(f), n);
	if (err) {
		txn_abort(e.t);
		return err;
	}
	mv_must(mv_end(&e), "commit");
	mv_model_remove(&v->model, f, f + n);
	return 0;
}

static void test_one_block(void)
{
	struct map_extent x;
	struct mv v;

	mv_open(&v, 16 * MIB);
	CU_ASSERT_EQUAL(map_lookup(&v.in, FMT_FORK_DATA, FBLK(5), 10, &x), 0);
	CU_ASSERT(x.n == 10 && mblk_is_null(x.blk) && !x.huge);
	CU_ASSERT_EQUAL(mv_insert(&v, 0, 1), 1);
	MV_OK(&v);
	/* The root entry is the block. */
	CU_ASSERT_EQUAL(img(&v)->height, 0);
	CU_ASSERT_EQUAL(le64_get(img(&v)->blocks), 1);
	CU_ASSERT_EQUAL(fmt_entry_kind_of(le64_get(img(&v)->root)), FMT_ENT_BLOCK);
	/* A second one puts a node over it. */
	CU_ASSERT_EQUAL(mv_insert(&v, 1, 1), 1);
	CU_ASSERT_EQUAL(img(&v)->height, 1);
	CU_ASSERT_EQUAL(le64_get(img(&v)->blocks), 3);
	MV_OK(&v);
	CU_ASSERT_EQUAL(do_remove(&v, 0, 1000), 0);
	CU_ASSERT_EQUAL(img(&v)->height, 0);
	CU_ASSERT_EQUAL(le64_get(img(&v)->blocks), 0);
	MV_OK(&v);
	mv_close(&v);
}

static void test_heights(void)
{
	static const uint64_t at[] = {0,
				      511,
				      512,
				      (1ull << 18) + 3,
				      1ull << 27,
				      (1ull << 36) - 1,
				      (1ull << 45) + 7,
				      (1ull << 51) - 1};
	fblk_t f;
	struct mv v;

	mv_open(&v, 16 * MIB);
	for (size_t i = 0; i < HF_COUNT(at); i++) {
		CU_ASSERT_EQUAL(mv_insert(&v, at[i], 1), 1);
		MV_OK(&v);
		CU_ASSERT_EQUAL(img(&v)->height,
				at[i] == 0 ? 0 : (64 - (unsigned)__builtin_clzll(at[i]) + 8) / 9);
		mv_ok(mv_compare_lookup(&v, 0, 1ull << 52), __LINE__);
	}
	for (size_t i = 0; i < HF_COUNT(at); i++) {
		CU_ASSERT_EQUAL(map_seek(&v.in, FMT_FORK_DATA, FBLK(i ? at[i - 1] + 1 : 0),
					 FBLK(1ull << 52), true, &f),
				0);
		CU_ASSERT_EQUAL(f.v, at[i]);
		CU_ASSERT_EQUAL(
		    map_seek(&v.in, FMT_FORK_DATA, FBLK(at[i]), FBLK(1ull << 52), false, &f), 0);
		CU_ASSERT_EQUAL(f.v, at[i] == 511 ? 513 : at[i] + 1);
	}
	CU_ASSERT_EQUAL(
	    map_seek(&v.in, FMT_FORK_DATA, FBLK(1ull << 51), FBLK(1ull << 52), true, &f), 0);
	CU_ASSERT_EQUAL(f.v, 1ull << 52);
	for (size_t i = HF_COUNT(at); i-- > 0;) {
		CU_ASSERT_EQUAL(do_remove(&v, at[i], 1), 0);
		MV_OK(&v);
	}
	CU_ASSERT_EQUAL(le64_get(img(&v)->blocks), 0);
	mv_close(&v);
}

static void test_bounds(void)
{
	struct inode_edit e;
	struct mext x;
	struct mv v;

	mv_open(&v, 16 * MIB);
	mv_begin(&v, &e);
	CU_ASSERT_EQUAL(space_alloc(v.fs.space, e.t, 2, MBLK_NULL, 0, &x), 0);
	CU_ASSERT_EQUAL(map_insert(&e, FMT_FORK_DATA, FBLK((1ull << 51) - 1), x.first, 2), -EFBIG);
	CU_ASSERT_EQUAL(map_insert(&e, FMT_FORK_DATA, FBLK(UINT64_MAX), x.first, 2), -EFBIG);
	txn_abort(e.t);
	MV_OK(&v);
	/* What is mapped is not mapped over. */
	mv_insert(&v, 0, 3);
	mv_begin(&v, &e);
	CU_ASSERT_EQUAL(space_alloc(v.fs.space, e.t, 2, MBLK_NULL, 0, &x), 0);
	CU_ASSERT_EQUAL(map_insert(&e, FMT_FORK_DATA, FBLK(2), x.first, 2), -EUCLEAN);
	txn_abort(e.t);
	MV_OK(&v);
	mv_close(&v);
}

static void test_huge(void)
{
	struct map_extent x;
	struct mv_walk w;
	struct inode_edit e;
	struct mv v;
	mblk_t frame;

	mv_open(&v, 32 * MIB);
	CU_ASSERT_EQUAL(mv_insert(&v, 0, 512), 512);
	MV_OK(&v);
	CU_ASSERT_EQUAL(img(&v)->height, 1);
	CU_ASSERT_EQUAL(le64_get(img(&v)->blocks), 512);
	CU_ASSERT_EQUAL(fmt_entry_kind_of(le64_get(img(&v)->root)), FMT_ENT_HUGE);
	CU_ASSERT_EQUAL(map_lookup(&v.in, FMT_FORK_DATA, FBLK(100), 1000, &x), 0);
	CU_ASSERT(x.huge && x.n == 412);
	CU_ASSERT_EQUAL(mv_insert(&v, 512, 3 * 512), 3 * 512);
	CU_ASSERT_EQUAL(map_lookup(&v.in, FMT_FORK_DATA, FBLK(512), 10000, &x), 0);
	CU_ASSERT(x.huge && x.n == 3 * 512);
	MV_OK(&v);
	/* A frame that does not stand on a frame of the file, and one more block. */
	mv_begin(&v, &e);
	mv_must(space_alloc_frame(v.fs.space, e.t, FRAME(0), 0, &frame), "frame");
	mv_must(map_insert(&e, FMT_FORK_DATA, FBLK(8192 + 1), frame, 512), "insert");
	mv_must(mv_end(&e), "commit");
	mv_model_insert(&v.model, 8193, frame.v, 512);
	MV_OK(&v);
	mv_ok(mv_compare(v.fs.pm, &v.fs.geo, v.in.off, &v.model, &w), __LINE__);
	CU_ASSERT_EQUAL(w.huge, 4);
	/* Split: the same blocks, one node more. */
	mv_begin(&v, &e);
	mv_must(map_split(&e, FBLK(700)), "split");
	mv_must(map_split(&e, FBLK(700)), "split again");
	mv_must(map_split(&e, FBLK(8200)), "split of what is no huge leaf");
	mv_must(map_split(&e, FBLK(1ull << 50)), "split of what is not there");
	mv_must(mv_end(&e), "commit");
	mv_ok(mv_compare(v.fs.pm, &v.fs.geo, v.in.off, &v.model, &w), __LINE__);
	CU_ASSERT_EQUAL(w.huge, 3);
	CU_ASSERT_EQUAL(w.punched, 0);
	MV_OK(&v);
	CU_ASSERT_EQUAL(map_lookup(&v.in, FMT_FORK_DATA, FBLK(513), 10000, &x), 0);
	CU_ASSERT(!x.huge && x.n == 3 * 512 - 1);
	/* A punch in a huge leaf splits it, and marks it. */
	CU_ASSERT_EQUAL(do_remove(&v, 3, 7), 0);
	mv_ok(mv_compare(v.fs.pm, &v.fs.geo, v.in.off, &v.model, &w), __LINE__);
	CU_ASSERT_EQUAL(w.huge, 2);
	CU_ASSERT_EQUAL(w.punched, 1);
	MV_OK(&v);
	/* A punch in what was split before marks it too. */
	CU_ASSERT_EQUAL(do_remove(&v, 600, 7), 0);
	mv_ok(mv_compare(v.fs.pm, &v.fs.geo, v.in.off, &v.model, &w), __LINE__);
	CU_ASSERT_EQUAL(w.punched, 2);
	MV_OK(&v);
	CU_ASSERT_EQUAL(do_remove(&v, 0, 1ull << 40), 0);
	CU_ASSERT_EQUAL(le64_get(img(&v)->blocks), 0);
	MV_OK(&v);
	mv_close(&v);
}

/* Split and punch of it all, in one transaction: the node stays, empty, and is in nobody's way
 * later. */
static void test_empty_node(void)
{
	struct inode_edit e;
	struct mv v;

	mv_open(&v, 16 * MIB);
	mv_insert(&v, 0, 512);
	mv_begin(&v, &e);
	mv_must(map_split(&e, FBLK(0)), "split");
	mv_must(map_remove(&e, FMT_FORK_DATA, FBLK(0), 512), "remove");
	mv_must(mv_end(&e), "commit");
	mv_model_remove(&v.model, 0, 512);
	CU_ASSERT_EQUAL(le64_get(img(&v)->blocks), 1);
	mv_ok(mv_compare(v.fs.pm, &v.fs.geo, v.in.off, &v.model, NULL), __LINE__);
	CU_ASSERT_EQUAL(mv_insert(&v, 0, 512), 512);
	CU_ASSERT_EQUAL(le64_get(img(&v)->blocks), 512);
	MV_OK(&v);
	mv_close(&v);
}

/* The same between huge leaves that go: their entries are zeroed, the fresh node's is not. */
static void test_empty_node_between(void)
{
	struct inode_edit e;
	struct mv v;

	mv_open(&v, 32 * MIB);
	mv_insert(&v, 0, 7 * 512);
	mv_begin(&v, &e);
	mv_must(map_split(&e, FBLK(3 * 512)), "split");
	mv_must(map_remove(&e, FMT_FORK_DATA, FBLK(512), 5 * 512), "remove");
	mv_must(mv_end(&e), "commit");
	mv_model_remove(&v.model, 512, 6 * 512);
	mv_ok(mv_compare(v.fs.pm, &v.fs.geo, v.in.off, &v.model, NULL), __LINE__);
	CU_ASSERT_EQUAL(le64_get(img(&v)->blocks), 2 * 512 + 2);
	CU_ASSERT_EQUAL(do_remove(&v, 0, 7 * 512), 0);
	CU_ASSERT_EQUAL(le64_get(img(&v)->blocks), 0);
	MV_OK(&v);
	mv_close(&v);
}

/* Several operations in one transaction see each other. */
static void test_one_txn(void)
{
	struct inode_edit e;
	struct map_extent x;
	struct mext a, b;
	struct mv v;

	mv_open(&v, 16 * MIB);
	mv_insert(&v, 0, 512);
	mv_insert(&v, 1000, 20);
	mv_begin(&v, &e);
	mv_must(space_alloc(v.fs.space, e.t, 4, MBLK_NULL, 0, &a), "alloc");
	mv_must(space_alloc(v.fs.space, e.t, 4, MBLK_NULL, 0, &b), "alloc");
	mv_must(map_remove(&e, FMT_FORK_DATA, FBLK(1010), 5), "remove");
	mv_must(map_insert(&e, FMT_FORK_DATA, FBLK(1010), a.first, a.n), "insert");
	mv_must(map_insert(&e, FMT_FORK_DATA, FBLK(1ull << 30), b.first, b.n), "insert");
	mv_must(map_split(&e, FBLK(0)), "split");
	mv_must(map_remove(&e, FMT_FORK_DATA, FBLK(5), 1), "remove");
	mv_must(map_lookup_edit(&e, FMT_FORK_DATA, FBLK(1ull << 30), 10, &x), "lookup");
	CU_ASSERT(x.blk.v == b.first.v && x.n == b.n);
	mv_must(map_lookup_edit(&e, FMT_FORK_DATA, FBLK(5), 10, &x), "lookup");
	CU_ASSERT(x.blk.v == 0 && x.n == 1);
	/* Nobody else sees it. */
	mv_must(map_lookup(&v.in, FMT_FORK_DATA, FBLK(5), 10, &x), "lookup");
	CU_ASSERT(x.blk.v != 0 && x.huge);
	mv_must(mv_end(&e), "commit");
	mv_model_remove(&v.model, 1010, 1015);
	mv_model_insert(&v.model, 1010, a.first.v, a.n);
	mv_model_insert(&v.model, 1ull << 30, b.first.v, b.n);
	mv_model_remove(&v.model, 5, 6);
	MV_OK(&v);
	mv_close(&v);
}

/* A removal that is too much for one transaction says so and has changed nothing; map_cut does it.
 */
static void test_cut(void)
{
	struct inode_edit e;
	uint64_t entry;
	unsigned level;
	bool done = false;
	fblk_t at;
	struct mv v;

	mv_open(&v, 64 * MIB);
	for (uint64_t i = 0; i < 3000; i++)
		mv_insert(&v, i * 1999 % 3000 * 2, 1); /* scattered on the media */
	MV_OK(&v);
	CU_ASSERT_EQUAL(do_remove(&v, 10, 5000), -E2BIG);
	MV_OK(&v);
	mv_begin(&v, &e);
	mv_must(map_cut(&e, FMT_FORK_DATA, FBLK(10), 5000, &entry, &level, &at), "cut");
	mv_must(mv_end(&e), "commit");
	mv_model_remove(&v.model, 10, 5010);
	CU_ASSERT(entry != 0);
	CU_ASSERT(mv_used(&v) > v.base_used + le64_get(img(&v)->blocks));
	while (!done) {
		struct txn *t = txn_begin(v.fs.journal);

		mv_must(map_free_some(&v.fs, t, v.in.ino, FMT_FORK_DATA, level, at, &entry, &done),
			"free");
		mv_must(txn_commit(t, NULL), "commit");
	}
	CU_ASSERT_EQUAL(entry, 0);
	MV_OK(&v);
	done = false;
	for (unsigned i = 0; !done; i++) {
		mv_begin(&v, &e);
		mv_must(map_truncate_some(&e, FMT_FORK_DATA, &done), "truncate");
		mv_must(mv_end(&e), "commit");
	}
	v.model.n = 0;
	MV_OK(&v);
	mv_close(&v);
}

static void test_shift(void)
{
	struct inode_edit e;
	struct mv_walk w;
	struct mv v;

	mv_open(&v, 64 * MIB);
	mv_insert(&v, 0, 5);
	mv_insert(&v, 512, 1024);
	mv_insert(&v, 1ull << 20, 10);
	/* By whole frames: huge leaves stay huge. */
	mv_begin(&v, &e);
	mv_must(map_shift(&e, FBLK(5), FBLK(5 + 512)), "shift");
	mv_must(mv_end(&e), "commit");
	for (size_t i = 5; i < v.model.n; i++)
		v.model.p[i].f += 512;
	MV_OK(&v);
	mv_ok(mv_compare(v.fs.pm, &v.fs.geo, v.in.off, &v.model, &w), __LINE__);
	CU_ASSERT_EQUAL(w.huge, 2);
	/* By one block: they do not. */
	mv_begin(&v, &e);
	mv_must(map_shift(&e, FBLK(3), FBLK(4)), "shift");
	mv_must(mv_end(&e), "commit");
	for (size_t i = 3; i < v.model.n; i++)
		v.model.p[i].f++;
	MV_OK(&v);
	mv_ok(mv_compare(v.fs.pm, &v.fs.geo, v.in.off, &v.model, &w), __LINE__);
	CU_ASSERT_EQUAL(w.huge, 0);
	/* Down over a hole; not over what is none. */
	mv_begin(&v, &e);
	CU_ASSERT_EQUAL(map_shift(&e, FBLK(3), FBLK(2)), -EINVAL);
	txn_abort(e.t);
	MV_OK(&v);
	mv_begin(&v, &e);
	mv_must(map_shift(&e, FBLK(1025), FBLK(6)), "shift");
	mv_must(mv_end(&e), "commit");
	for (size_t i = 5; i < v.model.n; i++)
		v.model.p[i].f -= 1025 - 6;
	MV_OK(&v);
	/* To the very end of what a file can have, and beyond. */
	mv_begin(&v, &e);
	CU_ASSERT_EQUAL(map_shift(&e, FBLK(0), FBLK((1ull << 51) - 10)), -EFBIG);
	txn_abort(e.t);
	MV_OK(&v);
	mv_close(&v);
}

static uint64_t busy_journal(struct mv *v)
{
	struct space_stat st;

	space_stat(v->fs.space, &st);
	return st.busy_journal;
}

/* What the journal may replay over waits for the checkpoint: nodes, and all of a directory; file
 * content does not. */
static void test_kinds(void)
{
	static const uint32_t type[] = {S_IFREG, S_IFDIR};

	for (unsigned i = 0; i < HF_COUNT(type); i++) {
		struct mv v;

		mv_open_hooked(&v, 16 * MIB, type[i], NULL);
		mv_insert(&v, 0, 5);
		mv_insert(&v, 1000, 5);
		mv_must(journal_checkpoint(v.fs.journal), "checkpoint");
		space_drain(v.fs.space);
		CU_ASSERT_EQUAL(busy_journal(&v), 0);
		CU_ASSERT_EQUAL(do_remove(&v, 0, 5000), 0);
		/* Two nodes of level-0 entries, and the one above. */
		CU_ASSERT_EQUAL(busy_journal(&v), S_ISDIR(type[i]) ? 13 : 3);
		MV_OK(&v);
		mv_close(&v);
	}
}

/* Allocates single blocks until there are none; the file has nothing to do with them. */
static void use_up(struct mv *v, unsigned flags)
{
	struct txn *t;
	struct mext x;
	int err;

	do {
		t = txn_begin(v->fs.journal);
		err = space_alloc(v->fs.space, t, 1, MBLK_NULL, flags, &x);
		if (err)
			txn_abort(t);
		else
			mv_must(txn_commit(t, NULL), "commit");
		v->base_used += err == 0;
	} while (err == 0);
}

/* A volume without a block for data or metadata: what frees space works all the same. */
static void test_full(void)
{
	struct mr r = {.op = MR_CUT, .f = 600, .n = 100};
	struct mv_walk w;
	struct mv v;

	mv_open(&v, 16 * MIB);
	CU_ASSERT_EQUAL(mv_insert(&v, 0, 2048), 2048);
	use_up(&v, SPACE_META);
	CU_ASSERT_EQUAL(do_remove(&v, 7, 1), 0);
	MV_OK(&v);
	use_up(&v, SPACE_META);
	mv_must(mr_do(&v, &r), "cut");
	mr_model(&v.model, &r);
	mv_must(mr_finish(&v, &r), "free");
	MV_OK(&v);
	/* Not even a reserve: a punch fails, a truncation leaves the leaf that it cuts whole. */
	use_up(&v, SPACE_META | SPACE_RESERVE);
	CU_ASSERT_EQUAL(do_remove(&v, 1030, 1), -ENOSPC);
	MV_OK(&v);
	r = (struct mr){.op = MR_TRIM, .f = 1030};
	mv_must(mr_do(&v, &r), "trim");
	CU_ASSERT(r.done);
	mv_model_remove(&v.model, 1536, UINT64_MAX);
	mv_ok(mv_compare(v.fs.pm, &v.fs.geo, v.in.off, &v.model, &w), __LINE__);
	CU_ASSERT_EQUAL(w.huge, 1);
	MV_OK(&v);
	/* With a block it goes on as if nothing had been. */
	mv_must(mr_do(&v, &r), "trim");
	mr_model(&v.model, &r);
	MV_OK(&v);
	mv_close(&v);
}

/* The attributes' map stands beside the content's; both count. */
static void test_xattr_fork(void)
{
	struct map_extent x;
	struct inode_edit e;
	struct mext a;
	struct mv v;

	mv_open(&v, 16 * MIB);
	mv_insert(&v, 0, 3);
	mv_begin(&v, &e);
	mv_must(space_alloc(v.fs.space, e.t, 2, MBLK_NULL, 0, &a), "alloc");
	mv_must(map_insert(&e, FMT_FORK_XATTR, FBLK(0), a.first, a.n), "insert");
	mv_must(mv_end(&e), "commit");
	CU_ASSERT_EQUAL(le64_get(img(&v)->blocks), 4 + 3);
	CU_ASSERT_EQUAL(img(&v)->xheight, 1);
	CU_ASSERT_EQUAL(map_lookup(&v.in, FMT_FORK_XATTR, FBLK(1), 1, &x), 0);
	CU_ASSERT_EQUAL(x.blk.v, a.first.v + 1);
	mv_begin(&v, &e);
	mv_must(map_remove(&e, FMT_FORK_XATTR, FBLK(0), 10), "remove");
	mv_must(mv_end(&e), "commit");
	CU_ASSERT_EQUAL(le64_get(img(&v)->xroot), 0);
	CU_ASSERT_EQUAL(img(&v)->xheight, 0);
	MV_OK(&v);
	mv_close(&v);
}

int main(void)
{
	static const struct hf_case cases[] = {
	    {"one block", test_one_block},
	    {"heights", test_heights},
	    {"bounds", test_bounds},
	    {"huge leaves", test_huge},
	    {"an empty node", test_empty_node},
	    {"an empty node between", test_empty_node_between},
	    {"several in one transaction", test_one_txn},
	    {"what waits for the checkpoint", test_kinds},
	    {"full volume", test_full},
	    {"attributes", test_xattr_fork},
	    {"cut and truncate", test_cut},
	    {"shift", test_shift},
	};

	return hf_run_suite("map operations", cases, HF_COUNT(cases));
}
