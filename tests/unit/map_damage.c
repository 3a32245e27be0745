/* Damaged maps: every bit of every entry, entries at another place, of another file or fork;
 * nothing loops, and what cannot be trusted is not changed. */
#include "map_rand.h"

#define MAX_ENTRIES 4096

struct spots {
	struct map_visit v[MAX_ENTRIES];
	unsigned n;
	unsigned bad;
};

static int visit_collect(void *ctx, const struct map_visit *v)
{
	struct spots *s = ctx;

	s->bad += v->verify_err != 0;
	if (s->n < MAX_ENTRIES && v->where.v)
		s->v[s->n++] = *v;
	return 0;
}

static unsigned walk(struct mv *v, struct spots *s)
{
	const struct fmt_inode *img = inode_media(&v->in);

	s->n = s->bad = 0;
	mv_must(map_walk(v->fs.pm, &v->fs.geo, v->in.ino, FMT_FORK_DATA, le64_get(img->root),
			 img->height, visit_collect, s),
		"walk");
	return s->bad;
}

/* Three levels; blocks, huge leaves, nodes. */
static void prepare(struct mv *v)
{
	mv_open(v, 32 * MIB);
	mv_insert(v, 0, 1024);
	mv_insert(v, 1024, 40);
	mv_insert(v, 5000, 3);
	mv_insert(v, (1ull << 18) + 512, 512);
	mv_insert(v, (1ull << 20) + 5, 20);
	MV_OK(v);
}

static int lookup(struct mv *v, uint64_t f, uint64_t n)
{
	struct map_extent x;

	return map_lookup(&v->in, FMT_FORK_DATA, FBLK(f), n, &x);
}

/* 16 check bits: one in 65536 goes unseen. */
static void test_bits(void)
{
	static struct spots all, seen;
	unsigned flips = 0, unseen = 0;
	struct mv v;

	prepare(&v);
	CU_ASSERT_EQUAL(walk(&v, &all), 0);
	CU_ASSERT(all.n > 60);
	for (unsigned i = 0; i < all.n; i++) {
		for (unsigned bit = 0; bit < 64; bit++) {
			int err;

			pm_store64(v.fs.pm, all.v[i].where, all.v[i].entry ^ 1ull << bit);
			err = lookup(&v, all.v[i].fblk.v, 1);
			flips++;
			unseen += err == 0;
			CU_ASSERT(err == 0 || err == -EUCLEAN || err == -EBADMSG);
			if (err)
				CU_ASSERT_EQUAL(walk(&v, &seen), 1);
		}
		pm_store64(v.fs.pm, all.v[i].where, all.v[i].entry);
	}
	printf("\n    %u flips, %u unseen\n", flips, unseen);
	CU_ASSERT(unseen <= 3);
	MV_OK(&v);
	mv_close(&v);
}

/* A neighbour's damage does not keep one from reading what is whole. */
static void test_run_ends(void)
{
	struct map_extent x;
	struct inode_edit e;
	struct mv v;
	unsigned at = 0;
	static struct spots all;

	prepare(&v);
	walk(&v, &all);
	for (unsigned i = 0; i < all.n; i++)
		if (all.v[i].level == 0 && all.v[i].fblk.v == 1030)
			at = i;
	/* Its block still follows on the one before. */
	pm_store64(v.fs.pm, all.v[at].where, all.v[at].entry ^ 1ull << 60);
	CU_ASSERT_EQUAL(map_lookup(&v.in, FMT_FORK_DATA, FBLK(1024), 100, &x), 0);
	CU_ASSERT_EQUAL(x.n, 6);
	mv_begin(&v, &e);
	CU_ASSERT_EQUAL(map_lookup_edit(&e, FMT_FORK_DATA, FBLK(1024), 100, &x), 0);
	CU_ASSERT_EQUAL(x.n, 6);
	CU_ASSERT(map_lookup_edit(&e, FMT_FORK_DATA, FBLK(1030), 1, &x) < 0);
	txn_abort(e.t);
	CU_ASSERT(lookup(&v, 1030, 1) < 0);
	CU_ASSERT_EQUAL(lookup(&v, 1031, 1), 0);
	mv_close(&v);
}

/* Every operation that meets the damage says so; after the abort all is as it was. */
static void test_operations(void)
{
	static struct spots all;
	struct mv v;

	prepare(&v);
	walk(&v, &all);
	for (unsigned i = 0; i < all.n; i += 3) {
		uint64_t f = all.v[i].fblk.v;
		struct mr r[] = {
		    {.op = MR_INSERT, .f = f, .n = 1},	 {.op = MR_REMOVE, .f = f, .n = 1},
		    {.op = MR_CUT, .f = f, .n = 1},	 {.op = MR_TRIM, .f = 0},
		    {.op = MR_SHIFT_UP, .f = 0, .n = 7},
		};
		struct space_stat a, b;

		pm_store64(v.fs.pm, all.v[i].where, all.v[i].entry ^ 0x123ull << 50);
		for (unsigned k = 0; k < HF_COUNT(r); k++) {
			struct mv_model none = {0}, keep = v.model;
			int err;

			space_stat(v.fs.space, &a);
			v.model = none; /* mr_insert goes by it */
			err = mr_do(&v, &r[k]);
			v.model = keep;
			/* An insert stops at the entry being there at all, if it is a leaf. */
			CU_ASSERT(err == -EUCLEAN || err == -EBADMSG);
			space_stat(v.fs.space, &b);
			CU_ASSERT_EQUAL(a.free, b.free);
		}
		pm_store64(v.fs.pm, all.v[i].where, all.v[i].entry);
		MV_OK(&v);
	}
	mv_close(&v);
}

static void test_swapped(void)
{
	static struct spots all;
	struct map_key other, attrs;
	unsigned tried = 0, unseen = 0;
	struct mv v;

	prepare(&v);
	walk(&v, &all);
	for (unsigned i = 0; i < all.n; i++) {
		for (unsigned k = 0; k < all.n; k += 5) {
			if (all.v[i].entry == all.v[k].entry)
				continue;
			pm_store64(v.fs.pm, all.v[i].where, all.v[k].entry);
			tried++;
			unseen += lookup(&v, all.v[i].fblk.v, 1) == 0;
		}
		pm_store64(v.fs.pm, all.v[i].where, all.v[i].entry);
	}
	/* The same entry as another file or the other fork would have it. */
	other = fmt_map_key(&v.fs.geo, INUM(MV_INO + 1), FMT_FORK_DATA);
	attrs = fmt_map_key(&v.fs.geo, INUM(MV_INO), FMT_FORK_XATTR);
	for (unsigned i = 0; i < all.n; i++) {
		const struct map_visit *s = &all.v[i];
		enum fmt_entry_kind kind = fmt_entry_kind_of(s->entry);

		pm_store64(
		    v.fs.pm, s->where,
		    fmt_entry_make(other, s->level, s->fblk, kind, fmt_entry_blk(s->entry), 0));
		tried++;
		unseen += lookup(&v, s->fblk.v, 1) == 0;
		pm_store64(
		    v.fs.pm, s->where,
		    fmt_entry_make(attrs, s->level, s->fblk, kind, fmt_entry_blk(s->entry), 0));
		tried++;
		unseen += lookup(&v, s->fblk.v, 1) == 0;
		pm_store64(v.fs.pm, s->where, s->entry);
	}
	printf("\n    %u swaps, %u unseen\n", tried, unseen);
	CU_ASSERT(tried > 1000 && unseen <= 3);
	MV_OK(&v);
	mv_close(&v);
}

static int visit_count(void *ctx, const struct map_visit *v)
{
	(void)v;
	++*(unsigned *)ctx;
	return 0;
}

/* A node that names itself, with checks that are right: each step goes a level down all the same.
 */
static void test_cycle(void)
{
	struct map_key key;
	uint64_t root;
	unsigned n = 0;
	struct mext x;
	struct txn *t;
	struct mv v;

	mv_open(&v, 16 * MIB);
	t = txn_begin(v.fs.journal);
	mv_must(space_alloc(v.fs.space, t, 1, MBLK_NULL, 0, &x), "alloc");
	txn_fresh(t, x.first);
	mv_must(txn_commit(t, NULL), "commit");
	key = fmt_map_key(&v.fs.geo, INUM(MV_INO), FMT_FORK_DATA);
	root = fmt_entry_make(key, 6, FBLK(0), FMT_ENT_NODE, x.first, 0);
	for (unsigned i = 0; i < 5; i++)
		pm_store64(v.fs.pm, moff_add(mblk_to_moff(x.first), 8 * i),
			   fmt_entry_make(key, 5 - i, FBLK(i * fmt_level_blocks(5 - i)),
					  FMT_ENT_NODE, x.first, 0));
	CU_ASSERT_EQUAL(
	    map_walk(v.fs.pm, &v.fs.geo, INUM(MV_INO), FMT_FORK_DATA, root, 6, visit_count, &n), 0);
	CU_ASSERT(n >= 6 && n < 4000);
	CU_ASSERT_EQUAL(
	    map_walk(v.fs.pm, &v.fs.geo, INUM(MV_INO), FMT_FORK_DATA, root, 7, visit_count, &n),
	    -EUCLEAN);
	CU_ASSERT_EQUAL(map_walk_at(v.fs.pm, &v.fs.geo, INUM(MV_INO), FMT_FORK_DATA, root, 2,
				    FBLK(17), visit_count, &n),
			-EUCLEAN);
	mv_close(&v);
}

static void test_height(void)
{
	struct fmt_inode img;
	struct mv v;

	prepare(&v);
	memcpy(&img, inode_media(&v.in), sizeof(img));
	img.height = 200;
	pm_store(v.fs.pm, v.in.off, &img, sizeof(img));
	CU_ASSERT_EQUAL(lookup(&v, 0, 1), -EUCLEAN);
	/* Too low: the root entry is not of that level. */
	img.height = 2;
	pm_store(v.fs.pm, v.in.off, &img, sizeof(img));
	CU_ASSERT(lookup(&v, 0, 1) < 0);
	mv_close(&v);
}

int main(void)
{
	static const struct hf_case cases[] = {
	    {"every bit", test_bits},
	    {"a run ends before damage", test_run_ends},
	    {"operations refuse", test_operations},
	    {"entries at another place", test_swapped},
	    {"a node below itself", test_cycle},
	    {"heights", test_height},
	};

	return hf_run_suite("map damage", cases, HF_COUNT(cases));
}
