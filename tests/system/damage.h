/* A filled volume, everything that lies in its image, and ways to damage it, with checksums put right again where damage is to get past
 * them. For the tests of repair. */
#ifndef HF_TESTS_DAMAGE_H
#define HF_TESTS_DAMAGE_H

#include "format/geo.h"
#include "inode/map.h"
#include <holdfast.h>

enum object_kind {
	OBJ_SUPER, OBJ_CKPT, OBJ_JOURNAL, OBJ_LINE, OBJ_ITMAP, OBJ_ITBITMAP, OBJ_INODE, OBJ_ENTRY, OBJ_HUGE, OBJ_NODE, OBJ_BUCKET, OBJ_TAGS,
	OBJ_DIRENT, OBJ_ORPHAN, OBJ_XATTR, OBJ_KINDS
};
extern const char *const object_names[OBJ_KINDS];

/* One thing on the media. */
struct object {
	enum object_kind kind;
	uint64_t off, len;
	uint64_t ino;			/* whose it is; 0: nobody's */
	uint64_t fblk;			/* entries: their place */
	unsigned level;
	enum fmt_fork fork;
	uint32_t slot;			/* orphans */
};

struct image {
	uint8_t *bytes;			/* frame-aligned */
	uint64_t size;
	struct pm *pm;
	struct geo geo;
	struct object *obj;
	uint64_t n, cap;
	uint32_t *owner;		/* per block: the inode whose content, map or attributes it has */
};

/* What a file was, by its number. */
struct known {
	uint64_t ino, size, hash;
	uint32_t mode;
	char path[160];
	bool hit;			/* damage touched it, so it may be lost or changed */
	bool seen;
};
struct manifest {
	struct known *v;
	uint64_t n, cap;
};

/* Fills the volume at path and leaves it unmounted; crashed: as a kill leaves it, with records in the journal and an orphan. */
void damage_fill(const char *path, uint64_t bytes, bool crashed);
/* Every name of the volume, everything read. -errno of the first call that failed; the sentence is hf_errormsg(). */
int damage_walk(hf_volume *vol, struct manifest *m);
struct known *damage_known(struct manifest *m, uint64_t ino);

void image_open(struct image *im, const void *bytes, uint64_t size);
void image_list(struct image *im);
void image_close(struct image *im);
/* The next object of a kind at or after i, round and round; NULL: none. */
const struct object *image_pick(const struct image *im, enum object_kind kind, uint64_t i);

/* Puts checksums right: of the inode, entry, dirent or slot that the object is. */
void object_seal(struct image *im, const struct object *o);
/* Marks in m what [off, off+len) belongs to. */
void damage_hits(const struct image *im, struct manifest *m, uint64_t off, uint64_t len);

#endif
