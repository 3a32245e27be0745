/* Inodes whose image does not verify.
 *
 * The checksum is a sum in which each word has its own term, and the term can be turned round: if one word alone is damaged, the sum
 * says what it was. 31 words give 31 answers, and the right one is told by being near: damage of a bit or a byte leaves the others
 * of the word as they were. A wrong answer that differs in up to 8 bits has a chance of 2^-27 for all words together.
 *
 * Otherwise, where the image still says that it is this inode, and each of its maps' roots (whose own check has the number in it)
 * does so too, its fields are taken as they stand, made possible where they are not, and sealed. A zeroed, overwritten or exchanged
 * inode is cleared; the three that everything hangs on are made afresh. */
#include "check/check.h"
#include "base/clock.h"
#include <sys/stat.h>

#define INODE_WORDS (FMT_INODE_SIZE / 8)
#define NEAR_BITS   8

/* hash_mix() the other way round. */
static uint64_t unmix(uint64_t x)
{
	x ^= x >> 31 ^ x >> 62;
	x *= 0x319642b2d24d8ec3ull;
	x ^= x >> 27 ^ x >> 54;
	x *= 0x96de1b173f119089ull;
	x ^= x >> 30 ^ x >> 60;
	return x;
}

/* Finds the one word that was damaged, and puts it right. */
static bool correct_word(const struct check *c, uint64_t ino, struct fmt_inode *i)
{
	le64_t *w = (le64_t *)(void *)i;
	uint64_t key = fmt_inode_csum_key(&c->geo, INUM(ino)), diff, sum = 0;
	unsigned n;

	for (n = 1; n < INODE_WORDS; n++)
		sum += fmt_inode_csum_word(key, n, le64_get(w[n]));
	diff = le64_get(i->csum) - sum;
	if (diff && __builtin_popcountll(le64_get(i->csum) ^ sum) <= NEAR_BITS) {
		i->csum = le64_of(sum);
		return fmt_inode_verify(&c->geo, i, INUM(ino)) == 0;
	}
	for (n = 1; n < INODE_WORDS; n++) {
		uint64_t bad = le64_get(w[n]), term = diff + fmt_inode_csum_word(key, n, bad);
		uint64_t good = term ? unmix(term) ^ (key + n * 0x9e3779b97f4a7c15ull) : 0;

		if (good == bad || __builtin_popcountll(good ^ bad) > NEAR_BITS)
			continue;
		w[n] = le64_of(good);
		if (fmt_inode_verify(&c->geo, i, INUM(ino)) == 0)
			return true;
		w[n] = le64_of(bad);
	}
	return false;
}

static bool root_ok(const struct check *c, uint64_t ino, enum fmt_fork fork, uint64_t root, unsigned height)
{
	return height <= FMT_MAX_HEIGHT &&
	       fmt_entry_verify(&c->geo, fmt_map_key(&c->geo, INUM(ino), fork), height, FBLK(0), root) == 0;
}

static void drop_xattrs(struct fmt_inode *i)
{
	i->xroot = le64_of(0);
	i->xbytes = le32_of(0);
	i->xheight = 0;
}

/* Size, map and inline content against each other and the type. */
static void sane_content(const struct check *c, struct fmt_inode *i)
{
	uint32_t type = le32_get(i->mode) & S_IFMT;
	bool has = type == S_IFREG || type == S_IFLNK || type == S_IFDIR;

	if (i->height > FMT_MAX_HEIGHT || !has) {
		i->root = le64_of(0);
		i->height = 0;
	}
	i->flags = le16_of(le16_get(i->flags) & FMT_FLAG_INLINE);
	if (type == S_IFDIR || !has || le64_get(i->root))
		i->flags = le16_of(0);
	if (le64_get(i->blocks) > c->geo.nblocks)
		i->blocks = le64_of(0);
	if (!has)
		i->size = le64_of(0);
	else if (le16_get(i->flags) & FMT_FLAG_INLINE)
		i->size = le64_of(min_u64(le64_get(i->size), FMT_INLINE_MAX));
	else if (le64_get(i->size) > INT64_MAX)
		i->size = le64_of(le64_get(i->blocks) << HF_BLOCK_SHIFT);
}

/* Makes every field one that an inode can have. False: it cannot be one. */
static bool make_sane(const struct check *c, struct fmt_inode *i)
{
	uint32_t mode = le32_get(i->mode);
	bool dir = S_ISDIR(mode);

	if (!S_ISREG(mode) && !dir && !S_ISLNK(mode) && !S_ISCHR(mode) && !S_ISBLK(mode) && !S_ISFIFO(mode) && !S_ISSOCK(mode))
		return false;
	i->mode = le32_of(mode & (S_IFMT | 07777));
	sane_content(c, i);
	if (S_ISLNK(mode) && (le64_get(i->size) == 0 || le64_get(i->size) > 4095 ||
			      (!le16_get(i->flags) && (!le64_get(i->root) || i->height))))
		return false;
	if (i->xheight > FMT_MAX_HEIGHT || le32_get(i->xbytes) > FMT_XATTR_BLOB_MAX || !le32_get(i->xbytes) != !le64_get(i->xroot))
		drop_xattrs(i);
	i->dir_depth = dir ? (uint8_t)min_u64(i->dir_depth, FMT_DIR_MAX_DEPTH) : 0;
	if (dir && !le64_get(i->rdev))
		i->rdev = le64_of(FMT_INO_ROOT);
	memset(i->zero, 0, sizeof(i->zero));
	return true;
}

/* The image is this inode's, whatever else is wrong with it. */
static bool reseal(const struct check *c, uint64_t ino, struct fmt_inode *i)
{
	bool identified = le64_get(i->root) != 0 || le64_get(i->csum) == fmt_inode_csum(&c->geo, i);

	if (le64_get(i->ino) != ino || !identified || !root_ok(c, ino, FMT_FORK_DATA, le64_get(i->root), i->height))
		return false;
	if (!root_ok(c, ino, FMT_FORK_XATTR, le64_get(i->xroot), i->xheight))
		drop_xattrs(i);
	return make_sane(c, i);
}

/* The table's node of level 1 is where mkfs put it. Where the table grew higher, the node above names it, and so on: the highest that
 * is found is the root. */
void check_climb_itable(const struct check *c, struct fmt_inode *i)
{
	struct map_key key = fmt_map_key(&c->geo, INUM(FMT_INO_ITABLE), FMT_FORK_DATA);
	uint64_t entry = fmt_entry_make(key, 1, FBLK(0), FMT_ENT_NODE, MBLK(FMT_BLK_ITNODE), 0), b;
	unsigned height = 1;

	for (b = c->geo.first_data.v; b < c->geo.end_data.v && height < FMT_MAX_HEIGHT; b++) {
		if (pm_load64(c->pm, mblk_to_moff(MBLK(b))) != entry)
			continue;
		height++;
		entry = fmt_entry_make(key, height, FBLK(0), FMT_ENT_NODE, MBLK(b), 0);
		b = c->geo.first_data.v - 1;
	}
	i->root = le64_of(entry);
	i->height = (uint8_t)height;
}

/* Inode table, orphan table, root directory, as mkfs makes them; what hangs on them is found again as far as it can be. */
void check_make_afresh(struct check *c, uint64_t ino)
{
	uint64_t now = clock_ns(CLOCK_REALTIME);
	struct fmt_inode i = {.ino = le64_of(ino), .gen = le64_of(now), .nlink = le32_of(1)};

	i.mode = le32_of(ino == FMT_INO_ROOT ? S_IFDIR | 0755 : S_IFREG | 0600);
	i.atime = i.mtime = i.ctime = i.btime = le64_of(now);
	if (ino == FMT_INO_ITABLE) {
		check_climb_itable(c, &i);
	} else if (ino == FMT_INO_ORPHANS) {
		struct map_key key = fmt_map_key(&c->geo, INUM(ino), FMT_FORK_DATA);

		i.root = le64_of(fmt_entry_make(key, 0, FBLK(0), FMT_ENT_BLOCK, MBLK(FMT_BLK_ORPHANS0), 0));
		i.size = le64_of(HF_BLOCK_SIZE);
		i.blocks = le64_of(1);
	} else {
		i.nlink = le32_of(2);
		i.rdev = le64_of(FMT_INO_ROOT);
	}
	check_put_inode(c, ino, &i);
}

void check_sane_inode(struct check *c, uint64_t ino)
{
	struct fmt_inode i = *check_inode_at(c, INUM(ino));

	if (make_sane(c, &i))
		check_put_inode(c, ino, &i);
	else
		check_clear_inode(c, ino);
}

void check_mend_inode(struct check *c, uint64_t ino, uint64_t where)
{
	struct fmt_inode i = *check_inode_at(c, INUM(ino));
	char why[256];

	snprintf(why, sizeof(why), "%s", err_msg());
	if (correct_word(c, ino, &i)) {
		if (check_mend(c, CHECK_MEND_SAFE, "the damaged word was put right from the checksum", "inode", ino, where, "%s", why))
			check_put_inode(c, ino, &i);
	} else if (reseal(c, ino, &i)) {
		if (check_mend(c, CHECK_MEND_ALL, "its fields were kept as far as they are possible, and sealed: look at them", "inode", ino,
			       where, "%s", why))
			check_put_inode(c, ino, &i);
	} else if (ino < FMT_INO_FIRST) {
		if (check_mend(c, CHECK_MEND_ALL, "it was made afresh", "inode", ino, where, "%s", why))
			check_make_afresh(c, ino);
	} else if (check_mend(c, CHECK_MEND_ALL, "it was cleared", "inode", ino, where, "%s", why)) {
		check_clear_inode(c, ino);
	}
}
