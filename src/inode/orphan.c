/* Orphan slots.
 *
 * A slot belongs to one inode, or to nobody: who may write it holds that inode's layout lock, or
 * has taken the slot out of the free list. The list is volatile; a slot comes back to it when the
 * transaction that cleared the slot is applied (J2, J3).
 */
#include "inode/itable_priv.h"
#include "inode/orphan.h"

#include <stdlib.h>

#define ORPHAN_WORDS (sizeof(struct fmt_orphan) / 8)

struct orphan_block {
	mblk_t blk;
	uint64_t taken; /* a bit per slot: not in the free list */
};
static_assert(FMT_ORPHANS_PER_BLOCK == 64, "");

struct orphans {
	struct fs *fs;
	struct mtx lock;   /* RANK_ORPHAN, order 0 */
	struct inode self; /* inode 2; its layout lock is RANK_ORPHAN, order 1 */
	struct orphan_block *blocks;
	uint32_t *free; /* a stack; room for every slot */
	uint32_t nblocks, nfree;
};

/* ---- the volatile side; lock held */

static void push_locked(struct orphans *o, uint32_t slot)
{
	struct orphan_block *b = &o->blocks[slot / FMT_ORPHANS_PER_BLOCK];
	uint64_t bit = 1ull << slot % FMT_ORPHANS_PER_BLOCK;
	bool was_taken = b->taken & bit;

	HF_ASSERT(was_taken);
	b->taken &= ~bit;
	o->free[o->nfree++] = slot;
}

/* Room for one more block of slots. */
static int make_room_locked(struct orphans *o)
{
	struct orphan_block *blocks = realloc(o->blocks, (o->nblocks + 1) * sizeof(*blocks));
	uint32_t *list;

	if (blocks)
		o->blocks = blocks;
	list = realloc(o->free, (o->nblocks + 1) * FMT_ORPHANS_PER_BLOCK * sizeof(*list));
	if (list)
		o->free = list;
	return blocks && list ? 0 : err_set(-ENOMEM, "orphan table: out of memory");
}

static void give_back(struct orphans *o, uint32_t slot)
{
	mtx_lock(&o->lock);
	push_locked(o, slot);
	mtx_unlock(&o->lock);
}

static moff_t slot_off(struct fs *fs, uint32_t slot)
{
	struct orphans *o = fs->orphans;
	mblk_t b;

	mtx_lock(&o->lock);
	HF_ASSERT(slot / FMT_ORPHANS_PER_BLOCK < o->nblocks);
	b = o->blocks[slot / FMT_ORPHANS_PER_BLOCK].blk;
	mtx_unlock(&o->lock);
	return moff_add(mblk_to_moff(b), slot % FMT_ORPHANS_PER_BLOCK * sizeof(struct fmt_orphan));
}

/* ---- growth */

static int grow_gather(struct orphans *o, struct txn *t, struct inode_edit *e, mblk_t *blk)
{
	mblk_t hint = MBLK(o->blocks[o->nblocks - 1].blk.v + 1);
	struct fs *fs = o->fs;
	struct mext x;
	int err = space_alloc(fs->space, t, 1, hint, SPACE_META, &x);

	if (err)
		return err;
	/* Zeros are free slots. Stored past the journal, fenced before its record. */
	pm_zero_nt(fs->pm, mblk_to_moff(x.first), HF_BLOCK_SIZE);
	txn_fence_first(t);
	*blk = x.first;
	e->img.size = le64_of(le64_get(e->img.size) + HF_BLOCK_SIZE);
	return map_insert(e, FMT_FORK_DATA, FBLK(o->nblocks), x.first, 1);
}

/* Durability: the new slots exist on return. */
static int grow_locked(struct orphans *o)
{
	struct inode_edit e;
	struct txn *t;
	mblk_t blk = MBLK_NULL;
	int err;

	err = make_room_locked(o);
	if (err)
		return err;
	t = txn_begin(o->fs->journal);
	if (!t)
		return -ENOMEM;
	rwl_wrlock(&o->self.layout);
	inode_edit_begin(&e, &o->self, t);
	err = grow_gather(o, t, &e, &blk);
	inode_edit_end(&e);
	if (err == 0)
		err = txn_commit(t, NULL);
	else
		txn_abort(t);
	rwl_wrunlock(&o->self.layout);
	if (err)
		return err;
	o->blocks[o->nblocks] = (struct orphan_block){.blk = blk, .taken = UINT64_MAX};
	o->nblocks++;
	for (uint32_t i = FMT_ORPHANS_PER_BLOCK; i-- > 0;)
		push_locked(o, (o->nblocks - 1) * FMT_ORPHANS_PER_BLOCK + i);
	return 0;
}

/* ---- handing out */

int orphan_reserve(struct fs *fs, uint32_t *slot)
{
	struct orphans *o = fs->orphans;
	int err = 0;

	mtx_lock(&o->lock);
	if (o->nfree == 0)
		err = grow_locked(o);
	if (err == 0) {
		*slot = o->free[--o->nfree];
		o->blocks[*slot / FMT_ORPHANS_PER_BLOCK].taken |= 1ull
								  << *slot % FMT_ORPHANS_PER_BLOCK;
	}
	mtx_unlock(&o->lock);
	return err ? err_prefix(err, "orphan table") : 0;
}

void orphan_unreserve(struct fs *fs, uint32_t slot)
{
	give_back(fs->orphans, slot);
}

static void set_ended(void *ctx, uint64_t slot, uint64_t unused, jseq_t seq,
		      enum txn_outcome outcome)
{
	(void)unused;
	(void)seq;
	if (outcome == TXN_ABORTED)
		give_back(ctx, (uint32_t)slot);
}

static void clear_ended(void *ctx, uint64_t slot, uint64_t unused, jseq_t seq,
			enum txn_outcome outcome)
{
	(void)unused;
	(void)seq;
	if (outcome == TXN_COMMITTED)
		give_back(ctx, (uint32_t)slot);
}

/* ---- writing */

static void slot_write(struct fs *fs, struct txn *t, uint32_t slot, const struct fmt_orphan *new)
{
	moff_t off = slot_off(fs, slot);
	struct fmt_orphan old;

	words_load(fs, t, off, &old, ORPHAN_WORDS);
	words_log(t, off, &old, new, ORPHAN_WORDS);
}

static void slot_set(struct fs *fs, struct txn *t, uint32_t slot, struct fmt_orphan *o)
{
	o->csum = le64_of(fmt_orphan_csum(&fs->geo, slot, o));
	slot_write(fs, t, slot, o);
}

/* A slot that was reserved: an abort gives it back. Without the defer nothing would. */
static void slot_set_first(struct fs *fs, struct txn *t, uint32_t slot, struct fmt_orphan *o)
{
	if (txn_defer(t, set_ended, fs->orphans, slot, 0) == 0)
		slot_set(fs, t, slot, o);
	else
		give_back(fs->orphans, slot);
}

void orphan_set_inode(struct fs *fs, struct txn *t, uint32_t slot, inum_t ino, uint64_t gen)
{
	struct fmt_orphan o = {
	    .ino = le64_of(ino.v), .gen = le64_of(gen), .kind = FMT_ORPHAN_INODE};

	slot_set_first(fs, t, slot, &o);
}

static struct fmt_orphan subtree(inum_t owner, uint64_t gen, enum fmt_fork fork, unsigned level,
				 fblk_t at, uint64_t entry)
{
	return (struct fmt_orphan){
	    .ino = le64_of(owner.v),
	    .gen = le64_of(gen),
	    .entry = le64_of(entry),
	    .fblk = le64_of(at.v),
	    .kind = FMT_ORPHAN_SUBTREE,
	    .fork = (uint8_t)fork,
	    .level = (uint8_t)level,
	};
}

void orphan_set_subtree(struct fs *fs, struct txn *t, uint32_t slot, inum_t owner, uint64_t gen,
			enum fmt_fork fork, unsigned level, fblk_t at, uint64_t entry)
{
	struct fmt_orphan o = subtree(owner, gen, fork, level, at, entry);

	slot_set_first(fs, t, slot, &o);
}

void orphan_clear(struct fs *fs, struct txn *t, uint32_t slot)
{
	static const struct fmt_orphan zero;

	if (txn_defer(t, clear_ended, fs->orphans, slot, 0) == 0)
		slot_write(fs, t, slot, &zero);
}

/* ---- reading */

int orphan_read(struct fs *fs, uint32_t slot, struct fmt_orphan *out)
{
	memcpy(out, pm_at(fs->pm, slot_off(fs, slot)), sizeof(*out));
	return fmt_orphan_verify(&fs->geo, slot, out);
}

uint32_t orphan_count(struct fs *fs)
{
	struct orphans *o = fs->orphans;
	uint32_t n;

	mtx_lock(&o->lock);
	n = o->nblocks * FMT_ORPHANS_PER_BLOCK;
	mtx_unlock(&o->lock);
	return n;
}

void orphan_clear_inode(struct fs *fs, struct txn *t, uint32_t orphan, inum_t ino, uint64_t gen)
{
	uint32_t slot = orphan - 1;
	struct fmt_orphan o;

	if (orphan == 0 || slot >= orphan_count(fs) || orphan_read(fs, slot, &o) != 0 || o.kind != FMT_ORPHAN_INODE ||
	    le64_get(o.ino) != ino.v || le64_get(o.gen) != gen) {
		txn_fail(t, err_set(-EUCLEAN, "inode %llu: names orphan slot %u, which does not name it: run fsck.holdfast",
				    (unsigned long long)ino.v, slot));
		return;
	}
	orphan_clear(fs, t, slot);
}

/* ---- subtrees */

/* One transaction: what fits of the subtree goes, and the slot says what is left. */
static int free_step(struct fs *fs, uint32_t slot, uint32_t ticket, bool *done)
{
	struct fmt_orphan o;
	uint64_t entry;
	inum_t owner;
	struct txn *t;
	int err;

	err = orphan_read(fs, slot, &o);
	if (err == 0 && o.kind != FMT_ORPHAN_SUBTREE)
		err = err_set(-EUCLEAN, "orphan slot %u: names no subtree", slot);
	if (err)
		return err;
	t = txn_begin(fs->journal);
	if (!t)
		return -ENOMEM;
	txn_set_ticket(t, ticket);
	owner = INUM(le64_get(o.ino));
	entry = le64_get(o.entry);
	err = map_free_some(fs, t, owner, o.fork, o.level, FBLK(le64_get(o.fblk)), &entry, done);
	if (err) {
		txn_abort(t);
		return err;
	}
	if (*done) {
		orphan_clear(fs, t, slot);
	} else {
		o.entry = le64_of(entry);
		slot_set(fs, t, slot, &o);
	}
	return txn_commit(t, NULL);
}

/* Crash: each transaction leaves a slot that names exactly what is still to be freed. */
int orphan_free_subtree(struct fs *fs, uint32_t slot, uint32_t ticket)
{
	bool done = false;
	int err = 0;

	while (err == 0 && !done)
		err = free_step(fs, slot, ticket, &done);
	return err ? err_prefix(err, "orphan slot %u", slot) : 0;
}

/* ---- opening */

static int open_self(struct orphans *o, uint32_t *nblocks)
{
	struct fs *fs = o->fs;
	moff_t off =
	    MOFF(FMT_BLK_INODES0 * (uint64_t)HF_BLOCK_SIZE + FMT_INO_ORPHANS * FMT_INODE_SIZE);
	struct fmt_inode img;
	uint64_t size;
	int err;

	memcpy(&img, pm_at(fs->pm, off), sizeof(img));
	err = fmt_inode_verify(&fs->geo, &img, INUM(FMT_INO_ORPHANS));
	if (err)
		return err;
	size = le64_get(img.size);
	if (!S_ISREG(le32_get(img.mode)) || size == 0 || size % HF_BLOCK_SIZE != 0 ||
	    size / HF_BLOCK_SIZE > fs->geo.nblocks ||
	    size / sizeof(struct fmt_orphan) > UINT32_MAX / 2)
		return err_set(-EUCLEAN, "its size (%llu) cannot be", (unsigned long long)size);
	icache_fill(&o->self, fs, INUM(FMT_INO_ORPHANS), off, &img);
	rwl_init(&o->self.layout, RANK_ORPHAN, 1);
	*nblocks = (uint32_t)(size / HF_BLOCK_SIZE);
	return 0;
}

/* Damaged slots stay taken; inode_recover_orphans says what is wrong with them. */
static int read_block(struct orphans *o)
{
	const struct fmt_orphan *slots;
	struct map_extent x;
	int err;

	err = map_lookup(&o->self, FMT_FORK_DATA, FBLK(o->nblocks), 1, &x);
	if (err == 0 && mblk_is_null(x.blk))
		err = err_set(-EUCLEAN, "block %u is missing", o->nblocks);
	if (err == 0)
		err = make_room_locked(o);
	if (err)
		return err;
	o->blocks[o->nblocks] = (struct orphan_block){.blk = x.blk, .taken = UINT64_MAX};
	o->nblocks++;
	slots = pm_at(o->fs->pm, mblk_to_moff(x.blk));
	for (uint32_t i = FMT_ORPHANS_PER_BLOCK; i-- > 0;) {
		uint32_t slot = (o->nblocks - 1) * FMT_ORPHANS_PER_BLOCK + i;
		bool is_free = le64_get(slots[i].csum) == 0 && slots[i].kind == 0;

		if (is_free && fmt_orphan_verify(&o->fs->geo, slot, &slots[i]) == 0)
			push_locked(o, slot);
	}
	return 0;
}

int orphans_open(struct fs *fs)
{
	struct orphans *o = calloc(1, sizeof(*o));
	uint32_t nblocks = 0;
	int err;

	fs->orphans = NULL;
	if (!o)
		return err_set(-ENOMEM, "orphan table: out of memory");
	o->fs = fs;
	mtx_init(&o->lock, RANK_ORPHAN, 0);
	err = open_self(o, &nblocks);
	while (err == 0 && o->nblocks < nblocks)
		err = read_block(o);
	fs->orphans = o;
	if (err) {
		orphans_close(fs);
		return err_prefix(err, "orphan table: run fsck.holdfast");
	}
	return 0;
}

void orphans_close(struct fs *fs)
{
	struct orphans *o = fs->orphans;

	if (!o)
		return;
	free(o->blocks);
	free(o->free);
	free(o);
	fs->orphans = NULL;
}
