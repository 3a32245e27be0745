/* Directory streams. A position is: 0 before ".", 1 before "..", then 2 + the smallest key that is
 * still to come, of which two bits are always zero and left out: positions are file offsets to some
 * (seekdir through the kernel), and those are not negative. */
#include "dir/bucket.h"
#include "file/volume.h"

#include <dirent.h>
#include <string.h>

#define STREAM_AHEAD 32u

struct hf_dir {
	struct pool_item item;
	struct hf_volume *vol;
	struct inode *in;
	uint64_t pos;	  /* of the next entry that is given out */
	unsigned n, next; /* of 'ahead': how many there are, which is next */
	struct dir_entry ahead[STREAM_AHEAD];
};

static struct pool dir_pool = {
    POOL_SHARDS_INIT,
    .nshards = 1,
    .item_bytes = sizeof(struct hf_dir),
    .magic = DIR_MAGIC,
};

#define STREAM_TIE_BITS 6u
#define STREAM_KEY_BITS (56u + STREAM_TIE_BITS)
#define STREAM_END	((1ull << STREAM_KEY_BITS) + 2) /* behind the largest key */
static_assert(BUCKET_TIES == 1u << STREAM_TIE_BITS, "");

/* The position after an entry. */
static uint64_t stream_after(uint64_t key)
{
	return (key >> 8 << STREAM_TIE_BITS | (key & (BUCKET_TIES - 1))) + 3;
}

/* The smallest key at or behind a position from 2 to below STREAM_END. */
static uint64_t stream_key(uint64_t pos)
{
	return (pos - 2) >> STREAM_TIE_BITS << 8 | ((pos - 2) & (BUCKET_TIES - 1));
}

static int enter_dir_to_leave(struct hf_dir *dir)
{
	uint64_t magic = dir ? __atomic_load_n(&dir->item.magic, __ATOMIC_RELAXED) : 0;

	err_clear();
	if (!dir)
		return err_set(-EINVAL, "the directory is NULL");
	if (magic != DIR_MAGIC)
		return err_set(magic == POOL_DEAD ? -EBADF : -EINVAL, "this is no open directory");
	return enter_volume_to_leave(dir->vol);
}

static int enter_dir(struct hf_dir *dir)
{
	int err = enter_dir_to_leave(dir);

	if (!err)
		err = enter_volume(dir->vol);
	return err ? err : inode_intact(dir->in);
}

/* Takes over the reference, also on failure. */
static int stream_open(struct hf_volume *vol, struct inode *in, struct hf_dir **out)
{
	struct hf_dir *d;
	int err = S_ISDIR(in->type) ? open_count(in) : -ENOTDIR;

	if (err) {
		inode_put(in);
		return err;
	}
	d = pool_get(&dir_pool);
	if (!d) {
		open_uncount(vol, in);
		return -ENOMEM;
	}
	d->vol = vol;
	d->in = in;
	atomic_fetch_add_explicit(&vol->dirs, 1, memory_order_relaxed);
	*out = d;
	return 0;
}

HF_API int hf_opendir(hf_volume *vol, const char *path, hf_dir **out)
{
	VOLUME_CALL(vol);
	struct inode *in;
	unsigned turns = 0;
	int err;

	if (out)
		*out = NULL;
	err = enter_volume(vol);
	if (err)
		return err;
	if (!out)
		return err_set(-EINVAL, "opendir: the out-parameter is NULL");
	do {
		err = path_inode(vol, path, true, &in);
		if (!err)
			err = stream_open(vol, in, out);
	} while (path_again(err, &turns));
	return (int)enter_leave_handle(path_gone(err), "opendir");
}

HF_API int hf_inode_opendir(hf_volume *vol, struct hf_id id, hf_dir **out)
{
	VOLUME_CALL(vol);
	struct inode *in;
	int err;

	if (out)
		*out = NULL;
	err = enter_volume(vol);
	if (err)
		return err;
	if (!out)
		return err_set(-EINVAL, "opendir: the out-parameter is NULL");
	err = inode_get(&vol->fs, INUM(id.ino), id.gen, &in);
	if (!err)
		err = stream_open(vol, in, out);
	return (int)enter_leave_handle(err, "opendir");
}

HF_API int hf_closedir(hf_dir **dir)
{
	struct hf_volume *vol;
	struct inode *in;
	int err;

	err_clear();
	if (!dir)
		return err_set(-EINVAL, "closedir: the directory is NULL");
	err = enter_dir_to_leave(*dir);
	if (err)
		return err;
	vol = (*dir)->vol;
	in = (*dir)->in;
	pool_put(&dir_pool, *dir);
	*dir = NULL;
	err = open_uncount(vol, in);
	atomic_fetch_sub(&vol->dirs, 1);
	volume_let_go(vol);
	return (int)enter_leave(err, "closedir");
}

/* ---- reading */

static void stream_fill(struct hf_dirent *out, uint64_t ino, uint64_t cookie, uint8_t type,
			const char *name)
{
	out->ino = ino;
	out->cookie = cookie;
	out->type = type;
	strcpy(out->name, name);
}

static void stream_dots(struct hf_dir *d, struct hf_dirent *out)
{
	uint64_t parent;

	if (d->pos == 0) {
		stream_fill(out, d->in->ino.v, 1, DT_DIR, ".");
		d->pos = 1;
		return;
	}
	rwl_rdlock(&d->in->layout);
	parent = le64_get(inode_media(d->in)->rdev);
	rwl_rdunlock(&d->in->layout);
	stream_fill(out, parent, 2, DT_DIR, "..");
	d->pos = 2;
}

static int stream_read_ahead(struct hf_dir *d)
{
	int err = 0;

	d->next = d->n = 0;
	rwl_rdlock(&d->in->content);
	if (!atomic_load_explicit(&d->in->dead, memory_order_relaxed))
		err = dir_read(d->in, stream_key(d->pos), d->ahead, STREAM_AHEAD, &d->n);
	rwl_rdunlock(&d->in->content);
	if (err)
		d->n = 0;
	return err;
}

HF_API int hf_readdir(hf_dir *dir, struct hf_dirent *out)
{
	const struct dir_entry *e;
	int err = enter_dir(dir);

	if (err)
		return err;
	if (!out)
		return err_set(-EINVAL, "readdir: the out-parameter is NULL");
	memset(out, 0, sizeof(*out));
	if (dir->pos < 2) {
		stream_dots(dir, out);
		return (int)enter_leave(inode_intact(dir->in) ? -EIO : 1, "readdir");
	}
	if (dir->pos >= STREAM_END)
		return 0;
	if (dir->next == dir->n) {
		err = stream_read_ahead(dir);
		if (err || dir->n == 0)
			return (int)enter_leave(err, "readdir");
	}
	e = &dir->ahead[dir->next++];
	dir->pos = stream_after(e->key);
	stream_fill(out, e->ino.v, dir->pos, e->type, e->name);
	return 1;
}

HF_API void hf_seekdir(hf_dir *dir, uint64_t cookie)
{
	if (enter_dir(dir))
		return;
	dir->pos = cookie;
	dir->next = dir->n = 0;
}

HF_API uint64_t hf_telldir(const hf_dir *dir)
{
	return dir && __atomic_load_n(&dir->item.magic, __ATOMIC_RELAXED) == DIR_MAGIC ? dir->pos
										       : 0;
}
