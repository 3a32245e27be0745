#include "store.h"
#include <holdfast.h>
#include <string.h>
#include <sys/stat.h>

static hf_volume *vol;

/* A file claims the granularity of persistent memory; a device has its own. */
static int begin(const char *place)
{
	struct hf_mount_options opts = {.struct_size = sizeof(opts)};
	struct stat st;

	if (!stat(place, &st) && S_ISREG(st.st_mode))
		opts.flags = HF_MOUNT_FORCE_CACHE_LINE | HF_MOUNT_NO_MSYNC;
	return hf_mount(&vol, place, &opts);
}

static int end(void)
{
	return hf_unmount(&vol);
}

static hf_file *file_of(struct store_file *f)
{
	return (hf_file *)(void *)f;
}

static int open_file(const char *path, enum store_open how, struct store_file **out)
{
	static const unsigned int flags[] = {
	    [STORE_READ] = HF_O_RDONLY,
	    [STORE_WRITE] = HF_O_RDWR,
	    [STORE_CREATE] = HF_O_RDWR | HF_O_CREAT | HF_O_EXCL,
	    [STORE_WRITE_APPEND] = HF_O_RDWR | HF_O_APPEND,
	};
	hf_file *f = NULL;
	int err = hf_open(vol, path, flags[how], 0644, &f);

	*out = (struct store_file *)(void *)f;
	return err;
}

/* There is nothing to hold open: names are durable. */
static int open_dir(const char *path, struct store_file **out)
{
	*out = NULL;
	(void)path;
	return 0;
}

static int close_file(struct store_file *f)
{
	hf_file *h = file_of(f);

	return h ? hf_close(&h) : 0;
}

static ssize_t pread_file(struct store_file *f, void *buf, size_t len, uint64_t off)
{
	return hf_pread(file_of(f), buf, len, off);
}

static ssize_t pwrite_file(struct store_file *f, const void *buf, size_t len, uint64_t off)
{
	return hf_pwrite(file_of(f), buf, len, off);
}

static int truncate_file(struct store_file *f, uint64_t size)
{
	return hf_ftruncate(file_of(f), size);
}

static int fsync_file(struct store_file *f)
{
	return f ? hf_fsync(file_of(f)) : 0;
}

static int size_of(const char *path, uint64_t *size)
{
	struct hf_stat st;
	int err = hf_stat(vol, path, &st);

	*size = st.size;
	return err;
}

static int unlink_name(const char *path)
{
	return hf_unlink(vol, path);
}

static int rename_name(const char *from, const char *to)
{
	return hf_rename(vol, from, to, 0);
}

static int link_name(const char *from, const char *to)
{
	return hf_link(vol, from, to);
}

static int make_dir(const char *path)
{
	return hf_mkdir(vol, path, 0755);
}

static int remove_dir(const char *path)
{
	return hf_rmdir(vol, path);
}

static int set_xattr(struct store_file *f, const char *name, const void *value, size_t len)
{
	return hf_fsetxattr(file_of(f), name, value, len, 0);
}

static int place_all(void)
{
	return hf_syncfs(vol);
}

const struct store store_holdfast = {
    .name = "holdfast",
    .durable = true,
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
