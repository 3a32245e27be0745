/* The arena: one range of addresses, reserved once per process, in which all views lie.
 *
 * Reserved without access and without memory behind it. What is in it is never inherited by a
 * child (I-VIEW-6): a mapping is made and marked under map_lock, which fork takes. */
#include "pin/view_int.h"
#include "base/sanitize.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>

/* ThreadSanitizer knows of 1.5 TiB of addresses for mappings, and keeps shadows of all of them. */
#if HF_TSAN
#define ARENA_BYTES_MAX (16ull << 30)
#else
#define ARENA_BYTES_MAX (16ull << 40)
#endif
#define ARENA_BYTES_MIN (256ull << 20)

struct arena_run {
	struct arena_run *next; /* by address */
	uint64_t first, units;	/* with the guard unit */
	bool lost;		/* nobody's, and not unmapped yet */
};

static struct {
	struct mtx lock;
	struct mtx map_lock;
	struct arena_run *runs;
	_Atomic(uint8_t *) base; /* NULL: no arena */
	_Atomic uint64_t units;
	_Atomic(struct view *) *owner;
} arena = {
    .lock = {.rank = RANK_LEAF, .order = 1},
    .map_lock = {.rank = RANK_LEAF, .order = 2},
};

void arena_lock(void)
{
	mtx_lock(&arena.lock);
}

bool arena_trylock(void)
{
	return mtx_trylock(&arena.lock);
}

void arena_unlock(void)
{
	mtx_unlock(&arena.lock);
}

/* ---- fork */

static void arena_fork_prepare(void)
{
	mtx_lock(&arena.lock);
	mtx_lock(&arena.map_lock);
}

static void arena_fork_parent(void)
{
	mtx_unlock(&arena.map_lock);
	mtx_unlock(&arena.lock);
}

/* The reservation was not inherited: a child that maps a view of its own volume begins anew. */
static void arena_fork_child(void)
{
	atomic_store(&arena.base, NULL);
	atomic_store(&arena.units, 0);
	arena.owner = NULL;
	arena.runs = NULL;
	view_forget_all();
	fault_forget();
	arena_fork_parent();
}

static void arena_at_fork(void)
{
	pthread_atfork(arena_fork_prepare, arena_fork_parent, arena_fork_child);
}

/* ---- the reservation */

static void *arena_reserve(uint64_t bytes, int prot)
{
	void *p = mmap(NULL, bytes, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		return NULL;
	if (madvise(p, bytes, MADV_DONTFORK) == 0)
		return p;
	munmap(p, bytes);
	return NULL;
}

static int arena_reserve_locked(void)
{
	uint64_t bytes = ARENA_BYTES_MAX, units;
	uint8_t *raw = NULL;
	void *owner;

	while (!raw && bytes >= ARENA_BYTES_MIN) {
		raw = arena_reserve(bytes + HF_FRAME_SIZE, PROT_NONE);
		if (!raw)
			bytes /= 2;
	}
	if (!raw)
		return -ENOMEM;
	units = bytes / HF_FRAME_SIZE;
	owner = arena_reserve(units * sizeof(*arena.owner), PROT_READ | PROT_WRITE);
	if (!owner) {
		munmap(raw, bytes + HF_FRAME_SIZE);
		return -ENOMEM;
	}
	arena.owner = owner;
	atomic_store(&arena.units, units);
	atomic_store(&arena.base,
		     (uint8_t *)(uintptr_t)round_up_u64((uintptr_t)raw, HF_FRAME_SIZE));
	return 0;
}

int arena_open(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	int err = 0;

	pthread_once(&once, arena_at_fork);
	mtx_lock(&arena.lock);
	if (!atomic_load(&arena.base))
		err = arena_reserve_locked();
	mtx_unlock(&arena.lock);
	return err;
}

/* ---- addresses */

void *arena_addr(uint64_t unit)
{
	return atomic_load_explicit(&arena.base, memory_order_acquire) + unit * HF_FRAME_SIZE;
}

bool arena_unit(const void *p, uint64_t *unit)
{
	const uint8_t *base = atomic_load_explicit(&arena.base, memory_order_acquire);
	uint64_t off = (uint64_t)((uintptr_t)p - (uintptr_t)base);

	*unit = off / HF_FRAME_SIZE;
	return base && *unit < atomic_load_explicit(&arena.units, memory_order_relaxed);
}

bool view_address(const void *p, uint64_t len)
{
	uintptr_t base = (uintptr_t)atomic_load_explicit(&arena.base, memory_order_acquire);
	uint64_t bytes = atomic_load_explicit(&arena.units, memory_order_relaxed) * HF_FRAME_SIZE;
	uintptr_t at = (uintptr_t)p;

	if (base == 0 || len == 0)
		return false;
	return at < base ? len > base - at : at - base < bytes;
}

_Atomic(struct view *) *arena_owner(uint64_t unit)
{
	return &arena.owner[unit];
}

/* ---- mappings. The mark comes after the map, and a fork in between would hand it on. */

static int arena_replace_locked(uint64_t unit, uint64_t n, int prot, int flags)
{
	void *at = arena_addr(unit);
	int err;

	if (mmap(at, n * HF_FRAME_SIZE, prot, flags | MAP_FIXED, -1, 0) == MAP_FAILED)
		return -errno;
	if (madvise(at, n * HF_FRAME_SIZE, MADV_DONTFORK) == 0)
		return 0;
	err = -errno;
	mprotect(at, n * HF_FRAME_SIZE, PROT_NONE);
	return err;
}

static int arena_prot(bool writable)
{
	return writable ? PROT_READ | PROT_WRITE : PROT_READ;
}

static int arena_frame_locked(uint64_t unit, const struct pm *pm, mblk_t blk, bool writable)
{
	return pm_map_at(pm, arena_addr(unit), mblk_to_moff(blk), HF_FRAME_SIZE, arena_prot(writable), true);
}

int arena_map_frame(uint64_t unit, const struct pm *pm, mblk_t blk, bool writable)
{
	int err;

	mtx_lock(&arena.map_lock);
	err = arena_frame_locked(unit, pm, blk, writable);
	mtx_unlock(&arena.map_lock);
	return err;
}

bool arena_try_map_frame(uint64_t unit, const struct pm *pm, mblk_t blk, bool writable)
{
	int err;

	if (!mtx_trylock(&arena.map_lock))
		return false;
	err = arena_frame_locked(unit, pm, blk, writable);
	mtx_unlock(&arena.map_lock);
	return err == 0;
}

static int arena_anonymous(uint64_t unit, uint64_t n, int prot)
{
	int err;

	mtx_lock(&arena.map_lock);
	err =
	    arena_replace_locked(unit, n, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE);
	mtx_unlock(&arena.map_lock);
	return err;
}

int arena_map_zeros(uint64_t unit)
{
	return arena_anonymous(unit, 1, PROT_READ);
}

int arena_protect(uint64_t unit, uint64_t n)
{
	return mprotect(arena_addr(unit), n * HF_FRAME_SIZE, PROT_NONE) ? -errno : 0;
}

int arena_unprotect(uint64_t unit, bool writable)
{
	return mprotect(arena_addr(unit), HF_FRAME_SIZE, arena_prot(writable)) ? -errno : 0;
}

/* ---- runs */

int arena_get(uint64_t units, uint64_t *first)
{
	struct arena_run *r = malloc(sizeof(*r)), **at = &arena.runs;
	int err = -ENOMEM;

	if (!r)
		return err;
	*r = (struct arena_run){.units = units + 1};
	mtx_lock(&arena.lock);
	while (*at && (*at)->first - r->first < r->units) {
		r->first = (*at)->first + (*at)->units;
		at = &(*at)->next;
	}
	if (units < atomic_load(&arena.units) && r->units <= atomic_load(&arena.units) - r->first) {
		r->next = *at;
		*at = r;
		*first = r->first;
		err = 0;
	}
	mtx_unlock(&arena.lock);
	if (err)
		free(r);
	return err;
}

/* Unmaps and frees what is nobody's. At the limit of mappings the kernel may refuse: then it cannot
 * be touched, and is tried again with the next view that goes. */
static void arena_free_lost_locked(void)
{
	struct arena_run **at = &arena.runs, *r;

	while (*at) {
		r = *at;
		if (r->lost && arena_anonymous(r->first, r->units - 1, PROT_NONE) == 0) {
			*at = r->next;
			free(r);
		} else {
			at = &r->next;
		}
	}
}

void arena_put(uint64_t first, uint64_t units)
{
	struct arena_run *r;

	arena_protect(first, units);
	mtx_lock(&arena.lock);
	r = arena.runs;
	while (r->first != first)
		r = r->next;
	r->lost = true;
	arena_free_lost_locked();
	mtx_unlock(&arena.lock);
}
