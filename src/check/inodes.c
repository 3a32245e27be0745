/* Every inode: its bit in the table, its fields, its map, its attributes, its names. */
#include "check/check.h"
#include <dirent.h>
#include <sys/stat.h>

/* The place of the 64 bits that have this inode's; 0: none. */
static moff_t ino_word(const struct check *c, uint64_t ino)
{
	uint64_t g = ino / FMT_IGROUP_INODES, i = ino % FMT_IGROUP_INODES;

	if (g >= c->igroups || mblk_is_null(c->ibitmap[g]))
		return MOFF(0);
	return moff_add(mblk_to_moff(c->ibitmap[g]), i / 64 * 8);
}

static uint64_t ino_bits(const struct check *c, uint64_t ino)
{
	moff_t word = ino_word(c, ino);

	return word.v ? pm_load64(c->pm, word) : 0;
}

static bool ino_bit(const struct check *c, uint64_t ino)
{
	return ino_bits(c, ino) >> (ino % 64) & 1;
}

static void flip_bit(struct check *c, uint64_t ino)
{
	check_put64(c, ino_word(c, ino), ino_bits(c, ino) ^ 1ull << (ino % 64));
}

void check_mark_inode(struct check *c, uint64_t ino)
{
	if (!ino_bit(c, ino))
		flip_bit(c, ino);
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

/* What fmt_inode_verify() does not know; NULL: nothing. */
static const char *field_fault(const struct fmt_inode *i)
{
	uint32_t type = le32_get(i->mode) & S_IFMT;
	uint64_t size = le64_get(i->size);

	if ((le16_get(i->flags) & FMT_FLAG_INLINE) && type != S_IFREG && type != S_IFLNK)
		return "inline content does not fit its type";
	if (type == S_IFLNK && (size == 0 || size > 4095))
		return "a symbolic link of an impossible length";
	if (type == S_IFLNK && !(le16_get(i->flags) & FMT_FLAG_INLINE) && (!le64_get(i->root) || i->height))
		return "a symbolic link whose content is not one block";
	if (type != S_IFREG && type != S_IFLNK && type != S_IFDIR && (le64_get(i->root) || size))
		return "a special file with content";
	return NULL;
}

static bool check_fields(struct check *c, uint64_t ino, const struct fmt_inode *i, uint64_t where)
{
	const char *fault = field_fault(i);

	if (!fault && !le32_get(i->xbytes) == !le64_get(i->xroot))
		return true;
	if (fault && check_mend(c, CHECK_MEND_ALL, "the fields were made possible, or it was cleared", "inode", ino, where, "inode %llu: %s",
				(unsigned long long)ino, fault))
		check_sane_inode(c, ino);
	if (!fault && check_mend(c, CHECK_MEND_ALL, "the inode has no attributes any more", "xattr", ino, where,
				 "inode %llu: attribute size and map do not agree", (unsigned long long)ino))
		check_sane_inode(c, ino);
	return false;
}

/* Content and attributes; the inode says how many blocks it has. */
static void check_blocks(struct check *c, uint64_t ino, const struct fmt_inode *i, uint64_t where)
{
	uint64_t n = 0, before = c->mended + c->waiting;
	struct fmt_inode fixed;

	n += check_map(c, "map", INUM(ino), FMT_FORK_DATA, le64_get(i->root), i->height, NULL, NULL);
	n += check_map(c, "xattr", INUM(ino), FMT_FORK_XATTR, le64_get(i->xroot), i->xheight, NULL, NULL);
	if (n == le64_get(i->blocks) || c->mended + c->waiting != before)
		return;
	if (check_mend(c, CHECK_MEND_SAFE, "the number was put right", "inode", ino, where,
		       "inode %llu: says it has %llu blocks, its maps have %llu", (unsigned long long)ino,
		       (unsigned long long)le64_get(i->blocks), (unsigned long long)n)) {
		fixed = *i;
		fixed.blocks = le64_of(n);
		check_put_inode(c, ino, &fixed);
	}
}

static void check_one(struct check *c, uint64_t ino, const struct fmt_inode *i, uint64_t where)
{
	struct check_links *l = &c->links[ino];
	uint32_t mode = le32_get(i->mode);

	l->in_use = 1;
	l->type = IFTODT(mode) & 15;
	l->is_dir = S_ISDIR(mode);
	if (!check_fields(c, ino, i, where) && c->mended)
		return;
	if (ino != FMT_INO_ITABLE)
		check_blocks(c, ino, i, where);
	if (ino >= FMT_INO_FIRST || ino == FMT_INO_ROOT)
		count_inode(c, mode);
	if (le64_get(i->xroot))
		check_xattr(c, INUM(ino), i);
}

/* The first three are what they are. */
static bool check_fixed(struct check *c, uint64_t ino, const struct fmt_inode *i, uint64_t where)
{
	uint32_t type = ino == FMT_INO_ROOT ? S_IFDIR : S_IFREG;

	if (ino > FMT_INO_ROOT || (le32_get(i->mode) & S_IFMT) == type)
		return true;
	if (check_mend(c, CHECK_MEND_ALL, "it was made afresh", "inode", ino, where, ino == FMT_INO_ROOT ? "inode %llu: there is no root directory"
															: "inode %llu: is no table",
		       (unsigned long long)ino))
		check_make_afresh(c, ino);
	return false;
}

static bool ino_is_reserved(uint64_t ino)
{
	return ino < FMT_INO_FIRST && (ino < FMT_INO_ITABLE || ino > FMT_INO_ROOT);
}

static void check_bit(struct check *c, uint64_t ino, bool want, uint64_t where)
{
	if (ino_bit(c, ino) == want || !ino_word(c, ino).v)
		return;
	if (check_mend(c, CHECK_MEND_SAFE, "the table was put right", "inode", ino, where, "inode %llu: the table says it is %s, the inode %s",
		       (unsigned long long)ino, want ? "free" : "in use", want ? "is in use" : "is free"))
		flip_bit(c, ino);
}

static void check_inode(struct check *c, uint64_t ino)
{
	const struct fmt_inode *i = check_inode_at(c, INUM(ino));
	uint64_t where = (uint64_t)((const uint8_t *)i - (const uint8_t *)c->pm->base);

	if (ino_is_reserved(ino))
		return;
	if (fmt_inode_verify(&c->geo, i, INUM(ino)) != 0) {
		c->links[ino].unsound = 1;
		check_mend_inode(c, ino, where);
		return;
	}
	if (!check_fixed(c, ino, i, where))
		return;
	if (le32_get(i->mode) != 0)
		check_one(c, ino, i, where);
}

static void check_inode_block(struct check *c, uint64_t block)
{
	uint64_t ino = block * FMT_INODES_PER_BLOCK, end = ino + FMT_INODES_PER_BLOCK;

	if (mblk_is_null(c->iblock[block]))
		return;
	for (; ino < end && !c->stop && !c->err; ino++)
		check_inode(c, ino);
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
		if (ino_bit(c, ino) && check_mend(c, CHECK_MEND_SAFE, "the mark was taken away", "inode", ino, 0,
						  "inode %llu is marked in use, but the table has no block for it", (unsigned long long)ino))
			flip_bit(c, ino);
	}
}

void check_inodes(struct check *c)
{
	uint64_t b;

	for (b = 0; b < c->iblocks && !c->stop && !c->err; b++) {
		if ((b & 255) == 0)
			check_progress(c, "inodes", b, c->iblocks);
		check_inode_block(c, b);
	}
}

void check_bitmaps(struct check *c)
{
	uint64_t ino, end = c->links ? c->iblocks * FMT_INODES_PER_BLOCK : 0;

	for (ino = 0; ino < end && !c->stop && !c->err; ino++) {
		if (c->links[ino].unsound || mblk_is_null(c->iblock[ino / FMT_INODES_PER_BLOCK]))
			continue;
		check_bit(c, ino, ino_is_reserved(ino) || c->links[ino].in_use, ino_word(c, ino).v);
	}
	check_tail_bits(c);
}

void check_directories(struct check *c)
{
	uint64_t ino;

	for (ino = 1; ino < c->iblocks * FMT_INODES_PER_BLOCK && !c->stop && !c->err; ino++) {
		if ((ino & 4095) == 0)
			check_progress(c, "directories", ino, c->iblocks * FMT_INODES_PER_BLOCK);
		if (c->links[ino].in_use && c->links[ino].is_dir)
			check_directory(c, INUM(ino), check_inode_at(c, INUM(ino)));
	}
}
