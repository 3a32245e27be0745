/* References to a file's blocks, counted in space as a pin counts them, without a handle: for tests
 * of what operations do about pinned blocks. */
#ifndef HF_TESTS_HOLD_H
#define HF_TESTS_HOLD_H

#include "file_vol.h"
#include "file/volume.h"
#include "inode/map.h"

#define HOLD_RUNS 64u

struct hold_run {
	mblk_t first;
	uint64_t n;
	bool frames; /* counted on whole frames: a part of a huge leaf stands for all of it */
};
struct hold {
	struct fs *fs;
	struct hold_run run[HOLD_RUNS];
	unsigned n;
};

/* False: a frame has no counts yet. Layout shared. */
static inline bool hold_run(struct hold *h, struct hold_run *r, frame_t *need)
{
	if (!r->frames)
		return space_pin_blocks(h->fs->space, r->first, r->n, need);
	space_pin_frames(h->fs->space, mblk_to_frame(r->first), r->n / HF_BLOCKS_PER_FRAME);
	return true;
}

static inline void hold_drop(struct hold *h)
{
	for (unsigned i = 0; i < h->n; i++) {
		struct hold_run *r = &h->run[i];

		if (r->frames)
			space_unpin_frames(h->fs->space, mblk_to_frame(r->first),
					   r->n / HF_BLOCKS_PER_FRAME);
		else
			space_unpin_blocks(h->fs->space, r->first, r->n);
	}
	h->n = 0;
}

static inline void hold_extent(struct hold_run *r, const struct map_extent *x)
{
	uint64_t first = x->blk.v, end = first + x->n;

	if (x->huge) {
		first -= first % HF_BLOCKS_PER_FRAME;
		end = round_up_u64(end, HF_BLOCKS_PER_FRAME);
	}
	*r = (struct hold_run){MBLK(first), end - first, x->huge};
}

/* One look at the map; 1: counts are missing in *need. */
static inline int hold_try(struct hold *h, struct inode *in, fblk_t first, uint64_t n,
			   frame_t *need)
{
	struct map_extent x;
	int err = 0;

	h->n = 0;
	for (uint64_t at = first.v; at < first.v + n; at += x.n) {
		struct map_extent y;

		err = map_lookup(in, FMT_FORK_DATA, FBLK(at), first.v + n - at, &x);
		if (err)
			break;
		/* A run may begin as huge leaves and end as blocks. */
		x.n = min_u64(x.n, HF_BLOCKS_PER_FRAME - at % HF_BLOCKS_PER_FRAME);
		err = map_lookup(in, FMT_FORK_DATA, FBLK(at), x.n, &y);
		if (err || mblk_is_null(y.blk))
			break;
		hold_extent(&h->run[h->n], &y);
		if (!hold_run(h, &h->run[h->n], need))
			return 1;
		if (++h->n == HOLD_RUNS)
			break;
	}
	return err;
}

/* Holds what [first, first + n) of the file has now. False: holes only. */
static inline bool hold_blocks(struct hold *h, hf_file *f, uint64_t first, uint64_t n)
{
	struct inode *in = f->in;
	frame_t need;
	int ret;

	*h = (struct hold){.fs = in->fs};
	for (;;) {
		rwl_rdlock(&in->layout);
		ret = hold_try(h, in, FBLK(first), n, &need);
		rwl_rdunlock(&in->layout);
		if (ret <= 0)
			return h->n > 0;
		hold_drop(h);
		OK(space_pin_counts(in->fs->space, need));
	}
}

/* The address of byte 0 of a held run. */
static inline uint8_t *hold_at(const struct hold *h, unsigned run)
{
	return pm_at_mut(h->fs->pm, mblk_to_moff(h->run[run].first));
}

#endif
