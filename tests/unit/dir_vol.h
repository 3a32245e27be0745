/* A small mounted volume with its root directory, for the tests of the dir layer, and a check of the whole tree: it starts at
 * the root and looks at every bucket, entry, link count and parent, and at every inode that no entry leads to. */
#ifndef HF_TESTS_DIR_VOL_H
#define HF_TESTS_DIR_VOL_H

#include "itable_vol.h"
#include "dir/name_cache.h"
#include "dir/name_int.h"
#include "dir/bucket.h"

#include <dirent.h>

struct dvol {
	struct ivol v;
	struct fs *fs;
	struct inode *root;
};

static inline void dvol_attach(struct dvol *d)
{
	d->fs = &d->v.fs;
	ivol_must(name_cache_open(d->fs, 64), "name cache");	/* a small one: names push each other out */
	ivol_must(inode_get(d->fs, INUM(FMT_INO_ROOT), 0, &d->root), "root");
}

static inline void dvol_open(struct dvol *d, uint64_t bytes)
{
	ivol_open(&d->v, bytes, 4096);
	dvol_attach(d);
}

/* Recovers as a mount does. */
static inline void dvol_remount(struct dvol *d)
{
	uint64_t n;

	inode_put(d->root);
	name_cache_close(d->fs);
	ivol_remount(&d->v, 4096);
	ivol_must(inode_recover_orphans(&d->v.fs, &n), "recover orphans");
	dvol_attach(d);
}

static inline void dvol_close(struct dvol *d)
{
	inode_put(d->root);
	name_cache_close(d->fs);
	ivol_close(&d->v);
}

/* ---- short forms */

static inline int dv_make(struct inode *dir, const char *name, uint32_t mode, struct inode **out)
{
	struct name_new n = {.mode = mode, .uid = 1, .gid = 2, .symlink = S_ISLNK(mode) ? "somewhere" : NULL};

	return name_create(dir, name, &n, out);
}
static inline struct inode *dv_must_make(struct inode *dir, const char *name, uint32_t mode)
{
	struct inode *in;

	ivol_must(dv_make(dir, name, mode, &in), name);
	return in;
}
static inline uint64_t dv_ino(struct inode *dir, const char *name)	/* 0: none; 1: another error */
{
	struct inode *in;
	int err = name_lookup(dir, name, &in);
	uint64_t ino = err == -ENOENT ? 0 : err ? 1 : in->ino.v;

	if (!err)
		inode_put(in);
	return ino;
}
static inline uint32_t dv_nlink(const struct inode *in)
{
	return le32_get(inode_media(in)->nlink);
}
static inline uint64_t dv_size(const struct inode *in)
{
	return le64_get(inode_media(in)->size);
}
/* An open handle, as the file layer keeps it. */
static inline void dv_hold(struct inode *in)
{
	rwl_rdlock(&in->layout);
	atomic_fetch_add(&in->opens, 1);
	rwl_rdunlock(&in->layout);
}
static inline int dv_release(struct inode *in)
{
	bool last;

	rwl_rdlock(&in->layout);
	last = atomic_fetch_sub(&in->opens, 1) == 1 && !atomic_load(&in->dead) && dv_nlink(in) == 0;
	rwl_rdunlock(&in->layout);
	return last ? inode_reap(in, 0) : 0;
}

/* ---- the check */

struct dv_seen {
	uint64_t links;			/* entries that lead there */
	uint64_t subdirs, entries;	/* of a directory */
	uint64_t parent;
	uint8_t type;
};

struct dv_check {
	struct fs *fs;
	struct dv_seen *seen;		/* by inode number */
	uint64_t max;
	uint64_t *queue, nqueue;
	uint64_t dir;			/* that is looked at */
	uint64_t cover;			/* sum of 2^(48 - depth) over its buckets */
	uint64_t entries;
	char why[256];
};

static inline int dv_bad(struct dv_check *c, const char *what, uint64_t ino)
{
	if (!c->why[0])
		snprintf(c->why, sizeof(c->why), "directory %llu: %s (inode %llu)", (unsigned long long)c->dir, what,
			 (unsigned long long)ino);
	return 1;
}

static inline int dv_check_entry(void *ctx, const struct dir_entry *e, int verify_err)
{
	struct dv_check *c = ctx;
	struct dv_seen *s;

	if (verify_err)
		return dv_bad(c, err_msg(), 0);
	if (e->ino.v >= c->max)
		return dv_bad(c, "number out of range", e->ino.v);
	s = &c->seen[e->ino.v];
	if (s->links && (s->type != e->type || e->type == DT_DIR))
		return dv_bad(c, "two types, or a directory with two names", e->ino.v);
	s->type = e->type;
	s->links++;
	c->entries++;
	if (e->type == DT_DIR) {
		s->parent = c->dir;
		c->seen[c->dir].subdirs++;
		c->queue[c->nqueue++] = e->ino.v;
	}
	return 0;
}

static inline int dv_check_bucket(void *ctx, const struct map_visit *m)
{
	struct dv_check *c = ctx;
	uint64_t f = m->fblk.v + 1;
	unsigned depth = 63 - (unsigned)__builtin_clzll(f);
	struct inode *in;
	int err;

	if (m->verify_err)
		return dv_bad(c, err_msg(), 0);
	if (m->entry == 0 || fmt_entry_kind_of(m->entry) == FMT_ENT_NODE)
		return 0;
	if (fmt_entry_kind_of(m->entry) != FMT_ENT_BLOCK || depth > FMT_DIR_MAX_DEPTH)
		return dv_bad(c, "no bucket", 0);
	ivol_must(inode_get(c->fs, INUM(c->dir), 0, &in), "inode_get");
	if (depth > inode_media(in)->dir_depth)
		dv_bad(c, "deeper than dir_depth", 0);
	c->cover += 1ull << (FMT_DIR_MAX_DEPTH - depth);
	err = dir_bucket_walk(c->fs->pm, &c->fs->geo, in->ino, in->gen, depth, f - (1ull << depth),
			      fmt_entry_blk(m->entry), dv_check_entry, c);
	inode_put(in);
	return err ? dv_bad(c, err_msg(), 0) : 0;
}

/* What iterating says has to be what the buckets say. */
static inline int dv_check_iterate(struct dv_check *c, struct inode *dir)
{
	static _Thread_local struct dir_entry e[64];
	uint64_t from = 0, last = 0, n = 0;
	unsigned got;

	for (;;) {
		int err;

		rwl_rdlock(&dir->content);
		err = dir_read(dir, from, e, 64, &got);
		rwl_rdunlock(&dir->content);
		if (err)
			return dv_bad(c, err_msg(), 0);
		if (!got)
			break;
		for (unsigned i = 0; i < got; i++) {
			if (n && e[i].key <= last)
				return dv_bad(c, "keys do not rise", e[i].ino.v);
			last = e[i].key;
			n++;
		}
		from = last + 1;
	}
	return n == c->entries ? 0 : dv_bad(c, "iterating misses entries", n);
}

static inline int dv_check_dir(struct dv_check *c, uint64_t ino)
{
	struct inode *dir;
	const struct fmt_inode *m;
	int err;

	c->dir = ino;
	c->cover = c->entries = 0;
	if (inode_get(c->fs, INUM(ino), 0, &dir))
		return dv_bad(c, err_msg(), ino);
	m = inode_media(dir);
	err = le64_get(m->root) ? map_walk(c->fs->pm, &c->fs->geo, dir->ino, FMT_FORK_DATA, le64_get(m->root), m->height,
					   dv_check_bucket, c) : 0;
	if (!err && c->cover != (le64_get(m->root) ? 1ull << FMT_DIR_MAX_DEPTH : 0))
		err = dv_bad(c, "the buckets do not cover each hash once", ino);
	if (!err && c->entries != le64_get(m->size))
		err = dv_bad(c, "size is not the number of entries", le64_get(m->size));
	if (!err)
		err = dv_check_iterate(c, dir);
	if (!err && le32_get(m->nlink) != 2 + c->seen[ino].subdirs)
		err = dv_bad(c, "nlink is not 2 + subdirectories", le32_get(m->nlink));
	if (!err && le64_get(m->rdev) != c->seen[ino].parent)
		err = dv_bad(c, "'..' is not the parent", le64_get(m->rdev));
	inode_put(dir);
	return err;
}

/* Every inode in use: its link count is the number of entries that lead to it. */
static inline int dv_check_links(struct dv_check *c)
{
	for (uint64_t i = FMT_INO_FIRST; i < c->max; i++) {
		struct inode *in;
		uint32_t nlink;
		int err = inode_get(c->fs, INUM(i), 0, &in);

		c->dir = 0;
		if (err == -ESTALE) {
			if (c->seen[i].links)
				return dv_bad(c, "an entry leads to a free inode", i);
			continue;
		}
		if (err)
			return dv_bad(c, err_msg(), i);
		nlink = dv_nlink(in);
		if (name_is_dir(in) ? nlink && c->seen[i].links != 1 : nlink != c->seen[i].links)
			err = dv_bad(c, "nlink is not the number of names", i);
		if (nlink == 0 && le32_get(inode_media(in)->orphan) == 0)
			err = dv_bad(c, "no link, and no orphan slot", i);
		if (c->seen[i].links && name_dt(in->type) != c->seen[i].type)
			err = dv_bad(c, "the entry has another type", i);
		inode_put(in);
		if (err)
			return err;
	}
	return 0;
}

/* NULL, or what is wrong. Nothing may be under way. */
static inline const char *dvol_check(struct fs *fs)
{
	static struct dv_check c;
	const struct fmt_inode *table = pm_at(fs->pm, MOFF(FMT_BLK_INODES0 * (uint64_t)HF_BLOCK_SIZE +
							   FMT_INO_ITABLE * FMT_INODE_SIZE));
	const char *why = ivol_check(fs);
	int err = 0;

	if (why)
		return why;
	memset(&c, 0, sizeof(c));
	c.fs = fs;
	c.max = le64_get(table->size) / HF_BLOCK_SIZE * FMT_INODES_PER_BLOCK;
	c.seen = calloc(c.max, sizeof(c.seen[0]));
	c.queue = calloc(c.max + 1, sizeof(c.queue[0]));
	c.queue[c.nqueue++] = FMT_INO_ROOT;
	c.seen[FMT_INO_ROOT].parent = FMT_INO_ROOT;
	for (uint64_t i = 0; i < c.nqueue && !err; i++)
		err = dv_check_dir(&c, c.queue[i]);
	if (!err)
		err = dv_check_links(&c);
	free(c.seen);
	free(c.queue);
	return err ? c.why : NULL;
}

#define DVOL_ASSERT_SOUND(fs)                                              \
	do {                                                               \
		const char *why_ = dvol_check(fs);                         \
		if (why_)                                                  \
			printf("  %s:%d: %s\n", __FILE__, __LINE__, why_); \
		CU_ASSERT_PTR_NULL(why_);                                  \
	} while (0)

/* Says which call it was. */
#define DV_EXPECT(call, want)                                                                          \
	do {                                                                                           \
		int got_ = (call);                                                                     \
		if (got_ != (want))                                                                    \
			printf("  %s:%d: %s gave %d, not %d: %s\n", __FILE__, __LINE__, #call, got_, (int)(want), err_msg()); \
		CU_ASSERT_EQUAL(got_, (want));                                                         \
	} while (0)

#endif
