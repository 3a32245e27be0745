/* A small volume with one file whose inode is a block of its own (no inode table is needed), and a
 * model of its map: a sorted array of file block -> media block. */
#ifndef HF_TESTS_MAP_VOL_H
#define HF_TESTS_MAP_VOL_H

#include "cunit_main.h"
#include "base/hash.h"
#include "inode/map.h"

#define MIB    (1024ull * 1024)
#define MV_INO 77u

struct mv_pair {
	uint64_t f, m;
};

struct mv_model {
	struct mv_pair *p;
	size_t n, cap;
};

struct mv {
	struct fs fs;
	struct inode in;
	struct mv_model model;
	uint64_t base_used; /* blocks in use without the file's */
	uint64_t rng;
};

static inline void mv_must(int err, const char *what)
{
	if (!err)
		return;
	fprintf(stderr, "%s: %d: %s\n", what, err, err_msg());
	abort();
}

static inline uint64_t mv_rand(struct mv *v)
{
	v->rng += 0x9e3779b97f4a7c15ull;
	return hash_mix(v->rng);
}
static inline uint64_t mv_below(struct mv *v, uint64_t n)
{
	return mv_rand(v) % n;
}

/* ---- the volume */

static inline uint64_t mv_used(struct mv *v)
{
	struct space_stat st;

	space_drain(v->fs.space);
	space_stat(v->fs.space, &st);
	return st.blocks - st.free - st.busy_journal - st.busy_pinned - st.pending;
}

static inline void mv_attach(struct mv *v)
{
	mv_must(geo_read(v->fs.pm, &v->fs.geo), "geo_read");
	mv_must(journal_open(v->fs.pm, &v->fs.geo, &v->fs.journal), "journal_open");
	mv_must(space_open(v->fs.pm, &v->fs.geo, v->fs.journal, &v->fs.space), "space_open");
	v->in.fs = &v->fs;
}

static inline void mv_detach(struct mv *v)
{
	space_close(&v->fs.space);
	journal_close(&v->fs.journal);
}

/* Writes the empty inode. */
static inline void mv_make_inode(struct mv *v, uint32_t type)
{
	struct fmt_inode img = {0};
	struct txn *t = txn_begin(v->fs.journal);
	struct mext x;

	mv_must(space_alloc(v->fs.space, t, 1, MBLK_NULL, SPACE_META, &x), "space_alloc");
	txn_fresh(t, x.first);
	v->in.ino = INUM(MV_INO);
	v->in.gen = 1;
	v->in.type = type;
	v->in.off = mblk_to_moff(x.first);
	rwl_init(&v->in.layout, RANK_LAYOUT, MV_INO);
	rwl_init(&v->in.content, RANK_DATA, MV_INO);
	v->in.pend_atime = v->in.pend_mtime = v->in.pend_ctime = INT64_MIN;
	img.ino = le64_of(MV_INO);
	img.gen = le64_of(1);
	img.mode = le32_of(type | 0600);
	img.nlink = le32_of(1);
	img.rdev = le64_of(S_ISDIR(type) ? FMT_INO_ROOT : 0);
	img.csum = le64_of(fmt_inode_csum(&v->fs.geo, &img));
	txn_copy(t, v->in.off, &img, sizeof(img));
	mv_must(txn_commit(t, NULL), "commit");
	v->base_used = mv_used(v);
}

static inline void mv_open_hooked(struct mv *v, uint64_t bytes, uint32_t type,
				  const struct pm_hook *hook)
{
	struct pm_open_args args = {.force_gran = true, .gran = PM_LINE, .hook = hook};
	struct mkfs_args mkfs = {.root_mode = 0755};
	const char *seed = getenv("HF_TEST_SEED");

	memset(v, 0, sizeof(*v));
	v->rng = seed ? strtoull(seed, NULL, 0) : 1;
	mv_must(pm_open_memfd(bytes, &args, &v->fs.pm), "pm_open_memfd");
	mv_must(mkfs_write(v->fs.pm, &mkfs), "mkfs_write");
	mv_attach(v);
	mv_make_inode(v, type);
}

static inline void mv_open(struct mv *v, uint64_t bytes)
{
	mv_open_hooked(v, bytes, S_IFREG, NULL);
}

static inline void mv_close(struct mv *v)
{
	mv_detach(v);
	pm_close(&v->fs.pm);
	free(v->model.p);
}

/* ---- an edit in a transaction of its own */

static inline void mv_begin(struct mv *v, struct inode_edit *e)
{
	struct txn *t = txn_begin(v->fs.journal);

	HF_ASSERT(t);
	inode_edit_begin(e, &v->in, t);
}

static inline int mv_end(struct inode_edit *e)
{
	inode_edit_end(e);
	return txn_commit(e->t, NULL);
}

/* ---- the model */

/* Index of the first pair at or after f. */
static inline size_t mv_find(const struct mv_model *m, uint64_t f)
{
	size_t lo = 0, hi = m->n;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (m->p[mid].f < f)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static inline void mv_model_insert(struct mv_model *m, uint64_t f, uint64_t blk, uint64_t n)
{
	size_t at = mv_find(m, f);

	while (m->n + n > m->cap) {
		m->cap = m->cap ? 2 * m->cap : 4096;
		m->p = realloc(m->p, m->cap * sizeof(m->p[0]));
		HF_ASSERT(m->p);
	}
	if (m->n > at)
		memmove(&m->p[at + n], &m->p[at], (m->n - at) * sizeof(m->p[0]));
	for (uint64_t i = 0; i < n; i++)
		m->p[at + i] = (struct mv_pair){f + i, blk + i};
	m->n += n;
}

static inline void mv_model_remove(struct mv_model *m, uint64_t lo, uint64_t hi)
{
	size_t a = mv_find(m, lo), b = mv_find(m, hi);

	if (m->n > b)
		memmove(&m->p[a], &m->p[b], (m->n - b) * sizeof(m->p[0]));
	m->n -= b - a;
}

static inline struct mv_model mv_model_copy(const struct mv_model *m)
{
	struct mv_model c = {.n = m->n, .cap = m->n + 1};

	c.p = malloc(c.cap * sizeof(c.p[0]));
	HF_ASSERT(c.p);
	if (m->n)
		memcpy(c.p, m->p, m->n * sizeof(c.p[0]));
	return c;
}

/* How many blocks from f on are a hole, at most max. */
static inline uint64_t mv_model_hole(const struct mv_model *m, uint64_t f, uint64_t max)
{
	size_t i = mv_find(m, f);

	return i < m->n ? min_u64(max, m->p[i].f - f) : max;
}

/* ---- comparing */

struct mv_walk {
	const struct mv_model *model;
	size_t at;
	uint64_t content, nodes, huge, punched;
	uint64_t node_end[FMT_MAX_HEIGHT +
			  1]; /* by level: how many leaves had been seen when the node began */
	const char *wrong;
	int err;
};

static inline int mv_visit(void *ctx, const struct map_visit *v)
{
	struct mv_walk *w = ctx;
	uint64_t n = fmt_level_blocks(v->level);

	if (v->verify_err) {
		w->err = v->verify_err;
		return 0;
	}
	if (fmt_entry_kind_of(v->entry) == FMT_ENT_NODE) {
		w->nodes++;
		w->punched += (v->entry & FMT_ENT_PUNCHED) != 0;
		return 0;
	}
	w->huge += v->level;
	w->content += n;
	for (uint64_t i = 0; i < n && w->model; i++, w->at++) {
		if (w->at >= w->model->n || w->model->p[w->at].f != v->fblk.v + i ||
		    w->model->p[w->at].m != fmt_entry_blk(v->entry).v + i) {
			w->wrong = "the map has another block than the model";
			return 1;
		}
	}
	return 0;
}

/* What is wrong with the map on this media, compared with the model; NULL: nothing. *out may be
 * NULL. */
static inline const char *mv_compare(const struct pm *pm, const struct geo *geo, moff_t inode,
				     const struct mv_model *model, struct mv_walk *out)
{
	const struct fmt_inode *img = pm_at(pm, inode);
	struct mv_walk w = {.model = model};
	int err;

	if (fmt_inode_verify(geo, img, INUM(MV_INO)))
		return "inode's checksum";
	if (le64_get(img->root) == 0 && img->height != 0)
		return "empty, but with a height";
	err = map_walk(pm, geo, INUM(MV_INO), FMT_FORK_DATA, le64_get(img->root), img->height,
		       mv_visit, &w);
	if (out)
		*out = w;
	if (w.wrong)
		return w.wrong;
	if (err || w.err)
		return "the map is damaged";
	if (model && w.at != model->n)
		return "the map has less than the model";
	if (w.content + w.nodes != le64_get(img->blocks))
		return "img.blocks is not exact";
	return NULL;
}

/* Every node has an entry. */
static inline int mv_visit_empty(void *ctx, const struct map_visit *v)
{
	const struct mv *mv = ctx;
	const le64_t *node;

	if (fmt_entry_kind_of(v->entry) != FMT_ENT_NODE)
		return 0;
	node = pm_at(mv->fs.pm, mblk_to_moff(fmt_entry_blk(v->entry)));
	for (unsigned i = 0; i < FMT_NODE_ENTRIES; i++)
		if (le64_get(node[i]) != 0)
			return 0;
	return 1;
}

/* The runs of map_lookup against the model, over [lo, hi). */
static inline const char *mv_compare_lookup(struct mv *v, uint64_t lo, uint64_t hi)
{
	const struct mv_model *m = &v->model;
	size_t at = mv_find(m, lo);
	struct map_extent x;

	for (uint64_t pos = lo; pos < hi; pos += x.n) {
		if (map_lookup(&v->in, FMT_FORK_DATA, FBLK(pos), hi - pos, &x))
			return "map_lookup failed";
		if (x.n == 0 || x.n > hi - pos || x.fblk.v != pos)
			return "map_lookup's length";
		if (x.blk.v == 0) {
			if (at < m->n && m->p[at].f < pos + x.n)
				return "map_lookup sees a hole in data";
			if (pos + x.n < hi && !(at < m->n && m->p[at].f == pos + x.n))
				return "map_lookup's hole ends too early";
			continue;
		}
		for (uint64_t i = 0; i < x.n; i++, at++)
			if (at >= m->n || m->p[at].f != pos + i || m->p[at].m != x.blk.v + i)
				return "map_lookup has another block";
		if (pos + x.n < hi && at < m->n && m->p[at].f == pos + x.n &&
		    m->p[at].m == x.blk.v + x.n)
			return "map_lookup's run ends too early";
	}
	return NULL;
}

/* All of it. Blocks that the map does not have any more and that are not free are 'extra'. */
static inline const char *mv_check(struct mv *v, uint64_t extra)
{
	const struct fmt_inode *img = inode_media(&v->in);
	const char *wrong = mv_compare(v->fs.pm, &v->fs.geo, v->in.off, &v->model, NULL);

	if (wrong)
		return wrong;
	if (map_walk(v->fs.pm, &v->fs.geo, INUM(MV_INO), FMT_FORK_DATA, le64_get(img->root),
		     img->height, mv_visit_empty, v))
		return "an empty node";
	if (mv_used(v) != v->base_used + le64_get(img->blocks) + extra)
		return "blocks in use are not those of the map";
	return NULL;
}

#define MV_OK(v) mv_ok(mv_check(v, 0), __LINE__)
static inline void mv_ok(const char *wrong, int line)
{
	if (wrong)
		fprintf(stderr, "line %d: %s (%s)\n", line, wrong, err_msg());
	CU_ASSERT_PTR_NULL_FATAL(wrong);
}

/* ---- operations that must succeed, on map and model */

static inline void mv_take(struct mv *v, struct txn *t, uint64_t want, struct mext *x)
{
	if (want >= HF_BLOCKS_PER_FRAME) {
		x->n = 0;
		if (space_alloc_frames(v->fs.space, t, want / HF_BLOCKS_PER_FRAME, FRAME(0), 0,
				       &x->first, &x->n) == 0) {
			x->n *= HF_BLOCKS_PER_FRAME;
			return;
		}
		want = HF_BLOCKS_PER_FRAME;
	}
	if (space_alloc(v->fs.space, t, (uint32_t)want, MBLK_NULL, 0, x))
		x->n = 0;
}

/* Fills the hole at f with up to n blocks; returns how many it became. */
static inline uint64_t mv_insert(struct mv *v, uint64_t f, uint64_t n)
{
	struct inode_edit e;
	uint64_t done = 0;
	struct mext x;
	int err = 0;

	n = mv_model_hole(&v->model, f, n);
	while (done < n) {
		mv_begin(v, &e);
		mv_take(v, e.t, n - done, &x);
		err = x.n ? map_insert(&e, FMT_FORK_DATA, FBLK(f + done), x.first, x.n) : -ENOSPC;
		if (err) {
			txn_abort(e.t);
			break;
		}
		mv_must(mv_end(&e), "commit");
		mv_model_insert(&v->model, f + done, x.first.v, x.n);
		done += x.n;
	}
	if (err && err != -ENOSPC)
		mv_must(err, "map_insert");
	return done;
}

#endif
