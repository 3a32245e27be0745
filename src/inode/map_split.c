/* A huge leaf becomes a node of 512 entries that name the same blocks. No data moves, so pins do not
 * matter: space_split() makes those on the frame count for each of its blocks. */
#include "inode/map_tree.h"

int map_split_leaf(struct map_tree *m, const struct map_slot *s, uint64_t lo, uint64_t hi,
		   uint64_t flags, uint64_t *entry)
{
	uint64_t first = fmt_entry_blk(s->entry).v, pos;
	le64_t raw[FMT_NODE_ENTRIES] = {0};
	mblk_t node;
	int err;

	err = map_node_alloc(m, SPACE_RESERVE, MBLK_NULL, &node);
	/* Last of what can fail: without a node the leaf may stay whole in this transaction. */
	if (!err)
		err = space_split(m->fs->space, m->t, mblk_to_frame(MBLK(first)));
	if (err)
		return err;
	for (unsigned i = 0; i < FMT_NODE_ENTRIES; i++) {
		pos = s->base + i;
		if (pos < lo || pos >= hi)
			raw[i] = le64_of(map_entry(m, 0, pos, FMT_ENT_BLOCK, first + i, 0));
	}
	/* Fresh, so that what follows in the same transaction (a punch of a part) costs no journal.
	 */
	txn_fresh(m->t, node);
	txn_copy(m->t, mblk_to_moff(node), raw, sizeof(raw));
	*entry = map_entry(m, s->level, s->base, FMT_ENT_NODE, node.v, flags);
	return 0;
}

int map_split(struct inode_edit *e, fblk_t fblk)
{
	struct map_tree m;
	struct map_slot s;
	uint64_t entry;
	int err;

	err = map_tree_of_edit(&m, e, FMT_FORK_DATA);
	if (err || fblk.v >= map_end(&m))
		return err;
	err = map_tree_find(&m, fblk.v, 1, &s);
	if (err || fmt_entry_kind_of(s.entry) != FMT_ENT_HUGE)
		return err;
	err = map_tree_room(&m, MAP_ROOM_BITS + MAP_ROOM_WORD);
	if (err)
		return err;
	err = map_split_leaf(&m, &s, 0, 0, 0, &entry);
	if (err)
		return err;
	map_slot_set(&m, &s, entry);
	return map_tree_to_edit(&m, e);
}
