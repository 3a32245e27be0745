/* The allocation lines against what was found to be owned. */
#include "check/check.h"

/* A run of blocks that are wrong in the same way is one finding. */
struct run {
	uint64_t first, n;
	bool leaked;
};

static void run_end(struct check *c, struct run *r)
{
	uint64_t w;

	if (r->n && check_mend(c, CHECK_MEND_SAFE, r->leaked ? "they were freed" : "they were marked in use", "bitmap", 0,
			       r->first << HF_BLOCK_SHIFT,
			       r->leaked ? "blocks %llu..%llu are marked in use, but nothing owns them"
				     : "blocks %llu..%llu are in use, but marked free",
			   (unsigned long long)r->first, (unsigned long long)(r->first + r->n - 1)))
		for (w = r->first / 64; w * 64 < r->first + r->n; w++)
			check_put64(c, moff_add(c->geo.alloc_off, w * 8), c->seen[w]);
	r->n = 0;
}

void check_space(struct check *c)
{
	uint64_t words = c->geo.nframes * (HF_BLOCKS_PER_FRAME / 64), w;
	struct run r = {0};

	/* where the tables begin is never free, also where a crafted map begins elsewhere */
	for (w = FMT_BLK_ITNODE; w < FMT_BLK_ALLOC; w++)
		c->seen[w / 64] |= 1ull << (w % 64);
	for (w = 0; w < words && !c->stop; w++) {
		uint64_t line = pm_load64(c->pm, moff_add(c->geo.alloc_off, w * 8)), diff = line ^ c->seen[w];

		if ((w & 0xffff) == 0)
			check_progress(c, "space", w, words);
		c->res->blocks_used += (uint64_t)__builtin_popcountll(c->seen[w]);
		while (diff) {
			uint64_t b = w * 64 + (uint64_t)__builtin_ctzll(diff);
			bool leaked = line >> (b & 63) & 1;

			diff &= diff - 1;
			if (r.n && (b != r.first + r.n || leaked != r.leaked))
				run_end(c, &r);
			if (!r.n)
				r = (struct run){.first = b, .leaked = leaked};
			r.n++;
		}
	}
	run_end(c, &r);
}
