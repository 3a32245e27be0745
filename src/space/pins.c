/* Counting references to blocks, and what a split does to them.
 *
 * A block is held by its own count, or by the count of its frame while that is not SPLIT. After a
 * split the whole-frame pins are one reference on each block, the collective one: it is there
 * before SPLIT is, so that whoever finds SPLIT finds the counts (I-PIN-2).
 *
 * Memory order: all read-modify-writes are sequentially consistent. Detach and unpin meet in one
 * word: the one that comes second sees the other, and frees.
 *
 * Locking: adding and dropping take no lock; the last reference to busy blocks takes their group's.
 */
#include "space/internal.h"

struct pins *pins_at(const struct space *s, uint64_t f)
{
	uint32_t index = atomic_load_explicit(&s->frames[f].blocks, memory_order_acquire);

	return index ? slab_at(&space_group_of(s, f)->counts, index) : NULL;
}

/* Drops one reference of a block. True: it was the last one, the block is busy, and it is the
 * caller's to free. A map that names a frame twice can make a split of the one forget the pins of
 * the other: there is nothing to drop then. */
static bool pins_drop(struct pins *p, unsigned int b)
{
	uint32_t old = atomic_fetch_sub(&p->count[b], 1);

	if (!(old & PINS_COUNT))
		atomic_fetch_add(&p->count[b], 1);
	return old == (PINS_BUSY | 1);
}

/* Drops one reference of each of n blocks of frame f. The mask of those that are to be freed is
 * gathered first, so that the group is locked once; until then they stay as they are, because
 * nobody else saw their last reference go. */
static void pins_drop_range(struct space *s, uint64_t f, unsigned int first, unsigned int n)
{
	struct pins *p = pins_at(s, f);
	uint64_t idle[LINE_WORDS] = {0}, any = 0;

	for (unsigned int b = first; p && b < first + n; b++) {
		if (!pins_drop(p, b))
			continue;
		idle[b / 64] |= 1ull << b % 64;
		any = 1;
	}
	if (any)
		busy_blocks_idle(s, f, idle);
}

static unsigned int part_of_frame(uint64_t at, uint64_t end)
{
	return (unsigned int)min_u64(end - at, HF_BLOCKS_PER_FRAME - at % HF_BLOCKS_PER_FRAME);
}

/* ---- counts per block */

int space_pin_counts(struct space *s, frame_t f)
{
	struct group *g = space_group_of(s, f.v);
	struct frame *fr = &s->frames[f.v];
	int err = 0;

	mtx_lock(&g->lock);
	if (atomic_load_explicit(&fr->blocks, memory_order_relaxed))
		goto out;
	err = slab_reserve(&g->counts, 1);
	/* And a mask, so that detach can tell the blocks of this frame apart. */
	if (!err)
		err = slab_reserve(&g->masks, g->ncounts + 1);
	if (err)
		goto out;
	g->ncounts++;
	bits_set(&g->marked, f.v - g->first);
	atomic_store(&fr->blocks, slab_pop(&g->counts));
out:
	mtx_unlock(&g->lock);
	return err;
}

static bool pins_any(const struct pins *p)
{
	uint32_t any = 0;

	for (unsigned int b = 0; b < HF_BLOCKS_PER_FRAME; b++)
		any |= atomic_load_explicit(&p->count[b], memory_order_acquire);
	return any != 0;
}

void pins_forget_locked(struct space *s, struct group *g, uint64_t f, uint64_t n)
{
	uint64_t end = f - g->first + n;

	for (uint64_t rel = bits_next(&g->marked, f - g->first); rel < end;
	     rel = bits_next(&g->marked, rel + 1)) {
		struct frame *fr = &s->frames[g->first + rel];
		uint32_t index = atomic_load(&fr->blocks);

		/* A damaged map can make it so: then the frame keeps what there is to count. */
		if (atomic_load(&fr->word) & FRAME_PINS)
			continue;
		if (index) {
			if (pins_any(slab_at(&g->counts, index)))
				continue;
			atomic_store(&fr->blocks, 0);
			slab_push(&g->counts, index);
			g->ncounts--;
		}
		atomic_fetch_and(&fr->word, ~FRAME_SPLIT);
		bits_clear(&g->marked, rel);
	}
}

/* ---- adding */

void space_pin_frames(struct space *s, frame_t first, uint64_t n)
{
	for (uint64_t f = first.v; f < first.v + n; f++)
		atomic_fetch_add(&s->frames[f].word, 1);
}

bool space_pin_blocks(struct space *s, mblk_t first, uint64_t n, frame_t *need)
{
	uint64_t end = first.v + n;

	for (uint64_t f = first.v / HF_BLOCKS_PER_FRAME; f * HF_BLOCKS_PER_FRAME < end; f++) {
		if (!pins_at(s, f)) {
			*need = FRAME(f);
			return false;
		}
	}
	for (uint64_t at = first.v; at < end;) {
		struct pins *p = pins_at(s, at / HF_BLOCKS_PER_FRAME);
		unsigned int b = (unsigned int)(at % HF_BLOCKS_PER_FRAME);
		unsigned int part = part_of_frame(at, end);

		for (unsigned int i = b; i < b + part; i++)
			atomic_fetch_add(&p->count[i], 1);
		at += part;
	}
	return true;
}

/* ---- dropping */

void space_unpin_frames(struct space *s, frame_t first, uint64_t n)
{
	for (uint64_t f = first.v; f < first.v + n; f++) {
		uint64_t old = atomic_fetch_sub(&s->frames[f].word, 1);

		HF_ASSERT(old & FRAME_PINS);
		if ((old & FRAME_PINS) != 1)
			continue;
		if (old & FRAME_SPLIT)
			pins_drop_range(s, f, 0, HF_BLOCKS_PER_FRAME);
		if (old & FRAME_BUSY)
			busy_frame_idle(s, f);
	}
}

void space_unpin_blocks(struct space *s, mblk_t first, uint64_t n)
{
	uint64_t end = first.v + n;

	for (uint64_t at = first.v; at < end;) {
		unsigned int part = part_of_frame(at, end);

		pins_drop_range(s, at / HF_BLOCKS_PER_FRAME,
				(unsigned int)(at % HF_BLOCKS_PER_FRAME), part);
		at += part;
	}
}

/* ---- asking */

static bool part_pinned(const struct space *s, uint64_t f, unsigned int b, unsigned int n)
{
	uint64_t word = atomic_load(&s->frames[f].word);
	const struct pins *p = pins_at(s, f);
	uint32_t any = 0;

	if (word & FRAME_PINS && !(word & FRAME_SPLIT))
		return true;
	for (unsigned int i = b; p && i < b + n; i++)
		any |= atomic_load(&p->count[i]) & PINS_COUNT;
	return any != 0;
}

bool space_pinned(struct space *s, mblk_t first, uint64_t n)
{
	uint64_t end = first.v + n;

	for (uint64_t at = first.v; at < end;) {
		unsigned int part = part_of_frame(at, end);

		if (part_pinned(s, at / HF_BLOCKS_PER_FRAME,
				(unsigned int)(at % HF_BLOCKS_PER_FRAME), part))
			return true;
		at += part;
	}
	return false;
}

/* ---- split */

/* frame: whose leaf was split. collective: its pins were added to its blocks. */
static void split_done(void *ctx, uint64_t frame, uint64_t collective, jseq_t seq,
		       enum txn_outcome outcome)
{
	struct space *s = ctx;
	struct group *g = space_group_of(s, frame);
	uint64_t old = FRAME_SPLIT; /* of an aborted one: as if it were done and without pins */

	(void)seq;
	if (outcome == TXN_FAILED)
		return;
	if (outcome == TXN_COMMITTED) {
		mtx_lock(&g->lock);
		bits_set(&g->marked, frame - g->first);
		old = atomic_fetch_or(&s->frames[frame].word, FRAME_SPLIT);
		mtx_unlock(&g->lock);
	}
	/* Nobody else takes them back: the last whole-frame pin went before SPLIT was there, or
	 * another split of the same frame put its own. */
	if (collective && (old & FRAME_SPLIT || !(old & FRAME_PINS)))
		pins_drop_range(s, frame, 0, HF_BLOCKS_PER_FRAME);
}

int space_split(struct space *s, struct txn *t, frame_t f)
{
	uint64_t word = atomic_load(&s->frames[f.v].word);
	bool collective = word & FRAME_PINS;
	struct pins *p = pins_at(s, f.v);
	int err;

	if (word & FRAME_SPLIT)
		return 0;
	if (collective && !p)
		return -EAGAIN;
	err = txn_defer(t, split_done, s, f.v, collective);
	if (err)
		return err;
	for (unsigned int b = 0; collective && b < HF_BLOCKS_PER_FRAME; b++)
		atomic_fetch_add(&p->count[b], 1);
	return 0;
}

/* ---- a dead owner's pins */

/* One reference on each block of the part; *fresh: those that were free. */
static unsigned int adopt_part(struct space *s, struct group *g, uint32_t index, uint64_t f,
			       unsigned int first, unsigned int n)
{
	struct pins *p = pins_at(s, f);
	uint64_t avail[LINE_WORDS], take[LINE_WORDS] = {0};
	unsigned int taken = 0;

	frames_avail_locked(s, g, f, avail);
	for (unsigned int b = first; b < first + n; b++) {
		if (!(avail[b / 64] >> b % 64 & 1)) {
			atomic_fetch_add(&p->count[b], 1);
			continue;
		}
		p->rec[b] = index;
		atomic_fetch_add(&p->count[b], PINS_BUSY | 1);
		take[b / 64] |= 1ull << b % 64;
		taken++;
	}
	if (taken)
		frames_take_mask_locked(s, g, f, take);
	return taken;
}

/* A piece of one group. */
static int adopt_piece(struct space *s, struct group *g, const struct busy_rec *what)
{
	uint64_t end = what->first + what->n, left = 0;
	uint32_t index;
	int err;

	mtx_lock(&g->lock);
	err = slab_reserve(&g->recs, 1);
	if (!err)
		err = frames_reserve_locked(g);
	if (err)
		goto out;
	index = slab_pop(&g->recs);
	*busy_rec(g, index) = *what;
	for (uint64_t at = what->first; at < end;) {
		unsigned int part = part_of_frame(at, end);

		left += adopt_part(s, g, index, at / HF_BLOCKS_PER_FRAME,
				   (unsigned int)(at % HF_BLOCKS_PER_FRAME), part);
		at += part;
	}
	busy_add_locked(s, g, index, left);
out:
	mtx_unlock(&g->lock);
	return err;
}

int space_adopt(struct space *s, mblk_t first, uint64_t n, inum_t owner, fblk_t fblk)
{
	struct busy_rec what = {.owner = owner.v, .fblk = fblk.v, .kind = SPACE_DATA};
	uint64_t last = s->geo->end_data.v, end = first.v + n;
	int err = 0;

	if (n == 0 || first.v < s->geo->first_data.v || first.v >= last || n > last - first.v)
		return err_set(-EUCLEAN,
			       "a dead owner's pin names %llu blocks from %llu on, which no "
			       "file can own",
			       (unsigned long long)n, (unsigned long long)first.v);
	for (uint64_t f = first.v / HF_BLOCKS_PER_FRAME; !err && f * HF_BLOCKS_PER_FRAME < end; f++)
		err = space_pin_counts(s, FRAME(f));
	for (what.first = first.v; !err && what.first < end; what.first += what.n) {
		struct group *g = space_group_of(s, what.first / HF_BLOCKS_PER_FRAME);

		what.n = min_u64(end, group_end_block(g)) - what.first;
		err = adopt_piece(s, g, &what);
		if (err) {
			space_unpin_blocks(s, first, what.first - first.v);
			break;
		}
		what.fblk += what.n;
	}
	return err;
}
