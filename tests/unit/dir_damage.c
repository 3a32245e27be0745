/* Damaged directories: each byte of a bucket is changed in turn. Looking up and iterating give the right answer or an error:
 * never a wrong answer, a crash or a loop. And so for changes, which must not make anything worse by an assertion. */
#include "dir_vol.h"

#define NAMES 40u

static unsigned name_of(unsigned i, char *name)
{
	unsigned len = (unsigned)snprintf(name, 256, "name-%u", i);

	if (i % 8 == 7) {	/* some take several slots */
		memset(name + len, 'x', 200);
		len = 50 + i * 3 % 150;
		name[len] = '\0';
	}
	return len;
}

static struct inode *fill(struct dvol *d, unsigned n)
{
	struct inode *dir = dv_must_make(d->root, "d", S_IFDIR | 0755);

	for (unsigned i = 0; i < n; i++) {
		char name[256];

		name_of(i, name);
		ivol_must(dv_make(dir, name, S_IFREG | 0644, NULL), name);
	}
	return dir;
}

struct truth {
	uint64_t ino[2 * NAMES];	/* 0: not there */
	unsigned n;
};

static void learn(struct inode *dir, struct truth *t, unsigned n)
{
	t->n = n;
	for (unsigned i = 0; i < n; i++) {
		char name[256];

		name_of(i, name);
		t->ino[i] = dv_ino(dir, name);
	}
}

/* 0: all right; 1: an error at least once; 2: a wrong answer. */
static unsigned lookups(struct inode *dir, const struct truth *t)
{
	unsigned worst = 0;

	for (unsigned i = 0; i < t->n; i++) {
		struct dir_pos pos;
		char name[256];
		unsigned len = name_of(i, name);
		int err = dir_find(dir, name, len, &pos);

		if (err)
			worst = worst ? worst : err == -EUCLEAN || err == -EBADMSG ? 1 : 2;
		else if (pos.found ? dir_pos_ino(&pos).v != t->ino[i] : t->ino[i] != 0)
			worst = 2;
	}
	return worst;
}

static unsigned iteration(struct inode *dir, const struct truth *t, unsigned batch)
{
	struct dir_entry e[NAMES];
	uint64_t from = 0;
	unsigned n, seen = 0, there = 0;

	for (unsigned i = 0; i < t->n; i++)
		there += t->ino[i] != 0;
	do {
		int err = dir_read(dir, from, e, batch, &n);

		if (err)
			return err == -EUCLEAN || err == -EBADMSG ? 1 : 2;
		for (unsigned i = 0; i < n; i++, seen++) {
			unsigned k = 0;

			while (k < t->n && t->ino[k] != e[i].ino.v)
				k++;
			if (k == t->n || seen > there)
				return 2;
			from = e[i].key + 1;
		}
	} while (n);
	return seen == there ? 0 : 2;
}

static int count_findings(void *ctx, const struct dir_entry *e, int verify_err)
{
	(void)e;
	*(unsigned *)ctx += verify_err != 0;
	return 0;
}

/* A change, always aborted. */
static void try_change(struct inode *dir, const char *name, bool insert)
{
	struct txn *t = txn_begin(dir->fs->journal);
	struct inode_edit de;

	inode_edit_begin(&de, dir, t);
	if (insert)
		dir_insert(&de, name, (unsigned)strlen(name), INUM(999), DT_REG);
	else
		dir_remove(&de, name, (unsigned)strlen(name));
	inode_edit_end(&de);
	txn_abort(t);
}

static void try_changes(struct inode *dir)
{
	char name[256];

	name_of(3, name);
	try_change(dir, name, false);
	name_of(7, name);
	try_change(dir, name, false);
	try_change(dir, "another", true);
	memset(name, 'y', 250);
	name[250] = '\0';
	try_change(dir, name, true);
}

struct tally {
	unsigned right, error, wrong, missed;
};

/* Changes the byte, looks, and puts it back. */
static void flip(struct inode *dir, const struct truth *t, struct fmt_bucket *b, unsigned depth, uint64_t prefix,
		 unsigned at, uint8_t with, struct tally *y)
{
	struct fs *fs = dir->fs;
	mblk_t blk = MBLK((uint64_t)((uint8_t *)b - (const uint8_t *)pm_at(fs->pm, MOFF(0))) / HF_BLOCK_SIZE);
	unsigned worst = 0, findings = 0, x;
	int err;

	((uint8_t *)b)[at] ^= with;
	x = lookups(dir, t);
	worst = x > worst ? x : worst;
	x = iteration(dir, t, 1 + at % NAMES);
	worst = x > worst ? x : worst;
	err = dir_bucket_walk(fs->pm, &fs->geo, dir->ino, dir->gen, depth, prefix, blk, count_findings, &findings);
	try_changes(dir);
	if (worst == 2 && y->wrong < 5)
		printf("  byte %u ^ %02x: wrong answer\n", at, with);
	y->right += worst == 0;
	y->error += worst == 1;
	y->wrong += worst == 2;
	y->missed += worst == 1 && !err && !findings;	/* check must find what a reader finds */
	((uint8_t *)b)[at] ^= with;
}

static struct fmt_bucket *bucket_at(struct inode *dir, unsigned depth, uint64_t prefix)
{
	struct map_extent x;

	ivol_must(map_lookup(dir, FMT_FORK_DATA, dir_bucket_fblk(depth, prefix), 1, &x), "map_lookup");
	return mblk_is_null(x.blk) ? NULL : pm_at_mut(dir->fs->pm, mblk_to_moff(x.blk));
}

static void each_byte(unsigned names)
{
	static const uint8_t with[] = {0x01, 0x80, 0xff, 0x7f, 0x10};
	unsigned step = getenv("HF_TEST_SHORT") ? 37 : 1;
	struct tally y = {0};
	struct truth t;
	struct dvol d;
	struct inode *dir;

	dvol_open(&d, 8 * MIB);
	dir = fill(&d, names);
	for (unsigned i = 5; i < names; i += 6) {
		char name[256];

		name_of(i, name);
		ivol_must(name_unlink(dir, name, NULL), "unlink");
	}
	learn(dir, &t, names + 10);
	rwl_wrlock(&dir->content);
	rwl_wrlock(&dir->layout);
	for (unsigned depth = 0; depth <= inode_media(dir)->dir_depth; depth++) {
		for (uint64_t p = 0; p < 1ull << depth; p++) {
			struct fmt_bucket *b = bucket_at(dir, depth, p);

			for (unsigned at = 0; b && at < sizeof(*b); at += step)
				for (unsigned w = 0; w < HF_COUNT(with); w++)
					flip(dir, &t, b, depth, p, at, with[w], &y);
		}
	}
	rwl_wrunlock(&dir->layout);
	rwl_wrunlock(&dir->content);
	CU_ASSERT_EQUAL(y.wrong, 0);
	CU_ASSERT_EQUAL(y.missed, 0);
	CU_ASSERT(y.error > 1000 / step);
	CU_ASSERT_EQUAL(lookups(dir, &t), 0);
	printf("(%u harmless, %u errors) ", y.right, y.error);
	inode_put(dir);
	dvol_close(&d);
}

static void test_one_bucket(void)
{
	each_byte(25);
}

static void test_split_buckets(void)
{
	each_byte(NAMES + 20);
}

/* Every pair of tags, and whole words of them, to random values. */
static void test_tags(void)
{
	unsigned rounds = getenv("HF_TEST_SHORT") ? 500 : 20000, wrong = 0, error = 0;
	struct rng r = {1};
	struct truth t;
	struct dvol d;
	struct inode *dir;
	struct fmt_bucket *b, was;

	dvol_open(&d, 8 * MIB);
	dir = fill(&d, 25);
	learn(dir, &t, 30);
	rwl_wrlock(&dir->content);
	rwl_wrlock(&dir->layout);
	b = bucket_at(dir, 0, 0);
	was = *b;
	for (unsigned i = 0; i < rounds; i++) {
		unsigned n = 1 + (unsigned)rng_below(&r, 8), x;

		for (unsigned k = 0; k < n; k++)
			b->head.tag[rng_below(&r, 64)] = (uint8_t)rng_next(&r);
		x = lookups(dir, &t);
		wrong += x == 2;
		error += x == 1;
		x = iteration(dir, &t, 10);
		wrong += x == 2;
		try_changes(dir);
		*b = was;
	}
	rwl_wrunlock(&dir->layout);
	rwl_wrunlock(&dir->content);
	CU_ASSERT(wrong <= rounds / 2000);	/* 16 bits of check */
	CU_ASSERT(error >= rounds - rounds / 100);
	inode_put(dir);
	dvol_close(&d);
}

/* Sound tags, by their check, that make no sense: runs that are too long, that begin nowhere, that leave the bucket. */
static void test_sealed_nonsense(void)
{
	unsigned rounds = getenv("HF_TEST_SHORT") ? 500 : 20000, loops = 0;
	struct rng r = {2};
	struct truth t;
	struct dvol d;
	struct inode *dir;
	struct fmt_bucket *b, was;

	dvol_open(&d, 8 * MIB);
	dir = fill(&d, 25);
	learn(dir, &t, 30);
	rwl_wrlock(&dir->content);
	rwl_wrlock(&dir->layout);
	b = bucket_at(dir, 0, 0);
	was = *b;
	for (unsigned i = 0; i < rounds; i++) {
		struct bucket_tags tags;
		unsigned findings = 0;

		bucket_tags_load(&b->head, &tags);
		for (unsigned k = 0; k < 1 + i % 8; k++) {
			unsigned slot = (unsigned)rng_below(&r, 62);
			unsigned to = (unsigned)rng_below(&r, 3);

			bucket_tag_put(&tags, slot, (uint8_t)(to == 2 ? rng_next(&r) : to));
		}
		bucket_tags_seal(&tags);
		for (unsigned k = 0; k < 64; k++)
			b->head.tag[k] = bucket_tag(&tags, k);
		if (rng_below(&r, 2))
			((uint8_t *)b)[128 + rng_below(&r, 62) * 64 + 8 + rng_below(&r, 8)] = (uint8_t)rng_next(&r);
		lookups(dir, &t);
		loops += iteration(dir, &t, 10) > 2;
		dir_bucket_walk(d.fs->pm, &d.fs->geo, dir->ino, dir->gen, 0, 0, MBLK(le64_get(was.head.self)), count_findings,
				&findings);
		try_changes(dir);
		*b = was;
	}
	rwl_wrunlock(&dir->layout);
	rwl_wrunlock(&dir->content);
	CU_ASSERT_EQUAL(loops, 0);
	inode_put(dir);
	dvol_close(&d);
}

static void store_tags(struct fmt_bucket *b, struct bucket_tags *tags)
{
	bucket_tags_seal(tags);
	for (unsigned k = 0; k < 64; k++)
		b->head.tag[k] = bucket_tag(tags, k);
}

/* Writes that went astray: what stands there is sound, but not what should. */
static void test_misplaced(void)
{
	struct fmt_bucket *b[2], was[2];
	struct bucket_tags tags, other;
	struct truth t;
	struct dvol d;
	struct inode *dir;
	unsigned from = 0, to = 0;

	dvol_open(&d, 8 * MIB);
	dir = fill(&d, NAMES + 25);
	learn(dir, &t, NAMES + 25);
	CU_ASSERT_EQUAL_FATAL(inode_media(dir)->dir_depth, 1);
	for (unsigned i = 0; i < 2; i++) {
		b[i] = bucket_at(dir, 1, i);
		was[i] = *b[i];
	}
	/* One bucket over the other. */
	*b[0] = was[1];
	CU_ASSERT_EQUAL(lookups(dir, &t), 1);
	CU_ASSERT_EQUAL(iteration(dir, &t, 10), 1);
	/* With a header that was made for the place, but for another life of the directory's number. */
	*b[0] = was[0];
	b[0]->head.owner_gen = le64_of(dir->gen + 1);
	b[0]->head.csum = le64_of(fmt_bucket_csum(&d.fs->geo, &b[0]->head));
	CU_ASSERT_EQUAL(lookups(dir, &t), 1);
	*b[0] = was[0];
	/* One entry in the other's bucket, with a tag and all. */
	bucket_tags_load(&was[1].head, &other);
	bucket_tags_load(&was[0].head, &tags);
	while (bucket_tag(&other, from) < 2 || bucket_entry_run(&other, from) > 1)
		from++;
	while (bucket_tag(&tags, to) != FMT_TAG_FREE)
		to++;
	b[0]->slot[to] = was[1].slot[from];
	bucket_tag_put(&tags, to, bucket_tag(&other, from));
	store_tags(b[0], &tags);
	CU_ASSERT_EQUAL(iteration(dir, &t, 10), 1);
	*b[0] = was[0];
	/* An entry twice in its own bucket: two that have one position. */
	bucket_tags_load(&was[0].head, &tags);
	from = 0;
	while (bucket_tag(&tags, from) < 2 || bucket_entry_run(&tags, from) > 1)
		from++;
	b[0]->slot[to] = was[0].slot[from];
	bucket_tag_put(&tags, to, bucket_tag(&tags, from));
	store_tags(b[0], &tags);
	CU_ASSERT_EQUAL(iteration(dir, &t, 10), 1);
	CU_ASSERT_EQUAL(iteration(dir, &t, 1), 1);
	*b[0] = was[0];
	CU_ASSERT_EQUAL(lookups(dir, &t), 0);
	inode_put(dir);
	dvol_close(&d);
}

/* Sound tags that give an entry one slot too few, or one too many. */
static void test_run_lengths(void)
{
	struct fmt_bucket *b, was;
	struct bucket_tags tags;
	struct truth t;
	struct dvol d;
	struct inode *dir;
	unsigned cut = 0, grown = 0;

	dvol_open(&d, 8 * MIB);
	dir = fill(&d, 25);
	learn(dir, &t, 30);
	b = bucket_at(dir, 0, 0);
	was = *b;
	for (unsigned i = 1; i < FMT_DIR_SLOTS; i++) {
		bucket_tags_load(&was.head, &tags);
		if (bucket_tag(&tags, i) == FMT_TAG_MORE) {
			bucket_tag_put(&tags, i, FMT_TAG_FREE);
			cut++;
		} else if (bucket_tag(&tags, i) == FMT_TAG_FREE && bucket_tag(&tags, i - 1) != FMT_TAG_FREE) {
			bucket_tag_put(&tags, i, FMT_TAG_MORE);
			grown++;
		} else {
			continue;
		}
		store_tags(b, &tags);
		CU_ASSERT_EQUAL(lookups(dir, &t), 1);
		CU_ASSERT_EQUAL(iteration(dir, &t, 10), 1);
		*b = was;
	}
	CU_ASSERT(cut > 2);
	CU_ASSERT(grown > 0);
	inode_put(dir);
	dvol_close(&d);
}

/* The directory's inode: a depth that is not true, and a map that leads elsewhere. */
static void test_inode_fields(void)
{
	struct fmt_inode *m, was;
	struct truth t;
	struct dvol d;
	struct inode *dir;
	struct dir_entry e;
	unsigned n;

	dvol_open(&d, 8 * MIB);
	dir = fill(&d, 2 * NAMES);
	learn(dir, &t, 2 * NAMES);
	m = pm_at_mut(d.fs->pm, dir->off);
	was = *m;
	CU_ASSERT(m->dir_depth >= 1);
	for (unsigned depth = 0; depth < 256; depth++) {
		m->dir_depth = (uint8_t)depth;
		atomic_store(&dir->dir_hint, depth % 60);
		CU_ASSERT(lookups(dir, &t) <= (depth >= was.dir_depth && depth <= FMT_DIR_MAX_DEPTH ? 0u : 1u));
	}
	*m = was;
	m->root = le64_of(le64_get(m->root) ^ 1);
	DV_EXPECT(dir_read(dir, 0, &e, 1, &n) ? -EUCLEAN : 0, -EUCLEAN);
	CU_ASSERT_EQUAL(lookups(dir, &t), 1);
	*m = was;
	m->height = 99;
	CU_ASSERT_EQUAL(lookups(dir, &t), 1);
	*m = was;
	CU_ASSERT_EQUAL(lookups(dir, &t), 0);
	inode_put(dir);
	dvol_close(&d);
}

/* An entry that leads to a free inode, to itself, to one of another type. */
static void test_wrong_targets(void)
{
	struct inode_edit de;
	struct inode *dir, *sub;
	struct dvol d;
	struct txn *t;

	dvol_open(&d, 8 * MIB);
	dir = dv_must_make(d.root, "d", S_IFDIR | 0755);
	sub = dv_must_make(dir, "sub", S_IFDIR | 0755);
	rwl_wrlock(&dir->content);
	rwl_wrlock(&dir->layout);
	t = txn_begin(d.fs->journal);
	inode_edit_begin(&de, dir, t);
	ivol_must(dir_insert(&de, "free", 4, INUM(60), DT_REG), "insert");
	ivol_must(dir_insert(&de, "far", 3, INUM(1ull << 40), DT_REG), "insert");
	ivol_must(dir_insert(&de, "self", 4, dir->ino, DT_DIR), "insert");
	ivol_must(dir_insert(&de, "type", 4, sub->ino, DT_REG), "insert");
	inode_edit_end(&de);
	ivol_must(txn_commit(t, NULL), "commit");
	rwl_wrunlock(&dir->layout);
	rwl_wrunlock(&dir->content);
	for (unsigned i = 0; i < 4; i++) {
		static const char *const names[] = {"free", "far", "self", "type"};
		struct inode *in;

		DV_EXPECT(name_lookup(dir, names[i], &in), -EUCLEAN);
		DV_EXPECT(name_unlink(dir, names[i], NULL), i == 2 ? -EISDIR : -EUCLEAN);
		DV_EXPECT(name_rmdir(dir, names[i]), -EUCLEAN);
		DV_EXPECT(name_rename(dir, names[i], d.root, "x", 0, NULL), -EUCLEAN);
		DV_EXPECT(name_rename(dir, "sub", dir, names[i], 0, NULL), -EUCLEAN);
	}
	inode_put(sub);
	inode_put(dir);
	dvol_close(&d);
}

/* '..' that goes round in a ring: a rename that has to follow it says so. */
static void test_parent_ring(void)
{
	struct inode *a, *b, *c;
	struct fmt_inode *m;
	struct dvol d;

	dvol_open(&d, 8 * MIB);
	a = dv_must_make(d.root, "a", S_IFDIR | 0755);
	b = dv_must_make(a, "b", S_IFDIR | 0755);
	c = dv_must_make(d.root, "c", S_IFDIR | 0755);
	m = pm_at_mut(d.fs->pm, a->off);
	m->rdev = le64_of(b->ino.v);
	DV_EXPECT(name_rename(d.root, "c", b, "c", 0, NULL), -EUCLEAN);
	m->rdev = le64_of(60);
	DV_EXPECT(name_rename(d.root, "c", b, "c", 0, NULL), -EUCLEAN);
	m->rdev = le64_of(FMT_INO_ROOT);
	DV_EXPECT(name_rename(d.root, "c", b, "c", 0, NULL), 0);
	DVOL_ASSERT_SOUND(d.fs);
	inode_put(a);
	inode_put(b);
	inode_put(c);
	dvol_close(&d);
}

int main(void)
{
	static const struct hf_case cases[] = {
		{"one_bucket", test_one_bucket},
		{"split_buckets", test_split_buckets},
		{"tags", test_tags},
		{"sealed_nonsense", test_sealed_nonsense},
		{"misplaced", test_misplaced},
		{"run_lengths", test_run_lengths},
		{"inode_fields", test_inode_fields},
		{"wrong_targets", test_wrong_targets},
		{"parent_ring", test_parent_ring},
	};

	return hf_run_suite("dir_damage", cases, HF_COUNT(cases));
}
