#include "store.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

static int root = -1;

static int result(int rc)
{
	return rc < 0 ? -errno : 0;
}

/* Paths are walked from the working directory, as programs do. */
static int begin(const char *place)
{
	root = open(place, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		return -errno;
	return result(fchdir(root));
}

static int end(void)
{
	return result(close(root));
}

/* A descriptor in the place of a pointer. */
static int fd_of(const struct store_file *f)
{
	return (int)(intptr_t)f - 1;
}

static int give(int fd, struct store_file **out)
{
	*out = (struct store_file *)(intptr_t)(fd + 1);
	return fd < 0 ? -errno : 0;
}

static int open_file(const char *path, enum store_open how, struct store_file **out)
{
	static const int flags[] = {
	    [STORE_READ] = O_RDONLY,
	    [STORE_WRITE] = O_RDWR,
	    [STORE_CREATE] = O_RDWR | O_CREAT | O_EXCL,
	    [STORE_WRITE_APPEND] = O_RDWR | O_APPEND,
	};

	return give(open(path, flags[how] | O_CLOEXEC, 0644), out);
}

static int open_dir(const char *path, struct store_file **out)
{
	return give(open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), out);
}

static int close_file(struct store_file *f)
{
	return f ? result(close(fd_of(f))) : 0;
}

static ssize_t pread_file(struct store_file *f, void *buf, size_t len, uint64_t off)
{
	ssize_t n = pread(fd_of(f), buf, len, (off_t)off);

	return n < 0 ? -errno : n;
}

static ssize_t pwrite_file(struct store_file *f, const void *buf, size_t len, uint64_t off)
{
	ssize_t n = pwrite(fd_of(f), buf, len, (off_t)off);

	return n < 0 ? -errno : n;
}

static int truncate_file(struct store_file *f, uint64_t size)
{
	return result(ftruncate(fd_of(f), (off_t)size));
}

static int fsync_file(struct store_file *f)
{
	return result(fsync(fd_of(f)));
}

static int size_of(const char *path, uint64_t *size)
{
	struct stat st;
	int rc = stat(path, &st);

	*size = rc ? 0 : (uint64_t)st.st_size;
	return result(rc);
}

static int unlink_name(const char *path)
{
	return result(unlink(path));
}

static int rename_name(const char *from, const char *to)
{
	return result(rename(from, to));
}

static int link_name(const char *from, const char *to)
{
	return result(link(from, to));
}

static int make_dir(const char *path)
{
	return result(mkdir(path, 0755));
}

static int remove_dir(const char *path)
{
	return result(rmdir(path));
}

static int set_xattr(struct store_file *f, const char *name, const void *value, size_t len)
{
	return result(fsetxattr(fd_of(f), name, value, len, 0));
}

static bool is_mount(void)
{
	struct stat here, above;

	return !fstat(root, &here) && !fstatat(root, "..", &above, 0) &&
	       here.st_dev != above.st_dev;
}

/* A freeze writes back what a sync leaves in the journal. Not of a file system that others use, and
 * tmpfs has none. */
static int place_all(void)
{
	if (is_mount() && ioctl(root, FIFREEZE, 0) == 0)
		return result(ioctl(root, FITHAW, 0));
	return result(syncfs(root));
}

const struct store store_posix = {
    .name = "directory",
    .begin = begin,
    .end = end,
    .open = open_file,
    .open_dir = open_dir,
    .close = close_file,
    .pread = pread_file,
    .pwrite = pwrite_file,
    .truncate = truncate_file,
    .fsync = fsync_file,
    .size = size_of,
    .unlink = unlink_name,
    .rename = rename_name,
    .link = link_name,
    .mkdir = make_dir,
    .rmdir = remove_dir,
    .setxattr = set_xattr,
    .place_all = place_all,
};

const struct store *store_by_name(const char *text, const char **place)
{
	*place = strchr(text, ':');
	if (!*place)
		return NULL;
	(*place)++;
	if (!strncmp(text, "hf:", 3))
		return &store_holdfast;
	return strncmp(text, "dir:", 4) ? NULL : &store_posix;
}
