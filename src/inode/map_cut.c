/* Taking a range of any size out of a map: one entry is swapped, what goes hangs on another.
 *
 * The smallest subtree that holds the range is written as two. Only the nodes on the paths to the
 * two edges are written afresh; everything between belongs to the one or the other side as it
 * stands:
 *
 *	           [ E ]                               [ E stays ]          [ E goes ]
 *	  [ a | b | c | d ]                  [ a | b' |   | d' ]          [   | b" | c | d" ]
 *	  range    ..---------..      ->            |        |                  |         |
 *	      [x|y]   [z|w]                      [x|  ]   [  |w]             [  |y]     [z|  ]
 *
 * With six levels that is one node at the top and two below it per level, each written twice.
 *
 * Locking: layout exclusive.
 * Crash: the fresh nodes are durable before the record that swaps the entry; the old edge nodes are
 * freed by it.
 */
#include "inode/map_tree.h"

/* The two sides of an entry. One of them 0: the other is the entry, and nothing was written. */
struct cut_pair {
	uint64_t stay, drop;
};

struct cut {
	struct map_tree *m;
	uint64_t lo, hi;
	struct map_run old; /* edge nodes that are freed */
};

/* An entry of 'level' for a fresh node with these entries. */
static int cut_write(struct cut *c, unsigned level, uint64_t base, const uint64_t *entries,
		     uint64_t flags, uint64_t *entry)
{
	mblk_t node;
	int err;

	err = map_node_alloc(c->m, SPACE_RESERVE, MBLK_NULL, &node);
	if (err)
		return err;
	map_node_write(c->m, node, entries);
	*entry = map_entry(c->m, level, base, FMT_ENT_NODE, node.v, flags);
	return 0;
}

static int cut_write_pair(struct cut *c, const struct map_slot *s, const uint64_t *stay,
			  const uint64_t *drop, struct cut_pair *out)
{
	uint64_t flags = s->level == 1 ? c->m->punched : 0;
	int err;

	err = cut_write(c, s->level, s->base, stay, flags, &out->stay);
	if (err)
		return err;
	return cut_write(c, s->level, s->base, drop, 0, &out->drop);
}

/* A leaf: of a huge one both sides may get blocks. */
static int cut_leaf(struct cut *c, const struct map_slot *s, struct cut_pair *out)
{
	uint64_t stay[FMT_NODE_ENTRIES] = {0}, drop[FMT_NODE_ENTRIES] = {0};
	uint64_t first = fmt_entry_blk(s->entry).v;
	int err;

	*out = (struct cut_pair){.drop = s->entry};
	if (c->lo <= s->base && map_slot_end(s) <= c->hi)
		return 0;
	err = space_split(c->m->fs->space, c->m->t, mblk_to_frame(MBLK(first)));
	if (err)
		return err;
	for (unsigned i = 0; i < FMT_NODE_ENTRIES; i++) {
		uint64_t pos = s->base + i,
			 e = map_entry(c->m, 0, pos, FMT_ENT_BLOCK, first + i, 0);

		if (pos >= c->lo && pos < c->hi)
			drop[i] = e;
		else
			stay[i] = e;
	}
	return cut_write_pair(c, s, stay, drop, out);
}

/*
 * A node of which each entry goes where it belongs:
 * 1. in the range              entry   |--|      range  --------
 * 2. outside                   entry   |--|      range            -----
 * 3. cut by the range's start  entry   |----|    range     -------         *lo has its two sides
 * 4. cut by the range's end    entry   |----|    range  ----               *hi has its two sides
 */
static int cut_node(struct cut *c, const struct map_slot *s, const struct cut_pair *lo,
		    const struct cut_pair *hi, struct cut_pair *out)
{
	uint64_t stay[FMT_NODE_ENTRIES] = {0}, drop[FMT_NODE_ENTRIES] = {0};
	mblk_t node = fmt_entry_blk(s->entry);
	bool stays = false, goes = false;
	struct map_slot e = {.level = s->level - 1};
	int err;

	for (unsigned i = 0; i < FMT_NODE_ENTRIES; i++) {
		e.base = s->base + i * fmt_level_blocks(e.level);
		e.entry = map_load(c->m, map_entry_off(node, i));
		err = map_verify(c->m, &e);
		if (err)
			return err;
		if (e.base < c->lo && map_slot_end(&e) > c->lo) {
			stay[i] = lo->stay;
			drop[i] = lo->drop;
		} else if (e.base < c->hi && map_slot_end(&e) > c->hi) {
			stay[i] = hi->stay;
			drop[i] = hi->drop;
		} else if (e.base >= c->lo && e.base < c->hi) {
			drop[i] = e.entry;
		} else {
			stay[i] = e.entry;
		}
		stays = stays || stay[i];
		goes = goes || drop[i];
	}
	*out = (struct cut_pair){.stay = goes ? 0 : s->entry, .drop = goes ? s->entry : 0};
	if (!stays || !goes)
		return 0;
	err = map_run_add(c->m, &c->old, node.v, 1, 0);
	return err ? err : cut_write_pair(c, s, stay, drop, out);
}

/* The sides of an entry that one edge, at block p, cuts: down to where p falls between two entries,
 * then up again. */
static int cut_edge(struct cut *c, struct map_slot s, uint64_t p, struct cut_pair *out)
{
	struct map_slot path[FMT_MAX_HEIGHT];
	struct cut_pair pair = {0, 0};
	unsigned n = 0;
	int err = 0;

	while (s.base != p) {
		err = map_verify(c->m, &s);
		if (err)
			return err;
		path[n++] = s;
		if (!map_is_node(s.entry))
			break;
		map_slot_down(c->m, &s, p);
	}
	while (n > 0 && err == 0) {
		struct cut_pair below = pair;

		s = path[--n];
		if (map_is_node(s.entry))
			err = cut_node(c, &s, &below, &below, &pair);
		else if (s.entry)
			err = cut_leaf(c, &s, &pair);
		else
			pair = (struct cut_pair){0, 0};
	}
	*out = pair;
	return err;
}

/* The top of the cut: the range reaches into several entries of its node, or it is a leaf. */
static int cut_top(struct cut *c, const struct map_slot *top, struct cut_pair *out)
{
	struct cut_pair lo = {0, 0}, hi = {0, 0};
	struct map_slot s;
	int err = 0;

	*out = (struct cut_pair){0, 0};
	if (top->entry == 0)
		return 0;
	if (!map_is_node(top->entry))
		return cut_leaf(c, top, out);
	s = *top;
	map_slot_down(c->m, &s, c->lo);
	if (s.base < c->lo)
		err = cut_edge(c, s, c->lo, &lo);
	if (err == 0 && c->hi < map_slot_end(top)) {
		s = *top;
		map_slot_down(c->m, &s, c->hi);
		if (s.base < c->hi)
			err = cut_edge(c, s, c->hi, &hi);
	}
	return err ? err : cut_node(c, top, &lo, &hi, out);
}

/* The smallest entry that holds the range: path[*n - 1], below those that lead to it. */
static int cut_find(const struct cut *c, struct map_slot *path, unsigned *n)
{
	struct map_slot s = map_slot_root(c->m);
	int err;

	*n = 0;
	for (;;) {
		err = map_verify(c->m, &s);
		if (err)
			return err;
		path[(*n)++] = s;
		if (!map_is_node(s.entry) ||
		    map_round_down(c->lo, s.level - 1) != map_round_down(c->hi - 1, s.level - 1))
			return 0;
		map_slot_down(c->m, &s, c->lo);
	}
}

static int cut_run(struct cut *c, uint64_t *entry, struct map_slot *at)
{
	struct map_slot path[FMT_MAX_HEIGHT + 1];
	struct cut_pair pair;
	int64_t dropped;
	unsigned n;
	int err;

	err = cut_find(c, path, &n);
	if (err == 0)
		err = map_tree_room(c->m, MAP_ROOM_WORD);
	if (err == 0)
		err = cut_top(c, &path[n - 1], &pair);
	if (err || pair.drop == 0)
		return err;
	/* A node that would be left empty goes as a whole. */
	while (pair.stay == 0 && n > 1) {
		unsigned idx = map_index(path[n - 1].level, path[n - 1].base);

		if (!map_node_alone(c->m, fmt_entry_blk(path[n - 2].entry), idx, idx))
			break;
		n--;
		pair.drop = path[n - 1].entry;
	}
	*at = path[n - 1];
	*entry = pair.drop;
	map_slot_set(c->m, at, pair.stay);
	err = map_count(c->m, pair.drop, at->level, at->base, &dropped);
	if (err == 0)
		err = map_run_flush(c->m, &c->old);
	/* Fresh nodes of either side and the old ones are in delta; those that go are not the
	 * inode's any more. */
	c->m->delta -= dropped;
	return err;
}

int map_cut(struct inode_edit *e, enum fmt_fork fork, fblk_t fblk, uint64_t n, uint64_t *entry,
	    unsigned *level, fblk_t *at)
{
	struct map_slot where = {.entry = 0};
	struct map_tree m;
	struct cut c = {.m = &m, .old = {.kind = SPACE_METADATA, .anywhere = true}};
	int err;

	*entry = 0;
	*level = 0;
	*at = fblk;
	err = map_tree_of_edit(&m, e, fork);
	if (err)
		return err;
	HF_ASSERT(m.kind == SPACE_DATA); /* map_free_some() takes it for that */
	c.lo = fblk.v;
	c.hi = min_u64(n > UINT64_MAX - fblk.v ? UINT64_MAX : fblk.v + n, map_end(&m));
	if (m.root == 0 || c.lo >= c.hi)
		return 0;
	err = cut_run(&c, entry, &where);
	if (err) {
		*entry = 0;
		return err;
	}
	*level = where.level;
	*at = FBLK(where.base);
	return map_tree_to_edit(&m, e);
}
