/* Orphan slots: what recovery has to finish. Slots are lines in the orphan table (inode 2), grown a block at a time. */
#ifndef HF_INODE_ORPHAN_H
#define HF_INODE_ORPHAN_H

#include "inode/inode.h"

int orphans_open(struct fs *fs);			/* sets fs->orphans; reads all slots */
void orphans_close(struct fs *fs);
/* A free slot, kept from others; grows the table in a transaction of its own. RANK_ORPHAN. */
int orphan_reserve(struct fs *fs, uint32_t *slot);
void orphan_unreserve(struct fs *fs, uint32_t slot);	/* when it was never set */
/* Adds the slot's 64 bytes to t. If t aborts, the slot is given back. */
void orphan_set_inode(struct fs *fs, struct txn *t, uint32_t slot, inum_t ino, uint64_t gen);
void orphan_set_subtree(struct fs *fs, struct txn *t, uint32_t slot, inum_t owner, uint64_t gen, enum fmt_fork fork,
			unsigned level, fblk_t at, uint64_t entry);
/* Zeroes the slot; it may be handed out again when t is applied. */
void orphan_clear(struct fs *fs, struct txn *t, uint32_t slot);
/* The same for the slot that an inode's image names (its 'orphan' field, slot + 1): the media may say anything, so the slot
 * must exist and name this inode; otherwise t fails with -EUCLEAN. */
void orphan_clear_inode(struct fs *fs, struct txn *t, uint32_t orphan, inum_t ino, uint64_t gen);
int orphan_read(struct fs *fs, uint32_t slot, struct fmt_orphan *out);	/* verified; ino 0: free */
uint32_t orphan_count(struct fs *fs);			/* slots that exist */
/* Frees a SUBTREE slot's blocks to the end, in transactions of its own, and clears it. No lock of the owner is needed. */
int orphan_free_subtree(struct fs *fs, uint32_t slot, uint32_t ticket);

#endif
