/* Verifying a volume: every structure against every other. One file per structure; check.c drives them. Nothing here writes to the
 * medium, takes a lock or trusts a byte. */
#ifndef HF_CHECK_CHECK_H
#define HF_CHECK_CHECK_H

#include <holdfast.h>
#include "dir/dir.h"
#include "format/geo.h"
#include "inode/map.h"
#include "journal/journal.h"

struct check_node;
struct check_media;

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
};

/* One finding; where: media offset or 0. */
void check_find(struct check *c, const char *structure, uint64_t ino, uint64_t where, const char *fmt, ...)
	__attribute__((format(printf, 5, 6)));
void check_progress(struct check *c, const char *phase, uint64_t done, uint64_t total);
/* Marks [first, first+n) as owned; a finding for each run that is out of range or has an owner already. The number marked. */
uint64_t check_own(struct check *c, const char *structure, uint64_t ino, mblk_t first, uint64_t n);
/* An inode's image, NULL if its number is out of the table. Not verified. */
const struct fmt_inode *check_inode_at(const struct check *c, inum_t ino);
static inline bool check_ino_ok(const struct check *c, uint64_t ino)
{
	return ino >= 1 && ino < c->iblocks * FMT_INODES_PER_BLOCK;
}

void check_super(struct check *c);		/* super.c: both copies, both checkpoint words */
void check_itable(struct check *c);		/* itable.c: the table's map, the inode blocks it names */
void check_inodes(struct check *c);		/* inodes.c: bits against images, every inode's fields, maps, attributes, buckets */
void check_directory(struct check *c, inum_t ino, const struct fmt_inode *i);	/* directory.c */
void check_xattr(struct check *c, inum_t ino, const struct fmt_inode *i);	/* xattr.c */
void check_orphans(struct check *c);		/* orphans.c */
void check_link_counts(struct check *c);	/* links.c: names, link counts, parents, reachability */
void check_space(struct check *c);		/* space.c: what is owned against the allocation lines */

/* maps.c: verifies a map and marks what it owns. leaf (may be NULL) is told every leaf. The number of blocks, nodes included. */
typedef void check_leaf_fn(struct check *c, void *ctx, fblk_t fblk, mblk_t blk, uint64_t n);
uint64_t check_map(struct check *c, const char *structure, inum_t owner, enum fmt_fork fork, uint64_t root, unsigned height,
		   check_leaf_fn *leaf, void *ctx);
uint64_t check_subtree(struct check *c, inum_t owner, enum fmt_fork fork, uint64_t entry, unsigned level, fblk_t at);

/* media.c. medium: the volume as it is; around check_phases(). Of what plain loads meet ones are read, and found damaged. */
int check_media_begin(struct check *c, const struct pm *medium, struct check_media **out);
int check_media_end(struct check *c, const struct pm *medium, struct check_media *m, int err);	/* frees m */
/* For the walk that has c->media. */
void check_media_owned(struct check *c, inum_t ino, enum fmt_fork fork, const struct map_visit *v, uint64_t n);
void check_media_named(struct check *c, uint64_t ino, uint64_t parent, const char *name);

int check_phases(struct check *c);		/* check.c: all of it, once */

/* overlay.c: a private copy-on-write image of the volume on which the journal was replayed, so that what is verified is what a
 * mount would see. */
struct check_image;
int check_image_open(const char *path, struct check_image **out, uint64_t *records);
void check_image_close(struct check_image **img);
const struct pm *check_image_pm(const struct check_image *img);
/* The volume as it is, before replay. */
const struct pm *check_image_medium(const struct check_image *img);
const struct geo *check_image_geo(const struct check_image *img);
/* The journal could not be read; its sentence. NULL: it could. */
const char *check_image_journal_error(const struct check_image *img);

#endif
