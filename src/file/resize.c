/* The one way to take blocks from a file: truncate, punch, collapse.
 *
 * Order: content lock, then what lies in the range leaves the map by one transaction under the
 * layout lock, together with the size; then the layout lock is dropped. What one transaction cannot
 * name is cut off as a subtree onto an orphan slot and freed later, without a lock (resize_finish,
 * or recovery).
 *
 *   1. RESIZE_REMOVE  the transaction names every block it frees
 *   2. RESIZE_CUT     -E2BIG: one entry is swapped, the old subtree hangs on an orphan slot
 *   3. piece by piece -ENOSPC: not even a block for a split or a new edge node. Truncate sets the
 * size first, and blocks beyond the end of file mean nothing; punch zeroes in place what could not
 * be taken out. A full volume can always be emptied.
 *
 * Zeroing a punch's edges is a change of file data: done after the commit, in place, fenced before
 * the return.
 *
 * Pins hold up nothing of that (how.h): blocks that leave while they are pinned are busy until the
 * last pin goes. -EAGAIN from the map is a pinned huge leaf that has to be split and has no counts
 * per block: they are made with no layout lock held, then the attempt is made again. Each turn
 * gives counts to at least one frame more.
 *
 * Views (rules T3 to T5): slots that lie wholly in the range are revoked before the commit. A huge
 * leaf that an edge of the range cuts and that a view maps is left whole, for its 2 MiB page cannot
 * be split under the view: its part of the range is zeroed in place after the commit, and
 * remembered (view_hole_queue) for when the last view lets go of it.
 */
#include "file/resize.h"
#include "file/batch.h"
#include "inode/orphan.h"
#include "pin/view.h"

struct resize_bytes {
	uint64_t from, to;
};

struct resize {
	struct inode *in;
	struct how *how;	       /* NULL: nobody is told, nobody waits */
	const struct hf_setattr *attr; /* applied by the same transaction; NULL: none */
	bool set_size;
	bool fence;    /* data was stored that has to be durable before the record */
	bool collapse; /* what follows them moves down */
	bool insert;   /* n blocks of hole come before 'first' */
	uint64_t size;
	fblk_t first; /* blocks that leave */
	uint64_t n;
	uint64_t zero_from, zero_to; /* bytes of inline content to be zeroed */
	/* of one attempt: */
	uint64_t lo, hi;	       /* blocks that leave, less what a view maps */
	struct resize_bytes spared[2]; /* what it maps: zeroed after the commit */
	unsigned nspared;
};

enum resize_way { RESIZE_REMOVE, RESIZE_CUT };

void resize_finish(struct fs *fs, struct resize_rest *rest, const struct how *h)
{
	if (!rest->has_subtree)
		return;
	rest->has_subtree = false;
	/* The operation is done and durable; what cannot be freed now is freed by the next mount.
	 */
	(void)orphan_free_subtree(fs, rest->slot, h ? h->ticket : 0);
}

/* ---- one transaction */

static int resize_cut_off(struct resize *r, struct inode_edit *e, struct resize_rest *rest)
{
	uint64_t entry;
	unsigned level;
	fblk_t at;
	int err;

	if (r->collapse)
		err = map_collapse(e, r->first, r->n, &entry, &level, &at);
	else
		err = map_cut(e, FMT_FORK_DATA, FBLK(r->lo), r->hi - r->lo, &entry, &level, &at);
	if (err || entry == 0)
		return err;
	orphan_set_subtree(e->in->fs, e->t, rest->slot, e->in->ino, e->in->gen, FMT_FORK_DATA,
			   level, at, entry);
	rest->has_subtree = true;
	return txn_error(e->t);
}

static void resize_attributes(const struct resize *r, struct inode_edit *e)
{
	uint64_t old = le64_get(e->img.size);
	int64_t now = inode_now_ns();

	if (le16_get(e->img.flags) & FMT_FLAG_INLINE) {
		/* Inline bytes beyond the end of file are zeros (I-FILE-3). */
		if (r->set_size && r->size < old)
			memset(e->img.inline_data + r->size, 0, FMT_INLINE_MAX - r->size);
		if (r->zero_to > r->zero_from)
			memset(e->img.inline_data + r->zero_from, 0, r->zero_to - r->zero_from);
	}
	if (r->set_size)
		e->img.size = le64_of(r->size);
	inode_edit_times(e, INODE_MTIME | INODE_CTIME, now);
	if (r->attr)
		setattr_apply(e, r->attr);
}

/* ---- views */

static bool resize_shifts(const struct resize *r)
{
	return r->collapse || r->insert;
}

static int resize_spare(struct resize *r, uint64_t first, uint64_t end)
{
	r->spared[r->nspared++] =
	    (struct resize_bytes){first << HF_BLOCK_SHIFT, end << HF_BLOCK_SHIFT};
	return view_hole_queue(r->in, FBLK(first), end - first);
}

/*
 *	slots   |-------|-------|-------|-------|      v  mapped by a view, as a huge page
 *	range      [vvvv         ......  vv)           v is zeroed later, the rest leaves: [lo, hi)
 */
static int resize_spare_edges(struct resize *r)
{
	const uint64_t slot = HF_BLOCKS_PER_FRAME;
	uint64_t at;
	int err = 0;

	if (r->lo < r->hi && r->lo % slot && view_maps(r->in, FBLK(r->lo))) {
		at = min_u64(round_up_u64(r->lo, slot), r->hi);
		err = resize_spare(r, r->lo, at);
		r->lo = at;
	}
	if (!err && r->lo < r->hi && r->hi % slot && view_maps(r->in, FBLK(r->hi))) {
		at = max_u64(r->hi - r->hi % slot, r->lo);
		err = resize_spare(r, at, r->hi);
		r->hi = at;
	}
	return err;
}

/* A page that shows the new end of file shows zeros behind it (rule T2). */
static void resize_spare_tail(struct resize *r)
{
	uint64_t end = round_up_u64(r->size, HF_FRAME_SIZE);

	if (r->size == end || !view_maps(r->in, data_block(r->size)))
		return;
	r->nspared = 1;
	r->spared[0] = (struct resize_bytes){r->size, end};
}

/* Layout exclusive, before the commit: what views show of the range is taken from them. */
static int resize_views(struct resize *r)
{
	struct inode *in = r->in;
	uint64_t from = UINT64_MAX, to, size = data_size(in);
	int err;

	r->lo = r->first.v;
	r->hi = r->first.v + r->n;
	r->nspared = 0;
	if (atomic_load_explicit(&in->nviews, memory_order_relaxed) == 0)
		return 0;
	if (resize_shifts(r))
		return view_revoke(in, r->first.v << HF_BLOCK_SHIFT, UINT64_MAX);
	err = resize_spare_edges(r);
	if (err)
		return err;
	if (r->set_size && r->size < size)
		resize_spare_tail(r);
	if (r->lo < r->hi)
		from = r->lo << HF_BLOCK_SHIFT;
	to = r->hi << HF_BLOCK_SHIFT;
	if (r->set_size) {
		from = min_u64(from, round_up_u64(min_u64(r->size, size), HF_FRAME_SIZE));
		to = UINT64_MAX;
	}
	return from < to ? view_revoke(in, from, to) : 0;
}

/* What leaves, or moves, is no hole that a view keeps any more; and if it came to nothing, what was
 * spared is none either. */
static void resize_forget_holes(struct resize *r, int err)
{
	if (atomic_load_explicit(&r->in->nholes, memory_order_relaxed) == 0)
		return;
	for (unsigned i = 0; i < r->nspared && err; i++)
		view_hole_forget(r->in, data_block_up(r->spared[i].from),
				 data_block(r->spared[i].to).v -
				     data_block_up(r->spared[i].from).v);
	if (!err && resize_shifts(r))
		view_hole_forget(r->in, r->first, FILE_BLOCKS_MAX - r->first.v);
	else if (!err && r->lo < r->hi)
		view_hole_forget(r->in, FBLK(r->lo), r->hi - r->lo);
}

static int resize_zero_spared(struct resize *r)
{
	bool any = false;
	int err = 0;

	for (unsigned i = 0; i < r->nspared && !err; i++)
		err = data_zero(r->in, r->spared[i].from, r->spared[i].to, &any);
	return !err && any ? data_fence(r->in) : err;
}

/* ---- an attempt */

/* Layout exclusive. */
static int resize_edit(struct resize *r, enum resize_way way, struct txn *t,
		       struct resize_rest *rest)
{
	struct inode_edit e;
	int err;

	err = how_gather(r->how, r->in);
	if (!err)
		err = resize_views(r);
	if (err)
		return err;
	inode_edit_begin(&e, r->in, t);
	if (r->insert)
		err = map_shift(&e, r->first, FBLK(r->first.v + r->n));
	else if (r->lo < r->hi && way == RESIZE_REMOVE)
		err = map_remove(&e, FMT_FORK_DATA, FBLK(r->lo), r->hi - r->lo);
	else if (r->lo < r->hi)
		err = resize_cut_off(r, &e, rest);
	if (err)
		return err;
	resize_attributes(r, &e);
	inode_edit_end(&e);
	return 0;
}

static int resize_commit(struct resize *r, enum resize_way way, struct resize_rest *rest)
{
	struct txn *t = txn_begin(r->in->fs->journal);
	int err;

	if (!t)
		return -ENOMEM;
	txn_set_ticket(t, r->how ? r->how->ticket : 0);
	if (r->fence)
		txn_fence_first(t);
	if (!how_holds(r->how))
		rwl_wrlock(&r->in->layout);
	err = inode_seal(r->in);
	if (!err)
		err = resize_edit(r, way, t, rest);
	if (err)
		txn_abort(t);
	else
		err = txn_commit(t, NULL);
	resize_forget_holes(r, err);
	if (!how_holds(r->how))
		rwl_wrunlock(&r->in->layout);
	return err;
}

static int resize_attempt(struct resize *r, enum resize_way way, struct resize_rest *rest)
{
	int err = resize_commit(r, way, rest);

	/* Where pins are refused none can have come since. */
	while (err == -EAGAIN && !how_holds(r->how)) {
		err = map_pin_counts(r->in, r->first, r->n, resize_shifts(r));
		if (!err)
			err = resize_commit(r, way, rest);
	}
	if (err)
		return err;
	if (r->how)
		r->how->settled = true;
	return resize_zero_spared(r);
}

/* The slot is taken before the layout lock where that is not held anyway: the orphan table may have
 * to grow. A transaction that fails after it has set the slot gives it back itself.
 */
static int resize_cut(struct resize *r, struct resize_rest *rest)
{
	struct fs *fs = r->in->fs;
	int err = orphan_reserve(fs, &rest->slot);

	if (err)
		return err;
	err = resize_attempt(r, RESIZE_CUT, rest);
	if (!rest->has_subtree)
		orphan_unreserve(fs, rest->slot);
	if (err)
		rest->has_subtree = false;
	return err;
}

static int resize_run(struct resize *r, struct resize_rest *rest)
{
	int err = resize_attempt(r, RESIZE_REMOVE, rest);

	return err == -E2BIG ? resize_cut(r, rest) : err;
}

/* ---- piece by piece, on a full volume: only whole slots and slots of single blocks can be taken
 * out, for neither needs a new node. *left: something stayed. */
static int resize_pieces(struct inode *in, fblk_t first, fblk_t end, struct how *h, bool *left)
{
	struct resize_rest none = {0};
	struct resize r = {.in = in, .how = h};
	fblk_t at = first;
	int err;

	*left = false;
	for (;;) {
		err = map_seek(in, FMT_FORK_DATA, at, end, true, &at);
		if (err || at.v == end.v)
			return err;
		r.first = at;
		r.n = min_u64(end.v - at.v, HF_BLOCKS_PER_FRAME - at.v % HF_BLOCKS_PER_FRAME);
		err = resize_attempt(&r, RESIZE_REMOVE, &none);
		if (err == -ENOSPC)
			*left = true;
		else if (err)
			return err;
		at.v += r.n;
	}
}

/* ---- size */

/* The block that the new end of file cuts stays. Who refuses pins minds one in it all the same, for
 * it loses bytes. */
static int resize_begin_truncate(const struct resize *r)
{
	struct how_range leaves = {r->first, r->n}, touched = leaves;

	if (!data_is_unmapped(r->in) && r->size < data_size(r->in))
		touched = resize_moves(r->size);
	return how_begin(r->how, r->in, touched, leaves);
}

static int resize_truncate(struct inode *in, uint64_t size, const struct hf_setattr *attr,
			   struct how *h, struct resize_rest *rest)
{
	struct resize r = {
	    .in = in,
	    .how = h,
	    .attr = attr,
	    .set_size = true,
	    .size = size,
	    .first = data_block_up(size),
	};
	bool left;
	int err;

	if (!data_is_unmapped(in))
		r.n = FILE_BLOCKS_MAX - r.first.v;
	err = resize_begin_truncate(&r);
	if (!err)
		err = resize_run(&r, rest);
	if (err != -ENOSPC || r.n == 0)
		return err;
	r.n = 0;
	err = resize_attempt(&r, RESIZE_REMOVE, rest);
	return err ? err : resize_pieces(in, r.first, FBLK(FILE_BLOCKS_MAX), h, &left);
}

int resize_outgrow_inline(struct inode *in)
{
	struct batch b;
	int ret;

	batch_begin(&b, in, BATCH_RUNS);
	ret = batch_outgrow_inline(&b);
	if (ret == 0)
		return batch_commit(&b, 0);
	batch_abort(&b);
	return ret;
}

int resize_grow(struct inode *in, uint64_t size, const struct hf_setattr *attr)
{
	struct resize r = {.in = in, .attr = attr, .set_size = true, .size = size};
	struct resize_rest none = {0};
	int err = 0;

	if (data_is_inline(in) && size > FMT_INLINE_MAX)
		err = resize_outgrow_inline(in);
	if (!err)
		err = data_zero(in, data_size(in), size, &r.fence);
	return err ? err : resize_attempt(&r, RESIZE_REMOVE, &none);
}

static int resize_size_gated(struct inode *in, uint64_t size, const struct hf_setattr *attr,
			     struct how *h)
{
	struct gate *g = &volume_of(in->fs)->gate;
	struct resize_rest rest = {0};
	uint32_t ticket = gate_enter(g);
	int err;

	rwl_wrlock(&in->content);
	if (atomic_load_explicit(&in->dead, memory_order_relaxed))
		err = -ESTALE;
	else if (size > data_size(in))
		err = resize_grow(in, size, attr);
	else
		err = resize_truncate(in, size, attr, h, &rest);
	how_end(h);
	rwl_wrunlock(&in->content);
	resize_finish(in->fs, &rest, h);
	gate_leave(g, ticket);
	return err;
}

int resize_set_size(struct inode *in, uint64_t size, const struct hf_setattr *attr,
		    const struct hf_how *how)
{
	struct how h;
	int err = how_open(&h, in->fs, how);

	if (err)
		return err;
	if (size < data_size(in))
		err = how_ask(&h, in, resize_moves(size));
	if (!err)
		err = resize_size_gated(in, size, attr, &h);
	return how_close(&h, err);
}

/* ---- holes */

struct how_range resize_moves(uint64_t off)
{
	fblk_t first = data_block(off);

	return (struct how_range){first, FILE_BLOCKS_MAX - first.v};
}

/*
 *	blocks   |.......|.......|.......|.......|
 *	range        [zzz wwwwwww wwwwwww zz)           w leaves the map, z is zeroed in place
 *	range          [zz)                             no whole block: only zeroes
 *	range        [zzz wwwwwww wwwwwww ww)           the end of file is in the last block: it
 *leaves
 */
static struct how_range resize_leaves(struct inode *in, uint64_t off, uint64_t end)
{
	fblk_t first = data_block_up(off),
	       last = end >= data_size(in) ? data_block_up(end) : data_block(end);

	return (struct how_range){first, last.v > first.v ? last.v - first.v : 0};
}

/* What leaves, and what is zeroed: where there is something to be seen. */
struct how_range resize_touches(struct inode *in, uint64_t off, uint64_t end)
{
	struct how_range r = resize_leaves(in, off, end);
	uint64_t visible = min_u64(end, data_size(in)), last = r.first.v + r.n;

	if (off >= visible)
		return r;
	last = max_u64(r.n ? last : 0, data_block_up(visible).v);
	return (struct how_range){data_block(off), last - data_block(off).v};
}

static int resize_punch_inline(struct inode *in, uint64_t off, uint64_t end)
{
	struct resize r = {.in = in,
			   .zero_from = min_u64(off, FMT_INLINE_MAX),
			   .zero_to = min_u64(end, FMT_INLINE_MAX)};
	struct resize_rest none = {0};

	return resize_attempt(&r, RESIZE_REMOVE, &none);
}

/* Whole blocks leave. *left: some did not and are to be zeroed. */
static int resize_punch_blocks(struct inode *in, struct how_range b, struct how *h,
			       struct resize_rest *rest, bool *left)
{
	struct resize r = {.in = in, .how = h, .first = b.first, .n = b.n};
	fblk_t last = FBLK(b.first.v + b.n), data;
	int err = map_seek(in, FMT_FORK_DATA, b.first, last, true, &data);

	*left = false;
	if (err || data.v == last.v)
		return err;
	err = resize_run(&r, rest);
	return err == -ENOSPC ? resize_pieces(in, b.first, last, h, left) : err;
}

/* What does not leave: all of it, or the range's edges. */
static int resize_punch_zero(struct inode *in, uint64_t off, uint64_t visible, struct how_range b)
{
	uint64_t last = (b.first.v + b.n) << HF_BLOCK_SHIFT;
	bool zeroed = false;
	int err;

	if (b.n == 0) {
		err = data_zero(in, off, visible, &zeroed);
	} else {
		err = data_zero(in, off, min_u64(b.first.v << HF_BLOCK_SHIFT, visible), &zeroed);
		if (!err)
			err = data_zero(in, last, visible, &zeroed);
	}
	return !err && zeroed ? data_fence(in) : err;
}

int resize_punch(struct inode *in, uint64_t off, uint64_t end, struct how *h,
		 struct resize_rest *rest)
{
	uint64_t visible = min_u64(end, data_size(in));
	struct how_range b = resize_leaves(in, off, end);
	bool left = false;
	int err;

	if (data_is_inline(in))
		return resize_punch_inline(in, off, end);
	err = how_begin(h, in, resize_touches(in, off, end), b);
	if (!err && b.n)
		err = resize_punch_blocks(in, b, h, rest, &left);
	if (left)
		b.n = 0;
	if (!err)
		err = resize_punch_zero(in, off, visible, b);
	if (!err)
		inode_touch(in, INODE_MTIME | INODE_CTIME, inode_now_ns());
	return err;
}

/* ---- shifts: the file is never seen half-shifted. -EFBIG: its map is too scattered for one
 * record. */

int resize_collapse(struct inode *in, uint64_t off, uint64_t len, struct how *h,
		    struct resize_rest *rest)
{
	struct resize r = {
	    .in = in,
	    .how = h,
	    .set_size = true,
	    .size = data_size(in) - len,
	    .first = data_block(off),
	    .n = len >> HF_BLOCK_SHIFT,
	    .collapse = true,
	};
	int err = how_begin(h, in, resize_moves(off), (struct how_range){r.first, r.n});

	return err ? err : resize_cut(&r, rest);
}

int resize_insert(struct inode *in, uint64_t off, uint64_t len, struct how *h)
{
	struct resize_rest none = {0};
	struct resize r = {
	    .in = in,
	    .how = h,
	    .set_size = true,
	    .size = data_size(in) + len,
	    .first = data_block(off),
	    .n = len >> HF_BLOCK_SHIFT,
	    .insert = true,
	};
	int err = data_is_inline(in) ? resize_outgrow_inline(in) : 0;

	if (!err)
		err = how_begin(h, in, resize_moves(off), (struct how_range){r.first, 0});
	return err ? err : resize_attempt(&r, RESIZE_REMOVE, &none);
}

/* ---- the calls */

HF_API int hf_ftruncate_how(hf_file *file, uint64_t size, const struct hf_how *how)
{
	const struct hf_setattr attr = {.set = HF_SET_SIZE, .size = size};
	int err = enter_file_change(file);

	return err ? err : (int)enter_leave(setattr_inode(file->in, &attr, how), "ftruncate");
}

HF_API int hf_ftruncate(hf_file *file, uint64_t size)
{
	return hf_ftruncate_how(file, size, NULL);
}
