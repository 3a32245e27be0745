/* Checksums and hashes: XXH3 (libxxhash), 64 bits, seeded. */
#ifndef HF_BASE_HASH_H
#define HF_BASE_HASH_H

#include "base/types.h"

uint64_t hash_bytes(const void *p, size_t len, uint64_t seed);	/* XXH3; over 240 bytes: unseeded, then mixed with the seed */

/* A mixing step (splitmix64's finaliser) for seeds and small keys. */
static inline uint64_t hash_mix(uint64_t x)
{
	x ^= x >> 30;
	x *= 0xbf58476d1ce4e5b9ull;
	x ^= x >> 27;
	x *= 0x94d049bb133111ebull;
	x ^= x >> 31;
	return x;
}
static inline uint64_t hash_mix2(uint64_t a, uint64_t b)
{
	return hash_mix(a + 0x9e3779b97f4a7c15ull * (b + 1));
}
/* Random bytes from the kernel; 0 or a negative errno. */
int hash_random(void *p, size_t len);

#endif
