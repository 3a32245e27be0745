/* A repair goes from the private image to the medium.
 *
 * It must be there wholly or not at all: half of a repair can lose what neither the old state nor the new one would (a map node
 * whose new place is named already, but not written). So it is a redo log, in blocks that are free before and after:
 *
 *   1. the undo file, if one is wanted, is written and synced;
 *   2. both superblocks are made valid, as they were (nothing else is different yet);
 *   3. the new content of every block, and the list that says which block it is for, go to free space; fence;
 *   4. the first superblock is marked 'being repaired', with the list's place and the id of the undo file; fence; then the second. From
 *      the first fence on a mount refuses, and fsck finishes;
 *   5. the blocks are written in place; fence;
 *   6. the second superblock is written as it shall be; fence; then the first. The id of the undo file stays in both: only that of the
 *      last repair is put back.
 *
 * Interrupted before the first fence of 4 the volume is as it was, for a torn first superblock means that the second counts. After
 * it the list is there in full, and step 5 can be done again from its start any number of times. In 6 a torn first superblock means
 * that the second counts, which is final. Where free space is short the repair is made without a list, but only with an undo file:
 * the mark then says that what stands there is a mixture, and 'fsck --undo' or another repair gets out of it.
 *
 * An undo is made without a list, always: what is free nobody knows, for the old allocation lines may be what was damaged, and those of
 * an interrupted repair are not there yet. The undo file itself is what it can be done again from. */
#include "check/image.h"
#include <stdlib.h>

struct commit {
	struct check_image *img;
	struct pm *medium;
	const struct geo *geo;
	struct fmt_super base;		/* the superblock that counts, unmarked */
	uint64_t *blk;			/* what is to be written; the two superblocks are the last two */
	uint64_t n;
	uint64_t at;			/* where free blocks are looked for */
	bool undo;			/* without a list */
	uint64_t undo_id;		/* of the undo file that is written, or put back; 0: none */
};

static uint64_t last_block(const struct geo *g)
{
	return g->nblocks - 1;
}

static bool bit_of(const uint64_t *bits, uint64_t b)
{
	return bits[b >> 6] >> (b & 63) & 1;
}

static bool block_differs(const struct check_image *img, uint64_t b)
{
	return memcmp(pm_at(img->replayed, mblk_to_moff(MBLK(b))), pm_at(img->medium, mblk_to_moff(MBLK(b))), HF_BLOCK_SIZE) != 0;
}

/* What the image shows of a block that was never stored to is the medium itself, also while it is marked. */
static int keep_super(struct check_image *img, uint64_t b)
{
	moff_t at = mblk_to_moff(MBLK(b));
	struct fmt_super s;

	memcpy(&s, pm_at(img->replayed, at), sizeof(s));
	return check_image_put(img, at, &s, sizeof(s));
}

/* Every block that the repair changed; then the superblocks, changed or not, for they are written in any case. */
static int list_blocks(struct commit *m)
{
	struct check_image *img = m->img;
	uint64_t b, n = 0, cap = 2, last = last_block(m->geo);
	int err;

	for (b = 0; b < m->geo->nblocks; b++)
		cap += bit_of(img->changed, b);
	m->blk = malloc((size_t)cap * sizeof(*m->blk));
	if (!m->blk)
		return err_set(-ENOMEM, "repair: out of memory");
	for (b = 1; b < last; b++)
		if (bit_of(img->changed, b) && block_differs(img, b))
			m->blk[n++] = b;
	m->n = n;
	if (n == 0 && !block_differs(img, 0) && !block_differs(img, last))
		return 0;
	m->blk[m->n++] = last;
	m->blk[m->n++] = 0;
	err = keep_super(img, last);
	return err ? err : keep_super(img, 0);
}

/* Free before the repair and after it, not one of the blocks that it changes, and not pinned. */
static uint64_t take_free(struct commit *m)
{
	for (; m->at < m->geo->end_data.v; m->at++) {
		moff_t word = moff_add(m->geo->alloc_off, m->at / 64 * 8);
		uint64_t used = pm_load64(m->medium, word) | pm_load64(m->img->replayed, word);

		if (!(used >> (m->at % 64) & 1) && !bit_of(m->img->changed, m->at) && !bit_of(m->img->held, m->at))
			return m->at++;
	}
	return 0;
}

static void write_block(struct pm *pm, uint64_t b, const void *src)
{
	pm_copy_nt(pm, mblk_to_moff(MBLK(b)), src, HF_BLOCK_SIZE);
}

static uint64_t content_csum(const struct geo *g, uint64_t to, const void *src)
{
	return hash_bytes(src, HF_BLOCK_SIZE, hash_mix2(g->seed, to));
}

static uint64_t redo_csum(const struct geo *g, const struct fmt_redo *r)
{
	return hash_bytes((const uint8_t *)r + 8, sizeof(*r) - 8, hash_mix2(g->seed, le64_get(r->self)));
}

/* One block of the list and the content that it names. *head: its block; next: the one written before. */
static int write_list_block(struct commit *m, uint64_t first, uint32_t count, uint64_t next, uint64_t *head)
{
	struct fmt_redo r = {.magic = le32_of(FMT_REDO_MAGIC), .count = le32_of(count), .next = le64_of(next)};
	uint32_t i;

	*head = take_free(m);
	for (i = 0; i < count && *head; i++) {
		uint64_t to = m->blk[first + i], from = take_free(m);
		const void *src = pm_at(m->img->replayed, mblk_to_moff(MBLK(to)));

		if (!from)
			return -ENOSPC;
		write_block(m->medium, from, src);
		r.entry[i] = (struct fmt_redo_entry){le64_of(to), le64_of(from), le64_of(content_csum(m->geo, to, src))};
	}
	if (!*head)
		return -ENOSPC;
	r.self = le64_of(*head);
	r.csum = le64_of(redo_csum(m->geo, &r));
	write_block(m->medium, *head, &r);
	return 0;
}

/* Durability: the list and all that it names are on the medium. *head: its first block. */
static int write_list(struct commit *m, uint64_t *head)
{
	uint64_t at, next = 0;
	int err = 0;

	for (at = 0; at < m->n && !err; at += FMT_REDO_ENTRIES) {
		err = write_list_block(m, at, (uint32_t)min_u64(m->n - at, FMT_REDO_ENTRIES), next, head);
		next = *head;
	}
	return err ? err : pm_fence(m->medium);
}

static int write_super(struct pm *medium, const struct geo *g, struct fmt_super s, uint32_t copy)
{
	if (copy)
		s.stamp = le64_of(0);
	s.copy = le32_of(copy);
	s.csum = le64_of(geo_super_csum(&s));
	write_block(medium, copy ? last_block(g) : 0, &s);
	return pm_fence(medium);
}

/* The superblock that counts, without the mark. */
static int read_base(struct pm *medium, const struct geo *g, struct fmt_super *s)
{
	int err = pm_guarded_read(medium, s, mblk_to_moff(MBLK(g->used_copy ? last_block(g) : 0)), sizeof(*s));

	if (g->repairing)
		s->repair_undo = le64_of(0);
	s->incompat = le64_of(le64_get(s->incompat) & ~FMT_INCOMPAT_REPAIR);
	s->repair = le64_of(0);
	if (g->used_copy)
		s->stamp = geo_stamp_first(medium, g);
	return err;
}

/* The other one is made like the one that counts, so that one of them is whole at any time. */
static int both_supers(struct pm *medium, const struct geo *g, const struct fmt_super *s)
{
	const void *other = pm_at(medium, mblk_to_moff(MBLK(g->used_copy ? 0 : last_block(g))));

	if (geo_verify_super(other, medium->size, !g->used_copy) == 0)
		return 0;
	return write_super(medium, g, *s, !g->used_copy);
}

static struct fmt_super marked(struct fmt_super s, uint64_t head, uint64_t undo_id)
{
	s.incompat = le64_of(le64_get(s.incompat) | FMT_INCOMPAT_REPAIR);
	s.repair = le64_of(head);
	s.repair_undo = le64_of(undo_id);
	return s;
}

static int mark(struct commit *m, uint64_t head)
{
	struct fmt_super s = marked(m->base, head, m->undo_id);
	int err;

	err = write_super(m->medium, m->geo, s, 0);
	return err ? err : write_super(m->medium, m->geo, s, 1);
}

/* In place: all but the superblocks, then these, the second first. */
static int write_in_place(struct commit *m)
{
	uint64_t i;
	int err;

	for (i = 0; i < m->n - 2; i++)
		write_block(m->medium, m->blk[i], pm_at(m->img->replayed, mblk_to_moff(MBLK(m->blk[i]))));
	err = pm_fence(m->medium);
	for (; i < m->n && !err; i++) {
		write_block(m->medium, m->blk[i], pm_at(m->img->replayed, mblk_to_moff(MBLK(m->blk[i]))));
		err = pm_fence(m->medium);
	}
	return err;
}

/* Which undo file can be put back from here on: this repair's, or none. */
static int sign_super(struct commit *m, uint32_t copy)
{
	moff_t at = geo_super_off(m->geo, copy);
	struct fmt_super s;

	memcpy(&s, pm_at(m->img->replayed, at), sizeof(s));
	s.repair_undo = le64_of(m->undo_id);
	s.csum = le64_of(geo_super_csum(&s));
	return check_image_put(m->img, at, &s, sizeof(s));
}

static int sign(struct commit *m, const char *undo_path)
{
	int err = undo_path ? hash_random(&m->undo_id, sizeof(m->undo_id)) : 0;

	if (undo_path)
		m->undo_id |= 1;	/* 0 is none */
	if (!err)
		err = sign_super(m, FMT_COPY_FIRST);
	if (!err)
		err = sign_super(m, FMT_COPY_LAST);
	return err || !undo_path ? err : check_undo_write(m->img, undo_path, m->blk, m->n, m->undo_id);
}

static int commit_run(struct commit *m, const char *undo_path)
{
	struct fmt_super now;
	uint64_t head = 0;
	int err = m->undo ? 0 : sign(m, undo_path);

	if (!err)
		err = read_base(m->medium, m->geo, &m->base);
	if (err)
		return err;
	/* A volume that is marked already has no list that could be finished, or is being undone. */
	now = m->geo->repairing ? marked(m->base, m->geo->redo.v, m->geo->repair_undo) : m->base;
	err = both_supers(m->medium, m->geo, &now);
	if (err)
		return err;
	err = m->undo ? 0 : write_list(m, &head);
	if (err == -ENOSPC && undo_path) {
		head = 0;
		err = 0;
	}
	if (err == -ENOSPC)
		return err_set(err, "repair: no room for %llu blocks of it in free space, so that it could not be interrupted safely; "
				    "nothing was written: give an undo file", (unsigned long long)m->n);
	if (!err)
		err = mark(m, head);
	return err ? err : write_in_place(m);
}

static int commit(struct commit *m, const char *undo_path)
{
	int err;

	m->medium = m->img->medium;
	m->geo = &m->img->geo;
	m->at = m->geo->first_data.v;
	err = list_blocks(m);
	if (!err && m->n)
		err = commit_run(m, undo_path);
	free(m->blk);
	return err;
}

int check_image_commit(struct check_image *img, const char *undo_path)
{
	struct commit m = {.img = img};
	int err = commit(&m, undo_path);

	return err ? err_prefix(err, "writing the repair") : 0;
}

int check_image_commit_undo(struct check_image *img, uint64_t id)
{
	struct commit m = {.img = img, .undo = true, .undo_id = id};
	int err = commit(&m, NULL);

	return err ? err_prefix(err, "undoing the repair") : 0;
}

/* ---- finishing */

typedef int redo_fn(void *ctx, uint64_t to, const void *src);

static int redo_entry(const struct pm *pm, const struct geo *g, const struct fmt_redo_entry *e, redo_fn *fn, void *ctx)
{
	uint64_t to = le64_get(e->to), from = le64_get(e->from);
	const void *src;

	if (to >= g->nblocks || from < g->first_data.v || from >= g->end_data.v)
		return err_set(-EUCLEAN, "the redo list of a repair names a block outside the volume");
	src = pm_at(pm, mblk_to_moff(MBLK(from)));
	if (le64_get(e->csum) != content_csum(g, to, src))
		return err_set(-EBADMSG, "a block of the redo list of a repair is damaged");
	return fn ? fn(ctx, to, src) : 0;
}

/* Every entry of the list; fn NULL: they are only verified. Rising work, bounded by the volume, also for a list that is a circle. Each
 * block is read once, for a crafted one may name itself. */
static int redo_walk(const struct pm *pm, const struct geo *g, redo_fn *fn, void *ctx)
{
	uint64_t at = g->redo.v, left = g->nblocks / 2;
	uint32_t i;
	int err = 0;

	for (; at && !err; at = left ? at : 0) {
		struct fmt_redo r;

		if (at < g->first_data.v || at >= g->end_data.v)
			return err_set(-EUCLEAN, "the redo list of a repair lies outside the volume");
		memcpy(&r, pm_at(pm, mblk_to_moff(MBLK(at))), sizeof(r));
		if (le32_get(r.magic) != FMT_REDO_MAGIC || le64_get(r.self) != at || le64_get(r.csum) != redo_csum(g, &r) ||
		    le32_get(r.count) > FMT_REDO_ENTRIES || left <= le32_get(r.count))
			return err_set(-EBADMSG, "the redo list of a repair is damaged");
		left -= le32_get(r.count) + 1;
		for (i = 0; i < le32_get(r.count) && !err; i++)
			err = redo_entry(pm, g, &r.entry[i], fn, ctx);
		at = le64_get(r.next);
		if (!at)
			break;
	}
	return err;
}

struct finish {
	struct pm *medium;
	const struct geo *geo;
	struct fmt_super super[2];	/* as they shall be */
};

static int finish_block(void *ctx, uint64_t to, const void *src)
{
	struct finish *f = ctx;

	if (to == 0 || to == last_block(f->geo))
		memcpy(&f->super[to != 0], src, HF_BLOCK_SIZE);
	else
		write_block(f->medium, to, src);
	return 0;
}

int check_redo_finish(struct pm *medium, const struct geo *geo)
{
	struct finish *f;
	int err, i;

	if (!geo->redo.v)
		return err_set(-EUCLEAN, "a repair was interrupted that had no redo list");
	f = malloc(sizeof(*f));
	if (!f)
		return err_set(-ENOMEM, "repair: out of memory");
	*f = (struct finish){.medium = medium, .geo = geo};
	err = redo_walk(medium, geo, NULL, NULL);
	if (!err)
		err = read_base(medium, geo, &f->super[0]);
	f->super[1] = f->super[0];
	f->super[1].stamp = le64_of(0);
	for (i = 0; i < 2; i++) {
		f->super[i].copy = le32_of((uint32_t)i);
		f->super[i].csum = le64_of(geo_super_csum(&f->super[i]));
	}
	if (!err)
		err = redo_walk(medium, geo, finish_block, f);
	if (!err)
		err = pm_fence(medium);
	for (i = 1; i >= 0 && !err; i--) {
		write_block(medium, i ? last_block(geo) : 0, &f->super[i]);
		err = pm_fence(medium);
	}
	free(f);
	return err;
}

static int redo_put(void *ctx, uint64_t to, const void *src)
{
	return check_image_put(ctx, mblk_to_moff(MBLK(to)), src, HF_BLOCK_SIZE);
}

int check_redo_image(struct check_image *img)
{
	int err = img->geo.redo.v ? redo_walk(img->medium, &img->geo, NULL, NULL) : -EUCLEAN;

	return err ? err : redo_walk(img->medium, &img->geo, redo_put, img);
}
