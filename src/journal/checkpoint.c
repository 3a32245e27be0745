/* The checkpoint: C rises, and what lies below it is in place on the media. */
#include "journal/internal.h"

#include <signal.h>

/* Durability: C is on the media, in both copies.
 * Crash: either copy may have the new value; recovery takes the larger. The caller has made
 * everything up to C durable in place, so both values are true. */
int ckpt_write_c(struct pm *pm, const struct geo *g, jseq_t c)
{
	uint64_t raw = fmt_ckpt_encode(g, c);
	moff_t at[2] = {mblk_to_moff(MBLK(FMT_BLK_CKPT0)), mblk_to_moff(MBLK(FMT_BLK_CKPT1))};
	int err = 0;

	for (int i = 0; i < 2 && !err; i++) {
		pm_store64(pm, at[i], raw);
		err = pm_flush(pm, at[i], 8);
	}
	return err ? err : pm_fence(pm);
}

int ckpt_read_c(const struct pm *pm, const struct geo *g, jseq_t *out)
{
	jseq_t best = JSEQ(0);
	bool found = false;

	for (unsigned i = 0; i < 2; i++) {
		le64_t raw;
		jseq_t c;

		if (pm_guarded_read(pm, &raw, mblk_to_moff(MBLK(FMT_BLK_CKPT0 + i)), sizeof(raw)) !=
		    0)
			continue;
		if (!fmt_ckpt_decode(g, le64_get(raw), &c))
			continue;
		found = true;
		if (c.v > best.v)
			best = c;
	}
	if (!found)
		return err_set(-EBADMSG,
			       "journal: both copies of the checkpoint number are damaged "
			       "(run fsck.holdfast)");
	*out = best;
	return 0;
}

/* The largest number below which nothing is in flight (I-JNL-1): 'next' is read before the lanes.
 */
static uint64_t choose_c(struct journal *j)
{
	uint64_t c = atomic_load(&j->next) - 1;

	for (uint32_t i = 0; i < j->geo.nlanes; i++) {
		uint64_t v = atomic_load(&j->lanes[i].inflight);

		if (v != 0 && v - 1 < c)
			c = v - 1;
	}
	return c;
}

/* I-JNL-12: all heads are read before the first flush. A line that several lanes dirtied is flushed
 * once; an entry made after that flush must not leave its ring in this round. */
static int flush_lanes(struct journal *j)
{
	uint64_t lines = 0;
	int err = 0;

	for (uint32_t i = 0; i < j->geo.nlanes; i++)
		j->lanes[i].ckpt_head =
		    atomic_load_explicit(&j->lanes[i].dirty.head, memory_order_acquire);
	dirty_new_round(j->filter);
	for (uint32_t i = 0; i < j->geo.nlanes && !err; i++)
		err = dirty_flush(j->pm, &j->lanes[i].dirty, j->lanes[i].ckpt_head, j->filter,
				  &lines);
	atomic_fetch_add_explicit(&j->lines_flushed, lines, memory_order_relaxed);
	return err ? err : pm_fence(j->pm);
}

/* Durability: everything up to the new C is in place, and C says so.
 * Crash: before C's fence recovery finds the old or the new C, and the lanes still hold every
 * record above the old one: nothing below is reused until 'published' has moved, which is after
 * that fence (I-JNL-5). Locking: ckpt_mtx held; takes nothing else and waits for nobody. */
int ckpt_run_locked(struct journal *j)
{
	uint64_t c;
	int err;

	if (journal_state(j) != 0)
		return -ESHUTDOWN;
	c = choose_c(j);
	if (c <= atomic_load_explicit(&j->published, memory_order_relaxed))
		return 0;
	/* After C was chosen: who is not in flight any more has published its lines (I-JNL-12). */
	err = flush_lanes(j);
	/* I-JNL-10: a flush that failed anywhere may have been about these lines: then C stays
	 * where it is for good. */
	if (!err && journal_state(j) != 0)
		return -ESHUTDOWN;
	if (!err)
		err = ckpt_write_c(j->pm, &j->geo, JSEQ(c));
	if (err) {
		journal_shutdown(j, err);
		return err_set(-EIO,
			       "checkpoint: flushing failed; the volume takes no more changes");
	}
	atomic_store_explicit(&j->published, c, memory_order_release);
	for (uint32_t i = 0; i < j->geo.nlanes; i++) {
		struct lane *l = &j->lanes[i];

		atomic_store_explicit(&l->dirty.tail, l->ckpt_head, memory_order_release);
	}
	atomic_fetch_add_explicit(&j->checkpoints, 1, memory_order_relaxed);
	return 0;
}

int ckpt_make_room(struct journal *j)
{
	uint64_t before = atomic_load_explicit(&j->published, memory_order_relaxed);
	int err = 0;

	mtx_lock(&j->ckpt_mtx);
	if (atomic_load_explicit(&j->published, memory_order_relaxed) == before) {
		err = ckpt_run_locked(j);
		atomic_fetch_add_explicit(&j->inline_checkpoints, 1, memory_order_relaxed);
	}
	mtx_unlock(&j->ckpt_mtx);
	/* Nothing gained: an older number is still in flight on another CPU, or its thread was put
	 * aside. */
	if (!err && atomic_load_explicit(&j->published, memory_order_relaxed) == before)
		lock_yield();
	return err;
}

int journal_checkpoint(struct journal *j)
{
	uint64_t want = atomic_load(&j->next) - 1;

	for (;;) {
		int err;

		if (journal_state(j) != 0)
			return journal_refuse(j);
		if (atomic_load_explicit(&j->published, memory_order_acquire) >= want)
			return 0;
		mtx_lock(&j->ckpt_mtx);
		err = ckpt_run_locked(j);
		mtx_unlock(&j->ckpt_mtx);
		if (err)
			return err;
		/* Who is in flight holds a lane and waits for nothing; it will be done soon. */
		if (atomic_load_explicit(&j->published, memory_order_acquire) < want)
			lock_yield();
	}
}

/* ---- the thread */

static void *ckpt_main(void *arg)
{
	struct journal *j = arg;

	for (;;) {
		uint32_t key = waitq_key(&j->wake);

		if (atomic_load(&j->stop) != 0)
			return NULL;
		if (atomic_exchange(&j->kicked, 0) == 0) {
			waitq_wait(&j->wake, key, UINT64_MAX);
			continue;
		}
		mtx_lock(&j->ckpt_mtx);
		ckpt_run_locked(j);
		mtx_unlock(&j->ckpt_mtx);
	}
}

int ckpt_start(struct journal *j)
{
	sigset_t all, old;
	int err;

	/* The program's signals are not for this thread. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = pthread_create(&j->thread, NULL, ckpt_main, j);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (err)
		return err_set(-err, "journal: no checkpoint thread: %s", strerror(err));
	j->has_thread = true;
	return 0;
}

void ckpt_stop(struct journal *j)
{
	if (!j->has_thread)
		return;
	atomic_store(&j->stop, 1);
	waitq_wake_all(&j->wake);
	pthread_join(j->thread, NULL);
	j->has_thread = false;
}

void ckpt_kick(struct journal *j)
{
	if (atomic_load_explicit(&j->kicked, memory_order_relaxed) != 0)
		return;
	atomic_store(&j->kicked, 1);
	waitq_wake_all(&j->wake);
}
