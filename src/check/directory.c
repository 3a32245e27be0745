/* One directory: its buckets must cover every hash once, each entry lie in its bucket, name an inode of the type it says, and be
 * the only one of its name. A directory has one name.
 *
 * Repair: a bucket is written afresh from the entries in it that verify, in its place. Where buckets are missing or overlap, the whole
 * index is built again from the entries of those that are there (repair_names.c). */
#include "check/check.h"
#include "check/names.h"
#include "dir/bucket.h"
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
	bool stray;			/* a block that cannot be a bucket */
	/* the bucket that is looked at */
	struct bucket_id id;
	struct bucket_tags tags;
	bool dirty;			/* it is to be written afresh */
	unsigned nkeep;
	struct dir_entry keep[FMT_DIR_SLOTS];
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
		d->stray = true;
		return 0;
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

/* ---- entries */

/* A finding about the bucket that is looked at; true: it is going to be written afresh, without or with what it was about. */
static bool mend_entry(struct dir_ctx *d, enum check_mend how, const char *repair, const char *what)
{
	bool now = check_mend(d->c, how, repair, "directory", d->ino.v, d->id.blk.v << HF_BLOCK_SHIFT, "directory %llu: %s",
			      (unsigned long long)d->ino.v, what);

	d->dirty |= now;
	return now;
}

/* What the entry names. False: it is to go. */
static bool check_target(struct dir_ctx *d, struct dir_entry *e)
{
	struct check *c = d->c;
	struct check_links *l;
	char what[400];

	if (c->media && check_ino_ok(c, e->ino.v))
		check_media_named(c, e->ino.v, d->ino.v, e->name);
	if (!check_ino_ok(c, e->ino.v) || e->ino.v < FMT_INO_FIRST || !c->links[e->ino.v].in_use) {
		snprintf(what, sizeof(what), "'%s' names inode %llu, which is not in use", e->name, (unsigned long long)e->ino.v);
		mend_entry(d, CHECK_MEND_ALL, "the name was removed", what);
		return false;
	}
	l = &c->links[e->ino.v];
	if (l->is_dir && e->ino.v < c->cut_bits && (c->cut[e->ino.v / 64] >> (e->ino.v % 64) & 1)) {
		c->cut[e->ino.v / 64] &= ~(1ull << (e->ino.v % 64));
		snprintf(what, sizeof(what), "'%s' leads into a circle", e->name);
		return !mend_entry(d, CHECK_MEND_ALL, "the name was removed", what);
	}
	if (l->is_dir && l->names) {
		snprintf(what, sizeof(what), "'%s' is a second name of directory %llu", e->name, (unsigned long long)e->ino.v);
		mend_entry(d, CHECK_MEND_ALL, "the name was removed", what);
		return false;
	}
	if (l->type != e->type) {
		snprintf(what, sizeof(what), "'%s' says type %u, inode %llu has %u", e->name, e->type, (unsigned long long)e->ino.v,
			 (unsigned)l->type);
		if (mend_entry(d, CHECK_MEND_SAFE, "the type was put right", what))
			e->type = l->type;
	}
	l->names++;
	if (l->is_dir) {
		c->links[d->ino.v].subdirs++;
		l->parent = d->ino.v & 0xffffffffffffull;
	}
	return true;
}

static const char *name_fault(const struct dir_ctx *d, const struct dir_entry *e)
{
	unsigned i;

	if (memchr(e->name, '/', e->len) || strlen(e->name) != e->len || !strcmp(e->name, ".") || !strcmp(e->name, ".."))
		return "is a name that no entry may have";
	if (fmt_name_hash(&d->c->geo, e->name, e->len) >> 8 != e->key >> 8)
		return "is in the wrong place";
	for (i = 0; i < d->nkeep; i++)
		if (d->keep[i].key == e->key || (d->keep[i].key >> 8 == e->key >> 8 && !strcmp(d->keep[i].name, e->name)))
			return "has the place of another entry";
	return NULL;
}

static void check_entry(struct dir_ctx *d, const struct bucket_entry *v)
{
	struct dir_entry *e = &d->keep[d->nkeep];
	const char *fault;
	char what[400];

	*e = (struct dir_entry){.ino = INUM(FMT_DIRENT_INO(v->target)), .type = (uint8_t)FMT_DIRENT_TYPE(v->target), .len = v->len,
				.key = v->key};
	memcpy(e->name, v->name, v->len);
	d->entries++;
	d->c->res->names++;
	fault = name_fault(d, e);
	if (fault) {
		snprintf(what, sizeof(what), "'%s' %s", e->name, fault);
		if (mend_entry(d, CHECK_MEND_ALL, "the entry was removed", what))
			return;
	}
	if (check_target(d, e))
		d->nkeep++;
}

/* One bit of it may have flipped: 32 bits of check tell. */
static bool correct_entry(const struct dir_ctx *d, unsigned slot, struct fmt_dirent *raw, struct bucket_entry *v)
{
	unsigned bits = bucket_entry_run(&d->tags, slot) * FMT_DIR_SLOT * 8, bit;
	uint8_t *bytes = (uint8_t *)raw;

	for (bit = 0; bit < bits; bit++) {
		bytes[bit / 8] ^= (uint8_t)(1u << (bit % 8));
		if (bucket_entry_read(&d->c->geo, &d->id, &d->tags, slot, raw, v) == 0)
			return true;
		bytes[bit / 8] ^= (uint8_t)(1u << (bit % 8));
	}
	return false;
}

/* The entries that the tags name. */
static void check_tagged(struct dir_ctx *d, const struct fmt_bucket *b)
{
	struct fmt_dirent raw[BUCKET_RUN_MAX];
	struct bucket_entry v;
	unsigned slot;
	char what[300];

	for (slot = 0; slot < FMT_DIR_SLOTS && !d->c->stop && !d->c->err; slot++) {
		if (bucket_tag(&d->tags, slot) <= FMT_TAG_MORE)
			continue;
		memset(raw, 0, sizeof(raw));
		memcpy(raw, &b->slot[slot], bucket_entry_run(&d->tags, slot) * FMT_DIR_SLOT);
		if (bucket_entry_read(&d->c->geo, &d->id, &d->tags, slot, raw, &v) == 0) {
			check_entry(d, &v);
			continue;
		}
		snprintf(what, sizeof(what), "%s", err_msg());
		if (d->c->mend == CHECK_MEND_NONE || !correct_entry(d, slot, raw, &v))
			mend_entry(d, CHECK_MEND_ALL, "the entry was removed", what);
		else if (mend_entry(d, CHECK_MEND_SAFE, "the bit that was wrong was turned back", what))
			check_entry(d, &v);
	}
}

/* The tags cannot be trusted, and a free slot still has the name that was removed from it. What a tag calls an entry is one, if it
 * verifies; any other only if nothing else names its inode so far. */
static bool salvage_wanted(const struct dir_ctx *d, unsigned slot, const struct bucket_entry *v)
{
	uint64_t ino = FMT_DIRENT_INO(v->target);
	const struct check_links *l;

	if (bucket_tag(&d->tags, slot) == bucket_tag_of(v->key))
		return true;
	if (!check_ino_ok(d->c, ino) || !d->c->links[ino].in_use)
		return false;
	l = &d->c->links[ino];
	return l->names == 0 && l->type == FMT_DIRENT_TYPE(v->target) &&
	       (!l->is_dir || le64_get(check_inode_at(d->c, INUM(ino))->rdev) == d->ino.v);
}

static void salvage(struct dir_ctx *d, const struct fmt_bucket *b)
{
	unsigned slot = 0;

	while (slot < FMT_DIR_SLOTS) {
		unsigned nslots = bucket_nslots(max_u64(FMT_DIRENT_LEN(le64_get(b->slot[slot].target)), 1) & 0xff);
		struct bucket_tags as_if = {{0}};
		struct bucket_entry v;

		if (slot + nslots <= FMT_DIR_SLOTS) {
			bucket_tags_set(&as_if, slot, nslots, bucket_tag_of(le64_get(b->slot[slot].key)));
			if (bucket_entry_read(&d->c->geo, &d->id, &as_if, slot, &b->slot[slot], &v) == 0 && salvage_wanted(d, slot, &v)) {
				check_entry(d, &v);
				slot += nslots;
				continue;
			}
		}
		slot++;
	}
}

static void bucket_put(struct dir_ctx *d)
{
	struct fmt_bucket b;

	check_bucket_compose(&d->c->geo, &d->id, d->keep, d->nkeep, &b);
	check_put(d->c, mblk_to_moff(d->id.blk), &b, sizeof(b));
}

static void check_bucket(struct dir_ctx *d, const struct bucket_ref *r)
{
	const struct fmt_bucket *b = (const struct fmt_bucket *)pm_at(d->c->pm, mblk_to_moff(r->blk));
	struct check *c = d->c;
	bool tags_ok;
	int err;

	d->id = (struct bucket_id){d->ino, le64_get(d->inode->gen), r->blk, r->prefix, r->depth};
	d->nkeep = 0;
	d->dirty = false;
	bucket_tags_load(&b->head, &d->tags);
	tags_ok = bucket_tags_verify(&d->id, &d->tags) == 0 && bucket_tags_verify_runs(&d->id, &d->tags) == 0;
	err = fmt_bucket_verify(&c->geo, &b->head, d->ino, d->id.gen, r->depth, r->prefix, r->blk);
	if (!err && !tags_ok)
		err = bucket_tags_verify_runs(&d->id, &d->tags);
	if (!err || (mend_entry(d, CHECK_MEND_ALL, "it was written afresh from its entries that verify", err_msg()) && tags_ok))
		check_tagged(d, b);
	else if (d->dirty)
		salvage(d, b);
	if (d->dirty)
		bucket_put(d);
}

/* ---- the whole */

/* False: some hash has no bucket, or two. */
static bool covers(struct dir_ctx *d)
{
	uint64_t i, at = 0;

	if (d->n)	/* qsort may not be given NULL */
		qsort(d->buckets, (size_t)d->n, sizeof(d->buckets[0]), by_start);
	for (i = 0; i < d->n && d->buckets[i].start == at; i++)
		at += d->buckets[i].len;
	return d->n ? i == d->n && at == HASH_SPACE : !le64_get(d->inode->root);
}

static void check_cover(struct dir_ctx *d)
{
	struct check *c = d->c;
	bool built = false;

	if (!d->stray && covers(d))
		return;
	if (check_wait(c))
		return;
	if (c->mend == CHECK_MEND_ALL)
		built = check_dir_rebuild(c, d->ino);
	if (!built)
		check_find(c, "directory", d->ino.v, 0, "directory %llu: its buckets do not cover every hash exactly once",
			   (unsigned long long)d->ino.v);
	else
		(void)check_mend(c, CHECK_MEND_ALL, "its index was built again from its entries", "directory", d->ino.v, 0,
				 "directory %llu: its buckets do not cover every hash exactly once", (unsigned long long)d->ino.v);
}

static void check_counts(struct dir_ctx *d, unsigned deepest)
{
	struct fmt_inode i = *d->inode;
	uint64_t before = d->c->mended;

	if (d->entries != le64_get(i.size) &&
	    check_mend(d->c, CHECK_MEND_SAFE, "the number was put right", "directory", d->ino.v, 0,
		       "directory %llu: says it has %llu entries, %llu were found", (unsigned long long)d->ino.v,
		       (unsigned long long)le64_get(i.size), (unsigned long long)d->entries))
		i.size = le64_of(d->entries);
	if (deepest > i.dir_depth &&
	    check_mend(d->c, CHECK_MEND_SAFE, "the depth was put right", "directory", d->ino.v, 0,
		       "directory %llu: a bucket of depth %u, deeper than its inode says (%u)", (unsigned long long)d->ino.v, deepest,
		       i.dir_depth))
		i.dir_depth = (uint8_t)deepest;
	if (d->c->mended != before)
		check_put_inode(d->c, d->ino.v, &i);
}

void check_directory(struct check *c, inum_t ino, const struct fmt_inode *i)
{
	uint64_t b, before = c->mended + c->waiting;
	unsigned deepest = 0;
	struct dir_ctx d;

	memset(&d, 0, offsetof(struct dir_ctx, keep));
	d.c = c;
	d.ino = ino;
	d.inode = i;
	if (le64_get(i->root))
		map_walk(c->pm, &c->geo, ino, FMT_FORK_DATA, le64_get(i->root), i->height, dir_collect, &d);
	for (b = 0; b < d.n && !c->stop && !c->err; b++) {
		deepest = d.buckets[b].depth > deepest ? d.buckets[b].depth : deepest;
		check_bucket(&d, &d.buckets[b]);
	}
	if (c->mended + c->waiting == before && !c->stop && !c->err)
		check_cover(&d);
	if (c->mended + c->waiting == before && !c->stop && !c->err)
		check_counts(&d, deepest);
	free(d.buckets);
}
