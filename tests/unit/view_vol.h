/* Views for the tests: volumes of frames, touches that may fail. */
#ifndef HF_TESTS_VIEW_VOL_H
#define HF_TESTS_VIEW_VOL_H

#include "file_vol.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>

#define WAIT_NONE     0ull
#define SECOND	      1000000000ull
#define SLOT(view, i) ((uint8_t *)(view) + (size_t)(i) * (size_t)FRM)

static inline void *view_at(hf_file *f, uint64_t off, uint64_t len, unsigned prot, uint64_t wait_ns,
			    hf_view **out)
{
	struct hf_view_options o = {.struct_size = sizeof(o), .prot = prot, .pin_wait_ns = wait_ns};
	void *addr = NULL;

	OK(hf_view_map(f, off, len, &o, &addr, out));
	if (!addr)
		exit(1);
	return addr;
}

#define VIEW_RW (HF_VIEW_READ | HF_VIEW_WRITE)

/* A file of n whole frames, each byte of slot i being 'first + i'. */
static inline hf_file *view_file(hf_volume *vol, const char *path, unsigned n, uint8_t first)
{
	hf_file *f = vol_create(vol, path);
	uint8_t *buf = malloc(FRM);

	for (unsigned i = 0; i < n; i++) {
		memset(buf, first + (int)i, FRM);
		GET(FRM, hf_pwrite(f, buf, FRM, i * FRM));
	}
	free(buf);
	return f;
}

static inline bool view_is_huge(hf_file *f, uint64_t off)
{
	struct hf_extent e;
	size_t n;

	OK(hf_extents(f, off, &e, 1, &n));
	return n == 1 && e.off <= off && e.off + e.len > off && e.huge;
}

/* ---- touches that end in a signal. The handlers stand before the library's, which chains to them.
 */
static __thread sigjmp_buf touch_env;
static __thread volatile int touch_armed;

static void touch_signal(int sig, siginfo_t *info, void *uc)
{
	(void)info;
	(void)uc;
	if (!touch_armed)
		_exit(100 + sig);
	siglongjmp(touch_env, sig);
}

static inline void touch_install(void)
{
	struct sigaction sa = {.sa_sigaction = touch_signal, .sa_flags = SA_SIGINFO | SA_NODEFER};

	sigaction(SIGSEGV, &sa, NULL);
	sigaction(SIGBUS, &sa, NULL);
}

/* 0, or the signal. */
static inline int touch_read(const void *p, uint8_t *out)
{
	volatile const uint8_t *at = p;
	int sig = sigsetjmp(touch_env, 1);

	if (sig == 0) {
		touch_armed = 1;
		*out = *at;
	}
	touch_armed = 0;
	return sig;
}

static inline int touch_write(void *p, uint8_t value)
{
	volatile uint8_t *at = p;
	int sig = sigsetjmp(touch_env, 1);

	if (sig == 0) {
		touch_armed = 1;
		*at = value;
	}
	touch_armed = 0;
	return sig;
}

static inline int touch_get(const void *p)
{
	uint8_t b = 0;
	int sig = touch_read(p, &b);

	return sig ? -sig : b;
}

#endif
