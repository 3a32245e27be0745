/* Verifying a volume: every structure against every other, and repairing it. One file per structure; check.c drives them. Nothing
 * here writes to the medium, takes a lock or trusts a byte.
 *
 * A repair is made where the damage is found: check_mend() reports the finding and says whether to repair it, on the private image
 * (image.h). It goes in rounds. In a round the phases follow each other, each relying on those before it, until one has repaired
 * something: then the next round begins. So a phase sees sound structures below it, no repair knows what it entails for others
 * (a cleared inode is found by the directories, a lost subtree by the allocation lines), and the last round, which found nothing, is the
 * proof that a second run will find nothing.
 *
 * What needs a free block (a rebuilt directory, lost+found, a copy of a block with two owners) waits until a round has nothing else
 * to repair, and until a silent pass over all phases has seen who owns what: a block is taken only if nothing owns it and the allocation
 * lines say the same. */
#ifndef HF_CHECK_CHECK_H
#define HF_CHECK_CHECK_H

#include <holdfast.h>
#include "dir/dir.h"
#include "format/geo.h"
#include "inode/map.h"
#include "journal/journal.h"

struct check_image;
struct check_media;

enum check_mend { CHECK_MEND_NONE, CHECK_MEND_SAFE, CHECK_MEND_ALL };

struct check {
	const struct pm *pm;
	struct geo geo;
	const struct hf_check_options *opts;
	struct hf_check_result *res;
	uint64_t *seen;			/* a bit per block: something owns it */
	mblk_t *iblock;			/* inode block i holds inodes 16 i .. 16 i + 15; MBLK_NULL: could not be read */
	uint64_t iblocks, iblocks_cap;
	mblk_t *ibitmap;		/* per inode group */
	uint64_t igroups, igroups_cap;
	struct check_links *links;	/* per inode */
	struct check_media *media;	/* of the walk that says whose the bad blocks are; else NULL */
	struct check_image *img;	/* where repairs are made; NULL: there are none */
	enum check_mend mend;		/* which */
	bool finished;			/* an interrupted repair was, first of all */
	bool silent;			/* findings are counted, not told */
	uint64_t mended, left, waiting;	/* this round: repaired; found and left alone; waits for a free block */
	uint64_t *owned;		/* a bit per block, as 'seen' of a whole pass; NULL: not known, so none can be taken */
	uint64_t alloc_at;		/* where the next free one is looked for */
	uint64_t *cut;			/* a bit per inode: directories in a circle, their names are to be dropped */
	uint64_t cut_bits;
	uint64_t *nameless;		/* inodes for lost+found, this round */
	uint64_t nnameless, nameless_cap;
	bool stop;			/* max_findings was reached */
	int err;			/* the check itself failed (-ENOMEM) */
};

/* What the names say of an inode. */
struct check_links {
	uint32_t names;			/* directory entries that name it */
	uint32_t subdirs;		/* directories: entries of theirs that name a directory */
	uint64_t parent : 48;		/* directories: where the entry that names it is */
	uint64_t in_use : 1;
	uint64_t is_dir : 1;
	uint64_t orphan : 1;		/* an orphan slot names it */
	uint64_t reach : 2;		/* 0 unknown, 1 on the way, 2 reaches the root */
	uint64_t type : 4;		/* DT_* */
	uint64_t hit : 1;		/* has bad blocks */
	uint64_t unsound : 1;		/* its image does not verify */
};

/* One finding; where: media offset or 0. */
void check_find(struct check *c, const char *structure, uint64_t ino, uint64_t where, const char *fmt, ...)
	__attribute__((format(printf, 5, 6)));
/* One finding that can be repaired. True: it is to be repaired now, 'repair' says how; false: it was told, like any other. how: is
 * anything lost by it (ALL), or not (SAFE)? */
bool check_mend(struct check *c, enum check_mend how, const char *repair, const char *structure, uint64_t ino, uint64_t where,
		const char *fmt, ...) __attribute__((format(printf, 7, 8)));
/* What needs free blocks asks this first: true: later, and the finding will be told then. */
bool check_wait(struct check *c);
void check_progress(struct check *c, const char *phase, uint64_t done, uint64_t total);
/* Marks [first, first+n), which lies inside the volume, as owned. How many had an owner already, and the first of them. */
uint64_t check_own(struct check *c, mblk_t first, uint64_t n, mblk_t *first_twice);
/* An inode's image, NULL if its number is out of the table. Not verified. */
const struct fmt_inode *check_inode_at(const struct check *c, inum_t ino);
static inline bool check_ino_ok(const struct check *c, uint64_t ino)
{
	return ino >= 1 && ino < c->iblocks * FMT_INODES_PER_BLOCK;
}

/* ---- mend.c: changing the private image */
void check_put(struct check *c, moff_t off, const void *src, uint64_t len);
void check_put64(struct check *c, moff_t off, uint64_t host_value);
/* Stores an inode, sealed. */
void check_put_inode(struct check *c, uint64_t ino, const struct fmt_inode *i);
/* A free inode, of a generation that no handle has. */
void check_clear_inode(struct check *c, uint64_t ino);
/* n free blocks that follow each other, 1 or a frame; MBLK_NULL: none. */
mblk_t check_alloc(struct check *c, uint64_t n);
void check_unalloc(struct check *c, mblk_t b);		/* one that nothing names yet */

void check_super(struct check *c);		/* super.c: both copies, both checkpoint words */
/* What is repaired is of another time than what the devices were before, if they were together. */
void check_stamp_repair(struct check *c);
void check_itable(struct check *c);		/* itable.c: the table's map, the inode blocks it names */
void check_mark_inode(struct check *c, uint64_t ino);	/* inodes.c: in use, in the table */
void check_inodes(struct check *c);		/* inodes.c: bits against images, every inode's fields, maps, attributes */
void check_bitmaps(struct check *c);		/* inodes.c: after all maps: a block of another owner is not a bitmap to be changed */
void check_directories(struct check *c);	/* inodes.c: after all inodes: an entry is compared with the inode that it names */
void check_directory(struct check *c, inum_t ino, const struct fmt_inode *i);	/* directory.c */
void check_journal(struct check *c);		/* super.c: the journal could be replayed */
void check_xattr(struct check *c, inum_t ino, const struct fmt_inode *i);	/* xattr.c */
void check_orphans(struct check *c);		/* orphans.c */
void check_link_counts(struct check *c);	/* links.c: names, link counts, parents, reachability */
void check_adopt(struct check *c);		/* repair_names.c: c->nameless gets names in lost+found */

/* repair_inode.c: an image that does not verify (err_msg() says why) is put right, resealed or cleared. */
void check_mend_inode(struct check *c, uint64_t ino, uint64_t where);
/* Makes the fields of one that verifies possible, or clears it where they cannot be. */
void check_sane_inode(struct check *c, uint64_t ino);
/* Inode table, orphan table or root directory. */
void check_make_afresh(struct check *c, uint64_t ino);
/* Finds the root of the inode table's map. */
void check_climb_itable(const struct check *c, struct fmt_inode *i);
void check_space(struct check *c);		/* space.c: what is owned against the allocation lines */

/* maps.c: verifies a map and marks what it owns. leaf (may be NULL) is told every leaf. The number of blocks, nodes included. */
typedef void check_leaf_fn(struct check *c, void *ctx, fblk_t fblk, mblk_t blk, uint64_t n);
uint64_t check_map(struct check *c, const char *structure, inum_t owner, enum fmt_fork fork, uint64_t root, unsigned height,
		   check_leaf_fn *leaf, void *ctx);
/* The same for a part that an orphan slot names: *bad: something is wrong with it, and was not told. */
uint64_t check_subtree(struct check *c, inum_t owner, enum fmt_fork fork, uint64_t entry, unsigned level, fblk_t at, bool *bad);
/* An entry of an inode's map gets another value; 0: a hole. where: its place, 0: it is the root. */
void check_put_entry(struct check *c, inum_t owner, enum fmt_fork fork, moff_t where, uint64_t entry);
/* repair_map.c: the entry of 'level' over fblk becomes a hole. */
void check_map_drop(struct check *c, inum_t owner, enum fmt_fork fork, fblk_t fblk, unsigned level);
/* Maps a block into a hole below the root, making nodes as needed; MBLK_NULL: makes a hole. False: no space. */
bool check_map_insert(struct check *c, inum_t owner, fblk_t fblk, mblk_t blk);
/* The entry with one bit turned back; 0: no single bit is wrong, or more than one could be. */
uint64_t check_entry_corrected(const struct check *c, inum_t owner, enum fmt_fork fork, unsigned level, fblk_t fblk, uint64_t entry);
/* An own copy of n blocks. MBLK_NULL: no space. */
mblk_t check_clone(struct check *c, mblk_t from, uint64_t n);

/* media.c. medium: the volume as it is; around check_phases(). Of what plain loads meet ones are read, and found damaged. */
int check_media_begin(struct check *c, const struct pm *medium, struct check_media **out);
int check_media_end(struct check *c, const struct pm *medium, struct check_media *m, int err);	/* frees m */
/* For the walk that has c->media. */
void check_media_owned(struct check *c, inum_t ino, enum fmt_fork fork, const struct map_visit *v, uint64_t n);
void check_media_named(struct check *c, uint64_t ino, uint64_t parent, const char *name);

int check_phases(struct check *c);		/* check.c: all of it, once; in a repair, up to the first that something was repaired in */
void check_phases_free(struct check *c);

#endif
