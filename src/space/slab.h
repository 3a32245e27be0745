/* A flat array of equal items that grows in place, addressed by index. Index 0 is none. What grows
 * is the part of a reserved address range that may be used, so that items never move and growing is
 * the only step that can fail.
 *
 * Locking: none of its own. */
#ifndef HF_SPACE_SLAB_H
#define HF_SPACE_SLAB_H

#include "base/types.h"

struct slab {
	uint8_t *base;
	uint32_t item;	    /* bytes of one */
	uint32_t cap;	    /* items that fit into the range */
	uint32_t ready;	    /* items behind which there is memory */
	uint32_t used;	    /* items that were ever given out, with item 0 */
	uint32_t free_head; /* given back, linked through their first 4 bytes */
	uint32_t nfree;
};

/* Bytes of address space that a slab of cap items (and item 0) wants. */
uint64_t slab_range(uint32_t item, uint32_t cap);
/* base: a PROT_NONE range of slab_range() bytes, whole pages, which stays the caller's. */
void slab_init(struct slab *s, void *base, uint32_t item, uint32_t cap);
/* Makes sure that the next n slab_pop() succeed. 0 or -ENOMEM. */
int slab_reserve(struct slab *s, uint32_t n);
/* A zeroed item; there must be one (slab_reserve). */
uint32_t slab_pop(struct slab *s);
void slab_push(struct slab *s, uint32_t index);

static inline void *slab_at(const struct slab *s, uint32_t index)
{
	return s->base + (uint64_t)index * s->item;
}

#endif
