/* Freeing with a transaction: held before the commit, handed on when it is applied (I-BUSY-1). All
 * memory is taken before the commit, so that the deferred part cannot fail. */
#include "space/internal.h"

/* The part of [first, end) that lies in the group of its first block. */
static uint64_t piece_blocks(const struct group *g, uint64_t first, uint64_t end)
{
	return min_u64(end, group_end_block(g)) - first;
}

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

/* Holds one piece and writes its record. */
static int piece_hold(struct space *s, struct group *g, const struct busy_rec *what,
		      uint32_t *index)
{
	struct frames_cut c = frames_cut(what->first, what->n);
	int err;

	if (!part_split(s, c.head, c.head_n) || !part_split(s, c.tail, c.tail_n))
		return err_set(-EUCLEAN,
			       "blocks %llu..%llu are to be freed, but belong to a pinned 2 MiB of "
			       "another place: run fsck.holdfast",
			       (unsigned long long)what->first,
			       (unsigned long long)(what->first + what->n - 1));
	mtx_lock(&g->lock);
	busy_drain_locked(s, g, 8); /* who only frees must not let the list grow without end */
	err = slab_reserve(&g->recs, 1);
	if (!err)
		err = frames_reserve_locked(g);
	if (!err && !frames_owned_locked(s, g, what->first, what->n))
		err = err_set(-EUCLEAN,
			      "blocks %llu..%llu are to be freed, but not all of them are "
			      "allocated: run fsck.holdfast",
			      (unsigned long long)what->first,
			      (unsigned long long)(what->first + what->n - 1));
	if (!err) {
		*index = slab_pop(&g->recs);
		*busy_rec(g, *index) = *what;
		ticket_hold(s, what->ticket);
		frames_hold_locked(s, g, what->first, what->n);
	}
	mtx_unlock(&g->lock);
	return err;
}

/* Ends what piece_hold() began, for a chain of records from 'index' in the group of block 'first'.
 *
 * Locking: the locks of the objects of the transaction are held, no lane. */
static void chain_end(struct space *s, uint64_t first, uint32_t index, jseq_t seq,
		      enum txn_outcome outcome)
{
	while (index) {
		struct group *g = space_group_of(s, first / HF_BLOCKS_PER_FRAME);
		struct busy_rec *r;
		uint32_t next;

		mtx_lock(&g->lock);
		r = busy_rec(g, index);
		next = r->chain;
		first = r->first + r->n;
		if (outcome == TXN_COMMITTED) {
			busy_detach_locked(s, g, index, seq);
		} else {
			frames_unhold_locked(s, g, r->first, r->n);
			busy_end_locked(s, g, index);
		}
		mtx_unlock(&g->lock);
		index = next;
	}
}

static void free_done(void *ctx, uint64_t a, uint64_t b, jseq_t seq, enum txn_outcome outcome)
{
	/* A record that may or may not be found: nobody may have the blocks until the next mount
	 * has decided. */
	if (outcome != TXN_FAILED)
		chain_end(ctx, a, (uint32_t)b, seq, outcome);
}

static int free_check_range(const struct space *s, uint64_t first, uint64_t n)
{
	uint64_t end = s->geo->end_data.v;

	if (n > 0 && first >= s->geo->first_data.v && first < end && n <= end - first)
		return 0;
	return err_set(
	    -EUCLEAN,
	    "%llu blocks from %llu on are to be freed, which no file can own: run fsck.holdfast",
	    (unsigned long long)n, (unsigned long long)first);
}

int space_free(struct space *s, struct txn *t, mblk_t first, uint64_t n, enum space_kind kind,
	       inum_t owner, fblk_t fblk)
{
	struct busy_rec what = {.owner = owner.v,
				.fblk = fblk.v,
				.kind = (uint8_t)kind,
				.state = BUSY_PENDING,
				.ticket = kind == SPACE_DATA ? txn_ticket(t) : 0};
	struct group *before = NULL;
	uint32_t head = 0, tail = 0;
	uint64_t at, end;
	int err;

	err = free_check_range(s, first.v, n);
	if (err)
		return err;
	end = first.v + n;
	for (at = first.v; at < end; at += what.n) {
		struct group *g = space_group_of(s, at / HF_BLOCKS_PER_FRAME);
		uint32_t index = 0;

		what.first = at;
		what.n = piece_blocks(g, at, end);
		err = piece_hold(s, g, &what, &index);
		if (err)
			goto undo;
		if (before)
			busy_rec(before, tail)->chain = index;
		else
			head = index;
		before = g;
		tail = index;
		what.fblk += what.n;
	}
	err = txn_defer(t, free_done, s, first.v, head);
	if (err)
		goto undo;
	txn_bits_clear(t, geo_alloc_bit(s->geo, first), n);
	return txn_error(t);
undo:
	chain_end(s, first.v, head, JSEQ(0), TXN_ABORTED);
	return err;
}
