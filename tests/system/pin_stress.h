/* What the parts of the stress test of pins share: see pin_stress.c. */
#ifndef HF_TESTS_PIN_STRESS_H
#define HF_TESTS_PIN_STRESS_H

#include <holdfast.h>
#include "rng.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/uio.h>

#define BLOCK	    4096ull
#define WORDS	    512ull /* of a block */
#define FRAME	    (2ull << 20)
#define THREADS_MAX 16u
#define IOVS	    64u
#define NAMES	    10u		 /* shared files; the odd ones are those whose blocks are shifted */
#define SHARED_MAX  (6ull << 20) /* bytes of a shared file */
#define OWN_MAX	    (3ull << 20) /* of a thread's own */
#define OWN_PINS    6u
#define OWN_PIN_MAX 24u /* blocks */
#define ANY_BLOCK   UINT64_MAX

#if defined(__SANITIZE_THREAD__)
#define WITH_FORK                                                                                  \
	0 /* a forked child of a program with threads is not supported by TSan's runtime */
#else
#define WITH_FORK 1
#endif

typedef uint64_t word_t; /* of a file: others may store to it meanwhile */
static inline uint64_t word_get(const word_t *p)
{
	return __atomic_load_n(p, __ATOMIC_RELAXED);
}
static inline void word_set(word_t *p, uint64_t v)
{
	__atomic_store_n(p, v, __ATOMIC_RELAXED);
}

/* A file that a thread has open. */
struct shared {
	hf_file *f;
	uint64_t ident;
	bool shift; /* which block a word was written for says nothing about where it is now */
	uint64_t size;
};

/* A pin that one thread has in its hands, or that lies on the table. */
struct pinned {
	hf_pin_id id;
	uint64_t ident, off, len;
	bool shift, write, leased;
	size_t n;
	struct iovec iov[IOVS];
};

struct seen {
	struct shared s;
	hf_view *view;
	uint8_t *at;
	uint64_t off, len;
	bool write;
};

/* A pin on the thread's own file, and what is known of its blocks: see pin_stress_own.c. */
enum own_state { ATTACHED, MAYBE, GONE };
struct own_pin {
	struct pinned *p;
	enum own_state state[OWN_PIN_MAX];
	uint64_t then[OWN_PIN_MAX * WORDS];
};

struct own {
	hf_file *f;
	uint64_t ident, size;
	uint64_t *words; /* what the file has */
	struct own_pin pins[OWN_PINS];
	hf_view *view;
	word_t *at;
};

struct thread {
	pthread_t id;
	struct rng rng;
	unsigned no;
	uint64_t ops, refused, checked;
	struct seen seen;
	struct own own;
	word_t *buf; /* SHARED_MAX bytes */
};

extern hf_volume *vol;
extern _Atomic uint64_t pins_held; /* as the test counts them */
extern _Atomic uint64_t forks;

/* Ends the test, with the library's last sentence. */
__attribute__((format(printf, 1, 2), noreturn)) void die(const char *fmt, ...);
/* Errors that races and a full volume explain; all others end the test. */
int64_t may(struct thread *t, const char *what, int64_t ret);
void must(const char *what, int64_t ret);

/* ---- stamps */
uint64_t stamp(uint64_t ident, uint64_t block, uint64_t gen, uint64_t index);
uint64_t stamp_ident(const struct hf_stat *st);
/* Is it zero, or a stamp of this file, of this block, at this place in the block? */
bool stamp_fits(uint64_t word, uint64_t ident, uint64_t block, uint64_t index);
/* off: of words[0] in the file, a multiple of 8. */
void stamp_fill(word_t *words, uint64_t bytes, uint64_t off, uint64_t ident, uint64_t gen);
void stamp_check(const char *who, const word_t *words, uint64_t bytes, uint64_t off, uint64_t ident,
		 bool shift);

/* ---- touches that may end in a signal: how many bytes were read or stored before it. */
void touch_install(void);
uint64_t touch_load(const word_t *from, word_t *to, uint64_t bytes);
uint64_t touch_store(word_t *to, const word_t *from, uint64_t bytes);
int touch_signal_of(const void *p);

/* ---- pins (pin_stress_pins.c) */
struct pinned *pins_make(struct thread *t, hf_file *f, uint64_t off, uint64_t len, unsigned flags);
void pins_check(const struct pinned *p);
void pins_store(struct thread *t, struct pinned *p);
void pins_drop(struct pinned *p);
void pins_random(struct thread *t);
void pins_fork(struct thread *t);
/* With nobody else at work. */
void pins_stand(bool still);
void pins_check_all(void);
void pins_drop_all(void);

/* ---- files that all share, and views of them (pin_stress_shared.c) */
void shared_random(struct thread *t);
bool shared_open(struct thread *t, struct shared *out, unsigned flags);
void shared_close(struct shared *s);
void seen_random(struct thread *t);
void seen_drop(struct thread *t);

/* ---- the thread's own file, whose contents are known (pin_stress_own.c) */
void own_open(struct thread *t);
void own_random(struct thread *t);
void own_check(struct thread *t);
void own_close(struct thread *t);
struct hf_how how_random(struct thread *t);

#endif
