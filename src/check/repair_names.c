/* Directories built from a list of names; names in lost+found for what has none. */
#include "check/names.h"
#include "base/clock.h"
#include <dirent.h>
#include <stdlib.h>
#include <sys/stat.h>

#define LOST_FOUND "lost+found"

/* Names as they are on the media, without the 256 bytes that struct dir_entry has for each. */
struct name {
	uint64_t key, target;
	const char *text;
};
struct names {
	struct name *v;
	uint64_t n, cap;
	struct text_page *pages;
	bool no_memory;
};
struct text_page {
	struct text_page *next;
	size_t used;
	char text[65536];
};

static void names_free(struct names *l)
{
	while (l->pages) {
		struct text_page *next = l->pages->next;

		free(l->pages);
		l->pages = next;
	}
	free(l->v);
	*l = (struct names){0};
}

static char *names_text(struct names *l, const char *text, unsigned len)
{
	struct text_page *p = l->pages;

	if (!p || p->used + len > sizeof(p->text)) {
		p = malloc(sizeof(*p));
		if (!p)
			return NULL;
		p->next = l->pages;
		p->used = 0;
		l->pages = p;
	}
	memcpy(p->text + p->used, text, len);
	p->used += len;
	return p->text + p->used - len;
}

static void names_add(struct names *l, uint64_t key, uint64_t target, const char *text)
{
	uint64_t cap = l->cap ? l->cap * 2 : 256;
	struct name *more = l->v;

	if (l->n == l->cap) {
		more = realloc(l->v, (size_t)cap * sizeof(*more));
		if (more) {
			l->v = more;
			l->cap = cap;
		}
	}
	text = more ? names_text(l, text, FMT_DIRENT_LEN(target)) : NULL;
	if (!text)
		l->no_memory = true;
	else
		l->v[l->n++] = (struct name){key, target, text};
}

struct gather {
	struct check *c;
	struct names *l;
	inum_t dir;
	uint64_t gen;
};

static int gather_entry(void *ctx, const struct dir_entry *e, int verify_err)
{
	struct gather *g = ctx;

	if (!verify_err)
		names_add(g->l, e->key, bucket_target(e->ino, e->len, e->type), e->name);
	return g->l->no_memory;
}

static int gather_bucket(void *ctx, const struct map_visit *v)
{
	struct gather *g = ctx;
	unsigned depth = 63u - (unsigned)__builtin_clzll(v->fblk.v + 1);

	if (v->verify_err || fmt_entry_kind_of(v->entry) != FMT_ENT_BLOCK || depth > FMT_DIR_MAX_DEPTH)
		return 0;
	(void)dir_bucket_walk(g->c->pm, &g->c->geo, g->dir, g->gen, depth, v->fblk.v + 1 - (1ull << depth), fmt_entry_blk(v->entry),
			      gather_entry, g);
	return g->l->no_memory;
}

/* Every name of a directory whose buckets verify. */
static void names_gather(struct check *c, inum_t dir, struct names *l)
{
	const struct fmt_inode *i = check_inode_at(c, dir);
	struct gather g = {c, l, dir, le64_get(i->gen)};

	map_walk(c->pm, &c->geo, dir, FMT_FORK_DATA, le64_get(i->root), i->height, gather_bucket, &g);
}

static int by_name(const void *a, const void *b)
{
	const struct name *x = a, *y = b;
	unsigned lx = FMT_DIRENT_LEN(x->target), ly = FMT_DIRENT_LEN(y->target);
	int diff;

	if (x->key >> 8 != y->key >> 8)
		return x->key >> 8 < y->key >> 8 ? -1 : 1;
	diff = memcmp(x->text, y->text, lx < ly ? lx : ly);
	return diff ? diff : (int)lx - (int)ly;
}

/* In the order of their hashes, each name once, equal hashes told apart. */
static void names_sort(struct names *l)
{
	uint64_t i, n = 0, tie = 0;

	if (l->n)
		qsort(l->v, (size_t)l->n, sizeof(l->v[0]), by_name);
	for (i = 0; i < l->n; i++) {
		if (n && by_name(&l->v[n - 1], &l->v[i]) == 0)
			continue;
		tie = n && l->v[n - 1].key >> 8 == l->v[i].key >> 8 ? tie + 1 : 0;
		if (tie >= BUCKET_TIES)
			continue;
		l->v[n] = l->v[i];
		l->v[n++].key = (l->v[i].key & ~0xffull) | tie;
	}
	l->n = n;
}

static bool names_have(const struct names *l, const struct name *want)
{
	return l->n && bsearch(want, l->v, (size_t)l->n, sizeof(l->v[0]), by_name) != NULL;
}

/* ---- building */

struct built_block {
	uint64_t fblk;			/* of the first block that it stands for */
	mblk_t blk;
	uint64_t entry;
};
struct build {
	struct check *c;
	inum_t dir;
	uint64_t gen;
	const struct names *l;
	struct built_block *b;		/* the buckets; then the nodes of a level, ... */
	uint64_t n, cap, total;
	uint64_t *taken;		/* all that were allocated */
	unsigned deepest;
};

void check_bucket_compose(const struct geo *g, const struct bucket_id *id, const struct dir_entry *e, unsigned n, struct fmt_bucket *out)
{
	struct bucket_tags tags = {{0}};
	unsigned i, slot = 0, nslots;

	memset(out, 0, sizeof(*out));
	for (i = 0; i < n; i++, slot += nslots) {
		nslots = bucket_nslots(e[i].len);
		bucket_entry_write(g, id->dir, e[i].key, bucket_target(e[i].ino, e[i].len, e[i].type), e[i].name, &out->slot[slot]);
		bucket_tags_set(&tags, slot, nslots, bucket_tag_of(e[i].key));
	}
	bucket_tags_seal(&tags);
	bucket_head_write(g, id, &tags, &out->head);
}

static mblk_t build_take(struct build *b)
{
	uint64_t cap = b->cap ? b->cap * 2 : 64;
	mblk_t blk;

	if (b->total == b->cap) {
		struct built_block *more = realloc(b->b, (size_t)cap * sizeof(*more));
		uint64_t *taken = more ? realloc(b->taken, (size_t)cap * sizeof(*taken)) : NULL;

		b->b = more ? more : b->b;
		b->taken = taken ? taken : b->taken;
		if (!taken)
			return MBLK_NULL;
		b->cap = cap;
	}
	blk = check_alloc(b->c, 1);
	if (!mblk_is_null(blk))
		b->taken[b->total++] = blk.v;
	return blk;
}

/* The entries of a bucket of 'len' hashes from 'start' on: how many from 'at' on, or UINT64_MAX: they do not fit. */
static uint64_t fit(const struct names *l, uint64_t at, uint64_t start, uint64_t len)
{
	uint64_t n = 0, slots = 0;

	while (at + n < l->n && (l->v[at + n].key >> (64 - FMT_DIR_MAX_DEPTH)) - start < len) {
		slots += bucket_nslots(FMT_DIRENT_LEN(l->v[at + n].target));
		if (slots > FMT_DIR_SLOTS)
			return UINT64_MAX;
		n++;
	}
	return n;
}

static bool build_bucket(struct build *b, uint64_t at, uint64_t n, unsigned depth, uint64_t prefix)
{
	struct bucket_id id = {b->dir, b->gen, build_take(b), prefix, depth};
	struct dir_entry *e = calloc(FMT_DIR_SLOTS, sizeof(*e));
	struct fmt_bucket bucket;
	uint64_t i;

	if (mblk_is_null(id.blk) || !e) {
		free(e);
		return false;
	}
	for (i = 0; i < n; i++) {
		const struct name *from = &b->l->v[at + i];

		e[i].ino = INUM(FMT_DIRENT_INO(from->target));
		e[i].type = (uint8_t)FMT_DIRENT_TYPE(from->target);
		e[i].len = (uint8_t)FMT_DIRENT_LEN(from->target);
		e[i].key = from->key;
		memcpy(e[i].name, from->text, e[i].len);
	}
	check_bucket_compose(&b->c->geo, &id, e, (unsigned)n, &bucket);
	free(e);
	check_put(b->c, mblk_to_moff(id.blk), &bucket, sizeof(bucket));
	b->b[b->n++] = (struct built_block){.fblk = dir_bucket_fblk(depth, prefix).v, .blk = id.blk};
	b->deepest = depth > b->deepest ? depth : b->deepest;
	return true;
}

/* From the lowest hash on, each time the largest bucket that begins there and whose entries fit. */
static bool build_buckets(struct build *b)
{
	const unsigned top = FMT_DIR_MAX_DEPTH;
	uint64_t start = 0, at = 0, n = 0;
	unsigned depth;

	if (b->l->n == 0)
		return true;
	for (; start < 1ull << top; start += 1ull << (top - depth), at += n) {
		depth = start ? top - (unsigned)__builtin_ctzll(start) : 0;
		n = fit(b->l, at, start, 1ull << (top - depth));
		while (n == UINT64_MAX && depth < top)
			n = fit(b->l, at, start, 1ull << (top - ++depth));
		if (n == UINT64_MAX || !build_bucket(b, at, n, depth, depth ? start >> (top - depth) : 0))
			return false;
	}
	return true;
}

static int by_fblk(const void *a, const void *b)
{
	const struct built_block *x = a, *y = b;

	return x->fblk < y->fblk ? -1 : x->fblk > y->fblk;
}

/* The nodes over the entries of 'level': they take the entries' place in b->b. */
static bool build_level(struct build *b, struct map_key key, unsigned level)
{
	uint64_t i = 0, n = 0, base;
	le64_t node[FMT_NODE_ENTRIES];
	mblk_t blk;

	while (i < b->n) {
		base = b->b[i].fblk & ~(fmt_level_blocks(level + 1) - 1);
		memset(node, 0, sizeof(node));
		for (; i < b->n && b->b[i].fblk - base < fmt_level_blocks(level + 1); i++)
			node[(b->b[i].fblk - base) >> (9 * level)] = le64_of(b->b[i].entry);
		blk = build_take(b);
		if (mblk_is_null(blk))
			return false;
		check_put(b->c, mblk_to_moff(blk), node, sizeof(node));
		b->b[n++] = (struct built_block){base, blk, fmt_entry_make(key, level + 1, FBLK(base), FMT_ENT_NODE, blk, 0)};
	}
	b->n = n;
	return true;
}

static bool build_map(struct build *b, uint64_t *root, unsigned *height)
{
	struct map_key key = fmt_map_key(&b->c->geo, b->dir, FMT_FORK_DATA);
	uint64_t i;

	*root = 0;
	*height = 0;
	if (!b->n)
		return true;
	qsort(b->b, (size_t)b->n, sizeof(b->b[0]), by_fblk);
	for (i = 0; i < b->n; i++)
		b->b[i].entry = fmt_entry_make(key, 0, FBLK(b->b[i].fblk), FMT_ENT_BLOCK, b->b[i].blk, 0);
	while (b->n > 1 || b->b[0].fblk != 0)
		if (!build_level(b, key, (*height)++))
			return false;
	*root = b->b[0].entry;
	return true;
}

static void build_give_back(struct build *b)
{
	uint64_t i;

	for (i = 0; i < b->total; i++)
		check_unalloc(b->c, MBLK(b->taken[i]));
}

static int count_block(void *ctx, const struct map_visit *v)
{
	if (!v->verify_err)
		*(uint64_t *)ctx += fmt_entry_kind_of(v->entry) == FMT_ENT_HUGE ? HF_BLOCKS_PER_FRAME : 1;
	return 0;
}

/* The names, sorted, become the directory. What it had is free now, which the allocation lines will say. */
static bool dir_build(struct check *c, inum_t dir, const struct names *l)
{
	struct fmt_inode i = *check_inode_at(c, dir);
	struct build b = {.c = c, .dir = dir, .gen = le64_get(i.gen), .l = l};
	unsigned height = 0;
	uint64_t root = 0, blocks = 0;
	bool ok = !l->no_memory && build_buckets(&b) && build_map(&b, &root, &height);

	if (!ok) {
		build_give_back(&b);
	} else {
		map_walk(c->pm, &c->geo, dir, FMT_FORK_XATTR, le64_get(i.xroot), i.xheight, count_block, &blocks);
		i.root = le64_of(root);
		i.height = (uint8_t)height;
		i.size = le64_of(l->n);
		i.blocks = le64_of(blocks + b.total);
		i.dir_depth = (uint8_t)b.deepest;
		check_put_inode(c, dir.v, &i);
	}
	free(b.b);
	free(b.taken);
	return ok;
}

bool check_dir_rebuild(struct check *c, inum_t dir)
{
	struct names l = {0};
	bool ok;

	names_gather(c, dir, &l);
	names_sort(&l);
	ok = dir_build(c, dir, &l);
	names_free(&l);
	return ok;
}

/* ---- lost+found */

static struct name name_of(const struct check *c, const char *text, inum_t ino, uint8_t type)
{
	unsigned len = (unsigned)strlen(text);

	return (struct name){bucket_hash(&c->geo, text, len), bucket_target(ino, len, type), text};
}

static void names_add_one(struct names *l, const struct name *n)
{
	names_add(l, n->key, n->target, n->text);
}

/* A number that was never used, or is free, in a block that is there. */
static uint64_t free_inode(const struct check *c)
{
	uint64_t ino;

	for (ino = FMT_INO_FIRST; ino < c->iblocks * FMT_INODES_PER_BLOCK; ino++)
		if (!c->links[ino].in_use && check_inode_at(c, INUM(ino)))
			return ino;
	return 0;
}

static void make_lost_found(struct check *c, struct names *root)
{
	uint64_t ino = free_inode(c), now = clock_ns(CLOCK_REALTIME);
	struct fmt_inode i = {.ino = le64_of(ino), .gen = le64_of(now), .mode = le32_of(S_IFDIR | 0700), .nlink = le32_of(2)};
	struct name n = name_of(c, LOST_FOUND, INUM(ino), DT_DIR);

	names_add_one(root, &n);
	names_sort(root);
	if (!ino || !dir_build(c, INUM(FMT_INO_ROOT), root)) {
		check_find(c, "links", 0, 0, "%llu inodes have no name, and there is no space for a directory lost+found",
			   (unsigned long long)c->nnameless);
		return;
	}
	i.atime = i.mtime = i.ctime = i.btime = le64_of(now);
	i.rdev = le64_of(FMT_INO_ROOT);
	check_put_inode(c, ino, &i);
	check_mark_inode(c, ino);
	i = *check_inode_at(c, INUM(FMT_INO_ROOT));
	i.nlink = le32_of(le32_get(i.nlink) + 1);
	check_put_inode(c, FMT_INO_ROOT, &i);
	(void)check_mend(c, CHECK_MEND_SAFE, "it was made", "links", ino, 0, "there is no directory lost+found for %llu inodes without names",
			 (unsigned long long)c->nnameless);
}

static void adopt_one(struct check *c, inum_t dir, uint64_t ino)
{
	struct fmt_inode i = *check_inode_at(c, INUM(ino)), parent = *check_inode_at(c, dir);

	if (c->links[ino].is_dir) {
		i.rdev = le64_of(dir.v);
		parent.nlink = le32_of(le32_get(parent.nlink) + 1);
		check_put_inode(c, dir.v, &parent);
	} else {
		i.nlink = le32_of(1);
	}
	check_put_inode(c, ino, &i);
	(void)check_mend(c, CHECK_MEND_SAFE, dir.v == FMT_INO_ROOT ? "it is '#' and its number in the root directory now"
								     : "it is '#' and its number in lost+found now",
			 "links", ino, 0, "inode %llu: has no name", (unsigned long long)ino);
}

/* Gives names in 'dir' to those without. */
static void adopt_into(struct check *c, inum_t dir)
{
	uint64_t k, n = 0, had;
	struct names l = {0};
	char text[32];

	names_gather(c, dir, &l);
	names_sort(&l);
	had = l.n;
	for (k = 0; k < c->nnameless; k++) {
		uint64_t ino = c->nameless[k];
		struct names before = {.v = l.v, .n = had};
		struct name name;

		snprintf(text, sizeof(text), "#%llu", (unsigned long long)ino);
		name = name_of(c, text, INUM(ino), (uint8_t)c->links[ino].type);
		if (names_have(&before, &name) || ino == dir.v) {
			check_find(c, "links", ino, 0, "inode %llu: has no name, and '#%llu' in lost+found is another", (unsigned long long)ino,
				   (unsigned long long)ino);
			continue;
		}
		names_add_one(&l, &name);
		c->nameless[n++] = ino;
	}
	names_sort(&l);
	if (n && !dir_build(c, dir, &l))
		check_find(c, "links", 0, 0, "%llu inodes have no name, and there is no space for names in lost+found", (unsigned long long)n);
	else
		for (k = 0; k < n; k++)
			adopt_one(c, dir, c->nameless[k]);
	names_free(&l);
}

void check_adopt(struct check *c)
{
	struct names root = {0};
	struct name want = name_of(c, LOST_FOUND, INUM(0), DT_DIR);
	const struct name *have;
	uint64_t ino;

	names_gather(c, INUM(FMT_INO_ROOT), &root);
	names_sort(&root);
	have = root.n ? bsearch(&want, root.v, (size_t)root.n, sizeof(want), by_name) : NULL;
	ino = have ? FMT_DIRENT_INO(have->target) : 0;
	if (!have)
		make_lost_found(c, &root);
	else
		adopt_into(c, INUM(check_ino_ok(c, ino) && c->links[ino].is_dir ? ino : FMT_INO_ROOT));
	names_free(&root);
}
