/* Extended attributes: one blob per inode, rewritten whole. */
#ifndef HF_INODE_XATTR_H
#define HF_INODE_XATTR_H

#include "inode/inode.h"

/* Value's length; size 0 asks for it only. -ENODATA, -ERANGE. Layout shared. */
int64_t xattr_get(struct inode *in, const char *name, void *value, size_t size);
/* Names, each NUL-terminated, as listxattr(2). Layout shared. */
int64_t xattr_list(struct inode *in, char *list, size_t size);
/* flags: XATTR_CREATE, XATTR_REPLACE. value NULL: remove (-ENODATA). As setxattr(2): -EINVAL (flags, a prefix alone),
 * -EOPNOTSUPP (prefix not user., trusted., security. or system.), -ERANGE (name empty or over 255), -E2BIG (value over
 * 64 KiB), -EEXIST, -ENODATA, -EPERM (user. on what is neither file nor directory), -ENOSPC (also: all of them together
 * over FMT_XATTR_BLOB_MAX). Adds to e's transaction, at most once in one transaction; updates ctime. Layout exclusive.
 * Every failure: the transaction must be aborted. */
int xattr_set(struct inode_edit *e, const char *name, const void *value, size_t size, int flags);
/* All attributes go. */
int xattr_remove_all(struct inode_edit *e);

#endif
