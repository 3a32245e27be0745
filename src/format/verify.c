/* Checksums and verifiers of the small structures. A verifier reads what may be anything: it never
 * asserts, and says what it saw. Wrong checksum: -EBADMSG; right checksum (or none) and wrong
 * content: -EUCLEAN. */
#include "format/geo.h"
#include "base/error.h"

#include <sys/stat.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

/* Keep seeds of different structures apart where the format does not say otherwise. */
#define SALT_NAME   0x6e616d65ull
#define SALT_CKPT   0x636b7074ull
#define SALT_RECORD 0x7265636full

static bool all_zero(const void *p, size_t len)
{
	const uint8_t *b = p;

	for (size_t i = 0; i < len; i++)
		if (b[i] != 0)
			return false;
	return true;
}

/* ---- map entries */

int fmt_entry_bad(const struct geo *g, struct map_key key, unsigned level, fblk_t fblk,
		  uint64_t entry)
{
	uint64_t check = fmt_entry_check(key, level, fblk, entry & 0x0000ffffffffffffull);

	if ((entry ^ check) >> 48 != 0)
		return err_set(-EBADMSG,
			       "map entry %016llx (level %u, file block %llu): its check is wrong",
			       (unsigned long long)entry, level, (unsigned long long)fblk.v);
	return err_set(
	    -EUCLEAN,
	    "map entry %016llx (level %u, file block %llu): kind %u, block %llu does not fit there "
	    "in a volume of %llu blocks",
	    (unsigned long long)entry, level, (unsigned long long)fblk.v,
	    (unsigned)fmt_entry_kind_of(entry), (unsigned long long)fmt_entry_blk(entry).v,
	    (unsigned long long)g->nblocks);
}

/* ---- inodes */

uint64_t fmt_inode_csum(const struct geo *g, const struct fmt_inode *i)
{
	const le64_t *w = (const le64_t *)(const void *)i;
	uint64_t key = fmt_inode_csum_key(g, INUM(le64_get(i->ino))), sum = 0;

	for (unsigned n = 1; n < sizeof(*i) / 8; n++)
		sum += fmt_inode_csum_word(key, n, le64_get(w[n]));
	return sum;
}

static bool mode_ok(uint32_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG:
	case S_IFDIR:
	case S_IFLNK:
	case S_IFCHR:
	case S_IFBLK:
	case S_IFIFO:
	case S_IFSOCK:
		return (mode & ~(uint32_t)(S_IFMT | 07777)) == 0;
	default:
		return false;
	}
}

/* What is wrong with an inode in use whose checksum is right; NULL: nothing. */
static const char *inode_fault(const struct geo *g, const struct fmt_inode *i)
{
	bool dir = (le32_get(i->mode) & S_IFMT) == S_IFDIR;
	unsigned flags = le16_get(i->flags);

	if (!mode_ok(le32_get(i->mode)))
		return "unknown file type or mode bits";
	if (i->height > FMT_MAX_HEIGHT || i->xheight > FMT_MAX_HEIGHT)
		return "map too high";
	if (le64_get(i->size) > (uint64_t)INT64_MAX)
		return "size out of range";
	if (le64_get(i->blocks) > g->nblocks)
		return "more blocks than the volume has";
	if ((flags & ~FMT_FLAG_INLINE) != 0)
		return "unknown flag";
	if ((flags & FMT_FLAG_INLINE) != 0 &&
	    (dir || le64_get(i->root) != 0 || le64_get(i->size) > FMT_INLINE_MAX))
		return "inline content together with a map, or too long";
	if (le32_get(i->xbytes) > FMT_XATTR_BLOB_MAX ||
	    (le32_get(i->xbytes) == 0 && le64_get(i->xroot) != 0))
		return "size of the attributes is wrong";
	if (i->dir_depth > FMT_DIR_MAX_DEPTH || (!dir && i->dir_depth != 0))
		return "directory depth out of range";
	if (dir && le64_get(i->rdev) == 0)
		return "directory without a parent";
	if (!all_zero(i->zero, sizeof(i->zero)))
		return "reserved bytes are not zero";
	return NULL;
}

int fmt_inode_verify(const struct geo *g, const struct fmt_inode *i, inum_t want)
{
	const char *fault;

	if (le64_get(i->ino) == 0 && all_zero(i, sizeof(*i)))
		return 0;
	if (le64_get(i->csum) != fmt_inode_csum(g, i))
		return err_set(-EBADMSG, "inode %llu: wrong checksum", (unsigned long long)want.v);
	if (le64_get(i->ino) != want.v)
		return err_set(-EUCLEAN, "inode %llu: says that it is inode %llu",
			       (unsigned long long)want.v, (unsigned long long)le64_get(i->ino));
	if (le32_get(i->mode) == 0)
		return 0;
	fault = inode_fault(g, i);
	if (fault)
		return err_set(-EUCLEAN, "inode %llu: %s", (unsigned long long)want.v, fault);
	return 0;
}

/* ---- directories */

uint64_t fmt_bucket_csum(const struct geo *g, const struct fmt_bucket_head *h)
{
	return hash_bytes((const uint8_t *)h + 8, offsetof(struct fmt_bucket_head, tag) - 8,
			  hash_mix2(g->seed, le64_get(h->self)));
}

#ifdef __SSE2__
static uint64_t bucket_tags_sum(const uint64_t tags[8], uint64_t last)
{
	const __m128i zero = _mm_setzero_si128();
	__m128i sum = _mm_sad_epu8(_mm_set_epi64x((long long)last, (long long)tags[6]), zero);

	for (unsigned i = 0; i < 6; i += 2)
		sum = _mm_add_epi64(
		    sum,
		    _mm_sad_epu8(_mm_loadu_si128((const __m128i *)(const void *)&tags[i]), zero));
	return (uint64_t)_mm_cvtsi128_si32(sum) + (uint64_t)_mm_extract_epi16(sum, 4);
}
#else
static uint64_t bucket_tags_sum(const uint64_t tags[8], uint64_t last)
{
	const uint64_t even = 0x00ff00ff00ff00ffull;
	uint64_t sums =
	    (last & even) + (last >> 8 & even); /* four sums of 16 bits: at most 16 * 255 each */

	for (unsigned i = 0; i < 7; i++)
		sums += (tags[i] & even) + (tags[i] >> 8 & even);
	return sums * 0x0001000100010001ull >> 48;
}
#endif

/* The low byte is the sum of the tags, so that one changed byte is always found; the high byte is a
 * multilinear hash of the words, for the rest. It is on the path of every lookup: a few ns, where
 * XXH3 takes twice as long. All zeros give 0. */
uint16_t fmt_bucket_tags_check(const uint64_t tags[8])
{
	const uint64_t last = tags[7] & 0x0000ffffffffffffull;
	uint64_t mixed = tags[0] * 0x9e3779b97f4a7c15ull + tags[1] * 0xbf58476d1ce4e5b9ull +
			 tags[2] * 0x94d049bb133111ebull + tags[3] * 0xd6e8feb86659fd93ull +
			 tags[4] * 0xa0761d6478bd642full + tags[5] * 0xe7037ed1a0b428dbull +
			 tags[6] * 0x8ebc6af09c88c6e3ull + last * 0x589965cc75374cc3ull;

	return (uint16_t)((bucket_tags_sum(tags, last) & 0xff) | (mixed >> 56 << 8));
}

static bool bucket_tags_ok(const struct fmt_bucket_head *h)
{
	uint64_t w[8];

	for (unsigned i = 0; i < 8; i++) {
		le64_t x;

		memcpy(&x, &h->tag[8 * i], sizeof(x));
		w[i] = le64_get(x);
	}
	return w[7] >> 48 == fmt_bucket_tags_check(w);
}

static const char *bucket_fault(const struct fmt_bucket_head *h, inum_t owner, uint64_t gen,
				unsigned depth, uint64_t prefix, mblk_t self)
{
	if (le64_get(h->self) != self.v)
		return "it says that it is another block";
	if (le64_get(h->owner) != owner.v || le64_get(h->owner_gen) != gen)
		return "it belongs to another directory";
	if (le32_get(h->depth) != depth || le64_get(h->prefix) != prefix ||
	    depth > FMT_DIR_MAX_DEPTH || prefix >> depth != 0)
		return "it is for other names";
	if (le64_get(h->zero[0]) != 0 || le64_get(h->zero[1]) != 0)
		return "reserved bytes are not zero";
	if (h->tag[0] == FMT_TAG_MORE)
		return "its first slot continues a name";
	return NULL;
}

int fmt_bucket_verify(const struct geo *g, const struct fmt_bucket_head *h, inum_t owner,
		      uint64_t gen, unsigned depth, uint64_t prefix, mblk_t self)
{
	const char *fault;

	if (le32_get(h->magic) != FMT_BUCKET_MAGIC)
		return err_set(-EUCLEAN, "directory %llu, block %llu: not a directory bucket",
			       (unsigned long long)owner.v, (unsigned long long)self.v);
	if (le64_get(h->csum) != fmt_bucket_csum(g, h))
		return err_set(-EBADMSG, "directory %llu, bucket in block %llu: wrong checksum",
			       (unsigned long long)owner.v, (unsigned long long)self.v);
	fault = bucket_fault(h, owner, gen, depth, prefix, self);
	if (fault)
		return err_set(-EUCLEAN, "directory %llu, bucket in block %llu: %s",
			       (unsigned long long)owner.v, (unsigned long long)self.v, fault);
	if (!bucket_tags_ok(h))
		return err_set(-EBADMSG,
			       "directory %llu, bucket in block %llu: wrong checksum of the tags",
			       (unsigned long long)owner.v, (unsigned long long)self.v);
	return 0;
}

uint32_t fmt_dirent_check(const struct geo *g, inum_t dir, uint64_t key, uint64_t target,
			  const void *name, unsigned len)
{
	struct {
		le64_t key, target;
		uint8_t name[FMT_NAME_MAX + 1];
	} b;
	unsigned n = len <= FMT_NAME_MAX ? len : FMT_NAME_MAX;

	b.key = le64_of(key);
	b.target = le64_of(target);
	memcpy(b.name, name, n);
	return (uint32_t)hash_bytes(&b, 16 + n, hash_mix2(g->seed, dir.v));
}

uint64_t fmt_name_hash(const struct geo *g, const void *name, unsigned len)
{
	return hash_bytes(name, len, g->seed ^ SALT_NAME) & ~0xffull;
}

/* ---- orphans */

uint64_t fmt_orphan_csum(const struct geo *g, uint32_t slot, const struct fmt_orphan *o)
{
	return hash_bytes((const uint8_t *)o + 8, sizeof(*o) - 8,
			  hash_mix2(g->seed, ~(uint64_t)slot));
}

static const char *orphan_fault(const struct fmt_orphan *o)
{
	if (o->kind != FMT_ORPHAN_INODE && o->kind != FMT_ORPHAN_SUBTREE)
		return "unknown kind";
	if (le64_get(o->ino) <= FMT_INO_ORPHANS)
		return "no owner that can have one";
	if (o->fork > FMT_FORK_XATTR || o->level > FMT_MAX_HEIGHT)
		return "unknown fork or level";
	if (o->kind == FMT_ORPHAN_SUBTREE && le64_get(o->entry) == 0)
		return "subtree without an entry";
	if (o->zero0 != 0 || le32_get(o->zero1) != 0 || le64_get(o->zero[0]) != 0 ||
	    le64_get(o->zero[1]) != 0)
		return "reserved bytes are not zero";
	return NULL;
}

int fmt_orphan_verify(const struct geo *g, uint32_t slot, const struct fmt_orphan *o)
{
	const char *fault;

	if (le64_get(o->csum) != fmt_orphan_csum(g, slot, o)) {
		if (all_zero(o, sizeof(*o)))
			return 0;
		return err_set(-EBADMSG, "orphan slot %u: wrong checksum", slot);
	}
	fault = orphan_fault(o);
	if (fault)
		return err_set(-EUCLEAN, "orphan slot %u: %s", slot, fault);
	return 0;
}

/* ---- the journal's words */

/* 1..255, so that a zeroed page is never a valid C. */
static uint64_t ckpt_check(const struct geo *g, uint64_t c)
{
	return 1 + hash_mix2(g->seed ^ SALT_CKPT, c) % 255;
}

uint64_t fmt_ckpt_encode(const struct geo *g, jseq_t c)
{
	return c.v | ckpt_check(g, c.v) << 56;
}

bool fmt_ckpt_decode(const struct geo *g, uint64_t raw, jseq_t *out)
{
	uint64_t c = raw & 0x00ffffffffffffffull;

	if (raw >> 56 != ckpt_check(g, c))
		return false;
	*out = JSEQ(c);
	return true;
}

/* The place goes into the seed, so that a record's bytes are valid where they were written and
 * nowhere else, and the volume's random seed, so that nobody's file content can be one. */
uint64_t fmt_record_seed(const struct geo *g, uint32_t lane, uint32_t half, uint64_t off_in_half)
{
	return hash_mix2(g->seed ^ SALT_RECORD, ((uint64_t)lane << 1 | half) << 40 | off_in_half);
}

uint64_t fmt_xattr_csum(const struct geo *g, inum_t owner, const void *blob, uint32_t bytes)
{
	return hash_bytes((const uint8_t *)blob + 8, bytes < 8 ? 0 : bytes - 8,
			  hash_mix2(g->seed, owner.v));
}
