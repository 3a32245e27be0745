/* Faults: the library's SIGSEGV and SIGBUS handlers.
 *
 * Installed with the first pm_open; they chain to what was there. A fault inside a guarded copy
 * makes that copy return an error: nothing is resolved. A SIGBUS in the map of a volume is bad media
 * (poison.h). Any other fault goes to the resolver (the views' fault handler) and, if that does not
 * want it, to the handlers that were there before, or to the default action.
 */
#ifndef HF_MEDIA_GUARD_H
#define HF_MEDIA_GUARD_H

#include "base/types.h"
#include <signal.h>

/* A copy whose two sides may fault, for callers without a struct pm. 0, or -EFAULT with the address
 * in *fault_addr (may be NULL). */
int guard_copy(void *dst, const void *src, size_t len, uint64_t *fault_addr);

/* False: SIGSEGV goes to a handler that was installed after ours. It may chain. */
bool guard_is_first(void);

/* Called in the signal handler for a fault of this process outside guarded copies; returns true if
 * the access may be tried again. All signals but faults are blocked. NULL: none. Only one; set
 * before the first view is mapped. */
typedef bool (*guard_resolver)(int sig, siginfo_t *info, void *ucontext);
void guard_set_resolver(guard_resolver resolve);

#endif
