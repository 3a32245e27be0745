/* The attributes' blob in memory: checked, searched, rebuilt. Private to src/inode. */
#ifndef HF_INODE_XATTR_BLOB_H
#define HF_INODE_XATTR_BLOB_H

#include "format/geo.h"

struct xblob {
	uint8_t *p;			/* whole blocks, zero-padded; NULL: no attributes */
	uint32_t bytes;
};
struct xattr_view {
	const char *name;		/* not NUL-terminated */
	uint32_t name_len, value_len;
	const uint8_t *value;
	uint32_t at, len;		/* where its record is */
};

/* Memory for a blob of 'bytes'; -ENOMEM. */
int xblob_alloc(struct xblob *b, uint32_t bytes);
void xblob_free(struct xblob *b);
/* 0, -EBADMSG, -EUCLEAN. What follows is for blobs that passed, or that were built here. */
int xblob_check(const struct geo *g, inum_t owner, const struct xblob *b);
/* The next attribute; *pos begins as 0. */
bool xblob_next(const struct xblob *b, uint32_t *pos, struct xattr_view *out);
bool xblob_find(const struct xblob *b, const char *name, uint32_t len, struct xattr_view *out);
/* old without 'gone' (NULL: all of it), and with a new last one (name NULL: none). out->p NULL: nothing is left.
 * -ENOSPC: over FMT_XATTR_BLOB_MAX; -ENOMEM. */
int xblob_build(const struct geo *g, inum_t owner, const struct xblob *old, const struct xattr_view *gone,
		const struct xattr_view *add, struct xblob *out);
static inline uint32_t xblob_blocks(uint32_t bytes)
{
	return (bytes + HF_BLOCK_SIZE - 1) / HF_BLOCK_SIZE;
}

#endif
