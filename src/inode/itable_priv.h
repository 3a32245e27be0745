/* What the files of the inode table share; nothing outside src/inode includes it.
 *
 * A number is free if its shadow bit is clear. The shadow (struct igroup, one per group, loaded when the group is first
 * needed) has a 1 for whatever may not be handed out: in use on the media, kept by itable_reserve, freed by a
 * transaction that is not applied yet, damaged, or not there yet (I-INO-2). A group is loaded before any transaction
 * that changes its bitmap is gathered, so that no such transaction can be under way while it is read.
 *
 * Per inode of the table: 1 bit of shadow and half a byte of block addresses, in groups that were used since the mount.
 */
#ifndef HF_INODE_ITABLE_PRIV_H
#define HF_INODE_ITABLE_PRIV_H

#include "inode/inode.h"
#include "inode/map.h"

#define IGROUP_WORDS  (FMT_IGROUP_INODES / 64)
#define IGROUP_BLOCKS (FMT_IGROUP_BLOCKS - 1)	/* of inodes */

struct igroup {
	mblk_t bitmap;
	/* Media block of each block of inodes; 0: not looked up yet. The table never shrinks and its blocks never move:
	 * what was found once stays right. */
	_Atomic uint64_t blk[IGROUP_BLOCKS];
	uint64_t kept[IGROUP_WORDS];		/* the shadow */
	uint64_t full[IGROUP_WORDS / 64];	/* 1: that word of the shadow is all ones */
};

struct islot {
	_Atomic(struct igroup *) group;		/* NULL: not loaded */
	uint32_t free;				/* clear shadow bits; 0 while not known */
	uint32_t prev, next;			/* list of groups with free > 0: 1 + index */
	bool known;
};

#define ICACHE_SHARDS 64u
struct icache_shard {
	_Alignas(HF_LINE) struct mtx lock;	/* the chains' links; RANK_LEAF */
};
struct icache {
	struct fs *fs;
	struct inode *slots;
	uint32_t max;
	uint32_t mask;
	_Atomic uint32_t *heads;		/* 1 + slot */
	struct icache_shard shards[ICACHE_SHARDS];
	struct mtx free_lock;			/* RANK_LEAF, never with a shard's */
	uint32_t free_head;			/* 1 + slot */
	_Atomic uint32_t fresh;			/* slots from here on were never used */
	_Atomic uint32_t hand;
};

/* What a thread takes and gives back without a lock, and without a line that others write: free numbers of one block of inodes (in
 * the shadow they are kept), and a slot of the cache that holds no inode. By the thread's number: two threads seldom share one, and may. */
#define ITABLE_OWN 64u
struct itable_own {
	_Alignas(HF_LINE) _Atomic uint64_t numbers;	/* block of inodes << 16 | which of its 16 numbers */
	_Atomic uint32_t slot;				/* 1 + slot; 0: none */
};

struct itable {
	struct fs *fs;
	struct mtx lock;			/* RANK_ITABLE, order 0 */
	struct inode self;			/* inode 1; its layout lock is RANK_ITABLE, order 1 */
	_Atomic uint64_t nblocks;		/* of the table's file; grows under lock */
	struct islot *slots;
	uint64_t max_groups;
	mblk_t grow_hint;			/* where the table's next block would follow its last one */
	uint32_t free_list;			/* 1 + a group with known free numbers */
	uint64_t probe;				/* groups below it are known */
	uint64_t free;				/* sum over the known groups */
	_Atomic bool touched;			/* perhaps an inode has pending times */
	struct icache cache;
	struct itable_own own[ITABLE_OWN];
};

static inline struct itable_own *itable_own(struct itable *it)
{
	return &it->own[journal_my_number() % ITABLE_OWN];
}

/* Where an inode's image and its bit are. */
struct ino_place {
	moff_t image;
	uint64_t bit;				/* media bit number */
};

/* ---- itable.c */
/* -ESTALE: beyond the table. May take RANK_ITABLE. */
int itable_locate(struct itable *it, inum_t ino, struct ino_place *out);
/* Makes sure that the group's shadow is loaded. */
int itable_load_group(struct itable *it, uint64_t g);
/* The number may be handed out again. */
void itable_give_back(struct itable *it, inum_t ino);
/* A run of blocks of the table's file. */
int itable_map(struct itable *it, fblk_t f, uint64_t max, struct map_extent *out);
static inline bool itable_bit(const struct fs *fs, uint64_t media_bit)
{
	return pm_load64(fs->pm, MOFF(media_bit / 64 * 8)) >> media_bit % 64 & 1;
}
static inline uint64_t itable_groups(const struct itable *it)
{
	return (atomic_load_explicit(&it->nblocks, memory_order_acquire) + FMT_IGROUP_BLOCKS - 1) /
	       FMT_IGROUP_BLOCKS;
}

/* ---- igroup.c: all under it->lock */
/* Numbers that exist in group g of a table of nblocks blocks. */
uint32_t igroup_numbers(uint64_t nblocks, uint64_t g);
struct igroup *igroup_new(mblk_t bitmap);		/* everything kept; NULL: no memory */
int igroup_load_locked(struct itable *it, uint64_t g, struct igroup **out);
/* Makes slots[g].free known without loading the group. */
int igroup_count_locked(struct itable *it, uint64_t g);
/* Keeps a free number of a group that has one, close to 'near' (in the group). */
uint32_t igroup_keep_locked(struct itable *it, uint64_t g, uint32_t near);
/* Without the lock: was there lately a free number in the block of inodes of number i (in the group)? */
bool igroup_block_has(struct itable *it, uint64_t g, uint32_t i);
/* Keeps what else is free in the block of inodes of number i (in the group): a bit for each of the 16. */
uint16_t igroup_keep_block_locked(struct itable *it, uint64_t g, uint32_t i);
void igroup_release_locked(struct itable *it, uint64_t g, uint32_t i);
void igroup_add_free_locked(struct itable *it, uint64_t g, int64_t n);

/* ---- itable_grow.c: by a block or a few; -ENOSPC */
int itable_grow_locked(struct itable *it);

/* ---- icache.c */
int icache_init(struct icache *c, struct fs *fs, uint32_t max);
void icache_close(struct icache *c);
/* Fills in a struct inode of an image that was verified; refs stay as they are. */
void icache_fill(struct inode *in, struct fs *fs, inum_t ino, moff_t off, const struct fmt_inode *img);
/* The inode was freed: nobody finds it any more. */
void icache_kill(struct icache *c, struct inode *in);
/* Calls fn for each cached inode that has pending times, with a reference; goes on after a failure and returns the
 * first one. */
int icache_each_touched(struct icache *c, int (*fn)(struct inode *in));

/* ---- words.c: the changes from 'old' to 'new' (n words of 8 bytes) as few bytes of items as possible */
void words_log(struct txn *t, moff_t off, const void *old, const void *new, unsigned n);
/* The same for an inode's image, with the checksum: corrected by the words that change, not computed, so that a damaged
 * image stays wrong (I-INO-5). */
void words_log_inode(struct txn *t, const struct geo *g, moff_t off, const struct fmt_inode *old, struct fmt_inode *new);
/* What stands there, seen through t. The first word is a checksum: it differs from the media's if t changed any. */
void words_load(struct fs *fs, struct txn *t, moff_t off, void *out, unsigned n);

#endif
