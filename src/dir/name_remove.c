/* Names: taking them away, and with the last one the inode.
 *
 * An inode that loses its last name goes in the same transaction if nobody has it open and it is small enough for one
 * record. Otherwise that transaction leaves it with no link and an orphan slot (I-NAME-3: an inode with no link has one from
 * the same record on), and it is freed later: after the operation's locks are let go, at the last close, or by recovery. */
#include "dir/name_cache.h"
#include "dir/name_int.h"

#include "inode/map.h"

#include <dirent.h>

/* Who has leases to tell of it has to look at the map once more before it goes. */
static bool name_victim_is_handed_back(const struct name_victim *v)
{
	return v->how && atomic_load(&v->in->leases) != 0;
}

/* Its content lock keeps everybody out of the blocks that are freed. It is tried for only: whoever has it may hold it for as
 * long as a large write takes, and the directory's lock is held here. */
static bool name_victim_may_reap(struct name_victim *v)
{
	if (v->no_reap || atomic_load(&v->in->opens) != 0 || name_victim_is_handed_back(v) || !inode_reap_fits(v->in))
		return false;
	if (!v->own_content && !v->content)
		v->content = rwl_trywrlock(&v->in->content);
	return v->own_content || v->content;
}

static int name_victim_check(const struct name_victim *v)
{
	uint32_t nlink = atomic_load(&v->in->dead) ? 0 : name_nlink(v->in);

	if (nlink == 0 || (name_is_dir(v->in) && nlink < 2))
		return err_set(-EUCLEAN, "inode %llu has a name but no link: run fsck.holdfast",
			       (unsigned long long)v->in->ino.v);
	return 0;
}

int name_victim_expected(const struct name_victim *v)
{
	return v->how && v->how->only_expected && v->in != v->how->expected ? NAME_MOVED : 0;
}

/* May it lose its last name? Its layout keeps new pins out. */
static int name_victim_check_pins(const struct name_victim *v)
{
	int ret = 0;

	if (!v->how || !v->last || name_is_dir(v->in))
		return 0;
	if (v->how->fail_if_last)
		return err_set(-EDEADLK, "this thread owns a pin in inode %llu, and would wait for itself",
			       (unsigned long long)v->in->ino.v);
	if (v->how->fail_if_pinned)
		ret = map_pinned(v->in, FBLK(0), UINT64_MAX);
	if (ret > 0)
		ret = err_set(-EBUSY, "inode %llu: blocks of it are pinned", (unsigned long long)v->in->ino.v);
	return ret;
}

/* Locking: reserving an orphan slot may grow their table, whose locks come after the layouts. */
int name_victim_plan(struct name_victim *v)
{
	int err = name_victim_check(v);

	if (err)
		return err;
	v->last = name_is_dir(v->in) || name_nlink(v->in) == 1;
	err = name_victim_check_pins(v);
	if (err)
		return err;
	v->reap_now = v->last && name_victim_may_reap(v);
	if (!v->last || v->reap_now || v->has_slot || le32_get(inode_media(v->in)->orphan) != 0)
		return 0;
	err = orphan_reserve(v->in->fs, &v->slot);
	v->has_slot = !err;
	return err;
}

int name_victim_drop(struct name_victim *v, struct txn *t, int64_t now)
{
	struct inode_edit e;

	inode_edit_begin(&e, v->in, t);
	if (v->reap_now)
		return inode_reap_in(&e);
	if (v->last)
		e.img.nlink = le32_of(0);
	else
		name_nlink_add(&e, -1);
	inode_edit_times(&e, INODE_CTIME, now);
	/* One that has a slot already (of a truncation that is not finished) keeps it: with no link it means all of it. */
	if (v->last && le32_get(e.img.orphan) == 0) {
		v->has_slot = false;	/* from here on the transaction gives it back */
		orphan_set_inode(v->in->fs, t, v->slot, v->in->ino, v->in->gen);
		e.img.orphan = le32_of(v->slot + 1);
	}
	inode_edit_end(&e);
	return txn_error(t);
}

void name_victim_unlock(struct name_victim *v)
{
	if (v->content)
		rwl_wrunlock(&v->in->content);
	v->content = false;
}

/* A failure to free it now is no failure of the operation: it has its orphan slot. */
void name_victim_end(struct name_victim *v, int err)
{
	if (!v->in)
		return;
	if (v->has_slot)
		orphan_unreserve(v->in->fs, v->slot);
	v->has_slot = false;
	if (err || !v->last || v->reap_now || atomic_load(&v->in->opens) != 0)
		return;
	if (name_victim_is_handed_back(v)) {
		inode_ref(v->in);
		v->how->left = v->in;
	} else {
		inode_reap(v->in, name_victim_ticket(v));
	}
}

/* ---- unlink and rmdir */

/* All locks are held. Crash: entry, link counts and what becomes of the inode are in one record. */
static int name_remove_commit(struct inode *dir, const struct dir_pos *pos, struct name_victim *v)
{
	int64_t now = inode_now_ns();
	struct inode_edit de;
	struct txn *t = txn_begin(dir->fs->journal);
	int err;

	if (!t)
		return -ENOMEM;
	txn_set_ticket(t, name_victim_ticket(v));
	name_cache_drop(dir->fs, dir->ino, v->name, v->len);
	inode_edit_begin(&de, dir, t);
	err = dir_remove_at(&de, pos);
	if (!err) {
		if (name_is_dir(v->in))
			name_nlink_add(&de, -1);
		inode_edit_times(&de, INODE_MTIME | INODE_CTIME, now);
		inode_edit_end(&de);
		err = name_victim_drop(v, t, now);
	}
	if (!err)
		return txn_commit(t, NULL);
	txn_abort(t);
	return err;
}

/* dir's content is held, of a directory to be removed also that one's; so is l, which has dir. */
static int name_remove_locked(struct inode *dir, const struct dir_pos *pos, struct name_victim *v, struct name_layouts *l)
{
	int err;

	name_layouts_add(l, v->in);
	if (name_is_dir(v->in)) {
		if (le64_get(inode_media(v->in)->size) != 0)
			return err_set(-ENOTEMPTY, "the directory is not empty");
		if (name_nlink(dir) <= 2)
			return err_set(-EUCLEAN, "directory %llu has more subdirectories than links: run fsck.holdfast",
				       (unsigned long long)dir->ino.v);
	}
	err = name_victim_plan(v);
	if (!err)
		err = name_remove_commit(dir, pos, v);
	if (err == -E2BIG && v->reap_now) {
		v->no_reap = true;
		err = name_victim_plan(v);
		if (!err)
			err = name_remove_commit(dir, pos, v);
	}
	return err;
}

/* Locking: dir's content, then layouts. The file's content is tried for, so that unlink needs no lookup before its locks. */
int name_unlink(struct inode *dir, const char *name, struct name_how *how)
{
	struct name_layouts l = {.in = {dir}, .n = 1};
	struct name_victim v = {.name = name, .how = how};
	struct dir_pos pos;
	int err = name_check_change(dir, name, &v.len);

	if (err)
		return err;
	if (name_is_special(name))
		return err_set(-EISDIR, "'%s' is a directory", name);
	rwl_wrlock(&dir->content);
	name_layouts_take(&l);
	err = name_check_alive(dir);
	if (!err)
		err = dir_find(dir, name, v.len, &pos);
	if (!err && !pos.found)
		err = err_set(-ENOENT, "'%s': no such file or directory", name);
	if (!err && dir_pos_type(&pos) == DT_DIR)
		err = err_set(-EISDIR, "'%s' is a directory", name);
	if (!err)
		err = name_get(dir, dir_pos_ino(&pos), dir_pos_type(&pos), &v.in);
	if (!err)
		err = name_victim_expected(&v);
	if (!err)
		err = name_remove_locked(dir, &pos, &v, &l);
	name_layouts_drop(&l);
	name_victim_unlock(&v);
	rwl_wrunlock(&dir->content);
	name_victim_end(&v, err);
	inode_put(v.in);
	return err;
}

static int name_check_rmdir(const char *name)
{
	if (name[0] == '\0')
		return err_set(-EBUSY, "the root cannot be removed");
	if (name_is_dot(name))
		return err_set(-EINVAL, "'.' cannot be removed");
	if (name_is_dotdot(name))
		return err_set(-ENOTEMPTY, "'..' is not empty");
	return 0;
}

/* With both contents held: is it still the entry that was found without? NAME_AGAIN: no. */
static int name_rmdir_locked(struct inode *dir, const char *name, unsigned len, struct name_victim *v)
{
	struct name_layouts l = {.in = {dir}, .n = 1};
	struct dir_pos pos;
	int err;

	name_layouts_take(&l);
	err = name_check_alive(dir);
	if (!err)
		err = dir_find(dir, name, len, &pos);
	if (!err && (!pos.found || dir_pos_ino(&pos).v != v->in->ino.v || atomic_load(&v->in->dead)))
		err = NAME_AGAIN;
	if (!err)
		err = name_remove_locked(dir, &pos, v, &l);
	name_layouts_drop(&l);
	name_victim_unlock(v);
	return err;
}

/* Locking: both directories' contents by number, so it is looked up first without; and again with them. */
int name_rmdir(struct inode *dir, const char *name)
{
	unsigned len = 0;
	int err = name_check_change(dir, name, &len);

	if (!err)
		err = name_check_rmdir(name);
	if (err)
		return err;
	do {
		struct name_victim v = {.name = name, .len = len, .own_content = true};

		err = name_step(dir, name, len, &v.in);
		if (!err && !name_is_dir(v.in))
			err = err_set(-ENOTDIR, "'%s' is not a directory", name);
		if (!err) {
			struct inode *both[2] = {dir, v.in};

			inode_lock_contents(both, 2);
			err = name_rmdir_locked(dir, name, len, &v);
			inode_unlock_contents(both, 2);
			name_victim_end(&v, err);
		}
		inode_put(v.in);
	} while (err == NAME_AGAIN);
	return err;
}
