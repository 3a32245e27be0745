/* What goes out of a map and is freed: a hole that is punched, a tail that is truncated, a subtree
 * that was cut off. */
#include "inode/map_drop.h"

int map_remove(struct inode_edit *e, enum fmt_fork fork, fblk_t fblk, uint64_t n)
{
	uint64_t end = n > UINT64_MAX - fblk.v ? UINT64_MAX : fblk.v + n;
	struct map_tree m;
	bool done;
	int err;

	err = map_tree_of_edit(&m, e, fork);
	if (err)
		return err;
	err = map_drop(&m, fblk.v, end, 0, &done);
	return err ? err : map_tree_to_edit(&m, e);
}

int map_trim_some(struct inode_edit *e, enum fmt_fork fork, fblk_t from, bool *done)
{
	struct map_tree m;
	int err;

	*done = false;
	err = map_tree_of_edit(&m, e, fork);
	if (err)
		return err;
	m.punched = 0; /* the end of a file is no hole that somebody asked for */
	err = map_drop(&m, from.v, UINT64_MAX, MAP_DROP_SOME | MAP_DROP_KEEP_LEAF, done);
	return err ? err : map_tree_to_edit(&m, e);
}

int map_truncate_some(struct inode_edit *e, enum fmt_fork fork, bool *done)
{
	return map_trim_some(e, fork, FBLK(0), done);
}

int map_free_some(struct fs *fs, struct txn *t, inum_t owner, enum fmt_fork fork, unsigned level,
		  fblk_t at, uint64_t *entry, bool *done)
{
	struct map_tree m = {
	    .pm = fs->pm,
	    .geo = &fs->geo,
	    .fs = fs,
	    .t = t,
	    .key = fmt_map_key(&fs->geo, owner, fork),
	    .owner = owner,
	    .fork = fork,
	    .kind = SPACE_DATA,
	    .root = *entry,
	    .height = level,
	    .base = at.v,
	};
	int err;

	*done = false;
	if (level > FMT_MAX_HEIGHT || at.v % fmt_level_blocks(level) != 0)
		return err_set(-EUCLEAN,
			       "inode %llu: no map entry is of level %u at file block %llu",
			       (unsigned long long)owner.v, level, (unsigned long long)at.v);
	err = map_drop(&m, 0, UINT64_MAX, MAP_DROP_SOME, done);
	if (err == 0)
		*entry = m.root;
	return err;
}
