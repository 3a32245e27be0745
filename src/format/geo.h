/* The superblock, decoded and verified, and what is computed from the volume's seed. */
#ifndef HF_FORMAT_GEO_H
#define HF_FORMAT_GEO_H

#include "format/format.h"
#include "base/hash.h"
#include "media/pm.h"

struct geo {
	uint64_t bytes, nblocks, nframes;
	uint64_t seed;
	moff_t alloc_off, lanes_off;
	uint64_t lane_bytes;
	uint32_t nlanes;
	mblk_t first_data, end_data;	/* blocks below, and from the second on (the last one, and lines that were moved there), are never */
	bool spread;			/* allocated or freed, nor others: there are several devices. See geo_fixed() */
	uint32_t ndevices;
	mblk_t device_first[FMT_DEVICES_MAX]; /* its superblock; of the first 0 */
	uint8_t device_uuid[FMT_DEVICES_MAX][16];
	uint8_t uuid[16];
	char label[FMT_LABEL_MAX + 1];
	uint64_t created_ns;
	bool read_only_features;	/* an unknown ro_compat bit is set */
	bool repairing;			/* a repair was interrupted: only fsck may go on */
	mblk_t redo;			/* then: its redo list, MBLK_NULL: none */
	uint64_t repair_undo;		/* the id of its undo file, or of the last repair's; 0: it had none */
	bool used_copy;			/* the first superblock was bad; this is the second */
};

/* Opens the medium of a volume: pm_open() with several devices in the order that their superblocks say. A device that is missing,
 * foreign or a copy of another is refused: -ENODEV, -EINVAL. mend: a further device whose superblock is damaged, but still to be
 * recognised, is taken for the one that is missing (else -EBADMSG). */
int geo_open(const char *path, const struct pm_open_args *args, bool mend, struct pm **out);
/* Reads and verifies the superblock, or its copy where the first is damaged or poisoned. The copy is looked for at the
 * end of the device and where the damaged first one says that the volume ends. -EINVAL: no holdfast volume; -ENODEV: a
 * volume of several devices of which not all are named;
 * -EBADMSG/-EUCLEAN: damaged, also a device that is shorter than its superblock says; -EOPNOTSUPP: unknown feature or
 * version; -EIO: poisoned. 'out' is written on success only. */
int geo_read(const struct pm *pm, struct geo *out);
/* One superblock: magic, version, checksum, which copy it is, features, and that every size and offset fits the others
 * and a device of pm_bytes. The errors of geo_read(). */
int geo_verify_super(const struct fmt_super *s, uint64_t pm_bytes, uint32_t want_copy);
uint64_t geo_super_csum(const struct fmt_super *s);
/* Which copy stands at the beginning of device i. */
static inline uint32_t geo_head_copy(uint32_t i) { return i ? FMT_COPY_OF(i) : FMT_COPY_FIRST; }
/* Where superblock 'copy' (FMT_COPY_*) is. */
static inline moff_t geo_super_off(const struct geo *g, uint32_t copy)
{
	if (copy <= FMT_COPY_LAST)
		return mblk_to_moff(copy == FMT_COPY_LAST ? MBLK(g->nblocks - 1) : MBLK(FMT_BLK_SUPER));
	return mblk_to_moff(g->device_first[copy - FMT_COPY_OF(0)]);
}

/* What is allocated once and for all: the i-th extent, 0 blocks: there are no more. Those from GEO_FIXED_SPREAD on are there only if
 * g->spread. */
#define GEO_FIXED_SPREAD 2u
uint64_t geo_fixed(const struct geo *g, unsigned i, mblk_t *first);
/* Outside of those from GEO_FIXED_SPREAD on. */
bool geo_spread_ok(const struct geo *g, mblk_t first, uint64_t n);
/* How many blocks the allocator has. */
uint64_t geo_blocks(const struct geo *g);
/* May be owned by a file or by the tables: outside superblocks, C, the allocation lines and the lanes. */
static inline bool geo_block_ok(const struct geo *g, mblk_t b)
{
	return ((b.v >= g->first_data.v && b.v < g->end_data.v) ||
		(b.v >= FMT_BLK_ITNODE && b.v < FMT_BLK_ALLOC)) &&
	       (__builtin_expect(!g->spread, 1) || geo_spread_ok(g, b, 1));
}
/* The bit of block b in the allocation lines, as a media bit number. */
static inline uint64_t geo_alloc_bit(const struct geo *g, mblk_t b) { return g->alloc_off.v * 8 + b.v; }

/* Bytes of the allocation lines of a volume of so many frames: whole blocks. */
static inline uint64_t geo_lines_bytes(uint64_t frames) { return round_up_u64(frames * HF_LINE, HF_BLOCK_SIZE); }

/* ---- growing (grow.c). Nobody else has the volume, it needs no recovery, and its first superblock is sound. */
/* How large it becomes: all of the medium. 0: not larger than it is. -ENOSPC: what is new has no room for the lines. */
int geo_grow_to(const struct pm *pm, const struct geo *g, uint64_t *bytes);
/* Durability: it has that size. On an error it has the old one or the new one. Then geo_settle(). Blocks: as long as the lines take. */
int geo_grow(struct pm *pm, const struct geo *g, uint64_t bytes);
/* What a growth that was interrupted left is brought in order. Who opens a volume to write calls it before he stores anything else. */
int geo_settle(struct pm *pm, const struct geo *g);

/* ---- are the devices of one age? (stamp.c) */
bool geo_stamp_ok(const struct fmt_super *s);	/* not damaged */
/* A device's superblock against the first device's, both sound: 0, -1: it is older, 1: the first one is. */
int geo_stamp_compare(const struct fmt_super *first, const struct fmt_super *s);
/* The devices are together from here on. Durability: three fences; after each the stamps fit. Nothing for one device. */
int geo_stamp(struct pm *pm, const struct geo *g);
/* What the first device's superblock must have where it is written again; the second copy has 0. */
le64_t geo_stamp_first(const struct pm *pm, const struct geo *g);
/* What a repair gives all of them: the word as it stands on the media. newer 1: none of them ever had it. */
uint64_t geo_stamp_settled(const struct pm *pm, const struct geo *g, uint64_t newer);

struct mkfs_args {
	uint64_t bytes;			/* 0: all of the device */
	const char *label;		/* NULL: none */
	const uint8_t *uuid;		/* NULL: random */
	uint32_t uid, gid;		/* of the root directory */
	uint32_t root_mode;		/* 0: 0755 */
	uint64_t seed;			/* 0: random. Of a simulation: the same bytes each time */
	uint64_t now_ns;		/* 0: the clock */
};
/* Writes an empty volume. Order: the old superblocks are wiped and fenced; lanes, lines, table and root are written and
 * fenced; then the superblocks. Nothing is checked for old content (the caller did). */
int mkfs_write(struct pm *pm, const struct mkfs_args *args);

/* ---- verifiers and builders (verify.c). Those that return int give 0, -EBADMSG (checksum) or -EUCLEAN (structure). */
struct map_key { uint64_t k; };			/* per owner and fork */
static inline enum fmt_entry_kind fmt_entry_kind_of(uint64_t e) { return (enum fmt_entry_kind)(e >> 40 & 15); }
static inline mblk_t fmt_entry_blk(uint64_t e) { return MBLK(e & 0xffffffffffull); }
static inline uint64_t fmt_level_blocks(unsigned level) { return 1ull << (9 * level); }	/* level <= 6 */

static inline struct map_key fmt_map_key(const struct geo *g, inum_t owner, enum fmt_fork fork)
{
	return (struct map_key){hash_mix2(g->seed ^ 0x6d61706bull, owner.v << 1 | (uint64_t)fork)};
}

/* The 16 check bits: one mix. For a fixed place the low 48 bits go in one to one; another place moves all 64. */
static inline uint64_t fmt_entry_check(struct map_key key, unsigned level, fblk_t fblk, uint64_t low48)
{
	uint64_t place = (fblk.v << 3 | level) * 0x9e3779b97f4a7c15ull;

	return hash_mix((key.k + place) ^ low48) & 0xffff000000000000ull;
}

/* The entry of 'level' whose first file block is 'fblk'. flags: FMT_ENT_PUNCHED or 0. */
static inline uint64_t fmt_entry_make(struct map_key key, unsigned level, fblk_t fblk, enum fmt_entry_kind kind,
				      mblk_t blk, uint64_t flags)
{
	uint64_t low48 = (blk.v & 0xffffffffffull) | (uint64_t)kind << 40 | flags;

	return low48 | fmt_entry_check(key, level, fblk, low48);
}

/* Says what is wrong with an entry; never 0. */
int fmt_entry_bad(const struct geo *g, struct map_key key, unsigned level, fblk_t fblk, uint64_t entry)
	__attribute__((cold));

/* True if kind, flags and block fit the level and the volume. */
static inline bool fmt_entry_shape_ok(const struct geo *g, unsigned level, uint64_t entry)
{
	mblk_t b = fmt_entry_blk(entry);
	uint64_t flags = entry & 0x0000f00000000000ull;

	switch (fmt_entry_kind_of(entry)) {
	case FMT_ENT_BLOCK:
		return level == 0 && flags == 0 && geo_block_ok(g, b);
	case FMT_ENT_HUGE:
		return level == 1 && flags == 0 && b.v % HF_BLOCKS_PER_FRAME == 0 &&
		       b.v >= g->first_data.v && b.v + HF_BLOCKS_PER_FRAME <= g->end_data.v &&
		       (__builtin_expect(!g->spread, 1) || geo_spread_ok(g, b, HF_BLOCKS_PER_FRAME));
	case FMT_ENT_NODE:
		return level >= 1 && level <= FMT_MAX_HEIGHT && geo_block_ok(g, b) &&
		       (flags == 0 || (flags == FMT_ENT_PUNCHED && level == 1));
	default:
		return false;
	}
}

/* Checks the check bits, kind and flags against level, and the block's range. A zero entry is a hole: 0. */
static inline int fmt_entry_verify(const struct geo *g, struct map_key key, unsigned level, fblk_t fblk,
				   uint64_t entry)
{
	uint64_t low48 = entry & 0x0000ffffffffffffull;

	if (entry == 0)
		return 0;
	if ((entry ^ fmt_entry_check(key, level, fblk, low48)) >> 48 != 0 || !fmt_entry_shape_ok(g, level, entry))
		return fmt_entry_bad(g, key, level, fblk, entry);
	return 0;
}

/* An inode's checksum is a sum over its words 1..31, each mixed with the key and its place (a zero word adds nothing): who
 * changes a few words corrects the sum by these alone, and a damaged image cannot get a right sum that way. */
static inline uint64_t fmt_inode_csum_word(uint64_t key, unsigned word, uint64_t value)
{
	return value ? hash_mix(value ^ (key + word * 0x9e3779b97f4a7c15ull)) : 0;
}
static inline uint64_t fmt_inode_csum_key(const struct geo *g, inum_t ino)
{
	return hash_mix2(g->seed, ino.v);
}
uint64_t fmt_inode_csum(const struct geo *g, const struct fmt_inode *i);
/* Free inodes verify too: all zeros (never used), or mode 0 with checksum and number right. */
int fmt_inode_verify(const struct geo *g, const struct fmt_inode *i, inum_t want);
uint64_t fmt_bucket_csum(const struct geo *g, const struct fmt_bucket_head *h);
/* 16 bits over the 62 tags, as 8 host words (of the last, the low 48 bits): they change in place and so are not in csum. */
uint16_t fmt_bucket_tags_check(const uint64_t tags[8]);
int fmt_bucket_verify(const struct geo *g, const struct fmt_bucket_head *h, inum_t owner, uint64_t gen, unsigned depth,
		      uint64_t prefix, mblk_t self);
uint32_t fmt_dirent_check(const struct geo *g, inum_t dir, uint64_t key, uint64_t target, const void *name, unsigned len);
uint64_t fmt_name_hash(const struct geo *g, const void *name, unsigned len);	/* the low 8 bits are zero */
uint64_t fmt_orphan_csum(const struct geo *g, uint32_t slot, const struct fmt_orphan *o);
int fmt_orphan_verify(const struct geo *g, uint32_t slot, const struct fmt_orphan *o);	/* all zeros: free, 0 */
uint64_t fmt_ckpt_encode(const struct geo *g, jseq_t c);
/* False: damaged. An all-zero word never decodes. */
bool fmt_ckpt_decode(const struct geo *g, uint64_t raw, jseq_t *out);
uint64_t fmt_record_seed(const struct geo *g, uint32_t lane, uint32_t half, uint64_t off_in_half);
uint64_t fmt_xattr_csum(const struct geo *g, inum_t owner, const void *blob, uint32_t bytes);

/* Inode number -> where its bit and its block are in the table's file. */
static inline uint64_t fmt_ino_group(inum_t i) { return i.v / FMT_IGROUP_INODES; }
static inline fblk_t fmt_ino_bitmap_fblk(inum_t i) { return FBLK(fmt_ino_group(i) * FMT_IGROUP_BLOCKS); }
static inline fblk_t fmt_ino_fblk(inum_t i)
{
	return FBLK(fmt_ino_group(i) * FMT_IGROUP_BLOCKS + 1 + i.v % FMT_IGROUP_INODES / FMT_INODES_PER_BLOCK);
}

#endif
