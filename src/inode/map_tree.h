/* What the map's files share: one map, which is a fork of an inode or a subtree that was cut off,
 * as a transaction sees it. Private to src/inode/map*.c.
 *
 * Level: an entry of level l stands for 512^l blocks; a node whose entries are of level l is
 * pointed at by an entry of level l + 1. Descending lowers the level by one per step, so that no
 * damaged map can make a walk go on for ever.
 *
 * A node has at least one entry that is not zero, but for one case: a node that a transaction
 * allocated cannot be freed by the same transaction, and is left empty. Readers and the next
 * removal cope with that.
 */
#ifndef HF_INODE_MAP_TREE_H
#define HF_INODE_MAP_TREE_H

#include "inode/map.h"

#define MAP_MAX_BLOCKS (1ull << 51) /* a file has less than 2^63 bytes */

/* Record bytes. KEEP stays free for the caller: the inode's words, an orphan slot, the size of its
 * own items. */
#define MAP_ROOM_KEEP		 1024u
#define MAP_ROOM_WORD		 16u
#define MAP_ROOM_BITS		 16u
#define MAP_ROOM_COPY(n_entries) (16u + 8u * (uint32_t)(n_entries))

struct map_tree {
	const struct pm *pm;
	const struct geo *geo;
	struct fs *fs; /* NULL: for reading only */
	struct txn *t; /* NULL: the media as it is */
	struct map_key key;
	inum_t owner;
	enum fmt_fork fork;
	enum space_kind kind; /* of content blocks, when they are freed */
	uint64_t punched;     /* FMT_ENT_PUNCHED where a punch leaves its mark, else 0 */
	uint64_t root;	      /* entry, of level 'height', for the blocks from 'base' on */
	unsigned height;
	uint64_t base;
	int64_t delta; /* blocks gained less blocks lost, of content and nodes */
};

/* An entry and where it stands. */
struct map_slot {
	uint64_t entry;
	uint64_t base; /* its first file block */
	moff_t off;    /* 0: it is the root */
	unsigned level;
};

/* Blocks that are to be freed, gathered as long as they are adjacent: a record names them with one
 * item. */
struct map_run {
	uint64_t first, n;
	uint64_t fblk;
	enum space_kind kind;
	bool anywhere; /* nodes: adjacent in the file does not matter */
};

/* Every entry that is not zero, in file order, parents first. Zeroed but for 'm'. */
struct map_iter {
	const struct map_tree *m;
	bool started;
	unsigned level; /* of the entries that are looked at; m->height: at the root */
	struct {
		uint64_t base;
		moff_t node;
		unsigned next;
	} at[FMT_MAX_HEIGHT];
};

/* ---- map_tree.c */
int map_tree_of_inode(struct map_tree *m, struct inode *in, enum fmt_fork fork);
int map_tree_of_edit(struct map_tree *m, struct inode_edit *e, enum fmt_fork fork);
/* Root, height and block count go into the edit's image. An empty map has height 0. */
int map_tree_to_edit(const struct map_tree *m, struct inode_edit *e);
int map_tree_damaged(const struct map_tree *m, int err) __attribute__((cold));
/* The entry for file block 'pos', which the root's range holds: the first that is no node or is of
 * level 'stop'. */
int map_tree_find(const struct map_tree *m, uint64_t pos, unsigned stop, struct map_slot *out);
/* -E2BIG if 'bytes' of items, and what the caller needs, do not fit. */
int map_tree_room(const struct map_tree *m, uint32_t bytes);
void map_slot_set(struct map_tree *m, const struct map_slot *s, uint64_t entry);
/* A block for a node; counted. flags: SPACE_RESERVE or 0. */
int map_node_alloc(struct map_tree *m, unsigned flags, mblk_t near, mblk_t *out);
/* True if no entry of the node is set but for those in [first, last]. */
bool map_node_alone(const struct map_tree *m, mblk_t node, unsigned first, unsigned last);
bool map_node_is_empty(const struct map_tree *m, mblk_t node);
/* Writes a whole node that nothing points at yet; durable with the commit. Not journalled. */
void map_node_write(struct map_tree *m, mblk_t node, const uint64_t *entries);
bool map_iter_next(struct map_iter *it, struct map_slot *out);
void map_iter_enter(struct map_iter *it, const struct map_slot *node);
/* Content and nodes below and with an entry of 'level' whose first file block is 'base'. */
int map_count(const struct map_tree *m, uint64_t entry, unsigned level, uint64_t base,
	      int64_t *out);
/* Makes the run longer by the blocks; false: they are not adjacent to it, or there is none. */
bool map_run_join(struct map_run *r, uint64_t blk, uint64_t n, uint64_t fblk);
int map_run_add(struct map_tree *m, struct map_run *r, uint64_t blk, uint64_t n, uint64_t fblk);
int map_run_flush(struct map_tree *m, struct map_run *r);

/* ---- map_split.c: a node that names the blocks of the huge leaf s, but for file blocks [lo, hi).
 * The new entry for the slot comes back; the slot is not changed. */
int map_split_leaf(struct map_tree *m, const struct map_slot *s, uint64_t lo, uint64_t hi,
		   uint64_t flags, uint64_t *entry);

static inline uint64_t map_load(const struct map_tree *m, moff_t off)
{
	return m->t ? txn_load64(m->t, off) : pm_load64(m->pm, off);
}

static inline int map_verify(const struct map_tree *m, const struct map_slot *s)
{
	int err = fmt_entry_verify(m->geo, m->key, s->level, FBLK(s->base), s->entry);

	return err ? map_tree_damaged(m, err) : 0;
}

static inline uint64_t map_entry(const struct map_tree *m, unsigned level, uint64_t base,
				 enum fmt_entry_kind kind, uint64_t blk, uint64_t flags)
{
	return fmt_entry_make(m->key, level, FBLK(base), kind, MBLK(blk), flags);
}

/* The byte shares its word with fields that change under the layout lock alone, which the reader of
 * a file does not hold. */
static inline unsigned map_height(const struct fmt_inode *img, enum fmt_fork fork)
{
	return __atomic_load_n(fork == FMT_FORK_DATA ? &img->height : &img->xheight,
			       __ATOMIC_RELAXED);
}

static inline bool map_is_node(uint64_t entry)
{
	return fmt_entry_kind_of(entry) == FMT_ENT_NODE;
}

static inline moff_t map_entry_off(mblk_t node, unsigned idx)
{
	return moff_add(mblk_to_moff(node), 8ull * idx);
}

/* Which entry of its node holds 'pos', and the first block of that node. */
static inline unsigned map_index(unsigned level, uint64_t pos)
{
	return (unsigned)(pos >> (9 * level)) % FMT_NODE_ENTRIES;
}
static inline uint64_t map_round_down(uint64_t pos, unsigned level)
{
	return pos & ~(fmt_level_blocks(level) - 1);
}

static inline uint64_t map_end(const struct map_tree *m)
{
	return m->base + fmt_level_blocks(m->height);
}

static inline struct map_slot map_slot_root(const struct map_tree *m)
{
	return (struct map_slot){.entry = m->root, .base = m->base, .level = m->height};
}

static inline uint64_t map_slot_end(const struct map_slot *s)
{
	return s->base + fmt_level_blocks(s->level);
}

/* From a node's entry to that of its entries that holds 'pos'. Not verified. */
static inline void map_slot_down(const struct map_tree *m, struct map_slot *s, uint64_t pos)
{
	mblk_t node = fmt_entry_blk(s->entry);

	s->level--;
	s->off = map_entry_off(node, map_index(s->level, pos));
	s->base = map_round_down(pos, s->level);
	s->entry = map_load(m, s->off);
}

#endif
