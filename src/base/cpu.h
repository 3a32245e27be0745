/* What this CPU can do, asked once. x86-64: CPUID and XCR0, so that whatever an emulator or
 * valgrind masks is not used (valgrind 3.19 has no clwb, clflushopt or AVX-512 and dies on them).
 * aarch64: the kernel's HWCAPs. PMEM_NO_CLWB=1, PMEM_NO_CLFLUSHOPT=1 and PMEM_AVX512F=0 in the
 * environment hide a feature, as for libpmem2. */
#ifndef HF_BASE_CPU_H
#define HF_BASE_CPU_H

#include <stdbool.h>

struct cpu {
	bool clwb;
	bool clflushopt;
	bool avx2;
	bool avx512f;
	bool fast_movsb; /* 'rep movsb' is at least as quick as vector loops for some KiB */
	bool dcpop;	 /* aarch64: dc cvap cleans to the point of persistence */
};

const struct cpu *cpu_get(void);

#endif
