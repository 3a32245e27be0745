/* Freeing inodes: content, attributes, the orphan slot, the inode itself; at once, or piece by
 * piece. */
#include "inode/itable_priv.h"
#include "inode/orphan.h"

enum {
	FITS_RUNS = 256, /* runs of blocks that one transaction is sure to free, beside an unlink's
			    own items */
	FITS_EXTENTS = 64, /* how many of them are looked at to find out */
	FITS_ROOM = 512,   /* bytes of record for the slot, the bit and the image */
};

/* ---- in one transaction */

/* Content in few extents: each is a run, and each map node may be one. */
static bool few_extents(struct inode *in, uint64_t blocks)
{
	const uint64_t end = 1ull << 51;
	uint64_t at = 0, seen = 0;

	for (unsigned n = 0; n < FITS_EXTENTS; n++) {
		struct map_extent x;

		if (map_lookup(in, FMT_FORK_DATA, FBLK(at), end - at, &x) != 0)
			return false;
		if (!mblk_is_null(x.blk))
			seen += x.n;
		at += x.n;
		if (at >= end)
			return seen <= blocks && n + (blocks - seen) <= FITS_RUNS;
	}
	return false;
}

bool inode_reap_fits(struct inode *in)
{
	const struct fmt_inode *m = inode_media(in);
	uint64_t blocks = le64_get(m->blocks);

	return blocks <= FITS_RUNS || few_extents(in, blocks);
}

/* Both forks; *gone: nothing is left. */
static int free_forks(struct inode_edit *e, bool *gone)
{
	int err;

	*gone = true;
	err = inode_seal(e->in);
	if (err == 0 && le64_get(e->img.root))
		err = map_truncate_some(e, FMT_FORK_DATA, gone);
	if (err == 0 && *gone && le64_get(e->img.xroot))
		err = map_truncate_some(e, FMT_FORK_XATTR, gone);
	if (err == 0 && txn_room(e->t) < FITS_ROOM)
		*gone = false;
	return err;
}

static void finish(struct inode_edit *e)
{
	uint32_t orphan = le32_get(e->img.orphan);

	if (orphan != 0)
		orphan_clear_inode(e->in->fs, e->t, orphan, e->in->ino, e->in->gen);
	inode_edit_free(e);
}

int inode_reap_in(struct inode_edit *e)
{
	bool gone;
	int err = free_forks(e, &gone);

	if (err)
		return err;
	if (!gone)
		return err_set(-E2BIG, "inode %llu: does not go in one transaction",
			       (unsigned long long)e->in->ino.v);
	finish(e);
	return txn_error(e->t);
}

/* ---- piece by piece */

/* One transaction. Without an orphan slot it is all or nothing: -E2BIG. */
static int reap_step(struct inode *in, uint32_t ticket, bool *done)
{
	struct inode_edit e;
	struct txn *t;
	int err;

	t = txn_begin(in->fs->journal);
	if (!t)
		return -ENOMEM;
	txn_set_ticket(t, ticket);
	inode_edit_begin(&e, in, t);
	err = free_forks(&e, done);
	if (err == 0 && *done)
		finish(&e);
	else if (err == 0 && le32_get(e.img.orphan) == 0)
		err = -E2BIG;
	else if (err == 0)
		inode_edit_end(&e);
	if (err) {
		txn_abort(t);
		return err;
	}
	return txn_commit(t, NULL);
}

static int set_slot(struct inode *in)
{
	struct inode_edit e;
	uint32_t slot;
	struct txn *t;
	int err;

	err = orphan_reserve(in->fs, &slot);
	if (err)
		return err;
	t = txn_begin(in->fs->journal);
	if (!t) {
		orphan_unreserve(in->fs, slot);
		return -ENOMEM;
	}
	inode_edit_begin(&e, in, t);
	e.img.orphan = le32_of(slot + 1);
	inode_edit_end(&e);
	orphan_set_inode(in->fs, t, slot, in->ino, in->gen);
	return txn_commit(t, NULL);
}

/* Crash: the slot names the inode until the transaction that frees it; what is left of the content
 * is a valid map. */
static int reap_locked(struct inode *in, uint32_t ticket)
{
	bool done = false;
	int err = 0;

	while (err == 0 && !done) {
		err = reap_step(in, ticket, &done);
		if (err == -E2BIG && le32_get(inode_media(in)->orphan) == 0) {
			done = false;
			err = set_slot(in);
		}
	}
	return err;
}

int inode_reap(struct inode *in, uint32_t ticket)
{
	int err = 0;

	rwl_wrlock(&in->content);
	rwl_wrlock(&in->layout);
	/* Somebody else may have reaped it, opened it by handle, or given it a name. */
	if (!atomic_load(&in->dead) && atomic_load(&in->opens) == 0 &&
	    le32_get(inode_media(in)->nlink) == 0)
		err = reap_locked(in, ticket);
	rwl_wrunlock(&in->layout);
	rwl_wrunlock(&in->content);
	return err ? err_prefix(err, "freeing inode %llu", (unsigned long long)in->ino.v) : 0;
}

/* ---- recovery */

/* A truncation that set the size and did not get to the end: what lies beyond goes, then the slot.
 */
static int trim_step(struct inode *in, uint32_t slot, bool *done)
{
	struct inode_edit e;
	struct txn *t;
	uint64_t from;
	int err;

	t = txn_begin(in->fs->journal);
	if (!t)
		return -ENOMEM;
	inode_edit_begin(&e, in, t);
	from = (le64_get(e.img.size) + HF_BLOCK_SIZE - 1) / HF_BLOCK_SIZE;
	err = map_trim_some(&e, FMT_FORK_DATA, FBLK(from), done);
	if (err) {
		txn_abort(t);
		return err;
	}
	if (*done) {
		e.img.orphan = le32_of(0);
		orphan_clear(in->fs, t, slot);
	}
	inode_edit_end(&e);
	return txn_commit(t, NULL);
}

static int trim(struct inode *in, uint32_t slot)
{
	bool done = false;
	int err = 0;

	if (in->type != S_IFREG)
		return err_set(-EUCLEAN, "not a file, and it has names: nothing to finish");
	rwl_wrlock(&in->content);
	rwl_wrlock(&in->layout);
	while (err == 0 && !done)
		err = trim_step(in, slot, &done);
	rwl_wrunlock(&in->layout);
	rwl_wrunlock(&in->content);
	return err;
}

static int recover_inode(struct fs *fs, uint32_t slot, const struct fmt_orphan *o)
{
	const struct fmt_inode *m;
	struct inode *in;
	int err;

	err = inode_get(fs, INUM(le64_get(o->ino)), le64_get(o->gen), &in);
	/* Slot and inode go in one transaction: one without the other is damage. */
	if (err == -ESTALE)
		return err_set(-EUCLEAN, "names inode %llu, which is not there",
			       (unsigned long long)le64_get(o->ino));
	if (err)
		return err;
	m = inode_media(in);
	if (le32_get(m->orphan) != slot + 1)
		err =
		    err_set(-EUCLEAN, "inode %llu does not know it", (unsigned long long)in->ino.v);
	else if (le32_get(m->nlink) == 0)
		err = inode_reap(in, 0);
	else
		err = trim(in, slot);
	inode_put(in);
	return err;
}

/* Goes on after a damaged slot: the others' space comes back. */
int inode_recover_orphans(struct fs *fs, uint64_t *count_out)
{
	uint32_t n = orphan_count(fs);
	int first = 0;

	*count_out = 0;
	for (uint32_t slot = 0; slot < n; slot++) {
		struct fmt_orphan o;
		int err = orphan_read(fs, slot, &o);

		if (err == 0 && o.kind == 0)
			continue;
		if (err == 0 && o.kind == FMT_ORPHAN_INODE)
			err = recover_inode(fs, slot, &o);
		else if (err == 0)
			err = orphan_free_subtree(fs, slot, 0);
		if (err == 0)
			++*count_out;
		else if (err == -ENOSPC || err == -ENOMEM || err == -E2BIG)
			continue;	/* nothing is damaged: the slot stays, and a later mount goes on */
		else if (first == 0)
			first = err_prefix(err, "orphan slot %u", slot);
	}
	return first;
}
