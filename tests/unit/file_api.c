/* Each public function that is about names and attributes, and each error that it documents. */
#include "file_vol.h"

#include <dirent.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

static char long_name[300], long_path[5000];

static void fill_long(void)
{
	memset(long_name, 'n', 256);
	for (size_t i = 0; i + 1 < sizeof(long_path); i++)
		long_path[i] = i % 2 ? 'x' : '/';
}

/* ---- open */

static void test_open(void)
{
	hf_volume *vol = vol_memory(16 * MIB);
	hf_file *f, *g;
	struct hf_stat st;

	fill_long();
	FAILS(ENOENT, hf_open(vol, "/f", HF_O_RDWR, 0, &f));
	CU_ASSERT_PTR_NULL(f);
	FAILS(ENOENT, hf_open(vol, "/no/f", HF_O_RDWR | HF_O_CREAT, 0644, &f));
	FAILS(ENOENT, hf_open(vol, "", HF_O_RDWR | HF_O_CREAT, 0644, &f));
	FAILS(EINVAL, hf_open(vol, NULL, HF_O_RDWR, 0, &f));
	FAILS(EINVAL, hf_open(vol, "/f", HF_O_RDWR | HF_O_CREAT, 0, NULL));
	FAILS(EINVAL, hf_open(vol, "/f", 1u << 30, 0, &f));
	FAILS(EINVAL, hf_open(vol, "/f", HF_O_RDWR | HF_O_WRONLY, 0, &f));
	FAILS(EINVAL, hf_open(vol, "/f", HF_O_TRUNC, 0, &f));
	FAILS(EINVAL, hf_open(vol, "/", HF_O_TMPFILE, 0, &f));
	FAILS(EINVAL, hf_open(NULL, "/f", 0, 0, &f));
	FAILS(EISDIR, hf_open(vol, "/", HF_O_RDONLY, 0, &f));
	FAILS(EISDIR, hf_open(vol, "/new/", HF_O_RDWR | HF_O_CREAT, 0644, &f));
	FAILS(ENAMETOOLONG, hf_open(vol, long_name, HF_O_RDWR | HF_O_CREAT, 0644, &f));
	FAILS(ENAMETOOLONG, hf_open(vol, long_path, HF_O_RDWR | HF_O_CREAT, 0644, &f));
	OK(hf_open(vol, "f", HF_O_RDWR | HF_O_CREAT, 04644, &f));
	OK(hf_fstat(f, &st));
	CU_ASSERT(st.mode == (S_IFREG | 04644) && st.nlink == 1 && st.size == 0 &&
		  st.blksize == 4096);
	FAILS(EEXIST, hf_open(vol, "/f", HF_O_RDWR | HF_O_CREAT | HF_O_EXCL, 0, &g));
	FAILS(ENOTDIR, hf_open(vol, "/f/x", HF_O_RDONLY, 0, &g));
	FAILS(ENOTDIR, hf_open(vol, "/f/", HF_O_RDONLY, 0, &g));
	FAILS(EINVAL, hf_fstat(f, NULL));
	GET(3, hf_pwrite(f, "abc", 3, 0));
	OK(hf_open(vol, "/f", HF_O_WRONLY | HF_O_TRUNC, 0, &g));
	GET(0, vol_size(f));
	FAILS(EBADF, hf_pread(g, &st, 1, 0));
	FAILS(EINVAL, hf_pread(f, NULL, 1, 0));
	FAILS(EINVAL, hf_pwrite(f, NULL, 1, 0));
	OK(hf_close(&g));
	OK(hf_mknod(vol, "/pipe", S_IFIFO | 0600, 0));
	FAILS(ENXIO, hf_open(vol, "/pipe", HF_O_RDONLY, 0, &g));
	OK(hf_close(&f));
	OK(hf_unmount(&vol));
}

static void test_open_symlinks(void)
{
	hf_volume *vol = vol_memory(16 * MIB);
	struct hf_stat st;
	hf_file *f;

	OK(hf_mkdir(vol, "/d", 0755));
	OK(hf_symlink(vol, "sub", "/d/link"));
	OK(hf_symlink(vol, "/d/link", "/abs"));
	FAILS(ENOENT, hf_open(vol, "/abs", HF_O_RDWR, 0, &f));
	FAILS(EEXIST, hf_open(vol, "/abs", HF_O_RDWR | HF_O_CREAT | HF_O_EXCL, 0, &f));
	FAILS(ELOOP, hf_open(vol, "/abs", HF_O_RDWR | HF_O_CREAT | HF_O_NOFOLLOW, 0, &f));
	OK(hf_open(vol, "/abs", HF_O_RDWR | HF_O_CREAT, 0600, &f));
	OK(hf_close(&f));
	OK(hf_lstat(vol, "/d/sub", &st));
	CU_ASSERT(S_ISREG(st.mode));
	OK(hf_open(vol, "/abs", HF_O_RDONLY, 0, &f));
	OK(hf_close(&f));
	FAILS(ELOOP, hf_open(vol, "/abs", HF_O_NOFOLLOW, 0, &f));
	OK(hf_symlink(vol, "b", "/a"));
	OK(hf_symlink(vol, "a", "/b"));
	FAILS(ELOOP, hf_open(vol, "/a", HF_O_RDWR, 0, &f));
	FAILS(ELOOP, hf_open(vol, "/a", HF_O_RDWR | HF_O_CREAT, 0, &f));
	OK(hf_unmount(&vol));
}

static void test_unnamed(void)
{
	hf_volume *vol = vol_memory(16 * MIB);
	struct hf_create how = {.mode = S_IFREG | 0600, .uid = 5};
	struct hf_stat st;
	uint64_t used;
	hf_file *f;

	/* The inode table grows with the first file and stays so. */
	OK(hf_mknod(vol, "/first", 0600, 0));
	used = vol_used(vol);
	FAILS(ENOENT, hf_open(vol, "/no", HF_O_RDWR | HF_O_TMPFILE, 0600, &f));
	OK(hf_open(vol, "/", HF_O_RDWR | HF_O_TMPFILE, 0600, &f));
	OK(hf_fstat(f, &st));
	CU_ASSERT(st.nlink == 0);
	GET(5000, hf_pwrite(f, long_path, 5000, 0));
	OK(hf_close(&f));
	CU_ASSERT_EQUAL(vol_used(vol), used);
	OK(hf_open(vol, "/", HF_O_RDWR | HF_O_TMPFILE, 0600, &f));
	GET(5000, hf_pwrite(f, long_path, 5000, 0));
	FAILS(ENOENT, hf_flink(f, "/no/named"));
	OK(hf_flink(f, "/named"));
	FAILS(EEXIST, hf_flink(f, "/named"));
	OK(hf_flink(f, "/again"));
	OK(hf_close(&f));
	OK(hf_stat(vol, "/named", &st));
	CU_ASSERT(st.nlink == 2 && st.size == 5000);
	OK(hf_inode_tmpfile(vol, &how, HF_O_RDWR, &f));
	OK(hf_fstat(f, &st));
	CU_ASSERT(st.uid == 5);
	OK(hf_close(&f));
	how.mode = S_IFDIR;
	FAILS(EINVAL, hf_inode_tmpfile(vol, &how, HF_O_RDWR, &f));
	FAILS(EINVAL, hf_inode_tmpfile(vol, NULL, HF_O_RDWR, &f));
	how.mode = 0600;
	FAILS(EINVAL, hf_inode_tmpfile(vol, &how, HF_O_RDWR | HF_O_CREAT, &f));
	OK(hf_unmount(&vol));
}

/* ---- names */

static void test_names(void)
{
	hf_volume *vol = vol_memory(16 * MIB);
	struct hf_stat st, other;
	char b[5000];

	fill_long();
	OK(hf_mkdir(vol, "/d/", 01777));
	OK(hf_stat(vol, "/d", &st));
	CU_ASSERT(st.mode == (S_IFDIR | 01777) && st.nlink == 2);
	FAILS(EEXIST, hf_mkdir(vol, "/d", 0755));
	FAILS(ENOENT, hf_mkdir(vol, "/e/f", 0755));
	FAILS(EINVAL, hf_mknod(vol, "/x", S_IFDIR | 0755, 0));
	FAILS(EINVAL, hf_mknod(vol, "/x", S_IFLNK | 0755, 0));
	OK(hf_mknod(vol, "/d/reg", 0644, 0));
	OK(hf_mknod(vol, "/d/dev", S_IFBLK | 0600, makedev(8, 3)));
	OK(hf_stat(vol, "/d/dev", &st));
	CU_ASSERT(S_ISBLK(st.mode) && st.rdev == makedev(8, 3));
	FAILS(ENOENT, hf_mknod(vol, "/d/reg2/", 0644, 0));
	OK(hf_link(vol, "/d/reg", "/hard"));
	FAILS(EEXIST, hf_link(vol, "/d/reg", "/hard"));
	FAILS(EPERM, hf_link(vol, "/d", "/dirlink"));
	OK(hf_stat(vol, "/hard", &st));
	OK(hf_stat(vol, "/d/reg", &other));
	CU_ASSERT(st.id.ino == other.id.ino && st.id.gen == other.id.gen && st.nlink == 2);
	OK(hf_symlink(vol, "hard", "/soft"));
	FAILS(ENOENT, hf_symlink(vol, "", "/soft2"));
	FAILS(EINVAL, hf_symlink(vol, NULL, "/soft2"));
	FAILS(ENAMETOOLONG, hf_symlink(vol, long_path, "/soft2"));
	long_path[4095] = '\0';
	OK(hf_symlink(vol, long_path, "/soft2"));
	GET(4095, hf_readlink(vol, "/soft2", b, sizeof(b)));
	CU_ASSERT(memcmp(b, long_path, 4095) == 0);
	GET(4, hf_readlink(vol, "/soft", b, 2));
	CU_ASSERT(memcmp(b, "ha", 2) == 0);
	FAILS(EINVAL, hf_readlink(vol, "/hard", b, 10));
	FAILS(EINVAL, hf_readlink(vol, "/soft", NULL, 10));
	FAILS(EINVAL, hf_readlink(vol, "/soft", b, 0));
	OK(hf_link(vol, "/soft", "/soft3"));
	OK(hf_lstat(vol, "/soft3", &st));
	CU_ASSERT(S_ISLNK(st.mode) && st.size == 4 && st.nlink == 2);
	OK(hf_stat(vol, "/soft3", &st));
	CU_ASSERT(S_ISREG(st.mode));
	FAILS(EISDIR, hf_unlink(vol, "/d"));
	FAILS(ENOTDIR, hf_unlink(vol, "/hard/"));
	FAILS(ENOENT, hf_unlink(vol, "/none"));
	FAILS(ENOTEMPTY, hf_rmdir(vol, "/d"));
	FAILS(ENOTDIR, hf_rmdir(vol, "/hard"));
	FAILS(EINVAL, hf_rmdir(vol, "/d/."));
	FAILS(EBUSY, hf_rmdir(vol, "/"));
	FAILS(EINVAL, hf_stat(vol, NULL, &st));
	FAILS(EINVAL, hf_stat(vol, "/d", NULL));
	OK(hf_rename(vol, "/hard", "/d/moved", 0));
	FAILS(ENOENT, hf_rename(vol, "/hard", "/x", 0));
	FAILS(EEXIST, hf_rename(vol, "/soft", "/soft2", HF_RENAME_NOREPLACE));
	OK(hf_rename(vol, "/soft", "/soft2", HF_RENAME_EXCHANGE));
	GET(4, hf_readlink(vol, "/soft2", b, 100));
	FAILS(EINVAL, hf_rename(vol, "/d", "/d/e", 0));
	FAILS(EINVAL, hf_rename(vol, "/d", "/e", 8));
	FAILS(ENOTDIR, hf_rename(vol, "/soft", "/e/", 0));
	OK(hf_rename(vol, "/d/", "/e/", 0));
	OK(hf_unlink(vol, "/e/reg"));
	OK(hf_unlink(vol, "/e/moved"));
	OK(hf_unlink(vol, "/e/dev"));
	OK(hf_rmdir(vol, "/e/"));
	OK(hf_unmount(&vol));
}

/* ---- attributes */

static void test_setattr(void)
{
	hf_volume *vol = vol_memory(16 * MIB);
	hf_file *f = vol_create(vol, "/f"), *r = vol_open(vol, "/f", HF_O_RDONLY);
	struct hf_setattr a = {.set = HF_SET_MODE | HF_SET_UID | HF_SET_GID | HF_SET_SIZE |
				      HF_SET_ATIME | HF_SET_MTIME,
			       .mode = 0600,
			       .uid = 1,
			       .gid = 2,
			       .size = 9000,
			       .atime_ns = -5,
			       .mtime_ns = 6000000007};
	struct hf_stat st, before;

	OK(hf_symlink(vol, "f", "/s"));
	OK(hf_setattr(vol, "/s", &a, true));
	OK(hf_fstat(f, &st));
	CU_ASSERT(st.mode == (S_IFREG | 0600) && st.uid == 1 && st.gid == 2 && st.size == 9000);
	CU_ASSERT(st.atime_ns == -5 && st.mtime_ns == 6000000007 && st.ctime_ns > 0);
	before = st;
	a = (struct hf_setattr){.set = HF_SET_CTIME | HF_SET_ATIME_NOW, .ctime_ns = 77};
	OK(hf_fsetattr(r, &a));
	OK(hf_fstat(f, &st));
	CU_ASSERT(st.ctime_ns == 77 && st.atime_ns > 0 && st.mtime_ns == before.mtime_ns);
	a = (struct hf_setattr){
	    .set = HF_SET_SIZE | HF_SET_MTIME_NOW | HF_SET_UID, .size = 10, .uid = 3};
	FAILS(EBADF, hf_fsetattr(r, &a));
	OK(hf_fsetattr(f, &a));
	OK(hf_fstat(f, &st));
	CU_ASSERT(st.size == 10 && st.uid == 3 && st.mtime_ns > before.mtime_ns);
	OK(hf_chmod(vol, "/s", 0444));
	OK(hf_fstat(f, &st));
	CU_ASSERT(st.mode == (S_IFREG | 0444));
	a = (struct hf_setattr){.set = HF_SET_MODE, .mode = 0111};
	OK(hf_setattr(vol, "/s", &a, false));
	OK(hf_lstat(vol, "/s", &st));
	CU_ASSERT(st.mode == (S_IFLNK | 0111));
	OK(hf_truncate(vol, "/s", 100));
	GET(100, vol_size(f));
	a = (struct hf_setattr){.set = HF_SET_SIZE};
	FAILS(EINVAL, hf_setattr(vol, "/s", &a, false));
	FAILS(EISDIR, hf_setattr(vol, "/", &a, false));
	FAILS(EISDIR, hf_truncate(vol, "/", 0));
	FAILS(EFBIG, hf_truncate(vol, "/f", UINT64_MAX));
	FAILS(ENOENT, hf_truncate(vol, "/none", 0));
	a.set = 1u << 20;
	FAILS(EINVAL, hf_fsetattr(f, &a));
	FAILS(EINVAL, hf_fsetattr(f, NULL));
	FAILS(EINVAL, hf_setattr(vol, "/", NULL, true));
	FAILS(EBADF, hf_ftruncate(r, 0));
	OK(hf_close(&f));
	OK(hf_close(&r));
	OK(hf_unmount(&vol));
}

static void test_xattr(void)
{
	hf_volume *vol = vol_memory(16 * MIB);
	hf_file *f = vol_create(vol, "/f");
	static char big[70000], b[70000];
	struct hf_id id;
	struct hf_stat st;

	memset(big, 'v', sizeof(big));
	OK(hf_symlink(vol, "f", "/s"));
	FAILS(ENODATA, hf_fgetxattr(f, "user.a", b, 10));
	OK(hf_fsetxattr(f, "user.a", "1234", 4, 0));
	GET(4, hf_fgetxattr(f, "user.a", NULL, 0));
	GET(4, hf_getxattr(vol, "/s", "user.a", b, 10));
	CU_ASSERT(memcmp(b, "1234", 4) == 0);
	FAILS(ERANGE, hf_fgetxattr(f, "user.a", b, 3));
	FAILS(EEXIST, hf_setxattr(vol, "/s", "user.a", "x", 1, XATTR_CREATE));
	FAILS(ENODATA, hf_setxattr(vol, "/s", "user.b", "x", 1, XATTR_REPLACE));
	FAILS(EINVAL, hf_setxattr(vol, "/s", "user.b", "x", 1, XATTR_REPLACE | XATTR_CREATE));
	FAILS(EINVAL, hf_setxattr(vol, "/s", "user.b", "x", 1, 64));
	FAILS(EINVAL, hf_setxattr(vol, "/s", "user.b", NULL, 1, 0));
	FAILS(EINVAL, hf_setxattr(vol, "/s", NULL, "x", 1, 0));
	FAILS(EINVAL, hf_getxattr(vol, "/s", NULL, b, 1));
	FAILS(EOPNOTSUPP, hf_setxattr(vol, "/s", "none.b", "x", 1, 0));
	FAILS(E2BIG, hf_fsetxattr(f, "user.b", big, 65537, 0));
	OK(hf_fsetxattr(f, "user.b", big, 65536, 0));
	GET(65536, hf_fgetxattr(f, "user.b", b, sizeof(b)));
	CU_ASSERT(memcmp(big, b, 65536) == 0);
	OK(hf_fsetxattr(f, "user.empty", NULL, 0, 0));
	GET(0, hf_fgetxattr(f, "user.empty", b, 10));
	GET(25, hf_flistxattr(f, NULL, 0));
	GET(25, hf_listxattr(vol, "/s", b, 100));
	FAILS(ERANGE, hf_flistxattr(f, b, 5));
	FAILS(EPERM, hf_lsetxattr(vol, "/s", "user.link", "l", 1, 0));
	OK(hf_lsetxattr(vol, "/s", "trusted.link", "l", 1, 0));
	GET(1, hf_lgetxattr(vol, "/s", "trusted.link", b, 10));
	GET(13, hf_llistxattr(vol, "/s", b, 100));
	FAILS(ENODATA, hf_getxattr(vol, "/s", "trusted.link", b, 10));
	OK(hf_lremovexattr(vol, "/s", "trusted.link"));
	OK(hf_removexattr(vol, "/s", "user.empty"));
	OK(hf_fremovexattr(f, "user.b"));
	FAILS(ENODATA, hf_fremovexattr(f, "user.b"));
	OK(hf_fstat(f, &st));
	id = st.id;
	GET(4, hf_inode_getxattr(vol, id, "user.a", b, 10));
	OK(hf_inode_setxattr(vol, id, "user.n", "n", 1, 0));
	GET(14, hf_inode_listxattr(vol, id, b, 100));
	OK(hf_inode_removexattr(vol, id, "user.n"));
	id.gen++;
	FAILS(ESTALE, hf_inode_getxattr(vol, id, "user.a", b, 10));
	OK(hf_close(&f));
	OK(hf_unmount(&vol));
}

/* ---- directories */

static void test_readdir(void)
{
	hf_volume *vol = vol_memory(32 * MIB);
	struct hf_dirent e;
	struct hf_stat st;
	hf_dir *d, *other;
	char name[300];
	static uint8_t seen[1000];
	uint64_t cookie = 0;
	unsigned n = 0;

	OK(hf_mkdir(vol, "/d", 0755));
	for (int i = 0; i < 1000; i++) {
		snprintf(name, sizeof(name), "/d/file-%d", i);
		OK(hf_mknod(vol, name, 0644, 0));
	}
	OK(hf_stat(vol, "/d", &st));
	CU_ASSERT(st.size >= 4096 && st.size % 4096 == 0);
	FAILS(ENOTDIR, hf_opendir(vol, "/d/file-1", &d));
	FAILS(ENOENT, hf_opendir(vol, "/none", &d));
	FAILS(EINVAL, hf_opendir(vol, "/d", NULL));
	OK(hf_opendir(vol, "/d", &d));
	FAILS(EINVAL, hf_readdir(d, NULL));
	GET(1, hf_readdir(d, &e));
	CU_ASSERT(strcmp(e.name, ".") == 0 && e.type == DT_DIR && e.ino == st.id.ino);
	GET(1, hf_readdir(d, &e));
	OK(hf_stat(vol, "/", &st));
	CU_ASSERT(strcmp(e.name, "..") == 0 && e.ino == st.id.ino);
	while (hf_readdir(d, &e) == 1) {
		int i = atoi(e.name + 5);

		CU_ASSERT(strncmp(e.name, "file-", 5) == 0 && e.type == DT_REG && !seen[i]);
		seen[i] = 1;
		CU_ASSERT_EQUAL(hf_telldir(d), e.cookie);
		n++;
		if (n == 400)
			cookie = e.cookie;
		/* Removing and adding behind and before the stream does not disturb it. */
		if (n % 10 == 0) {
			snprintf(name, sizeof(name), "/d/%s", e.name);
			OK(hf_unlink(vol, name));
		}
	}
	CU_ASSERT_EQUAL(n, 1000);
	GET(0, hf_readdir(d, &e));
	OK(hf_opendir(vol, "/d", &other));
	hf_seekdir(other, cookie);
	for (n = 0; hf_readdir(other, &e) == 1; n++)
		continue;
	CU_ASSERT_EQUAL(n, 540);
	hf_seekdir(other, 0);
	for (n = 0; hf_readdir(other, &e) == 1; n++)
		continue;
	CU_ASSERT_EQUAL(n, 902);
	OK(hf_closedir(&other));
	/* Removed while open: an end, and freed with the last close. */
	for (int i = 0; i < 1000; i++) {
		snprintf(name, sizeof(name), "/d/file-%d", i);
		hf_unlink(vol, name);
	}
	OK(hf_rmdir(vol, "/d"));
	hf_seekdir(d, 2);
	GET(0, hf_readdir(d, &e));
	OK(hf_closedir(&d));
	OK(hf_unmount(&vol));
}

/* Each cookie leads to the entry behind it, rises, and is a file offset that lseek takes. */
static void test_cookies(void)
{
	hf_volume *vol = vol_memory(32 * MIB);
	struct hf_dirent e, same;
	uint64_t last = 0;
	hf_dir *d, *other;
	char name[32];
	unsigned n;

	for (int i = 0; i < 3000; i++) {
		snprintf(name, sizeof(name), "/n%d", i);
		OK(hf_mknod(vol, name, 0644, 0));
	}
	OK(hf_opendir(vol, "/", &d));
	OK(hf_opendir(vol, "/", &other));
	for (n = 0; hf_readdir(d, &e) == 1; n++) {
		CU_ASSERT(e.cookie > last && e.cookie <= INT64_MAX);
		hf_seekdir(other, last);
		GET(1, hf_readdir(other, &same));
		CU_ASSERT_STRING_EQUAL(same.name, e.name);
		last = e.cookie;
	}
	CU_ASSERT_EQUAL(n, 3002);
	for (int bit = 62; bit < 64; bit++) {
		hf_seekdir(d, (1ull << bit) + 2);
		GET(0, hf_readdir(d, &e));
	}
	hf_seekdir(d, UINT64_MAX);
	GET(0, hf_readdir(d, &e));
	OK(hf_closedir(&d));
	OK(hf_closedir(&other));
	OK(hf_unmount(&vol));
}

/* ---- by number */

static void test_by_number(void)
{
	hf_volume *vol = vol_memory(16 * MIB);
	struct hf_create how = {.mode = S_IFREG | 0640, .uid = 1, .gid = 2};
	struct hf_setattr a = {.set = HF_SET_SIZE, .size = 10000};
	struct hf_stat st, dir, file;
	struct hf_id root, gone, odd = {1, 0};
	hf_file *f;
	hf_dir *d;
	char b[100];

	fill_long();
	OK(hf_inode_root(vol, &root));
	FAILS(EINVAL, hf_inode_root(vol, NULL));
	OK(hf_inode_stat(vol, root, &st));
	CU_ASSERT(S_ISDIR(st.mode));
	OK(hf_inode_stat(vol, (struct hf_id){root.ino, 0}, NULL));
	FAILS(ESTALE, hf_inode_stat(vol, odd, &st));
	FAILS(EINVAL, hf_inode_stat(vol, (struct hf_id){0, 0}, &st));
	FAILS(ESTALE, hf_inode_stat(vol, (struct hf_id){1000, 0}, &st));
	FAILS(ESTALE, hf_inode_stat(vol, (struct hf_id){UINT64_MAX, 0}, &st));
	OK(hf_inode_create(vol, root, "f", &how, &file));
	CU_ASSERT(file.mode == (S_IFREG | 0640) && file.uid == 1 && file.gid == 2);
	FAILS(EEXIST, hf_inode_create(vol, root, "f", &how, NULL));
	FAILS(EINVAL, hf_inode_create(vol, root, "a/b", &how, NULL));
	FAILS(EINVAL, hf_inode_create(vol, root, NULL, &how, NULL));
	FAILS(EINVAL, hf_inode_create(vol, root, "x", NULL, NULL));
	FAILS(ENAMETOOLONG, hf_inode_create(vol, root, long_name, &how, NULL));
	FAILS(ENOTDIR, hf_inode_create(vol, file.id, "x", &how, NULL));
	how.mode = 0640;
	FAILS(EINVAL, hf_inode_create(vol, root, "x", &how, NULL));
	how.mode = S_IFLNK | 0777;
	FAILS(EINVAL, hf_inode_create(vol, root, "x", &how, NULL));
	how.symlink = "target";
	OK(hf_inode_create(vol, root, "link", &how, &st));
	GET(6, hf_inode_readlink(vol, st.id, b, sizeof(b)));
	FAILS(EINVAL, hf_inode_readlink(vol, file.id, b, sizeof(b)));
	how = (struct hf_create){.mode = S_IFDIR | 0755};
	OK(hf_inode_create(vol, root, "d", &how, &dir));
	OK(hf_inode_lookup(vol, root, "d", &st));
	CU_ASSERT_EQUAL(st.id.ino, dir.id.ino);
	OK(hf_inode_lookup(vol, dir.id, "..", &st));
	CU_ASSERT_EQUAL(st.id.ino, root.ino);
	OK(hf_inode_lookup(vol, dir.id, ".", &st));
	CU_ASSERT_EQUAL(st.id.ino, dir.id.ino);
	FAILS(ENOENT, hf_inode_lookup(vol, dir.id, "x", &st));
	FAILS(ENOTDIR, hf_inode_lookup(vol, file.id, "x", &st));
	OK(hf_inode_setattr(vol, file.id, &a, &st));
	CU_ASSERT_EQUAL(st.size, 10000);
	FAILS(EISDIR, hf_inode_setattr(vol, dir.id, &a, &st));
	FAILS(EINVAL, hf_inode_setattr(vol, dir.id, NULL, &st));
	OK(hf_inode_link(vol, file.id, dir.id, "hard", &st));
	CU_ASSERT_EQUAL(st.nlink, 2);
	FAILS(EEXIST, hf_inode_link(vol, file.id, dir.id, "hard", &st));
	FAILS(EPERM, hf_inode_link(vol, dir.id, dir.id, "dir", NULL));
	OK(hf_inode_rename(vol, dir.id, "hard", root, "soft", 0));
	FAILS(ENOENT, hf_inode_rename(vol, dir.id, "hard", root, "soft", 0));
	FAILS(ENOTDIR, hf_inode_rename(vol, file.id, "hard", root, "soft", 0));
	OK(hf_inode_unlink(vol, root, "soft"));
	FAILS(EISDIR, hf_inode_unlink(vol, root, "d"));
	FAILS(ENOTDIR, hf_inode_rmdir(vol, root, "f"));
	FAILS(ENOTDIR, hf_inode_opendir(vol, file.id, &d));
	OK(hf_inode_opendir(vol, dir.id, &d));
	OK(hf_closedir(&d));
	OK(hf_inode_open(vol, file.id, HF_O_RDWR, &f));
	OK(hf_close(&f));
	FAILS(EINVAL, hf_inode_open(vol, file.id, HF_O_RDWR | HF_O_CREAT, &f));
	FAILS(EISDIR, hf_inode_open(vol, dir.id, HF_O_RDONLY, &f));
	OK(hf_inode_open(vol, file.id, HF_O_RDWR | HF_O_TRUNC, &f));
	gone = file.id;
	OK(hf_inode_unlink(vol, root, "f"));
	OK(hf_inode_stat(vol, gone, &st));
	CU_ASSERT(st.nlink == 0 && st.size == 0);
	OK(hf_close(&f));
	FAILS(ESTALE, hf_inode_stat(vol, gone, &st));
	FAILS(ESTALE, hf_inode_open(vol, gone, HF_O_RDWR, &f));
	OK(hf_inode_rmdir(vol, root, "d"));
	FAILS(ESTALE,
	      hf_inode_create(vol, dir.id, "x", &(struct hf_create){.mode = S_IFREG}, NULL));
	OK(hf_unmount(&vol));
}

int main(void)
{
	static const struct hf_case cases[] = {
	    {"open", test_open},       {"open symlinks", test_open_symlinks},
	    {"unnamed", test_unnamed}, {"names", test_names},
	    {"setattr", test_setattr}, {"xattr", test_xattr},
	    {"readdir", test_readdir}, {"cookies", test_cookies}, {"by number", test_by_number},
	};

	return hf_run_suite("names and attributes", cases, HF_COUNT(cases));
}
