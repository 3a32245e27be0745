#include "links.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct links_entry {
	uint64_t a, b;
	char *name;
};

static size_t links_slot(const struct links *l, uint64_t a, uint64_t b)
{
	size_t i = (size_t)((a * 0x9e3779b97f4a7c15u) ^ (b * 0xc2b2ae3d27d4eb4fu)) & (l->size - 1);

	while (l->slot[i].name && (l->slot[i].a != a || l->slot[i].b != b))
		i = (i + 1) & (l->size - 1);
	return i;
}

const char *links_find(const struct links *l, uint64_t a, uint64_t b)
{
	return l->size ? l->slot[links_slot(l, a, b)].name : NULL;
}

static int links_grow(struct links *l)
{
	struct links bigger = {.size = l->size ? l->size * 2 : 1024};
	size_t i;

	bigger.slot = calloc(bigger.size, sizeof(*bigger.slot));
	if (!bigger.slot)
		return -ENOMEM;
	for (i = 0; i < l->size; i++)
		if (l->slot[i].name)
			bigger.slot[links_slot(&bigger, l->slot[i].a, l->slot[i].b)] = l->slot[i];
	bigger.used = l->used;
	free(l->slot);
	*l = bigger;
	return 0;
}

int links_add(struct links *l, uint64_t a, uint64_t b, const char *name)
{
	char *copy = strdup(name);
	int err = copy ? 0 : -ENOMEM;
	size_t i;

	if (!err && l->used * 2 >= l->size)
		err = links_grow(l);
	if (err) {
		free(copy);
		return err;
	}
	i = links_slot(l, a, b);
	free(l->slot[i].name);
	l->slot[i] = (struct links_entry){a, b, copy};
	l->used++;
	return 0;
}

void links_free(struct links *l)
{
	size_t i;

	for (i = 0; i < l->size; i++)
		free(l->slot[i].name);
	free(l->slot);
	*l = (struct links){0};
}
