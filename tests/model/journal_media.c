#include "journal_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void line_store(struct line *line, uint16_t content)
{
	if (line->version[line->count - 1] == content)
		return;
	if (line->count == VERSIONS) {
		fprintf(stderr, "model: a line has more than %d versions\n", VERSIONS);
		exit(2);
	}
	line->version[line->count] = content;
	line->count++;
}

/* What came before `version` can no longer be what a power failure leaves. */
void line_floor(struct line *line, unsigned version)
{
	unsigned kept = line->count - version;

	memmove(line->version, line->version + version, kept * sizeof(line->version[0]));
	memset(line->version + kept, 0, version * sizeof(line->version[0]));
	line->count = (uint8_t)kept;
	line->flushed = line->flushed > version ? (uint8_t)(line->flushed - version) : 0;
}

/* Flush and fence. */
void line_fence(struct line *line)
{
	line_floor(line, line->count - 1u);
}

uint16_t line_newest(const struct line *line)
{
	return line->version[line->count - 1];
}

unsigned word_line(unsigned word)
{
	return LINE_DATA + word / WORDS_PER_LINE;
}

unsigned content_word(unsigned block)
{
	return W_CONTENT + block * WORDS_PER_LINE;
}

uint8_t word_read(const struct state *s, unsigned word)
{
	return (uint8_t)(line_newest(&s->lines[word_line(word)]) >> (word % WORDS_PER_LINE * 4) &
			 0xf);
}

void word_store(const struct model *m, struct state *s, unsigned word, uint8_t value)
{
	struct line *line = &s->lines[word_line(word)];
	unsigned shift = word % WORDS_PER_LINE * 4;
	unsigned content = line_newest(line);

	content = (content & ~(0xfu << shift)) | (unsigned)value << shift;
	line_store(line, (uint16_t)content);
	/* With eADR the caches are durable: no older version can come back. */
	if (m->scenario->eadr)
		line_fence(line);
}

static struct op make_op(enum op_kind kind, unsigned word, unsigned value)
{
	struct op op = {kind, (uint8_t)word, (uint8_t)value};

	return op;
}

/* The changes that a transaction's record carries. */
size_t tx_ops(const struct model *m, unsigned tx, uint8_t arg, struct op *ops)
{
	const struct tx *t = &m->scenario->txs[tx];

	switch (t->kind) {
	case TX_SET:
	case TX_DIRECT:
	case TX_APPEND:
		memcpy(ops, t->ops, t->op_count * sizeof(ops[0]));
		return t->op_count;
	case TX_ALLOC:
		ops[0] = make_op(OP_SET_BIT, W_BITS, arg);
		ops[1] = make_op(OP_SET, t->ptr, arg + 1u);
		return 2;
	case TX_FREE:
	case TX_FREE_META:
		ops[0] = make_op(OP_CLEAR_BIT, W_BITS, arg);
		ops[1] = make_op(OP_SET, t->ptr, 0);
		return 2;
	case TX_META:
		ops[0] = make_op(OP_SET, content_word(arg), t->value);
		return 1;
	case TX_FIELD:
		ops[0] = make_op(OP_SET, t->word, (unsigned)arg | t->value);
		return 1;
	case TX_CHANGE:
	case TX_NONE:
		break;
	}
	return 0;
}

uint16_t tx_body(const struct model *m, unsigned tx)
{
	const struct tx *t = &m->scenario->txs[tx];
	unsigned same = 0;

	while (t->kind == TX_SET && same < tx &&
	       (m->scenario->txs[same].kind != TX_SET ||
		m->scenario->txs[same].op_count != t->op_count ||
		memcmp(m->scenario->txs[same].ops, t->ops, sizeof(t->ops)) != 0))
		same++;
	return (uint16_t)((t->kind == TX_SET ? same : tx) + 1);
}

static uint8_t op_value(const struct op *op, uint8_t old)
{
	if (op->kind == OP_SET_BIT)
		return (uint8_t)(old | 1u << op->value);
	if (op->kind == OP_CLEAR_BIT)
		return (uint8_t)(old & ~(1u << op->value));
	return op->value;
}

void op_apply(const struct model *m, struct state *s, const struct op *op)
{
	word_store(m, s, op->word, op_value(op, word_read(s, op->word)));
}

/* What the users may rely on once the transaction is durable. */
void tx_promise(const struct model *m, unsigned tx, uint8_t arg, uint8_t *promised)
{
	const struct tx *t = &m->scenario->txs[tx];
	struct op ops[OPS];
	size_t count = tx_ops(m, tx, arg, ops);

	if (t->kind == TX_FIELD) {
		promised[t->word] = (uint8_t)((promised[t->word] & ~t->mask) | t->value);
		return;
	}
	for (size_t i = 0; i < count; i++)
		promised[ops[i].word] = op_value(&ops[i], promised[ops[i].word]);
	if (t->kind == TX_APPEND)
		promised[t->word] = t->value;
	if (t->kind == TX_ALLOC)
		promised[content_word(arg)] = t->value;
	if (t->kind == TX_FREE || t->kind == TX_FREE_META)
		promised[content_word(arg)] = ANY_VALUE;
}

void state_init(const struct model *m, struct state *s)
{
	const struct scenario *sc = m->scenario;

	memset(s, 0, sizeof(*s));
	for (unsigned i = 0; i < LINES; i++)
		s->lines[i].count = 1;
	for (unsigned w = 0; w < WORDS; w++) {
		s->lines[word_line(w)].version[0] |=
		    (uint16_t)(sc->init[w] << (w % WORDS_PER_LINE * 4));
		s->promised[w] = sc->init[w];
	}
	for (unsigned b = 0; b < BLOCKS; b++) {
		if ((sc->init[W_BITS] >> b & 1) == 0) {
			s->available |= (uint8_t)(1u << b);
			s->promised[content_word(b)] = ANY_VALUE;
		}
	}
	for (unsigned i = 0; i < TXS; i++)
		if (sc->txs[i].kind == TX_APPEND)
			s->promised[sc->txs[i].word] = ANY_VALUE; /* behind the end of file */
	s->pinned = sc->pinned;
	s->next = 1;
	s->power_failures = sc->power_failures;
	s->kills = sc->kills;
	s->bad_copies = sc->bad_copies;
	s->failed_flushes = sc->failed_flushes;
	if (!sc->format)
		return;
	s->phase = PHASE_FORMAT_ZERO;
	for (unsigned part = 0; part < PARTS; part++)
		s->lines[lane_line(0, 0, 0, part)].version[0] = OLD_VOLUME_ID;
}

/* One routine reads and writes, so that the two cannot differ. */
struct codec {
	uint8_t *bytes;
	unsigned at;
	bool reading;
};

static void code_byte(struct codec *c, uint8_t *field)
{
	if (c->reading)
		*field = c->bytes[c->at];
	else
		c->bytes[c->at] = *field;
	c->at++;
}

static void code_pair(struct codec *c, uint8_t *high, uint8_t *low)
{
	uint8_t both = (uint8_t)(*high << 4 | *low);

	code_byte(c, &both);
	*high = both >> 4;
	*low = both & 0xf;
}

static void code_line(struct codec *c, struct line *line, bool wide)
{
	code_pair(c, &line->count, &line->flushed);
	for (unsigned i = 0; i < line->count; i++) {
		uint8_t low = (uint8_t)line->version[i];
		uint8_t high = (uint8_t)(line->version[i] >> 8);

		code_byte(c, &low);
		if (wide)
			code_byte(c, &high);
		line->version[i] = (uint16_t)(low | high << 8);
	}
}

/* A lane line that is clean is most of what there is: one byte. */
static void code_lane_line(struct codec *c, struct line *line)
{
	uint8_t low = (uint8_t)line->version[0];

	code_pair(c, &line->count, &low);
	line->version[0] = low;
	for (unsigned i = 1; i < line->count; i++) {
		low = (uint8_t)line->version[i];
		code_byte(c, &low);
		line->version[i] = low;
	}
}

static void code_lines(struct codec *c, const struct scenario *sc, struct state *s)
{
	for (unsigned lane = 0; lane < sc->lanes; lane++)
		for (unsigned half = 0; half < HALVES; half++)
			for (unsigned i = 0; i < sc->slots * (unsigned)PARTS; i++)
				code_lane_line(c, &s->lines[lane_line(lane, half, 0, 0) + i]);
	for (unsigned i = LINE_C; i < LINE_DATA; i++)
		code_lane_line(c, &s->lines[i]);
	for (unsigned i = LINE_DATA; i < LINES; i++)
		code_line(c, &s->lines[i], true);
}

static void code_process(struct codec *c, struct state *s)
{
	code_pair(c, &s->phase, &s->replayed);
	code_pair(c, &s->next, &s->shut);
	code_pair(c, &s->c_lanes, &s->c_blocks);
	code_pair(c, &s->available, &s->pinned);
	code_pair(c, &s->busy_seq[0], &s->busy_seq[1]);
	for (unsigned i = 0; i < LANES; i++) {
		struct lane *lane = &s->lanes[i];

		code_pair(c, &lane->inflight, &lane->dirty);
		code_pair(c, &lane->owner, &lane->half);
		code_pair(c, &lane->last[0], &lane->last[1]);
		code_pair(c, &lane->fill, &lane->open);
	}
	for (unsigned i = 0; i < THREADS; i++) {
		struct thread *t = &s->threads[i];

		code_pair(c, &t->item, &t->op);
		code_byte(c, &t->pc);
		code_byte(c, &t->tmp);
		code_pair(c, &t->dirtied, &t->streaming);
		code_byte(c, &t->flags);
	}
	code_pair(c, &s->ck.pc, &s->ck.min);
	code_pair(c, &s->ck.c, &s->ck.taken);
	code_byte(c, &s->ck.flushed);
	code_pair(c, &s->power_failures, &s->kills);
	code_pair(c, &s->bad_copies, &s->failed_flushes);
}

static unsigned code_state(struct codec *c, const struct scenario *sc, struct state *s)
{
	code_lines(c, sc, s);
	for (unsigned i = 0; i < TXS; i++)
		if (sc->txs[i].kind != TX_NONE)
			code_pair(c, &s->records[i].seq, &s->records[i].arg);
	for (unsigned i = 0; i < WORDS; i += 2)
		code_pair(c, &s->promised[i], &s->promised[i + 1]);
	code_byte(c, &s->undecided);
	code_process(c, s);
	return c->at;
}

uint8_t state_pack(const struct model *m, const struct state *s, uint8_t *bytes)
{
	struct state copy = *s;
	struct codec c = {bytes, 0, false};

	return (uint8_t)code_state(&c, m->scenario, &copy);
}

void state_unpack(const struct model *m, struct state *s, const uint8_t *bytes, uint8_t len)
{
	uint8_t copy[256];
	struct codec c = {copy, 0, true};

	memset(s, 0, sizeof(*s));
	memcpy(copy, bytes, len);
	for (unsigned i = 0; i < LINES; i++)
		s->lines[i].count = 1;
	code_state(&c, m->scenario, s);
}
