/*
 * An exhaustive model of the journal: two committers, a checkpointer, the persistent lines they
 * store to, recovery, power failure and kill -9. Every part of it is small on purpose: what a rule
 * of the journal protects shows with two lanes, a handful of transactions and halves of one or two
 * records.
 *
 * A line holds the versions that a power failure may leave behind: the oldest is the one known
 * durable, the newest is what the caches show. Within a line the order is that of the stores, as on
 * x86.
 */
#ifndef JOURNAL_MODEL_H
#define JOURNAL_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	THREADS = 2,
	LANES = 2,
	HALVES = 2,
	SLOTS = 2, /* records in a half, at most */
	PARTS = 2, /* lines of a record: enough to tear it */
	BLOCKS = 2,
	DATA_LINES = 4,
	WORDS_PER_LINE = 4,
	WORDS = DATA_LINES * WORDS_PER_LINE,
	TXS = 8,
	OPS = 3,
	ITEMS = 4,
	VERSIONS = 12,
	NO_TX = 0xff,
};

enum line_index {
	LINE_LANES = 0,
	LINE_C = LANES * HALVES * SLOTS * PARTS, /* two copies */
	LINE_SUPER = LINE_C + 2,
	LINE_DATA,
	LINES = LINE_DATA + DATA_LINES,
};

/* The words that the scenarios use. A word is four bits wide here; in the library it is eight
 * bytes. */
enum word_index {
	W_X = 0,
	W_X2 = 1,   /* same line as W_X, another lock */
	W_BITS = 3, /* allocation bits, one per block; shares its line with W_X */
	W_Y = 4,
	W_Z = 5,
	W_PTR_A = 6, /* a map entry: block + 1, or 0 */
	W_PTR_B = 7,
	W_CONTENT = 8, /* of block 0; block 1's is one line on */
};

#define ANY_VALUE	 0xf /* a word that nobody may rely on: content of a free block */
#define OLD_VOLUME_ID	 13  /* a record that an earlier format left in a lane */
#define OLD_VOLUME_SEQ	 2
#define OLD_VOLUME_VALUE 9
#define BAD_C		 0xf /* a copy of C that fails its check bits */
#define SEQ_MAX		 13

enum rule {
	J1_INFLIGHT_UNTIL_APPLIED,
	J1_ANNOUNCE_BEFORE_NUMBER,
	J1_COUNTER_BEFORE_LANES,
	J1_C_BELOW_LANES,
	J1_DIRTY_BEFORE_CLEAR,
	J1_DIRTY_AFTER_LANES,
	J1_DIRTY_DEDUP,
	J1_LISTS_BEFORE_FLUSH,
	J1_NUMBER_AFTER_LOCKS,
	J1_NUMBER_AFTER_BLOCKS,
	J1_REPLAY_ORDER,
	J2_HELD_UNTIL_COMMIT,
	J2_HELD_UNTIL_APPLIED,
	J2_HELD_MARKS,
	J2_ATOMIC_BITS,
	J2_METADATA_BUSY,
	J3_ONE_LOCK_PER_WORD,
	J3_LOCKS_UNTIL_APPLIED,
	J4_FLUSH_LANES,
	J4_FLUSH_C,
	J4_ALWAYS_STORE_C,
	J5_FENCE_BEFORE_C,
	J5_LANE_AFTER_FENCE,
	J5_BLOCK_AFTER_FENCE,
	J5_BOTH_COPIES,
	J5_LARGER_COPY,
	J5_STOP_AFTER_FAILURE,
	J5_RECOVERY_FLUSH,
	J5_RECOVERY_FENCE,
	J5_C_ABOVE_TORN,
	J5_RESTART_NOT_AT_C,
	J5_RESTART_NOT_AT_1,
	J6_CACHED_APPLY,
	J7_HALF_REUSE,
	J7_ONLY_ABOVE_C,
	J7_GAP_PER_LANE,
	J7_FRESH_SEED,
	J7_ZERO_LANES,
	J7_ZERO_BEFORE_SUPER,
	J8_ALWAYS_JOURNALLED,
	J9_ALLOCATE_BEFORE_CLAIM,
	J9_CHECKPOINT_TAKES_NO_LOCK,
	J11_OWN_FENCE,
	J11_DATA_BEFORE_RECORD,
	J16_SEAL_BEFORE_CHANGE,
	J16_SEALED_WHEN_DURABLE,
	J16_VERIFY_DATA,
	J16_LAST_RECORD_ONLY,
	J16_SETTLE_DATA,
	RULES,
	RULE_NONE = RULES,
};

enum scenario_index {
	S_PAIR,
	S_PAIR_TWICE,
	S_REUSE,
	S_LAPS,
	S_CRASH_TWICE,
	S_CRASH_REUSE,
	S_CRASH_THRICE,
	S_LAPS_TWICE,
	S_SAME_BYTES,
	S_KILL,
	S_KILL_REUSE,
	S_BITS,
	S_META,
	S_META_TWICE,
	S_PIN,
	S_FIELDS,
	S_DIRECT,
	S_FORMAT,
	S_ONE_LANE,
	S_FULL,
	S_FAILED_FLUSH,
	S_BAD_COPY,
	S_EADR,
	S_VOUCH,
	S_VOUCH_TWICE,
	S_VOUCH_KILL,
	SCENARIOS,
};

enum op_kind { OP_SET, OP_SET_BIT, OP_CLEAR_BIT };

struct op {
	enum op_kind kind;
	uint8_t word;
	uint8_t value; /* or the bit's number */
};

enum tx_kind {
	TX_NONE,
	TX_SET,	      /* ops as written */
	TX_ALLOC,     /* a new data block: content stored and fenced, then bit and map entry in one
			 record */
	TX_FREE,      /* the data block that `ptr` names */
	TX_FREE_META, /* the same for a block whose content was journalled */
	TX_META,      /* journalled store of `value` to the content of the block that `ptr` names */
	TX_FIELD, /* `value` under `mask` into a word whose other bits are kept as they were read */
	TX_DIRECT, /* journalled like the others; without J8 a plain store, flush and fence */
	TX_APPEND, /* `value` stored to the data word `word`, and ops: one fence, the record vouches for the
		      word */
	TX_CHANGE, /* `value` to that word again, in place, if the word `ptr` says that the append was
		      done; before it a record without changes seals the append's lane */
};

struct tx {
	enum tx_kind kind;
	uint8_t locks;
	uint8_t locks_unshared; /* TX_FIELD without J3 */
	uint8_t op_count;
	struct op ops[OPS];
	uint8_t ptr;
	uint8_t word;
	uint8_t mask;
	uint8_t value;
};

struct scenario {
	const char *name;
	const char *what;
	uint8_t lanes;
	uint8_t slots;
	uint8_t power_failures;
	uint8_t kills;
	uint8_t bad_copies; /* copies of C that a power failure may damage */
	uint8_t failed_flushes;
	uint8_t pinned; /* blocks */
	bool eadr;
	bool format; /* starts with mkfs over an old volume */
	uint8_t init[WORDS];
	struct tx txs[TXS];
	uint8_t items[THREADS][ITEMS]; /* transactions in order; NO_TX ends */
};

struct rule_info {
	const char *name;
	const char *dropped; /* what the journal does without it */
	enum scenario_index scenario;
	/* Another rule that covers this one: dropped alone it is harmless, dropped together it is
	 * not. */
	enum rule spare_of;
};

extern const struct rule_info rules[RULES];
extern const struct scenario scenarios[SCENARIOS];

struct line {
	uint8_t count;
	uint8_t
	    flushed; /* newest version that the checkpointer flushed and has not fenced; 0 = none */
	uint16_t version[VERSIONS];
};

enum thread_flag {
	F_LOCKED = 1,
	F_CLAIMED = 2,
	F_STORED = 4,	 /* a line of its record was stored */
	F_COMMITTED = 8, /* the fence after the record is done */
	F_LOADED = 16,	 /* without J2: between the load and the store of a bit operation */
	F_SEALING = 32,	 /* TX_CHANGE: its steps of a record are for the lane that is open: */
	F_LANE_1 = 64,	 /* it is lane 1 */
};

struct thread {
	uint8_t item;
	uint8_t pc;
	uint8_t op;
	uint8_t tmp;
	uint8_t flags;
	uint8_t dirtied;   /* data lines, not yet in the lane's list */
	uint8_t streaming; /* data lines with non-temporal stores that this thread has not fenced */
};

struct lane {
	uint8_t inflight;
	uint8_t owner; /* thread + 1 */
	uint8_t half;
	uint8_t fill;
	uint8_t last[HALVES];
	uint8_t dirty; /* data lines */
	uint8_t open;  /* its last durable record, if that is TX_APPEND's: + 1; else 0 */
};

struct checkpointer {
	uint8_t pc;
	uint8_t min;
	uint8_t c;
	uint8_t taken; /* data lines */
	uint8_t
	    flushed; /* without J1-lists-before-flush: those of them that need no flush any more */
};

enum phase {
	PHASE_RUN,
	PHASE_FORMAT_ZERO,
	PHASE_FORMAT_SUPER,
	PHASE_FORMAT_FENCE,
	PHASE_RECOVER_FLUSH,
	PHASE_RECOVER_APPLY,
	PHASE_RECOVER_STORE_C,
	PHASE_RECOVER_FENCE_C,
};

struct record {
	uint8_t seq;
	uint8_t arg; /* the block, or the bits that TX_FIELD keeps */
};

struct state {
	/* on the media and in the caches */
	struct line lines[LINES];
	struct record records[TXS];
	/* what the users were promised */
	uint8_t promised[WORDS];
	uint8_t undecided; /* transactions cut off by a crash: wholly there or not at all */
	/* the process */
	uint8_t phase;
	uint8_t replayed;
	uint8_t next;
	uint8_t c_lanes;  /* published C as the lanes see it */
	uint8_t c_blocks; /* published C as the allocator sees it */
	uint8_t shut;
	uint8_t available; /* blocks neither allocated nor held */
	uint8_t pinned;
	uint8_t busy_seq[BLOCKS];
	struct lane lanes[LANES];
	struct thread threads[THREADS];
	struct checkpointer ck;
	/* what may still happen */
	uint8_t power_failures;
	uint8_t kills;
	uint8_t bad_copies;
	uint8_t failed_flushes;
};

enum committer_step {
	STEP_LOCK,
	STEP_GATHER,
	STEP_DATA,
	STEP_DATA_FENCE,
	STEP_CLAIM,
	STEP_LOAD_NEXT,
	STEP_ANNOUNCE,
	STEP_NUMBER,
	STEP_VOUCHED_DATA,
	STEP_RECORD_0,
	STEP_RECORD_1,
	STEP_FENCE,
	STEP_APPLY,
	STEP_DIRTY_LIST,
	STEP_CLEAR,
	STEP_CHANGE,
	STEP_CHANGE_FENCE,
	STEP_RELEASE,
	STEPS,
};

enum checkpoint_step {
	CK_COUNTER,
	CK_LANE_0,
	CK_LANE_1,
	CK_CALCULATE,
	CK_TAKE_0,
	CK_TAKE_1,
	CK_FLUSH,
	CK_STORE_C,
	CK_PUBLISH,
	CK_STEPS,
};

struct model {
	const struct scenario *scenario;
	uint64_t dropped; /* mask of rules */
	uint8_t order[STEPS + 1];
	uint8_t ck_order[CK_STEPS + 1];
	uint8_t ck_count;
	char why[200]; /* the violation, if one was found */
};

enum outcome { BLOCKED, STEPPED, VIOLATION };

static inline bool rule_on(const struct model *m, enum rule rule)
{
	return (m->dropped >> rule & 1) == 0;
}

static inline unsigned c_line(unsigned copy)
{
	return LINE_C + copy;
}

static inline unsigned lane_line(unsigned lane, unsigned half, unsigned slot, unsigned part)
{
	return LINE_LANES + ((lane * HALVES + half) * SLOTS + slot) * PARTS + part;
}

/* journal_media.c: lines, words, transactions as lists of changes, packing */
void line_store(struct line *line, uint16_t content);
void line_floor(struct line *line, unsigned version);
void line_fence(struct line *line);
uint16_t line_newest(const struct line *line);
uint8_t word_read(const struct state *s, unsigned word);
void word_store(const struct model *m, struct state *s, unsigned word, uint8_t value);
unsigned word_line(unsigned word);
unsigned content_word(unsigned block);
size_t tx_ops(const struct model *m, unsigned tx, uint8_t arg, struct op *ops);
void op_apply(const struct model *m, struct state *s, const struct op *op);
/* What the last line of a record holds: not its number, so that records of the same changes have
 * the same. */
uint16_t tx_body(const struct model *m, unsigned tx);
void tx_promise(const struct model *m, unsigned tx, uint8_t arg, uint8_t *promised);
void state_init(const struct model *m, struct state *s);
uint8_t state_pack(const struct model *m, const struct state *s, uint8_t *bytes);
void state_unpack(const struct model *m, struct state *s, const uint8_t *bytes, uint8_t len);

/* journal_steps.c: the committers and the checkpointer */
void steps_order(struct model *m);
unsigned thread_tx(const struct model *m, const struct state *s, unsigned thread);
enum outcome thread_step(struct model *m, struct state *s, unsigned thread, unsigned choice,
			 bool *more, bool *media);
enum outcome checkpoint_step(struct model *m, struct state *s, unsigned choice, bool *more,
			     bool *media);
bool state_stuck(const struct model *m, const struct state *s);
void thread_step_name(const struct model *m, unsigned pc, char *name, size_t size);
const char *checkpoint_step_name(const struct model *m, unsigned pc);

/* journal_recovery.c: losing the process, mkfs, recovery, and what must hold after it */
void process_lost(const struct model *m, struct state *s);
enum outcome recovery_step(struct model *m, struct state *s, bool *media);
enum outcome format_step(const struct model *m, struct state *s, bool *media);
bool state_settled_wrong(struct model *m, const struct state *s);
const char *phase_name(unsigned phase);

#endif
