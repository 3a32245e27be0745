#include "workload.h"
#include <errno.h>
#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- contents */

static uint64_t word_of(uint64_t seed, uint64_t i)
{
	return rng_mix(seed + i * 0x9e3779b97f4a7c15ull);
}

void wl_fill(uint64_t seed, uint64_t off, void *buf, size_t len)
{
	uint8_t *p = buf;

	while (len) {
		uint64_t word = word_of(seed, off / 8);
		size_t skip = off % 8, n = 8 - skip < len ? 8 - skip : len;

		memcpy(p, (const uint8_t *)&word + skip, n);
		p += n;
		off += n;
		len -= n;
	}
}

bool wl_is(uint64_t seed, uint64_t off, const void *buf, size_t len)
{
	const uint8_t *p = buf;

	while (len) {
		uint64_t word = word_of(seed, off / 8);
		size_t skip = off % 8, n = 8 - skip < len ? 8 - skip : len;

		if (memcmp(p, (const uint8_t *)&word + skip, n))
			return false;
		p += n;
		off += n;
		len -= n;
	}
	return true;
}

uint64_t wl_new_seed(struct wl *wl)
{
	return rng_mix(wl->seed * 1000003 + atomic_fetch_add(&wl->seeds, 1));
}

/* ---- sizes */

static double uniform(struct rng *rng)
{
	return ((double)(rng_next(rng) >> 11) + 0.5) / 9007199254740992.0;
}

/* Marsaglia and Tsang, "A simple method for generating gamma variables". */
uint64_t wl_gamma(struct rng *rng, uint32_t mean)
{
	const double shape = 1.5, d = shape - 1.0 / 3, c = 1 / sqrt(9 * d);

	for (;;) {
		double x = sqrt(-2 * log(uniform(rng))) * cos(2 * M_PI * uniform(rng));
		double v = 1 + c * x;

		v = v * v * v;
		if (v > 0 && log(uniform(rng)) < x * x / 2 + d - d * v + d * log(v))
			return 1 + (uint64_t)(d * v * mean / shape);
	}
}

/* ---- directories of 'width' entries each, files in the lowest */

/* "s/2/31/f000617", its directories made where they are new. */
static char *path_make(struct wl *wl, uint32_t i, uint32_t width)
{
	uint32_t up[8], depth = 0, dir = i / width;
	char path[128];
	int n = snprintf(path, sizeof(path), "s"), err;

	for (; dir && depth < 8; dir /= width)
		up[depth++] = dir;
	while (depth) {
		n += snprintf(path + n, sizeof(path) - (size_t)n, "/%u", up[--depth]);
		err = wl->s->mkdir(path);
		wl_must(err == -EEXIST ? 0 : err, "mkdir", path);
	}
	snprintf(path + n, sizeof(path) - (size_t)n, "/f%06u", i);
	return strdup(path);
}

static void file_make(struct wl_thread *t, struct wl_file *f, uint32_t mean)
{
	struct store_file *h;

	f->exists = true;
	f->seed = wl_new_seed(t->wl);
	f->size = wl_gamma(&t->rng, mean);
	h = wl_open(t, f->path, STORE_CREATE);
	for (uint64_t at = 0; at < f->size; at += WL_IO_BYTES)
		wl_put(t, h, WL_WRITE, f->seed, at,
		       f->size - at < WL_IO_BYTES ? f->size - at : WL_IO_BYTES, at);
	wl_close(t, h);
}

void wl_set_make(struct wl *wl, struct wl_set *set)
{
	const struct workload *w = wl->workload;

	set->n = w->files * wl->scale / 100;
	set->file = calloc(set->n, sizeof(set->file[0]));
	wl_want(set->file, "out of memory", "");
	wl_must(wl->s->mkdir("s"), "mkdir", "s");
	for (uint32_t i = 0; i < set->n; i++) {
		set->file[i].path = path_make(wl, i, w->width);
		wl_want(set->file[i].path, "out of memory", "");
		if (rng_below(&wl->thread[0].rng, 100) < w->filled)
			file_make(&wl->thread[0], &set->file[i], w->mean_bytes);
	}
}

struct wl_file *wl_pick(struct wl_thread *t, bool exists)
{
	struct wl_set *set = &t->wl->set;

	for (uint64_t tries = 1;; tries++) {
		struct wl_file *f = &set->file[rng_below(&t->rng, set->n)];

		if (!atomic_load_explicit(&f->busy, memory_order_relaxed) &&
		    !atomic_exchange_explicit(&f->busy, 1, memory_order_acquire)) {
			if (f->exists == exists)
				return f;
			wl_give(f);
		}
		if (tries % 1024 == 0)
			sched_yield();
		wl_want(tries < 100000000, exists ? "no file is left" : "no free name is left", "");
	}
}

void wl_give(struct wl_file *f)
{
	atomic_store_explicit(&f->busy, 0, memory_order_release);
}

/* All of them, by one thread. */
void wl_set_verify(struct wl_thread *t)
{
	struct wl_set *set = &t->wl->set;
	uint64_t size;

	for (uint32_t i = 0; i < set->n; i++) {
		struct wl_file *f = &set->file[i];
		struct store_file *h;

		if (!f->exists) {
			wl_want(t->wl->s->size(f->path, &size) == -ENOENT,
				"was deleted, and is there", f->path);
			continue;
		}
		wl_want(wl_stat(t, f->path) == f->size, "has another size than was written",
			f->path);
		h = wl_open(t, f->path, STORE_READ);
		wl_read_whole(t, h, f->seed, f->size);
		wl_close(t, h);
	}
}
