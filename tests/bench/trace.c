/* Sees each load and store of the library, by the functions that code compiled with
 * -fsanitize=thread calls, and keeps book as a cache would: who has a copy of which line. A line
 * moves when a thread reads one that others have and it has not, or writes one that others have.
 * Caches are as large as need be; lines that no other thread has are not counted, however cold. */
#include "sharing.h"
#include "base/lock.h"
#include "media/pm.h"
#include "system/rng.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define LINES	   (1u << 21)
#define SITES	   4096u
#define HELD	   32u
#define LOCKS	   (1u << 17)
#define BACKGROUND 63u /* whoever the library itself has started */

struct line {
	uint64_t key; /* address / 64; 0: none */
	uint64_t holders;
	uint64_t written, moved; /* the last operation that wrote it, for which it moved */
	uint32_t moves, site;	 /* how often, and where last */
};
struct site {
	const void *pc, *caller; /* of the function that pc is in */
	unsigned int under;	 /* the rank of the lock under which it moves; 0: none */
	const void *lock_pc;	 /* and where that was taken */
	uint64_t moves, hottest; /* of the line that moved most */
};
struct held {
	const void *lock, *pc;
	uint64_t order;
	unsigned int rank;
	bool moved;
};

/* What a lock is of, for its memory may become another object's: its address and order. */
struct owner {
	uint64_t key;
	uint64_t id;	/* who had it last */
	uint64_t waits; /* how often it was another's, exclusive, and not under another such lock */
	const void *pc;
	unsigned int rank;
};

static struct line lines[LINES];
static struct owner owners[LOCKS];
static struct site sites[SITES];
static uint64_t nlines, op_number, atomics, written_media, written_memory, moves_background;
static uint64_t locks[SHARING_RANKS], moved_locks[SHARING_RANKS];
static const uint8_t *media;
static uint64_t media_bytes;
static _Atomic uint32_t busy;

static _Thread_local struct {
	bool ours, on, inside;
	unsigned int id;
	uint64_t stack, stack_end;
	struct held held[HELD];
	unsigned int nheld;
} self;

static void enter(void)
{
	self.inside = true;
	while (atomic_exchange(&busy, 1))
		;
}

static void leave(void)
{
	atomic_store(&busy, 0);
	self.inside = false;
}

/* Threads of the benchmark are watched inside operations, the library's own always. */
static bool watched(void)
{
	return (self.on || !self.ours) && !self.inside && media;
}

static unsigned int my_id(void)
{
	return self.ours ? self.id : BACKGROUND;
}

static struct line *line_of(uint64_t key)
{
	uint64_t i = key * 0x9e3779b97f4a7c15ull >> 43;

	while (lines[i].key != key) {
		if (!lines[i].key) {
			if (++nlines > LINES / 4 * 3) {
				fprintf(stderr, "sharing: too many lines; fewer --ops\n");
				exit(1);
			}
			lines[i].key = key;
			break;
		}
		i = (i + 1) % LINES;
	}
	return &lines[i];
}

static bool exclusive(const struct held *h)
{
	return !sharing_rank_rw(h->rank) ||
	       (lock_word((_Atomic uint32_t *)(uintptr_t)h->lock) & RWL_COUNT) == RWL_WRITER;
}

/* The outermost exclusive lock that another thread had last: what happens under it does not happen
 * at once. A reader's lock is only the line that it is in. NULL: none. */
static const struct held *under(uint64_t key)
{
	for (unsigned int i = 0; i < self.nheld; i++) {
		const struct held *h = &self.held[i];

		if (h->moved && (exclusive(h) || (uintptr_t)h->lock / 64 == key))
			return h;
	}
	return NULL;
}

static struct site *site_of(const void *pc, const void *caller, const struct held *h)
{
	const void *lock_pc = h ? h->pc : NULL;
	unsigned int i =
	    (unsigned int)rng_mix((uintptr_t)pc * 31 + (uintptr_t)lock_pc + (uintptr_t)caller * 7) %
	    SITES;

	while (sites[i].pc &&
	       (sites[i].pc != pc || sites[i].lock_pc != lock_pc || sites[i].caller != caller))
		i = (i + 1) % SITES;
	sites[i].pc = pc;
	sites[i].caller = caller;
	sites[i].lock_pc = lock_pc;
	sites[i].under = h ? h->rank : 0;
	return &sites[i];
}

/* Once for each operation, whether it is read and then written or not. */
static void moved(struct line *l, const void *pc, const void *caller)
{
	struct site *s;

	if (!self.ours)
		moves_background++;
	if (!self.ours || l->moved == op_number)
		return;
	s = site_of(pc, caller, under(l->key));
	s->moves++;
	l->moved = op_number;
	l->moves++;
	l->site = (uint32_t)(s - sites);
}

static struct owner *owner_of(const void *lock, uint64_t order)
{
	uint64_t key = rng_mix((uintptr_t)lock ^ order << 17) | 1, i = key % LOCKS;

	while (owners[i].key && owners[i].key != key)
		i = (i + 1) % LOCKS;
	return &owners[i];
}

/* Did another one have this lock last? */
static bool lock_was_others(const void *lock, uint64_t order)
{
	struct owner *o = owner_of(lock, order);
	bool others = o->key && o->id != my_id();

	o->key = rng_mix((uintptr_t)lock ^ order << 17) | 1;
	o->id = my_id();
	return others;
}

/* Its line may have been read already when it is taken: that is the lock's doing, too. */
static void lock_line(const struct held *h)
{
	struct line *l = line_of((uintptr_t)h->lock / 64);
	struct site *s = &sites[l->site];

	if (l->moved != op_number || s->under)
		return;
	s->moves--;
	s = site_of(s->pc, s->caller, h);
	s->moves++;
	l->site = (uint32_t)(s - sites);
}

static void touch(uint64_t key, bool write, bool evict, const void *pc, const void *caller)
{
	uint64_t me = 1ull << my_id();
	struct line *l = line_of(key);

	if (write ? (l->holders & ~me) != 0 : l->holders && !(l->holders & me))
		moved(l, pc, caller);
	l->holders = write ? me : l->holders | me;
	if (evict)
		l->holders = 0;
	if (!write || !self.ours || l->written == op_number)
		return;
	l->written = op_number;
	if (key * 64 - (uintptr_t)media < media_bytes)
		written_media++;
	else
		written_memory++;
}

static void stack_find(void)
{
	pthread_attr_t attr;
	size_t size = 0;
	void *at = NULL;

	self.inside = true;
	if (pthread_getattr_np(pthread_self(), &attr) == 0) {
		pthread_attr_getstack(&attr, &at, &size);
		pthread_attr_destroy(&attr);
	}
	self.stack = (uintptr_t)at;
	self.stack_end = (uintptr_t)at + size;
	self.inside = false;
}

static void access_(const volatile void *addr, uint64_t len, bool write, bool evict, const void *pc,
		    const void *caller)
{
	uint64_t at = (uintptr_t)addr;

	if (!watched() || !len)
		return;
	if (!self.stack_end)
		stack_find();
	if (at - self.stack < self.stack_end - self.stack)
		return;
	enter();
	for (uint64_t key = at / 64; key <= (at + len - 1) / 64; key++)
		touch(key, write, evict, pc, caller);
	leave();
}

static void atomic_rmw(const volatile void *addr, uint64_t len, const void *pc, const void *caller)
{
	access_(addr, len, true, false, pc, caller);
	if (watched() && self.ours && (uintptr_t)addr - self.stack >= self.stack_end - self.stack)
		atomics++;
}

/* ---- what instrumented code calls; compilers know these names */

/* The library has frame pointers. */
#define PC __builtin_return_address(0), __builtin_return_address(1)
#pragma GCC diagnostic ignored "-Wmissing-prototypes"
#pragma GCC diagnostic ignored "-Wcast-qual"
#pragma GCC diagnostic ignored "-Wframe-address"

void __tsan_init(void)
{
}
void __tsan_func_entry(void *pc)
{
	(void)pc;
}
void __tsan_func_exit(void)
{
}
void __tsan_read_range(void *p, uint64_t len)
{
	access_(p, len, false, false, PC);
}
void __tsan_write_range(void *p, uint64_t len)
{
	access_(p, len, true, false, PC);
}

#define PLAIN(n)                                                                                   \
	void __tsan_read##n(void *p)                                                               \
	{                                                                                          \
		access_(p, n, false, false, PC);                                                   \
	}                                                                                          \
	void __tsan_write##n(void *p)                                                              \
	{                                                                                          \
		access_(p, n, true, false, PC);                                                    \
	}                                                                                          \
	void __tsan_unaligned_read##n(void *p)                                                     \
	{                                                                                          \
		access_(p, n, false, false, PC);                                                   \
	}                                                                                          \
	void __tsan_unaligned_write##n(void *p)                                                    \
	{                                                                                          \
		access_(p, n, true, false, PC);                                                    \
	}                                                                                          \
	void __tsan_volatile_read##n(void *p)                                                      \
	{                                                                                          \
		access_(p, n, false, false, PC);                                                   \
	}                                                                                          \
	void __tsan_volatile_write##n(void *p)                                                     \
	{                                                                                          \
		access_(p, n, true, false, PC);                                                    \
	}
PLAIN(1)
PLAIN(2)
PLAIN(4)
PLAIN(8)
PLAIN(16)

#define FETCH(bits, type, name)                                                                    \
	type __tsan_atomic##bits##_fetch_##name(volatile type *p, type v, int order)               \
	{                                                                                          \
		(void)order;                                                                       \
		atomic_rmw(p, sizeof(type), PC);                                                   \
		return __atomic_fetch_##name(p, v, __ATOMIC_SEQ_CST);                              \
	}
#define ATOMIC(bits, type)                                                                         \
	type __tsan_atomic##bits##_load(const volatile type *p, int order)                         \
	{                                                                                          \
		(void)order;                                                                       \
		access_(p, sizeof(type), false, false, PC);                                        \
		return __atomic_load_n(p, __ATOMIC_SEQ_CST);                                       \
	}                                                                                          \
	void __tsan_atomic##bits##_store(volatile type *p, type v, int order)                      \
	{                                                                                          \
		(void)order;                                                                       \
		access_(p, sizeof(type), true, false, PC);                                         \
		__atomic_store_n(p, v, __ATOMIC_SEQ_CST);                                          \
	}                                                                                          \
	type __tsan_atomic##bits##_exchange(volatile type *p, type v, int order)                   \
	{                                                                                          \
		(void)order;                                                                       \
		atomic_rmw(p, sizeof(type), PC);                                                   \
		return __atomic_exchange_n(p, v, __ATOMIC_SEQ_CST);                                \
	}                                                                                          \
	int __tsan_atomic##bits##_compare_exchange_strong(volatile type *p, type *seen, type v,    \
							  int a, int b)                            \
	{                                                                                          \
		(void)a;                                                                           \
		(void)b;                                                                           \
		atomic_rmw(p, sizeof(type), PC);                                                   \
		return __atomic_compare_exchange_n(p, seen, v, false, __ATOMIC_SEQ_CST,            \
						   __ATOMIC_SEQ_CST);                              \
	}                                                                                          \
	type __tsan_atomic##bits##_compare_exchange_val(volatile type *p, type seen, type v,       \
							int a, int b)                              \
	{                                                                                          \
		__tsan_atomic##bits##_compare_exchange_strong(p, &seen, v, a, b);                  \
		return seen;                                                                       \
	}                                                                                          \
	int __tsan_atomic##bits##_compare_exchange_weak(volatile type *p, type *seen, type v,      \
							int a, int b)                              \
	{                                                                                          \
		return __tsan_atomic##bits##_compare_exchange_strong(p, seen, v, a, b);            \
	}                                                                                          \
	FETCH(bits, type, add)                                                                     \
	FETCH(bits, type, sub)                                                                     \
	FETCH(bits, type, and)                                                                     \
	FETCH(bits, type, or)                                                                      \
	FETCH(bits, type, xor)
ATOMIC(8, uint8_t)
ATOMIC(16, uint16_t)
ATOMIC(32, uint32_t)
ATOMIC(64, uint64_t)

void __tsan_atomic_thread_fence(int order)
{
	(void)order;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}
void __tsan_atomic_signal_fence(int order)
{
	(void)order;
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
}

/* Not inlined in what is watched: -fno-builtin-memcpy and so on. */
void *__real_memcpy(void *to, const void *from, size_t n);
void *__real_memmove(void *to, const void *from, size_t n);
void *__real_memset(void *to, int c, size_t n);
void *__wrap_memcpy(void *to, const void *from, size_t n)
{
	access_(from, n, false, false, PC);
	access_(to, n, true, false, PC);
	return __real_memcpy(to, from, n);
}
void *__wrap_memmove(void *to, const void *from, size_t n)
{
	access_(from, n, false, false, PC);
	access_(to, n, true, false, PC);
	return __real_memmove(to, from, n);
}
void *__wrap_memset(void *to, int c, size_t n)
{
	access_(to, n, true, false, PC);
	return __real_memset(to, c, n);
}

/* ---- stores to the media, which may be instructions of its own */

static void store_hook(void *ctx, moff_t off, uint64_t len, bool nontemporal)
{
	(void)ctx;
	access_(media + off.v, len, true, nontemporal, PC);
}

void sharing_attach(struct pm *pm)
{
	static const struct pm_hook hook = {.store = store_hook};

	pm->hook = &hook;
	media = pm->base;
	media_bytes = pm->size;
}

/* ---- locks */

static void held_add(const struct held *h)
{
	if (!watched() || !self.ours)
		return;
	locks[h->rank]++;
	moved_locks[h->rank] += h->moved;
	if (self.nheld < HELD)
		self.held[self.nheld++] = *h;
}

/* Before it is let go. */
static void wait_note(unsigned int i)
{
	const struct held *h = &self.held[i];
	struct owner *o;

	if (!watched() || !h->moved || !exclusive(h))
		return;
	for (unsigned int outer = 0; outer < i; outer++) {
		if (self.held[outer].moved && exclusive(&self.held[outer]))
			return;
	}
	enter();
	o = owner_of(h->lock, h->order);
	o->waits++;
	o->pc = h->pc;
	o->rank = h->rank;
	leave();
}

static void held_remove(const void *lock)
{
	for (unsigned int i = self.nheld; i > 0; i--) {
		if (self.held[i - 1].lock != lock)
			continue;
		wait_note(i - 1);
		for (; i < self.nheld; i++)
			self.held[i - 1] = self.held[i];
		self.nheld--;
		return;
	}
}

void __real_lock_debug_acquire(const void *lock, uint8_t rank, uint64_t order, bool tried);
void __real_lock_debug_release(const void *lock);
void __wrap_lock_debug_acquire(const void *lock, uint8_t rank, uint64_t order, bool tried)
{
	struct held h = {
	    .lock = lock, .order = order, .rank = rank, .pc = __builtin_return_address(0)};

	__real_lock_debug_acquire(lock, rank, order, tried);
	if (watched()) {
		enter();
		h.moved = lock_was_others(lock, order);
		if (h.moved && self.ours)
			lock_line(&h);
		leave();
	}
	held_add(&h);
}

void __wrap_lock_debug_release(const void *lock)
{
	held_remove(lock);
	__real_lock_debug_release(lock);
}

struct journal;
struct lane;
struct lane *__real_lane_claim(struct journal *j);
struct lane *__wrap_lane_claim(struct journal *j)
{
	static struct {
		const struct lane *lane;
		unsigned int id;
	} last[64];
	struct lane *l = __real_lane_claim(j);
	unsigned int i = 0;

	while (i < 63 && last[i].lane && last[i].lane != l)
		i++;
	held_add(&(struct held){.lock = l,
				.rank = SHARING_LANE,
				.pc = __builtin_return_address(0),
				.moved = last[i].lane && last[i].id != my_id()});
	last[i].lane = l;
	last[i].id = my_id();
	return l;
}
void __real_lane_release(struct lane *l);
void __wrap_lane_release(struct lane *l)
{
	held_remove(l);
	__real_lane_release(l);
}
void __real_lane_done(struct lane *l, uint32_t bytes);
void __wrap_lane_done(struct lane *l, uint32_t bytes)
{
	held_remove(l);
	__real_lane_done(l, bytes);
}

/* ---- operations */

void sharing_calibrate(void)
{
	self.ours = true;
}

bool sharing_begin(unsigned int thread)
{
	self.ours = true;
	self.id = thread;
	self.nheld = 0;
	op_number++;
	self.on = true;
	return false;
}

void sharing_end(void)
{
	self.on = false;
}

void sharing_reset(void)
{
	self.ours = true;
	enter();
	__real_memset(sites, 0, sizeof(sites));
	__real_memset(locks, 0, sizeof(locks));
	__real_memset(moved_locks, 0, sizeof(moved_locks));
	for (unsigned int i = 0; i < LINES; i++)
		lines[i].moves = 0;
	for (unsigned int i = 0; i < LOCKS; i++)
		owners[i].waits = 0;
	atomics = written_media = written_memory = moves_background = 0;
	leave();
}

static void print_ranks(const char *name, const uint64_t *v, double ops)
{
	const char *comma = "";

	printf(", \"%s\": {", name);
	for (unsigned int i = 0; i < SHARING_RANKS; i++) {
		if (!v[i])
			continue;
		printf("%s\"%s\": %.2f", comma, sharing_rank_names[i], (double)v[i] / ops);
		comma = ", ";
	}
	printf("}");
}

/* Of the locks that were taken at one place: how often one was waited for, and the one most waited
 * for. */
static void print_waits(const char *op, const char *scope, double ops)
{
	for (unsigned int i = 0; i < LOCKS; i++) {
		const void *pc = owners[i].pc;
		uint64_t sum = 0, hottest = 0;

		if (!owners[i].waits)
			continue;
		for (unsigned int j = i; j < LOCKS; j++) {
			if (owners[j].pc != pc)
				continue;
			sum += owners[j].waits;
			hottest = owners[j].waits > hottest ? owners[j].waits : hottest;
			owners[j].waits = 0;
		}
		printf("{\"op\": \"%s\", \"scope\": \"%s\", \"rank\": \"%s\", \"lock\": \"%p\", "
		       "\"waits\": %.3f, \"hottest\": %.3f}\n",
		       op, scope, sharing_rank_names[owners[i].rank], pc, (double)sum / ops,
		       (double)hottest / ops);
	}
}

void sharing_report(const char *op, const char *scope, double ops, double ns)
{
	uint64_t moves = 0;

	(void)ns;
	enter();
	for (unsigned int i = 0; i < SITES; i++)
		moves += sites[i].moves;
	for (unsigned int i = 0; i < LINES; i++) {
		if (lines[i].moves > sites[lines[i].site].hottest)
			sites[lines[i].site].hottest = lines[i].moves;
	}
	printf("{\"op\": \"%s\", \"scope\": \"%s\"", op, scope);
	print_ranks("locks", locks, ops);
	print_ranks("moved", moved_locks, ops);
	printf(", \"atomics\": %.2f, \"media\": %.2f, \"memory\": %.2f, \"moves\": %.2f, "
	       "\"background\": %.2f}\n",
	       (double)atomics / ops, (double)written_media / ops, (double)written_memory / ops,
	       (double)moves / ops, (double)moves_background / ops);
	for (unsigned int i = 0; i < SITES; i++) {
		const struct site *s = &sites[i];

		if (s->moves)
			printf("{\"op\": \"%s\", \"scope\": \"%s\", \"where\": \"%p\", \"caller\": "
			       "\"%p\", \"under\": "
			       "\"%s\", \"lock\": \"%p\", \"line_moves\": %.3f, "
			       "\"hottest\": %.3f}\n",
			       op, scope, s->pc, s->caller,
			       s->under ? sharing_rank_names[s->under] : "", s->lock_pc,
			       (double)s->moves / ops, (double)s->hottest / ops);
	}
	print_waits(op, scope, ops);
	leave();
}
