/* Taking blocks from a file: see resize.c. */
#ifndef HF_FILE_RESIZE_H
#define HF_FILE_RESIZE_H

#include "file/data.h"
#include "file/how.h"

/* What is left to do when the locks are dropped. Zeroed. */
struct resize_rest {
	bool has_subtree;
	uint32_t slot; /* of the orphan table */
};
/* h: whose ticket the blocks are counted on; NULL: nobody's. */
void resize_finish(struct fs *fs, struct resize_rest *rest, const struct how *h);

/* No lock held; passes the gate. attr (may be NULL) is applied by the same transaction. how: NULL:
 * HF_PINNED_DELAY. */
int resize_set_size(struct inode *in, uint64_t size, const struct hf_setattr *attr,
		    const struct hf_how *how);

/* Content exclusive, the gate passed. The caller calls how_end before it drops the lock, and
 * resize_finish when it has. h may be NULL: nobody is told, nobody waits. */
int resize_grow(struct inode *in, uint64_t size, const struct hf_setattr *attr);
int resize_punch(struct inode *in, uint64_t off, uint64_t end, struct how *h,
		 struct resize_rest *rest);
int resize_collapse(struct inode *in, uint64_t off, uint64_t len, struct how *h,
		    struct resize_rest *rest);
int resize_insert(struct inode *in, uint64_t off, uint64_t len, struct how *h);
/* What HF_PINNED_FAIL looks at: of a punch or of zeroing, and of a shift. */
struct how_range resize_touches(struct inode *in, uint64_t off, uint64_t end);
struct how_range resize_moves(uint64_t off);
/* Inline content goes to a block of its own; nothing else changes. */
int resize_outgrow_inline(struct inode *in);
/* fallocate.c. Holes of [off, end) get zeroed blocks; 'visible' is the end of file afterwards, at
 * least what it is. Not for inline content. Content exclusive, the gate passed. */
int alloc_range(struct inode *in, uint64_t off, uint64_t end, uint64_t visible);
/* A request that cannot be met is refused before it takes what there is: -ENOSPC. Content held. */
int alloc_check_space(struct inode *in, uint64_t off, uint64_t end);

/* ---- holes in huge leaves that views kept mapped (view_hole_queue). Content exclusive, the gate
 * passed. The blocks of the slot that 'mask' marks are freed as far as they are all zeros and not
 * pinned; the rest is forgotten. -EBUSY: a view maps the slot, nothing was done. -ENOSPC: not even
 * a node for the split; what is not freed stays marked. */
int resize_free_holes(struct inode *in, fblk_t slot_first, const uint64_t mask[8]);

/* ---- huge.c. Content exclusive, the gate passed. Makes the slot that begins at slot_first one
 * huge leaf: holes and what lies beyond the end of file become zeros. 0 also if it was one. -EBUSY:
 * blocks of it are pinned; -ENOSPC: there is no free frame; nothing was done. */
int resize_collapse_slot(struct inode *in, fblk_t slot_first);

#endif
