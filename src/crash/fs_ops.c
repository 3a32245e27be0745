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
	{kind, "foo", NULL, off, len, flags, NULL}, {kind, "bar", NULL, off, len, flags, NULL},    \
	    {kind, "A/foo", NULL, off, len, flags, NULL},                                          \
	{                                                                                          \
		kind, "A/bar", NULL, off, len, flags, NULL                                         \
	}

enum { APPEND = 1, XATTR_SMALL = 20, XATTR_LARGE = 3000, FULL_LEFT = 3 };

#define FOO_OP(name, kind, b, off, len, flags)                                                     \
	static const struct fs_op name = {kind, "foo", b, off, len, flags, NULL}
FOO_OP(then_truncate, FS_TRUNCATE, NULL, 0, 0, 0);
FOO_OP(then_cut, FS_TRUNCATE, NULL, 5001, 0, 0);
FOO_OP(then_punch, FS_PUNCH, NULL, 1000, 6000, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE);
FOO_OP(then_collapse, FS_FALLOCATE, NULL, 0, BLOCK, FALLOC_FL_COLLAPSE_RANGE);
FOO_OP(then_allocate, FS_FALLOCATE, NULL, 5000, 15000, 0);
FOO_OP(then_append, FS_WRITE, NULL, 0, 100, APPEND);
FOO_OP(then_unlink, FS_UNLINK, NULL, 0, 0, 0);
FOO_OP(then_rename, FS_RENAME, "A/bar", 0, 0, 0);
static const struct fs_op then_rename_over = {FS_RENAME, "A/bar", "foo", 0, 0, 0, NULL};

/* New ones go to the end: their places are in the ids. */
static const struct fs_op table[] = {
    EACH_FILE(FS_CREATE, 0, 0, 0),
    {FS_MKDIR, "A", NULL, 0, 0, 0, NULL},
    {FS_MKDIR, "B", NULL, 0, 0, 0, NULL},
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
    {FS_RENAME, "foo", "bar", 0, 0, 0, NULL},
    {FS_RENAME, "bar", "foo", 0, 0, 0, NULL},
    {FS_RENAME, "foo", "A/foo", 0, 0, 0, NULL},
    {FS_RENAME, "foo", "A/bar", 0, 0, 0, NULL},
    {FS_RENAME, "A/bar", "foo", 0, 0, 0, NULL},
    {FS_RENAME, "A/bar", "bar", 0, 0, 0, NULL},
    {FS_RENAME, "A/foo", "A/bar", 0, 0, 0, NULL},
    {FS_RENAME, "A", "B", 0, 0, 0, NULL},
    {FS_RENAME, "B", "A", 0, 0, 0, NULL},
    {FS_RENAME, "B", "A/B", 0, 0, 0, NULL},
    {FS_RENAME, "foo", "A/bar", 0, 0, HF_RENAME_EXCHANGE, NULL},
    {FS_RENAME, "foo", "bar", 0, 0, HF_RENAME_EXCHANGE, NULL},
    {FS_RENAME, "A", "foo", 0, 0, HF_RENAME_EXCHANGE, NULL},
    {FS_RENAME, "A", "B", 0, 0, HF_RENAME_EXCHANGE, NULL},
    {FS_RENAME, "foo", "bar", 0, 0, HF_RENAME_NOREPLACE, NULL},
    {FS_LINK, "foo", "bar", 0, 0, 0, NULL},
    {FS_LINK, "foo", "A/foo", 0, 0, 0, NULL},
    {FS_LINK, "A/bar", "bar", 0, 0, 0, NULL},
    {FS_LINK, "bar", "A/foo", 0, 0, 0, NULL},
    EACH_FILE(FS_UNLINK, 0, 0, 0),
    {FS_SYMLINK, "foo", "bar", 0, 0, 0, NULL},
    {FS_SYMLINK, "../foo", "A/foo", 0, 0, 0, NULL},
    {FS_RMDIR, "A", NULL, 0, 0, 0, NULL},
    {FS_RMDIR, "B", NULL, 0, 0, 0, NULL},
    {FS_SETXATTR, "foo", "user.a", 0, XATTR_SMALL, 0, NULL},
    {FS_SETXATTR, "foo", "user.b", 0, XATTR_LARGE, 0, NULL},
    {FS_SETXATTR, "A/bar", "user.a", 0, XATTR_SMALL, 0, NULL},
    {FS_SETXATTR, "A", "user.a", 0, XATTR_LARGE, 0, NULL},
    {FS_REMOVEXATTR, "foo", "user.a", 0, 0, 0, NULL},
    {FS_REMOVEXATTR, "A/bar", "user.a", 0, 0, 0, NULL},
    {FS_CHMOD, "foo", NULL, 0600, 0, 0, NULL},
    {FS_CHMOD, "A", NULL, 0700, 0, 0, NULL},
    {FS_FSYNC, "foo", NULL, 0, 0, 0, NULL},
    {FS_SYNCFS, "", NULL, 0, 0, 0, NULL},
    EACH_FILE(FS_PIN, 3000, 5000, FS_BY_PERSIST),
    {FS_PIN, "A/bar", NULL, 16, 64, FS_BY_PERSIST, NULL},
    {FS_PIN, "foo", NULL, 3000, 5000, FS_BY_FSYNC, NULL},
    {FS_PIN, "bar", NULL, 3000, 5000, FS_BY_SYNCFS, NULL},
    {FS_PIN, "foo", NULL, 3000, 5000, FS_BY_LETTING_GO, NULL},
    {FS_HOLD, "foo", NULL, 0, 8192, 0, NULL},
    {FS_HOLD, "bar", NULL, 4096, 4096, 0, NULL},
    {FS_HOLD, "A/bar", NULL, 0, 64, 0, NULL},
    {FS_HOLD, "foo", NULL, 0, 8192, 0, &then_truncate},
    {FS_HOLD, "foo", NULL, 0, 8192, 0, &then_cut},
    {FS_HOLD, "foo", NULL, 0, 8192, 0, &then_punch},
    {FS_HOLD, "foo", NULL, 0, 8192, 0, &then_collapse},
    {FS_HOLD, "foo", NULL, 0, 8192, 0, &then_unlink},
    {FS_HOLD, "foo", NULL, 0, 8192, 0, &then_rename_over},
    {FS_VIEW, "foo", NULL, 3000, 5000, FS_BY_PERSIST, NULL},
    {FS_VIEW, "foo", NULL, 3000, 5000, FS_BY_FSYNC, NULL},
    {FS_VIEW, "foo", NULL, 3000, 5000, FS_BY_SYNCFS, NULL},
    {FS_VIEW, "foo", NULL, 16, 64, FS_BY_LETTING_GO, NULL},
    {FS_VIEW, "foo", NULL, 3000, 5000, FS_BY_PERSIST, &then_punch},
    {FS_VIEW, "foo", NULL, 3000, 5000, FS_BY_PERSIST, &then_cut},
    {FS_VIEW, "foo", NULL, 3000, 5000, FS_BY_PERSIST, &then_collapse},
    {FS_TWO_FD, "foo", NULL, 4000, 3000, 0, &then_cut},
    {FS_TWO_FD, "foo", NULL, 4000, 3000, 0, &then_allocate},
    {FS_TWO_FD, "foo", NULL, 8000, 3000, 0, &then_append},
    {FS_TWO_FD, "foo", NULL, 4000, 3000, 0, &then_punch},
    {FS_TWO_FD, "foo", NULL, 4000, 3000, 0, &then_unlink},
    {FS_FALLOCATE, "foo", NULL, 0, HF_FRAME_SIZE, FALLOC_FL_COLLAPSE_RANGE, NULL},
    {FS_FALLOCATE, "foo", NULL, 0, HF_FRAME_SIZE, 0, NULL},
    {FS_PUNCH, "foo", NULL, 0, HF_FRAME_SIZE, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, NULL},
    {FS_TRUNCATE, "foo", NULL, HF_FRAME_SIZE - 5000, 0, 0, NULL},
    {FS_HOLD, "foo", NULL, 4096, 4096, FS_BY_NOTHING, NULL},
    {FS_HOLD, "A/bar", NULL, 0, 64, FS_BY_NOTHING, NULL},
    {FS_VIEW, "foo", NULL, 3000, 5000, FS_BY_NOTHING, &then_rename},
    {FS_VIEW, "foo", NULL, 3000, 5000, FS_BY_NOTHING, &then_append},
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
	    "create", "mkdir",	"write",   "fallocate", "punch",    "truncate",	   "rename",
	    "link",   "unlink", "symlink", "rmdir",	"setxattr", "removexattr", "chmod",
	    "fsync",  "syncfs", "pin",	   "hold",	"view",	    "twofd"};

	return k < FS_KINDS ? names[k] : "?";
}

static const char *variant(const struct fs_op *op)
{
	static const char *const by[] = {"", "fsync ", "syncfs ", "let_go ", "nothing "};

	if (op->kind == FS_WRITE && op->flags == APPEND)
		return "append ";
	if (op->kind == FS_RENAME)
		return op->flags == HF_RENAME_EXCHANGE	  ? "exchange "
		       : op->flags == HF_RENAME_NOREPLACE ? "noreplace "
							  : "";
	if (op->kind == FS_PIN || op->kind == FS_HOLD || op->kind == FS_VIEW)
		return by[op->flags];
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

static void print_one(const struct fs_op *op, char *buf, size_t size)
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

void fs_op_print(const struct fs_op *op, char *buf, size_t size)
{
	size_t n;

	print_one(op, buf, size);
	n = strlen(buf);
	if (op->then && n + 2 < size) {
		buf[n++] = ':';
		buf[n++] = ' ';
		print_one(op->then, buf + n, size - n);
	}
}

unsigned fs_op_steps(const struct fs_op *op)
{
	switch (op->kind) {
	case FS_HOLD:
		return op->then ? 2 : 1;
	case FS_PIN: /* what makes durable is over before unpinning does so, too */
		return op->flags == FS_BY_LETTING_GO ? 1 : 2;
	case FS_VIEW:
		return op->then ? 4 : 3;
	case FS_TWO_FD:
		return 3;
	default:
		return 1;
	}
}

int64_t fs_on_file(struct fs_world *w, hf_file *f, const struct fs_op *op, unsigned nth)
{
	uint8_t buf[8192];

	switch (op->kind) {
	case FS_WRITE:
		fs_pattern(buf, op->len, nth + 100);
		return op->flags == APPEND ? hf_append(f, buf, op->len, NULL)
					   : hf_pwrite(f, buf, op->len, op->off);
	case FS_FALLOCATE:
	case FS_PUNCH:
		return hf_fallocate(f, op->flags, op->off, op->len);
	case FS_TRUNCATE:
		return hf_ftruncate(f, op->off);
	case FS_FSYNC:
		return hf_fsync(f);
	case FS_PIN:
		return fs_pin_store(w, f, op, nth);
	case FS_HOLD:
		return fs_hold(w, f, op, nth);
	default:
		return 0;
	}
}

static int64_t with_file(struct fs_world *w, const struct fs_op *op, unsigned nth)
{
	unsigned how = HF_O_RDWR | (op->kind == FS_CREATE ? HF_O_CREAT | HF_O_EXCL : 0);
	hf_file *f;
	int64_t ret = hf_open(w->vol, op->a, how, 0644, &f);
	int closed;

	if (ret)
		return ret;
	ret = fs_on_file(w, f, op, nth);
	closed = hf_close(&f);
	return ret < 0 ? ret : closed;
}

static int set_xattr(hf_volume *vol, const struct fs_op *op, unsigned nth)
{
	uint8_t buf[XATTR_LARGE];

	fs_pattern(buf, op->len, nth + 200);
	return hf_lsetxattr(vol, op->a, op->b, buf, op->len, 0);
}

int64_t fs_do_one(struct fs_world *w, const struct fs_op *op, unsigned nth)
{
	hf_volume *vol = w->vol;

	switch (op->kind) {
	case FS_PIN:
	case FS_HOLD:
	case FS_CREATE:
	case FS_WRITE:
	case FS_FALLOCATE:
	case FS_PUNCH:
	case FS_FSYNC:
		return with_file(w, op, nth);
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
	case FS_VIEW:
	case FS_TWO_FD:
	case FS_KINDS:
		break;
	}
	return -EINVAL;
}

int64_t fs_op_do(struct fs_world *w, const struct fs_op *op, unsigned step, unsigned nth)
{
	if (op->kind == FS_VIEW)
		return fs_view_step(w, op, step, nth);
	if (op->kind == FS_TWO_FD)
		return fs_two_step(w, op, step, nth);
	if (op->kind == FS_PIN && step == 1)
		return fs_let_go(w, nth);
	return fs_do_one(w, step == 0 ? op : op->then, nth);
}

static bool is_plain_data(const struct fs_op *op)
{
	return op->kind == FS_WRITE || op->kind == FS_PUNCH || op->kind == FS_PIN ||
	       op->kind == FS_HOLD ||
	       (op->kind == FS_FALLOCATE && op->flags == FALLOC_FL_ZERO_RANGE);
}

bool fs_op_data(const struct fs_op *op, unsigned step, uint64_t *off, uint64_t *len)
{
	/* Which step it is that stores the operation's own bytes, and which is 'then'. */
	bool own = step == 0, then = false;

	if (op->kind == FS_VIEW) {
		own = step == 1;
		then = step == 2;
	} else if (op->kind == FS_HOLD) {
		then = step == 1;
	} else if (op->kind == FS_TWO_FD) {
		own = step != 1;
		then = !own;
	}
	then = then && op->then;
	*off = then ? op->then->off : op->off;
	*len = then ? op->then->len : op->len;
	if (then)
		return is_plain_data(op->then);
	return own && (op->kind == FS_VIEW || op->kind == FS_TWO_FD || is_plain_data(op));
}

/* ---- what is there before */

int fs_make_file(hf_volume *vol, const char *path, uint64_t off, size_t len)
{
	uint8_t *buf = malloc(len);
	hf_file *f;
	int err = hf_open(vol, path, HF_O_RDWR | HF_O_CREAT, 0644, &f);

	if (buf && !err) {
		fs_pattern(buf, len, off + len);
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

int fs_soil(hf_volume *vol)
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
	fs_pattern(buf, PIECE, 1);
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
	int err = which == 0 || which == 3 ? 0 : fs_soil(vol);

	if (!err)
		err = hf_syncfs(vol);
	if (!err)
		err = hf_mkdir(vol, "A", 0755);
	if (!err)
		err = fs_make_file(vol, "foo", 0, which == 2 ? HF_FRAME_SIZE + 9000u : 9000u);
	if (!err)
		err = fs_make_file(vol, "A/bar", 0, 100);
	if (!err)
		err = hf_setxattr(vol, "foo", "user.a", "value", 5, 0);
	if (!err && which == 2)
		err = fill_inode_block(vol);
	if (!err && which == 3)
		err = make_full(vol);
	if (err || (which != 1 && which < FS_TWO_THREADS))
		return err;
	err = hf_mkdir(vol, "B", 0755);
	if (!err)
		err = fs_make_file(vol, "bar", 6000, 4000);
	if (!err)
		err = hf_link(vol, "foo", "A/foo");
	return err;
}
