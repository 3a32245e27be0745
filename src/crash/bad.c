/* A page of bad media in a crash image: of the pages that a mount reads, of those that were being stored to, and of all in use, some at
 * each point, each alone. All that was on its way arrived. The mount fails with -EIO, or what can be read is right. */
#include "crash/explore.h"

enum { BAD_PAGE = 4096 };

/* The page of the nth place that a mount looks at. */
static uint64_t bad_fixed(const struct explorer *x, uint64_t n)
{
	const struct geo *g = &x->geo;
	uint64_t lanes = g->lanes_off.v / BAD_PAGE, lane_pages = g->lane_bytes / BAD_PAGE;

	switch (n % 8) {
	case 0:
		return FMT_BLK_SUPER;
	case 1:
		return g->nblocks - 1;
	case 2:
	case 3:
		return n % 8 == 2 ? FMT_BLK_CKPT0 : FMT_BLK_CKPT1;
	case 4:
		return FMT_BLK_ITNODE + n / 8 % (FMT_BLK_ALLOC - FMT_BLK_ITNODE);
	case 5:
		return g->alloc_off.v / BAD_PAGE;
	default: /* the beginning of a half of a lane, and what follows */
		return lanes + n / 8 % g->nlanes * lane_pages + n / 64 % 2 * (lane_pages / 2) + n / 128 % 3;
	}
}

/* Of those that are in use and that files or directories can have; there is the root's. */
static uint64_t bad_used(const struct explorer *x, uint64_t n)
{
	const uint8_t *bits = x->dev->base + x->geo.alloc_off.v;
	uint64_t first = x->geo.first_data.v, end = x->geo.end_data.v, used = 0;

	for (uint64_t b = first; b < end; b++)
		used += bits[b / 8] >> b % 8 & 1;
	n = used ? n % used : 0;
	for (uint64_t b = first; b < end; b++)
		if (bits[b / 8] >> b % 8 & 1 && n-- == 0)
			return b;
	return first;
}

static uint64_t bad_page(const struct explorer *x, uint64_t seed)
{
	uint64_t which = seed % 4, n = seed / 4;

	if (which == 0 && x->b.n > 0)
		return x->b.no[n % x->b.n] * HF_LINE / BAD_PAGE;
	return which == 1 ? bad_fixed(x, n) : bad_used(x, n);
}

bool bad_try(struct explorer *x, uint64_t page)
{
	char text[32];
	bool ok;

	x->res.states++;
	x->res.images++;
	x->level = 0;
	x->look = false;
	builder_set_all(&x->b, CHOICE_ALL);
	image_of_workload(x);
	id_begin(x->id, &x->o, x->point);
	snprintf(text, sizeof(text), "bad%llu", (unsigned long long)page);
	id_append(x->id, text);
	x->left_out[0] = 0;
	x->nleft_out = 0;
	if (hf_crash_poison(x->copy, page * BAD_PAGE, BAD_PAGE, true) != 0)
		return true;
	x->bad = true;
	ok = judge(x);
	x->bad = false;
	hf_crash_poison(x->copy, page * BAD_PAGE, BAD_PAGE, false);
	return ok;
}

bool bad_page_ok(const struct explorer *x, uint64_t page)
{
	return x->geo.nlanes > 0 && page < x->copy->bytes / BAD_PAGE;
}

uint64_t bad_choose(const struct explorer *x, uint32_t n)
{
	return bad_page(x, hash_mix2(hash_mix2(x->o.seed, x->o.number), (uint64_t)x->point << 32 | n));
}
