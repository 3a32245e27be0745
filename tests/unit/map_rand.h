/* Random operations on a map and its model. HF_TEST_SEED=<n> repeats a run, HF_TEST_OPS=<n> makes
 * it longer. */
#ifndef HF_TESTS_MAP_RAND_H
#define HF_TESTS_MAP_RAND_H

#include "map_vol.h"

enum mr_op {
	MR_INSERT,
	MR_REMOVE,
	MR_CUT,
	MR_TRIM,
	MR_SHIFT_UP,
	MR_SHIFT_DOWN,
	MR_SPLIT,
	MR_COLLAPSE,
	MR_OPS
};

/* One operation, chosen and not yet done. */
struct mr {
	enum mr_op op;
	uint64_t f, n; /* shifts: from, to */
	/* map_cut's result, to be freed */
	uint64_t entry;
	unsigned level;
	fblk_t at;
	/* what was inserted */
	struct mext ext[8];
	unsigned n_ext;
	bool done; /* trim */
};

static inline uint64_t mr_ops(uint64_t usual)
{
	const char *s = getenv("HF_TEST_OPS");

	return s ? strtoull(s, NULL, 0) : usual;
}

/* Near what there is, or at a random height. */
static inline uint64_t mr_place(struct mv *v)
{
	const struct mv_model *m = &v->model;
	uint64_t f;

	if (m->n && mv_below(v, 10) < 8) {
		f = m->p[mv_below(v, m->n)].f + mv_below(v, 1500);
		f = f > 700 ? f - 700 : f;
	} else {
		f = mv_rand(v) >> (13 + mv_below(v, 51));
	}
	if (mv_below(v, 3) == 0)
		f -= f % HF_BLOCKS_PER_FRAME;
	return f;
}

static inline uint64_t mr_length(struct mv *v)
{
	switch (mv_below(v, 6)) {
	case 0:
		return 1;
	case 1:
		return 1 + mv_below(v, 20);
	case 2:
		return 1 + mv_below(v, 600);
	case 3:
		return HF_BLOCKS_PER_FRAME * (1 + mv_below(v, 3));
	case 4:
		return 1 + mv_below(v, 3000);
	default:
		return 1 + (mv_rand(v) >> (13 + mv_below(v, 51)));
	}
}

static inline void mr_choose_down(struct mv *v, struct mr *r)
{
	const struct mv_model *m = &v->model;
	size_t i = mv_below(v, m->n);
	uint64_t gap;

	/* To the next place with a hole before it. */
	while (i > 0 && m->p[i - 1].f + 1 == m->p[i].f)
		i--;
	gap = i > 0 ? m->p[i].f - m->p[i - 1].f - 1 : m->p[i].f;
	r->f = m->p[i].f;
	r->n = r->f - (gap ? 1 + mv_below(v, gap) : 0);
	if (gap >= 512 && mv_below(v, 2))
		r->n = r->f - 512 * (1 + mv_below(v, gap / 512));
}

static inline void mr_choose(struct mv *v, struct mr *r)
{
	static const uint8_t weights[] = {12, 8, 3, 1, 2, 2, 2, 2};
	uint64_t x = mv_below(v, 32);

	memset(r, 0, sizeof(*r));
	while (x >= weights[r->op])
		x -= weights[r->op++];
	r->f = mr_place(v);
	r->n = mr_length(v);
	if (r->op == MR_INSERT)
		r->n = min_u64(r->n, 2048);
	if (r->op == MR_TRIM && mv_below(v, 20))
		r->f = mr_place(v) | 1ull << mv_below(v, 50);
	if (r->op == MR_SHIFT_UP)
		r->n = r->f + (mv_below(v, 2) ? mr_length(v) : 512 * (1 + mv_below(v, 1000)));
	if (r->op == MR_SHIFT_DOWN && v->model.n)
		mr_choose_down(v, r);
}

static inline int mr_insert(struct mv *v, struct mr *r, struct inode_edit *e)
{
	uint64_t n = mv_model_hole(&v->model, r->f, r->n), done = 0;

	while (done < n && r->n_ext < HF_COUNT(r->ext)) {
		struct mext *x = &r->ext[r->n_ext];
		int err;

		mv_take(v, e->t, n - done, x);
		if (x->n == 0)
			return -ENOSPC;
		err = map_insert(e, FMT_FORK_DATA, FBLK(r->f + done), x->first, x->n);
		if (err)
			return err;
		done += x->n;
		r->n_ext++;
	}
	return 0;
}

static inline int mr_apply(struct mv *v, struct mr *r, struct inode_edit *e)
{
	switch (r->op) {
	case MR_INSERT:
		return mr_insert(v, r, e);
	case MR_REMOVE:
		return map_remove(e, FMT_FORK_DATA, FBLK(r->f), r->n);
	case MR_CUT:
		return map_cut(e, FMT_FORK_DATA, FBLK(r->f), r->n, &r->entry, &r->level, &r->at);
	case MR_TRIM:
		return map_trim_some(e, FMT_FORK_DATA, FBLK(r->f), &r->done);
	case MR_SHIFT_UP:
	case MR_SHIFT_DOWN:
		return map_shift(e, FBLK(r->f), FBLK(r->n));
	case MR_COLLAPSE:
		return map_collapse(e, FBLK(r->f), r->n, &r->entry, &r->level, &r->at);
	default:
		return map_split(e, FBLK(r->f));
	}
}

/* The model after an operation that succeeded. A trim that was not done is to go on until it is. */
static inline void mr_model(struct mv_model *m, const struct mr *r)
{
	uint64_t done = 0;

	switch (r->op) {
	case MR_INSERT:
		for (unsigned i = 0; i < r->n_ext; done += r->ext[i++].n)
			mv_model_insert(m, r->f + done, r->ext[i].first.v, r->ext[i].n);
		break;
	case MR_REMOVE:
	case MR_CUT:
		mv_model_remove(m, r->f, r->f + r->n);
		break;
	case MR_TRIM:
		mv_model_remove(m, r->f, UINT64_MAX);
		break;
	case MR_SHIFT_UP:
	case MR_SHIFT_DOWN:
		for (size_t i = mv_find(m, r->f); i < m->n; i++)
			m->p[i].f += r->n - r->f;
		break;
	case MR_COLLAPSE:
		mv_model_remove(m, r->f, r->f + r->n);
		for (size_t i = mv_find(m, r->f); i < m->n; i++)
			m->p[i].f -= r->n;
		break;
	default:
		break;
	}
}

/* One transaction. 0 or the error, then nothing has changed. */
static inline int mr_do(struct mv *v, struct mr *r)
{
	struct inode_edit e;
	int err;

	mv_begin(v, &e);
	err = mr_apply(v, r, &e);
	if (err) {
		txn_abort(e.t);
		return err;
	}
	return mv_end(&e);
}

/* What an operation leaves for later transactions. */
static inline int mr_finish(struct mv *v, struct mr *r)
{
	bool done = r->entry == 0;
	int err = 0;

	while (!done && !err) {
		struct txn *t = txn_begin(v->fs.journal);

		err = map_free_some(&v->fs, t, v->in.ino, FMT_FORK_DATA, r->level, r->at, &r->entry,
				    &done);
		if (err)
			txn_abort(t);
		else
			err = txn_commit(t, NULL);
	}
	while (r->op == MR_TRIM && !r->done && !err)
		err = mr_do(v, r);
	return err;
}

static inline bool mr_may_fail(enum mr_op op, int err)
{
	return err == -ENOSPC || (err == -E2BIG && (op == MR_REMOVE || op == MR_INSERT)) ||
	       (err == -EFBIG &&
		(op == MR_SHIFT_UP || op == MR_SHIFT_DOWN || op == MR_INSERT || op == MR_COLLAPSE));
}

#endif
