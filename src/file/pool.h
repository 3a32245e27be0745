/* Memory for handles. What was once a handle stays one: a pool never gives memory back, and it
 * hands out again what was given back longest ago, so that the magic word of a closed handle can be
 * looked at and says so for a while. */
#ifndef HF_FILE_POOL_H
#define HF_FILE_POOL_H

#include "base/lock.h"

struct pool_item {
	uint64_t magic; /* POOL_DEAD while it is in the pool; the pool's magic otherwise */
	struct pool_item *next;
};
#define POOL_DEAD 0xdeadf11edeadf11eull

struct pool {
	struct mtx lock; /* RANK_LEAF */
	size_t item_bytes;
	uint64_t magic;
	struct pool_item *first, *last; /* oldest first */
	size_t count;			/* in the list */
	_Atomic bool known;		/* fork cares for it */
	struct pool *next;
};

/* A zeroed item but for its magic, NULL: no memory. Items begin with a struct pool_item. */
void *pool_get(struct pool *p);
void pool_put(struct pool *p, void *item);

#endif
