/* Freeing with a transaction: held before the commit, handed on when it is applied (I-BUSY-1). All
 * memory is taken before the commit, so that the deferred part cannot fail.
 *
 * What one call frees is sorted by block number and cut where groups end; then a group at a time is
 * locked once, whole frames go by words of its bitmaps, and neighbours go into the record as one.
 *
 * A busy record is made only for what may have to wait: metadata, and what somebody counts
 * references to. To other blocks none can come any more: references rise only while the blocks are
 * mapped, under a layout lock that the caller holds exclusively (I-PIN-1). */
#include "space/internal.h"
#include <stdlib.h>

/* A part of what is freed, in one group. */
struct piece {
	uint64_t first, n;
	uint32_t rec; /* its busy record; 0: none */
};

/* What one call holds until its transaction has ended; the pieces by block number. */
struct freed {
	struct space *s;
	uint32_t n;
	struct piece piece[];
};

/* ---- whole frames, gathered by words of their group's bitmaps */

struct words {
	struct group *g;
	bool (*fn)(struct group *g, uint64_t w, uint64_t mask);
	uint64_t w, mask;
	bool ok; /* fn always said so */
};

static bool word_hold(struct group *g, uint64_t w, uint64_t mask)
{
	frames_word_hold_locked(g, w, mask);
	return true;
}

static bool word_unhold(struct group *g, uint64_t w, uint64_t mask)
{
	frames_word_unhold_locked(g, w, mask);
	return true;
}

static bool word_release(struct group *g, uint64_t w, uint64_t mask)
{
	frames_word_release_locked(g, w, mask);
	return true;
}

static void words_end(struct words *at)
{
	if (at->mask && !at->fn(at->g, at->w, at->mask))
		at->ok = false;
	at->mask = 0;
}

static void words_add_range(struct words *at, uint64_t rel, uint64_t n)
{
	uint64_t end = rel + n;

	while (rel < end) {
		uint64_t here = min_u64(64 - rel % 64, end - rel);

		if (rel / 64 != at->w)
			words_end(at);
		at->w = rel / 64;
		at->mask |= UINT64_MAX >> (64 - here) << rel % 64;
		rel += here;
	}
}

static inline void words_add(struct words *at, const struct piece *p)
{
	uint64_t rel = p->first / HF_BLOCKS_PER_FRAME - at->g->first;

	if (p->n == HF_BLOCKS_PER_FRAME && rel / 64 == at->w)
		at->mask |= 1ull << rel % 64;
	else
		words_add_range(at, rel, p->n / HF_BLOCKS_PER_FRAME);
}

static bool piece_is_frames(const struct piece *p)
{
	return (p->first | p->n) % HF_BLOCKS_PER_FRAME == 0;
}

/* ---- may they be freed? */

/* A part of a frame that is pinned as a whole goes after space_split() of it, which has counted those
 * pins on each block. Else the part is in two maps, or twice in one. */
static bool part_split(const struct space *s, uint64_t first, uint64_t n)
{
	uint64_t f = first / HF_BLOCKS_PER_FRAME, b = first % HF_BLOCKS_PER_FRAME;
	const struct pins *p;
	uint64_t word;

	if (n == 0)
		return true;
	word = atomic_load(&s->frames[f].word);
	if (!(word & FRAME_PINS) || word & FRAME_SPLIT)
		return true;
	p = pins_at(s, f);
	for (uint64_t i = b; p && i < b + n; i++)
		if (!(atomic_load(&p->count[i]) & PINS_COUNT))
			return false;
	return p != NULL;
}

static int not_owned(const struct piece *p)
{
	return err_set(-EUCLEAN,
		       "blocks %llu..%llu are to be freed, but not all of them are allocated: run "
		       "fsck.holdfast",
		       (unsigned long long)p->first, (unsigned long long)(p->first + p->n - 1));
}

/* A piece that is not whole frames only; *masks: how many frames it needs a mask for, *frame: the
 * last of them. */
static int part_check(const struct space *s, const struct group *g, const struct piece *p,
		      uint32_t *masks, uint64_t *frame)
{
	struct frames_cut c = frames_cut(p->first, p->n);
	uint64_t head = c.head / HF_BLOCKS_PER_FRAME, tail = c.tail / HF_BLOCKS_PER_FRAME;

	if (!part_split(s, c.head, c.head_n) || !part_split(s, c.tail, c.tail_n))
		return err_set(-EUCLEAN,
			       "blocks %llu..%llu are to be freed, but belong to a pinned 2 MiB of "
			       "another place: run fsck.holdfast",
			       (unsigned long long)p->first,
			       (unsigned long long)(p->first + p->n - 1));
	if (!frames_owned_locked(s, g, p->first, p->n))
		return not_owned(p);
	if (c.head_n && head != *frame && !s->frames[head].held) {
		*frame = head;
		++*masks;
	}
	if (c.tail_n && tail != *frame && !s->frames[tail].held) {
		*frame = tail;
		++*masks;
	}
	return 0;
}

/* What the frames' table says of a piece. *counted: there are references to it, or a place to count
 * them in. */
static bool table_check(const struct space *s, const struct piece *p, bool *counted)
{
	uint64_t end = (p->first + p->n - 1) / HF_BLOCKS_PER_FRAME;
	uint64_t any = 0, held = 0;

	for (uint64_t f = p->first / HF_BLOCKS_PER_FRAME; f <= end; f++) {
		const struct frame *fr = &s->frames[f];

		any |= (atomic_load(&fr->word) & FRAME_PINS) | atomic_load(&fr->blocks);
		held |= fr->held;
	}
	*counted = any != 0;
	return !held || !piece_is_frames(p);
}

static int piece_record(struct space *s, struct group *g, struct piece *p,
			const struct busy_rec *what, uint64_t fblk)
{
	int err = slab_reserve(&g->recs, 1);
	struct busy_rec *r;

	if (err)
		return err;
	p->rec = slab_pop(&g->recs);
	r = busy_rec(g, p->rec);
	*r = *what;
	r->first = p->first;
	r->n = p->n;
	r->fblk = fblk;
	ticket_hold(s, what->ticket);
	return 0;
}

/* ---- holding */

/* Where the next piece comes from. */
struct runs {
	const struct space_run *run, *end;
	uint64_t at; /* blocks of run that are pieces already */
};

/* The next piece, if it lies before block 'end', where its group ends. */
static bool runs_next(struct runs *r, uint64_t end, struct piece *p, uint64_t *fblk)
{
	const struct space_run *run = r->run;
	uint64_t first, left, n;

	if (run == r->end || run->first.v + r->at >= end)
		return false;
	first = run->first.v + r->at;
	left = run->n - r->at;
	n = min_u64(left, end - first);
	*fblk = run->fblk.v + r->at;
	*p = (struct piece){first, n, 0};
	r->at = n == left ? 0 : r->at + n;
	r->run = n == left ? run + 1 : run;
	return true;
}

/* Looks at the pieces of one group and makes what records they need. */
static int group_check_locked(struct freed *f, struct group *g, struct runs *r,
			      const struct busy_rec *what)
{
	struct words at = {.g = g, .fn = frames_word_owned_locked, .ok = true};
	struct piece *p = &f->piece[f->n];
	uint64_t fblk, end = group_end_block(g), frame = FRAMES_NONE;
	uint32_t masks = 0, records = 0;
	bool counted;
	int err = 0;

	for (; !err && runs_next(r, end, p, &fblk); p++) {
		if (!table_check(f->s, p, &counted))
			err = not_owned(p);
		else if (piece_is_frames(p))
			words_add(&at, p);
		else
			err = part_check(f->s, g, p, &masks, &frame);
		if (!err && (counted || what->kind == SPACE_METADATA))
			err = piece_record(f->s, g, p, what, fblk);
		records += p->rec != 0;
	}
	f->n = (uint32_t)(p - f->piece);
	words_end(&at);
	if (!err && !at.ok)
		err = not_owned(p - 1);
	if (!err && (masks || records))
		err = slab_reserve(&g->masks, g->ncounts + masks);
	return err;
}

static void group_hold_locked(struct freed *f, struct group *g, uint32_t from)
{
	struct words at = {.g = g, .fn = word_hold};

	const struct piece *p = &f->piece[from], *end = &f->piece[f->n];

	for (; p < end; p++) {
		if (piece_is_frames(p))
			words_add(&at, p);
		else
			frames_hold_locked(f->s, g, p->first, p->n);
	}
	words_end(&at);
}

/* Holds the pieces of the next group, all or none. */
static int group_hold(struct freed *f, struct runs *r, const struct busy_rec *what)
{
	struct group *g =
	    space_group_of(f->s, (r->run->first.v + r->at) / HF_BLOCKS_PER_FRAME);
	uint32_t from = f->n;
	int err;

	mtx_lock(&g->lock);
	busy_drain_locked(f->s, g, 8); /* who only frees must not let the list grow without end */
	err = group_check_locked(f, g, r, what);
	if (!err)
		group_hold_locked(f, g, from);
	for (; err && f->n > from; f->n--)
		if (f->piece[f->n - 1].rec)
			busy_end_locked(f->s, g, f->piece[f->n - 1].rec);
	mtx_unlock(&g->lock);
	return err;
}

/* ---- letting go */

static void piece_end_locked(struct freed *f, struct group *g, const struct piece *p, jseq_t seq,
			     enum txn_outcome outcome)
{
	if (outcome == TXN_COMMITTED && p->rec)
		busy_detach_locked(f->s, g, p->rec, seq);
	else if (outcome == TXN_COMMITTED)
		frames_release_locked(f->s, g, p->first, p->n);
	else
		frames_unhold_locked(f->s, g, p->first, p->n);
	if (outcome == TXN_ABORTED && p->rec)
		busy_end_locked(f->s, g, p->rec);
}

/* Ends what group_hold() began.
 *
 * Locking: the locks of the objects of the transaction are held, no lane. */
static void freed_end(struct freed *f, jseq_t seq, enum txn_outcome outcome)
{
	const struct piece *p = f->piece, *end = p + f->n;

	while (p < end) {
		struct group *g = space_group_of(f->s, p->first / HF_BLOCKS_PER_FRAME);
		uint64_t group_end = group_end_block(g);
		struct words at = {.g = g,
				   .fn = outcome == TXN_COMMITTED ? word_release : word_unhold};

		mtx_lock(&g->lock);
		for (; p < end && p->first < group_end; p++) {
			if (!p->rec && piece_is_frames(p))
				words_add(&at, p);
			else
				piece_end_locked(f, g, p, seq, outcome);
		}
		words_end(&at);
		mtx_unlock(&g->lock);
	}
}

static void free_done(void *ctx, uint64_t a, uint64_t b, jseq_t seq, enum txn_outcome outcome)
{
	(void)a;
	(void)b;
	/* A record that may or may not be found: nobody may have the blocks until the next mount
	 * has decided. */
	if (outcome != TXN_FAILED)
		freed_end(ctx, seq, outcome);
	free(ctx);
}

/* ---- the runs */

static bool run_in_range(const struct space *s, const struct space_run *r)
{
	uint64_t end = s->geo->end_data.v;

	return r->n > 0 && r->first.v >= s->geo->first_data.v && r->first.v < end &&
	       r->n <= end - r->first.v;
}

/* Shell's way: in place, and little to do where they come nearly in order, as from a map. */
static void runs_sort(struct space_run *run, uint32_t n)
{
	static const uint32_t gap[] = {301, 132, 57, 23, 10, 4, 1};

	for (unsigned k = 0; k < sizeof(gap) / sizeof(gap[0]); k++) {
		for (uint32_t i = gap[k]; i < n; i++) {
			struct space_run r = run[i];
			uint32_t j = i;

			for (; j >= gap[k] && run[j - gap[k]].first.v > r.first.v; j -= gap[k])
				run[j] = run[j - gap[k]];
			run[j] = r;
		}
	}
}

/* Each is where files may be, and none is there twice; afterwards they are sorted. *pieces: how many
 * there are when they are cut at the groups' ends. */
static int runs_check(const struct space *s, struct space_run *run, uint32_t n, uint64_t *pieces)
{
	bool sorted = true;

	*pieces = 0;
	for (uint32_t i = 0; i < n; i++) {
		const struct space_run *r = &run[i];

		if (!run_in_range(s, r))
			return err_set(-EUCLEAN,
				       "%llu blocks from %llu on are to be freed, which no file can "
				       "own: run fsck.holdfast",
				       (unsigned long long)r->n, (unsigned long long)r->first.v);
		sorted = sorted && (i == 0 || r[-1].first.v + r[-1].n <= r->first.v);
		*pieces += ((r->first.v + r->n - 1) / HF_BLOCKS_PER_FRAME >> s->group_shift) -
			   (r->first.v / HF_BLOCKS_PER_FRAME >> s->group_shift) + 1;
	}
	if (sorted)
		return 0;
	runs_sort(run, n);
	for (uint32_t i = 1; i < n; i++)
		if (run[i - 1].first.v + run[i - 1].n > run[i].first.v)
			return err_set(-EUCLEAN,
				       "block %llu is to be freed twice: run fsck.holdfast",
				       (unsigned long long)run[i].first.v);
	return 0;
}

/* Runs that are adjacent are one item of the record. */
static void runs_clear(const struct space *s, struct txn *t, const struct space_run *run,
		       uint32_t n)
{
	mblk_t first = run[0].first;
	uint64_t len = run[0].n;

	for (uint32_t i = 1; i < n; i++) {
		if (run[i].first.v != first.v + len) {
			txn_bits_clear(t, geo_alloc_bit(s->geo, first), len);
			first = run[i].first;
			len = 0;
		}
		len += run[i].n;
	}
	txn_bits_clear(t, geo_alloc_bit(s->geo, first), len);
}

int space_free_runs(struct space *s, struct txn *t, struct space_run *run, uint32_t n,
		    enum space_kind kind, inum_t owner)
{
	struct busy_rec what = {.owner = owner.v,
				.kind = (uint8_t)kind,
				.state = BUSY_PENDING,
				.ticket = kind == SPACE_DATA ? txn_ticket(t) : 0};
	struct runs r = {.run = run, .end = run + n};
	uint64_t pieces;
	struct freed *f;
	int err;

	HF_ASSERT(n > 0);
	err = runs_check(s, run, n, &pieces);
	if (err)
		return err;
	f = malloc(sizeof(*f) + pieces * sizeof(f->piece[0]));
	if (!f)
		return err_set(-ENOMEM, "no memory for the list of held blocks");
	f->s = s;
	f->n = 0;
	while (!err && r.run < r.end)
		err = group_hold(f, &r, &what);
	if (!err)
		err = txn_defer(t, free_done, f, 0, 0);
	if (err) {
		freed_end(f, JSEQ(0), TXN_ABORTED);
		free(f);
		return err;
	}
	runs_clear(s, t, run, n);
	return txn_error(t);
}

int space_free(struct space *s, struct txn *t, mblk_t first, uint64_t n, enum space_kind kind,
	       inum_t owner, fblk_t fblk)
{
	struct space_run run = {first, n, fblk};

	return space_free_runs(s, t, &run, 1, kind, owner);
}
