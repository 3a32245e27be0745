/* The map of an inode: file block -> media block, shaped like the hardware's page table.
 *
 * Reads need the layout lock (shared); changes go through an inode_edit (layout exclusive) and its transaction. Every entry
 * that is read is verified (-EUCLEAN / -EBADMSG). No recursion: at most FMT_MAX_HEIGHT levels on a small stack.
 *
 * Several changes may share a transaction. What it has itself allocated it cannot free: such blocks are not removed by
 * it (-EUCLEAN), map_remove and map_trim_some leave a node of its own in place, empty (a later removal or insert frees
 * it), and map_cut, map_shift and map_collapse come before anything that adds nodes. After an error the transaction
 * must be aborted and the edit dropped.
 */
#ifndef HF_INODE_MAP_H
#define HF_INODE_MAP_H

#include "inode/inode.h"

struct map_extent {
	fblk_t fblk;			/* as asked */
	uint64_t n;			/* blocks, >= 1, <= max; physically contiguous when it is not a hole */
	mblk_t blk;			/* MBLK_NULL: a hole */
	bool huge;			/* the first block lies in a huge leaf */
};
/* The run that begins at fblk. Beyond the map: a hole of 'max'. Holes are skipped a subtree at a time. */
int map_lookup(struct inode *in, enum fmt_fork fork, fblk_t fblk, uint64_t max, struct map_extent *out);
/* The same, seeing what e's transaction has changed. */
int map_lookup_edit(struct inode_edit *e, enum fmt_fork fork, fblk_t fblk, uint64_t max, struct map_extent *out);
/* Is there a huge leaf at fblk, the first block of a slot? Sets no sentence, takes nothing: for the fault handler. Layout, shared. */
bool map_peek_huge(const struct inode *in, fblk_t fblk, mblk_t *blk);
/* First block at or after fblk (and below end) that is mapped (want_data) or a hole; *out == end if none. */
int map_seek(struct inode *in, enum fmt_fork fork, fblk_t fblk, fblk_t end, bool want_data, fblk_t *out);

/* Maps [fblk, fblk+n) to [blk, blk+n), which t allocated or which is moved here. The range must be a hole (-EUCLEAN if not).
 * Whole aligned frames become huge leaves. Allocates nodes (SPACE_META). Counts img.blocks. -ENOSPC, -ENOMEM, -E2BIG (the
 * transaction is full), -EFBIG (beyond 2^51 blocks). A level-0 run of up to 512 entries in a node that exists
 * costs one txn_copy; a fresh node costs no journal space. */
int map_insert(struct inode_edit *e, enum fmt_fork fork, fblk_t fblk, mblk_t blk, uint64_t n);
/* Unmaps and frees what lies in [fblk, fblk+n), in one transaction or not at all: -E2BIG if it does not fit (t must be
 * aborted; use map_cut). Huge leaves that are cut are split (SPACE_RESERVE). Empty nodes are freed. */
int map_remove(struct inode_edit *e, enum fmt_fork fork, fblk_t fblk, uint64_t n);
/* Takes [fblk, fblk+n) out of the map whatever its size, in one transaction: the smallest subtree that holds the range is
 * written afresh as two, what stays (one entry is swapped) and what goes; the latter is handed back as one entry with
 * its level and position, to be hung on an orphan slot by the same transaction (RULES T9). *entry == 0: nothing was mapped
 * there. img.blocks is lowered by what was cut off at once (count is exact: every block of the dropped part leaves). */
int map_cut(struct inode_edit *e, enum fmt_fork fork, fblk_t fblk, uint64_t n, uint64_t *entry, unsigned *level, fblk_t *at);
/* Frees a dropped subtree a piece at a time: adds to t what fits (from its end) and says whether it is all gone; otherwise
 * *entry is what is left (its value may change). No inode is touched: owner and fork are for the entry checks. */
int map_free_some(struct fs *fs, struct txn *t, inum_t owner, enum fmt_fork fork, unsigned level, fblk_t at, uint64_t *entry,
		  bool *done);
/* Frees from the end of the inode's own map what fits into e's transaction. */
int map_truncate_some(struct inode_edit *e, enum fmt_fork fork, bool *done);
/* The same, down to block 'from', which goes too. A huge leaf that 'from' cuts is split; it stays whole if there is no
 * block for that (RULES B5): bytes beyond the end of file mean nothing. */
int map_trim_some(struct inode_edit *e, enum fmt_fork fork, fblk_t from, bool *done);
/* Moves everything from block 'from' on to 'to' (COLLAPSE: to < from, [to, from) must be a hole; INSERT: to > from), in one
 * transaction: fresh nodes, one swap; the old nodes are freed. Data does not move; a huge leaf whose new place is not
 * frame-aligned becomes 512 entries. -EFBIG: more nodes than one transaction can name. */
int map_shift(struct inode_edit *e, fblk_t from, fblk_t to);
/* COLLAPSE as a whole: takes [fblk, fblk+n) out, moves what follows down to fblk, in one transaction. What was taken out comes
 * back as map_cut's does, for an orphan slot; *entry == 0: nothing was mapped there. -EFBIG as above. */
int map_collapse(struct inode_edit *e, fblk_t fblk, uint64_t n, uint64_t *entry, unsigned *level, fblk_t *at);
/* Is any block of [fblk, fblk+n) pinned? 1, 0, or an error of the map. Layout exclusive for an answer that stays right. */
int map_pinned(struct inode *in, fblk_t fblk, uint64_t n);
/* After -EAGAIN of one of the above (a pinned huge leaf is split and has no counts per block, see space_split): makes them for the
 * huge leaves at the two edges of the range, or (shift) for all pinned ones from fblk on. Takes layout, shared; the caller holds no
 * lock but content. Then the operation is tried again. -ENOMEM. */
int map_pin_counts(struct inode *in, fblk_t fblk, uint64_t n, bool shift);
/* A huge leaf at fblk becomes a node that names the same 512 blocks. No-op if it is not a huge leaf. */
int map_split(struct inode_edit *e, fblk_t fblk);
/* Swaps nothing but roots: two inodes' content maps cannot be exchanged (the checks name the owner). */

/* Walks every entry below (and with) a root entry, in file order: leaves and nodes; needs no inode and no lock; for check and
 * dump. fn gets verify_err != 0 for a damaged entry (then it is not followed). Stops when fn returns non-zero. */
struct map_visit {
	unsigned level;
	fblk_t fblk;
	uint64_t entry;
	moff_t where;			/* media offset of the entry; 0 for a root */
	int verify_err;
};
int map_walk(const struct pm *pm, const struct geo *geo, inum_t owner, enum fmt_fork fork, uint64_t root, unsigned height,
	     int (*fn)(void *ctx, const struct map_visit *v), void *ctx);
/* The same for a subtree that was cut off: an entry of 'level' that stands for the blocks from 'at' on. */
int map_walk_at(const struct pm *pm, const struct geo *geo, inum_t owner, enum fmt_fork fork, uint64_t entry,
		unsigned level, fblk_t at, int (*fn)(void *ctx, const struct map_visit *v), void *ctx);

#endif
