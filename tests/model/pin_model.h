/*
 * An exhaustive model of pins and the busy list: pinners, punchers, splits, waiters, and files that
 * get what was freed. Two frames of two or three blocks are enough to share one, split one and
 * reuse one.
 *
 * Each atomic operation on memory is a step, and each lock taken or let go. Memory is sequentially
 * consistent. What is on the media is two things here: the allocation bits, and a map per file.
 */
#ifndef PIN_MODEL_H
#define PIN_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	FRAMES = 2,
	PER_FRAME = 3, /* blocks, at most; see scenario.blocks */
	FILES = 2,     /* of one slot each: a hole, a huge leaf, or blocks */
	THREADS = 4,
	ITEMS = 5,
	HANDLES = 4,
	RECS = 4,
	NOBODY = 0xff,
};

enum rule {
	PIN_UNDER_LAYOUT,
	PIN_LOOKUP_AGAIN,
	PIN_ATOMIC,
	PIN_KIND_BY_MAP,
	COUNTS_UNDER_LOCK,
	UNPIN_ONCE,
	UNPIN_BY_RESULT,
	UNPIN_KIND,
	UNPIN_BLOCK_RULE,
	FREE_UNDER_LOCK,
	FREE_SETTLES,
	SPLIT_COLLECTIVE,
	SPLIT_AFTER_REFERENCES,
	SPLIT_TAKE_BACK,
	SPLIT_ABORT,
	SPLIT_UNDER_LAYOUT,
	HELD_BEFORE_COMMIT,
	HELD_UNTIL_DETACHED,
	DETACH_AFTER_COMMIT,
	DETACH_RECORD_FIRST,
	DETACH_UNDER_LOCK,
	DETACH_OLD_COUNT,
	DETACH_BUSY_BY_OR,
	DETACH_HEEDS_SPLIT,
	REUSE_LOOKS_AT_HELD,
	REUSE_RESETS_SPLIT,
	REUSE_UNDER_LOCK,
	FAIL_UNDER_LAYOUT,
	WAIT_BY_TICKET,
	WAIT_COMPARES,
	WAIT_WITHOUT_LOCKS,
	WAKE_AT_ZERO,
	RULES,
	RULE_NONE = RULES,
};

enum scenario_index {
	S_WHOLE,
	S_SPLIT,
	S_SPLIT_PIN,
	S_SPLIT_TWO,
	S_REUSE,
	S_COUNTS,
	S_SHARED,
	S_BLOCKS,
	S_PUNCHERS,
	S_WAIT,
	S_WAIT_ABA,
	S_WAIT_NEXT,
	S_FAIL,
	S_FAIL_SPLIT,
	S_ABORT,
	S_DOUBLE,
	S_ORPHAN,
	S_EDGE,
	S_FOUR,
	S_ADOPTED,
	S_ADOPTED_BUSY,
	SCENARIOS,
};

enum op_kind {
	OP_END,
	OP_PIN,		/* blocks [first, first + n) of a file; a hole gives no pin */
	OP_UNPIN,	/* in any thread, when the pin was granted */
	OP_PUNCH,	/* n == 0: only a split, as for a shift */
	OP_ALLOC_BLOCK, /* any block that is offered; nothing happens if there is none */
	OP_ALLOC_FRAME,
};

enum punch_how {
	HOW_WAIT = 1,	/* then sleep on the ticket */
	HOW_FAIL = 2,	/* -EBUSY if anything there is pinned */
	HOW_ABORT = 4,	/* the transaction is aborted at the commit */
	HOW_ORPHAN = 8, /* one transaction cuts it off, another frees it without a lock */
};

struct op {
	uint8_t kind;
	uint8_t file;
	uint8_t first;
	uint8_t n;
	uint8_t handle;
	uint8_t flags;
};

struct scenario {
	const char *name;
	const char *what;
	unsigned blocks; /* per frame */
	unsigned frames;
	unsigned threads;
	/* Files at the start: 'H' the frame as a huge leaf, 'B' those of its blocks that mask
	 * has. */
	struct {
		char kind; /* 'H', 'B', 0: a hole */
		uint8_t frame;
		uint8_t mask;
	} files[FILES];
	/* Blocks of frame 0 that a pin of a dead owner refers to, as HANDLES - 1: each is counted,
	 * and busy if no file has it. */
	uint8_t adopted;
	struct op ops[THREADS][ITEMS];
};

struct rule_info {
	const char *name;
	const char *dropped;
	enum scenario_index scenario; /* that exposes it */
	/* Another rule that covers for this one; then dropping both must be found. */
	enum rule spare_of;
};

extern const struct rule_info rules[RULES];
extern const struct scenario scenarios[SCENARIOS];

/* Every choice of small programs for the threads, from several starts. Begins all zero; false after
 * the last. */
struct sweep {
	bool begun;
	unsigned start;
	unsigned program[THREADS];
};

bool sweep_next(struct sweep *w, struct scenario *out);

/* ---- state */

struct counts {
	uint8_t count;
	uint8_t busy;
	uint8_t rec; /* record + 1 of a busy block */
};

struct frame {
	uint8_t count; /* the word */
	uint8_t split;
	uint8_t busy;
	uint8_t rec;
	uint8_t has; /* counts per block are there; without, those below are zero */
	uint8_t bits;
	uint8_t held;
	struct counts b[PER_FRAME];
	uint8_t stamp[PER_FRAME]; /* whom the block was handed out to last */
};

enum map_kind { MAP_HOLE, MAP_HUGE, MAP_BLOCKS };

struct file {
	uint8_t kind;
	uint8_t frame;
	uint8_t blk[PER_FRAME]; /* MAP_BLOCKS: block + 1, 0: a hole */
	uint8_t writer;		/* layout lock: thread + 1 */
	uint8_t readers;	/* a bit per thread */
};

enum handle_state { H_NONE, H_FAILED, H_LIVE, H_DEAD, H_DROPPED };

struct handle {
	uint8_t state;
	uint8_t whole;
	uint8_t blocks; /* a bit per block of the volume */
	uint8_t stamp[FRAMES * PER_FRAME];
};

struct rec {
	uint8_t used;
	uint8_t left;
	uint8_t ticket; /* thread + 1 */
};

struct thread {
	uint8_t item;
	uint8_t pc;
	uint8_t i;
	uint8_t tmp;
	/* what was looked up */
	uint8_t kind;
	uint8_t blocks;	    /* a bit per block of the volume */
	uint8_t idle;	    /* of them, those whose last reference this thread dropped */
	uint8_t left;	    /* of them, those that stay busy */
	uint8_t made;	    /* counts made outside the locks, for this frame + 1 */
	uint8_t collective; /* frame + 1 that has one of this operation */
	uint8_t rec;	    /* + 1 */
	uint8_t slept;	    /* on its ticket */
	uint8_t ticket;	    /* its ticket: blocks that it detached and that are busy */
	uint8_t stamp[FRAMES * PER_FRAME];
};

struct state {
	struct frame frames[FRAMES];
	struct file files[FILES];
	struct handle handles[HANDLES];
	struct rec recs[RECS];
	struct thread threads[THREADS];
	uint8_t group;	/* lock: thread + 1 */
	uint8_t arrays; /* counts per block that exist, installed or not */
};

struct model {
	const struct scenario *scenario;
	uint64_t dropped;
	bool fine; /* no two steps are taken as one */
	char why[200];
};

enum outcome { STEPPED, BLOCKED, VIOLATION };

static inline bool rule_on(const struct model *m, enum rule rule)
{
	return (m->dropped >> rule & 1) == 0;
}

void state_init(const struct model *m, struct state *s);
const struct op *thread_op(const struct model *m, const struct state *s, unsigned thread);
/* What must hold in every state, and in the last one. */
enum outcome state_check(struct model *m, const struct state *s);
enum outcome end_check(struct model *m, const struct state *s);

/* One step of a thread; 'choice' picks a block or a frame, and *more says that there is another. */
enum outcome thread_step(struct model *m, struct state *s, unsigned thread, unsigned choice,
			 bool *more);
/* The one that the thread takes next. */
const char *step_name(const struct model *m, const struct state *s, unsigned thread);

#endif
