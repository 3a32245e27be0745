/* What a caller, a path or a medium may get wrong: each gives the documented error with a sentence,
 * and nothing else. */
#include <holdfast.h>
#include "unit/cunit_main.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#define MIB (1u << 20)

static char path[256]; /* a volume in a file of this test */
static hf_volume *vol;
static hf_file *file;

static void expect(int64_t ret, int64_t want, int line)
{
	if (ret != want)
		printf("\nline %d: gave %lld, should be %lld (%s) ", line, (long long)ret,
		       (long long)want, hf_errormsg());
	CU_ASSERT_EQUAL(ret, want);
	if (want < 0) {
		if (hf_errormsg()[0] == '\0')
			printf("\nline %d: no sentence ", line);
		CU_ASSERT(hf_errormsg()[0] != '\0');
	}
}
#define EXPECT(call, want) expect((call), (want), __LINE__)

static void begin(void)
{
	CU_ASSERT_EQUAL_FATAL(hf_mount_memory(&vol, 16 * MIB, NULL), 0);
	CU_ASSERT_EQUAL_FATAL(hf_open(vol, "/file", HF_O_RDWR | HF_O_CREAT, 0644, &file), 0);
	CU_ASSERT_EQUAL(hf_pwrite(file, "0123456789", 10, 0), 10);
	CU_ASSERT_EQUAL(hf_mkdir(vol, "/dir", 0755), 0);
	CU_ASSERT_EQUAL(hf_symlink(vol, "file", "/link"), 0);
	CU_ASSERT_EQUAL(hf_symlink(vol, "loop", "/loop"), 0);
	CU_ASSERT_EQUAL(hf_mknod(vol, "/fifo", S_IFIFO | 0600, 0), 0);
}

static void end(void)
{
	EXPECT(hf_close(&file), 0);
	CU_ASSERT_PTR_NULL(file);
	EXPECT(hf_unmount(&vol), 0);
	CU_ASSERT_PTR_NULL(vol);
}

/* ---- handles */

static void test_null(void)
{
	struct hf_stat st;
	hf_volume *none = NULL;
	hf_file *no_file = NULL;
	hf_dir *no_dir = NULL;
	char buf[8];

	EXPECT(hf_unmount(NULL), -EINVAL);
	EXPECT(hf_unmount(&none), -EINVAL);
	EXPECT(hf_syncfs(NULL), -EINVAL);
	EXPECT(hf_stat(NULL, "/", &st), -EINVAL);
	EXPECT(hf_close(NULL), -EINVAL);
	EXPECT(hf_close(&no_file), -EINVAL);
	EXPECT(hf_pread(NULL, buf, 8, 0), -EINVAL);
	EXPECT(hf_pwrite(NULL, buf, 8, 0), -EINVAL);
	EXPECT(hf_fstat(NULL, &st), -EINVAL);
	EXPECT(hf_closedir(NULL), -EINVAL);
	EXPECT(hf_closedir(&no_dir), -EINVAL);
	EXPECT(hf_readdir(NULL, NULL), -EINVAL);
	EXPECT(hf_mount(NULL, "x", NULL), -EINVAL);
	EXPECT(hf_mount(&none, NULL, NULL), -EINVAL);
	EXPECT(hf_format(NULL, NULL), -EINVAL);
	EXPECT(hf_check(NULL, NULL, NULL), -EINVAL);
	hf_seekdir(NULL, 0);
	CU_ASSERT_EQUAL(hf_telldir(NULL), 0);
}

static void test_null_arguments(void)
{
	hf_file *f;
	hf_dir *d;
	char buf[8];

	begin();
	EXPECT(hf_open(vol, NULL, 0, 0, &f), -EINVAL);
	EXPECT(hf_open(vol, "/file", 0, 0, NULL), -EINVAL);
	EXPECT(hf_stat(vol, "/file", NULL), -EINVAL);
	EXPECT(hf_stat(vol, NULL, NULL), -EINVAL);
	EXPECT(hf_mkdir(vol, NULL, 0), -EINVAL);
	EXPECT(hf_rename(vol, NULL, "/x", 0), -EINVAL);
	EXPECT(hf_rename(vol, "/file", NULL, 0), -EINVAL);
	EXPECT(hf_symlink(vol, NULL, "/x"), -EINVAL);
	EXPECT(hf_link(vol, "/file", NULL), -EINVAL);
	EXPECT(hf_pread(file, NULL, 8, 0), -EINVAL);
	EXPECT(hf_pwrite(file, NULL, 8, 0), -EINVAL);
	EXPECT(hf_readlink(vol, "/link", NULL, 8), -EINVAL);
	EXPECT(hf_readlink(vol, "/link", buf, 0), -EINVAL);
	EXPECT(hf_opendir(vol, "/", NULL), -EINVAL);
	EXPECT(hf_statfs(vol, NULL), -EINVAL);
	EXPECT(hf_info(vol, NULL), -EINVAL);
	EXPECT(hf_setattr(vol, "/file", NULL, true), -EINVAL);
	EXPECT(hf_getxattr(vol, "/file", NULL, buf, 8), -EINVAL);
	EXPECT(hf_setxattr(vol, "/file", "user.x", NULL, 8, 0), -EINVAL);
	EXPECT(hf_check_mounted(vol, NULL, NULL), -EINVAL);
	EXPECT(hf_preadv(file, NULL, 1, 0), -EINVAL);
	EXPECT(hf_extents(file, 0, NULL, 4, NULL), -EINVAL);
	EXPECT(hf_opendir(vol, "/", &d), 0);
	EXPECT(hf_readdir(d, NULL), -EINVAL);
	EXPECT(hf_closedir(&d), 0);
	end();
}

/* A handle that is closed, or that is another thing's. */
static void test_closed(void)
{
	hf_file *f, *old;
	hf_dir *d, *old_dir;
	hf_volume *v, *gone;
	struct hf_stat st;
	char buf[8];

	begin();
	EXPECT(hf_open(vol, "/file", HF_O_RDWR, 0, &f), 0);
	old = f;
	EXPECT(hf_close(&f), 0);
	EXPECT(hf_pread(old, buf, 8, 0), -EBADF);
	EXPECT(hf_pwrite(old, buf, 8, 0), -EBADF);
	EXPECT(hf_fstat(old, &st), -EBADF);
	EXPECT(hf_close(&old), -EBADF);
	EXPECT(hf_opendir(vol, "/", &d), 0);
	old_dir = d;
	EXPECT(hf_closedir(&d), 0);
	EXPECT(hf_closedir(&old_dir), -EBADF);
	EXPECT(hf_fstat((hf_file *)(void *)vol, &st), -EINVAL);
	EXPECT(hf_stat((hf_volume *)(void *)file, "/", &st), -EINVAL);
	EXPECT(hf_mount_memory(&v, 16 * MIB, NULL), 0);
	gone = v;
	EXPECT(hf_unmount(&v), 0);
	EXPECT(hf_stat(gone, "/", &st), -EBADF);
	EXPECT(hf_unmount(&gone), -EBADF);
	end();
}

static void test_unmount_in_use(void)
{
	hf_dir *d;

	begin();
	EXPECT(hf_unmount(&vol), -EBUSY);
	CU_ASSERT_PTR_NOT_NULL_FATAL(vol);
	CU_ASSERT_PTR_NOT_NULL(strstr(hf_errormsg(), "1 open file"));
	EXPECT(hf_opendir(vol, "/", &d), 0);
	EXPECT(hf_unmount(&vol), -EBUSY);
	EXPECT(hf_closedir(&d), 0);
	EXPECT(hf_mkdir(vol, "/still", 0755), 0);
	end();
}

/* After fork the child is refused, and the parent goes on. */
static void test_fork(void)
{
	struct hf_stat st;
	int status;
	pid_t pid;

	begin();
	pid = fork();
	if (pid == 0)
		_exit(hf_stat(vol, "/", &st) == -ESTALE && hf_fstat(file, &st) == -ESTALE &&
			      hf_pwrite(file, "x", 1, 0) == -ESTALE &&
			      hf_unmount(&vol) == -ESTALE && hf_close(&file) == -ESTALE
			  ? 0
			  : 1);
	waitpid(pid, &status, 0);
	CU_ASSERT_EQUAL(status, 0);
	EXPECT(hf_pwrite(file, "x", 1, 0), 1);
	end();
}

/* ---- flags, names, numbers */

static void test_flags(void)
{
	struct hf_setattr a = {.set = 1u << 20};
	struct hf_check_options co = {.struct_size = sizeof(co), .flags = 8};
	struct hf_check_result res;
	hf_file *f;

	begin();
	EXPECT(hf_open(vol, "/file", 1u << 30, 0, &f), -EINVAL);
	CU_ASSERT_PTR_NULL(f);
	EXPECT(hf_open(vol, "/file", HF_O_WRONLY | HF_O_RDWR, 0, &f), -EINVAL);
	EXPECT(hf_open(vol, "/file", HF_O_TRUNC, 0, &f), -EINVAL);
	EXPECT(hf_open(vol, "/dir", HF_O_TMPFILE, 0, &f), -EINVAL);
	EXPECT(hf_open(vol, "/file", HF_O_RDWR | HF_O_TMPFILE, 0, &f), -ENOTDIR);
	EXPECT(hf_rename(vol, "/file", "/x", 4), -EINVAL);
	EXPECT(hf_rename(vol, "/file", "/x", HF_RENAME_NOREPLACE | HF_RENAME_EXCHANGE), -EINVAL);
	EXPECT(hf_setxattr(vol, "/file", "user.x", "v", 1, 8), -EINVAL);
	EXPECT(hf_setxattr(vol, "/file", "user.x", "v", 1, XATTR_CREATE | XATTR_REPLACE), -EINVAL);
	EXPECT(hf_setattr(vol, "/file", &a, true), -EINVAL);
	EXPECT(hf_fallocate(file, 0x40, 0, 10), -EOPNOTSUPP);
	EXPECT(hf_fallocate(file, FALLOC_FL_PUNCH_HOLE, 0, 10), -EOPNOTSUPP);
	EXPECT(hf_fallocate(file, FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_KEEP_SIZE, 0, 4096),
	       -EINVAL);
	EXPECT(hf_fallocate(file, FALLOC_FL_COLLAPSE_RANGE, 0, 100), -EINVAL);
	EXPECT(hf_seek(file, 0, 0), -EINVAL);
	EXPECT(hf_mknod(vol, "/x", S_IFDIR | 0755, 0), -EINVAL);
	EXPECT(hf_mknod(vol, "/x", 0170000, 0), -EINVAL);
	EXPECT(hf_check_mounted(vol, &co, &res), -EINVAL);
	end();
}

static void test_names(void)
{
	char longname[400], longpath[6000];
	struct hf_stat st;
	hf_file *f;

	begin();
	memset(longname, 'n', 257);
	longname[0] = '/';
	longname[257] = '\0';
	EXPECT(hf_mkdir(vol, longname, 0755), -ENAMETOOLONG);
	EXPECT(hf_stat(vol, longname, &st), -ENAMETOOLONG);
	longname[256] = '\0';
	EXPECT(hf_mkdir(vol, longname, 0755), 0);
	memset(longpath, '/', 4096);
	longpath[4096] = '\0';
	EXPECT(hf_stat(vol, longpath, &st), -ENAMETOOLONG);
	longpath[4095] = '\0';
	EXPECT(hf_stat(vol, longpath, &st), 0);
	memset(longpath, 't', 4096);
	EXPECT(hf_symlink(vol, longpath, "/sym"), -ENAMETOOLONG);
	longpath[4095] = '\0';
	EXPECT(hf_symlink(vol, longpath, "/sym"), 0);
	EXPECT(hf_symlink(vol, "", "/empty"), -ENOENT);
	EXPECT(hf_stat(vol, "", &st), -ENOENT);
	EXPECT(hf_stat(vol, "/none", &st), -ENOENT);
	EXPECT(hf_stat(vol, "/file/x", &st), -ENOTDIR);
	EXPECT(hf_stat(vol, "/file/", &st), -ENOTDIR);
	EXPECT(hf_stat(vol, "/loop", &st), -ELOOP);
	EXPECT(hf_open(vol, "/fifo", 0, 0, &f), -ENXIO);
	EXPECT(hf_open(vol, "/dir", 0, 0, &f), -EISDIR);
	EXPECT(hf_open(vol, "/link", HF_O_NOFOLLOW, 0, &f), -ELOOP);
	EXPECT(hf_open(vol, "/file", HF_O_CREAT | HF_O_EXCL, 0, &f), -EEXIST);
	EXPECT(hf_unlink(vol, "/dir"), -EISDIR);
	EXPECT(hf_rmdir(vol, "/file"), -ENOTDIR);
	EXPECT(hf_rmdir(vol, "/"), -EBUSY);
	EXPECT(hf_rmdir(vol, "/."), -EINVAL);
	EXPECT(hf_link(vol, "/dir", "/dir2"), -EPERM);
	EXPECT(hf_rename(vol, "/dir", "/dir/sub", 0), -EINVAL);
	EXPECT(hf_getxattr(vol, "/file", "noprefix", NULL, 0), -EOPNOTSUPP);
	EXPECT(hf_getxattr(vol, "/file", "user.none", NULL, 0), -ENODATA);
	end();
}

static void test_numbers(void)
{
	uint64_t max = INT64_MAX;
	char c[8] = "x";
	struct iovec iov[1] = {{.iov_base = c, .iov_len = 2}};

	begin();
	EXPECT(hf_pwrite(file, c, 1, max), -EFBIG);
	EXPECT(hf_pwrite(file, c, 1, UINT64_MAX), -EFBIG);
	EXPECT(hf_pwrite(file, c, 8, max - 1), 1); /* as much as a file can have */
	EXPECT(hf_pread(file, c, 8, max - 1), 1);
	EXPECT(hf_pread(file, c, 8, max), 0);
	EXPECT(hf_pread(file, c, 8, UINT64_MAX), 0);
	EXPECT(hf_ftruncate(file, max), 0);
	EXPECT(hf_ftruncate(file, max + 1), -EFBIG);
	EXPECT(hf_ftruncate(file, UINT64_MAX), -EFBIG);
	EXPECT(hf_fallocate(file, 0, max, 1), -EFBIG);
	EXPECT(hf_fallocate(file, 0, UINT64_MAX, 2), -EFBIG);
	EXPECT(hf_fallocate(file, 0, 0, 0), -EINVAL);
	EXPECT(hf_fallocate(file, 0, 0, max), -ENOSPC);
	EXPECT(hf_fallocate(file, FALLOC_FL_INSERT_RANGE, 0, 4096), -EFBIG);
	EXPECT(hf_copy_file_range(file, 0, file, max, 100), -EFBIG);
	EXPECT(hf_copy_file_range(file, 0, file, 5, 10), -EINVAL);
	EXPECT(hf_copy_file_range(file, UINT64_MAX, file, 0, 10), 0);
	EXPECT(hf_seek(file, max, SEEK_DATA), -ENXIO);
	EXPECT(hf_seek(file, UINT64_MAX, SEEK_HOLE), -ENXIO);
	EXPECT(hf_ftruncate(file, 10), 0);
	EXPECT(hf_pwritev(file, iov, -1, 0), -EINVAL);
	EXPECT(hf_pwritev(file, iov, 1 << 20, 0), -EINVAL);
	EXPECT(hf_setxattr(vol, "/file", "user.x", c, 65537, 0), -E2BIG);
	EXPECT(hf_mount_memory(&(hf_volume *){NULL}, 1 * MIB, NULL), -EINVAL);
	end();
}

/* A buffer that cannot be read or written: an error, and the file is as it was. */
static void test_buffers(void)
{
	char *bad = mmap(NULL, 8192, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), buf[64] = {0};
	struct hf_stat st;

	begin();
	EXPECT(hf_pread(file, bad, 5, 0), -EFAULT);
	EXPECT(hf_pwrite(file, bad, 5, 0), -EFAULT);
	EXPECT(hf_pwrite(file, bad, 5000, 10), -EFAULT);
	EXPECT(hf_append(file, bad, 100, NULL), -EFAULT);
	EXPECT(hf_fstat(file, &st), 0);
	CU_ASSERT_EQUAL(st.size, 10);
	EXPECT(hf_pread(file, buf, sizeof(buf), 0), 10);
	CU_ASSERT_NSTRING_EQUAL(buf, "0123456789", 10);
	munmap(bad, 8192);
	end();
}

static void test_open_modes(void)
{
	hf_volume *other;
	hf_file *r, *w, *foreign;
	char c[4] = "abc";

	begin();
	EXPECT(hf_open(vol, "/file", HF_O_RDONLY, 0, &r), 0);
	EXPECT(hf_open(vol, "/file", HF_O_WRONLY, 0, &w), 0);
	EXPECT(hf_pwrite(r, c, 3, 0), -EBADF);
	EXPECT(hf_pread(w, c, 3, 0), -EBADF);
	EXPECT(hf_append(r, c, 3, NULL), -EBADF);
	EXPECT(hf_ftruncate(r, 0), -EBADF);
	EXPECT(hf_fallocate(r, 0, 0, 10), -EBADF);
	EXPECT(hf_copy_file_range(r, 0, r, 100, 3), -EBADF);
	EXPECT(hf_copy_file_range(w, 0, w, 100, 3), -EBADF);
	EXPECT(hf_mount_memory(&other, 16 * MIB, NULL), 0);
	EXPECT(hf_open(other, "/f", HF_O_RDWR | HF_O_CREAT, 0600, &foreign), 0);
	EXPECT(hf_copy_file_range(r, 0, foreign, 0, 3), -EXDEV);
	EXPECT(hf_close(&foreign), 0);
	EXPECT(hf_unmount(&other), 0);
	EXPECT(hf_close(&r), 0);
	EXPECT(hf_close(&w), 0);
	end();
}

static void test_numbers_of_inodes(void)
{
	struct hf_id id = {.ino = 0, .gen = 0};
	struct hf_stat st;
	hf_file *f;

	begin();
	EXPECT(hf_inode_stat(vol, id, &st), -EINVAL);
	id.ino = UINT64_MAX;
	EXPECT(hf_inode_stat(vol, id, &st), -ESTALE);
	id.ino = 1u << 30;
	EXPECT(hf_inode_open(vol, id, 0, &f), -ESTALE);
	EXPECT(hf_stat(vol, "/file", &st), 0);
	id = st.id;
	EXPECT(hf_inode_lookup(vol, id, "x", &st), -ENOTDIR);
	EXPECT(hf_inode_root(vol, &id), 0);
	EXPECT(hf_inode_lookup(vol, id, "a/b", &st), -EINVAL);
	EXPECT(hf_inode_lookup(vol, id, "", &st), -ENOENT);
	EXPECT(hf_inode_unlink(vol, id, "a/b"), -EINVAL);
	EXPECT(hf_inode_open(vol, id, HF_O_CREAT, &f), -EINVAL);
	id.gen += 5;
	EXPECT(hf_inode_stat(vol, id, &st), -ESTALE);
	end();
}

/* ---- volumes */

static void make(const char *at, uint64_t bytes)
{
	const struct hf_format_options o = {
	    .struct_size = sizeof(o), .bytes = bytes, .force = true};

	unlink(at);
	EXPECT(hf_format(at, &o), 0);
}

static void test_format(void)
{
	struct hf_format_options o = {.struct_size = sizeof(o), .bytes = 16 * MIB};
	char label[80];
	int fd;

	unlink(path);
	EXPECT(hf_format(path, NULL), -EINVAL); /* a new file, and no size */
	o.bytes = 1 * MIB;
	EXPECT(hf_format(path, &o), -EINVAL);
	CU_ASSERT_EQUAL(access(path, F_OK), -1); /* and no file is left */
	o.bytes = 16 * MIB;
	memset(label, 'l', 64);
	label[64] = '\0';
	o.label = label;
	EXPECT(hf_format(path, &o), -EINVAL);
	o.label = NULL;
	o.struct_size = 0;
	EXPECT(hf_format(path, &o), -EINVAL);
	o.struct_size = sizeof(o);
	EXPECT(hf_format("/dev/null", &o), -ENODEV);
	EXPECT(hf_format("/none/x", &o), -ENOENT);
	EXPECT(hf_format("/tmp", &o), -ENODEV);
	EXPECT(hf_format(path, &o), 0);
	EXPECT(hf_format(path, &o), -EEXIST); /* it holds a volume */
	CU_ASSERT_PTR_NOT_NULL(strstr(hf_errormsg(), "holdfast"));
	unlink(path);
	fd = open(path, O_RDWR | O_CREAT, 0600);
	CU_ASSERT_EQUAL(ftruncate(fd, 16 * MIB), 0);
	CU_ASSERT_EQUAL(pwrite(fd, "data", 4, 500000), 4); /* somebody's bytes */
	close(fd);
	EXPECT(hf_format(path, &o), -EEXIST);
	o.force = true;
	EXPECT(hf_format(path, &o), 0);
	unlink(path);
}

static void test_mount_options(void)
{
	struct hf_mount_options o = {.struct_size = sizeof(o), .flags = 0x100};
	struct {
		struct hf_mount_options o;
		char more[16];
	} newer = {.o = {.struct_size = sizeof(newer)}};
	hf_volume *v;

	make(path, 16 * MIB);
	EXPECT(hf_mount(&v, path, &o), -EINVAL);
	o.flags = 0;
	o.reserved[2] = &o;
	EXPECT(hf_mount(&v, path, &o), -EINVAL);
	o.reserved[2] = NULL;
	o.struct_size = 0;
	EXPECT(hf_mount(&v, path, &o), -EINVAL);
	EXPECT(hf_mount(&v, path, &newer.o), 0); /* a newer caller that asks for nothing new */
	EXPECT(hf_unmount(&v), 0);
	newer.more[3] = 1;
	EXPECT(hf_mount(&v, path, &newer.o), -EINVAL);
	EXPECT(hf_mount(&v, "/none/volume", NULL), -ENOENT);
	EXPECT(hf_mount(&v, "/tmp", NULL), -ENODEV);
	unlink(path);
}

static void test_read_only(void)
{
	const struct hf_mount_options ro = {.struct_size = sizeof(ro), .flags = HF_MOUNT_RDONLY};
	struct hf_stat st;
	hf_volume *v, *v2;
	hf_file *f;

	make(path, 16 * MIB);
	EXPECT(hf_mount(&v, path, NULL), 0);
	EXPECT(hf_mkdir(v, "/d", 0755), 0);
	EXPECT(hf_mknod(v, "/f", S_IFREG | 0600, 0), 0);
	EXPECT(hf_unmount(&v), 0);
	EXPECT(hf_mount(&v, path, &ro), 0);
	EXPECT(hf_mkdir(v, "/e", 0755), -EROFS);
	EXPECT(hf_unlink(v, "/f"), -EROFS);
	EXPECT(hf_open(v, "/f", HF_O_RDWR, 0, &f), -EROFS);
	EXPECT(hf_open(v, "/new", HF_O_CREAT, 0600, &f), -EROFS);
	EXPECT(hf_chmod(v, "/f", 0), -EROFS);
	EXPECT(hf_setxattr(v, "/f", "user.x", "x", 1, 0), -EROFS);
	EXPECT(hf_stat(v, "/d", &st), 0);
	EXPECT(hf_mount(&v2, path, &ro), 0); /* readers do not exclude each other */
	EXPECT(hf_unmount(&v2), 0);
	EXPECT(hf_syncfs(v), 0);
	EXPECT(hf_unmount(&v), 0);
	unlink(path);
}

/* A second opener, in this process and in another, is told who has it. */
static void test_busy(void)
{
	struct hf_check_result res;
	struct hf_format_options o = {.struct_size = sizeof(o), .force = true};
	char pid_text[32];
	hf_volume *v, *v2;
	int status;
	pid_t pid;

	make(path, 16 * MIB);
	EXPECT(hf_mount(&v, path, NULL), 0);
	snprintf(pid_text, sizeof(pid_text), "process %d", (int)getpid());
	pid = fork();
	if (pid == 0) {
		int err = hf_mount(&v2, path, NULL);

		_exit(err == -EBUSY && strstr(hf_errormsg(), pid_text) ? 0 : 1);
	}
	waitpid(pid, &status, 0);
	CU_ASSERT_EQUAL(status, 0);
	EXPECT(hf_mount(&v2, path, NULL), -EBUSY);
	CU_ASSERT_PTR_NULL(v2);
	EXPECT(hf_check(path, NULL, &res), -EBUSY);
	EXPECT(hf_format(path, &o), -EBUSY);
	EXPECT(hf_unmount(&v), 0);
	EXPECT(hf_mount(&v, path, NULL), 0);
	EXPECT(hf_unmount(&v), 0);
	unlink(path);
}

/* ---- media that are not what they should be */

static int patch(off_t at, const void *bytes, size_t len)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	ssize_t n = pwrite(fd, bytes, len, at);

	close(fd);
	return n == (ssize_t)len ? 0 : -1;
}

static void expect_mount_error(const char *what, int a, int b)
{
	struct hf_check_result res;
	hf_volume *v;
	int err = hf_mount(&v, path, NULL);

	if (err != a && err != b)
		printf("\n%s: mount gave %d (%s) ", what, err, hf_errormsg());
	CU_ASSERT(err == a || err == b);
	CU_ASSERT(err == 0 || hf_errormsg()[0] != '\0');
	if (!err)
		hf_unmount(&v);
	/* whatever it says, it ends */
	(void)hf_check(path, NULL, &res);
}

static void test_foreign(void)
{
	static char zeros[65536], text[65536];
	struct hf_format_options o = {.struct_size = sizeof(o), .bytes = 16 * MIB};
	int fd;

	unlink(path);
	fd = open(path, O_RDWR | O_CREAT, 0600);
	close(fd);
	expect_mount_error("an empty file", -EINVAL, -EINVAL);
	CU_ASSERT_EQUAL(truncate(path, 100), 0);
	expect_mount_error("a short file", -EINVAL, -EINVAL);
	CU_ASSERT_EQUAL(truncate(path, 16 * MIB), 0);
	expect_mount_error("a file of zeros", -EINVAL, -EINVAL);
	memset(text, 'x', sizeof(text));
	CU_ASSERT_EQUAL(patch(0, text, sizeof(text)), 0);
	expect_mount_error("a file of text", -EINVAL, -EINVAL);
	/* an ext4 file system, by its magic number */
	CU_ASSERT_EQUAL(patch(0, zeros, sizeof(zeros)), 0);
	CU_ASSERT_EQUAL(patch(1024 + 56, "\x53\xef", 2), 0);
	expect_mount_error("ext4", -EINVAL, -EINVAL);
	EXPECT(hf_format(path, &o), -EEXIST);
	CU_ASSERT_PTR_NOT_NULL(strstr(hf_errormsg(), "ext"));
	unlink(path);
}

/* Shrunk to whatever size, it is refused. */
static void test_shrunk(void)
{
	static const off_t sizes[] = {8 * MIB, 16 * MIB - 4096, 4 * MIB, 2 * MIB, 4096, 512, 1};

	for (size_t i = 0; i < HF_COUNT(sizes); i++) {
		make(path, 16 * MIB);
		CU_ASSERT_EQUAL(truncate(path, sizes[i]), 0);
		expect_mount_error("shrunk", sizes[i] < 4 * MIB ? -EINVAL : -EUCLEAN, -EINVAL);
	}
	/* larger is fine: the rest is not the volume's */
	make(path, 16 * MIB);
	CU_ASSERT_EQUAL(truncate(path, 20 * MIB), 0);
	expect_mount_error("enlarged", 0, 0);
	unlink(path);
}

/* Each block of the first 64 and the last 4 made unreadable nonsense, one at a time: mounted with a
 * finding, or refused with a sentence; never a crash. */
static void test_littered(void)
{
	static char litter[4096];
	unsigned refused = 0, fine = 0;

	memset(litter, 0xa5, sizeof(litter));
	for (int b = 0; b < 68; b++) {
		off_t at = b < 64 ? b * 4096 : (off_t)16 * MIB - (off_t)(68 - b) * 4096;
		hf_volume *v;
		int err;

		make(path, 16 * MIB);
		CU_ASSERT_EQUAL(patch(at, litter, sizeof(litter)), 0);
		err = hf_mount(&v, path, NULL);
		if (err) {
			refused++;
			CU_ASSERT(hf_errormsg()[0] != '\0');
			CU_ASSERT(err == -EBADMSG || err == -EUCLEAN || err == -EINVAL ||
				  err == -EOPNOTSUPP);
			continue;
		}
		fine++;
		(void)hf_mkdir(v, "/d", 0755);
		EXPECT(hf_unmount(&v), 0);
	}
	printf("%u refused, %u mounted ", refused, fine);
	unlink(path);
}

/* The first superblock is lost: the second does. */
static void test_second_superblock(void)
{
	static char litter[4096];
	struct hf_info info;
	hf_volume *v;

	memset(litter, 0x5a, sizeof(litter));
	make(path, 16 * MIB);
	CU_ASSERT_EQUAL(patch(0, litter, sizeof(litter)), 0);
	EXPECT(hf_mount(&v, path, NULL), 0);
	EXPECT(hf_info(v, &info), 0);
	CU_ASSERT_TRUE(info.used_second_superblock);
	EXPECT(hf_unmount(&v), 0);
	unlink(path);
}

static const struct hf_case cases[] = {
    {"NULL handles", test_null},
    {"NULL arguments", test_null_arguments},
    {"closed and foreign handles", test_closed},
    {"unmount in use", test_unmount_in_use},
    {"fork", test_fork},
    {"flags", test_flags},
    {"names", test_names},
    {"numbers", test_numbers},
    {"buffers", test_buffers},
    {"open modes", test_open_modes},
    {"inode numbers", test_numbers_of_inodes},
    {"format", test_format},
    {"mount options", test_mount_options},
    {"read-only", test_read_only},
    {"busy", test_busy},
    {"foreign files", test_foreign},
    {"shrunk", test_shrunk},
    {"littered", test_littered},
    {"second superblock", test_second_superblock},
};

int main(void)
{
	snprintf(path, sizeof(path), "badinput.%d.vol", (int)getpid());
	return hf_run_suite("badinput", cases, HF_COUNT(cases));
}
