/* Dirty lines: a ring per lane, and the checkpointer's way through it. */
#include "journal/internal.h"

#include <stdlib.h>

int dirty_init(struct dirty *d, uint64_t min_entries)
{
	uint64_t n = 4096;

	while (n < min_entries)
		n *= 2;
	d->entry = calloc(n, sizeof(d->entry[0]));
	if (!d->entry)
		return err_set(-ENOMEM, "journal: out of memory");
	d->mask = n - 1;
	atomic_init(&d->head, 0);
	atomic_init(&d->tail, 0);
	return 0;
}

void dirty_free(struct dirty *d)
{
	free(d->entry);
	d->entry = NULL;
}

void dirty_new_round(struct dirty_filter *f)
{
	f->round++;
	if (f->round > 0xffff) {
		memset(f->seen, 0, sizeof(f->seen));
		f->round = 1;
	}
}

static bool filter_seen(struct dirty_filter *f, uint64_t line)
{
	uint64_t *slot = &f->seen[line * 0x9e3779b97f4a7c15ull >> (64 - DIRTY_SEEN_SHIFT)];
	uint64_t want = line << 16 | f->round;

	if (*slot == want)
		return true;
	*slot = want;
	return false;
}

int dirty_flush(struct pm *pm, const struct dirty *d, uint64_t head, struct dirty_filter *f,
		uint64_t *lines)
{
	uint64_t pos = atomic_load_explicit(&d->tail, memory_order_relaxed);

	for (; pos != head; pos++) {
		uint64_t e = d->entry[pos & d->mask], line = e >> 8, run = (e & 0xff) + 1;
		int err;

		if (run == 1 && filter_seen(f, line))
			continue;
		err = pm_flush(pm, MOFF(line * HF_LINE), run * HF_LINE);
		if (err)
			return err;
		*lines += run;
	}
	return 0;
}
