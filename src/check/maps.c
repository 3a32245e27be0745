#include "check/check.h"

struct map_ctx {
	struct check *c;
	const char *structure;
	inum_t owner;
	enum fmt_fork fork;
	uint64_t blocks;
	check_leaf_fn *leaf;
	void *leaf_ctx;
};

static int map_visit(void *ctx, const struct map_visit *v)
{
	struct map_ctx *m = ctx;
	enum fmt_entry_kind kind = fmt_entry_kind_of(v->entry);
	uint64_t n = kind == FMT_ENT_HUGE ? HF_BLOCKS_PER_FRAME : 1, marked;

	if (v->verify_err) {
		check_find(m->c, m->structure, m->owner.v, v->where.v, "inode %llu: map entry of level %u for block %llu is damaged: %s",
			   (unsigned long long)m->owner.v, v->level, (unsigned long long)v->fblk.v, err_msg());
		return m->c->stop;
	}
	if (m->c->media)
		check_media_owned(m->c, m->owner, m->fork, v, n);
	marked = check_own(m->c, m->structure, m->owner.v, fmt_entry_blk(v->entry), n);
	m->blocks += n;
	/* A node that two parents share is not followed twice: a crafted image could make that take for ever. */
	if (kind == FMT_ENT_NODE && marked != n)
		return 1;
	if (kind != FMT_ENT_NODE && marked == n && m->leaf)
		m->leaf(m->c, m->leaf_ctx, v->fblk, fmt_entry_blk(v->entry), n);
	return m->c->stop || m->c->err;
}

uint64_t check_map(struct check *c, const char *structure, inum_t owner, enum fmt_fork fork, uint64_t root, unsigned height,
		   check_leaf_fn *leaf, void *ctx)
{
	struct map_ctx m = {.c = c, .structure = structure, .owner = owner, .fork = fork, .leaf = leaf, .leaf_ctx = ctx};

	if (height > FMT_MAX_HEIGHT) {
		check_find(c, structure, owner.v, 0, "inode %llu: map height %u is impossible", (unsigned long long)owner.v, height);
		return 0;
	}
	map_walk(c->pm, &c->geo, owner, fork, root, height, map_visit, &m);
	return m.blocks;
}

uint64_t check_subtree(struct check *c, inum_t owner, enum fmt_fork fork, uint64_t entry, unsigned level, fblk_t at)
{
	struct map_ctx m = {.c = c, .structure = "orphan", .owner = owner, .fork = fork};

	if (fork > FMT_FORK_XATTR || level > FMT_MAX_HEIGHT ||
	    map_walk_at(c->pm, &c->geo, owner, fork, entry, level, at, map_visit, &m) < 0)
		check_find(c, "orphan", owner.v, 0, "a detached part of inode %llu's map has an impossible position",
			   (unsigned long long)owner.v);
	return m.blocks;
}
