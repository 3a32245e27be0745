/* Views of an inode: their slots, revocation, the queue of holes. */
#include "pin/view_int.h"

#include <stdlib.h>
#include <string.h>

/* Under arena_lock. */
static struct view *views_all, *views_free;
static uint64_t views_id;

struct view_hole {
	struct view_hole *next;
	uint64_t slot; /* of the file */
	uint64_t mask[HF_BLOCKS_PER_FRAME / 64];
};

void view_forget_all(void)
{
	views_all = views_free = NULL;
}

/* ---- finding */

void view_leave(struct view *v)
{
	/* v may be another view by the time of the wake: then somebody looks once in vain. */
	if (atomic_fetch_sub(&v->users, 1) == 1 && atomic_load(&v->closing))
		waitq_wake_all(&v->left);
}

/* Counts first and looks again after: either this sees that the view goes, or view_destroy sees the
 * count. */
struct view *view_enter(const void *p, uint64_t *slot)
{
	_Atomic(struct view *) *owner;
	struct view *v;
	uint64_t unit;

	if (!arena_unit(p, &unit))
		return NULL;
	owner = arena_owner(unit);
	v = atomic_load(owner);
	if (!v)
		return NULL;
	atomic_fetch_add(&v->users, 1);
	if (atomic_load(owner) != v) {
		view_leave(v);
		return NULL;
	}
	*slot = unit - v->unit;
	return v;
}

struct view *view_next(struct fs *fs, struct inode *in, uint64_t after)
{
	struct view *v;

	if (in && atomic_load(&in->nviews) == 0)
		return NULL;
	arena_lock();
	v = views_all;
	while (v && (v->id <= after || v->fs != fs || (in && v->in != in)))
		v = v->next;
	if (v)
		atomic_fetch_add(&v->users, 1);
	arena_unlock();
	return v;
}

uint64_t view_count(const struct fs *fs)
{
	uint64_t n = 0;

	arena_lock();
	for (const struct view *v = views_all; v; v = v->next)
		n += v->fs == fs;
	arena_unlock();
	return n;
}

void *view_base(const struct view *v)
{
	return arena_addr(v->unit);
}

static bool view_shows(const struct view *v, uint64_t slot, uint64_t frame)
{
	uint64_t word = view_word(v, slot);

	return (word & VIEW_MAPPED) && word >> VIEW_FRAME_SHIFT == frame;
}

/* A view that is listed has its words. */
void *view_address_of(const struct fs *fs, moff_t off)
{
	uint8_t *found = NULL;

	if (!arena_trylock())
		return NULL;
	for (const struct view *v = views_all; v && !found; v = v->next)
		for (uint64_t i = 0; v->fs == fs && i < v->slots && !found; i++)
			if (view_shows(v, i, off.v / HF_FRAME_SIZE))
				found = (uint8_t *)arena_addr(v->unit + i) + off.v % HF_FRAME_SIZE;
	arena_unlock();
	return found;
}

bool view_media_at(const struct fs *fs, const void *addr, moff_t *off)
{
	uint64_t slot, word;
	struct view *v = view_enter(addr, &slot);
	bool found;

	if (!v)
		return false;
	word = view_word(v, slot);
	found = v->fs == fs && (word & VIEW_MAPPED);
	*off = MOFF((word >> VIEW_FRAME_SHIFT) * HF_FRAME_SIZE + (uintptr_t)addr % HF_FRAME_SIZE);
	view_leave(v);
	return found;
}

/* ---- beginning and end */

static struct view *view_alloc(uint64_t slots)
{
	_Atomic uint64_t *words = calloc(slots, sizeof(*words));
	struct view *v;

	if (!words)
		return NULL;
	arena_lock();
	v = views_free;
	if (v)
		views_free = v->next;
	arena_unlock();
	if (!v)
		v = calloc(1, sizeof(*v));
	if (!v)
		free(words);
	else
		v->words = words;
	return v;
}

static void view_free(struct view *v)
{
	free(v->words);
	v->words = NULL;
	arena_lock();
	v->next = views_free;
	views_free = v;
	arena_unlock();
}

static void view_list(struct view *v)
{
	struct view **at = &views_all;

	arena_lock();
	v->id = ++views_id;
	v->next = NULL;
	while (*at)
		at = &(*at)->next;
	*at = v;
	arena_unlock();
}

static void view_unlist(struct view *v)
{
	struct view **at = &views_all;

	arena_lock();
	while (*at != v)
		at = &(*at)->next;
	*at = v->next;
	arena_unlock();
}

/* Exclusive, so that whoever changes the map knows for its whole time whether there are views. */
static int view_attach(struct view *v)
{
	struct inode *in = v->in;
	int err;

	rwl_wrlock(&in->layout);
	err = v->writable ? inode_seal(in) : 0;
	if (err) {
		rwl_wrunlock(&in->layout);
		return err;
	}
	mtx_lock(&in->views_lock);
	v->next_of_inode = in->views;
	in->views = v;
	atomic_fetch_add(&in->nviews, 1);
	mtx_unlock(&in->views_lock);
	rwl_wrunlock(&in->layout);
	return 0;
}

static void view_detach(struct view *v)
{
	struct inode *in = v->in;
	struct view *at;

	rwl_wrlock(&in->layout);
	mtx_lock(&in->views_lock);
	at = in->views;
	if (at == v) {
		in->views = v->next_of_inode;
	} else {
		while (at->next_of_inode != v)
			at = at->next_of_inode;
		at->next_of_inode = v->next_of_inode;
	}
	atomic_fetch_sub(&in->nviews, 1);
	mtx_unlock(&in->views_lock);
	rwl_wrunlock(&in->layout);
}

static void view_own_units(struct view *v, struct view *owner)
{
	for (uint64_t i = 0; i < v->slots; i++)
		atomic_store(arena_owner(v->unit + i), owner);
}

int view_create(const struct view_req *req, struct view **out)
{
	uint64_t slots = req->slots;
	uint64_t unit = 0;
	struct view *v;
	int err = arena_open();

	if (!err)
		err = fault_open(req->fill);
	if (err)
		return err_set(-ENOMEM, "view: no memory for a thread, or no addresses for views");
	if (arena_get(slots, &unit))
		return err_set(-ENOMEM, "view: no address space for %llu pages of 2 MiB",
			       (unsigned long long)slots);
	v = view_alloc(slots);
	if (!v) {
		arena_put(unit, slots);
		return err_set(-ENOMEM, "view: no memory for %llu pages",
			       (unsigned long long)slots);
	}
	v->unit = unit;
	v->in = req->in;
	v->fs = req->in->fs;
	v->first = req->first;
	v->slots = slots;
	v->writable = req->writable;
	v->pin_wait_ns = req->pin_wait_ns;
	v->gate = req->gate;
	atomic_store(&v->dead, false);
	atomic_store(&v->closing, false);
	err = view_attach(v);
	if (err) {
		arena_put(unit, slots);
		view_free(v);
		return err;
	}
	view_list(v);
	view_own_units(v, v);
	*out = v;
	return 0;
}

void view_destroy(struct view *v)
{
	atomic_store(&v->closing, true);
	view_own_units(v, NULL);
	view_unlist(v);
	for (;;) {
		uint32_t key = waitq_key(&v->left);

		if (atomic_load(&v->users) == 0)
			break;
		waitq_wait(&v->left, key, UINT64_MAX);
	}
	view_detach(v);
	arena_put(v->unit, v->slots);
	view_free(v);
}

/* ---- slots */

static mblk_t view_word_blk(uint64_t word)
{
	return frame_to_mblk(FRAME(word >> VIEW_FRAME_SHIFT));
}

static bool view_shows_frame(uint64_t word, mblk_t blk)
{
	return word >> VIEW_FRAME_SHIFT == mblk_to_frame(blk).v;
}

/* Its mapping is there, accessible or not. */
static bool view_has_mapping(uint64_t word, mblk_t blk)
{
	return (word & (VIEW_MAPPED | VIEW_KEPT)) && view_shows_frame(word, blk);
}

/* A failed mapping may have replaced what was there by something without access. */
static void view_set_mapped(struct view *v, uint64_t slot, mblk_t blk, bool ok)
{
	uint64_t word = mblk_to_frame(blk).v << VIEW_FRAME_SHIFT | VIEW_MAPPED;

	if (!ok)
		word = view_word(v, slot) & ~(uint64_t)(VIEW_MAPPED | VIEW_ZEROS | VIEW_KEPT);
	else if (v->writable)
		word |= VIEW_DIRTY;
	atomic_store(&v->words[slot], word);
}

/* What was stored through the slot to a frame that it does not show any more is still the file's,
 * if the frame is (a shift moved it), and nothing else remembers it. */
static int view_flush_word(struct view *v, uint64_t word)
{
	moff_t at = mblk_to_moff(view_word_blk(word));
	int err = pm_flush(v->fs->pm, at, HF_FRAME_SIZE);

	return err ? err : pm_fence(v->fs->pm);
}

int view_slot_map(struct view *v, uint64_t slot, mblk_t blk)
{
	uint64_t word;
	int err = 0;

	mtx_lock(&v->in->views_lock);
	word = view_word(v, slot);
	if (atomic_load(&v->dead))
		err = -ESHUTDOWN;
	else if ((word & VIEW_DIRTY) && !view_shows_frame(word, blk))
		err = view_flush_word(v, word);
	if (!err && (!view_has_mapping(word, blk) || arena_unprotect(v->unit + slot, v->writable)))
		err = arena_map_frame(v->unit + slot, v->fs->pm, blk, v->writable);
	if (err != -ESHUTDOWN)
		view_set_mapped(v, slot, blk, err == 0);
	mtx_unlock(&v->in->views_lock);
	return err;
}

static bool view_try_map_locked(struct view *v, uint64_t slot, mblk_t blk)
{
	uint64_t word = view_word(v, slot);
	bool ok;

	if (atomic_load(&v->dead))
		return false;
	if (view_has_mapping(word, blk)) {
		ok = arena_unprotect(v->unit + slot, v->writable) == 0;
	} else {
		if (word & VIEW_DIRTY)
			return false; /* of another frame */
		/* What was kept may be replaced even if this fails. */
		atomic_store(&v->words[slot], word & ~(uint64_t)VIEW_KEPT);
		ok = arena_try_map_frame(v->unit + slot, v->fs->pm, blk, v->writable);
	}
	if (ok)
		view_set_mapped(v, slot, blk, true);
	return ok;
}

bool view_slot_try_map(struct view *v, uint64_t slot, mblk_t blk)
{
	bool ok;

	if (!mtx_trylock(&v->in->views_lock))
		return false;
	ok = view_try_map_locked(v, slot, blk);
	mtx_unlock(&v->in->views_lock);
	return ok;
}

int view_slot_zeros(struct view *v, uint64_t slot)
{
	uint64_t word;
	int err;

	mtx_lock(&v->in->views_lock);
	err = atomic_load(&v->dead) ? -ESHUTDOWN : arena_map_zeros(v->unit + slot);
	word = view_word(v, slot) & ~(uint64_t)(VIEW_MAPPED | VIEW_ZEROS | VIEW_KEPT);
	if (err != -ESHUTDOWN)
		atomic_store(&v->words[slot], err ? word : word | VIEW_ZEROS);
	mtx_unlock(&v->in->views_lock);
	return err;
}

/* ---- taking slots away. views_lock held from here on. */

static bool slot_shows(const struct view *v, uint64_t slot)
{
	return (view_word(v, slot) & (VIEW_MAPPED | VIEW_ZEROS)) != 0;
}

static int slots_protect(struct view *v, uint64_t lo, uint64_t hi)
{
	const uint64_t gone = VIEW_MAPPED | VIEW_ZEROS;
	int err = arena_protect(v->unit + lo, hi - lo);

	for (uint64_t i = lo; i < hi && !err; i++) {
		uint64_t word = view_word(v, i), kept = word & VIEW_MAPPED ? VIEW_KEPT : 0;

		atomic_store(&v->words[i], (word & ~gone) | kept);
	}
	return err;
}

/* At the limit of mappings the kernel does not cut a run of pages that it has made one of. All of
 * the run, or of the view, needs no cut. What is taken away beyond [lo, hi) comes back with the
 * next touch. */
static int slots_protect_more(struct view *v, uint64_t lo, uint64_t hi)
{
	while (lo > 0 && slot_shows(v, lo - 1))
		lo--;
	while (hi < v->slots && slot_shows(v, hi))
		hi++;
	return slots_protect(v, lo, hi) == 0 ? 0 : slots_protect(v, 0, v->slots);
}

static int slots_revoke(struct view *v, uint64_t lo, uint64_t hi)
{
	while (lo < hi && !slot_shows(v, lo))
		lo++;
	while (hi > lo && !slot_shows(v, hi - 1))
		hi--;
	if (lo == hi || slots_protect(v, lo, hi) == 0)
		return 0;
	return slots_protect_more(v, lo, hi);
}

int view_revoke(struct inode *in, uint64_t from, uint64_t to)
{
	uint64_t lo = from / HF_FRAME_SIZE, hi = to / HF_FRAME_SIZE + (to % HF_FRAME_SIZE != 0);
	int err = 0;

	if (atomic_load(&in->nviews) == 0)
		return 0;
	mtx_lock(&in->views_lock);
	for (struct view *v = in->views; v && !err; v = v->next_of_inode) {
		uint64_t a = max_u64(lo, v->first), b = min_u64(hi, v->first + v->slots);

		if (a < b)
			err = slots_revoke(v, a - v->first, b - v->first);
	}
	mtx_unlock(&in->views_lock);
	if (err)
		return err_set(-ENOMEM,
			       "pages of a view cannot be taken away: the process is at its "
			       "limit of mappings (vm.max_map_count)");
	return 0;
}

static bool view_maps_locked(struct inode *in, uint64_t slot)
{
	for (const struct view *v = in->views; v; v = v->next_of_inode)
		if (slot - v->first < v->slots && (view_word(v, slot - v->first) & VIEW_MAPPED))
			return true;
	return false;
}

bool view_maps(struct inode *in, fblk_t at)
{
	bool maps;

	if (atomic_load(&in->nviews) == 0)
		return false;
	mtx_lock(&in->views_lock);
	maps = view_maps_locked(in, at.v / HF_BLOCKS_PER_FRAME);
	mtx_unlock(&in->views_lock);
	return maps;
}

void view_kill_all(struct fs *fs)
{
	struct view *v;

	for (uint64_t id = 0; (v = view_next(fs, NULL, id)) != NULL; view_leave(v)) {
		id = v->id;
		rwl_wrlock(&v->in->layout);
		mtx_lock(&v->in->views_lock);
		atomic_store(&v->dead, true);
		slots_revoke(v, 0, v->slots);
		mtx_unlock(&v->in->views_lock);
		rwl_wrunlock(&v->in->layout);
	}
}

/* ---- holes that are to be punched when no view maps their slot any more (rule T3) */

static struct view_hole **hole_find(struct inode *in, uint64_t slot)
{
	struct view_hole **at = (struct view_hole **)&in->holes;

	while (*at && (*at)->slot != slot)
		at = &(*at)->next;
	return at;
}

static void hole_unlink(struct inode *in, struct view_hole **at)
{
	struct view_hole *h = *at;

	*at = h->next;
	free(h);
	atomic_fetch_sub(&in->nholes, 1);
}

int view_hole_queue(struct inode *in, fblk_t first, uint64_t n)
{
	uint64_t slot = first.v / HF_BLOCKS_PER_FRAME;
	struct view_hole **at;
	int err = 0;

	mtx_lock(&in->views_lock);
	at = hole_find(in, slot);
	if (!*at) {
		*at = calloc(1, sizeof(**at));
		if (*at) {
			(*at)->slot = slot;
			atomic_fetch_add(&in->nholes, 1);
		}
	}
	if (!*at)
		err = -ENOMEM;
	for (uint64_t b = first.v; b < first.v + n && !err; b++)
		(*at)->mask[b % HF_BLOCKS_PER_FRAME / 64] |= 1ull << b % 64;
	mtx_unlock(&in->views_lock);
	return err;
}

/* What of [first, first+n) lies in the slot of h leaves the mask; true: nothing is left. */
static bool hole_forget(struct view_hole *h, uint64_t first, uint64_t n)
{
	uint64_t base = h->slot * HF_BLOCKS_PER_FRAME, any = 0;
	uint64_t lo = max_u64(first, base), hi = min_u64(first + n, base + HF_BLOCKS_PER_FRAME);

	for (uint64_t b = lo; b < hi; b++)
		h->mask[b % HF_BLOCKS_PER_FRAME / 64] &= ~(1ull << b % 64);
	for (unsigned i = 0; i < HF_BLOCKS_PER_FRAME / 64; i++)
		any |= h->mask[i];
	return any == 0;
}

void view_hole_forget(struct inode *in, fblk_t first, uint64_t n)
{
	struct view_hole **at;

	if (atomic_load(&in->nholes) == 0)
		return;
	mtx_lock(&in->views_lock);
	at = (struct view_hole **)&in->holes;
	while (*at) {
		if (hole_forget(*at, first.v, n))
			hole_unlink(in, at);
		else
			at = &(*at)->next;
	}
	mtx_unlock(&in->views_lock);
}

bool view_hole_next(struct inode *in, bool force, fblk_t *slot,
		    uint64_t mask[HF_BLOCKS_PER_FRAME / 64])
{
	const struct view_hole *best = NULL;
	uint64_t from = slot->v / HF_BLOCKS_PER_FRAME;

	if (atomic_load(&in->nholes) == 0)
		return false;
	mtx_lock(&in->views_lock);
	for (const struct view_hole *h = in->holes; h; h = h->next)
		if (h->slot >= from && (!best || h->slot < best->slot) &&
		    (force || !view_maps_locked(in, h->slot)))
			best = h;
	if (best) {
		*slot = FBLK(best->slot * HF_BLOCKS_PER_FRAME);
		memcpy(mask, best->mask, sizeof(best->mask));
	}
	mtx_unlock(&in->views_lock);
	return best != NULL;
}

/* ---- flushing */

/* views_lock keeps the slot from being mapped, stored to and taken away again meanwhile, after which
 * its word would be the same and not clean. */
static int view_flush_unmapped(struct view *v, uint64_t slot)
{
	uint64_t word;
	int err = 0;

	mtx_lock(&v->in->views_lock);
	word = view_word(v, slot);
	if ((word & (VIEW_DIRTY | VIEW_MAPPED)) == VIEW_DIRTY) {
		err = view_flush_word(v, word);
		if (!err)
			atomic_store(&v->words[slot], word & ~(uint64_t)VIEW_DIRTY);
	} else if (word & VIEW_DIRTY) {
		err = pm_flush(v->fs->pm, mblk_to_moff(view_word_blk(word)), HF_FRAME_SIZE);
	}
	mtx_unlock(&v->in->views_lock);
	return err;
}

/* A slot that is mapped stays dirty: stores come at any time. One that is not is clean after this,
 * and for that the fence is waited for here. */
static int view_flush_slot(struct view *v, uint64_t slot, uint64_t from, uint64_t len, bool *any)
{
	uint64_t word = view_word(v, slot);

	if (!(word & VIEW_DIRTY))
		return 0;
	if (any)
		*any = true;
	if (word & VIEW_MAPPED)
		return pm_flush(v->fs->pm, moff_add(mblk_to_moff(view_word_blk(word)), from), len);
	return view_flush_unmapped(v, slot);
}

int view_flush_range(struct view *v, uint64_t from, uint64_t to, bool *any)
{
	int err = 0;

	while (from < to && !err) {
		uint64_t in_slot = from % HF_FRAME_SIZE,
			 n = min_u64(HF_FRAME_SIZE - in_slot, to - from);

		err = view_flush_slot(v, from / HF_FRAME_SIZE, in_slot, n, any);
		from += n;
	}
	return err;
}

int view_flush(struct fs *fs, struct inode *in, bool *any)
{
	struct view *v;
	int err = 0;

	for (uint64_t id = 0; !err && (v = view_next(fs, in, id)) != NULL; view_leave(v)) {
		bool some = false;

		id = v->id;
		err = view_flush_range(v, 0, v->slots * HF_FRAME_SIZE, &some);
		if (some && !in)
			inode_touch(v->in, INODE_MTIME | INODE_CTIME, inode_now_ns());
		*any |= some;
	}
	return err;
}
