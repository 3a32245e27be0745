/* fallocate(2): what gives blocks is here, what takes them is in resize.c. */
#include "file/batch.h"
#include "file/resize.h"

#include <linux/falloc.h>

/* ---- allocation: holes of [off, end) get zeroed blocks. They come in batches that change nothing
 * that can be seen; the size is set by the last. After a failure blocks that were mapped stay:
 * zeros where there was a hole. */

struct alloc {
	struct inode *in;
	fblk_t at, end;
	uint64_t visible; /* the end of file afterwards: nothing behind it needs zeroing */
};

static void alloc_zero(struct alloc *a, const struct batch_run *run)
{
	uint64_t off = run->at.v << HF_BLOCK_SHIFT;

	if (off < a->visible)
		pm_zero_nt(a->in->fs->pm, mblk_to_moff(run->blk),
			   min_u64(run->n << HF_BLOCK_SHIFT, a->visible - off));
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
		alloc_zero(a, &run);
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

static int alloc_range(struct inode *in, uint64_t off, uint64_t end, uint64_t visible)
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

/* A request that cannot be met is refused before it takes what there is. */
static int alloc_check_space(struct inode *in, uint64_t off, uint64_t end)
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
		return err_set(-ENOSPC, "fallocate: %llu blocks asked for, %llu are free",
			       (unsigned long long)holes, (unsigned long long)st.free);
	return 0;
}

/* zero: bytes that are mapped already become zeros. */
static int fallocate_alloc(struct inode *in, uint64_t off, uint64_t end, bool keep, bool zero,
			   struct resize_rest *rest)
{
	uint64_t size = data_size(in), visible = keep ? size : max_u64(size, end);
	int err = 0;

	if ((data_is_inline(in) || data_is_unmapped(in)) && max_u64(size, end) <= FMT_INLINE_MAX) {
		if (zero)
			err = resize_punch(in, off, end, rest);
		return !err && visible > size ? resize_grow(in, visible, NULL) : err;
	}
	err = alloc_check_space(in, off, end);
	if (!err && data_is_inline(in))
		err = resize_outgrow_inline(in);
	if (!err && zero)
		err = data_zero(in, off, min_u64(end, size), NULL);
	if (!err && visible > size)
		err = data_zero(in, size, visible, NULL);
	return err ? err : alloc_range(in, off, end, visible);
}

/* ---- the call */

static int fallocate_collapse(struct inode *in, uint64_t off, uint64_t len,
			      struct resize_rest *rest)
{
	if (off % HF_BLOCK_SIZE || len % HF_BLOCK_SIZE)
		return err_set(-EINVAL,
			       "fallocate: ranges to collapse or insert are multiples of %u",
			       HF_BLOCK_SIZE);
	if (off + len >= data_size(in))
		return err_set(-EINVAL, "fallocate: a range that reaches the end of file cannot be "
					"collapsed: truncate");
	return resize_collapse(in, off, len, rest);
}

static int fallocate_insert(struct inode *in, uint64_t off, uint64_t len)
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
	return resize_insert(in, off, len);
}

static int fallocate_locked(struct inode *in, int mode, uint64_t off, uint64_t len,
			    struct resize_rest *rest)
{
	bool keep = (mode & FALLOC_FL_KEEP_SIZE) != 0;

	switch (mode & ~FALLOC_FL_KEEP_SIZE) {
	case 0:
		return fallocate_alloc(in, off, off + len, keep, false, rest);
	case FALLOC_FL_ZERO_RANGE:
		return fallocate_alloc(in, off, off + len, keep, true, rest);
	case FALLOC_FL_PUNCH_HOLE:
		return resize_punch(in, off, off + len, rest);
	case FALLOC_FL_COLLAPSE_RANGE:
		return fallocate_collapse(in, off, len, rest);
	default:
		return fallocate_insert(in, off, len);
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

HF_API int hf_fallocate(hf_file *file, int mode, uint64_t off, uint64_t len)
{
	struct resize_rest rest = {0};
	uint32_t ticket;
	int err = enter_file_change(file);

	if (!err)
		err = fallocate_check(mode, off, len);
	if (err)
		return err;
	ticket = gate_enter(&file->vol->gate);
	rwl_wrlock(&file->in->content);
	err = fallocate_locked(file->in, mode, off, len, &rest);
	rwl_wrunlock(&file->in->content);
	resize_finish(file->in->fs, &rest);
	gate_leave(&file->vol->gate, ticket);
	return (int)enter_leave(err, "fallocate");
}
