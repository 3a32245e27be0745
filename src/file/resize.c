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
 */
#include "file/resize.h"
#include "file/batch.h"
#include "inode/orphan.h"

struct resize {
	struct inode *in;
	const struct hf_setattr *attr; /* applied by the same transaction; NULL: none */
	bool set_size;
	bool fence;    /* data was stored that has to be durable before the record */
	bool collapse; /* what follows them moves down */
	bool insert;   /* n blocks of hole come before 'first' */
	uint64_t size;
	fblk_t first; /* blocks that leave */
	uint64_t n;
	uint64_t zero_from, zero_to; /* bytes of inline content to be zeroed */
};

enum resize_how { RESIZE_REMOVE, RESIZE_CUT };

void resize_finish(struct fs *fs, struct resize_rest *rest)
{
	if (!rest->has_subtree)
		return;
	rest->has_subtree = false;
	/* The operation is done and durable; what cannot be freed now is freed by the next mount.
	 */
	(void)orphan_free_subtree(fs, rest->slot, 0);
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
		err = map_cut(e, FMT_FORK_DATA, r->first, r->n, &entry, &level, &at);
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

/* Layout exclusive. */
static int resize_edit(struct resize *r, enum resize_how how, struct txn *t,
		       struct resize_rest *rest)
{
	struct inode_edit e;
	int err = 0;

	inode_edit_begin(&e, r->in, t);
	if (r->insert)
		err = map_shift(&e, r->first, FBLK(r->first.v + r->n));
	else if (r->n && how == RESIZE_REMOVE)
		err = map_remove(&e, FMT_FORK_DATA, r->first, r->n);
	else if (r->n)
		err = resize_cut_off(r, &e, rest);
	if (err)
		return err;
	resize_attributes(r, &e);
	inode_edit_end(&e);
	return 0;
}

static int resize_attempt(struct resize *r, enum resize_how how, struct resize_rest *rest)
{
	struct inode *in = r->in;
	struct txn *t = txn_begin(in->fs->journal);
	int err;

	if (!t)
		return -ENOMEM;
	if (r->fence)
		txn_fence_first(t);
	rwl_wrlock(&in->layout);
	err = resize_edit(r, how, t, rest);
	if (err)
		txn_abort(t);
	else
		err = txn_commit(t, NULL);
	rwl_wrunlock(&in->layout);
	return err;
}

/* The slot is taken before the layout lock: the orphan table may have to grow, and it is an inode
 * with a smaller number. A transaction that fails after it has set the slot gives it back itself.
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
static int resize_pieces(struct inode *in, fblk_t first, fblk_t end, bool *left)
{
	struct resize_rest none = {0};
	struct resize r = {.in = in};
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

static int resize_truncate(struct inode *in, uint64_t size, const struct hf_setattr *attr,
			   struct resize_rest *rest)
{
	struct resize r = {
	    .in = in, .attr = attr, .set_size = true, .size = size, .first = data_block_up(size)};
	bool left;
	int err;

	if (!data_is_unmapped(in))
		r.n = FILE_BLOCKS_MAX - r.first.v;
	err = resize_run(&r, rest);
	if (err != -ENOSPC || r.n == 0)
		return err;
	r.n = 0;
	err = resize_attempt(&r, RESIZE_REMOVE, rest);
	return err ? err : resize_pieces(in, r.first, FBLK(FILE_BLOCKS_MAX), &left);
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

int resize_set_size(struct inode *in, uint64_t size, const struct hf_setattr *attr)
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
		err = resize_truncate(in, size, attr, &rest);
	rwl_wrunlock(&in->content);
	resize_finish(in->fs, &rest);
	gate_leave(g, ticket);
	return err;
}

/* ---- holes */

static int resize_punch_inline(struct inode *in, uint64_t off, uint64_t end)
{
	struct resize r = {.in = in,
			   .zero_from = min_u64(off, FMT_INLINE_MAX),
			   .zero_to = min_u64(end, FMT_INLINE_MAX)};
	struct resize_rest none = {0};

	return resize_attempt(&r, RESIZE_REMOVE, &none);
}

/* Whole blocks [first, last) leave. *left: some did not and are to be zeroed. */
static int resize_punch_blocks(struct inode *in, fblk_t first, fblk_t last,
			       struct resize_rest *rest, bool *left)
{
	struct resize r = {.in = in, .first = first, .n = last.v - first.v};
	fblk_t data;
	int err = map_seek(in, FMT_FORK_DATA, first, last, true, &data);

	*left = false;
	if (err || data.v == last.v)
		return err;
	err = resize_run(&r, rest);
	return err == -ENOSPC ? resize_pieces(in, first, last, left) : err;
}

/*
 *	blocks   |.......|.......|.......|.......|
 *	range        [zzz wwwwwww wwwwwww zz)           w leaves the map, z is zeroed in place
 *	range          [zz)                             no whole block: only zeroes
 *	range        [zzz wwwwwww wwwwwww ww)           the end of file is in the last block: it
 *leaves as well
 */
int resize_punch(struct inode *in, uint64_t off, uint64_t end, struct resize_rest *rest)
{
	uint64_t size = data_size(in), visible = min_u64(end, size);
	fblk_t first = data_block_up(off),
	       last = end >= size ? data_block_up(end) : data_block(end);
	bool left = false, zeroed = false;
	int err = 0;

	if (data_is_inline(in))
		return resize_punch_inline(in, off, end);
	if (last.v > first.v)
		err = resize_punch_blocks(in, first, last, rest, &left);
	if (err)
		return err;
	if (left || last.v <= first.v) {
		err = data_zero(in, off, visible, &zeroed);
	} else {
		err = data_zero(in, off, min_u64(first.v << HF_BLOCK_SHIFT, visible), &zeroed);
		if (!err)
			err = data_zero(in, last.v << HF_BLOCK_SHIFT, visible, &zeroed);
	}
	if (!err && zeroed)
		err = data_fence(in);
	if (!err)
		inode_touch(in, INODE_MTIME | INODE_CTIME, inode_now_ns());
	return err;
}

/* ---- shifts: the file is never seen half-shifted. -EFBIG: its map is too scattered for one
 * record. */

int resize_collapse(struct inode *in, uint64_t off, uint64_t len, struct resize_rest *rest)
{
	struct resize r = {
	    .in = in,
	    .set_size = true,
	    .size = data_size(in) - len,
	    .first = data_block(off),
	    .n = len >> HF_BLOCK_SHIFT,
	    .collapse = true,
	};

	return resize_cut(&r, rest);
}

int resize_insert(struct inode *in, uint64_t off, uint64_t len)
{
	struct resize_rest none = {0};
	struct resize r = {
	    .in = in,
	    .set_size = true,
	    .size = data_size(in) + len,
	    .first = data_block(off),
	    .n = len >> HF_BLOCK_SHIFT,
	    .insert = true,
	};
	int err = data_is_inline(in) ? resize_outgrow_inline(in) : 0;

	return err ? err : resize_attempt(&r, RESIZE_REMOVE, &none);
}

HF_API int hf_ftruncate(hf_file *file, uint64_t size)
{
	const struct hf_setattr attr = {.set = HF_SET_SIZE, .size = size};
	int err = enter_file_change(file);

	return err ? err : (int)enter_leave(setattr_inode(file->in, &attr), "ftruncate");
}
