#include "file/data.h"

const uint8_t data_zeros[HF_BLOCK_SIZE];

int data_run(struct inode *in, uint64_t off, uint64_t end, struct data_run *out)
{
	uint64_t in_block = off % HF_BLOCK_SIZE;
	fblk_t first = data_block(off);
	struct map_extent x;
	int err = map_lookup(in, FMT_FORK_DATA, first, data_block_up(end).v - first.v, &x);

	if (err)
		return err;
	out->hole = mblk_is_null(x.blk);
	out->at = moff_add(mblk_to_moff(x.blk), in_block);
	out->bytes = min_u64((x.n << HF_BLOCK_SHIFT) - in_block, end - off);
	return 0;
}

int data_zero(struct inode *in, uint64_t off, uint64_t end, bool *any)
{
	struct data_run run;
	int err = off < end && off < data_size(in) ? inode_seal(in) : 0;

	if (err)
		return err;
	for (; off < end; off += run.bytes) {
		err = data_run(in, off, end, &run);
		if (err)
			return err;
		if (run.hole)
			continue;
		err = pm_guarded_zero_nt(in->fs->pm, run.at, run.bytes);
		if (err)
			return err;
		if (any)
			*any = true;
	}
	return 0;
}

int data_fence(struct inode *in)
{
	int err = pm_fence(in->fs->pm);

	if (!err)
		return 0;
	journal_shutdown(in->fs->journal, err);
	return err_set(-EIO, "flushing file data failed; the volume takes no more changes until it "
			     "is mounted again");
}

bool data_clear_bad(struct pm *pm, moff_t off, uint64_t len)
{
	uint64_t at = round_up_u64(off.v, HF_BLOCK_SIZE), end = (off.v + len) / HF_BLOCK_SIZE * HF_BLOCK_SIZE;
	bool any = false;
	uint8_t byte;

	for (; at < end; at += HF_BLOCK_SIZE)
		if (pm_guarded_read(pm, &byte, MOFF(at), 1) != 0 && pm_clear_bad(pm, MOFF(at), HF_BLOCK_SIZE) == 0)
			any = true;
	return any;
}

int data_fresh_usable(struct pm *pm, moff_t off)
{
	moff_t block = mblk_to_moff(moff_to_mblk(off));
	uint8_t byte;

	return pm_guarded_read(pm, &byte, block, 1) == 0 ? 0 : pm_clear_bad(pm, block, HF_BLOCK_SIZE);
}
