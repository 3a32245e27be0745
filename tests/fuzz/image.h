/* A small filled volume in memory, the same bytes each time, and where its structures are: what the edits of a hostile
 * image are applied to. */
#ifndef HF_FUZZ_IMAGE_H
#define HF_FUZZ_IMAGE_H

#include "format/geo.h"
#include "holdfast.h"

#define FUZZ_BYTES (6ull << 20)		/* three frames: the middle one can be a huge leaf */

struct fuzz_entry {			/* of a map, not a hole */
	uint64_t off;			/* where it stands */
	uint64_t owner, fblk;
	uint64_t inode_off;		/* it is a root: of the inode; else 0 */
	enum fmt_fork fork;
	unsigned level;
};
struct fuzz_blob {			/* attributes */
	uint64_t owner;
	uint32_t bytes;
	uint64_t blk[8];
};
struct fuzz_place {			/* an inode, a bucket, a journal record */
	uint64_t off;
	uint64_t id;			/* inode number; a bucket's directory; a record's lane << 1 | half */
	uint64_t in_half, bytes;	/* of a record */
};

#define FUZZ_MAX 1024u
struct fuzz_image {
	uint8_t *bytes;			/* FUZZ_BYTES, pristine */
	struct geo geo;
	struct fuzz_place inode[FUZZ_MAX], bucket[FUZZ_MAX], record[FUZZ_MAX];
	struct fuzz_entry entry[FUZZ_MAX];
	struct fuzz_blob blob[16];
	uint64_t block[FUZZ_MAX];	/* blocks worth pointing at */
	unsigned inodes, buckets, records, entries, blobs, blocks;
	uint64_t lane_end[4][2];	/* where a further record would go */
	uint64_t last_seq;
};

/* crashed: not unmounted; the journal has records, files without names are on orphan slots. Made once. */
const struct fuzz_image *fuzz_image(bool crashed);

/* Ends the program like an assertion: what must hold for every image did not. */
#define FUZZ_MUST(cond, ...) do { if (!(cond)) fuzz_die(#cond, __VA_ARGS__); } while (0)
void fuzz_die(const char *cond, const char *fmt, ...) __attribute__((noreturn, format(printf, 2, 3)));

/* Memory with nothing mapped on either side, aligned to 2 MiB. file: what it shows; -1: nothing. */
uint8_t *fuzz_memory(uint64_t bytes, int file);

/* Names in the image, and some that are not there. */
extern const char *const fuzz_paths[];
extern const unsigned fuzz_npaths;

#endif
