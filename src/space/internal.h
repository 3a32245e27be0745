/* What the files of this layer share. A group is a range of frames under one lock; all of its state
 * is below.
 *
 * A frame is in one of three states, by the number of its blocks that may be handed out (bit clear
 * on the media, not held): 512: its bit in 'whole' is set; 1..511: its bit in one of 'part' is set,
 * the fullest frames in part[0]; 0: no bit is set. Applying a transaction changes bits of held
 * blocks only, so the state changes under the group lock and nowhere else, and the media line is
 * still what decides (I-BUSY-1).
 *
 * Held blocks: bit of 'held_whole' for a frame whose 512 blocks were taken or freed together, else
 * a mask of the frame. FRAME_HELD in the frame's word would cost two locked instructions per frame,
 * 8.3 ns (measured, all of it in the cache); two bits in a bitmap cost 512 frames 16 words. */
#ifndef HF_SPACE_INTERNAL_H
#define HF_SPACE_INTERNAL_H

#include "space/space.h"
#include "space/bits.h"
#include "space/slab.h"
#include <stdatomic.h>

#define SPACE_MAX_GROUPS      64u
#define SPACE_GROUP_SHIFT_MIN 6u /* 64 frames, 128 MiB */
#define SPACE_RECS_MAX	      (1u << 20)

#define LINE_WORDS     8u
#define FRAMES_CLASSES 6u
#define FRAMES_STATES  (2 + FRAMES_CLASSES)
#define FRAMES_NONE    UINT64_MAX

/* In frame.held of a frame that waits as a whole for its pins: the rest is the index of its busy
 * record, not of a mask. */
#define FRAMES_HELD_REC (1u << 31)

#define SPACE_TICKETS_MAX  (1u << 20)
#define SPACE_TICKET_BYTES 64u

/* References to each block of one frame. */
#define PINS_BUSY  (1u << 31) /* the block left its file and waits for its pins */
#define PINS_COUNT (PINS_BUSY - 1)
struct pins {
	_Atomic uint32_t count[HF_BLOCKS_PER_FRAME];
	uint32_t rec[HF_BLOCKS_PER_FRAME]; /* of a busy block: its record. Under the group lock */
};
static_assert(sizeof(struct pins) == 4096, "");

enum busy_state { BUSY_NONE, BUSY_PENDING, BUSY_JOURNAL, BUSY_PINNED };

/* An extent on its way from a file to the allocator; it lies in one group. */
struct busy_rec {
	uint64_t first, n; /* blocks */
	uint64_t left;	   /* pinned: blocks that still wait for their pins */
	uint64_t stamp;	   /* journal: sequence number; pinned: since when (CLOCK_MONOTONIC, ns) */
	uint64_t owner;	   /* inode and file block it came from */
	uint64_t fblk;
	uint32_t next;	 /* in the group's FIFO */
	uint32_t ticket; /* counts what is left too; 0: none. A reference */
	uint8_t kind;	 /* enum space_kind */
	uint8_t state;	 /* enum busy_state */
	uint8_t zero[6];
};
static_assert(sizeof(struct busy_rec) == 64, "");

struct group {
	_Alignas(64) struct mtx lock;
	uint64_t first, nframes; /* frames */

	/* Blocks. Written under the lock, read without: */
	_Atomic uint64_t free;	  /* may be handed out */
	_Atomic uint64_t held;	  /* by transactions under way, and the busy ones: */
	_Atomic uint64_t journal; /* ... of them, waiting for a checkpoint */
	_Atomic uint64_t pinned;  /* ... of them, waiting for pins */
	_Atomic uint64_t whole_frames, full_frames;
	_Atomic uint64_t fifo_seq; /* of the first record that waits for a checkpoint, 0: none */

	uint64_t cur; /* frame that small allocations come from, FRAMES_NONE: none */
	uint32_t fifo_head, fifo_tail;
	uint32_t ncounts;   /* frames that have counts per block */
	union { /* word by word beside each other: the states of 64 frames are one cache line */
		struct {
			struct bits whole, held_whole, part[FRAMES_CLASSES];
		};
		struct bits states[FRAMES_STATES];
	};
	struct bits marked; /* frames that have counts, or SPLIT */
	/* Of uint64_t[LINE_WORDS]. One is kept for each frame that has counts and no mask, so that
	 * detach can tell its blocks apart. */
	struct slab masks;
	struct slab counts; /* of struct pins */
	struct slab recs;   /* of struct busy_rec */
};

/* Where the allocator looks: frames [first, end), and the groups that have any of them. */
struct window {
	uint64_t first, end;
	uint32_t group, ngroups;
};

struct space {
	struct pm *pm;
	const struct geo *geo;
	struct journal *j;
	uint64_t id; /* tells a thread's notes about this space from those about another */
	struct frame *frames;
	struct group *groups;
	uint32_t ngroups;
	unsigned int group_shift;
	struct window prefer[PM_MEMBERS_MAX]; /* looked in before all of the volume; set at mount */
	unsigned int nprefer;
	_Atomic uint32_t threads; /* that allocated here; spreads them over the groups */
	uint64_t blocks;	  /* that the allocator owns */
	uint64_t reserve, meta;	  /* blocks kept back from file data */
	struct mtx low; /* taken after a group: who takes of the last blocks counts them alone */
	struct mtx tickets_lock;
	struct slab tickets;
	void *slabs;
	uint64_t slabs_bytes;
};

/* One extent by frames: a part of a frame, whole frames, a part of a frame. */
struct frames_cut {
	uint64_t head, head_n; /* blocks */
	uint64_t frame, nframes;
	uint64_t tail, tail_n;
};

static inline struct group *space_group_of(const struct space *s, uint64_t frame)
{
	return &s->groups[frame >> s->group_shift];
}
static inline uint64_t group_end_block(const struct group *g)
{
	return (g->first + g->nframes) * HF_BLOCKS_PER_FRAME;
}
static inline uint64_t count_get(const _Atomic uint64_t *c)
{
	return atomic_load_explicit(c, memory_order_relaxed);
}
/* The group lock is held: there is one writer, and readers need no more than whole words. */
static inline void count_add(_Atomic uint64_t *c, uint64_t n)
{
	atomic_store_explicit(c, count_get(c) + n, memory_order_relaxed);
}
static inline void count_sub(_Atomic uint64_t *c, uint64_t n)
{
	atomic_store_explicit(c, count_get(c) - n, memory_order_relaxed);
}

/* ---- frames.c; frames and blocks are numbers of the volume. Locking: the group's lock is held
 * throughout. */
int frames_open(struct space *s);
void frames_close(struct space *s);
/* The blocks of f that may be handed out, a bit each; returns how many. */
unsigned int frames_avail_locked(const struct space *s, const struct group *g, uint64_t f,
				 uint64_t avail[LINE_WORDS]);
unsigned int frames_class(uint64_t avail); /* 1..511; 0: the fullest */
struct frames_cut frames_cut(uint64_t first, uint64_t n);
/* Every block is allocated and none is held. */
bool frames_owned_locked(const struct space *s, const struct group *g, uint64_t first, uint64_t n);
bool frames_is_held_locked(const struct space *s, const struct group *g, uint64_t block);
/* How many of the n free frames from f on have a line that is all zero, as it should be. The first
 * that has not is not offered again: a stray store of the program hit its line, and its blocks may
 * be anybody's. */
uint64_t frames_zero_lines_locked(const struct space *s, struct group *g, uint64_t f, uint64_t n);
/* The state of f follows the number of its blocks that may be handed out. */
void frames_move_locked(struct group *g, uint64_t f, unsigned int from, unsigned int to);
/* Memory for holding one more extent; the next frames_hold_locked() cannot fail. */
int frames_reserve_locked(struct group *g);
/* Holds blocks that nobody holds. Not counted as taken from the free ones: see frames_take_*. */
void frames_hold_locked(struct space *s, struct group *g, uint64_t first, uint64_t n);
/* The blocks are held no longer; they are allocated, so nothing becomes free. */
void frames_unhold_locked(struct space *s, struct group *g, uint64_t first, uint64_t n);
/* The blocks are held no longer and become free. */
void frames_release_locked(struct space *s, struct group *g, uint64_t first, uint64_t n);
/* Takes n of the blocks that may be handed out in one frame, or n whole free frames.
 * frames_reserve_locked() before. */
void frames_take_blocks_locked(struct space *s, struct group *g, uint64_t f, unsigned int pos,
			       unsigned int n, unsigned int avail);
void frames_take_whole_locked(struct space *s, struct group *g, uint64_t f, uint64_t n);
/* The same for whole frames of one word of the group's bitmaps: those of 'mask' of the frames 64 w to
 * 64 w + 63. Owned: but for blocks that a mask holds. */
bool frames_word_owned_locked(struct group *g, uint64_t w, uint64_t mask);
void frames_word_hold_locked(struct group *g, uint64_t w, uint64_t mask);
void frames_word_unhold_locked(struct group *g, uint64_t w, uint64_t mask);
void frames_word_release_locked(struct group *g, uint64_t w, uint64_t mask);
/* The bits of [from, from + n) of a line that lie in word i. */
uint64_t frames_line_mask(unsigned int i, unsigned int from, unsigned int n);
/* A frame of which all is held: by a mask from now on. It has counts, so there is one. */
void frames_to_mask_locked(struct space *s, struct group *g, uint64_t f);
/* As release and take; any blocks of a frame that is held by a mask, or has counts. */
void frames_release_mask_locked(struct space *s, struct group *g, uint64_t f,
				const uint64_t mask[LINE_WORDS]);
void frames_take_mask_locked(struct space *s, struct group *g, uint64_t f,
			     const uint64_t mask[LINE_WORDS]);

/* ---- pins.c */
struct pins *pins_at(const struct space *s, uint64_t f); /* NULL: none yet */
/* The frames are handed out whole: nobody refers to them, and what counted goes (I-PIN-4). */
void pins_forget_locked(struct space *s, struct group *g, uint64_t f, uint64_t n);

/* ---- ticket.c; no lock needed */
void ticket_hold(struct space *s, uint32_t index);
void ticket_add(struct space *s, uint32_t index, uint64_t n);
void ticket_sub(struct space *s, uint32_t index, uint64_t n); /* the last one wakes */

/* ---- busy.c */
static inline struct busy_rec *busy_rec(const struct group *g, uint32_t index)
{
	return slab_at(&g->recs, index);
}
/* The transaction of this record is applied: its blocks go to the allocator, now or later. */
void busy_detach_locked(struct space *s, struct group *g, uint32_t index, jseq_t seq);
/* Lets go of up to max records that the checkpoint has passed. */
void busy_drain_locked(struct space *s, struct group *g, unsigned int max);
/* The record begins to wait for 'left' blocks; 0: it ends. */
void busy_add_locked(struct space *s, struct group *g, uint32_t index, uint64_t left);
void busy_end_locked(struct space *s, struct group *g, uint32_t index);
/* The caller dropped the last reference to frame f, which was BUSY; to the blocks, each BUSY. They
 * are his to free, nobody else's (I-BUSY-3). Take the group lock. */
void busy_frame_idle(struct space *s, uint64_t f);
void busy_blocks_idle(struct space *s, uint64_t f, const uint64_t idle[LINE_WORDS]);
const char *busy_reason_locked(const struct space *s, const struct group *g, uint64_t block);

#endif
