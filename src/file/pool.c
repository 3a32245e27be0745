#include "file/pool.h"
#include "base/error.h"

#include <stdlib.h>
#include <string.h>

/* So many closed handles are kept before the first of them is used again. */
#define POOL_KEEP 64u

static struct pool_item *pool_pop(struct pool *p)
{
	struct pool_item *it = NULL;

	mtx_lock(&p->lock);
	if (p->count > POOL_KEEP) {
		it = p->first;
		p->first = it->next;
		p->count--;
	}
	mtx_unlock(&p->lock);
	return it;
}

void *pool_get(struct pool *p)
{
	size_t bytes = round_up_u64(p->item_bytes, HF_LINE);
	struct pool_item *it = pool_pop(p);

	if (!it)
		it = aligned_alloc(HF_LINE, bytes);
	if (!it)
		return NULL;
	memset((char *)it + sizeof(*it), 0, bytes - sizeof(*it));
	it->next = NULL;
	__atomic_store_n(&it->magic, p->magic, __ATOMIC_RELEASE);
	return it;
}

void pool_put(struct pool *p, void *item)
{
	struct pool_item *it = item;

	HF_ASSERT(it->magic == p->magic);
	it->next = NULL;
	__atomic_store_n(&it->magic, POOL_DEAD, __ATOMIC_RELEASE);
	mtx_lock(&p->lock);
	if (p->count == 0)
		p->first = it;
	else
		p->last->next = it;
	p->last = it;
	p->count++;
	mtx_unlock(&p->lock);
}
