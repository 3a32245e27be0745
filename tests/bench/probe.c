/* Compiled as the library is: sharing.c's test of itself. */
#include <stdint.h>

void sharing_probe(uint64_t *word);

void sharing_probe(uint64_t *word)
{
	__atomic_fetch_add(word, 1, __ATOMIC_RELAXED);
}
