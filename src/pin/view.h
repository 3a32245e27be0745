/* Views: mapped slots of files, and taking them away.
 *
 * All views lie in one reserved range of addresses (the arena), so that 'is this a view' is one compare. A slot (2 MiB) is in one
 * of three states: not mapped (PROT_NONE), mapped to its frame, mapped to zeros (a hole, read only). A touch that cannot be resolved
 * (beyond the end of file, no space, forced unmount) leaves the slot as it is and raises SIGBUS.
 * How a slot becomes mapped is src/file/view_fill.c, because it may allocate and collapse; this layer has the arena, the table,
 * the signal handler's fast path (a live huge leaf), the queue to the fault worker, and revocation.
 *
 * Locking: a slot changes under the layout lock of its inode (shared is enough to map, exclusive to revoke) and the views_lock
 * of the inode; mapping and MADV_DONTFORK happen under a process-wide lock that the atfork handler takes (RULES T6). */
#ifndef HF_PIN_VIEW_H
#define HF_PIN_VIEW_H

#include "inode/inode.h"
#include "inode/map.h"

/* A slot's word: state in the low bits, above them the frame it was last mapped to. DIRTY: something may have been stored to that
 * frame through this slot since it was last flushed; it outlives the mapping. KEPT: taken away by protection alone; to show the same
 * frame again takes no new mapping. */
enum { VIEW_MAPPED = 1, VIEW_ZEROS = 2, VIEW_DIRTY = 4, VIEW_KEPT = 8 };
#define VIEW_FRAME_SHIFT 4

/* Memory that once was a view stays one, so that the fault handler may look at it without a lock. */
struct view {
	struct inode *in;
	struct fs *fs;
	uint64_t first, slots;		/* of the file: 2 MiB each */
	uint64_t unit;			/* where in the arena */
	uint64_t pin_wait_ns;
	uint64_t id;			/* rises; never the same again */
	struct waitq *gate;		/* woken when a fill that gave -EAGAIN may be asked again */
	bool writable;
	_Atomic bool dead;		/* forced unmount: every touch is SIGBUS */
	_Atomic bool closing;
	_Atomic uint32_t users;		/* faults and flushes under way; never reset */
	struct waitq left;
	_Atomic uint64_t *words;	/* per slot; changed under views_lock */
	struct view *next_of_inode;	/* under views_lock */
	struct view *next;		/* of all views, by id, or of the free ones */
};

/* What makes a slot mappable and maps it: allocates, collapses, takes locks. In the fault worker or, for populate, in the caller.
 * 0: try the access again; -EBUSY: pinned, ask again when a pin went; -EAGAIN: ask again when v->gate was woken; -EDEADLK: pinned by
 * 'owner' (pin_thread()); else: SIGBUS. */
typedef int view_fill_fn(struct view *v, uint64_t slot, bool write, uint64_t owner);

/* The inode is counted as open by the caller until view_destroy has returned. The first view starts the fault worker; fill is the
 * same function for all. -ENOMEM, with a sentence. */
struct view_req {
	struct inode *in;
	uint64_t first, slots;
	bool writable;
	uint64_t pin_wait_ns;
	view_fill_fn *fill;
	struct waitq *gate;
};
int view_create(const struct view_req *req, struct view **out);
/* Waits for the faults that are under way. */
void view_destroy(struct view *v);
void *view_base(const struct view *v);
/* The view that has this address and which slot, with a reference; NULL: none. No lock. */
struct view *view_enter(const void *p, uint64_t *slot);
void view_leave(struct view *v);
/* The first one with an id above 'after', of one inode or (in NULL) of a volume; with a reference. */
struct view *view_next(struct fs *fs, struct inode *in, uint64_t after);

static inline uint64_t view_word(const struct view *v, uint64_t slot) { return atomic_load(&v->words[slot]); }
static inline fblk_t view_slot_block(const struct view *v, uint64_t slot) { return FBLK((v->first + slot) * HF_BLOCKS_PER_FRAME); }

/* Layout held, under which the caller found that the file has this huge leaf, or a hole, there. -ENOMEM: the limit of mappings;
 * -ESHUTDOWN: dead. */
int view_slot_map(struct view *v, uint64_t slot, mblk_t blk);
int view_slot_zeros(struct view *v, uint64_t slot);
/* The same for the handler: false if a lock is taken or there is more to do. */
bool view_slot_try_map(struct view *v, uint64_t slot, mblk_t blk);
/* Flushes (no fence) what was stored to slots in [from, to), bytes of the view. *any: there was something. */
int view_flush_range(struct view *v, uint64_t from, uint64_t to, bool *any);

/* For the handler of SIGBUS. Where a view shows this byte of the media, NULL: none does, or a lock is taken, and it cannot be told. */
void *view_address_of(const struct fs *fs, moff_t off);
/* The byte that a view of this volume shows at addr; false: none. No lock. */
bool view_media_at(const struct fs *fs, const void *addr, moff_t *off);

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
/* Flushes (no fence) the mapped slots of writable views of one inode, of all of a volume (NULL; their times change). *any: there were
 * some. */
int view_flush(struct fs *fs, struct inode *in, bool *any);
uint64_t view_count(const struct fs *fs);
/* The first queued slot at or after *slot that no view maps (force: mapped or not) and its blocks; false: none. It stays queued until
 * view_hole_forget. Content exclusive. */
bool view_hole_next(struct inode *in, bool force, fblk_t *slot, uint64_t mask[HF_BLOCKS_PER_FRAME / 64]);
/* Forced unmount: every slot of the volume's views is taken away for good. Views stay until view_destroy. No locks held. */
void view_kill_all(struct fs *fs);

#endif
