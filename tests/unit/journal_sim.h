/* A simulated device behind pm.h for the journal's tests.
 *
 * 'shadow' is what is durable. Each line remembers every version since the durable one; a flush or
 * a non-temporal store makes its version pending for the thread that did it, and that thread's
 * fence makes it durable. A crash image takes for each line any version, and of the step to the
 * next one any of its aligned 8-byte words.
 */
#ifndef HF_TESTS_JOURNAL_SIM_H
#define HF_TESTS_JOURNAL_SIM_H

#include "journal/journal.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct rng {
	uint64_t s;
};
static inline uint64_t rng_next(struct rng *r)
{
	r->s += 0x9e3779b97f4a7c15ull;
	return hash_mix(r->s);
}
static inline uint64_t rng_below(struct rng *r, uint64_t n)
{
	return rng_next(r) % n;
}

struct sim_line {
	uint64_t base; /* number of the durable version */
	uint32_t n, cap;
	uint8_t (*v)[HF_LINE]; /* versions base + 1 .. base + n */
	bool listed;
};

struct sim_pending {
	uint64_t line, version;
};
struct sim_thread {
	pthread_t id;
	bool used;
	struct sim_pending *p;
	size_t n, cap;
};

struct sim;
typedef int sim_event(struct sim *s, void *ctx); /* a fence's result: 0 goes on */

struct sim {
	struct pm *pm;
	uint8_t *mem, *shadow;
	uint64_t size;
	struct sim_line *line;
	uint64_t *listed; /* lines with versions */
	size_t nlisted;
	struct sim_thread thread[16];
	int as;		     /* >= 0: events belong to this thread slot */
	pthread_mutex_t mtx; /* recursive */
	struct pm_hook hook;
	sim_event *on_fence; /* before the fence takes effect */
	sim_event *on_flush; /* after the flush */
	void (*on_store)(struct sim *s, void *ctx, moff_t off, uint64_t len, bool nt);
	void *ctx;
	uint64_t fences, flushes, stores;
	uint64_t fail_fence, fail_flush; /* the number of the event that fails; 0: none */
};

static inline struct sim_thread *sim_me(struct sim *s)
{
	pthread_t me = pthread_self();

	if (s->as >= 0)
		return &s->thread[s->as];
	for (int i = 0; i < 12; i++) {
		if (s->thread[i].used && pthread_equal(s->thread[i].id, me))
			return &s->thread[i];
	}
	for (int i = 0; i < 12; i++) {
		if (!s->thread[i].used) {
			s->thread[i].used = true;
			s->thread[i].id = me;
			return &s->thread[i];
		}
	}
	abort();
}

static inline void sim_pend(struct sim_thread *t, uint64_t line, uint64_t version)
{
	if (t->n == t->cap) {
		t->cap = t->cap ? 2 * t->cap : 64;
		t->p = realloc(t->p, t->cap * sizeof(t->p[0]));
	}
	t->p[t->n++] = (struct sim_pending){line, version};
}

static inline void sim_store(void *ctx, moff_t off, uint64_t len, bool nt)
{
	struct sim *s = ctx;

	pthread_mutex_lock(&s->mtx);
	s->stores++;
	for (uint64_t l = off.v / HF_LINE; l <= (off.v + len - 1) / HF_LINE; l++) {
		struct sim_line *x = &s->line[l];

		if (x->n == x->cap) {
			x->cap = x->cap ? 2 * x->cap : 2;
			x->v = realloc(x->v, x->cap * sizeof(x->v[0]));
		}
		memcpy(x->v[x->n++], s->mem + l * HF_LINE, HF_LINE);
		if (!x->listed) {
			x->listed = true;
			s->listed[s->nlisted++] = l;
		}
		if (nt)
			sim_pend(sim_me(s), l, x->base + x->n);
	}
	if (s->on_store)
		s->on_store(s, s->ctx, off, len, nt);
	pthread_mutex_unlock(&s->mtx);
}

static inline int sim_flush(void *ctx, moff_t off, uint64_t len)
{
	struct sim *s = ctx;
	int err = 0;

	pthread_mutex_lock(&s->mtx);
	if (++s->flushes == s->fail_flush)
		err = -EIO;
	for (uint64_t l = off.v / HF_LINE; !err && l <= (off.v + len - 1) / HF_LINE; l++)
		if (s->line[l].n > 0)
			sim_pend(sim_me(s), l, s->line[l].base + s->line[l].n);
	if (!err && s->on_flush)
		err = s->on_flush(s, s->ctx);
	pthread_mutex_unlock(&s->mtx);
	return err;
}

static inline void sim_make_durable(struct sim *s, uint64_t line, uint64_t version)
{
	struct sim_line *x = &s->line[line];
	uint32_t k;

	if (version <= x->base)
		return;
	k = (uint32_t)(version - x->base);
	memcpy(s->shadow + line * HF_LINE, x->v[k - 1], HF_LINE);
	memmove(x->v, x->v + k, (x->n - k) * sizeof(x->v[0]));
	x->n -= k;
	x->base = version;
}

static inline int sim_fence(void *ctx)
{
	struct sim *s = ctx;
	struct sim_thread *t;
	int err = 0;

	pthread_mutex_lock(&s->mtx);
	t = sim_me(s);
	if (++s->fences == s->fail_fence)
		err = -EIO;
	if (!err && s->on_fence)
		err = s->on_fence(s, s->ctx);
	for (size_t i = 0; !err && i < t->n; i++)
		sim_make_durable(s, t->p[i].line, t->p[i].version);
	t->n = 0;
	pthread_mutex_unlock(&s->mtx);
	return err;
}

static inline void sim_watch_fences(struct sim *s, sim_event *on_fence, void *ctx)
{
	pthread_mutex_lock(&s->mtx);
	s->ctx = ctx;
	s->on_fence = on_fence;
	pthread_mutex_unlock(&s->mtx);
}

static inline struct sim *sim_new(uint64_t size)
{
	struct sim *s = calloc(1, sizeof(*s));
	struct pm_open_args args = {.force_gran = true, .gran = PM_LINE, .hook = &s->hook};
	pthread_mutexattr_t a;

	pthread_mutexattr_init(&a);
	pthread_mutexattr_settype(&a, PTHREAD_MUTEX_RECURSIVE);
	pthread_mutex_init(&s->mtx, &a);
	s->size = size;
	s->as = -1;
	s->mem = aligned_alloc(HF_FRAME_SIZE, size);
	s->shadow = aligned_alloc(HF_FRAME_SIZE, size);
	memset(s->mem, 0, size);
	memset(s->shadow, 0, size);
	s->line = calloc(size / HF_LINE, sizeof(s->line[0]));
	s->listed = calloc(size / HF_LINE, sizeof(s->listed[0]));
	s->hook =
	    (struct pm_hook){.ctx = s, .store = sim_store, .flush = sim_flush, .fence = sim_fence};
	if (pm_open_memory(s->mem, size, &args, &s->pm) != 0) {
		fprintf(stderr, "%s\n", err_msg());
		abort();
	}
	return s;
}

static inline void sim_forget(struct sim *s)
{
	for (size_t i = 0; i < s->nlisted; i++) {
		s->line[s->listed[i]].n = 0;
		s->line[s->listed[i]].listed = false;
	}
	s->nlisted = 0;
	for (int i = 0; i < 16; i++) {
		s->thread[i].n = 0;
		s->thread[i].used = false;
	}
	s->on_fence = s->on_flush = NULL;
	s->on_store = NULL;
	s->fail_fence = s->fail_flush = s->fences = s->flushes = s->stores = 0;
}

static inline void sim_free(struct sim *s)
{
	pm_close(&s->pm);
	for (uint64_t i = 0; i < s->size / HF_LINE; i++)
		free(s->line[i].v);
	for (int i = 0; i < 16; i++)
		free(s->thread[i].p);
	free(s->line);
	free(s->listed);
	free(s->mem);
	free(s->shadow);
	free(s);
}

/* The media of s after a power failure now, into 'image'. */
static inline void sim_crash_image(struct sim *s, struct rng *r, uint8_t *image)
{
	unsigned bias = (unsigned)rng_below(r, 5); /* 0: nothing evicted; 4: everything */
	size_t kept = 0;

	pthread_mutex_lock(&s->mtx);
	memcpy(image, s->shadow, s->size);
	for (size_t i = 0; i < s->nlisted; i++) {
		struct sim_line *x = &s->line[s->listed[i]];
		uint8_t *to = image + s->listed[i] * HF_LINE;
		uint32_t k;

		if (x->n == 0) {
			x->listed = false;
			continue;
		}
		s->listed[kept++] = s->listed[i];
		if (bias == 4)
			k = x->n;
		else if (bias == 0 || rng_below(r, 4) >= bias)
			k = 0;
		else
			k = (uint32_t)rng_below(r, x->n + 1);
		if (k > 0)
			memcpy(to, x->v[k - 1], HF_LINE);
		if (k < x->n && bias != 0 && rng_below(r, 3) == 0)
			for (unsigned w = 0; w < 8; w++)
				if (rng_below(r, 2))
					memcpy(to + w * 8, x->v[k] + w * 8, 8);
	}
	s->nlisted = kept;
	pthread_mutex_unlock(&s->mtx);
}

/* A device that was off and has 'image' on it. */
static inline void sim_load(struct sim *s, const uint8_t *image)
{
	sim_forget(s);
	memcpy(s->mem, image, s->size);
	memcpy(s->shadow, image, s->size);
}

/* 'to' as a process finds it after 'from' was killed: all stores visible, what was not durable
 * still is not, and nobody's flush is pending any more. */
static inline void sim_kill(struct sim *to, struct sim *from)
{
	pthread_mutex_lock(&from->mtx);
	sim_forget(to);
	memcpy(to->mem, from->mem, to->size);
	memcpy(to->shadow, from->shadow, to->size);
	for (size_t i = 0; i < from->nlisted; i++) {
		struct sim_line *a = &from->line[from->listed[i]], *b = &to->line[from->listed[i]];

		if (a->n == 0)
			continue;
		if (b->cap < a->n) {
			b->cap = a->n;
			b->v = realloc(b->v, b->cap * sizeof(b->v[0]));
		}
		memcpy(b->v, a->v, a->n * sizeof(a->v[0]));
		b->n = a->n;
		b->listed = true;
		to->listed[to->nlisted++] = from->listed[i];
	}
	pthread_mutex_unlock(&from->mtx);
}

#endif
