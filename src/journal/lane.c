/* Lanes: where records go. A lane has two halves; records follow each other from the start of a
 * half and never cross its end, and a half is started again only when C has passed its last record
 * (I-JNL-7). */
#include "journal/internal.h"


/* A small number per thread, so that a thread comes back to the lane (and the pool slot) whose
 * lines it has. */
static HF_TLS uint32_t thread_number;

uint32_t journal_my_number(void)
{
	static _Atomic uint32_t last;

	if (thread_number == 0)
		thread_number = atomic_fetch_add_explicit(&last, 1, memory_order_relaxed) + 1;
	return thread_number;
}

void journal_thread_number(uint32_t n)
{
	thread_number = n;
}

bool lane_try(struct lane *l)
{
	return atomic_load_explicit(&l->claimed, memory_order_relaxed) == 0 &&
	       atomic_exchange_explicit(&l->claimed, 1, memory_order_acquire) == 0;
}

struct lane *lane_claim(struct journal *j)
{
	uint32_t n = j->geo.nlanes, first = journal_my_number() % n;

	for (unsigned tries = 0;; tries++) {
		/* A lane whose fence failed stays claimed for good; so look whether it is worth
		 * waiting. */
		if (atomic_load_explicit(&j->shutdown_err, memory_order_relaxed) != 0)
			return NULL;
		for (uint32_t i = 0; i < n; i++) {
			struct lane *l = &j->lanes[(first + i) % n];

			if (lane_try(l))
				return l;
		}
		if (tries > 16)
			lock_yield();
	}
}

void lane_release(struct lane *l)
{
	atomic_store_explicit(&l->claimed, 0, memory_order_release);
}

bool lane_make_room(struct journal *j, struct lane *l, uint32_t bytes, uint64_t entries, bool *kick)
{
	uint64_t left = dirty_room(&l->dirty);

	if (left < entries)
		return false;
	*kick = left <= l->dirty.mask / 2;
	if (l->off + bytes <= j->half_bytes)
		return true;
	/* I-JNL-5: C as seen here is durable in both places, so no record in the other half can be
	 * replayed. */
	if (l->last_seq[l->half ^ 1] > atomic_load_explicit(&j->published, memory_order_acquire))
		return false;
	l->half ^= 1;
	l->off = 0;
	*kick = true;
	return true;
}

/* I-JNL-1: announced before the number is taken. The checkpointer reads 'next' first and the lanes
 * after: a number that it has seen taken is then seen in flight, until it is applied. For that the
 * announcement needs no fence of its own: taking the number releases it, to whoever reads this
 * number or, as all others are taken by read-modify-write, a later one. */
jseq_t lane_take_number(struct journal *j, struct lane *l)
{
	uint64_t seq;

	data_unchanged(j, l);
	atomic_store_explicit(&l->inflight, atomic_load_explicit(&j->next, memory_order_relaxed),
			      memory_order_relaxed);
	seq = atomic_fetch_add_explicit(&j->next, 1, memory_order_acq_rel);
	l->last_seq[l->half] = seq;
	return JSEQ(seq);
}

/* Durability: on return 0 the record is on the media, with all that was fenced before and the data that it vouches for, which
 * this thread has stored since it took the number.
 * Crash: some of its lines are; the checksum then fails and recovery takes it as never written. All
 * locks and atomics of the commit stand before the first store: a locked instruction would drain
 * non-temporal stores like a fence. */
int lane_write(struct journal *j, struct lane *l, jseq_t seq, void *record, uint32_t bytes)
{
	struct fmt_record *r = record;
	moff_t at = moff_add(lane_off(&j->geo, l->index, l->half), l->off);

	r->seq = le64_of(seq.v);
	r->bytes = le32_of(bytes);
	r->csum = le64_of(hash_bytes((const uint8_t *)record + 8, bytes - 8,
				     fmt_record_seed(&j->geo, l->index, l->half, l->off)));
	pm_copy_nt(j->pm, at, record, bytes);
	apply_prefetch(j->pm, (const uint8_t *)record + RECORD_HEAD, le32_get(r->items));
	return pm_fence(j->pm);
}

void lane_done(struct lane *l, uint32_t bytes, uint64_t open)
{
	l->off += bytes;
	atomic_store_explicit(&l->commits,
			      atomic_load_explicit(&l->commits, memory_order_relaxed) + 1,
			      memory_order_relaxed);
	if (open != atomic_load_explicit(&l->open, memory_order_relaxed))
		atomic_store_explicit(&l->open, open, memory_order_release);
	atomic_store_explicit(&l->inflight, 0, memory_order_release);
	lane_release(l);
}
