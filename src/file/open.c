/* Opening and closing files. An open handle counts in inode.opens, which keeps an unlinked file
 * alive. */
#include "file/volume.h"
#include "file/resize.h"

#include <string.h>

#define OPEN_KNOWN                                                                                 \
	((unsigned)(HF_O_WRONLY | HF_O_RDWR | HF_O_CREAT | HF_O_EXCL | HF_O_TRUNC | HF_O_APPEND |  \
		    HF_O_NOFOLLOW | HF_O_NOATIME | HF_O_TMPFILE))
#define OPEN_WRITES ((unsigned)(HF_O_WRONLY | HF_O_RDWR))
#define OPEN_LINKS  40
#define OPEN_DAY_NS (24ll * 3600 * 1000000000ll)

static struct pool file_pool = {
    POOL_SHARDS_INIT,
    .nshards = POOL_SHARDS,
    .item_bytes = sizeof(struct hf_file),
    .magic = FILE_MAGIC,
};

/* ---- counting */

static bool is_gone(struct inode *in)
{
	return atomic_load(&in->dead) ||
	       (le32_get(inode_media(in)->nlink) == 0 && atomic_load(&in->opens) == 0);
}

bool open_is_gone(struct inode *in)
{
	bool gone;

	rwl_rdlock(&in->layout);
	gone = is_gone(in);
	rwl_rdunlock(&in->layout);
	return gone;
}

int open_count(struct inode *in)
{
	int err = 0;

	rwl_rdlock(&in->layout);
	if (is_gone(in))
		err = -ESTALE;
	else
		atomic_fetch_add(&in->opens, 1);
	rwl_rdunlock(&in->layout);
	return err;
}

int open_uncount(struct hf_volume *vol, struct inode *in)
{
	uint32_t left, ticket;
	struct how h;
	bool reap;
	int err = 0;

	rwl_rdlock(&in->layout);
	left = atomic_fetch_sub(&in->opens, 1) - 1;
	reap = left == 0 && le32_get(inode_media(in)->nlink) == 0 && !atomic_load(&in->dead);
	rwl_rdunlock(&in->layout);
	/* Read-only or shut down: it stays on its orphan slot, and the next mount frees it. */
	if (reap && !vol->fs.read_only && journal_state(vol->fs.journal) == 0) {
		(void)how_open(&h, &vol->fs, NULL);
		ticket = gate_enter(&vol->gate);
		err = how_reap(&h, in);
		gate_leave(&vol->gate, ticket);
		err = how_close(&h, err);
		if (err && pm_bad(vol->fs.pm) != 0)
			err = pm_bad_error(vol->fs.pm);
	}
	inode_put(in);
	return err;
}

static bool open_atime_old(struct inode *in)
{
	return inode_now_ns() - data_time(in, &in->pend_atime, offsetof(struct fmt_inode, atime)) >
	       OPEN_DAY_NS;
}

int open_handle(struct hf_volume *vol, struct inode *in, unsigned flags, struct hf_file **out)
{
	struct hf_file *f = pool_get(&file_pool);

	if (!f) {
		open_uncount(vol, in);
		return err_set(-ENOMEM, "open: out of memory");
	}
	f->fork_token = vol->fork_token;
	f->vol = vol;
	f->in = in;
	f->flags = flags;
	f->atime_old = open_atime_old(in);
	volume_opened(vol);
	*out = f;
	return 0;
}

/* ---- what the flags ask for */

static int open_flags_check(struct hf_volume *vol, unsigned flags)
{
	bool writes = (flags & OPEN_WRITES) != 0;

	if (flags & ~OPEN_KNOWN)
		return err_set(-EINVAL, "open: unknown flags %#x", flags & ~OPEN_KNOWN);
	if ((flags & OPEN_WRITES) == OPEN_WRITES)
		return err_set(-EINVAL, "open: HF_O_WRONLY and HF_O_RDWR exclude each other");
	if ((flags & (HF_O_TRUNC | HF_O_TMPFILE)) && !writes)
		return err_set(-EINVAL,
			       "open: HF_O_TRUNC and HF_O_TMPFILE need HF_O_WRONLY or HF_O_RDWR");
	if (writes && vol->fs.read_only)
		return err_set(-EROFS, "the volume is mounted read-only");
	return 0;
}

static int open_type_check(const struct inode *in)
{
	switch (in->type) {
	case S_IFREG:
		return 0;
	case S_IFDIR:
		return -EISDIR;
	case S_IFLNK:
		return -ELOOP;
	default:
		return err_set(-ENXIO, "FIFOs, sockets and devices are stored, not opened");
	}
}

/* Takes over the reference, also on failure. */
static int open_inode(struct hf_volume *vol, struct inode *in, unsigned flags, struct hf_file **out)
{
	int err = open_type_check(in);

	if (!err)
		err = open_count(in);
	if (err) {
		inode_put(in);
		return err;
	}
	if (flags & HF_O_TRUNC)
		err = resize_set_size(in, 0, NULL, NULL);
	if (err) {
		open_uncount(vol, in);
		return err;
	}
	return open_handle(vol, in, flags, out);
}

/* ---- by path */

static int open_create(struct hf_volume *vol, struct inode *dir, const char *name, uint32_t mode,
		       struct inode **in)
{
	struct name_new n = {
	    .mode = S_IFREG | (mode & 07777),
	    .uid = vol->uid,
	    .gid = vol->gid,
	    .setgid_inherit = true,
	};
	uint32_t ticket = gate_enter(&vol->gate);
	int err = name_create(dir, name, &n, in);

	gate_leave(&vol->gate, ticket);
	return err;
}

struct open_walk {
	struct hf_volume *vol;
	struct inode *start; /* where a relative path begins; has a reference; NULL: the root */
	struct path path;
	unsigned flags;
	uint32_t mode;
	char name[64]; /* what people know the file by */
};

/* The name should exist (-ENOENT: it does not). A symlink is followed by hand, for what it names
 * may be still to be made: then w goes on from there and *in is NULL. */
static int open_existing(struct open_walk *w, struct inode *dir, const char *name,
			 struct inode **in)
{
	size_t len;
	int err = name_lookup(dir, name, in);

	if (!err && (w->flags & HF_O_EXCL)) {
		inode_put(*in);
		*in = NULL;
		return -EEXIST;
	}
	if (err || !S_ISLNK((*in)->type) || (w->flags & HF_O_NOFOLLOW))
		return err;
	err = name_readlink(*in, w->path.s, sizeof(w->path.s) - 1, &len);
	inode_put(*in);
	*in = NULL;
	if (err)
		return err;
	w->path.s[len] = '\0';
	inode_put(w->start);
	w->start = dir;
	inode_ref(dir);
	return 0;
}

/* Makes the name, or finds it. -ESTALE: it was there and is gone since; so once more. */
static int open_create_last(struct open_walk *w, struct inode *dir, const char *last,
			    struct inode **in)
{
	bool read_only = w->vol->fs.read_only;
	int err = read_only ? -EROFS : open_create(w->vol, dir, last, w->mode, in);
	int found;

	if (err != -EEXIST && err != -EROFS)
		return err;
	if (err == -EEXIST && (w->flags & HF_O_EXCL))
		return err;
	found = open_existing(w, dir, last, in);
	if (found != -ENOENT)
		return found;
	if (err == -EEXIST)
		return -ESTALE;
	return err_set(-EROFS, "the volume is mounted read-only");
}

static int open_create_step(struct open_walk *w, struct inode **in)
{
	struct inode *dir;
	char last[256];
	bool is_dir;
	int err = name_walk(&w->vol->fs, w->start, w->path.s, WALK_PARENT, &dir, last, &is_dir);

	*in = NULL;
	if (err)
		return err;
	if (is_dir || strcmp(last, ".") == 0 || strcmp(last, "..") == 0)
		err = -EISDIR;
	else
		err = open_create_last(w, dir, last, in);
	inode_put(dir);
	return err;
}

/* Finds or makes; each turn follows one symlink. */
static int open_path_create(struct open_walk *w, struct inode **in)
{
	int err = 0;

	*in = NULL;
	for (int links = 0; !*in; links++) {
		if (links > OPEN_LINKS)
			return -ELOOP;
		err = open_create_step(w, in);
		if (err)
			return err;
	}
	return 0;
}

static int open_path(struct open_walk *w, struct inode **in)
{
	char last[256];
	bool is_dir;
	unsigned walk = w->flags & HF_O_NOFOLLOW ? WALK_NOFOLLOW : 0;
	int err;

	/* Most files that are opened to be made if they are not there, are there. */
	if (!(w->flags & HF_O_EXCL) || !(w->flags & HF_O_CREAT)) {
		err = name_walk(&w->vol->fs, NULL, w->path.s, walk, in, last, &is_dir);
		if (err != -ENOENT || !(w->flags & HF_O_CREAT))
			return err;
	}
	err = open_path_create(w, in);
	inode_put(w->start);
	return err;
}

static int open_tmpfile(struct hf_volume *vol, const struct name_new *n, unsigned flags,
			struct hf_file **out)
{
	struct inode *in;
	uint32_t ticket = gate_enter(&vol->gate);
	int err = name_tmpfile(&vol->fs, n, &in);

	gate_leave(&vol->gate, ticket);
	return err ? err : open_handle(vol, in, flags, out);
}

static int open_tmpfile_path(struct open_walk *w, struct hf_file **out)
{
	struct name_new n = {
	    .mode = S_IFREG | (w->mode & 07777), .uid = w->vol->uid, .gid = w->vol->gid};
	struct hf_stat st;
	struct inode *dir;
	char last[256];
	bool is_dir;
	int err = name_walk(&w->vol->fs, NULL, w->path.s, 0, &dir, last, &is_dir);

	if (err)
		return err;
	err = S_ISDIR(dir->type) ? stat_inode(dir, &st) : -ENOTDIR;
	inode_put(dir);
	if (!err && (st.mode & S_ISGID))
		n.gid = st.gid;
	return err ? err : open_tmpfile(w->vol, &n, w->flags, out);
}

/* The last component of the path, without slashes behind it. */
static void open_name(struct open_walk *w)
{
	const char *from = w->path.s;
	size_t end = strlen(from), begin, len;

	while (end > 0 && from[end - 1] == '/')
		end--;
	for (begin = end; begin > 0 && from[begin - 1] != '/'; begin--)
		;
	len = end - begin < sizeof(w->name) - 1 ? end - begin : sizeof(w->name) - 1;
	memset(w->name, 0, sizeof(w->name));
	memcpy(w->name, from + begin, len);
}

static int open_any(struct open_walk *w, const char *path, struct hf_file **out)
{
	struct inode *in;
	unsigned turns = 0;
	int err;

	do {
		err_clear();
		err = path_copy(&w->path, path); /* a symlink may have been followed in it */
		w->start = NULL;
		if (!err)
			open_name(w);
		if (!err && (w->flags & HF_O_TMPFILE))
			return open_tmpfile_path(w, out);
		if (!err)
			err = open_path(w, &in);
		if (!err)
			err = open_inode(w->vol, in, w->flags, out);
	} while (path_again(err, &turns));
	return (int)path_gone(err);
}

HF_API int hf_open(hf_volume *vol, const char *path, unsigned flags, uint32_t mode, hf_file **out)
{
	VOLUME_CALL(vol);
	struct open_walk w; /* not zeroed: it has room for the longest path */
	int err;

	if (out)
		*out = NULL;
	err = flags & (OPEN_WRITES | HF_O_TRUNC) ? enter_volume_change(vol) : enter_volume(vol);
	if (err)
		return err;
	if (!out)
		return err_set(-EINVAL, "open: the out-parameter is NULL");
	w.vol = vol;
	w.flags = flags;
	w.mode = mode;
	err = open_flags_check(vol, flags);
	if (!err)
		err = open_any(&w, path, out);
	if (!err && !(flags & HF_O_TMPFILE))
		memcpy((*out)->name, w.name, sizeof(w.name));
	return (int)enter_leave_handle(err, "open");
}

HF_API int hf_close(hf_file **file)
{
	struct hf_file *f;
	struct hf_volume *vol;
	struct inode *in;
	int err;

	err_clear();
	if (!file)
		return err_set(-EINVAL, "close: the file is NULL");
	f = *file;
	err = enter_file_to_leave(f);
	if (err)
		return err;
	*file = NULL;
	vol = f->vol;
	in = f->in;
	pool_put(&file_pool, f);
	err = open_uncount(vol, in);
	volume_closed(vol);
	volume_let_go(vol);
	return (int)enter_leave(err, "close");
}

HF_API int hf_flink(hf_file *file, const char *path)
{
	struct inode *dir;
	char last[256];
	bool is_dir;
	uint32_t ticket;
	int err = enter_inode_change(file);

	if (err)
		return err;
	err = path_parent(file->vol, path, &dir, last, &is_dir);
	if (err)
		return (int)enter_leave(err, "flink");
	if (is_dir) {
		err = path_new_slash(dir, last);
	} else {
		ticket = gate_enter(&file->vol->gate);
		err = name_link(file->in, dir, last);
		gate_leave(&file->vol->gate, ticket);
	}
	inode_put(dir);
	return (int)enter_leave(err, "flink");
}

/* ---- by number */

HF_API int hf_inode_open(hf_volume *vol, struct hf_id id, unsigned flags, hf_file **out)
{
	VOLUME_CALL(vol);
	struct inode *in;
	int err;

	if (out)
		*out = NULL;
	err = flags & (OPEN_WRITES | HF_O_TRUNC) ? enter_volume_change(vol) : enter_volume(vol);
	if (err)
		return err;
	if (!out)
		return err_set(-EINVAL, "open: the out-parameter is NULL");
	if (flags & (HF_O_CREAT | HF_O_EXCL | HF_O_TMPFILE))
		return err_set(-EINVAL, "open: an inode cannot be made by its number");
	err = open_flags_check(vol, flags);
	if (!err)
		err = inode_get(&vol->fs, INUM(id.ino), id.gen, &in);
	if (!err)
		err = open_inode(vol, in, flags, out);
	return (int)enter_leave_handle(err, "open");
}

HF_API int hf_inode_tmpfile(hf_volume *vol, const struct hf_create *how, unsigned open_flags,
			    hf_file **out)
{
	VOLUME_CALL(vol);
	struct name_new n;
	int err;

	if (out)
		*out = NULL;
	err = enter_volume_change(vol);
	if (err)
		return err;
	if (!out || !how)
		return err_set(-EINVAL, "tmpfile: a parameter is NULL");
	if ((how->mode & S_IFMT) != 0 && !S_ISREG(how->mode))
		return err_set(-EINVAL, "tmpfile: only regular files can be without a name");
	if (open_flags & (HF_O_CREAT | HF_O_EXCL | HF_O_TRUNC))
		return err_set(-EINVAL, "tmpfile: flags %#x make no sense", open_flags);
	err = open_flags_check(vol, open_flags & ~(unsigned)HF_O_TMPFILE);
	if (err)
		return err;
	n = (struct name_new){
	    .mode = S_IFREG | (how->mode & 07777), .uid = how->uid, .gid = how->gid};
	return (int)enter_leave_handle(open_tmpfile(vol, &n, open_flags, out), "tmpfile");
}
