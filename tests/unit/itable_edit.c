/* Edits of an inode, and times that are not written yet. */
#include "itable_vol.h"
#include "inode/itable_priv.h"

static struct inode *begin(struct fs *fs, struct inode_edit *e, struct txn **t, struct inode *in)
{
	*t = txn_begin(fs->journal);
	rwl_wrlock(&in->layout);
	inode_edit_begin(e, in, *t);
	return in;
}

static int commit(struct inode *in, struct txn *t)
{
	int err = txn_commit(t, NULL);

	rwl_wrunlock(&in->layout);
	return err;
}

static void test_edit(void)
{
	struct ivol v;
	struct inode_edit e;
	struct inode *in;
	struct txn *t;
	uint32_t room;

	ivol_open(&v, 16 * MIB, 0);
	in = ivol_new(&v.fs, S_IFREG | 0644, 1);
	begin(&v.fs, &e, &t, in);
	inode_edit_end(&e);
	CU_ASSERT(txn_is_empty(t));
	CU_ASSERT_EQUAL(commit(in, t), 0);

	begin(&v.fs, &e, &t, in);
	room = txn_room(t);
	e.img.size = le64_of(4711);
	inode_edit_end(&e);
	CU_ASSERT_EQUAL(room - txn_room(t), 32);
	CU_ASSERT_EQUAL(le64_get(inode_media(in)->size), 0);
	CU_ASSERT_EQUAL(commit(in, t), 0);
	CU_ASSERT_EQUAL(le64_get(inode_media(in)->size), 4711);
	CU_ASSERT_EQUAL(fmt_inode_verify(&v.fs.geo, inode_media(in), in->ino), 0);

	begin(&v.fs, &e, &t, in);
	e.img.size = le64_of(1);
	inode_edit_end(&e);
	txn_abort(t);
	rwl_wrunlock(&in->layout);
	CU_ASSERT_EQUAL(le64_get(inode_media(in)->size), 4711);
	inode_put(in);
	IVOL_ASSERT_SOUND(&v.fs);
	ivol_close(&v);
}

/* One edit after the other in one transaction: the second sees the first, and its checksum covers both. */
static void test_twice(void)
{
	struct ivol v;
	struct inode_edit e;
	struct inode *in;
	struct txn *t;

	ivol_open(&v, 16 * MIB, 0);
	in = ivol_new(&v.fs, S_IFREG | 0644, 1);
	begin(&v.fs, &e, &t, in);
	e.img.size = le64_of(10);
	memset(e.img.inline_data, 'a', 24);
	inode_edit_end(&e);
	inode_edit_begin(&e, in, t);
	CU_ASSERT_EQUAL(le64_get(e.img.size), 10);
	CU_ASSERT_EQUAL(e.img.inline_data[20], 'a');
	e.img.nlink = le32_of(5);
	e.img.inline_data[8] = 'b';
	inode_edit_end(&e);
	inode_edit_begin(&e, in, t);
	CU_ASSERT_EQUAL(le32_get(e.img.nlink), 5);
	e.img.nlink = le32_of(1);
	e.img.inline_data[8] = 'a';
	inode_edit_end(&e);
	CU_ASSERT_EQUAL(commit(in, t), 0);
	CU_ASSERT_EQUAL(le64_get(inode_media(in)->size), 10);
	CU_ASSERT_EQUAL(le32_get(inode_media(in)->nlink), 1);
	CU_ASSERT_EQUAL(inode_media(in)->inline_data[8], 'a');
	CU_ASSERT_EQUAL(fmt_inode_verify(&v.fs.geo, inode_media(in), in->ino), 0);
	/* Edited, then freed. */
	begin(&v.fs, &e, &t, in);
	e.img.nlink = le32_of(0);
	inode_edit_end(&e);
	inode_free(in, t);
	CU_ASSERT_EQUAL(commit(in, t), 0);
	CU_ASSERT(in->dead);
	inode_put(in);
	IVOL_ASSERT_SOUND(&v.fs);
	ivol_remount(&v, 0);
	IVOL_ASSERT_SOUND(&v.fs);
	ivol_close(&v);
}

/* Random words: the encoder and the apply give what was asked for. */
static void test_words(void)
{
	struct ivol v;
	struct rng r = { 3 };
	uint64_t before = 0, bytes = 0, words = 0;
	mblk_t blk;
	struct mext x;
	struct txn *t;

	ivol_open(&v, 16 * MIB, 0);
	t = txn_begin(v.fs.journal);
	ivol_must(space_alloc(v.fs.space, t, 1, MBLK_NULL, SPACE_META, &x), "alloc");
	blk = x.first;
	txn_fresh(t, blk);
	ivol_must(txn_commit(t, NULL), "commit");
	for (int i = 0; i < 3000; i++) {
		uint64_t old[32], new[32];

		memcpy(old, pm_at(v.pm, mblk_to_moff(blk)), sizeof(old));
		memcpy(new, old, sizeof(new));
		for (uint64_t n = rng_below(&r, 33); n > 0; n--)
			new[rng_below(&r, 32)] = rng_below(&r, 3);
		for (int k = 0; k < 32; k++)
			words += new[k] != old[k];
		t = txn_begin(v.fs.journal);
		before = txn_room(t);
		words_log(t, mblk_to_moff(blk), old, new, 32);
		bytes += before - txn_room(t);
		CU_ASSERT(before - txn_room(t) <= 16 + 32 * 8);
		ivol_must(txn_commit(t, NULL), "commit");
		CU_ASSERT_EQUAL(memcmp(pm_at(v.pm, mblk_to_moff(blk)), new, sizeof(new)), 0);
	}
	printf(" (%.1f bytes per word)", (double)bytes / (double)words);
	ivol_close(&v);
}

static int64_t shown(struct inode *in, unsigned which)
{
	struct stat st;

	inode_stat(in, &st, NULL);
	return which == INODE_ATIME ? st.st_atim.tv_sec : which == INODE_MTIME ? st.st_mtim.tv_sec : st.st_ctim.tv_sec;
}

static void test_pending(void)
{
	const int64_t s = 1000000000;
	struct ivol v;
	struct inode_edit e;
	struct inode *in;
	struct txn *t;
	uint64_t before;

	ivol_open(&v, 16 * MIB, 0);
	in = ivol_new(&v.fs, S_IFREG | 0644, 1);
	CU_ASSERT(!inode_times_pending(in));
	inode_touch(in, INODE_ATIME | INODE_MTIME, 5 * s);
	CU_ASSERT(inode_times_pending(in));
	CU_ASSERT_EQUAL(shown(in, INODE_ATIME), 5);
	CU_ASSERT_EQUAL(shown(in, INODE_MTIME), 5);
	CU_ASSERT_NOT_EQUAL(le64_get(inode_media(in)->mtime), (uint64_t)(5 * s));
	/* With the next edit, whatever it changes. */
	begin(&v.fs, &e, &t, in);
	CU_ASSERT_EQUAL(le64_get(e.img.mtime), (uint64_t)(5 * s));
	e.img.uid = le32_of(99);
	inode_edit_end(&e);
	CU_ASSERT(inode_times_pending(in));
	CU_ASSERT_EQUAL(commit(in, t), 0);
	CU_ASSERT(!inode_times_pending(in));
	CU_ASSERT_EQUAL(le64_get(inode_media(in)->mtime), (uint64_t)(5 * s));
	CU_ASSERT_EQUAL(le64_get(inode_media(in)->atime), (uint64_t)(5 * s));
	/* An abort keeps them pending. */
	inode_touch(in, INODE_MTIME, 6 * s);
	begin(&v.fs, &e, &t, in);
	inode_edit_end(&e);
	txn_abort(t);
	rwl_wrunlock(&in->layout);
	CU_ASSERT(inode_times_pending(in));
	CU_ASSERT_EQUAL(shown(in, INODE_MTIME), 6);
	/* A touch during the edit stays; a time that the edit sets wins over an older touch. */
	begin(&v.fs, &e, &t, in);
	inode_edit_times(&e, INODE_CTIME | INODE_MTIME, 7 * s);
	inode_touch(in, INODE_MTIME, 8 * s);
	inode_edit_end(&e);
	CU_ASSERT_EQUAL(commit(in, t), 0);
	CU_ASSERT_EQUAL(le64_get(inode_media(in)->mtime), (uint64_t)(7 * s));
	CU_ASSERT_EQUAL(shown(in, INODE_MTIME), 8);
	CU_ASSERT_EQUAL(shown(in, INODE_CTIME), 7);
	inode_touch(in, INODE_ATIME, 8 * s);
	begin(&v.fs, &e, &t, in);
	inode_edit_times(&e, INODE_ATIME | INODE_MTIME, 9 * s);
	inode_edit_end(&e);
	CU_ASSERT_EQUAL(commit(in, t), 0);
	CU_ASSERT(!inode_times_pending(in));
	CU_ASSERT_EQUAL(shown(in, INODE_ATIME), 9);
	/* Before 1970. */
	inode_touch(in, INODE_ATIME, -1);
	CU_ASSERT_EQUAL(shown(in, INODE_ATIME), -1);
	/* Flush: what is pending is written once. */
	CU_ASSERT_EQUAL(itable_flush_times(&v.fs), 0);
	CU_ASSERT(!inode_times_pending(in));
	CU_ASSERT_EQUAL((int64_t)le64_get(inode_media(in)->atime), -1);
	before = ivol_commits(&v.fs);
	CU_ASSERT_EQUAL(itable_flush_times(&v.fs), 0);
	CU_ASSERT_EQUAL(ivol_commits(&v.fs), before);
	inode_put(in);
	IVOL_ASSERT_SOUND(&v.fs);
	ivol_close(&v);
}

static void test_read_only(void)
{
	struct ivol v;
	struct inode *in;

	ivol_open(&v, 16 * MIB, 0);
	in = ivol_new(&v.fs, S_IFREG | 0644, 1);
	v.fs.read_only = true;
	inode_touch(in, INODE_ATIME, 5);
	CU_ASSERT(!inode_times_pending(in));
	v.fs.read_only = false;
	inode_put(in);
	ivol_close(&v);
}

/* After the journal has stopped: nothing is written, nothing is forgotten, nothing hangs. */
static void test_shutdown(void)
{
	struct ivol v;
	struct inode *in, *dead;
	uint64_t gen;
	inum_t ino;

	ivol_open(&v, 16 * MIB, 0);
	in = ivol_new(&v.fs, S_IFREG | 0644, 1);
	dead = ivol_new(&v.fs, S_IFREG | 0644, 1);
	inode_touch(in, INODE_ATIME, 5);
	journal_shutdown(v.fs.journal, -EIO);
	CU_ASSERT_EQUAL(itable_flush_times(&v.fs), -ESHUTDOWN);
	CU_ASSERT_EQUAL(itable_flush_times(&v.fs), -ESHUTDOWN);
	CU_ASSERT(inode_times_pending(in));
	CU_ASSERT_EQUAL(ivol_free(dead), -ESHUTDOWN);
	CU_ASSERT(!dead->dead);
	CU_ASSERT_EQUAL(ivol_try_create(&v.fs, INUM(3), S_IFREG, 1, &ino, &gen), -ESHUTDOWN);
	inode_put(in);
	inode_put(dead);
	ivol_close(&v);
}

static const struct hf_case cases[] = {
	{ "edit", test_edit },
	{ "twice in one transaction", test_twice },
	{ "words", test_words },
	{ "pending times", test_pending },
	{ "read-only", test_read_only },
	{ "shutdown", test_shutdown },
};

int main(void)
{
	return hf_run_suite("itable_edit", cases, HF_COUNT(cases));
}
