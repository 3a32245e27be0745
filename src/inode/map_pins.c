/* Pins under a map: is anything of a range pinned, and counts per block for the huge leaves that
 * have to be split although they are. */
#include "inode/map_tree.h"

/* So many frames get their counts in one turn. */
#define PINS_TURN 64u

struct pins_turn {
	frame_t frame[PINS_TURN];
	unsigned n;
};

int map_pinned(struct inode *in, fblk_t fblk, uint64_t n)
{
	uint64_t end = n > UINT64_MAX - fblk.v ? UINT64_MAX : fblk.v + n;
	struct map_extent x;
	int err;

	for (uint64_t at = fblk.v; at < end; at += x.n) {
		err = map_lookup(in, FMT_FORK_DATA, FBLK(at), end - at, &x);
		if (err)
			return err;
		if (!mblk_is_null(x.blk) && space_pinned(in->fs->space, x.blk, x.n))
			return 1;
	}
	return 0;
}

static int turn_make(struct inode *in, const struct pins_turn *turn)
{
	int err = 0;

	for (unsigned i = 0; i < turn->n && !err; i++)
		err = space_pin_counts(in->fs->space, turn->frame[i]);
	return err;
}

/* The frame of the huge leaf that holds 'at', if it is one. Layout shared. */
static int turn_add_edge(struct inode *in, fblk_t at, struct pins_turn *turn)
{
	struct map_extent x;
	int err = map_lookup(in, FMT_FORK_DATA, at, 1, &x);

	if (!err && x.huge)
		turn->frame[turn->n++] = mblk_to_frame(x.blk);
	return err;
}

static int edges(struct inode *in, fblk_t fblk, uint64_t n)
{
	struct pins_turn turn = {.n = 0};
	int err;

	rwl_rdlock(&in->layout);
	err = turn_add_edge(in, fblk, &turn);
	if (!err && n > 1)
		err = turn_add_edge(in, FBLK(fblk.v + n - 1), &turn);
	rwl_rdunlock(&in->layout);
	return err ? err : turn_make(in, &turn);
}

/* The pinned frames of one run, which may be blocks at its end. */
static void turn_add_run(struct inode *in, const struct map_extent *x, struct pins_turn *turn,
			 uint64_t *used)
{
	uint64_t n;

	for (*used = 0; *used < x->n && turn->n < PINS_TURN; *used += n) {
		mblk_t b = MBLK(x->blk.v + *used);

		n = min_u64(HF_BLOCKS_PER_FRAME - mblk_in_frame(b), x->n - *used);
		if (space_pinned(in->fs->space, b, n))
			turn->frame[turn->n++] = mblk_to_frame(b);
	}
}

/* Layout shared. From *at on until the turn is full; *at: where to go on. */
static int turn_fill(struct inode *in, uint64_t *at, struct pins_turn *turn)
{
	struct map_extent x;
	uint64_t used;
	int err = 0;

	while (*at < MAP_MAX_BLOCKS && turn->n < PINS_TURN && !err) {
		err = map_lookup(in, FMT_FORK_DATA, FBLK(*at), MAP_MAX_BLOCKS - *at, &x);
		if (err)
			break;
		used = x.n;
		if (!mblk_is_null(x.blk))
			turn_add_run(in, &x, turn, &used);
		*at += used;
	}
	return err;
}

/* A frame that gets counts and turns out to be no huge leaf's, or not to be split, is none the
 * worse for it. */
static int all_from(struct inode *in, fblk_t fblk)
{
	uint64_t at = fblk.v;
	int err = 0;

	while (!err && at < MAP_MAX_BLOCKS) {
		struct pins_turn turn = {.n = 0};

		rwl_rdlock(&in->layout);
		err = turn_fill(in, &at, &turn);
		rwl_rdunlock(&in->layout);
		if (!err)
			err = turn_make(in, &turn);
	}
	return err;
}

int map_pin_counts(struct inode *in, fblk_t fblk, uint64_t n, bool shift)
{
	return shift ? all_from(in, fblk) : edges(in, fblk, n);
}
