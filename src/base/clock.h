/* Nanoseconds of a clock, and deadlines on CLOCK_MONOTONIC. Safe in a signal handler. */
#ifndef HF_BASE_CLOCK_H
#define HF_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline uint64_t clock_ns(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static inline uint64_t clock_mono_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

/* The same clock, good to 4 ms and several times faster: how old something is, for people. */
static inline uint64_t clock_coarse_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC_COARSE);
}

/* When a timeout that begins now ends; UINT64_MAX: never. */
static inline uint64_t clock_deadline_ns(uint64_t timeout_ns)
{
	uint64_t now = clock_mono_ns();

	return timeout_ns > UINT64_MAX - now ? UINT64_MAX : now + timeout_ns;
}

#endif
