#include "check/check.h"

struct map_ctx {
	struct check *c;
	const char *structure;
	inum_t owner;
	enum fmt_fork fork;
	uint64_t blocks;
	uint64_t dropped;		/* the last node that was given up: nothing in it is looked at */
	bool *bad;			/* a detached part: not told, only said */
	check_leaf_fn *leaf;
	void *leaf_ctx;
};

/* Has the node that v stands in any entry that is this owner's? If not, it may be another's block: nothing is changed in it. */
static bool node_is_ours(const struct map_ctx *m, const struct map_visit *v)
{
	struct map_key key = fmt_map_key(&m->c->geo, m->owner, m->fork);
	uint64_t node = v->where.v & ~(uint64_t)(HF_BLOCK_SIZE - 1), span = fmt_level_blocks(v->level), k;
	uint64_t base = v->fblk.v & ~(span * FMT_NODE_ENTRIES - 1);

	for (k = 0; k < FMT_NODE_ENTRIES; k++) {
		uint64_t e = pm_load64(m->c->pm, MOFF(node + 8 * k));

		if (e && fmt_entry_verify(&m->c->geo, key, v->level, FBLK(base + k * span), e) == 0)
			return true;
	}
	return false;
}

static void mend_node(struct map_ctx *m, const struct map_visit *v)
{
	struct check *c = m->c;

	m->dropped = v->where.v >> HF_BLOCK_SHIFT;
	if (check_mend(c, CHECK_MEND_ALL, "all below it became a hole", m->structure, m->owner.v, v->where.v,
		       "inode %llu: no entry of its map node in block %llu, for block %llu, verifies", (unsigned long long)m->owner.v,
		       (unsigned long long)m->dropped, (unsigned long long)v->fblk.v))
		check_map_drop(c, m->owner, m->fork, v->fblk, v->level + 1);
}

/* What a damaged entry named is lost, unless it is a bit that can be turned back. */
static void mend_damaged(struct map_ctx *m, const struct map_visit *v)
{
	struct check *c = m->c;
	uint64_t right = check_entry_corrected(c, m->owner, m->fork, v->level, v->fblk, v->entry);
	const char *repair = right ? "the bit that was wrong was turned back" : (v->level ? "all below it became a hole" : "it became a hole");

	if (check_mend(c, CHECK_MEND_ALL, repair, m->structure, m->owner.v, v->where.v,
		       "inode %llu: map entry of level %u for block %llu is damaged: %s", (unsigned long long)m->owner.v, v->level,
		       (unsigned long long)v->fblk.v, err_msg()))
		check_put_entry(c, m->owner, m->fork, v->where, right);
}

/* Who was seen first keeps the blocks, for nothing says whose they are. The other gets a copy, as long as there is space, also of a node
 * (its entries verify for one owner only, and the next round sees whose it is); but for the inode table, which looks for the right block. */
static void mend_twice(struct map_ctx *m, const struct map_visit *v, uint64_t n, uint64_t twice, mblk_t first)
{
	struct check *c = m->c;
	enum fmt_entry_kind kind = fmt_entry_kind_of(v->entry);
	mblk_t copy = MBLK_NULL;

	if (check_wait(c))		/* until all that is no owner at all is gone */
		return;
	if (m->owner.v != FMT_INO_ITABLE && c->mend == CHECK_MEND_ALL)
		copy = check_clone(c, fmt_entry_blk(v->entry), n);
	if (!check_mend(c, CHECK_MEND_ALL, mblk_is_null(copy) ? "they were taken from the second owner" : "the second owner got a copy",
			m->structure, m->owner.v, first.v << HF_BLOCK_SHIFT,
			"inode %llu: %llu blocks from block %llu on belong to something else too", (unsigned long long)m->owner.v,
			(unsigned long long)twice, (unsigned long long)first.v))
		return;
	check_put_entry(c, m->owner, m->fork, v->where,
			mblk_is_null(copy) ? 0
					   : fmt_entry_make(fmt_map_key(&c->geo, m->owner, m->fork), v->level, v->fblk, kind, copy,
							    v->entry & FMT_ENT_PUNCHED));
}

static int map_visit(void *ctx, const struct map_visit *v)
{
	struct map_ctx *m = ctx;
	enum fmt_entry_kind kind = fmt_entry_kind_of(v->entry);
	uint64_t n = kind == FMT_ENT_HUGE ? HF_BLOCKS_PER_FRAME : 1, twice;
	mblk_t first;

	if (v->verify_err) {
		if (m->bad)
			*m->bad = true;
		else if (v->where.v && v->where.v >> HF_BLOCK_SHIFT == m->dropped)
			return 0;
		else if (v->where.v && !node_is_ours(m, v))
			mend_node(m, v);
		else
			mend_damaged(m, v);
		return m->c->stop || m->c->err;
	}
	if (m->c->media)
		check_media_owned(m->c, m->owner, m->fork, v, n);
	twice = check_own(m->c, fmt_entry_blk(v->entry), n, &first);
	m->blocks += n;
	if (twice && m->bad)
		*m->bad = true;
	else if (twice)
		mend_twice(m, v, n, twice, first);
	else if (kind != FMT_ENT_NODE && m->leaf)
		m->leaf(m->c, m->leaf_ctx, v->fblk, fmt_entry_blk(v->entry), n);
	/* A node that two parents share is not followed twice: a crafted image could make that take for ever. */
	return (twice && kind == FMT_ENT_NODE) || m->c->stop || m->c->err;
}

uint64_t check_map(struct check *c, const char *structure, inum_t owner, enum fmt_fork fork, uint64_t root, unsigned height,
		   check_leaf_fn *leaf, void *ctx)
{
	struct map_ctx m = {.c = c, .structure = structure, .owner = owner, .fork = fork, .leaf = leaf, .leaf_ctx = ctx};

	map_walk(c->pm, &c->geo, owner, fork, root, height, map_visit, &m);
	return m.blocks;
}

uint64_t check_subtree(struct check *c, inum_t owner, enum fmt_fork fork, uint64_t entry, unsigned level, fblk_t at, bool *bad)
{
	struct map_ctx m = {.c = c, .structure = "orphan", .owner = owner, .fork = fork, .bad = bad};

	*bad = false;
	if (fork > FMT_FORK_XATTR || level > FMT_MAX_HEIGHT || map_walk_at(c->pm, &c->geo, owner, fork, entry, level, at, map_visit, &m) < 0)
		*bad = true;
	return m.blocks;
}
