/* Orphan slots: handed out, set, cleared, grown, damaged; subtrees that are freed piece by piece. */
#include "itable_vol.h"

static int set_one(struct fs *fs, uint32_t slot, inum_t ino, bool do_commit)
{
	struct txn *t = txn_begin(fs->journal);

	orphan_set_inode(fs, t, slot, ino, 1);
	if (do_commit)
		return txn_commit(t, NULL);
	txn_abort(t);
	return 0;
}

static int clear_one(struct fs *fs, uint32_t slot)
{
	struct txn *t = txn_begin(fs->journal);

	orphan_clear(fs, t, slot);
	return txn_commit(t, NULL);
}

static void test_set_and_clear(void)
{
	struct fmt_orphan o;
	struct ivol v;
	uint32_t a, b;
	struct txn *t;

	ivol_open(&v, 16 * MIB, 0);
	CU_ASSERT_EQUAL(orphan_count(&v.fs), FMT_ORPHANS_PER_BLOCK);
	CU_ASSERT_EQUAL(orphan_reserve(&v.fs, &a), 0);
	CU_ASSERT_EQUAL(orphan_read(&v.fs, a, &o), 0);
	CU_ASSERT_EQUAL(le64_get(o.ino), 0);
	CU_ASSERT_EQUAL(set_one(&v.fs, a, INUM(77), true), 0);
	CU_ASSERT_EQUAL(orphan_read(&v.fs, a, &o), 0);
	CU_ASSERT_EQUAL(le64_get(o.ino), 77);
	CU_ASSERT_EQUAL(o.kind, FMT_ORPHAN_INODE);
	CU_ASSERT_EQUAL(orphan_reserve(&v.fs, &b), 0);
	CU_ASSERT_NOT_EQUAL(a, b);
	orphan_unreserve(&v.fs, b);
	/* The slot is somebody's until the transaction that clears it is applied (J2). */
	t = txn_begin(v.fs.journal);
	orphan_clear(&v.fs, t, a);
	for (unsigned i = 1; i < FMT_ORPHANS_PER_BLOCK; i++) {
		CU_ASSERT_EQUAL(orphan_reserve(&v.fs, &b), 0);
		CU_ASSERT_NOT_EQUAL(a, b);
	}
	CU_ASSERT_EQUAL(txn_commit(t, NULL), 0);
	CU_ASSERT_EQUAL(orphan_reserve(&v.fs, &b), 0);
	CU_ASSERT_EQUAL(a, b);
	CU_ASSERT_EQUAL(orphan_read(&v.fs, a, &o), 0);
	CU_ASSERT_EQUAL(o.kind, 0);
	CU_ASSERT_EQUAL(orphan_count(&v.fs), FMT_ORPHANS_PER_BLOCK);
	ivol_close(&v);
}

static void test_abort(void)
{
	struct ivol v;
	uint32_t a, b;
	struct txn *t;

	ivol_open(&v, 16 * MIB, 0);
	ivol_must(orphan_reserve(&v.fs, &a), "reserve");
	set_one(&v.fs, a, INUM(77), false);
	ivol_must(orphan_reserve(&v.fs, &b), "reserve");
	CU_ASSERT_EQUAL(a, b);
	CU_ASSERT_EQUAL(set_one(&v.fs, b, INUM(78), true), 0);
	/* An aborted clear leaves it taken. */
	t = txn_begin(v.fs.journal);
	orphan_clear(&v.fs, t, b);
	txn_abort(t);
	ivol_must(orphan_reserve(&v.fs, &a), "reserve");
	CU_ASSERT_NOT_EQUAL(a, b);
	CU_ASSERT_EQUAL(clear_one(&v.fs, b), 0);
	/* Set and cleared by one transaction: it is free again after it. */
	t = txn_begin(v.fs.journal);
	orphan_set_inode(&v.fs, t, a, INUM(5), 1);
	orphan_clear(&v.fs, t, a);
	CU_ASSERT_EQUAL(txn_commit(t, NULL), 0);
	ivol_must(orphan_reserve(&v.fs, &b), "reserve");
	CU_ASSERT_EQUAL(a, b);
	ivol_close(&v);
}

static void test_growth(void)
{
	enum { N = 5 * FMT_ORPHANS_PER_BLOCK / 2 };
	uint32_t slot[N];
	uint64_t taken = 0;
	struct fmt_orphan o;
	struct ivol v;

	ivol_open(&v, 16 * MIB, 0);
	for (int i = 0; i < N; i++) {
		ivol_must(orphan_reserve(&v.fs, &slot[i]), "reserve");
		for (int k = 0; k < i; k++)
			taken += slot[k] == slot[i];
		CU_ASSERT_EQUAL(set_one(&v.fs, slot[i], INUM(100 + (unsigned)i), true), 0);
	}
	CU_ASSERT_EQUAL(taken, 0);
	CU_ASSERT_EQUAL(orphan_count(&v.fs), 3 * FMT_ORPHANS_PER_BLOCK);
	ivol_remount(&v, 0);
	CU_ASSERT_EQUAL(orphan_count(&v.fs), 3 * FMT_ORPHANS_PER_BLOCK);
	for (int i = 0; i < N; i++) {
		CU_ASSERT_EQUAL(orphan_read(&v.fs, slot[i], &o), 0);
		CU_ASSERT_EQUAL(le64_get(o.ino), 100 + (unsigned)i);
		CU_ASSERT_EQUAL(clear_one(&v.fs, slot[i]), 0);
	}
	IVOL_ASSERT_SOUND(&v.fs);
	ivol_close(&v);
}

/* Slots that make no sense are reported, and the others are finished nevertheless. */
static void test_damage(void)
{
	struct ivol v;
	uint32_t a, b, c;
	uint64_t count;
	struct inode *in;
	struct txn *t;
	moff_t off;

	ivol_open(&v, 16 * MIB, 0);
	in = ivol_new(&v.fs, S_IFREG, 1);
	ivol_must(orphan_reserve(&v.fs, &a), "reserve");
	ivol_must(orphan_reserve(&v.fs, &b), "reserve");
	set_one(&v.fs, a, INUM(77), true);	/* no such inode */
	set_one(&v.fs, b, in->ino, true);	/* another generation */
	ivol_drop_name(in, true);
	inode_put(in);
	CU_ASSERT_EQUAL(inode_recover_orphans(&v.fs, &count), -EUCLEAN);
	CU_ASSERT_EQUAL(count, 1);
	CU_ASSERT_EQUAL(clear_one(&v.fs, a), 0);
	CU_ASSERT_EQUAL(clear_one(&v.fs, b), 0);
	/* An inode that does not know of its slot. */
	in = ivol_new(&v.fs, S_IFREG, 1);
	ivol_must(orphan_reserve(&v.fs, &c), "reserve");
	t = txn_begin(v.fs.journal);
	orphan_set_inode(&v.fs, t, c, in->ino, in->gen);
	ivol_must(txn_commit(t, NULL), "commit");
	CU_ASSERT_EQUAL(inode_recover_orphans(&v.fs, &count), -EUCLEAN);
	CU_ASSERT_EQUAL(clear_one(&v.fs, c), 0);
	inode_put(in);
	CU_ASSERT_EQUAL(inode_recover_orphans(&v.fs, &count), 0);
	CU_ASSERT_EQUAL(count, 0);
	/* A slot with a wrong checksum is not handed out either. */
	off = MOFF(FMT_BLK_ORPHANS0 * (uint64_t)HF_BLOCK_SIZE);
	pm_store64(v.pm, moff_add(off, 8), 1);
	ivol_remount(&v, 0);
	CU_ASSERT_EQUAL(inode_recover_orphans(&v.fs, &count), -EBADMSG);
	for (unsigned i = 1; i < FMT_ORPHANS_PER_BLOCK; i++) {
		ivol_must(orphan_reserve(&v.fs, &a), "reserve");
		CU_ASSERT_NOT_EQUAL(a, 0);
	}
	pm_store64(v.pm, moff_add(off, 8), 0);
	IVOL_ASSERT_SOUND(&v.fs);
	ivol_close(&v);
}

/* A subtree that takes several transactions; the owner may be gone meanwhile. */
static void test_subtree(void)
{
	struct ivol v;
	struct inode *in;
	struct inode_edit e;
	struct txn *t;
	uint64_t entry, before, count;
	unsigned level;
	uint32_t slot;
	fblk_t at;

	ivol_open(&v, 32 * MIB, 0);
	in = ivol_new(&v.fs, S_IFREG, 1);
	for (uint64_t i = 0; i < 900; i++)
		ivol_fill(in, 1 + i * 300, 1);
	ivol_must(orphan_reserve(&v.fs, &slot), "reserve");
	t = txn_begin(v.fs.journal);
	rwl_wrlock(&in->layout);
	inode_edit_begin(&e, in, t);
	ivol_must(map_cut(&e, FMT_FORK_DATA, FBLK(10), 1ull << 40, &entry, &level, &at), "map_cut");
	CU_ASSERT_NOT_EQUAL(entry, 0);
	orphan_set_subtree(&v.fs, t, slot, in->ino, in->gen, FMT_FORK_DATA, level, at, entry);
	inode_edit_end(&e);
	ivol_must(txn_commit(t, NULL), "commit");
	rwl_wrunlock(&in->layout);
	IVOL_ASSERT_SOUND(&v.fs);
	ivol_drop_name(in, false);
	CU_ASSERT_EQUAL(inode_reap(in, 0), 0);
	inode_put(in);
	IVOL_ASSERT_SOUND(&v.fs);
	before = ivol_commits(&v.fs);
	CU_ASSERT_EQUAL(inode_recover_orphans(&v.fs, &count), 0);
	CU_ASSERT_EQUAL(count, 1);
	printf(" (%u transactions)", (unsigned)(ivol_commits(&v.fs) - before));
	CU_ASSERT(ivol_commits(&v.fs) - before >= 2);
	IVOL_ASSERT_SOUND(&v.fs);
	ivol_must(orphan_reserve(&v.fs, &slot), "reserve");
	CU_ASSERT_EQUAL(orphan_free_subtree(&v.fs, slot, 0), -EUCLEAN);
	ivol_close(&v);
}

static const struct hf_case cases[] = {
	{ "set and clear", test_set_and_clear },
	{ "abort", test_abort },
	{ "growth", test_growth },
	{ "damage", test_damage },
	{ "subtree", test_subtree },
};

int main(void)
{
	return hf_run_suite("orphan_slots", cases, HF_COUNT(cases));
}
