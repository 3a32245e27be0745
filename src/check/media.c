/* Bad media: which blocks cannot be read, and whose they are.
 *
 * Three sources: what plain loads of the check itself met (poison.h), what the device lists, and, where it is asked for
 * (HF_CHECK_MEDIA), a read of every block in use. Whose they are says a second walk through all structures, which finds nothing else:
 * the first is over before it is known what was bad. */
#include "check/check.h"
#include <stdlib.h>

#define MEDIA_PIECE (16u * HF_BLOCK_SIZE)
#define MEDIA_HITS  4096u /* of so many runs the owner is told */

/* A run of bad blocks of one owner, or a file whose inode is on one. */
struct media_hit {
	uint64_t ino, first, n;
	const char *what;
	uint64_t from, unit; /* unit 0: 'what' says it all; else: from which number of it on, and how many are in a block */
	uint64_t parent; /* a directory that has a name for it; 0: none was seen */
	char name[64];
};

struct check_media {
	uint64_t *bad; /* a bit per block */
	uint64_t nbad;
	struct media_hit *hits;
	size_t nhits;
	bool inodes; /* some of them hold inodes */
};

static bool media_is_bad(const struct check_media *m, uint64_t b)
{
	return m->bad[b >> 6] >> (b & 63) & 1;
}

static void media_add(struct check_media *m, uint64_t b)
{
	m->nbad += !media_is_bad(m, b);
	m->bad[b >> 6] |= 1ull << (b & 63);
}

/* ---- gathering */

static void media_read_blocks(struct check *c, const struct pm *pm, uint8_t *buf, uint64_t first, uint64_t n)
{
	c->res->blocks_read += n;
	if (pm_guarded_read(pm, buf, mblk_to_moff(MBLK(first)), n * HF_BLOCK_SIZE) == 0)
		return;
	for (uint64_t b = first; b < first + n; b++)
		if (pm_guarded_read(pm, buf, mblk_to_moff(MBLK(b)), HF_BLOCK_SIZE) != 0)
			media_add(c->media, b);
}

/* The bits of 64 blocks; all, where they cannot be read. */
static uint64_t media_allocated(const struct check *c, const struct pm *pm, uint64_t word)
{
	le64_t bits;

	if (pm_guarded_read(pm, &bits, moff_add(c->geo.alloc_off, word * 8), sizeof(bits)) != 0)
		return UINT64_MAX;
	return le64_get(bits);
}

/* Every block in use. No lock: that one is freed and used again meanwhile does not matter to who only reads. */
static void media_read(struct check *c, const struct pm *pm)
{
	uint8_t *buf = malloc(MEDIA_PIECE);
	uint64_t n, end = c->geo.nblocks;

	if (!buf) {
		c->err = err_set(-ENOMEM, "check: out of memory");
		return;
	}
	for (uint64_t b = 0; b < end; b += n) {
		uint64_t left = media_allocated(c, pm, b / 64) >> (b & 63);

		if ((b & 0xffff) == 0)
			check_progress(c, "media", b, end);
		n = left ? (uint64_t)__builtin_ctzll(left) : 64 - (b & 63);
		if (n > 0)
			continue;
		n = ~left ? (uint64_t)__builtin_ctzll(~left) : 64;
		n = min_u64(min_u64(n, 64 - (b & 63)), min_u64(MEDIA_PIECE / HF_BLOCK_SIZE, end - b));
		media_read_blocks(c, pm, buf, b, n);
	}
	check_progress(c, "media", end, end);
	free(buf);
}

/* What plain loads met. */
static void media_add_lost(struct check_media *m, const struct pm *pm, uint64_t nblocks)
{
	for (uint64_t b = 0; pm_bad(pm) != 0 && b < nblocks; b++) {
		if ((b & 63) == 0 && !pm_lost(pm, mblk_to_moff(MBLK(b)), 64ull * HF_BLOCK_SIZE))
			b += 63;
		else if (pm_lost(pm, mblk_to_moff(MBLK(b)), HF_BLOCK_SIZE))
			media_add(m, b);
	}
}

static void media_listed(void *ctx, uint64_t off, uint64_t len)
{
	struct check *c = ctx;

	for (uint64_t b = off / HF_BLOCK_SIZE; b * HF_BLOCK_SIZE < off + len && b < c->geo.nblocks; b++)
		media_add(c->media, b);
}

/* ---- whose they are */

static void media_hit(struct check *c, const struct media_hit *hit)
{
	struct check_media *m = c->media;

	if (m->nhits == MEDIA_HITS)
		return;
	m->hits[m->nhits++] = *hit;
	if (c->links && hit->ino < c->iblocks * FMT_INODES_PER_BLOCK)
		c->links[hit->ino].hit = 1;
}

static const char *media_leaf(const struct check *c, uint64_t ino, enum fmt_fork fork, uint64_t fblk)
{
	if (fork == FMT_FORK_XATTR)
		return "its extended attributes";
	if (ino == FMT_INO_ORPHANS)
		return "orphan slots";
	if (ino == FMT_INO_ITABLE)
		return fblk % FMT_IGROUP_BLOCKS ? "inodes" : "the bitmap of the inode table";
	if (c->links && check_ino_ok(c, ino) && c->links[ino].is_dir)
		return "names of the directory";
	return "bytes";
}

static void media_describe(struct check *c, struct media_hit *hit, enum fmt_fork fork, uint64_t fblk, bool node)
{
	hit->what = node ? "a part of its map" : media_leaf(c, hit->ino, fork, fblk);
	if (strcmp(hit->what, "bytes") == 0) {
		hit->unit = HF_BLOCK_SIZE;
		hit->from = fblk * HF_BLOCK_SIZE;
	} else if (strcmp(hit->what, "inodes") == 0) {
		hit->unit = FMT_INODES_PER_BLOCK;
		hit->from = (fblk - fblk / FMT_IGROUP_BLOCKS - 1) * FMT_INODES_PER_BLOCK;
		c->media->inodes = true;
	}
}

void check_media_owned(struct check *c, inum_t ino, enum fmt_fork fork, const struct map_visit *v, uint64_t n)
{
	struct check_media *m = c->media;
	uint64_t first = fmt_entry_blk(v->entry).v, run;
	bool node = fmt_entry_kind_of(v->entry) == FMT_ENT_NODE;

	for (uint64_t i = 0; i < n; i += run) {
		struct media_hit hit = {.ino = ino.v, .first = first + i};

		for (run = 0; i + run < n && media_is_bad(m, first + i + run); run++)
			m->bad[(first + i + run) >> 6] &= ~(1ull << ((first + i + run) & 63));
		hit.n = run;
		if (run > 0) {
			media_describe(c, &hit, fork, v->fblk.v + i, node);
			media_hit(c, &hit);
		} else {
			run = 1;
		}
	}
}

/* Its image is on one of the bad blocks: it is hit itself. */
static void media_named_lost(struct check *c, uint64_t ino)
{
	struct check_media *m = c->media;

	for (size_t i = 0, n = m->nhits; i < n && !c->links[ino].hit; i++) {
		const struct media_hit *h = &m->hits[i];

		if (h->ino == FMT_INO_ITABLE && h->unit == FMT_INODES_PER_BLOCK && ino >= h->from && ino - h->from < h->n * h->unit)
			media_hit(c, &(struct media_hit){.ino = ino, .first = h->first, .n = 1, .what = "the inode itself"});
	}
}

void check_media_named(struct check *c, uint64_t ino, uint64_t parent, const char *name)
{
	struct check_media *m = c->media;

	if (m->inodes)
		media_named_lost(c, ino);
	for (size_t i = 0; c->links[ino].hit && i < m->nhits; i++) {
		struct media_hit *hit = &m->hits[i];

		if (hit->ino != ino || hit->parent)
			continue;
		hit->parent = parent;
		strncpy(hit->name, name, sizeof(hit->name) - 1);
	}
}

/* ---- telling */

static void media_tell(struct check *c, const struct media_hit *hit)
{
	char whose[160] = "", what[160];

	snprintf(what, sizeof(what), "%s", hit->what);
	if (hit->unit)
		snprintf(what, sizeof(what), "%s %llu to %llu", hit->what, (unsigned long long)hit->from,
			 (unsigned long long)(hit->from + hit->n * hit->unit - 1));
	if (hit->parent)
		snprintf(whose, sizeof(whose), " ('%s' in directory %llu)", hit->name, (unsigned long long)hit->parent);
	check_find(c, "media", hit->ino, hit->first << HF_BLOCK_SHIFT, "inode %llu%s: %s cannot be read: bad media in block %llu",
		   (unsigned long long)hit->ino, whose, what, (unsigned long long)hit->first);
}

static const char *media_fixed(const struct geo *g, uint64_t b)
{
	uint64_t lanes = g->lanes_off.v >> HF_BLOCK_SHIFT, lines = g->alloc_off.v >> HF_BLOCK_SHIFT;

	mblk_t at;

	if (b == FMT_BLK_SUPER || b == g->nblocks - 1)
		return "a copy of the superblock";
	for (unsigned i = GEO_FIXED_SPREAD; geo_fixed(g, i, &at) > 0; i++)
		if (b == at.v)
			return "a copy of the superblock";
	if (b == FMT_BLK_CKPT0 || b == FMT_BLK_CKPT1)
		return "a copy of the checkpoint's number";
	if (b >= FMT_BLK_ITNODE && b < FMT_BLK_ALLOC)
		return "the beginning of the inode table";
	if (b >= lines && b < lines + (geo_lines_bytes(g->nframes) >> HF_BLOCK_SHIFT))
		return "allocation lines";
	if (b >= lanes && b < lanes + (g->nlanes * g->lane_bytes >> HF_BLOCK_SHIFT))
		return "the journal";
	return "nothing that a file has";
}

/* What no map has. */
static void media_tell_rest(struct check *c)
{
	for (uint64_t b = 0; b < c->geo.nblocks && !c->stop; b++) {
		if ((b & 63) == 0 && c->media->bad[b >> 6] == 0)
			b += 63;
		else if (media_is_bad(c->media, b))
			check_find(c, "media", 0, b << HF_BLOCK_SHIFT, "block %llu, which holds %s, cannot be read: bad media",
				   (unsigned long long)b, media_fixed(&c->geo, b));
	}
}

static int media_name(struct check *c)
{
	struct hf_check_options quiet = {.struct_size = sizeof(quiet)};
	struct hf_check_result scratch = {0};
	struct check again = {.pm = c->pm, .geo = c->geo, .opts = &quiet, .res = &scratch, .media = c->media};
	int err;

	c->media->hits = calloc(MEDIA_HITS, sizeof(*c->media->hits));
	if (!c->media->hits)
		return err_set(-ENOMEM, "check: out of memory");
	err = check_phases(&again);
	check_phases_free(&again);
	for (size_t i = 0; i < c->media->nhits && !c->stop; i++)
		media_tell(c, &c->media->hits[i]);
	media_tell_rest(c);
	free(c->media->hits);
	return err;
}

int check_media_begin(struct check *c, const struct pm *medium, struct check_media **out)
{
	struct check_media *m = calloc(1, sizeof(*m));

	*out = m;
	if (m)
		m->bad = calloc((size_t)(c->geo.nblocks + 63) / 64, sizeof(uint64_t));
	if (!m || !m->bad)
		return err_set(-ENOMEM, "check: no memory for a bit per block");
	c->media = m;
	pm_bad_blocks(medium, media_listed, c);
	if (c->opts->flags & HF_CHECK_MEDIA)
		media_read(c, medium);
	c->media = NULL; /* the first walk does not look */
	return c->err;
}

int check_media_end(struct check *c, const struct pm *medium, struct check_media *m, int err)
{
	if (!err) {
		media_add_lost(m, medium, c->geo.nblocks);
		if (c->pm != medium)
			media_add_lost(m, c->pm, c->geo.nblocks);
		c->res->blocks_bad = m->nbad;
	}
	if (!err && m->nbad && !c->stop) {
		c->media = m;
		err = media_name(c);
	}
	if (m)
		free(m->bad);
	free(m);
	return err;
}
