/* Random numbers that are the same everywhere, from a seed. */
#ifndef HF_TESTS_RNG_H
#define HF_TESTS_RNG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct rng {
	uint64_t s;
};

static inline uint64_t rng_mix(uint64_t z)
{
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}
static inline uint64_t rng_next(struct rng *r)
{
	r->s += 0x9e3779b97f4a7c15ull;
	return rng_mix(r->s);
}
/* 0 .. n-1 */
static inline uint64_t rng_below(struct rng *r, uint64_t n)
{
	return n ? rng_next(r) % n : 0;
}
static inline bool rng_one_in(struct rng *r, uint64_t n)
{
	return rng_below(r, n) == 0;
}
/* Bytes that depend on the seed and their place alone, so that a part of them is the beginning of
 * the whole. No byte is 0: what was written is told from a hole. */
static inline void rng_fill(uint64_t seed, void *buf, size_t len)
{
	uint8_t *p = buf;

	for (size_t i = 0; i < len; i += 8) {
		uint64_t v = rng_mix(seed + i * 0x9e3779b97f4a7c15ull) | 0x0101010101010101ull;

		memcpy(p + i, &v, len - i < 8 ? len - i : 8);
	}
}

#endif
