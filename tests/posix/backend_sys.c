/* The backend of system calls, in a fresh directory per case that is the process's working directory. */
#include "posix.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <grp.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

struct sys_slot {
	int fd;
	DIR *dir;
};

static struct {
	int base;     /* the directory below which the cases' ones are made */
	char other[512];
	char name[32];
	unsigned count;
	struct sys_slot slot[PX_SLOTS];
} sys = {.base = -1};

static int64_t ret(int64_t r)
{
	return r < 0 ? -errno : r;
}

int px_system_open(const char *dir, const char *other)
{
	for (int i = 0; i < PX_SLOTS; i++)
		sys.slot[i].fd = -1;
	snprintf(sys.other, sizeof(sys.other), "%s", other);
	if (sys.base >= 0)
		close(sys.base);
	sys.base = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return sys.base < 0 ? -errno : 0;
}

const char *px_system_other(void)
{
	return sys.other;
}

static int sys_begin(void)
{
	(void)umask(0);
	snprintf(sys.name, sizeof(sys.name), "case%u", sys.count++);
	if (mkdirat(sys.base, sys.name, 0755) || fchdir(sys.base) || chdir(sys.name))
		return -errno;
	return 0;
}

static int sys_remove(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st;
	(void)at;
	return type == FTW_DP ? rmdir(path) : unlink(path);
}

static int64_t sys_become(int64_t uid, int64_t gid);
static int64_t sys_close(int slot);

static int sys_end(void)
{
	sys_become(-1, -1);
	for (int i = 0; i < PX_SLOTS; i++)
		sys_close(i);
	(void)close_range((unsigned)sys.base + 1, ~0u, 0); /* what a function that failed left open */
	if (fchdir(sys.base))
		return -errno;
	if (nftw(sys.name, sys_remove, 64, FTW_DEPTH | FTW_PHYS))
		return px_fail("the case's directory cannot be removed: %s", strerror(errno));
	return 0;
}

/* ---- files */

static int64_t sys_open(int slot, const char *path, int flags, uint32_t mode)
{
	sys_close(slot);
	sys.slot[slot].fd = open(path, flags | O_CLOEXEC, mode);
	return sys.slot[slot].fd < 0 ? -errno : 0;
}

static int64_t sys_close(int slot)
{
	struct sys_slot *s = &sys.slot[slot];
	int64_t err = -EBADF;

	if (s->dir)
		err = ret(closedir(s->dir));
	else if (s->fd >= 0)
		err = ret(close(s->fd));
	*s = (struct sys_slot){.fd = -1};
	return err;
}

static int sys_fd(int slot)
{
	return sys.slot[slot].dir ? dirfd(sys.slot[slot].dir) : sys.slot[slot].fd;
}

static int64_t sys_pread(int slot, void *buf, size_t len, uint64_t off)
{
	return ret(pread(sys_fd(slot), buf, len, (off_t)off));
}

static int64_t sys_pwrite(int slot, const void *buf, size_t len, uint64_t off)
{
	return ret(pwrite(sys_fd(slot), buf, len, (off_t)off));
}

static int64_t sys_append(int slot, const void *buf, size_t len)
{
	return ret(write(sys_fd(slot), buf, len));
}

static int64_t sys_truncate(const struct px_at *at, uint64_t size)
{
	if (at->how == PX_SLOT)
		return ret(ftruncate(sys_fd(at->slot), (off_t)size));
	return ret(truncate(at->path, (off_t)size));
}

static int64_t sys_fallocate(int slot, int mode, uint64_t off, uint64_t len)
{
	return ret(fallocate(sys_fd(slot), mode, (off_t)off, (off_t)len));
}

static int64_t sys_seek(int slot, uint64_t off, int whence)
{
	return ret(lseek(sys_fd(slot), (off_t)off, whence));
}

static int64_t sys_fsync(int slot)
{
	return ret(fsync(sys_fd(slot)));
}

static int64_t sys_copy(int in, uint64_t off_in, int out, uint64_t off_out, size_t len)
{
	off_t from = (off_t)off_in, to = (off_t)off_out;

	return ret(copy_file_range(sys_fd(in), &from, sys_fd(out), &to, len, 0));
}

static int64_t sys_flink(int slot, const char *path)
{
	char self[64];

	snprintf(self, sizeof(self), "/proc/self/fd/%d", sys_fd(slot));
	return ret(linkat(AT_FDCWD, self, AT_FDCWD, path, AT_SYMLINK_FOLLOW));
}

/* ---- attributes */

static int64_t sys_ns(const struct timespec *t)
{
	return t->tv_sec * 1000000000ll + t->tv_nsec;
}

static int64_t sys_stat(const struct px_at *at, struct px_stat *out)
{
	struct stat st;
	int err;

	if (at->how == PX_SLOT)
		err = fstat(sys_fd(at->slot), &st);
	else
		err = fstatat(AT_FDCWD, at->path, &st, at->how == PX_NOFOLLOW ? AT_SYMLINK_NOFOLLOW : 0);
	if (err)
		return -errno;
	*out = (struct px_stat){
	    .ino = st.st_ino,
	    .size = (uint64_t)st.st_size,
	    .blocks = (uint64_t)st.st_blocks,
	    .rdev = st.st_rdev,
	    .mode = st.st_mode,
	    .nlink = (uint32_t)st.st_nlink,
	    .uid = st.st_uid,
	    .gid = st.st_gid,
	    .atime = sys_ns(&st.st_atim),
	    .mtime = sys_ns(&st.st_mtim),
	    .ctime = sys_ns(&st.st_ctim),
	};
	return 0;
}

static int64_t sys_chmod(const struct px_at *at, uint32_t mode)
{
	if (at->how == PX_SLOT)
		return ret(fchmod(sys_fd(at->slot), mode));
	return ret(chmod(at->path, mode));
}

static int64_t sys_chown(const struct px_at *at, int64_t uid, int64_t gid)
{
	if (at->how == PX_SLOT)
		return ret(fchown(sys_fd(at->slot), (uid_t)uid, (gid_t)gid));
	return ret(fchownat(AT_FDCWD, at->path, (uid_t)uid, (gid_t)gid,
			    at->how == PX_NOFOLLOW ? AT_SYMLINK_NOFOLLOW : 0));
}

static struct timespec sys_time(int64_t ns)
{
	struct timespec t = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};

	if (ns == PX_NOW)
		return (struct timespec){.tv_nsec = UTIME_NOW};
	if (ns == PX_OMIT)
		return (struct timespec){.tv_nsec = UTIME_OMIT};
	if (t.tv_nsec < 0) {
		t.tv_nsec += 1000000000;
		t.tv_sec--;
	}
	return t;
}

static int64_t sys_utimens(const struct px_at *at, const int64_t ns[2])
{
	const struct timespec ts[2] = {sys_time(ns[0]), sys_time(ns[1])};

	if (at->how == PX_SLOT)
		return ret(futimens(sys_fd(at->slot), ts));
	return ret(utimensat(AT_FDCWD, at->path, ts, at->how == PX_NOFOLLOW ? AT_SYMLINK_NOFOLLOW : 0));
}

/* ---- names */

static int64_t sys_mkdir(const char *path, uint32_t mode)
{
	return ret(mkdir(path, mode));
}
static int64_t sys_rmdir(const char *path)
{
	return ret(rmdir(path));
}
static int64_t sys_unlink(const char *path)
{
	return ret(unlink(path));
}
static int64_t sys_mknod(const char *path, uint32_t mode, uint64_t rdev)
{
	return ret(mknod(path, mode, rdev));
}
static int64_t sys_symlink(const char *target, const char *path)
{
	return ret(symlink(target, path));
}
static int64_t sys_readlink(const char *path, char *buf, size_t size)
{
	return ret(readlink(path, buf, size));
}
static int64_t sys_link(const char *old, const char *new)
{
	return ret(link(old, new));
}
static int64_t sys_rename(const char *old, const char *new, unsigned flags)
{
	return ret(flags ? renameat2(AT_FDCWD, old, AT_FDCWD, new, flags) : rename(old, new));
}

/* ---- extended attributes */

static int64_t sys_setxattr(const struct px_at *at, const char *name, const void *v, size_t n, int flags)
{
	if (at->how == PX_SLOT)
		return ret(fsetxattr(sys_fd(at->slot), name, v, n, flags));
	if (at->how == PX_NOFOLLOW)
		return ret(lsetxattr(at->path, name, v, n, flags));
	return ret(setxattr(at->path, name, v, n, flags));
}

static int64_t sys_getxattr(const struct px_at *at, const char *name, void *v, size_t n)
{
	if (at->how == PX_SLOT)
		return ret(fgetxattr(sys_fd(at->slot), name, v, n));
	if (at->how == PX_NOFOLLOW)
		return ret(lgetxattr(at->path, name, v, n));
	return ret(getxattr(at->path, name, v, n));
}

static int64_t sys_listxattr(const struct px_at *at, char *list, size_t n)
{
	if (at->how == PX_SLOT)
		return ret(flistxattr(sys_fd(at->slot), list, n));
	if (at->how == PX_NOFOLLOW)
		return ret(llistxattr(at->path, list, n));
	return ret(listxattr(at->path, list, n));
}

static int64_t sys_removexattr(const struct px_at *at, const char *name)
{
	if (at->how == PX_SLOT)
		return ret(fremovexattr(sys_fd(at->slot), name));
	if (at->how == PX_NOFOLLOW)
		return ret(lremovexattr(at->path, name));
	return ret(removexattr(at->path, name));
}

/* ---- directories */

static int64_t sys_opendir(int slot, const char *path)
{
	sys_close(slot);
	sys.slot[slot].dir = opendir(path);
	return sys.slot[slot].dir ? 0 : -errno;
}

static int64_t sys_readdir(int slot, struct px_dirent *out)
{
	const struct dirent *d;

	errno = 0;
	d = readdir(sys.slot[slot].dir);
	if (!d)
		return -errno;
	out->cookie = (uint64_t)d->d_off;
	out->type = d->d_type;
	snprintf(out->name, sizeof(out->name), "%s", d->d_name);
	return 1;
}

static int64_t sys_seekdir(int slot, uint64_t cookie)
{
	if (cookie == 0)
		rewinddir(sys.slot[slot].dir);
	else
		seekdir(sys.slot[slot].dir, (long)cookie);
	return 0;
}

static int64_t sys_telldir(int slot)
{
	return telldir(sys.slot[slot].dir);
}

static int64_t sys_statfs(struct px_statfs *out)
{
	struct statvfs st;

	if (statvfs(".", &st))
		return -errno;
	*out = (struct px_statfs){.bsize = st.f_frsize,
				  .blocks = st.f_blocks,
				  .bfree = st.f_bfree,
				  .files = st.f_files,
				  .ffree = st.f_ffree,
				  .namemax = st.f_namemax};
	return 0;
}

/* The raw calls change this thread only, and the real and saved ids stay root's: the way back. */
static int64_t sys_become(int64_t uid, int64_t gid)
{
	if (syscall(SYS_setresuid, -1, 0, -1) || syscall(SYS_setresgid, -1, gid < 0 ? 0 : gid, -1) ||
	    syscall(SYS_setgroups, 0, NULL))
		return -errno;
	return uid < 0 ? 0 : ret(syscall(SYS_setresuid, -1, uid, -1));
}

const struct px_backend px_system = {
    .name = "mount",
    .begin = sys_begin,
    .end = sys_end,
    .open = sys_open,
    .close = sys_close,
    .pread = sys_pread,
    .pwrite = sys_pwrite,
    .append = sys_append,
    .truncate = sys_truncate,
    .fallocate = sys_fallocate,
    .seek = sys_seek,
    .fsync = sys_fsync,
    .copy = sys_copy,
    .flink = sys_flink,
    .stat = sys_stat,
    .chmod = sys_chmod,
    .chown = sys_chown,
    .utimens = sys_utimens,
    .mkdir = sys_mkdir,
    .rmdir = sys_rmdir,
    .unlink = sys_unlink,
    .mknod = sys_mknod,
    .symlink = sys_symlink,
    .readlink = sys_readlink,
    .link = sys_link,
    .rename = sys_rename,
    .setxattr = sys_setxattr,
    .getxattr = sys_getxattr,
    .listxattr = sys_listxattr,
    .removexattr = sys_removexattr,
    .opendir = sys_opendir,
    .readdir = sys_readdir,
    .seekdir = sys_seekdir,
    .telldir = sys_telldir,
    .statfs = sys_statfs,
    .fd = sys_fd,
    .become = sys_become,
};
