#include "side.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define FRAME (2u << 20)

static int dir = -1;

static int open_dir(const char *where)
{
	dir = open(where, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return dir < 0 ? -errno : 0;
}

static void close_dir(void)
{
	close(dir);
}

static uint64_t free_bytes(void)
{
	struct statvfs st;

	syncfs(dir); /* what was deleted is free when it is committed */
	side_must(fstatvfs(dir, &st) ? -errno : 0, "statvfs");
	return (uint64_t)st.f_bavail * st.f_frsize;
}

static int create(const char *name, struct side_file *f)
{
	f->fd = openat(dir, name + 1, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	return f->fd < 0 ? -errno : 0;
}

static int close_file(struct side_file *f)
{
	return close(f->fd) ? -errno : 0;
}

static ssize_t write_file(struct side_file *f, const void *buf, size_t len, uint64_t off)
{
	ssize_t n = pwrite(f->fd, buf, len, (off_t)off);

	return n < 0 ? -errno : n;
}

static ssize_t read_file(struct side_file *f, void *buf, size_t len, uint64_t off)
{
	ssize_t n = pread(f->fd, buf, len, (off_t)off);

	return n < 0 ? -errno : n;
}

static uint64_t allocated(const char *name)
{
	struct stat st;

	side_must(fstatat(dir, name + 1, &st, 0) ? -errno : 0, name);
	return (uint64_t)st.st_blocks * 512;
}

static int allocate(struct side_file *f, uint64_t len)
{
	return fallocate(f->fd, 0, 0, (off_t)len) ? -errno : 0;
}

static int truncate_file(struct side_file *f, uint64_t size)
{
	return ftruncate(f->fd, (off_t)size) ? -errno : 0;
}

static int punch(struct side_file *f, uint64_t off, uint64_t len)
{
	return fallocate(f->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)off, (off_t)len)
		   ? -errno
		   : 0;
}

static int unlink_name(const char *name)
{
	return unlinkat(dir, name + 1, 0) ? -errno : 0;
}

/* At a multiple of 2 MiB: elsewhere nothing can be mapped by large pages. */
static int map_at(struct side_file *f, uint64_t off, size_t len)
{
	char *room = mmap(NULL, len + FRAME, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
			  -1, 0),
	     *at;

	if (room == MAP_FAILED)
		return -errno;
	at = (char *)(((uintptr_t)room + FRAME - 1) / FRAME * FRAME);
	if (at > room)
		munmap(room, (size_t)(at - room));
	munmap(at + len, (size_t)(room + FRAME - at));
	f->addr = mmap(at, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, f->fd, (off_t)off);
	f->len = len;
	return f->addr == MAP_FAILED ? -errno : 0;
}

static int map(struct side_file *f, size_t len)
{
	return map_at(f, 0, len);
}

static int populate(struct side_file *f, uint64_t off, size_t len)
{
	(void)f;
	(void)off;
	(void)len;
	return 0;
}

static void unmap(struct side_file *f)
{
	munmap(f->addr, f->len);
}

static int extents(struct side_file *f, struct side_extent *e, size_t max, size_t *n)
{
	struct fiemap *m = calloc(1, sizeof(*m) + max * sizeof(struct fiemap_extent));
	int err = m ? 0 : -ENOMEM;

	*n = 0;
	if (!err) {
		m->fm_length = FIEMAP_MAX_OFFSET;
		m->fm_flags = FIEMAP_FLAG_SYNC;
		m->fm_extent_count = (uint32_t)max;
		err = ioctl(f->fd, FS_IOC_FIEMAP, m) ? -errno : 0;
	}
	for (size_t i = 0; !err && i < m->fm_mapped_extents; i++)
		e[(*n)++] =
		    (struct side_extent){m->fm_extents[i].fe_logical, m->fm_extents[i].fe_length,
					 m->fm_extents[i].fe_physical};
	free(m);
	return err;
}

const struct side_ops side_kernel = {
    .open = open_dir,
    .close = close_dir,
    .free_bytes = free_bytes,
    .create = create,
    .close_file = close_file,
    .write = write_file,
    .read = read_file,
    .allocated = allocated,
    .allocate = allocate,
    .truncate = truncate_file,
    .punch = punch,
    .unlink = unlink_name,
    .hold = map_at,
    .hold_end = unmap,
    .map = map,
    .populate = populate,
    .unmap = unmap,
    .extents = extents,
};
