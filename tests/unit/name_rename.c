/* Renames: every kind of thing onto every kind of thing, with every flag, within a directory and across, against what
 * renameat2(2) says; then directories that move, and names that share a bucket. */
#include "dir_vol.h"

enum kind { ABSENT, FILE1, DIR_EMPTY, DIR_FULL, SYMLINK, SAME_INODE, KINDS };
static const char *const kind_name[] = {"absent", "file", "empty dir", "full dir", "symlink", "same inode"};

static bool kind_dir(enum kind k)
{
	return k == DIR_EMPTY || k == DIR_FULL;
}

static void make_kind(struct inode *dir, const char *name, enum kind k, struct inode *src)
{
	struct inode *in;

	switch (k) {
	case FILE1:
		ivol_must(dv_make(dir, name, S_IFREG | 0644, NULL), name);
		break;
	case SYMLINK:
		ivol_must(dv_make(dir, name, S_IFLNK | 0777, NULL), name);
		break;
	case DIR_FULL:
	case DIR_EMPTY:
		in = dv_must_make(dir, name, S_IFDIR | 0755);
		if (k == DIR_FULL)
			ivol_must(dv_make(in, "inside", S_IFDIR | 0755, NULL), "inside");
		inode_put(in);
		break;
	case SAME_INODE:
		ivol_must(name_link(src, dir, name), name);
		break;
	default:
		break;
	}
}

/* What POSIX and renameat2(2) say; written apart from the code that is tested. */
static int rule(enum kind src, enum kind dst, unsigned flags)
{
	if (flags > 2)
		return -EINVAL;
	if (src == ABSENT)
		return -ENOENT;
	if (flags == NAME_NOREPLACE)
		return dst == ABSENT ? 0 : -EEXIST;
	if (flags == NAME_EXCHANGE)
		return dst == ABSENT ? -ENOENT : 0;
	if (dst == ABSENT || dst == SAME_INODE)
		return 0;
	if (kind_dir(src) && !kind_dir(dst))
		return -ENOTDIR;
	if (!kind_dir(src) && kind_dir(dst))
		return -EISDIR;
	return dst == DIR_FULL ? -ENOTEMPTY : 0;
}

static void age(struct inode *in)
{
	struct txn *t = txn_begin(in->fs->journal);
	struct inode_edit e;

	rwl_wrlock(&in->layout);
	inode_edit_begin(&e, in, t);
	inode_edit_times(&e, INODE_ATIME | INODE_MTIME | INODE_CTIME, 1000000000);
	inode_edit_end(&e);
	ivol_must(txn_commit(t, NULL), "age");
	rwl_wrunlock(&in->layout);
}
static bool changed(const struct inode *in, bool mtime)
{
	const struct fmt_inode *m = inode_media(in);

	return le64_get(mtime ? m->mtime : m->ctime) != 1000000000;
}

struct scene {
	struct inode *a, *b;		/* b may be a */
	struct inode *src, *dst;	/* NULL: absent */
	uint64_t sub_a, sub_b;		/* subdirectories before */
	uint64_t commits;
};

static unsigned check_done(struct dvol *d, struct scene *s, enum kind src, enum kind dst, unsigned flags, bool open)
{
	bool cross = s->a != s->b, exchange = flags == NAME_EXCHANGE, same = dst == SAME_INODE;
	uint64_t at_old = exchange || same ? (s->dst ? s->dst->ino.v : 0) : 0;
	unsigned bad = 0;

	bad += ivol_commits(d->fs) != s->commits + !same;
	bad += dv_ino(s->a, "x") != at_old;
	bad += dv_ino(s->b, "y") != s->src->ino.v;
	if (same)
		return bad + (changed(s->a, true) || changed(s->src, false));
	bad += !changed(s->a, true) || !changed(s->a, false) || !changed(s->b, true) || !changed(s->b, false);
	bad += !changed(s->src, false) || changed(s->src, true);
	if (kind_dir(src))
		bad += le64_get(inode_media(s->src)->rdev) != s->b->ino.v;
	if (exchange)
		bad += !changed(s->dst, false) || (kind_dir(dst) && le64_get(inode_media(s->dst)->rdev) != s->a->ino.v);
	else if (s->dst && open)
		bad += dv_nlink(s->dst) != 0 || atomic_load(&s->dst->dead);
	else if (s->dst)
		bad += !atomic_load(&s->dst->dead);
	(void)cross;
	return bad;
}

static unsigned check_undone(struct dvol *d, struct scene *s)
{
	unsigned bad = 0;

	bad += ivol_commits(d->fs) != s->commits;
	bad += dv_ino(s->a, "x") != (s->src ? s->src->ino.v : 0);
	bad += dv_ino(s->b, "y") != (s->dst ? s->dst->ino.v : 0);
	bad += changed(s->a, true) || changed(s->a, false) || changed(s->b, true) || changed(s->b, false);
	bad += s->src && changed(s->src, false);
	bad += s->dst && changed(s->dst, false);
	return bad;
}

static struct inode *get_or_null(struct inode *dir, const char *name)
{
	struct inode *in = NULL;

	name_lookup(dir, name, &in);
	if (in)
		age(in);
	return in;
}

static unsigned one_case(struct dvol *d, enum kind src, enum kind dst, unsigned flags, bool cross, bool open)
{
	struct scene s = {.a = dv_must_make(d->root, "A", S_IFDIR | 0755)};
	int want = rule(src, dst, flags), got;
	unsigned bad;

	s.b = cross ? dv_must_make(d->root, "B", S_IFDIR | 0755) : s.a;
	make_kind(s.a, "x", src, NULL);
	s.src = get_or_null(s.a, "x");
	make_kind(s.b, "y", dst, s.src);
	s.dst = get_or_null(s.b, "y");
	if (s.src)
		age(s.src);
	age(s.a);
	age(s.b);
	if (open && s.dst)
		dv_hold(s.dst);
	s.commits = ivol_commits(d->fs);
	got = name_rename(s.a, "x", s.b, "y", flags, NULL);
	bad = got != want;
	bad += got ? check_undone(d, &s) : check_done(d, &s, src, dst, flags, open);
	if (dvol_check(d->fs)) {
		printf("  %s\n", dvol_check(d->fs));
		bad++;
	}
	if (bad)
		printf("  %s onto %s, flags %u, %s%s: %d, not %d\n", kind_name[src], kind_name[dst], flags,
		       cross ? "across" : "within", open ? ", open" : "", got, want);
	if (open && s.dst)
		dv_release(s.dst);
	inode_put(s.src);
	inode_put(s.dst);
	if (s.b != s.a)
		inode_put(s.b);
	inode_put(s.a);
	return bad;
}

static void test_matrix(void)
{
	unsigned bad = 0, n = 0;

	for (unsigned src = ABSENT; src < SAME_INODE; src++)
		for (unsigned dst = ABSENT; dst < KINDS; dst++)
			for (unsigned flags = 0; flags < 5; flags++)
				for (unsigned how = 0; how < 4; how++) {
					struct dvol d;

					if (dst == SAME_INODE && (src == ABSENT || kind_dir(src)))
						continue;
					dvol_open(&d, 8 * MIB);
					bad += one_case(&d, src, dst, flags, how & 1, how & 2);
					n++;
					dvol_close(&d);
				}
	CU_ASSERT_EQUAL(bad, 0);
	printf("(%u cases) ", n);
}

static void test_arguments(void)
{
	struct inode *a, *f;
	struct dvol d;

	dvol_open(&d, 8 * MIB);
	a = dv_must_make(d.root, "a", S_IFDIR | 0755);
	f = dv_must_make(d.root, "f", S_IFREG | 0644);
	DV_EXPECT(name_rename(d.root, ".", d.root, "x", 0, NULL), -EBUSY);
	DV_EXPECT(name_rename(a, "..", d.root, "x", 0, NULL), -EBUSY);
	DV_EXPECT(name_rename(d.root, "", d.root, "x", 0, NULL), -EBUSY);
	DV_EXPECT(name_rename(d.root, "a", d.root, ".", 0, NULL), -EBUSY);
	DV_EXPECT(name_rename(d.root, "a", a, "..", 0, NULL), -EBUSY);
	DV_EXPECT(name_rename(d.root, "a", d.root, "", 0, NULL), -EBUSY);
	DV_EXPECT(name_rename(d.root, "a", a, "..", NAME_NOREPLACE, NULL), -EEXIST);
	DV_EXPECT(name_rename(f, "a", d.root, "x", 0, NULL), -ENOTDIR);
	DV_EXPECT(name_rename(d.root, "a", f, "x", 0, NULL), -ENOTDIR);
	DV_EXPECT(name_rename(d.root, "a", d.root, "a", 0, NULL), 0);
	DV_EXPECT(name_rename(d.root, "a", d.root, "a", NAME_NOREPLACE, NULL), -EEXIST);
	DV_EXPECT(name_rename(d.root, "a", d.root, "a", NAME_EXCHANGE, NULL), 0);
	DV_EXPECT(name_rename(d.root, "n", d.root, "n", 0, NULL), -ENOENT);
	DV_EXPECT(name_rename(d.root, "a/b", d.root, "x", 0, NULL), -EINVAL);
	DVOL_ASSERT_SOUND(d.fs);
	inode_put(a);
	inode_put(f);
	dvol_close(&d);
}

static void test_below_itself(void)
{
	struct inode *a, *b, *c;
	struct dvol d;

	dvol_open(&d, 8 * MIB);
	a = dv_must_make(d.root, "a", S_IFDIR | 0755);
	b = dv_must_make(a, "b", S_IFDIR | 0755);
	c = dv_must_make(b, "c", S_IFDIR | 0755);
	DV_EXPECT(name_rename(d.root, "a", a, "x", 0, NULL), -EINVAL);
	DV_EXPECT(name_rename(d.root, "a", b, "x", 0, NULL), -EINVAL);
	DV_EXPECT(name_rename(d.root, "a", c, "x", 0, NULL), -EINVAL);
	DV_EXPECT(name_rename(d.root, "a", b, "c", 0, NULL), -EINVAL);
	DV_EXPECT(name_rename(d.root, "a", b, "c", NAME_EXCHANGE, NULL), -EINVAL);
	DV_EXPECT(name_rename(b, "c", d.root, "a", NAME_EXCHANGE, NULL), -EINVAL);
	DV_EXPECT(name_rename(b, "c", d.root, "a", 0, NULL), -ENOTEMPTY);
	DV_EXPECT(name_rename(b, "c", a, "b", 0, NULL), -ENOTEMPTY);
	DV_EXPECT(name_rename(b, "c", a, "c", 0, NULL), 0);
	DVOL_ASSERT_SOUND(d.fs);
	DV_EXPECT(name_rename(a, "c", a, "b", NAME_EXCHANGE, NULL), 0);
	DV_EXPECT(name_rename(a, "c", a, "b", 0, NULL), 0);
	CU_ASSERT_EQUAL(dv_ino(a, "b"), b->ino.v);
	CU_ASSERT_EQUAL(atomic_load(&c->dead), true);
	DVOL_ASSERT_SOUND(d.fs);
	inode_put(a);
	inode_put(b);
	inode_put(c);
	dvol_close(&d);
}

/* The last link limit: a directory whose parent has no room for one more. */
static void test_links_max(void)
{
	struct inode *a, *b;
	struct inode_edit e;
	struct dvol d;
	struct txn *t;

	dvol_open(&d, 8 * MIB);
	a = dv_must_make(d.root, "a", S_IFDIR | 0755);
	b = dv_must_make(d.root, "b", S_IFDIR | 0755);
	for (unsigned round = 0; round < 2; round++) {
		t = txn_begin(d.fs->journal);
		rwl_wrlock(&a->layout);
		inode_edit_begin(&e, a, t);
		e.img.nlink = le32_of(round ? 2 : NAME_LINKS_MAX);
		inode_edit_end(&e);
		ivol_must(txn_commit(t, NULL), "nlink");
		rwl_wrunlock(&a->layout);
		DV_EXPECT(name_rename(d.root, "b", a, "b", 0, NULL), round ? 0 : -EMLINK);
	}
	DVOL_ASSERT_SOUND(d.fs);
	inode_put(a);
	inode_put(b);
	dvol_close(&d);
}

/* In one directory, so that old and new name are often in one bucket, which the insertion often splits. */
static void test_same_bucket(void)
{
	static const uint64_t masks[] = {~0ull, 0xf000000000000000ull, 0};
	unsigned bad = 0;

	for (unsigned x = 0; x < HF_COUNT(masks); x++) {
		unsigned n = masks[x] == 0 ? 30 : 200, full = 0;
		struct rng r = {x};
		uint64_t ino[400] = {0};
		struct inode *dir;
		struct dvol d;
		char old[256], new[256];

		bucket_hash_mask = masks[x];
		dvol_open(&d, 16 * MIB);
		dir = dv_must_make(d.root, "d", S_IFDIR | 0755);
		for (unsigned i = 0; i < n; i++) {
			struct inode *in;

			snprintf(old, sizeof(old), "%u", i);
			in = dv_must_make(dir, old, i % 5 ? S_IFREG | 0644 : S_IFDIR | 0755);
			ino[i] = in->ino.v;
			inode_put(in);
		}
		for (unsigned i = 0; i < 3000; i++) {
			unsigned k = (unsigned)rng_below(&r, 2 * n), to = (unsigned)rng_below(&r, 2 * n);
			unsigned flags = (unsigned)rng_below(&r, 3);
			int err;

			snprintf(old, sizeof(old), "%u", k);
			snprintf(new, sizeof(new), "%u", to);
			err = name_rename(dir, old, dir, new, flags, NULL);
			if (!err && k != to) {
				uint64_t t = ino[to];

				ino[to] = ino[k];
				ino[k] = flags == NAME_EXCHANGE ? t : 0;
			} else if (err == -ENOSPC) {
				full++;
			} else if (err) {
				bad += !(err == -ENOENT && (!ino[k] || (flags == NAME_EXCHANGE && !ino[to]))) &&
				       !(err == -EEXIST && ino[to]) && err != -EISDIR && err != -ENOTDIR;
			}
			if (i % 100 == 0)
				for (unsigned j = 0; j < 2 * n; j++) {
					snprintf(old, sizeof(old), "%u", j);
					bad += dv_ino(dir, old) != ino[j];
				}
		}
		bad += full > 0 && masks[x] == ~0ull;
		DVOL_ASSERT_SOUND(d.fs);
		inode_put(dir);
		dvol_remount(&d);
		DVOL_ASSERT_SOUND(d.fs);
		dvol_close(&d);
	}
	CU_ASSERT_EQUAL(bad, 0);
	bucket_hash_mask = ~0ull;
}

/* Over a file that is too large for one record, and over one that has more names. */
static void test_over_large(void)
{
	struct inode *big, *two;
	struct dvol d;

	dvol_open(&d, 64 * MIB);
	big = dv_must_make(d.root, "big", S_IFREG | 0644);
	for (uint64_t at = 0; at < 2000; at += 2)
		ivol_fill(big, at, 1);
	two = dv_must_make(d.root, "two", S_IFREG | 0644);
	DV_EXPECT(name_link(two, d.root, "other"), 0);
	DV_EXPECT(dv_make(d.root, "x", S_IFREG | 0644, NULL), 0);
	DV_EXPECT(name_rename(d.root, "x", d.root, "two", 0, NULL), 0);
	CU_ASSERT_EQUAL(dv_nlink(two), 1);
	CU_ASSERT_EQUAL(dv_ino(d.root, "other"), two->ino.v);
	DV_EXPECT(name_rename(d.root, "two", d.root, "big", 0, NULL), 0);
	CU_ASSERT_EQUAL(atomic_load(&big->dead), true);
	DVOL_ASSERT_SOUND(d.fs);
	inode_put(big);
	inode_put(two);
	dvol_close(&d);
}

int main(void)
{
	static const struct hf_case cases[] = {
		{"matrix", test_matrix},
		{"arguments", test_arguments},
		{"below_itself", test_below_itself},
		{"links_max", test_links_max},
		{"same_bucket", test_same_bucket},
		{"over_large", test_over_large},
	};

	return hf_run_suite("name_rename", cases, HF_COUNT(cases));
}
