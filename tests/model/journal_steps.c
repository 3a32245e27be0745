#include "journal_model.h"

#include <stdio.h>
#include <string.h>

/* One step of one committer. */
struct step {
	struct model *m;
	struct state *s;
	struct thread *self;
	const struct tx *tx;
	struct record *record;
	unsigned thread;
	unsigned tx_index;
	unsigned choice;
	bool more;  /* there is a choice after this one */
	bool media; /* what a crash may leave has changed */
};

unsigned thread_tx(const struct model *m, const struct state *s, unsigned thread)
{
	unsigned item = s->threads[thread].item;

	return item < ITEMS ? m->scenario->items[thread][item] : NO_TX;
}

static uint8_t tx_locks(const struct model *m, const struct tx *tx)
{
	if (tx->kind == TX_FIELD && !rule_on(m, J3_ONE_LOCK_PER_WORD))
		return tx->locks_unshared;
	return tx->locks;
}

static uint8_t locks_held(const struct model *m, const struct state *s)
{
	uint8_t held = 0;

	for (unsigned t = 0; t < THREADS; t++)
		if (s->threads[t].flags & F_LOCKED)
			held |= tx_locks(m, &m->scenario->txs[thread_tx(m, s, t)]);
	return held;
}

static unsigned step_lane(const struct step *st)
{
	if (st->self->flags & F_SEALING)
		return st->self->flags & F_LANE_1 ? 1 : 0;
	return st->thread % st->m->scenario->lanes;
}

/* The lane whose last record vouches for `word` and can still be replayed; LANES: none. */
static unsigned lane_open_for(const struct step *st, unsigned word)
{
	const struct state *s = st->s;

	for (unsigned lane = 0; lane < LANES; lane++) {
		unsigned open = s->lanes[lane].open;

		if (open != 0 && st->m->scenario->txs[open - 1].word == word &&
		    s->records[open - 1].seq > s->c_lanes)
			return lane;
	}
	return LANES;
}

static void item_finish(struct step *st)
{
	uint8_t item = st->self->item;
	uint8_t streaming = st->self->streaming;

	memset(st->self, 0, sizeof(*st->self));
	st->self->item = (uint8_t)(item + 1);
	st->self->streaming = streaming;
}

/* Nothing to do after all; a mutant may have claimed the lane by then. */
static void item_skip(struct step *st)
{
	struct lane *lane = &st->s->lanes[step_lane(st)];

	if (st->self->flags & F_CLAIMED) {
		lane->inflight = 0;
		lane->owner = 0;
	}
	item_finish(st);
}

static void block_release(struct step *st)
{
	unsigned block = st->record->arg;

	if (st->s->pinned >> block & 1)
		return; /* to the busy list until the pin goes, which these scenarios do not reach
			 */
	st->s->available |= (uint8_t)(1u << block);
}

static bool tx_frees(const struct tx *tx)
{
	return tx->kind == TX_FREE || tx->kind == TX_FREE_META;
}

static enum outcome step_lock(struct step *st)
{
	if (st->s->shut || (locks_held(st->m, st->s) & tx_locks(st->m, st->tx)) != 0)
		return BLOCKED;
	st->self->flags |= F_LOCKED;
	return STEPPED;
}

/* Blocks that another thread was given and has not yet set the bit of. */
static uint8_t blocks_being_allocated(const struct step *st)
{
	uint8_t mask = 0;

	for (unsigned t = 0; t < THREADS; t++) {
		unsigned tx = thread_tx(st->m, st->s, t);
		const struct thread *th = &st->s->threads[t];

		if (tx == NO_TX || st->m->scenario->txs[tx].kind != TX_ALLOC)
			continue;
		for (unsigned pc = 0; pc < th->pc; pc++)
			if (st->m->order[pc] == STEP_GATHER)
				mask |= (uint8_t)(1u << st->s->records[tx].arg);
	}
	return mask;
}

static uint8_t blocks_on_offer(const struct step *st)
{
	const struct state *s = st->s;
	uint8_t mask = s->available;

	if (!rule_on(st->m, J2_HELD_MARKS))
		return (uint8_t)(~word_read(s, W_BITS) & ~blocks_being_allocated(st) &
				 ((1u << BLOCKS) - 1));
	for (unsigned b = 0; b < BLOCKS; b++)
		if (s->busy_seq[b] != 0 && s->busy_seq[b] <= s->c_blocks)
			mask |= (uint8_t)(1u << b);
	return mask;
}

/* Nothing is free and nobody will free anything: the caller gets -ENOSPC. */
static bool no_space_ever(const struct step *st)
{
	const struct state *s = st->s;

	for (unsigned b = 0; b < BLOCKS; b++)
		if (s->busy_seq[b] != 0 || (word_read(s, W_BITS) >> b & 1) == 0)
			return false;
	for (unsigned t = 0; t < THREADS; t++)
		if (t != st->thread && thread_tx(st->m, s, t) != NO_TX)
			return false;
	return true;
}

static enum outcome gather_block(struct step *st)
{
	uint8_t mask = blocks_on_offer(st);
	unsigned skip = st->choice;

	for (unsigned b = 0; b < BLOCKS; b++) {
		if ((mask >> b & 1) == 0)
			continue;
		if (skip > 0) {
			skip--;
			continue;
		}
		if (st->s->pinned >> b & 1) {
			snprintf(st->m->why, sizeof(st->m->why),
				 "block %u is pinned and was handed out", b);
			return VIOLATION;
		}
		st->record->arg = (uint8_t)b;
		st->s->available &= (uint8_t) ~(1u << b);
		st->s->busy_seq[b] = 0;
		st->more = mask >> (b + 1) != 0;
		return STEPPED;
	}
	return BLOCKED;
}

/* What is read under the lock must be what was promised, whatever the crash images say. */
static enum outcome check_reads(struct step *st)
{
	struct op ops[OPS];
	size_t count = tx_ops(st->m, st->tx_index, st->record->arg, ops);

	for (size_t i = 0; i < count; i++) {
		uint8_t seen = word_read(st->s, ops[i].word);
		uint8_t promised = st->s->promised[ops[i].word];
		uint8_t mask = st->tx->kind == TX_FIELD ? st->tx->mask : 0xf;

		if (ops[i].kind != OP_SET || promised == ANY_VALUE)
			continue; /* bits have no lock; content of a free block has no meaning */
		if (((seen ^ promised) & mask) != 0) {
			snprintf(st->m->why, sizeof(st->m->why),
				 "word %u reads %x under its lock, committed was %x", ops[i].word,
				 seen, promised);
			return VIOLATION;
		}
	}
	return STEPPED;
}

static enum outcome step_gather(struct step *st)
{
	enum outcome done = STEPPED;

	if (st->tx->kind == TX_ALLOC) {
		if (no_space_ever(st)) {
			item_skip(st);
			return STEPPED;
		}
		done = gather_block(st);
	} else if (st->tx->kind == TX_FIELD) {
		st->record->arg = (uint8_t)(word_read(st->s, st->tx->word) & ~st->tx->mask);
	} else if (tx_frees(st->tx) || st->tx->kind == TX_META) {
		uint8_t entry = word_read(st->s, st->tx->ptr);

		if (entry ==
		    0) { /* a crash took the allocation with it: nothing to free or to write to */
			item_skip(st);
			return STEPPED;
		}
		st->record->arg = (uint8_t)(entry - 1);
	}
	if (st->tx->kind == TX_CHANGE) {
		unsigned lane = lane_open_for(st, st->tx->word);

		if (word_read(st->s, st->tx->ptr) == 0) { /* a crash took the append with it */
			item_skip(st);
			return STEPPED;
		}
		if (lane < LANES && rule_on(st->m, J16_SEAL_BEFORE_CHANGE))
			st->self->flags |= (uint8_t)(F_SEALING | (lane == 1 ? F_LANE_1 : 0));
	}
	if (done != STEPPED)
		return done;
	if (tx_frees(st->tx) && !rule_on(st->m, J2_HELD_UNTIL_COMMIT))
		block_release(st);
	return check_reads(st);
}

/* File data, or without J8 the store that goes around the journal. */
static enum outcome step_data(struct step *st)
{
	unsigned word = content_word(st->record->arg);
	uint8_t value = st->tx->value;

	if (st->tx->kind == TX_DIRECT) {
		word = st->tx->ops[0].word;
		value = st->tx->ops[0].value;
		st->s->promised[word] = ANY_VALUE;
	}
	word_store(st->m, st->s, word, value);
	st->self->streaming |= (uint8_t)(1u << word / WORDS_PER_LINE);
	st->media = true;
	return STEPPED;
}

static void data_store(struct step *st)
{
	word_store(st->m, st->s, st->tx->word, st->tx->value);
	st->self->streaming |= (uint8_t)(1u << st->tx->word / WORDS_PER_LINE);
	st->media = true;
}

/* Behind the end of file: nobody was promised anything. */
static enum outcome step_vouched_data(struct step *st)
{
	data_store(st);
	return STEPPED;
}

static enum outcome step_change(struct step *st)
{
	st->s->promised[st->tx->word] = ANY_VALUE;
	data_store(st);
	return STEPPED;
}

static void streaming_fence(struct step *st)
{
	for (unsigned i = 0; i < DATA_LINES; i++)
		if (st->self->streaming >> i & 1)
			line_fence(&st->s->lines[LINE_DATA + i]);
	st->self->streaming = 0;
}

static enum outcome step_data_fence(struct step *st)
{
	if (rule_on(st->m, J11_DATA_BEFORE_RECORD))
		streaming_fence(st);
	if (st->tx->kind == TX_DIRECT)
		st->s->promised[st->tx->ops[0].word] = st->tx->ops[0].value;
	st->media = true;
	return STEPPED;
}

static enum outcome step_change_fence(struct step *st)
{
	streaming_fence(st);
	st->s->promised[st->tx->word] = st->tx->value;
	st->media = true;
	return STEPPED;
}

/* Claim the lane with room for the record; a committer that finds none has let go of the lane and
 * waits. */
static enum outcome step_claim(struct step *st)
{
	struct lane *lane = &st->s->lanes[step_lane(st)];
	bool full = lane->fill == st->m->scenario->slots;

	if ((st->self->flags & F_SEALING) && lane_open_for(st, st->tx->word) == LANES) {
		st->self->flags &= (uint8_t) ~(F_SEALING | F_LANE_1); /* another record or C did it */
		return STEPPED;
	}
	if (lane->owner != 0)
		return BLOCKED;
	if (full && lane->last[lane->half ^ 1] > st->s->c_lanes && rule_on(st->m, J7_HALF_REUSE))
		return BLOCKED;
	lane->owner = (uint8_t)(st->thread + 1);
	st->self->flags |= F_CLAIMED;
	return STEPPED;
}

static enum outcome step_load_next(struct step *st)
{
	st->self->tmp = st->s->next;
	return STEPPED;
}

static enum outcome step_announce(struct step *st)
{
	uint8_t value = rule_on(st->m, J1_ANNOUNCE_BEFORE_NUMBER) ? st->self->tmp : st->record->seq;

	st->s->lanes[step_lane(st)].inflight = value;
	st->self->tmp = 0;
	return STEPPED;
}

static enum outcome step_number(struct step *st)
{
	if (st->s->next > SEQ_MAX) {
		snprintf(st->m->why, sizeof(st->m->why), "the model ran out of sequence numbers");
		return VIOLATION;
	}
	st->record->seq = st->s->next;
	st->s->next++;
	if (!rule_on(st->m, J16_SEALED_WHEN_DURABLE))
		st->s->lanes[step_lane(st)].open = 0;
	return STEPPED;
}

static struct line *record_line(struct step *st, unsigned part)
{
	unsigned index = step_lane(st);
	const struct lane *lane = &st->s->lanes[index];

	return &st->s->lines[lane_line(index, lane->half, lane->fill - 1u, part)];
}

static enum outcome step_record_0(struct step *st)
{
	struct lane *lane = &st->s->lanes[step_lane(st)];

	if (lane->fill == st->m->scenario->slots) {
		lane->half ^= 1;
		lane->fill = 0;
	}
	lane->fill++;
	lane->last[lane->half] = st->record->seq;
	line_store(record_line(st, 0), (uint16_t)(st->tx_index + 1));
	st->self->flags |= F_STORED;
	st->media = true;
	return STEPPED;
}

static enum outcome step_record_1(struct step *st)
{
	line_store(record_line(st, 1), tx_body(st->m, st->tx_index));
	st->media = true;
	return STEPPED;
}

static enum outcome step_fence(struct step *st)
{
	if (rule_on(st->m, J11_OWN_FENCE))
		for (unsigned part = 0; part < PARTS; part++)
			line_fence(record_line(st, part));
	streaming_fence(st);
	st->self->flags |= F_COMMITTED;
	tx_promise(st->m, st->tx_index, st->record->arg, st->s->promised);
	if (tx_frees(st->tx) && !rule_on(st->m, J2_HELD_UNTIL_APPLIED))
		block_release(st);
	if (!rule_on(st->m, J3_LOCKS_UNTIL_APPLIED))
		st->self->flags &= (uint8_t)~F_LOCKED;
	st->media = true;
	return STEPPED;
}

static void bit_store_stale(struct step *st, const struct op *op)
{
	uint8_t bit = (uint8_t)(1u << op->value);
	uint8_t value = st->self->tmp;

	value = op->kind == OP_SET_BIT ? (uint8_t)(value | bit) : (uint8_t)(value & ~bit);
	word_store(st->m, st->s, op->word, value);
	st->self->tmp = 0;
	st->self->flags &= (uint8_t)~F_LOADED;
}

static enum outcome step_apply(struct step *st)
{
	struct op ops[OPS];
	size_t count = tx_ops(st->m, st->tx_index, st->record->arg, ops);
	const struct op *op = &ops[st->self->op];
	uint8_t line = (uint8_t)(1u << op->word / WORDS_PER_LINE);

	if (op->kind != OP_SET && !rule_on(st->m, J2_ATOMIC_BITS)) {
		if ((st->self->flags & F_LOADED) == 0) {
			st->self->tmp = word_read(st->s, op->word);
			st->self->flags |= F_LOADED;
			return STEPPED;
		}
		bit_store_stale(st, op);
	} else {
		op_apply(st->m, st->s, op);
	}
	st->self->dirtied |= line;
	if (!rule_on(st->m, J6_CACHED_APPLY))
		st->self->streaming |= line;
	st->media = true;
	st->self->op = (uint8_t)(st->self->op + 1u < count ? st->self->op + 1 : 0);
	return STEPPED;
}

static enum outcome step_dirty_list(struct step *st)
{
	struct lane *lane = &st->s->lanes[step_lane(st)];
	uint8_t lines = st->self->dirtied;

	/* Without the rule a line that this pass of the checkpoint has taken counts as still
	 * listed. */
	if (!rule_on(st->m, J1_DIRTY_DEDUP))
		lines &= (uint8_t)~st->s->ck.taken;
	lane->dirty |= lines;
	st->self->dirtied = 0;
	return STEPPED;
}

/* A record that only seals lets go of the lane with it. */
static enum outcome step_clear(struct step *st)
{
	struct lane *lane = &st->s->lanes[step_lane(st)];

	lane->inflight = 0;
	lane->open = st->tx->kind == TX_APPEND ? (uint8_t)(st->tx_index + 1) : 0;
	if (st->self->flags & F_SEALING) {
		lane->owner = 0;
		st->self->flags &= (uint8_t) ~(F_SEALING | F_LANE_1 | F_CLAIMED);
	}
	return STEPPED;
}

static enum outcome step_release(struct step *st)
{
	struct lane *lane = &st->s->lanes[step_lane(st)];
	bool busy = st->tx->kind == TX_FREE_META && rule_on(st->m, J2_METADATA_BUSY);

	if (busy)
		st->s->busy_seq[st->record->arg] = st->record->seq;
	else if (tx_frees(st->tx) && rule_on(st->m, J2_HELD_UNTIL_COMMIT) &&
		 rule_on(st->m, J2_HELD_UNTIL_APPLIED))
		block_release(st);
	if (st->self->flags & F_CLAIMED)
		lane->owner = 0;
	item_finish(st);
	return STEPPED;
}

static const struct {
	const char *name;
	enum outcome (*run)(struct step *st);
} committer_steps[STEPS] = {
    [STEP_LOCK] = {"take the object locks", step_lock},
    [STEP_GATHER] = {"read, allocate, hold", step_gather},
    [STEP_DATA] = {"store data in place", step_data},
    [STEP_DATA_FENCE] = {"fence the data", step_data_fence},
    [STEP_CLAIM] = {"claim the lane, with room", step_claim},
    [STEP_LOAD_NEXT] = {"load next", step_load_next},
    [STEP_ANNOUNCE] = {"lane.inflight = it", step_announce},
    [STEP_NUMBER] = {"seq = next++", step_number},
    [STEP_VOUCHED_DATA] = {"store the data", step_vouched_data},
    [STEP_RECORD_0] = {"store the first record line", step_record_0},
    [STEP_RECORD_1] = {"store the last one", step_record_1},
    [STEP_FENCE] = {"fence: committed", step_fence},
    [STEP_APPLY] = {"apply in place", step_apply},
    [STEP_DIRTY_LIST] = {"publish the dirty list", step_dirty_list},
    [STEP_CLEAR] = {"lane.inflight = 0", step_clear},
    [STEP_CHANGE] = {"store over the data", step_change},
    [STEP_CHANGE_FENCE] = {"fence them", step_change_fence},
    [STEP_RELEASE] = {"release lane and locks", step_release},
};

static bool step_applies(const struct model *m, const struct tx *tx, const struct thread *self,
			 enum committer_step step)
{
	bool direct = tx->kind == TX_DIRECT && !rule_on(m, J8_ALWAYS_JOURNALLED);

	if (step == STEP_VOUCHED_DATA)
		return tx->kind == TX_APPEND;
	if (step == STEP_CHANGE || step == STEP_CHANGE_FENCE)
		return tx->kind == TX_CHANGE;
	if (tx->kind == TX_CHANGE && step >= STEP_CLAIM && step <= STEP_CLEAR)
		return (self->flags & F_SEALING) != 0 && step != STEP_APPLY;
	if (step == STEP_DATA || step == STEP_DATA_FENCE)
		return direct || tx->kind == TX_ALLOC;
	if (direct)
		return step == STEP_LOCK || step == STEP_GATHER || step == STEP_RELEASE;
	return true;
}

/*
 * Steps that run together with the next one. Each only takes something (so doing it later changes
 * nothing for others), or, for the record, leaves a set of crash images that the next step's
 * contains; kill -9 tells the two apart, so there they stay apart.
 */
static bool step_joins_next(const struct model *m, enum committer_step step)
{
	if (step == STEP_RECORD_0)
		return m->scenario->kills == 0;
	return step == STEP_LOCK || step == STEP_CLAIM;
}

static void pc_advance(struct step *st)
{
	do
		st->self->pc++;
	while (!step_applies(st->m, st->tx, st->self, st->m->order[st->self->pc]));
}

static enum outcome run_one(struct step *st)
{
	enum committer_step step = st->m->order[st->self->pc];
	uint8_t item = st->self->item;
	enum outcome done = committer_steps[step].run(st);

	if (done != STEPPED || st->self->item != item)
		return done;
	if (step != STEP_APPLY || (st->self->op == 0 && (st->self->flags & F_LOADED) == 0))
		pc_advance(st);
	return STEPPED;
}

enum outcome thread_step(struct model *m, struct state *s, unsigned thread, unsigned choice,
			 bool *more, bool *media)
{
	struct step st = {
	    .m = m, .s = s, .self = &s->threads[thread], .thread = thread, .choice = choice};
	enum committer_step step;
	enum outcome done;
	uint8_t item = st.self->item;

	*more = false;
	st.tx_index = thread_tx(m, s, thread);
	if (st.tx_index == NO_TX)
		return BLOCKED;
	st.tx = &m->scenario->txs[st.tx_index];
	st.record = &s->records[st.tx_index];
	step = m->order[st.self->pc];
	done = run_one(&st);
	while (done == STEPPED && st.self->item == item && step_joins_next(m, step)) {
		step = m->order[st.self->pc];
		done = run_one(&st);
		if (done == BLOCKED) { /* what came before it stands */
			done = STEPPED;
			break;
		}
	}
	*more = st.more;
	*media = st.media;
	return done;
}

void thread_step_name(const struct model *m, unsigned pc, char *name, size_t size)
{
	enum committer_step step = m->order[pc];

	if (step_joins_next(m, step))
		snprintf(name, size, "%s; %s", committer_steps[step].name,
			 committer_steps[m->order[pc + 1]].name);
	else
		snprintf(name, size, "%s", committer_steps[step].name);
}

/* The checkpointer. */

static const char *const checkpoint_names[CK_STEPS] = {
    [CK_COUNTER] = "read next",
    [CK_LANE_0] = "read lane 0's inflight",
    [CK_LANE_1] = "read lane 1's inflight",
    [CK_CALCULATE] = "C = min - 1",
    [CK_TAKE_0] = "take lane 0's dirty list",
    [CK_TAKE_1] = "take lane 1's dirty list",
    [CK_FLUSH] = "flush the dirty lines",
    [CK_STORE_C] = "fence, store C, flush it",
    [CK_PUBLISH] = "fence, publish C",
};

const char *checkpoint_step_name(const struct model *m, unsigned pc)
{
	return checkpoint_names[m->ck_order[pc]];
}

static void checkpoint_end(struct state *s)
{
	memset(&s->ck, 0, sizeof(s->ck));
}

static void checkpoint_lower(struct state *s, uint8_t seq)
{
	if (s->ck.min == 0 || seq < s->ck.min)
		s->ck.min = seq;
}

static void checkpoint_calculate(struct state *s)
{
	s->ck.c = (uint8_t)(s->ck.min - 1);
	if (s->ck.c > s->c_lanes || s->ck.c > s->c_blocks)
		return;
	s->lanes[0].dirty |=
	    s->ck.taken; /* only an order that takes lists first gets here with any */
	checkpoint_end(s);
}

/* A choice above 0 lets the flush of one taken line fail. Returns whether there is such a choice.
 */
static bool checkpoint_flush(const struct model *m, struct state *s, unsigned choice, bool *more)
{
	unsigned failing = LINES;
	unsigned seen = 0;

	for (unsigned i = 0; i < DATA_LINES; i++) {
		if ((s->ck.taken >> i & 1) == 0)
			continue;
		seen++;
		if (seen == choice)
			failing = i;
	}
	if (choice > 0 && (failing == LINES || s->failed_flushes == 0))
		return false;
	*more = s->failed_flushes > 0 && seen > choice;
	for (unsigned i = 0; i < DATA_LINES; i++) {
		struct line *line = &s->lines[LINE_DATA + i];
		bool streaming =
		    ((s->threads[0].streaming | s->threads[1].streaming) >> i & 1) != 0;

		/* A flush does not reach what still sits in another core's write-combining buffer.
		 */
		if (s->ck.flushed >> i & 1)
			continue;
		if ((s->ck.taken >> i & 1) && i != failing && !streaming)
			line->flushed = (uint8_t)(line->count - 1);
	}
	if (failing != LINES) {
		s->failed_flushes--;
		s->shut = rule_on(m, J5_STOP_AFTER_FAILURE);
	}
	return true;
}

static void checkpoint_fence_data(struct state *s)
{
	for (unsigned i = LINE_DATA; i < LINES; i++) {
		line_floor(&s->lines[i], s->lines[i].flushed);
		s->lines[i].flushed = 0;
	}
}

static void c_store(const struct model *m, struct state *s, unsigned copy, uint8_t c)
{
	line_store(&s->lines[c_line(copy)], c);
	if (m->scenario->eadr)
		line_fence(&s->lines[c_line(copy)]);
}

static void checkpoint_store_c(const struct model *m, struct state *s)
{
	if (rule_on(m, J5_FENCE_BEFORE_C))
		checkpoint_fence_data(s);
	c_store(m, s, 0, s->ck.c);
	c_store(m, s, 1, s->ck.c);
	if (!rule_on(m, J5_LANE_AFTER_FENCE))
		s->c_lanes = s->ck.c;
	if (!rule_on(m, J5_BLOCK_AFTER_FENCE))
		s->c_blocks = s->ck.c;
}

static void checkpoint_publish(const struct model *m, struct state *s)
{
	checkpoint_fence_data(s);
	line_fence(&s->lines[c_line(0)]);
	if (rule_on(m, J5_BOTH_COPIES))
		line_fence(&s->lines[c_line(1)]);
	s->c_lanes = s->ck.c;
	s->c_blocks = s->ck.c;
	checkpoint_end(s);
}

static enum outcome checkpoint_counter(const struct model *m, struct state *s)
{
	if (!rule_on(m, J9_CHECKPOINT_TAKES_NO_LOCK) && locks_held(m, s) != 0)
		return BLOCKED;
	checkpoint_lower(s, s->next);
	return STEPPED;
}

static enum outcome checkpoint_one(struct model *m, struct state *s, unsigned choice, bool *more,
				   bool *media)
{
	enum checkpoint_step step = m->ck_order[s->ck.pc];

	s->ck.pc++;
	switch (step) {
	case CK_COUNTER:
		return checkpoint_counter(m, s);
	case CK_LANE_0:
	case CK_LANE_1:
		if (s->lanes[step - CK_LANE_0].inflight != 0 && rule_on(m, J1_C_BELOW_LANES))
			checkpoint_lower(s, s->lanes[step - CK_LANE_0].inflight);
		break;
	case CK_CALCULATE:
		checkpoint_calculate(s);
		break;
	case CK_TAKE_0:
	case CK_TAKE_1:
		s->ck.taken |= s->lanes[step - CK_TAKE_0].dirty;
		s->lanes[step - CK_TAKE_0].dirty = 0;
		if (step == CK_TAKE_0 && !rule_on(m, J1_LISTS_BEFORE_FLUSH)) {
			checkpoint_flush(m, s, 0, more);
			s->ck.flushed = s->ck.taken;
		}
		break;
	case CK_FLUSH:
		if (!checkpoint_flush(m, s, choice, more))
			return BLOCKED;
		break;
	case CK_STORE_C:
		checkpoint_store_c(m, s);
		*media = true;
		break;
	case CK_PUBLISH:
		checkpoint_publish(m, s);
		break;
	case CK_STEPS:
		break;
	}
	return STEPPED;
}

enum outcome checkpoint_step(struct model *m, struct state *s, unsigned choice, bool *more,
			     bool *media)
{
	enum outcome done;
	enum checkpoint_step step;

	*more = false;
	*media = false;
	if (s->shut)
		return BLOCKED;
	done = checkpoint_one(m, s, choice, more, media);
	/* Reckoning is private; a flush that follows its list at once leaves the most crash images.
	 */
	step = m->ck_order[s->ck.pc];
	while (done == STEPPED && s->ck.pc != 0 && (step == CK_CALCULATE || step == CK_FLUSH)) {
		done = checkpoint_one(m, s, choice, more, media);
		step = m->ck_order[s->ck.pc];
	}
	return done;
}

/* No committer can go on, and a whole pass of the checkpoint would not change that. */
bool state_stuck(const struct model *m, const struct state *s)
{
	struct model scratch = *m;
	struct state after = *s;
	bool more = false;
	bool media = false;

	if (s->shut || s->ck.pc != 0)
		return false;
	for (unsigned i = 0; i < CK_STEPS; i++) {
		if (checkpoint_step(&scratch, &after, 0, &more, &media) != STEPPED)
			return true;
		if (after.ck.pc == 0)
			break;
	}
	return after.c_lanes == s->c_lanes && after.c_blocks == s->c_blocks;
}

/* A rule about the order of steps is dropped by moving a step. */
static void order_move(uint8_t *order, uint8_t step, uint8_t before)
{
	size_t from = 0;
	size_t to = 0;

	while (order[from] != step)
		from++;
	while (order[to] != before)
		to++;
	if (from > to) {
		memmove(order + to + 1, order + to, from - to);
		order[to] = step;
	} else {
		memmove(order + from, order + from + 1, to - from - 1);
		order[to - 1] = step;
	}
}

static void committer_order(struct model *m)
{
	uint8_t *order = m->order;

	for (uint8_t i = 0; i < STEPS; i++)
		order[i] = i;
	order[STEPS] = STEP_RELEASE;
	if (!rule_on(m, J1_ANNOUNCE_BEFORE_NUMBER))
		order_move(order, STEP_NUMBER, STEP_ANNOUNCE);
	if (!rule_on(m, J1_INFLIGHT_UNTIL_APPLIED))
		order_move(order, STEP_CLEAR, STEP_APPLY);
	if (!rule_on(m, J1_DIRTY_BEFORE_CLEAR))
		order_move(order, STEP_CLEAR, STEP_DIRTY_LIST);
	for (uint8_t i = STEP_CLAIM; i <= STEP_NUMBER; i++) {
		if (!rule_on(m, J1_NUMBER_AFTER_LOCKS))
			order_move(order, i, STEP_LOCK);
		if (!rule_on(m, J1_NUMBER_AFTER_BLOCKS))
			order_move(order, i, STEP_GATHER);
		if (!rule_on(m, J9_ALLOCATE_BEFORE_CLAIM) && i != STEP_NUMBER)
			order_move(order, i, STEP_GATHER);
	}
}

static void checkpoint_order(struct model *m)
{
	uint8_t order[CK_STEPS];

	for (uint8_t i = 0; i < CK_STEPS; i++)
		order[i] = i;
	if (!rule_on(m, J1_COUNTER_BEFORE_LANES))
		order_move(order, CK_COUNTER, CK_CALCULATE);
	if (!rule_on(m, J1_DIRTY_AFTER_LANES)) {
		order_move(order, CK_TAKE_0, CK_COUNTER);
		order_move(order, CK_TAKE_1, CK_COUNTER);
	}
	memset(m->ck_order, CK_STEPS, sizeof(m->ck_order));
	m->ck_count = 0;
	for (unsigned i = 0; i < CK_STEPS; i++) {
		if (m->scenario->lanes == 1 && (order[i] == CK_LANE_1 || order[i] == CK_TAKE_1))
			continue;
		m->ck_order[m->ck_count] = order[i];
		m->ck_count++;
	}
}

void steps_order(struct model *m)
{
	committer_order(m);
	checkpoint_order(m);
}
