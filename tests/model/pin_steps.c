#include "pin_model.h"

#include <stdio.h>
#include <string.h>

/* The steps of an operation, in order; each says which one is next. */
enum step_index {
	STEP_START,
	PIN_LOCK,
	PIN_LOOKUP,
	PIN_CHECK,
	PIN_DROP,
	INSTALL_LOCK,
	INSTALL_LOOK,
	INSTALL,
	INSTALL_UNLOCK,
	PIN_COUNT,
	PIN_COUNT_STORE,
	PIN_UNLOCK,
	UNPIN_CLAIM,
	UNPIN_CLAIM_STORE,
	UNPIN_SUB,
	UNPIN_LOOK,
	FREE_LOCK,
	FREE_FRAME,
	FREE_SETTLE,
	FREE_SETTLE_OR,
	FREE_HELD,
	FREE_HELD_STORE,
	FREE_BLOCK,
	FREE_REC,
	FREE_REC_STORE,
	FREE_TICKET,
	FREE_UNLOCK,
	PUNCH_LOCK,
	PUNCH_LOOKUP,
	PUNCH_FAIL_WORD,
	PUNCH_FAIL_COUNT,
	PUNCH_SPLIT,
	PUNCH_AGAIN,
	PUNCH_SET_EARLY,
	PUNCH_REFS,
	PUNCH_CUT,
	PUNCH_HOLD_LOCK,
	PUNCH_HOLD,
	PUNCH_HOLD_UNLOCK,
	PUNCH_COMMIT,
	PUNCH_SET,
	PUNCH_TAKE_BACK,
	PUNCH_ABORT_REFS,
	PUNCH_UNHOLD_LOCK,
	PUNCH_UNHOLD,
	PUNCH_UNHOLD_UNLOCK,
	DETACH_LOCK,
	DETACH_UNIT,
	DETACH_RECORD,
	DETACH_OR,
	DETACH_OR_STORE,
	DETACH_CLEAR,
	DETACH_LATE_RECORD,
	DETACH_END,
	DETACH_UNLOCK,
	PUNCH_UNLOCK,
	PUNCH_WAIT,
	PUNCH_SLEEP,
	PUNCH_ASLEEP,
	ALLOC_LOCK,
	ALLOC_LOOKUP,
	ALLOC_GROUP_LOCK,
	ALLOC_TAKE,
	ALLOC_RESET,
	ALLOC_DROP_COUNTS,
	ALLOC_DROP_STORE,
	ALLOC_GROUP_UNLOCK,
	ALLOC_COMMIT,
	ALLOC_UNHOLD_LOCK,
	ALLOC_UNHOLD,
	ALLOC_UNHOLD_UNLOCK,
	ALLOC_UNLOCK,
	STEPS,
};

/* What self->kind says of the operation under way. */
enum { KIND_BLOCKS, KIND_WHOLE, KIND_COLLECTIVE, KIND_SPLIT };

struct step {
	struct model *m;
	struct state *s;
	struct thread *self;
	const struct op *op;
	struct file *file;
	struct handle *handle;
	unsigned thread;
	unsigned choice;
	bool more;
};

static enum outcome next(struct step *st, enum step_index pc)
{
	st->self->pc = (uint8_t)pc;
	return STEPPED;
}

/* The same, beginning a loop over blocks. */
static enum outcome next_loop(struct step *st, enum step_index pc)
{
	st->self->i = 0;
	return next(st, pc);
}

static enum outcome finish(struct step *st)
{
	uint8_t item = st->self->item;

	memset(st->self, 0, sizeof(*st->self));
	st->self->item = (uint8_t)(item + 1);
	return STEPPED;
}

static enum outcome wrong(struct step *st, const char *why)
{
	snprintf(st->m->why, sizeof(st->m->why), "%s", why);
	return VIOLATION;
}

static bool on(const struct step *st, enum rule rule)
{
	return rule_on(st->m, rule);
}

/* ---- blocks by their number in the volume: PER_FRAME to a frame */

static struct frame *frame_of(struct step *st, unsigned block)
{
	return &st->s->frames[block / PER_FRAME];
}

static struct counts *counts_of(struct step *st, unsigned block)
{
	return &frame_of(st, block)->b[block % PER_FRAME];
}

static uint8_t bit(unsigned i)
{
	return (uint8_t)(1u << i);
}

static uint8_t all_of(const struct step *st)
{
	return (uint8_t)((1u << st->m->scenario->blocks) - 1);
}

static uint8_t frame_mask(const struct step *st, unsigned frame)
{
	return (uint8_t)(all_of(st) << frame * PER_FRAME);
}

static unsigned first_of(uint8_t blocks)
{
	return (unsigned)__builtin_ctz(blocks);
}

/* The loop over the blocks of the operation: the one at or after i; false after the last. */
static bool loop_at(struct step *st)
{
	while (st->self->i < FRAMES * PER_FRAME && (st->self->blocks >> st->self->i & 1) == 0)
		st->self->i++;
	return st->self->i < FRAMES * PER_FRAME;
}

static bool loop_more(struct step *st)
{
	st->self->i++;
	return loop_at(st);
}

static enum outcome count_drop(struct step *st, uint8_t *count)
{
	if (*count == 0)
		return wrong(st, "a count goes below zero");
	(*count)--;
	return STEPPED;
}

/* A block goes from held to free. */
static enum outcome block_release(struct step *st, unsigned block)
{
	struct frame *fr = frame_of(st, block);
	uint8_t mask = bit(block % PER_FRAME);

	if ((fr->held & mask) == 0)
		return wrong(st, "a block is freed that is free or somebody else's");
	if (fr->bits & mask)
		return wrong(st, "a block is freed while its file has it");
	fr->held &= (uint8_t)~mask;
	return STEPPED;
}

/* ---- locks */

static enum outcome layout_rdlock(struct step *st, enum step_index then)
{
	if (st->file->writer != 0)
		return BLOCKED;
	st->file->readers |= bit(st->thread);
	return next(st, then);
}

static void layout_rdunlock(struct step *st)
{
	st->file->readers &= (uint8_t)~bit(st->thread);
}

static enum outcome layout_wrlock(struct step *st, enum step_index then)
{
	if (st->file->writer != 0 || st->file->readers != 0)
		return BLOCKED;
	st->file->writer = (uint8_t)(st->thread + 1);
	return next(st, then);
}

static void layout_wrunlock(struct step *st)
{
	if (st->file->writer == st->thread + 1)
		st->file->writer = 0;
}

static enum outcome group_lock(struct step *st, enum step_index then)
{
	if (st->s->group != 0)
		return BLOCKED;
	st->s->group = (uint8_t)(st->thread + 1);
	return next(st, then);
}

static enum outcome group_unlock(struct step *st, enum step_index then)
{
	if (st->s->group == st->thread + 1)
		st->s->group = 0;
	return next(st, then);
}

/* ---- counts per block, made with no lock but the group's */

static enum outcome install_lock(struct step *st)
{
	if (!on(st, COUNTS_UNDER_LOCK))
		return next(st, INSTALL_LOOK);
	return group_lock(st, INSTALL_LOOK);
}

static enum outcome install_look(struct step *st)
{
	st->self->tmp = st->s->frames[st->self->made - 1].has;
	return next(st, INSTALL);
}

static enum outcome install(struct step *st)
{
	struct frame *fr = &st->s->frames[st->self->made - 1];

	if (st->self->tmp) {
		st->s->arrays--; /* somebody was faster */
	} else {
		fr->has = 1;
		memset(fr->b, 0, sizeof(fr->b));
	}
	st->self->tmp = 0;
	return next(st, INSTALL_UNLOCK);
}

/* From the beginning, under the layout lock: what was looked up may be otherwise by now. */
static enum outcome install_unlock(struct step *st)
{
	return group_unlock(st, st->op->kind == OP_PIN ? PIN_LOCK : PUNCH_LOCK);
}

/* ---- pin */

static enum outcome pin_lock(struct step *st)
{
	bool again = st->self->made == 0 || on(st, PIN_LOOKUP_AGAIN);

	return layout_rdlock(st, again ? PIN_LOOKUP : PIN_CHECK);
}

static bool pin_blocks(struct step *st)
{
	st->self->blocks = 0;
	for (unsigned i = st->op->first; i < (unsigned)st->op->first + st->op->n; i++) {
		if (st->file->blk[i] == 0)
			return false;
		st->self->blocks |= bit(st->file->blk[i] - 1u);
	}
	return true;
}

static enum outcome pin_lookup(struct step *st)
{
	struct handle *h = st->handle;
	bool found = st->file->kind != MAP_HOLE;

	st->self->kind = KIND_BLOCKS;
	if (st->file->kind == MAP_HUGE) {
		st->self->kind = KIND_WHOLE;
		st->self->blocks = frame_mask(st, st->file->frame);
	} else if (found) {
		found = pin_blocks(st);
		if (!on(st, PIN_KIND_BY_MAP))
			st->self->kind = KIND_WHOLE;
	}
	if (!on(st, PIN_UNDER_LAYOUT))
		layout_rdunlock(st);
	if (!found) {
		h->state = H_FAILED;
		return next(st, PIN_UNLOCK);
	}
	h->whole = st->self->kind == KIND_WHOLE;
	h->blocks = st->self->blocks;
	for (unsigned b = 0; b < FRAMES * PER_FRAME; b++)
		h->stamp[b] =
		    h->blocks >> b & 1 ? frame_of(st, b)->stamp[b % PER_FRAME] : (uint8_t)0;
	st->self->i = 0;
	loop_at(st);
	return next(st, st->self->kind == KIND_WHOLE ? PIN_COUNT : PIN_CHECK);
}

/* All frames have counts, or nothing is counted. */
static enum outcome pin_check(struct step *st)
{
	if (!frame_of(st, st->self->i)->has) {
		st->self->made = (uint8_t)(st->self->i / PER_FRAME + 1);
		return next(st, PIN_DROP);
	}
	if (loop_more(st))
		return next(st, PIN_CHECK);
	st->self->i = 0;
	loop_at(st);
	return next(st, PIN_COUNT);
}

static enum outcome pin_drop(struct step *st)
{
	layout_rdunlock(st);
	st->s->arrays++;
	return next(st, INSTALL_LOCK);
}

static uint8_t *pin_counter(struct step *st)
{
	if (st->self->kind == KIND_WHOLE)
		return &frame_of(st, st->self->i)->count;
	return &counts_of(st, st->self->i)->count;
}

static enum outcome pin_counted(struct step *st)
{
	if (st->self->kind == KIND_BLOCKS && loop_more(st))
		return next(st, PIN_COUNT);
	return next(st, PIN_UNLOCK);
}

static enum outcome pin_count(struct step *st)
{
	uint8_t *count = pin_counter(st);

	if (st->self->kind == KIND_BLOCKS && !frame_of(st, st->self->i)->has)
		return wrong(st, "the counts of a frame are gone before a pin is counted");
	if (!on(st, PIN_ATOMIC)) {
		st->self->tmp = *count;
		return next(st, PIN_COUNT_STORE);
	}
	(*count)++;
	return pin_counted(st);
}

static enum outcome pin_count_store(struct step *st)
{
	*pin_counter(st) = (uint8_t)(st->self->tmp + 1);
	st->self->tmp = 0;
	return pin_counted(st);
}

static enum outcome pin_unlock(struct step *st)
{
	layout_rdunlock(st);
	if (st->handle->state == H_NONE)
		st->handle->state = H_LIVE;
	return finish(st);
}

/* ---- unpin */

static enum outcome unpin_begin(struct step *st)
{
	unsigned first = first_of(st->handle->blocks);

	st->self->kind = st->handle->whole ? KIND_WHOLE : KIND_BLOCKS;
	st->self->blocks = st->handle->blocks;
	if (!on(st, UNPIN_KIND))
		st->self->kind = frame_of(st, first)->split ? KIND_BLOCKS : KIND_WHOLE;
	st->self->i = (uint8_t)first;
	if (!on(st, UNPIN_ONCE))
		return next(st, UNPIN_CLAIM_STORE);
	st->handle->state = H_DEAD;
	return next(st, UNPIN_SUB);
}

static enum outcome unpin_claim(struct step *st)
{
	if (st->handle->state == H_NONE)
		return BLOCKED;
	if (st->handle->state != H_LIVE)
		return finish(st); /* a hole was there, or -EINVAL */
	return unpin_begin(st);
}

static enum outcome unpin_claim_store(struct step *st)
{
	st->handle->state = H_DEAD;
	return next(st, UNPIN_SUB);
}

static enum outcome unpin_end(struct step *st)
{
	memset(st->handle, 0, sizeof(*st->handle));
	st->handle->state = H_DROPPED;
	return finish(st);
}

/* What became idle in one frame is freed before the next one's references are dropped. */
static enum outcome unpin_next(struct step *st)
{
	unsigned frame = st->self->i / PER_FRAME;
	bool more = st->self->kind != KIND_WHOLE && loop_more(st);

	if (st->self->idle != 0 && (!more || st->self->i / PER_FRAME != frame))
		return next(st, FREE_LOCK);
	return more ? next(st, UNPIN_SUB) : unpin_end(st);
}

/* By what the count was made: the last reference to something that left its file? Such blocks are
 * gathered and then freed together: nobody else saw their last reference go. */
static enum outcome unpin_decide(struct step *st)
{
	const struct frame *fr = frame_of(st, st->self->i);
	const struct counts *c = counts_of(st, st->self->i);

	if (st->self->kind == KIND_WHOLE) {
		if (fr->count != 0)
			return unpin_next(st);
		if (fr->split) {
			st->self->kind = KIND_COLLECTIVE;
			st->self->blocks = frame_mask(st, st->self->i / PER_FRAME);
			st->self->i = (uint8_t)first_of(st->self->blocks);
			return next(st, UNPIN_SUB);
		}
		if (fr->busy)
			st->self->idle = frame_mask(st, st->self->i / PER_FRAME);
		return unpin_next(st);
	}
	if (c->count == 0 && c->busy &&
	    (st->self->kind != KIND_COLLECTIVE || on(st, UNPIN_BLOCK_RULE)))
		st->self->idle |= bit(st->self->i);
	return unpin_next(st);
}

static enum outcome unpin_sub(struct step *st)
{
	struct frame *fr = frame_of(st, st->self->i);
	uint8_t *count =
	    st->self->kind == KIND_WHOLE ? &fr->count : &counts_of(st, st->self->i)->count;

	if (st->self->kind != KIND_WHOLE && !fr->has)
		return wrong(st, "the counts of a frame are gone before a reference is dropped");
	if (count_drop(st, count) == VIOLATION)
		return VIOLATION;
	if (!on(st, UNPIN_BY_RESULT))
		return next(st, UNPIN_LOOK);
	return unpin_decide(st);
}

/* ---- the last reference to a frame or block that left its file */

static enum outcome free_lock(struct step *st)
{
	enum step_index then = st->self->kind == KIND_WHOLE ? FREE_FRAME : FREE_HELD;

	if (!on(st, FREE_UNDER_LOCK))
		return next(st, then);
	return group_lock(st, then);
}

static enum outcome free_frame(struct step *st)
{
	struct frame *fr = frame_of(st, st->self->i);

	if (!fr->busy)
		return wrong(st, "a busy frame is freed twice");
	if (fr->count != 0)
		return wrong(st, "a busy frame is freed that somebody holds");
	if (fr->rec == 0)
		return wrong(st, "a busy frame is freed that has no record");
	st->self->rec = fr->rec;
	fr->rec = 0;
	fr->busy = 0;
	st->self->blocks = st->self->idle;
	st->self->i = (uint8_t)first_of(st->self->blocks);
	return next(st, fr->has && on(st, FREE_SETTLES) ? FREE_SETTLE : FREE_HELD);
}

static enum outcome free_settled(struct step *st)
{
	return next(st, loop_more(st) ? FREE_SETTLE : FREE_HELD);
}

/* Blocks of the frame may have pins of their own: they stay. */
static enum outcome free_settle(struct step *st)
{
	if (counts_of(st, st->self->i)->count == 0)
		return free_settled(st);
	counts_of(st, st->self->i)->rec = st->self->rec;
	return next(st, FREE_SETTLE_OR);
}

static enum outcome free_settle_or(struct step *st)
{
	struct counts *c = counts_of(st, st->self->i);

	if (c->count == 0) {
		c->rec = 0;
	} else {
		c->busy = 1;
		st->self->idle &= (uint8_t)~bit(st->self->i);
	}
	return free_settled(st);
}

static enum outcome free_held(struct step *st)
{
	st->self->tmp = st->self->idle == 0
			    ? (uint8_t)0
			    : frame_of(st, first_of(st->self->idle))->held; /* as read */
	return next(st, FREE_HELD_STORE);
}

static enum outcome free_held_store(struct step *st)
{
	unsigned f = st->self->idle == 0 ? 0 : first_of(st->self->idle) / PER_FRAME;

	for (unsigned b = 0; b < FRAMES * PER_FRAME; b++)
		if ((st->self->idle >> b & 1) && block_release(st, b) == VIOLATION)
			return VIOLATION;
	if (!on(st, FREE_UNDER_LOCK) && st->self->idle != 0)
		st->s->frames[f].held =
		    (uint8_t)(st->self->tmp & ~(st->self->idle >> f * PER_FRAME));
	st->self->tmp = 0;
	if (st->self->idle == 0)
		return next(st, FREE_UNLOCK);
	if (st->self->kind == KIND_WHOLE)
		return next(st, FREE_REC);
	return next(st, FREE_BLOCK);
}

static enum outcome free_block(struct step *st)
{
	struct counts *c = counts_of(st, first_of(st->self->idle));

	if (!c->busy)
		return wrong(st, "a busy block is freed twice");
	if (c->count != 0)
		return wrong(st, "a busy block is freed that somebody holds");
	if (c->rec == 0)
		return wrong(st, "a busy block is freed that has no record");
	st->self->rec = c->rec;
	c->rec = 0;
	c->busy = 0;
	return next(st, FREE_REC);
}

static unsigned free_n(const struct step *st)
{
	return st->self->kind == KIND_WHOLE ? (unsigned)__builtin_popcount(st->self->idle) : 1;
}

/* With the lock the store follows at once. */
static enum outcome free_rec(struct step *st)
{
	st->self->tmp = st->s->recs[st->self->rec - 1].left;
	return next(st, FREE_REC_STORE);
}

static enum outcome free_rec_store(struct step *st)
{
	struct rec *r = &st->s->recs[st->self->rec - 1];

	if (st->self->tmp < free_n(st))
		return wrong(st, "a busy record counts below zero");
	r->left = (uint8_t)(st->self->tmp - free_n(st));
	st->self->tmp = r->ticket;
	if (r->left == 0)
		memset(r, 0, sizeof(*r));
	st->self->rec = 0;
	return next(st, FREE_TICKET);
}

static enum outcome free_ticket(struct step *st)
{
	unsigned n = free_n(st);
	unsigned who = st->self->tmp;
	struct thread *t = who == 0 ? NULL : &st->s->threads[who - 1];

	st->self->tmp = 0;
	if (t != NULL && t->ticket < n)
		return wrong(st, "a ticket counts below zero");
	if (t != NULL)
		t->ticket = (uint8_t)(t->ticket - n);
	if (t != NULL && t->ticket == 0 && on(st, WAKE_AT_ZERO) && t->pc == PUNCH_ASLEEP)
		t->slept = 0;
	/* Who waits for frames is woken by whatever happens to them. */
	for (unsigned i = 0; i < THREADS && !on(st, WAIT_BY_TICKET); i++)
		if (st->s->threads[i].pc == PUNCH_ASLEEP)
			st->s->threads[i].slept = 0;
	st->self->idle &= st->self->kind == KIND_WHOLE ? (uint8_t)0 : (uint8_t)(st->self->idle - 1);
	return next(st, st->self->idle != 0 ? FREE_BLOCK : FREE_UNLOCK);
}

static enum outcome free_unlock(struct step *st)
{
	group_unlock(st, FREE_UNLOCK);
	if (st->self->kind != KIND_WHOLE && loop_at(st))
		return next(st, UNPIN_SUB);
	return unpin_end(st);
}

/* ---- punch */

static enum outcome punch_lock(struct step *st)
{
	return layout_wrlock(st, PUNCH_LOOKUP);
}

static bool fail_done(const struct step *st)
{
	return st->self->slept != 0;
}

static enum outcome punch_looked_up(struct step *st)
{
	return next(st, st->self->kind == KIND_SPLIT ? PUNCH_SPLIT
			: st->op->flags & HOW_ORPHAN ? PUNCH_CUT
						     : PUNCH_HOLD_LOCK);
}

static enum outcome punch_lookup(struct step *st)
{
	const struct file *f = st->file;

	st->self->blocks = 0;
	st->self->kind = KIND_BLOCKS;
	if (st->op->n == 0 && f->kind == MAP_HUGE) {
		st->self->kind = KIND_SPLIT;
		return next(st, PUNCH_SPLIT);
	}
	for (unsigned i = st->op->first; i < (unsigned)st->op->first + st->op->n; i++) {
		if (f->kind == MAP_HUGE)
			st->self->blocks |= bit(f->frame * (unsigned)PER_FRAME + i);
		else if (f->kind == MAP_BLOCKS && f->blk[i] != 0)
			st->self->blocks |= bit(f->blk[i] - 1u);
	}
	if (st->self->blocks == 0)
		return next(st, PUNCH_UNLOCK);
	if (f->kind == MAP_HUGE && st->self->blocks != frame_mask(st, f->frame))
		st->self->kind = KIND_SPLIT;
	st->self->i = 0;
	loop_at(st);
	if ((st->op->flags & HOW_FAIL) && !fail_done(st))
		return next(st, PUNCH_FAIL_WORD);
	return punch_looked_up(st);
}

/* -EBUSY must be true: somebody has not let go of one of the blocks yet. */
static enum outcome punch_refuse(struct step *st)
{
	for (unsigned i = 0; i < HANDLES; i++) {
		const struct handle *h = &st->s->handles[i];

		if (h->state != H_FAILED && (h->blocks & st->self->blocks))
			return next(st, PUNCH_UNLOCK);
	}
	return wrong(st, "-EBUSY, and nobody holds the range");
}

static enum outcome punch_fail_next(struct step *st)
{
	if (loop_more(st))
		return next(st, PUNCH_FAIL_WORD);
	if (!on(st, FAIL_UNDER_LAYOUT)) {
		layout_wrunlock(st);
		st->self->slept = 1;
		return next(st, PUNCH_LOCK);
	}
	return punch_looked_up(st);
}

static enum outcome punch_fail_word(struct step *st)
{
	const struct frame *fr = frame_of(st, st->self->i);

	if (!on(st, FAIL_UNDER_LAYOUT))
		layout_wrunlock(st);
	if (fr->count > 0 && !fr->split)
		return punch_refuse(st);
	return fr->has ? next(st, PUNCH_FAIL_COUNT) : punch_fail_next(st);
}

static enum outcome punch_fail_count(struct step *st)
{
	if (counts_of(st, st->self->i)->count > 0)
		return punch_refuse(st);
	return punch_fail_next(st);
}

static enum outcome punch_refs_done(struct step *st)
{
	return next(st, st->op->flags & HOW_ORPHAN ? PUNCH_CUT : PUNCH_HOLD_LOCK);
}

static enum outcome punch_split(struct step *st)
{
	const struct frame *fr = &st->s->frames[st->file->frame];

	if (fr->count == 0 || !on(st, SPLIT_COLLECTIVE))
		return punch_refs_done(st);
	if (!fr->has) {
		st->self->made = (uint8_t)(st->file->frame + 1);
		return next(st, PUNCH_AGAIN);
	}
	st->self->collective = (uint8_t)(st->file->frame + 1);
	return next_loop(st, on(st, SPLIT_AFTER_REFERENCES) ? PUNCH_REFS : PUNCH_SET_EARLY);
}

static enum outcome punch_again(struct step *st)
{
	layout_wrunlock(st);
	st->s->arrays++;
	return next(st, INSTALL_LOCK);
}

/* The frame whose whole-frame pins become one reference on each block. */
static struct frame *collective_frame(struct step *st)
{
	return &st->s->frames[st->self->collective - 1];
}

static enum outcome punch_set_early(struct step *st)
{
	collective_frame(st)->split = 1;
	return next(st, PUNCH_REFS);
}

static enum outcome punch_refs(struct step *st)
{
	collective_frame(st)->b[st->self->i].count++;
	st->self->i++;
	if (st->self->i < st->m->scenario->blocks)
		return next(st, PUNCH_REFS);
	return punch_refs_done(st);
}

/* The blocks leave the map. */
static void map_cut(struct step *st)
{
	struct file *f = st->file;
	bool any = false;

	if (f->kind == MAP_HUGE) {
		for (unsigned i = 0; i < st->m->scenario->blocks; i++)
			f->blk[i] = (uint8_t)(f->frame * PER_FRAME + i + 1);
		f->kind = MAP_BLOCKS;
		f->frame = 0;
	}
	for (unsigned i = st->op->first; i < (unsigned)st->op->first + st->op->n; i++)
		f->blk[i] = 0;
	for (unsigned i = 0; i < st->m->scenario->blocks; i++)
		any = any || f->blk[i] != 0;
	if (!any)
		f->kind = MAP_HOLE;
}

static bool pinned_by_user(const struct step *st)
{
	for (unsigned i = 0; i < HANDLES; i++)
		if (st->s->handles[i].state == H_LIVE &&
		    (st->s->handles[i].blocks & st->self->blocks))
			return true;
	return false;
}

static enum outcome punch_committed(struct step *st, enum step_index then)
{
	if (st->self->collective == 0)
		return next(st, then);
	return next(st, PUNCH_SET);
}

/* What was cut off is freed without the layout lock; a shift cuts nothing off. */
static enum outcome punch_was_cut(struct step *st)
{
	if (st->op->n == 0)
		return next(st, PUNCH_UNLOCK);
	layout_wrunlock(st);
	return next(st, PUNCH_HOLD_LOCK);
}

/* Orphan: this transaction takes the blocks out of the map, with the layout lock held. */
static enum outcome punch_cut(struct step *st)
{
	map_cut(st);
	if (st->self->collective != 0)
		return next(st, PUNCH_SET);
	return punch_was_cut(st);
}

static enum outcome punch_hold_lock(struct step *st)
{
	return group_lock(st, PUNCH_HOLD);
}

static enum outcome punch_hold(struct step *st)
{
	unsigned rec = 0;

	for (unsigned b = 0; b < FRAMES * PER_FRAME; b++) {
		struct frame *fr = frame_of(st, b);
		uint8_t mask = bit(b % PER_FRAME);

		if ((st->self->blocks >> b & 1) == 0)
			continue;
		if ((fr->bits & mask) == 0 || (fr->held & mask) != 0)
			return wrong(st, "a block is to be freed that is not the file's");
		if (on(st, HELD_BEFORE_COMMIT))
			fr->held |= mask;
	}
	while (rec < RECS && st->s->recs[rec].used)
		rec++;
	if (rec == RECS)
		return wrong(st, "the model ran out of busy records");
	st->s->recs[rec].used = 1;
	st->s->recs[rec].ticket = st->op->flags & HOW_WAIT ? (uint8_t)(st->thread + 1) : (uint8_t)0;
	st->self->rec = (uint8_t)(rec + 1);
	return next(st, PUNCH_HOLD_UNLOCK);
}

static enum outcome punch_hold_unlock(struct step *st)
{
	return group_unlock(st, on(st, DETACH_AFTER_COMMIT) ? PUNCH_COMMIT : DETACH_LOCK);
}

static enum outcome punch_commit(struct step *st)
{
	if (st->op->flags & HOW_ABORT) {
		if (st->self->collective != 0 && on(st, SPLIT_ABORT))
			return next_loop(st, PUNCH_ABORT_REFS);
		return next(st, PUNCH_UNHOLD_LOCK);
	}
	if ((st->op->flags & HOW_FAIL) && pinned_by_user(st))
		return wrong(st, "HF_PINNED_FAIL takes away what somebody has pinned");
	for (unsigned b = 0; b < FRAMES * PER_FRAME; b++) {
		if ((st->self->blocks >> b & 1) == 0)
			continue;
		frame_of(st, b)->bits &= (uint8_t)~bit(b % PER_FRAME);
		if (!on(st, HELD_UNTIL_DETACHED))
			frame_of(st, b)->held &= (uint8_t)~bit(b % PER_FRAME);
	}
	if (st->op->flags & HOW_ORPHAN)
		return next(st, DETACH_LOCK);
	map_cut(st);
	if (!on(st, DETACH_AFTER_COMMIT))
		return punch_committed(st, PUNCH_UNLOCK);
	if (!on(st, SPLIT_UNDER_LAYOUT))
		layout_wrunlock(st);
	return punch_committed(st, DETACH_LOCK);
}

/* Where an operation with a split goes on when SPLIT is set. */
static enum outcome punch_set_done(struct step *st)
{
	st->self->collective = 0;
	if (st->op->flags & HOW_ORPHAN)
		return punch_was_cut(st);
	return next(st, on(st, DETACH_AFTER_COMMIT) ? DETACH_LOCK : PUNCH_UNLOCK);
}

static enum outcome punch_set(struct step *st)
{
	struct frame *fr = collective_frame(st);

	fr->split = 1;
	if (fr->count == 0 && on(st, SPLIT_TAKE_BACK))
		return next_loop(st, PUNCH_TAKE_BACK);
	return punch_set_done(st);
}

static enum outcome collective_drop(struct step *st)
{
	if (count_drop(st, &collective_frame(st)->b[st->self->i].count) == VIOLATION)
		return VIOLATION;
	st->self->i++;
	return STEPPED;
}

static enum outcome punch_take_back(struct step *st)
{
	if (collective_drop(st) == VIOLATION)
		return VIOLATION;
	if (st->self->i < st->m->scenario->blocks)
		return next(st, PUNCH_TAKE_BACK);
	return punch_set_done(st);
}

static enum outcome punch_abort_refs(struct step *st)
{
	if (collective_drop(st) == VIOLATION)
		return VIOLATION;
	if (st->self->i < st->m->scenario->blocks)
		return next(st, PUNCH_ABORT_REFS);
	return next(st, PUNCH_UNHOLD_LOCK);
}

static enum outcome punch_unhold_lock(struct step *st)
{
	return group_lock(st, PUNCH_UNHOLD);
}

static enum outcome punch_unhold(struct step *st)
{
	for (unsigned b = 0; b < FRAMES * PER_FRAME; b++)
		if (st->self->blocks >> b & 1)
			frame_of(st, b)->held &= (uint8_t)~bit(b % PER_FRAME);
	memset(&st->s->recs[st->self->rec - 1], 0, sizeof(st->s->recs[0]));
	return next(st, PUNCH_UNHOLD_UNLOCK);
}

static enum outcome punch_unhold_unlock(struct step *st)
{
	return group_unlock(st, PUNCH_UNLOCK);
}

/* ---- detach: frame by frame where all of one leaves, else block by block. self->kind says which
 * of them i is at. */

static enum outcome detach_lock(struct step *st)
{
	st->self->kind = KIND_BLOCKS;
	st->self->i = 0;
	loop_at(st);
	if (!on(st, DETACH_UNDER_LOCK))
		return next(st, DETACH_UNIT);
	return group_lock(st, DETACH_UNIT);
}

static enum outcome detach_next(struct step *st)
{
	if (st->self->kind == KIND_WHOLE)
		st->self->i = (uint8_t)((st->self->i / PER_FRAME + 1) * PER_FRAME - 1);
	st->self->kind = KIND_BLOCKS;
	return next(st, loop_more(st) ? DETACH_UNIT : DETACH_END);
}

static bool detach_is_frame(const struct step *st)
{
	uint8_t mask = frame_mask(st, st->self->i / PER_FRAME);

	return st->self->i % PER_FRAME == 0 && (st->self->blocks & mask) == mask;
}

/* Is the frame, or the block, pinned? If not, it is free. Two loads; the order does not matter,
 * because no count can rise. */
static enum outcome detach_unit(struct step *st)
{
	const struct frame *fr = frame_of(st, st->self->i);

	if (detach_is_frame(st) && fr->count > 0 && (!fr->split || !on(st, DETACH_HEEDS_SPLIT))) {
		st->self->kind = KIND_WHOLE;
		return next(st, DETACH_RECORD);
	}
	if (fr->has && counts_of(st, st->self->i)->count > 0)
		return next(st, DETACH_RECORD);
	if (block_release(st, st->self->i) == VIOLATION)
		return VIOLATION;
	return detach_next(st);
}

static unsigned detach_n(const struct step *st)
{
	return st->self->kind == KIND_WHOLE ? st->m->scenario->blocks : 1;
}

static uint8_t *detach_rec(struct step *st)
{
	if (st->self->kind == KIND_WHOLE)
		return &frame_of(st, st->self->i)->rec;
	return &counts_of(st, st->self->i)->rec;
}

static enum outcome detach_record(struct step *st)
{
	if (on(st, DETACH_RECORD_FIRST))
		*detach_rec(st) = st->self->rec;
	return next(st, DETACH_OR);
}

static enum outcome detach_ored(struct step *st, uint8_t old_count)
{
	if (old_count == 0 && on(st, DETACH_OLD_COUNT))
		return next(st, DETACH_CLEAR);
	st->self->left = (uint8_t)(st->self->left + detach_n(st));
	if (!on(st, DETACH_RECORD_FIRST))
		return next(st, DETACH_LATE_RECORD);
	return detach_next(st);
}

static enum outcome detach_or(struct step *st)
{
	struct frame *fr = frame_of(st, st->self->i);
	struct counts *c = counts_of(st, st->self->i);
	bool whole = st->self->kind == KIND_WHOLE;

	st->self->tmp = whole ? fr->count : c->count;
	if (!on(st, DETACH_BUSY_BY_OR))
		return next(st, DETACH_OR_STORE);
	*(whole ? &fr->busy : &c->busy) = 1;
	return detach_ored(st, st->self->tmp);
}

static enum outcome detach_or_store(struct step *st)
{
	struct frame *fr = frame_of(st, st->self->i);
	struct counts *c = counts_of(st, st->self->i);
	bool whole = st->self->kind == KIND_WHOLE;

	*(whole ? &fr->busy : &c->busy) = 1;
	*(whole ? &fr->count : &c->count) = st->self->tmp;
	return detach_ored(st, st->self->tmp);
}

/* The last pin went before it could see BUSY. */
static enum outcome detach_clear(struct step *st)
{
	bool whole = st->self->kind == KIND_WHOLE;

	*(whole ? &frame_of(st, st->self->i)->busy : &counts_of(st, st->self->i)->busy) = 0;
	*detach_rec(st) = 0;
	if (whole) { /* now its blocks are looked at */
		st->self->kind = KIND_BLOCKS;
		return next(st, DETACH_UNIT);
	}
	if (block_release(st, st->self->i) == VIOLATION)
		return VIOLATION;
	return detach_next(st);
}

static enum outcome detach_late_record(struct step *st)
{
	*detach_rec(st) = st->self->rec;
	return detach_next(st);
}

static enum outcome detach_end(struct step *st)
{
	struct rec *r = &st->s->recs[st->self->rec - 1];

	r->left = st->self->left;
	if (r->ticket != 0)
		st->self->ticket = (uint8_t)(st->self->ticket + st->self->left);
	if (r->left == 0)
		memset(r, 0, sizeof(*r));
	st->self->rec = 0;
	st->self->tmp = 0;
	return next(st, DETACH_UNLOCK);
}

static enum outcome detach_unlock(struct step *st)
{
	bool wait_first = (st->op->flags & HOW_WAIT) && !on(st, WAIT_WITHOUT_LOCKS);

	return group_unlock(st, !on(st, DETACH_AFTER_COMMIT) ? PUNCH_COMMIT
				: wait_first		     ? PUNCH_WAIT
							     : PUNCH_UNLOCK);
}

static enum outcome punch_unlock(struct step *st)
{
	layout_wrunlock(st);
	if ((st->op->flags & HOW_WAIT) && on(st, WAIT_WITHOUT_LOCKS))
		return next(st, PUNCH_WAIT);
	return finish(st);
}

/* ---- wait */

static bool wait_more(struct step *st)
{
	if (on(st, WAIT_BY_TICKET))
		return st->self->ticket != 0;
	for (unsigned b = 0; b < FRAMES * PER_FRAME; b++)
		if ((st->self->blocks >> b & 1) &&
		    (frame_of(st, b)->busy || counts_of(st, b)->busy))
			return true;
	return false;
}

static enum outcome punch_wait(struct step *st)
{
	if (!on(st, WAIT_BY_TICKET) && st->s->group != 0)
		return BLOCKED; /* looks at frames under the group lock */
	if (!wait_more(st)) {
		layout_wrunlock(st);
		return finish(st);
	}
	if (st->self->ticket == 0)
		return wrong(st, "the waiter waits on, and all that it detached is free");
	if (!on(st, WAIT_COMPARES))
		return next(st, PUNCH_SLEEP);
	st->self->slept = 1;
	return next(st, PUNCH_ASLEEP);
}

static enum outcome punch_sleep(struct step *st)
{
	st->self->slept = 1;
	return next(st, PUNCH_ASLEEP);
}

static enum outcome punch_asleep(struct step *st)
{
	if (st->self->slept)
		return BLOCKED;
	return next(st, PUNCH_WAIT);
}

/* ---- another file gets what is free */

static enum outcome alloc_lock(struct step *st)
{
	return layout_wrlock(st, ALLOC_LOOKUP);
}

static enum outcome alloc_lookup(struct step *st)
{
	const struct file *f = st->file;
	bool hole = f->kind == MAP_HOLE;

	if (st->op->kind == OP_ALLOC_BLOCK)
		hole = f->kind != MAP_HUGE && f->blk[st->op->first] == 0;
	return next(st, hole ? ALLOC_GROUP_LOCK : ALLOC_UNLOCK);
}

static enum outcome alloc_group_lock(struct step *st)
{
	return group_lock(st, ALLOC_TAKE);
}

/* What is offered: single blocks, or each whole frame by its first block. */
static uint8_t alloc_offered(const struct step *st)
{
	uint8_t offered = 0;

	for (unsigned f = 0; f < st->m->scenario->frames; f++) {
		const struct frame *fr = &st->s->frames[f];
		uint8_t no = fr->bits;

		if (st->op->kind == OP_ALLOC_BLOCK || on(st, REUSE_LOOKS_AT_HELD))
			no |= fr->held;
		if (st->op->kind == OP_ALLOC_BLOCK)
			offered |= (uint8_t)((all_of(st) & ~no) << f * PER_FRAME);
		else if (no == 0)
			offered |= bit(f * PER_FRAME);
	}
	return offered;
}

static enum outcome alloc_take(struct step *st)
{
	uint8_t offered = alloc_offered(st);
	unsigned stamp = FILES + 1 + st->thread * ITEMS + st->self->item;

	if (offered == 0)
		return next(st, ALLOC_GROUP_UNLOCK);
	for (unsigned skip = st->choice; skip > 0; skip--)
		offered &= (uint8_t)(offered - 1);
	st->more = (offered & (offered - 1)) != 0;
	st->self->blocks = st->op->kind == OP_ALLOC_BLOCK
			       ? bit(first_of(offered))
			       : frame_mask(st, first_of(offered) / PER_FRAME);
	for (unsigned b = 0; b < FRAMES * PER_FRAME; b++) {
		if ((st->self->blocks >> b & 1) == 0)
			continue;
		frame_of(st, b)->held |= bit(b % PER_FRAME);
		frame_of(st, b)->stamp[b % PER_FRAME] = (uint8_t)stamp;
	}
	if (st->op->kind == OP_ALLOC_BLOCK || !on(st, REUSE_UNDER_LOCK))
		return next(st, ALLOC_GROUP_UNLOCK);
	return next(st, ALLOC_RESET);
}

static enum outcome alloc_reset(struct step *st)
{
	struct frame *fr = frame_of(st, first_of(st->self->blocks));

	if (fr->count != 0 || fr->busy)
		return wrong(st, "a frame is handed out whole that has pins");
	if (on(st, REUSE_RESETS_SPLIT))
		fr->split = 0;
	return next(st, ALLOC_DROP_COUNTS);
}

static enum outcome alloc_drop_counts(struct step *st)
{
	struct frame *fr = frame_of(st, first_of(st->self->blocks));

	for (unsigned i = 0; i < st->m->scenario->blocks; i++)
		if (fr->b[i].count != 0 || fr->b[i].busy)
			return wrong(st, "a frame is handed out whole of which a block has pins");
	st->self->tmp = fr->has;
	return next(st, ALLOC_DROP_STORE);
}

static enum outcome alloc_drop_store(struct step *st)
{
	st->s->arrays = (uint8_t)(st->s->arrays - st->self->tmp);
	frame_of(st, first_of(st->self->blocks))->has = 0;
	st->self->tmp = 0;
	return next(st, on(st, REUSE_UNDER_LOCK) ? ALLOC_GROUP_UNLOCK : ALLOC_COMMIT);
}

static enum outcome alloc_group_unlock(struct step *st)
{
	enum step_index then = ALLOC_COMMIT;

	if (st->self->blocks == 0)
		then = ALLOC_UNLOCK;
	else if (st->op->kind == OP_ALLOC_FRAME && !on(st, REUSE_UNDER_LOCK))
		then = ALLOC_RESET;
	return group_unlock(st, then);
}

static enum outcome alloc_commit(struct step *st)
{
	unsigned first = first_of(st->self->blocks);

	for (unsigned b = 0; b < FRAMES * PER_FRAME; b++)
		if (st->self->blocks >> b & 1)
			frame_of(st, b)->bits |= bit(b % PER_FRAME);
	if (st->op->kind == OP_ALLOC_BLOCK) {
		st->file->kind = MAP_BLOCKS;
		st->file->blk[st->op->first] = (uint8_t)(first + 1);
	} else {
		st->file->kind = MAP_HUGE;
		st->file->frame = (uint8_t)(first / PER_FRAME);
	}
	return next(st, ALLOC_UNHOLD_LOCK);
}

static enum outcome alloc_unhold_lock(struct step *st)
{
	return group_lock(st, ALLOC_UNHOLD);
}

static enum outcome alloc_unhold(struct step *st)
{
	for (unsigned b = 0; b < FRAMES * PER_FRAME; b++) {
		if ((st->self->blocks >> b & 1) == 0)
			continue;
		if ((frame_of(st, b)->held >> b % PER_FRAME & 1) == 0)
			return wrong(st, "a block that is being allocated is held no longer");
		frame_of(st, b)->held &= (uint8_t)~bit(b % PER_FRAME);
	}
	return next(st, ALLOC_UNHOLD_UNLOCK);
}

static enum outcome alloc_unhold_unlock(struct step *st)
{
	return group_unlock(st, ALLOC_UNLOCK);
}

static enum outcome alloc_unlock(struct step *st)
{
	layout_wrunlock(st);
	return finish(st);
}

/* ---- which steps are taken as one */

/* A step that takes a lock may as well be taken later, right before the next one that others can
 * see (RIGHT); one that lets go may as well be taken earlier (LEFT); one that touches nothing that
 * others touch while the lock is held, either (BOTH). So RIGHT ... OTHER ... LEFT is one step, and
 * no interleaving that matters is lost; --fine takes each by itself. */
enum mover { OTHER, RIGHT, BOTH, LEFT };

static const struct {
	const char *name;
	enum outcome (*run)(struct step *st);
	enum mover mover;
	enum rule lock; /* without it the step is OTHER */
} steps[STEPS] = {
    [STEP_START] = {"start", NULL, BOTH, RULE_NONE},
    [PIN_LOCK] = {"pin: layout lock, shared", pin_lock, RIGHT, RULE_NONE},
    [PIN_LOOKUP] = {"pin: look up", pin_lookup, BOTH, PIN_UNDER_LAYOUT},
    [PIN_CHECK] = {"pin: has the frame counts?", pin_check, OTHER, RULE_NONE},
    [PIN_DROP] = {"pin: unlock, make counts", pin_drop, LEFT, RULE_NONE},
    [INSTALL_LOCK] = {"counts: group lock", install_lock, RIGHT, RULE_NONE},
    [INSTALL_LOOK] = {"counts: are there some now?", install_look, BOTH, COUNTS_UNDER_LOCK},
    [INSTALL] = {"counts: install them", install, OTHER, RULE_NONE},
    [INSTALL_UNLOCK] = {"counts: group unlock", install_unlock, LEFT, RULE_NONE},
    [PIN_COUNT] = {"pin: count + 1", pin_count, OTHER, RULE_NONE},
    [PIN_COUNT_STORE] = {"pin: (store)", pin_count_store, OTHER, RULE_NONE},
    [PIN_UNLOCK] = {"pin: unlock, granted", pin_unlock, LEFT, RULE_NONE},
    [UNPIN_CLAIM] = {"unpin: live -> dead", unpin_claim, OTHER, RULE_NONE},
    [UNPIN_CLAIM_STORE] = {"unpin: (store)", unpin_claim_store, OTHER, RULE_NONE},
    [UNPIN_SUB] = {"unpin: count - 1", unpin_sub, OTHER, RULE_NONE},
    [UNPIN_LOOK] = {"unpin: (look at it)", unpin_decide, OTHER, RULE_NONE},
    [FREE_LOCK] = {"free: group lock", free_lock, RIGHT, RULE_NONE},
    [FREE_FRAME] = {"free: clear the frame's BUSY", free_frame, OTHER, RULE_NONE},
    [FREE_SETTLE] = {"free: has a block pins?", free_settle, OTHER, RULE_NONE},
    [FREE_SETTLE_OR] = {"free: or BUSY to the block", free_settle_or, OTHER, RULE_NONE},
    [FREE_HELD] = {"free: read held", free_held, BOTH, FREE_UNDER_LOCK},
    [FREE_HELD_STORE] = {"free: clear held", free_held_store, BOTH, FREE_UNDER_LOCK},
    [FREE_BLOCK] = {"free: clear the block's BUSY", free_block, OTHER, RULE_NONE},
    [FREE_REC] = {"free: read record.left", free_rec, BOTH, FREE_UNDER_LOCK},
    [FREE_REC_STORE] = {"free: record.left -= n", free_rec_store, BOTH, FREE_UNDER_LOCK},
    [FREE_TICKET] = {"free: ticket -= n, wake at 0", free_ticket, OTHER, RULE_NONE},
    [FREE_UNLOCK] = {"free: unlock", free_unlock, LEFT, RULE_NONE},
    [PUNCH_LOCK] = {"punch: layout lock", punch_lock, RIGHT, RULE_NONE},
    [PUNCH_LOOKUP] = {"punch: look up", punch_lookup, BOTH, RULE_NONE},
    [PUNCH_FAIL_WORD] = {"punch: FAIL reads the word", punch_fail_word, OTHER, RULE_NONE},
    [PUNCH_FAIL_COUNT] = {"punch: FAIL reads a count", punch_fail_count, OTHER, RULE_NONE},
    [PUNCH_SPLIT] = {"punch: split: any pins?", punch_split, OTHER, RULE_NONE},
    [PUNCH_AGAIN] = {"punch: unlock, make counts", punch_again, LEFT, RULE_NONE},
    [PUNCH_SET_EARLY] = {"punch: (set SPLIT)", punch_set_early, OTHER, RULE_NONE},
    [PUNCH_REFS] = {"punch: collective: count + 1", punch_refs, OTHER, RULE_NONE},
    [PUNCH_CUT] = {"punch: cut off, or shift", punch_cut, OTHER, RULE_NONE},
    [PUNCH_HOLD_LOCK] = {"punch: group lock", punch_hold_lock, RIGHT, RULE_NONE},
    [PUNCH_HOLD] = {"punch: hold", punch_hold, BOTH, RULE_NONE},
    [PUNCH_HOLD_UNLOCK] = {"punch: group unlock", punch_hold_unlock, LEFT, RULE_NONE},
    [PUNCH_COMMIT] = {"punch: commit, apply", punch_commit, OTHER, RULE_NONE},
    [PUNCH_SET] = {"punch: set SPLIT", punch_set, OTHER, RULE_NONE},
    [PUNCH_TAKE_BACK] = {"punch: take back: count - 1", punch_take_back, OTHER, RULE_NONE},
    [PUNCH_ABORT_REFS] = {"punch: abort: count - 1", punch_abort_refs, OTHER, RULE_NONE},
    [PUNCH_UNHOLD_LOCK] = {"punch: abort: group lock", punch_unhold_lock, RIGHT, RULE_NONE},
    [PUNCH_UNHOLD] = {"punch: abort: held no longer", punch_unhold, BOTH, RULE_NONE},
    [PUNCH_UNHOLD_UNLOCK] = {"punch: abort: unlock", punch_unhold_unlock, LEFT, RULE_NONE},
    [DETACH_LOCK] = {"detach: group lock", detach_lock, RIGHT, RULE_NONE},
    [DETACH_UNIT] = {"detach: any pins?", detach_unit, OTHER, RULE_NONE},
    [DETACH_RECORD] = {"detach: insert the record", detach_record, BOTH, DETACH_UNDER_LOCK},
    [DETACH_OR] = {"detach: or BUSY", detach_or, OTHER, RULE_NONE},
    [DETACH_OR_STORE] = {"detach: (store)", detach_or_store, OTHER, RULE_NONE},
    [DETACH_CLEAR] = {"detach: nobody left: free", detach_clear, OTHER, RULE_NONE},
    [DETACH_LATE_RECORD] = {"detach: (insert the record)", detach_late_record, OTHER, RULE_NONE},
    [DETACH_END] = {"detach: end", detach_end, BOTH, DETACH_UNDER_LOCK},
    [DETACH_UNLOCK] = {"detach: group unlock", detach_unlock, LEFT, RULE_NONE},
    [PUNCH_UNLOCK] = {"punch: unlock", punch_unlock, LEFT, RULE_NONE},
    [PUNCH_WAIT] = {"punch: ticket 0? else sleep", punch_wait, OTHER, RULE_NONE},
    [PUNCH_SLEEP] = {"punch: (sleep)", punch_sleep, OTHER, RULE_NONE},
    [PUNCH_ASLEEP] = {"punch: woken", punch_asleep, OTHER, RULE_NONE},
    [ALLOC_LOCK] = {"alloc: layout lock", alloc_lock, RIGHT, RULE_NONE},
    [ALLOC_LOOKUP] = {"alloc: look up", alloc_lookup, BOTH, RULE_NONE},
    [ALLOC_GROUP_LOCK] = {"alloc: group lock", alloc_group_lock, RIGHT, RULE_NONE},
    [ALLOC_TAKE] = {"alloc: take and hold", alloc_take, OTHER, RULE_NONE},
    [ALLOC_RESET] = {"alloc: whole: clear SPLIT", alloc_reset, OTHER, RULE_NONE},
    [ALLOC_DROP_COUNTS] = {"alloc: whole: are there counts?", alloc_drop_counts, OTHER, RULE_NONE},
    [ALLOC_DROP_STORE] = {"alloc: whole: drop them", alloc_drop_store, OTHER, RULE_NONE},
    [ALLOC_GROUP_UNLOCK] = {"alloc: group unlock", alloc_group_unlock, LEFT, RULE_NONE},
    [ALLOC_COMMIT] = {"alloc: commit, apply", alloc_commit, OTHER, RULE_NONE},
    [ALLOC_UNHOLD_LOCK] = {"alloc: group lock", alloc_unhold_lock, RIGHT, RULE_NONE},
    [ALLOC_UNHOLD] = {"alloc: held no longer", alloc_unhold, BOTH, RULE_NONE},
    [ALLOC_UNHOLD_UNLOCK] = {"alloc: group unlock", alloc_unhold_unlock, LEFT, RULE_NONE},
    [ALLOC_UNLOCK] = {"alloc: unlock", alloc_unlock, LEFT, RULE_NONE},
};

static enum mover mover_of(const struct step *st)
{
	unsigned pc = st->self->pc;

	if (st->m->fine || (steps[pc].lock != RULE_NONE && !on(st, steps[pc].lock)))
		return OTHER;
	return steps[pc].mover;
}

static void op_start(struct step *st)
{
	static const enum step_index first[] = {
	    [OP_PIN] = PIN_LOCK,	   [OP_UNPIN] = UNPIN_CLAIM,	  [OP_PUNCH] = PUNCH_LOCK,
	    [OP_ALLOC_BLOCK] = ALLOC_LOCK, [OP_ALLOC_FRAME] = ALLOC_LOCK,
	};

	if (st->self->pc == STEP_START)
		st->self->pc = (uint8_t)first[st->op->kind];
}

const struct op *thread_op(const struct model *m, const struct state *s, unsigned thread)
{
	unsigned item = s->threads[thread].item;

	if (thread >= m->scenario->threads || item >= ITEMS ||
	    m->scenario->ops[thread][item].kind == OP_END)
		return NULL;
	return &m->scenario->ops[thread][item];
}

enum outcome thread_step(struct model *m, struct state *s, unsigned thread, unsigned choice,
			 bool *more)
{
	struct step st = {
	    .m = m, .s = s, .self = &s->threads[thread], .thread = thread, .choice = choice};
	uint8_t item = st.self->item;
	bool leaving = false; /* after OTHER or LEFT */
	bool moved = false;

	*more = false;
	st.op = thread_op(m, s, thread);
	if (st.op == NULL)
		return BLOCKED;
	st.file = &s->files[st.op->file];
	st.handle = &s->handles[st.op->handle];
	op_start(&st);
	while (st.self->item == item) {
		enum mover mover = mover_of(&st);
		enum outcome done;

		if (leaving && (mover == OTHER || mover == RIGHT))
			break;
		done = steps[st.self->pc].run(&st);
		if (done == BLOCKED)
			return moved ? STEPPED : BLOCKED;
		if (done == VIOLATION)
			return VIOLATION;
		moved = true;
		leaving = leaving || mover == OTHER || mover == LEFT;
		if (m->fine)
			break;
	}
	*more = st.more;
	return STEPPED;
}

const char *step_name(const struct model *m, const struct state *s, unsigned thread)
{
	struct state copy = *s;
	struct step st = {.s = &copy, .self = &copy.threads[thread], .op = thread_op(m, s, thread)};

	op_start(&st);
	return steps[st.self->pc].name;
}
