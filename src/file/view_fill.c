/* What has to be so before a slot of a view can be mapped: one huge leaf, zeros behind the end of
 * file. Runs in the fault worker and in hf_view_populate.
 *
 *	slot of the file     read                 write
 *	beyond the end       -ENXIO               -ENXIO
 *	a hole               zeros are mapped     a whole zeroed frame becomes the file's
 *	a huge leaf          mapped               mapped
 *	anything else        collapsed, mapped    collapsed, mapped
 *
 * Locking: the gate, content exclusive; for the mapping layout, shared. */
#include "file/view_fill.h"
#include "base/clock.h"
#include "file/batch.h"
#include "file/resize.h"
#include "pin/pin.h"

#include <string.h>

struct fill {
	struct view *v;
	struct inode *in;
	uint64_t slot; /* of the view */
	fblk_t first;  /* of the file */
	uint64_t off;  /* bytes */
};

static int fill_read_only(const struct fill *f)
{
	return err_set(
	    -EROFS,
	    "inode %llu, offset %llu: the page of a view is not one frame, and the volume is "
	    "read-only",
	    (unsigned long long)f->in->ino.v, (unsigned long long)f->off);
}

/* ---- behind the end of file there are zeros in a mapped page (rule T2). Nobody sees them in the
 * file: who raises the size zeroes what it uncovers. */

#define FILL_PIECE 512u

/* Nothing can be zeroed on a read-only volume: what is there has to be zeros. */
static int fill_need_zeros(const struct fill *f, moff_t at, uint64_t len)
{
	uint8_t bytes[FILL_PIECE];
	uint64_t n;
	int err = 0;

	for (; len > 0 && !err; len -= n, at = moff_add(at, n)) {
		n = min_u64(len, sizeof(bytes));
		err = pm_guarded_read(f->in->fs->pm, bytes, at, n);
		if (!err && memcmp(bytes, data_zeros, n) != 0)
			err = fill_read_only(f);
	}
	return err;
}

static int fill_zero_tail(struct fill *f, mblk_t blk)
{
	uint64_t size = data_size(f->in), end = f->off + HF_FRAME_SIZE;
	struct fs *fs = f->in->fs;
	moff_t at;
	int err;

	if (size >= end || view_maps(f->in, f->first))
		return 0;
	at = moff_add(mblk_to_moff(blk), size - f->off);
	if (fs->read_only)
		return fill_need_zeros(f, at, end - size);
	err = pm_guarded_zero_nt(fs->pm, at, end - size);
	return err ? err : data_fence(f->in);
}

/* ---- the frame */

static int fill_alloc(struct fill *f)
{
	struct batch_run run;
	struct batch b;
	int ret;

	batch_begin(&b, f->in, BATCH_RUNS);
	ret = batch_alloc_frame(&b, f->first, &run);
	if (ret == BATCH_OK) {
		ret = pm_guarded_zero_nt(f->in->fs->pm, mblk_to_moff(run.blk), HF_FRAME_SIZE);
		if (!ret)
			return batch_commit(&b, 0);
	}
	batch_abort(&b);
	return ret == -ENOSPC ? err_set(ret, "view: no frame of 2 MiB is free") : ret;
}

/* Whatever the slot has becomes a huge leaf. */
static int fill_make_leaf(struct fill *f, bool hole)
{
	int err = 0;

	if (f->in->fs->read_only)
		return fill_read_only(f);
	if (hole)
		return fill_alloc(f);
	if (data_is_inline(f->in))
		err = resize_outgrow_inline(f->in);
	return err ? err : resize_collapse_slot(f->in, f->first);
}

/* ---- mapping */

static int fill_mapped(const struct fill *f, int err)
{
	if (err == -ENOMEM)
		return err_set(err,
			       "view: the process is at its limit of mappings: raise the setting "
			       "vm.max_map_count");
	if (err == -ESHUTDOWN)
		return err_set(err, "view: the volume was unmounted");
	if (err)
		return err_set(err, "view: offset %llu cannot be mapped: %s",
			       (unsigned long long)f->off, strerrordesc_np(-err));
	return 0;
}

static int fill_look(const struct fill *f, struct map_extent *x)
{
	return map_lookup(f->in, FMT_FORK_DATA, f->first, HF_BLOCKS_PER_FRAME, x);
}

static bool fill_is_hole(const struct fill *f, const struct map_extent *x)
{
	return !data_is_inline(f->in) && mblk_is_null(x->blk) && x->n == HF_BLOCKS_PER_FRAME;
}

static int fill_map_zeros(struct fill *f)
{
	int err;

	rwl_rdlock(&f->in->layout);
	err = view_slot_zeros(f->v, f->slot);
	rwl_rdunlock(&f->in->layout);
	return fill_mapped(f, err);
}

static int fill_map_frame(struct fill *f, mblk_t blk)
{
	int err = fill_zero_tail(f, blk);

	if (err)
		return err;
	rwl_rdlock(&f->in->layout);
	err = view_slot_map(f->v, f->slot, blk);
	rwl_rdunlock(&f->in->layout);
	return fill_mapped(f, err);
}

/* Content is held, so what was looked up stays so: the map changes only under both locks. */
static int fill_locked(struct fill *f, bool write)
{
	struct map_extent x;
	int err = fill_look(f, &x);

	if (f->off >= data_size(f->in))
		return err_set(-ENXIO, "view: offset %llu is beyond the end of file",
			       (unsigned long long)f->off);
	if (!err && !write && fill_is_hole(f, &x))
		return fill_map_zeros(f);
	if (!err && !x.huge) {
		err = fill_make_leaf(f, fill_is_hole(f, &x));
		if (!err)
			err = fill_look(f, &x);
	}
	if (err)
		return err;
	HF_ASSERT(x.huge);
	return fill_map_frame(f, x.blk);
}

static int fill_try(struct view *v, uint64_t slot, bool write)
{
	struct gate *g = &volume_of(v->fs)->gate;
	struct fill f = {.v = v,
			 .in = v->in,
			 .slot = slot,
			 .first = view_slot_block(v, slot),
			 .off = (v->first + slot) * HF_FRAME_SIZE};
	uint32_t ticket;
	int err;

	if (atomic_load(&v->dead))
		return fill_mapped(&f, -ESHUTDOWN);
	/* One volume's check must not hold up the touches of all the others. */
	if (!gate_try_enter(g, &ticket))
		return -EAGAIN;
	rwl_wrlock(&v->in->content);
	err = fill_locked(&f, write);
	rwl_wrunlock(&v->in->content);
	gate_leave(g, ticket);
	return err == -EAGAIN ? -EBUSY : err; /* a split that pins made wait */
}

int view_fill(struct view *v, uint64_t slot, bool write, uint64_t owner)
{
	uint64_t enough = write ? VIEW_MAPPED : VIEW_MAPPED | VIEW_ZEROS;
	int err;

	if (view_word(v, slot) & enough)
		return 0;
	err = fill_try(v, slot, write);
	if (err == -ENOSPC && view_holes_reclaim(v->fs))
		err = fill_try(v, slot, write);
	if (err == -EBUSY &&
	    pin_owned_by(v->in, view_slot_block(v, slot), HF_BLOCKS_PER_FRAME, owner) == 1)
		err = -EDEADLK;
	return err;
}

/* ---- in the caller's own thread */

int view_fill_wait(struct view *v, uint64_t slot, bool write)
{
	uint64_t begin = clock_mono_ns(), waited = 0;
	int err;

	for (;;) {
		struct waitq *pins = pin_changed(v->in);
		uint32_t pins_key = waitq_key(pins), gate_key = waitq_key(v->gate);

		err = view_fill(v, slot, write, pin_thread());
		if (err == -EAGAIN)
			waitq_wait(v->gate, gate_key, UINT64_MAX);
		else if (err == -EBUSY && waited < v->pin_wait_ns)
			waitq_wait(pins, pins_key, v->pin_wait_ns - waited);
		else
			break;
		waited = clock_mono_ns() - begin;
	}
	if (err == -EDEADLK)
		return err_set(-EBUSY,
			       "view: a page has to be moved to a frame of its own, and the "
			       "calling thread has pinned a part of it");
	if (err == -EBUSY)
		return err_set(err,
			       "view: a page has to be moved to a frame of its own, and a part "
			       "of it is pinned");
	return err;
}

/* ---- queued holes */

/* What cannot be freed now stays as zeros, which is as good; it is tried again only while there is
 * a view whose end would do that. */
static void holes_free(struct inode *in, bool force, fblk_t slot, const uint64_t mask[])
{
	uint64_t off = slot.v << HF_BLOCK_SHIFT;
	int err = 0;

	if (force) {
		rwl_wrlock(&in->layout);
		err = view_revoke(in, off, off + HF_FRAME_SIZE);
		rwl_wrunlock(&in->layout);
	}
	if (!err)
		err = resize_free_holes(in, slot, mask);
	if (!err || atomic_load(&in->nviews) == 0)
		view_hole_forget(in, slot, HF_BLOCKS_PER_FRAME);
}

void view_holes_run(struct inode *in, bool force)
{
	struct gate *g = &volume_of(in->fs)->gate;
	uint64_t mask[HF_BLOCKS_PER_FRAME / 64];
	fblk_t slot = FBLK(0);
	uint32_t ticket;

	if (atomic_load(&in->nholes) == 0)
		return;
	ticket = gate_enter(g);
	rwl_wrlock(&in->content);
	for (; view_hole_next(in, force, &slot, mask); slot.v += HF_BLOCKS_PER_FRAME)
		holes_free(in, force, slot, mask);
	rwl_wrunlock(&in->content);
	gate_leave(g, ticket);
}

bool view_holes_reclaim(struct fs *fs)
{
	struct view *v;
	bool any = false;

	for (uint64_t id = 0; (v = view_next(fs, NULL, id)) != NULL; view_leave(v)) {
		id = v->id;
		any = any || atomic_load(&v->in->nholes) > 0;
		view_holes_run(v->in, true);
	}
	return any;
}
