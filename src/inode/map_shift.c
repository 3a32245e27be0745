/* Moving the tail of a file up or down its positions: INSERT_RANGE and COLLAPSE_RANGE.
 *
 * A position is part of an entry's check, so every node of the tail is written afresh, in file
 * order: one node per level is under construction, and is closed when the next entry lies beyond
 * it. What lies before the tail stays as it is, but for the nodes on the path to it.
 *
 *	INSERT    |--kept--|----tail----|            ->  |--kept--|  hole  |----tail----|
 *	COLLAPSE  |--kept--|--gone--|----tail----|   ->  |--kept--|----tail----|
 *	                                           and   |  hole  |--gone--|
 *
 * What a collapse takes out becomes a map of its own, at the old positions, for an orphan slot: its
 * leaves and the nodes that lie wholly in it are taken over as they are.
 *
 * The work is done twice: first on paper, to know how many nodes it takes (a block that was
 * allocated cannot be given back) and which go; then for good, when everything is known to fit into
 * the transaction.
 *
 * Locking: layout exclusive.
 * Crash: the fresh nodes are durable before the record that swaps the root and frees the old ones.
 */
#include "inode/map_tree.h"
#include <stdlib.h>

/* The node of level-l entries that is under construction. */
struct shift_level {
	bool open, punched;
	uint64_t base;
	uint64_t entry[FMT_NODE_ENTRIES];
};

/* A map under construction. */
struct shift_tree {
	unsigned height; /* of its root */
	uint64_t root;
	struct shift_level at[FMT_MAX_HEIGHT];
};

struct shift {
	struct map_tree *m;
	uint64_t from, to;
	uint64_t keep; /* blocks below it stay: min(from, to) */
	bool take_out; /* [keep, from) is taken out; else it has to be a hole */
	bool for_good;
	bool punched; /* the node that entries are taken from is marked so */

	uint64_t nodes; /* fresh ones: counted, then taken from 'ext' */
	struct mext *ext;
	size_t n_ext, cur_ext;

	mblk_t *old; /* nodes that go */
	size_t n_old, cap_old;

	struct shift_tree stay, gone;
};

/* ---- building */

static mblk_t shift_take_block(struct shift *s)
{
	struct mext *x;

	while (s->ext[s->cur_ext].n == 0)
		s->cur_ext++;
	HF_ASSERT(s->cur_ext < s->n_ext);
	x = &s->ext[s->cur_ext];
	x->n--;
	return MBLK(x->first.v++);
}

/* Puts an entry where it belongs; the node there is opened if it was not. */
static void shift_place(struct shift_tree *t, unsigned level, uint64_t pos, uint64_t entry)
{
	struct shift_level *l;

	if (level == t->height) {
		t->root = entry;
		return;
	}
	l = &t->at[level];
	if (!l->open) {
		l->open = true;
		l->punched = false;
		l->base = map_round_down(pos, level + 1);
		memset(l->entry, 0, sizeof(l->entry));
	}
	l->entry[map_index(level, pos)] = entry;
}

/* Closes every node that ends at or before pos. They are nested, so the lower go first and into the
 * higher. */
static void shift_close(struct shift *s, struct shift_tree *t, uint64_t pos)
{
	if (t->at[0].open && pos < t->at[0].base + FMT_NODE_ENTRIES)
		return;
	for (unsigned level = 0; level < t->height; level++) {
		struct shift_level *l = &t->at[level];
		uint64_t entry = 1;
		mblk_t node;

		if (!l->open || pos < l->base + fmt_level_blocks(level + 1))
			continue;
		s->nodes++;
		if (s->for_good) {
			node = shift_take_block(s);
			map_node_write(s->m, node, l->entry);
			entry = map_entry(s->m, level + 1, l->base, FMT_ENT_NODE, node.v,
					  l->punched ? FMT_ENT_PUNCHED : 0);
		}
		l->open = false;
		shift_place(t, level + 1, l->base, entry);
	}
}

static void shift_put(struct shift *s, struct shift_tree *t, unsigned level, uint64_t pos,
		      uint64_t entry)
{
	shift_close(s, t, pos);
	shift_place(t, level, pos, entry);
	if (level == 0 && s->punched && t->height > 0)
		t->at[0].punched = true;
}

/* ---- taking apart */

static int shift_old_node(struct shift *s, mblk_t node)
{
	size_t cap = s->cap_old ? 2 * s->cap_old : 64;
	mblk_t *p;

	if (s->n_old == s->cap_old) {
		p = realloc(s->old, cap * sizeof(p[0]));
		if (!p)
			return err_set(-ENOMEM, "moving a part of a file: out of memory");
		s->old = p;
		s->cap_old = cap;
	}
	s->old[s->n_old++] = node;
	return 0;
}

/* A leaf of which at least a part is in the tail. A huge one stays huge only where its new place is
 * a whole frame. */
static int shift_leaf(struct shift *s, const struct map_slot *e)
{
	uint64_t blk = fmt_entry_blk(e->entry).v, n = fmt_level_blocks(e->level), pos;
	uint64_t up = s->to - s->from; /* modulo 2^64 */
	int err;

	if (e->level == 1 && e->base >= s->from && up % HF_BLOCKS_PER_FRAME == 0) {
		pos = e->base + up;
		shift_put(s, &s->stay, 1, pos, map_entry(s->m, 1, pos, FMT_ENT_HUGE, blk, 0));
		return 0;
	}
	if (e->level == 1 && s->for_good) {
		err = space_split(s->m->fs->space, s->m->t, mblk_to_frame(MBLK(blk)));
		if (err)
			return err;
	}
	for (uint64_t i = 0; i < n; i++) {
		struct shift_tree *t = &s->stay;

		pos = e->base + i;
		if (pos >= s->keep && pos < s->from) {
			if (!s->take_out)
				return err_set(
				    -EINVAL,
				    "inode %llu: file block %llu is not a hole to be closed",
				    (unsigned long long)s->m->owner.v, (unsigned long long)pos);
			t = &s->gone;
		}
		if (pos >= s->from)
			pos += up;
		shift_put(s, t, 0, pos, map_entry(s->m, 0, pos, FMT_ENT_BLOCK, blk + i, 0));
	}
	return 0;
}

/* All of the map once, in file order: what lies before the tail is put back as it is, down to the
 * path to the tail. */
static int shift_pass(struct shift *s)
{
	struct map_iter it = {.m = s->m};
	struct map_slot e;
	int err = 0;

	s->nodes = 0;
	s->stay.root = s->gone.root = 0;
	s->punched = false;
	while (err == 0 && map_iter_next(&it, &e)) {
		err = map_verify(s->m, &e);
		if (err)
			return err;
		if (e.level > 0)
			s->punched = (e.entry & FMT_ENT_PUNCHED) != 0;
		if (map_slot_end(&e) <= s->keep) {
			shift_put(s, &s->stay, e.level, e.base, e.entry);
		} else if (s->take_out && e.base >= s->keep && map_slot_end(&e) <= s->from) {
			shift_put(s, &s->gone, e.level, e.base, e.entry);
		} else if (!map_is_node(e.entry)) {
			err = shift_leaf(s, &e);
		} else {
			map_iter_enter(&it, &e);
			if (!s->for_good)
				err = shift_old_node(s, fmt_entry_blk(e.entry));
		}
	}
	shift_close(s, &s->stay, UINT64_MAX);
	shift_close(s, &s->gone, UINT64_MAX);
	return err;
}

/* ---- what the transaction has to name */

static int cmp_mblk(const void *a, const void *b)
{
	const mblk_t *x = a, *y = b;

	return x->v < y->v ? -1 : x->v > y->v;
}

/* Sorts the old nodes; returns in how many runs they lie. */
static size_t shift_sort_old(struct shift *s)
{
	size_t runs = 0;

	if (s->n_old)
		qsort(s->old, s->n_old, sizeof(s->old[0]), cmp_mblk);
	for (size_t i = 0; i < s->n_old; i++)
		if (i == 0 || s->old[i].v != s->old[i - 1].v + 1)
			runs++;
	return runs;
}

static int shift_free_old(struct shift *s)
{
	struct map_run run = {.kind = SPACE_METADATA, .anywhere = true};
	int err = 0;

	for (size_t i = 0; i < s->n_old && err == 0; i++)
		err = map_run_add(s->m, &run, s->old[i].v, 1, 0);
	return err ? err : map_run_flush(s->m, &run);
}

static int shift_alloc(struct shift *s)
{
	uint32_t most = txn_room(s->m->t) / MAP_ROOM_BITS;
	mblk_t hint = MBLK_NULL;
	int err;

	if (s->nodes > (uint64_t)most * HF_BLOCKS_PER_FRAME)
		return map_tree_room(s->m, TXN_MAX_BYTES);
	s->ext = calloc(most + 1, sizeof(s->ext[0]));
	if (!s->ext)
		return err_set(-ENOMEM, "moving a part of a file: out of memory");
	for (uint64_t left = s->nodes; left > 0; left -= s->ext[s->n_ext++].n) {
		struct mext *x = &s->ext[s->n_ext];

		err = map_tree_room(s->m, MAP_ROOM_BITS);
		if (err)
			return err;
		err =
		    space_alloc(s->m->fs->space, s->m->t,
				(uint32_t)min_u64(left, HF_BLOCKS_PER_FRAME), hint, SPACE_META, x);
		if (err)
			return err;
		s->m->delta += (int64_t)x->n;
		hint = MBLK(x->first.v + x->n);
	}
	return 0;
}

static int shift_run(struct shift *s)
{
	size_t runs;
	int err;

	err = shift_pass(s);
	if (err)
		return err;
	runs = shift_sort_old(s);
	if (runs > TXN_MAX_BYTES / MAP_ROOM_BITS)
		return map_tree_room(s->m, TXN_MAX_BYTES);
	err = map_tree_room(s->m, (uint32_t)runs * MAP_ROOM_BITS);
	if (err == 0)
		err = shift_free_old(s);
	if (err == 0)
		err = shift_alloc(s);
	if (err)
		return err;
	s->for_good = true;
	err = shift_pass(s);
	s->m->root = s->stay.root;
	s->m->height = s->stay.height;
	return err;
}

/* The last block that is mapped, or a little beyond. UINT64_MAX: nothing is. */
static int shift_last(const struct map_tree *m, uint64_t *out)
{
	struct map_slot s = map_slot_root(m), next;
	unsigned i;
	int err;

	*out = UINT64_MAX;
	if (m->root == 0)
		return 0;
	for (;;) {
		err = map_verify(m, &s);
		if (err)
			return err;
		if (!map_is_node(s.entry))
			break;
		for (i = FMT_NODE_ENTRIES; i-- > 0;) {
			next = s;
			map_slot_down(m, &next, s.base + i * fmt_level_blocks(s.level - 1));
			if (next.entry)
				break;
		}
		if (next.entry == 0)
			break;
		s = next;
	}
	*out = map_slot_end(&s) - 1;
	return 0;
}

static int shift_too_big(const struct map_tree *m)
{
	return err_set(
	    -EFBIG,
	    "inode %llu: moving that part of it would change too much at once, or end beyond the "
	    "largest file",
	    (unsigned long long)m->owner.v);
}

/* What was taken out is not the inode's any more, nor are the nodes that were written for it. */
static int shift_gone(struct shift *s, uint64_t *entry, unsigned *level)
{
	int64_t n;
	int err = map_count(s->m, s->gone.root, s->gone.height, 0, &n);

	if (err)
		return err;
	s->m->delta -= n;
	*entry = s->gone.root;
	*level = s->gone.height;
	return 0;
}

static int shift_plan(struct shift *s, uint64_t last)
{
	uint64_t end = last >= s->from ? last - s->from + 1 : 0;

	if (s->to > MAP_MAX_BLOCKS || end > MAP_MAX_BLOCKS - s->to)
		return shift_too_big(s->m);
	end += s->to;
	s->keep = min_u64(s->from, s->to);
	s->gone.height = s->stay.height = s->m->height;
	while (fmt_level_blocks(s->stay.height) < end)
		s->stay.height++;
	return 0;
}

/* entry: NULL, or what is taken out of [to, from) comes back. */
static int shift_map(struct inode_edit *e, fblk_t from, fblk_t to, uint64_t *entry, unsigned *level)
{
	struct map_tree m;
	struct shift *s;
	uint64_t last;
	int err;

	err = map_tree_of_edit(&m, e, FMT_FORK_DATA);
	if (err)
		return err;
	HF_ASSERT(m.kind == SPACE_DATA);
	err = shift_last(&m, &last);
	if (err || from.v == to.v || last == UINT64_MAX || last < (entry ? to.v : from.v))
		return err;
	s = calloc(1, sizeof(*s));
	if (!s)
		return err_set(-ENOMEM, "moving a part of a file: out of memory");
	s->m = &m;
	s->from = from.v;
	s->to = to.v;
	s->take_out = entry != NULL;
	err = shift_plan(s, last);
	if (err == 0)
		err = shift_run(s);
	if (err == 0 && s->gone.root)
		err = shift_gone(s, entry, level);
	if (err == -E2BIG)
		err = shift_too_big(&m);
	free(s->old);
	free(s->ext);
	free(s);
	return err ? err : map_tree_to_edit(&m, e);
}

int map_shift(struct inode_edit *e, fblk_t from, fblk_t to)
{
	return shift_map(e, from, to, NULL, NULL);
}

int map_collapse(struct inode_edit *e, fblk_t fblk, uint64_t n, uint64_t *entry, unsigned *level,
		 fblk_t *at)
{
	int err;

	*entry = 0;
	*level = 0;
	*at = FBLK(0);
	err = shift_map(e, FBLK(fblk.v + n), fblk, entry, level);
	if (err)
		*entry = 0;
	return err;
}
