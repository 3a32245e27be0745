#include "file/batch.h"
#include "pin/view.h"

/* Bytes of the record that mapping may take beside the entries: new nodes and the root, and the
 * inode's words. */
#define BATCH_ROOM_NODES 160u
#define BATCH_ROOM_INODE 1536u

void batch_begin(struct batch *b, struct inode *in, unsigned max_runs)
{
	b->in = in;
	b->t = NULL;
	b->nruns = 0;
	b->max_runs = max_runs;
	b->map_bytes = 0;
	b->blocks = 0;
	b->fence = true;
	b->layout_held = false;
	b->outgrow_inline = false;
}

static int batch_txn(struct batch *b)
{
	if (!b->t)
		b->t = txn_begin(b->in->fs->journal);
	return b->t ? 0 : -ENOMEM;
}

/* How many entries may be added. */
static uint64_t batch_room(const struct batch *b)
{
	uint32_t room = txn_room(b->t), taken = b->map_bytes + BATCH_ROOM_NODES + BATCH_ROOM_INODE;

	return room > taken ? (room - taken) / 8 : 0;
}

static void batch_add(struct batch *b, const struct batch_run *run, uint64_t entries)
{
	b->runs[b->nruns++] = *run;
	b->map_bytes += (uint32_t)entries * 8 + BATCH_ROOM_NODES;
	b->blocks += run->n;
}

/* Where the block before 'at' is, so that a file's blocks follow each other on the media. */
static mblk_t batch_hint(struct batch *b, fblk_t at)
{
	const struct batch_run *last = b->nruns ? &b->runs[b->nruns - 1] : NULL;
	struct map_extent x;

	if (at.v == 0)
		return MBLK_NULL;
	if (last && last->at.v + last->n == at.v)
		return MBLK(last->blk.v + last->n);
	if (map_lookup(b->in, FMT_FORK_DATA, FBLK(at.v - 1), 1, &x) || mblk_is_null(x.blk))
		return MBLK_NULL;
	return MBLK(x.blk.v + 1);
}

static frame_t batch_frame_hint(struct batch *b, fblk_t at)
{
	mblk_t hint = batch_hint(b, at);

	return FRAME(round_up_u64(hint.v, HF_BLOCKS_PER_FRAME) / HF_BLOCKS_PER_FRAME);
}

static int batch_frames(struct batch *b, fblk_t at, uint64_t want, struct batch_run *out)
{
	uint64_t left =
	    BATCH_BYTES / HF_BLOCK_SIZE - min_u64(b->blocks, BATCH_BYTES / HF_BLOCK_SIZE);
	uint64_t got;
	mblk_t first;
	int err;

	want = min_u64(min_u64(want, batch_room(b)), max_u64(left / HF_BLOCKS_PER_FRAME, 1));
	err = space_alloc_frames(b->in->fs->space, b->t, want, batch_frame_hint(b, at), 0, &first,
				 &got);
	if (err)
		return err;
	*out = (struct batch_run){.at = at, .blk = first, .n = got * HF_BLOCKS_PER_FRAME};
	batch_add(b, out, got);
	return BATCH_OK;
}

static int batch_blocks(struct batch *b, fblk_t at, uint64_t want, struct batch_run *out)
{
	struct mext ext;
	int err;

	want = min_u64(want, HF_BLOCKS_PER_FRAME - at.v % HF_BLOCKS_PER_FRAME);
	want = min_u64(want, batch_room(b));
	err = space_alloc(b->in->fs->space, b->t, (uint32_t)want, batch_hint(b, at), 0, &ext);
	if (err)
		return err;
	*out = (struct batch_run){.at = at, .blk = ext.first, .n = ext.n};
	batch_add(b, out, ext.n);
	return BATCH_OK;
}

static int batch_ready(struct batch *b)
{
	int err = batch_txn(b);

	if (err)
		return err;
	if (b->nruns == b->max_runs || b->blocks >= BATCH_BYTES / HF_BLOCK_SIZE ||
	    batch_room(b) == 0)
		return BATCH_FULL;
	return BATCH_OK;
}

int batch_alloc(struct batch *b, fblk_t at, uint64_t n, struct batch_run *out)
{
	int ret = batch_ready(b);

	if (ret)
		return ret;
	if (at.v % HF_BLOCKS_PER_FRAME == 0 && n >= HF_BLOCKS_PER_FRAME) {
		ret = batch_frames(b, at, n / HF_BLOCKS_PER_FRAME, out);
		if (ret != -ENOSPC)
			return ret;
	}
	return batch_blocks(b, at, n, out);
}

int batch_alloc_frame(struct batch *b, fblk_t at, struct batch_run *out)
{
	int ret = batch_ready(b);

	HF_ASSERT(at.v % HF_BLOCKS_PER_FRAME == 0);
	return ret ? ret : batch_frames(b, at, 1, out);
}

const struct batch_run *batch_last(const struct batch *b, fblk_t at)
{
	const struct batch_run *last = b->nruns ? &b->runs[b->nruns - 1] : NULL;

	return last && at.v >= last->at.v && at.v - last->at.v < last->n ? last : NULL;
}

int batch_outgrow_inline(struct batch *b)
{
	struct pm *pm = b->in->fs->pm;
	uint64_t size = data_size(b->in);
	uint8_t bytes[FMT_INLINE_MAX];
	struct batch_run run;
	int err = batch_ready(b);

	if (!err)
		err = batch_blocks(b, FBLK(0), 1, &run);
	if (err)
		return err;
	memcpy(bytes, pm_at(pm, data_inline_off(b->in)), sizeof(bytes));
	size = min_u64(size, sizeof(bytes));
	err = data_fresh_usable(pm, mblk_to_moff(run.blk));
	if (err)
		return err;
	pm_copy_nt(pm, mblk_to_moff(run.blk), bytes, size);
	pm_zero_nt(pm, moff_add(mblk_to_moff(run.blk), size), HF_BLOCK_SIZE - size);
	b->outgrow_inline = true;
	return BATCH_OK;
}

/* A view that showed a hole there shows it no more (rule T4). */
static int batch_revoke(struct batch *b)
{
	int err = 0;

	for (unsigned i = 0; i < b->nruns && !err; i++)
		err = view_revoke(b->in, b->runs[i].at.v << HF_BLOCK_SHIFT,
				  (b->runs[i].at.v + b->runs[i].n) << HF_BLOCK_SHIFT);
	return err;
}

/* Layout exclusive. */
static int batch_map(struct batch *b, uint64_t size)
{
	struct inode_edit e;
	int err = batch_revoke(b);

	if (err)
		return err;
	inode_edit_begin(&e, b->in, b->t);
	if (b->outgrow_inline) {
		e.img.flags = le16_of((uint16_t)(le16_get(e.img.flags) & ~FMT_FLAG_INLINE));
		memset(e.img.inline_data, 0, sizeof(e.img.inline_data));
	}
	for (unsigned i = 0; i < b->nruns && !err; i++)
		err = map_insert(&e, FMT_FORK_DATA, b->runs[i].at, b->runs[i].blk, b->runs[i].n);
	if (err)
		return err;
	if (size > le64_get(e.img.size))
		e.img.size = le64_of(size);
	inode_edit_times(&e, INODE_MTIME | INODE_CTIME, inode_now_ns());
	inode_edit_end(&e);
	return 0;
}

int batch_prepare(struct batch *b)
{
	int err = batch_txn(b);

	if (!err && !b->layout_held) {
		rwl_wrlock(&b->in->layout);
		b->layout_held = true;
	}
	return err;
}

static void batch_release(struct batch *b)
{
	if (b->layout_held)
		rwl_wrunlock(&b->in->layout);
	b->layout_held = false;
	b->t = NULL;
}

int batch_gather(struct batch *b, uint64_t size)
{
	int err = batch_prepare(b);

	if (err)
		return err;
	if (b->fence)
		txn_fence_first(b->t);
	err = batch_map(b, size);
	if (err)
		batch_abort(b);
	return err;
}

int batch_commit_gathered(struct batch *b)
{
	int err = txn_commit(b->t, NULL);

	batch_release(b);
	return err;
}

int batch_commit(struct batch *b, uint64_t size)
{
	int err = batch_gather(b, size);

	return err ? err : batch_commit_gathered(b);
}

void batch_abort(struct batch *b)
{
	if (b->t)
		txn_abort(b->t);
	batch_release(b);
}
