/* The operations, over {foo, bar, A/foo, A/bar, A, B}. An operation may be one that fails: on a
 * name that is not there, onto one that is. */
#include "crash/fs.h"

#include <errno.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#define BLOCK 4096u

#define EACH_FILE(kind, off, len, flags)                                                           \
	{kind, "foo", NULL, off, len, flags}, {kind, "bar", NULL, off, len, flags},                \
	    {kind, "A/foo", NULL, off, len, flags},                                                \
	{                                                                                          \
		kind, "A/bar", NULL, off, len, flags                                               \
	}

enum { APPEND = 1, XATTR_SMALL = 20, XATTR_LARGE = 3000, FULL_LEFT = 3 };

/* New ones go to the end: their places are in the ids. */
static const struct fs_op table[] = {
    EACH_FILE(FS_CREATE, 0, 0, 0),
    {FS_MKDIR, "A", NULL, 0, 0, 0},
    {FS_MKDIR, "B", NULL, 0, 0, 0},
    EACH_FILE(FS_WRITE, 0, 100, APPEND),
    EACH_FILE(FS_WRITE, 0, 4096, 0),
    EACH_FILE(FS_WRITE, 1001, 777, 0),
    EACH_FILE(FS_WRITE, 3000, 5000, 0),
    EACH_FILE(FS_WRITE, 20000, 9, 0),
    EACH_FILE(FS_FALLOCATE, 5000, 15000, 0),
    EACH_FILE(FS_FALLOCATE, 5000, 15000, FALLOC_FL_KEEP_SIZE),
    EACH_FILE(FS_FALLOCATE, 100, 6000, FALLOC_FL_ZERO_RANGE),
    EACH_FILE(FS_FALLOCATE, 0, BLOCK, FALLOC_FL_COLLAPSE_RANGE),
    EACH_FILE(FS_FALLOCATE, BLOCK, BLOCK, FALLOC_FL_INSERT_RANGE),
    EACH_FILE(FS_PUNCH, 1000, 6000, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE),
    EACH_FILE(FS_TRUNCATE, 0, 0, 0),
    EACH_FILE(FS_TRUNCATE, 5001, 0, 0),
    EACH_FILE(FS_TRUNCATE, 30000, 0, 0),
    {FS_RENAME, "foo", "bar", 0, 0, 0},
    {FS_RENAME, "bar", "foo", 0, 0, 0},
    {FS_RENAME, "foo", "A/foo", 0, 0, 0},
    {FS_RENAME, "foo", "A/bar", 0, 0, 0},
    {FS_RENAME, "A/bar", "foo", 0, 0, 0},
    {FS_RENAME, "A/bar", "bar", 0, 0, 0},
    {FS_RENAME, "A/foo", "A/bar", 0, 0, 0},
    {FS_RENAME, "A", "B", 0, 0, 0},
    {FS_RENAME, "B", "A", 0, 0, 0},
    {FS_RENAME, "B", "A/B", 0, 0, 0},
    {FS_RENAME, "foo", "A/bar", 0, 0, HF_RENAME_EXCHANGE},
    {FS_RENAME, "foo", "bar", 0, 0, HF_RENAME_EXCHANGE},
    {FS_RENAME, "A", "foo", 0, 0, HF_RENAME_EXCHANGE},
    {FS_RENAME, "A", "B", 0, 0, HF_RENAME_EXCHANGE},
    {FS_RENAME, "foo", "bar", 0, 0, HF_RENAME_NOREPLACE},
    {FS_LINK, "foo", "bar", 0, 0, 0},
    {FS_LINK, "foo", "A/foo", 0, 0, 0},
    {FS_LINK, "A/bar", "bar", 0, 0, 0},
    {FS_LINK, "bar", "A/foo", 0, 0, 0},
    EACH_FILE(FS_UNLINK, 0, 0, 0),
    {FS_SYMLINK, "foo", "bar", 0, 0, 0},
    {FS_SYMLINK, "../foo", "A/foo", 0, 0, 0},
    {FS_RMDIR, "A", NULL, 0, 0, 0},
    {FS_RMDIR, "B", NULL, 0, 0, 0},
    {FS_SETXATTR, "foo", "user.a", 0, XATTR_SMALL, 0},
    {FS_SETXATTR, "foo", "user.b", 0, XATTR_LARGE, 0},
    {FS_SETXATTR, "A/bar", "user.a", 0, XATTR_SMALL, 0},
    {FS_SETXATTR, "A", "user.a", 0, XATTR_LARGE, 0},
    {FS_REMOVEXATTR, "foo", "user.a", 0, 0, 0},
    {FS_REMOVEXATTR, "A/bar", "user.a", 0, 0, 0},
    {FS_CHMOD, "foo", NULL, 0600, 0, 0},
    {FS_CHMOD, "A", NULL, 0700, 0, 0},
    {FS_FSYNC, "foo", NULL, 0, 0, 0},
    {FS_SYNCFS, "", NULL, 0, 0, 0},
};

size_t fs_ops_count(void)
{
	return sizeof(table) / sizeof(table[0]);
}

const struct fs_op *fs_op_at(size_t i)
{
	return &table[i];
}

const char *fs_kind_name(enum fs_kind k)
{
	static const char *const names[FS_KINDS] = {
	    "create",	   "mkdir", "write",  "fallocate", "punch", "truncate",
	    "rename",	   "link",  "unlink", "symlink",   "rmdir", "setxattr",
	    "removexattr", "chmod", "fsync",  "syncfs"};

	return k < FS_KINDS ? names[k] : "?";
}

static const char *variant(const struct fs_op *op)
{
	if (op->kind == FS_WRITE && op->flags == APPEND)
		return "append ";
	if (op->kind == FS_RENAME)
		return op->flags == HF_RENAME_EXCHANGE	  ? "exchange "
		       : op->flags == HF_RENAME_NOREPLACE ? "noreplace "
							  : "";
	if (op->kind != FS_FALLOCATE)
		return "";
	switch (op->flags) {
	case FALLOC_FL_KEEP_SIZE:
		return "keep_size ";
	case FALLOC_FL_ZERO_RANGE:
		return "zero_range ";
	case FALLOC_FL_COLLAPSE_RANGE:
		return "collapse ";
	case FALLOC_FL_INSERT_RANGE:
		return "insert ";
	default:
		return "";
	}
}

void fs_op_print(const struct fs_op *op, char *buf, size_t size)
{
	int n = snprintf(buf, size, "%s %s%s", fs_kind_name(op->kind), variant(op), op->a);

	if (n < 0 || (size_t)n >= size)
		return;
	if (op->b)
		n += snprintf(buf + n, size - (size_t)n, " %s", op->b);
	else if (op->kind == FS_CHMOD)
		n += snprintf(buf + n, size - (size_t)n, " %#o", (unsigned)op->off);
	else if (op->kind == FS_TRUNCATE)
		n += snprintf(buf + n, size - (size_t)n, " %llu", (unsigned long long)op->off);
	else if (op->len)
		n += snprintf(buf + n, size - (size_t)n, " %llu+%llu", (unsigned long long)op->off,
			      (unsigned long long)op->len);
	if (op->kind == FS_SETXATTR)
		snprintf(buf + n, size - (size_t)n, " %llu", (unsigned long long)op->len);
}

/* Bytes that no other place of the sequence writes, and none of them zero. */
static void pattern(uint8_t *p, size_t len, uint64_t seed)
{
	for (size_t i = 0; i < len; i++)
		p[i] = (uint8_t)(hash_mix2(seed, i / 8) >> (i % 8 * 8)) | 1;
}

static int64_t with_file(hf_volume *vol, const struct fs_op *op, unsigned nth)
{
	static const unsigned flags[FS_KINDS] = {[FS_CREATE] = HF_O_RDWR | HF_O_CREAT | HF_O_EXCL};
	unsigned how = flags[op->kind] ? flags[op->kind] : HF_O_RDWR;
	uint8_t buf[8192];
	hf_file *f;
	int64_t ret = hf_open(vol, op->a, how, 0644, &f);
	int closed;

	if (ret)
		return ret;
	if (op->kind == FS_WRITE) {
		pattern(buf, op->len, nth + 100);
		ret = op->flags == APPEND ? hf_append(f, buf, op->len, NULL)
					  : hf_pwrite(f, buf, op->len, op->off);
	} else if (op->kind == FS_FALLOCATE || op->kind == FS_PUNCH) {
		ret = hf_fallocate(f, op->flags, op->off, op->len);
	} else if (op->kind == FS_FSYNC) {
		ret = hf_fsync(f);
	}
	closed = hf_close(&f);
	return ret < 0 ? ret : closed;
}

static int set_xattr(hf_volume *vol, const struct fs_op *op, unsigned nth)
{
	uint8_t buf[XATTR_LARGE];

	pattern(buf, op->len, nth + 200);
	return hf_lsetxattr(vol, op->a, op->b, buf, op->len, 0);
}

int64_t fs_op_do(hf_volume *vol, const struct fs_op *op, unsigned nth)
{
	switch (op->kind) {
	case FS_CREATE:
	case FS_WRITE:
	case FS_FALLOCATE:
	case FS_PUNCH:
	case FS_FSYNC:
		return with_file(vol, op, nth);
	case FS_MKDIR:
		return hf_mkdir(vol, op->a, 0755);
	case FS_TRUNCATE:
		return hf_truncate(vol, op->a, op->off);
	case FS_RENAME:
		return hf_rename(vol, op->a, op->b, (unsigned)op->flags);
	case FS_LINK:
		return hf_link(vol, op->a, op->b);
	case FS_UNLINK:
		return hf_unlink(vol, op->a);
	case FS_SYMLINK:
		return hf_symlink(vol, op->a, op->b);
	case FS_RMDIR:
		return hf_rmdir(vol, op->a);
	case FS_SETXATTR:
		return set_xattr(vol, op, nth);
	case FS_REMOVEXATTR:
		return hf_lremovexattr(vol, op->a, op->b);
	case FS_CHMOD:
		return hf_chmod(vol, op->a, (uint32_t)op->off);
	case FS_SYNCFS:
		return hf_syncfs(vol);
	case FS_KINDS:
		break;
	}
	return -EINVAL;
}

bool fs_op_is_plain_data(const struct fs_op *op)
{
	return op->kind == FS_WRITE || op->kind == FS_PUNCH ||
	       (op->kind == FS_FALLOCATE && op->flags == FALLOC_FL_ZERO_RANGE);
}

/* ---- what is there before */

static int make_file(hf_volume *vol, const char *path, uint64_t off, size_t len)
{
	uint8_t *buf = malloc(len);
	hf_file *f;
	int err = hf_open(vol, path, HF_O_RDWR | HF_O_CREAT, 0644, &f);

	if (buf && !err) {
		pattern(buf, len, off + len);
		err = hf_pwrite(f, buf, len, off) == (ssize_t)len ? 0 : -EIO;
	}
	free(buf);
	return err ? err : hf_close(&f);
}

/* Takes all blocks but a few. Snapshots do not look into it. */
static int make_full(hf_volume *vol)
{
	struct hf_statfs st;
	hf_file *f;
	uint64_t len;
	int err = hf_statfs(vol, &st), closed;

	if (!err)
		err = hf_open(vol, FS_FULL, HF_O_RDWR | HF_O_CREAT, 0600, &f);
	if (err)
		return err;
	for (len = st.blocks_free * BLOCK; len > 0; len -= BLOCK) {
		err = hf_fallocate(f, 0, 0, len);
		if (err != -ENOSPC)
			break;
	}
	if (!err && len > FULL_LEFT * BLOCK)
		err = hf_ftruncate(f, len - FULL_LEFT * BLOCK);
	closed = hf_close(&f);
	return err ? err : closed;
}

/* So that the next file needs a new block of inodes: numbers begin with a block of their own. */
static int fill_inode_block(hf_volume *vol)
{
	struct hf_statfs st;
	int err = hf_statfs(vol, &st);

	for (uint64_t i = 0; i < st.inodes_free && !err; i++) {
		char path[16];

		snprintf(path, sizeof(path), "A/%02u", (unsigned)i);
		err = hf_mknod(vol, path, S_IFREG | 0644, 0);
	}
	return err;
}

/* Every free block has had somebody's bytes: what is not zeroed shows. */
static int soil(hf_volume *vol)
{
	enum { PIECE = 256 * 1024 };
	uint8_t *buf = malloc(PIECE);
	ssize_t got = PIECE;
	hf_file *f;
	int err = buf ? hf_open(vol, FS_FULL, HF_O_RDWR | HF_O_CREAT, 0600, &f) : -ENOMEM;

	if (err) {
		free(buf);
		return err;
	}
	pattern(buf, PIECE, 1);
	while (got > 0)
		got = hf_append(f, buf, PIECE, NULL);
	free(buf);
	err = hf_close(&f);
	if (!err && got != -ENOSPC)
		err = (int)got;
	return err ? err : hf_unlink(vol, FS_FULL);
}

int fs_setup(hf_volume *vol, unsigned which)
{
	int err = which == 0 || which == 3 ? 0 : soil(vol);

	if (!err)
		err = hf_syncfs(vol);
	if (!err)
		err = hf_mkdir(vol, "A", 0755);
	if (!err)
		err = make_file(vol, "foo", 0, which == 2 ? HF_FRAME_SIZE + 9000u : 9000u);
	if (!err)
		err = make_file(vol, "A/bar", 0, 100);
	if (!err)
		err = hf_setxattr(vol, "foo", "user.a", "value", 5, 0);
	if (!err && which == 2)
		err = fill_inode_block(vol);
	if (!err && which == 3)
		err = make_full(vol);
	if (err || (which != 1 && which != FS_TWO_THREADS))
		return err;
	err = hf_mkdir(vol, "B", 0755);
	if (!err)
		err = make_file(vol, "bar", 6000, 4000);
	if (!err)
		err = hf_link(vol, "foo", "A/foo");
	return err;
}
