/* The instructions that are worth inlining. The rest is behind struct pm_ops. */
#ifndef HF_MEDIA_INSN_H
#define HF_MEDIA_INSN_H

#include "base/types.h"

#if defined(__x86_64__)

#define INSN_NT_NEEDS_FLUSH false

/* Orders and completes this thread's flushes and non-temporal stores. */
static inline void insn_fence(void)
{
	__asm__ volatile("sfence" ::: "memory");
}

/* A non-temporal store of 8 bytes; dst is 8-byte aligned. */
static inline void insn_nt64(void *dst, uint64_t raw)
{
	__asm__ volatile("movnti %1, %0" : "=m"(*(uint64_t *)dst) : "r"(raw) : "memory");
}

#elif defined(__aarch64__)

/* stnp is only a hint: what it stored must be cleaned like any other line. */
#define INSN_NT_NEEDS_FLUSH true

static inline void insn_fence(void)
{
	__asm__ volatile("dsb sy" ::: "memory");
}

static inline void insn_nt64(void *dst, uint64_t raw)
{
	__atomic_store_n((uint64_t *)dst, raw, __ATOMIC_RELAXED);
}

#else
#error "holdfast knows the flush instructions of x86-64 and aarch64 only"
#endif

#endif
