/* Views: mapped slots of files, and taking them away.
 *
 * All views lie in one reserved range of addresses (the arena), so that 'is this a view' is one compare. A slot (2 MiB) is in one
 * of four states: not mapped (PROT_NONE), mapped to its frame, mapped to zeros (a hole, read only), dead (forced unmount).
 * How a slot becomes mapped is src/file/view_fill.c, because it may allocate and collapse; this layer has the arena, the table,
 * the signal handler's fast path (a live huge leaf), the queue to the fault worker, and revocation.
 *
 * Locking: a slot changes under the layout lock of its inode (shared is enough to map, exclusive to revoke) and the views_lock
 * of the inode; mapping and MADV_DONTFORK happen under a process-wide lock that the atfork handler takes (RULES T6). */
#ifndef HF_PIN_VIEW_H
#define HF_PIN_VIEW_H

#include "inode/inode.h"
#include "inode/map.h"

/* True if [p, p+len) touches the arena. No lock. */
bool view_address(const void *p, uint64_t len);

/* ---- for everything that changes what a slot shows (RULES T3, T4, T5). All cost one load while the inode has no view. */
/* Layout exclusive, before the commit. Slots that [from, to) (bytes of the file; to UINT64_MAX: the end) touches become not mapped.
 * -ENOMEM: not possible, nothing may change. */
int view_revoke(struct inode *in, uint64_t from, uint64_t to);
/* Layout held. The slot of this file block is mapped, by its frame, in some view. */
bool view_maps(struct inode *in, fblk_t at);
/* Layout exclusive, before the commit that would have punched [first, first+n) (one slot, mapped, a huge leaf): the caller zeroes it
 * after its commit instead, and the blocks are remembered. -ENOMEM. */
int view_hole_queue(struct inode *in, fblk_t first, uint64_t n);
/* They hold something again: written, allocated, pinned. Content or layout held. */
void view_hole_forget(struct inode *in, fblk_t first, uint64_t n);
/* Flushes (no fence) the mapped slots of writable views of one inode, of all of a volume (NULL). *any: there were some. */
int view_flush(struct fs *fs, struct inode *in, bool *any);
uint64_t view_count(const struct fs *fs);

#endif
