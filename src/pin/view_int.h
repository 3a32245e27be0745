/* What arena.c, view.c and fault.c share. */
#ifndef HF_PIN_VIEW_INT_H
#define HF_PIN_VIEW_INT_H

#include "pin/view.h"

/* ---- arena.c. Units of 2 MiB. Errors are negative errnos without a sentence: some callers are in
 * the signal handler. */

/* Reserves the arena if this process has none yet. */
int arena_open(void);
/* A run of units, not mapped, and a unit behind it that never is: runs of two views do not merge.
 */
int arena_get(uint64_t units, uint64_t *first);
/* Nothing is mapped there any more. A run that the kernel does not let go (the limit of mappings)
 * is made inaccessible, and let go later. */
void arena_put(uint64_t first, uint64_t units);
void *arena_addr(uint64_t unit);
/* False: not in the arena. */
bool arena_unit(const void *p, uint64_t *unit);
/* Which view a unit belongs to. */
_Atomic(struct view *) *arena_owner(uint64_t unit);
int arena_map_frame(uint64_t unit, const struct pm *pm, mblk_t blk, bool writable);
int arena_map_zeros(uint64_t unit);
/* As arena_map_frame; false also if the lock is taken. */
bool arena_try_map_frame(uint64_t unit, const struct pm *pm, mblk_t blk, bool writable);
int arena_protect(uint64_t unit, uint64_t n);
/* What arena_protect took away is back. */
int arena_unprotect(uint64_t unit, bool writable);
/* One lock for what is process-wide and rare: the arena's runs, the list of all views. RANK_LEAF.
 */
void arena_lock(void);
bool arena_trylock(void); /* in the handler */
void arena_unlock(void);

/* ---- view.c: in a child after fork there are none. */
void view_forget_all(void);

/* ---- fault.c */
int fault_open(view_fill_fn *fill);
void fault_forget(void); /* a child has no worker */

#endif
