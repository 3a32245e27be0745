/* Power failures during operations on names: at every fence, and after the operation returned, images of what the media may
 * hold are taken; each is mounted, recovered and looked at. The operation in flight is wholly there or not at all, those
 * that returned are there, and everything is sound. Some recoveries are crashed again.
 *
 * A failure prints its seed; HF_CRASH_SEED=<seed> runs it alone. */
#include "dir_vol.h"

#include <stdarg.h>

#define SIZE (6 * MIB)

/* ---- what the tree looks like, as text */

struct text {
	char *s;
	size_t n, cap;
};

static void text_add(struct text *t, const char *fmt, ...)
{
	va_list ap;
	int n;

	if (t->cap - t->n < 5000) {
		t->cap = 2 * t->cap + 10000;
		t->s = realloc(t->s, t->cap);
	}
	va_start(ap, fmt);
	n = vsnprintf(t->s + t->n, t->cap - t->n, fmt, ap);
	va_end(ap);
	t->n += (size_t)n;
}

static void text_inode(struct text *t, struct inode *in)
{
	const struct fmt_inode *m = inode_media(in);
	char target[NAME_PATH_MAX + 1];
	unsigned len;

	text_add(t, " ino %llu gen %llx mode %o nlink %u", (unsigned long long)in->ino.v, (unsigned long long)in->gen,
		 le32_get(m->mode), le32_get(m->nlink));
	if (in->type == S_IFLNK) {
		ivol_must(name_target(in, target, &len), "readlink");
		text_add(t, " -> %u %.40s", len, target);
	} else {
		text_add(t, " size %llu", (unsigned long long)le64_get(m->size));
	}
	text_add(t, "\n");
}

/* Directory by directory, in a queue; entries in the order of their keys. */
static char *tree_text(struct fs *fs)
{
	uint64_t queue[600];
	unsigned head = 0, tail = 0;
	struct text t = {0};

	queue[tail++] = FMT_INO_ROOT;
	while (head < tail) {
		struct inode *dir, *in;
		struct dir_entry e;
		uint64_t from = 0;

		ivol_must(inode_get(fs, INUM(queue[head++]), 0, &dir), "inode_get");
		text_add(&t, "%llu:", (unsigned long long)dir->ino.v);
		text_inode(&t, dir);
		while (dir_next(dir, from, &e) == 0) {
			from = e.key + 1;
			ivol_must(inode_get(fs, e.ino, 0, &in), e.name);
			text_add(&t, " %s", e.name);
			text_inode(&t, in);
			if (name_is_dir(in) && tail < HF_COUNT(queue))
				queue[tail++] = in->ino.v;
			inode_put(in);
		}
		inode_put(dir);
	}
	return t.s;
}

/* ---- operations, by random */

static const char *const paths[] = {"foo", "bar", "A", "B", "A/foo", "A/bar", "B/foo", "B/C", "A/C", "B/C/foo", "A/C/foo"};

struct op {
	unsigned kind;
	const char *from, *to;
	unsigned flags;
};

static bool exists(struct fs *fs, const char *path)
{
	struct inode *in;

	if (name_walk(fs, NULL, path, WALK_NOFOLLOW, &in, NULL, NULL))
		return false;
	inode_put(in);
	return true;
}

static const char *pick_path(struct fs *fs, struct rng *r, bool there)
{
	const char *path;
	unsigned tries = 0;

	do {
		path = paths[rng_below(r, HF_COUNT(paths))];
	} while (exists(fs, path) != there && tries++ < 6);
	return path;
}

static void op_pick(struct fs *fs, struct op *op, struct rng *r)
{
	op->kind = (unsigned)rng_below(r, 12);
	op->flags = (unsigned)rng_below(r, 3);
	op->from = pick_path(fs, r, true);
	op->to = pick_path(fs, r, op->kind == 5 || op->kind == 6 || (op->kind > 8 && rng_below(r, 2)));
}

static int op_new(struct inode *dir, const char *last, uint32_t mode, unsigned target_len)
{
	char target[1000];
	struct name_new n = {.mode = mode, .symlink = target};

	memset(target, 't', sizeof(target));
	target[target_len] = '\0';
	return name_create(dir, last, &n, NULL);
}

static int op_tmpfile(struct fs *fs, struct inode *dir, const char *last)
{
	struct name_new n = {.mode = S_IFREG | 0600};
	struct inode *in;
	int err = name_tmpfile(fs, &n, &in);

	if (err)
		return err;
	err = name_link(in, dir, last);
	dv_release(in);
	inode_put(in);
	return err;
}

static int op_link(struct fs *fs, const char *from, struct inode *dir, const char *last)
{
	struct inode *in;
	int err = name_walk(fs, NULL, from, WALK_NOFOLLOW, &in, NULL, NULL);

	if (err)
		return err;
	err = name_link(in, dir, last);
	inode_put(in);
	return err;
}

static int op_rename(struct fs *fs, const struct op *op, struct inode *newdir, const char *newname)
{
	struct inode *olddir;
	char oldname[256];
	int err = name_walk(fs, NULL, op->from, WALK_PARENT, &olddir, oldname, NULL);

	if (err)
		return err;
	err = name_rename(olddir, oldname, newdir, newname, op->flags, NULL);
	inode_put(olddir);
	return err;
}

static int op_run(struct fs *fs, const struct op *op)
{
	struct inode *dir;
	char last[256];
	int err = name_walk(fs, NULL, op->to, WALK_PARENT, &dir, last, NULL);

	if (err)
		return err;
	switch (op->kind) {
	case 0:
	case 1:
		err = op_new(dir, last, S_IFREG | 0644, 0);
		break;
	case 2:
	case 3:
		err = op_new(dir, last, S_IFDIR | 0755, 0);
		break;
	case 4:
		err = op_new(dir, last, S_IFLNK | 0777, op->flags ? 900 : 20);
		break;
	case 5:
		err = name_unlink(dir, last, NULL);
		break;
	case 6:
		err = name_rmdir(dir, last);
		break;
	case 7:
		err = op_link(fs, op->from, dir, last);
		break;
	case 8:
		err = op_tmpfile(fs, dir, last);
		break;
	default:
		err = op_rename(fs, op, dir, last);
		break;
	}
	inode_put(dir);
	return err;
}

/* ---- crashing */

enum { IMAGES_MAX = 24 };

struct crash {
	struct sim *s;
	struct rng r;
	uint8_t *image[IMAGES_MAX];
	unsigned n;
	unsigned per_fence;
	uint64_t taken, nested;
};

static int take_images(struct sim *s, void *ctx)
{
	struct crash *c = ctx;

	for (unsigned i = 0; i < c->per_fence && c->n < IMAGES_MAX; i++) {
		if (!c->image[c->n])
			c->image[c->n] = malloc(SIZE);
		sim_crash_image(s, &c->r, c->image[c->n++]);
	}
	return 0;
}

static void hook(struct sim *s, struct crash *c)
{
	pthread_mutex_lock(&s->mtx);
	s->on_fence = c ? take_images : NULL;
	s->ctx = c;
	pthread_mutex_unlock(&s->mtx);
}

/* Mounts what is on s, recovers, and gives the tree's text; NULL: not sound. */
static char *recovered(struct sim *s, struct crash *nested)
{
	static struct ivol v;
	const char *why;
	char *text;
	uint64_t n;
	int err;

	hook(s, nested);
	err = ivol_try_mount(&v, s->pm, 256);
	if (err) {
		printf("  mount: %d: %s\n", err, err_msg());
		return NULL;
	}
	err = inode_recover_orphans(&v.fs, &n);
	hook(s, NULL);
	why = err ? err_msg() : dvol_check(&v.fs);
	if (why)
		printf("  %s\n", why);
	text = why ? NULL : tree_text(&v.fs);
	ivol_unmount(&v);
	return text;
}

static bool matches(const char *text, const char *a, const char *b)
{
	return text && (strcmp(text, a) == 0 || (b && strcmp(text, b) == 0));
}

/* Each image has to look like 'a' or, when given, like 'b'. */
static unsigned check_images(struct crash *c, struct sim *s2, const char *a, const char *b)
{
	unsigned bad = 0;

	for (unsigned i = 0; i < c->n && !bad; i++) {
		static struct crash again;
		bool nest = rng_below(&c->r, 10) == 0;
		char *text;

		sim_load(s2, c->image[i]);
		again.r = c->r;
		again.n = 0;
		again.per_fence = 1;
		text = recovered(s2, nest ? &again : NULL);
		if (!matches(text, a, b)) {
			printf("--- before or after:\n%s---\n%s--- found:\n%s", a, b ? b : "", text ? text : "nothing\n");
			bad++;
		}
		for (unsigned k = 0; k < again.n && nest && !bad; k++) {
			char *text2;

			sim_load(s2, again.image[k]);
			text2 = recovered(s2, NULL);
			/* What the first recovery found may be undecided only between the same two. */
			bad += !matches(text2, a, b);
			free(text2);
			c->nested++;
		}
		free(text);
		c->taken++;
	}
	c->n = 0;
	return bad;
}

/* Names beside those of the operations, so that buckets are full and split. */
static void prefill(struct fs *fs, struct rng *r)
{
	unsigned n = 40 + (unsigned)rng_below(r, 24);
	struct inode *root, *a;
	char name[200];

	ivol_must(inode_get(fs, INUM(FMT_INO_ROOT), 0, &root), "root");
	a = dv_must_make(root, "A", S_IFDIR | 0755);
	for (unsigned i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "p%0*u", i % 9 == 0 ? 100 : 1, i);
		ivol_must(dv_make(i % 2 ? root : a, name, S_IFREG | 0644, NULL), name);
	}
	inode_put(a);
	inode_put(root);
}

static unsigned run_seed(uint64_t seed, unsigned ops, uint64_t *taken, uint64_t *nested, uint64_t *done)
{
	struct crash c = {.r = {seed * 1000003}, .per_fence = 3};
	struct sim *s = sim_new(SIZE), *s2 = sim_new(SIZE);
	unsigned bad = 0;
	struct ivol v;

	c.s = s;
	ivol_mkfs(s->pm);
	ivol_mount(&v, s->pm, 256);
	if (seed % 3)
		prefill(&v.fs, &c.r);
	for (unsigned i = 0; i < ops && !bad; i++) {
		char *before = tree_text(&v.fs), *after;
		struct op op;
		int err;

		op_pick(&v.fs, &op, &c.r);
		if (rng_below(&c.r, 10) == 0)
			ivol_must(journal_checkpoint(v.fs.journal), "checkpoint");
		hook(s, &c);
		err = op_run(&v.fs, &op);
		hook(s, NULL);
		*done += !err;
		after = tree_text(&v.fs);
		bad += check_images(&c, s2, before, after);
		if (!bad && (!err || rng_below(&c.r, 4) == 0)) {
			take_images(s, &c);
			bad += check_images(&c, s2, after, NULL);
		}
		if (bad)
			printf("  seed %llu, step %u: operation %u, '%s' '%s', flags %u gave %d\n", (unsigned long long)seed, i,
			       op.kind, op.from, op.to, op.flags, err);
		free(before);
		free(after);
	}
	ivol_unmount(&v);
	*taken += c.taken;
	*nested += c.nested;
	for (unsigned i = 0; i < IMAGES_MAX; i++)
		free(c.image[i]);
	sim_free(s);
	sim_free(s2);
	return bad;
}

static void test_random(void)
{
	const char *one = getenv("HF_CRASH_SEED"), *many = getenv("HF_CRASH_SEEDS");
	uint64_t seeds = many ? strtoull(many, NULL, 0) : getenv("HF_TEST_SHORT") ? 2 : 20, taken = 0, nested = 0, done = 0;
	unsigned bad = 0;

	if (one)
		bad = run_seed(strtoull(one, NULL, 0), 60, &taken, &nested, &done);
	for (uint64_t seed = 1; seed <= seeds && !one && !bad; seed++)
		bad += run_seed(seed, 60, &taken, &nested, &done);
	CU_ASSERT_EQUAL(bad, 0);
	printf("(%llu operations, %llu images, %llu of recoveries) ", (unsigned long long)done, (unsigned long long)taken,
	       (unsigned long long)nested);
}

/* How many fences each operation costs, once tables and bucket are there: one; two where something is written that the record
 * points to. */
static void expect_fences(struct sim *s, uint64_t *was, unsigned want, const char *what)
{
	if (s->fences - *was != want)
		printf("  %s: %llu fences\n", what, (unsigned long long)(s->fences - *was));
	CU_ASSERT_EQUAL(s->fences - *was, want);
	*was = s->fences;
}

static void test_fences(void)
{
	struct sim *s = sim_new(SIZE);
	struct inode *root, *a, *b, *in;
	char name[20];
	uint64_t was;
	struct ivol v;

	ivol_mkfs(s->pm);
	ivol_mount(&v, s->pm, 256);
	ivol_must(inode_get(&v.fs, INUM(FMT_INO_ROOT), 0, &root), "root");
	a = dv_must_make(root, "a", S_IFDIR | 0755);
	b = dv_must_make(root, "b", S_IFDIR | 0755);
	in = dv_must_make(a, "first", S_IFREG | 0644);
	ivol_must(dv_make(b, "second", S_IFREG | 0644, NULL), "second");
	was = s->fences;
	DV_EXPECT(dv_make(a, "f", S_IFREG | 0644, NULL), 0);
	expect_fences(s, &was, 1, "create");
	DV_EXPECT(name_rename(a, "f", a, "g", 0, NULL), 0);
	expect_fences(s, &was, 1, "rename");
	DV_EXPECT(name_rename(a, "g", b, "g", 0, NULL), 0);
	expect_fences(s, &was, 1, "rename across");
	DV_EXPECT(name_rename(b, "g", b, "second", 0, NULL), 0);
	expect_fences(s, &was, 1, "rename over");
	DV_EXPECT(name_rename(b, "second", a, "first", NAME_EXCHANGE, NULL), 0);
	expect_fences(s, &was, 1, "exchange");
	DV_EXPECT(name_link(in, a, "l"), 0);
	expect_fences(s, &was, 1, "link");
	DV_EXPECT(name_unlink(a, "l", NULL), 0);
	expect_fences(s, &was, 1, "unlink");
	DV_EXPECT(name_unlink(a, "first", NULL), 0);
	expect_fences(s, &was, 1, "unlink of the last name");
	DV_EXPECT(dv_make(a, "d", S_IFDIR | 0755, NULL), 0);
	expect_fences(s, &was, 1, "mkdir");
	DV_EXPECT(name_rename(a, "d", b, "d", 0, NULL), 0);
	expect_fences(s, &was, 1, "rename of a directory");
	DV_EXPECT(name_rmdir(b, "d"), 0);
	expect_fences(s, &was, 1, "rmdir");
	DV_EXPECT(op_new(a, "s", S_IFLNK | 0777, 100), 0);
	expect_fences(s, &was, 1, "symlink");
	DV_EXPECT(op_new(a, "t", S_IFLNK | 0777, 900), 0);
	expect_fences(s, &was, 2, "long symlink");
	DV_EXPECT(name_unlink(a, "t", NULL), 0);
	expect_fences(s, &was, 1, "unlink of a long symlink");
	for (unsigned i = 0; inode_media(a)->dir_depth == 0; i++) {
		snprintf(name, sizeof(name), "%u", i);
		was = s->fences;
		DV_EXPECT(dv_make(a, name, S_IFREG | 0644, NULL), 0);
	}
	expect_fences(s, &was, 2, "create with a split");
	inode_put(in);
	inode_put(a);
	inode_put(b);
	inode_put(root);
	ivol_unmount(&v);
	sim_free(s);
}

int main(void)
{
	static const struct hf_case cases[] = {
		{"fences", test_fences},
		{"random", test_random},
	};

	return hf_run_suite("name_crash", cases, HF_COUNT(cases));
}
