/* Tickets: how many of the blocks that one operation detached still wait for their pins (rule B2).
 *
 * A ticket lives while somebody refers to it: its operation, and each busy record that names it. So
 * a waiter never looks at one that means somebody else's blocks.
 *
 * Locking: the table's mutex is a leaf, and only for making and ending a ticket. */
#include "space/internal.h"
#include "base/clock.h"

struct ticket {
	uint32_t link; /* of the slab */
	_Atomic uint32_t refs;
	_Atomic uint64_t left;
	struct waitq wait;
	uint8_t zero[44]; /* a line each: two waiters share none */
};
static_assert(sizeof(struct ticket) == SPACE_TICKET_BYTES, "");

static struct ticket *ticket_at(struct space *s, uint32_t index)
{
	return slab_at(&s->tickets, index);
}

uint32_t space_ticket_get(struct space *s)
{
	uint32_t index = 0;

	mtx_lock(&s->tickets_lock);
	if (slab_reserve(&s->tickets, 1) == 0) {
		index = slab_pop(&s->tickets);
		atomic_store(&ticket_at(s, index)->refs, 1);
	}
	mtx_unlock(&s->tickets_lock);
	if (!index)
		err_set(-ENOMEM, "no memory to wait for pins");
	return index;
}

void ticket_hold(struct space *s, uint32_t index)
{
	if (index)
		atomic_fetch_add(&ticket_at(s, index)->refs, 1);
}

void space_ticket_put(struct space *s, uint32_t index)
{
	if (!index || atomic_fetch_sub(&ticket_at(s, index)->refs, 1) != 1)
		return;
	mtx_lock(&s->tickets_lock);
	slab_push(&s->tickets, index);
	mtx_unlock(&s->tickets_lock);
}

void ticket_add(struct space *s, uint32_t index, uint64_t n)
{
	if (index)
		atomic_fetch_add(&ticket_at(s, index)->left, n);
}

void ticket_sub(struct space *s, uint32_t index, uint64_t n)
{
	if (index && atomic_fetch_sub(&ticket_at(s, index)->left, n) == n)
		waitq_wake_all(&ticket_at(s, index)->wait);
}

uint64_t space_ticket_left(struct space *s, uint32_t index)
{
	return index ? atomic_load(&ticket_at(s, index)->left) : 0;
}

int space_ticket_wait(struct space *s, uint32_t index, uint64_t deadline_ns)
{
	while (index) {
		struct waitq *q = &ticket_at(s, index)->wait;
		uint32_t key = waitq_key(q);
		uint64_t left = space_ticket_left(s, index), for_ns = UINT64_MAX;

		if (left == 0)
			break;
		if (deadline_ns != UINT64_MAX) {
			uint64_t now = clock_mono_ns();

			if (now >= deadline_ns)
				return err_set(-ETIMEDOUT, "%llu blocks still wait for their pins",
					       (unsigned long long)left);
			for_ns = deadline_ns - now;
		}
		waitq_wait(q, key, for_ns);
	}
	return 0;
}
