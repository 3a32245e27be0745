#include "file/pool.h"
#include "file/gate.h"
#include "base/error.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* So many closed handles are kept in a list before the first of them is used again. */
#define POOL_KEEP 64u

static _Atomic(struct pool *) pools_all;

/* Another thread of the parent may have been in the middle of it. What it held is the parent's. */
static void pool_fork_child(void)
{
	for (struct pool *p = atomic_load(&pools_all); p; p = p->next) {
		for (unsigned int i = 0; i < p->nshards; i++) {
			atomic_store(&p->shard[i].lock.word, MTX_FREE);
			p->shard[i].first = p->shard[i].last = NULL;
			atomic_store(&p->shard[i].count, 0);
		}
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

static size_t shard_count(struct pool_shard *s)
{
	return atomic_load_explicit(&s->count, memory_order_relaxed);
}

static struct pool_item *shard_pop(struct pool_shard *s, size_t keep)
{
	struct pool_item *it = NULL;

	if (shard_count(s) <= keep)
		return NULL;
	mtx_lock(&s->lock);
	if (shard_count(s) > keep) {
		it = s->first;
		s->first = it->next;
		atomic_store_explicit(&s->count, shard_count(s) - 1, memory_order_relaxed);
	}
	mtx_unlock(&s->lock);
	return it;
}

/* The thread's own first. Of another list only what it has by far too much of (its threads close what others open), so that threads
 * do not go on taking the same few from each other. */
static struct pool_item *pool_pop(struct pool *p)
{
	unsigned int own = gate_my_slot() % p->nshards;
	struct pool_item *it = shard_pop(&p->shard[own], POOL_KEEP);

	for (unsigned int i = 1; !it && i < p->nshards; i++)
		it = shard_pop(&p->shard[(own + i) % p->nshards], 2 * POOL_KEEP);
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
	struct pool_shard *s = &p->shard[gate_my_slot() % p->nshards];
	struct pool_item *it = item;

	HF_ASSERT(it->magic == p->magic);
	it->next = NULL;
	__atomic_store_n(&it->magic, POOL_DEAD, __ATOMIC_RELEASE);
	mtx_lock(&s->lock);
	if (shard_count(s) == 0)
		s->first = it;
	else
		s->last->next = it;
	s->last = it;
	atomic_store_explicit(&s->count, shard_count(s) + 1, memory_order_relaxed);
	mtx_unlock(&s->lock);
}
