/* The instructions alone, without CUnit and the libraries: built for the other architecture by
 * media_cross.sh and run in an emulator. Prints what went wrong and returns it. */
#include "media/arch.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE 65536u /* the largest page there is */

static void on_fault(int sig, siginfo_t *info, void *ucontext)
{
	(void)sig;
	if (!arch_fixup(ucontext, (uintptr_t)info->si_addr))
		_exit(3);
}

static int check_ops(const struct pm_ops *ops, uint8_t *mem)
{
	static uint8_t src[8192], dst[8192] __attribute__((aligned(64)));
	int bad = 0;

	for (size_t i = 0; i < sizeof(src); i++)
		src[i] = (uint8_t)(i * 7 + (i >> 8));
	for (uint32_t len = 0; len < 4000; len += len < 400 ? 1 : 77) {
		uint32_t lines = len / 64 * 64;

		memset(dst, 0xa5, sizeof(dst));
		bad += ops->copy(dst + 3, src + 1, len).faulted != 0;
		bad += memcmp(dst + 3, src + 1, len) != 0 || dst[2] != 0xa5 || dst[3 + len] != 0xa5;
		memset(dst, 0xa5, sizeof(dst));
		bad += ops->nt_lines(dst, src + 1, lines).faulted != 0;
		bad += memcmp(dst, src + 1, lines) != 0 || dst[lines] != 0xa5;
		ops->flush(dst, len + 1);
		insn_fence();
		ops->nt_zero_lines(dst, lines);
		for (uint32_t i = 0; i < lines; i++)
			bad += dst[i] != 0;
		bad += dst[lines] != 0xa5;
	}
	for (uint32_t len = 1; len < 400; len++) {
		for (uint32_t alive = 0; alive < len; alive += 5) {
			uint8_t *at = mem + PAGE - alive;
			struct pm_fault r = ops->copy(dst, at, len), w = ops->copy(at, src, len);

			bad += !r.faulted || r.addr < (uintptr_t)mem + PAGE ||
			       r.addr > (uintptr_t)mem + PAGE + 512;
			bad += !w.faulted || w.addr < (uintptr_t)mem + PAGE ||
			       w.addr > (uintptr_t)mem + PAGE + 512;
		}
	}
	bad += !ops->nt_lines(dst, mem + PAGE - 64, 128).faulted;
	bad += !ops->nt_lines(mem + PAGE - 64, src, 128).faulted;
	return bad;
}

int main(void)
{
	struct sigaction sa = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_NODEFER};
	uint8_t *mem =
	    mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	const struct pm_ops *ops;
	int bad = 0;

	if (mem == MAP_FAILED || mprotect(mem + PAGE, PAGE, PROT_NONE) != 0)
		return 2;
	sigaction(SIGSEGV, &sa, NULL);
	sigaction(SIGBUS, &sa, NULL);
	for (unsigned int i = 0; (ops = arch_ops_nth(i)) != NULL; i++) {
		int wrong = check_ops(ops, mem);

		printf("%s: %d wrong\n", ops->name, wrong);
		bad += wrong;
	}
	return bad ? 1 : 0;
}
