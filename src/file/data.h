/* File content: what read, write and resize share. Regular files only.
 *
 * Who holds a file's content lock, shared or exclusive, may read its data map, its size and its
 * inline content without the layout lock, for all three change only under content and layout, both
 * exclusive (I-FILE-1). */
#ifndef HF_FILE_DATA_H
#define HF_FILE_DATA_H

#include "file/volume.h"
#include "inode/map.h"

static inline uint64_t data_word(const struct inode *in, size_t field)
{
	return pm_load64(in->fs->pm, moff_add(in->off, field));
}

/* A time as stat tells it: what reads and overwrites have not written yet comes first. */
static inline int64_t data_time(const struct inode *in, const _Atomic int64_t *pending, size_t field)
{
	int64_t t = atomic_load_explicit(pending, memory_order_relaxed);

	return t != INT64_MIN ? t : (int64_t)data_word(in, field);
}

static inline uint64_t data_size(const struct inode *in)
{
	return data_word(in, offsetof(struct fmt_inode, size));
}

/* Height, flags and the bytes of attributes are one word, and the latter change under layout alone.
 */
static inline bool data_is_inline(const struct inode *in)
{
	return data_word(in, offsetof(struct fmt_inode, xbytes)) >> 48 & FMT_FLAG_INLINE;
}

static inline bool data_is_unmapped(const struct inode *in)
{
	return data_word(in, offsetof(struct fmt_inode, root)) == 0;
}

static inline moff_t data_inline_off(const struct inode *in)
{
	return moff_add(in->off, offsetof(struct fmt_inode, inline_data));
}

static inline fblk_t data_block(uint64_t off)
{
	return FBLK(off >> HF_BLOCK_SHIFT);
}

/* The first block that begins at or after off. */
static inline fblk_t data_block_up(uint64_t off)
{
	return FBLK((off >> HF_BLOCK_SHIFT) + (off % HF_BLOCK_SIZE != 0));
}

/* The bytes of [off, end) that lie in one run of the map. */
struct data_run {
	moff_t at; /* of the first byte; meaningless for a hole */
	uint64_t bytes;
	bool hole;
};
int data_run(struct inode *in, uint64_t off, uint64_t end, struct data_run *out);

/* Zeroes what is mapped of [off, end), non-temporally: durable after the caller's fence. *any (may
 * be NULL): something was. Content exclusive. */
int data_zero(struct inode *in, uint64_t off, uint64_t end, bool *any);
/* A store of whole blocks failed: those that cannot be read are cleared, where the medium can. True: it is worth trying again.
 * Their content is lost with or without it, and all of it is written next. */
bool data_clear_bad(struct pm *pm, moff_t off, uint64_t len);
/* Of a block that nothing points to yet, before a part of it is stored. 0 or -EIO. */
int data_fresh_usable(struct pm *pm, moff_t off);
/* A fence for file data: when it fails nothing that is on its way to the media can be trusted any
 * more. */
int data_fence(struct inode *in);

/* Pages of zeros in memory, for filling a caller's buffer where a file has a hole. */
extern const uint8_t data_zeros[HF_BLOCK_SIZE];

#endif
