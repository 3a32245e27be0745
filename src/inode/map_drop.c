/* Taking a range out of a map and freeing it.
 *
 * The range is gone through backwards, so that a truncation that has to stop leaves a shorter file
 * and not one with a hole. A node that becomes empty is freed as it stands. Only a node that stays
 * has its dropped entries zeroed, when the walk leaves it (so a node costs one item, however many
 * of its entries go):
 *
 *	range           ....----------....
 *	level 2         [ a | b | c | d ]	c, the end of b and the start of d go
 *	level 1      [..|..]  [..]  [..|..]
 *	zeroed           xx          xx		in b's node, in d's node, and c's entry
 *
 * c's node is freed with all below it, without one store into it.
 *
 * Locking: layout exclusive (or the subtree is reachable from an orphan slot only).
 * Crash: after a stop what is left is a valid map, but that its last node may be empty.
 */
#include "inode/map_drop.h"

/* One call looks at no more entries than this (a few hundred us) before it lets others have the
 * lock. */
#define DROP_WORK_MAX (128u * 1024u)

/* Runs of content that are gathered before they are given to the allocator. */
#define DROP_RUNS 512u

/* A node on the way down. The root entry stands as the only entry of a node of its own, above all
 * others. */
struct drop_level {
	struct map_slot node;		  /* the entry that points at the node */
	int next;			  /* entries [first, next] are still to be looked at */
	int first, last;		  /* those that the range touches */
	bool kept;			  /* one of them stays, or a part of it */
	bool pending;			  /* the transaction may have changed entries before the walk came here */
	uint16_t zero_lo, zero_hi, zeros; /* those that were dropped */
	uint32_t zero_bytes;		  /* what zeroing them would take in the record */
};

struct drop {
	struct map_tree *m;
	uint64_t lo, hi;
	unsigned flags;
	struct map_run data, nodes;
	struct space_run *out; /* of DROP_RUNS: runs before 'data', filled from the end, because the
				  walk goes backwards and most files lie in order */
	uint32_t nout;
	uint32_t zero_bytes; /* of all levels */
	uint32_t work;
	bool stopped;
	unsigned level; /* where the walk is: the level of the entries that it looks at */
	struct drop_level at[FMT_MAX_HEIGHT + 1];
};

static bool drop_at_root(const struct drop *d)
{
	return d->level == d->m->height;
}

/* Bytes of the record that neither its items nor the runs that are gathered will take. */
static uint32_t drop_room(const struct drop *d)
{
	uint32_t room = txn_room(d->m->t), taken = d->nout * MAP_ROOM_BITS;

	return room > taken ? room - taken : 0;
}

static int drop_flush(struct drop *d)
{
	uint32_t n = d->nout;
	int err;

	if (n == 0)
		return 0;
	err = map_tree_room(d->m, n * MAP_ROOM_BITS);
	if (err)
		return err;
	d->nout = 0;
	return space_free_runs(d->m->fs->space, d->m->t, d->out + DROP_RUNS - n, n, d->m->kind,
			       d->m->owner);
}

/* A run is complete; there is place for it. */
static void drop_push(struct drop *d, uint64_t blk, uint64_t n, uint64_t fblk)
{
	d->nout++;
	d->out[DROP_RUNS - d->nout] = (struct space_run){MBLK(blk), n, FBLK(fblk)};
}

static int drop_data(struct drop *d, uint64_t blk, uint64_t n, uint64_t fblk)
{
	int err = 0;

	d->m->delta -= (int64_t)n;
	if (map_run_join(&d->data, blk, n, fblk))
		return 0;
	if (d->nout == DROP_RUNS)
		err = drop_flush(d);
	if (err)
		return err;
	if (d->data.n)
		drop_push(d, d->data.first, d->data.n, d->data.fblk);
	d->data.first = blk;
	d->data.fblk = fblk;
	d->data.n = n;
	return 0;
}

/* An entry that the walk has not come to yet. */
static uint64_t drop_load(const struct drop *d, moff_t off)
{
	return d->at[d->level].pending ? map_load(d->m, off) : pm_load64(d->m->pm, off);
}

static void drop_slot(const struct drop *d, int idx, struct map_slot *s)
{
	const struct drop_level *l = &d->at[d->level];

	if (drop_at_root(d)) {
		*s = map_slot_root(d->m);
		return;
	}
	s->level = d->level;
	s->off = map_entry_off(fmt_entry_blk(l->node.entry), (unsigned)idx);
	s->base = l->node.base + (uint64_t)idx * fmt_level_blocks(d->level);
	s->entry = drop_load(d, s->off);
}

/* A node was flushed when it was written and may be out of the cache since: all its lines at once,
 * not one by one. */
static void drop_prefetch(const struct map_tree *m, mblk_t node, int first, int last)
{
	const char *p = pm_at(m->pm, mblk_to_moff(node));

	for (int i = first / 8; i <= last / 8; i++)
		__builtin_prefetch(p + i * (int)HF_LINE);
}

static void drop_enter(struct drop *d, const struct map_slot *node)
{
	struct drop_level *l = &d->at[--d->level];
	uint64_t lo = max_u64(d->lo, node->base), hi = min_u64(d->hi, map_slot_end(node));

	memset(l, 0, sizeof(*l));
	l->node = *node;
	l->first = (int)map_index(d->level, lo);
	l->last = (int)map_index(d->level, hi - 1);
	l->next = l->last;
	l->pending = txn_may_have(d->m->t, mblk_to_moff(fmt_entry_blk(node->entry)), HF_BLOCK_SIZE);
	d->work += (uint32_t)(l->last - l->first) + 1;
	drop_prefetch(d->m, fmt_entry_blk(node->entry), l->first, l->last);
}

/* The n entries [lo, hi] are gone. If the node stays it takes a few set64 or one run of zeros,
 * whichever is shorter. */
static void drop_entries(struct drop *d, int lo, int hi, unsigned n)
{
	struct drop_level *l = &d->at[d->level];
	uint32_t bytes;

	if (drop_at_root(d)) {
		d->m->root = 0;
		return;
	}
	if (l->zeros == 0)
		l->zero_hi = (uint16_t)hi;
	l->zero_lo = (uint16_t)lo;
	l->zeros = (uint16_t)(l->zeros + n);
	bytes = (uint32_t)min_u64(MAP_ROOM_WORD * (uint64_t)l->zeros,
				  MAP_ROOM_COPY(l->zero_hi - l->zero_lo + 1));
	d->zero_bytes += bytes - l->zero_bytes;
	l->zero_bytes = bytes;
}

/* Zeroes what was dropped of the node. Entries between that were not dropped were zero. */
static void drop_zero(struct drop *d, struct drop_level *l)
{
	static const le64_t zeros[FMT_NODE_ENTRIES];
	mblk_t node = fmt_entry_blk(l->node.entry);
	uint32_t n = l->zero_hi - l->zero_lo + 1u;

	if (l->zeros == 0)
		return;
	if (MAP_ROOM_COPY(n) <= MAP_ROOM_WORD * l->zeros) {
		txn_copy(d->m->t, map_entry_off(node, l->zero_lo), zeros, 8 * n);
	} else {
		for (unsigned i = l->zero_lo; i <= l->zero_hi; i++)
			if (map_load(d->m, map_entry_off(node, i)) != 0)
				txn_set64(d->m->t, map_entry_off(node, i), 0);
	}
	d->zero_bytes -= l->zero_bytes;
	l->zero_bytes = 0;
	l->zeros = 0;
}

/* Entry 'next' of the current node stays, or a part of it. What was dropped before it is zeroed
 * now, so that it does not lie between what is dropped (a fresh node may stay anywhere, other
 * entries only where the range ends). */
static void drop_keep(struct drop *d)
{
	struct drop_level *l = &d->at[d->level];

	l->kept = true;
	drop_zero(d, l);
}

/* The room that one more leaf may take: its run, what zeroing has grown to, a node freed and a mark
 * set per level, and the two runs that are still to be written. */
static uint32_t drop_need(const struct drop *d)
{
	uint32_t path = (d->m->height + 1) * (MAP_ROOM_BITS + MAP_ROOM_WORD);

	return d->zero_bytes + MAP_ROOM_WORD + 4 * MAP_ROOM_BITS + path + MAP_ROOM_KEEP;
}

static int drop_full(struct drop *d)
{
	if (!(d->flags & MAP_DROP_SOME))
		return err_set(
		    -E2BIG, "inode %llu: its file blocks %llu to %llu do not go in one transaction",
		    (unsigned long long)d->m->owner.v, (unsigned long long)d->lo,
		    (unsigned long long)d->hi);
	d->stopped = true;
	return 0;
}

/*
 * A huge leaf of which a part stays:
 *	leaf     |----------------|        |----------------|        |----------------|
 *	range          [-------- ..   ..  ------]                        [------]
 *	stays    |-----|                        |-----------|        |---|      |-----|
 */
static int drop_part_of_leaf(struct drop *d, const struct map_slot *s)
{
	uint64_t lo = max_u64(d->lo, s->base), hi = min_u64(d->hi, map_slot_end(s));
	uint64_t entry;
	int err;

	drop_keep(d);
	err = map_split_leaf(d->m, s, lo, hi, d->m->punched, &entry);
	if (err == -ENOSPC && (d->flags & MAP_DROP_KEEP_LEAF))
		return 0;
	if (err)
		return err;
	map_slot_set(d->m, s, entry);
	return drop_data(d, fmt_entry_blk(s->entry).v + (lo - s->base), hi - lo, lo);
}

static int drop_leaf(struct drop *d, const struct map_slot *s, int idx)
{
	uint64_t n = fmt_level_blocks(s->level);

	if (drop_room(d) < drop_need(d) ||
	    ((d->flags & MAP_DROP_SOME) && d->work > DROP_WORK_MAX))
		return drop_full(d);
	if (s->base < d->lo || s->base + n > d->hi)
		return drop_part_of_leaf(d, s);
	drop_entries(d, idx, idx, 1);
	return drop_data(d, fmt_entry_blk(s->entry).v, n, s->base);
}

/* The leaves right before the one just dropped, as long as there is room for what each may take of the
 * record: zeros, and a run of its own. What ends the row is left to the general way. */
static void drop_leaves(struct drop *d)
{
	const uint32_t most = MAP_ROOM_WORD + MAP_ROOM_BITS;
	const struct map_key key = d->m->key;
	const unsigned level = d->level;
	const uint64_t n = fmt_level_blocks(level);
	struct drop_level *l = &d->at[level];
	uint64_t first = d->data.first, base = d->data.fblk, len = d->data.n, entry;
	uint32_t room = drop_room(d), need = drop_need(d);
	/* The leaf just dropped may have used up what there was above the need. */
	uint32_t left = room > need ? room - need : 0;
	moff_t off = map_entry_off(fmt_entry_blk(l->node.entry), (unsigned)l->next);
	int at = l->next;

	for (; at > l->first && base >= d->lo + n && left >= most && d->nout < DROP_RUNS; at--) {
		off.v -= 8;
		entry = drop_load(d, off);
		if (entry == 0 || map_is_node(entry) ||
		    fmt_entry_verify(d->m->geo, key, level, FBLK(base - n), entry) != 0)
			break;
		left -= MAP_ROOM_WORD;
		if (fmt_entry_blk(entry).v + n != first) {
			drop_push(d, first, len, base);
			left -= MAP_ROOM_BITS;
			len = 0;
		}
		first = fmt_entry_blk(entry).v;
		base -= n;
		len += n;
	}
	d->data.first = first;
	d->data.fblk = base;
	d->data.n = len;
	if (at == l->next)
		return;
	d->m->delta -= (int64_t)((uint64_t)(l->next - at) * n);
	drop_entries(d, at, l->next - 1, (unsigned)(l->next - at));
	l->next = at;
}

/* Entry 'next' is a hole: so may be many before it, as behind the end of a file. */
static void drop_skip_holes(struct drop *d)
{
	struct drop_level *l = &d->at[d->level];
	mblk_t node = fmt_entry_blk(l->node.entry);

	while (!l->pending && l->next - 8 > l->first) {
		uint64_t any = 0;

		for (unsigned i = 1; i <= 8; i++)
			any |= pm_load64(d->m->pm, map_entry_off(node, (unsigned)l->next - i));
		if (any)
			break;
		l->next -= 8;
	}
	while (l->next > l->first && drop_load(d, map_entry_off(node, (unsigned)l->next - 1)) == 0)
		l->next--;
}

/* The walk is through with the current node. */
static int drop_leave(struct drop *d)
{
	struct drop_level *l = &d->at[d->level];
	mblk_t node = fmt_entry_blk(l->node.entry);
	bool stays = l->kept || txn_is_fresh(d->m->t, node) ||
		     !map_node_alone(d->m, node, (unsigned)l->first, (unsigned)l->last);
	int err = 0;

	if (!stays && drop_room(d) < d->zero_bytes + 3 * MAP_ROOM_BITS + MAP_ROOM_KEEP)
		return drop_full(d);
	if (stays && d->level == 0 && l->zeros && d->m->punched & ~l->node.entry)
		map_slot_set(d->m, &l->node,
			     map_entry(d->m, 1, l->node.base, FMT_ENT_NODE, node.v, d->m->punched));
	if (stays)
		drop_zero(d, l);
	else
		d->zero_bytes -= l->zero_bytes;
	d->level++;
	if (stays) {
		drop_keep(d);
	} else {
		drop_entries(d, d->at[d->level].next, d->at[d->level].next, 1);
		err = map_run_add(d->m, &d->nodes, node.v, 1, 0);
	}
	d->at[d->level].next--;
	return err;
}

static int drop_next(struct drop *d)
{
	struct drop_level *l = &d->at[d->level];
	struct map_slot s;
	int err;

	drop_slot(d, l->next, &s);
	err = map_verify(d->m, &s);
	if (err)
		return err;
	if (map_is_node(s.entry)) {
		drop_enter(d, &s);
		return 0;
	}
	if (s.entry == 0) {
		if (!drop_at_root(d))
			drop_skip_holes(d);
		l->next--;
		return 0;
	}
	err = drop_leaf(d, &s, l->next);
	if (err || d->stopped)
		return err;
	if (!drop_at_root(d) && d->data.fblk == s.base && d->data.first == fmt_entry_blk(s.entry).v)
		drop_leaves(d);
	l->next--;
	return 0;
}

int map_drop(struct map_tree *m, uint64_t lo, uint64_t hi, unsigned flags, bool *done)
{
	struct space_run out[DROP_RUNS];
	struct drop d = {
	    .m = m,
	    .out = out,
	    .lo = max_u64(lo, m->base),
	    .hi = min_u64(hi, map_end(m)),
	    .flags = flags,
	    .data = {.kind = m->kind},
	    .nodes = {.kind = SPACE_METADATA, .anywhere = true},
	    .level = m->height,
	};
	int err = 0;

	*done = true;
	HF_ASSERT(m->owner.v > FMT_INO_ORPHANS);
	if (d.lo >= d.hi)
		return 0;
	/* Ends when the root entry, idx 0 of its level, has been looked at. */
	while (err == 0 && !d.stopped && d.at[m->height].next == 0) {
		if (d.at[d.level].next >= d.at[d.level].first)
			err = drop_next(&d);
		else
			err = drop_leave(&d);
	}
	for (; err == 0 && d.level < m->height; d.level++)
		drop_zero(&d, &d.at[d.level]);
	if (err == 0 && d.nout == DROP_RUNS)
		err = drop_flush(&d);
	if (err == 0 && d.data.n)
		drop_push(&d, d.data.first, d.data.n, d.data.fblk);
	if (err == 0)
		err = drop_flush(&d);
	if (err == 0)
		err = map_run_flush(m, &d.nodes);
	*done = !d.stopped;
	return err ? err : txn_error(m->t);
}
