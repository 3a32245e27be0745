/* A small volume for the tests of the space layer: memory, journal, allocator; and a count of what
 * its lines say. */
#ifndef HF_TESTS_SPACE_VOL_H
#define HF_TESTS_SPACE_VOL_H

#include "cunit_main.h"
#include "space/space.h"

#define MIB (1024ull * 1024)

struct vol {
	struct pm *pm;
	struct geo geo;
	struct journal *j;
	struct space *s;
};

static inline void vol_must(int err, const char *what)
{
	if (!err)
		return;
	fprintf(stderr, "%s: %d: %s\n", what, err, err_msg());
	abort();
}

static inline void vol_start(struct vol *v)
{
	vol_must(geo_read(v->pm, &v->geo), "geo_read");
	vol_must(journal_open(v->pm, &v->geo, &v->j), "journal_open");
	vol_must(space_open(v->pm, &v->geo, v->j, &v->s), "space_open");
}

static inline void vol_open(struct vol *v, uint64_t bytes, const struct pm_hook *hook)
{
	struct pm_open_args args = {.force_gran = true, .gran = PM_LINE, .hook = hook};
	struct mkfs_args mkfs = {.root_mode = 0755};

	memset(v, 0, sizeof(*v));
	vol_must(pm_open_memfd(bytes, &args, &v->pm), "pm_open_memfd");
	vol_must(mkfs_write(v->pm, &mkfs), "mkfs_write");
	vol_start(v);
}

static inline void vol_stop(struct vol *v)
{
	space_close(&v->s);
	journal_close(&v->j);
}

static inline void vol_close(struct vol *v)
{
	vol_stop(v);
	pm_close(&v->pm);
}

/* Blocks that are allocated on the media, of those that the allocator owns. */
static inline uint64_t vol_allocated(struct vol *v)
{
	uint64_t n = 0;

	for (uint64_t b = v->geo.first_data.v; b < v->geo.nblocks - 1; b++)
		n += space_is_allocated(v->s, MBLK(b));
	return n;
}

static inline struct space_stat vol_stat(struct vol *v)
{
	struct space_stat st;

	space_stat(v->s, &st);
	return st;
}

static inline struct mext vol_alloc(struct vol *v, uint32_t want, unsigned int flags)
{
	struct txn *t = txn_begin(v->j);
	struct mext x;

	if (space_alloc(v->s, t, want, MBLK_NULL, flags, &x)) {
		txn_abort(t);
		return (struct mext){MBLK_NULL, 0};
	}
	vol_must(txn_commit(t, NULL), "txn_commit");
	return x;
}

static inline void vol_free(struct vol *v, struct mext x, enum space_kind kind)
{
	struct txn *t = txn_begin(v->j);

	vol_must(space_free(v->s, t, x.first, x.n, kind, INUM(16), FBLK(0)), "space_free");
	vol_must(txn_commit(t, NULL), "txn_commit");
}

/* How many of the blocks another transaction could have now. */
static inline uint64_t probe_count(struct vol *v, struct mext x)
{
	uint64_t n = 0;

	space_drain(v->s);
	for (uint64_t i = 0; i < x.n; i++) {
		struct txn *t = txn_begin(v->j);
		struct mext got;

		n += space_alloc(v->s, t, 1, MBLK(x.first.v + i), SPACE_EXACT | SPACE_RESERVE,
				 &got) == 0;
		txn_abort(t);
	}
	return n;
}

#endif
