/* Orphan slots: what recovery has still to free. A slot that cannot be followed is emptied: blocks that only it named are found by the
 * allocation lines, and an inode without a name by the link counts. */
#include "check/check.h"
#include <sys/stat.h>

struct orphan_ctx {
	struct check *c;
	uint64_t blocks;		/* of the table, from its beginning without a gap */
	bool gap;
};

static void empty_slot(struct check *c, uint64_t where)
{
	static const struct fmt_orphan empty;

	check_put(c, MOFF(where), &empty, sizeof(empty));
}

static void check_subtree_slot(struct check *c, uint32_t slot, const struct fmt_orphan *o, uint64_t where)
{
	uint64_t ino = le64_get(o->ino);
	bool bad;

	check_subtree(c, INUM(ino), (enum fmt_fork)o->fork, le64_get(o->entry), o->level, FBLK(le64_get(o->fblk)), &bad);
	if (bad && check_mend(c, CHECK_MEND_SAFE, "the slot was emptied; what belongs to nothing else was freed", "orphan", ino, where,
			      "orphan slot %u: the part of inode %llu's map that it names is damaged or belongs to something else too", slot,
			      (unsigned long long)ino))
		empty_slot(c, where);
}

/* What is wrong with a slot that names a whole inode; NULL: nothing. */
static const char *inode_slot_fault(const struct check *c, uint32_t slot, const struct fmt_orphan *o)
{
	uint64_t ino = le64_get(o->ino);
	const struct fmt_inode *i;

	if (!check_ino_ok(c, ino) || !c->links[ino].in_use)
		return "which is not in use";
	i = check_inode_at(c, INUM(ino));
	if (le64_get(i->gen) != le64_get(o->gen))
		return "which is another one by now";
	if (le32_get(i->orphan) != slot + 1)
		return "which does not know of it";
	if (c->links[ino].orphan || ino < FMT_INO_FIRST)
		return "which cannot be";
	if (le32_get(i->nlink) && !S_ISREG(le32_get(i->mode)))
		return "which has names and is no file: there is nothing to finish";
	return NULL;
}

static void check_slot(struct check *c, uint32_t slot, const struct fmt_orphan *o, uint64_t where)
{
	static const struct fmt_orphan empty;
	uint64_t ino = le64_get(o->ino);
	const char *fault;

	if (!memcmp(o, &empty, sizeof(empty)))
		return;
	if (fmt_orphan_verify(&c->geo, slot, o) != 0) {
		if (check_mend(c, CHECK_MEND_SAFE, "it was emptied", "orphan", 0, where, "orphan slot %u: %s", slot, err_msg()))
			empty_slot(c, where);
		return;
	}
	c->res->orphans++;
	if (o->kind == FMT_ORPHAN_SUBTREE) {
		check_subtree_slot(c, slot, o, where);
		return;
	}
	fault = inode_slot_fault(c, slot, o);
	if (!fault)
		c->links[ino].orphan = 1;
	else if (check_mend(c, CHECK_MEND_SAFE, "it was emptied", "orphan", ino, where, "orphan slot %u names inode %llu, %s", slot,
			    (unsigned long long)ino, fault))
		empty_slot(c, where);
}

static void orphan_block(struct check *c, fblk_t fblk, mblk_t blk)
{
	uint32_t k;

	for (k = 0; k < FMT_ORPHANS_PER_BLOCK && !c->stop; k++) {
		moff_t at = moff_add(mblk_to_moff(blk), k * sizeof(struct fmt_orphan));
		uint64_t slot = fblk.v * FMT_ORPHANS_PER_BLOCK + k;

		if (slot <= UINT32_MAX)
			check_slot(c, (uint32_t)slot, (const struct fmt_orphan *)pm_at(c->pm, at), at.v);
	}
}

static int orphan_visit(void *ctx, const struct map_visit *v)
{
	uint64_t n = fmt_entry_kind_of(v->entry) == FMT_ENT_HUGE ? HF_BLOCKS_PER_FRAME : 1, b;
	struct orphan_ctx *x = ctx;

	if (v->verify_err || fmt_entry_kind_of(v->entry) == FMT_ENT_NODE)
		return x->c->stop || x->c->err;
	if (v->fblk.v != x->blocks)
		x->gap = true;
	for (b = 0; b < n && !x->gap; b++) {
		orphan_block(x->c, FBLK(v->fblk.v + b), MBLK(fmt_entry_blk(v->entry).v + b));
		x->blocks++;
	}
	return x->c->stop || x->c->err;
}

/* The table's blocks were marked with its inode's; here its slots are read. */
void check_orphans(struct check *c)
{
	const struct fmt_inode *t = check_inode_at(c, INUM(FMT_INO_ORPHANS));
	struct orphan_ctx x = {.c = c};

	if (!c->links || !c->links[FMT_INO_ORPHANS].in_use)
		return;
	map_walk(c->pm, &c->geo, INUM(FMT_INO_ORPHANS), FMT_FORK_DATA, le64_get(t->root), t->height, orphan_visit, &x);
	if (c->stop || c->err || (!x.gap && x.blocks && le64_get(t->size) == x.blocks * HF_BLOCK_SIZE))
		return;
	if (check_mend(c, CHECK_MEND_ALL, "the table was made afresh", "orphan", FMT_INO_ORPHANS, 0,
		       "the orphan table says it has %llu bytes, its map has %llu blocks", (unsigned long long)le64_get(t->size),
		       (unsigned long long)x.blocks))
		check_make_afresh(c, FMT_INO_ORPHANS);
}
