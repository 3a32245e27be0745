/* fallocate(2): what gives blocks is here, what takes them is in resize.c. */
#include "file/batch.h"
#include "file/resize.h"
#include "pin/view.h"
#include "file/view_fill.h"

#include <linux/falloc.h>

/* ---- allocation: holes of [off, end) get zeroed blocks. They come in batches that change nothing
 * that can be seen; the size is set by the last. After a failure blocks that were mapped stay:
 * zeros where there was a hole. */

struct alloc {
	struct inode *in;
	fblk_t at, end;
	uint64_t visible; /* the end of file afterwards: nothing behind it needs zeroing */
};

static int alloc_zero(struct alloc *a, const struct batch_run *run)
{
	uint64_t off = run->at.v << HF_BLOCK_SHIFT, bytes = run->n << HF_BLOCK_SHIFT;
	moff_t to = mblk_to_moff(run->blk);
	int err;

	if (off >= a->visible)
		return 0;
	err = pm_guarded_zero_nt(a->in->fs->pm, to, min_u64(bytes, a->visible - off));
	if (err == -EIO && data_clear_bad(a->in->fs->pm, to, bytes))
		err = pm_guarded_zero_nt(a->in->fs->pm, to, min_u64(bytes, a->visible - off));
	return err;
}

static int alloc_step(struct alloc *a, struct batch *b)
{
	struct batch_run run;
	struct map_extent x;
	int ret = map_lookup(a->in, FMT_FORK_DATA, a->at, a->end.v - a->at.v, &x);

	if (ret)
		return ret;
	if (!mblk_is_null(x.blk)) {
		a->at.v += x.n;
		return 0;
	}
	ret = batch_alloc(b, a->at, x.n, &run);
	if (ret == BATCH_OK) {
		ret = alloc_zero(a, &run);
		a->at.v += run.n;
	}
	return ret;
}

/* Nothing to journal: bytes may have been zeroed in place. */
static int alloc_nothing(struct alloc *a, struct batch *b)
{
	int err;

	batch_abort(b);
	err = data_fence(a->in);
	if (!err)
		inode_touch(a->in, INODE_MTIME | INODE_CTIME, inode_now_ns());
	return err;
}

static int alloc_batch(struct alloc *a, unsigned max_runs)
{
	struct batch b;
	int ret = 0;

	batch_begin(&b, a->in, max_runs);
	while (ret == 0 && a->at.v < a->end.v)
		ret = alloc_step(a, &b);
	if (ret < 0) {
		batch_abort(&b);
		return ret;
	}
	if (b.nruns == 0 && a->visible <= data_size(a->in))
		return alloc_nothing(a, &b);
	return batch_commit(&b, a->at.v < a->end.v ? 0 : a->visible);
}

int alloc_range(struct inode *in, uint64_t off, uint64_t end, uint64_t visible)
{
	struct alloc a = {
	    .in = in, .at = data_block(off), .end = data_block_up(end), .visible = visible};
	int err = 0;

	while (!err && a.at.v < a.end.v) {
		fblk_t begin = a.at;

		err = alloc_batch(&a, BATCH_RUNS);
		if (err == -E2BIG) {
			a.at = begin;
			err = alloc_batch(&a, BATCH_RUNS_RETRY);
		}
	}
	return err;
}

int alloc_check_space(struct inode *in, uint64_t off, uint64_t end)
{
	fblk_t at = data_block(off), last = data_block_up(end);
	struct space_stat st;
	struct map_extent x;
	uint64_t holes = 0;
	int err;

	if (last.v - at.v < HF_BLOCKS_PER_FRAME)
		return 0;
	for (; at.v < last.v; at.v += x.n) {
		err = map_lookup(in, FMT_FORK_DATA, at, last.v - at.v, &x);
		if (err)
			return err;
		if (mblk_is_null(x.blk))
			holes += x.n;
	}
	space_stat(in->fs->space, &st);
	if (holes > st.free + st.busy_journal + st.pending)
		return err_set(-ENOSPC, "%llu blocks asked for, %llu are free",
			       (unsigned long long)holes, (unsigned long long)st.free);
	return 0;
}

static struct how_range fallocate_zeroes(struct inode *in, uint64_t off, uint64_t end)
{
	uint64_t visible = min_u64(end, data_size(in));
	fblk_t first = data_block(off);

	return (struct how_range){first, off < visible ? data_block_up(visible).v - first.v : 0};
}

/* Tiny files without a block of their own. */
static int fallocate_inline(struct inode *in, uint64_t off, uint64_t end, uint64_t size, bool zero,
			    struct how *h)
{
	struct resize_rest none = {0};
	int err = 0;

	if (zero)
		err = resize_punch(in, off, end, h, &none);
	how_end(h);
	return !err && size > data_size(in) ? resize_grow(in, size, NULL) : err;
}

/* Zeroing detaches nothing: pins matter only to who refuses them. */
static int fallocate_zero(struct inode *in, uint64_t off, uint64_t end, struct how *h)
{
	const struct how_range none = {FBLK(0), 0};
	int err = how_begin(h, in, fallocate_zeroes(in, off, end), none);

	if (!err)
		err = data_zero(in, off, min_u64(end, data_size(in)), NULL);
	how_end(h);
	return err;
}

/* zero: bytes that are mapped already become zeros. */
static int fallocate_alloc(struct inode *in, uint64_t off, uint64_t end, bool keep, bool zero,
			   struct how *h)
{
	uint64_t size = data_size(in), visible = keep ? size : max_u64(size, end);
	int err = 0;

	if ((data_is_inline(in) || data_is_unmapped(in)) && max_u64(size, end) <= FMT_INLINE_MAX)
		return fallocate_inline(in, off, end, visible, zero, h);
	err = alloc_check_space(in, off, end);
	if (!err && data_is_inline(in))
		err = resize_outgrow_inline(in);
	if (!err && zero)
		err = fallocate_zero(in, off, end, h);
	if (!err)
		view_hole_forget(in, data_block(off), data_block_up(end).v - data_block(off).v);
	if (!err && visible > size)
		err = data_zero(in, size, visible, NULL);
	return err ? err : alloc_range(in, off, end, visible);
}

/* ---- the call */

static int fallocate_collapse(struct inode *in, uint64_t off, uint64_t len, struct how *h,
			      struct resize_rest *rest)
{
	if (off % HF_BLOCK_SIZE || len % HF_BLOCK_SIZE)
		return err_set(-EINVAL,
			       "fallocate: ranges to collapse or insert are multiples of %u",
			       HF_BLOCK_SIZE);
	if (off + len >= data_size(in))
		return err_set(-EINVAL, "fallocate: a range that reaches the end of file cannot be "
					"collapsed: truncate");
	return resize_collapse(in, off, len, h, rest);
}

static int fallocate_insert(struct inode *in, uint64_t off, uint64_t len, struct how *h)
{
	if (off % HF_BLOCK_SIZE || len % HF_BLOCK_SIZE)
		return err_set(-EINVAL,
			       "fallocate: ranges to collapse or insert are multiples of %u",
			       HF_BLOCK_SIZE);
	if (off >= data_size(in))
		return err_set(
		    -EINVAL,
		    "fallocate: a range cannot be inserted at or beyond the end of file: truncate");
	if (len > FILE_SIZE_MAX - data_size(in))
		return -EFBIG;
	return resize_insert(in, off, len, h);
}

static int fallocate_locked(struct inode *in, int mode, uint64_t off, uint64_t len, struct how *h,
			    struct resize_rest *rest)
{
	bool keep = (mode & FALLOC_FL_KEEP_SIZE) != 0;

	switch (mode & ~FALLOC_FL_KEEP_SIZE) {
	case 0:
		return fallocate_alloc(in, off, off + len, keep, false, h);
	case FALLOC_FL_ZERO_RANGE:
		return fallocate_alloc(in, off, off + len, keep, true, h);
	case FALLOC_FL_PUNCH_HOLE:
		return resize_punch(in, off, off + len, h, rest);
	case FALLOC_FL_COLLAPSE_RANGE:
		return fallocate_collapse(in, off, len, h, rest);
	default:
		return fallocate_insert(in, off, len, h);
	}
}

/* What HF_PINNED_FAIL will look at, as it is now. */
static struct how_range fallocate_touches(struct inode *in, int mode, uint64_t off, uint64_t len)
{
	switch (mode & ~FALLOC_FL_KEEP_SIZE) {
	case 0:
		return (struct how_range){FBLK(0), 0};
	case FALLOC_FL_ZERO_RANGE:
		return fallocate_zeroes(in, off, off + len);
	case FALLOC_FL_PUNCH_HOLE:
		return resize_touches(in, off, off + len);
	default:
		return resize_moves(off);
	}
}

static int fallocate_check(int mode, uint64_t off, uint64_t len)
{
	int what = mode & ~FALLOC_FL_KEEP_SIZE;
	bool keep = (mode & FALLOC_FL_KEEP_SIZE) != 0;

	if (what != 0 && what != FALLOC_FL_ZERO_RANGE && what != FALLOC_FL_PUNCH_HOLE &&
	    what != FALLOC_FL_COLLAPSE_RANGE && what != FALLOC_FL_INSERT_RANGE)
		return err_set(-EOPNOTSUPP, "fallocate: mode %#x", (unsigned)mode);
	if (what == FALLOC_FL_PUNCH_HOLE && !keep)
		return err_set(-EOPNOTSUPP,
			       "fallocate: FALLOC_FL_PUNCH_HOLE goes with FALLOC_FL_KEEP_SIZE");
	if ((what == FALLOC_FL_COLLAPSE_RANGE || what == FALLOC_FL_INSERT_RANGE) && keep)
		return err_set(-EINVAL, "fallocate: a shift does not go with FALLOC_FL_KEEP_SIZE");
	if (len == 0)
		return err_set(-EINVAL, "fallocate: the range is empty");
	if (off > FILE_SIZE_MAX || len > FILE_SIZE_MAX - off)
		return err_set(-EFBIG, "fallocate: a file has at most %llu bytes",
			       (unsigned long long)FILE_SIZE_MAX);
	return 0;
}

static int fallocate_once(struct hf_file *file, int mode, uint64_t off, uint64_t len, struct how *h)
{
	struct resize_rest rest = {0};
	struct inode *in = file->in;
	uint32_t ticket = gate_enter(&file->vol->gate);
	int err;

	rwl_wrlock(&in->content);
	err = fallocate_locked(in, mode, off, len, h, &rest);
	how_end(h);
	rwl_wrunlock(&in->content);
	resize_finish(in->fs, &rest, h);
	gate_leave(&file->vol->gate, ticket);
	return err;
}

/* When nothing is free, holes that views keep are given back first (rule T3). */
static int fallocate_gated(struct hf_file *file, int mode, uint64_t off, uint64_t len,
			   struct how *h)
{
	const int takes = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_INSERT_RANGE;
	int err = fallocate_once(file, mode, off, len, h);

	if (err == -ENOSPC && !(mode & takes) && view_holes_reclaim(file->in->fs))
		err = fallocate_once(file, mode, off, len, h);
	return err;
}

HF_API int hf_fallocate_how(hf_file *file, int mode, uint64_t off, uint64_t len,
			    const struct hf_how *how)
{
	struct how h;
	int err = enter_file_change(file);

	if (!err)
		err = fallocate_check(mode, off, len);
	if (err)
		return err;
	err = how_open(&h, &file->vol->fs, how);
	if (err)
		return (int)enter_leave(err, "fallocate");
	err = how_ask(&h, file->in, fallocate_touches(file->in, mode, off, len));
	if (!err)
		err = fallocate_gated(file, mode, off, len, &h);
	return (int)enter_leave(how_close(&h, err), "fallocate");
}

HF_API int hf_fallocate(hf_file *file, int mode, uint64_t off, uint64_t len)
{
	return hf_fallocate_how(file, mode, off, len, NULL);
}
