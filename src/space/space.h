/* Space: which blocks may be handed out.
 *
 * On the media: one line (64 bytes) per frame, one bit per block. In memory: 16 bytes per frame (struct frame), and a
 * 64-byte 'held' mask for the few frames that have blocks which may not be handed out although their bit is clear:
 * allocated or freed by a transaction that is not applied yet, or free but busy (journal or pins). The allocator takes a
 * block only if it is neither allocated nor held (I-BUSY-1, I-BUSY-2).
 *
 * The word of struct frame: bit 63 BUSY (the whole frame waits for its pins), bit 62 SPLIT (its whole-frame pins count as one on
 * each block), bits 0..39 whole-frame pins. That all of a frame is held stands in a bitmap of its group, not in the word: see
 * internal.h. 'blocks': counts per block, made when first needed.
 */
#ifndef HF_SPACE_SPACE_H
#define HF_SPACE_SPACE_H

#include "journal/journal.h"

#define FRAME_BUSY   (1ull << 63)
#define FRAME_SPLIT  (1ull << 62)
#define FRAME_PINS   ((1ull << 40) - 1)

struct frame {
	_Atomic uint64_t word;
	_Atomic uint32_t blocks;	/* index of u32[512] per-block pins, 0: none */
	uint32_t held;			/* index of a 64-byte mask, 0: none; top bit: of a busy record. Under the group lock */
};
static_assert(sizeof(struct frame) == 16, "");

struct space;

enum space_flags {
	SPACE_META = 1,			/* metadata: may use the last blocks kept back from file data */
	SPACE_RESERVE = 2,		/* a map node for a split: may use the last blocks of all */
	SPACE_EXACT = 4,		/* at 'hint' or nothing: -ENOSPC, without a sentence and without a checkpoint */
};
enum space_kind { SPACE_DATA, SPACE_METADATA };	/* of what is freed: metadata is busy until the checkpoint passed */

struct space_stat {
	uint64_t blocks;		/* of the volume, that the allocator owns */
	uint64_t free;			/* may be handed out now */
	uint64_t busy_journal;		/* free on the media, held until a checkpoint */
	uint64_t busy_pinned;
	uint64_t pending;		/* held by transactions under way */
	uint64_t reserved;		/* part of free that is kept back: file data does not get it */
	uint64_t frames;		/* of the volume, by the number of their blocks that may be handed out: */
	uint64_t free_frames, full_frames, partial_frames;	/* all 512, none, some */
};

struct mext { mblk_t first; uint64_t n; };

int space_open(struct pm *pm, const struct geo *geo, struct journal *j, struct space **out);	/* reads all lines */
void space_close(struct space **s);
/* From now on what is allocated is looked for first in [first, first+n), in the order of these calls, and then everywhere; up to
 * PM_MEMBERS_MAX of them. Whole frames are looked for everywhere before parts of frames are. Before anybody allocates. */
void space_prefer(struct space *s, frame_t first, uint64_t n);

/* 1 to 'want' contiguous blocks inside one frame, near 'hint' (MBLK_NULL: anywhere; small allocations come from frames that
 * are already partly used). The blocks are held at once, their bits are added to t, and what was held is let go when t is
 * applied (or given back when t is aborted). want <= 512; want == 512 gives a whole frame or less. -ENOSPC after an
 * inline checkpoint did not help. Takes group locks and may checkpoint: the caller holds no lane. */
int space_alloc(struct space *s, struct txn *t, uint32_t want, mblk_t hint, unsigned flags, struct mext *out);
/* Exactly one whole free frame, near hint (FRAME(0): anywhere). -ENOSPC if there is none (then use space_alloc). */
int space_alloc_frame(struct space *s, struct txn *t, frame_t hint, unsigned flags, mblk_t *out);
/* Several adjacent whole frames: 1..want. */
int space_alloc_frames(struct space *s, struct txn *t, uint64_t want, frame_t hint, unsigned flags, mblk_t *first, uint64_t *got);
/* Frees [first, first+n) (may span frames) with t: held now, bits cleared by t, released when t is applied: data at once
 * (later: or when its pins go), metadata when the checkpoint passed t. owner and fblk are kept for the busy list.
 * -EUCLEAN: a block is out of range or not allocated, or is a part of a frame that is pinned as a whole and was not split by t
 * before (damaged map): nothing was added. -ENOMEM. */
int space_free(struct space *s, struct txn *t, mblk_t first, uint64_t n, enum space_kind kind, inum_t owner, fblk_t fblk);
/* The same for many runs, in any order, of one kind and owner: they are sorted where they stand, each group is locked once, and
 * neighbours become one item of the record. All of them or, after an error, none; -EUCLEAN also: a block is in two of them. */
struct space_run {
	mblk_t first;
	uint64_t n;
	fblk_t fblk;
};
int space_free_runs(struct space *s, struct txn *t, struct space_run *run, uint32_t n, enum space_kind kind, inum_t owner);
/* The counters are read without locks: exact when nobody is at work, else each right for itself. */
void space_stat(struct space *s, struct space_stat *out);
bool space_is_allocated(struct space *s, mblk_t b);		/* the media bit */
/* Drops what the checkpoint has passed; called by the allocator itself, by statfs and by sync. */
void space_drain(struct space *s);
struct frame *space_frame(struct space *s, frame_t f);

/* ---- pins: references to blocks, counted in memory. docs/LAYOUT.md has the states and the proof (I-BUSY-3 ..., I-PIN-*).
 *
 * A huge leaf's pin counts its frame, any other pin counts blocks; who pins remembers which. Adding needs the layout lock of the
 * inode that maps the blocks, shared, so that they are mapped while they are counted. Dropping needs no lock, takes group locks
 * when it is the last one of busy blocks, and may run in any thread; not in a signal handler. */
void space_pin_frames(struct space *s, frame_t first, uint64_t n);	/* one atomic add each */
/* All of [first, first+n) or (false) nothing: a frame has no counts yet. Then: drop the lock, space_pin_counts(*need), look again. */
bool space_pin_blocks(struct space *s, mblk_t first, uint64_t n, frame_t *need);
/* Makes sure that f has counts per block. Any time, no lock. -ENOMEM. They go when the frame is handed out whole. */
int space_pin_counts(struct space *s, frame_t f);
void space_unpin_frames(struct space *s, frame_t first, uint64_t n);
void space_unpin_blocks(struct space *s, mblk_t first, uint64_t n);
/* Is any block of [first, first+n) pinned? Exact under the layout lock (exclusive) of the inode that maps them. */
bool space_pinned(struct space *s, mblk_t first, uint64_t n);
/* t makes blocks of a huge leaf's frame: its whole-frame pins become one reference on each block (RULES: collective reference).
 * Layout exclusive. -EAGAIN: it has pins and no counts yet, nothing was added: abort t, drop the locks, space_pin_counts, again. */
int space_split(struct space *s, struct txn *t, frame_t f);
/* At mount: a dead owner's pins. One reference on each block of [first, first+n); those that are free on the media become busy,
 * as come from (owner, fblk). Dropped by space_unpin_blocks. -EUCLEAN: out of range; -ENOMEM. */
int space_adopt(struct space *s, mblk_t first, uint64_t n, inum_t owner, fblk_t fblk);

/* A ticket counts the blocks that one operation detached and that wait for pins (txn_set_ticket): who waits, waits for it to be
 * 0, and not for frames, which may be somebody else's by then (RULES B2). */
uint32_t space_ticket_get(struct space *s);		/* 0: -ENOMEM. One reference */
void space_ticket_put(struct space *s, uint32_t ticket);	/* blocks that still name it keep it. 0 is fine */
uint64_t space_ticket_left(struct space *s, uint32_t ticket);
/* deadline: CLOCK_MONOTONIC ns, UINT64_MAX: none. 0 or -ETIMEDOUT. No lock held. */
int space_ticket_wait(struct space *s, uint32_t ticket, uint64_t deadline_ns);

struct space_busy {
	mblk_t first;
	uint64_t n;			/* a run of blocks of one record that are busy now */
	bool journal;			/* else: pinned */
	uint64_t since_ns;		/* CLOCK_MONOTONIC; 0 for the journal's */
	inum_t owner;
	fblk_t fblk;			/* of the first block */
};
/* From *cursor (0: the beginning) on, up to max (>= 1) runs; returns how many. *cursor: where to go on, UINT64_MAX: the end.
 * Takes one group lock at a time. */
size_t space_busy_list(struct space *s, uint64_t *cursor, struct space_busy *out, size_t max);

/* For fsck's and dump's eyes: is b held, and why ("pending", "journal", "pinned")? NULL: not held. */
const char *space_held_reason(struct space *s, mblk_t b);

#endif
