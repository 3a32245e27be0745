/* Inodes by number and generation. Each gets its inodes, does one call of the layer that does it
 * for paths too, and lets go. */
#include "file/names.h"

#include <string.h>

static int inode_of(struct hf_volume *vol, struct hf_id id, struct inode **out)
{
	int err;

	*out = NULL;
	if (id.ino <= FMT_INO_ORPHANS)
		return err_set(id.ino ? -ESTALE : -EINVAL, "inode %llu is not a file's",
			       (unsigned long long)id.ino);
	err = inode_get(&vol->fs, INUM(id.ino), id.gen, out);
	if (!err && atomic_load(&(*out)->dead)) {
		inode_put(*out);
		*out = NULL;
		err = -ESTALE;
	}
	return err;
}

static int inode_of_dir(struct hf_volume *vol, struct hf_id id, struct inode **out)
{
	int err = inode_of(vol, id, out);

	if (!err && !S_ISDIR((*out)->type)) {
		inode_put(*out);
		*out = NULL;
		err = -ENOTDIR;
	}
	return err;
}

/* After a success: attributes, if wanted. What was freed by somebody else since then is a success
 * all the same. */
static void inode_told(struct inode *in, struct hf_stat *st)
{
	if (st && stat_inode(in, st))
		memset(st, 0, sizeof(*st));
}

static void inode_clear(struct hf_stat *st)
{
	if (st)
		memset(st, 0, sizeof(*st));
}

HF_API int hf_inode_stat(hf_volume *vol, struct hf_id id, struct hf_stat *st)
{
	VOLUME_CALL(vol);
	struct inode *in;
	int err = enter_volume(vol);

	inode_clear(st);
	if (err)
		return err;
	err = inode_of(vol, id, &in);
	if (!err) {
		err = stat_inode(in, st);
		inode_put(in);
	}
	return (int)enter_leave(err, "stat");
}

HF_API int hf_inode_lookup(hf_volume *vol, struct hf_id dir, const char *name, struct hf_stat *st)
{
	VOLUME_CALL(vol);
	struct inode *d, *in;
	char s[256];
	int err = enter_volume(vol);

	inode_clear(st);
	if (!err)
		err = path_name_copy(s, name);
	if (err)
		return err;
	err = inode_of_dir(vol, dir, &d);
	if (err)
		return (int)enter_leave(err, "lookup");
	err = name_lookup(d, s, &in);
	if (!err) {
		err = stat_inode(in, st);
		inode_put(in);
	}
	inode_put(d);
	return (int)enter_leave(err == -ESTALE ? -ENOENT : err, "lookup");
}

HF_API int hf_inode_setattr(hf_volume *vol, struct hf_id id, const struct hf_setattr *attr,
			    struct hf_stat *st)
{
	VOLUME_CALL(vol);
	struct inode *in;
	int err = enter_volume_change(vol);

	inode_clear(st);
	if (err)
		return err;
	if (!attr)
		return err_set(-EINVAL, "setattr: the attributes are NULL");
	err = inode_of(vol, id, &in);
	if (!err) {
		err = setattr_inode(in, attr, NULL);
		if (!err)
			inode_told(in, st);
		inode_put(in);
	}
	return (int)enter_leave(err, "setattr");
}

static int create_check(const struct hf_create *how)
{
	if (!how)
		return err_set(-EINVAL, "create: what to create is NULL");
	switch (how->mode & S_IFMT) {
	case S_IFREG:
	case S_IFDIR:
	case S_IFIFO:
	case S_IFSOCK:
	case S_IFCHR:
	case S_IFBLK:
		return 0;
	case S_IFLNK:
		return how->symlink ? 0 : err_set(-EINVAL, "create: a symlink without a target");
	default:
		return err_set(-EINVAL, "create: the mode %#o has no type", how->mode);
	}
}

HF_API int hf_inode_create(hf_volume *vol, struct hf_id dir, const char *name,
			   const struct hf_create *how, struct hf_stat *st)
{
	VOLUME_CALL(vol);
	struct inode *d, *in = NULL;
	struct name_new n = {.setgid_inherit = true};
	struct path target;
	char s[256];
	uint32_t ticket;
	int err = enter_volume_change(vol);

	inode_clear(st);
	if (!err)
		err = path_name_copy(s, name);
	if (!err)
		err = create_check(how);
	if (!err && S_ISLNK(how->mode))
		err = path_copy(&target, how->symlink);
	if (err)
		return err;
	n.mode = how->mode;
	n.uid = how->uid;
	n.gid = how->gid;
	n.rdev = how->rdev;
	n.symlink = S_ISLNK(how->mode) ? target.s : NULL;
	err = inode_of_dir(vol, dir, &d);
	if (err)
		return (int)enter_leave(err, "create");
	ticket = gate_enter(&vol->gate);
	err = name_create(d, s, &n, st ? &in : NULL);
	gate_leave(&vol->gate, ticket);
	if (!err && in)
		inode_told(in, st);
	inode_put(in);
	inode_put(d);
	return (int)enter_leave(err, "create");
}

HF_API int hf_inode_link(hf_volume *vol, struct hf_id id, struct hf_id dir, const char *name,
			 struct hf_stat *st)
{
	VOLUME_CALL(vol);
	struct inode *in, *d;
	char s[256];
	uint32_t ticket;
	int err = enter_volume_change(vol);

	inode_clear(st);
	if (!err)
		err = path_name_copy(s, name);
	if (err)
		return err;
	err = inode_of(vol, id, &in);
	if (err)
		return (int)enter_leave(err, "link");
	err = inode_of_dir(vol, dir, &d);
	if (!err) {
		ticket = gate_enter(&vol->gate);
		err = name_link(in, d, s);
		gate_leave(&vol->gate, ticket);
		if (!err)
			inode_told(in, st);
		inode_put(d);
	}
	inode_put(in);
	return (int)enter_leave(err, "link");
}

static int inode_unlink(hf_volume *vol, struct hf_id dir, const char *name,
			const struct hf_how *how)
{
	struct inode *d;
	char s[256];
	int err = path_name_copy(s, name);

	if (err)
		return err;
	err = inode_of_dir(vol, dir, &d);
	if (!err) {
		err = names_unlink(d, s, how);
		inode_put(d);
	}
	return (int)enter_leave(err, "unlink");
}

HF_API int hf_inode_unlink_how(hf_volume *vol, struct hf_id dir, const char *name,
			       const struct hf_how *how)
{
	VOLUME_CALL(vol);
	int err = enter_volume_change(vol);

	return err ? err : inode_unlink(vol, dir, name, how);
}

HF_API int hf_inode_unlink(hf_volume *vol, struct hf_id dir, const char *name)
{
	VOLUME_CALL(vol);
	int err = enter_volume_change(vol);

	return err ? err : inode_unlink(vol, dir, name, NULL);
}

HF_API int hf_inode_rmdir(hf_volume *vol, struct hf_id dir, const char *name)
{
	VOLUME_CALL(vol);
	struct inode *d;
	char s[256];
	uint32_t ticket;
	int err = enter_volume_change(vol);

	if (!err)
		err = path_name_copy(s, name);
	if (err)
		return err;
	err = inode_of_dir(vol, dir, &d);
	if (!err) {
		ticket = gate_enter(&vol->gate);
		err = name_rmdir(d, s);
		gate_leave(&vol->gate, ticket);
		inode_put(d);
	}
	return (int)enter_leave(err, "rmdir");
}

static int inode_rename(hf_volume *vol, struct hf_id olddir, const char *oldname,
			struct hf_id newdir, const char *newname, unsigned flags,
			const struct hf_how *how)
{
	struct inode *from, *to;
	char s[256], d[256];
	int err = path_name_copy(s, oldname);

	if (!err)
		err = path_name_copy(d, newname);
	if (err)
		return err;
	err = inode_of_dir(vol, olddir, &from);
	if (err)
		return (int)enter_leave(err, "rename");
	err = inode_of_dir(vol, newdir, &to);
	if (!err) {
		err = names_rename(from, s, to, d, flags, how);
		inode_put(to);
	}
	inode_put(from);
	return (int)enter_leave(err, "rename");
}

HF_API int hf_inode_rename(hf_volume *vol, struct hf_id olddir, const char *oldname,
			   struct hf_id newdir, const char *newname, unsigned flags)
{
	VOLUME_CALL(vol);
	int err = enter_volume_change(vol);

	return err ? err : inode_rename(vol, olddir, oldname, newdir, newname, flags, NULL);
}

HF_API int hf_inode_rename_how(hf_volume *vol, struct hf_id olddir, const char *oldname,
			       struct hf_id newdir, const char *newname, unsigned flags,
			       const struct hf_how *how)
{
	VOLUME_CALL(vol);
	int err = enter_volume_change(vol);

	return err ? err : inode_rename(vol, olddir, oldname, newdir, newname, flags, how);
}

HF_API ssize_t hf_inode_readlink(hf_volume *vol, struct hf_id id, char *buf, size_t size)
{
	VOLUME_CALL(vol);
	struct inode *in;
	struct path target;
	size_t len = 0;
	int err = enter_volume(vol);

	if (err)
		return err;
	if (!buf || size == 0)
		return err_set(-EINVAL, "readlink: there is no buffer");
	err = inode_of(vol, id, &in);
	if (err)
		return enter_leave(err, "readlink");
	err = name_readlink(in, target.s, sizeof(target.s), &len);
	inode_put(in);
	if (err)
		return enter_leave(err, "readlink");
	memcpy(buf, target.s, len < size ? len : size);
	return enter_leave((ssize_t)len, "readlink");
}
