/* The frame table and the states of frames: which blocks may be handed out, which are held. */
#include "space/internal.h"
#include <stdlib.h>

static const unsigned int class_max[FRAMES_CLASSES] = {15, 63, 127, 255, 383, 511};

unsigned int frames_class(uint64_t avail)
{
	unsigned int c = 0;

	while (avail > class_max[c])
		c++;
	return c;
}

/* Bits set in a line. A carry-save adder leaves four words to count, because the counting
 * instruction is not there on every x86-64 and mount counts a line per frame. */
static unsigned int line_count(const uint64_t w[LINE_WORDS])
{
	uint64_t ones = 0, twos = 0, fours = 0, eights = 0;

	for (unsigned int i = 0; i < LINE_WORDS; i++) {
		uint64_t c1 = ones & w[i], c2 = twos & c1, c4 = fours & c2;

		ones ^= w[i];
		twos ^= c1;
		fours ^= c2;
		eights ^= c4;
	}
	return (unsigned int)(__builtin_popcountll(ones) + 2 * __builtin_popcountll(twos) +
			      4 * __builtin_popcountll(fours) + 8 * __builtin_popcountll(eights));
}

/* The bits of [from, from + n) of a line that lie in word i. */
uint64_t frames_line_mask(unsigned int i, unsigned int from, unsigned int n)
{
	unsigned int lo = from > i * 64 ? from - i * 64 : 0;
	unsigned int end = from + n, hi;

	if (from >= (i + 1) * 64 || end <= i * 64)
		return 0;
	hi = end >= (i + 1) * 64 ? 64 : end - i * 64;
	return ~0ull << lo & ~0ull >> (64 - hi);
}

/* The line of frame f on the media, and a word of it. Relaxed: a bit that is about to change
 * belongs to a held block, and who looks at blocks that are not held is ordered behind the change
 * by the group lock. A word of which all 64 blocks are held is not read at all: the journal may be
 * storing to it, as a whole, with ordinary stores. */
static const uint64_t *line_at(const struct space *s, uint64_t f)
{
	return pm_at(s->pm, moff_add(s->geo->alloc_off, f * HF_LINE));
}

static uint64_t line_word(const uint64_t *line, unsigned int i)
{
	return le64toh(__atomic_load_n(&line[i], __ATOMIC_RELAXED));
}

static uint64_t *mask_at(const struct space *s, const struct group *g, uint64_t f)
{
	return slab_at(&g->masks, s->frames[f].held);
}

unsigned int frames_avail_locked(const struct space *s, const struct group *g, uint64_t f,
				 uint64_t avail[LINE_WORDS])
{
	const uint64_t *line = line_at(s, f);
	static const uint64_t none[LINE_WORDS];
	const uint64_t *held;

	if (bits_test(&g->held_whole, f - g->first)) {
		memset(avail, 0, LINE_WORDS * sizeof(*avail));
		return 0;
	}
	held = s->frames[f].held ? mask_at(s, g, f) : none;
	for (unsigned int i = 0; i < LINE_WORDS; i++)
		avail[i] = ~held[i] ? ~line_word(line, i) & ~held[i] : 0;
	return line_count(avail);
}

/* One extent, three parts, each possibly empty:
 *
 *	frames    |........|........|........|........|
 *	extent        hhhhh wwwwwwww wwwwwwww ttt
 */
struct frames_cut frames_cut(uint64_t first, uint64_t n)
{
	struct frames_cut c = {0};
	uint64_t to_edge = HF_BLOCKS_PER_FRAME - first % HF_BLOCKS_PER_FRAME;

	c.head = first;
	if (to_edge < HF_BLOCKS_PER_FRAME)
		c.head_n = min_u64(n, to_edge);
	first += c.head_n;
	n -= c.head_n;
	c.frame = first / HF_BLOCKS_PER_FRAME;
	c.nframes = n / HF_BLOCKS_PER_FRAME;
	c.tail = first + c.nframes * HF_BLOCKS_PER_FRAME;
	c.tail_n = n % HF_BLOCKS_PER_FRAME;
	return c;
}

/* ---- what blocks are */

static bool part_owned(const struct space *s, const struct group *g, uint64_t first, uint64_t n)
{
	uint64_t f = first / HF_BLOCKS_PER_FRAME;
	const uint64_t *held, *line;

	if (n == 0)
		return true; /* 'first' may be in the next group, under another lock */
	if (bits_test(&g->held_whole, f - g->first))
		return false;
	held = s->frames[f].held ? mask_at(s, g, f) : NULL;
	line = line_at(s, f);
	for (unsigned int i = 0; i < LINE_WORDS; i++) {
		uint64_t mask = frames_line_mask(i, (unsigned int)(first % HF_BLOCKS_PER_FRAME),
						 (unsigned int)n);

		if (held && (held[i] & mask))
			return false;
		if (mask && ~line_word(line, i) & mask)
			return false;
	}
	return true;
}

/* Of frames 64 w to 64 w + 63 of the group: those with a block that is free, or that are held as a whole. */
static uint64_t not_all_used(const struct group *g, uint64_t w)
{
	const uint64_t *states = bits_word(&g->whole, 0, w);
	uint64_t any = 0;

	for (unsigned int k = 0; k < FRAMES_STATES; k++)
		any |= states[k];
	return any;
}

/* By what is known in memory, not from the media: a frame of which no block is free or held has all of them in use. So
 * the lines of a large range that is freed are first touched when they are cleared. */
static bool whole_owned(const struct space *s, const struct group *g, uint64_t f, uint64_t n)
{
	uint64_t from = f - g->first, to = from + n, held = 0;

	for (uint64_t at = from; at < to; at = (at / 64 + 1) * 64) {
		uint64_t in_word = min_u64(64 - at % 64, to - at);

		if (not_all_used(g, at / 64) >> at % 64 & (UINT64_MAX >> (64 - in_word)))
			return false;
	}
	for (uint64_t i = f; i < f + n; i++)
		held |= s->frames[i].held;
	return !held;
}

bool frames_owned_locked(const struct space *s, const struct group *g, uint64_t first, uint64_t n)
{
	struct frames_cut c = frames_cut(first, n);

	return part_owned(s, g, c.head, c.head_n) && part_owned(s, g, c.tail, c.tail_n) &&
	       whole_owned(s, g, c.frame, c.nframes);
}

bool frames_is_held_locked(const struct space *s, const struct group *g, uint64_t block)
{
	uint64_t f = block / HF_BLOCKS_PER_FRAME, bit = block % HF_BLOCKS_PER_FRAME;

	if (bits_test(&g->held_whole, f - g->first))
		return true;
	return s->frames[f].held && (mask_at(s, g, f)[bit / 64] >> (bit % 64) & 1);
}

/* ---- states */

static void state_set(struct group *g, uint64_t rel, unsigned int avail)
{
	if (avail == 0)
		count_add(&g->full_frames, 1);
	else if (avail < HF_BLOCKS_PER_FRAME)
		bits_set(&g->part[frames_class(avail)], rel);
	else {
		bits_set(&g->whole, rel);
		count_add(&g->whole_frames, 1);
	}
}

static void state_clear(struct group *g, uint64_t rel, unsigned int avail)
{
	if (avail == 0)
		count_sub(&g->full_frames, 1);
	else if (avail < HF_BLOCKS_PER_FRAME)
		bits_clear(&g->part[frames_class(avail)], rel);
	else {
		bits_clear(&g->whole, rel);
		count_sub(&g->whole_frames, 1);
	}
}

void frames_move_locked(struct group *g, uint64_t f, unsigned int from, unsigned int to)
{
	bool inside = from > 0 && from < HF_BLOCKS_PER_FRAME && to > 0 && to < HF_BLOCKS_PER_FRAME;

	count_add(&g->free, (uint64_t)to - from);
	if (from == to || (inside && frames_class(from) == frames_class(to)))
		return;
	state_clear(g, f - g->first, from);
	state_set(g, f - g->first, to);
}

uint64_t frames_zero_lines_locked(const struct space *s, struct group *g, uint64_t f, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		const uint64_t *line = line_at(s, f + i);
		uint64_t any = 0;

		for (unsigned int k = 0; k < LINE_WORDS; k++)
			any |= line_word(line, k);
		if (any) {
			frames_move_locked(g, f + i, HF_BLOCKS_PER_FRAME, 0);
			return i;
		}
	}
	return n;
}

/* ---- held */

int frames_reserve_locked(struct group *g)
{
	return slab_reserve(&g->masks, g->ncounts + 2);
}

static void part_hold(struct space *s, struct group *g, uint64_t first, uint64_t n)
{
	uint64_t f = first / HF_BLOCKS_PER_FRAME;
	uint64_t *held;

	if (n == 0)
		return;
	if (!s->frames[f].held)
		s->frames[f].held = slab_pop(&g->masks);
	held = mask_at(s, g, f);
	for (unsigned int i = 0; i < LINE_WORDS; i++)
		held[i] |= frames_line_mask(i, (unsigned int)(first % HF_BLOCKS_PER_FRAME),
					    (unsigned int)n);
}

static void part_unhold(struct space *s, struct group *g, uint64_t first, uint64_t n)
{
	uint64_t f = first / HF_BLOCKS_PER_FRAME, any = 0;
	uint64_t *held;

	if (n == 0)
		return;
	HF_ASSERT(s->frames[f].held);
	held = mask_at(s, g, f);
	for (unsigned int i = 0; i < LINE_WORDS; i++) {
		held[i] &= ~frames_line_mask(i, (unsigned int)(first % HF_BLOCKS_PER_FRAME),
					     (unsigned int)n);
		any |= held[i];
	}
	if (any)
		return;
	slab_push(&g->masks, s->frames[f].held);
	s->frames[f].held = 0;
}

void frames_hold_locked(struct space *s, struct group *g, uint64_t first, uint64_t n)
{
	struct frames_cut c = frames_cut(first, n);

	part_hold(s, g, c.head, c.head_n);
	bits_set_range(&g->held_whole, c.frame - g->first, c.nframes);
	part_hold(s, g, c.tail, c.tail_n);
	count_add(&g->held, n);
}

void frames_unhold_locked(struct space *s, struct group *g, uint64_t first, uint64_t n)
{
	struct frames_cut c = frames_cut(first, n);

	part_unhold(s, g, c.head, c.head_n);
	bits_clear_range(&g->held_whole, c.frame - g->first, c.nframes);
	part_unhold(s, g, c.tail, c.tail_n);
	count_sub(&g->held, n);
}

static void mask_release(struct space *s, struct group *g, uint64_t f,
			 const uint64_t mask[LINE_WORDS])
{
	uint64_t avail[LINE_WORDS], any = 0;
	unsigned int before = frames_avail_locked(s, g, f, avail);
	uint64_t *held;

	HF_ASSERT(s->frames[f].held);
	held = mask_at(s, g, f);
	for (unsigned int i = 0; i < LINE_WORDS; i++) {
		held[i] &= ~mask[i];
		any |= held[i];
	}
	if (!any) {
		slab_push(&g->masks, s->frames[f].held);
		s->frames[f].held = 0;
	}
	frames_move_locked(g, f, before, frames_avail_locked(s, g, f, avail));
}

void frames_release_mask_locked(struct space *s, struct group *g, uint64_t f,
				const uint64_t mask[LINE_WORDS])
{
	mask_release(s, g, f, mask);
	count_sub(&g->held, line_count(mask));
}

void frames_take_mask_locked(struct space *s, struct group *g, uint64_t f,
			     const uint64_t mask[LINE_WORDS])
{
	uint64_t avail[LINE_WORDS];
	unsigned int before = frames_avail_locked(s, g, f, avail), n = line_count(mask);
	uint64_t *held;

	if (!s->frames[f].held)
		s->frames[f].held = slab_pop(&g->masks);
	held = mask_at(s, g, f);
	for (unsigned int i = 0; i < LINE_WORDS; i++)
		held[i] |= mask[i];
	frames_move_locked(g, f, before, before - n);
	count_add(&g->held, n);
}

void frames_to_mask_locked(struct space *s, struct group *g, uint64_t f)
{
	s->frames[f].held = slab_pop(&g->masks);
	memset(mask_at(s, g, f), 0xff, LINE_WORDS * sizeof(uint64_t));
	bits_clear(&g->held_whole, f - g->first);
}

static void part_release(struct space *s, struct group *g, uint64_t first, uint64_t n)
{
	uint64_t mask[LINE_WORDS];

	if (n == 0)
		return;
	for (unsigned int i = 0; i < LINE_WORDS; i++)
		mask[i] = frames_line_mask(i, (unsigned int)(first % HF_BLOCKS_PER_FRAME),
					   (unsigned int)n);
	mask_release(s, g, first / HF_BLOCKS_PER_FRAME, mask);
}

void frames_release_locked(struct space *s, struct group *g, uint64_t first, uint64_t n)
{
	struct frames_cut c = frames_cut(first, n);

	part_release(s, g, c.head, c.head_n);
	part_release(s, g, c.tail, c.tail_n);
	bits_clear_range(&g->held_whole, c.frame - g->first, c.nframes);
	bits_set_range(&g->whole, c.frame - g->first, c.nframes);
	count_sub(&g->full_frames, c.nframes);
	count_add(&g->whole_frames, c.nframes);
	count_add(&g->free, c.nframes * HF_BLOCKS_PER_FRAME);
	count_sub(&g->held, n);
}

bool frames_word_owned_locked(struct group *g, uint64_t w, uint64_t mask)
{
	return !(not_all_used(g, w) & mask);
}

void frames_word_hold_locked(struct group *g, uint64_t w, uint64_t mask)
{
	bits_set_word(&g->held_whole, w, mask);
	count_add(&g->held, bits_count(mask) * HF_BLOCKS_PER_FRAME);
}

void frames_word_unhold_locked(struct group *g, uint64_t w, uint64_t mask)
{
	bits_clear_word(&g->held_whole, w, mask);
	count_sub(&g->held, bits_count(mask) * HF_BLOCKS_PER_FRAME);
}

void frames_word_release_locked(struct group *g, uint64_t w, uint64_t mask)
{
	uint64_t n = bits_count(mask);

	bits_clear_word(&g->held_whole, w, mask);
	bits_set_word(&g->whole, w, mask);
	count_sub(&g->full_frames, n);
	count_add(&g->whole_frames, n);
	count_add(&g->free, n * HF_BLOCKS_PER_FRAME);
	count_sub(&g->held, n * HF_BLOCKS_PER_FRAME);
}

void frames_take_blocks_locked(struct space *s, struct group *g, uint64_t f, unsigned int pos,
			       unsigned int n, unsigned int avail)
{
	frames_hold_locked(s, g, f * HF_BLOCKS_PER_FRAME + pos, n);
	frames_move_locked(g, f, avail, avail - n);
}

void frames_take_whole_locked(struct space *s, struct group *g, uint64_t f, uint64_t n)
{
	pins_forget_locked(s, g, f, n);
	frames_hold_locked(s, g, f * HF_BLOCKS_PER_FRAME, n * HF_BLOCKS_PER_FRAME);
	bits_clear_range(&g->whole, f - g->first, n);
	count_add(&g->full_frames, n);
	count_sub(&g->whole_frames, n);
	count_sub(&g->free, n * HF_BLOCKS_PER_FRAME);
}

/* ---- the table */

/* How many blocks of a line are free. Most frames are free or full as a whole, and this runs once
 * per frame at mount. */
static unsigned int line_free(const uint64_t *line)
{
	uint64_t w[LINE_WORDS], any = 0, all = ~0ull;

	for (unsigned int i = 0; i < LINE_WORDS; i++) {
		any |= line_word(line, i);
		all &= line_word(line, i);
	}
	if (!any)
		return HF_BLOCKS_PER_FRAME;
	if (!~all)
		return 0;
	for (unsigned int i = 0; i < LINE_WORDS; i++)
		w[i] = ~line_word(line, i);
	return line_count(w);
}

/* Reads the lines of one group; nobody else can see it yet. struct frame is not touched. */
static void group_read(struct space *s, struct group *g)
{
	const uint64_t *line = line_at(s, g->first);
	uint64_t run = 0, whole = 0, blocks = 0; /* run: free frames right before rel */
	uint64_t rel;

	for (rel = 0; rel < g->nframes; rel++, line += LINE_WORDS) {
		unsigned int avail = line_free(line);

		if (avail == HF_BLOCKS_PER_FRAME) {
			run++;
			continue;
		}
		bits_set_range(&g->whole, rel - run, run);
		whole += run;
		run = 0;
		blocks += avail;
		state_set(g, rel, avail);
	}
	bits_set_range(&g->whole, rel - run, run);
	whole += run;
	count_add(&g->whole_frames, whole);
	count_add(&g->free, blocks + whole * HF_BLOCKS_PER_FRAME);
}

static int group_init(struct space *s, struct group *g, uint32_t index)
{
	int err;

	mtx_init(&g->lock, RANK_GROUP, index);
	g->first = (uint64_t)index << s->group_shift;
	g->nframes = min_u64(1ull << s->group_shift, s->geo->nframes - g->first);
	g->cur = FRAMES_NONE;
	err = bits_init(g->states, FRAMES_STATES, g->nframes);
	return err ? err : bits_init(&g->marked, 1, g->nframes);
}

int frames_open(struct space *s)
{
	s->frames = calloc(s->geo->nframes, sizeof(*s->frames));
	s->groups = aligned_alloc(_Alignof(struct group), s->ngroups * sizeof(*s->groups));
	if (s->groups) /* also when the other is missing: frames_close goes through them */
		memset(s->groups, 0, s->ngroups * sizeof(*s->groups));
	if (!s->frames || !s->groups)
		return -ENOMEM;
	for (uint32_t i = 0; i < s->ngroups; i++) {
		int err = group_init(s, &s->groups[i], i);

		if (err)
			return err;
		group_read(s, &s->groups[i]);
	}
	return 0;
}

void frames_close(struct space *s)
{
	for (uint32_t i = 0; s->groups && i < s->ngroups; i++) {
		bits_destroy(s->groups[i].states);
		bits_destroy(&s->groups[i].marked);
	}
	free(s->groups);
	free(s->frames);
	s->groups = NULL;
	s->frames = NULL;
}
