/* Edits: a copy of the image that the caller changes; the words that differ go into the
 * transaction. */
#include "inode/itable_priv.h"

#define IMAGE_WORDS (sizeof(struct fmt_inode) / 8)

static _Atomic int64_t *pend_of(struct inode *in, unsigned i)
{
	return i == 0 ? &in->pend_atime : i == 1 ? &in->pend_mtime : &in->pend_ctime;
}

static le64_t *time_of(struct fmt_inode *img, unsigned i)
{
	return i == 0 ? &img->atime : i == 1 ? &img->mtime : &img->ctime;
}

void inode_edit_begin(struct inode_edit *e, struct inode *in, struct txn *t)
{
	e->in = in;
	e->t = t;
	words_load(in->fs, t, in->off, &e->old, IMAGE_WORDS);
	e->img = e->old;
	for (unsigned i = 0; i < 3; i++) {
		e->pend[i] = atomic_load_explicit(pend_of(in, i), memory_order_relaxed);
		if (e->pend[i] != INT64_MIN)
			*time_of(&e->img, i) = le64_of((uint64_t)e->pend[i]);
	}
}

static void pend_ended(void *ctx, uint64_t i, uint64_t value, jseq_t seq, enum txn_outcome outcome)
{
	int64_t was = (int64_t)value;

	(void)seq;
	/* A touch since the edit began is not in it and stays. */
	if (outcome == TXN_COMMITTED)
		atomic_compare_exchange_strong(pend_of(ctx, (unsigned)i), &was, INT64_MIN);
}

void inode_edit_end(struct inode_edit *e)
{
	for (unsigned i = 0; i < 3; i++)
		if (e->pend[i] != INT64_MIN)
			txn_defer(e->t, pend_ended, e->in, i, (uint64_t)e->pend[i]);
	words_log_inode(e->t, &e->in->fs->geo, e->in->off, &e->old, &e->img);
}

void inode_edit_times(struct inode_edit *e, unsigned which, int64_t now_ns)
{
	for (unsigned i = 0; i < 3; i++)
		if (which & 1u << i)
			*time_of(&e->img, i) = le64_of((uint64_t)now_ns);
}

/* ---- pending times */

/* The times are stored before the flag is read, and the flush takes the flag away before it reads
 * the times (all in one order): either the flush sees the times or the flag is set again. The clock
 * is coarse: most touches store nothing. */
void inode_touch(struct inode *in, unsigned which, int64_t now_ns)
{
	_Atomic bool *touched = &in->fs->itable->touched;
	bool news = false;

	/* After a shutdown nothing could write the times, and the cache would fill with inodes that wait for it. */
	if (in->fs->read_only || journal_state(in->fs->journal) != 0)
		return;
	for (unsigned i = 0; i < 3; i++) {
		if (!(which & 1u << i) ||
		    atomic_load_explicit(pend_of(in, i), memory_order_relaxed) == now_ns)
			continue;
		atomic_store(pend_of(in, i), now_ns);
		news = true;
	}
	if (news && !atomic_load(touched))
		atomic_store(touched, true);
}

bool inode_times_pending(const struct inode *in)
{
	return atomic_load(&in->pend_atime) != INT64_MIN ||
	       atomic_load(&in->pend_mtime) != INT64_MIN ||
	       atomic_load(&in->pend_ctime) != INT64_MIN;
}

int inode_write_times(struct inode *in)
{
	struct inode_edit e;
	struct txn *t;

	if (!inode_times_pending(in) || atomic_load(&in->dead))
		return 0;
	t = txn_begin(in->fs->journal);
	if (!t)
		return -ENOMEM;
	inode_edit_begin(&e, in, t);
	inode_edit_end(&e);
	return txn_commit(t, NULL);
}

int inode_seal_open(struct inode *in)
{
	jopen_t mark = atomic_load_explicit(&in->open, memory_order_acquire);
	int err = journal_seal(in->fs->journal, mark);

	/* Others may do the same: nobody sets another mark meanwhile. */
	if (!err)
		atomic_compare_exchange_strong(&in->open, &mark, 0);
	return err;
}

static int flush_one(struct inode *in)
{
	int err;

	rwl_wrlock(&in->layout);
	err = inode_write_times(in);
	rwl_wrunlock(&in->layout);
	return err;
}

int itable_flush_times(struct fs *fs)
{
	struct itable *it = fs->itable;
	int err;

	if (!atomic_exchange(&it->touched, false))
		return 0;
	err = icache_each_touched(&it->cache, flush_one);
	if (err)
		atomic_store(&it->touched, true);
	return err;
}
