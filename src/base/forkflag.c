#include "base/forkflag.h"

#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

static const uint64_t unarmed_token = UINT64_MAX;
const uint64_t *fork_page = &unarmed_token;

static pthread_once_t fork_once = PTHREAD_ONCE_INIT;
static uint64_t *fork_page_mut;	 /* NULL: no memory for it; nothing is noticed then */
static uint64_t fork_generation; /* inherited, so that a child's token differs from its parent's */

static void fork_map_page(void)
{
	size_t len = (size_t)sysconf(_SC_PAGESIZE);
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return;
	if (madvise(p, len, MADV_WIPEONFORK) != 0) {
		munmap(p, len);
		return;
	}
	fork_page_mut = p;
}

uint64_t fork_arm(void)
{
	uint64_t none = 0, token;

	pthread_once(&fork_once, fork_map_page);
	if (!fork_page_mut)
		return unarmed_token;
	token = __atomic_add_fetch(&fork_generation, 1, __ATOMIC_RELAXED);
	if (!__atomic_compare_exchange_n(fork_page_mut, &none, token, false, __ATOMIC_RELEASE,
					 __ATOMIC_ACQUIRE))
		token = none; /* armed before */
	__atomic_store_n(&fork_page, fork_page_mut, __ATOMIC_RELEASE);
	return token;
}
