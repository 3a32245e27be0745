/* The bytes on the media: every struct, and nothing else. Little-endian, fixed width, each field's offset asserted.
 * docs/FORMAT.md is generated from what stands here.
 *
 * Where things are (blocks of 4 KiB; all sizes are in the superblock):
 *
 *   0            superblock
 *   1, 2         checkpoint C, twice, each on a page of its own
 *   3            reserved (zero)
 *   4            inode table: its first map node
 *   5            inode table: bitmap of inode group 0
 *   6            inode table: inodes 0..15 (1 = the inode table itself, 2 = orphan table, 3 = root directory)
 *   7            orphan table: its first block (64 slots)
 *   8..          allocation lines: 64 bytes per frame, one bit per block. Of a volume that has grown: unused
 *   ..           journal lanes
 *   ..           everything else is allocated
 *   ..           of a volume that has grown: the allocation lines
 *   last block   superblock, second copy
 *
 * A volume of several devices: they follow each other in the numbers of blocks. The first block of each but the first is a
 * copy of the superblock, by which it is told which device it is.
 */
#ifndef HF_FORMAT_FORMAT_H
#define HF_FORMAT_FORMAT_H

#include "base/types.h"
#include <assert.h>

#define FMT_MAGIC         "HOLDFAST"
#define FMT_VERSION       1u
#define FMT_LABEL_MAX     63u
#define FMT_MIN_BYTES     (2ull * HF_FRAME_SIZE)
#define FMT_LANES_MAX     256u
#define FMT_LANE_MIN      65536u		/* bytes: two halves, each at least twice the largest record */
#define FMT_LANE_MAX      (64u << 20)
#define FMT_RECORD_MAX    16384u		/* bytes of one journal record */

#define FMT_BLK_SUPER     0u
#define FMT_BLK_CKPT0     1u
#define FMT_BLK_CKPT1     2u
#define FMT_BLK_ITNODE    4u
#define FMT_BLK_ITBITMAP  5u
#define FMT_BLK_INODES0   6u
#define FMT_BLK_ORPHANS0  7u
#define FMT_BLK_ALLOC     8u

#define FMT_INO_ITABLE    1u
#define FMT_INO_ORPHANS   2u
#define FMT_INO_ROOT      3u
#define FMT_INO_FIRST     16u		/* the first number that is handed out */

/* Feature masks. An unknown bit in incompat: refuse (-EOPNOTSUPP, with the bit's name or number); in ro_compat: mount
 * read-only only; in compat: ignore; in log_incompat: refuse while the journal is not empty. */
#define FMT_INCOMPAT_REPAIR     1ull	/* fsck is writing a repair, or was interrupted in it: see struct fmt_redo */
#define FMT_INCOMPAT_SPREAD     2ull	/* several devices */
#define FMT_INCOMPAT_GROWN      4ull	/* the allocation lines end where the second superblock begins */
#define FMT_INCOMPAT_KNOWN      (FMT_INCOMPAT_REPAIR | FMT_INCOMPAT_SPREAD | FMT_INCOMPAT_GROWN)
#define FMT_RO_COMPAT_KNOWN     0ull
#define FMT_COMPAT_KNOWN        0ull
#define FMT_LOG_INCOMPAT_KNOWN  0ull

#define FMT_DEVICES_MAX  8u
#define FMT_COPY_FIRST   0u		/* fmt_super.copy: at the start, */
#define FMT_COPY_LAST    1u		/* in the last block, */
#define FMT_COPY_OF(i)   (1u + (i))	/* in the first block of device i, from 1 on */

struct fmt_device {			/* one of the devices that make up the volume, in their order */
	uint8_t uuid[16];		/* its own; of the first the volume's */
	le64_t frames;			/* that the volume has of it */
	le64_t reserved;
};
static_assert(sizeof(struct fmt_device) == 32, "");

struct fmt_super {
	uint8_t magic[8];		/* "HOLDFAST" */
	le64_t csum;			/* XXH3 of bytes 16..4095, 'stamp' taken as 0, seed FMT_VERSION */
	le32_t version;
	le32_t copy;			/* FMT_COPY_* */
	le64_t compat, incompat, ro_compat, log_incompat;
	uint8_t uuid[16];
	uint8_t label[64];		/* NUL-padded */
	le64_t seed;			/* random, of this format: checksums of everything else start from it */
	le64_t bytes;			/* size of the volume, whole frames */
	le64_t alloc_off;		/* media offset of the allocation lines: block 8, or see FMT_INCOMPAT_GROWN */
	le64_t lanes_off;
	le64_t lane_bytes;		/* of one lane: two halves of lane_bytes / 2 */
	le32_t lanes;
	le32_t ndevices;
	le64_t first_data;		/* first block that the allocator owns */
	le64_t created_ns;
	le64_t repair;			/* with FMT_INCOMPAT_REPAIR: first block of the redo list, 0: there is none */
	le64_t repair_undo;		/* id of the undo file of that repair, else of the last one; 0: it had none */
	le64_t stamp;			/* of several devices: which mount they were together at last (src/format/stamp.c); not in csum */
	le64_t reserved0;
	struct fmt_device devices[FMT_DEVICES_MAX];
	uint8_t reserved[4096 - 488];
};
static_assert(sizeof(struct fmt_super) == 4096, "");
static_assert(offsetof(struct fmt_super, version) == 16, "");
static_assert(offsetof(struct fmt_super, compat) == 24, "");
static_assert(offsetof(struct fmt_super, uuid) == 56, "");
static_assert(offsetof(struct fmt_super, label) == 72, "");
static_assert(offsetof(struct fmt_super, seed) == 136, "");
static_assert(offsetof(struct fmt_super, bytes) == 144, "");
static_assert(offsetof(struct fmt_super, alloc_off) == 152, "");
static_assert(offsetof(struct fmt_super, lanes_off) == 160, "");
static_assert(offsetof(struct fmt_super, lane_bytes) == 168, "");
static_assert(offsetof(struct fmt_super, lanes) == 176, "");
static_assert(offsetof(struct fmt_super, first_data) == 184, "");
static_assert(offsetof(struct fmt_super, created_ns) == 192, "");
static_assert(offsetof(struct fmt_super, repair) == 200, "");
static_assert(offsetof(struct fmt_super, stamp) == 216, "");
static_assert(offsetof(struct fmt_super, devices) == 232, "");

/* Checkpoint C: the first 8 bytes of its page. bits 0..55 the sequence number, bits 56..63 a check. */
struct fmt_ckpt {
	le64_t c;
	uint8_t zero[4088];
};
static_assert(sizeof(struct fmt_ckpt) == 4096, "");

/* ---- journal records: whole 64-byte lines from 'struct fmt_record' on; see docs/CRASH.md.
 * csum = XXH3 of the record's bytes after csum, seed = fmt_record_seed(volume seed, lane, half, offset in half). */
struct fmt_record {
	le64_t csum;
	le64_t seq;
	le32_t bytes;			/* whole record, a multiple of 64 */
	le32_t items;			/* number of items that follow */
};
static_assert(sizeof(struct fmt_record) == 24, "");

/* An item: 8 bytes of head, then its payload, padded to 8 bytes.
 * head: bits 0..55 media offset (or media bit number), bits 56..63 kind */
enum fmt_item_kind {
	FMT_ITEM_SET64 = 1,		/* offset 8-aligned; payload: 8 bytes, the new word (as on the media) */
	FMT_ITEM_BITS_SET = 2,		/* bit number (byte offset * 8 + bit); payload: 8 bytes, the count */
	FMT_ITEM_BITS_CLEAR = 3,
	FMT_ITEM_COPY = 4,		/* offset 8-aligned; payload: 8 bytes length (multiple of 8), then the bytes */
	FMT_ITEM_DATA = 5,		/* any offset; payload: 8 bytes length (at most FMT_ITEM_DATA_MAX), 8 bytes XXH3 of the
					 * file's bytes that are there, seed = the volume's. Changes nothing: of a lane's last
					 * record it says whether the record counts, see docs/CRASH.md */
};
#define FMT_ITEM_DATA_MAX 4096u
#define FMT_ITEM(kind, off)  ((uint64_t)(kind) << 56 | (off))
#define FMT_ITEM_KIND(h)     ((unsigned)((h) >> 56))
#define FMT_ITEM_OFF(h)      ((h) & 0xffffffffffffffull)

/* ---- inodes: 256 bytes */
#define FMT_INODE_SIZE    256u
#define FMT_INODE_SHIFT   8
#define FMT_INODES_PER_BLOCK 16u
#define FMT_INLINE_MAX    128u
#define FMT_FLAG_INLINE   1u		/* content is in inline_data; root is 0 */

struct fmt_inode {
	le64_t csum;			/* a sum over the 31 words behind it: geo.h, fmt_inode_csum_word() */
	le64_t ino;
	le64_t gen;			/* +1 each time the number is handed out; kept while free */
	le32_t mode;			/* S_IFMT and permission bits; 0: free */
	le32_t nlink;			/* directories: 2 + subdirectories */
	le32_t uid, gid;
	le64_t size;			/* bytes; a directory: number of entries, without . and .. */
	le64_t blocks;			/* 4 KiB blocks that it owns: content, map nodes, attributes */
	le64_t root;			/* root entry of the content's map */
	le64_t xroot;			/* root entry of the attributes' map */
	le32_t xbytes;			/* bytes of attributes, 0: none */
	uint8_t height, xheight;	/* level of root, xroot */
	le16_t flags;
	le64_t atime, mtime, ctime, btime;	/* signed ns since 1970 */
	le64_t rdev;			/* device nodes: makedev(); directories: the parent's number */
	uint8_t dir_depth;		/* directories: the deepest bucket there ever was */
	uint8_t zero[3];
	le32_t orphan;			/* 1 + the orphan slot that this inode owns; 0: none */
	uint8_t inline_data[FMT_INLINE_MAX];
};
static_assert(sizeof(struct fmt_inode) == FMT_INODE_SIZE, "");
static_assert(offsetof(struct fmt_inode, mode) == 24, "");
static_assert(offsetof(struct fmt_inode, size) == 40, "");
static_assert(offsetof(struct fmt_inode, root) == 56, "");
static_assert(offsetof(struct fmt_inode, xbytes) == 72, "");
static_assert(offsetof(struct fmt_inode, height) == 76, "");
static_assert(offsetof(struct fmt_inode, atime) == 80, "");
static_assert(offsetof(struct fmt_inode, rdev) == 112, "");
static_assert(offsetof(struct fmt_inode, dir_depth) == 120, "");
static_assert(offsetof(struct fmt_inode, inline_data) == 128, "");

/* The inode table is a file (inode 1) of groups of 2049 blocks: a bitmap block (1 = in use; bit i of the group is
 * bit i%64 of little-endian word i/64), then 2048 blocks of 16 inodes. It grows a block at a time and never shrinks. */
#define FMT_IGROUP_INODES  32768u
#define FMT_IGROUP_BLOCKS  2049u

/* ---- the map: entries of 8 bytes, nodes of 512 entries.
 * An entry of level e stands for 512^e blocks of the file: level 0 a block; level 1 a huge leaf or a node of level-0
 * entries; level 2 a node of level-1 entries ... The inode holds the root entry, whose level is 'height'.
 *   bits 0..39   media block
 *   bits 40..43  kind
 *   bit  44      PUNCHED (on a node of level 1): part of it was punched; not to be collapsed behind the caller's back
 *   bits 45..47  zero
 *   bits 48..63  check over bits 0..47, owner inode, fork, level, position (fblk of the entry's first block)
 * A hole is a zero entry. */
enum fmt_entry_kind { FMT_ENT_HOLE = 0, FMT_ENT_BLOCK = 1, FMT_ENT_HUGE = 2, FMT_ENT_NODE = 3 };
enum fmt_fork { FMT_FORK_DATA = 0, FMT_FORK_XATTR = 1 };
#define FMT_ENT_PUNCHED   (1ull << 44)
#define FMT_NODE_ENTRIES  512u
#define FMT_MAX_HEIGHT    6u			/* 512^6 blocks = 2^66 bytes, enough for 2^63 */

/* ---- directories: buckets of 4 KiB, a trie on the high bits of the name's hash.
 * The bucket of depth d for the hash prefix p (its d highest bits) is block 2^d - 1 + p of the directory's map. For each
 * hash exactly one depth has a bucket; a full bucket is replaced by its two children. An empty directory has none.
 * A position in the directory (a readdir cookie) is a key: 56 bits of hash and 8 to tell equal hashes apart, and the
 * order of iteration is the order of keys, which splitting does not change. */
#define FMT_BUCKET_MAGIC  0x4b425348u
#define FMT_DIR_SLOTS     62u
#define FMT_DIR_SLOT      64u
#define FMT_DIR_NAME0     44u			/* bytes of the name in its first slot; the others hold 64 */
#define FMT_DIR_MAX_DEPTH 48u
#define FMT_NAME_MAX      255u
#define FMT_TAG_FREE      0u			/* tag[]: free slot */
#define FMT_TAG_MORE      1u			/* the slot continues the name of the one before */
						/* 2..255: an entry starts here; 2 + hash of the key % 254 */
struct fmt_bucket_head {
	le64_t csum;			/* XXH3 of bytes 8..63, seed = mix(volume seed, media block of the bucket) */
	le32_t magic;
	le32_t depth;
	le64_t prefix;
	le64_t owner;			/* the directory's inode number */
	le64_t owner_gen;
	le64_t self;			/* media block of this bucket */
	le64_t zero[2];
	uint8_t tag[64];		/* 62 tags, then 16 bits of check over them. Words of 8 are journalled */
};
static_assert(sizeof(struct fmt_bucket_head) == 128, "");
struct fmt_dirent {
	le64_t key;			/* hash56 << 8 | disambiguator */
	le64_t target;			/* bits 0..47 inode, 48..55 name length, 56..63 file type (DT_*) */
	le32_t check;			/* low half of XXH3 of key, target and name, seed = mix(volume seed, directory ino) */
	uint8_t name[FMT_DIR_NAME0];	/* goes on in the slots behind */
};
static_assert(sizeof(struct fmt_dirent) == 64, "");
#define FMT_DIRENT_INO(t)  ((t) & 0xffffffffffffull)
#define FMT_DIRENT_LEN(t)  ((unsigned)((t) >> 48 & 0xff))	/* 1..255 */
#define FMT_DIRENT_TYPE(t) ((unsigned)((t) >> 56))
struct fmt_bucket {
	struct fmt_bucket_head head;
	struct fmt_dirent slot[FMT_DIR_SLOTS];
};
static_assert(sizeof(struct fmt_bucket) == 4096, "");

/* ---- orphans: slots of one line; all zero: free. Each belongs to one inode. Recovery finishes what they say. */
enum fmt_orphan_kind {
	FMT_ORPHAN_INODE = 1,		/* nlink 0: free it all; else: free what lies beyond its size */
	FMT_ORPHAN_SUBTREE = 2,		/* a detached part of a map: free it */
};
struct fmt_orphan {
	le64_t csum;			/* XXH3 of bytes 8..63, seed = mix(volume seed, ~slot) */
	le64_t ino;			/* owner */
	le64_t gen;
	le64_t entry;			/* SUBTREE: the entry, as it stood (its check is over owner, fork, level, fblk) */
	le64_t fblk;
	uint8_t kind, fork, level, zero0;
	le32_t zero1;
	le64_t zero[2];
};
static_assert(sizeof(struct fmt_orphan) == 64, "");
#define FMT_ORPHANS_PER_BLOCK 64u

/* ---- extended attributes: a blob in the inode's attribute fork, rewritten whole (fresh blocks, then the root) */
#define FMT_XATTR_MAGIC   0x52544158u
#define FMT_XATTR_BLOB_MAX (1u << 20)
struct fmt_xattr_head {
	le64_t csum;			/* XXH3 of the blob after csum, seed = mix(volume seed, owner ino) */
	le32_t magic;
	le32_t bytes;			/* of the whole blob, head included */
	le64_t owner;
	le32_t count;
	le32_t zero;
};
static_assert(sizeof(struct fmt_xattr_head) == 32, "");
struct fmt_xattr {			/* then the name (not NUL-terminated) and the value, padded to 8 bytes */
	le32_t value_bytes;
	uint8_t name_bytes;		/* the full name, "user.x" */
	uint8_t zero[3];
};
static_assert(sizeof(struct fmt_xattr) == 8, "");

/* ---- a repair's redo list: blocks in free space, each names blocks to write and where their new content lies, in free space
 * too. While FMT_INCOMPAT_REPAIR is set, the next fsck writes them (again); nothing mounts. */
#define FMT_REDO_MAGIC    0x4f444552u
#define FMT_REDO_ENTRIES  169u
struct fmt_redo_entry {
	le64_t to, from;		/* media blocks */
	le64_t csum;			/* XXH3 of the new content, seed = mix(volume seed, to) */
};
struct fmt_redo {
	le64_t csum;			/* XXH3 of bytes 8..4095, seed = mix(volume seed, self) */
	le32_t magic;
	le32_t count;			/* entries in this block */
	le64_t self;
	le64_t next;			/* the next block of the list; 0: the last */
	le64_t zero;
	struct fmt_redo_entry entry[FMT_REDO_ENTRIES];
};
static_assert(sizeof(struct fmt_redo) == 4096, "");

#endif
