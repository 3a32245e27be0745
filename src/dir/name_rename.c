/* Names: rename.
 *
 * Which locks it needs depends on what the names stand for. It begins with what renaming a file needs, the two directories'
 * locks; when those are held and it sees that it needs more, it notes what, lets go, and starts again (rename_again):
 *
 *	the new name stands for a directory that is replaced: that one's content, so that it stays empty
 *	a directory changes its parent: the volume's rename lock, and with it (before the other locks) the proof that it is not
 *	moved below itself. Under the rename lock no directory changes its parent, so what was proved stays so (I-NAME-4)
 */
#include "dir/name_cache.h"
#include "dir/name_int.h"

#include <dirent.h>

struct rename {
	struct inode *olddir, *newdir;
	const char *oldname, *newname;
	unsigned oldlen, newlen;
	bool noreplace, exchange;
	struct name_how *how;
	/* what the next round begins with; they are references */
	struct inode *moved;		/* a directory that changes parent: the rename lock is taken */
	struct inode *moved_back;	/* and in an exchange another one, the other way */
	struct inode *replaced;		/* a directory whose content is locked */
};

/* One round, with the directories' contents held. */
struct rename_round {
	struct rename *r;
	struct name_layouts l;
	struct dir_pos oldpos, newpos;
	struct inode *src, *dst;	/* references; dst NULL: the new name is free */
	struct name_victim v;
};

static bool rename_cross(const struct rename *r)
{
	return r->olddir != r->newdir;
}
static bool rename_is_dir(const struct inode *in)
{
	return in && name_is_dir(in);
}

/* ---- what it needs */

static void rename_keep(struct inode **at, struct inode *in)
{
	inode_put(*at);
	*at = in;
	if (in)
		inode_ref(in);
}

/* True, and noted, if this round does not hold what it needs. */
static bool rename_again(struct rename_round *q)
{
	struct rename *r = q->r;
	struct inode *moved = rename_cross(r) && rename_is_dir(q->src) ? q->src : NULL;
	struct inode *back = rename_cross(r) && r->exchange && rename_is_dir(q->dst) ? q->dst : NULL;
	struct inode *replaced = !r->exchange && rename_is_dir(q->dst) ? q->dst : NULL;

	if ((!moved || moved == r->moved) && (!back || back == r->moved_back) && (!replaced || replaced == r->replaced))
		return false;
	rename_keep(&r->moved, moved);
	rename_keep(&r->moved_back, back);
	rename_keep(&r->replaced, replaced);
	return true;
}

/* Is 'in' the directory 'at', or above it? Locking: the rename lock, and no other: each layout for a moment.
 * The number of steps is bounded by that of inodes, so that damage cannot make a ring of it. */
static int rename_is_above(struct inode *in, struct inode *at, bool *above)
{
	uint64_t left = itable_in_use(in->fs);
	int err = 0;

	*above = false;
	if (left == UINT64_MAX)
		return err_prefix(-EUCLEAN, "rename");
	inode_ref(at);
	while (at != in && at->ino.v != FMT_INO_ROOT) {
		struct inode *up;

		err = name_step(at, "..", 2, &up);
		if (!err && left-- == 0) {
			inode_put(up);
			err = err_set(-EUCLEAN, "directory %llu is its own parent's parent: run fsck.holdfast",
				      (unsigned long long)at->ino.v);
		}
		if (err)
			break;
		inode_put(at);
		at = up;
	}
	*above = !err && at == in;
	inode_put(at);
	return err;
}

/* Does the name still stand for the directory that the round before saw? It is not looked at again under the locks before
 * the proof: another's rename may have come between. Locking: as above. */
static int rename_still(struct inode *dir, const char *name, unsigned len, const struct inode *in, bool *still)
{
	struct inode *now;
	int err;

	if (!in || !*still)
		return 0;
	err = name_step(dir, name, len, &now);
	if (err == 0) {
		*still = now == in;
		inode_put(now);
	} else if (err == -ENOENT) {
		*still = false;
		err = 0;
	}
	return err;
}

/* NAME_AGAIN: the names stand for others than it was to be proved of. */
static int rename_check_moved(struct rename *r)
{
	bool still = true;
	int err = rename_still(r->olddir, r->oldname, r->oldlen, r->moved, &still);

	if (!err)
		err = rename_still(r->newdir, r->newname, r->newlen, r->moved_back, &still);
	if (err || still)
		return err;
	rename_keep(&r->moved, NULL);
	rename_keep(&r->moved_back, NULL);
	return NAME_AGAIN;
}

static int rename_check_ring(struct rename *r)
{
	bool above = false;
	int err = 0;

	if (r->moved)
		err = rename_is_above(r->moved, r->newdir, &above);
	if (!err && !above && r->moved_back)
		err = rename_is_above(r->moved_back, r->olddir, &above);
	if (!err && above)
		err = rename_check_moved(r);
	if (!err && above)
		err = err_set(-EINVAL, "a directory cannot be moved below itself");
	return err;
}

/* ---- what is allowed, by the rules of renameat2(2); cheapest first */

static int rename_check(const struct rename_round *q)
{
	const struct rename *r = q->r;

	if (!q->newpos.found)
		return r->exchange ? err_set(-ENOENT, "'%s': no such file or directory", r->newname) : 0;
	if (r->noreplace)
		return err_set(-EEXIST, "'%s' exists", r->newname);
	if (r->exchange)
		return 0;
	if (rename_is_dir(q->src) && !rename_is_dir(q->dst))
		return err_set(-ENOTDIR, "'%s' is not a directory", r->newname);
	if (!rename_is_dir(q->src) && rename_is_dir(q->dst))
		return err_set(-EISDIR, "'%s' is a directory", r->newname);
	return 0;
}

/* How many subdirectories a directory gains. */
static int rename_gain(const struct rename_round *q, bool newdir)
{
	const struct rename *r = q->r;
	int src = rename_is_dir(q->src), dst = rename_is_dir(q->dst);

	if (!rename_cross(r))
		return r->exchange ? 0 : -dst;
	if (newdir)
		return src - dst;
	return r->exchange ? dst - src : -src;
}

static int rename_check_links(const struct inode *dir, int gain)
{
	uint32_t nlink = name_nlink(dir);

	if (gain > 0 && nlink >= NAME_LINKS_MAX)
		return err_set(-EMLINK, "the directory has too many subdirectories");
	if (gain < 0 && nlink <= 2)
		return err_set(-EUCLEAN, "directory %llu has more subdirectories than links: run fsck.holdfast",
			       (unsigned long long)dir->ino.v);
	return 0;
}

/* ---- the change */

static void rename_edit_inode(struct rename_round *q, struct inode *in, struct inode *parent, struct txn *t, int64_t now)
{
	struct inode_edit e;

	inode_edit_begin(&e, in, t);
	if (name_is_dir(in) && rename_cross(q->r))
		e.img.rdev = le64_of(parent->ino.v);
	inode_edit_times(&e, INODE_CTIME, now);
	inode_edit_end(&e);
}

/* The insertion comes last: it alone may split the bucket that the positions name. */
static int rename_entries(struct rename_round *q, struct inode_edit *od, struct inode_edit *nd)
{
	struct rename *r = q->r;
	inum_t src = q->src->ino;
	int err;

	if (r->exchange)
		err = dir_replace_at(od, &q->oldpos, r->oldname, r->oldlen, q->dst->ino, name_dt(q->dst->type));
	else
		err = dir_remove_at(od, &q->oldpos);
	if (err)
		return err;
	if (q->newpos.found)
		return dir_replace_at(nd, &q->newpos, r->newname, r->newlen, src, name_dt(q->src->type));
	return dir_insert_at(nd, &q->newpos, r->newname, r->newlen, src, name_dt(q->src->type));
}

static int rename_gather(struct rename_round *q, struct txn *t)
{
	struct rename *r = q->r;
	struct inode_edit od, other, *nd = rename_cross(r) ? &other : &od;
	int64_t now = inode_now_ns();
	int err;

	inode_edit_begin(&od, r->olddir, t);
	if (nd != &od)
		inode_edit_begin(nd, r->newdir, t);
	err = rename_entries(q, &od, nd);
	if (err)
		return err;
	name_nlink_add(&od, rename_gain(q, false));
	inode_edit_times(&od, INODE_MTIME | INODE_CTIME, now);
	inode_edit_end(&od);
	if (nd != &od) {
		name_nlink_add(nd, rename_gain(q, true));
		inode_edit_times(nd, INODE_MTIME | INODE_CTIME, now);
		inode_edit_end(nd);
	}
	rename_edit_inode(q, q->src, r->newdir, t, now);
	if (!q->dst)
		return 0;
	if (!r->exchange)
		return name_victim_drop(&q->v, t, now);
	rename_edit_inode(q, q->dst, r->olddir, t, now);
	return 0;
}

/* All locks are held.
 * Crash: both entries, all link counts, '..' and what becomes of a replaced inode are in one record: after recovery the old
 * name or the new one is there, never both, never neither, and a replaced name is never missing. */
static int rename_commit(struct rename_round *q)
{
	struct rename *r = q->r;
	struct txn *t = txn_begin(r->olddir->fs->journal);
	int err;

	if (!t)
		return -ENOMEM;
	txn_set_ticket(t, name_victim_ticket(&q->v));
	name_cache_drop(r->olddir->fs, r->olddir->ino, r->oldname, r->oldlen);
	name_cache_drop(r->olddir->fs, r->newdir->ino, r->newname, r->newlen);
	err = rename_gather(q, t);
	if (!err)
		return txn_commit(t, NULL);
	txn_abort(t);
	return err;
}

static int rename_plan_and_commit(struct rename_round *q)
{
	bool victim = q->dst && !q->r->exchange;
	int err = 0;

	name_layouts_add(&q->l, q->src);
	name_layouts_add(&q->l, q->dst);
	if (victim) {
		q->v.own_content = name_is_dir(q->dst);
		if (name_is_dir(q->dst) && le64_get(inode_media(q->dst)->size) != 0)
			return err_set(-ENOTEMPTY, "'%s' is not empty", q->r->newname);
		err = name_victim_plan(&q->v);
	}
	if (!err)
		err = rename_check_links(q->r->olddir, rename_gain(q, false));
	if (!err && rename_cross(q->r))
		err = rename_check_links(q->r->newdir, rename_gain(q, true));
	if (err)
		return err;
	err = rename_commit(q);
	if (err != -E2BIG || !victim || !q->v.reap_now)
		return err;
	q->v.no_reap = true;
	err = name_victim_plan(&q->v);
	return err ? err : rename_commit(q);
}

/* ---- one round */

static int rename_find(struct rename_round *q)
{
	struct rename *r = q->r;
	int err = name_check_alive(r->olddir);

	if (!err)
		err = name_check_alive(r->newdir);
	if (!err)
		err = dir_find(r->olddir, r->oldname, r->oldlen, &q->oldpos);
	if (!err && !q->oldpos.found)
		err = err_set(-ENOENT, "'%s': no such file or directory", r->oldname);
	if (!err)
		err = dir_find(r->newdir, r->newname, r->newlen, &q->newpos);
	if (!err)
		err = name_get(r->olddir, dir_pos_ino(&q->oldpos), dir_pos_type(&q->oldpos), &q->src);
	if (!err && q->newpos.found)
		err = name_get(r->newdir, dir_pos_ino(&q->newpos), dir_pos_type(&q->newpos), &q->dst);
	return err;
}

static int rename_locked(struct rename_round *q)
{
	int err = rename_find(q);

	if (!err)
		err = rename_check(q);
	if (err || q->src == q->dst)
		return err;	/* two names of one inode: nothing to do */
	if (!q->r->exchange) {
		q->v.in = q->dst;
		q->v.how = q->r->how;
		err = name_victim_expected(&q->v);
		if (err)
			return err;
	}
	if (rename_again(q))
		return NAME_AGAIN;
	return rename_plan_and_commit(q);
}

static int rename_round(struct rename *r)
{
	struct rename_round q = {.r = r, .l = {.in = {r->olddir, r->newdir}, .n = rename_cross(r) ? 2 : 1}};
	struct inode *contents[3] = {r->olddir, r->newdir, r->replaced};
	struct fs *fs = r->olddir->fs;
	bool moves = r->moved || r->moved_back;
	int err = 0;

	if (moves) {
		mtx_lock(&fs->rename_lock);
		err = rename_check_ring(r);
	}
	if (!err) {
		inode_lock_contents(contents, 3);
		name_layouts_take(&q.l);
		err = rename_locked(&q);
		name_layouts_drop(&q.l);
		name_victim_unlock(&q.v);
		inode_unlock_contents(contents, 3);
	}
	if (moves)
		mtx_unlock(&fs->rename_lock);
	name_victim_end(&q.v, err);
	inode_put(q.src);
	inode_put(q.dst);
	return err;
}

static int rename_check_args(struct rename *r, unsigned flags)
{
	bool old_special = name_is_special(r->oldname), new_special = name_is_special(r->newname);
	int err;

	if (flags & ~(unsigned)(NAME_NOREPLACE | NAME_EXCHANGE) || flags == (NAME_NOREPLACE | NAME_EXCHANGE))
		return err_set(-EINVAL, "rename: flags %#x", flags);
	err = name_check_change(r->olddir, r->oldname, &r->oldlen);
	if (!err)
		err = name_check_change(r->newdir, r->newname, &r->newlen);
	if (err)
		return err;
	if (r->olddir->fs != r->newdir->fs)
		return err_set(-EXDEV, "a file does not leave the volume");
	if (!old_special && new_special && flags == NAME_NOREPLACE)
		return err_set(-EEXIST, "'%s' exists", r->newname);
	if (old_special || new_special)
		return err_set(-EBUSY, "'%s' cannot be renamed or replaced", old_special ? r->oldname : r->newname);
	return 0;
}

int name_rename(struct inode *olddir, const char *oldname, struct inode *newdir, const char *newname, unsigned flags,
		struct name_how *how)
{
	struct rename r = {
		.olddir = olddir, .newdir = newdir, .oldname = oldname, .newname = newname,
		.noreplace = (flags & NAME_NOREPLACE) != 0, .exchange = (flags & NAME_EXCHANGE) != 0, .how = how,
	};
	int err = rename_check_args(&r, flags);

	if (err)
		return err;
	do {
		err = rename_round(&r);
	} while (err == NAME_AGAIN);
	inode_put(r.moved);
	inode_put(r.moved_back);
	inode_put(r.replaced);
	return err;
}
