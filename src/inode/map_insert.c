/* Mapping blocks that a file has got.
 *
 * The range is cut into pieces that go into one node each:
 *
 *	file    |..512..|..512..|..512..|..
 *	piece   |--------huge leaves----|	both positions are frame-aligned: entries of level 1,
 *						as many as whole frames are covered
 *	piece   |--b--|--blocks-|--blocks	else: entries of level 0, up to the next frame
 *
 * Crash: nodes are written before the commit and are reached only through what it changes; all or
 * nothing.
 */
#include "inode/map_tree.h"

struct piece {
	uint64_t pos;	/* file block */
	uint64_t blk;	/* media block */
	unsigned level; /* of its entries */
	unsigned n;	/* entries */
};

static struct piece piece_first(uint64_t pos, uint64_t blk, uint64_t n)
{
	struct piece p = {.pos = pos, .blk = blk};
	bool huge = pos % HF_BLOCKS_PER_FRAME == 0 && blk % HF_BLOCKS_PER_FRAME == 0 &&
		    n >= HF_BLOCKS_PER_FRAME;

	p.level = huge ? 1 : 0;
	p.n = (unsigned)min_u64(n >> (9 * p.level), FMT_NODE_ENTRIES - map_index(p.level, pos));
	return p;
}

static uint64_t piece_blocks(const struct piece *p)
{
	return p->n * fmt_level_blocks(p->level);
}

static uint64_t piece_entry(const struct map_tree *m, const struct piece *p, unsigned i)
{
	uint64_t off = i * fmt_level_blocks(p->level);

	return map_entry(m, p->level, p->pos + off, p->level ? FMT_ENT_HUGE : FMT_ENT_BLOCK,
			 p->blk + off, 0);
}

/* Makes the root's range hold the piece, by putting new nodes over it. An entry's check does not
 * change by that: the old root stays the entry of its level for block 0. */
static int grow(struct map_tree *m, const struct piece *p)
{
	uint64_t end = p->pos + piece_blocks(p);
	mblk_t node;
	int err;

	if (m->root == 0)
		m->height = p->level;
	while (m->height < p->level || fmt_level_blocks(m->height) < end) {
		if (m->root) {
			err = map_node_alloc(m, 0, MBLK_NULL, &node);
			if (err)
				return err;
			txn_fresh(m->t, node);
			txn_set64(m->t, mblk_to_moff(node), m->root);
			m->root = map_entry(m, m->height + 1, 0, FMT_ENT_NODE, node.v, 0);
		}
		m->height++;
	}
	return 0;
}

static int occupied(const struct map_tree *m, uint64_t pos)
{
	return err_set(-EUCLEAN, "inode %llu: file block %llu is mapped already",
		       (unsigned long long)m->owner.v, (unsigned long long)pos);
}

/* Goes down to the piece's first entry and makes the nodes that are missing on the way. *fresh: the
 * last of them was. */
static int descend(struct map_tree *m, const struct piece *p, struct map_slot *out, bool *fresh)
{
	struct map_slot s = map_slot_root(m);
	mblk_t node, near = MBLK_NULL;
	int err;

	*fresh = false;
	while (s.level > p->level) {
		err = map_verify(m, &s);
		if (err)
			return err;
		if (s.entry == 0) {
			err = map_tree_room(m, MAP_ROOM_BITS + MAP_ROOM_WORD);
			if (err == 0)
				err = map_node_alloc(m, 0, near, &node);
			if (err)
				return err;
			txn_fresh(m->t, node);
			s.entry = map_entry(m, s.level, s.base, FMT_ENT_NODE, node.v, 0);
			map_slot_set(m, &s, s.entry);
			*fresh = true;
		} else if (!map_is_node(s.entry)) {
			return occupied(m, p->pos);
		}
		near = fmt_entry_blk(s.entry);
		map_slot_down(m, &s, p->pos);
	}
	*out = s;
	return 0;
}

/* The slot is a hole, or becomes one: a node that was left empty is freed. */
static int vacate(struct map_tree *m, const struct map_slot *s)
{
	struct map_run r = {.kind = SPACE_METADATA, .anywhere = true};
	mblk_t node = fmt_entry_blk(s->entry);
	int err;

	if (s->entry == 0)
		return 0;
	err = map_verify(m, s);
	if (err)
		return err;
	if (!map_is_node(s->entry) || txn_is_fresh(m->t, node) || !map_node_is_empty(m, node))
		return occupied(m, s->base);
	err = map_run_add(m, &r, node.v, 1, 0);
	return err ? err : map_run_flush(m, &r);
}

static int fill_node(struct map_tree *m, const struct piece *p, const struct map_slot *first,
		     bool fresh)
{
	le64_t raw[FMT_NODE_ENTRIES];
	struct map_slot s = *first;
	int err;

	for (unsigned i = 0; i < p->n && !fresh; i++) {
		s.off = moff_add(first->off, 8ull * i);
		s.base = first->base + i * fmt_level_blocks(s.level);
		s.entry = map_load(m, s.off);
		err = vacate(m, &s);
		if (err)
			return err;
	}
	if (!fresh) {
		err = map_tree_room(m, MAP_ROOM_COPY(p->n));
		if (err)
			return err;
	}
	if (p->n == 1) {
		txn_set64(m->t, first->off, piece_entry(m, p, 0));
		return 0;
	}
	for (unsigned i = 0; i < p->n; i++)
		raw[i] = le64_of(piece_entry(m, p, i));
	txn_copy(m->t, first->off, raw, 8 * p->n);
	return 0;
}

static int insert_piece(struct map_tree *m, const struct piece *p)
{
	struct map_slot s;
	bool fresh;
	int err;

	err = grow(m, p);
	if (err)
		return err;
	err = descend(m, p, &s, &fresh);
	if (err)
		return err;
	m->delta += (int64_t)piece_blocks(p);
	if (s.off.v)
		return fill_node(m, p, &s, fresh);
	err = vacate(m, &s);
	if (err)
		return err;
	m->root = piece_entry(m, p, 0);
	return 0;
}

int map_insert(struct inode_edit *e, enum fmt_fork fork, fblk_t fblk, mblk_t blk, uint64_t n)
{
	struct map_tree m;
	struct piece p;
	int err;

	HF_ASSERT(geo_block_ok(&e->in->fs->geo, blk));
	HF_ASSERT(n <= e->in->fs->geo.end_data.v - blk.v);
	if (fblk.v > MAP_MAX_BLOCKS || n > MAP_MAX_BLOCKS - fblk.v)
		return err_set(-EFBIG, "inode %llu: file block %llu is beyond what a file can have",
			       (unsigned long long)e->in->ino.v, (unsigned long long)(fblk.v + n));
	err = map_tree_of_edit(&m, e, fork);
	if (err)
		return err;
	for (uint64_t done = 0; done < n; done += piece_blocks(&p)) {
		p = piece_first(fblk.v + done, blk.v + done, n - done);
		err = insert_piece(&m, &p);
		if (err)
			return err;
	}
	return map_tree_to_edit(&m, e);
}
