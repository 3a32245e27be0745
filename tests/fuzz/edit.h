/* An input is a list of steps of 16 bytes: edits of the image, each of which makes the checksums right again (some leave them
 * wrong), and operations for the volume that comes of it. Every string of bytes means something. */
#ifndef HF_FUZZ_EDIT_H
#define HF_FUZZ_EDIT_H

#include "image.h"

#define FUZZ_STEP_BYTES 16u
#define FUZZ_STEPS_MAX	24u

enum fuzz_kind {
	FUZZ_OP,			/* an operation: after all edits */
	FUZZ_SUPER, FUZZ_CKPT, FUZZ_RECORD, FUZZ_NEW_RECORD, FUZZ_ALLOC, FUZZ_INODE_BITS, FUZZ_INODE, FUZZ_ENTRY, FUZZ_BUCKET,
	FUZZ_TAGS, FUZZ_DIRENT, FUZZ_ORPHAN, FUZZ_XATTR, FUZZ_RAW, FUZZ_COPY_INODE, FUZZ_COPY_BLOCK,
	FUZZ_REDO, FUZZ_UNDO,
	FUZZ_KINDS
};

struct fuzz_step {
	enum fuzz_kind kind;
	uint8_t how;			/* of an operation: which; of an edit: enum fuzz_value in the low 3 bits; seal unless above 0xf0 */
	uint16_t object, field, aux;
	uint64_t value;
};

/* How 'value' becomes what is stored. */
enum fuzz_value { FUZZ_SET, FUZZ_XOR, FUZZ_ADD, FUZZ_BLOCK, FUZZ_INO, FUZZ_EDGE, FUZZ_OTHER, FUZZ_SMALL };

/* kinds: a bit per kind that the target wants; the others become one of them. Returns how many. */
unsigned fuzz_steps(const uint8_t *data, size_t size, uint32_t kinds, struct fuzz_step *out);
/* Edits 'bytes', a copy of the image. */
void fuzz_edit(const struct fuzz_image *im, uint8_t *bytes, const struct fuzz_step *s);
/* redo.c: a step of the redo list of an interrupted repair. */
void fuzz_edit_redo(const struct fuzz_image *im, uint8_t *bytes, const struct fuzz_step *s);
/* The undo file that the steps of kind FUZZ_UNDO make, for the image as it is now. False: there are none. */
bool fuzz_undo_file(const struct fuzz_image *im, uint8_t *bytes, const struct fuzz_step *s, unsigned n, int to);
/* The step leaves checksums right. */
static inline bool fuzz_sealed(const struct fuzz_step *s) { return s->how < 0xf0; }
/* What an edit makes of 'old'; 'other': the same field of another object. */
uint64_t fuzz_value(const struct fuzz_image *im, const struct fuzz_step *s, uint64_t old, uint64_t other);
/* The numbers behind bounds. */
uint64_t fuzz_edge(uint64_t n);

#endif
