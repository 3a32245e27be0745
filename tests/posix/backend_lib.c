/* The backend of the library: a new volume in memory per case, whose root is the case's directory, and which is verified at the
 * end of each. The read-only tree is a volume in a file instead. */
#include "posix.h"

#include <holdfast.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LIB_BYTES (16u << 20)

struct lib_slot {
	hf_file *file;
	hf_dir *dir;
};

static struct {
	hf_volume *vol;
	const char *rdonly; /* a volume file: mounted read-only once it is prepared */
	bool prepared;
	struct lib_slot slot[PX_SLOTS];
} lib;

int px_library_rdonly(const char *volume)
{
	const struct hf_format_options opts = {.struct_size = sizeof(opts), .bytes = LIB_BYTES, .force = true};

	lib.rdonly = volume;
	lib.prepared = false;
	return volume ? hf_format(volume, &opts) : 0;
}

static int lib_begin(void)
{
	struct hf_mount_options opts = {.struct_size = sizeof(opts), .flags = HF_MOUNT_NO_MSYNC};

	if (!lib.rdonly)
		return hf_mount_memory(&lib.vol, LIB_BYTES, NULL);
	if (lib.prepared)
		opts.flags |= HF_MOUNT_RDONLY;
	return hf_mount(&lib.vol, lib.rdonly, &opts);
}

static void lib_finding(void *ctx, const struct hf_finding *f)
{
	(void)ctx;
	px_fail("the volume is damaged: %s", f->text);
}

static int64_t lib_close(int slot);

static int lib_end(void)
{
	const struct hf_check_options opts = {.struct_size = sizeof(opts), .finding = lib_finding};
	struct hf_check_result result = {0};
	int err, un;

	for (int i = 0; i < PX_SLOTS; i++)
		lib_close(i);
	err = hf_check_mounted(lib.vol, &opts, &result);
	un = hf_unmount(&lib.vol);
	lib.prepared = lib.rdonly != NULL;
	if (err || un)
		return px_fail("check and unmount: %s", hf_errormsg());
	return result.findings ? -1 : 0;
}

/* ---- files */

static hf_file *lib_file(int slot)
{
	return lib.slot[slot].file;
}

static int64_t lib_opendir(int slot, const char *path)
{
	lib_close(slot);
	return hf_opendir(lib.vol, path, &lib.slot[slot].dir);
}

static int64_t lib_open(int slot, const char *path, int flags, uint32_t mode)
{
	unsigned want = (unsigned)flags;

	lib_close(slot);
	if ((flags & O_TMPFILE) == O_TMPFILE)
		want &= ~(unsigned)O_DIRECTORY;
	else if (flags & O_DIRECTORY)
		return lib_opendir(slot, path);
	return hf_open(lib.vol, path, want, mode, &lib.slot[slot].file);
}

static int64_t lib_close(int slot)
{
	if (lib.slot[slot].dir)
		return hf_closedir(&lib.slot[slot].dir);
	return lib_file(slot) ? hf_close(&lib.slot[slot].file) : -EBADF;
}

static int64_t lib_pread(int slot, void *buf, size_t len, uint64_t off)
{
	return lib_file(slot) ? hf_pread(lib_file(slot), buf, len, off) : -EBADF;
}

static int64_t lib_pwrite(int slot, const void *buf, size_t len, uint64_t off)
{
	return lib_file(slot) ? hf_pwrite(lib_file(slot), buf, len, off) : -EBADF;
}

static int64_t lib_append(int slot, const void *buf, size_t len)
{
	return hf_append(lib_file(slot), buf, len, NULL);
}

static int64_t lib_truncate(const struct px_at *at, uint64_t size)
{
	if (at->how == PX_SLOT)
		return hf_ftruncate(lib_file(at->slot), size);
	return hf_truncate(lib.vol, at->path, size);
}

static int64_t lib_fallocate(int slot, int mode, uint64_t off, uint64_t len)
{
	return hf_fallocate(lib_file(slot), mode, off, len);
}

static int64_t lib_seek(int slot, uint64_t off, int whence)
{
	return hf_seek(lib_file(slot), off, whence);
}

static int64_t lib_fsync(int slot)
{
	return hf_fsync(lib_file(slot));
}

static int64_t lib_copy(int in, uint64_t off_in, int out, uint64_t off_out, size_t len)
{
	return hf_copy_file_range(lib_file(in), off_in, lib_file(out), off_out, len);
}

static int64_t lib_flink(int slot, const char *path)
{
	return hf_flink(lib_file(slot), path);
}

/* ---- attributes */

static int64_t lib_stat(const struct px_at *at, struct px_stat *out)
{
	struct hf_stat st;
	int err;

	if (at->how == PX_SLOT)
		err = hf_fstat(lib_file(at->slot), &st);
	else if (at->how == PX_NOFOLLOW)
		err = hf_lstat(lib.vol, at->path, &st);
	else
		err = hf_stat(lib.vol, at->path, &st);
	if (err)
		return err;
	*out = (struct px_stat){
	    .ino = st.id.ino,
	    .size = st.size,
	    .blocks = st.blocks_512,
	    .rdev = st.rdev,
	    .mode = st.mode,
	    .nlink = st.nlink,
	    .uid = st.uid,
	    .gid = st.gid,
	    .atime = st.atime_ns,
	    .mtime = st.mtime_ns,
	    .ctime = st.ctime_ns,
	};
	return 0;
}

static int64_t lib_setattr(const struct px_at *at, const struct hf_setattr *a)
{
	if (at->how == PX_SLOT)
		return hf_fsetattr(lib_file(at->slot), a);
	return hf_setattr(lib.vol, at->path, a, at->how == PX_FOLLOW);
}

static int64_t lib_chmod(const struct px_at *at, uint32_t mode)
{
	const struct hf_setattr a = {.set = HF_SET_MODE, .mode = mode};

	return lib_setattr(at, &a);
}

static int64_t lib_chown(const struct px_at *at, int64_t uid, int64_t gid)
{
	struct hf_setattr a = {.uid = (uint32_t)uid, .gid = (uint32_t)gid};

	if (uid >= 0)
		a.set |= HF_SET_UID;
	if (gid >= 0)
		a.set |= HF_SET_GID;
	return lib_setattr(at, &a);
}

static int64_t lib_utimens(const struct px_at *at, const int64_t ns[2])
{
	struct hf_setattr a = {.atime_ns = ns[0], .mtime_ns = ns[1]};

	if (ns[0] != PX_OMIT)
		a.set |= ns[0] == PX_NOW ? HF_SET_ATIME_NOW : HF_SET_ATIME;
	if (ns[1] != PX_OMIT)
		a.set |= ns[1] == PX_NOW ? HF_SET_MTIME_NOW : HF_SET_MTIME;
	return lib_setattr(at, &a);
}

/* ---- names */

static int64_t lib_mkdir(const char *path, uint32_t mode)
{
	return hf_mkdir(lib.vol, path, mode);
}
static int64_t lib_rmdir(const char *path)
{
	return hf_rmdir(lib.vol, path);
}
static int64_t lib_unlink(const char *path)
{
	return hf_unlink(lib.vol, path);
}
static int64_t lib_mknod(const char *path, uint32_t mode, uint64_t rdev)
{
	return hf_mknod(lib.vol, path, mode, rdev);
}
static int64_t lib_symlink(const char *target, const char *path)
{
	return hf_symlink(lib.vol, target, path);
}
static int64_t lib_readlink(const char *path, char *buf, size_t size)
{
	return hf_readlink(lib.vol, path, buf, size);
}
static int64_t lib_link(const char *old, const char *new)
{
	return hf_link(lib.vol, old, new);
}
static int64_t lib_rename(const char *old, const char *new, unsigned flags)
{
	return hf_rename(lib.vol, old, new, flags);
}

/* ---- extended attributes */

static int64_t lib_setxattr(const struct px_at *at, const char *name, const void *v, size_t n, int flags)
{
	if (at->how == PX_SLOT)
		return hf_fsetxattr(lib_file(at->slot), name, v, n, flags);
	if (at->how == PX_NOFOLLOW)
		return hf_lsetxattr(lib.vol, at->path, name, v, n, flags);
	return hf_setxattr(lib.vol, at->path, name, v, n, flags);
}

static int64_t lib_getxattr(const struct px_at *at, const char *name, void *v, size_t n)
{
	if (at->how == PX_SLOT)
		return hf_fgetxattr(lib_file(at->slot), name, v, n);
	if (at->how == PX_NOFOLLOW)
		return hf_lgetxattr(lib.vol, at->path, name, v, n);
	return hf_getxattr(lib.vol, at->path, name, v, n);
}

static int64_t lib_listxattr(const struct px_at *at, char *list, size_t n)
{
	if (at->how == PX_SLOT)
		return hf_flistxattr(lib_file(at->slot), list, n);
	if (at->how == PX_NOFOLLOW)
		return hf_llistxattr(lib.vol, at->path, list, n);
	return hf_listxattr(lib.vol, at->path, list, n);
}

static int64_t lib_removexattr(const struct px_at *at, const char *name)
{
	if (at->how == PX_SLOT)
		return hf_fremovexattr(lib_file(at->slot), name);
	if (at->how == PX_NOFOLLOW)
		return hf_lremovexattr(lib.vol, at->path, name);
	return hf_removexattr(lib.vol, at->path, name);
}

/* ---- directories */

static int64_t lib_readdir(int slot, struct px_dirent *out)
{
	struct hf_dirent d;
	int n = hf_readdir(lib.slot[slot].dir, &d);

	if (n != 1)
		return n;
	out->cookie = d.cookie;
	out->type = d.type;
	memcpy(out->name, d.name, sizeof(out->name));
	return 1;
}

static int64_t lib_seekdir(int slot, uint64_t cookie)
{
	hf_seekdir(lib.slot[slot].dir, cookie);
	return 0;
}

static int64_t lib_telldir(int slot)
{
	return (int64_t)hf_telldir(lib.slot[slot].dir);
}

static int64_t lib_statfs(struct px_statfs *out)
{
	struct hf_statfs st;
	int err = hf_statfs(lib.vol, &st);

	if (err)
		return err;
	*out = (struct px_statfs){.bsize = st.block_bytes,
				  .blocks = st.blocks,
				  .bfree = st.blocks_free,
				  .files = st.inodes_used + st.inodes_free,
				  .ffree = st.inodes_free,
				  .namemax = st.name_max};
	return 0;
}

const struct px_backend px_library = {
    .name = "library",
    .begin = lib_begin,
    .end = lib_end,
    .open = lib_open,
    .close = lib_close,
    .pread = lib_pread,
    .pwrite = lib_pwrite,
    .append = lib_append,
    .truncate = lib_truncate,
    .fallocate = lib_fallocate,
    .seek = lib_seek,
    .fsync = lib_fsync,
    .copy = lib_copy,
    .flink = lib_flink,
    .stat = lib_stat,
    .chmod = lib_chmod,
    .chown = lib_chown,
    .utimens = lib_utimens,
    .mkdir = lib_mkdir,
    .rmdir = lib_rmdir,
    .unlink = lib_unlink,
    .mknod = lib_mknod,
    .symlink = lib_symlink,
    .readlink = lib_readlink,
    .link = lib_link,
    .rename = lib_rename,
    .setxattr = lib_setxattr,
    .getxattr = lib_getxattr,
    .listxattr = lib_listxattr,
    .removexattr = lib_removexattr,
    .opendir = lib_opendir,
    .readdir = lib_readdir,
    .seekdir = lib_seekdir,
    .telldir = lib_telldir,
    .statfs = lib_statfs,
};
