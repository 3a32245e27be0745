/* Extended attributes. Values are copied in before the first lock and out after the last. */
#include "file/volume.h"
#include "inode/xattr.h"

#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

#define XATTR_VALUE_MAX 65536u
#define XATTR_FLAGS	(XATTR_CREATE | XATTR_REPLACE)

static int xattr_name_copy(char to[256], const char *name)
{
	if (!name)
		return err_set(-EINVAL, "the attribute's name is NULL");
	if (!memccpy(to, name, '\0', 256))
		return err_set(-ERANGE, "an attribute's name has at most %u bytes", FMT_NAME_MAX);
	return 0;
}

/* name NULL: the list of names. */
static int64_t xattr_read_locked(struct inode *in, const char *name, void *buf, size_t size)
{
	int64_t ret = -ESTALE;

	rwl_rdlock(&in->layout);
	if (!atomic_load_explicit(&in->dead, memory_order_relaxed))
		ret = name ? xattr_get(in, name, buf, size) : xattr_list(in, buf, size);
	rwl_rdunlock(&in->layout);
	return ret;
}

static int64_t xattr_read(struct inode *in, const char *name, void *value, size_t size)
{
	char s[256];
	char *buf = NULL;
	int64_t ret = name ? xattr_name_copy(s, name) : 0;

	if (ret)
		return ret;
	if (size && !value)
		return err_set(-EINVAL, "there is no buffer");
	if (size) {
		size = min_u64(size, FMT_XATTR_BLOB_MAX);
		buf = malloc(size);
		if (!buf)
			return -ENOMEM;
	}
	ret = xattr_read_locked(in, name ? s : NULL, buf, size);
	if (ret > 0 && buf)
		memcpy(value, buf, (size_t)ret);
	free(buf);
	return ret;
}

static int xattr_commit(struct inode *in, const char *name, const void *value, size_t size,
			int flags)
{
	struct inode_edit e;
	struct txn *t = txn_begin(in->fs->journal);
	int err = -ESTALE;

	if (!t)
		return -ENOMEM;
	rwl_wrlock(&in->layout);
	if (!atomic_load_explicit(&in->dead, memory_order_relaxed)) {
		inode_edit_begin(&e, in, t);
		err = xattr_set(&e, name, value, size, flags);
		if (!err)
			inode_edit_end(&e);
	}
	if (err)
		txn_abort(t);
	else
		err = txn_commit(t, NULL);
	rwl_wrunlock(&in->layout);
	return err;
}

/* value NULL: remove. */
static int xattr_write(struct inode *in, const char *name, const void *value, size_t size,
		       int flags)
{
	struct gate *g = &volume_of(in->fs)->gate;
	char s[256];
	void *copy = NULL;
	uint32_t ticket;
	int err = xattr_name_copy(s, name);

	if (!err && size > XATTR_VALUE_MAX)
		err = err_set(-E2BIG, "an attribute's value has at most %u bytes", XATTR_VALUE_MAX);
	if (err)
		return err;
	if (value) {
		copy = malloc(size + 1);
		if (!copy)
			return -ENOMEM;
		memcpy(copy, value, size);
	}
	ticket = gate_enter(g);
	err = xattr_commit(in, s, copy, size, flags);
	gate_leave(g, ticket);
	free(copy);
	return err;
}

static int xattr_set_check(const void *value, size_t size, int flags)
{
	if (flags & ~XATTR_FLAGS)
		return err_set(-EINVAL, "setxattr: unknown flags %#x", (unsigned)flags);
	if ((flags & XATTR_FLAGS) == XATTR_FLAGS)
		return err_set(-EINVAL,
			       "setxattr: XATTR_CREATE and XATTR_REPLACE exclude each other");
	if (!value && size)
		return err_set(-EINVAL, "setxattr: the value is NULL");
	return 0;
}

/* An empty value may come as NULL; within this file NULL removes. */
static const void *xattr_value(const void *value)
{
	return value ? value : "";
}

/* ---- open files */

HF_API ssize_t hf_fgetxattr(hf_file *file, const char *name, void *value, size_t size)
{
	int64_t ret = enter_file(file);

	if (!ret && !name)
		return err_set(-EINVAL, "the attribute's name is NULL");
	return ret ? ret : enter_leave(xattr_read(file->in, name, value, size), "getxattr");
}

HF_API ssize_t hf_flistxattr(hf_file *file, char *list, size_t size)
{
	int64_t ret = enter_file(file);

	return ret ? ret : enter_leave(xattr_read(file->in, NULL, list, size), "listxattr");
}

HF_API int hf_fsetxattr(hf_file *file, const char *name, const void *value, size_t size, int flags)
{
	int err = enter_inode_change(file);

	if (!err)
		err = xattr_set_check(value, size, flags);
	return err ? err
		   : (int)enter_leave(xattr_write(file->in, name, xattr_value(value), size, flags),
				      "setxattr");
}

HF_API int hf_fremovexattr(hf_file *file, const char *name)
{
	int err = enter_inode_change(file);

	return err ? err : (int)enter_leave(xattr_write(file->in, name, NULL, 0, 0), "removexattr");
}

/* ---- by path */

static int64_t path_read(hf_volume *vol, const char *path, bool follow, const char *name,
			 void *value, size_t size, const char *what)
{
	VOLUME_CALL(vol);
	struct inode *in;
	unsigned turns = 0;
	int64_t ret = enter_volume(vol);

	if (ret)
		return ret;
	do {
		ret = path_inode(vol, path, follow, &in);
		if (ret)
			break;
		ret = xattr_read(in, name, value, size);
		inode_put(in);
	} while (path_again(ret, &turns));
	return enter_leave(path_gone(ret), what);
}

static int64_t path_get(hf_volume *vol, const char *path, bool follow, const char *name,
			void *value, size_t size)
{
	if (!name)
		return err_set(-EINVAL, "the attribute's name is NULL");
	return path_read(vol, path, follow, name, value, size, "getxattr");
}

static int path_write(hf_volume *vol, const char *path, bool follow, const char *name,
		      const void *value, size_t size, int flags, const char *what)
{
	struct inode *in;
	unsigned turns = 0;
	int err;

	do {
		err = path_inode(vol, path, follow, &in);
		if (err)
			break;
		err = xattr_write(in, name, value, size, flags);
		inode_put(in);
	} while (path_again(err, &turns));
	return (int)enter_leave(path_gone(err), what);
}

static int path_set(hf_volume *vol, const char *path, bool follow, const char *name,
		    const void *value, size_t size, int flags)
{
	VOLUME_CALL(vol);
	int err = enter_volume_change(vol);

	if (!err)
		err = xattr_set_check(value, size, flags);
	if (err)
		return err;
	return path_write(vol, path, follow, name, xattr_value(value), size, flags, "setxattr");
}

static int path_remove(hf_volume *vol, const char *path, bool follow, const char *name)
{
	VOLUME_CALL(vol);
	int err = enter_volume_change(vol);

	if (err)
		return err;
	return path_write(vol, path, follow, name, NULL, 0, 0, "removexattr");
}

HF_API ssize_t hf_getxattr(hf_volume *vol, const char *path, const char *name, void *value,
			   size_t size)
{
	return path_get(vol, path, true, name, value, size);
}

HF_API ssize_t hf_lgetxattr(hf_volume *vol, const char *path, const char *name, void *value,
			    size_t size)
{
	return path_get(vol, path, false, name, value, size);
}

HF_API int hf_setxattr(hf_volume *vol, const char *path, const char *name, const void *value,
		       size_t size, int flags)
{
	return path_set(vol, path, true, name, value, size, flags);
}

HF_API int hf_lsetxattr(hf_volume *vol, const char *path, const char *name, const void *value,
			size_t size, int flags)
{
	return path_set(vol, path, false, name, value, size, flags);
}

HF_API ssize_t hf_listxattr(hf_volume *vol, const char *path, char *list, size_t size)
{
	return path_read(vol, path, true, NULL, list, size, "listxattr");
}

HF_API ssize_t hf_llistxattr(hf_volume *vol, const char *path, char *list, size_t size)
{
	return path_read(vol, path, false, NULL, list, size, "listxattr");
}

HF_API int hf_removexattr(hf_volume *vol, const char *path, const char *name)
{
	return path_remove(vol, path, true, name);
}

HF_API int hf_lremovexattr(hf_volume *vol, const char *path, const char *name)
{
	return path_remove(vol, path, false, name);
}

/* ---- by number */

static int64_t number_read(hf_volume *vol, struct hf_id id, const char *name, void *value,
			   size_t size, const char *what)
{
	VOLUME_CALL(vol);
	struct inode *in;
	int64_t ret = enter_volume(vol);

	if (ret)
		return ret;
	ret = inode_get(&vol->fs, INUM(id.ino), id.gen, &in);
	if (!ret) {
		ret = xattr_read(in, name, value, size);
		inode_put(in);
	}
	return enter_leave(ret, what);
}

static int number_write(hf_volume *vol, struct hf_id id, const char *name, const void *value,
			size_t size, int flags, const char *what)
{
	VOLUME_CALL(vol);
	struct inode *in;
	int err = enter_volume_change(vol);

	if (err)
		return err;
	err = inode_get(&vol->fs, INUM(id.ino), id.gen, &in);
	if (!err) {
		err = xattr_write(in, name, value, size, flags);
		inode_put(in);
	}
	return (int)enter_leave(err, what);
}

HF_API ssize_t hf_inode_getxattr(hf_volume *vol, struct hf_id id, const char *name, void *value,
				 size_t size)
{
	if (!name)
		return err_set(-EINVAL, "the attribute's name is NULL");
	return number_read(vol, id, name, value, size, "getxattr");
}

HF_API ssize_t hf_inode_listxattr(hf_volume *vol, struct hf_id id, char *list, size_t size)
{
	return number_read(vol, id, NULL, list, size, "listxattr");
}

HF_API int hf_inode_setxattr(hf_volume *vol, struct hf_id id, const char *name, const void *value,
			     size_t size, int flags)
{
	VOLUME_CALL(vol);
	int err = enter_volume_change(vol);

	if (!err)
		err = xattr_set_check(value, size, flags);
	return err ? err : number_write(vol, id, name, xattr_value(value), size, flags, "setxattr");
}

HF_API int hf_inode_removexattr(hf_volume *vol, struct hf_id id, const char *name)
{
	return number_write(vol, id, name, NULL, 0, 0, "removexattr");
}
