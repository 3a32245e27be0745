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

/* A list of its own for each thread, as far as they go: a handle that is taken and given back by one thread moves no line to another. What other
 * threads gave back is taken when the own list has not enough and theirs too much. */
#define POOL_SHARDS 16u
struct pool_shard {
	_Alignas(HF_LINE) struct mtx lock; /* RANK_LEAF */
	struct pool_item *first, *last;	   /* oldest first */
	_Atomic size_t count;		   /* in the list */
};
#define POOL_SHARDS_INIT .shard = {[0 ... POOL_SHARDS - 1] = {.lock = {.rank = RANK_LEAF}}}

struct pool {
	size_t item_bytes;
	uint64_t magic;
	unsigned int nshards; /* 1 for what is large, or not taken often */
	_Atomic bool known;   /* fork cares for it */
	struct pool *next;
	struct pool_shard shard[POOL_SHARDS];
};

/* A zeroed item but for its magic, NULL: no memory. Items begin with a struct pool_item. */
void *pool_get(struct pool *p);
void pool_put(struct pool *p, void *item);

#endif
