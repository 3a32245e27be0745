#include "base/cpu.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static struct cpu cpu;
static pthread_once_t cpu_once = PTHREAD_ONCE_INIT;

#if defined(__x86_64__)
#include <cpuid.h>

#define XCR0_AVX    0x06u /* the kernel saves xmm and ymm */
#define XCR0_AVX512 0xe6u /* and opmask, zmm */

static unsigned int cpu_xcr0(void)
{
	unsigned int lo, hi;

	__asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
	return lo;
}

static bool cpu_env_is(const char *name, const char *value)
{
	const char *v = getenv(name);

	return v && strcmp(v, value) == 0;
}

static void cpu_detect(void)
{
	unsigned int a, b, c, d, xcr0 = 0;

	if (__get_cpuid(1, &a, &b, &c, &d) && (c & bit_OSXSAVE))
		xcr0 = cpu_xcr0();
	if (!__get_cpuid_count(7, 0, &a, &b, &c, &d))
		return;
	cpu.clwb = (b & bit_CLWB) && !cpu_env_is("PMEM_NO_CLWB", "1");
	cpu.clflushopt = (b & bit_CLFLUSHOPT) && !cpu_env_is("PMEM_NO_CLFLUSHOPT", "1");
	cpu.avx2 = (b & bit_AVX2) && (xcr0 & XCR0_AVX) == XCR0_AVX;
	cpu.avx512f = (b & bit_AVX512F) && (xcr0 & XCR0_AVX512) == XCR0_AVX512 &&
		      !cpu_env_is("PMEM_AVX512F", "0");
	cpu.fast_movsb = (b & (1u << 9)) != 0; /* ERMS */
}

#elif defined(__aarch64__)
#include <sys/auxv.h>

#ifndef HWCAP_DCPOP
#define HWCAP_DCPOP (1ul << 16)
#endif

static void cpu_detect(void)
{
	cpu.dcpop = (getauxval(AT_HWCAP) & HWCAP_DCPOP) != 0;
}

#else
static void cpu_detect(void)
{
}
#endif

const struct cpu *cpu_get(void)
{
	pthread_once(&cpu_once, cpu_detect);
	return &cpu;
}
