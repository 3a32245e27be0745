/* Operations done to the model. */
#include "op.h"

#include <errno.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool writes(const struct m_handle *h)
{
	return h->flags & (HF_O_WRONLY | HF_O_RDWR);
}

static int64_t model_read(struct model *m, const struct op *op, struct out *out)
{
	struct m_handle *h = &m->handles[op->slot];
	uint64_t n;

	if (h->flags & HF_O_WRONLY)
		return -EBADF;
	if (op->len == 0 || op->off >= h->in->size)
		return 0;
	n = h->in->size - op->off < op->len ? h->in->size - op->off : op->len;
	m_read(h->in, out->buf, n, op->off);
	m_may_touch(m, h->in, M_ATIME);
	out->len = n;
	return (int64_t)n;
}

static int64_t model_write(struct model *m, const struct op *op, struct out *out, bool append)
{
	struct m_handle *h = &m->handles[op->slot];
	uint64_t off = append || h->flags & HF_O_APPEND ? h->in->size : op->off, len = op->len;

	if (!writes(h))
		return -EBADF;
	if (len == 0) {
		out->aux = append ? h->in->size : 0;
		return 0;
	}
	if (off >= M_SIZE_MAX)
		return -EFBIG;
	if (len > M_SIZE_MAX - off)
		len = M_SIZE_MAX - off;
	op_data(op, out->buf, len);
	m_write(m, h->in, out->buf, len, off);
	out->aux = append ? off : 0;
	return (int64_t)len;
}

static int64_t model_fallocate(struct model *m, const struct op *op)
{
	struct m_handle *h = &m->handles[op->slot];

	return writes(h) ? m_fallocate(m, h->in, (int)op->mode, op->off, op->len) : -EBADF;
}

static int64_t model_ftruncate(struct model *m, const struct op *op)
{
	const struct hf_setattr a = {.set = HF_SET_SIZE, .size = op->off};
	struct m_handle *h = &m->handles[op->slot];

	return writes(h) ? m_setattr(m, h->in, &a) : -EBADF;
}

static int64_t model_copy(struct model *m, const struct op *op)
{
	struct m_handle *from = &m->handles[op->slot], *to = &m->handles[op->slot2];

	if (!writes(to) || from->flags & HF_O_WRONLY || to->flags & HF_O_APPEND)
		return -EBADF;
	return m_copy(m, from->in, op->off, to->in, op->off2, op->len);
}

/* The library's answer is right if no page lies in what it calls a hole, and no hole in what must
 * be data. */
static int64_t model_seek(struct model *m, const struct op *op, int64_t real)
{
	const struct m_inode *in = m->handles[op->slot].in;
	uint64_t at = (uint64_t)real, last = in->size / M_PAGE + (in->size % M_PAGE != 0);
	size_t i, n;

	if (op->off >= in->size)
		return -ENXIO;
	i = m_page_at(in, op->off / M_PAGE);
	n = m_page_at(in, last);
	if (in->size <= M_INLINE)
		n = i; /* nothing is sure */
	if (op->flags == SEEK_DATA) {
		if (real == -ENXIO)
			return i == n ? real : (int64_t)(in->pages[i].no * M_PAGE);
		if (real < 0 || at < op->off || at >= in->size)
			return i == n ? -ENXIO : (int64_t)(in->pages[i].no * M_PAGE);
		/* no page before it */
		return i == n || in->pages[i].no * M_PAGE >= at || in->pages[i].no == at / M_PAGE
			   ? real
			   : (int64_t)(in->pages[i].no * M_PAGE);
	}
	if (real < 0 || at < op->off || at > in->size)
		return (int64_t)in->size;
	i = m_page_at(in, at / M_PAGE);
	return at == in->size || i >= n || in->pages[i].no != at / M_PAGE ? real : -EUCLEAN;
}

static void model_fill_stat(const struct m_inode *in, struct hf_stat *st)
{
	memset(st, 0, sizeof(*st));
	st->id = in->id;
	st->mode = in->mode;
	st->nlink = in->nlink;
	st->uid = in->uid;
	st->gid = in->gid;
	st->rdev = in->rdev;
	st->size = in->size;
}

static int64_t model_stat(struct model *m, const struct op *op, struct out *out)
{
	struct m_inode *in = op->kind == OP_FSTAT ? m->handles[op->slot].in : NULL;
	int err = in ? 0 : m_lookup(m, op->path, op->kind == OP_STAT, &in);

	if (!err)
		model_fill_stat(in, &out->st);
	return err;
}

static int64_t model_create(struct model *m, const struct op *op)
{
	char target[4096];
	struct m_new n = {.mode = op->mode, .uid = m->uid, .gid = m->gid};

	if (op->kind == OP_MKDIR) {
		n.mode = S_IFDIR | (op->mode & 07777);
	} else if (op->kind == OP_SYMLINK) {
		n.mode = S_IFLNK | 0777;
		n.target = op_target(op, target);
	} else {
		if (S_ISDIR(op->mode))
			return -EINVAL;
		if ((op->mode & S_IFMT) == 0)
			n.mode |= S_IFREG;
		n.rdev = S_ISCHR(op->mode) || S_ISBLK(op->mode) ? op->rdev : 0;
	}
	return m_create(m, op->path, &n);
}

static int64_t model_readlink(struct model *m, const struct op *op, struct out *out)
{
	struct m_inode *in;
	size_t n;
	int err = m_lookup(m, op->path, false, &in);

	if (err)
		return err;
	if (!S_ISLNK(in->mode))
		return -EINVAL;
	n = strlen(in->target);
	out->len = n < op->len ? n : op->len;
	memcpy(out->buf, in->target, out->len);
	m_may_touch(m, in, M_ATIME);
	return (int64_t)n;
}

/* The inode that an attribute operation is about. */
static int attr_inode(struct model *m, const struct op *op, struct m_inode **in)
{
	if (op->via == VIA_FILE) {
		*in = m->handles[op->slot].in;
		return 0;
	}
	if (op->via == VIA_ID) {
		for (size_t i = 0; i < m->n; i++) {
			*in = m->inodes[i];
			if ((*in)->id.ino == op->id.ino)
				return 0;
		}
		return -ESTALE;
	}
	return m_lookup(m, op->path, op->via == VIA_PATH, in);
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(((const struct m_xattr *)a)->name, ((const struct m_xattr *)b)->name);
}

static int64_t model_listxattr(const struct m_inode *in, struct out *out)
{
	if (in->nxattrs)
		qsort(in->xattrs, in->nxattrs, sizeof(*in->xattrs), compare_names);
	for (size_t i = 0; i < in->nxattrs; i++) {
		size_t n = strlen(in->xattrs[i].name) + 1;

		memcpy(out->buf + out->len, in->xattrs[i].name, n);
		out->len += n;
	}
	return (int64_t)out->len;
}

static int64_t model_attr(struct model *m, const struct op *op, struct out *out)
{
	size_t size = op->flags == 3 ? 0 : op->flags ? 70000 : (size_t)op->len;
	struct m_inode *in;
	int64_t ret;

	/* what needs no look at the inode comes first */
	if (op->kind == OP_SETXATTR && op->flags == 3)
		return -EINVAL;
	ret = attr_inode(m, op, &in);
	if (ret)
		return ret;
	switch (op->kind) {
	case OP_SETATTR:
		if (op->via == VIA_FILE && op->attr.set & HF_SET_SIZE &&
		    !writes(&m->handles[op->slot]))
			return -EBADF;
		return m_setattr(m, in, &op->attr);
	case OP_GETXATTR:
		ret = m_getxattr(in, op->name, out->buf, size);
		out->len = ret > 0 && size ? (size_t)ret : 0;
		return ret;
	case OP_SETXATTR:
		op_data(op, out->buf, op->len);
		return m_setxattr(m, in, op->name, out->buf, op->len, (int)op->flags);
	case OP_LISTXATTR:
		return model_listxattr(in, out);
	default:
		return m_removexattr(m, in, op->name);
	}
}

static int64_t model_opendir(struct model *m, const struct op *op)
{
	struct m_inode *in;
	int err = m_lookup(m, op->path, true, &in);

	if (!err && !S_ISDIR(in->mode))
		err = -ENOTDIR;
	if (!err)
		m_stream_open(m, op->slot, in);
	return err;
}

static int64_t model_file(struct model *m, const struct op *op, struct out *out)
{
	switch (op->kind) {
	case OP_CLOSE:
		m_close(m, op->slot);
		return 0;
	case OP_READ:
		return model_read(m, op, out);
	case OP_WRITE:
		return model_write(m, op, out, false);
	case OP_APPEND:
		return model_write(m, op, out, true);
	case OP_FTRUNCATE:
		return model_ftruncate(m, op);
	case OP_FALLOCATE:
		return model_fallocate(m, op);
	case OP_SEEK:
		return model_seek(m, op, out->ret);
	case OP_FSYNC:
		return 0;
	case OP_COPY:
		return model_copy(m, op);
	default:
		return m_flink(m, op->slot, op->path);
	}
}

static int64_t model_do(struct model *m, const struct op *op, struct out *out, bool *unclear)
{
	const struct hf_setattr size = {.set = HF_SET_SIZE, .size = op->off};
	struct m_inode *in;
	int err;

	switch (op->kind) {
	case OP_OPEN:
		return m_open(m, op->path, op->flags, op->mode, op->slot);
	case OP_FSTAT:
	case OP_STAT:
	case OP_LSTAT:
		return model_stat(m, op, out);
	case OP_MKDIR:
	case OP_MKNOD:
	case OP_SYMLINK:
		return model_create(m, op);
	case OP_READLINK:
		return model_readlink(m, op, out);
	case OP_LINK:
		err = m_link(m, op->path2, op->path);
		*unclear = err == -EPERM || err == -EEXIST;
		return err;
	case OP_UNLINK:
		return m_unlink(m, op->path);
	case OP_RMDIR:
		return m_rmdir(m, op->path);
	case OP_RENAME:
		return m_rename(m, op->path, op->path2, op->flags, unclear);
	case OP_TRUNCATE:
		err = m_lookup(m, op->path, true, &in);
		return err ? err : m_setattr(m, in, &size);
	case OP_SETATTR:
	case OP_GETXATTR:
	case OP_SETXATTR:
	case OP_LISTXATTR:
	case OP_REMOVEXATTR:
		return model_attr(m, op, out);
	case OP_OPENDIR:
		return model_opendir(m, op);
	case OP_CLOSEDIR:
		m_stream_close(m, op->slot);
		return 0;
	case OP_READDIR:
		if (m->streams[op->slot].in)
			m_may_touch(m, m->streams[op->slot].in, M_ATIME);
		return 0;
	case OP_SYNCFS:
		return 0;
	default:
		return model_file(m, op, out);
	}
}

/* A path that ends in "/", "." or "..", or names nothing: which of several errors comes is not laid
 * down. */
static bool path_is_odd(const char *path)
{
	size_t n = strlen(path);

	return n && (path[n - 1] == '/' ||
		     (path[n - 1] == '.' && (n == 1 || path[n - 2] == '/' || path[n - 2] == '.')));
}

void op_model(struct model *m, const struct op *op, struct out *out, bool *unclear)
{
	out->len = 0;
	out->aux = 0;
	memset(&out->st, 0, sizeof(out->st));
	*unclear = false;
	out->ret = model_do(m, op, out, unclear);
	if (op->kind == OP_SETXATTR) /* a name and a value that are both too long, flags that are
					wrong as well */
		*unclear = op->len > 65536 || op->flags == 3;
	*unclear =
	    *unclear || path_is_odd(op->path) || (op->kind != OP_SYMLINK && path_is_odd(op->path2));
}

struct m_inode *op_file(struct model *m, const struct op *op)
{
	struct m_inode *in = NULL;

	switch (op->kind) {
	case OP_WRITE:
	case OP_APPEND:
	case OP_FTRUNCATE:
	case OP_FALLOCATE:
		return m->handles[op->slot].in;
	case OP_COPY:
		return m->handles[op->slot2].in;
	case OP_TRUNCATE:
		return m_lookup(m, op->path, true, &in) ? NULL : in;
	case OP_SETATTR:
		return op->attr.set & HF_SET_SIZE && attr_inode(m, op, &in) == 0 ? in : NULL;
	case OP_OPEN:
		return op->flags & HF_O_TRUNC &&
			       m_lookup(m, op->path, !(op->flags & HF_O_NOFOLLOW), &in) == 0
			   ? in
			   : NULL;
	default:
		return NULL;
	}
}

/* Blocks for map nodes, directories, inodes, and what is kept back for emptying a full volume. */
#define SPACE_MARGIN 200

bool op_wants_space(struct model *m, const struct op *op, uint64_t *blocks)
{
	const struct m_inode *in = op_file(m, op);
	uint64_t off = op->off, bytes = op->len;

	*blocks = SPACE_MARGIN;
	switch (op->kind) {
	case OP_APPEND:
	case OP_WRITE:
		if (op->kind == OP_APPEND || m->handles[op->slot].flags & HF_O_APPEND)
			off = in->size;
		*blocks += bytes ? m_missing(in, off, off + bytes) : 0;
		return true;
	case OP_COPY:
		*blocks += bytes / M_PAGE + 2;
		return true;
	case OP_FALLOCATE:
		if (!(op->mode & FALLOC_FL_PUNCH_HOLE) && !(op->mode & FALLOC_FL_COLLAPSE_RANGE) &&
		    !(op->mode & FALLOC_FL_INSERT_RANGE))
			*blocks += m_missing(in, off, off + bytes);
		return !(op->mode & FALLOC_FL_PUNCH_HOLE);
	case OP_SETXATTR:
		*blocks += 40 + op->len / M_PAGE;
		return true;
	case OP_REMOVEXATTR: /* the rest is written anew */
		*blocks += 40;
		return true;
	case OP_FTRUNCATE:
	case OP_TRUNCATE:
		return in && op->off > in->size;
	case OP_SETATTR:
		return in && op->attr.set & HF_SET_SIZE && op->attr.size > in->size;
	case OP_OPEN:
		return op->flags & (HF_O_CREAT | HF_O_TMPFILE);
	case OP_MKDIR:
	case OP_MKNOD:
	case OP_SYMLINK:
	case OP_LINK:
	case OP_FLINK:
	case OP_RENAME:
		return true;
	default:
		return false;
	}
}
