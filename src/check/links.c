/* Names against link counts and parents, and whether every directory leads up to the root. */
#include "check/check.h"
#include <stdlib.h>

static void put_nlink(struct check *c, uint64_t ino, uint32_t nlink)
{
	struct fmt_inode i = *check_inode_at(c, INUM(ino));

	i.nlink = le32_of(nlink);
	check_put_inode(c, ino, &i);
}

/* To be given a name in lost+found, when all are known. */
static void add_nameless(struct check *c, uint64_t ino)
{
	uint64_t cap = c->nameless_cap ? c->nameless_cap * 2 : 64;
	uint64_t *more = c->nameless;

	if (c->mend == CHECK_MEND_NONE)
		return;
	if (c->nnameless == c->nameless_cap) {
		more = realloc(c->nameless, (size_t)cap * sizeof(*more));
		if (!more) {
			c->err = err_set(-ENOMEM, "repair: no memory for the inodes without names");
			return;
		}
		c->nameless = more;
		c->nameless_cap = cap;
	}
	c->nameless[c->nnameless++] = ino;
}

/* Its link count says whether it was deleted, and only its orphan slot is missing. */
static void check_nameless(struct check *c, uint64_t ino, const struct fmt_inode *i)
{
	if (le32_get(i->nlink)) {
		if (c->mend == CHECK_MEND_NONE)
			check_find(c, "links", ino, 0, "inode %llu: has no name", (unsigned long long)ino);
		else
			add_nameless(c, ino);
	} else if (check_mend(c, CHECK_MEND_SAFE, "it had been deleted, so it was cleared", "links", ino, 0,
			      "inode %llu: has no name and no orphan slot", (unsigned long long)ino)) {
		check_clear_inode(c, ino);
	}
}

static void check_file_links(struct check *c, uint64_t ino, const struct fmt_inode *i)
{
	const struct check_links *l = &c->links[ino];

	if (l->names == 0 && !(l->orphan && le32_get(i->nlink) == 0))
		check_nameless(c, ino, i);
	else if (l->names != le32_get(i->nlink) &&
		 check_mend(c, CHECK_MEND_SAFE, "the count was put right", "links", ino, 0, "inode %llu: link count %u, but %u names",
			    (unsigned long long)ino, le32_get(i->nlink), l->names))
		put_nlink(c, ino, l->names);
}

static void check_parent(struct check *c, uint64_t ino, const struct fmt_inode *i, uint64_t want)
{
	struct fmt_inode fixed = *i;

	if (le64_get(i->rdev) == want)
		return;
	if (check_mend(c, CHECK_MEND_SAFE, "the parent was put right", "links", ino, 0,
		       "directory %llu: says its parent is %llu, but its name is in %llu", (unsigned long long)ino,
		       (unsigned long long)le64_get(i->rdev), (unsigned long long)want)) {
		fixed.rdev = le64_of(want);
		check_put_inode(c, ino, &fixed);
	}
}

static void check_dir_links(struct check *c, uint64_t ino, const struct fmt_inode *i)
{
	const struct check_links *l = &c->links[ino];
	uint32_t nlink = le32_get(i->nlink);
	bool root = ino == FMT_INO_ROOT;

	if (nlink == 0 && l->names == 0 && le64_get(i->size) == 0 && !root) {
		if (!l->orphan)
			check_nameless(c, ino, i);
		return;				/* else: removed, its buckets are being freed */
	}
	if (nlink != 2 + l->subdirs) {
		if (check_mend(c, CHECK_MEND_SAFE, "the count was put right", "links", ino, 0,
			       "directory %llu: link count %u, but %u subdirectories", (unsigned long long)ino, nlink, l->subdirs))
			put_nlink(c, ino, 2 + l->subdirs);
		return;
	}
	if (root)
		check_parent(c, ino, i, ino);
	else if (l->names == 0)
		check_nameless(c, ino, i);
	else
		check_parent(c, ino, i, l->parent);
}

/* The name that leads into the circle goes; what is in it goes to lost+found with its directory. */
static void cut_circle(struct check *c, uint64_t ino)
{
	uint64_t bits = c->iblocks * FMT_INODES_PER_BLOCK, *more;

	if (!check_mend(c, CHECK_MEND_ALL, "the circle was cut", "links", ino, 0, "directory %llu: its parents do not lead to the root",
			(unsigned long long)ino))
		return;
	if (c->cut_bits < bits) {
		more = realloc(c->cut, (size_t)(bits + 63) / 64 * sizeof(*more));
		if (!more) {
			c->err = err_set(-ENOMEM, "repair: out of memory");
			return;
		}
		memset(more + (c->cut_bits + 63) / 64, 0, (size_t)((bits + 63) / 64 - (c->cut_bits + 63) / 64) * sizeof(*more));
		c->cut = more;
		c->cut_bits = bits;
	}
	c->cut[ino / 64] |= 1ull << (ino % 64);
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
		cut_circle(c, at);
	for (at = ino; c->links[at].reach == 1 && at != FMT_INO_ROOT; at = c->links[at].parent)
		c->links[at].reach = 2;		/* also where it does not: told once */
}

/* The slot that an inode says it has must name it. */
static void check_own_slot(struct check *c, uint64_t ino)
{
	struct fmt_inode i = *check_inode_at(c, INUM(ino));

	if (!le32_get(i.orphan) || c->links[ino].orphan)
		return;
	if (check_mend(c, CHECK_MEND_SAFE, "it has none now", "orphan", ino, 0,
		       "inode %llu: says it has orphan slot %u, which does not name it", (unsigned long long)ino, le32_get(i.orphan) - 1)) {
		i.orphan = le32_of(0);
		check_put_inode(c, ino, &i);
	}
}

void check_link_counts(struct check *c)
{
	uint64_t ino, end = c->links ? c->iblocks * FMT_INODES_PER_BLOCK : 0;

	for (ino = FMT_INO_ROOT; ino < end && !c->stop && !c->err; ino++) {
		const struct fmt_inode *i;

		if ((ino & 4095) == 0)
			check_progress(c, "links", ino, end);
		if (!c->links[ino].in_use)
			continue;
		check_own_slot(c, ino);
		i = check_inode_at(c, INUM(ino));
		if (!c->links[ino].is_dir) {
			check_file_links(c, ino, i);
			continue;
		}
		check_dir_links(c, ino, i);
		check_reach(c, ino);
	}
	if (c->nnameless && !c->mended && !c->err && !check_wait(c))
		check_adopt(c);
}
