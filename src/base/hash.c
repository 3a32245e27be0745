#include "base/hash.h"

#include <errno.h>
#include <sys/random.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

uint64_t hash_bytes(const void *p, size_t len, uint64_t seed)
{
	/* For long input XXH3 makes a secret of 192 bytes from the seed at each call, which costs more than hashing a
	 * record: there the seed is mixed in afterwards. */
	if (len <= XXH3_MIDSIZE_MAX)
		return XXH3_64bits_withSeed(p, len, seed);
	return hash_mix2(XXH3_64bits(p, len), seed);
}

int hash_random(void *p, size_t len)
{
	uint8_t *at = p;

	while (len > 0) {
		ssize_t n = getrandom(at, len, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		at += n;
		len -= (size_t)n;
	}
	return 0;
}
