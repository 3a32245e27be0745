/* Attributes, read. */
#include "file/volume.h"

#include <string.h>

/* Unsigned: the seconds of the earliest times, by themselves, are below what nanoseconds can hold.
 */
static int64_t stat_ns(const struct timespec *t)
{
	return (int64_t)((uint64_t)t->tv_sec * 1000000000u + (uint64_t)t->tv_nsec);
}

static void stat_fill(struct inode *in, struct hf_stat *out)
{
	struct stat st;
	int64_t btime;

	memset(out, 0, sizeof(*out));
	inode_stat(in, &st, &btime);
	out->id.ino = in->ino.v;
	out->id.gen = in->gen;
	out->mode = st.st_mode;
	out->nlink = (uint32_t)st.st_nlink;
	out->uid = st.st_uid;
	out->gid = st.st_gid;
	out->rdev = st.st_rdev;
	out->blocks_512 = (uint64_t)st.st_blocks;
	/* The media's size of a directory is its number of entries. */
	out->size = S_ISDIR(st.st_mode) ? out->blocks_512 * 512 : (uint64_t)st.st_size;
	out->blksize = HF_BLOCK_SIZE;
	out->atime_ns = stat_ns(&st.st_atim);
	out->mtime_ns = stat_ns(&st.st_mtim);
	out->ctime_ns = stat_ns(&st.st_ctim);
	out->btime_ns = btime;
}

int stat_inode(struct inode *in, struct hf_stat *out)
{
	struct hf_stat st;
	int err = 0;

	rwl_rdlock(&in->layout);
	if (atomic_load_explicit(&in->dead, memory_order_relaxed))
		err = -ESTALE;
	else
		stat_fill(in, &st);
	rwl_rdunlock(&in->layout);
	if (!err)
		err = inode_intact(in);
	if (!err && out)
		*out = st;
	return err;
}

HF_API int hf_fstat(hf_file *file, struct hf_stat *out)
{
	int err = enter_file(file);

	if (err)
		return err;
	if (!out)
		return err_set(-EINVAL, "fstat: the out-parameter is NULL");
	return (int)enter_leave(stat_inode(file->in, out), "fstat");
}

static int stat_path(hf_volume *vol, const char *path, bool follow, struct hf_stat *out,
		     const char *what)
{
	VOLUME_CALL(vol);
	struct inode *in;
	unsigned turns = 0;
	int err = enter_volume(vol);

	if (err)
		return err;
	if (!out)
		return err_set(-EINVAL, "%s: the out-parameter is NULL", what);
	do {
		err = path_inode(vol, path, follow, &in);
		if (err)
			break;
		err = stat_inode(in, out);
		inode_put(in);
	} while (path_again(err, &turns));
	return (int)enter_leave(path_gone(err), what);
}

HF_API int hf_stat(hf_volume *vol, const char *path, struct hf_stat *out)
{
	return stat_path(vol, path, true, out, "stat");
}

HF_API int hf_lstat(hf_volume *vol, const char *path, struct hf_stat *out)
{
	return stat_path(vol, path, false, out, "lstat");
}

HF_API int hf_inode_root(hf_volume *vol, struct hf_id *out)
{
	VOLUME_CALL(vol);
	struct inode *in;
	int err = enter_volume(vol);

	if (err)
		return err;
	if (!out)
		return err_set(-EINVAL, "the out-parameter is NULL");
	err = inode_get(&vol->fs, INUM(FMT_INO_ROOT), 0, &in);
	if (!err) {
		*out = (struct hf_id){.ino = in->ino.v, .gen = in->gen};
		inode_put(in);
	}
	return (int)enter_leave(err, "root directory");
}
