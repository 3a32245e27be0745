#include "space/bits.h"
#include "base/error.h"
#include <stdlib.h>
#include <string.h>

int bits_init(struct bits *b, unsigned int many, uint64_t n)
{
	uint64_t words = 0, at = 0, k_words = n;
	unsigned int levels = 0;
	uint64_t *mem;

	do {
		HF_ASSERT(levels < BITS_LEVELS);
		k_words = (k_words + 63) / 64;
		words += k_words;
		levels++;
	} while (k_words > 1);

	mem = aligned_alloc(64, round_up_u64(words * many * sizeof(*mem), 64));
	b->w[0] = mem;
	if (!mem)
		return -ENOMEM;
	memset(mem, 0, words * many * sizeof(*mem));
	for (unsigned int m = 0; m < many; m++)
		b[m] = (struct bits){.levels = levels, .step = many, .n = n};
	k_words = n;
	for (unsigned int k = 0; k < levels; k++) {
		k_words = (k_words + 63) / 64;
		for (unsigned int m = 0; m < many; m++)
			b[m].w[k] = mem + at + m;
		at += k_words * many;
	}
	return 0;
}

void bits_destroy(struct bits *b)
{
	free(b->w[0]);
	b->w[0] = NULL;
}

/* The bits of [first, last] that lie in word i. */
static uint64_t bits_word_mask(uint64_t i, uint64_t first, uint64_t last)
{
	uint64_t mask = ~0ull;

	if (i == first / 64)
		mask &= ~0ull << (first % 64);
	if (i == last / 64)
		mask &= ~0ull >> (63 - last % 64);
	return mask;
}

void bits_set_range(struct bits *b, uint64_t first, uint64_t n)
{
	uint64_t last = first + n - 1;

	if (n == 0)
		return;
	for (unsigned int k = 0; k < b->levels; k++) {
		for (uint64_t i = first / 64; i <= last / 64; i++)
			*bits_word(b, k, i) |= bits_word_mask(i, first, last);
		first /= 64;
		last /= 64;
	}
}

void bits_clear_range(struct bits *b, uint64_t first, uint64_t n)
{
	uint64_t end =
	    first + n; /* not included; [first, end) shrinks to the words that became zero */

	for (unsigned int k = 0; k < b->levels && first < end; k++) {
		uint64_t w0 = first / 64, w1 = (end - 1) / 64;

		for (uint64_t i = w0; i <= w1; i++)
			*bits_word(b, k, i) &= ~bits_word_mask(i, first, end - 1);
		first = *bits_word(b, k, w0) ? w0 + 1 : w0;
		end = *bits_word(b, k, w1) ? w1 : w1 + 1;
	}
}

uint64_t bits_next(const struct bits *b, uint64_t from)
{
	uint64_t i = from;
	unsigned int k = 0;
	uint64_t word;

	if (from >= b->n)
		return BITS_NONE;
	/* Up, until a word has a set bit at or behind the place; then down along the lowest set
	 * bits. */
	for (;;) {
		word = *bits_word(b, k, i / 64) >> (i % 64);
		if (word)
			break;
		i = i / 64 + 1;
		k++;
		if (k == b->levels || i / 64 >= (b->n + (64ull << (6 * k)) - 1) >> (6 * k + 6))
			return BITS_NONE;
	}
	i += (uint64_t)__builtin_ctzll(word);
	while (k > 0) {
		k--;
		i = i * 64 + (uint64_t)__builtin_ctzll(*bits_word(b, k, i));
	}
	return i;
}

uint64_t bits_run(const struct bits *b, uint64_t first, uint64_t max)
{
	uint64_t n = 0, i = first;

	if (max > b->n - first)
		max = b->n - first;
	while (n < max) {
		uint64_t gap = ~*bits_word(b, 0, i / 64) >> (i % 64);
		uint64_t here = gap ? (uint64_t)__builtin_ctzll(gap) : 64 - i % 64;

		n += here;
		i += here;
		if (gap)
			break;
	}
	return min_u64(n, max);
}
