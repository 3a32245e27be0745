/* Operations done to a volume. */
#include "op.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

const char *real_path(const struct real *r, const char *path, char buf[OP_PATH + 64])
{
	if (r->prefix[0] == '\0' || path[0] == '\0')
		return path;
	snprintf(buf, OP_PATH + 64, "%s/%s", r->prefix, path);
	return buf;
}

static const char *last_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* The buffer in pieces of odd lengths. */
static int split_iov(const struct op *op, uint8_t *buf, size_t len, struct iovec iov[8])
{
	struct rng r = {op->seed};
	int n = 0;

	while (n < 7 && len) {
		size_t k = (size_t)rng_below(&r, len + 1);

		iov[n++] = (struct iovec){.iov_base = buf, .iov_len = k};
		buf += k;
		len -= k;
	}
	iov[n++] = (struct iovec){.iov_base = buf, .iov_len = len};
	return n;
}

static int64_t do_read(struct real *r, const struct op *op, struct out *out)
{
	struct iovec iov[8];
	int64_t n;

	memset(out->buf, 0xee, op->len);
	if (op->via == VIA_VECTOR)
		n = hf_preadv(r->files[op->slot], iov, split_iov(op, out->buf, op->len, iov),
			      op->off);
	else
		n = hf_pread(r->files[op->slot], out->buf, op->len, op->off);
	out->len = n > 0 ? (size_t)n : 0;
	return n;
}

static int64_t do_write(struct real *r, const struct op *op, uint8_t *buf)
{
	struct iovec iov[8];

	op_data(op, buf, op->len);
	if (op->via == VIA_VECTOR)
		return hf_pwritev(r->files[op->slot], iov, split_iov(op, buf, op->len, iov),
				  op->off);
	return hf_pwrite(r->files[op->slot], buf, op->len, op->off);
}

static int64_t do_open(struct real *r, const struct op *op, const char *path)
{
	return hf_open(r->vol, path, op->flags, op->mode, &r->files[op->slot]);
}

static int64_t do_create(struct real *r, const struct op *op, const char *path, struct out *out)
{
	const struct hf_create how = {
	    .mode = op->kind == OP_MKDIR ? S_IFDIR | op->mode : op->mode,
	    .uid = r->m->uid,
	    .gid = r->m->gid,
	    .rdev = S_ISCHR(op->mode) || S_ISBLK(op->mode) ? op->rdev : 0,
	};

	/* mkdir and mknod say more than create what they make */
	if (op->via != VIA_ID ||
	    (op->kind == OP_MKNOD && (S_ISDIR(op->mode) || (op->mode & S_IFMT) == 0)))
		return op->kind == OP_MKDIR ? hf_mkdir(r->vol, path, op->mode)
					    : hf_mknod(r->vol, path, op->mode, op->rdev);
	return hf_inode_create(r->vol, op->id, last_name(op->path), &how, &out->st);
}

static int64_t do_stat(struct real *r, const struct op *op, const char *path, struct out *out)
{
	if (op->kind == OP_FSTAT)
		return hf_fstat(r->files[op->slot], &out->st);
	if (op->via == VIA_ID)
		return hf_inode_stat(r->vol, op->id, &out->st);
	return op->kind == OP_STAT ? hf_stat(r->vol, path, &out->st)
				   : hf_lstat(r->vol, path, &out->st);
}

static int64_t do_setattr(struct real *r, const struct op *op, const char *path)
{
	if (op->via == VIA_FILE)
		return hf_fsetattr(r->files[op->slot], &op->attr);
	if (op->via == VIA_ID)
		return hf_inode_setattr(r->vol, op->id, &op->attr, NULL);
	return hf_setattr(r->vol, path, &op->attr, op->via == VIA_PATH);
}

static int64_t do_getxattr(struct real *r, const struct op *op, const char *path, struct out *out)
{
	size_t size = op->flags == 3 ? 0 : op->flags ? 70000 : (size_t)op->len;
	int64_t n;

	switch (op->via) {
	case VIA_FILE:
		n = hf_fgetxattr(r->files[op->slot], op->name, out->buf, size);
		break;
	case VIA_ID:
		n = hf_inode_getxattr(r->vol, op->id, op->name, out->buf, size);
		break;
	case VIA_LPATH:
		n = hf_lgetxattr(r->vol, path, op->name, out->buf, size);
		break;
	default:
		n = hf_getxattr(r->vol, path, op->name, out->buf, size);
	}
	out->len = n > 0 && size ? (size_t)n : 0;
	return n;
}

static int64_t do_setxattr(struct real *r, const struct op *op, const char *path, uint8_t *value)
{
	int flags = (int)op->flags;

	op_data(op, value, op->len);
	switch (op->via) {
	case VIA_FILE:
		return hf_fsetxattr(r->files[op->slot], op->name, value, op->len, flags);
	case VIA_ID:
		return hf_inode_setxattr(r->vol, op->id, op->name, value, op->len, flags);
	case VIA_LPATH:
		return hf_lsetxattr(r->vol, path, op->name, value, op->len, flags);
	default:
		return hf_setxattr(r->vol, path, op->name, value, op->len, flags);
	}
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Sorts a list of names, each with its NUL: the order is the library's business. */
static void sort_list(uint8_t *buf, size_t len)
{
	char *copy = malloc(len + 1), *names[512], *at;
	size_t n = 0;

	memcpy(copy, buf, len);
	for (at = copy; at < copy + len && n < 512; at += strlen(at) + 1)
		names[n++] = at;
	qsort(names, n, sizeof(names[0]), compare_names);
	for (size_t i = 0; i < n; i++) {
		memcpy(buf, names[i], strlen(names[i]) + 1);
		buf += strlen(names[i]) + 1;
	}
	free(copy);
}

static int64_t do_listxattr(struct real *r, const struct op *op, const char *path, struct out *out)
{
	int64_t n;

	switch (op->via) {
	case VIA_FILE:
		n = hf_flistxattr(r->files[op->slot], (char *)out->buf, 65536);
		break;
	case VIA_ID:
		n = hf_inode_listxattr(r->vol, op->id, (char *)out->buf, 65536);
		break;
	case VIA_LPATH:
		n = hf_llistxattr(r->vol, path, (char *)out->buf, 65536);
		break;
	default:
		n = hf_listxattr(r->vol, path, (char *)out->buf, 65536);
	}
	out->len = n > 0 ? (size_t)n : 0;
	sort_list(out->buf, out->len);
	return n;
}

static int64_t do_removexattr(struct real *r, const struct op *op, const char *path)
{
	switch (op->via) {
	case VIA_FILE:
		return hf_fremovexattr(r->files[op->slot], op->name);
	case VIA_ID:
		return hf_inode_removexattr(r->vol, op->id, op->name);
	case VIA_LPATH:
		return hf_lremovexattr(r->vol, path, op->name);
	default:
		return hf_removexattr(r->vol, path, op->name);
	}
}

/* Up to len names. The number of names says nothing, so 0 unless something is wrong. */
static int64_t do_readdir(struct real *r, const struct op *op, struct out *out)
{
	hf_dir *dir = r->dirs[op->slot];
	struct hf_dirent e;

	if (op->flags)
		hf_seekdir(dir, hf_telldir(dir));
	for (uint64_t i = 0; i < op->len && !out->wrong; i++) {
		int ret = hf_readdir(dir, &e);

		if (ret < 0)
			return ret;
		if (ret == 0) {
			out->wrong = m_stream_end(r->m, op->slot);
			return 0;
		}
		if (e.name[0] == '.' && (e.name[1] == '\0' || strcmp(e.name, "..") == 0))
			continue;
		out->wrong = m_stream_name(r->m, op->slot, e.name);
	}
	return 0;
}

static int64_t do_readlink(struct real *r, const struct op *op, const char *path, struct out *out)
{
	int64_t n;

	if (op->via == VIA_ID)
		n = hf_inode_readlink(r->vol, op->id, (char *)out->buf, op->len);
	else
		n = hf_readlink(r->vol, path, (char *)out->buf, op->len);
	out->len = n > 0 ? (size_t)n : 0;
	if (out->len > op->len)
		out->len = op->len;
	return n;
}

static int64_t do_file(struct real *r, const struct op *op, const char *path, struct out *out)
{
	hf_file *f = r->files[op->slot];

	switch (op->kind) {
	case OP_CLOSE:
		return hf_close(&r->files[op->slot]);
	case OP_READ:
		return do_read(r, op, out);
	case OP_WRITE:
		return do_write(r, op, out->buf);
	case OP_APPEND:
		op_data(op, out->buf, op->len);
		return hf_append(f, out->buf, op->len, &out->aux);
	case OP_FTRUNCATE:
		return hf_ftruncate(f, op->off);
	case OP_FALLOCATE:
		return hf_fallocate(f, (int)op->mode, op->off, op->len);
	case OP_SEEK:
		return hf_seek(f, op->off, (int)op->flags);
	case OP_FSYNC:
		return hf_fsync(f);
	case OP_COPY:
		return hf_copy_file_range(f, op->off, r->files[op->slot2], op->off2, op->len);
	default:
		return hf_flink(f, path);
	}
}

static int64_t do_names(struct real *r, const struct op *op, const char *path, const char *path2)
{
	const char *last = last_name(op->path), *last2 = last_name(op->path2);
	bool id = op->via == VIA_ID;
	char target[4096];

	switch (op->kind) {
	case OP_SYMLINK:
		return hf_symlink(r->vol, op_target(op, target), path);
	case OP_LINK:
		return id ? hf_inode_link(r->vol, op->id2, op->id, last, NULL)
			  : hf_link(r->vol, path2, path);
	case OP_UNLINK:
		return id ? hf_inode_unlink(r->vol, op->id, last) : hf_unlink(r->vol, path);
	case OP_RMDIR:
		return id ? hf_inode_rmdir(r->vol, op->id, last) : hf_rmdir(r->vol, path);
	default:
		return id ? hf_inode_rename(r->vol, op->id, last, op->id2, last2, op->flags)
			  : hf_rename(r->vol, path, path2, op->flags);
	}
}

static int64_t op_do(struct real *r, const struct op *op, const char *path, const char *path2,
		     struct out *out)
{
	switch (op->kind) {
	case OP_OPEN:
		return do_open(r, op, path);
	case OP_FSTAT:
	case OP_STAT:
	case OP_LSTAT:
		return do_stat(r, op, path, out);
	case OP_MKDIR:
	case OP_MKNOD:
		return do_create(r, op, path, out);
	case OP_SYMLINK:
	case OP_LINK:
	case OP_UNLINK:
	case OP_RMDIR:
	case OP_RENAME:
		return do_names(r, op, path, path2);
	case OP_READLINK:
		return do_readlink(r, op, path, out);
	case OP_TRUNCATE:
		return hf_truncate(r->vol, path, op->off);
	case OP_SETATTR:
		return do_setattr(r, op, path);
	case OP_GETXATTR:
		return do_getxattr(r, op, path, out);
	case OP_SETXATTR:
		return do_setxattr(r, op, path, out->buf);
	case OP_LISTXATTR:
		return do_listxattr(r, op, path, out);
	case OP_REMOVEXATTR:
		return do_removexattr(r, op, path);
	case OP_OPENDIR:
		return op->via == VIA_ID ? hf_inode_opendir(r->vol, op->id, &r->dirs[op->slot])
					 : hf_opendir(r->vol, path, &r->dirs[op->slot]);
	case OP_READDIR:
		return do_readdir(r, op, out);
	case OP_CLOSEDIR:
		return hf_closedir(&r->dirs[op->slot]);
	case OP_SYNCFS:
		return hf_syncfs(r->vol);
	default:
		return do_file(r, op, path, out);
	}
}

void op_real(struct real *r, const struct op *op, struct out *out)
{
	char buf[OP_PATH + 64], buf2[OP_PATH + 64];
	const char *path = real_path(r, op->path, buf), *path2 = real_path(r, op->path2, buf2);

	out->len = 0;
	out->aux = 0;
	out->wrong = NULL;
	memset(&out->st, 0, sizeof(out->st));
	out->ret = op_do(r, op, path, path2, out);
}

void real_close_all(struct real *r)
{
	for (int i = 0; i < M_HANDLES; i++)
		if (r->files[i])
			hf_close(&r->files[i]);
	for (int i = 0; i < M_STREAMS; i++)
		if (r->dirs[i])
			hf_closedir(&r->dirs[i]);
}
