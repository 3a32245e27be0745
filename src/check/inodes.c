/* Every inode: its bit in the table, its fields, its map, its attributes, its names. */
#include "check/check.h"
#include <dirent.h>
#include <sys/stat.h>

/* The 64 bits that have this inode's. */
static uint64_t ino_bits(const struct check *c, uint64_t ino)
{
	uint64_t g = ino / FMT_IGROUP_INODES, i = ino % FMT_IGROUP_INODES;

	if (g >= c->igroups)
		return 0;
	return pm_load64(c->pm, moff_add(mblk_to_moff(c->ibitmap[g]), i / 64 * 8));
}

static bool ino_bit(const struct check *c, uint64_t ino)
{
	return ino_bits(c, ino) >> (ino % 64) & 1;
}

static bool mode_ok(uint32_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG:
	case S_IFDIR:
	case S_IFLNK:
	case S_IFIFO:
	case S_IFSOCK:
	case S_IFCHR:
	case S_IFBLK:
		return (mode & ~(uint32_t)(S_IFMT | 07777)) == 0;
	default:
		return false;
	}
}

static void count_inode(struct check *c, uint32_t mode)
{
	c->res->inodes++;
	if (S_ISDIR(mode))
		c->res->directories++;
	else if (S_ISREG(mode))
		c->res->files++;
	else
		c->res->others++;
}

static void check_fields(struct check *c, uint64_t ino, const struct fmt_inode *i, uint64_t where)
{
	uint32_t mode = le32_get(i->mode), type = mode & S_IFMT;
	uint64_t size = le64_get(i->size);
	unsigned flags = le16_get(i->flags);

	if (!mode_ok(mode))
		check_find(c, "inode", ino, where, "inode %llu: mode %o is impossible", (unsigned long long)ino, mode);
	if (flags & ~FMT_FLAG_INLINE)
		check_find(c, "inode", ino, where, "inode %llu: unknown flags %#x", (unsigned long long)ino, flags);
	if (size > INT64_MAX)
		check_find(c, "inode", ino, where, "inode %llu: size %llu is too large", (unsigned long long)ino,
			   (unsigned long long)size);
	if ((flags & FMT_FLAG_INLINE) && (size > FMT_INLINE_MAX || le64_get(i->root) || (type != S_IFREG && type != S_IFLNK)))
		check_find(c, "inode", ino, where, "inode %llu: inline content of %llu bytes does not fit its type, size or map",
			   (unsigned long long)ino, (unsigned long long)size);
	if (type == S_IFLNK && (size == 0 || size > 4095))
		check_find(c, "inode", ino, where, "inode %llu: a symbolic link of %llu bytes", (unsigned long long)ino,
			   (unsigned long long)size);
	if (type == S_IFLNK && !(flags & FMT_FLAG_INLINE) && (!le64_get(i->root) || i->height))
		check_find(c, "inode", ino, where, "inode %llu: a symbolic link whose content is not one block", (unsigned long long)ino);
	if (i->xheight > FMT_MAX_HEIGHT || le32_get(i->xbytes) > FMT_XATTR_BLOB_MAX)
		check_find(c, "inode", ino, where, "inode %llu: impossible attribute fork", (unsigned long long)ino);
	if (type != S_IFREG && type != S_IFLNK && type != S_IFDIR && (le64_get(i->root) || size))
		check_find(c, "inode", ino, where, "inode %llu: a special file with content", (unsigned long long)ino);
}

/* Content and attributes; the inode says how many blocks it has. */
static void check_blocks(struct check *c, uint64_t ino, const struct fmt_inode *i, uint64_t where)
{
	uint64_t n = 0;

	n += check_map(c, "map", INUM(ino), FMT_FORK_DATA, le64_get(i->root), i->height, NULL, NULL);
	n += check_map(c, "xattr", INUM(ino), FMT_FORK_XATTR, le64_get(i->xroot), i->xheight, NULL, NULL);
	if (n != le64_get(i->blocks) && ino != FMT_INO_ITABLE)
		check_find(c, "inode", ino, where, "inode %llu: says it has %llu blocks, its maps have %llu", (unsigned long long)ino,
			   (unsigned long long)le64_get(i->blocks), (unsigned long long)n);
}

static void check_one(struct check *c, uint64_t ino, const struct fmt_inode *i, uint64_t where)
{
	struct check_links *l = &c->links[ino];
	uint32_t mode = le32_get(i->mode);

	l->in_use = 1;
	l->type = IFTODT(mode) & 15;
	l->is_dir = S_ISDIR(mode);
	check_fields(c, ino, i, where);
	if (ino != FMT_INO_ITABLE)
		check_blocks(c, ino, i, where);
	if (ino >= FMT_INO_FIRST || ino == FMT_INO_ROOT)
		count_inode(c, mode);
	if (le32_get(i->xbytes) || le64_get(i->xroot))
		check_xattr(c, INUM(ino), i);
}

static void check_inode_block(struct check *c, uint64_t block)
{
	uint64_t ino = block * FMT_INODES_PER_BLOCK, end = ino + FMT_INODES_PER_BLOCK;

	for (; ino < end && !c->stop && !c->err; ino++) {
		const struct fmt_inode *i = check_inode_at(c, INUM(ino));
		uint64_t where = (uint64_t)((const uint8_t *)i - (const uint8_t *)c->pm->base);
		bool reserved = ino < FMT_INO_FIRST && (ino < FMT_INO_ITABLE || ino > FMT_INO_ROOT), used = ino_bit(c, ino);

		if (reserved) {
			if (!used)
				check_find(c, "inode", ino, where, "inode %llu is reserved, but its bit says it is free",
					   (unsigned long long)ino);
			continue;
		}
		if (fmt_inode_verify(&c->geo, i, INUM(ino)) != 0) {
			check_find(c, "inode", ino, where, "%s", err_msg());
			continue;
		}
		if (used != (le32_get(i->mode) != 0))
			check_find(c, "inode", ino, where, "inode %llu: the table says it is %s, the inode %s", (unsigned long long)ino,
				   used ? "in use" : "free", used ? "is free" : "is in use");
		if (le32_get(i->mode) != 0)
			check_one(c, ino, i, where);
	}
}

/* Bits for inodes whose block does not exist yet. */
static void check_tail_bits(struct check *c)
{
	uint64_t ino = c->iblocks * FMT_INODES_PER_BLOCK, end = c->igroups * FMT_IGROUP_INODES;

	for (; ino < end && !c->stop; ino++) {
		if (ino % 64 == 0 && ino_bits(c, ino) == 0) {
			ino += 63;
			continue;
		}
		if (ino_bit(c, ino)) {
			check_find(c, "inode", ino, 0, "inode %llu is marked in use, but the table has no block for it",
				   (unsigned long long)ino);
			return;
		}
	}
}

void check_inodes(struct check *c)
{
	uint64_t b, ino;

	for (b = 0; b < c->iblocks && !c->stop && !c->err; b++) {
		if ((b & 255) == 0)
			check_progress(c, "inodes", b, c->iblocks);
		check_inode_block(c, b);
	}
	check_tail_bits(c);
	/* directories after all inodes: an entry is compared with the inode that it names */
	for (ino = 1; ino < c->iblocks * FMT_INODES_PER_BLOCK && !c->stop && !c->err; ino++) {
		if ((ino & 4095) == 0)
			check_progress(c, "directories", ino, c->iblocks * FMT_INODES_PER_BLOCK);
		if (c->links[ino].in_use && c->links[ino].is_dir)
			check_directory(c, INUM(ino), check_inode_at(c, INUM(ino)));
	}
}
