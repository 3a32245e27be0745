#include "file/pool.h"
#include "base/error.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* So many closed handles are kept before the first of them is used again. */
#define POOL_KEEP 64u

static _Atomic(struct pool *) pools_all;

/* Another thread of the parent may have been in the middle of it. What it held is the parent's. */
static void pool_fork_child(void)
{
	for (struct pool *p = atomic_load(&pools_all); p; p = p->next) {
		atomic_store(&p->lock.word, MTX_FREE);
		p->first = p->last = NULL;
		p->count = 0;
	}
}

static void pool_at_fork(void)
{
	pthread_atfork(NULL, NULL, pool_fork_child);
}

static void pool_make_known(struct pool *p)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, pool_at_fork);
	if (atomic_exchange(&p->known, true))
		return;
	p->next = atomic_load(&pools_all);
	while (!atomic_compare_exchange_weak(&pools_all, &p->next, p))
		;
}

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
	struct pool_item *it;

	if (!atomic_load_explicit(&p->known, memory_order_relaxed))
		pool_make_known(p);
	it = pool_pop(p);
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
