#if defined(__x86_64__)
#include "media/arch.h"
#include "base/cpu.h"

#include <emmintrin.h>
#include <ucontext.h>

/* ---- the copy routines: struct pm_fault f(void *dst, const void *src, size_t len), System V
 * order: rdi, rsi, rdx. They return rax = 0, or the fixup returns rax = 1 with rdx = the address.
 * None touches the stack or a callee-saved register. A routine that uses ymm stands after
 * arch_guarded_avx, so that its fixup cleans the upper halves.
 *
 * nt_*: dst is line-aligned, len is whole lines, src is anything. movnt is weakly ordered: the
 * fence makes it durable.
 */
/* clang-format off */
#define ROUTINE(name)                                                                              \
	".p2align 6\n"                                                                             \
	".hidden " name "\n.globl " name "\n.type " name ",@function\n" name ":\n"                 \
	".cfi_startproc\n"                                                                         \
	"endbr64\n"                                                                                \
	"xorl %eax, %eax\n"
#define END(name) ".cfi_endproc\n.size " name ",.-" name "\n"

/* up to 15 bytes, by overlapping pieces */
#define COPY_SMALL                                                                                 \
	"cmpq $8, %rdx\njb 4f\n"                                                                   \
	"movq (%rsi), %rcx\nmovq -8(%rsi,%rdx), %r8\n"                                             \
	"movq %rcx, (%rdi)\nmovq %r8, -8(%rdi,%rdx)\nret\n"                                        \
	"4: cmpq $4, %rdx\njb 5f\n"                                                                \
	"movl (%rsi), %ecx\nmovl -4(%rsi,%rdx), %r8d\n"                                            \
	"movl %ecx, (%rdi)\nmovl %r8d, -4(%rdi,%rdx)\nret\n"                                       \
	"5: testq %rdx, %rdx\nje 6f\n"                                                             \
	"movzbl (%rsi), %ecx\nmovzbl -1(%rsi,%rdx), %r8d\n"                                        \
	"cmpq $3, %rdx\njne 7f\nmovzbl 1(%rsi), %r9d\nmovb %r9b, 1(%rdi)\n"                        \
	"7: movb %cl, (%rdi)\nmovb %r8b, -1(%rdi,%rdx)\n"                                          \
	"6: ret\n"

/* 16 bytes and more; the last 16 may overlap what was copied */
#define COPY_SSE2                                                                                  \
	"movups -16(%rsi,%rdx), %xmm4\n"                                                           \
	"leaq -16(%rdi,%rdx), %r8\n"                                                               \
	"subq $64, %rdx\njb 22f\n"                                                                 \
	"21: movups (%rsi), %xmm0\nmovups 16(%rsi), %xmm1\n"                                       \
	"movups 32(%rsi), %xmm2\nmovups 48(%rsi), %xmm3\n"                                         \
	"movups %xmm0, (%rdi)\nmovups %xmm1, 16(%rdi)\n"                                           \
	"movups %xmm2, 32(%rdi)\nmovups %xmm3, 48(%rdi)\n"                                         \
	"addq $64, %rsi\naddq $64, %rdi\nsubq $64, %rdx\njae 21b\n"                               \
	"22: addq $64, %rdx\n"                                                                     \
	"23: cmpq $16, %rdx\njbe 24f\n"                                                            \
	"movups (%rsi), %xmm0\nmovups %xmm0, (%rdi)\n"                                             \
	"addq $16, %rsi\naddq $16, %rdi\nsubq $16, %rdx\njmp 23b\n"                               \
	"24: movups %xmm4, (%r8)\nret\n"

/* 128 bytes and more; the last 128 may overlap what was copied */
#define COPY_AVX2                                                                                  \
	"11: cmpq $128, %rdx\njbe 12f\n"                                                           \
	"vmovdqu (%rsi), %ymm0\nvmovdqu 32(%rsi), %ymm1\n"                                         \
	"vmovdqu 64(%rsi), %ymm2\nvmovdqu 96(%rsi), %ymm3\n"                                       \
	"vmovdqu %ymm0, (%rdi)\nvmovdqu %ymm1, 32(%rdi)\n"                                         \
	"vmovdqu %ymm2, 64(%rdi)\nvmovdqu %ymm3, 96(%rdi)\n"                                       \
	"subq $-128, %rsi\nsubq $-128, %rdi\naddq $-128, %rdx\njmp 11b\n"                         \
	"12: vmovdqu -128(%rsi,%rdx), %ymm0\nvmovdqu -96(%rsi,%rdx), %ymm1\n"                      \
	"vmovdqu -64(%rsi,%rdx), %ymm2\nvmovdqu -32(%rsi,%rdx), %ymm3\n"                           \
	"vmovdqu %ymm0, -128(%rdi,%rdx)\nvmovdqu %ymm1, -96(%rdi,%rdx)\n"                          \
	"vmovdqu %ymm2, -64(%rdi,%rdx)\nvmovdqu %ymm3, -32(%rdi,%rdx)\n"                           \
	"vzeroupper\nret\n"

__asm__(
	".pushsection .text.hf_guarded,\"ax\",@progbits\n"
	".hidden arch_guarded_start\n.globl arch_guarded_start\narch_guarded_start:\n"

	ROUTINE("arch_nt_sse2")
	"testq %rdx, %rdx\nje 2f\n"
	"1: movups (%rsi), %xmm0\nmovups 16(%rsi), %xmm1\n"
	"movups 32(%rsi), %xmm2\nmovups 48(%rsi), %xmm3\n"
	"movntps %xmm0, (%rdi)\nmovntps %xmm1, 16(%rdi)\n"
	"movntps %xmm2, 32(%rdi)\nmovntps %xmm3, 48(%rdi)\n"
	"addq $64, %rsi\naddq $64, %rdi\nsubq $64, %rdx\njne 1b\n"
	"2: ret\n"
	END("arch_nt_sse2")

	/* zmm16 and up: no upper half to clean. Four lines at a time, then one. */
	ROUTINE("arch_nt_avx512")
	"subq $256, %rdx\njb 2f\n"
	"1: vmovdqu64 (%rsi), %zmm16\nvmovdqu64 64(%rsi), %zmm17\n"
	"vmovdqu64 128(%rsi), %zmm18\nvmovdqu64 192(%rsi), %zmm19\n"
	"vmovntdq %zmm16, (%rdi)\nvmovntdq %zmm17, 64(%rdi)\n"
	"vmovntdq %zmm18, 128(%rdi)\nvmovntdq %zmm19, 192(%rdi)\n"
	"addq $256, %rsi\naddq $256, %rdi\nsubq $256, %rdx\njae 1b\n"
	"2: addq $256, %rdx\nje 4f\n"
	"3: vmovdqu64 (%rsi), %zmm16\nvmovntdq %zmm16, (%rdi)\n"
	"addq $64, %rsi\naddq $64, %rdi\nsubq $64, %rdx\njne 3b\n"
	"4: ret\n"
	END("arch_nt_avx512")

	ROUTINE("arch_copy_sse2")
	"cmpq $16, %rdx\njb 3f\n"
	COPY_SSE2
	"3:" COPY_SMALL
	END("arch_copy_sse2")

	ROUTINE("arch_copy_erms")
	"cmpq $16, %rdx\njb 3f\n"
	"cmpq $1024, %rdx\njae 10f\n"
	COPY_SSE2
	"10: movq %rdx, %rcx\nrep movsb\nret\n"
	"3:" COPY_SMALL
	END("arch_copy_erms")

	/* Up to 256 bytes by pieces that overlap in the middle. From 6 KiB on rep movsb is as quick or quicker. */
	ROUTINE("arch_copy_avx512")
	"cmpq $64, %rdx\njb 2f\n"
	"cmpq $128, %rdx\nja 1f\n"
	"vmovdqu64 (%rsi), %zmm16\nvmovdqu64 -64(%rsi,%rdx), %zmm17\n"
	"vmovdqu64 %zmm16, (%rdi)\nvmovdqu64 %zmm17, -64(%rdi,%rdx)\nret\n"
	"1: cmpq $6144, %rdx\njae 10f\n"
	"11: cmpq $256, %rdx\njbe 12f\n"
	"vmovdqu64 (%rsi), %zmm16\nvmovdqu64 64(%rsi), %zmm17\n"
	"vmovdqu64 128(%rsi), %zmm18\nvmovdqu64 192(%rsi), %zmm19\n"
	"vmovdqu64 %zmm16, (%rdi)\nvmovdqu64 %zmm17, 64(%rdi)\n"
	"vmovdqu64 %zmm18, 128(%rdi)\nvmovdqu64 %zmm19, 192(%rdi)\n"
	"addq $256, %rsi\naddq $256, %rdi\nsubq $256, %rdx\njmp 11b\n"
	"12: cmpq $128, %rdx\njbe 13f\n" /* 129..256 */
	"vmovdqu64 (%rsi), %zmm16\nvmovdqu64 64(%rsi), %zmm17\n"
	"vmovdqu64 -128(%rsi,%rdx), %zmm18\nvmovdqu64 -64(%rsi,%rdx), %zmm19\n"
	"vmovdqu64 %zmm16, (%rdi)\nvmovdqu64 %zmm17, 64(%rdi)\n"
	"vmovdqu64 %zmm18, -128(%rdi,%rdx)\nvmovdqu64 %zmm19, -64(%rdi,%rdx)\nret\n"
	"13: cmpq $64, %rdx\njb 14f\n" /* the rest of a longer one: 64..128 */
	"vmovdqu64 (%rsi), %zmm16\nvmovdqu64 -64(%rsi,%rdx), %zmm17\n"
	"vmovdqu64 %zmm16, (%rdi)\nvmovdqu64 %zmm17, -64(%rdi,%rdx)\nret\n"
	"14: vmovdqu64 -64(%rsi,%rdx), %zmm17\n" /* 1..63: the line that ends there */
	"vmovdqu64 %zmm17, -64(%rdi,%rdx)\nret\n"
	"2: cmpq $16, %rdx\njb 3f\n"
	COPY_SSE2
	"10: movq %rdx, %rcx\nrep movsb\nret\n"
	"3:" COPY_SMALL
	END("arch_copy_avx512")

	".hidden arch_guarded_avx\n.globl arch_guarded_avx\narch_guarded_avx:\n"

	ROUTINE("arch_nt_avx2")
	"subq $256, %rdx\njb 2f\n"
	"1: vmovdqu (%rsi), %ymm0\nvmovdqu 32(%rsi), %ymm1\n"
	"vmovdqu 64(%rsi), %ymm2\nvmovdqu 96(%rsi), %ymm3\n"
	"vmovdqu 128(%rsi), %ymm4\nvmovdqu 160(%rsi), %ymm5\n"
	"vmovdqu 192(%rsi), %ymm6\nvmovdqu 224(%rsi), %ymm7\n"
	"vmovntdq %ymm0, (%rdi)\nvmovntdq %ymm1, 32(%rdi)\n"
	"vmovntdq %ymm2, 64(%rdi)\nvmovntdq %ymm3, 96(%rdi)\n"
	"vmovntdq %ymm4, 128(%rdi)\nvmovntdq %ymm5, 160(%rdi)\n"
	"vmovntdq %ymm6, 192(%rdi)\nvmovntdq %ymm7, 224(%rdi)\n"
	"addq $256, %rsi\naddq $256, %rdi\nsubq $256, %rdx\njae 1b\n"
	"2: addq $256, %rdx\nje 4f\n"
	"3: vmovdqu (%rsi), %ymm0\nvmovdqu 32(%rsi), %ymm1\n"
	"vmovntdq %ymm0, (%rdi)\nvmovntdq %ymm1, 32(%rdi)\n"
	"addq $64, %rsi\naddq $64, %rdi\nsubq $64, %rdx\njne 3b\n"
	"4: vzeroupper\nret\n"
	END("arch_nt_avx2")

	ROUTINE("arch_copy_avx2")
	"cmpq $16, %rdx\njb 3f\n"
	"cmpq $256, %rdx\njae 11f\n"
	COPY_SSE2
	COPY_AVX2
	"3:" COPY_SMALL
	END("arch_copy_avx2")

	ROUTINE("arch_copy_avx2erms")
	"cmpq $16, %rdx\njb 3f\n"
	"cmpq $256, %rdx\njae 9f\n"
	COPY_SSE2
	"9: cmpq $1024, %rdx\njae 10f\n"
	COPY_AVX2
	"10: movq %rdx, %rcx\nrep movsb\nret\n"
	"3:" COPY_SMALL
	END("arch_copy_avx2erms")

	".hidden arch_guarded_end\n.globl arch_guarded_end\narch_guarded_end:\n"
	".hidden arch_guarded_fixup_avx\n.globl arch_guarded_fixup_avx\n"
	"arch_guarded_fixup_avx: vzeroupper\n"
	".hidden arch_guarded_fixup\n.globl arch_guarded_fixup\n"
	"arch_guarded_fixup: movl $1, %eax\nret\n"
	".popsection\n");
/* clang-format on */

struct pm_fault arch_nt_sse2(void *dst, const void *src, size_t len);
struct pm_fault arch_nt_avx2(void *dst, const void *src, size_t len);
struct pm_fault arch_nt_avx512(void *dst, const void *src, size_t len);
struct pm_fault arch_copy_sse2(void *dst, const void *src, size_t len);
struct pm_fault arch_copy_erms(void *dst, const void *src, size_t len);
struct pm_fault arch_copy_avx2(void *dst, const void *src, size_t len);
struct pm_fault arch_copy_avx2erms(void *dst, const void *src, size_t len);
struct pm_fault arch_copy_avx512(void *dst, const void *src, size_t len);
extern const char arch_guarded_start[], arch_guarded_avx[], arch_guarded_end[];
extern const char arch_guarded_fixup[], arch_guarded_fixup_avx[];

bool arch_fixup(void *ucontext, uint64_t addr)
{
	ucontext_t *uc = ucontext;
	greg_t *regs = uc->uc_mcontext.gregs;
	uintptr_t pc = (uintptr_t)regs[REG_RIP];

	if (pc < (uintptr_t)arch_guarded_start || pc >= (uintptr_t)arch_guarded_end)
		return false;
	regs[REG_RDX] = (greg_t)addr;
	regs[REG_RIP] =
	    (greg_t)(pc < (uintptr_t)arch_guarded_avx ? (uintptr_t)arch_guarded_fixup
						      : (uintptr_t)arch_guarded_fixup_avx);
	return true;
}

bool arch_fault_fetches(const void *ucontext, const void *addr)
{
	const ucontext_t *uc = ucontext;

	return uc->uc_mcontext.gregs[REG_RIP] == (greg_t)(uintptr_t)addr;
}

bool arch_fault_stores(const void *ucontext)
{
	const ucontext_t *uc = ucontext;

	return (uc->uc_mcontext.gregs[REG_ERR] & 2) != 0; /* W of the page fault's error code */
}

/* ---- flushes. clwb and clflushopt are weakly ordered (the fence covers them), clflush is not. */

#define FLUSH_LOOP(insn)                                                                           \
	for (uintptr_t line = (uintptr_t)p & ~(uintptr_t)(HF_LINE - 1); line < (uintptr_t)p + len; \
	     line += HF_LINE)                                                                      \
	__asm__ volatile(insn " %0" : "+m"(*(volatile char *)line)::"memory")

static void arch_flush_clwb(const void *p, size_t len)
{
	FLUSH_LOOP("clwb");
}

static void arch_flush_clflushopt(const void *p, size_t len)
{
	FLUSH_LOOP("clflushopt");
}

static void arch_flush_clflush(const void *p, size_t len)
{
	FLUSH_LOOP("clflush");
}

/* ---- zeros */

static void arch_nt_zero(void *dst, size_t len)
{
	const __m128i zero = _mm_setzero_si128();
	__m128i *at = dst;

	for (size_t i = 0; i < len / sizeof(*at); i++)
		_mm_stream_si128(at + i, zero);
}

/* ---- the sets */

#define OPS(flush_name, copy_name, nt_name)                                                        \
	{                                                                                          \
		.name = #flush_name "," #copy_name "," #nt_name, .flush = arch_flush_##flush_name, \
		.copy = arch_copy_##copy_name, .nt_lines = arch_nt_##nt_name,                      \
		.nt_zero_lines = arch_nt_zero,                                                     \
	}
#define OPS_ROW(flush_name)                                                                        \
	{                                                                                          \
		OPS(flush_name, sse2, sse2), OPS(flush_name, erms, sse2),                          \
		    OPS(flush_name, avx2, avx2), OPS(flush_name, avx2erms, avx2),                  \
		    OPS(flush_name, avx512, avx512),                                               \
	}

enum { LEVEL_SSE2, LEVEL_ERMS, LEVEL_AVX2, LEVEL_AVX2_ERMS, LEVEL_AVX512, LEVEL_COUNT };
enum { FLUSH_CLFLUSH, FLUSH_OPT, FLUSH_WB, FLUSH_COUNT };

static const struct pm_ops arch_sets[FLUSH_COUNT][LEVEL_COUNT] = {
    OPS_ROW(clflush),
    OPS_ROW(clflushopt),
    OPS_ROW(clwb),
};

static bool arch_runs(const struct cpu *cpu, unsigned int flush, unsigned int level)
{
	if ((flush == FLUSH_OPT && !cpu->clflushopt) || (flush == FLUSH_WB && !cpu->clwb))
		return false;
	switch (level) {
	case LEVEL_ERMS:
		return cpu->fast_movsb;
	case LEVEL_AVX2:
		return cpu->avx2;
	case LEVEL_AVX2_ERMS:
		return cpu->avx2 && cpu->fast_movsb;
	case LEVEL_AVX512:
		return cpu->avx2 && cpu->avx512f && cpu->fast_movsb;
	default:
		return true;
	}
}

/* From the last to the first: the n-th that this CPU runs. */
const struct pm_ops *arch_ops_nth(unsigned int n)
{
	const struct cpu *cpu = cpu_get();

	for (unsigned int flush = FLUSH_COUNT; flush-- > 0;) {
		for (unsigned int level = LEVEL_COUNT; level-- > 0;) {
			if (!arch_runs(cpu, flush, level))
				continue;
			if (n-- == 0)
				return &arch_sets[flush][level];
		}
	}
	return NULL;
}

const struct pm_ops *arch_ops(void)
{
	return arch_ops_nth(0);
}

#endif
