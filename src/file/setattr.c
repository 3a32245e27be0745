/* Attributes, written: one transaction for all of a struct hf_setattr. */
#include "file/volume.h"
#include "file/resize.h"
#include "pin/pin.h"
#include "pin/view.h"

#define SETATTR_KNOWN                                                                              \
	((unsigned)(HF_SET_MODE | HF_SET_UID | HF_SET_GID | HF_SET_SIZE | HF_SET_ATIME |           \
		    HF_SET_MTIME | HF_SET_ATIME_NOW | HF_SET_MTIME_NOW | HF_SET_CTIME))

int setattr_check(struct inode *in, const struct hf_setattr *attr)
{
	if (attr->set & ~SETATTR_KNOWN)
		return err_set(-EINVAL, "setattr: unknown bits %#x", attr->set & ~SETATTR_KNOWN);
	if (!(attr->set & HF_SET_SIZE))
		return 0;
	if (S_ISDIR(in->type))
		return -EISDIR;
	if (!S_ISREG(in->type))
		return err_set(-EINVAL, "only regular files have a size that can be set");
	if (attr->size > FILE_SIZE_MAX)
		return err_set(-EFBIG, "a file has at most %llu bytes",
			       (unsigned long long)FILE_SIZE_MAX);
	return 0;
}

void setattr_apply(struct inode_edit *e, const struct hf_setattr *attr)
{
	int64_t now = inode_now_ns();

	if (attr->set & HF_SET_MODE)
		e->img.mode = le32_of((le32_get(e->img.mode) & S_IFMT) | (attr->mode & 07777));
	if (attr->set & HF_SET_UID)
		e->img.uid = le32_of(attr->uid);
	if (attr->set & HF_SET_GID)
		e->img.gid = le32_of(attr->gid);
	if (attr->set & HF_SET_ATIME)
		e->img.atime = le64_of((uint64_t)attr->atime_ns);
	if (attr->set & HF_SET_MTIME)
		e->img.mtime = le64_of((uint64_t)attr->mtime_ns);
	if (attr->set & HF_SET_ATIME_NOW)
		inode_edit_times(e, INODE_ATIME, now);
	if (attr->set & HF_SET_MTIME_NOW)
		inode_edit_times(e, INODE_MTIME, now);
	if (attr->set & HF_SET_CTIME)
		e->img.ctime = le64_of((uint64_t)attr->ctime_ns);
	else
		inode_edit_times(e, INODE_CTIME, now);
}

/* Everything but the size. */
static int setattr_plain(struct inode *in, const struct hf_setattr *attr)
{
	struct inode_edit e;
	struct txn *t = txn_begin(in->fs->journal);
	int err;

	if (!t)
		return -ENOMEM;
	rwl_wrlock(&in->layout);
	if (atomic_load_explicit(&in->dead, memory_order_relaxed)) {
		txn_abort(t);
		err = -ESTALE;
	} else {
		inode_edit_begin(&e, in, t);
		setattr_apply(&e, attr);
		inode_edit_end(&e);
		err = txn_commit(t, NULL);
	}
	rwl_wrunlock(&in->layout);
	return err;
}

int setattr_inode(struct inode *in, const struct hf_setattr *attr, const struct hf_how *how)
{
	struct gate *g = &volume_of(in->fs)->gate;
	struct hf_setattr a = *attr;
	uint32_t ticket;
	int err = setattr_check(in, &a);

	if (err || a.set == 0)
		return err;
	if (a.set & HF_SET_SIZE)
		return resize_set_size(in, a.size, &a, how);
	ticket = gate_enter(g);
	err = setattr_plain(in, &a);
	gate_leave(g, ticket);
	return err;
}

HF_API int hf_fsetattr(hf_file *file, const struct hf_setattr *attr)
{
	int err = enter_inode_change(file);

	if (err)
		return err;
	if (!attr)
		return err_set(-EINVAL, "fsetattr: the attributes are NULL");
	if (attr->set & HF_SET_SIZE)
		err = enter_file_change(file);
	if (!err)
		err = setattr_inode(file->in, attr, NULL);
	return (int)enter_leave(err, "fsetattr");
}

/* Times that are pending in memory (RULES of docs/CRASH.md: they are journalled with the next
 * change, or here). */
static int fsync_times(struct inode *in)
{
	struct inode_edit e;
	struct txn *t;
	int err;

	if (!inode_times_pending(in))
		return 0;
	t = txn_begin(in->fs->journal);
	if (!t)
		return -ENOMEM;
	rwl_wrlock(&in->layout);
	inode_edit_begin(&e, in, t);
	inode_edit_end(&e);
	err = txn_commit(t, NULL);
	rwl_wrunlock(&in->layout);
	return err;
}

/* What was stored without the library's knowledge: through views and through pins for writing. */
static int fsync_data(struct inode *in)
{
	bool any = false;
	int err = pin_flush(in->fs, in, &any);

	if (!err)
		err = view_flush(in->fs, in, &any);
	if (err || !any)
		return err;
	err = data_fence(in);
	if (!err)
		inode_touch(in, INODE_MTIME | INODE_CTIME, inode_now_ns());
	return err;
}

HF_API int hf_fsync(hf_file *file)
{
	uint32_t ticket;
	int err = enter_file(file);

	if (err)
		return err;
	if (file->vol->fs.read_only)
		return 0;
	err = enter_inode_change(file);
	if (!err)
		err = fsync_data(file->in);
	if (err)
		return (int)enter_leave(err, "fsync");
	ticket = gate_enter(&file->vol->gate);
	err = fsync_times(file->in);
	gate_leave(&file->vol->gate, ticket);
	return (int)enter_leave(err, "fsync");
}
