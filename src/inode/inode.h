/* Inodes: the table, the cache, and how an inode is changed.
 *
 * The media image is the truth and is read in place (inode_media), under the layout lock, shared. It is changed only
 * through struct inode_edit, under the layout lock, exclusive (I-INO-1: an inode's 256 bytes have one lock): begin copies
 * the image, the caller changes e.img, end adds the words that differ and the new checksum to the transaction.
 *
 * Locks of an inode: 'content' (the directory lock of a directory, else the data lock), then 'layout'. Both of several
 * inodes: all contents by inode number, then all layouts by inode number.
 */
#ifndef HF_INODE_INODE_H
#define HF_INODE_INODE_H

#include "inode/fs.h"
#include <sys/stat.h>

struct inode {
	inum_t ino;
	uint64_t gen;
	moff_t off;			/* of its 256 bytes */
	uint32_t type;			/* S_IFMT bits: does not change */
	struct fs *fs;
	struct rwl content;
	struct rwl layout;
	_Atomic uint32_t refs;		/* cache references (inode_get/inode_put); INODE_GONE: the slot holds no inode */
	_Atomic uint32_t opens;		/* open handles: changed under the layout lock (shared is enough to add) */
	_Atomic bool dead;		/* freed: whoever still has a reference gets -ESTALE */
	_Atomic uint32_t dir_hint;	/* directories: the depth where the last bucket was found */
	_Atomic int64_t pend_atime, pend_mtime, pend_ctime;	/* not yet journalled (RULES J8); INT64_MIN: none */
	_Atomic jopen_t open;		/* its last append, if that went with one fence: see inode_seal */
	/* src/pin */
	struct mtx pins_lock;		/* RANK_LEAF: the list of pins */
	uint32_t pins_head;		/* index of the newest pin, 0: none */
	_Atomic uint32_t pins;		/* how many; added to under the layout lock, shared is enough */
	_Atomic uint32_t write_pins;	/* of them, those that store */
	_Atomic uint32_t leases;	/* of them, those whose holder is told; changes without a lock of the inode */
	struct mtx views_lock;		/* RANK_VIEW: the list of views and their slots */
	_Atomic uint32_t nviews;	/* added to under the layout lock, exclusive */
	_Atomic uint32_t nholes;	/* slots with holes that views keep mapped (view_hole_queue) */
	void *views, *holes;
	/* cache, by index */
	_Atomic uint32_t hash_next;	/* 1 + the next slot of the chain, or of the free list */
	uint32_t hash;
	_Atomic bool recent;		/* used since the clock's hand passed */
};
#define INODE_GONE (1u << 31)

struct inode_init {
	uint32_t mode, uid, gid, nlink;
	uint64_t rdev_or_parent;
	const void *inline_data;	/* symlinks and tiny files; NULL: none */
	uint32_t inline_bytes;
	mblk_t block;			/* instead of inline_data: a block that holds all the content, written before (see
					 * txn_fence_first), of inline_bytes bytes; MBLK_NULL: none */
	uint32_t orphan;		/* 1 + slot for unnamed files, else 0 */
};

int64_t inode_now_ns(void);				/* coarse real-time clock */
void inode_set_now(int64_t ns);				/* this thread's clock stands there; 0: it goes again. For simulations */

/* ---- the table and the cache. max_cached: bound on cached inodes (0: 65536); those in use are never evicted. */
int itable_open(struct fs *fs, uint32_t max_cached);	/* sets fs->itable */
void itable_close(struct fs *fs);			/* all references must be gone */
/* A cached inode with a reference. gen 0: any. -ESTALE: free, not committed yet, out of the table, one of the table's own
 * numbers, or another generation. -EBADMSG, -EUCLEAN: damaged. -ENFILE: cache full of inodes in use. Takes no object lock
 * (but the last resort against -ENFILE, which writes an idle inode's times under its layout lock, by try-lock).
 * The inode may be freed at any time until the caller holds one of its locks and has looked at 'dead'. */
int inode_get(struct fs *fs, inum_t ino, uint64_t gen, struct inode **out);
/* For an inode that is about to be made, so that it cannot be made and then not be had: a place in the cache before (-ENFILE), which
 * inode_get_in uses up (then it is NULL) or the caller gives back. */
int inode_place_take(struct fs *fs, struct inode **place);
int inode_get_in(struct fs *fs, inum_t ino, uint64_t gen, struct inode **place, struct inode **out);
void inode_place_give(struct fs *fs, struct inode *place);	/* NULL is fine */
void inode_ref(struct inode *in);
void inode_put(struct inode *in);			/* NULL is fine */
/* Writes pending times of all cached inodes (sync, unmount). Takes layout locks, one at a time. */
int itable_flush_times(struct fs *fs);
/* Inodes in use, without the numbers that are never handed out (statfs). The first call reads all the table's bitmaps.
 * UINT64_MAX: a bitmap cannot be found (damaged map; the sentence says it). So below. */
uint64_t itable_in_use(struct fs *fs);
uint64_t itable_free(struct fs *fs);			/* free numbers in blocks that exist */

/* A free number, kept from everybody else until inode_init's transaction ends; grows the table (its own transaction) when
 * none is left. -ENOSPC. 'near': a number to be close to. Takes RANK_ITABLE. A number whose free image is damaged is
 * passed over until the next mount. */
int itable_reserve(struct fs *fs, inum_t near, inum_t *out);
void itable_unreserve(struct fs *fs, inum_t ino);	/* when no inode_init followed */
/* Adds to t: image with gen + 1, then the table's bit. The inode can be had with inode_get after the commit; aborting t
 * gives the number back. *gen_out as it will be. On failure (-ENOMEM, -EINVAL: inline content too long) the number is
 * given back as well. */
int inode_init(struct fs *fs, struct txn *t, inum_t ino, const struct inode_init *init, uint64_t *gen_out);
/* Adds to t: bit cleared, image freed. The content must be gone. Marks 'in' dead and gives the number back when t is
 * applied. Layout exclusive; the caller's reference lives until t has ended. Of a free image only the generation (and
 * the checksum) means something; mode and nlink are 0 and the rest is what it was: 32 bytes of record. */
void inode_free(struct inode *in, struct txn *t);

/* ---- reading and changing */
static inline const struct fmt_inode *inode_media(const struct inode *in)
{
	return (const struct fmt_inode *)pm_at(in->fs->pm, in->off);
}
/* -EIO: the image is on media that went bad after it was read; what its words seemed to say since means nothing. */
int inode_lost(const struct inode *in) __attribute__((cold));
static inline int inode_intact(const struct inode *in)
{
	return __builtin_expect(pm_bad(in->fs->pm) != 0, 0) ? inode_lost(in) : 0;
}
struct inode_edit {
	struct inode *in;
	struct txn *t;
	struct fmt_inode img;		/* change this */
	struct fmt_inode old;
	int64_t pend[3];		/* the pending times that are in img */
};
/* Layout exclusive. Sees what t already changed (so an inode can be edited twice in one transaction, one edit after the
 * other). Pending times are in the image. An image that was damaged since it was read fails t: -EBADMSG. */
void inode_edit_begin(struct inode_edit *e, struct inode *in, struct txn *t);
void inode_edit_end(struct inode_edit *e);
/* Instead of inode_edit_end: inode_free within the edit; what the caller changed in e.img is dropped. */
void inode_edit_free(struct inode_edit *e);
enum inode_times { INODE_ATIME = 1, INODE_MTIME = 2, INODE_CTIME = 4 };
void inode_edit_times(struct inode_edit *e, unsigned which, int64_t now_ns);
/* Volatile: shown by stat at once, journalled with the next edit, fsync or flush_times (RULES J8). No lock needed. */
void inode_touch(struct inode *in, unsigned which, int64_t now_ns);
bool inode_times_pending(const struct inode *in);
/* Journals the pending times, if any, in a transaction of its own. Layout exclusive. */
int inode_write_times(struct inode *in);
/* Before bytes below the end of file change in place, leave the file, or may be changed by others (pins, views): the record of
 * the append that wrote them counts from now on whatever they are (I-JNL-16). The caller holds the content lock or the layout
 * lock, so that no append with one fence is under way. Durability: one fence at most, and that seldom. 0, -ESHUTDOWN, -EIO. */
int inode_seal_open(struct inode *in);
static inline int inode_seal(struct inode *in)
{
	return __builtin_expect(atomic_load_explicit(&in->open, memory_order_acquire) != 0, 0) ? inode_seal_open(in) : 0;
}
/* Layout shared. Fills everything but st_dev. st_blocks in 512 B, st_blksize 4096. */
void inode_stat(struct inode *in, struct stat *st, int64_t *btime_ns);

/* By number; a dead inode and the living one that got its number (a caller may have found one before and the other after)
 * by generation. */
static inline uint64_t inode_lock_order(inum_t ino, uint64_t gen)
{
	return ino.v << 16 | (gen & 0xffff);
}
/* Locks several inodes' layouts (or contents) in order; NULLs and duplicates are skipped. n <= 6. */
void inode_lock_layouts(struct inode **ins, unsigned n);
void inode_unlock_layouts(struct inode **ins, unsigned n);
void inode_lock_contents(struct inode **ins, unsigned n);
void inode_unlock_contents(struct inode **ins, unsigned n);

/* ---- reap.c: an inode with nlink 0 and opens 0 loses its content (transactions of bounded size; it has an orphan slot, so
 * that recovery goes on after a crash) and is freed. Takes content and layout exclusively. Called without locks. */
int inode_reap(struct inode *in, uint32_t ticket);
/* Unlink with one fence: would content, attributes and the inode itself go in one transaction? An estimate that looks at
 * 64 extents at most. Layout shared. */
bool inode_reap_fits(struct inode *in);
/* Adds all of that to e's transaction and ends the edit: content, attributes, the orphan slot if there is one, the table's
 * bit, the image. Neither inode_edit_end nor inode_free follows. For an inode that loses its last name and that nobody has
 * open. -E2BIG: it does not fit after all; abort, set an orphan slot in the unlink's transaction instead and call
 * inode_reap after it. Every failure: t must be aborted. */
int inode_reap_in(struct inode_edit *e);
/* At mount, after recovery: finishes every orphan slot. -EUCLEAN etc.: damaged. */
int inode_recover_orphans(struct fs *fs, uint64_t *count_out);

#endif
