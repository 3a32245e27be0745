/* The inode table: finding an inode's bytes, handing out numbers. */
#include "inode/itable_priv.h"

#include <stdlib.h>

enum {
	PROBE_GROUPS =
	    8, /* groups not seen yet that a reservation looks at before it grows the table */
	DAMAGED_MAX = 64, /* damaged free images that it passes over before it gives up */
};

/* ---- finding */

int itable_map(struct itable *it, fblk_t f, uint64_t max, struct map_extent *out)
{
	int err;

	rwl_rdlock(&it->self.layout);
	err = map_lookup(&it->self, FMT_FORK_DATA, f, max, out);
	rwl_rdunlock(&it->self.layout);
	if (err)
		return err_prefix(err, "inode table");
	if (mblk_is_null(out->blk))
		return err_set(-EUCLEAN, "inode table: block %llu is missing: run fsck.holdfast",
			       (unsigned long long)f.v);
	return 0;
}

int itable_load_group(struct itable *it, uint64_t g)
{
	struct igroup *grp = atomic_load_explicit(&it->slots[g].group, memory_order_acquire);
	int err = 0;

	if (!grp) {
		mtx_lock(&it->lock);
		err = igroup_load_locked(it, g, &grp);
		mtx_unlock(&it->lock);
	}
	return err;
}

/* Looks up block b of the group's inodes, and keeps the run that it found. */
static int find_block(struct itable *it, uint64_t g, struct igroup *grp, uint32_t b, uint64_t *out)
{
	struct map_extent x;
	int err = itable_map(it, FBLK(g * FMT_IGROUP_BLOCKS + 1 + b), IGROUP_BLOCKS - b, &x);

	if (err)
		return err;
	for (uint32_t i = 0; i < x.n; i++)
		atomic_store_explicit(&grp->blk[b + i], x.blk.v + i, memory_order_relaxed);
	*out = x.blk.v;
	return 0;
}

int itable_locate(struct itable *it, inum_t ino, struct ino_place *out)
{
	uint64_t g = fmt_ino_group(ino), blk;
	uint32_t i = (uint32_t)(ino.v % FMT_IGROUP_INODES), b = i / FMT_INODES_PER_BLOCK;
	struct igroup *grp;
	int err;

	if (g >= it->max_groups ||
	    fmt_ino_fblk(ino).v >= atomic_load_explicit(&it->nblocks, memory_order_acquire))
		return err_set(-ESTALE, "inode %llu: there is no such inode",
			       (unsigned long long)ino.v);
	err = itable_load_group(it, g);
	if (err)
		return err;
	grp = atomic_load_explicit(&it->slots[g].group, memory_order_acquire);
	blk = atomic_load_explicit(&grp->blk[b], memory_order_relaxed);
	if (blk == 0)
		err = find_block(it, g, grp, b, &blk);
	if (err)
		return err;
	out->image = moff_add(mblk_to_moff(MBLK(blk)), i % FMT_INODES_PER_BLOCK * FMT_INODE_SIZE);
	out->bit = mblk_to_moff(grp->bitmap).v * 8 + i;
	return 0;
}

/* ---- a thread's own numbers */

#define OWN_MASK(numbers) ((numbers) & 0xffffu)

static uint64_t own_group(uint64_t numbers)
{
	return fmt_ino_group(INUM((numbers >> 16) * FMT_INODES_PER_BLOCK));
}

/* The lowest, if they are of the group of 'near', and there is none closer to it. */
static bool own_take(struct itable *it, inum_t near, inum_t *out)
{
	_Atomic uint64_t *own = &itable_own(it)->numbers;
	uint64_t v = atomic_load_explicit(own, memory_order_relaxed), g = fmt_ino_group(near);

	do {
		if (OWN_MASK(v) == 0 || own_group(v) != g)
			return false;
		if (v >> 16 != near.v / FMT_INODES_PER_BLOCK &&
		    igroup_block_has(it, g, (uint32_t)(near.v % FMT_IGROUP_INODES)))
			return false;
	} while (!atomic_compare_exchange_weak_explicit(own, &v, v & (v - 1), memory_order_acquire,
							memory_order_relaxed));
	*out = INUM((v >> 16) * FMT_INODES_PER_BLOCK + (uint64_t)__builtin_ctzll(v));
	return true;
}

static void release_locked(struct itable *it, uint64_t numbers)
{
	uint64_t first = (numbers >> 16) * FMT_INODES_PER_BLOCK, mask;

	for (mask = OWN_MASK(numbers); mask; mask &= mask - 1)
		igroup_release_locked(it, fmt_ino_group(INUM(first)),
				      (uint32_t)((first + (uint64_t)__builtin_ctzll(mask)) %
						 FMT_IGROUP_INODES));
}

/* Released to whoever takes it: its transaction is applied. Those of another block give way, so that of files that are removed
 * in the order in which they were made every sixteenth takes the lock. */
void itable_give_back(struct itable *it, inum_t ino)
{
	_Atomic uint64_t *own = &itable_own(it)->numbers;
	uint64_t block = ino.v / FMT_INODES_PER_BLOCK, bit = 1ull << ino.v % FMT_INODES_PER_BLOCK;
	uint64_t v = atomic_load_explicit(own, memory_order_relaxed);

	while (!atomic_compare_exchange_weak_explicit(
	    own, &v, block << 16 | bit | (v >> 16 == block ? OWN_MASK(v) : 0),
	    memory_order_acq_rel, memory_order_relaxed))
		;
	if (v >> 16 == block || OWN_MASK(v) == 0)
		return;
	mtx_lock(&it->lock);
	release_locked(it, v);
	mtx_unlock(&it->lock);
}

void itable_unreserve(struct fs *fs, inum_t ino)
{
	itable_give_back(fs->itable, ino);
}

/* Those of one thread or of all go back to the shadow. True: there were some. */
static bool own_end_locked(struct itable *it, struct itable_own *own, unsigned n)
{
	bool any = false;

	for (unsigned i = 0; i < n; i++) {
		uint64_t v = atomic_exchange_explicit(&own[i].numbers, 0, memory_order_acquire);

		any |= OWN_MASK(v) != 0;
		release_locked(it, v);
	}
	return any;
}

/* What is free beside 'ino' in its block. */
static void own_fill_locked(struct itable *it, inum_t ino)
{
	uint64_t none = 0, v = ino.v / FMT_INODES_PER_BLOCK << 16;

	v |= igroup_keep_block_locked(it, fmt_ino_group(ino), (uint32_t)(ino.v % FMT_IGROUP_INODES));
	if (OWN_MASK(v) && !atomic_compare_exchange_strong_explicit(&itable_own(it)->numbers, &none, v,
								    memory_order_release, memory_order_relaxed))
		release_locked(it, v);	/* another thread of the same number was faster */
}

static uint64_t own_count(const struct itable *it)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < ITABLE_OWN; i++)
		n += (uint64_t)__builtin_popcountll(OWN_MASK(atomic_load_explicit(&it->own[i].numbers, memory_order_relaxed)));
	return n;
}

/* ---- handing out numbers */

/* Keeps a number of group g, if there is a free one. 1: done; 0: none. */
static int keep_in_group(struct itable *it, uint64_t g, uint32_t near, inum_t *out)
{
	struct igroup *grp;
	int err = igroup_count_locked(it, g);

	if (err || it->slots[g].free == 0)
		return err;
	err = igroup_load_locked(it, g, &grp);
	if (err)
		return err;
	*out = INUM(g * FMT_IGROUP_INODES + igroup_keep_locked(it, g, near));
	return 1;
}

/* Counts up to 'max' groups that were not looked at since the mount, until one has free numbers. */
static int probe_groups(struct itable *it, uint64_t max)
{
	uint64_t groups = itable_groups(it);
	int err = 0;

	while (err == 0 && max > 0 && it->free_list == 0 && it->probe < groups) {
		if (!it->slots[it->probe].known)
			max--;
		err = igroup_count_locked(it, it->probe);
		if (err == 0)
			it->probe++;
	}
	return err;
}

/* The group of 'near', else one that is known to have free numbers, else one of the next few that
 * were not looked at, else a new block. Never a search through all groups, but for a full volume's.
 */
static int keep_locked(struct itable *it, inum_t near, inum_t *out)
{
	uint64_t g = fmt_ino_group(near);
	int rc;

	if (g < itable_groups(it)) {
		rc = keep_in_group(it, g, (uint32_t)(near.v % FMT_IGROUP_INODES), out);
		if (rc != 0)
			return rc < 0 ? rc : 0;
	}
	rc = probe_groups(it, PROBE_GROUPS);
	if (rc == 0 && it->free_list == 0)
		rc = itable_grow_locked(it);
	if (rc == -ENOSPC) {
		rc = probe_groups(it, UINT64_MAX);
		if (rc == 0 && it->free_list == 0)
			rc = err_set(-ENOSPC,
				     "no free inode, and no space for the inode table to grow");
	}
	if (rc)
		return rc;
	rc = keep_in_group(it, it->free_list - 1, 0, out);
	return rc < 0 ? rc : 0;
}

/* A number whose image cannot be read as a free one must not be used: its generation is not known.
 */
static int check_free_image(struct itable *it, inum_t ino)
{
	const struct fmt_inode *img;
	struct ino_place place;
	int err = itable_locate(it, ino, &place);

	if (err)
		return err;
	img = pm_at(it->fs->pm, place.image);
	err = fmt_inode_verify(&it->fs->geo, img, ino);
	if (err == 0 && le32_get(img->mode) != 0)
		err =
		    err_set(-EUCLEAN,
			    "inode %llu: in use, but free in the table's bitmap: run fsck.holdfast",
			    (unsigned long long)ino.v);
	return err;
}

static int keep(struct itable *it, inum_t near, inum_t *out)
{
	int err;

	if (own_take(it, near, out))
		return 0;
	mtx_lock(&it->lock);
	own_end_locked(it, itable_own(it), 1);
	err = keep_locked(it, near, out);
	/* Before the volume is said to be full: what other threads have by themselves. */
	if (err == -ENOSPC && own_end_locked(it, it->own, ITABLE_OWN)) {
		err_clear();
		err = keep_locked(it, near, out);
	}
	if (err == 0)
		own_fill_locked(it, *out);
	mtx_unlock(&it->lock);
	return err;
}

int itable_reserve(struct fs *fs, inum_t near, inum_t *out)
{
	struct itable *it = fs->itable;
	int err = 0;

	*out = INUM_NULL;
	for (int tries = 0; tries < DAMAGED_MAX; tries++) {
		inum_t ino = INUM_NULL;

		err = keep(it, near, &ino);
		if (err)
			return err;
		/* Not under the lock: this is the first look at its cache line. A bad one stays
		 * kept. */
		err = check_free_image(it, ino);
		if (err == 0) {
			*out = ino;
			return 0;
		}
	}
	return err;
}

/* ---- counting */

static int count_all_locked(struct itable *it)
{
	uint64_t groups = itable_groups(it);
	int err = 0;

	for (uint64_t g = it->probe; g < groups && err == 0; g++)
		err = igroup_count_locked(it, g);
	return err;
}

static uint64_t numbers_locked(const struct itable *it)
{
	uint64_t nblocks = it->nblocks;

	return (nblocks - itable_groups(it)) * FMT_INODES_PER_BLOCK;
}

/* 'used' counts the numbers that transactions under way hold. */
static int count(struct itable *it, uint64_t *used, uint64_t *nfree)
{
	const uint64_t never = FMT_INO_FIRST - 1; /* all but the root */
	uint64_t own;
	int err;

	mtx_lock(&it->lock);
	err = count_all_locked(it);
	if (err == 0) {
		it->probe = itable_groups(it);
		own = own_count(it);	/* moves while threads take and give, as the whole count does */
		*nfree = it->free + own;
		*used = numbers_locked(it) - it->free;
		*used -= min_u64(*used, own);
		*used -= min_u64(*used, never);
	}
	mtx_unlock(&it->lock);
	return err;
}

uint64_t itable_in_use(struct fs *fs)
{
	uint64_t used, nfree;

	return count(fs->itable, &used, &nfree) == 0 ? used : UINT64_MAX;
}

uint64_t itable_free(struct fs *fs)
{
	uint64_t used, nfree;

	return count(fs->itable, &used, &nfree) == 0 ? nfree : UINT64_MAX;
}

/* ---- opening */

/* The table's own inode is where it always is: everything else is found through it. */
static int open_self(struct itable *it)
{
	struct fs *fs = it->fs;
	moff_t off =
	    MOFF(FMT_BLK_INODES0 * (uint64_t)HF_BLOCK_SIZE + FMT_INO_ITABLE * FMT_INODE_SIZE);
	struct fmt_inode img;
	uint64_t size;
	int err;

	memcpy(&img, pm_at(fs->pm, off), sizeof(img));
	err = fmt_inode_verify(&fs->geo, &img, INUM(FMT_INO_ITABLE));
	if (err)
		return err_prefix(err, "inode table");
	size = le64_get(img.size);
	if (!S_ISREG(le32_get(img.mode)) || size % HF_BLOCK_SIZE != 0 || size < 2 * HF_BLOCK_SIZE ||
	    size / HF_BLOCK_SIZE > fs->geo.nblocks || size / HF_BLOCK_SIZE % FMT_IGROUP_BLOCKS == 1)
		return err_set(-EUCLEAN,
			       "inode table: its size (%llu) cannot be: run fsck.holdfast",
			       (unsigned long long)size);
	icache_fill(&it->self, fs, INUM(FMT_INO_ITABLE), off, &img);
	rwl_init(&it->self.layout, RANK_ITABLE, 1);
	atomic_store(&it->nblocks, size / HF_BLOCK_SIZE);
	return 0;
}

int itable_open(struct fs *fs, uint32_t max_cached)
{
	struct itable *it = aligned_alloc(HF_LINE, round_up_u64(sizeof(*it), HF_LINE));
	int err;

	fs->itable = NULL;
	if (!it)
		return err_set(-ENOMEM, "inode table: out of memory");
	memset(it, 0, sizeof(*it));
	it->fs = fs;
	mtx_init(&it->lock, RANK_ITABLE, 0);
	it->max_groups = fs->geo.nblocks / FMT_IGROUP_BLOCKS + 2;
	it->slots = calloc(it->max_groups, sizeof(*it->slots));
	err = it->slots ? icache_init(&it->cache, fs, max_cached ? max_cached : 65536)
			: err_set(-ENOMEM, "inode table: out of memory");
	if (err)
		goto out_slots;
	err = open_self(it);
	if (err)
		goto out_cache;
	fs->itable = it;
	return 0;
out_cache:
	icache_close(&it->cache);
out_slots:
	free(it->slots);
	free(it);
	return err;
}

void itable_close(struct fs *fs)
{
	struct itable *it = fs->itable;

	if (!it)
		return;
	icache_close(&it->cache);
	for (uint64_t g = 0; g < itable_groups(it); g++)
		free(atomic_load(&it->slots[g].group));
	free(it->slots);
	free(it);
	fs->itable = NULL;
}
