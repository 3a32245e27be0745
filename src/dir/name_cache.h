/* The name cache: what a name in a directory leads to, so that a walk over known names reads neither buckets nor inodes.
 *
 * Volatile, of a fixed size, one cache line for each name, without chains: a name takes the line that its hash says, whoever
 * had it before. A reader takes no lock and writes nothing; each line has a sequence number (Linux's seqcount is the model).
 *
 * It is exact, never 'probably': a line is filled under the directory's layout lock, shared, from the entry that was read there;
 * before a transaction takes that entry away or lets it name another inode, the line is dropped, under the same lock, exclusive. So a
 * line that is met says what the directory says, or said when the look-up that met it began; and the inode of that number
 * may have been freed since, which its generation tells (inode_get: -ESTALE, look again in the directory). Names that do not exist
 * are not kept.
 */
#ifndef HF_DIR_NAME_CACHE_H
#define HF_DIR_NAME_CACHE_H

#include "inode/inode.h"

enum { NAME_CACHE_LEN = 32 };	/* longer names are not kept */

struct name_hit {
	inum_t ino;
	uint64_t gen;
	uint32_t type;		/* S_IFMT */
	const void *line;	/* where it stood, for name_cache_still */
	uint64_t state;
};

/* Room for 'names' (rounded up to a power of two; 0: 65536), 64 bytes each, not touched before they are used. -ENOMEM.
 * Without it (fs->names is NULL) every look-up misses. */
int name_cache_open(struct fs *fs, uint32_t names);
void name_cache_close(struct fs *fs);
/* No lock needed. The number 'dir' may be another directory's than the caller means, if his was removed: he makes sure afterwards
 * that it is not dead, or that the line which led to it still does. */
bool name_cache_get(const struct fs *fs, inum_t dir, const char *name, unsigned len, struct name_hit *out);
/* The line was not touched since: until now nobody has taken that name away. */
bool name_cache_still(const struct name_hit *hit);
/* dir's layout is held, shared; its entry 'name' leads to 'in', of which the caller has a reference. May do nothing. */
void name_cache_put(const struct fs *fs, inum_t dir, const char *name, unsigned len, const struct inode *in);
/* dir's layout is held, exclusive. */
void name_cache_drop(const struct fs *fs, inum_t dir, const char *name, unsigned len);

#endif
