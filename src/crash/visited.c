/* Images that were checked already. */
#include "crash/explore.h"

#include <stdlib.h>

static bool put(struct visited *v, uint64_t hash)
{
	size_t i = (size_t)hash & (v->cap - 1);

	while (v->slot[i] != 0) {
		if (v->slot[i] == hash)
			return false;
		i = (i + 1) & (v->cap - 1);
	}
	v->slot[i] = hash;
	v->n++;
	return true;
}

static bool grow(struct visited *v)
{
	struct visited larger = {.cap = v->cap ? 2 * v->cap : 4096};

	larger.slot = calloc(larger.cap, sizeof(larger.slot[0]));
	if (!larger.slot)
		return v->cap > v->n + 1;
	for (size_t i = 0; i < v->cap; i++)
		if (v->slot[i])
			put(&larger, v->slot[i]);
	free(v->slot);
	*v = larger;
	return true;
}

bool visited_add(struct visited *v, uint64_t hash)
{
	if (2 * v->n >= v->cap && !grow(v))
		return true;
	return put(v, hash ? hash : 1);
}

bool visited_has(const struct visited *v, uint64_t hash)
{
	size_t i;

	if (v->cap == 0)
		return false;
	hash = hash ? hash : 1;
	for (i = (size_t)hash & (v->cap - 1); v->slot[i] != 0; i = (i + 1) & (v->cap - 1))
		if (v->slot[i] == hash)
			return true;
	return false;
}

void visited_clear(struct visited *v)
{
	if (v->slot)
		memset(v->slot, 0, v->cap * sizeof(v->slot[0]));
	v->n = 0;
}

void visited_free(struct visited *v)
{
	free(v->slot);
	*v = (struct visited){0};
}
