/* Locks: a spin-then-futex mutex and a writer-preferring reader/writer lock, one atomic each way when there is no
 * contention. Under HF_DEBUG_LOCKS each lock has a rank and the order of docs/LOCKING.md is checked per thread.
 *
 * The locks belong to one process: after fork a child takes none of them. */
#ifndef HF_BASE_LOCK_H
#define HF_BASE_LOCK_H

#include "base/sanitize.h"
#include "base/types.h"
#include <stdatomic.h>

/* The lock order, outermost first (RULES of docs/LOCKING.md). Two locks of one rank are taken by rising 'order'. */
enum lock_rank {
	RANK_RENAME = 1,	/* the volume's, for directories that change parent */
	RANK_DIR,		/* directory locks, by inode number */
	RANK_DATA,		/* data locks, by inode number */
	RANK_LAYOUT,		/* layout locks, by inode number */
	RANK_ITABLE,		/* inode table: growth and free inode numbers */
	RANK_ORPHAN,		/* free orphan slots */
	RANK_VIEW,
	RANK_GROUP,		/* space group */
	RANK_BUSY,
	RANK_CHECKPOINT,	/* never with a lane, group or busy held */
	RANK_LANE,		/* nothing is taken after it */
	RANK_LEAF,		/* hash chains and the like: nothing is taken after it */
};

struct mtx {
	_Atomic uint32_t word;
	uint8_t rank;
	uint64_t order;
};
void mtx_init(struct mtx *m, enum lock_rank rank, uint64_t order);
static inline void mtx_lock(struct mtx *m);
static inline bool mtx_trylock(struct mtx *m);
static inline void mtx_unlock(struct mtx *m);

struct rwl {
	_Atomic uint32_t word;		/* readers or the writer's mark, readers-wait bit, writers-wait bit */
	_Atomic uint32_t wait;		/* futex of the writers: changes at each release that wakes one */
	_Atomic uint32_t seq;		/* how many writers have been: rwl_watch */
	uint8_t rank;
	uint64_t order;
};
void rwl_init(struct rwl *l, enum lock_rank rank, uint64_t order);
static inline void rwl_rdlock(struct rwl *l);	/* not recursive: a second one deadlocks behind a writer */
static inline bool rwl_tryrdlock(struct rwl *l);
static inline void rwl_rdunlock(struct rwl *l);
static inline void rwl_wrlock(struct rwl *l);
static inline bool rwl_trywrlock(struct rwl *l);
static inline void rwl_wrunlock(struct rwl *l);

/* Reading without the lock, as with Linux's seqlock: false: a writer is there. Otherwise whoever reads, by atomic loads or guarded
 * copies and believing nothing, asks afterwards whether no writer has been there since; if one has, what was read means
 * nothing. */
static inline bool rwl_watch(const struct rwl *l, uint32_t *seq);
static inline bool rwl_watched(const struct rwl *l, uint32_t seq);

/* A condition to sleep on, with a mtx: sequence-count futex. Spurious wakes happen. Waking costs one atomic when
 * nobody sleeps. */
struct waitq { _Atomic uint32_t seq; };				/* zero-initialised; bit 0: somebody sleeps */
uint32_t waitq_key(struct waitq *q);				/* read before testing the condition */
int waitq_wait(struct waitq *q, uint32_t key, uint64_t timeout_ns);	/* 0 or -ETIMEDOUT; UINT64_MAX: no limit */
void waitq_wake_all(struct waitq *q);

/* A turn given up: what this thread waits for is another one's doing, and will be looked at again. */
void lock_yield(void);
/* For whoever hands the turn from thread to thread himself (the crash explorer): called in the place of every sleep and
 * yield above. True: others ran, look again. False: this thread is none of his, and sleeps as usual. NULL: nobody. */
typedef bool lock_turn_fn(void);
void lock_set_turns(lock_turn_fn *fn);

/* How many locks this thread holds, in every build: a page fault with locks held is the program's error and must not
 * be resolved (it might need those locks). Safe in a signal handler. */
static inline uint32_t lock_depth(void);

/* ---- the uncontended paths */

extern HF_TLS uint32_t lock_depth_tls;

#ifdef HF_DEBUG_LOCKS
/* 'tried': taken by a try-lock, which cannot deadlock and so may break the order. */
void lock_debug_acquire(const void *lock, uint8_t rank, uint64_t order, bool tried);
void lock_debug_release(const void *lock);
#else
static inline void lock_debug_acquire(const void *lock, uint8_t rank, uint64_t order, bool tried)
{
	(void)lock;
	(void)rank;
	(void)order;
	(void)tried;
}
static inline void lock_debug_release(const void *lock)
{
	(void)lock;
}
#endif

static inline uint32_t lock_depth(void)
{
	return lock_depth_tls;
}

/* Counted before the lock is taken, and until after it is free: a handler that interrupts in between must not take it for
 * free to wait. */
static inline void lock_depth_up(void)
{
	lock_depth_tls++;
	atomic_signal_fence(memory_order_seq_cst);
}

static inline void lock_depth_down(void)
{
	atomic_signal_fence(memory_order_seq_cst);
	lock_depth_tls--;
}

static inline uint32_t lock_word(_Atomic uint32_t *w)
{
	return atomic_load_explicit(w, memory_order_relaxed);
}

/* Stores 'to' if the word is *seen; otherwise *seen is what it was. */
static inline bool lock_word_swap(_Atomic uint32_t *w, uint32_t *seen, uint32_t to)
{
	return atomic_compare_exchange_strong_explicit(w, seen, to, memory_order_acquire, memory_order_relaxed);
}

#define MTX_FREE   0u
#define MTX_LOCKED 1u
#define MTX_SLEPT  2u	/* locked, and somebody may sleep on it */

void mtx_lock_slow(struct mtx *m);
void mtx_wake(struct mtx *m);

static inline void mtx_lock(struct mtx *m)
{
	uint32_t expect = MTX_FREE;

	lock_debug_acquire(m, m->rank, m->order, false);
	lock_depth_up();
	if (!lock_word_swap(&m->word, &expect, MTX_LOCKED))
		mtx_lock_slow(m);
}

static inline bool mtx_trylock(struct mtx *m)
{
	uint32_t expect = MTX_FREE;

	lock_depth_up();
	if (!lock_word_swap(&m->word, &expect, MTX_LOCKED)) {
		lock_depth_down();
		return false;
	}
	lock_debug_acquire(m, m->rank, m->order, true);
	return true;
}

static inline void mtx_unlock(struct mtx *m)
{
	lock_debug_release(m);
	if (atomic_exchange_explicit(&m->word, MTX_FREE, memory_order_release) == MTX_SLEPT)
		mtx_wake(m);
	lock_depth_down();
}

#define RWL_COUNT         ((1u << 30) - 1)	/* readers, or RWL_WRITER */
#define RWL_WRITER        RWL_COUNT
#define RWL_READERS_MAX   (RWL_COUNT - 1)
#define RWL_READERS_WAIT  (1u << 30)
#define RWL_WRITERS_WAIT  (1u << 31)

void rwl_rdlock_slow(struct rwl *l);
void rwl_wrlock_slow(struct rwl *l);
void rwl_wake(struct rwl *l, uint32_t word);

static inline bool rwl_can_read(uint32_t word)
{
	return word < RWL_READERS_MAX;	/* no writer, nobody waiting, room for one more */
}

static inline void rwl_rdlock(struct rwl *l)
{
	uint32_t word = lock_word(&l->word);

	lock_debug_acquire(l, l->rank, l->order, false);
	lock_depth_up();
	if (!rwl_can_read(word) || !lock_word_swap(&l->word, &word, word + 1))
		rwl_rdlock_slow(l);
}

static inline bool rwl_tryrdlock(struct rwl *l)
{
	uint32_t word = lock_word(&l->word);

	lock_depth_up();
	while (rwl_can_read(word)) {
		if (lock_word_swap(&l->word, &word, word + 1)) {
			lock_debug_acquire(l, l->rank, l->order, true);
			return true;
		}
	}
	lock_depth_down();
	return false;
}

static inline void rwl_rdunlock(struct rwl *l)
{
	uint32_t word;

	lock_debug_release(l);
	word = atomic_fetch_sub_explicit(&l->word, 1, memory_order_release) - 1;
	if ((word & ~RWL_READERS_WAIT) == RWL_WRITERS_WAIT)
		rwl_wake(l, word);
	lock_depth_down();
}

static inline void rwl_wrlock(struct rwl *l)
{
	uint32_t expect = 0;

	lock_debug_acquire(l, l->rank, l->order, false);
	lock_depth_up();
	if (!lock_word_swap(&l->word, &expect, RWL_WRITER))
		rwl_wrlock_slow(l);
}

static inline bool rwl_trywrlock(struct rwl *l)
{
	uint32_t word = lock_word(&l->word);

	lock_depth_up();
	while ((word & RWL_COUNT) == 0) {
		if (lock_word_swap(&l->word, &word, word | RWL_WRITER)) {
			lock_debug_acquire(l, l->rank, l->order, true);
			return true;
		}
	}
	lock_depth_down();
	return false;
}

/* The count before the lock is free: whoever finds it free after he has read finds the count changed, too. Before it, on the
 * way in, the lock's own word does: being a locked instruction, it is seen before what the writer then stores, also past
 * the caches. */
static inline void rwl_wrunlock(struct rwl *l)
{
	uint32_t word;

	lock_debug_release(l);
	atomic_store_explicit(&l->seq, lock_word(&l->seq) + 1, memory_order_relaxed);
	word = atomic_fetch_sub_explicit(&l->word, RWL_WRITER, memory_order_release) - RWL_WRITER;
	if (word)
		rwl_wake(l, word);
	lock_depth_down();
}

/* Loads before it, of whatever kind, are done before those behind it. ThreadSanitizer knows no fences: there the loads that
 * are atomic order themselves. */
static inline void lock_fence_loads(void)
{
#if !HF_TSAN
	atomic_thread_fence(memory_order_acquire);
#endif
}

static inline bool rwl_watch(const struct rwl *l, uint32_t *seq)
{
	*seq = atomic_load_explicit(&l->seq, memory_order_acquire);
	return (atomic_load_explicit(&l->word, memory_order_acquire) & RWL_COUNT) != RWL_WRITER;
}

static inline bool rwl_watched(const struct rwl *l, uint32_t seq)
{
	uint32_t word;

	lock_fence_loads();
	word = atomic_load_explicit(&l->word, memory_order_acquire);
	return (word & RWL_COUNT) != RWL_WRITER && atomic_load_explicit(&l->seq, memory_order_acquire) == seq;
}

#endif
