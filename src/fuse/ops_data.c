/* The bytes of open files. */
#include "mount.h"
#include <errno.h>
#include <stdlib.h>

/* By a copy under the file's lock: a read sees all of a write or nothing of it, and bad media is -EIO. */
void op_read(fuse_req_t req, fuse_ino_t node, size_t size, off_t off, struct fuse_file_info *fi)
{
	char *buf = malloc(size);
	ssize_t n = -ENOMEM;

	(void)node;
	if (buf)
		n = hf_pread(file_of(fi), buf, size, (uint64_t)off);
	if (n < 0)
		reply_err(req, (int)n);
	else
		(void)fuse_reply_buf(req, buf, (size_t)n);
	free(buf);
}

/* What a change by somebody without the right to keep them takes from the file. The kernel would go on with the mode that it remembers,
 * for stat and for exec: it is told, before the answer. */
static int data_drops_setid(fuse_req_t req, fuse_ino_t node, hf_file *file)
{
	struct hf_setattr a = {.set = HF_SET_MODE};
	struct hf_stat st;
	int err = hf_fstat(file, &st);

	a.mode = node_without_setid(st.mode);
	if (err || a.mode == st.mode)
		return err;
	err = hf_fsetattr(file, &a);
	if (!err)
		(void)fuse_lowlevel_notify_inval_inode(mount_of(req)->se, node, -1, 0);
	return err;
}

/* A kernel that does not tell does it itself, but not where there is no page cache; and none tells with fallocate and
 * copy_file_range. The right is root's there. */
static bool data_kills(fuse_req_t req, const struct fuse_file_info *write)
{
	const struct mount *m = mount_of(req);

	if (m->killpriv && write)
		return (write->flags & WIRE_KILL) != 0;
	return (m->killpriv || (m->opt.direct_io && write)) && fuse_req_ctx(req)->uid != 0;
}

/* Of a write with O_APPEND the offset is the end: the kernel keeps all others from the file meanwhile. */
void op_write(fuse_req_t req, fuse_ino_t node, const char *buf, size_t size, off_t off, struct fuse_file_info *fi)
{
	ssize_t n = data_kills(req, fi) ? data_drops_setid(req, node, file_of(fi)) : 0;

	if (n == 0)
		n = hf_pwrite(file_of(fi), buf, size, (uint64_t)off);
	if (n < 0)
		reply_err(req, (int)n);
	else
		(void)fuse_reply_write(req, (size_t)n);
}

void op_fallocate(fuse_req_t req, fuse_ino_t node, int mode, off_t off, off_t len, struct fuse_file_info *fi)
{
	int err = hf_fallocate(file_of(fi), mode, (uint64_t)off, (uint64_t)len);

	if (!err && data_kills(req, NULL))
		err = data_drops_setid(req, node, file_of(fi));
	reply_err(req, err);
}

void op_lseek(fuse_req_t req, fuse_ino_t node, off_t off, int whence, struct fuse_file_info *fi)
{
	int64_t at = hf_seek(file_of(fi), (uint64_t)off, whence);

	(void)node;
	if (at < 0)
		reply_err(req, (int)at);
	else
		(void)fuse_reply_lseek(req, at);
}

/* The answer has 32 bits. */
#define COPY_MAX 0x7ffff000u

void op_copy_file_range(fuse_req_t req, fuse_ino_t in, off_t off_in, struct fuse_file_info *fi_in, fuse_ino_t out, off_t off_out,
			struct fuse_file_info *fi_out, size_t len, int flags)
{
	ssize_t n = flags ? -EINVAL
			  : hf_copy_file_range(file_of(fi_in), (uint64_t)off_in, file_of(fi_out), (uint64_t)off_out,
					       len < COPY_MAX ? len : COPY_MAX);

	(void)in;
	if (n > 0 && data_kills(req, NULL))
		(void)data_drops_setid(req, out, file_of(fi_out));
	if (n < 0)
		reply_err(req, (int)n);
	else
		(void)fuse_reply_write(req, (size_t)n);
}
