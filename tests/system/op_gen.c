/* What to do next. Depends on the seed and the model alone, so that a seed replays. */
#include "op.h"

#include <linux/falloc.h>
#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

/* ---- paths */

static const char *const short_names[] = {
    "a", "b", "c",   "d",   "e", "f",	 "g",	   "foo",	"bar",
    "A", "B", "x.y", "...", "-", "\xff", "sp ace", "new\nline",
};

static void gen_name(struct op_gen *g, char name[256])
{
	uint64_t n;

	switch (rng_below(&g->rng, 12)) {
	case 0:
		n = 200 + rng_below(&g->rng, 56);
		memset(name, 'a' + (int)rng_below(&g->rng, 26), n);
		name[n] = '\0';
		break;
	case 1 ... 4:
		snprintf(name, 256, "n%llu",
			 (unsigned long long)rng_below(&g->rng, g->profile->inodes));
		break;
	default:
		snprintf(
		    name, 256, "%s",
		    short_names[rng_below(&g->rng, sizeof(short_names) / sizeof(short_names[0]))]);
	}
}

static struct m_inode *gen_inode(struct op_gen *g, struct model *m)
{
	return m->inodes[rng_below(&g->rng, m->n)];
}

static struct m_inode *gen_dir(struct op_gen *g, struct model *m)
{
	for (int i = 0; i < 20; i++) {
		struct m_inode *in = gen_inode(g, m);

		if (S_ISDIR(in->mode) && in->nlink)
			return in;
	}
	return m->root;
}

/* A path to something that exists, or nearly. */
static void gen_old(struct op_gen *g, struct model *m, char *path)
{
	struct m_inode *dir = gen_dir(g, m);
	char base[OP_PATH - 300];

	if (m_path_of(m, dir, base, sizeof(base)))
		strcpy(base, "/");
	if (dir->nentries == 0 || rng_one_in(&g->rng, 8))
		snprintf(path, OP_PATH, "%s", base);
	else
		snprintf(path, OP_PATH, "%s%s%s", base, base[1] ? "/" : "",
			 dir->entries[rng_below(&g->rng, dir->nentries)].name);
}

/* A path in a directory; the name may exist or not. */
static void gen_new(struct op_gen *g, struct model *m, char *path)
{
	char base[OP_PATH - 300], name[256];

	if (m_path_of(m, gen_dir(g, m), base, sizeof(base)) || strlen(base) > 200)
		strcpy(base, "/");
	gen_name(g, name);
	snprintf(path, OP_PATH, "%s%s%s", base, base[1] ? "/" : "", name);
}

/* Makes a path odd. In a crash test a path may not lead out of the prefix. */
static void gen_bend(struct op_gen *g, char *path)
{
	size_t n = strlen(path);
	char copy[OP_PATH];

	if (!rng_one_in(&g->rng, 30) || n + 300 > OP_PATH)
		return;
	memcpy(copy, path, n + 1);
	switch (rng_below(&g->rng, g->profile->crash ? 4 : 8)) {
	case 0:
		strcpy(path + n, "/");
		break;
	case 1:
		strcpy(path + n, "/none");
		break;
	case 2:
		strcpy(path + n, "/.");
		break;
	case 3:
		memcpy(path, "//./", 4);
		memcpy(path + 4, copy, n + 1);
		break;
	case 4:
		strcpy(path + n, "/..");
		break;
	case 5:
		memset(path + n, 'l', 257);
		path[n] = '/';
		path[n + 257] = '\0';
		break;
	case 6:
		path[0] = '\0';
		break;
	default:
		snprintf(path, OP_PATH, "%s", copy + 1); /* relative, or empty */
	}
}

/* A path to an inode of a type; 0: no directory. */
static bool gen_typed(struct op_gen *g, struct model *m, uint32_t type, char *path)
{
	if (rng_one_in(&g->rng, 8))
		return false;
	for (int i = 0; i < 30; i++) {
		const struct m_inode *in = gen_inode(g, m);

		if ((type ? (in->mode & S_IFMT) == type : !S_ISDIR(in->mode)) &&
		    m_path_of(m, in, path, OP_PATH - 300) == 0)
			return true;
	}
	return false;
}

static void gen_any(struct op_gen *g, struct model *m, char *path)
{
	if (rng_one_in(&g->rng, 4))
		gen_new(g, m, path);
	else
		gen_old(g, m, path);
	gen_bend(g, path);
}

/* ---- numbers */

static uint64_t gen_off(struct op_gen *g, const struct m_inode *in)
{
	struct rng *r = &g->rng;
	uint64_t near = rng_below(r, 33), max = g->profile->off_max, at;

	switch (rng_below(r, 14)) {
	case 0:
		return 0;
	case 1 ... 2:
		return rng_below(r, 260);
	case 3 ... 4:
		at = rng_below(r, max / M_PAGE + 1) * M_PAGE;
		return at + near > 16 ? at + near - 16 : 0;
	case 5:
		at = rng_below(r, max / (2u << 20) + 1) * (2u << 20);
		return at + near > 16 ? at + near - 16 : 0;
	case 6 ... 8:
		at = in ? in->size : 0;
		return at + near > 16 ? at + near - 16 : 0;
	case 9:
		return rng_below(r, max / M_PAGE + 1) * M_PAGE;
	case 10:
		return rng_one_in(r, 6) ? 1ull << (30 + rng_below(r, 32)) : rng_below(r, max);
	default:
		return in ? rng_below(r, in->size < max ? in->size + 1 : max) : rng_below(r, max);
	}
}

static uint64_t gen_len(struct op_gen *g)
{
	struct rng *r = &g->rng;

	switch (rng_below(r, 12)) {
	case 0 ... 1:
		return rng_below(r, 9);
	case 2 ... 3:
		return rng_below(r, 260);
	case 4 ... 5:
		return (1 + rng_below(r, 8)) * M_PAGE;
	case 6 ... 8:
		return rng_below(r, 20000);
	case 9:
		return rng_below(r, 200000);
	default:
		if (g->profile->huge && rng_one_in(r, 3))
			return (2u << 20) * (1 + rng_below(r, 2)) + rng_below(r, 3) * 4000;
		return 1 + rng_below(r, 4096);
	}
}

static int gen_slot(struct op_gen *g, const struct model *m, bool open)
{
	for (int i = 0; i < 30; i++) {
		int slot = (int)rng_below(&g->rng, M_HANDLES);

		if ((m->handles[slot].in != NULL) == open)
			return slot;
	}
	return -1;
}

/* ---- what each takes; false: not now */

static bool gen_open(struct op_gen *g, struct model *m, struct op *op)
{
	static const unsigned how[] = {HF_O_RDONLY, HF_O_WRONLY, HF_O_RDWR,
				       HF_O_RDWR,   HF_O_RDWR,	 HF_O_RDWR};
	struct rng *r = &g->rng;

	op->slot = gen_slot(g, m, false);
	if (op->slot < 0)
		return false;
	if (!gen_typed(g, m, S_IFREG, op->path))
		gen_any(g, m, op->path);
	op->mode = (uint32_t)rng_below(r, 010000);
	op->flags = how[rng_below(r, 6)];
	if (rng_one_in(r, 2)) {
		op->flags |= HF_O_CREAT;
		if (rng_one_in(r, 2))
			gen_new(g, m, op->path);
	}
	op->flags |= rng_one_in(r, 6) ? HF_O_EXCL : 0;
	op->flags |= rng_one_in(r, 8) && op->flags & 3 ? HF_O_TRUNC : 0;
	op->flags |= rng_one_in(r, 8) ? HF_O_APPEND : 0;
	op->flags |= rng_one_in(r, 8) ? HF_O_NOFOLLOW : 0;
	if (rng_one_in(r, 12) && op->flags & 3) {
		op->flags &= 3 | HF_O_APPEND;
		op->flags |= HF_O_TMPFILE;
	}
	if (!(op->flags & HF_O_CREAT))
		op->flags &= ~(unsigned)HF_O_EXCL;
	return true;
}

static bool gen_file(struct op_gen *g, struct model *m, struct op *op)
{
	static const int modes[] = {
	    0,
	    FALLOC_FL_KEEP_SIZE,
	    FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
	    FALLOC_FL_ZERO_RANGE,
	    FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
	    FALLOC_FL_COLLAPSE_RANGE,
	    FALLOC_FL_INSERT_RANGE,
	    FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
	};
	const struct m_inode *in;

	op->slot = gen_slot(g, m, true);
	if (op->slot < 0)
		return false;
	in = m->handles[op->slot].in;
	op->off = gen_off(g, in);
	op->len = gen_len(g);
	op->seed = rng_next(&g->rng);
	op->via = rng_one_in(&g->rng, 5) ? VIA_VECTOR : VIA_FILE;
	op->mode = (uint32_t)modes[rng_below(&g->rng, 8)];
	op->flags = rng_one_in(&g->rng, 2) ? SEEK_DATA : SEEK_HOLE;
	if (op->kind == OP_FALLOCATE) {
		if (rng_one_in(&g->rng, 2) ||
		    op->mode & (FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_INSERT_RANGE)) {
			op->off &= ~(uint64_t)(M_PAGE - 1);
			op->len = (op->len + M_PAGE - 1) & ~(uint64_t)(M_PAGE - 1);
		}
		if (op->mode & FALLOC_FL_PUNCH_HOLE && rng_one_in(&g->rng, 4))
			op->len = op->len * 16 < OP_LEN_MAX ? op->len * 16 : OP_LEN_MAX;
	}
	if (op->kind == OP_WRITE && op->off + op->len > M_SIZE_MAX)
		op->off = 0;
	return true;
}

static bool gen_copy(struct op_gen *g, struct model *m, struct op *op)
{
	op->slot2 = gen_slot(g, m, true);
	if (!gen_file(g, m, op) || op->slot2 < 0)
		return false;
	op->off2 = gen_off(g, m->handles[op->slot2].in);
	return true;
}

static bool gen_symlink(struct op_gen *g, struct model *m, struct op *op)
{
	char base[OP_PATH];

	gen_new(g, m, op->path);
	gen_bend(g, op->path);
	if (rng_one_in(&g->rng, 3)) {
		op->len = 1 + rng_below(&g->rng, rng_one_in(&g->rng, 4) ? 3000 : 200);
		return true;
	}
	gen_any(g, m, base);
	/* in a crash test the volume's root is not the model's */
	snprintf(op->path2, OP_PATH, "%s", base + (g->profile->crash ? strspn(base, "/") : 0));
	if (op->path2[0] == '\0')
		strcpy(op->path2, "x");
	return true;
}

static void gen_attr(struct op_gen *g, struct op *op)
{
	static const int64_t times[] = {
	    0, 1, -1, 999999999, -1500000000, 1700000000123456789, 4102444800000000000};
	struct hf_setattr *a = &op->attr;
	struct rng *r = &g->rng;

	a->set = (unsigned)(1u << rng_below(r, 9));
	if (rng_one_in(r, 2))
		a->set |= (unsigned)rng_below(r, 512);
	if (!rng_one_in(r, 3))
		a->set &= ~(unsigned)HF_SET_SIZE;
	/* 'now' and a value at once is for the caller to decide */
	if (a->set & HF_SET_ATIME_NOW)
		a->set &= ~(unsigned)HF_SET_ATIME;
	if (a->set & HF_SET_MTIME_NOW)
		a->set &= ~(unsigned)HF_SET_MTIME;
	a->mode = (uint32_t)rng_below(r, 010000);
	a->uid = (uint32_t)rng_next(r);
	a->gid = (uint32_t)rng_below(r, 100000);
	a->size = gen_off(g, NULL);
	a->atime_ns = times[rng_below(r, 7)];
	a->mtime_ns = times[rng_below(r, 7)];
	a->ctime_ns = times[rng_below(r, 7)];
}

/* By number instead of by path: only where both must say the same. The number is of the inode, or
 * of the parent. */
static void gen_by_id(struct op_gen *g, struct model *m, struct op *op, bool parent)
{
	struct m_inode *in;
	struct m_walk w;

	if (!rng_one_in(&g->rng, 3))
		return;
	if (!parent) {
		if (m_lookup(m, op->path, op->via != VIA_LPATH, &in) == 0 && in->id.ino) {
			op->via = VIA_ID;
			op->id = in->id;
		}
		return;
	}
	if (m_walk(m, op->path, M_NAME, &w) || w.special || w.slash || w.dir->id.ino == 0)
		return;
	op->id = w.dir->id;
	if (op->kind == OP_RENAME) {
		if (m_walk(m, op->path2, M_NAME, &w) || w.special || w.slash || w.dir->id.ino == 0)
			return;
		op->id2 = w.dir->id;
	}
	if (op->kind == OP_LINK) {
		if (m_lookup(m, op->path2, false, &in) || in->id.ino == 0)
			return;
		op->id2 = in->id;
	}
	op->via = VIA_ID;
}

/* The inode of an attribute: by path, the link itself, an open file, a number. */
static void gen_attr_of(struct op_gen *g, struct model *m, struct op *op)
{
	gen_any(g, m, op->path);
	op->via = rng_one_in(&g->rng, 3) ? VIA_LPATH : VIA_PATH;
	op->slot = gen_slot(g, m, true);
	if (op->slot >= 0 && rng_one_in(&g->rng, 3))
		op->via = VIA_FILE;
	else
		gen_by_id(g, m, op, false);
}

static void gen_xattr(struct op_gen *g, struct model *m, struct op *op)
{
	const struct m_inode *in;
	static const char *const names[] = {
	    "user.a", "user.b",	 "user.c", "trusted.t", "security.s", "system.posix_acl_access",
	    "user.",  "foo.bar", "",
	};
	struct rng *r = &g->rng;
	uint64_t pick = rng_below(r, 24);

	if (pick < 9)
		snprintf(op->name, sizeof(op->name), "%s", names[pick]);
	else if (pick == 9)
		snprintf(op->name, sizeof(op->name), "user.%0250llu",
			 (unsigned long long)rng_below(r, 4));
	else if (pick == 10)
		snprintf(op->name, sizeof(op->name), "user.%0260d", 1);
	else
		snprintf(op->name, sizeof(op->name), "user.n%llu",
			 (unsigned long long)rng_below(r, 20));
	gen_attr_of(g, m, op);
	in = gen_inode(g, m);
	if (op->kind != OP_SETXATTR && in->nxattrs && rng_one_in(r, 2) &&
	    m_path_of(m, in, op->path, OP_PATH - 300) == 0) {
		op->via = VIA_LPATH;
		snprintf(op->name, sizeof(op->name), "%s",
			 in->xattrs[rng_below(r, in->nxattrs)].name);
	}
	op->seed = rng_next(r);
	op->len = rng_below(r, 300);
	if (rng_one_in(r, 10))
		op->len = rng_below(r, 9000);
	if (rng_one_in(r, 60))
		op->len = 65534 + rng_below(r, 4);
	op->flags = rng_one_in(r, 3) ? (unsigned)rng_below(r, 4) : 0;
}

static bool gen_stream(struct op_gen *g, struct model *m, struct op *op)
{
	op->slot = (int)rng_below(&g->rng, M_STREAMS);
	if (g->profile->crash)
		return false;
	op->len = rng_one_in(&g->rng, 4) ? 100000 : 1 + rng_below(&g->rng, 50);
	op->flags = rng_one_in(&g->rng, 5); /* go back to where it is */
	gen_any(g, m, op->path);
	if (op->kind == OP_OPENDIR)
		gen_by_id(g, m, op, false);
	return (m->streams[op->slot].in != NULL) == (op->kind != OP_OPENDIR);
}

static bool gen_node(struct op_gen *g, struct model *m, struct op *op)
{
	static const uint32_t types[] = {S_IFREG, S_IFIFO, S_IFSOCK, S_IFCHR, S_IFBLK, 0, S_IFDIR};

	gen_new(g, m, op->path);
	gen_bend(g, op->path);
	op->mode = (uint32_t)rng_below(&g->rng, 010000);
	if (op->kind == OP_MKNOD) {
		op->mode |= types[rng_below(&g->rng, 7)];
		op->rdev = rng_below(&g->rng, 1ull << 40);
	}
	gen_by_id(g, m, op, true);
	return true;
}

static bool gen_two_names(struct op_gen *g, struct model *m, struct op *op)
{
	struct rng *r = &g->rng;

	if (op->kind != OP_LINK || !gen_typed(g, m, 0, op->path))
		gen_any(g, m, op->path);
	if (rng_one_in(r, 2))
		gen_new(g, m, op->path2);
	else
		gen_any(g, m, op->path2);
	if (op->kind == OP_RENAME)
		op->flags =
		    rng_one_in(r, 2) ? 0 : (unsigned)rng_below(r, rng_one_in(r, 10) ? 8 : 3);
	if (op->kind == OP_LINK) {
		char swap[OP_PATH];

		/* path is the new one, as it is elsewhere */
		memcpy(swap, op->path, OP_PATH);
		memcpy(op->path, op->path2, OP_PATH);
		memcpy(op->path2, swap, OP_PATH);
	}
	gen_by_id(g, m, op, true);
	return true;
}

static bool gen_args(struct op_gen *g, struct model *m, struct op *op)
{
	switch (op->kind) {
	case OP_OPEN:
		return gen_open(g, m, op);
	case OP_FLINK:
		op->slot = gen_slot(g, m, true);
		gen_new(g, m, op->path);
		return op->slot >= 0;
	case OP_COPY:
		return gen_copy(g, m, op);
	case OP_MKDIR:
	case OP_MKNOD:
		return gen_node(g, m, op);
	case OP_SYMLINK:
		return gen_symlink(g, m, op);
	case OP_RENAME:
	case OP_LINK:
		return gen_two_names(g, m, op);
	case OP_UNLINK:
	case OP_RMDIR:
		if (!gen_typed(g, m, op->kind == OP_RMDIR ? S_IFDIR : 0, op->path))
			gen_any(g, m, op->path);
		gen_by_id(g, m, op, true);
		return true;
	case OP_TRUNCATE:
		if (!gen_typed(g, m, S_IFREG, op->path))
			gen_any(g, m, op->path);
		op->off = gen_off(g, NULL);
		return true;
	case OP_SETATTR:
		gen_attr(g, op);
		gen_attr_of(g, m, op);
		return true;
	case OP_GETXATTR:
	case OP_SETXATTR:
	case OP_LISTXATTR:
	case OP_REMOVEXATTR:
		gen_xattr(g, m, op);
		return true;
	case OP_STAT:
	case OP_LSTAT:
	case OP_READLINK:
		if (op->kind != OP_READLINK || !gen_typed(g, m, S_IFLNK, op->path))
			gen_any(g, m, op->path);
		op->len = rng_one_in(&g->rng, 3) ? 1 + rng_below(&g->rng, 20) : 4096;
		op->via = op->kind == OP_STAT ? VIA_PATH : VIA_LPATH;
		gen_by_id(g, m, op, false);
		return true;
	case OP_OPENDIR:
	case OP_READDIR:
	case OP_CLOSEDIR:
		return gen_stream(g, m, op);
	case OP_SYNCFS:
		return true;
	default:
		return gen_file(g, m, op);
	}
}

/* ---- which */

static const uint8_t weights[OP_KINDS] = {
    [OP_OPEN] = 14,    [OP_CLOSE] = 8,	   [OP_READ] = 8,	[OP_WRITE] = 22,
    [OP_APPEND] = 6,   [OP_FTRUNCATE] = 6, [OP_FALLOCATE] = 12, [OP_SEEK] = 4,
    [OP_FSYNC] = 1,    [OP_FSTAT] = 2,	   [OP_COPY] = 6,	[OP_FLINK] = 2,
    [OP_STAT] = 2,     [OP_LSTAT] = 2,	   [OP_MKDIR] = 8,	[OP_MKNOD] = 4,
    [OP_SYMLINK] = 5,  [OP_READLINK] = 2,  [OP_LINK] = 6,	[OP_UNLINK] = 8,
    [OP_RMDIR] = 4,    [OP_RENAME] = 12,   [OP_TRUNCATE] = 4,	[OP_SETATTR] = 6,
    [OP_GETXATTR] = 3, [OP_SETXATTR] = 6,  [OP_LISTXATTR] = 2,	[OP_REMOVEXATTR] = 3,
    [OP_OPENDIR] = 2,  [OP_READDIR] = 4,   [OP_CLOSEDIR] = 1,	[OP_SYNCFS] = 1,
};

static enum op_kind gen_kind(struct op_gen *g)
{
	static const enum op_kind less[] = {OP_UNLINK,	  OP_UNLINK,   OP_UNLINK, OP_RMDIR,
					    OP_FTRUNCATE, OP_TRUNCATE, OP_CLOSE,  OP_REMOVEXATTR};
	unsigned total = 0, pick;
	int k = 0;

	if (g->shrink && !rng_one_in(&g->rng, 4)) {
		g->shrink--;
		return less[rng_below(&g->rng, sizeof(less) / sizeof(less[0]))];
	}
	for (int i = 0; i < OP_KINDS; i++)
		total += weights[i];
	pick = (unsigned)rng_below(&g->rng, total);
	while (pick >= weights[k])
		pick -= weights[k++];
	return (enum op_kind)k;
}

static bool is_root(const char *path)
{
	return *path && path[strspn(path, "/")] == '\0';
}

void op_generate(struct op_gen *g, struct model *m, struct op *op)
{
	if (g->shrink == 0 && (m->n > g->profile->inodes || m->npages > g->profile->pages_max))
		g->shrink = 50 + (unsigned)rng_below(&g->rng, 200);
	do {
		memset(op, 0, sizeof(*op));
		op->kind = gen_kind(g);
		op->slot = op->slot2 = -1;
	} while (!gen_args(g, m, op) ||
		 (g->profile->crash && (is_root(op->path) || is_root(op->path2))));
}

const char *op_target(const struct op *op, char *buf)
{
	if (op->path2[0])
		return op->path2;
	for (uint64_t i = 0; i < op->len; i++)
		buf[i] = i % 100 == 99 ? '/' : 't';
	buf[op->len] = '\0';
	return buf;
}

void op_data(const struct op *op, void *buf, size_t len)
{
	rng_fill(op->seed, buf, len);
}

/* ---- printing */

static const char *const kind_names[OP_KINDS] = {
    [OP_OPEN] = "open",
    [OP_CLOSE] = "close",
    [OP_READ] = "read",
    [OP_WRITE] = "write",
    [OP_APPEND] = "append",
    [OP_FTRUNCATE] = "ftruncate",
    [OP_FALLOCATE] = "fallocate",
    [OP_SEEK] = "seek",
    [OP_FSYNC] = "fsync",
    [OP_FSTAT] = "fstat",
    [OP_COPY] = "copy_file_range",
    [OP_FLINK] = "flink",
    [OP_STAT] = "stat",
    [OP_LSTAT] = "lstat",
    [OP_MKDIR] = "mkdir",
    [OP_MKNOD] = "mknod",
    [OP_SYMLINK] = "symlink",
    [OP_READLINK] = "readlink",
    [OP_LINK] = "link",
    [OP_UNLINK] = "unlink",
    [OP_RMDIR] = "rmdir",
    [OP_RENAME] = "rename",
    [OP_TRUNCATE] = "truncate",
    [OP_SETATTR] = "setattr",
    [OP_GETXATTR] = "getxattr",
    [OP_SETXATTR] = "setxattr",
    [OP_LISTXATTR] = "listxattr",
    [OP_REMOVEXATTR] = "removexattr",
    [OP_OPENDIR] = "opendir",
    [OP_READDIR] = "readdir",
    [OP_CLOSEDIR] = "closedir",
    [OP_SYNCFS] = "syncfs",
};

const char *op_error(int64_t ret, char buf[64])
{
	const char *name = ret < 0 ? strerrorname_np((int)-ret) : NULL;

	if (name)
		snprintf(buf, 64, "-%s", name);
	else
		snprintf(buf, 64, "%lld", (long long)ret);
	return buf;
}

static void print_text(FILE *f, const char *what, const char *text)
{
	fprintf(f, " %s='", what);
	for (; *text; text++)
		if (*text >= ' ' && *text < 127)
			fputc(*text, f);
		else
			fprintf(f, "\\%03o", (unsigned char)*text);
	fputc('\'', f);
}

void op_print(FILE *f, const struct op *op)
{
	static const char *const vias[] = {"path", "lpath", "file", "id", "vector"};

	fprintf(f, "%s via=%s", kind_names[op->kind], vias[op->via]);
	if (op->slot >= 0)
		fprintf(f, " slot=%d", op->slot);
	if (op->slot2 >= 0)
		fprintf(f, " slot2=%d off2=%#llx", op->slot2, (unsigned long long)op->off2);
	fprintf(f, " flags=%#x mode=%#o off=%#llx len=%#llx", op->flags, op->mode,
		(unsigned long long)op->off, (unsigned long long)op->len);
	if (op->path[0])
		print_text(f, "path", op->path);
	if (op->path2[0])
		print_text(f, "path2", op->path2);
	if (op->kind == OP_SETATTR)
		fprintf(f, " set=%#x size=%#llx", op->attr.set, (unsigned long long)op->attr.size);
	if (op->name[0])
		print_text(f, "name", op->name);
	fputc('\n', f);
}
