/* Extended attributes. Access control lists are not offered: nobody would enforce them. */
#include "mount.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool xattr_is_acl(const char *name)
{
	return strncmp(name, "system.posix_acl_", 17) == 0;
}

void op_setxattr(fuse_req_t req, fuse_ino_t node, const char *name, const char *value, size_t size, int flags)
{
	struct mount *m = mount_of(req);
	struct hf_id id;
	int err = xattr_is_acl(name) ? -EOPNOTSUPP : node_id(m, node, &id);

	if (!err)
		err = hf_inode_setxattr(m->vol, id, name, value, size, flags);
	reply_err(req, err);
}

void op_removexattr(fuse_req_t req, fuse_ino_t node, const char *name)
{
	struct mount *m = mount_of(req);
	struct hf_id id;
	int err = xattr_is_acl(name) ? -EOPNOTSUPP : node_id(m, node, &id);

	if (!err)
		err = hf_inode_removexattr(m->vol, id, name);
	reply_err(req, err);
}

/* size 0: only how long it is. */
static void reply_value(fuse_req_t req, const char *buf, size_t size, ssize_t n)
{
	if (n < 0)
		reply_err(req, (int)n);
	else if (size == 0)
		(void)fuse_reply_xattr(req, (size_t)n);
	else
		(void)fuse_reply_buf(req, buf, (size_t)n);
}

void op_getxattr(fuse_req_t req, fuse_ino_t node, const char *name, size_t size)
{
	struct mount *m = mount_of(req);
	char *buf = size ? malloc(size) : NULL;
	struct hf_id id;
	ssize_t n = size && !buf ? -ENOMEM : xattr_is_acl(name) ? -EOPNOTSUPP : node_id(m, node, &id);

	if (n == 0)
		n = hf_inode_getxattr(m->vol, id, name, buf, size);
	reply_value(req, buf, size, n);
	free(buf);
}

void op_listxattr(fuse_req_t req, fuse_ino_t node, size_t size)
{
	struct mount *m = mount_of(req);
	char *buf = size ? malloc(size) : NULL;
	struct hf_id id;
	ssize_t n = size && !buf ? -ENOMEM : node_id(m, node, &id);

	if (n == 0)
		n = hf_inode_listxattr(m->vol, id, buf, size);
	reply_value(req, buf, size, n);
	free(buf);
}
