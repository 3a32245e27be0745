#include "journal_model.h"

#include <stdio.h>
#include <string.h>

/*
 * Power failure and kill -9 take the same from the process; they differ in what the lines keep,
 * which is the caller's business. A transaction that had stored part of its record and not fenced
 * it is undecided.
 */
void process_lost(const struct model *m, struct state *s)
{
	for (unsigned t = 0; t < THREADS; t++) {
		struct thread *thread = &s->threads[t];
		unsigned tx = thread_tx(m, s, t);
		uint8_t item = thread->item;

		if (tx != NO_TX && (thread->flags & (F_STORED | F_COMMITTED)) != 0)
			item++;
		else if (tx != NO_TX)
			memset(&s->records[tx], 0, sizeof(s->records[tx]));
		if (tx != NO_TX && (thread->flags & F_STORED) && (thread->flags & F_COMMITTED) == 0)
			s->undecided |= (uint8_t)(1u << tx);
		memset(thread, 0, sizeof(*thread));
		thread->item = item;
	}
	for (unsigned i = 0; i < LINES; i++)
		s->lines[i].flushed = 0;
	memset(s->lanes, 0, sizeof(s->lanes));
	memset(&s->ck, 0, sizeof(s->ck));
	memset(s->busy_seq, 0, sizeof(s->busy_seq));
	s->phase = PHASE_RECOVER_FLUSH;
	s->replayed = 0;
	s->next = 0;
	s->c_lanes = 0;
	s->c_blocks = 0;
	s->shut = 0;
	s->available = 0;
	s->pinned = 0; /* a crash drops all pins */
}

const char *phase_name(unsigned phase)
{
	static const char *const names[] = {
	    [PHASE_RUN] = "run",
	    [PHASE_FORMAT_ZERO] = "mkfs: zero the lanes",
	    [PHASE_FORMAT_SUPER] = "mkfs: fence, store the superblock",
	    [PHASE_FORMAT_FENCE] = "mkfs: fence",
	    [PHASE_RECOVER_FLUSH] = "flush and fence the lanes, C and data",
	    [PHASE_RECOVER_APPLY] = "apply the next record",
	    [PHASE_RECOVER_STORE_C] = "flush and fence what was applied, store C",
	    [PHASE_RECOVER_FENCE_C] = "fence C, run",
	};

	return names[phase];
}

enum outcome format_step(const struct model *m, struct state *s, bool *media)
{
	struct line *super = &s->lines[LINE_SUPER];

	*media = true;
	if (s->phase == PHASE_FORMAT_ZERO) {
		if (rule_on(m, J7_ZERO_LANES))
			for (unsigned part = 0; part < PARTS; part++)
				line_store(&s->lines[lane_line(0, 0, 0, part)], 0);
		s->phase = PHASE_FORMAT_SUPER;
	} else if (s->phase == PHASE_FORMAT_SUPER) {
		if (rule_on(m, J7_ZERO_BEFORE_SUPER))
			for (unsigned i = LINE_LANES; i < LINE_C; i++)
				line_fence(&s->lines[i]);
		line_store(super, 1);
		s->phase = PHASE_FORMAT_FENCE;
	} else {
		for (unsigned i = 0; i < LINE_DATA; i++)
			line_fence(&s->lines[i]);
		s->phase = PHASE_RUN;
	}
	return STEPPED;
}

/* A valid record found in a lane. */
struct found {
	uint8_t seq;
	uint8_t tx; /* or OLD_VOLUME_ID */
};

struct replay {
	struct found records[LANES * HALVES * SLOTS];
	unsigned count;
	uint8_t c;
	uint8_t max;
	bool refused;
};

static uint8_t c_read(const struct model *m, const struct state *s)
{
	uint8_t a = (uint8_t)line_newest(&s->lines[c_line(0)]);
	uint8_t b = (uint8_t)line_newest(&s->lines[c_line(1)]);

	if (a == BAD_C)
		return b;
	if (b == BAD_C)
		return a;
	if (rule_on(m, J5_LARGER_COPY))
		return a > b ? a : b;
	return a < b ? a : b;
}

static bool record_valid(const struct model *m, const struct state *s, unsigned first_line,
			 struct found *found)
{
	uint16_t id = line_newest(&s->lines[first_line]);
	uint16_t body = line_newest(&s->lines[first_line + 1]);
	bool old = id == OLD_VOLUME_ID;

	if (id == 0 || body != (old ? id : tx_body(m, id - 1u)))
		return false; /* zeros, or torn: the checksum says no */
	if (old) {
		found->seq = OLD_VOLUME_SEQ;
		found->tx = OLD_VOLUME_ID;
		return !rule_on(m, J7_FRESH_SEED);
	}
	found->tx = (uint8_t)(id - 1);
	found->seq = s->records[id - 1].seq;
	return true;
}

static void half_walk(const struct model *m, const struct state *s, unsigned line, struct replay *r)
{
	uint8_t last = 0;
	bool stopped = false;

	for (unsigned slot = 0; slot < m->scenario->slots; slot++) {
		struct found found = {0, 0};
		bool valid = record_valid(m, s, line + slot * PARTS, &found);

		if (!stopped && valid && found.seq > last) {
			last = found.seq;
			if (found.seq > r->c || !rule_on(m, J7_ONLY_ABOVE_C)) {
				r->records[r->count] = found;
				r->count++;
			}
			continue;
		}
		if (stopped && valid && found.seq > last && found.seq > r->c)
			r->refused = true; /* a newer record behind one that cannot be read */
		stopped = true;
	}
}

static void sort_by_seq(struct replay *r)
{
	for (unsigned i = 1; i < r->count; i++) {
		struct found moving = r->records[i];
		unsigned at = i;

		while (at > 0 && r->records[at - 1].seq > moving.seq) {
			r->records[at] = r->records[at - 1];
			at--;
		}
		r->records[at] = moving;
	}
}

static void gaps_check(const struct model *m, struct replay *r)
{
	unsigned allowed = rule_on(m, J7_GAP_PER_LANE) ? m->scenario->lanes : 0;
	unsigned above = 0;

	r->max = r->c;
	for (unsigned i = 0; i < r->count; i++) {
		if (r->records[i].seq <= r->c)
			continue;
		above++;
		if (r->records[i].seq > r->max)
			r->max = r->records[i].seq;
	}
	if (r->max > r->c + above + allowed)
		r->refused = true;
}

static bool data_wrong(const struct model *m, const struct state *s, const struct found *found)
{
	const struct tx *tx;

	if (found->tx == OLD_VOLUME_ID)
		return false;
	tx = &m->scenario->txs[found->tx];
	return tx->kind == TX_APPEND && word_read(s, tx->word) != tx->value;
}

/* Of a lane's records, those from `first` on: the last one counts if its data are there. */
static void data_check(const struct model *m, const struct state *s, struct replay *r,
		       unsigned first)
{
	unsigned last = r->count;

	if (!rule_on(m, J16_VERIFY_DATA))
		return;
	for (unsigned i = first; i < r->count; i++)
		if (last == r->count || r->records[i].seq > r->records[last].seq)
			last = i;
	for (unsigned i = r->count; i-- > first;) {
		if (i != last && rule_on(m, J16_LAST_RECORD_ONLY))
			continue;
		if (data_wrong(m, s, &r->records[i])) {
			r->count--;
			r->records[i] = r->records[r->count];
		}
	}
}

/* What recovery reads stays the same until it has stored its own C, so each step may read it anew.
 */
static void replay_read(const struct model *m, const struct state *s, struct replay *r)
{
	memset(r, 0, sizeof(*r));
	r->c = c_read(m, s);
	for (unsigned lane = 0; lane < m->scenario->lanes; lane++) {
		unsigned first = r->count;

		for (unsigned half = 0; half < HALVES; half++)
			half_walk(m, s, lane_line(lane, half, 0, 0), r);
		data_check(m, s, r, first);
	}
	if (rule_on(m, J1_REPLAY_ORDER))
		sort_by_seq(r);
	gaps_check(m, r);
}

static void record_apply(const struct model *m, struct state *s, const struct found *found)
{
	struct op ops[OPS];
	size_t count;

	if (found->tx == OLD_VOLUME_ID) {
		word_store(m, s, W_X, OLD_VOLUME_VALUE);
		return;
	}
	count = tx_ops(m, found->tx, s->records[found->tx].arg, ops);
	for (size_t i = 0; i < count; i++)
		op_apply(m, s, &ops[i]);
}

static bool word_wrong(const struct state *s, const uint8_t *promised, unsigned w)
{
	bool any = promised[w] == ANY_VALUE && w != W_BITS;

	return !any && word_read(s, w) != promised[w];
}

static unsigned words_wrong(const struct state *s, const uint8_t *promised)
{
	unsigned wrong = 0;

	for (unsigned w = 0; w < WORDS; w++)
		wrong += word_wrong(s, promised, w);
	return wrong;
}

static void describe_wrong(struct model *m, const struct state *s, const uint8_t *promised,
			   const char *when)
{
	unsigned w = 0;

	while (w + 1 < WORDS && !word_wrong(s, promised, w))
		w++;
	snprintf(m->why, sizeof(m->why), "%s word %u is %x, not %x", when, w, word_read(s, w),
		 promised[w]);
}

/*
 * Every committed transaction is there, and each undecided one wholly or not at all. Decides them:
 * from now on what was found is what the users have seen.
 */
static enum outcome recovered_check(struct model *m, struct state *s)
{
	uint8_t best[WORDS];
	unsigned best_wrong = words_wrong(s, s->promised);
	unsigned set = s->undecided;

	memcpy(best, s->promised, sizeof(best));
	for (; best_wrong > 0 && set != 0; set = (set - 1) & s->undecided) {
		uint8_t promised[WORDS];

		memcpy(promised, s->promised, sizeof(promised));
		for (unsigned tx = 0; tx < TXS; tx++)
			if (set >> tx & 1)
				tx_promise(m, tx, s->records[tx].arg, promised);
		if (words_wrong(s, promised) < best_wrong) {
			best_wrong = words_wrong(s, promised);
			memcpy(best, promised, sizeof(best));
		}
	}
	if (best_wrong > 0) {
		describe_wrong(m, s, best,
			       s->undecided == 0
				   ? "after recovery"
				   : "after recovery, whichever of the records cut off count,");
		return VIOLATION;
	}
	memcpy(s->promised, best, sizeof(best));
	s->undecided = 0;
	return STEPPED;
}

/* Each lane may hold a record that the crash tore; a later one of the same bytes could fill its
 * hole. */
static uint8_t recovered_c(const struct model *m, const struct replay *r)
{
	unsigned torn = rule_on(m, J5_C_ABOVE_TORN) ? m->scenario->lanes : 0;

	return (uint8_t)(r->max + torn);
}

static enum outcome recovery_run(struct model *m, struct state *s, const struct replay *r)
{
	uint8_t c = r->max; /* by now what was stored */

	s->phase = PHASE_RUN;
	s->replayed = 0;
	s->c_lanes = c;
	s->c_blocks = c;
	s->next = (uint8_t)(c + 1);
	if (!rule_on(m, J5_RESTART_NOT_AT_C) && c > 0)
		s->next = c;
	if (!rule_on(m, J5_RESTART_NOT_AT_1))
		s->next = 1;
	s->available = (uint8_t)(~word_read(s, W_BITS) & ((1u << BLOCKS) - 1));
	return recovered_check(m, s);
}

static void recovery_flush(const struct model *m, struct state *s)
{
	if (rule_on(m, J4_FLUSH_LANES))
		for (unsigned i = LINE_LANES; i < LINE_C; i++)
			line_fence(&s->lines[i]);
	if (rule_on(m, J16_SETTLE_DATA))
		for (unsigned b = 0; b < BLOCKS; b++)
			line_fence(&s->lines[word_line(content_word(b))]);
	if (rule_on(m, J4_FLUSH_C))
		for (unsigned copy = 0; copy < 2; copy++)
			line_fence(&s->lines[c_line(copy)]);
	s->phase = PHASE_RECOVER_APPLY;
}

static enum outcome recovery_apply(struct model *m, struct state *s, const struct replay *r,
				   bool *media)
{
	if (r->refused) {
		snprintf(m->why, sizeof(m->why), "mount refuses a state that only a crash made");
		return VIOLATION;
	}
	if (r->count == 0 && !rule_on(m, J4_ALWAYS_STORE_C))
		return recovery_run(m, s, r);
	if (s->replayed < r->count) {
		record_apply(m, s, &r->records[s->replayed]);
		s->replayed++;
		*media = true;
	}
	if (s->replayed == r->count)
		s->phase = PHASE_RECOVER_STORE_C;
	return STEPPED;
}

static void recovery_store_c(const struct model *m, struct state *s, const struct replay *r)
{
	if (rule_on(m, J5_RECOVERY_FLUSH))
		for (unsigned i = LINE_DATA; i < LINES; i++)
			line_fence(&s->lines[i]);
	for (unsigned copy = 0; copy < 2; copy++) {
		line_store(&s->lines[c_line(copy)], recovered_c(m, r));
		if (m->scenario->eadr)
			line_fence(&s->lines[c_line(copy)]);
	}
	s->phase = PHASE_RECOVER_FENCE_C;
}

enum outcome recovery_step(struct model *m, struct state *s, bool *media)
{
	struct replay r;
	uint8_t seen = s->phase;

	*media = false;
	if (seen == PHASE_RECOVER_FLUSH) {
		recovery_flush(m, s);
		return STEPPED;
	}
	replay_read(m, s, &r);
	if (seen == PHASE_RECOVER_APPLY)
		return recovery_apply(m, s, &r, media);
	*media = true;
	if (seen == PHASE_RECOVER_STORE_C) {
		recovery_store_c(m, s, &r);
		return STEPPED;
	}
	for (unsigned i = LINE_C; i < LINES; i++)
		if (i >= LINE_DATA || rule_on(m, J5_RECOVERY_FENCE))
			line_fence(&s->lines[i]);
	return recovery_run(m, s, &r);
}

/* All transactions are through: the caches must show what was promised. */
bool state_settled_wrong(struct model *m, const struct state *s)
{
	if (s->phase != PHASE_RUN)
		return false;
	for (unsigned t = 0; t < THREADS; t++)
		if (thread_tx(m, s, t) != NO_TX)
			return false;
	if (words_wrong(s, s->promised) == 0)
		return false;
	describe_wrong(m, s, s->promised, "at the end");
	return true;
}
