/* The inode cache: a flat array of slots, a hash of indexes, a clock for eviction.
 *
 * A slot's memory stays an inode for as long as the table is open, so a lookup takes no lock: it
 * follows the chain, adds a reference by compare-and-swap (which fails for a slot that holds no
 * inode: INODE_GONE) and then looks again whether this is the inode that it wanted. A walk that
 * strays, because the chain changed under it, finds nothing; the exact answer is then found under
 * the shard's lock.
 *
 * A miss reads the image under the shard's lock. No transaction can change or free that image
 * meanwhile: that takes a struct inode, of which there is one per number, in the chain from before
 * its first use until the freeing transaction is applied (I-INO-3). So the image is never torn, and
 * a bad one is damage. What a crossing create leaves to be seen is the bit: not set, the inode is
 * not there yet; set, its image was applied before.
 */
#include "inode/itable_priv.h"
#include "base/hash.h"

#include <stdlib.h>

enum { WALK_MAX = 32, LAST_RESORTS = 16 };

static uint32_t slot_index(const struct icache *c, const struct inode *in)
{
	return (uint32_t)(in - c->slots);
}

static uint32_t hash_of(const struct icache *c, uint64_t ino)
{
	return (uint32_t)hash_mix(ino) & c->mask;
}

static struct mtx *shard_of(struct icache *c, uint32_t hash)
{
	return &c->shards[hash % ICACHE_SHARDS].lock;
}

static uint64_t load_ino(const struct inode *in)
{
	return __atomic_load_n(&in->ino.v, __ATOMIC_RELAXED);
}

int icache_init(struct icache *c, struct fs *fs, uint32_t max)
{
	uint32_t heads = ICACHE_SHARDS;

	while (heads < max && heads < 1u << 30)
		heads *= 2;
	c->fs = fs;
	c->max = max;
	c->mask = heads - 1;
	/* Large ones come from the kernel zeroed and untouched. */
	c->slots = calloc(max, sizeof(*c->slots));
	c->heads = calloc(heads, sizeof(*c->heads));
	if (!c->slots || !c->heads) {
		icache_close(c);
		return err_set(-ENOMEM, "inode cache: no memory for %u inodes", max);
	}
	for (uint32_t i = 0; i < ICACHE_SHARDS; i++)
		mtx_init(&c->shards[i].lock, RANK_LEAF, i);
	mtx_init(&c->free_lock, RANK_LEAF, 0);
	return 0;
}

void icache_close(struct icache *c)
{
	for (uint32_t i = 0; c->slots && i < atomic_load(&c->fresh); i++) {
		bool inode_in_use = (atomic_load(&c->slots[i].refs) & ~INODE_GONE) != 0;

		HF_ASSERT(!inode_in_use);
	}
	free(c->slots);
	free(c->heads);
	c->slots = NULL;
	c->heads = NULL;
}

/* ---- references */

static bool try_ref(struct inode *in)
{
	uint32_t refs = atomic_load_explicit(&in->refs, memory_order_relaxed);

	do {
		if (refs & INODE_GONE)
			return false;
	} while (!atomic_compare_exchange_weak_explicit(
	    &in->refs, &refs, refs + 1, memory_order_acquire, memory_order_relaxed));
	return true;
}

void inode_ref(struct inode *in)
{
	uint32_t was = atomic_fetch_add_explicit(&in->refs, 1, memory_order_relaxed);
	bool had_reference = was != 0 && !(was & INODE_GONE);

	HF_ASSERT(had_reference);
}

/* The thread's own place for one is filled first; what was there goes to all. */
static void slot_free(struct icache *c, struct inode *in)
{
	uint32_t was = atomic_exchange_explicit(&itable_own(c->fs->itable)->slot, slot_index(c, in) + 1,
						memory_order_acq_rel);

	if (was == 0)
		return;
	mtx_lock(&c->free_lock);
	atomic_store_explicit(&c->slots[was - 1].hash_next, c->free_head, memory_order_relaxed);
	c->free_head = was;
	mtx_unlock(&c->free_lock);
}

static struct inode *own_slot(struct icache *c, struct itable_own *own)
{
	uint32_t was = 0;

	if (atomic_load_explicit(&own->slot, memory_order_relaxed))
		was = atomic_exchange_explicit(&own->slot, 0, memory_order_acquire);
	return was ? &c->slots[was - 1] : NULL;
}

/* Makes an unreferenced slot the caller's own. */
static bool slot_claim(struct inode *in)
{
	uint32_t none = 0;

	return atomic_compare_exchange_strong_explicit(&in->refs, &none, INODE_GONE,
						       memory_order_acquire, memory_order_relaxed);
}

/* It had become another's before the claim: nobody else can have it as long as it lasts. */
static void slot_unclaim(struct inode *in)
{
	atomic_store_explicit(&in->refs, 0, memory_order_release);
}

void inode_put(struct inode *in)
{
	bool had_reference;
	uint32_t was;

	if (!in)
		return;
	was = atomic_fetch_sub_explicit(&in->refs, 1, memory_order_acq_rel);
	had_reference = was != 0 && !(was & INODE_GONE);
	HF_ASSERT(had_reference);
	/* The last one out of a freed inode. From here on the slot may be another's already, until it is
	 * claimed: evicted, filled, and let go of. */
	if (was != 1 || !atomic_load_explicit(&in->dead, memory_order_acquire) || !slot_claim(in))
		return;
	if (atomic_load_explicit(&in->dead, memory_order_relaxed))
		slot_free(&in->fs->itable->cache, in);
	else
		slot_unclaim(in);
}

/* ---- chains */

static struct inode *find_fast(struct icache *c, uint64_t ino, uint32_t hash)
{
	uint32_t i = atomic_load_explicit(&c->heads[hash], memory_order_acquire);

	for (int n = 0; i != 0 && n < WALK_MAX; n++) {
		struct inode *in = &c->slots[i - 1];

		if (load_ino(in) == ino) {
			if (!try_ref(in))
				return NULL;
			if (load_ino(in) == ino &&
			    !atomic_load_explicit(&in->dead, memory_order_acquire))
				return in;
			inode_put(in);
			return NULL;
		}
		i = atomic_load_explicit(&in->hash_next, memory_order_acquire);
	}
	return NULL;
}

/* Under the shard's lock: what is in the chain is not dead (I-INO-3), and gone only for the moment in which somebody
 * finds that it is not what he claimed. */
static struct inode *find_locked(struct icache *c, uint64_t ino, uint32_t hash)
{
	uint32_t i = atomic_load_explicit(&c->heads[hash], memory_order_relaxed);

	while (i != 0) {
		struct inode *in = &c->slots[i - 1];

		if (load_ino(in) == ino) {
			while (!try_ref(in))
				lock_yield();
			return in;
		}
		i = atomic_load_explicit(&in->hash_next, memory_order_relaxed);
	}
	return NULL;
}

static void chain_add(struct icache *c, struct inode *in)
{
	_Atomic uint32_t *head = &c->heads[in->hash];

	atomic_store_explicit(&in->hash_next, atomic_load_explicit(head, memory_order_relaxed),
			      memory_order_relaxed);
	atomic_store_explicit(head, slot_index(c, in) + 1, memory_order_release);
}

static void chain_del(struct icache *c, struct inode *in)
{
	_Atomic uint32_t *link = &c->heads[in->hash];
	uint32_t me = slot_index(c, in) + 1, i = atomic_load_explicit(link, memory_order_relaxed);

	while (i != me) {
		HF_ASSERT(i != 0);
		link = &c->slots[i - 1].hash_next;
		i = atomic_load_explicit(link, memory_order_relaxed);
	}
	atomic_store_explicit(link, atomic_load_explicit(&in->hash_next, memory_order_relaxed),
			      memory_order_release);
}

void icache_kill(struct icache *c, struct inode *in)
{
	struct mtx *shard = shard_of(c, in->hash);

	mtx_lock(shard);
	atomic_store_explicit(&in->dead, true, memory_order_release);
	chain_del(c, in);
	mtx_unlock(shard);
}

/* ---- slots */

/* What only the cache knows of it: times, and that its last append's record is to be sealed before its data change. */
static bool must_stay(const struct icache *c, const struct inode *in)
{
	return (inode_times_pending(in) || journal_is_open(c->fs->journal, atomic_load_explicit(&in->open, memory_order_acquire))) &&
	       journal_state(c->fs->journal) == 0;
}

/* The slot if it is clean and nobody has it: out of its chain, the caller's. */
static bool evict(struct icache *c, struct inode *in)
{
	uint64_t ino = load_ino(in);
	uint32_t hash = hash_of(c, ino);
	bool ok;

	mtx_lock(shard_of(c, hash));
	/* Claimed within the lock, so that a miss of the same number comes before or after. */
	ok = load_ino(in) == ino && slot_claim(in);
	/* Looked at again: who evicted it just before may have filled it for another number, of another shard. */
	if (ok && (load_ino(in) != ino || must_stay(c, in))) {
		slot_unclaim(in);
		ok = false;
	}
	if (ok && !atomic_load_explicit(&in->dead, memory_order_relaxed))
		chain_del(c, in);
	mtx_unlock(shard_of(c, hash));
	return ok;
}

/* The clock: 'rounds' times past every slot; one that was used since the hand last passed is left
 * this time. */
static struct inode *clock_evict(struct icache *c, unsigned rounds, bool *pending)
{
	uint32_t used = atomic_load_explicit(&c->fresh, memory_order_acquire);

	for (uint64_t n = 0; n < (uint64_t)used * rounds; n++) {
		struct inode *in = &c->slots[atomic_fetch_add(&c->hand, 1) % used];

		if (atomic_load_explicit(&in->refs, memory_order_relaxed) != 0)
			continue;
		if (must_stay(c, in)) {
			*pending = true;
			continue;
		}
		if (atomic_exchange_explicit(&in->recent, false, memory_order_relaxed))
			continue;
		if (evict(c, in))
			return in;
	}
	return NULL;
}

static struct inode *slot_pop(struct icache *c)
{
	struct inode *in = own_slot(c, itable_own(c->fs->itable));

	if (in)
		return in;
	mtx_lock(&c->free_lock);
	if (c->free_head != 0) {
		in = &c->slots[c->free_head - 1];
		c->free_head = atomic_load_explicit(&in->hash_next, memory_order_relaxed);
	} else if (atomic_load_explicit(&c->fresh, memory_order_relaxed) < c->max) {
		in = &c->slots[c->fresh];
		atomic_store_explicit(&in->refs, INODE_GONE, memory_order_relaxed);
		atomic_fetch_add_explicit(&c->fresh, 1, memory_order_release);
	}
	mtx_unlock(&c->free_lock);
	return in;
}

/* One that another thread has by itself. */
static struct inode *slot_pop_others(struct icache *c)
{
	struct inode *in = NULL;

	for (unsigned i = 0; !in && i < ITABLE_OWN; i++)
		in = own_slot(c, &c->fs->itable->own[i]);
	return in;
}

/* For the last resort: an idle inode's times, if its lock can be had without waiting (the caller
 * may hold others). */
static int write_if_idle(struct inode *in)
{
	int err = 0;

	if (!rwl_trywrlock(&in->layout))
		return 0;
	err = inode_write_times(in);
	rwl_wrunlock(&in->layout);
	return err;
}

/* One thread at a time; the others wait, they would find the same inodes. Not while the volume is frozen. */
static bool write_idle(struct icache *c)
{
	uint32_t was = QUIET_NO;

	while (!atomic_compare_exchange_weak(&c->fs->quiet, &was, QUIET_WRITING)) {
		if (was == QUIET_FROZEN)
			return false;
		was = QUIET_NO;
		lock_yield();
	}
	icache_each_touched(c, write_if_idle);
	(void)journal_seal_all(c->fs->journal); /* fails when the volume is shut down, and then nothing has to stay */
	atomic_store(&c->fs->quiet, QUIET_NO);
	return true;
}

static struct inode *slot_get(struct icache *c)
{
	struct inode *in = slot_pop(c);
	bool pending = false;

	if (!in)
		in = clock_evict(c, 2, &pending);
	if (!in)
		in = slot_pop_others(c);
	/* Again, when other threads touched them all once more in between. */
	for (unsigned n = 0; !in && pending && n < LAST_RESORTS && write_idle(c); n++) {
		pending = false;
		in = clock_evict(c, 2, &pending);
	}
	return in;
}

/* ---- getting */

void icache_fill(struct inode *in, struct fs *fs, inum_t ino, moff_t off,
		 const struct fmt_inode *img)
{
	in->gen = le64_get(img->gen);
	in->off = off;
	in->type = le32_get(img->mode) & S_IFMT;
	in->fs = fs;
	rwl_init(&in->content, in->type == S_IFDIR ? RANK_DIR : RANK_DATA, inode_lock_order(ino, in->gen));
	rwl_init(&in->layout, RANK_LAYOUT, inode_lock_order(ino, in->gen));
	mtx_init(&in->pins_lock, RANK_LEAF, 0);
	mtx_init(&in->views_lock, RANK_VIEW, inode_lock_order(ino, in->gen));
	atomic_store_explicit(&in->opens, 0, memory_order_relaxed);
	atomic_store_explicit(&in->dir_hint, img->dir_depth, memory_order_relaxed);
	atomic_store_explicit(&in->pend_atime, INT64_MIN, memory_order_relaxed);
	atomic_store_explicit(&in->pend_mtime, INT64_MIN, memory_order_relaxed);
	atomic_store_explicit(&in->pend_ctime, INT64_MIN, memory_order_relaxed);
	atomic_store_explicit(&in->open, 0, memory_order_relaxed);
	atomic_store_explicit(&in->dead, false, memory_order_relaxed);
	/* Not yet: what is looked at once, as by a walk through all files, goes first. */
	atomic_store_explicit(&in->recent, false, memory_order_relaxed);
	__atomic_store_n(&in->ino.v, ino.v, __ATOMIC_RELAXED);
}

static void mark_recent(struct inode *in)
{
	if (!atomic_load_explicit(&in->recent, memory_order_relaxed))
		atomic_store_explicit(&in->recent, true, memory_order_relaxed);
}

/* Under the shard's lock. */
static int load_locked(struct icache *c, inum_t ino, const struct ino_place *place, uint32_t hash,
		       struct inode *in)
{
	struct fs *fs = c->fs;
	struct fmt_inode img;
	int err;

	if (!itable_bit(fs, place->bit))
		return err_set(-ESTALE, "inode %llu: there is no such inode",
			       (unsigned long long)ino.v);
	memcpy(&img, pm_at(fs->pm, place->image), sizeof(img));
	err = fmt_inode_verify(&fs->geo, &img, ino);
	if (err)
		return err_prefix(err, "run fsck.holdfast");
	if (le32_get(img.mode) == 0)
		return err_set(
		    -EUCLEAN,
		    "inode %llu: free, but in use in the table's bitmap: run fsck.holdfast",
		    (unsigned long long)ino.v);
	icache_fill(in, fs, ino, place->image, &img);
	in->hash = hash;
	atomic_store_explicit(&in->refs, 1, memory_order_release);
	chain_add(c, in);
	return 0;
}

static int slot_take(struct icache *c, struct inode **out)
{
	*out = slot_get(c);
	return *out ? 0 : err_set(-ENFILE, "inode cache: all of its %u inodes are in use", c->max);
}

/* *spare: a slot to use, or NULL: one is taken. What is left of it is NULL, or still the caller's. */
static int get_slow(struct icache *c, inum_t ino, uint32_t hash, struct inode **spare, struct inode **out)
{
	struct mtx *shard = shard_of(c, hash);
	struct ino_place place;
	int err;

	/* Before the slot: a number from outside must not cost anybody his place. */
	err = itable_locate(c->fs->itable, ino, &place);
	if (err == 0 && !itable_bit(c->fs, place.bit))
		err = err_set(-ESTALE, "inode %llu: there is no such inode",
			      (unsigned long long)ino.v);
	if (err)
		return err;
	mtx_lock(shard);
	*out = find_locked(c, ino.v, hash);
	mtx_unlock(shard);
	if (*out) {
		mark_recent(*out);
		return 0;
	}
	err = *spare ? 0 : slot_take(c, spare);
	if (err)
		return err;
	mtx_lock(shard);
	*out = find_locked(c, ino.v, hash);
	if (!*out) {
		err = load_locked(c, ino, &place, hash, *spare);
		if (err == 0) {
			*out = *spare;
			*spare = NULL;
		}
	}
	mtx_unlock(shard);
	return err;
}

int inode_place_take(struct fs *fs, struct inode **place)
{
	return slot_take(&fs->itable->cache, place);
}

void inode_place_give(struct fs *fs, struct inode *place)
{
	if (place)
		slot_free(&fs->itable->cache, place);
}

int inode_get(struct fs *fs, inum_t ino, uint64_t gen, struct inode **out)
{
	struct inode *place = NULL;
	int err = inode_get_in(fs, ino, gen, &place, out);

	inode_place_give(fs, place);
	return err;
}

int inode_get_in(struct fs *fs, inum_t ino, uint64_t gen, struct inode **place, struct inode **out)
{
	struct icache *c = &fs->itable->cache;
	uint32_t hash = hash_of(c, ino.v);
	struct inode *in;
	int err;

	*out = NULL;
	if (ino.v < FMT_INO_FIRST && ino.v != FMT_INO_ROOT)
		return err_set(-ESTALE, "inode %llu: not for the users of a volume",
			       (unsigned long long)ino.v);
	in = find_fast(c, ino.v, hash);
	if (in) {
		mark_recent(in);
	} else {
		err = get_slow(c, ino, hash, place, &in);
		if (err)
			return err;
	}
	err = inode_intact(in);
	if (err) {
		inode_put(in);
		return err;
	}
	if (gen != 0 && in->gen != gen) {
		inode_put(in);
		return err_set(-ESTALE, "inode %llu: the number was given to another file since",
			       (unsigned long long)ino.v);
	}
	*out = in;
	return 0;
}

int icache_each_touched(struct icache *c, int (*fn)(struct inode *in))
{
	uint32_t used = atomic_load_explicit(&c->fresh, memory_order_acquire);
	int first = 0;

	for (uint32_t i = 0; i < used; i++) {
		struct inode *in = &c->slots[i];
		int err;

		if (!inode_times_pending(in) || !try_ref(in))
			continue;
		err = fn(in);
		if (err && first == 0)
			first = err;
		inode_put(in);
	}
	return first;
}
