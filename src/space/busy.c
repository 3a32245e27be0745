/* The busy list: extents that are free on the media and may not be handed out yet.
 *
 * Blocks that held metadata wait, in a FIFO per group, for the checkpoint to pass the transaction
 * that freed them: until then its predecessors may be replayed into them (I-BUSY-2). Blocks that
 * held file data wait for their pins. The two exclude each other, because file data is never
 * journalled.
 *
 * Locking: all of it is under the lock of the group that the blocks are in; the pins are counted
 * without it. */
#include "space/internal.h"
#include <time.h>

static uint64_t busy_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
}

/* ---- journal */

/* Transactions end in any order, so the FIFO is not quite sorted by sequence number: a record may
 * wait a little longer behind a younger one. */
static void fifo_append(struct group *g, uint32_t index, jseq_t seq)
{
	struct busy_rec *r = busy_rec(g, index);

	r->stamp = seq.v;
	r->next = 0;
	if (g->fifo_tail)
		busy_rec(g, g->fifo_tail)->next = index;
	else
		g->fifo_head = index;
	g->fifo_tail = index;
	if (g->fifo_head == index)
		atomic_store_explicit(&g->fifo_seq, seq.v, memory_order_relaxed);
	count_add(&g->journal, r->n);
}

void busy_drain_locked(struct space *s, struct group *g, unsigned int max)
{
	uint64_t passed;

	if (!g->fifo_head)
		return;
	passed = journal_published(s->j).v;
	while (g->fifo_head && max > 0) {
		uint32_t index = g->fifo_head;
		struct busy_rec *r = busy_rec(g, index);

		if (r->stamp > passed)
			break;
		g->fifo_head = r->next;
		if (!g->fifo_head)
			g->fifo_tail = 0;
		count_sub(&g->journal, r->n);
		frames_release_locked(s, g, r->first, r->n);
		slab_push(&g->recs, index);
		max--;
	}
	atomic_store_explicit(&g->fifo_seq, g->fifo_head ? busy_rec(g, g->fifo_head)->stamp : 0,
			      memory_order_relaxed);
}

/* ---- pins */

static void pinned_link(struct group *g, uint32_t index)
{
	struct busy_rec *r = busy_rec(g, index);

	r->next = g->pinned_head;
	r->chain = 0;
	if (r->next)
		busy_rec(g, r->next)->chain = index;
	g->pinned_head = index;
}

static void pinned_unlink(struct group *g, uint32_t index)
{
	struct busy_rec *r = busy_rec(g, index);

	if (r->next)
		busy_rec(g, r->next)->chain = r->chain;
	if (r->chain)
		busy_rec(g, r->chain)->next = r->next;
	else
		g->pinned_head = r->next;
}

/* True: the frame has pins, and the last of them will find BUSY and call space_frame_idle(). */
static bool frame_stays(struct frame *fr)
{
	uint64_t old = atomic_load(&fr->word);

	if (!(old & (FRAME_PINS | FRAME_BUSY)))
		return false;
	old = atomic_fetch_or(&fr->word, FRAME_BUSY);
	if (old & (FRAME_PINS | FRAME_BUSY))
		return true;
	atomic_fetch_and(&fr->word, ~FRAME_BUSY); /* the last pin went before it could see BUSY */
	return false;
}

static bool extent_pinned(const struct space *s, const struct busy_rec *r)
{
	uint64_t end = (r->first + r->n - 1) / HF_BLOCKS_PER_FRAME;
	uint64_t any = 0;

	for (uint64_t f = r->first / HF_BLOCKS_PER_FRAME; f <= end; f++)
		any |= atomic_load(&s->frames[f].word);
	return any & (FRAME_PINS | FRAME_BUSY);
}

/* A part of a frame: stays, or is released. */
static void part_detach(struct space *s, struct group *g, struct busy_rec *r, uint8_t part,
			uint64_t first, uint64_t n)
{
	if (n == 0)
		return;
	if (!frame_stays(&s->frames[first / HF_BLOCKS_PER_FRAME])) {
		frames_release_locked(s, g, first, n);
		return;
	}
	r->parts |= part;
	r->left += n;
}

/* Some frame of the extent may have pins: those that have stay, the others are released. */
static void pinned_detach(struct space *s, struct group *g, uint32_t index)
{
	struct busy_rec *r = busy_rec(g, index);
	struct frames_cut c = frames_cut(r->first, r->n);

	r->stamp = busy_now_ns();
	pinned_link(g, index);
	part_detach(s, g, r, BUSY_HEAD, c.head, c.head_n);
	part_detach(s, g, r, BUSY_TAIL, c.tail, c.tail_n);
	for (uint64_t f = c.frame; f < c.frame + c.nframes; f++) {
		if (frame_stays(&s->frames[f])) {
			s->frames[f].held = FRAMES_HELD_REC | index;
			r->left += HF_BLOCKS_PER_FRAME;
		} else {
			frames_release_locked(s, g, f * HF_BLOCKS_PER_FRAME, HF_BLOCKS_PER_FRAME);
		}
	}
	count_add(&g->pinned, r->left);
	if (r->left == 0) {
		pinned_unlink(g, index);
		slab_push(&g->recs, index);
	}
}

static void pinned_release(struct space *s, struct group *g, uint32_t index, uint64_t first,
			   uint64_t n)
{
	struct busy_rec *r = busy_rec(g, index);

	frames_release_locked(s, g, first, n);
	count_sub(&g->pinned, n);
	r->left -= n;
	if (r->left == 0) {
		pinned_unlink(g, index);
		slab_push(&g->recs, index);
	}
}

/* The parts of frame f that wait; extents end or begin in it. */
static void pinned_release_parts(struct space *s, struct group *g, uint64_t f)
{
	uint32_t next;

	for (uint32_t i = g->pinned_head; i; i = next) {
		struct busy_rec *r = busy_rec(g, i);
		struct frames_cut c = frames_cut(r->first, r->n);
		bool head = r->parts & BUSY_HEAD && c.head / HF_BLOCKS_PER_FRAME == f;
		bool tail = r->parts & BUSY_TAIL && c.tail / HF_BLOCKS_PER_FRAME == f;

		next = r->next;
		if (head) {
			r->parts &= (uint8_t)~BUSY_HEAD;
			pinned_release(s, g, i, c.head, c.head_n);
		} else if (tail) {
			r->parts &= (uint8_t)~BUSY_TAIL;
			pinned_release(s, g, i, c.tail, c.tail_n);
		}
	}
}

void space_frame_idle(struct space *s, frame_t f)
{
	struct group *g = space_group_of(s, f.v);
	struct frame *fr = &s->frames[f.v];
	uint64_t word;

	mtx_lock(&g->lock);
	word = atomic_load(&fr->word);
	/* Someone else was faster, or a new pin came and will call in its turn. */
	if (!(word & FRAME_BUSY) || word & FRAME_PINS)
		goto out;
	atomic_fetch_and(&fr->word, ~FRAME_BUSY);
	if (fr->held & FRAMES_HELD_REC) {
		uint32_t index = fr->held & ~FRAMES_HELD_REC;

		fr->held = 0;
		pinned_release(s, g, index, f.v * HF_BLOCKS_PER_FRAME, HF_BLOCKS_PER_FRAME);
	} else {
		pinned_release_parts(s, g, f.v);
	}
out:
	mtx_unlock(&g->lock);
}

/* ---- both */

void busy_detach_locked(struct space *s, struct group *g, uint32_t index, jseq_t seq)
{
	struct busy_rec *r = busy_rec(g, index);

	if (r->kind == SPACE_METADATA) {
		fifo_append(g, index, seq);
	} else if (extent_pinned(s, r)) {
		pinned_detach(s, g, index);
	} else {
		frames_release_locked(s, g, r->first, r->n);
		slab_push(&g->recs, index);
	}
}

static bool covers(uint64_t first, uint64_t n, uint64_t block)
{
	return block >= first && block - first < n;
}

const char *busy_reason_locked(const struct space *s, const struct group *g, uint64_t block)
{
	if (!frames_is_held_locked(s, g, block))
		return NULL;
	if (s->frames[block / HF_BLOCKS_PER_FRAME].held & FRAMES_HELD_REC)
		return "pinned";
	for (uint32_t i = g->fifo_head; i; i = busy_rec(g, i)->next) {
		if (covers(busy_rec(g, i)->first, busy_rec(g, i)->n, block))
			return "journal";
	}
	for (uint32_t i = g->pinned_head; i; i = busy_rec(g, i)->next) {
		const struct busy_rec *r = busy_rec(g, i);
		struct frames_cut c = frames_cut(r->first, r->n);

		if ((r->parts & BUSY_HEAD && covers(c.head, c.head_n, block)) ||
		    (r->parts & BUSY_TAIL && covers(c.tail, c.tail_n, block)))
			return "pinned";
	}
	return "pending";
}
