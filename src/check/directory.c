/* One directory: its buckets must cover every hash once, each entry lie in its bucket, name an inode of the type it says, and be
 * the only one of its name. */
#include "check/check.h"
#include <stdlib.h>

struct bucket_ref {
	uint64_t start;			/* first hash, of 2^48 */
	uint64_t len;
	uint64_t prefix;
	unsigned depth;
	mblk_t blk;
};

struct dir_ctx {
	struct check *c;
	inum_t ino;
	const struct fmt_inode *inode;
	struct bucket_ref *buckets;
	uint64_t n, cap, entries;
	const struct bucket_ref *now;
	uint64_t keys[FMT_DIR_SLOTS];
	char names[FMT_DIR_SLOTS][FMT_NAME_MAX + 1];
	unsigned nkeys;
};

#define HASH_SPACE (1ull << FMT_DIR_MAX_DEPTH)

/* fblk = 2^depth - 1 + prefix */
static bool bucket_position(fblk_t fblk, unsigned *depth, uint64_t *prefix)
{
	*depth = 63u - (unsigned)__builtin_clzll(fblk.v + 1);
	*prefix = fblk.v + 1 - (1ull << *depth);
	return *depth <= FMT_DIR_MAX_DEPTH;
}

static int dir_collect(void *ctx, const struct map_visit *v)
{
	struct dir_ctx *d = ctx;
	struct bucket_ref *bigger, b = {.blk = fmt_entry_blk(v->entry)};

	if (v->verify_err || fmt_entry_kind_of(v->entry) == FMT_ENT_NODE)
		return 0;			/* told when the map was verified */
	if (fmt_entry_kind_of(v->entry) == FMT_ENT_HUGE || !bucket_position(v->fblk, &b.depth, &b.prefix)) {
		check_find(d->c, "directory", d->ino.v, v->where.v, "directory %llu: block %llu cannot be a bucket",
			   (unsigned long long)d->ino.v, (unsigned long long)v->fblk.v);
		return d->c->stop;
	}
	b.len = HASH_SPACE >> b.depth;
	b.start = b.prefix * b.len;
	if (d->n == d->cap) {
		d->cap = d->cap ? d->cap * 2 : 64;
		bigger = realloc(d->buckets, (size_t)d->cap * sizeof(b));
		if (!bigger) {
			d->c->err = err_set(-ENOMEM, "check: no memory for the buckets of directory %llu", (unsigned long long)d->ino.v);
			return 1;
		}
		d->buckets = bigger;
	}
	d->buckets[d->n++] = b;
	return 0;
}

static int by_start(const void *a, const void *b)
{
	const struct bucket_ref *x = a, *y = b;

	return x->start < y->start ? -1 : x->start > y->start;
}

static void check_cover(struct dir_ctx *d)
{
	uint64_t i, at = 0;

	if (d->n)	/* qsort may not be given NULL */
		qsort(d->buckets, (size_t)d->n, sizeof(d->buckets[0]), by_start);
	for (i = 0; i < d->n; i++) {
		if (d->buckets[i].start != at)
			break;
		at += d->buckets[i].len;
	}
	if (d->n && (i < d->n || at != HASH_SPACE))
		check_find(d->c, "directory", d->ino.v, 0, "directory %llu: its buckets do not cover every hash exactly once (at %#llx)",
			   (unsigned long long)d->ino.v, (unsigned long long)at);
}

static void check_target(struct dir_ctx *d, const struct dir_entry *e)
{
	struct check *c = d->c;
	struct check_links *l;

	if (c->media && check_ino_ok(c, e->ino.v))
		check_media_named(c, e->ino.v, d->ino.v, e->name);
	if (!check_ino_ok(c, e->ino.v) || e->ino.v < FMT_INO_FIRST || !c->links[e->ino.v].in_use) {
		check_find(c, "directory", d->ino.v, 0, "directory %llu: '%s' names inode %llu, which is not in use",
			   (unsigned long long)d->ino.v, e->name, (unsigned long long)e->ino.v);
		return;
	}
	l = &c->links[e->ino.v];
	l->names++;
	if (l->type != e->type)
		check_find(c, "directory", d->ino.v, 0, "directory %llu: '%s' says type %u, inode %llu has %u",
			   (unsigned long long)d->ino.v, e->name, e->type, (unsigned long long)e->ino.v, (unsigned)l->type);
	if (l->is_dir) {
		c->links[d->ino.v].subdirs++;
		l->parent = d->ino.v & 0xffffffffffffull;
	}
}

static int dir_entry_visit(void *ctx, const struct dir_entry *e, int verify_err)
{
	struct dir_ctx *d = ctx;
	uint64_t key48 = e->key >> (64 - FMT_DIR_MAX_DEPTH), hash;
	unsigned i;

	if (verify_err) {
		check_find(d->c, "directory", d->ino.v, d->now->blk.v << HF_BLOCK_SHIFT, "directory %llu: %s",
			   (unsigned long long)d->ino.v, err_msg());
		return d->c->stop;
	}
	d->entries++;
	d->c->res->names++;
	if (memchr(e->name, '/', e->len) || strlen(e->name) != e->len || !strcmp(e->name, ".") || !strcmp(e->name, ".."))
		check_find(d->c, "directory", d->ino.v, d->now->blk.v << HF_BLOCK_SHIFT,
			   "directory %llu: '%s' is a name that no entry may have", (unsigned long long)d->ino.v, e->name);
	hash = fmt_name_hash(&d->c->geo, e->name, e->len);
	if (hash >> 8 != e->key >> 8 || key48 < d->now->start || key48 - d->now->start >= d->now->len)
		check_find(d->c, "directory", d->ino.v, d->now->blk.v << HF_BLOCK_SHIFT, "directory %llu: '%s' is in the wrong bucket",
			   (unsigned long long)d->ino.v, e->name);
	for (i = 0; i < d->nkeys; i++)
		if (d->keys[i] == e->key || (d->keys[i] >> 8 == e->key >> 8 && !strcmp(d->names[i], e->name)))
			check_find(d->c, "directory", d->ino.v, d->now->blk.v << HF_BLOCK_SHIFT,
				   "directory %llu: two entries at position %#llx ('%s')", (unsigned long long)d->ino.v,
				   (unsigned long long)e->key, e->name);
	if (d->nkeys < FMT_DIR_SLOTS) {
		strcpy(d->names[d->nkeys], e->name);
		d->keys[d->nkeys++] = e->key;
	}
	check_target(d, e);
	return d->c->stop;
}

void check_directory(struct check *c, inum_t ino, const struct fmt_inode *i)
{
	struct dir_ctx d;
	unsigned deepest = 0;
	uint64_t b;

	memset(&d, 0, offsetof(struct dir_ctx, keys));
	d.c = c;
	d.ino = ino;
	d.inode = i;
	if (le64_get(i->root))
		map_walk(c->pm, &c->geo, ino, FMT_FORK_DATA, le64_get(i->root), i->height, dir_collect, &d);
	check_cover(&d);
	for (b = 0; b < d.n && !c->stop && !c->err; b++) {
		int err;

		d.now = &d.buckets[b];
		d.nkeys = 0;
		if (d.now->depth > deepest)
			deepest = d.now->depth;
		err = dir_bucket_walk(c->pm, &c->geo, ino, le64_get(i->gen), d.now->depth, d.now->prefix, d.now->blk, dir_entry_visit,
				      &d);
		if (err < 0)
			check_find(c, "directory", ino.v, d.now->blk.v << HF_BLOCK_SHIFT, "directory %llu: %s", (unsigned long long)ino.v,
				   err_msg());
	}
	if (!c->stop && d.entries != le64_get(i->size))
		check_find(c, "directory", ino.v, 0, "directory %llu: says it has %llu entries, %llu were found",
			   (unsigned long long)ino.v, (unsigned long long)le64_get(i->size), (unsigned long long)d.entries);
	if (deepest > i->dir_depth)
		check_find(c, "directory", ino.v, 0, "directory %llu: a bucket of depth %u, deeper than its inode says (%u)",
			   (unsigned long long)ino.v, deepest, i->dir_depth);
	free(d.buckets);
}
