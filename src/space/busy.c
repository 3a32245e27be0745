/* The busy list: extents that are free on the media and may not be handed out yet.
 *
 * Blocks that held metadata wait, in a FIFO per group, for the checkpoint to pass the transaction
 * that freed them: until then its predecessors may be replayed into them (I-BUSY-2). Blocks that
 * held file data wait for their pins. The two exclude each other, because file data is never
 * journalled.
 *
 * A record is an extent as it was freed; its blocks go one by one, each found from its frame or its
 * own entry beside the count, so nothing here depends on how many pins or records there are. A
 * record ends with its last block.
 *
 * Locking: all of it is under the lock of the group that the blocks are in; the pins are counted
 * without it. */
#include "space/internal.h"
#include "base/clock.h"

/* ---- pins */

void busy_end_locked(struct space *s, struct group *g, uint32_t index)
{
	struct busy_rec *r = busy_rec(g, index);

	space_ticket_put(s, r->ticket);
	r->state = BUSY_NONE;
	slab_push(&g->recs, index);
}

void busy_add_locked(struct space *s, struct group *g, uint32_t index, uint64_t left)
{
	struct busy_rec *r = busy_rec(g, index);

	if (left == 0) {
		busy_end_locked(s, g, index);
		return;
	}
	r->state = BUSY_PINNED;
	r->stamp = clock_coarse_ns();
	r->left = left;
	count_add(&g->pinned, left);
	ticket_add(s, r->ticket, left);
}

/* n blocks of the record wait no longer. */
static void busy_sub(struct space *s, struct group *g, uint32_t index, uint64_t n)
{
	struct busy_rec *r = busy_rec(g, index);

	HF_ASSERT(r->state == BUSY_PINNED && r->left >= n);
	count_sub(&g->pinned, n);
	r->left -= n;
	ticket_sub(s, r->ticket, n);
	if (r->left == 0)
		busy_end_locked(s, g, index);
}

/* True: the frame has pins as a whole, and the last of them will find BUSY. */
static bool word_stays(struct frame *fr)
{
	uint64_t old = atomic_load(&fr->word);

	if (!(old & FRAME_PINS) || old & FRAME_SPLIT)
		return false;
	if (atomic_fetch_or(&fr->word, FRAME_BUSY) & FRAME_PINS)
		return true;
	atomic_fetch_and(&fr->word, ~FRAME_BUSY); /* the last pin went before it could see BUSY */
	return false;
}

/* Those of the n blocks that have pins become busy, with 'index' as their record. Returns how
 * many; 'stay': which. */
static unsigned int blocks_stay(const struct space *s, uint64_t f, unsigned int first,
				unsigned int n, uint32_t index, uint64_t stay[LINE_WORDS])
{
	struct pins *p = pins_at(s, f);
	unsigned int got = 0;

	memset(stay, 0, LINE_WORDS * sizeof(*stay));
	for (unsigned int b = first; p && b < first + n; b++) {
		if (!(atomic_load(&p->count[b]) & PINS_COUNT))
			continue;
		p->rec[b] = index;
		if (!(atomic_fetch_or(&p->count[b], PINS_BUSY) & PINS_COUNT)) {
			atomic_fetch_and(&p->count[b], ~PINS_BUSY); /* the last pin was faster */
			p->rec[b] = 0;
			continue;
		}
		stay[b / 64] |= 1ull << b % 64;
		got++;
	}
	return got;
}

/* A part of a frame, held by its mask: what has pins stays, the others are released. Returns how
 * many stay. */
static unsigned int part_settle(struct space *s, struct group *g, uint32_t index, uint64_t first,
				uint64_t n)
{
	uint64_t f = first / HF_BLOCKS_PER_FRAME, stay[LINE_WORDS], go[LINE_WORDS];
	unsigned int b = (unsigned int)(first % HF_BLOCKS_PER_FRAME), got;

	got = blocks_stay(s, f, b, (unsigned int)n, index, stay);
	if (got == n)
		return got;
	for (unsigned int i = 0; i < LINE_WORDS; i++)
		go[i] = frames_line_mask(i, b, (unsigned int)n) & ~stay[i];
	frames_release_mask_locked(s, g, f, go);
	return got;
}

/* A whole frame by its blocks. Returns how many stay; 0: nothing was done, all of it may go. */
static unsigned int frame_settle(struct space *s, struct group *g, uint32_t index, uint64_t f)
{
	uint64_t stay[LINE_WORDS];
	unsigned int got = blocks_stay(s, f, 0, HF_BLOCKS_PER_FRAME, index, stay);

	if (got == 0)
		return 0;
	frames_to_mask_locked(s, g, f);
	for (unsigned int i = 0; i < LINE_WORDS; i++)
		stay[i] = ~stay[i];
	if (got < HF_BLOCKS_PER_FRAME)
		frames_release_mask_locked(s, g, f, stay);
	return got;
}

/* Whole frames: runs of those that have no pins are released together. Returns how many blocks
 * stay. */
static uint64_t frames_settle(struct space *s, struct group *g, uint32_t index, uint64_t first,
			      uint64_t n)
{
	uint64_t run = 0, left = 0;

	for (uint64_t f = first; f < first + n; f++) {
		uint64_t got;

		if (word_stays(&s->frames[f])) {
			s->frames[f].held = FRAMES_HELD_REC | index;
			got = HF_BLOCKS_PER_FRAME;
		} else {
			got = frame_settle(s, g, index, f);
		}
		if (got == 0) {
			run++;
			continue;
		}
		if (run > 0)
			frames_release_locked(s, g, (f - run) * HF_BLOCKS_PER_FRAME,
					      run * HF_BLOCKS_PER_FRAME);
		run = 0;
		left += got;
	}
	if (run > 0)
		frames_release_locked(s, g, (first + n - run) * HF_BLOCKS_PER_FRAME,
				      run * HF_BLOCKS_PER_FRAME);
	return left;
}

static bool extent_counted(const struct space *s, const struct busy_rec *r)
{
	uint64_t end = (r->first + r->n - 1) / HF_BLOCKS_PER_FRAME;
	uint64_t any = 0;

	for (uint64_t f = r->first / HF_BLOCKS_PER_FRAME; f <= end; f++)
		any |= (atomic_load(&s->frames[f].word) & FRAME_PINS) |
		       atomic_load(&s->frames[f].blocks);
	return any != 0;
}

/* Nothing but pins can keep the blocks of the record any more. */
static void busy_settle(struct space *s, struct group *g, uint32_t index)
{
	struct busy_rec *r = busy_rec(g, index);
	struct frames_cut c = frames_cut(r->first, r->n);
	uint64_t left;

	if (!extent_counted(s, r)) {
		frames_release_locked(s, g, r->first, r->n);
		busy_end_locked(s, g, index);
		return;
	}
	left = c.head_n ? part_settle(s, g, index, c.head, c.head_n) : 0;
	left += c.tail_n ? part_settle(s, g, index, c.tail, c.tail_n) : 0;
	left += frames_settle(s, g, index, c.frame, c.nframes);
	busy_add_locked(s, g, index, left);
}

void busy_frame_idle(struct space *s, uint64_t f)
{
	struct group *g = space_group_of(s, f);
	struct frame *fr = &s->frames[f];
	uint32_t index;
	unsigned int stay;
	uint64_t word;

	mtx_lock(&g->lock);
	word = atomic_load(&fr->word);
	if (!(word & FRAME_BUSY) || word & FRAME_PINS)
		goto out; /* a damaged map: it was pinned once more, and is that one's to free */
	index = fr->held & ~FRAMES_HELD_REC;
	fr->held = 0;
	atomic_fetch_and(&fr->word, ~FRAME_BUSY);
	stay = frame_settle(s, g, index, f); /* some of its blocks may have pins of their own */
	if (stay == 0)
		frames_release_locked(s, g, f * HF_BLOCKS_PER_FRAME, HF_BLOCKS_PER_FRAME);
	if (stay < HF_BLOCKS_PER_FRAME)
		busy_sub(s, g, index, HF_BLOCKS_PER_FRAME - stay);
out:
	mtx_unlock(&g->lock);
}

/* Those of the blocks that have no reference. All of them, but for a damaged map, through which one
 * was pinned once more meanwhile: that is for that pin to free, or was freed with it. */
static uint64_t idle_still(struct pins *p, const uint64_t idle[LINE_WORDS], uint64_t go[LINE_WORDS])
{
	uint64_t any = 0;

	for (unsigned int i = 0; i < LINE_WORDS; i++) {
		go[i] = idle[i];
		for (uint64_t w = idle[i]; w; w &= w - 1) {
			unsigned int b = i * 64 + (unsigned int)__builtin_ctzll(w);

			if (atomic_load(&p->count[b]) != PINS_BUSY)
				go[i] &= ~(w & -w);
		}
		any |= go[i];
	}
	return any;
}

void busy_blocks_idle(struct space *s, uint64_t f, const uint64_t idle[LINE_WORDS])
{
	struct group *g = space_group_of(s, f);
	struct pins *p = pins_at(s, f);
	uint64_t go[LINE_WORDS];

	mtx_lock(&g->lock);
	if (idle_still(p, idle, go))
		frames_release_mask_locked(s, g, f, go);
	for (unsigned int i = 0; i < LINE_WORDS; i++) {
		for (uint64_t w = go[i]; w; w &= w - 1) {
			unsigned int b = i * 64 + (unsigned int)__builtin_ctzll(w);
			uint32_t index = p->rec[b];

			p->rec[b] = 0;
			atomic_store(&p->count[b], 0);
			busy_sub(s, g, index, 1);
		}
	}
	mtx_unlock(&g->lock);
}

/* ---- journal */

/* Transactions end in any order, so the FIFO is not quite sorted by sequence number: a record may
 * wait a little longer behind a younger one. */
static void fifo_append(struct group *g, uint32_t index, jseq_t seq)
{
	struct busy_rec *r = busy_rec(g, index);

	r->state = BUSY_JOURNAL;
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
		/* Metadata has no pins, but the list of a dead owner may name it. */
		busy_settle(s, g, index);
		max--;
	}
	atomic_store_explicit(&g->fifo_seq, g->fifo_head ? busy_rec(g, g->fifo_head)->stamp : 0,
			      memory_order_relaxed);
}

/* ---- both */

void busy_detach_locked(struct space *s, struct group *g, uint32_t index, jseq_t seq)
{
	if (busy_rec(g, index)->kind == SPACE_METADATA)
		fifo_append(g, index, seq);
	else
		busy_settle(s, g, index);
}

/* From block b to 'end', at most to the end of its frame: how far it is as b is, busy with this
 * record or not. */
static uint64_t busy_stretch(const struct space *s, uint32_t index, uint64_t b, uint64_t end,
			     bool *busy)
{
	uint64_t f = b / HF_BLOCKS_PER_FRAME;
	const struct pins *p = pins_at(s, f);

	end = min_u64(end, (f + 1) * HF_BLOCKS_PER_FRAME);
	*busy = s->frames[f].held == (FRAMES_HELD_REC | index);
	if (*busy || !p)
		return end;
	for (uint64_t first = b; b < end; b++) {
		unsigned int i = (unsigned int)(b % HF_BLOCKS_PER_FRAME);
		bool is = atomic_load(&p->count[i]) & PINS_BUSY && p->rec[i] == index;

		if (b == first)
			*busy = is;
		else if (is != *busy)
			break;
	}
	return b;
}

/* The next run of busy blocks of the record, at or behind block 'at'. */
static bool busy_run(const struct space *s, const struct group *g, uint32_t index, uint64_t at,
		     struct space_busy *out)
{
	const struct busy_rec *r = busy_rec(g, index);
	uint64_t end = r->first + r->n, first = end;
	bool busy = false;

	if (r->state != BUSY_JOURNAL && r->state != BUSY_PINNED)
		return false;
	while (at < end) {
		uint64_t to =
		    r->state == BUSY_JOURNAL ? end : busy_stretch(s, index, at, end, &busy);

		if (r->state == BUSY_JOURNAL || busy)
			first = min_u64(first, at);
		else if (first < end)
			break;
		at = to;
	}
	if (first == end)
		return false;
	*out = (struct space_busy){MBLK(first),
				   at - first,
				   r->state == BUSY_JOURNAL,
				   r->state == BUSY_JOURNAL ? 0 : r->stamp,
				   INUM(r->owner),
				   FBLK(r->fblk + (first - r->first))};
	return true;
}

/* A cursor: group, record, block of the record. Records do not move, so what is there throughout is
 * listed once, whatever happens to the others. */
#define CURSOR_BLOCK_BITS 37u
#define CURSOR_REC_BITS	  21u
static_assert(SPACE_RECS_MAX < 1u << CURSOR_REC_BITS, "");
static_assert(SPACE_MAX_GROUPS <= 1u << (64 - CURSOR_REC_BITS - CURSOR_BLOCK_BITS), "");
#define CURSOR_LOOKS 4096u /* records per hold of the lock */

struct cursor {
	uint64_t rec, block;
};

static size_t busy_list_locked(const struct space *s, const struct group *g, struct cursor *at,
			       struct space_busy *out, size_t max)
{
	size_t n = 0;

	for (unsigned int looks = 0; at->rec < g->recs.used && looks < CURSOR_LOOKS && n < max;
	     looks++) {
		uint64_t first = busy_rec(g, (uint32_t)at->rec)->first;

		if (busy_run(s, g, (uint32_t)at->rec, first + at->block, &out[n])) {
			at->block = out[n].first.v + out[n].n - first;
			n++;
		} else {
			at->rec++;
			at->block = 0;
		}
	}
	return n;
}

size_t space_busy_list(struct space *s, uint64_t *cursor, struct space_busy *out, size_t max)
{
	uint64_t group = *cursor >> (CURSOR_REC_BITS + CURSOR_BLOCK_BITS);
	struct cursor at = {.rec = *cursor >> CURSOR_BLOCK_BITS & ((1u << CURSOR_REC_BITS) - 1),
			    .block = *cursor & ((1ull << CURSOR_BLOCK_BITS) - 1)};
	size_t n = 0;

	while (group < s->ngroups && n < max) {
		struct group *g = &s->groups[group];
		bool end;

		at.rec = max_u64(at.rec, 1);
		mtx_lock(&g->lock);
		n += busy_list_locked(s, g, &at, out + n, max - n);
		end = at.rec >= g->recs.used;
		mtx_unlock(&g->lock);
		if (!end)
			continue;
		group++;
		at = (struct cursor){0};
	}
	*cursor = group < s->ngroups ? group << (CURSOR_REC_BITS + CURSOR_BLOCK_BITS) |
					   at.rec << CURSOR_BLOCK_BITS | at.block
				     : UINT64_MAX;
	return n;
}

static bool covers(uint64_t first, uint64_t n, uint64_t block)
{
	return block >= first && block - first < n;
}

const char *busy_reason_locked(const struct space *s, const struct group *g, uint64_t block)
{
	const struct pins *p = pins_at(s, block / HF_BLOCKS_PER_FRAME);

	if (!frames_is_held_locked(s, g, block))
		return NULL;
	if (s->frames[block / HF_BLOCKS_PER_FRAME].held & FRAMES_HELD_REC)
		return "pinned";
	if (p && atomic_load(&p->count[block % HF_BLOCKS_PER_FRAME]) & PINS_BUSY)
		return "pinned";
	for (uint32_t i = g->fifo_head; i; i = busy_rec(g, i)->next) {
		if (covers(busy_rec(g, i)->first, busy_rec(g, i)->n, block))
			return "journal";
	}
	return "pending";
}
