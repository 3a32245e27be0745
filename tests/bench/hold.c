/* How long each operation takes and holds which locks, in the library as it is but for its locks,
 * which say when they are taken. */
#include "sharing.h"
#include "base/lock.h"
#include "media/pm.h"
#include <stdio.h>
#include <sys/mman.h>
#include <time.h>

#define HELD 32u

static _Thread_local struct {
	struct {
		const void *lock;
		unsigned int rank;
		uint64_t begun;
	} held[HELD];
	unsigned int n;
} self;
static uint64_t count[SHARING_RANKS], held_ticks[SHARING_RANKS], nested[SHARING_RANKS];
static double tick_ns, pair_ns, inside_ns, clock_ns;
/* Each other operation is timed as a whole, and its locks are left alone. */
static _Thread_local bool on;
static uint64_t ops_begun, watched;

static uint64_t ticks(void)
{
#if defined(__x86_64__)
	return __builtin_ia32_rdtsc();
#else
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
#endif
}

static double now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void add(const void *lock, unsigned int rank)
{
	if (!on)
		return;
	for (unsigned int i = 0; i < self.n; i++)
		nested[self.held[i].rank]++;
	if (self.n < HELD) {
		self.held[self.n].lock = lock;
		self.held[self.n].rank = rank;
		self.held[self.n++].begun = ticks();
	}
}

static void drop(const void *lock, bool exclusive)
{
	uint64_t now = on ? ticks() : 0;

	for (unsigned int i = self.n; i > 0; i--) {
		if (self.held[i - 1].lock != lock)
			continue;
		if (exclusive) {
			held_ticks[self.held[i - 1].rank] += now - self.held[i - 1].begun;
			count[self.held[i - 1].rank]++;
		}
		for (; i < self.n; i++)
			self.held[i - 1] = self.held[i];
		self.n--;
		return;
	}
}

/* The order is not checked here: that is another build's. */
void __wrap_lock_debug_acquire(const void *lock, uint8_t rank, uint64_t order, bool tried);
void __wrap_lock_debug_acquire(const void *lock, uint8_t rank, uint64_t order, bool tried)
{
	(void)order;
	(void)tried;
	add(lock, rank);
}

void __wrap_lock_debug_release(const void *lock);
void __wrap_lock_debug_release(const void *lock)
{
	unsigned int rank = 0;

	for (unsigned int i = 0; i < self.n; i++)
		rank = self.held[i].lock == lock ? self.held[i].rank : rank;
	drop(lock, !sharing_rank_rw(rank) ||
		       (lock_word((_Atomic uint32_t *)(uintptr_t)lock) & RWL_COUNT) == RWL_WRITER);
}

struct journal;
struct lane;
struct lane *__real_lane_claim(struct journal *j);
struct lane *__wrap_lane_claim(struct journal *j);
struct lane *__wrap_lane_claim(struct journal *j)
{
	struct lane *l = __real_lane_claim(j);

	add(l, SHARING_LANE);
	return l;
}
void __real_lane_release(struct lane *l);
void __wrap_lane_release(struct lane *l);
void __wrap_lane_release(struct lane *l)
{
	drop(l, true);
	__real_lane_release(l);
}
void __real_lane_done(struct lane *l, uint32_t bytes);
void __wrap_lane_done(struct lane *l, uint32_t bytes);
void __wrap_lane_done(struct lane *l, uint32_t bytes)
{
	__real_lane_done(l, bytes);
	drop(l, true);
}

void sharing_attach(struct pm *pm)
{
	/* so that no page is touched for the first time */
	madvise(pm->base, pm->size, MADV_POPULATE_WRITE);
}

#define TRIES  5000u
#define ROUNDS 20u

static void least(double *v, double x)
{
	if (*v == 0 || x < *v)
		*v = x;
}

static void calibrate_once(void)
{
	struct mtx m = {0};
	uint64_t tick = ticks();
	double t0 = now_ns(), t;

	for (unsigned int i = 0; i < TRIES; i++)
		now_ns();
	t = now_ns() - t0;
	tick_ns = t / (double)(ticks() - tick);
	least(&clock_ns, t / TRIES);
	sharing_reset();
	on = true;
	t0 = now_ns();
	for (unsigned int i = 0; i < TRIES; i++) {
		add(&m, 1);
		drop(&m, true);
	}
	least(&pair_ns, (now_ns() - t0) / TRIES);
	least(&inside_ns, (double)held_ticks[1] * tick_ns / TRIES);
}

/* By the quietest of some rounds. */
void sharing_calibrate(void)
{
	for (unsigned int i = 0; i < ROUNDS; i++)
		calibrate_once();
	sharing_reset();
}

bool sharing_begin(unsigned int thread)
{
	(void)thread;
	on = ops_begun++ % 2;
	watched += on;
	return !on;
}

void sharing_end(void)
{
	on = false;
}

void sharing_reset(void)
{
	for (unsigned int i = 0; i < SHARING_RANKS; i++)
		count[i] = held_ticks[i] = nested[i] = 0;
	ops_begun = watched = 0;
	on = false;
}

static double not_below_0(double v)
{
	return v > 0 ? v : 0;
}

/* What watching costs is taken off. */
void sharing_report(const char *op, const char *scope, double ops, double ns)
{
	const char *comma = "";
	double seen = watched ? (double)watched : 1;

	printf("{\"op\": \"%s\", \"scope\": \"%s\", \"ns\": %.1f, \"held\": {", op, scope,
	       not_below_0(ns / (ops - seen) - clock_ns));
	for (unsigned int i = 0; i < SHARING_RANKS; i++) {
		double held = (double)held_ticks[i] * tick_ns - (double)count[i] * inside_ns -
			      (double)nested[i] * pair_ns;

		if (!count[i])
			continue;
		printf("%s\"%s\": %.1f", comma, sharing_rank_names[i], not_below_0(held / seen));
		comma = ", ";
	}
	printf("}, \"exclusive\": {");
	comma = "";
	for (unsigned int i = 0; i < SHARING_RANKS; i++) {
		if (!count[i])
			continue;
		printf("%s\"%s\": %.2f", comma, sharing_rank_names[i], (double)count[i] / seen);
		comma = ", ";
	}
	printf("}}\n");
}
