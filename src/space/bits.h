/* A bitmap with a summary above it: a bit of level k+1 says that a word of level k is not zero.
 * Finding the next set bit is one look per level, whatever the size of the volume; ranges are set
 * and cleared by words.
 *
 * Locking: none of its own. */
#ifndef HF_SPACE_BITS_H
#define HF_SPACE_BITS_H

#include "base/types.h"

#define BITS_LEVELS 5 /* 64^5 = 2^30 bits */
#define BITS_NONE   UINT64_MAX

struct bits {
	uint32_t levels, step;	  /* word i of a level is its w[i * step] */
	uint64_t n;		  /* bits */
	uint64_t *w[BITS_LEVELS]; /* w[0] holds the bits */
};

/* 'many' bitmaps of n bits, all clear, each word beside the same words of the others: eight of them make a
 * cache line. 0 or -ENOMEM. The first is destroyed for all. */
int bits_init(struct bits *b, unsigned int many, uint64_t n);
void bits_destroy(struct bits *b);

void bits_set_range(struct bits *b, uint64_t first, uint64_t n);
void bits_clear_range(struct bits *b, uint64_t first, uint64_t n);
/* The first set bit >= from, or BITS_NONE. */
uint64_t bits_next(const struct bits *b, uint64_t from);
/* How many bits are set from 'first' on without a gap; counts no further than max. */
uint64_t bits_run(const struct bits *b, uint64_t first, uint64_t max);

static inline uint64_t *bits_word(const struct bits *b, unsigned int level, uint64_t i)
{
	return &b->w[level][i * b->step];
}

static inline bool bits_test(const struct bits *b, uint64_t i)
{
	return *bits_word(b, 0, i / 64) >> (i % 64) & 1;
}

static inline void bits_set(struct bits *b, uint64_t i)
{
	for (unsigned int k = 0; k < b->levels; k++, i /= 64)
		*bits_word(b, k, i / 64) |= 1ull << (i % 64);
}

static inline void bits_clear(struct bits *b, uint64_t i)
{
	for (unsigned int k = 0; k < b->levels; k++, i /= 64) {
		*bits_word(b, k, i / 64) &= ~(1ull << (i % 64));
		if (*bits_word(b, k, i / 64))
			return;
	}
}

/* Those of 'mask' (not 0) of the bits 64 i to 64 i + 63. */
static inline void bits_set_word(struct bits *b, uint64_t i, uint64_t mask)
{
	*bits_word(b, 0, i) |= mask;
	for (unsigned int k = 1; k < b->levels; k++, i /= 64)
		*bits_word(b, k, i / 64) |= 1ull << (i % 64);
}

static inline void bits_clear_word(struct bits *b, uint64_t i, uint64_t mask)
{
	*bits_word(b, 0, i) &= ~mask;
	for (unsigned int k = 1; k < b->levels && *bits_word(b, k - 1, i) == 0; k++, i /= 64)
		*bits_word(b, k, i / 64) &= ~(1ull << (i % 64));
}

static inline uint64_t bits_count(uint64_t mask)
{
	return (uint64_t)__builtin_popcountll(mask);
}

#endif
