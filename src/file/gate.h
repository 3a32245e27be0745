/* The gate: everything that commits transactions goes through it, so that it can be shut while
 * somebody needs a volume that does not change (hf_check_mounted). Passing costs two
 * atomics on a line that threads on other CPUs do not use.
 *
 * A thread passes before it takes any lock of an object: whoever is inside and waits for a lock
 * then waits for somebody who is inside too, and the gate gets empty. For the same reason nobody
 * passes twice: the public functions pass once, and what is below them never does. */
#ifndef HF_FILE_GATE_H
#define HF_FILE_GATE_H

#include "base/lock.h"

#define GATE_SLOTS 32u

struct gate_slot {
	_Alignas(HF_LINE) _Atomic uint32_t inside;
};
struct gate {
	struct gate_slot slots[GATE_SLOTS];
	_Alignas(HF_LINE) _Atomic uint32_t shut;
	struct waitq opened;
	struct waitq left;
};

/* The calling thread's slot, always the same. */
uint32_t gate_my_slot(void);
/* Waits while the gate is shut. The ticket goes to gate_leave. */
uint32_t gate_enter(struct gate *g);
/* False: it is shut. Who wants to sleep reads the key of g->opened first. */
bool gate_try_enter(struct gate *g, uint32_t *ticket);
void gate_leave(struct gate *g, uint32_t ticket);
/* Waits until everybody has left. One thread at a time may have it shut; a second waits for
 * gate_open. */
void gate_shut(struct gate *g);
void gate_open(struct gate *g);

#endif
