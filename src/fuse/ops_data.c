/* The bytes of open files. */
#include "mount.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

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

/* Without the page cache the kernel leaves this to us: what a write by somebody without the right takes from the file. */
static int write_drops_privileges(fuse_req_t req, hf_file *file)
{
	struct hf_setattr a = {.set = HF_SET_MODE};
	struct hf_stat st;
	int err;

	if (!mount_of(req)->opt.direct_io || fuse_req_ctx(req)->uid == 0)
		return 0;
	err = hf_fremovexattr(file, "security.capability");
	if (err && err != -ENODATA)
		return err;
	err = hf_fstat(file, &st);
	a.mode = st.mode & ~(uint32_t)(st.mode & S_IXGRP ? S_ISUID | S_ISGID : S_ISUID);
	return err || a.mode == st.mode ? err : hf_fsetattr(file, &a);
}

/* With O_APPEND the library adds at the end, whatever the offset, which is the kernel's idea of the end: the same, for it holds the
 * file meanwhile. */
void op_write(fuse_req_t req, fuse_ino_t node, const char *buf, size_t size, off_t off, struct fuse_file_info *fi)
{
	ssize_t n = write_drops_privileges(req, file_of(fi));

	(void)node;
	if (n == 0)
		n = hf_pwrite(file_of(fi), buf, size, (uint64_t)off);
	if (n < 0)
		reply_err(req, (int)n);
	else
		(void)fuse_reply_write(req, (size_t)n);
}

void op_fallocate(fuse_req_t req, fuse_ino_t node, int mode, off_t off, off_t len, struct fuse_file_info *fi)
{
	(void)node;
	reply_err(req, hf_fallocate(file_of(fi), mode, (uint64_t)off, (uint64_t)len));
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

void op_copy_file_range(fuse_req_t req, fuse_ino_t in, off_t off_in, struct fuse_file_info *fi_in, fuse_ino_t out, off_t off_out,
			struct fuse_file_info *fi_out, size_t len, int flags)
{
	ssize_t n = flags ? -EINVAL
			  : hf_copy_file_range(file_of(fi_in), (uint64_t)off_in, file_of(fi_out), (uint64_t)off_out, len);

	(void)in;
	(void)out;
	if (n < 0)
		reply_err(req, (int)n);
	else
		(void)fuse_reply_write(req, (size_t)n);
}
