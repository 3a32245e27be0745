/* Which states a pending line may be in. */
#include "crash/media.h"

/* Of a torn store of many words the subsets cannot all be tried; these are the ones that a mistake
 * is likely to show in: the beginning, the end, one word, all but one, every other. */
static const uint8_t torn_words[] = {0x0f, 0xf0, 0x55, 0xaa};

struct filler {
	struct choice *out;
	size_t n, max;
};

static void fill(struct filler *f, uint32_t k, unsigned words, unsigned bytes, unsigned flip)
{
	if (f->n < f->max)
		f->out[f->n++] = (struct choice){k, (uint8_t)words, (uint8_t)bytes, (uint16_t)flip};
}

/* The words that a store covers, wholly or in part. */
static unsigned words_of(uint64_t mask)
{
	unsigned words = 0;

	for (unsigned w = 0; w < 8; w++)
		if (mask >> (8 * w) & 0xff)
			words |= 1u << w;
	return words;
}

static bool has_edge(uint64_t mask)
{
	for (unsigned w = 0; w < 8; w++) {
		uint64_t part = mask >> (8 * w) & 0xff;

		if (part & (part - 1) && part != 0xff)
			return true;
	}
	return false;
}

static void torn(struct filler *f, uint32_t k, uint64_t mask)
{
	unsigned words = words_of(mask), n = (unsigned)__builtin_popcount(words);

	if (n <= 3) {
		for (unsigned s = (words - 1) & words; s; s = (s - 1) & words)
			fill(f, k, s, 0xff, 0);
	} else {
		for (size_t i = 0; i < sizeof(torn_words); i++)
			if ((words & torn_words[i]) && (words & torn_words[i]) != words)
				fill(f, k, words & torn_words[i], 0xff, 0);
		fill(f, k, words & (words - 1), 0xff, 0);
		fill(f, k, words & -words, 0xff, 0);
		fill(f, k, 1u << (31 - __builtin_clz(words)), 0xff, 0);
	}
	if (has_edge(mask)) {
		fill(f, k, words, 0x0f, 0);
		fill(f, k, words, 0xa5, 0);
	}
}

/* Without an order in the line: each word may be ahead of the others. */
static void out_of_order(struct filler *f, uint32_t n, uint64_t all)
{
	unsigned words = words_of(all);

	for (uint32_t k = 0; k + 1 < n; k++)
		for (unsigned w = 0; w < 8; w++)
			if (words >> w & 1) {
				fill(f, k, 1u << w, 0xff, 0);
				fill(f, k, words & ~(1u << w), 0xff, 0);
			}
}

size_t media_choices(const struct hf_crash_media *m, uint64_t no, struct choice *out, size_t max,
		     size_t *whole)
{
	const struct pending_line *l = media_line(m, no);
	struct filler f = {.out = out, .max = max};
	uint32_t i = 0, nth_nt = 0;
	uint64_t all = 0;

	*whole = 0;
	if (!l)
		return 0;
	for (uint32_t k = 0; k < l->n; k += 1 + l->n / 32)
		fill(&f, k, 0, 0xff, 0);
	fill(&f, UINT32_MAX, 0, 0xff, 0);
	*whole = f.n;
	for (uint32_t d = l->first; d != DELTA_NONE; d = m->deltas[d].next, i++) {
		const struct delta *x = &m->deltas[d];

		torn(&f, i, x->mask);
		all |= x->mask;
		if (x->nt && nth_nt < 16) {
			if (i + 1 < l->n)
				fill(&f, UINT32_MAX, 0, 0xff, 1u << nth_nt);
			if (i > 0)
				fill(&f, 0, 0, 0xff, 1u << nth_nt);
			nth_nt++;
		}
	}
	if (m->model.any_order)
		out_of_order(&f, l->n, all);
	return f.n;
}

struct choice media_choose(const struct hf_crash_media *m, uint64_t no, uint64_t random)
{
	const struct pending_line *l = media_line(m, no);
	uint64_t r = hash_mix(random);
	struct choice c = CHOICE_NONE;

	if (!l)
		return c;
	c.k = (uint32_t)(r % (l->n + 1));
	if (c.k == l->n)
		c.k = UINT32_MAX;
	if (c.k < l->n && r >> 32 & 1)
		c.words = (uint8_t)(r >> 40);
	if (c.words && (r >> 33 & 3) == 0)
		c.bytes = (uint8_t)(r >> 48);
	if ((r >> 35 & 3) == 0)
		c.flip = (uint16_t)hash_mix(r);
	return c;
}
