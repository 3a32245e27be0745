/* Names by path: each finds the directory, then is one call of the dir layer. */
#include "file/names.h"

#include <string.h>
#include <sys/stat.h>

static void path_new(const struct hf_volume *vol, struct name_new *n, uint32_t mode)
{
	memset(n, 0, sizeof(*n));
	n->mode = mode;
	n->uid = vol->uid;
	n->gid = vol->gid;
	n->setgid_inherit = true;
}

/* Only mkdir may be asked for a directory that is not there yet. */
static int path_create(struct hf_volume *vol, const char *path, const struct name_new *n,
		       const char *what)
{
	struct inode *dir;
	char last[256];
	bool is_dir;
	uint32_t ticket;
	int err = path_parent(vol, path, &dir, last, &is_dir);

	if (err)
		return (int)enter_leave(err, what);
	if (is_dir && !S_ISDIR(n->mode)) {
		err = path_new_slash(dir, last);
	} else {
		ticket = gate_enter(&vol->gate);
		err = name_create(dir, last, n, NULL);
		gate_leave(&vol->gate, ticket);
	}
	inode_put(dir);
	return (int)enter_leave(err, what);
}

HF_API int hf_mkdir(hf_volume *vol, const char *path, uint32_t mode)
{
	VOLUME_CALL(vol);
	struct name_new n;
	int err = enter_volume_change(vol);

	if (err)
		return err;
	path_new(vol, &n, S_IFDIR | (mode & 07777));
	return path_create(vol, path, &n, "mkdir");
}

HF_API int hf_mknod(hf_volume *vol, const char *path, uint32_t mode, uint64_t rdev)
{
	VOLUME_CALL(vol);
	struct name_new n;
	int err = enter_volume_change(vol);

	if (err)
		return err;
	path_new(vol, &n, mode);
	switch (mode & S_IFMT) {
	case 0:
		n.mode |= S_IFREG;
		break;
	case S_IFREG:
	case S_IFIFO:
	case S_IFSOCK:
		break;
	case S_IFCHR:
	case S_IFBLK:
		n.rdev = rdev;
		break;
	default:
		return err_set(-EINVAL,
			       "mknod: the mode %#o is no FIFO, socket, device or regular file",
			       mode);
	}
	return path_create(vol, path, &n, "mknod");
}

HF_API int hf_symlink(hf_volume *vol, const char *target, const char *path)
{
	VOLUME_CALL(vol);
	struct name_new n;
	struct path to;
	int err = enter_volume_change(vol);

	if (!err)
		err = path_copy(&to, target);
	if (err)
		return err;
	path_new(vol, &n, S_IFLNK | 0777);
	n.symlink = to.s;
	return path_create(vol, path, &n, "symlink");
}

HF_API ssize_t hf_readlink(hf_volume *vol, const char *path, char *buf, size_t size)
{
	VOLUME_CALL(vol);
	struct inode *in;
	struct path target;
	size_t len = 0;
	unsigned turns = 0;
	int err = enter_volume(vol);

	if (err)
		return err;
	if (!buf || size == 0)
		return err_set(-EINVAL, "readlink: there is no buffer");
	do {
		err = path_inode(vol, path, false, &in);
		if (err)
			break;
		err = name_readlink(in, target.s, sizeof(target.s), &len);
		if (err == -ENOENT && open_is_gone(in))
			err = -ESTALE;
		inode_put(in);
	} while (path_again(err, &turns));
	if (err)
		return enter_leave(path_gone(err), "readlink");
	memcpy(buf, target.s, len < size ? len : size);
	return enter_leave((ssize_t)len, "readlink");
}

/* -ESTALE: the old path's file was freed before it was locked. */
static int link_once(hf_volume *vol, const char *oldpath, const char *newpath)
{
	struct inode *in, *dir;
	char last[256];
	bool is_dir;
	uint32_t ticket;
	int err = path_inode(vol, oldpath, false, &in);

	if (err)
		return err;
	err = path_parent(vol, newpath, &dir, last, &is_dir);
	if (err)
		goto out;
	if (is_dir) {
		err = path_new_slash(dir, last);
	} else {
		ticket = gate_enter(&vol->gate);
		err = name_link(in, dir, last);
		gate_leave(&vol->gate, ticket);
	}
	inode_put(dir);
	if (err == -ENOENT && open_is_gone(in))
		err = -ESTALE;
out:
	inode_put(in);
	return err;
}

HF_API int hf_link(hf_volume *vol, const char *oldpath, const char *newpath)
{
	VOLUME_CALL(vol);
	unsigned turns = 0;
	int err = enter_volume_change(vol);

	if (err)
		return err;
	do
		err = link_once(vol, oldpath, newpath);
	while (path_again(err, &turns));
	return (int)enter_leave(path_gone(err), "link");
}

/* A slash behind the name: nothing that can be unlinked. */
static int unlink_slash(struct inode *dir, const char *name)
{
	struct inode *in;
	int err = name_lookup(dir, name, &in);

	if (err)
		return err;
	err = S_ISDIR(in->type) ? -EISDIR : -ENOTDIR;
	inode_put(in);
	return err;
}

static int path_unlink(hf_volume *vol, const char *path, const struct hf_how *how)
{
	struct inode *dir;
	char last[256];
	bool is_dir;
	int err = path_parent(vol, path, &dir, last, &is_dir);

	if (err)
		return (int)enter_leave(err, "unlink");
	err = is_dir ? unlink_slash(dir, last) : names_unlink(dir, last, how);
	inode_put(dir);
	return (int)enter_leave(err, "unlink");
}

HF_API int hf_unlink_how(hf_volume *vol, const char *path, const struct hf_how *how)
{
	VOLUME_CALL(vol);
	int err = enter_volume_change(vol);

	return err ? err : path_unlink(vol, path, how);
}

HF_API int hf_unlink(hf_volume *vol, const char *path)
{
	VOLUME_CALL(vol);
	int err = enter_volume_change(vol);

	return err ? err : path_unlink(vol, path, NULL);
}

HF_API int hf_rmdir(hf_volume *vol, const char *path)
{
	VOLUME_CALL(vol);
	struct inode *dir;
	char last[256];
	bool is_dir;
	uint32_t ticket;
	int err = enter_volume_change(vol);

	if (err)
		return err;
	err = path_parent(vol, path, &dir, last, &is_dir);
	if (err)
		return (int)enter_leave(err, "rmdir");
	ticket = gate_enter(&vol->gate);
	err = name_rmdir(dir, last);
	gate_leave(&vol->gate, ticket);
	inode_put(dir);
	return (int)enter_leave(err, "rmdir");
}

/* A trailing slash on either name: then what is renamed has to be a directory. */
static int rename_wants_dir(struct inode *dir, const char *name)
{
	struct inode *in;
	int err = name_lookup(dir, name, &in);

	if (err)
		return err;
	err = S_ISDIR(in->type) ? 0 : -ENOTDIR;
	inode_put(in);
	return err;
}

static int path_rename(hf_volume *vol, const char *oldpath, const char *newpath, unsigned flags,
		       const struct hf_how *how)
{
	char oldname[256], newname[256];
	struct inode *olddir, *newdir;
	bool old_is_dir, new_is_dir;
	int err = path_parent(vol, oldpath, &olddir, oldname, &old_is_dir);

	if (err)
		return (int)enter_leave(err, "rename");
	err = path_parent(vol, newpath, &newdir, newname, &new_is_dir);
	if (err)
		goto out_old;
	if (old_is_dir || new_is_dir)
		err = rename_wants_dir(olddir, oldname);
	if (!err)
		err = names_rename(olddir, oldname, newdir, newname, flags, how);
	inode_put(newdir);
out_old:
	inode_put(olddir);
	return (int)enter_leave(err, "rename");
}

HF_API int hf_rename_how(hf_volume *vol, const char *oldpath, const char *newpath, unsigned flags,
			 const struct hf_how *how)
{
	VOLUME_CALL(vol);
	int err = enter_volume_change(vol);

	return err ? err : path_rename(vol, oldpath, newpath, flags, how);
}

HF_API int hf_rename(hf_volume *vol, const char *oldpath, const char *newpath, unsigned flags)
{
	VOLUME_CALL(vol);
	int err = enter_volume_change(vol);

	return err ? err : path_rename(vol, oldpath, newpath, flags, NULL);
}

static int path_setattr(hf_volume *vol, const char *path, const struct hf_setattr *attr,
			bool follow, const struct hf_how *how)
{
	struct inode *in;
	unsigned turns = 0;
	int err;

	if (!attr)
		return err_set(-EINVAL, "setattr: the attributes are NULL");
	do {
		err = path_inode(vol, path, follow, &in);
		if (err)
			break;
		err = setattr_inode(in, attr, how);
		inode_put(in);
	} while (path_again(err, &turns));
	return (int)enter_leave(path_gone(err), "setattr");
}

HF_API int hf_setattr(hf_volume *vol, const char *path, const struct hf_setattr *attr, bool follow)
{
	VOLUME_CALL(vol);
	int err = enter_volume_change(vol);

	return err ? err : path_setattr(vol, path, attr, follow, NULL);
}

HF_API int hf_chmod(hf_volume *vol, const char *path, uint32_t mode)
{
	const struct hf_setattr attr = {.set = HF_SET_MODE, .mode = mode};

	return hf_setattr(vol, path, &attr, true);
}

HF_API int hf_truncate_how(hf_volume *vol, const char *path, uint64_t size,
			   const struct hf_how *how)
{
	VOLUME_CALL(vol);
	const struct hf_setattr attr = {.set = HF_SET_SIZE, .size = size};
	int err = enter_volume_change(vol);

	return err ? err : path_setattr(vol, path, &attr, true, how);
}

HF_API int hf_truncate(hf_volume *vol, const char *path, uint64_t size)
{
	const struct hf_setattr attr = {.set = HF_SET_SIZE, .size = size};

	return hf_setattr(vol, path, &attr, true);
}
