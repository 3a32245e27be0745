#include "file/gate.h"
#include "base/error.h"

static _Atomic uint32_t gate_threads;
static HF_TLS uint32_t gate_slot_tls; /* 1 + this thread's slot; 0: none yet */

uint32_t gate_my_slot(void)
{
	if (gate_slot_tls == 0)
		gate_slot_tls = 1 + atomic_fetch_add(&gate_threads, 1) % GATE_SLOTS;
	return gate_slot_tls - 1;
}

/* Counts first and looks after (both sequentially consistent): either this thread sees the gate
 * shut, or who shut it sees this thread inside. */
static bool gate_try(struct gate *g, uint32_t slot)
{
	atomic_fetch_add(&g->slots[slot].inside, 1);
	if (atomic_load(&g->shut) == 0)
		return true;
	gate_leave(g, slot);
	return false;
}

static void gate_wait_opened(struct gate *g)
{
	uint32_t key = waitq_key(&g->opened);

	if (atomic_load(&g->shut))
		waitq_wait(&g->opened, key, UINT64_MAX);
}

uint32_t gate_enter(struct gate *g)
{
	uint32_t slot = gate_my_slot();

	while (!gate_try(g, slot))
		gate_wait_opened(g);
	return slot;
}

bool gate_try_enter(struct gate *g, uint32_t *ticket)
{
	*ticket = gate_my_slot();
	return gate_try(g, *ticket);
}

void gate_leave(struct gate *g, uint32_t ticket)
{
	uint32_t before = atomic_fetch_sub(&g->slots[ticket].inside, 1);

	HF_ASSERT(before > 0);
	if (atomic_load(&g->shut))
		waitq_wake_all(&g->left);
}

static bool gate_is_empty(struct gate *g)
{
	for (uint32_t i = 0; i < GATE_SLOTS; i++)
		if (atomic_load(&g->slots[i].inside))
			return false;
	return true;
}

void gate_shut(struct gate *g)
{
	uint32_t no = 0;

	while (!atomic_compare_exchange_strong(&g->shut, &no, 1)) {
		no = 0;
		gate_wait_opened(g);
	}
	for (;;) {
		uint32_t key = waitq_key(&g->left);

		if (gate_is_empty(g))
			return;
		waitq_wait(&g->left, key, UINT64_MAX);
	}
}

void gate_open(struct gate *g)
{
	HF_ASSERT(atomic_load(&g->shut) == 1);
	atomic_store(&g->shut, 0);
	waitq_wake_all(&g->opened);
}
