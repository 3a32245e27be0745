/* The inode table's own map: which blocks hold which inodes. */
#include "check/check.h"
#include <stdlib.h>
#include <sys/stat.h>

struct itable_ctx {
	uint64_t expect;		/* next block of the table's file */
	uint64_t missing;		/* blocks before it that the map does not have */
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

/* Block f of the table's file is blk, or is missing. */
static void itable_push(struct check *c, struct itable_ctx *t, mblk_t blk)
{
	uint64_t f = t->expect++;

	if (mblk_is_null(blk))
		t->missing++;
	if (f % FMT_IGROUP_BLOCKS == 0) {
		if (grow(c, (void **)&c->ibitmap, &c->igroups_cap, c->igroups, sizeof(mblk_t)))
			c->ibitmap[c->igroups++] = blk;
	} else if (grow(c, (void **)&c->iblock, &c->iblocks_cap, c->iblocks, sizeof(mblk_t))) {
		c->iblock[c->iblocks++] = blk;
	}
}

/* Where the bits of a block of inodes are: 16 of the word there; 0: they are not known. */
static moff_t block_bits(const struct check *c, uint64_t block, unsigned *shift)
{
	uint64_t ino = block * FMT_INODES_PER_BLOCK, g = ino / FMT_IGROUP_INODES;

	*shift = (unsigned)(ino % 64);
	if (g >= c->igroups || mblk_is_null(c->ibitmap[g]))
		return MOFF(0);
	return moff_add(mblk_to_moff(c->ibitmap[g]), ino % FMT_IGROUP_INODES / 64 * 8);
}

/* Is there something in it, and none of its own inodes? Or nothing, although some are in use? Then it may be another's block: nothing is
 * changed in it. */
static bool misplaced(const struct check *c, uint64_t block, mblk_t b)
{
	const struct fmt_inode *i = (const struct fmt_inode *)pm_at(c->pm, mblk_to_moff(b));
	static const struct fmt_inode never;
	bool other = false;
	unsigned shift;
	uint64_t k;

	if (block == 0)
		return b.v != FMT_BLK_INODES0;
	for (k = 0; k < FMT_INODES_PER_BLOCK; k++) {
		if (!memcmp(&i[k], &never, sizeof(never)))
			continue;
		if (fmt_inode_verify(&c->geo, &i[k], INUM(block * FMT_INODES_PER_BLOCK + k)) == 0)
			return false;
		other = true;
	}
	if (!other) {
		moff_t word = block_bits(c, block, &shift);

		other = word.v && (pm_load64(c->pm, word) >> shift & 0xffff);
	}
	return other;
}

/* A bitmap has no form of its own; the first is where it always is, and inodes are none. */
static bool no_bitmap(const struct check *c, uint64_t group, mblk_t b)
{
	const struct fmt_inode *i = (const struct fmt_inode *)pm_at(c->pm, mblk_to_moff(b));
	uint64_t k, ino;

	if (group == 0)
		return b.v != FMT_BLK_ITBITMAP;
	for (k = 0; k < FMT_INODES_PER_BLOCK; k++) {
		ino = le64_get(i[k].ino);
		if (ino && ino % FMT_INODES_PER_BLOCK == k && fmt_inode_verify(&c->geo, &i[k], INUM(ino)) == 0)
			return true;
	}
	return false;
}

/* An entry of the map with a right check can still be the wrong one, made by who could seal it. */
static mblk_t right_block(struct check *c, const struct itable_ctx *t, mblk_t b)
{
	bool bitmap = t->expect % FMT_IGROUP_BLOCKS == 0;

	if (bitmap ? !no_bitmap(c, c->igroups, b) : !misplaced(c, c->iblocks, b))
		return b;
	if (!check_mend(c, CHECK_MEND_ALL, "the right one will be looked for", "inode", FMT_INO_ITABLE, b.v << HF_BLOCK_SHIFT,
			"block %llu of the inode table does not hold what it should", (unsigned long long)t->expect))
		return b;
	check_map_insert(c, INUM(FMT_INO_ITABLE), FBLK(t->expect), MBLK_NULL);
	return MBLK_NULL;
}

/* The table grows a block at a time, so its file has no holes. */
static void itable_leaf(struct check *c, void *ctx, fblk_t fblk, mblk_t blk, uint64_t n)
{
	struct itable_ctx *t = ctx;
	uint64_t i;

	if (fblk.v >= c->geo.nblocks) {
		check_find(c, "inode", FMT_INO_ITABLE, 0, "the inode table has a block %llu: more than the volume can hold",
			   (unsigned long long)fblk.v);
		return;
	}
	while (t->expect < fblk.v && !c->err)
		itable_push(c, t, MBLK_NULL);
	for (i = 0; i < n && !c->err; i++)
		itable_push(c, t, right_block(c, t, MBLK(blk.v + i)));
}

static fblk_t inode_block_fblk(uint64_t block)
{
	return fmt_ino_fblk(INUM(block * FMT_INODES_PER_BLOCK));
}

/* Which block of inodes is it? UINT64_MAX: none that is missing. */
static uint64_t lost_block(const struct check *c, mblk_t b)
{
	const struct fmt_inode *i = (const struct fmt_inode *)pm_at(c->pm, mblk_to_moff(b));
	uint64_t k, ino;

	for (k = 0; k < FMT_INODES_PER_BLOCK; k++) {
		ino = le64_get(i[k].ino);
		if (ino && ino % FMT_INODES_PER_BLOCK == k && ino / FMT_INODES_PER_BLOCK < c->iblocks &&
		    mblk_is_null(c->iblock[ino / FMT_INODES_PER_BLOCK]) && fmt_inode_verify(&c->geo, &i[k], INUM(ino)) == 0)
			return ino / FMT_INODES_PER_BLOCK;
	}
	return UINT64_MAX;
}

/* Inodes say their number, under a checksum: so blocks of them that the map has lost are found among those that nothing owns. */
static void find_lost_blocks(struct check *c)
{
	uint64_t b, block;

	for (b = c->geo.first_data.v; b < c->geo.end_data.v; b++) {
		if (c->owned[b >> 6] >> (b & 63) & 1)
			continue;
		block = lost_block(c, MBLK(b));
		if (block == UINT64_MAX || !check_map_insert(c, INUM(FMT_INO_ITABLE), inode_block_fblk(block), MBLK(b)))
			continue;
		c->iblock[block] = MBLK(b);
		c->owned[b >> 6] |= 1ull << (b & 63);
	}
}

static mblk_t fresh_block(struct check *c)
{
	static const uint8_t zero[HF_BLOCK_SIZE];
	mblk_t b = check_alloc(c, 1);

	if (!mblk_is_null(b))
		check_put(c, mblk_to_moff(b), zero, sizeof(zero));
	return b;
}

/* Nothing is in use in a fresh block. */
static bool put_fresh(struct check *c, uint64_t block)
{
	unsigned shift;
	moff_t word = block_bits(c, block, &shift);
	mblk_t b = fresh_block(c);

	if (mblk_is_null(b) || !check_map_insert(c, INUM(FMT_INO_ITABLE), inode_block_fblk(block), b))
		return false;
	if (word.v)
		check_put64(c, word, pm_load64(c->pm, word) & ~(0xffffull << shift));
	return true;
}

/* What is not found becomes free inodes, and a bitmap that the inodes will correct. */
static void itable_refill(struct check *c)
{
	const inum_t it = INUM(FMT_INO_ITABLE);
	uint64_t i;
	bool ok = true;

	if (mblk_is_null(c->ibitmap[0]))
		ok &= check_map_insert(c, it, FBLK(0), MBLK(FMT_BLK_ITBITMAP));
	if (c->iblocks && mblk_is_null(c->iblock[0]))
		ok &= check_map_insert(c, it, FBLK(1), MBLK(FMT_BLK_INODES0));
	find_lost_blocks(c);
	for (i = 1; i < c->igroups && ok; i++)
		if (mblk_is_null(c->ibitmap[i])) {
			mblk_t b = fresh_block(c);

			ok = !mblk_is_null(b) && check_map_insert(c, it, FBLK(i * FMT_IGROUP_BLOCKS), b);
		}
	for (i = 1; i < c->iblocks && ok; i++)
		if (mblk_is_null(c->iblock[i]))
			ok = put_fresh(c, i);
	if (!ok)
		c->err = err_set(-ENOSPC, "repair: no free blocks to put the inode table together");
}

/* The table's own inode and the root of its map. False: there is no table to go on with. */
static bool check_self(struct check *c, const struct fmt_inode *it)
{
	struct fmt_inode i;
	int err;

	if (fmt_inode_verify(&c->geo, it, INUM(FMT_INO_ITABLE)) != 0) {
		check_mend_inode(c, FMT_INO_ITABLE, 0);
		return false;
	}
	err = fmt_entry_verify(&c->geo, fmt_map_key(&c->geo, INUM(FMT_INO_ITABLE), FMT_FORK_DATA), it->height, FBLK(0),
			       le64_get(it->root));
	if (!err && fmt_entry_kind_of(le64_get(it->root)) == FMT_ENT_NODE && le32_get(it->mode) == (S_IFREG | 0600))
		return true;
	if (check_mend(c, CHECK_MEND_ALL, "it was found again", "inode", FMT_INO_ITABLE, 0,
		       "the root of the inode table's map is damaged")) {
		i = *it;
		i.mode = le32_of(S_IFREG | 0600);
		check_climb_itable(c, &i);
		check_put_inode(c, FMT_INO_ITABLE, &i);
	}
	return false;
}

/* The file's size and number of blocks against what the map has. */
static void check_extent(struct check *c, struct itable_ctx *t, const struct fmt_inode *it, uint64_t owned)
{
	uint64_t size = le64_get(it->size), blocks = size / HF_BLOCK_SIZE;
	struct fmt_inode i = *it;

	while (t->expect < blocks && blocks <= c->geo.nblocks && !c->err)
		itable_push(c, t, MBLK_NULL);
	if (t->expect % FMT_IGROUP_BLOCKS == 1 || t->expect < 2)
		itable_push(c, t, MBLK_NULL);
	if (t->missing && !check_wait(c) && !c->err &&
	    check_mend(c, CHECK_MEND_ALL, "they were looked for; those not found were replaced by free inodes", "inode", FMT_INO_ITABLE, 0,
		       "the inode table has lost %llu of its blocks", (unsigned long long)t->missing))
		itable_refill(c);
	if (t->missing == 0 && (size != t->expect * HF_BLOCK_SIZE || le64_get(it->blocks) != owned) &&
	    check_mend(c, CHECK_MEND_SAFE, "both were put right", "inode", FMT_INO_ITABLE, 0,
		       "the inode table says it has %llu bytes in %llu blocks, its map has %llu bytes in %llu blocks", (unsigned long long)size,
		       (unsigned long long)le64_get(it->blocks), (unsigned long long)t->expect * HF_BLOCK_SIZE, (unsigned long long)owned)) {
		i.size = le64_of(t->expect * HF_BLOCK_SIZE);
		i.blocks = le64_of(owned);
		check_put_inode(c, FMT_INO_ITABLE, &i);
	}
}

void check_itable(struct check *c)
{
	mblk_t first = MBLK(FMT_BLK_INODES0);
	const struct fmt_inode *it =
		(const struct fmt_inode *)pm_at(c->pm, moff_add(mblk_to_moff(first), FMT_INO_ITABLE * FMT_INODE_SIZE));
	struct itable_ctx ctx = {0};
	uint64_t owned;

	if (!check_self(c, it))
		return;
	owned = check_map(c, "inode", INUM(FMT_INO_ITABLE), FMT_FORK_DATA, le64_get(it->root), it->height, itable_leaf, &ctx);
	if (c->err || c->mended)
		return;
	check_extent(c, &ctx, it, owned);
	if (c->iblocks && !mblk_is_null(c->iblock[0]) && c->iblock[0].v != FMT_BLK_INODES0)
		check_find(c, "inode", FMT_INO_ITABLE, 0, "the inode table does not begin with block %u", FMT_BLK_INODES0);
	/* a table without any block has the fixed inodes all the same */
	c->links = calloc((size_t)(max_u64(c->iblocks, 1) * FMT_INODES_PER_BLOCK + 1), sizeof(*c->links));
	if (!c->links)
		c->err = err_set(-ENOMEM, "check: no memory for %llu inodes", (unsigned long long)c->iblocks * FMT_INODES_PER_BLOCK);
}
