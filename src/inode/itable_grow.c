/* Growth of the inode table: fresh blocks at its end, in a transaction of their own. */
#include "inode/itable_priv.h"

#include <stdlib.h>

enum { GROW_MAX = 16 };

struct growth {
	struct inode_edit e;
	struct txn *t;
	uint64_t at, end; /* blocks of the table's file: before, after */
	mblk_t blk[GROW_MAX + 1];
	struct igroup *group; /* of the group that begins; NULL: none does */
};

/* An eighth of what there is, so that a large table does not pay a transaction for each 16 inodes;
 * up to the group's end. A group begins with its bitmap and a block of inodes. */
static uint64_t want_blocks(uint64_t nblocks)
{
	uint64_t in_group = nblocks % FMT_IGROUP_BLOCKS;
	uint64_t n = max_u64(1, min_u64(nblocks / 8, GROW_MAX));

	return in_group == 0 ? n + 1 : min_u64(n, FMT_IGROUP_BLOCKS - in_group);
}

/* Zeroed blocks: zeros are valid for inodes that were never used, and for a bitmap. They are stored
 * past the journal and fenced before its record (J8 does not mind: nothing of these blocks was ever
 * in a record that counts). */
static int add_run(struct growth *gr, struct fs *fs, uint64_t want)
{
	struct mext x;
	int err =
	    space_alloc(fs->space, gr->t, (uint32_t)want, fs->itable->grow_hint, SPACE_META, &x);

	if (err)
		return err;
	pm_zero_nt(fs->pm, mblk_to_moff(x.first), x.n * HF_BLOCK_SIZE);
	err = map_insert(&gr->e, FMT_FORK_DATA, FBLK(gr->end), x.first, x.n);
	if (err)
		return err;
	for (uint64_t i = 0; i < x.n; i++)
		gr->blk[gr->end - gr->at + i] = MBLK(x.first.v + i);
	gr->end += x.n;
	fs->itable->grow_hint = MBLK(x.first.v + x.n);
	return 0;
}

static int gather(struct growth *gr, struct fs *fs)
{
	bool begins = gr->at % FMT_IGROUP_BLOCKS == 0;
	uint64_t want = want_blocks(gr->at);
	int err;

	txn_fence_first(gr->t);
	err = add_run(gr, fs, want);
	if (err == 0 && begins && gr->end - gr->at == 1)
		err = add_run(gr, fs, want - 1); /* a bitmap alone is no group */
	if (err)
		return err;
	if (begins) {
		gr->group = igroup_new(gr->blk[0]);
		if (!gr->group)
			return -ENOMEM;
	}
	gr->e.img.size = le64_of(gr->end * HF_BLOCK_SIZE);
	return 0;
}

/* The new numbers become free. */
static void publish(struct itable *it, struct growth *gr)
{
	uint64_t g = gr->at / FMT_IGROUP_BLOCKS;
	uint32_t from = igroup_numbers(gr->at, g), to = igroup_numbers(gr->end, g);
	struct igroup *grp;

	if (gr->group) {
		atomic_store_explicit(&it->slots[g].group, gr->group, memory_order_release);
		it->slots[g].known = true;
	}
	grp = atomic_load_explicit(&it->slots[g].group, memory_order_relaxed);
	for (uint64_t b = gr->at; b < gr->end; b++)
		if (b % FMT_IGROUP_BLOCKS != 0)
			atomic_store_explicit(&grp->blk[b % FMT_IGROUP_BLOCKS - 1],
					      gr->blk[b - gr->at].v, memory_order_relaxed);
	atomic_store_explicit(&it->nblocks, gr->end, memory_order_release);
	for (uint32_t i = from; i < to; i++)
		igroup_release_locked(it, g, i);
}

/* Durability: the new blocks are part of the table on return.
 * Locking: it->lock is held; the table's own layout is taken exclusively. */
int itable_grow_locked(struct itable *it)
{
	struct growth gr = {.at = it->nblocks, .end = it->nblocks};
	struct igroup *grp;
	int err = 0;

	if (gr.at % FMT_IGROUP_BLOCKS != 0)
		err = igroup_load_locked(it, gr.at / FMT_IGROUP_BLOCKS, &grp);
	else if (gr.at / FMT_IGROUP_BLOCKS >= it->max_groups)
		err = err_set(-ENOSPC, "inode table: no volume of this size has more groups");
	if (err)
		return err;
	gr.t = txn_begin(it->fs->journal);
	if (!gr.t)
		return -ENOMEM;
	rwl_wrlock(&it->self.layout);
	inode_edit_begin(&gr.e, &it->self, gr.t);
	err = gather(&gr, it->fs);
	inode_edit_end(&gr.e);
	if (err == 0)
		err = txn_commit(gr.t, NULL);
	else
		txn_abort(gr.t);
	rwl_wrunlock(&it->self.layout);
	if (err == 0)
		publish(it, &gr);
	else
		free(gr.group);
	return err;
}
