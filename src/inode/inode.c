/* Inodes: birth, death, what stat shows, and locking several. */
#include "inode/itable_priv.h"
#include "base/hash.h"

#include <sys/sysmacros.h>
#include <time.h>

static HF_TLS int64_t set_now_ns;

void inode_set_now(int64_t ns)
{
	set_now_ns = ns;
}

int64_t inode_now_ns(void)
{
	struct timespec ts;

	if (__builtin_expect(set_now_ns != 0, 0))
		return set_now_ns;
	clock_gettime(CLOCK_REALTIME_COARSE, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

/* ---- birth */

/* The first life's generation comes from the volume's seed, so that a handle of an older volume
 * does not fit. */
static uint64_t next_gen(const struct geo *g, inum_t ino, uint64_t old)
{
	uint64_t gen = old ? old + 1 : (hash_mix2(g->seed, ino.v) >> 16 | 1);

	return gen ? gen : 1; /* 0 means 'any' to inode_get */
}

static void build_image(const struct geo *g, inum_t ino, const struct inode_init *init,
			uint64_t gen, struct fmt_inode *img)
{
	le64_t now = le64_of((uint64_t)inode_now_ns());

	memset(img, 0, sizeof(*img));
	img->ino = le64_of(ino.v);
	img->gen = le64_of(gen);
	img->mode = le32_of(init->mode);
	img->nlink = le32_of(init->nlink);
	img->uid = le32_of(init->uid);
	img->gid = le32_of(init->gid);
	img->atime = img->mtime = img->ctime = img->btime = now;
	img->rdev = le64_of(init->rdev_or_parent);
	img->orphan = le32_of(init->orphan);
	if (init->inline_data) {
		img->flags = le16_of(FMT_FLAG_INLINE);
		img->size = le64_of(init->inline_bytes);
		memcpy(img->inline_data, init->inline_data, init->inline_bytes);
	} else if (!mblk_is_null(init->block)) {
		img->root = le64_of(fmt_entry_make(fmt_map_key(g, ino, FMT_FORK_DATA), 0, FBLK(0),
						   FMT_ENT_BLOCK, init->block, 0));
		img->blocks = le64_of(1);
		img->size = le64_of(init->inline_bytes);
	}
	img->csum = le64_of(fmt_inode_csum(g, img));
}

static void init_ended(void *ctx, uint64_t ino, uint64_t unused, jseq_t seq,
		       enum txn_outcome outcome)
{
	(void)unused;
	(void)seq;
	/* After a failed commit the inode may be found by the next mount: the number stays kept. */
	if (outcome == TXN_ABORTED)
		itable_give_back(ctx, INUM(ino));
}

int inode_init(struct fs *fs, struct txn *t, inum_t ino, const struct inode_init *init,
	       uint64_t *gen_out)
{
	const struct fmt_inode *old;
	struct ino_place place;
	struct fmt_inode img;
	int err;

	err = itable_locate(fs->itable, ino, &place);
	if (err == 0 && init->inline_data && init->inline_bytes > FMT_INLINE_MAX)
		err = err_set(-EINVAL, "inode: %u bytes do not fit into an inode",
			      init->inline_bytes);
	if (err == 0)
		err = txn_defer(t, init_ended, fs->itable, ino.v, 0);
	if (err) {
		itable_give_back(fs->itable, ino);
		return err;
	}
	/* The number is ours and the inode free: nobody reads or writes these bytes. */
	old = pm_at(fs->pm, place.image);
	build_image(&fs->geo, ino, init, next_gen(&fs->geo, ino, le64_get(old->gen)), &img);
	words_log(t, place.image, old, &img, sizeof(img) / 8);
	/* Last: whoever sees the bit sees the image (I-INO-4). */
	txn_bits_set(t, place.bit, 1);
	*gen_out = le64_get(img.gen);
	return 0;
}

/* ---- death */

static void free_ended(void *ctx, uint64_t unused1, uint64_t unused2, jseq_t seq,
		       enum txn_outcome outcome)
{
	struct inode *in = ctx;
	struct itable *it = in->fs->itable;

	(void)unused1;
	(void)unused2;
	(void)seq;
	if (outcome != TXN_COMMITTED)
		return;
	/* Nobody looks for them any more but the cache's clock, under the shard's lock that comes next. */
	atomic_store_explicit(&in->pend_atime, INT64_MIN, memory_order_relaxed);
	atomic_store_explicit(&in->pend_mtime, INT64_MIN, memory_order_relaxed);
	atomic_store_explicit(&in->pend_ctime, INT64_MIN, memory_order_relaxed);
	icache_kill(&it->cache, in);
	/* Only now: the next owner's transaction must come after this one's apply, and find no dead
	 * namesake. */
	itable_give_back(it, in->ino);
}

void inode_edit_free(struct inode_edit *e)
{
	struct inode *in = e->in;
	struct fs *fs = in->fs;
	struct ino_place place;
	struct fmt_inode img = e->old;
	int err;

	err = itable_locate(fs->itable, in->ino, &place);
	if (err == 0)
		err = txn_defer(e->t, free_ended, in, 0, 0);
	if (err) {
		txn_fail(e->t, err);
		return;
	}
	img.mode = le32_of(0);
	img.nlink = le32_of(0);
	/* The bit first: whoever sees it sees an image in use (I-INO-4). */
	txn_bits_clear(e->t, place.bit, 1);
	words_log_inode(e->t, &fs->geo, in->off, &e->old, &img);
}

void inode_free(struct inode *in, struct txn *t)
{
	struct inode_edit e;

	inode_edit_begin(&e, in, t);
	inode_edit_free(&e);
}

/* ---- bad media */

int inode_lost(const struct inode *in)
{
	if (!pm_lost_any(in->fs->pm, in->off, FMT_INODE_SIZE))
		return 0;
	if (pm_gone_error(in->fs->pm))
		return -EIO;
	return err_set(-EIO, "inode %llu: bad media at byte %llu, where it is", (unsigned long long)in->ino.v,
		       (unsigned long long)in->off.v);
}

/* ---- stat */

static struct timespec to_timespec(int64_t ns)
{
	struct timespec ts;

	ts.tv_sec = ns / 1000000000;
	ts.tv_nsec = ns % 1000000000;
	if (ts.tv_nsec < 0) {
		ts.tv_sec--;
		ts.tv_nsec += 1000000000;
	}
	return ts;
}

static struct timespec shown_time(const _Atomic int64_t *pend, le64_t media)
{
	int64_t ns = atomic_load_explicit(pend, memory_order_relaxed);

	return to_timespec(ns != INT64_MIN ? ns : (int64_t)le64_get(media));
}

void inode_stat(struct inode *in, struct stat *st, int64_t *btime_ns)
{
	const struct fmt_inode *m = inode_media(in);

	memset(st, 0, sizeof(*st));
	st->st_ino = in->ino.v;
	st->st_mode = le32_get(m->mode);
	st->st_nlink = le32_get(m->nlink);
	st->st_uid = le32_get(m->uid);
	st->st_gid = le32_get(m->gid);
	if (in->type == S_IFCHR || in->type == S_IFBLK)
		st->st_rdev = le64_get(m->rdev);
	st->st_size = (off_t)le64_get(m->size);
	st->st_blksize = HF_BLOCK_SIZE;
	st->st_blocks = (blkcnt_t)(le64_get(m->blocks) * (HF_BLOCK_SIZE / 512));
	st->st_atim = shown_time(&in->pend_atime, m->atime);
	st->st_mtim = shown_time(&in->pend_mtime, m->mtime);
	st->st_ctim = shown_time(&in->pend_ctime, m->ctime);
	if (btime_ns)
		*btime_ns = (int64_t)le64_get(m->btime);
}

/* ---- several at once */

enum { LOCK_SET_MAX = 6 };

/* By rising inode number, without NULLs and duplicates; returns how many. 'out' has room for all of
 * them. */
static unsigned sort_inodes(struct inode **ins, unsigned n, struct inode **out)
{
	unsigned m = 0;

	HF_ASSERT(n <= LOCK_SET_MAX);
	for (unsigned i = 0; i < n; i++) {
		unsigned at = m;

		if (!ins[i])
			continue;
		while (at > 0 && inode_lock_order(out[at - 1]->ino, out[at - 1]->gen) >
					 inode_lock_order(ins[i]->ino, ins[i]->gen))
			at--;
		if (at > 0 && out[at - 1] == ins[i])
			continue;
		memmove(&out[at + 1], &out[at], (m - at) * sizeof(out[0]));
		out[at] = ins[i];
		m++;
	}
	return m;
}

void inode_lock_layouts(struct inode **ins, unsigned n)
{
	struct inode *s[LOCK_SET_MAX];
	unsigned m = sort_inodes(ins, n, s);

	for (unsigned i = 0; i < m; i++)
		rwl_wrlock(&s[i]->layout);
}

void inode_unlock_layouts(struct inode **ins, unsigned n)
{
	struct inode *s[LOCK_SET_MAX];
	unsigned m = sort_inodes(ins, n, s);

	while (m-- > 0)
		rwl_wrunlock(&s[m]->layout);
}

/* Directories before files, as their ranks are; each kind by number. */
void inode_lock_contents(struct inode **ins, unsigned n)
{
	struct inode *s[LOCK_SET_MAX];
	unsigned m = sort_inodes(ins, n, s);

	for (unsigned i = 0; i < m; i++)
		if (s[i]->type == S_IFDIR)
			rwl_wrlock(&s[i]->content);
	for (unsigned i = 0; i < m; i++)
		if (s[i]->type != S_IFDIR)
			rwl_wrlock(&s[i]->content);
}

void inode_unlock_contents(struct inode **ins, unsigned n)
{
	struct inode *s[LOCK_SET_MAX];
	unsigned m = sort_inodes(ins, n, s);

	while (m-- > 0)
		rwl_wrunlock(&s[m]->content);
}
