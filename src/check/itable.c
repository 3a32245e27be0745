/* The inode table's own map: which blocks hold which inodes. */
#include "check/check.h"
#include <stdlib.h>
#include <sys/stat.h>

struct itable_ctx {
	uint64_t expect;		/* next block of the table's file */
	bool broken;
};

static bool grow(struct check *c, void **array, uint64_t *cap, uint64_t want, size_t item)
{
	uint64_t n = *cap ? *cap * 2 : 64;
	void *p;

	if (want < *cap)
		return true;
	p = realloc(*array, (size_t)n * item);
	if (!p) {
		c->err = err_set(-ENOMEM, "check: no memory for the inode table's blocks");
		return false;
	}
	*array = p;
	*cap = n;
	return true;
}

/* The table grows a block at a time, so its file has no holes; anything else is damage and is not followed. */
static void itable_leaf(struct check *c, void *ctx, fblk_t fblk, mblk_t blk, uint64_t n)
{
	struct itable_ctx *t = ctx;
	uint64_t i;

	for (i = 0; i < n && !t->broken && !c->err; i++) {
		uint64_t f = fblk.v + i;

		if (f != t->expect) {
			check_find(c, "inode", FMT_INO_ITABLE, 0, "the inode table has no block %llu, but a block %llu",
				   (unsigned long long)t->expect, (unsigned long long)f);
			t->broken = true;
			return;
		}
		t->expect++;
		if (f % FMT_IGROUP_BLOCKS == 0) {
			if (grow(c, (void **)&c->ibitmap, &c->igroups_cap, c->igroups, sizeof(mblk_t)))
				c->ibitmap[c->igroups++] = MBLK(blk.v + i);
		} else if (grow(c, (void **)&c->iblock, &c->iblocks_cap, c->iblocks, sizeof(mblk_t))) {
			c->iblock[c->iblocks++] = MBLK(blk.v + i);
		}
	}
}

void check_itable(struct check *c)
{
	const struct fmt_inode *it =
		(const struct fmt_inode *)pm_at(c->pm, moff_add(mblk_to_moff(MBLK(FMT_BLK_INODES0)), FMT_INO_ITABLE * FMT_INODE_SIZE));
	struct itable_ctx ctx = {0};
	uint64_t blocks;

	if (fmt_inode_verify(&c->geo, it, INUM(FMT_INO_ITABLE)) != 0) {
		check_find(c, "inode", FMT_INO_ITABLE, 0, "the inode table's own inode is damaged: %s", err_msg());
		return;
	}
	blocks = check_map(c, "inode", INUM(FMT_INO_ITABLE), FMT_FORK_DATA, le64_get(it->root), it->height, itable_leaf, &ctx);
	if (c->err)
		return;
	if (!S_ISREG(le32_get(it->mode)) || le64_get(it->size) != ctx.expect * HF_BLOCK_SIZE || le64_get(it->blocks) != blocks ||
	    ctx.expect % FMT_IGROUP_BLOCKS == 1)
		check_find(c, "inode", FMT_INO_ITABLE, 0,
			   "the inode table says it has %llu bytes in %llu blocks, its map has %llu bytes in %llu blocks",
			   (unsigned long long)le64_get(it->size), (unsigned long long)le64_get(it->blocks),
			   (unsigned long long)ctx.expect * HF_BLOCK_SIZE, (unsigned long long)blocks);
	if (c->iblocks == 0 || c->iblock[0].v != FMT_BLK_INODES0)
		check_find(c, "inode", FMT_INO_ITABLE, 0, "the inode table does not begin with block %u", FMT_BLK_INODES0);
	c->links = calloc((size_t)(c->iblocks * FMT_INODES_PER_BLOCK + 1), sizeof(*c->links));
	if (!c->links)
		c->err = err_set(-ENOMEM, "check: no memory for %llu inodes", (unsigned long long)c->iblocks * FMT_INODES_PER_BLOCK);
}
