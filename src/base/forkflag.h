/* Is this process a child of the one that opened? The linear map is not inherited and locks are not
 * usable in a child, so its calls return -ESTALE. A page that the kernel wipes on fork holds a
 * token: checking costs two loads that stay in the cache, and no pthread_atfork handler (raw clone
 * would pass it by). */
#ifndef HF_BASE_FORKFLAG_H
#define HF_BASE_FORKFLAG_H

#include <stdbool.h>
#include <stdint.h>

extern const uint64_t *fork_page;

/* Makes sure that there is a token; returns it, never 0. Who opens something keeps it and compares
 * it later: a child that opens something of its own gets another token. Without MADV_WIPEONFORK
 * (kernels before 4.14) a child is not noticed. */
uint64_t fork_arm(void);
/* The token of this process; 0 in a child that has not armed. */
static inline uint64_t fork_token(void)
{
	return __atomic_load_n(__atomic_load_n(&fork_page, __ATOMIC_RELAXED), __ATOMIC_RELAXED);
}
/* True in a child of a process that armed, until the child arms. Async-signal-safe. */
static inline bool fork_is_child(void)
{
	return fork_token() == 0;
}

#endif
