#include "base/lock.h"
#include "base/error.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* About 1 us: longer than any critical section that does not sleep, shorter than a sleep and a
 * wake. */
#define SPIN_ROUNDS 100

HF_TLS uint32_t lock_depth_tls;

static inline void cpu_relax(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("isb" ::: "memory");
#endif
}

static lock_turn_fn *_Atomic turns;

void lock_set_turns(lock_turn_fn *fn)
{
	atomic_store(&turns, fn);
}

static bool others_ran(void)
{
	lock_turn_fn *fn = atomic_load_explicit(&turns, memory_order_relaxed);

	return fn && fn();
}

void lock_yield(void)
{
	if (!others_ran())
		sched_yield();
}

/* Sleeps while *w == value. 0, or the negative errno of the call (-EAGAIN, -EINTR, -ETIMEDOUT). */
static int futex_wait(_Atomic uint32_t *w, uint32_t value, const struct timespec *timeout)
{
	long rc;

	if (others_ran())
		return 0;
	rc = syscall(SYS_futex, w, FUTEX_WAIT_PRIVATE, value, timeout, NULL, 0);
	return rc < 0 ? -errno : 0;
}

/* Returns how many were woken. */
static long futex_wake(_Atomic uint32_t *w, int n)
{
	return syscall(SYS_futex, w, FUTEX_WAKE_PRIVATE, n, NULL, NULL, 0);
}

/* ---- mutex: free, locked, locked and slept on (Drepper, "Futexes are tricky") */

void mtx_init(struct mtx *m, enum lock_rank rank, uint64_t order)
{
	atomic_init(&m->word, MTX_FREE);
	m->rank = (uint8_t)rank;
	m->order = order;
}

void mtx_lock_slow(struct mtx *m)
{
	for (int i = 0; i < SPIN_ROUNDS; i++) {
		uint32_t word = lock_word(&m->word);

		if (word == MTX_SLEPT)
			break; /* others sleep already: the wait is not a short one */
		if (word == MTX_FREE && lock_word_swap(&m->word, &word, MTX_LOCKED))
			return;
		cpu_relax();
	}
	/* Whoever slept takes it as 'slept on': others may sleep still. */
	while (atomic_exchange_explicit(&m->word, MTX_SLEPT, memory_order_acquire) != MTX_FREE)
		futex_wait(&m->word, MTX_SLEPT, NULL);
}

void mtx_wake(struct mtx *m)
{
	futex_wake(&m->word, 1);
}

/* ---- reader/writer lock.
 *
 * word: the count (0 free, RWL_WRITER, or readers), a bit for sleeping readers, a bit for sleeping
 * writers. Readers sleep on the word itself, writers on 'wait'. With a wait bit set no new reader
 * gets in, so writers are not starved. Readers sleep only behind a writer that holds or waits: a
 * reader that leaves has only writers to wake. The scheme is the one of Rust's standard library
 * (futex_rwlock), which has been checked by model checkers.
 */

void rwl_init(struct rwl *l, enum lock_rank rank, uint64_t order)
{
	atomic_init(&l->word, 0);
	atomic_init(&l->wait, 0);
	atomic_init(&l->seq, 0);
	l->rank = (uint8_t)rank;
	l->order = order;
}

/* Spins while a writer holds the lock and nobody sleeps. */
static uint32_t rwl_spin_read(struct rwl *l)
{
	uint32_t word = lock_word(&l->word);

	for (int i = 0; i < SPIN_ROUNDS && word == RWL_WRITER; i++) {
		cpu_relax();
		word = lock_word(&l->word);
	}
	return word;
}

/* Spins while the lock is held and no writer sleeps. */
static uint32_t rwl_spin_write(struct rwl *l)
{
	uint32_t word = lock_word(&l->word);

	for (int i = 0; i < SPIN_ROUNDS && (word & RWL_COUNT) && !(word & RWL_WRITERS_WAIT); i++) {
		cpu_relax();
		word = lock_word(&l->word);
	}
	return word;
}

void rwl_rdlock_slow(struct rwl *l)
{
	uint32_t word = rwl_spin_read(l);

	for (;;) {
		if (rwl_can_read(word)) {
			if (lock_word_swap(&l->word, &word, word + 1))
				return;
			continue;
		}
		HF_ASSERT((word & RWL_COUNT) != RWL_READERS_MAX);
		if (!(word & RWL_READERS_WAIT)) {
			if (!lock_word_swap(&l->word, &word, word | RWL_READERS_WAIT))
				continue;
			word |= RWL_READERS_WAIT;
		}
		futex_wait(&l->word, word, NULL);
		word = rwl_spin_read(l);
	}
}

void rwl_wrlock_slow(struct rwl *l)
{
	uint32_t word = rwl_spin_write(l), others = 0;

	for (;;) {
		uint32_t seq;

		if (!(word & RWL_COUNT)) {
			if (lock_word_swap(&l->word, &word, word | RWL_WRITER | others))
				return;
			continue;
		}
		if (!(word & RWL_WRITERS_WAIT) &&
		    !lock_word_swap(&l->word, &word, word | RWL_WRITERS_WAIT))
			continue;
		/* From now on the bit may stand for other writers too: keep it when taking the
		 * lock. */
		others = RWL_WRITERS_WAIT;
		seq = atomic_load_explicit(&l->wait, memory_order_acquire);
		word = lock_word(&l->word);
		if (!(word & RWL_COUNT) || !(word & RWL_WRITERS_WAIT))
			continue;
		futex_wait(&l->wait, seq, NULL);
		word = rwl_spin_write(l);
	}
}

static bool rwl_wake_writer(struct rwl *l)
{
	atomic_fetch_add_explicit(&l->wait, 1, memory_order_release);
	return futex_wake(&l->wait, 1) > 0;
}

/* The lock was left with 'word': a wait bit or both, no count. Whoever takes it meanwhile will wake
 * the rest. */
void rwl_wake(struct rwl *l, uint32_t word)
{
	if (word == RWL_WRITERS_WAIT) {
		if (atomic_compare_exchange_strong(&l->word, &word, 0)) {
			rwl_wake_writer(l);
			return;
		}
	}
	if (word == (RWL_WRITERS_WAIT | RWL_READERS_WAIT)) {
		if (!atomic_compare_exchange_strong(&l->word, &word, RWL_READERS_WAIT))
			return;
		if (rwl_wake_writer(l))
			return;
		word = RWL_READERS_WAIT; /* no writer slept yet: the readers' turn */
	}
	if (word == RWL_READERS_WAIT && atomic_compare_exchange_strong(&l->word, &word, 0))
		futex_wake(&l->word, INT_MAX);
}

/* ---- wait queue. seq counts by 2; bit 0 says that somebody sleeps, and the wake clears it. */

uint32_t waitq_key(struct waitq *q)
{
	return atomic_load_explicit(&q->seq, memory_order_acquire) & ~1u;
}

int waitq_wait(struct waitq *q, uint32_t key, uint64_t timeout_ns)
{
	struct timespec ts, *timeout = NULL;
	uint32_t seq = atomic_load_explicit(&q->seq, memory_order_acquire);

	if (timeout_ns != UINT64_MAX) {
		ts.tv_sec = (time_t)(timeout_ns / 1000000000u);
		ts.tv_nsec = (long)(timeout_ns % 1000000000u);
		timeout = &ts;
	}
	if ((seq & ~1u) != key)
		return 0;
	/* A failed exchange means that the sequence moved or another sleeper set the bit: the futex
	 * call sees which. */
	if (!(seq & 1u))
		atomic_compare_exchange_strong(&q->seq, &seq, key | 1u);
	if (futex_wait(&q->seq, key | 1u, timeout) == -ETIMEDOUT)
		return -ETIMEDOUT;
	/* Pairs with the wake's release: what it announced is seen. */
	atomic_load_explicit(&q->seq, memory_order_acquire);
	return 0;
}

void waitq_wake_all(struct waitq *q)
{
	uint32_t seq = lock_word(&q->seq);

	while (!atomic_compare_exchange_weak_explicit(&q->seq, &seq, (seq + 2) & ~1u,
						      memory_order_acq_rel, memory_order_relaxed))
		;
	if (seq & 1u)
		futex_wake(&q->seq, INT_MAX);
}

/* ---- the order check: what this thread holds, in the order taken */

#ifdef HF_DEBUG_LOCKS
#define HELD_MAX 64

struct held {
	const void *lock;
	uint64_t order;
	uint8_t rank;
};
static _Thread_local struct held held[HELD_MAX];
static _Thread_local unsigned int held_count;

void lock_debug_acquire(const void *lock, uint8_t rank, uint64_t order, bool tried)
{
	for (unsigned int i = 0; i < held_count && !tried; i++) {
		bool lock_taken_twice = held[i].lock == lock;
		bool rank_falls = rank < held[i].rank;
		bool order_does_not_rise = rank == held[i].rank && order <= held[i].order;

		HF_ASSERT(!lock_taken_twice);
		HF_ASSERT(!rank_falls);
		HF_ASSERT(!order_does_not_rise);
	}
	HF_ASSERT(held_count < HELD_MAX);
	held[held_count++] = (struct held){.lock = lock, .order = order, .rank = rank};
}

void lock_debug_release(const void *lock)
{
	unsigned int i = held_count;

	while (i > 0 && held[i - 1].lock != lock)
		i--;
	HF_ASSERT(i > 0); /* not held by this thread */
	for (; i < held_count; i++)
		held[i - 1] = held[i];
	held_count--;
}
#endif
