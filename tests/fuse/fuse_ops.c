/* Run on a mounted volume: what the kernel and mount.holdfast have to agree about. What is the library's own business is in the
 * tables of tests/posix and in the unit tests. fuse_ops DIR [direct_io] */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

static unsigned failures, checks;

static void check(bool ok, const char *what, const char *file, int line)
{
	checks++;
	if (ok)
		return;
	failures++;
	fprintf(stderr, "%s:%d: %s (errno %d: %s)\n", file, line, what, errno, strerror(errno));
	if (failures == 20)
		exit(1);
}
#define OK(x)	    check((x) == 0, #x, __FILE__, __LINE__)
#define YES(x)	    check(x, #x, __FILE__, __LINE__)
#define FAILS(e, x) check((errno = 0, (x) == -1) && errno == (e), #x " should fail: " #e, __FILE__, __LINE__)

static int file_new(const char *name, const char *text)
{
	int fd = open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	ssize_t n = (ssize_t)strlen(text);

	YES(fd >= 0);
	YES(write(fd, text, (size_t)n) == n);
	return fd;
}

static void file_make(const char *name, const char *text)
{
	close(file_new(name, text));
}

static bool file_is(const char *name, const char *text)
{
	char buf[256] = "";
	int fd = open(name, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, buf, sizeof(buf) - 1);

	if (fd >= 0)
		close(fd);
	return n == (ssize_t)strlen(text) && memcmp(buf, text, (size_t)n) == 0;
}

/* ---- files without a name */

static void test_unlinked(void)
{
	int fd = file_new("u", "still here"), other;
	char buf[16] = "";
	struct stat st;

	file_make("v", "other");
	OK(unlink("u"));
	OK(fstat(fd, &st));
	YES(st.st_nlink == 0 && st.st_size == 10);
	YES(pwrite(fd, "S", 1, 0) == 1 && pread(fd, buf, 10, 0) == 10 && strcmp(buf, "Still here") == 0);
	OK(ftruncate(fd, 5));
	OK(fchmod(fd, 0600));
	OK(fstat(fd, &st));
	YES(st.st_size == 5 && (st.st_mode & 07777) == 0600);
	OK(close(fd));
	other = open("v", O_RDONLY | O_CLOEXEC);
	file_make("w", "new");
	OK(rename("w", "v"));
	YES(file_is("v", "new") && pread(other, buf, 16, 0) == 5 && memcmp(buf, "other", 5) == 0);
	OK(close(other));
	OK(unlink("v"));
}

/* Linux 6.1 and later. */
static void test_tmpfile(void)
{
	int fd = open(".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0640);
	struct stat st;
	char path[64];

	if (fd < 0 && errno == EOPNOTSUPP) {
		puts("no O_TMPFILE with this kernel");
		return;
	}
	YES(fd >= 0 && write(fd, "unnamed", 7) == 7);
	OK(fstat(fd, &st));
	YES(st.st_nlink == 0 && st.st_size == 7 && (st.st_mode & 07777) == 0640);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	OK(linkat(AT_FDCWD, path, AT_FDCWD, "named", AT_SYMLINK_FOLLOW));
	YES(file_is("named", "unnamed"));
	OK(fstat(fd, &st));
	YES(st.st_nlink == 1);
	FAILS(EEXIST, linkat(AT_FDCWD, path, AT_FDCWD, "named", AT_SYMLINK_FOLLOW));
	OK(close(fd));
	fd = open(".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	OK(close(fd));
}

/* ---- handles as an NFS server keeps them */

static int handle_of(const char *name, struct file_handle *h, int *mount_id)
{
	h->handle_bytes = MAX_HANDLE_SZ;
	return name_to_handle_at(AT_FDCWD, name, h, mount_id, 0);
}

static void test_handles(void)
{
	union {
		struct file_handle h;
		char bytes[sizeof(struct file_handle) + MAX_HANDLE_SZ];
	} file, dir;
	int mount_id, at = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), fd, gone;

	file_make("h", "by handle");
	OK(mkdir("hd", 0755));
	OK(handle_of("h", &file.h, &mount_id));
	OK(handle_of("hd", &dir.h, &mount_id));
	fd = open_by_handle_at(at, &file.h, O_RDONLY);
	if (fd < 0 && errno == EPERM) {
		puts("no permission to open by handle");
	} else {
		YES(fd >= 0);
		close(fd);
		OK(unlink("h"));
		OK(rmdir("hd"));
		for (int i = 0; i < 100; i++) {	/* the numbers are used again */
			char name[16];

			snprintf(name, sizeof(name), "h%d", i);
			file_make(name, "x");
		}
		gone = open_by_handle_at(at, &file.h, O_RDONLY);
		YES(gone == -1 && errno == ESTALE);
		gone = open_by_handle_at(at, &dir.h, O_RDONLY);
		YES(gone == -1 && errno == ESTALE);
	}
	close(at);
}

/* ---- data */

static void test_append(void)
{
	enum { WRITERS = 4, LINES = 200 };
	char line[32];
	unsigned seen[WRITERS] = {0}, w, n;
	FILE *f;

	file_make("log", "");
	for (w = 0; w < WRITERS; w++) {
		if (fork() != 0)
			continue;
		int fd = open("log", O_WRONLY | O_APPEND | O_CLOEXEC), bad = fd < 0;

		for (n = 0; n < LINES; n++) {
			int len = snprintf(line, sizeof(line), "%u %0*u\n", w, 5 + (int)w * 4, n);

			bad |= write(fd, line, (size_t)len) != len;
		}
		_exit(bad);
	}
	for (w = 0; w < WRITERS; w++) {
		int status;

		YES(wait(&status) > 0 && status == 0);
	}
	f = fopen("log", "re");
	while (f && fgets(line, sizeof(line), f)) {
		YES(sscanf(line, "%u %u", &w, &n) == 2 && w < WRITERS && seen[w] == n);
		if (w < WRITERS)
			seen[w]++;
	}
	if (f)
		fclose(f);
	for (w = 0; w < WRITERS; w++)
		YES(seen[w] == LINES);
}

/* O_APPEND is for writes, and as long as it is set: pages of a mapping go to where they belong. */
static void test_append_else(bool direct_io)
{
	int fd = open("ae", O_RDWR | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0644);
	struct stat st;
	char *p;

	YES(fd >= 0 && write(fd, "0123456789", 10) == 10);
	if (!direct_io) {
		p = mmap(NULL, 10, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		YES(p != MAP_FAILED);
		p[1] = 'm';
		OK(msync(p, 10, MS_SYNC));
		p[1] = '1';
		OK(munmap(p, 10));
		OK(fsync(fd));
	}
	OK(fcntl(fd, F_SETFL, 0));
	YES(pwrite(fd, "x", 1, 0) == 1);
	OK(fcntl(fd, F_SETFL, O_APPEND));
	YES(pwrite(fd, "y", 1, 0) == 1);
	OK(fstat(fd, &st));
	YES(st.st_size == 11);
	close(fd);
	YES(file_is("ae", "x123456789y"));
}

static void test_ranges(void)
{
	int fd = file_new("r", ""), to = file_new("r2", "");
	char buf[8192], zeros[4096] = {0};
	loff_t in = 4096, out = 100;
	struct stat st;

	memset(buf, 'x', sizeof(buf));
	YES(pwrite(fd, buf, 8192, 4096) == 8192);
	YES(lseek(fd, 0, SEEK_DATA) == 4096 && lseek(fd, 4096, SEEK_HOLE) == 12288);
	FAILS(ENXIO, lseek(fd, 12288, SEEK_DATA));
	OK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4096, 4096));
	YES(pread(fd, buf, 4096, 4096) == 4096 && memcmp(buf, zeros, 4096) == 0);
	YES(lseek(fd, 0, SEEK_DATA) == 8192);
	OK(fallocate(fd, FALLOC_FL_ZERO_RANGE, 8192, 8192));
	OK(fstat(fd, &st));
	YES(st.st_size == 16384);
	OK(fallocate(fd, FALLOC_FL_KEEP_SIZE, 16384, 65536));
	OK(fstat(fd, &st));
	YES(st.st_size == 16384 && st.st_blocks * 512 >= 65536);
	FAILS(EOPNOTSUPP, fallocate(fd, FALLOC_FL_COLLAPSE_RANGE, 0, 4096)); /* the kernel's FUSE does not pass it on */
	YES(pwrite(fd, "copy me", 7, 4096) == 7);
	YES(copy_file_range(fd, &in, to, &out, 7, 0) == 7 && in == 4103 && out == 107);
	YES(pread(to, buf, 200, 0) == 107 && memcmp(buf + 100, "copy me", 7) == 0 && buf[99] == 0);
	in = 4096;
	out = 4100;
	FAILS(EINVAL, copy_file_range(fd, &in, fd, &out, 7, 0));
	close(fd);
	close(to);
}

static void test_mmap(bool direct_io)
{
	int fd = file_new("m", "");
	char buf[16] = "";
	char *p;

	OK(ftruncate(fd, 10000));
	p = mmap(NULL, 10000, PROT_READ | PROT_WRITE, direct_io ? MAP_PRIVATE : MAP_SHARED, fd, 0);
	YES(p != MAP_FAILED);
	memcpy(p + 5000, "mapped", 6);
	if (!direct_io) {
		OK(msync(p, 10000, MS_SYNC));
		YES(pread(fd, buf, 6, 5000) == 6 && memcmp(buf, "mapped", 6) == 0);
		YES(pwrite(fd, "written", 7, 9000) == 7 && memcmp(p + 9000, "written", 7) == 0);
	}
	OK(munmap(p, 10000));
	close(fd);
}

/* ---- names */

static void test_rename(void)
{
	file_make("a", "A");
	file_make("b", "B");
	FAILS(EEXIST, renameat2(AT_FDCWD, "a", AT_FDCWD, "b", RENAME_NOREPLACE));
	OK(renameat2(AT_FDCWD, "a", AT_FDCWD, "b", RENAME_EXCHANGE));
	YES(file_is("a", "B") && file_is("b", "A"));
	OK(renameat2(AT_FDCWD, "a", AT_FDCWD, "c", RENAME_NOREPLACE));
	FAILS(EINVAL, renameat2(AT_FDCWD, "b", AT_FDCWD, "c", RENAME_WHITEOUT));
	FAILS(ENOENT, renameat2(AT_FDCWD, "b", AT_FDCWD, "none", RENAME_EXCHANGE));
	OK(mkdir("rd", 0755));
	OK(mkdir("rd/below", 0755));
	FAILS(EINVAL, rename("rd", "rd/below/x"));
	OK(link("b", "rd/b"));
	OK(rename("b", "rd/b"));	/* two names of one file: nothing */
	YES(file_is("b", "A") && file_is("rd/b", "A"));
}

static void test_readdir(void)
{
	enum { NAMES = 1500 };
	static long at[NAMES + 3];
	struct dirent *e;
	char name[32];
	unsigned n = 0;
	DIR *d;

	OK(mkdir("big", 0755));
	for (unsigned i = 0; i < NAMES; i++) {
		snprintf(name, sizeof(name), "big/%u", i);
		OK(mknod(name, S_IFREG | 0644, 0));
	}
	d = opendir("big");
	for (at[0] = telldir(d); n < NAMES + 2 && readdir(d); at[n] = telldir(d))
		n++;
	YES(n == NAMES + 2 && readdir(d) == NULL);
	for (unsigned i = 0; i < n; i += 97) {	/* from each position as many are left */
		unsigned left = 0;

		seekdir(d, at[i]);
		while (readdir(d))
			left++;
		YES(left == n - i);
	}
	rewinddir(d);
	for (n = 0, e = readdir(d); e; e = readdir(d)) {	/* removing what was read disturbs nothing */
		if (e->d_name[0] == '.')
			continue;
		YES(e->d_type == DT_REG && unlinkat(dirfd(d), e->d_name, 0) == 0);
		n++;
	}
	YES(n == NAMES);
	OK(rmdir("big"));
	rewinddir(d);
	readdir(d);
	closedir(d);
}

/* ---- attributes */

/* By somebody who may write and has no right to keep the bits. */
static int setid_change(int fd, int how)
{
	loff_t from = 0, to = 100;

	if (setgid(2000) || setuid(2000))
		return 1;
	switch (how) {
	case 0: return pwrite(fd, "u", 1, 0) != 1;
	case 1: return ftruncate(fd, 5) != 0;
	case 2: return truncate("suid", 3) != 0;
	case 3: return fallocate(fd, 0, 0, 10000) != 0;
	default: return copy_file_range(fd, &from, fd, &to, 3, 0) != 3;
	}
}

static void test_setid(void)
{
	int fd = file_new("suid", "0123456789");
	struct statx sx;
	struct stat st;
	pid_t pid;
	int status;

	OK(chown("suid", 1000, 1000));
	OK(chmod("suid", 06777));
	YES(pwrite(fd, "r", 1, 0) == 1);	/* root may */
	OK(fstat(fd, &st));
	YES((st.st_mode & 07777) == 06777);
	for (int how = 0; how < 5; how++) {
		OK(chmod("suid", 06777));
		pid = fork();
		if (pid == 0)
			_exit(setid_change(fd, how));
		YES(waitpid(pid, &status, 0) == pid && status == 0);
		OK(statx(fd, "", AT_EMPTY_PATH, STATX_MODE, &sx));	/* nor does the kernel remember them */
		YES((sx.stx_mode & 07777) == 0777);
		OK(fstat(fd, &st));
		YES((st.st_mode & 07777) == 0777);
	}
	OK(chmod("suid", 06767));	/* set-group-ID without the right to execute is no privilege */
	pid = fork();
	if (pid == 0)
		_exit(setid_change(fd, 0));
	YES(waitpid(pid, &status, 0) == pid && status == 0);
	OK(fstat(fd, &st));
	YES((st.st_mode & 07777) == 02767);
	OK(chmod("suid", 06777));
	OK(chown("suid", 1001, 1001));
	OK(fstat(fd, &st));
	YES((st.st_mode & 07777) == 0777 && st.st_uid == 1001);
	close(fd);
	OK(mkdir("sgid", 0755));
	OK(chown("sgid", 0, 3000));
	OK(chmod("sgid", 02775));
	OK(mkdir("sgid/d", 0755));
	file_make("sgid/f", "");
	OK(stat("sgid/d", &st));
	YES(st.st_gid == 3000 && (st.st_mode & S_ISGID));
	OK(stat("sgid/f", &st));
	YES(st.st_gid == 3000 && !(st.st_mode & S_ISGID));
}

static void test_times(void)
{
	const struct timespec set[2] = {{.tv_sec = 1000000000, .tv_nsec = 123456789}, {.tv_sec = -5, .tv_nsec = 999999999}};
	struct timespec omit[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_nsec = UTIME_NOW}};
	struct stat st, before;
	char c;
	int fd;

	file_make("t", "time");
	OK(utimensat(AT_FDCWD, "t", set, 0));
	OK(stat("t", &st));
	YES(st.st_atim.tv_sec == 1000000000 && st.st_atim.tv_nsec == 123456789 && st.st_mtim.tv_sec == -5 &&
	    st.st_mtim.tv_nsec == 999999999);
	OK(utimensat(AT_FDCWD, "t", omit, 0));
	OK(stat("t", &before));
	YES(before.st_atim.tv_sec == 1000000000 && before.st_mtim.tv_sec > 1000000000);
	usleep(20000);				/* the clock of time stamps has ticks */
	fd = open("t", O_RDONLY | O_CLOEXEC);	/* an access time before the change: a read moves it (relatime) */
	YES(read(fd, &c, 1) == 1);
	close(fd);
	OK(stat("t", &st));
	YES(st.st_atim.tv_sec > 1000000000);
	fd = open("t", O_RDONLY | O_CLOEXEC);
	YES(read(fd, &c, 1) == 1);
	close(fd);
	OK(stat("t", &before));
	YES(before.st_atim.tv_sec == st.st_atim.tv_sec && before.st_atim.tv_nsec == st.st_atim.tv_nsec);
}

static void test_xattr(void)
{
	char buf[300];

	file_make("x", "");
	OK(setxattr("x", "user.name", "value", 5, XATTR_CREATE));
	FAILS(EEXIST, setxattr("x", "user.name", "value", 5, XATTR_CREATE));
	FAILS(ENODATA, setxattr("x", "user.none", "value", 5, XATTR_REPLACE));
	YES(getxattr("x", "user.name", NULL, 0) == 5 && getxattr("x", "user.name", buf, 300) == 5);
	FAILS(ERANGE, getxattr("x", "user.name", buf, 3));
	YES(listxattr("x", NULL, 0) == 10 && listxattr("x", buf, 300) == 10 && strcmp(buf, "user.name") == 0);
	OK(removexattr("x", "user.name"));
	FAILS(ENODATA, removexattr("x", "user.name"));
	FAILS(EOPNOTSUPP, setxattr("x", "system.posix_acl_access", "\2\0\0\0", 4, 0));
	FAILS(EOPNOTSUPP, setxattr("x", "other.name", "value", 5, 0));
}

/* ---- others */

static void test_locks(void)
{
	struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 10};
	int fd = file_new("lock", ""), status;
	pid_t pid;

	OK(flock(fd, LOCK_EX));
	OK(fcntl(fd, F_SETLK, &l));
	pid = fork();
	if (pid == 0) {
		int mine = open("lock", O_RDWR | O_CLOEXEC), bad = mine < 0;

		bad |= flock(mine, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK;
		bad |= fcntl(mine, F_SETLK, &l) == 0 || (errno != EAGAIN && errno != EACCES);
		_exit(bad);
	}
	YES(waitpid(pid, &status, 0) == pid && status == 0);
	close(fd);
}

static void test_statfs(void)
{
	struct statvfs a, b;
	int fd;

	OK(statvfs(".", &a));
	fd = file_new("space", "");
	OK(fallocate(fd, 0, 0, 1 << 20));
	OK(statvfs(".", &b));
	YES(a.f_bsize == 4096 && a.f_namemax == 255 && a.f_blocks == b.f_blocks);
	YES(a.f_bfree >= b.f_bfree + 256 && a.f_bfree <= b.f_bfree + 300);
	close(fd);
}

int main(int argc, char **argv)
{
	bool direct_io = argc > 2 && strcmp(argv[2], "direct_io") == 0;

	if (argc < 2 || chdir(argv[1])) {
		fprintf(stderr, "usage: fuse_ops DIR [direct_io]\n");
		return 2;
	}
	umask(022);
	test_unlinked();
	test_tmpfile();
	test_handles();
	test_append();
	test_append_else(direct_io);
	test_ranges();
	test_mmap(direct_io);
	test_rename();
	test_readdir();
	if (geteuid() == 0)
		test_setid();
	test_times();
	test_xattr();
	test_locks();
	test_statfs();
	printf("%u checks, %u failures\n", checks, failures);
	return failures ? 1 : 0;
}
