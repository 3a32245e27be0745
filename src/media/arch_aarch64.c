#if defined(__aarch64__)
#include "media/arch.h"
#include "base/cpu.h"

#include <ucontext.h>

/* ---- the copy routines: x0 = dst, x1 = src, x2 = len; they return x0 = 0, or the fixup returns x0
 * = 1 with x1 = the address. Leaves: the return address stays in x30, nothing is on the stack.
 *
 * stnp is a hint only; the caller cleans what it stored (INSN_NT_NEEDS_FLUSH). */
/* clang-format off */
#define ROUTINE(name)                                                                              \
	".p2align 6\n"                                                                             \
	".hidden " name "\n.globl " name "\n.type " name ",%function\n" name ":\n"                 \
	".cfi_startproc\n"                                                                         \
	"hint #34\n" /* bti c: called through a pointer */                                         \
	"mov x3, x0\n"                                                                             \
	"mov x0, #0\n"
#define END(name) ".cfi_endproc\n.size " name ",.-" name "\n"

__asm__(".pushsection .text.hf_guarded,\"ax\",%progbits\n"
	".hidden arch_guarded_start\n.globl arch_guarded_start\narch_guarded_start:\n"

	ROUTINE("arch_nt_stnp")
	"cbz x2, 2f\n"
	"1: ldp q0, q1, [x1]\nldp q2, q3, [x1, #32]\n"
	"stnp q0, q1, [x3]\nstnp q2, q3, [x3, #32]\n"
	"add x1, x1, #64\nadd x3, x3, #64\nsubs x2, x2, #64\nb.ne 1b\n"
	"2: ret\n"
	END("arch_nt_stnp")

	/* 16 bytes and more: whole pieces, then the last 16 again; fewer: by overlapping halves */
	ROUTINE("arch_copy_simd")
	"cmp x2, #16\nb.lo 4f\n"
	"add x4, x1, x2\nldur q4, [x4, #-16]\nadd x5, x3, x2\n"
	"1: cmp x2, #64\nb.lo 2f\n"
	"ldp q0, q1, [x1]\nldp q2, q3, [x1, #32]\n"
	"stp q0, q1, [x3]\nstp q2, q3, [x3, #32]\n"
	"add x1, x1, #64\nadd x3, x3, #64\nsub x2, x2, #64\nb 1b\n"
	"2: cmp x2, #16\nb.ls 3f\n"
	"ldr q0, [x1], #16\nstr q0, [x3], #16\nsub x2, x2, #16\nb 2b\n"
	"3: stur q4, [x5, #-16]\nret\n"
	"4: add x4, x1, x2\nadd x5, x3, x2\n"
	"cmp x2, #8\nb.lo 5f\n"
	"ldr x6, [x1]\nldur x7, [x4, #-8]\nstr x6, [x3]\nstur x7, [x5, #-8]\nret\n"
	"5: cmp x2, #4\nb.lo 6f\n"
	"ldr w6, [x1]\nldur w7, [x4, #-4]\nstr w6, [x3]\nstur w7, [x5, #-4]\nret\n"
	"6: cbz x2, 8f\n"
	"7: ldrb w6, [x1], #1\nstrb w6, [x3], #1\nsubs x2, x2, #1\nb.ne 7b\n"
	"8: ret\n"
	END("arch_copy_simd")

	".hidden arch_guarded_end\n.globl arch_guarded_end\narch_guarded_end:\n"
	".hidden arch_guarded_fixup\n.globl arch_guarded_fixup\n"
	"arch_guarded_fixup: mov x0, #1\nret\n"
	".popsection\n");
/* clang-format on */

struct pm_fault arch_nt_stnp(void *dst, const void *src, size_t len);
struct pm_fault arch_copy_simd(void *dst, const void *src, size_t len);
extern const char arch_guarded_start[], arch_guarded_end[], arch_guarded_fixup[];

bool arch_fixup(void *ucontext, uint64_t addr)
{
	ucontext_t *uc = ucontext;
	uintptr_t pc = (uintptr_t)uc->uc_mcontext.pc;

	if (pc < (uintptr_t)arch_guarded_start || pc >= (uintptr_t)arch_guarded_end)
		return false;
	uc->uc_mcontext.regs[1] = addr;
	uc->uc_mcontext.pc = (uintptr_t)arch_guarded_fixup;
	return true;
}

/* The syndrome register, where the kernel put it among the records behind the registers. */
#define AARCH64_ESR_MAGIC 0x45535201u
#define AARCH64_ESR_WNR	  (1u << 6)

bool arch_fault_fetches(const void *ucontext, const void *addr)
{
	const ucontext_t *uc = ucontext;

	return uc->uc_mcontext.pc == (uintptr_t)addr;
}

bool arch_fault_stores(const void *ucontext)
{
	const ucontext_t *uc = ucontext;
	const uint8_t *at = (const uint8_t *)uc->uc_mcontext.__reserved;
	size_t left = sizeof(uc->uc_mcontext.__reserved);
	uint32_t head[2]; /* magic, size */
	uint64_t esr;

	while (left >= sizeof(head) + sizeof(esr)) {
		memcpy(head, at, sizeof(head));
		if (head[0] == AARCH64_ESR_MAGIC) {
			memcpy(&esr, at + sizeof(head), sizeof(esr));
			return (esr & AARCH64_ESR_WNR) != 0;
		}
		if (head[0] == 0 || head[1] < sizeof(head) || head[1] > left)
			break;
		at += head[1];
		left -= head[1];
	}
	return true;
}

/* ---- flushes: clean by address to the point of persistence where the CPU has one (dc cvap), else
 * to the point of coherency. The cache line of the smallest cache decides the step. dc cvap is
 * written as its encoding, so that a compiler for plain ARMv8 takes it. */

static uintptr_t arch_line_size(void)
{
	uint64_t ctr;

	__asm__("mrs %0, ctr_el0" : "=r"(ctr));
	return (uintptr_t)4 << ((ctr >> 16) & 15);
}

#define FLUSH_LOOP(insn)                                                                           \
	uintptr_t step = arch_line_size();                                                         \
	for (uintptr_t line = (uintptr_t)p & ~(step - 1); line < (uintptr_t)p + len; line += step) \
	__asm__ volatile(insn ::"r"(line) : "memory")

static void arch_flush_cvap(const void *p, size_t len)
{
	FLUSH_LOOP("sys #3, c7, c12, #1, %0");
}

static void arch_flush_cvac(const void *p, size_t len)
{
	FLUSH_LOOP("dc cvac, %0");
}

static void arch_nt_zero(void *dst, size_t len)
{
	uint8_t *at = dst;

	for (size_t i = 0; i < len; i += HF_LINE)
		__asm__ volatile("stnp xzr, xzr, [%0]\nstnp xzr, xzr, [%0, #16]\n"
				 "stnp xzr, xzr, [%0, #32]\nstnp xzr, xzr, [%0, #48]" ::"r"(at + i)
				 : "memory");
}

static const struct pm_ops arch_sets[] = {
    {.name = "cvac,simd,stnp",
     .flush = arch_flush_cvac,
     .copy = arch_copy_simd,
     .nt_lines = arch_nt_stnp,
     .nt_zero_lines = arch_nt_zero},
    {.name = "cvap,simd,stnp",
     .flush = arch_flush_cvap,
     .copy = arch_copy_simd,
     .nt_lines = arch_nt_stnp,
     .nt_zero_lines = arch_nt_zero},
};

const struct pm_ops *arch_ops(void)
{
	return &arch_sets[cpu_get()->dcpop];
}

const struct pm_ops *arch_ops_nth(unsigned int i)
{
	return i <= (unsigned int)cpu_get()->dcpop ? &arch_sets[i] : NULL;
}

#endif
