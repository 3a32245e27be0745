#include "opset.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FRAME (2u << 20)

static char bytes[256 << 10];

static const char *some_bytes(void)
{
	if (bytes[0] == '\0')
		memset(bytes, 'h', sizeof(bytes));
	return bytes;
}

/* ---- the tree */

static int64_t put(hf_volume *vol, const char *path, uint64_t off, size_t len)
{
	hf_file *f;
	int64_t ret = hf_open(vol, path, HF_O_WRONLY | HF_O_CREAT, 0644, &f);
	size_t done = 0;
	int closed;

	if (ret)
		return ret;
	while (ret >= 0 && done < len) {
		size_t n = len - done < sizeof(bytes) ? len - done : sizeof(bytes);

		ret = hf_pwrite(f, some_bytes(), n, off + done);
		done += ret > 0 ? (size_t)ret : 0;
	}
	closed = hf_close(&f);
	return ret < 0 ? ret : closed;
}

static int64_t fallocate_path(hf_volume *vol, const char *path, int mode, uint64_t off,
			      uint64_t len)
{
	hf_file *f;
	int64_t ret = hf_open(vol, path, HF_O_RDWR, 0, &f);
	int closed;

	if (ret)
		return ret;
	ret = hf_fallocate(f, mode, off, len);
	closed = hf_close(&f);
	return ret ? ret : closed;
}

static const char *long_name(const char *dir, int i)
{
	static char name[300];

	snprintf(name, sizeof(name), "%s/%0240d", dir, i);
	return name;
}

static uint64_t blocks_of(hf_volume *vol, const char *path)
{
	struct hf_stat st = {0};

	hf_stat(vol, path, &st);
	return st.blocks_512;
}

/* A directory of one bucket, in which no long name more fits. */
static int tree_full_bucket(hf_volume *vol)
{
	int n = 0, err = hf_mkdir(vol, "/full", 0755);
	uint64_t blocks;

	if (!err)
		err = (int)put(vol, long_name("/full", n++), 0, 0);
	blocks = blocks_of(vol, "/full");
	while (!err && blocks_of(vol, "/full") == blocks)
		err = (int)put(vol, long_name("/full", n++), 0, 0);
	/* that many split it: all go, and the directory begins anew with one less */
	for (int i = 0; i < n && !err; i++)
		err = hf_unlink(vol, long_name("/full", i));
	if (!err)
		err = hf_rmdir(vol, "/full");
	if (!err)
		err = hf_mkdir(vol, "/full", 0755);
	for (int i = 0; i < n - 1 && !err; i++)
		err = (int)put(vol, long_name("/full", i), 0, 0);
	return !err && blocks_of(vol, "/full") != blocks ? -EIO : err;
}

static int tree_names(hf_volume *vol)
{
	char name[300], target[1001];
	int err = 0;

	/* a directory that has split its first bucket, with long names */
	for (int i = 0; i < 20 && !err; i++) {
		snprintf(name, sizeof(name), "/dir/%0240d", i);
		err = (int)put(vol, name, 0, 0);
	}
	memset(target, 't', 1000);
	target[1000] = '\0';
	if (!err)
		err = tree_full_bucket(vol);
	if (!err)
		err = hf_symlink(vol, "small", "/link");
	if (!err)
		err = hf_symlink(vol, target, "/longlink");
	if (!err)
		err = hf_link(vol, "/small", "/dir/hard");
	if (!err)
		err = hf_mkdir(vol, "/dir/sub", 0755);
	if (!err)
		err = hf_mkdir(vol, "/empty", 0700);
	return err ? err : hf_mkdir(vol, "/empty2", 0700);
}

static int tree_files(hf_volume *vol)
{
	int64_t ret = put(vol, "/small", 0, 40); /* in the inode */

	if (ret >= 0)
		ret = put(vol, "/tiny", 0, 20);
	if (ret >= 0)
		ret = put(vol, "/blocks", 0, 50000);
	if (ret >= 0)
		ret = put(vol, "/big", 0, 2 * FRAME); /* whole frames */
	if (ret >= 0)
		ret = fallocate_path(vol, "/big", 0, 0, 2 * FRAME);
	if (ret >= 0)
		ret = put(vol, "/holes", 8192, 4096);
	if (ret >= 0)
		ret = put(vol, "/holes", 1 << 20, 4096);
	if (ret >= 0)
		ret = put(vol, "/holes", 64 << 20, 100);
	/* no two blocks are neighbours: a long map */
	for (uint64_t i = 0; i < 40 && ret >= 0; i++)
		ret = put(vol, "/sparse", i * 3 * FRAME, 100);
	return ret < 0 ? (int)ret : 0;
}

int opset_tree(hf_volume *vol)
{
	int err = hf_mkdir(vol, "/dir", 0755);

	if (!err)
		err = hf_mkdir(vol, "/fill", 0755);
	if (!err)
		err = tree_files(vol);
	if (!err)
		err = tree_names(vol);
	if (!err)
		err = hf_setxattr(vol, "/blocks", "user.one", "1", 1, 0);
	if (!err)
		err = hf_setxattr(vol, "/blocks", "user.two", some_bytes(), 5000, 0);
	return err;
}

/* ---- the operations */

static int64_t op_create(hf_volume *vol)
{
	return put(vol, "/dir/new", 0, 0);
}
static int64_t op_mkdir(hf_volume *vol)
{
	return hf_mkdir(vol, "/dir/newdir", 0755);
}
static int64_t op_mknod(hf_volume *vol)
{
	return hf_mknod(vol, "/dir/fifo", S_IFIFO | 0600, 0);
}
static int64_t op_symlink(hf_volume *vol)
{
	return hf_symlink(vol, "somewhere", "/dir/sym");
}
static int64_t op_symlink_long(hf_volume *vol)
{
	char target[3001];

	memset(target, 'l', 3000);
	target[3000] = '\0';
	return hf_symlink(vol, target, "/dir/symlong");
}
static int64_t op_link(hf_volume *vol)
{
	return hf_link(vol, "/small", "/dir/another");
}
static int64_t op_rename(hf_volume *vol)
{
	return hf_rename(vol, "/small", "/dir/renamed", 0);
}
static int64_t op_rename_replace(hf_volume *vol)
{
	return hf_rename(vol, "/small", "/blocks", 0);
}
static int64_t op_rename_dir(hf_volume *vol)
{
	return hf_rename(vol, "/dir/sub", "/empty", 0);
}
static int64_t op_exchange(hf_volume *vol)
{
	return hf_rename(vol, "/dir/sub", "/small", HF_RENAME_EXCHANGE);
}
static int64_t op_unlink(hf_volume *vol)
{
	return hf_unlink(vol, "/tiny");
}
static int64_t op_unlink_big(hf_volume *vol)
{
	return hf_unlink(vol, "/big");
}
static int64_t op_unlink_sparse(hf_volume *vol)
{
	return hf_unlink(vol, "/sparse");
}
static int64_t op_rmdir(hf_volume *vol)
{
	return hf_rmdir(vol, "/empty");
}
static int64_t op_unlink_open(hf_volume *vol)
{
	hf_file *f;
	int64_t ret = hf_open(vol, "/blocks", HF_O_RDONLY, 0, &f);

	if (ret)
		return ret;
	ret = hf_unlink(vol, "/blocks");
	hf_close(&f); /* it is gone either way; a failure leaves it to the next mount */
	return ret;
}
static int64_t op_write_inline(hf_volume *vol)
{
	return put(vol, "/small", 30, 30);
}
static int64_t op_write_outgrow(hf_volume *vol)
{
	return put(vol, "/small", 30, 5000);
}
static int64_t op_write_over(hf_volume *vol)
{
	return put(vol, "/blocks", 10000, 20000);
}
static int64_t op_write_append(hf_volume *vol)
{
	return put(vol, "/blocks", 50000, 20000);
}
static int64_t op_write_hole(hf_volume *vol)
{
	return put(vol, "/holes", 5 << 20, 30000);
}
static int64_t op_write_frame(hf_volume *vol)
{
	return put(vol, "/big", 2 * FRAME, FRAME + 9000);
}
static int64_t op_truncate_grow(hf_volume *vol)
{
	return hf_truncate(vol, "/small", 100000);
}
static int64_t op_truncate_inline(hf_volume *vol)
{
	return hf_truncate(vol, "/small", 7);
}
static int64_t op_truncate_frame(hf_volume *vol)
{
	return hf_truncate(vol, "/big", FRAME + 300000);
}
static int64_t op_truncate_sparse(hf_volume *vol)
{
	return hf_truncate(vol, "/sparse", 5000);
}
static int64_t op_open_trunc(hf_volume *vol)
{
	hf_file *f;
	int64_t ret = hf_open(vol, "/blocks", HF_O_RDWR | HF_O_TRUNC, 0, &f);

	return ret ? ret : hf_close(&f);
}
static int64_t op_fallocate(hf_volume *vol)
{
	return fallocate_path(vol, "/holes", 0, 0, 100000);
}
static int64_t op_fallocate_frame(hf_volume *vol)
{
	return fallocate_path(vol, "/holes", FALLOC_FL_KEEP_SIZE, 2 * FRAME, FRAME);
}
static int64_t op_punch(hf_volume *vol)
{
	return fallocate_path(vol, "/big", FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 100 << 12,
			      200 << 12);
}
static int64_t op_punch_sparse(hf_volume *vol)
{
	return fallocate_path(vol, "/sparse", FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, FRAME,
			      60 * (uint64_t)FRAME);
}
static int64_t op_zero_range(hf_volume *vol)
{
	return fallocate_path(vol, "/blocks", FALLOC_FL_ZERO_RANGE, 9000, 60000);
}
static int64_t op_collapse(hf_volume *vol)
{
	return fallocate_path(vol, "/blocks", FALLOC_FL_COLLAPSE_RANGE, 4096, 8192);
}
static int64_t op_insert(hf_volume *vol)
{
	return fallocate_path(vol, "/blocks", FALLOC_FL_INSERT_RANGE, 4096, 8192);
}
static int64_t op_insert_frame(hf_volume *vol)
{
	return fallocate_path(vol, "/big", FALLOC_FL_INSERT_RANGE, 4096, 4096);
}
static int64_t op_copy(hf_volume *vol)
{
	hf_file *from, *to;
	int64_t ret = hf_open(vol, "/blocks", HF_O_RDONLY, 0, &from);

	if (ret)
		return ret;
	ret = hf_open(vol, "/small", HF_O_RDWR, 0, &to);
	if (!ret) {
		ret = hf_copy_file_range(from, 100, to, 200, 40000);
		hf_close(&to);
	}
	hf_close(&from);
	return ret;
}
static int64_t op_setxattr(hf_volume *vol)
{
	return hf_setxattr(vol, "/small", "user.new", "value", 5, 0);
}
static int64_t op_setxattr_long(hf_volume *vol)
{
	return hf_setxattr(vol, "/blocks", "user.two", some_bytes(), 60000, 0);
}
static int64_t op_removexattr(hf_volume *vol)
{
	return hf_removexattr(vol, "/blocks", "user.one");
}
static int64_t op_setattr(hf_volume *vol)
{
	return hf_chmod(vol, "/small", 0400);
}
static int64_t op_flink(hf_volume *vol)
{
	hf_file *f;
	int64_t ret = hf_open(vol, "/", HF_O_RDWR | HF_O_TMPFILE, 0600, &f);

	if (ret)
		return ret;
	ret = hf_flink(f, "/dir/linked");
	hf_close(&f);
	return ret;
}
static int64_t op_tmpfile(hf_volume *vol)
{
	hf_file *f;
	int64_t ret = hf_open(vol, "/", HF_O_RDWR | HF_O_TMPFILE, 0600, &f);

	if (ret)
		return ret;
	ret = hf_pwrite(f, some_bytes(), 10000, 0);
	hf_close(&f);
	return ret;
}
/* A name that splits a bucket. */
#define SPLIT long_name("/full", 1000)
static int64_t op_create_split(hf_volume *vol)
{
	return put(vol, SPLIT, 0, 0);
}
static int64_t op_mkdir_split(hf_volume *vol)
{
	return hf_mkdir(vol, SPLIT, 0755);
}
static int64_t op_link_split(hf_volume *vol)
{
	return hf_link(vol, "/small", SPLIT);
}
static int64_t op_rename_split(hf_volume *vol)
{
	return hf_rename(vol, "/small", SPLIT, 0);
}
static int64_t op_rename_within_split(hf_volume *vol)
{
	char from[300];

	snprintf(from, sizeof(from), "%s", long_name("/full", 3));
	return hf_rename(vol, from, SPLIT, 0);
}
static int64_t op_rename_dir_split(hf_volume *vol)
{
	return hf_rename(vol, "/dir/sub", SPLIT, 0);
}
static int64_t op_flink_split(hf_volume *vol)
{
	hf_file *f;
	int64_t ret = hf_open(vol, "/", HF_O_RDWR | HF_O_TMPFILE, 0600, &f);

	if (ret)
		return ret;
	ret = hf_flink(f, SPLIT);
	hf_close(&f);
	return ret;
}
static int64_t op_syncfs(hf_volume *vol)
{
	return hf_syncfs(vol);
}
static int64_t op_read(hf_volume *vol)
{
	hf_file *f;
	int64_t ret = hf_open(vol, "/blocks", HF_O_RDONLY, 0, &f);
	char buf[100];

	if (ret)
		return ret;
	ret = hf_pread(f, buf, sizeof(buf), 4000);
	hf_close(&f);
	return ret;
}
static int64_t op_getxattr(hf_volume *vol)
{
	char buf[6000];

	return hf_getxattr(vol, "/blocks", "user.two", buf, sizeof(buf));
}
static int64_t op_listxattr(hf_volume *vol)
{
	char buf[1000];

	return hf_listxattr(vol, "/blocks", buf, sizeof(buf));
}
static int64_t op_extents(hf_volume *vol)
{
	struct hf_extent e[100];
	hf_file *f;
	size_t n;
	int64_t ret = hf_open(vol, "/sparse", HF_O_RDONLY, 0, &f);

	if (ret)
		return ret;
	ret = hf_extents(f, 0, e, 100, &n);
	hf_close(&f);
	return ret;
}
static int64_t op_readdir(hf_volume *vol)
{
	struct hf_dirent e;
	hf_dir *d;
	int ret = hf_opendir(vol, "/dir", &d);

	if (ret)
		return ret;
	do {
		ret = hf_readdir(d, &e);
	} while (ret == 1);
	hf_closedir(&d);
	return ret;
}
static int64_t op_check(hf_volume *vol)
{
	struct hf_check_result res;

	return hf_check_mounted(vol, NULL, &res);
}

const struct opset_op opset_ops[] = {
    {"create", op_create, 0},
    {"mkdir", op_mkdir, 0},
    {"mknod", op_mknod, 0},
    {"symlink", op_symlink, 0},
    {"symlink, long", op_symlink_long, 0},
    {"link", op_link, 0},
    {"rename", op_rename, 0},
    {"rename over a file", op_rename_replace, 0},
    {"rename of a directory over an empty one", op_rename_dir, 0},
    {"exchange", op_exchange, 0},
    {"unlink", op_unlink, OPSET_FREES},
    {"unlink, whole frames", op_unlink_big, OPSET_FREES},
    {"unlink, sparse", op_unlink_sparse, OPSET_FREES},
    {"unlink, open", op_unlink_open, OPSET_FREES},
    {"rmdir", op_rmdir, OPSET_FREES},
    {"write, in the inode", op_write_inline, 0},
    {"write, out of the inode", op_write_outgrow, OPSET_DATA},
    {"write, overwriting", op_write_over, OPSET_DATA},
    {"write, appending", op_write_append, OPSET_DATA},
    {"write into a hole", op_write_hole, OPSET_DATA},
    {"write of a frame", op_write_frame, OPSET_DATA},
    {"truncate, growing", op_truncate_grow, 0},
    {"truncate, in the inode", op_truncate_inline, OPSET_FREES},
    {"truncate into a frame", op_truncate_frame, OPSET_FREES},
    {"truncate, sparse", op_truncate_sparse, OPSET_FREES},
    {"open with O_TRUNC", op_open_trunc, OPSET_FREES},
    {"fallocate", op_fallocate, 0},
    {"fallocate of a frame", op_fallocate_frame, 0},
    {"punch into frames", op_punch, OPSET_FREES | OPSET_DATA},
    {"punch, sparse", op_punch_sparse, OPSET_FREES | OPSET_DATA},
    {"zero range", op_zero_range, OPSET_DATA},
    {"collapse", op_collapse, 0},
    {"insert", op_insert, 0},
    {"insert into frames", op_insert_frame, 0},
    {"copy_file_range", op_copy, OPSET_DATA},
    {"setxattr", op_setxattr, 0},
    {"setxattr, long", op_setxattr_long, 0},
    {"removexattr", op_removexattr, 0},
    {"setattr", op_setattr, 0},
    {"tmpfile and flink", op_flink, 0},
    {"tmpfile", op_tmpfile, OPSET_DATA},
    {"create, splitting a bucket", op_create_split, 0},
    {"mkdir, splitting a bucket", op_mkdir_split, 0},
    {"link, splitting a bucket", op_link_split, 0},
    {"rename, splitting a bucket", op_rename_split, 0},
    {"rename within a full bucket", op_rename_within_split, 0},
    {"rename of a directory, splitting a bucket", op_rename_dir_split, 0},
    {"flink, splitting a bucket", op_flink_split, 0},
    {"syncfs", op_syncfs, OPSET_READS},
    {"read", op_read, OPSET_READS},
    {"getxattr", op_getxattr, OPSET_READS},
    {"listxattr", op_listxattr, OPSET_READS},
    {"extents", op_extents, OPSET_READS},
    {"readdir", op_readdir, OPSET_READS},
    {"check", op_check, OPSET_READS},
};
const unsigned opset_count = sizeof(opset_ops) / sizeof(opset_ops[0]);

/* ---- looking at all of it */

#define PATHS 4096

struct paths {
	char *p[PATHS];
	size_t n;
};

static void paths_push(struct paths *s, const char *dir, const char *name)
{
	char path[4096];

	snprintf(path, sizeof(path), "%s/%s", dir[1] ? dir : "", name);
	if (s->n < PATHS)
		s->p[s->n++] = strdup(path);
}

static uint64_t mix(uint64_t h, const void *data, size_t len)
{
	const uint8_t *p = data;

	for (size_t i = 0; i < len; i++)
		h = (h ^ p[i]) * 0x100000001b3ull;
	return h;
}

/* Words and their places. Zeros that are allocated and zeros that are not look alike. */
static uint64_t mix_words(uint64_t h, const uint8_t *p, size_t len, uint64_t at)
{
	for (size_t i = 0; i < len; i += 8) {
		uint64_t word = 0;

		memcpy(&word, p + i, len - i < 8 ? len - i : 8);
		if (word == 0)
			continue;
		h = (h ^ word ^ (at + i) << 20) * 0x9e3779b97f4a7c15ull;
		h ^= h >> 29;
	}
	return h;
}

/* The bytes where there is data; a hole is what has none. */
static uint64_t mix_content(uint64_t h, hf_volume *vol, const char *path, const struct hf_stat *st,
			    bool *bad)
{
	static uint8_t buf[1 << 20];
	hf_file *f;
	uint64_t at = 0;

	if (hf_open(vol, path, HF_O_RDONLY, 0, &f)) {
		*bad = true;
		return 0;
	}
	while (at < st->size) {
		int64_t data = hf_seek(f, at, SEEK_DATA), n;

		if (data < 0)
			break;
		n = hf_pread(f, buf, sizeof(buf) - (uint64_t)data % 4096, (uint64_t)data);
		if (n <= 0) {
			*bad = true;
			break;
		}
		h = mix_words(h, buf, (size_t)n, (uint64_t)data);
		at = (uint64_t)data + (uint64_t)n;
	}
	hf_close(&f);
	return h;
}

static uint64_t mix_xattrs(uint64_t h, hf_volume *vol, const char *path, bool *bad)
{
	static char list[65536], value[65536];
	int64_t n = hf_llistxattr(vol, path, list, sizeof(list));
	uint64_t sum = 0;

	*bad = *bad || n < 0;
	for (const char *at = list; n > 0 && at < list + n; at += strlen(at) + 1) {
		int64_t len = hf_lgetxattr(vol, path, at, value, sizeof(value));

		*bad = *bad || len < 0;
		sum += mix(mix(1, at, strlen(at)), value, len > 0 ? (size_t)len : 0);
	}
	return h + sum;
}

static void list_dir(hf_volume *vol, const char *path, struct paths *s, bool *bad)
{
	struct hf_dirent e;
	hf_dir *d;
	int ret = hf_opendir(vol, path, &d);

	*bad = *bad || ret;
	if (ret)
		return;
	for (ret = hf_readdir(d, &e); ret == 1; ret = hf_readdir(d, &e))
		if (strcmp(e.name, ".") != 0 && strcmp(e.name, "..") != 0)
			paths_push(s, path, e.name);
	*bad = *bad || ret;
	hf_closedir(&d);
}

static uint64_t snapshot_one(hf_volume *vol, const char *path, struct paths *s, bool *bad)
{
	static char target[4096];
	struct hf_stat st;
	uint64_t h;
	int64_t n;

	if (hf_lstat(vol, path, &st)) {
		*bad = true;
		return 0;
	}
	h = mix(0xcbf29ce484222325ull, path, strlen(path));
	h = mix(h, &st.id, sizeof(st.id));
	h = mix(h, &st.mode, 4 * sizeof(uint32_t)); /* mode, nlink, uid, gid */
	if (S_ISDIR(st.mode)) {
		list_dir(vol, path, s, bad);
	} else {
		h = mix(h, &st.size, sizeof(st.size));
		if (S_ISREG(st.mode))
			h = mix_content(h, vol, path, &st, bad);
		n = S_ISLNK(st.mode) ? hf_readlink(vol, path, target, sizeof(target)) : 0;
		*bad = *bad || n < 0;
		h = mix(h, target, n > 0 ? (size_t)n : 0);
	}
	return mix_xattrs(h, vol, path, bad);
}

uint64_t opset_snapshot(hf_volume *vol)
{
	static struct paths s;
	bool bad = false;
	uint64_t sum = 0;

	s.n = 0;
	s.p[s.n++] = strdup("/");
	while (s.n) {
		char *path = s.p[--s.n];

		if (strcmp(path, "/fill") != 0)
			sum += snapshot_one(vol, path, &s, &bad);
		free(path);
	}
	return bad ? 0 : sum | 1;
}

/* ---- emptying */

static int empty_dir(hf_volume *vol, const char *path, struct paths *s, bool *deeper)
{
	size_t first = s->n;
	bool bad = false;
	int err = 0;

	*deeper = false;
	list_dir(vol, path, s, &bad);
	for (size_t i = first; i < s->n && !err; i++) {
		err = hf_unlink(vol, s->p[i]);
		if (err == -EISDIR)
			err = hf_rmdir(vol, s->p[i]);
		if (err == -ENOTEMPTY) {
			*deeper = true;
			err = 0;
		}
	}
	return bad ? -EIO : err;
}

int opset_empty(hf_volume *vol)
{
	static const char *const dirs[] = {"/fill", "/dir", "/full", "/"};
	struct paths *s = calloc(1, sizeof(*s));
	bool deeper;
	int err = 0;

	for (size_t i = 0; i < 4 && !err; i++) {
		do {
			s->n = 0;
			err = empty_dir(vol, dirs[i], s, &deeper);
			if (err == -EIO && i < 3)
				err = 0; /* it is gone */
			for (size_t k = 0; k < s->n; k++)
				free(s->p[k]);
		} while (!err && s->n == PATHS);
	}
	free(s);
	return err ? err : deeper ? -ENOTEMPTY : 0;
}

uint64_t opset_room(hf_volume *vol)
{
	struct hf_statfs s = {0};

	hf_statfs(vol, &s);
	return s.blocks_free + s.blocks_busy_journal;
}

static void print_finding(void *ctx, const struct hf_finding *f)
{
	(void)ctx;
	printf("finding: %s: %s\n", f->structure, f->text);
}

int opset_findings(hf_volume *vol)
{
	const struct hf_check_options o = {.struct_size = sizeof(o), .finding = print_finding};
	struct hf_check_result res;
	int err = hf_check_mounted(vol, &o, &res);

	if (err)
		printf("the check gave %d: %s\n", err, hf_errormsg());
	return err ? -1 : (int)res.findings;
}
