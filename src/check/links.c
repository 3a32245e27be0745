/* Names against link counts and parents, and whether every directory leads up to the root. */
#include "check/check.h"

static void check_file_links(struct check *c, uint64_t ino, const struct fmt_inode *i)
{
	const struct check_links *l = &c->links[ino];

	if (l->names != le32_get(i->nlink))
		check_find(c, "links", ino, 0, "inode %llu: link count %u, but %u names", (unsigned long long)ino, le32_get(i->nlink),
			   l->names);
	if (l->names == 0 && !l->orphan)
		check_find(c, "links", ino, 0, "inode %llu: has no name and no orphan slot", (unsigned long long)ino);
}

static void check_dir_links(struct check *c, uint64_t ino, const struct fmt_inode *i)
{
	const struct check_links *l = &c->links[ino];
	uint32_t nlink = le32_get(i->nlink);
	bool root = ino == FMT_INO_ROOT;

	if (nlink == 0 && l->orphan && l->names == 0)
		return;				/* removed, its buckets are being freed */
	if (l->names != (root ? 0 : 1))
		check_find(c, "links", ino, 0, "directory %llu: %u names", (unsigned long long)ino, l->names);
	if (nlink != 2 + l->subdirs)
		check_find(c, "links", ino, 0, "directory %llu: link count %u, but %u subdirectories", (unsigned long long)ino, nlink,
			   l->subdirs);
	if (le64_get(i->rdev) != (root ? ino : (uint64_t)l->parent))
		check_find(c, "links", ino, 0, "directory %llu: says its parent is %llu, but its name is in %llu",
			   (unsigned long long)ino, (unsigned long long)le64_get(i->rdev),
			   (unsigned long long)(root ? ino : (uint64_t)l->parent));
}

/* Climbs from a directory until something known; then marks the way as reaching the root, or finds a loop. */
static void check_reach(struct check *c, uint64_t ino)
{
	uint64_t at = ino, next;
	bool good;

	while (c->links[at].reach == 0 && at != FMT_INO_ROOT) {
		c->links[at].reach = 1;
		next = c->links[at].parent;
		if (!check_ino_ok(c, next) || !c->links[next].is_dir)
			break;			/* no parent: told already */
		at = next;
	}
	good = at == FMT_INO_ROOT || c->links[at].reach == 2;
	if (!good && c->links[at].parent)
		check_find(c, "links", ino, 0, "directory %llu: its parents do not lead to the root", (unsigned long long)ino);
	for (at = ino; c->links[at].reach == 1 && at != FMT_INO_ROOT; at = c->links[at].parent)
		c->links[at].reach = 2;		/* also where it does not: told once */
}

void check_link_counts(struct check *c)
{
	uint64_t ino, end = c->iblocks * FMT_INODES_PER_BLOCK;

	for (ino = FMT_INO_ROOT; ino < end && !c->stop; ino++) {
		const struct fmt_inode *i;

		if ((ino & 4095) == 0)
			check_progress(c, "links", ino, end);
		if (!c->links[ino].in_use)
			continue;
		i = check_inode_at(c, INUM(ino));
		if (le32_get(i->orphan) && !c->links[ino].orphan)
			check_find(c, "orphan", ino, 0, "inode %llu: says it has orphan slot %u, which does not name it",
				   (unsigned long long)ino, le32_get(i->orphan) - 1);
		if (!c->links[ino].is_dir) {
			check_file_links(c, ino, i);
			continue;
		}
		check_dir_links(c, ino, i);
		check_reach(c, ino);
	}
	if (end > FMT_INO_ROOT && !c->links[FMT_INO_ROOT].is_dir)
		check_find(c, "links", FMT_INO_ROOT, 0, "there is no root directory");
}
