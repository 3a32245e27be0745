#include "space/slab.h"
#include "base/error.h"
#include <string.h>
#include <sys/mman.h>

#define SLAB_GROW (64u * 1024u) /* bytes at a time: one mprotect for about a thousand items */

uint64_t slab_range(uint32_t item, uint32_t cap)
{
	return round_up_u64(((uint64_t)cap + 1) * item, SLAB_GROW);
}

void slab_init(struct slab *s, void *base, uint32_t item, uint32_t cap)
{
	memset(s, 0, sizeof(*s));
	s->base = base;
	s->item = item;
	s->cap = cap;
	s->used = 1;
}

int slab_reserve(struct slab *s, uint32_t n)
{
	uint64_t spare = (uint64_t)s->nfree + (s->ready > s->used ? s->ready - s->used : 0);
	uint32_t step = SLAB_GROW / s->item;

	if (spare >= n)
		return 0;
	if (s->used - 1 + (n - s->nfree) > s->cap)
		return err_set(-ENOMEM, "more than %u extents of one group are held at once",
			       s->cap);
	/* Item 0 is never given out: the first step brings one less. */
	for (; spare < n; spare += step, s->ready += step) {
		if (mprotect(s->base + (uint64_t)s->ready * s->item, SLAB_GROW,
			     PROT_READ | PROT_WRITE) < 0)
			return err_set(-ENOMEM, "no memory for the list of held blocks");
		if (s->ready == 0)
			spare--;
	}
	return 0;
}

uint32_t slab_pop(struct slab *s)
{
	uint32_t index = s->free_head;

	if (index) {
		memcpy(&s->free_head, slab_at(s, index), sizeof(s->free_head));
		__builtin_prefetch(slab_at(s, s->free_head), 1); /* who takes many would wait for each */
		s->nfree--;
	} else {
		HF_ASSERT(s->used < s->ready);
		index = s->used++;
	}
	memset(slab_at(s, index), 0, s->item);
	return index;
}

void slab_push(struct slab *s, uint32_t index)
{
	memcpy(slab_at(s, index), &s->free_head, sizeof(s->free_head));
	s->free_head = index;
	s->nfree++;
}
