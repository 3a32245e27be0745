/* Instructions, one file per architecture. Everything that may fault on behalf of a caller's
 * address is a leaf routine in assembly that keeps nothing on the stack: the fault handler
 * (guard.c) can make it return early, without a jump buffer, from any depth of signal stack, and
 * with sanitizers and shadow stacks none the wiser. */
#ifndef HF_MEDIA_ARCH_H
#define HF_MEDIA_ARCH_H

#include "media/pm.h"

/* The best for this CPU. */
const struct pm_ops *arch_ops(void);
/* All that this CPU can run, for tests and measurements; the n-th, or NULL. */
const struct pm_ops *arch_ops_nth(unsigned int n);

/* Called by the signal handler: if the interrupted code is one of the copy routines, makes it
 * return {faulted, addr} when the handler returns. */
bool arch_fixup(void *ucontext, uint64_t addr);
/* In the signal handler of a fault: was it a store? True as well when that cannot be told. */
bool arch_fault_stores(const void *ucontext);
/* Was it the attempt to run code at addr? */
bool arch_fault_fetches(const void *ucontext, const void *addr);

#endif
