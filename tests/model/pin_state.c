#include "pin_model.h"

#include <stdio.h>
#include <string.h>

static void file_init(const struct model *m, struct state *s, unsigned i)
{
	struct file *f = &s->files[i];
	unsigned frame = m->scenario->files[i].frame;
	uint8_t mask = m->scenario->files[i].mask;

	if (m->scenario->files[i].kind == 'H') {
		f->kind = MAP_HUGE;
		f->frame = (uint8_t)frame;
		mask = (uint8_t)((1u << m->scenario->blocks) - 1);
	} else if (m->scenario->files[i].kind == 'B') {
		f->kind = MAP_BLOCKS;
	}
	for (unsigned b = 0; b < m->scenario->blocks; b++) {
		if (f->kind == MAP_HOLE || (mask >> b & 1) == 0)
			continue;
		if (f->kind == MAP_BLOCKS)
			f->blk[b] = (uint8_t)(frame * PER_FRAME + b + 1);
		s->frames[frame].bits |= (uint8_t)(1u << b);
		s->frames[frame].stamp[b] = (uint8_t)(i + 1);
	}
}

static void adopted_init(struct state *s, uint8_t adopted)
{
	struct handle *h = &s->handles[HANDLES - 1];
	struct frame *fr = &s->frames[0];

	h->state = H_LIVE;
	h->blocks = adopted;
	fr->has = 1;
	s->arrays = 1;
	for (unsigned i = 0; i < PER_FRAME; i++) {
		if ((adopted >> i & 1) == 0)
			continue;
		fr->b[i].count = 1;
		h->stamp[i] = fr->stamp[i];
		if (fr->bits >> i & 1)
			continue;
		fr->b[i].busy = 1;
		fr->b[i].rec = 1;
		fr->held |= (uint8_t)(1u << i);
		s->recs[0].used = 1;
		s->recs[0].left++;
	}
}

void state_init(const struct model *m, struct state *s)
{
	memset(s, 0, sizeof(*s));
	for (unsigned i = 0; i < FILES; i++)
		file_init(m, s, i);
	if (m->scenario->adopted != 0)
		adopted_init(s, m->scenario->adopted);
}

static enum outcome wrong(struct model *m, const char *why, unsigned at)
{
	snprintf(m->why, sizeof(m->why), why, at);
	return VIOLATION;
}

/* Blocks of the volume that a file maps, a bit each. */
static uint8_t file_blocks(const struct model *m, const struct file *f)
{
	uint8_t blocks = 0;

	if (f->kind == MAP_HUGE)
		return (uint8_t)(((1u << m->scenario->blocks) - 1) << f->frame * PER_FRAME);
	for (unsigned i = 0; i < m->scenario->blocks; i++)
		if (f->kind == MAP_BLOCKS && f->blk[i] != 0)
			blocks |= (uint8_t)(1u << (f->blk[i] - 1u));
	return blocks;
}

static enum outcome check_pinned(struct model *m, const struct state *s, const struct handle *h)
{
	for (unsigned b = 0; b < FRAMES * PER_FRAME; b++) {
		const struct frame *fr = &s->frames[b / PER_FRAME];
		unsigned in = b % PER_FRAME;

		if ((h->blocks >> b & 1) == 0)
			continue;
		if (fr->stamp[in] != h->stamp[b])
			return wrong(m, "block %u is pinned and was handed out", b);
		if (((fr->bits | fr->held) >> in & 1) == 0)
			return wrong(m, "block %u is pinned and looks free", b);
	}
	return STEPPED;
}

static enum outcome check_mapped(struct model *m, const struct state *s)
{
	uint8_t seen = 0;

	for (unsigned i = 0; i < FILES; i++) {
		uint8_t blocks = file_blocks(m, &s->files[i]);

		for (unsigned b = 0; b < FRAMES * PER_FRAME; b++) {
			const struct frame *fr = &s->frames[b / PER_FRAME];

			if ((blocks >> b & 1) == 0)
				continue;
			if (seen >> b & 1)
				return wrong(m, "block %u is in two files", b);
			if ((fr->bits >> b % PER_FRAME & 1) == 0)
				return wrong(m, "block %u is in a file and not allocated", b);
			if (rule_on(m, DETACH_AFTER_COMMIT) &&
			    (fr->busy || fr->b[b % PER_FRAME].busy))
				return wrong(m, "block %u is in a file and busy", b);
		}
		seen |= blocks;
	}
	return STEPPED;
}

enum outcome state_check(struct model *m, const struct state *s)
{
	for (unsigned i = 0; i < HANDLES; i++)
		if (s->handles[i].state == H_LIVE &&
		    check_pinned(m, s, &s->handles[i]) == VIOLATION)
			return VIOLATION;
	return check_mapped(m, s);
}

static enum outcome end_check_frame(struct model *m, const struct state *s, unsigned f)
{
	const struct frame *fr = &s->frames[f];
	uint8_t mapped = 0;

	for (unsigned i = 0; i < FILES; i++)
		mapped |= (uint8_t)(file_blocks(m, &s->files[i]) >> f * PER_FRAME & 7);
	if (fr->count != 0)
		return wrong(m, "at the end frame %u still counts a pin", f);
	if (fr->busy || fr->rec)
		return wrong(m, "at the end frame %u is busy, and nobody will free it", f);
	for (unsigned i = 0; i < PER_FRAME; i++) {
		if (fr->b[i].count != 0)
			return wrong(m, "at the end block %u still counts a reference",
				     f * PER_FRAME + i);
		if (fr->b[i].busy || fr->b[i].rec)
			return wrong(m, "at the end block %u is busy, and nobody will free it",
				     f * PER_FRAME + i);
	}
	if (fr->held)
		return wrong(m, "at the end a block of frame %u is held: neither free nor used", f);
	if (fr->bits != mapped)
		return wrong(m, "at the end a block of frame %u is allocated and in no file", f);
	return STEPPED;
}

/* All threads are done, and each pin was dropped: free + used is all. */
enum outcome end_check(struct model *m, const struct state *s)
{
	unsigned arrays = 0;

	for (unsigned f = 0; f < m->scenario->frames; f++) {
		if (end_check_frame(m, s, f) == VIOLATION)
			return VIOLATION;
		arrays += s->frames[f].has;
	}
	for (unsigned i = 0; i < RECS; i++)
		if (s->recs[i].used)
			return wrong(m, "at the end busy record %u is still there", i);
	for (unsigned t = 0; t < THREADS; t++)
		if (s->threads[t].ticket)
			return wrong(m, "at the end the ticket of %u is not zero", t);
	for (unsigned i = 0; i < FILES; i++)
		if (s->files[i].writer || s->files[i].readers)
			return wrong(m, "at the end the layout lock of file %u is held", i);
	if (s->group)
		return wrong(m, "at the end %u holds the group lock", s->group - 1u);
	if (s->arrays != arrays)
		return wrong(m, "at the end %u sets of counts are known to nobody",
			     s->arrays - arrays);
	return STEPPED;
}
