/* Names: making them, and looking one up. */
#include "dir/name_cache.h"
#include "dir/name_int.h"

#include <dirent.h>

/* ---- what the operations share */

int name_measure(const char *name, unsigned *len)
{
	size_t n = strnlen(name, FMT_NAME_MAX + 1);

	*len = (unsigned)n;
	if (n > FMT_NAME_MAX)
		return err_set(-ENAMETOOLONG, "a name has at most %u bytes", FMT_NAME_MAX);
	if (memchr(name, '/', n))
		return err_set(-EINVAL, "a name has no '/'");
	return 0;
}

int name_check_change(struct inode *dir, const char *name, unsigned *len)
{
	if (dir->fs->read_only)
		return err_set(-EROFS, "the volume is mounted read-only");
	if (!name_is_dir(dir))
		return err_set(-ENOTDIR, "inode %llu is not a directory", (unsigned long long)dir->ino.v);
	return name_measure(name, len);
}

int name_check_alive(const struct inode *dir)
{
	if (atomic_load_explicit(&dir->dead, memory_order_acquire) || name_nlink(dir) == 0)
		return err_set(-ENOENT, "the directory was removed");
	return 0;
}

int name_get(struct inode *dir, inum_t ino, uint8_t type, struct inode **out)
{
	int err = inode_get(dir->fs, ino, 0, out);

	if (err == -ESTALE)
		return err_set(-EUCLEAN, "directory %llu has an entry for inode %llu, which is free: run fsck.holdfast",
			       (unsigned long long)dir->ino.v, (unsigned long long)ino.v);
	if (err)
		return err;
	if (name_dt((*out)->type) == type && *out != dir)
		return 0;
	inode_put(*out);
	*out = NULL;
	return err_set(-EUCLEAN, "directory %llu: the entry for inode %llu does not fit it: run fsck.holdfast",
		       (unsigned long long)dir->ino.v, (unsigned long long)ino.v);
}

void name_layouts_take(struct name_layouts *l)
{
	inode_lock_layouts(l->in, l->n);
}

void name_layouts_drop(struct name_layouts *l)
{
	inode_unlock_layouts(l->in, l->n);
}

/* Locking: a try-lock waits for nobody, so it may come out of order. */
void name_layouts_add(struct name_layouts *l, struct inode *in)
{
	if (!in)
		return;
	for (unsigned i = 0; i < l->n; i++)
		if (l->in[i] == in)
			return;
	if (rwl_trywrlock(&in->layout)) {
		l->in[l->n++] = in;
		return;
	}
	name_layouts_drop(l);
	l->in[l->n++] = in;
	name_layouts_take(l);
}

/* ---- create */

static int name_check_new(const struct name_new *n)
{
	switch (n->mode & S_IFMT) {
	case S_IFREG:
	case S_IFDIR:
	case S_IFCHR:
	case S_IFBLK:
	case S_IFIFO:
	case S_IFSOCK:
		return 0;
	case S_IFLNK:
		if (!n->symlink || n->symlink[0] == '\0')
			return err_set(-ENOENT, "a symlink needs a target");
		if (strnlen(n->symlink, NAME_PATH_MAX + 1) > NAME_PATH_MAX)
			return err_set(-ENAMETOOLONG, "a symlink's target has at most %u bytes", NAME_PATH_MAX);
		return 0;
	default:
		return err_set(-EINVAL, "mode %o is no type of file", n->mode);
	}
}

/* A long target goes into a block of its own.
 * Durability: the block is fenced before the record that names it (txn_fence_first). Crash: until then nothing names it. */
static int name_put_target(struct inode *dir, struct txn *t, const struct name_new *n, struct inode_init *init)
{
	struct fs *fs = dir->fs;
	struct mext x;
	int err;

	init->inline_bytes = (uint32_t)strlen(n->symlink);
	if (init->inline_bytes <= FMT_INLINE_MAX) {
		init->inline_data = n->symlink;
		return 0;
	}
	err = space_alloc(fs->space, t, 1, moff_to_mblk(dir->off), 0, &x);
	if (err)
		return err;
	pm_copy_nt(fs->pm, mblk_to_moff(x.first), n->symlink, init->inline_bytes);
	txn_fence_first(t);
	init->block = x.first;
	return 0;
}

static void name_fill_init(const struct inode *dir, const struct name_new *n, struct inode_init *init)
{
	const struct fmt_inode *d = inode_media(dir);
	bool is_dir = S_ISDIR(n->mode);

	memset(init, 0, sizeof(*init));
	init->mode = n->mode & (S_IFMT | 07777);
	init->uid = n->uid;
	init->gid = n->gid;
	init->nlink = is_dir ? 2 : 1;
	init->rdev_or_parent = is_dir ? dir->ino.v : n->rdev;
	if (n->setgid_inherit && le32_get(d->mode) & S_ISGID) {
		init->gid = le32_get(d->gid);
		if (is_dir)
			init->mode |= S_ISGID;
	}
}

/* The entry first: then nothing is pending yet in t, and dir_insert_at reads the bucket as it is. */
static int name_create_in(struct inode_edit *de, const struct dir_pos *pos, const char *name, unsigned len, inum_t ino,
			  const struct name_new *n, bool *init_done, uint64_t *gen)
{
	struct inode *dir = de->in;
	struct inode_init init;
	int err;

	err = dir_insert_at(de, pos, name, len, ino, name_dt(n->mode));
	if (err)
		return err;
	name_fill_init(dir, n, &init);
	if (S_ISLNK(n->mode)) {
		err = name_put_target(dir, de->t, n, &init);
		if (err)
			return err;
	}
	*init_done = true;	/* from here on the transaction gives the number back */
	err = inode_init(dir->fs, de->t, ino, &init, gen);
	if (err)
		return err;
	if (S_ISDIR(n->mode))
		name_nlink_add(de, 1);
	inode_edit_times(de, INODE_MTIME | INODE_CTIME, inode_now_ns());
	inode_edit_end(de);
	return 0;
}

/* dir's content and layout are held.
 * Crash: inode, bit, entry and the directory's inode are in one record. */
static int name_create_locked(struct inode *dir, const char *name, unsigned len, inum_t ino, const struct name_new *n,
			      bool *init_done, uint64_t *gen)
{
	struct inode_edit de;
	struct dir_pos pos;
	struct txn *t;
	int err;

	err = name_check_alive(dir);
	if (!err)
		err = dir_find(dir, name, len, &pos);
	if (err)
		return err;
	if (pos.found)
		return err_set(-EEXIST, "the name exists");
	if (S_ISDIR(n->mode) && name_nlink(dir) >= NAME_LINKS_MAX)
		return err_set(-EMLINK, "the directory has too many subdirectories");
	t = txn_begin(dir->fs->journal);
	if (!t)
		return -ENOMEM;
	inode_edit_begin(&de, dir, t);
	err = name_create_in(&de, &pos, name, len, ino, n, init_done, gen);
	if (!err)
		return txn_commit(t, NULL);
	txn_abort(t);
	return err;
}

/* The place in the cache is taken before anything is made. */
static int name_create_reserve(struct inode *dir, bool place_too, struct inode **place, inum_t *ino)
{
	int err = place_too ? inode_place_take(dir->fs, place) : 0;

	return err ? err : itable_reserve(dir->fs, dir->ino, ino);
}

/* That the name is there already counts more than that nothing could be made. */
static int name_create_no_room(struct inode *dir, const char *name, unsigned len, int no_room)
{
	struct dir_pos pos;
	int err;

	rwl_rdlock(&dir->layout);
	err = name_check_alive(dir);
	if (!err)
		err = dir_find(dir, name, len, &pos);
	if (!err)
		err = pos.found ? err_set(-EEXIST, "the name exists") : no_room;
	rwl_rdunlock(&dir->layout);
	return err;
}

int name_create(struct inode *dir, const char *name, const struct name_new *n, struct inode **out)
{
	struct inode *place = NULL;
	bool init_done = false;
	uint64_t gen;
	unsigned len = 0;
	inum_t ino;
	int err;

	if (out)
		*out = NULL;
	err = name_check_change(dir, name, &len);
	if (!err && name_is_special(name))
		err = err_set(-EEXIST, "'%s' exists", name);
	if (!err)
		err = name_check_new(n);
	if (err)
		return err;
	err = name_create_reserve(dir, out != NULL, &place, &ino);
	if (err) {
		inode_place_give(dir->fs, place);
		return name_create_no_room(dir, name, len, err);
	}
	rwl_wrlock(&dir->content);
	rwl_wrlock(&dir->layout);
	err = name_create_locked(dir, name, len, ino, n, &init_done, &gen);
	rwl_wrunlock(&dir->layout);
	/* Under the content lock: nobody has unlinked it yet. */
	if (!err && out)
		err = inode_get_in(dir->fs, ino, gen, &place, out);
	rwl_wrunlock(&dir->content);
	if (!init_done)
		itable_unreserve(dir->fs, ino);
	inode_place_give(dir->fs, place);
	return err;
}

/* ---- files without a name */

static int name_tmpfile_commit(struct fs *fs, inum_t ino, const struct name_new *n, uint32_t slot, bool *init_done,
			       bool *slot_done, uint64_t *gen)
{
	struct inode_init init = {
		.mode = n->mode & (S_IFMT | 07777), .uid = n->uid, .gid = n->gid, .orphan = slot + 1,
	};
	struct txn *t = txn_begin(fs->journal);
	int err;

	if (!t)
		return -ENOMEM;
	*init_done = true;
	err = inode_init(fs, t, ino, &init, gen);
	if (err) {
		txn_abort(t);
		return err;
	}
	*slot_done = true;
	orphan_set_inode(fs, t, slot, ino, *gen);
	return txn_commit(t, NULL);
}

/* Locking: none; the inode is reached by nobody until inode_get.
 * Crash: recovery finds the orphan slot and frees the inode. */
int name_tmpfile(struct fs *fs, const struct name_new *n, struct inode **out)
{
	bool init_done = false, slot_done = false;
	struct inode *place;
	uint32_t slot;
	uint64_t gen;
	inum_t ino;
	int err;

	*out = NULL;
	if (fs->read_only)
		return err_set(-EROFS, "the volume is mounted read-only");
	if (!S_ISREG(n->mode))
		return err_set(-EINVAL, "a file without a name is a regular file");
	err = inode_place_take(fs, &place);
	if (err)
		return err;
	err = itable_reserve(fs, INUM(FMT_INO_ROOT), &ino);
	if (err) {
		inode_place_give(fs, place);
		return err;
	}
	err = orphan_reserve(fs, &slot);
	if (!err) {
		err = name_tmpfile_commit(fs, ino, n, slot, &init_done, &slot_done, &gen);
		if (!slot_done)
			orphan_unreserve(fs, slot);
	}
	if (!init_done)
		itable_unreserve(fs, ino);
	if (!err)
		err = inode_get_in(fs, ino, gen, &place, out);	/* on failure the next mount's recovery frees it */
	inode_place_give(fs, place);
	if (!err)
		atomic_store(&(*out)->opens, 1);
	return err;
}

/* ---- link */

/* dir's and in's locks are held; in's content too if it has no name.
 * Crash: entry and link count are in one record, and so is the orphan slot's end when the file had no name. */
static int name_link_locked(struct inode *in, struct inode *dir, const struct dir_pos *pos, const char *name, unsigned len)
{
	int64_t now = inode_now_ns();
	struct inode_edit de, ie;
	uint32_t nlink, orphan;
	struct txn *t;
	int err;

	if (atomic_load(&in->dead))	/* then its bytes may be another's */
		return err_set(-ENOENT, "the file was removed");
	nlink = name_nlink(in);
	orphan = le32_get(inode_media(in)->orphan);
	if (nlink == 0 && atomic_load(&in->opens) == 0)
		return err_set(-ENOENT, "the file was removed");
	if (nlink >= NAME_LINKS_MAX)
		return err_set(-EMLINK, "the file has too many names");
	t = txn_begin(in->fs->journal);
	if (!t)
		return -ENOMEM;
	inode_edit_begin(&de, dir, t);
	err = dir_insert_at(&de, pos, name, len, in->ino, name_dt(in->type));
	if (err) {
		txn_abort(t);
		return err;
	}
	inode_edit_times(&de, INODE_MTIME | INODE_CTIME, now);
	inode_edit_end(&de);
	inode_edit_begin(&ie, in, t);
	name_nlink_add(&ie, 1);
	inode_edit_times(&ie, INODE_CTIME, now);
	if (nlink == 0 && orphan) {
		orphan_clear_inode(in->fs, t, orphan, in->ino, in->gen);
		ie.img.orphan = le32_of(0);
	}
	inode_edit_end(&ie);
	return txn_commit(t, NULL);
}

/* Locking: a file without a name may have an orphan slot that a truncation is using: its content lock keeps those out. It
 * comes before the layouts, so when it turns out to be needed they are let go. */
int name_link(struct inode *in, struct inode *dir, const char *name)
{
	struct name_layouts l = {.in = {dir}, .n = 1};
	bool content = false;
	struct dir_pos pos;
	unsigned len = 0;
	int err = name_check_change(dir, name, &len);

	if (err)
		return err;
	if (name_is_dir(in))
		return err_set(-EPERM, "a directory has one name");
	if (in->fs != dir->fs)
		return err_set(-EXDEV, "a link does not leave the volume");
	if (name_is_special(name))
		return err_set(-EEXIST, "'%s' exists", name);
	rwl_wrlock(&dir->content);
	name_layouts_take(&l);
	err = name_check_alive(dir);
	if (!err)
		err = dir_find(dir, name, len, &pos);
	if (!err && pos.found)
		err = err_set(-EEXIST, "the name exists");
	if (!err) {
		name_layouts_add(&l, in);
		if (!atomic_load(&in->dead) && name_nlink(in) == 0) {
			name_layouts_drop(&l);
			rwl_wrlock(&in->content);
			content = true;
			name_layouts_take(&l);
		}
		err = name_link_locked(in, dir, &pos, name, len);
	}
	name_layouts_drop(&l);
	if (content)
		rwl_wrunlock(&in->content);
	rwl_wrunlock(&dir->content);
	return err;
}

/* ---- lookup */

/* The parent may be removed as soon as the lock is let go, if the directory is moved away from it: then there is another. */
static int name_parent(struct inode *dir, struct inode **out)
{
	int err;

	do {
		inum_t parent = INUM_NULL;

		rwl_rdlock(&dir->layout);
		err = name_check_alive(dir);
		if (!err)
			parent = INUM(le64_get(inode_media(dir)->rdev));
		rwl_rdunlock(&dir->layout);
		if (err)
			return err;
		if (dir->ino.v == FMT_INO_ROOT) {
			inode_ref(dir);
			*out = dir;
			return 0;
		}
		err = inode_get(dir->fs, parent, 0, out);
		if (err == -ESTALE) {
			/* Still the parent? Then the directory is damaged. */
			rwl_rdlock(&dir->layout);
			if (name_check_alive(dir) == 0 && le64_get(inode_media(dir)->rdev) == parent.v)
				err = err_set(-EUCLEAN, "directory %llu: its parent does not exist: run fsck.holdfast",
					      (unsigned long long)dir->ino.v);
			rwl_rdunlock(&dir->layout);
		}
	} while (err == -ESTALE);
	if (!err && !name_is_dir(*out)) {
		inode_put(*out);
		*out = NULL;
		err = err_set(-EUCLEAN, "directory %llu: its parent is no directory: run fsck.holdfast",
			      (unsigned long long)dir->ino.v);
	}
	return err;
}

static bool name_step_cached(struct inode *at, const char *p, unsigned len, struct inode **out)
{
	struct name_hit hit;

	if (!name_cache_get(at->fs, at->ino, p, len, &hit) || atomic_load_explicit(&at->dead, memory_order_acquire))
		return false;
	if (inode_get(at->fs, hit.ino, hit.gen, out) == 0)
		return true;
	err_clear();	/* freed since, or damaged: the directory says which */
	return false;
}

/* Locking: the layout lock, shared, holds the directory and through the entry its inode (I-DIR-1, I-NAME-1). */
int name_step(struct inode *at, const char *p, unsigned len, struct inode **out)
{
	struct dir_pos pos;
	int err;

	*out = NULL;
	if (!name_is_dir(at))
		return err_set(-ENOTDIR, "inode %llu is not a directory", (unsigned long long)at->ino.v);
	if (len == 1 && p[0] == '.') {
		inode_ref(at);
		*out = at;
		return 0;
	}
	if (len == 2 && p[0] == '.' && p[1] == '.')
		return name_parent(at, out);
	if (name_step_cached(at, p, len, out))
		return 0;
	rwl_rdlock(&at->layout);
	err = name_check_alive(at);
	if (!err)
		err = dir_find(at, p, len, &pos);
	if (!err)
		err = pos.found ? name_get(at, dir_pos_ino(&pos), dir_pos_type(&pos), out)
				: err_set(-ENOENT, "'%.*s': no such file or directory", (int)len, p);
	if (!err)
		name_cache_put(at->fs, at->ino, p, len, *out);
	rwl_rdunlock(&at->layout);
	return err;
}

int name_lookup(struct inode *dir, const char *name, struct inode **out)
{
	unsigned len = 0;
	int err = name_measure(name, &len);

	*out = NULL;
	if (err)
		return err;
	return len ? name_step(dir, name, len, out) : name_step(dir, ".", 1, out);
}

/* ---- readlink */

static int name_target_locked(struct inode *in, char *buf, unsigned *len)
{
	const struct fmt_inode *m = inode_media(in);
	struct map_extent x;
	uint64_t size;
	int err;

	if (atomic_load(&in->dead))	/* then its bytes may be another's */
		return err_set(-ENOENT, "the symlink was removed");
	size = le64_get(m->size);
	if (size == 0 || size > NAME_PATH_MAX)
		goto damaged;
	*len = (unsigned)size;
	if (le16_get(m->flags) & FMT_FLAG_INLINE) {
		if (size > FMT_INLINE_MAX)
			goto damaged;
		memcpy(buf, m->inline_data, size);
		return 0;
	}
	err = map_lookup(in, FMT_FORK_DATA, FBLK(0), 1, &x);
	if (err)
		return err;
	if (!mblk_is_null(x.blk))
		return pm_guarded_read(in->fs->pm, buf, mblk_to_moff(x.blk), size);
damaged:
	return err_set(-EUCLEAN, "symlink %llu: damaged: run fsck.holdfast", (unsigned long long)in->ino.v);
}

int name_target(struct inode *in, char *buf, unsigned *len)
{
	int err;

	rwl_rdlock(&in->layout);
	err = name_target_locked(in, buf, len);
	rwl_rdunlock(&in->layout);
	if (err)
		return err;
	buf[*len] = '\0';
	return 0;
}

/* As relatime: the first reading after a change, else once a day. */
static void name_touch_atime(struct inode *in)
{
	const int64_t day = 86400ll * 1000000000;
	int64_t now = inode_now_ns();
	struct stat st;
	bool dead;

	if (in->fs->keeps_atime)
		return;
	rwl_rdlock(&in->layout);
	dead = atomic_load(&in->dead);
	if (!dead)
		inode_stat(in, &st, NULL);
	rwl_rdunlock(&in->layout);
	if (dead)
		return;
	if (st.st_atim.tv_sec * 1000000000 + st.st_atim.tv_nsec > st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec &&
	    now - st.st_atim.tv_sec * 1000000000 < day)
		return;
	inode_touch(in, INODE_ATIME, now);
}

int name_readlink(struct inode *in, char *buf, size_t size, size_t *len)
{
	char target[NAME_PATH_MAX + 1];
	unsigned n;
	int err;

	*len = 0;
	if (in->type != S_IFLNK)
		return err_set(-EINVAL, "inode %llu is not a symlink", (unsigned long long)in->ino.v);
	err = name_target(in, target, &n);
	if (err)
		return err;
	*len = n < size ? n : size;
	memcpy(buf, target, *len);
	name_touch_atime(in);
	return 0;
}
