/* Reading the map: the run at a file block, and the next data or hole. */
#include "inode/map_tree.h"

/* The media block under 'pos', which the slot holds; 0: a hole. */
static inline uint64_t slot_block(const struct map_slot *s, uint64_t pos)
{
	return s->entry ? fmt_entry_blk(s->entry).v + (pos - s->base) : 0;
}

/* True if the verified leaf or hole s goes on with a run that began at 'first' on the media 'n'
 * blocks before. */
static inline bool slot_continues(const struct map_slot *s, uint64_t first, uint64_t n)
{
	return s->entry ? first != 0 && fmt_entry_blk(s->entry).v == first + n : first == 0;
}

/* From the leaf or hole s on to the last entry of its node that belongs to the run; returns where
 * the run ends, not beyond 'end'. *more: it reached the node's end or a lower node, and may go on
 * there. A damaged entry ends the run: the error is for whoever asks for that block. */
static uint64_t run_in_node(const struct map_tree *m, struct map_slot s, uint64_t pos,
			    uint64_t first, uint64_t end, bool *more)
{
	unsigned left = FMT_NODE_ENTRIES - 1 - map_index(s.level, s.base);
	uint64_t run_end = map_slot_end(&s);

	*more = false;
	if (s.off.v == 0)
		left = 0;
	while (run_end < end) {
		if (left-- == 0) {
			*more = true;
			break;
		}
		s.off = moff_add(s.off, 8);
		s.base = run_end;
		s.entry = map_load(m, s.off);
		if (s.entry == 0 ? first != 0 : map_verify(m, &s) != 0)
			break;
		if (map_is_node(s.entry)) {
			*more = true;
			break;
		}
		if (!slot_continues(&s, first, run_end - pos))
			break;
		run_end = map_slot_end(&s);
	}
	return min_u64(run_end, end);
}

static int tree_lookup(const struct map_tree *m, uint64_t fblk, uint64_t max,
		       struct map_extent *out)
{
	uint64_t end = max > UINT64_MAX - fblk ? UINT64_MAX : fblk + max, pos = fblk, first = 0;
	struct map_slot s;
	bool more = true;
	int err;

	*out = (struct map_extent){.fblk = FBLK(fblk), .n = end - fblk};
	while (more && pos < end) {
		if (pos >= map_end(m)) {
			if (first == 0)
				pos = end;
			break;
		}
		err = map_tree_find(m, pos, 0, &s);
		if (err && pos == fblk)
			return err;
		if (err)
			break;
		if (pos == fblk) {
			first = slot_block(&s, pos);
			out->huge = fmt_entry_kind_of(s.entry) == FMT_ENT_HUGE;
		} else if (!slot_continues(&s, first, pos - fblk)) {
			break;
		}
		pos = run_in_node(m, s, fblk, first, end, &more);
	}
	out->blk = MBLK(first);
	out->n = pos - fblk;
	return 0;
}

/* The run of mapped blocks at 'pos', as far as its leaf's node has it: what nearly all reads ask,
 * kept apart because it is twice as fast so. False: a hole, a run that may go on beyond the node,
 * damage. */
static inline bool lookup_in_node(const struct inode *in, enum fmt_fork fork, uint64_t pos,
				  uint64_t max, struct map_extent *out)
{
	const struct fmt_inode *img = inode_media(in);
	const struct geo *geo = &in->fs->geo;
	struct map_key key = fmt_map_key(geo, in->ino, fork);
	bool data = fork == FMT_FORK_DATA;
	unsigned height = map_height(img, fork), level = height;
	moff_t off = moff_add(in->off, data ? offsetof(struct fmt_inode, root)
					    : offsetof(struct fmt_inode, xroot));
	uint64_t entry = pm_load64(in->fs->pm, off), base = 0, first, n, step;

	if (level > FMT_MAX_HEIGHT || pos >= fmt_level_blocks(level))
		return false;
	for (;;) {
		if (entry == 0 || fmt_entry_verify(geo, key, level, FBLK(base), entry) != 0)
			return false;
		if (!map_is_node(entry))
			break;
		level--;
		base = map_round_down(pos, level);
		off = map_entry_off(fmt_entry_blk(entry), map_index(level, pos));
		entry = pm_load64(in->fs->pm, off);
	}
	step = fmt_level_blocks(level);
	first = fmt_entry_blk(entry).v + (pos - base);
	n = step - (pos - base);
	while (n < max) {
		base += step;
		if (level == height || map_index(level, base) == 0)
			return false;
		off.v += 8;
		entry = pm_load64(in->fs->pm, off);
		if (map_is_node(entry))
			return false;
		if (fmt_entry_blk(entry).v != first + n ||
		    fmt_entry_verify(geo, key, level, FBLK(base), entry) != 0)
			break;
		n += step;
	}
	*out = (struct map_extent){FBLK(pos), min_u64(n, max), MBLK(first), level == 1};
	return true;
}

int map_lookup(struct inode *in, enum fmt_fork fork, fblk_t fblk, uint64_t max,
	       struct map_extent *out)
{
	struct map_tree m;
	int err;

	if (lookup_in_node(in, fork, fblk.v, max, out))
		return 0;
	err = map_tree_of_inode(&m, in, fork);
	return err ? err : tree_lookup(&m, fblk.v, max, out);
}

bool map_peek_huge(const struct inode *in, fblk_t fblk, mblk_t *blk)
{
	struct map_extent x;

	if (!lookup_in_node(in, FMT_FORK_DATA, fblk.v, 1, &x) || !x.huge)
		return false;
	*blk = x.blk;
	return true;
}

int map_lookup_edit(struct inode_edit *e, enum fmt_fork fork, fblk_t fblk, uint64_t max,
		    struct map_extent *out)
{
	struct map_tree m;
	int err = map_tree_of_edit(&m, e, fork);

	return err ? err : tree_lookup(&m, fblk.v, max, out);
}

int map_seek(struct inode *in, enum fmt_fork fork, fblk_t fblk, fblk_t end, bool want_data,
	     fblk_t *out)
{
	struct map_extent x;
	struct map_tree m;
	int err;

	*out = end;
	err = map_tree_of_inode(&m, in, fork);
	if (err)
		return err;
	for (uint64_t pos = fblk.v; pos < end.v; pos += x.n) {
		err = tree_lookup(&m, pos, end.v - pos, &x);
		if (err)
			return err;
		if (want_data != mblk_is_null(x.blk)) {
			*out = FBLK(pos);
			break;
		}
	}
	return 0;
}
