/* Directories: entries in buckets (format.h has the shape; bucket.h one bucket).
 *
 * Locking: reading needs the directory's layout lock or its content lock, shared; changing needs both, exclusive, from before
 * the lookup until the transaction is over, and goes through an edit of the directory. (I-DIR-1: map, depth and buckets of a
 * directory change only under both locks, so either holds them still.)
 *
 * What is read is verified: -EBADMSG or -EUCLEAN with a sentence. */
#ifndef HF_DIR_DIR_H
#define HF_DIR_DIR_H

#include "inode/inode.h"
#include "inode/map.h"

struct dir_entry {
	inum_t ino;
	uint8_t type;			/* DT_* */
	uint8_t len;
	uint64_t key;			/* its position: readdir goes on after it with key + 1, which never wraps */
	char name[256];			/* NUL-terminated */
};
/* -ENOENT; -EBADMSG/-EUCLEAN: damaged. The name is filled in only by dir_next and dir_read. */
int dir_lookup(struct inode *dir, const char *name, unsigned len, struct dir_entry *out);
/* The first entry whose key is >= from; -ENOENT at the end. Reads a bucket each time: dir_read is for many. */
int dir_next(struct inode *dir, uint64_t from, struct dir_entry *out);
/* Many at once (readdir's fast path): up to max entries with key >= from, in order of keys; *n 0 at the end. An entry that
 * exists throughout an iteration is returned exactly once, whatever is inserted, removed or split meanwhile (I-DIR-3). */
int dir_read(struct inode *dir, uint64_t from, struct dir_entry *out, unsigned max, unsigned *n);

/* ---- changes. Several may be made in one transaction, in any order, but only one of them may split a bucket (-E2BIG
 * otherwise). On failure the transaction must be aborted. None touches nlink or times. */
/* -EEXIST, -ENOSPC, -E2BIG (transaction full). Adjusts img.size, img.dir_depth. */
int dir_insert(struct inode_edit *de, const char *name, unsigned len, inum_t ino, uint8_t type);
int dir_remove(struct inode_edit *de, const char *name, unsigned len);		/* -ENOENT */
int dir_replace(struct inode_edit *de, const char *name, unsigned len, inum_t ino, uint8_t type);	/* an existing entry's target */

/* ---- the same in two steps, for who must know what a name is before he changes it: the name is looked for once. A position
 * holds while the content lock is held exclusively and no dir_insert* on the directory came after dir_find: so removals and
 * replacements come first and the insertion last. */
struct dir_pos {
	uint64_t hash;			/* of the name */
	uint64_t key, target;		/* of the entry, when there is one */
	uint64_t prefix;		/* of the bucket */
	mblk_t blk;			/* the bucket; MBLK_NULL: the directory has none yet */
	uint8_t depth;
	uint8_t slot, nslots;		/* of the entry */
	uint8_t tie;			/* when there is no entry: the low byte of a new one's key */
	bool found;
};
/* 0 whether or not there is such a name: see pos->found. */
int dir_find(struct inode *dir, const char *name, unsigned len, struct dir_pos *pos);
static inline inum_t dir_pos_ino(const struct dir_pos *pos) { return INUM(FMT_DIRENT_INO(pos->target)); }
static inline uint8_t dir_pos_type(const struct dir_pos *pos) { return (uint8_t)FMT_DIRENT_TYPE(pos->target); }
int dir_insert_at(struct inode_edit *de, const struct dir_pos *pos, const char *name, unsigned len, inum_t ino, uint8_t type);
int dir_remove_at(struct inode_edit *de, const struct dir_pos *pos);
int dir_replace_at(struct inode_edit *de, const struct dir_pos *pos, const char *name, unsigned len, inum_t ino, uint8_t type);

/* Verifies one bucket and its entries, for check and dump; needs no inode and no lock. A damaged header or damaged tags: the
 * error, and fn is not called. Otherwise fn per entry, with verify_err != 0 for a damaged one (of which *e holds what could
 * be read: len and name only when they make sense). Stops when fn returns non-zero and returns that. */
int dir_bucket_walk(const struct pm *pm, const struct geo *geo, inum_t dir, uint64_t gen, unsigned depth, uint64_t prefix, mblk_t blk,
		    int (*fn)(void *ctx, const struct dir_entry *e, int verify_err), void *ctx);
/* Block of the directory's map <-> depth and prefix. */
static inline fblk_t dir_bucket_fblk(unsigned depth, uint64_t prefix) { return FBLK((1ull << depth) - 1 + prefix); }

#endif
