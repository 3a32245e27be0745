/* Slots and huge leaves: making a slot one huge leaf for a view's page, and giving back what was
 * punched out of one while a view's page kept it whole.
 *
 * Both need that nobody has the blocks pinned, and are done with the layout lock held from looking
 * to the commit: a pin that came and went between a copy and its commit would have stored into
 * blocks that are let go.
 *
 * Durability: the copy is fenced before the record that maps it.
 * Crash: before the record the new frame is free and the old blocks are the file's; after it the
 * other way round; the bytes are the same in both. */
#include "file/resize.h"
#include "pin/view.h"

/* ---- collapse */

struct huge {
	struct inode *in;
	struct txn *t;
	fblk_t slot;
	mblk_t frame; /* the new one */
};

/* The source may be bad media: then it stays as it is. */
static int huge_copy(const struct huge *h, const struct data_run *run, uint64_t off)
{
	struct pm *pm = h->in->fs->pm;
	uint64_t base = h->slot.v << HF_BLOCK_SHIFT;
	int err = pm_guarded_write_nt(pm, moff_add(mblk_to_moff(h->frame), off - base),
				      pm_at(pm, run->at), run->bytes);

	if (err)
		return err_set(-EIO, "inode %llu: the data at offset %llu cannot be read",
			       (unsigned long long)h->in->ino.v, (unsigned long long)off);
	return 0;
}

/* The file's bytes; zeros for holes and behind the end of file. */
static int huge_fill(const struct huge *h)
{
	uint64_t off = h->slot.v << HF_BLOCK_SHIFT, base = off, end = base + HF_FRAME_SIZE;
	uint64_t size = data_size(h->in), last = max_u64(min_u64(size, end), base);
	moff_t to = mblk_to_moff(h->frame);
	struct data_run run;
	int err = 0;

	for (; off < last && !err; off += run.bytes) {
		err = data_run(h->in, off, last, &run);
		if (err)
			break;
		if (run.hole)
			err = pm_guarded_zero_nt(h->in->fs->pm, moff_add(to, off - base), run.bytes);
		else
			err = huge_copy(h, &run, off);
	}
	if (!err && last < end)
		err = pm_guarded_zero_nt(h->in->fs->pm, moff_add(to, last - base), end - last);
	return err;
}

static int huge_swap(const struct huge *h)
{
	struct inode_edit e;
	int err;

	inode_edit_begin(&e, h->in, h->t);
	err = map_remove(&e, FMT_FORK_DATA, h->slot, HF_BLOCKS_PER_FRAME);
	if (!err)
		err = map_insert(&e, FMT_FORK_DATA, h->slot, h->frame, HF_BLOCKS_PER_FRAME);
	if (!err)
		inode_edit_end(&e);
	return err;
}

/* Layout exclusive. */
static int huge_gather(const struct huge *h)
{
	uint64_t off = h->slot.v << HF_BLOCK_SHIFT;
	int err = map_pinned(h->in, h->slot, HF_BLOCKS_PER_FRAME);

	if (err > 0)
		err = err_set(-EBUSY, "inode %llu: blocks of the 2 MiB at offset %llu are pinned",
			      (unsigned long long)h->in->ino.v, (unsigned long long)off);
	if (!err)
		err = huge_fill(h);
	if (!err)
		err = view_revoke(h->in, off, off + HF_FRAME_SIZE);
	return err ? err : huge_swap(h);
}

static int huge_commit(struct huge *h)
{
	int err;

	txn_fence_first(h->t);
	rwl_wrlock(&h->in->layout);
	err = inode_seal(h->in);
	if (!err)
		err = huge_gather(h);
	if (err)
		txn_abort(h->t);
	else
		err = txn_commit(h->t, NULL);
	rwl_wrunlock(&h->in->layout);
	return err;
}

int resize_collapse_slot(struct inode *in, fblk_t slot_first)
{
	struct huge h = {.in = in, .slot = slot_first};
	struct map_extent x;
	int err = data_is_inline(in) ? resize_outgrow_inline(in) : 0;

	if (!err)
		err = map_lookup(in, FMT_FORK_DATA, slot_first, HF_BLOCKS_PER_FRAME, &x);
	if (err || x.huge)
		return err;
	h.t = txn_begin(in->fs->journal);
	if (!h.t)
		return -ENOMEM;
	/* Before the layout lock, for it may have to wait for a checkpoint. */
	err = space_alloc_frame(in->fs->space, h.t, mblk_to_frame(x.blk), 0, &h.frame);
	if (!err)
		return huge_commit(&h);
	txn_abort(h.t);
	return err == -ENOSPC ? err_set(err, "no frame of 2 MiB is free") : err;
}

/* ---- holes */

#define HOLES_WORDS (HF_BLOCKS_PER_FRAME / 64)
#define HOLES_BYTES 512u

/* Bad media is not all zeros. */
static bool holes_is_zero(struct pm *pm, mblk_t b)
{
	uint8_t bytes[HOLES_BYTES];

	for (uint64_t at = 0; at < HF_BLOCK_SIZE; at += HOLES_BYTES)
		if (pm_guarded_read(pm, bytes, moff_add(mblk_to_moff(b), at), HOLES_BYTES) ||
		    memcmp(bytes, data_zeros, HOLES_BYTES) != 0)
			return false;
	return true;
}

static bool holes_marked(const uint64_t *mask, uint64_t i)
{
	return mask[i / 64] >> i % 64 & 1;
}

/* Those of the marked blocks that can go. */
static int holes_choose(struct inode *in, fblk_t slot, const uint64_t *mask, uint64_t *go)
{
	struct map_extent x;
	int err = 0;

	memset(go, 0, HOLES_WORDS * sizeof(go[0]));
	for (uint64_t i = 0; i < HF_BLOCKS_PER_FRAME; i++) {
		if (!holes_marked(mask, i))
			continue;
		err = map_lookup(in, FMT_FORK_DATA, FBLK(slot.v + i), 1, &x);
		if (err)
			break;
		if (!mblk_is_null(x.blk) && !space_pinned(in->fs->space, x.blk, 1) &&
		    holes_is_zero(in->fs->pm, x.blk))
			go[i / 64] |= 1ull << i % 64;
	}
	return err;
}

static int holes_remove(struct inode *in, fblk_t first, uint64_t n)
{
	struct txn *t = txn_begin(in->fs->journal);
	struct inode_edit e;
	int err;

	if (!t)
		return -ENOMEM;
	inode_edit_begin(&e, in, t);
	err = map_remove(&e, FMT_FORK_DATA, first, n);
	if (!err) {
		inode_edit_end(&e);
		return txn_commit(t, NULL);
	}
	txn_abort(t);
	return err;
}

/* Each run is a transaction; what a crash leaves is zeros. */
static int holes_remove_all(struct inode *in, fblk_t slot, const uint64_t *go)
{
	uint64_t end;
	int err = 0;

	for (uint64_t i = 0; i < HF_BLOCKS_PER_FRAME && !err; i = end + 1) {
		for (end = i; end < HF_BLOCKS_PER_FRAME && holes_marked(go, end); end++)
			continue;
		if (end > i)
			err = holes_remove(in, FBLK(slot.v + i), end - i);
	}
	return err;
}

static int holes_free(struct inode *in, fblk_t slot, const uint64_t *mask)
{
	uint64_t go[HOLES_WORDS], off = slot.v << HF_BLOCK_SHIFT;
	int err;

	if (view_maps(in, slot))
		return err_set(-EBUSY, "inode %llu: a view maps the 2 MiB at offset %llu",
			       (unsigned long long)in->ino.v, (unsigned long long)off);
	err = holes_choose(in, slot, mask, go);
	if (!err)
		err = view_revoke(in, off, off + HF_FRAME_SIZE);
	if (!err)
		err = holes_remove_all(in, slot, go);
	if (!err)
		view_hole_forget(in, slot, HF_BLOCKS_PER_FRAME);
	return err;
}

int resize_free_holes(struct inode *in, fblk_t slot_first, const uint64_t mask[8])
{
	int err;

	rwl_wrlock(&in->layout);
	err = inode_seal(in);
	if (!err)
		err = holes_free(in, slot_first, mask);
	rwl_wrunlock(&in->layout);
	return err;
}
