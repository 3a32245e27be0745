/* The undo file of a repair: a head, then the old bytes of every block that the repair writes. */
#ifndef HF_CHECK_UNDO_H
#define HF_CHECK_UNDO_H

#include "base/hash.h"
#include "format/format.h"

#define UNDO_MAGIC "HFUNDO02"

struct undo_head {
	uint8_t magic[8];
	uint8_t uuid[16];
	le64_t bytes;			/* of the volume */
	le64_t count;			/* blocks that follow */
	le64_t id;			/* random; the superblock has it while the repair is written */
	le64_t csum;			/* of what stands before it */
};
struct undo_block {
	le64_t block;
	le64_t repaired;		/* hash of the bytes that the repair wrote */
	le64_t csum;			/* of the old bytes and the number */
	uint8_t old[HF_BLOCK_SIZE];
};
static_assert(sizeof(struct undo_head) == 56 && sizeof(struct undo_block) == HF_BLOCK_SIZE + 24, "");

static inline uint64_t undo_head_csum(const struct undo_head *h)
{
	return hash_bytes(h, offsetof(struct undo_head, csum), 0);
}

static inline uint64_t undo_block_csum(const struct undo_block *b)
{
	return hash_bytes(b->old, sizeof(b->old), le64_get(b->block));
}

#endif
