/* The states that are tried at one point.
 *
 * Where the whole versions of the pending lines make few combinations, all of them. Otherwise:
 * nothing, everything, everything but one line, one line alone, pairs, and then by chance. In both
 * cases each torn store, and each non-temporal one out of order, alone and among everything.
 *
 * With eADR there is one order of all cached stores: each moment of it, with and without the
 * non-temporal stores so far. */
#include "crash/explore.h"

#include <stdlib.h>

static int builder_room(struct builder *b)
{
	size_t cap = b->cap ? b->cap : 64;
	void *c, *h, *o, *w, *q;

	if (b->n <= b->cap)
		return 0;
	while (cap < b->n)
		cap *= 2;
	c = realloc(b->c, cap * sizeof(b->c[0]));
	b->c = c ? c : b->c;
	h = realloc(b->h, cap * sizeof(b->h[0]));
	b->h = h ? h : b->h;
	o = realloc(b->options, cap * CRASH_CHOICES * sizeof(b->options[0]));
	b->options = o ? o : b->options;
	w = realloc(b->nwhole, cap);
	b->nwhole = w ? w : b->nwhole;
	q = realloc(b->noptions, cap);
	b->noptions = q ? q : b->noptions;
	if (!c || !h || !o || !w || !q)
		return err_set(-ENOMEM, "crash: no memory for the images of %zu lines", b->n);
	b->cap = cap;
	return 0;
}

void builder_free(struct builder *b)
{
	free(b->c);
	free(b->h);
	free(b->options);
	free(b->nwhole);
	free(b->noptions);
	*b = (struct builder){0};
}

int builder_start(struct builder *b, struct hf_crash_media *m, uint64_t seed)
{
	int err;

	b->m = m;
	b->n = media_pending(m, &b->no);
	err = builder_room(b);
	if (err)
		return err;
	for (size_t i = 0; i < b->n; i++) {
		struct choice *at = b->options + i * CRASH_CHOICES;
		size_t whole, n = media_choices(m, b->no[i], at, CRASH_CHOICES - 2, &whole);

		for (unsigned r = 0; r < 2; r++)
			at[n++] = media_choose(m, b->no[i], hash_mix2(seed, b->no[i] * 2 + r));
		b->nwhole[i] = (uint8_t)whole;
		b->noptions[i] = (uint8_t)n;
		b->c[i] = CHOICE_NONE;
		b->h[i] = 0;
	}
	b->hash = m->hash;
	return 0;
}

void builder_set(struct builder *b, size_t i, struct choice c)
{
	uint64_t no = b->no[i], h;
	uint8_t line[HF_LINE];

	if (choice_same(b->c[i], c))
		return;
	media_apply(b->m, no, c, line);
	h = media_line_hash(no, line) ^ media_line_hash(no, b->m->base + no * HF_LINE);
	b->hash ^= b->h[i] ^ h;
	b->h[i] = h;
	b->c[i] = c;
}

void builder_set_all(struct builder *b, struct choice c)
{
	for (size_t i = 0; i < b->n; i++)
		builder_set(b, i, c);
}

/* ---- enumeration */

struct walk {
	struct builder *b;
	const struct budget *budget;
	builder_fn *fn;
	void *ctx;
	uint64_t left;
	bool stop;
};

static bool emit(struct walk *w)
{
	if (w->stop || w->left == 0)
		return false;
	w->left--;
	w->stop = !w->fn(w->ctx, w->b);
	return !w->stop;
}

static uint64_t combinations(const struct builder *b, uint64_t enough)
{
	uint64_t n = 1;

	for (size_t i = 0; i < b->n && n <= enough; i++)
		n *= b->nwhole[i];
	return n;
}

static void every_combination(struct walk *w)
{
	struct builder *b = w->b;
	uint64_t total = combinations(b, UINT32_MAX);

	w->left = total;
	for (uint64_t t = 0; t < total; t++) {
		uint64_t digits = t;

		for (size_t i = 0; i < b->n; i++) {
			builder_set(b, i, b->options[i * CRASH_CHOICES + digits % b->nwhole[i]]);
			digits /= b->nwhole[i];
		}
		if (!emit(w))
			return;
	}
}

/* Steps through n things so that at most 'most' are met, starting somewhere else for each seed. */
static size_t stride(size_t n, uint64_t most)
{
	return most == 0 ? n : (size_t)(n / most + (n % most != 0));
}

/* All lines as 'rest', but each in turn as 'one'. */
static void one_differs(struct walk *w, struct choice one, struct choice rest, uint64_t most)
{
	struct builder *b = w->b;
	size_t step = b->n ? stride(b->n, most) : 1;

	builder_set_all(b, rest);
	for (size_t i = step > 1 ? w->budget->seed % step : 0; i < b->n; i += step) {
		builder_set(b, i, one);
		if (!emit(w))
			return;
		builder_set(b, i, rest);
	}
}

/* What is not only there or not: versions in between (where not every combination was tried), torn
 * stores. */
static void in_between(struct walk *w, bool versions_too, struct choice rest, uint64_t most)
{
	struct builder *b = w->b;
	size_t n = 0, at = 0, step;

	for (size_t i = 0; i < b->n; i++)
		n += b->noptions[i];
	step = n ? stride(n, most) : 1;
	builder_set_all(b, rest);
	for (size_t i = 0; i < b->n; i++) {
		for (size_t j = 0; j < b->noptions[i]; j++) {
			bool whole = j < b->nwhole[i];

			if (at++ % step != 0 || (whole && !versions_too))
				continue;
			builder_set(b, i, b->options[i * CRASH_CHOICES + j]);
			if (!emit(w))
				return;
		}
		builder_set(b, i, rest);
	}
}

/* The pairs in their order, (0, 1) (0, 2) ... (1, 2) ..., each 'step'th of them. */
static void pairs(struct walk *w, struct choice two, struct choice rest, uint64_t most)
{
	struct builder *b = w->b;
	size_t n = b->n * (b->n - 1) / 2, step = n ? stride(n, most) : 1;
	size_t i = 0, row = 0; /* number of the pair (i, i + 1) */

	builder_set_all(b, rest);
	for (size_t at = 0; at < n; at += step) {
		size_t j;

		while (at - row >= b->n - 1 - i)
			row += b->n - 1 - i++;
		j = i + 1 + at - row;
		builder_set(b, i, two);
		builder_set(b, j, two);
		if (!emit(w))
			return;
		builder_set(b, i, rest);
		builder_set(b, j, rest);
	}
}

static void by_chance(struct walk *w)
{
	struct builder *b = w->b;

	for (uint64_t r = 0; w->left > 0; r++) {
		uint64_t seed = hash_mix2(w->budget->seed, r), bias = seed % 5;

		for (size_t i = 0; i < b->n; i++) {
			uint64_t rnd = hash_mix2(seed, i);
			struct choice c = rnd % 5 < bias ? CHOICE_ALL : CHOICE_NONE;

			if ((rnd >> 32) % 8 == 0)
				c = b->options[i * CRASH_CHOICES + (rnd >> 40) % b->noptions[i]];
			builder_set(b, i, c);
		}
		if (!emit(w))
			return;
	}
}

/* ---- eADR */

static int by_number(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* The numbers of the pending stores, rising; the caller frees. */
static uint64_t *moments(const struct builder *b, size_t *count)
{
	const struct hf_crash_media *m = b->m;
	size_t n = 1, kept = 0;
	uint64_t *at;

	for (size_t i = 0; i < b->n; i++)
		n += media_line(m, b->no[i])->n;
	at = malloc(n * sizeof(at[0]));
	if (!at)
		return NULL;
	n = 0;
	at[n++] = 0;
	for (size_t i = 0; i < b->n; i++)
		for (uint32_t d = media_line(m, b->no[i])->first; d != DELTA_NONE;
		     d = m->deltas[d].next)
			at[n++] = m->deltas[d].seq;
	qsort(at, n, sizeof(at[0]), by_number);
	for (size_t i = 0; i < n; i++)
		if (kept == 0 || at[kept - 1] != at[i])
			at[kept++] = at[i];
	*count = kept;
	return at;
}

/* All stores up to number seq are executed; of the non-temporal ones 'drop' says which are lost (0:
 * none, 1: all). 'next' is the number of the store after it: under way, torn by 'tear'; 0: not
 * begun. */
static void set_moment(struct builder *b, uint64_t seq, uint64_t drop, uint64_t next, uint64_t tear)
{
	for (size_t i = 0; i < b->n; i++) {
		uint16_t lost = drop > 1 ? (uint16_t)hash_mix2(drop, i) : (uint16_t)-drop;
		struct choice c = media_choose_until(b->m, b->no[i], seq, lost);

		if (next && !choice_same(c, media_choose_until(b->m, b->no[i], next, lost)))
			c.words = (uint8_t)hash_mix2(tear, i);
		builder_set(b, i, c);
	}
}

static void every_moment(struct walk *w)
{
	size_t n, step;
	uint64_t *at = moments(w->b, &n);

	if (!at)
		return;
	step = stride(n, w->left / 4);
	for (size_t i = n - 1; !w->stop; i -= step) {
		uint64_t seed = hash_mix2(w->budget->seed, i) | 2;

		set_moment(w->b, at[i], 0, 0, 0);
		emit(w);
		set_moment(w->b, at[i], 1, 0, 0);
		emit(w);
		set_moment(w->b, at[i], seed, 0, 0);
		emit(w);
		set_moment(w->b, at[i], 0, i + 1 < n ? at[i + 1] : 0, seed);
		emit(w);
		if (i < step)
			break;
	}
	free(at);
}

void builder_enumerate(struct builder *b, const struct budget *budget, builder_fn *fn, void *ctx)
{
	struct walk w = {
	    .b = b, .budget = budget, .fn = fn, .ctx = ctx, .left = budget->max_images};
	bool few = combinations(b, budget->all_below) <= budget->all_below;

	if (b->m->model.granularity == HF_CRASH_BYTE) {
		every_moment(&w);
		return;
	}
	if (few) {
		every_combination(&w);
		w.left = budget->max_images / 2;
	} else {
		builder_set_all(b, CHOICE_NONE);
		emit(&w);
		builder_set_all(b, CHOICE_ALL);
		emit(&w);
		one_differs(&w, CHOICE_NONE, CHOICE_ALL, budget->max_images / 6);
		one_differs(&w, CHOICE_ALL, CHOICE_NONE, budget->max_images / 6);
	}
	in_between(&w, !few, CHOICE_ALL, budget->max_images / 6);
	in_between(&w, !few, CHOICE_NONE, budget->max_images / 6);
	if (few)
		return;
	pairs(&w, CHOICE_NONE, CHOICE_ALL, budget->max_images / 12);
	pairs(&w, CHOICE_ALL, CHOICE_NONE, budget->max_images / 12);
	by_chance(&w);
}
