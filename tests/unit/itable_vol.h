/* A small mounted volume for the tests of the inode layer, and a check of all that hangs off its table: every block
 * belongs to exactly one owner or is free, and every inode counts its own. */
#ifndef HF_TESTS_ITABLE_VOL_H
#define HF_TESTS_ITABLE_VOL_H

#include "cunit_main.h"
#include "journal_sim.h"
#include "inode/map.h"
#include "inode/orphan.h"
#include "inode/xattr.h"

#define MIB (1024ull * 1024)

struct ivol {
	struct pm *pm;
	struct fs fs;
};

static inline void ivol_must(int err, const char *what)
{
	if (err == 0)
		return;
	fprintf(stderr, "%s: %d: %s\n", what, err, err_msg());
	abort();
}

/* 0, or the error of the layer that could not be opened (which it names). */
static inline int ivol_try_mount(struct ivol *v, struct pm *pm, uint32_t max_cached)
{
	struct fs *fs = &v->fs;
	int err;

	memset(v, 0, sizeof(*v));
	v->pm = fs->pm = pm;
	mtx_init(&fs->rename_lock, RANK_RENAME, 0);
	err = geo_read(pm, &fs->geo);
	if (err == 0)
		err = journal_open(pm, &fs->geo, &fs->journal);
	if (err)
		return err;
	err = space_open(pm, &fs->geo, fs->journal, &fs->space);
	if (err == 0)
		err = itable_open(fs, max_cached);
	if (err == 0)
		err = orphans_open(fs);
	if (err == 0)
		return 0;
	itable_close(fs);
	space_close(&fs->space);
	journal_close(&fs->journal);
	return err;
}

static inline void ivol_mount(struct ivol *v, struct pm *pm, uint32_t max_cached)
{
	ivol_must(ivol_try_mount(v, pm, max_cached), "mount");
}

static inline void ivol_unmount(struct ivol *v)
{
	orphans_close(&v->fs);
	itable_close(&v->fs);
	space_close(&v->fs.space);
	journal_close(&v->fs.journal);
}

static inline void ivol_mkfs(struct pm *pm)
{
	struct mkfs_args mkfs = { .root_mode = 0755 };

	ivol_must(mkfs_write(pm, &mkfs), "mkfs_write");
}

static inline void ivol_open(struct ivol *v, uint64_t bytes, uint32_t max_cached)
{
	struct pm_open_args args = { .force_gran = true, .gran = PM_LINE };
	struct pm *pm;

	ivol_must(pm_open_memfd(bytes, &args, &pm), "pm_open_memfd");
	ivol_mkfs(pm);
	ivol_mount(v, pm, max_cached);
}

static inline void ivol_remount(struct ivol *v, uint32_t max_cached)
{
	struct pm *pm = v->pm;

	ivol_unmount(v);
	ivol_mount(v, pm, max_cached);
}

static inline void ivol_close(struct ivol *v)
{
	ivol_unmount(v);
	pm_close(&v->pm);
}

/* ---- what a test does all the time */

static inline int ivol_try_create(struct fs *fs, inum_t near, uint32_t mode, uint32_t nlink, inum_t *ino, uint64_t *gen)
{
	struct inode_init init = { .mode = mode, .nlink = nlink, .uid = 7, .gid = 8, .rdev_or_parent = FMT_INO_ROOT };
	struct txn *t;
	int err = itable_reserve(fs, near, ino);

	if (err)
		return err;
	t = txn_begin(fs->journal);
	err = inode_init(fs, t, *ino, &init, gen);
	if (err) {
		txn_abort(t);
		return err;
	}
	return txn_commit(t, NULL);
}

static inline inum_t ivol_create(struct fs *fs, uint32_t mode, uint32_t nlink)
{
	uint64_t gen;
	inum_t ino;

	ivol_must(ivol_try_create(fs, INUM(FMT_INO_ROOT), mode, nlink, &ino, &gen), "create");
	return ino;
}

static inline struct inode *ivol_get(struct fs *fs, inum_t ino)
{
	struct inode *in;

	ivol_must(inode_get(fs, ino, 0, &in), "inode_get");
	return in;
}

static inline struct inode *ivol_new(struct fs *fs, uint32_t mode, uint32_t nlink)
{
	return ivol_get(fs, ivol_create(fs, mode, nlink));
}

/* Frees an inode without content. */
static inline int ivol_free(struct inode *in)
{
	struct txn *t = txn_begin(in->fs->journal);
	int err;

	rwl_wrlock(&in->layout);
	inode_free(in, t);
	err = txn_commit(t, NULL);
	rwl_wrunlock(&in->layout);
	return err;
}

/* n blocks at fblk, in one transaction; scattered: each an extent of its own. */
static inline int ivol_try_fill(struct inode *in, uint64_t fblk, uint64_t n, bool scattered)
{
	struct txn *t = txn_begin(in->fs->journal);
	struct inode_edit e;
	int err = 0;

	rwl_wrlock(&in->layout);
	inode_edit_begin(&e, in, t);
	for (uint64_t at = fblk; err == 0 && at < fblk + n;) {
		uint32_t want = scattered ? 1 : (uint32_t)min_u64(fblk + n - at, HF_BLOCKS_PER_FRAME);
		struct mext x;

		err = space_alloc(in->fs->space, t, want, MBLK_NULL, 0, &x);
		if (err == 0)
			err = map_insert(&e, FMT_FORK_DATA, FBLK(at), x.first, x.n);
		at += err ? 0 : x.n;
	}
	e.img.size = le64_of(max_u64(le64_get(e.img.size), (fblk + n) * HF_BLOCK_SIZE));
	inode_edit_end(&e);
	if (err == 0)
		err = txn_commit(t, NULL);
	else
		txn_abort(t);
	rwl_wrunlock(&in->layout);
	return err;
}

static inline void ivol_fill(struct inode *in, uint64_t fblk, uint64_t n)
{
	ivol_must(ivol_try_fill(in, fblk, n, false), "fill");
}

/* What unlink of the last name does: nlink 0; with a slot if 'slot'. */
static inline void ivol_drop_name(struct inode *in, bool slot)
{
	struct txn *t;
	struct inode_edit e;
	uint32_t s = 0;

	if (slot)
		ivol_must(orphan_reserve(in->fs, &s), "orphan_reserve");
	t = txn_begin(in->fs->journal);
	rwl_wrlock(&in->layout);
	inode_edit_begin(&e, in, t);
	e.img.nlink = le32_of(0);
	if (slot) {
		e.img.orphan = le32_of(s + 1);
		orphan_set_inode(in->fs, t, s, in->ino, in->gen);
	}
	inode_edit_end(&e);
	ivol_must(txn_commit(t, NULL), "unlink");
	rwl_wrunlock(&in->layout);
}

static inline uint64_t ivol_commits(struct fs *fs)
{
	struct journal_stat st;

	journal_stat(fs->journal, &st);
	return st.commits;
}

/* ---- crashes */

/* A legal crash image that no random choice comes upon: of all that is not durable only the journal's lines got there.
 * A record without what it names, if that was not fenced before. */
static inline void ivol_lanes_image(struct sim *s, const struct geo *g, uint8_t *image)
{
	pthread_mutex_lock(&s->mtx);
	memcpy(image, s->shadow, s->size);
	memcpy(image + g->lanes_off.v, s->mem + g->lanes_off.v, g->nlanes * g->lane_bytes);
	pthread_mutex_unlock(&s->mtx);
}

/* Bytes of former lives in all that is free. */
static inline void ivol_litter(struct fs *fs)
{
	uint8_t junk[HF_BLOCK_SIZE];

	memset(junk, 0xa5, sizeof(junk));
	for (uint64_t b = fs->geo.first_data.v; b < fs->geo.nblocks - 1; b++)
		if (!space_is_allocated(fs->space, MBLK(b)))
			pm_copy_nt(fs->pm, mblk_to_moff(MBLK(b)), junk, sizeof(junk));
	ivol_must(pm_fence(fs->pm), "pm_fence");
}

/* ---- the check */

struct ivol_check {
	struct fs *fs;
	uint8_t *owned;
	uint64_t blocks;		/* of the inode that is looked at */
	char why[256];
};

static inline int ivol_own(struct ivol_check *c, uint64_t b, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		if (c->owned[b + i]) {
			snprintf(c->why, sizeof(c->why), "block %llu has two owners", (unsigned long long)(b + i));
			return 1;
		}
		c->owned[b + i] = 1;
	}
	c->blocks += n;
	return 0;
}

static inline int ivol_visit(void *ctx, const struct map_visit *m)
{
	struct ivol_check *c = ctx;
	uint64_t b = fmt_entry_blk(m->entry).v;

	if (m->verify_err) {
		snprintf(c->why, sizeof(c->why), "map entry: %s", err_msg());
		return 1;
	}
	if (m->entry == 0)
		return 0;
	return ivol_own(c, b, fmt_entry_kind_of(m->entry) == FMT_ENT_HUGE ? HF_BLOCKS_PER_FRAME : 1);
}

static inline int ivol_check_map(struct ivol_check *c, inum_t ino, enum fmt_fork fork, uint64_t root, unsigned height)
{
	if (root == 0)
		return 0;
	return map_walk(c->fs->pm, &c->fs->geo, ino, fork, root, height, ivol_visit, c);
}

static inline int ivol_check_inode(struct ivol_check *c, inum_t ino, const struct fmt_inode *img)
{
	unsigned long long n = (unsigned long long)ino.v;

	c->blocks = 0;
	if (fmt_inode_verify(&c->fs->geo, img, ino) != 0) {
		snprintf(c->why, sizeof(c->why), "%s", err_msg());
		return 1;
	}
	if (le32_get(img->mode) == 0) {
		snprintf(c->why, sizeof(c->why), "inode %llu: bit set, image free", n);
		return 1;
	}
	if (ivol_check_map(c, ino, FMT_FORK_DATA, le64_get(img->root), img->height) ||
	    ivol_check_map(c, ino, FMT_FORK_XATTR, le64_get(img->xroot), img->xheight))
		return 1;
	if (c->blocks != le64_get(img->blocks)) {
		snprintf(c->why, sizeof(c->why), "inode %llu: counts %llu blocks, has %llu", n,
			 (unsigned long long)le64_get(img->blocks), (unsigned long long)c->blocks);
		return 1;
	}
	return 0;
}

static inline mblk_t ivol_table_block(struct ivol_check *c, uint64_t f)
{
	struct map_extent x;
	struct inode tab;

	/* As the library's own: inode 1 is where it always is. */
	memset(&tab, 0, sizeof(tab));
	tab.ino = INUM(FMT_INO_ITABLE);
	tab.fs = c->fs;
	tab.type = S_IFREG;
	tab.off = MOFF(FMT_BLK_INODES0 * (uint64_t)HF_BLOCK_SIZE + FMT_INO_ITABLE * FMT_INODE_SIZE);
	ivol_must(map_lookup(&tab, FMT_FORK_DATA, FBLK(f), 1, &x), "table block");
	return x.blk;
}

static inline int ivol_check_table(struct ivol_check *c, uint64_t *in_use)
{
	const struct fmt_inode *table = pm_at(c->fs->pm, MOFF(FMT_BLK_INODES0 * (uint64_t)HF_BLOCK_SIZE +
							      FMT_INO_ITABLE * FMT_INODE_SIZE));
	uint64_t nblocks = le64_get(table->size) / HF_BLOCK_SIZE;
	mblk_t bitmap = MBLK_NULL;

	*in_use = 0;
	for (uint64_t f = 0; f < nblocks; f++) {
		uint64_t g = f / FMT_IGROUP_BLOCKS, b = f % FMT_IGROUP_BLOCKS;
		mblk_t blk = ivol_table_block(c, f);

		if (b == 0) {
			bitmap = blk;
			continue;
		}
		for (uint64_t i = 0; i < FMT_INODES_PER_BLOCK; i++) {
			uint64_t k = (b - 1) * FMT_INODES_PER_BLOCK + i;
			inum_t ino = INUM(g * FMT_IGROUP_INODES + k);
			const struct fmt_inode *img = pm_at(c->fs->pm, moff_add(mblk_to_moff(blk), i * FMT_INODE_SIZE));
			bool set = pm_load64(c->fs->pm, moff_add(mblk_to_moff(bitmap), k / 64 * 8)) >> k % 64 & 1;

			if (ino.v == 0 || (ino.v > FMT_INO_ROOT && ino.v < FMT_INO_FIRST))
				continue;
			if (set && ivol_check_inode(c, ino, img))
				return 1;
			if (!set && (fmt_inode_verify(&c->fs->geo, img, ino) != 0 || le32_get(img->mode) != 0)) {
				snprintf(c->why, sizeof(c->why), "inode %llu: bit clear, image in use or damaged",
					 (unsigned long long)ino.v);
				return 1;
			}
			*in_use += set && ino.v >= FMT_INO_ROOT;
		}
	}
	return 0;
}

static inline int ivol_check_orphans(struct ivol_check *c)
{
	for (uint32_t s = 0; s < orphan_count(c->fs); s++) {
		struct fmt_orphan o;

		if (orphan_read(c->fs, s, &o)) {
			snprintf(c->why, sizeof(c->why), "%s", err_msg());
			return 1;
		}
		if (o.kind == FMT_ORPHAN_SUBTREE &&
		    map_walk_at(c->fs->pm, &c->fs->geo, INUM(le64_get(o.ino)), o.fork, le64_get(o.entry), o.level,
				FBLK(le64_get(o.fblk)), ivol_visit, c))
			return 1;
	}
	return 0;
}

static inline int ivol_check_space(struct ivol_check *c)
{
	for (uint64_t b = c->fs->geo.first_data.v; b < c->fs->geo.nblocks - 1; b++) {
		if (space_is_allocated(c->fs->space, MBLK(b)) == (c->owned[b] != 0))
			continue;
		snprintf(c->why, sizeof(c->why), "block %llu: %s", (unsigned long long)b,
			 c->owned[b] ? "owned, but free" : "allocated, but nobody's");
		return 1;
	}
	return 0;
}

/* NULL, or what is wrong (valid until the next call). Nothing may be under way. */
static inline const char *ivol_check(struct fs *fs)
{
	static struct ivol_check c;
	uint64_t in_use;
	int bad;

	memset(&c, 0, sizeof(c));
	c.fs = fs;
	c.owned = calloc(fs->geo.nblocks, 1);
	bad = ivol_check_table(&c, &in_use) || ivol_check_orphans(&c) || ivol_check_space(&c);
	if (!bad && in_use != itable_in_use(fs)) {
		snprintf(c.why, sizeof(c.why), "%llu inodes in use, counted %llu", (unsigned long long)in_use,
			 (unsigned long long)itable_in_use(fs));
		bad = 1;
	}
	free(c.owned);
	return bad ? c.why : NULL;
}

#define IVOL_ASSERT_SOUND(fs)                                           \
	do {                                                            \
		const char *why_ = ivol_check(fs);                      \
		if (why_)                                               \
			printf("  %s:%d: %s\n", __FILE__, __LINE__, why_); \
		CU_ASSERT_PTR_NULL(why_);                               \
	} while (0)

#endif
