/* Names. Who may change a directory the kernel has decided; who owns what is made comes with the request, and the library gives it
 * the group of a set-group-ID directory. The mode has the umask in it. */
#include "mount.h"

static void name_make(fuse_req_t req, fuse_ino_t parent, const char *name, struct hf_create *how)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);
	struct mount *m = mount_of(req);
	struct hf_stat st;
	struct hf_id dir;
	int err = node_id(m, parent, &dir);

	how->uid = ctx->uid;
	how->gid = ctx->gid;
	if (!err)
		err = hf_inode_create(m->vol, dir, name, how, &st);
	reply_entry(req, err, &st);
}

void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
	struct hf_create how = {.mode = mode, .rdev = rdev};

	if ((mode & S_IFMT) == 0)
		how.mode |= S_IFREG;
	name_make(req, parent, name, &how);
}

void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	struct hf_create how = {.mode = S_IFDIR | (mode & 07777)};

	name_make(req, parent, name, &how);
}

void op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
	struct hf_create how = {.mode = S_IFLNK | 0777, .symlink = target};

	name_make(req, parent, name, &how);
}

void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct mount *m = mount_of(req);
	struct hf_id dir;
	int err = node_id(m, parent, &dir);

	if (!err)
		err = hf_inode_unlink(m->vol, dir, name);
	reply_err(req, err);
}

void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct mount *m = mount_of(req);
	struct hf_id dir;
	int err = node_id(m, parent, &dir);

	if (!err)
		err = hf_inode_rmdir(m->vol, dir, name);
	reply_err(req, err);
}

void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t newparent, const char *newname, unsigned flags)
{
	struct mount *m = mount_of(req);
	struct hf_id from, to;
	int err = node_id(m, parent, &from);

	if (!err)
		err = node_id(m, newparent, &to);
	if (!err)
		err = hf_inode_rename(m->vol, from, name, to, newname, flags);
	reply_err(req, err);
}

void op_link(fuse_req_t req, fuse_ino_t node, fuse_ino_t newparent, const char *newname)
{
	struct mount *m = mount_of(req);
	struct hf_id id, dir;
	struct hf_stat st;
	int err = node_id(m, node, &id);

	if (!err)
		err = node_id(m, newparent, &dir);
	if (!err)
		err = hf_inode_link(m->vol, id, dir, newname, &st);
	reply_entry(req, err, &st);
}
