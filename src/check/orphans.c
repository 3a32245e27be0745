/* Orphan slots: what recovery has still to free. */
#include "check/check.h"
#include <sys/stat.h>

static void check_slot(struct check *c, uint32_t slot, const struct fmt_orphan *o, uint64_t where)
{
	static const struct fmt_orphan empty;
	uint64_t ino = le64_get(o->ino);
	const struct fmt_inode *i;

	if (!memcmp(o, &empty, sizeof(empty)))
		return;
	if (fmt_orphan_verify(&c->geo, slot, o) != 0) {
		check_find(c, "orphan", ino, where, "orphan slot %u: %s", slot, err_msg());
		return;
	}
	c->res->orphans++;
	if (o->kind == FMT_ORPHAN_SUBTREE) {
		check_subtree(c, INUM(ino), (enum fmt_fork)o->fork, le64_get(o->entry), o->level, FBLK(le64_get(o->fblk)));
		return;
	}
	i = check_ino_ok(c, ino) && c->links[ino].in_use ? check_inode_at(c, INUM(ino)) : NULL;
	if (!i || le64_get(i->gen) != le64_get(o->gen)) {
		check_find(c, "orphan", ino, where, "orphan slot %u names inode %llu, which is not in use", slot,
			   (unsigned long long)ino);
		return;
	}
	if (le32_get(i->orphan) != slot + 1)
		check_find(c, "orphan", ino, where, "orphan slot %u names inode %llu, which does not know of it", slot,
			   (unsigned long long)ino);
	else if (le32_get(i->nlink) != 0 && !S_ISREG(le32_get(i->mode)))
		check_find(c, "orphan", ino, where, "orphan slot %u names inode %llu, which has names and is no file: nothing is unfinished",
			   slot, (unsigned long long)ino);
	c->links[ino].orphan = 1;
}

struct orphan_walk {
	struct check *c;
	uint64_t expect;		/* next block of the table's file */
	bool holes;
};

static void orphan_leaf(struct orphan_walk *w, fblk_t fblk, mblk_t blk, uint64_t n)
{
	struct check *c = w->c;
	uint32_t k;
	uint64_t b;

	w->holes = w->holes || fblk.v != w->expect;
	w->expect = fblk.v + n;
	for (b = 0; b < n; b++)
		for (k = 0; k < FMT_ORPHANS_PER_BLOCK; k++) {
			moff_t at = moff_add(mblk_to_moff(MBLK(blk.v + b)), k * sizeof(struct fmt_orphan));
			uint64_t slot = (fblk.v + b) * FMT_ORPHANS_PER_BLOCK + k;

			if (slot <= UINT32_MAX)
				check_slot(c, (uint32_t)slot, (const struct fmt_orphan *)pm_at(c->pm, at), at.v);
		}
}

static int orphan_visit(void *ctx, const struct map_visit *v)
{
	struct orphan_walk *w = ctx;

	if (v->verify_err == 0 && fmt_entry_kind_of(v->entry) != FMT_ENT_NODE)
		orphan_leaf(w, v->fblk, fmt_entry_blk(v->entry),
			    fmt_entry_kind_of(v->entry) == FMT_ENT_HUGE ? HF_BLOCKS_PER_FRAME : 1);
	return w->c->stop || w->c->err;
}

/* The table's blocks were marked with its inode's; here its slots are read. It grows a block at a time and never shrinks. */
void check_orphans(struct check *c)
{
	const struct fmt_inode *t = check_inode_at(c, INUM(FMT_INO_ORPHANS));
	struct orphan_walk w = {.c = c};

	if (!t || !c->links[FMT_INO_ORPHANS].in_use || t->height > FMT_MAX_HEIGHT)
		return;
	map_walk(c->pm, &c->geo, INUM(FMT_INO_ORPHANS), FMT_FORK_DATA, le64_get(t->root), t->height, orphan_visit, &w);
	if (!S_ISREG(le32_get(t->mode)) || w.holes || w.expect == 0 || le64_get(t->size) != w.expect * HF_BLOCK_SIZE)
		check_find(c, "orphan", FMT_INO_ORPHANS, 0, "the orphan table says it has %llu bytes, its map has %llu blocks%s",
			   (unsigned long long)le64_get(t->size), (unsigned long long)w.expect, w.holes ? " and holes" : "");
}
