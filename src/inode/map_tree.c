/* The parts that the map's files share: finding an entry, going through a map, nodes, runs of
 * blocks to free. */
#include "inode/map_tree.h"

static void tree_init(struct map_tree *m, struct inode *in, enum fmt_fork fork)
{
	struct fs *fs = in->fs;
	bool journalled = S_ISDIR(in->type) || in->ino.v <= FMT_INO_ORPHANS;

	m->pm = fs->pm;
	m->geo = &fs->geo;
	m->fs = fs;
	m->key = fmt_map_key(&fs->geo, in->ino, fork);
	m->owner = in->ino;
	m->fork = fork;
	/* Buckets and tables are changed through the journal: their blocks must not be reused
	 * before it has passed. */
	m->kind = fork == FMT_FORK_DATA && journalled ? SPACE_METADATA : SPACE_DATA;
	m->punched = fork == FMT_FORK_DATA && S_ISREG(in->type) ? FMT_ENT_PUNCHED : 0;
	m->base = 0;
	m->delta = 0;
}

static int tree_check(const struct map_tree *m)
{
	if (m->height > FMT_MAX_HEIGHT)
		return err_set(-EUCLEAN, "inode %llu: its map has %u levels: run fsck.holdfast",
			       (unsigned long long)m->owner.v, m->height);
	return 0;
}

int map_tree_of_inode(struct map_tree *m, struct inode *in, enum fmt_fork fork)
{
	const struct fmt_inode *img = inode_media(in);
	size_t root = fork == FMT_FORK_DATA ? offsetof(struct fmt_inode, root)
					    : offsetof(struct fmt_inode, xroot);

	tree_init(m, in, fork);
	m->t = NULL;
	m->height = map_height(img, fork);
	m->root = pm_load64(m->pm, moff_add(in->off, root));
	return tree_check(m);
}

int map_tree_of_edit(struct map_tree *m, struct inode_edit *e, enum fmt_fork fork)
{
	const struct fmt_inode *img = &e->img;

	tree_init(m, e->in, fork);
	m->t = e->t;
	m->height = fork == FMT_FORK_DATA ? img->height : img->xheight;
	m->root = le64_get(fork == FMT_FORK_DATA ? img->root : img->xroot);
	return tree_check(m);
}

int map_tree_to_edit(const struct map_tree *m, struct inode_edit *e)
{
	struct fmt_inode *img = &e->img;
	uint8_t height = m->root ? (uint8_t)m->height : 0;
	uint64_t blocks = le64_get(img->blocks);

	if (m->delta < 0 && blocks < (uint64_t)-m->delta)
		return err_set(
		    -EUCLEAN,
		    "inode %llu: owns more blocks than the %llu that it counts: run fsck.holdfast",
		    (unsigned long long)m->owner.v, (unsigned long long)blocks);
	img->blocks = le64_of(blocks + (uint64_t)m->delta);
	if (m->fork == FMT_FORK_DATA) {
		img->root = le64_of(m->root);
		img->height = height;
	} else {
		img->xroot = le64_of(m->root);
		img->xheight = height;
	}
	return txn_error(m->t);
}

int map_tree_damaged(const struct map_tree *m, int err)
{
	return err_prefix(err, "inode %llu: %s map is damaged, run fsck.holdfast",
			  (unsigned long long)m->owner.v,
			  m->fork == FMT_FORK_DATA ? "its" : "its attributes'");
}

int map_tree_find(const struct map_tree *m, uint64_t pos, unsigned stop, struct map_slot *out)
{
	struct map_slot s = map_slot_root(m);
	int err;

	for (;;) {
		err = map_verify(m, &s);
		if (err)
			return err;
		if (s.level <= stop || !map_is_node(s.entry))
			break;
		map_slot_down(m, &s, pos);
	}
	*out = s;
	return 0;
}

int map_tree_room(const struct map_tree *m, uint32_t bytes)
{
	if (txn_room(m->t) < bytes + MAP_ROOM_KEEP)
		return err_set(-E2BIG,
			       "inode %llu: too many changes of its map for one transaction",
			       (unsigned long long)m->owner.v);
	return 0;
}

void map_slot_set(struct map_tree *m, const struct map_slot *s, uint64_t entry)
{
	if (s->off.v == 0)
		m->root = entry;
	else
		txn_set64(m->t, s->off, entry);
}

int map_node_alloc(struct map_tree *m, unsigned flags, mblk_t near, mblk_t *out)
{
	struct mext ext;
	int err;

	err = map_tree_room(m, MAP_ROOM_BITS);
	if (err)
		return err;
	err = space_alloc(m->fs->space, m->t, 1, near, SPACE_META | flags, &ext);
	if (err)
		return err;
	m->delta++;
	*out = ext.first;
	return 0;
}

static bool entries_empty(const struct map_tree *m, mblk_t node, unsigned from, unsigned to)
{
	for (unsigned i = from; i < to; i++)
		if (map_load(m, map_entry_off(node, i)) != 0)
			return false;
	return true;
}

bool map_node_alone(const struct map_tree *m, mblk_t node, unsigned first, unsigned last)
{
	return entries_empty(m, node, 0, first) &&
	       entries_empty(m, node, last + 1, FMT_NODE_ENTRIES);
}

bool map_node_is_empty(const struct map_tree *m, mblk_t node)
{
	return entries_empty(m, node, 0, FMT_NODE_ENTRIES);
}

void map_node_write(struct map_tree *m, mblk_t node, const uint64_t *entries)
{
	le64_t raw[FMT_NODE_ENTRIES];

	for (unsigned i = 0; i < FMT_NODE_ENTRIES; i++)
		raw[i] = le64_of(entries[i]);
	pm_copy_nt(m->fs->pm, mblk_to_moff(node), raw, sizeof(raw));
	txn_fence_first(m->t);
}

/* ---- all entries in order */

bool map_iter_next(struct map_iter *it, struct map_slot *out)
{
	const struct map_tree *m = it->m;

	if (!it->started) {
		it->started = true;
		it->level = m->height;
		*out = map_slot_root(m);
		return m->root != 0;
	}
	for (; it->level < m->height; it->level++) {
		while (it->at[it->level].next < FMT_NODE_ENTRIES) {
			unsigned i = it->at[it->level].next++;

			out->off = moff_add(it->at[it->level].node, 8ull * i);
			out->entry = map_load(m, out->off);
			if (out->entry == 0)
				continue;
			out->level = it->level;
			out->base = it->at[it->level].base + i * fmt_level_blocks(it->level);
			return true;
		}
	}
	return false;
}

/* 'node' is what map_iter_next() has just given, verified. */
void map_iter_enter(struct map_iter *it, const struct map_slot *node)
{
	it->level = node->level - 1;
	it->at[it->level].base = node->base;
	it->at[it->level].node = mblk_to_moff(fmt_entry_blk(node->entry));
	it->at[it->level].next = 0;
}

int map_count(const struct map_tree *m, uint64_t entry, unsigned level, uint64_t base, int64_t *out)
{
	struct map_tree sub = *m;
	struct map_iter it = {.m = &sub};
	struct map_slot s;
	int err;

	sub.root = entry;
	sub.height = level;
	sub.base = base;
	*out = 0;
	while (map_iter_next(&it, &s)) {
		err = map_verify(&sub, &s);
		if (err)
			return err;
		if (map_is_node(s.entry)) {
			map_iter_enter(&it, &s);
			*out += 1;
		} else {
			*out += (int64_t)fmt_level_blocks(s.level);
		}
	}
	return 0;
}

/* ---- runs of blocks to free */

int map_run_flush(struct map_tree *m, struct map_run *r)
{
	uint64_t n = r->n;
	int err;

	if (n == 0)
		return 0;
	err = map_tree_room(m, MAP_ROOM_BITS);
	if (err)
		return err;
	r->n = 0;
	return space_free(m->fs->space, m->t, MBLK(r->first), n, r->kind, m->owner, FBLK(r->fblk));
}

/*
 * 1. follows the run on the media and in the file     run: |--r--|          -> |--r--|new|
 * 2. goes before it (truncate works from the end)     run:     |--r--|      -> |new|--r--|
 * 3. neither: the run is freed and a new one begins
 */
bool map_run_join(struct map_run *r, uint64_t blk, uint64_t n, uint64_t fblk)
{
	if (r->n && blk == r->first + r->n && (r->anywhere || fblk == r->fblk + r->n)) {
		r->n += n;
		return true;
	}
	if (r->n && blk + n == r->first && (r->anywhere || fblk + n == r->fblk)) {
		r->first = blk;
		r->fblk = fblk;
		r->n += n;
		return true;
	}
	return false;
}

int map_run_add(struct map_tree *m, struct map_run *r, uint64_t blk, uint64_t n, uint64_t fblk)
{
	int err;

	m->delta -= (int64_t)n;
	if (map_run_join(r, blk, n, fblk))
		return 0;
	err = map_run_flush(m, r);
	r->first = blk;
	r->fblk = fblk;
	r->n = n;
	return err;
}
