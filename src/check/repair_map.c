/* Maps: entries that get another value, blocks that get a copy, blocks that are put into a hole. */
#include "check/check.h"

uint64_t check_entry_corrected(const struct check *c, inum_t owner, enum fmt_fork fork, unsigned level, fblk_t fblk, uint64_t entry)
{
	struct map_key key = fmt_map_key(&c->geo, owner, fork);
	uint64_t found = 0;
	unsigned bit;

	/* One false answer in a thousand is to be expected of the 16 bits of check: then there are two, and none is taken. */
	for (bit = 0; bit < 64; bit++) {
		uint64_t e = entry ^ 1ull << bit;

		if (e == 0 || fmt_entry_verify(&c->geo, key, level, fblk, e) != 0)
			continue;
		if (found)
			return 0;
		found = e;
	}
	return found;
}

void check_put_entry(struct check *c, inum_t owner, enum fmt_fork fork, moff_t where, uint64_t entry)
{
	struct fmt_inode i;

	if (where.v) {
		check_put64(c, where, entry);
		return;
	}
	i = *check_inode_at(c, owner);
	if (fork == FMT_FORK_DATA) {
		i.root = le64_of(entry);
		i.height = entry ? i.height : 0;
	} else {
		i.xroot = le64_of(entry);
		i.xheight = entry ? i.xheight : 0;
		i.xbytes = entry ? i.xbytes : le32_of(0);
	}
	check_put_inode(c, owner.v, &i);
}

mblk_t check_clone(struct check *c, mblk_t from, uint64_t n)
{
	mblk_t to = check_alloc(c, n);
	uint64_t k;

	for (k = 0; k < n && !mblk_is_null(to); k++)
		check_put(c, mblk_to_moff(MBLK(to.v + k)), pm_at(c->pm, mblk_to_moff(MBLK(from.v + k))), HF_BLOCK_SIZE);
	return to;
}

void check_map_drop(struct check *c, inum_t owner, enum fmt_fork fork, fblk_t fblk, unsigned level)
{
	const struct fmt_inode *i = check_inode_at(c, owner);
	uint64_t entry = le64_get(fork == FMT_FORK_DATA ? i->root : i->xroot);
	unsigned at = fork == FMT_FORK_DATA ? i->height : i->xheight;
	moff_t where = MOFF(0);

	while (at > level && fmt_entry_kind_of(entry) == FMT_ENT_NODE) {
		at--;
		where = moff_add(mblk_to_moff(fmt_entry_blk(entry)), (fblk.v >> (9 * at)) % FMT_NODE_ENTRIES * 8);
		entry = pm_load64(c->pm, where);
	}
	if (at == level)
		check_put_entry(c, owner, fork, where, 0);
}

bool check_map_insert(struct check *c, inum_t owner, fblk_t fblk, mblk_t blk)
{
	static const uint8_t zero[HF_BLOCK_SIZE];
	const struct fmt_inode *i = check_inode_at(c, owner);
	struct map_key key = fmt_map_key(&c->geo, owner, FMT_FORK_DATA);
	uint64_t entry = le64_get(i->root);
	unsigned level = i->height;
	moff_t where = MOFF(0);

	if (fblk.v >= fmt_level_blocks(level))
		return false;
	while (level > 0) {
		fblk_t base = FBLK(fblk.v & ~(fmt_level_blocks(level) - 1));

		if (entry == 0) {
			mblk_t node = check_alloc(c, 1);

			if (mblk_is_null(node))
				return false;
			check_put(c, mblk_to_moff(node), zero, sizeof(zero));
			entry = fmt_entry_make(key, level, base, FMT_ENT_NODE, node, 0);
			check_put_entry(c, owner, FMT_FORK_DATA, where, entry);
		}
		if (fmt_entry_kind_of(entry) != FMT_ENT_NODE)
			return false;
		level--;
		where = moff_add(mblk_to_moff(fmt_entry_blk(entry)), (fblk.v >> (9 * level)) % FMT_NODE_ENTRIES * 8);
		entry = pm_load64(c->pm, where);
	}
	if (entry && !mblk_is_null(blk))
		return false;
	check_put_entry(c, owner, FMT_FORK_DATA, where, mblk_is_null(blk) ? 0 : fmt_entry_make(key, 0, fblk, FMT_ENT_BLOCK, blk, 0));
	return true;
}
