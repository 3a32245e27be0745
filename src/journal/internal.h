/* What the files of this layer share. Nothing outside src/journal includes it. */
#ifndef HF_JOURNAL_INTERNAL_H
#define HF_JOURNAL_INTERNAL_H

#include "journal/journal.h"
#include "base/error.h"
#include "base/hash.h"

#include <pthread.h>
#include <stdatomic.h>

#define RECORD_HEAD ((uint32_t)sizeof(struct fmt_record))
static_assert(TXN_MAX_BYTES == FMT_RECORD_MAX, "");

/* ---- dirty.c: the lines that were stored to in place and are not flushed yet.
 *
 * A ring of entries, line number << 8 | (run length - 1). Whoever has claimed the lane appends and publishes 'head';
 * the checkpointer takes out and publishes 'tail'. Nothing is looked up on the committing side: a hot line appears once
 * per commit, and the checkpointer drops the repetitions. */
struct dirty {
	uint64_t *entry;
	uint64_t mask;			/* capacity - 1 */
	_Atomic uint64_t head;
	_Alignas(HF_LINE) _Atomic uint64_t tail;
};

/* A filter of lines flushed in the present round. Not exact: a lost line is flushed twice. */
#define DIRTY_SEEN_SHIFT 14
struct dirty_filter {
	uint64_t round;			/* 1..65535 */
	uint64_t seen[1u << DIRTY_SEEN_SHIFT];	/* line << 16 | round */
};

int dirty_init(struct dirty *d, uint64_t min_entries);
void dirty_free(struct dirty *d);
/* Upper bound of the entries that [off, off+len) takes. */
static inline uint64_t dirty_need(uint64_t len)
{
	return len / (256 * HF_LINE) + 2;
}
static inline uint64_t dirty_room(const struct dirty *d)
{
	uint64_t used = atomic_load_explicit(&d->head, memory_order_relaxed) -
			atomic_load_explicit(&d->tail, memory_order_acquire);

	return d->mask + 1 - used;
}
/* Appends the lines of [off, off+len) at *pos; the caller publishes *pos as head. */
static inline void dirty_add(struct dirty *d, uint64_t *pos, uint64_t off, uint64_t len)
{
	uint64_t line = off / HF_LINE, last = (off + len - 1) / HF_LINE;

	while (line <= last) {
		uint64_t run = min_u64(last - line + 1, 256);
		uint64_t e = line << 8 | (run - 1);

		/* Neighbouring words of one object: the commonest repetition, and free to see. */
		if (d->entry[(*pos - 1) & d->mask] != e || *pos == atomic_load_explicit(&d->head, memory_order_relaxed))
			d->entry[(*pos)++ & d->mask] = e;
		line += run;
	}
}
void dirty_new_round(struct dirty_filter *f);
/* Flushes (no fence) the lines of the entries from tail to head; returns 0 or the first error. *lines counts. */
int dirty_flush(struct pm *pm, const struct dirty *d, uint64_t head, struct dirty_filter *f, uint64_t *lines);

/* ---- lane.c */
struct lane {
	_Alignas(HF_LINE) _Atomic uint32_t claimed;
	/* 0, or at most the number of the transaction under way: from before it takes the number until all its changes
	 * are in place (I-JNL-1). The checkpointer reads it. */
	_Atomic uint64_t inflight;
	/* The claimant's: where the next record goes, and the number of the last record in each half. */
	uint32_t index, half;
	uint64_t off;
	uint64_t last_seq[2];
	_Atomic uint64_t commits;
	/* The number of its last record if that has data, else 0; changes when the record is durable (I-JNL-16). */
	_Atomic uint64_t open;
	struct dirty dirty;
	uint64_t ckpt_head;		/* the checkpointer's */
#ifdef HF_DEBUG_LOCKS
	uint32_t ndata;			/* what the record 'open' vouches for: nobody may have changed it */
	struct data_at {
		moff_t off;
		uint32_t len;
		uint64_t hash;
	} data[4];
#endif
};

struct journal {
	struct pm *pm;
	struct geo geo;
	struct lane *lanes;
	uint64_t half_bytes;
	bool read_only;
	_Atomic int shutdown_err;	/* 0, or why no change is taken any more */
	_Atomic uint64_t published;	/* C: durable, and everything up to it is in place */

	_Alignas(HF_LINE) _Atomic uint64_t next;	/* the next sequence number */

	_Alignas(HF_LINE) struct mtx ckpt_mtx;
	struct dirty_filter *filter;	/* under ckpt_mtx */
	struct waitq wake;
	_Atomic uint32_t kicked, stop;
	pthread_t thread;
	bool has_thread;
	_Atomic uint64_t checkpoints, inline_checkpoints, lines_flushed;
	uint64_t replayed;
};

/* Any free lane, this thread's usual one first. NULL: the volume is shut down. */
struct lane *lane_claim(struct journal *j);
bool lane_try(struct lane *l);		/* this one, if it is free */
static inline struct lane *lane_mine(const struct journal *j)
{
	return &j->lanes[journal_my_number() % j->geo.nlanes];
}
/* Is there room for a record of 'bytes' that dirties up to 'entries'? May move the lane to its other half. *kick: lane or
 * ring are half full, the checkpoint thread should run. */
bool lane_make_room(struct journal *j, struct lane *l, uint32_t bytes, uint64_t entries, bool *kick);
/* Announces the lane as in flight and takes the number. */
jseq_t lane_take_number(struct journal *j, struct lane *l);
/* Completes the header, writes the record and fences. 0: it is durable. */
int lane_write(struct journal *j, struct lane *l, jseq_t seq, void *record, uint32_t bytes);
/* Ends 'in flight' and gives the lane back. open: the record's number if it has data, else 0. */
void lane_done(struct lane *l, uint32_t bytes, uint64_t open);
void lane_release(struct lane *l);
static inline moff_t lane_off(const struct geo *g, uint32_t lane, uint32_t half)
{
	return MOFF(g->lanes_off.v + lane * g->lane_bytes + half * (g->lane_bytes / 2));
}

/* ---- apply.c: what a record says, done in place. Commit and recovery share it. */
bool apply_range_ok(const struct geo *g, uint64_t off, uint64_t len);
/* Every item of a record that was read from the media. 0 or -EUCLEAN; *entries: what apply_items() may append. */
int apply_check(const struct geo *g, const struct fmt_record *r, uint64_t *entries);
/* Cached stores only (J6). Appends the lines to d at *pos. */
void apply_items(struct pm *pm, struct dirty *d, uint64_t *pos, const uint8_t *items, uint32_t n);
/* Has the processor fetch the lines that apply_items() is going to change: they come while the record's fence waits. */
void apply_prefetch(struct pm *pm, const uint8_t *items, uint32_t n);
void apply_bits(struct pm *pm, uint64_t bit, uint64_t count, bool set);
/* Of a well-formed item: its size in the record. */
static inline uint64_t apply_item_bytes(const uint8_t *item)
{
	le64_t w[2];
	unsigned kind;

	memcpy(w, item, sizeof(w));
	kind = FMT_ITEM_KIND(le64_get(w[0]));
	if (__builtin_expect(kind < FMT_ITEM_COPY, 1))
		return 16;
	return kind == FMT_ITEM_COPY ? 16 + le64_get(w[1]) : 24;
}

/* ---- data.c: records that vouch for data (I-JNL-16) */
static inline uint64_t data_hash(const struct geo *g, const void *p, uint32_t len)
{
	return hash_bytes(p, len, g->seed);
}
#ifdef HF_DEBUG_LOCKS
/* Each data item of the record just written; and before the lane's next one: is it as it was? */
void data_remember(struct lane *l, const uint8_t *items, uint32_t n);
void data_unchanged(const struct journal *j, const struct lane *l);
#else
static inline void data_remember(struct lane *l, const uint8_t *items, uint32_t n)
{
	(void)l;
	(void)items;
	(void)n;
}
static inline void data_unchanged(const struct journal *j, const struct lane *l)
{
	(void)j;
	(void)l;
}
#endif
jopen_t lane_open_mark(const struct lane *l, uint64_t seq);
/* Is all of the data there that the record vouches for? 1 or 0; what cannot be read counts as there. settle: the same medium, to
 * make the data durable before it is believed (I-JNL-4), -EIO if it cannot be; NULL: that is not wanted. */
int data_is_there(const struct pm *pm, const struct geo *g, const struct fmt_record *r, struct pm *settle);

/* ---- checkpoint.c */
int ckpt_start(struct journal *j);
void ckpt_stop(struct journal *j);
void ckpt_kick(struct journal *j);
/* One round, with ckpt_mtx held. 0 also when C could not rise. */
int ckpt_run_locked(struct journal *j);
/* For a committer that found its lane full: one checkpoint, unless another thread's just made progress. */
int ckpt_make_room(struct journal *j);
/* Stores C in both places and makes it durable. */
int ckpt_write_c(struct pm *pm, const struct geo *g, jseq_t c);
int ckpt_read_c(const struct pm *pm, const struct geo *g, jseq_t *out);

/* ---- recover.c */
int recover_run(struct journal *j);

#endif
