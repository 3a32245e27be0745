/* Each operation on names: what it does, what it changes beside, and every error it can give. */
#include "dir_vol.h"

#define SEC 1000000000ll

/* Sets all times back, so that a change shows. */
static void age(struct inode *in)
{
	struct txn *t = txn_begin(in->fs->journal);
	struct inode_edit e;

	rwl_wrlock(&in->layout);
	inode_edit_begin(&e, in, t);
	inode_edit_times(&e, INODE_ATIME | INODE_MTIME | INODE_CTIME, SEC);
	inode_edit_end(&e);
	ivol_must(txn_commit(t, NULL), "age");
	rwl_wrunlock(&in->layout);
}
/* INODE_* bits of the times that were set since. */
static unsigned touched(struct inode *in)
{
	struct stat st;
	unsigned n = 0;

	rwl_rdlock(&in->layout);
	inode_stat(in, &st, NULL);
	rwl_rdunlock(&in->layout);
	n |= st.st_atim.tv_sec > 1 ? INODE_ATIME : 0;
	n |= st.st_mtim.tv_sec > 1 ? INODE_MTIME : 0;
	n |= st.st_ctim.tv_sec > 1 ? INODE_CTIME : 0;
	return n;
}
#define MC (INODE_MTIME | INODE_CTIME)

static void set_nlink(struct inode *in, uint32_t n)
{
	struct txn *t = txn_begin(in->fs->journal);
	struct inode_edit e;

	rwl_wrlock(&in->layout);
	inode_edit_begin(&e, in, t);
	e.img.nlink = le32_of(n);
	inode_edit_end(&e);
	ivol_must(txn_commit(t, NULL), "set_nlink");
	rwl_wrunlock(&in->layout);
}

static void test_create(void)
{
	struct name_new n = {.mode = S_IFREG | 06755, .uid = 5, .gid = 6};
	static const uint32_t types[] = {S_IFREG, S_IFDIR, S_IFLNK, S_IFCHR, S_IFBLK, S_IFIFO, S_IFSOCK};
	char name[300];
	struct stat st;
	struct inode *in, *file;
	struct dvol d;
	uint64_t fences;

	dvol_open(&d, 16 * MIB);
	n.mode = S_IFREG | 0644;
	DV_EXPECT(name_create(d.root, "first", &n, NULL), 0);	/* the table grows for it */
	DV_EXPECT(name_unlink(d.root, "first", NULL), 0);
	n.mode = S_IFREG | 06755;
	age(d.root);
	fences = ivol_commits(d.fs);
	DV_EXPECT(name_create(d.root, "f", &n, &file), 0);
	CU_ASSERT_EQUAL(ivol_commits(d.fs), fences + 1);
	CU_ASSERT_EQUAL(touched(d.root), MC);
	inode_stat(file, &st, NULL);
	CU_ASSERT_EQUAL(st.st_mode, S_IFREG | 06755);
	CU_ASSERT_EQUAL(st.st_uid, 5);
	CU_ASSERT_EQUAL(st.st_gid, 6);
	CU_ASSERT_EQUAL(st.st_nlink, 1);
	CU_ASSERT_EQUAL(st.st_size, 0);
	CU_ASSERT(st.st_ctim.tv_sec > 1);
	CU_ASSERT_EQUAL(dv_ino(d.root, "f"), file->ino.v);
	DV_EXPECT(name_create(d.root, "f", &n, &in), -EEXIST);
	CU_ASSERT_PTR_NULL(in);
	DV_EXPECT(name_create(d.root, ".", &n, &in), -EEXIST);
	DV_EXPECT(name_create(d.root, "..", &n, &in), -EEXIST);
	DV_EXPECT(name_create(d.root, "", &n, &in), -EEXIST);
	DV_EXPECT(name_create(d.root, "a/b", &n, &in), -EINVAL);
	DV_EXPECT(name_create(file, "x", &n, &in), -ENOTDIR);
	memset(name, 'n', sizeof(name));
	name[256] = '\0';
	DV_EXPECT(name_create(d.root, name, &n, &in), -ENAMETOOLONG);
	name[255] = '\0';
	DV_EXPECT(name_create(d.root, name, &n, NULL), 0);
	n.mode = 0755;
	DV_EXPECT(name_create(d.root, "t", &n, NULL), -EINVAL);
	n.mode = S_IFMT | 0755;
	DV_EXPECT(name_create(d.root, "t", &n, NULL), -EINVAL);
	n.symlink = "x";
	n.rdev = 0x1234;
	for (unsigned i = 0; i < HF_COUNT(types); i++) {
		snprintf(name, sizeof(name), "type%u", i);
		n.mode = types[i] | 0600;
		DV_EXPECT(name_create(d.root, name, &n, &in), 0);
		CU_ASSERT_EQUAL(in->type, types[i]);
		inode_stat(in, &st, NULL);
		CU_ASSERT_EQUAL(st.st_rdev, types[i] == S_IFCHR || types[i] == S_IFBLK ? 0x1234 : 0);
		CU_ASSERT_EQUAL(st.st_nlink, types[i] == S_IFDIR ? 2 : 1);
		inode_put(in);
	}
	CU_ASSERT_EQUAL(dv_nlink(d.root), 3);
	DVOL_ASSERT_SOUND(d.fs);
	inode_put(file);
	dvol_remount(&d);
	CU_ASSERT_EQUAL(dv_size(d.root), 2 + HF_COUNT(types));
	DVOL_ASSERT_SOUND(d.fs);
	dvol_close(&d);
}

static void test_setgid(void)
{
	struct name_new n = {.mode = S_IFDIR | 02755, .gid = 77, .setgid_inherit = true};
	struct inode *dir, *in;
	struct dvol d;

	dvol_open(&d, 8 * MIB);
	DV_EXPECT(name_create(d.root, "g", &n, &dir), 0);
	n.gid = 5;
	n.mode = S_IFREG | 0644;
	DV_EXPECT(name_create(dir, "f", &n, &in), 0);
	CU_ASSERT_EQUAL(le32_get(inode_media(in)->gid), 77);
	CU_ASSERT_EQUAL(le32_get(inode_media(in)->mode), S_IFREG | 0644);
	inode_put(in);
	n.mode = S_IFDIR | 0755;
	DV_EXPECT(name_create(dir, "s", &n, &in), 0);
	CU_ASSERT_EQUAL(le32_get(inode_media(in)->gid), 77);
	CU_ASSERT_EQUAL(le32_get(inode_media(in)->mode), S_IFDIR | 02755);
	inode_put(in);
	n.setgid_inherit = false;
	DV_EXPECT(name_create(dir, "n", &n, &in), 0);
	CU_ASSERT_EQUAL(le32_get(inode_media(in)->gid), 5);
	CU_ASSERT_EQUAL(le32_get(inode_media(in)->mode), S_IFDIR | 0755);
	inode_put(in);
	inode_put(dir);
	dvol_close(&d);
}

static void test_link_unlink(void)
{
	struct inode *file, *dir, *in;
	struct dvol d;
	uint64_t commits;

	dvol_open(&d, 16 * MIB);
	file = dv_must_make(d.root, "f", S_IFREG | 0644);
	dir = dv_must_make(d.root, "d", S_IFDIR | 0755);
	age(file);
	age(dir);
	commits = ivol_commits(d.fs);
	DV_EXPECT(name_link(file, dir, "g"), 0);
	CU_ASSERT_EQUAL(ivol_commits(d.fs), commits + 1);
	CU_ASSERT_EQUAL(touched(dir), MC);
	CU_ASSERT_EQUAL(touched(file), INODE_CTIME);
	CU_ASSERT_EQUAL(dv_nlink(file), 2);
	DV_EXPECT(name_link(file, dir, "g"), -EEXIST);
	DV_EXPECT(name_link(file, dir, ".."), -EEXIST);
	DV_EXPECT(name_link(dir, d.root, "h"), -EPERM);
	DV_EXPECT(name_link(file, file, "h"), -ENOTDIR);
	set_nlink(file, NAME_LINKS_MAX);
	DV_EXPECT(name_link(file, dir, "h"), -EMLINK);
	set_nlink(file, 2);
	set_nlink(dir, NAME_LINKS_MAX);
	DV_EXPECT(dv_make(dir, "sub", S_IFDIR | 0755, NULL), -EMLINK);
	DV_EXPECT(dv_make(dir, "file", S_IFREG | 0644, NULL), 0);
	set_nlink(dir, 2);
	age(file);
	age(dir);
	commits = ivol_commits(d.fs);
	DV_EXPECT(name_unlink(dir, "g", NULL), 0);
	CU_ASSERT_EQUAL(ivol_commits(d.fs), commits + 1);
	CU_ASSERT_EQUAL(touched(dir), MC);
	CU_ASSERT_EQUAL(touched(file), INODE_CTIME);
	CU_ASSERT_EQUAL(dv_nlink(file), 1);
	DV_EXPECT(name_unlink(dir, "g", NULL), -ENOENT);
	DV_EXPECT(name_unlink(d.root, "d", NULL), -EISDIR);
	DV_EXPECT(name_unlink(d.root, ".", NULL), -EISDIR);
	DV_EXPECT(name_unlink(file, "d", NULL), -ENOTDIR);
	DV_EXPECT(name_unlink(d.root, "a/b", NULL), -EINVAL);
	DVOL_ASSERT_SOUND(d.fs);
	/* The last name: the inode goes with it, in one transaction. */
	commits = ivol_commits(d.fs);
	DV_EXPECT(name_unlink(d.root, "f", NULL), 0);
	CU_ASSERT_EQUAL(ivol_commits(d.fs), commits + 1);
	CU_ASSERT_EQUAL(atomic_load(&file->dead), true);
	DV_EXPECT(name_link(file, dir, "again"), -ENOENT);
	DV_EXPECT(inode_get(d.fs, file->ino, file->gen, &in), -ESTALE);
	DVOL_ASSERT_SOUND(d.fs);
	inode_put(file);
	inode_put(dir);
	dvol_close(&d);
}

/* A file that is open keeps its content without a name; it goes at the last close, or at the next mount. */
static void test_unlink_open(void)
{
	struct inode *file, *dir;
	struct dvol d;
	inum_t ino;

	dvol_open(&d, 16 * MIB);
	dir = dv_must_make(d.root, "d", S_IFDIR | 0755);
	for (unsigned round = 0; round < 3; round++) {
		uint64_t used = itable_in_use(d.fs);

		file = dv_must_make(dir, "f", S_IFREG | 0644);
		ino = file->ino;
		ivol_fill(file, 0, 5);
		dv_hold(file);
		DV_EXPECT(name_unlink(dir, "f", NULL), 0);
		CU_ASSERT_EQUAL(dv_nlink(file), 0);
		CU_ASSERT_EQUAL(atomic_load(&file->dead), false);
		CU_ASSERT_NOT_EQUAL(le32_get(inode_media(file)->orphan), 0);
		CU_ASSERT_EQUAL(dv_ino(dir, "f"), 0);
		DVOL_ASSERT_SOUND(d.fs);
		if (round == 1) {	/* it gets a name again */
			DV_EXPECT(name_link(file, dir, "back"), 0);
			CU_ASSERT_EQUAL(dv_nlink(file), 1);
			CU_ASSERT_EQUAL(le32_get(inode_media(file)->orphan), 0);
			DV_EXPECT(dv_release(file), 0);
			CU_ASSERT_EQUAL(dv_ino(dir, "back"), ino.v);
			inode_put(file);
			DV_EXPECT(name_unlink(dir, "back", NULL), 0);
		} else if (round == 0) {
			atomic_store(&file->opens, 0);	/* closed, and not reaped yet: no new name */
			DV_EXPECT(name_link(file, dir, "back"), -ENOENT);
			atomic_store(&file->opens, 1);
			DV_EXPECT(dv_release(file), 0);
			CU_ASSERT_EQUAL(atomic_load(&file->dead), true);
			DV_EXPECT(name_link(file, dir, "back"), -ENOENT);
			inode_put(file);
		} else {		/* unmounted without closing, as by a crash */
			inode_put(file);
			inode_put(dir);
			dvol_remount(&d);
			ivol_must(name_lookup(d.root, "d", &dir), "d");
		}
		CU_ASSERT_EQUAL(itable_in_use(d.fs), used);
		DVOL_ASSERT_SOUND(d.fs);
	}
	inode_put(dir);
	dvol_close(&d);
}

/* Too large for one record: a slot in the unlink's transaction, the rest after it. And while somebody has its content lock. */
static void test_unlink_large(void)
{
	struct space_stat before, after;
	struct inode *file;
	struct dvol d;

	dvol_open(&d, 64 * MIB);
	file = dv_must_make(d.root, "first", S_IFREG | 0644);	/* the root's bucket, the tables */
	inode_put(file);
	ivol_must(journal_checkpoint(d.fs->journal), "checkpoint");
	space_drain(d.fs->space);
	space_stat(d.fs->space, &before);
	file = dv_must_make(d.root, "f", S_IFREG | 0644);
	for (uint64_t at = 0; at < 4000; at += 2)
		ivol_fill(file, at, 1);
	DV_EXPECT(name_unlink(d.root, "f", NULL), 0);
	CU_ASSERT_EQUAL(atomic_load(&file->dead), true);
	inode_put(file);
	DVOL_ASSERT_SOUND(d.fs);
	ivol_must(journal_checkpoint(d.fs->journal), "checkpoint");
	space_drain(d.fs->space);
	space_stat(d.fs->space, &after);
	CU_ASSERT_EQUAL(after.free, before.free);
	dvol_close(&d);
}

static void test_rmdir(void)
{
	struct inode *dir, *sub, *in;
	struct dvol d;
	uint64_t commits;

	dvol_open(&d, 16 * MIB);
	dir = dv_must_make(d.root, "d", S_IFDIR | 0755);
	sub = dv_must_make(dir, "s", S_IFDIR | 0755);
	DV_EXPECT(dv_make(dir, "f", S_IFREG | 0644, NULL), 0);
	CU_ASSERT_EQUAL(dv_nlink(dir), 3);
	DV_EXPECT(name_rmdir(d.root, "d"), -ENOTEMPTY);
	DV_EXPECT(name_rmdir(dir, "f"), -ENOTDIR);
	DV_EXPECT(name_rmdir(dir, "x"), -ENOENT);
	DV_EXPECT(name_rmdir(dir, "."), -EINVAL);
	DV_EXPECT(name_rmdir(dir, ".."), -ENOTEMPTY);
	DV_EXPECT(name_rmdir(d.root, ""), -EBUSY);
	/* With entries made and taken away again: its buckets go too. */
	for (unsigned i = 0; i < 200; i++) {
		char name[20];

		snprintf(name, sizeof(name), "%u", i);
		DV_EXPECT(dv_make(sub, name, S_IFREG | 0644, NULL), 0);
	}
	for (unsigned i = 0; i < 200; i++) {
		char name[20];

		snprintf(name, sizeof(name), "%u", i);
		DV_EXPECT(name_unlink(sub, name, NULL), 0);
	}
	CU_ASSERT(le64_get(inode_media(sub)->blocks) > 3);
	age(dir);
	commits = ivol_commits(d.fs);
	DV_EXPECT(name_rmdir(dir, "s"), 0);
	CU_ASSERT_EQUAL(ivol_commits(d.fs), commits + 1);
	CU_ASSERT_EQUAL(dv_nlink(dir), 2);
	CU_ASSERT_EQUAL(touched(dir), MC);
	CU_ASSERT_EQUAL(atomic_load(&sub->dead), true);
	DV_EXPECT(dv_make(sub, "x", S_IFREG | 0644, NULL), -ENOENT);
	DV_EXPECT(name_lookup(sub, "x", &in), -ENOENT);
	DV_EXPECT(name_lookup(sub, "..", &in), -ENOENT);
	DV_EXPECT(name_unlink(sub, "x", NULL), -ENOENT);
	DV_EXPECT(name_rename(dir, "f", sub, "f", 0, NULL), -ENOENT);
	DV_EXPECT(name_rename(sub, "f", dir, "f", 0, NULL), -ENOENT);
	inode_put(sub);
	DVOL_ASSERT_SOUND(d.fs);
	/* While it is open it stays, dead to new entries. */
	sub = dv_must_make(dir, "s", S_IFDIR | 0755);
	dv_hold(sub);
	DV_EXPECT(name_rmdir(dir, "s"), 0);
	CU_ASSERT_EQUAL(atomic_load(&sub->dead), false);
	DV_EXPECT(dv_make(sub, "x", S_IFREG | 0644, NULL), -ENOENT);
	in = dv_must_make(dir, "file", S_IFREG | 0644);
	DV_EXPECT(name_link(in, sub, "x"), -ENOENT);
	inode_put(in);
	DV_EXPECT(dv_release(sub), 0);
	CU_ASSERT_EQUAL(atomic_load(&sub->dead), true);
	inode_put(sub);
	DVOL_ASSERT_SOUND(d.fs);
	inode_put(dir);
	dvol_close(&d);
}

static void test_lookup(void)
{
	struct inode *a, *b, *in;
	struct dvol d;
	char name[300];

	dvol_open(&d, 8 * MIB);
	a = dv_must_make(d.root, "a", S_IFDIR | 0755);
	b = dv_must_make(a, "b", S_IFDIR | 0755);
	CU_ASSERT_EQUAL(dv_ino(b, "."), b->ino.v);
	CU_ASSERT_EQUAL(dv_ino(b, ".."), a->ino.v);
	CU_ASSERT_EQUAL(dv_ino(a, ".."), FMT_INO_ROOT);
	CU_ASSERT_EQUAL(dv_ino(d.root, ".."), FMT_INO_ROOT);
	CU_ASSERT_EQUAL(dv_ino(d.root, ""), FMT_INO_ROOT);
	CU_ASSERT_EQUAL(dv_ino(d.root, "..."), 0);
	memset(name, 'x', sizeof(name));
	name[256] = '\0';
	DV_EXPECT(name_lookup(d.root, name, &in), -ENAMETOOLONG);
	DV_EXPECT(name_lookup(d.root, "a/b", &in), -EINVAL);
	DV_EXPECT(dv_make(a, "f", S_IFREG | 0644, &in), 0);
	inode_put(a);
	a = in;
	DV_EXPECT(name_lookup(a, "x", &in), -ENOTDIR);
	DV_EXPECT(name_lookup(a, ".", &in), -ENOTDIR);
	inode_put(a);
	inode_put(b);
	dvol_close(&d);
}

static void test_tmpfile(void)
{
	struct name_new n = {.mode = S_IFREG | 0600, .uid = 3};
	uint64_t commits, used;
	struct inode *in;
	struct dvol d;

	dvol_open(&d, 8 * MIB);
	DV_EXPECT(dv_make(d.root, "first", S_IFREG | 0644, NULL), 0);
	used = itable_in_use(d.fs);
	commits = ivol_commits(d.fs);
	DV_EXPECT(name_tmpfile(d.fs, &n, &in), 0);
	CU_ASSERT_EQUAL(ivol_commits(d.fs), commits + 1);
	CU_ASSERT_EQUAL(atomic_load(&in->opens), 1);
	CU_ASSERT_EQUAL(dv_nlink(in), 0);
	DVOL_ASSERT_SOUND(d.fs);
	DV_EXPECT(dv_release(in), 0);
	CU_ASSERT_EQUAL(atomic_load(&in->dead), true);
	inode_put(in);
	CU_ASSERT_EQUAL(itable_in_use(d.fs), used);
	DV_EXPECT(name_tmpfile(d.fs, &n, &in), 0);
	DV_EXPECT(name_link(in, d.root, "named"), 0);
	DV_EXPECT(dv_release(in), 0);
	CU_ASSERT_EQUAL(dv_ino(d.root, "named"), in->ino.v);
	CU_ASSERT_EQUAL(dv_nlink(in), 1);
	inode_put(in);
	DV_EXPECT(name_tmpfile(d.fs, &n, &in), 0);
	inode_put(in);
	dvol_remount(&d);
	CU_ASSERT_EQUAL(itable_in_use(d.fs), used + 1);
	DVOL_ASSERT_SOUND(d.fs);
	n.mode = S_IFDIR | 0700;
	DV_EXPECT(name_tmpfile(d.fs, &n, &in), -EINVAL);
	dvol_close(&d);
}

static void make_link(struct inode *dir, const char *name, const char *target)
{
	struct name_new n = {.mode = S_IFLNK | 0777, .symlink = target};

	ivol_must(name_create(dir, name, &n, NULL), name);
}

static void test_symlinks(void)
{
	static const unsigned lens[] = {1, 2, 127, 128, 129, 1000, 4094, 4095};
	struct name_new n = {.mode = S_IFLNK | 0777};
	char target[5000], got[5000], name[20];
	uint64_t used;
	struct space_stat st;
	struct inode *in;
	struct dvol d;
	size_t len;

	dvol_open(&d, 16 * MIB);
	DV_EXPECT(name_create(d.root, "l", &n, NULL), -ENOENT);
	n.symlink = "";
	DV_EXPECT(name_create(d.root, "l", &n, NULL), -ENOENT);
	memset(target, 't', sizeof(target));
	target[4096] = '\0';
	n.symlink = target;
	DV_EXPECT(name_create(d.root, "l", &n, NULL), -ENAMETOOLONG);
	used = itable_in_use(d.fs);
	for (unsigned i = 0; i < HF_COUNT(lens); i++) {
		memset(target, 'a' + (int)i, sizeof(target));
		target[lens[i]] = '\0';
		snprintf(name, sizeof(name), "l%u", i);
		DV_EXPECT(name_create(d.root, name, &n, &in), 0);
		CU_ASSERT_EQUAL(le64_get(inode_media(in)->blocks), lens[i] > FMT_INLINE_MAX);
		age(in);
		inode_put(in);
	}
	DVOL_ASSERT_SOUND(d.fs);
	dvol_remount(&d);
	for (unsigned i = 0; i < HF_COUNT(lens); i++) {
		memset(target, 'a' + (int)i, sizeof(target));
		snprintf(name, sizeof(name), "l%u", i);
		ivol_must(name_lookup(d.root, name, &in), name);
		DV_EXPECT(name_readlink(in, got, sizeof(got), &len), 0);
		CU_ASSERT_EQUAL(len, lens[i]);
		CU_ASSERT_EQUAL(memcmp(got, target, len), 0);
		CU_ASSERT_EQUAL(touched(in), INODE_ATIME);
		DV_EXPECT(name_readlink(in, got, 1, &len), 0);
		CU_ASSERT_EQUAL(len, 1);
		inode_put(in);
		DV_EXPECT(name_unlink(d.root, name, NULL), 0);
	}
	DV_EXPECT(name_readlink(d.root, got, sizeof(got), &len), -EINVAL);
	CU_ASSERT_EQUAL(itable_in_use(d.fs), used);
	DVOL_ASSERT_SOUND(d.fs);
	space_stat(d.fs->space, &st);
	CU_ASSERT_EQUAL(st.pending, 0);
	dvol_close(&d);
}

/* ---- the walk */

static uint64_t walk(struct dvol *d, const char *path, unsigned flags, int *err)
{
	struct inode *in;
	bool is_dir;
	uint64_t ino;

	*err = name_walk(d->fs, NULL, path, flags, &in, NULL, &is_dir);
	if (*err)
		return 0;
	ino = in->ino.v;
	inode_put(in);
	return ino;
}

struct walk_case {
	const char *path;
	unsigned flags;
	int err;
	const char *same_as;	/* of a path without symlinks */
};

static void test_walk(void)
{
	static const struct walk_case cases[] = {
		{"/", 0, 0, "/"},
		{"//", 0, 0, "/"},
		{"", 0, -ENOENT, NULL},
		{"a", 0, 0, "/a"},
		{"/a/", 0, 0, "/a"},
		{"/a/./b/../b//", 0, 0, "/a/b"},
		{"/..", 0, 0, "/"},
		{"../../a", 0, 0, "/a"},
		{"/a/b/f", 0, 0, "/a/b/f"},
		{"/a/b/f/", 0, -ENOTDIR, NULL},
		{"/a/b/f/.", 0, -ENOTDIR, NULL},
		{"/a/b/f/..", 0, -ENOTDIR, NULL},
		{"/a/b/f/x", 0, -ENOTDIR, NULL},
		{"/a/x", 0, -ENOENT, NULL},
		{"/a/x/y", 0, -ENOENT, NULL},
		{"/abs", 0, 0, "/a/b"},
		{"/abs/f", 0, 0, "/a/b/f"},
		{"/abs/..", 0, 0, "/a"},
		{"/abs", WALK_NOFOLLOW, 0, NULL},
		{"/abs/", WALK_NOFOLLOW, 0, "/a/b"},
		{"/a/rel", 0, 0, "/a/b/f"},
		{"/a/rel/", 0, -ENOTDIR, NULL},
		{"/a/up/a/b", 0, 0, "/a/b"},
		{"/a/slash", 0, 0, "/a/b"},
		{"/a/slash/f", 0, 0, "/a/b/f"},
		{"/root", 0, 0, "/"},
		{"/root/a", 0, 0, "/a"},
		{"/dangling", 0, -ENOENT, NULL},
		{"/dangling", WALK_NOFOLLOW, 0, NULL},
		{"/loop", 0, -ELOOP, NULL},
		{"/loop", WALK_NOFOLLOW, 0, NULL},
		{"/loop/x", WALK_NOFOLLOW, -ELOOP, NULL},
		{"/self", 0, -ELOOP, NULL},
		{"/chain0", 0, 0, "/a"},
		{"/chain20/../chain20", 0, 0, "/a"},
		{"/chain20/../chain19", 0, -ELOOP, NULL},
	};
	struct inode *a, *b;
	struct dvol d;
	char name[32], to[32];
	int err;

	dvol_open(&d, 16 * MIB);
	a = dv_must_make(d.root, "a", S_IFDIR | 0755);
	b = dv_must_make(a, "b", S_IFDIR | 0755);
	DV_EXPECT(dv_make(b, "f", S_IFREG | 0644, NULL), 0);
	make_link(d.root, "abs", "/a/b");
	make_link(a, "rel", "b/f");
	make_link(a, "up", "../");
	make_link(a, "slash", "b//");
	make_link(d.root, "root", "/");
	make_link(d.root, "dangling", "nowhere");
	make_link(d.root, "loop", "pool");
	make_link(d.root, "pool", "/loop");
	make_link(d.root, "self", "self/self");
	/* chain0 -> chain1 -> ... -> chain39 -> a: 40 links, which is just allowed */
	for (unsigned i = 0; i < 40; i++) {
		snprintf(name, sizeof(name), "chain%u", i);
		snprintf(to, sizeof(to), "chain%u", i + 1);
		make_link(d.root, name, i == 39 ? "a" : to);
	}
	make_link(d.root, "one-more", "chain0");
	for (unsigned i = 0; i < HF_COUNT(cases); i++) {
		uint64_t got = walk(&d, cases[i].path, cases[i].flags, &err), want;

		if (err != cases[i].err)
			printf("  '%s': %d, not %d\n", cases[i].path, err, cases[i].err);
		CU_ASSERT_EQUAL(err, cases[i].err);
		want = cases[i].same_as ? walk(&d, cases[i].same_as, 0, &err) : got;
		if (got != want)
			printf("  '%s' is not '%s'\n", cases[i].path, cases[i].same_as);
		CU_ASSERT_EQUAL(got, want);
	}
	walk(&d, "/one-more", 0, &err);
	CU_ASSERT_EQUAL(err, -ELOOP);
	inode_put(a);
	inode_put(b);
	dvol_close(&d);
}

static void expect_parent(struct dvol *d, struct inode *start, const char *path, int want_err, uint64_t dir,
			  const char *want_last, bool want_dir)
{
	char last[256] = "?";
	struct inode *in;
	bool is_dir;
	int err = name_walk(d->fs, start, path, WALK_PARENT, &in, last, &is_dir);

	if (err != want_err)
		printf("  '%s': %d, not %d\n", path, err, want_err);
	CU_ASSERT_EQUAL(err, want_err);
	if (err) {
		CU_ASSERT_PTR_NULL(in);
		return;
	}
	CU_ASSERT_EQUAL(in->ino.v, dir);
	CU_ASSERT_STRING_EQUAL(last, want_last);
	CU_ASSERT_EQUAL(is_dir, want_dir);
	inode_put(in);
}

static void test_walk_parent(void)
{
	struct inode *a, *f;
	struct dvol d;
	char name[300];

	dvol_open(&d, 8 * MIB);
	a = dv_must_make(d.root, "a", S_IFDIR | 0755);
	f = dv_must_make(a, "f", S_IFREG | 0644);
	make_link(d.root, "l", "a");
	expect_parent(&d, NULL, "/", 0, FMT_INO_ROOT, "", false);
	expect_parent(&d, NULL, "x", 0, FMT_INO_ROOT, "x", false);
	expect_parent(&d, NULL, "/x//", 0, FMT_INO_ROOT, "x", true);
	expect_parent(&d, NULL, "/a/x", 0, a->ino.v, "x", false);
	expect_parent(&d, NULL, "/l/x", 0, a->ino.v, "x", false);
	expect_parent(&d, NULL, "/l", 0, FMT_INO_ROOT, "l", false);
	expect_parent(&d, NULL, "/l/", 0, FMT_INO_ROOT, "l", true);
	expect_parent(&d, NULL, "/a/.", 0, a->ino.v, ".", false);
	expect_parent(&d, NULL, "/a/..", 0, a->ino.v, "..", false);
	expect_parent(&d, NULL, "/a/f/x", -ENOTDIR, 0, NULL, false);
	expect_parent(&d, NULL, "/n/x", -ENOENT, 0, NULL, false);
	expect_parent(&d, a, "x", 0, a->ino.v, "x", false);
	expect_parent(&d, a, "../x", 0, FMT_INO_ROOT, "x", false);
	expect_parent(&d, a, "/x", 0, FMT_INO_ROOT, "x", false);
	expect_parent(&d, f, "x", -ENOTDIR, 0, NULL, false);
	expect_parent(&d, a, "", -ENOENT, 0, NULL, false);
	memset(name, 'x', sizeof(name));
	name[255] = '\0';
	expect_parent(&d, a, name, 0, a->ino.v, name, false);
	name[255] = 'x';
	name[256] = '\0';
	expect_parent(&d, a, name, -ENAMETOOLONG, 0, NULL, false);
	inode_put(a);
	inode_put(f);
	dvol_close(&d);
}

static void test_walk_long(void)
{
	char path[5000], target[4096];
	struct inode *in;
	struct dvol d;
	int err;

	dvol_open(&d, 8 * MIB);
	for (unsigned i = 0; i < sizeof(path); i++)
		path[i] = i % 2 ? '.' : '/';
	path[4095] = '\0';
	CU_ASSERT_EQUAL(walk(&d, path, 0, &err), FMT_INO_ROOT);
	CU_ASSERT_EQUAL(err, 0);
	path[4095] = '.';
	path[4096] = '\0';
	walk(&d, path, 0, &err);
	CU_ASSERT_EQUAL(err, -ENAMETOOLONG);
	/* A target as long as can be, alone and with something behind it. */
	for (unsigned i = 0; i < sizeof(target); i++)
		target[i] = i % 2 ? '/' : '.';
	target[4095] = '\0';
	make_link(d.root, "long", target);
	CU_ASSERT_EQUAL(walk(&d, "/long", 0, &err), FMT_INO_ROOT);
	walk(&d, "/long/", 0, &err);
	CU_ASSERT_EQUAL(err, -ENAMETOOLONG);
	target[4000] = '\0';
	make_link(d.root, "long2", target);
	CU_ASSERT_EQUAL(walk(&d, "/long2/long2/long2/long2", 0, &err), FMT_INO_ROOT);
	/* Deep directories, one after the other. */
	inode_ref(d.root);
	in = d.root;
	for (unsigned i = 0; i < 1000; i++) {
		struct inode *next = dv_must_make(in, "d", S_IFDIR | 0755);

		inode_put(in);
		in = next;
	}
	for (unsigned i = 0; i < 2000; i++)
		path[i] = i % 2 ? 'd' : '/';
	path[2000] = '\0';
	CU_ASSERT_EQUAL(walk(&d, path, 0, &err), in->ino.v);
	DV_EXPECT(name_rename(d.root, "d", in, "d", 0, NULL), -EINVAL);
	inode_put(in);
	DVOL_ASSERT_SOUND(d.fs);
	dvol_close(&d);
}

/* ---- what stands in the way */

static void test_read_only(void)
{
	struct name_new n = {.mode = S_IFREG | 0644};
	struct inode *in;
	struct dvol d;

	dvol_open(&d, 8 * MIB);
	in = dv_must_make(d.root, "f", S_IFREG | 0644);
	d.fs->read_only = true;
	DV_EXPECT(name_create(d.root, "g", &n, NULL), -EROFS);
	DV_EXPECT(name_link(in, d.root, "g"), -EROFS);
	DV_EXPECT(name_unlink(d.root, "f", NULL), -EROFS);
	DV_EXPECT(name_rmdir(d.root, "f"), -EROFS);
	DV_EXPECT(name_rename(d.root, "f", d.root, "g", 0, NULL), -EROFS);
	inode_put(in);
	DV_EXPECT(name_tmpfile(d.fs, &n, &in), -EROFS);
	d.fs->read_only = false;
	dvol_close(&d);
}

static void test_shutdown(void)
{
	struct name_new n = {.mode = S_IFREG | 0644};
	struct inode *in;
	struct dvol d;

	dvol_open(&d, 8 * MIB);
	in = dv_must_make(d.root, "f", S_IFREG | 0644);
	journal_shutdown(d.fs->journal, -EIO);
	DV_EXPECT(name_create(d.root, "g", &n, NULL), -ESHUTDOWN);
	DV_EXPECT(name_link(in, d.root, "g"), -ESHUTDOWN);
	DV_EXPECT(name_unlink(d.root, "f", NULL), -ESHUTDOWN);
	DV_EXPECT(name_rename(d.root, "f", d.root, "g", 0, NULL), -ESHUTDOWN);
	CU_ASSERT_EQUAL(dv_ino(d.root, "f"), in->ino.v);
	CU_ASSERT_EQUAL(dv_ino(d.root, "g"), 0);
	inode_put(in);
	dvol_close(&d);
}

/* Until nothing fits: each failure changes nothing; what can be taken away still can be. */
static void test_full(void)
{
	struct inode *dir, *fat;
	struct dvol d;
	unsigned made = 0, links = 0;
	char name[300], target[1001];
	int err = 0;

	dvol_open(&d, 8 * MIB);
	dir = dv_must_make(d.root, "d", S_IFDIR | 0755);
	fat = dv_must_make(d.root, "fat", S_IFREG | 0644);
	for (uint64_t at = 0; ivol_try_fill(fat, at, 16, false) == 0;)
		at += 16;
	for (uint64_t at = 1 << 20; ivol_try_fill(fat, at, 1, false) == 0;)
		at++;
	memset(target, 'x', 1000);
	target[1000] = '\0';
	for (; !err; made++) {
		snprintf(name, sizeof(name), "a rather long name, so that it is soon over %0150u", made);
		err = dv_make(dir, name, S_IFREG | 0644, NULL);
	}
	CU_ASSERT_EQUAL(err, -ENOSPC);
	made--;
	CU_ASSERT_EQUAL(dv_size(dir), made);
	for (err = 0; !err && links < 1000; links++) {
		struct name_new n = {.mode = S_IFLNK | 0777, .symlink = target};

		snprintf(name, sizeof(name), "l%u", links);
		err = name_create(d.root, name, &n, NULL);
	}
	CU_ASSERT_EQUAL(err, -ENOSPC);
	DVOL_ASSERT_SOUND(d.fs);
	for (unsigned i = 0; i < made; i++) {
		snprintf(name, sizeof(name), "a rather long name, so that it is soon over %0150u", i);
		err = name_unlink(dir, name, NULL);
		if (err)
			break;
	}
	CU_ASSERT_EQUAL(err, 0);
	DV_EXPECT(name_rmdir(d.root, "d"), 0);
	DV_EXPECT(name_unlink(d.root, "fat", NULL), 0);
	DVOL_ASSERT_SOUND(d.fs);
	inode_put(dir);
	inode_put(fat);
	dvol_close(&d);
}

/* More inodes than the cache holds. */
static void test_small_cache(void)
{
	struct inode *held[40], *in;
	unsigned n = 0;
	struct dvol d;
	char name[20];
	int err = 0;

	dvol_open(&d, 8 * MIB);
	for (unsigned i = 0; i < 200; i++) {
		snprintf(name, sizeof(name), "%u", i);
		DV_EXPECT(dv_make(d.root, name, S_IFREG | 0644, NULL), 0);
	}
	inode_put(d.root);
	name_cache_close(d.fs);
	ivol_remount(&d.v, 16);
	dvol_attach(&d);
	for (unsigned i = 0; i < 200; i++) {
		snprintf(name, sizeof(name), "%u", i);
		CU_ASSERT(dv_ino(d.root, name) > 1);
	}
	for (; !err && n < 40; n++) {
		snprintf(name, sizeof(name), "%u", n);
		err = name_lookup(d.root, name, &held[n]);
	}
	n--;
	CU_ASSERT_EQUAL(err, -ENFILE);
	DV_EXPECT(name_unlink(d.root, "100", NULL), -ENFILE);
	DV_EXPECT(name_rename(d.root, "100", d.root, "x", 0, NULL), -ENFILE);
	DV_EXPECT(dv_make(d.root, "new", S_IFREG | 0644, NULL), 0);
	DV_EXPECT(dv_make(d.root, "newer", S_IFREG | 0644, &in), -ENFILE);
	DV_EXPECT(dv_make(d.root, "100", S_IFREG | 0644, &in), -EEXIST);
	while (n-- > 0)
		inode_put(held[n]);
	DV_EXPECT(name_lookup(d.root, "newer", &in), -ENOENT);	/* not made, and then not to be had */
	DV_EXPECT(name_unlink(d.root, "100", NULL), 0);
	DVOL_ASSERT_SOUND(d.fs);
	dvol_close(&d);
}

int main(void)
{
	static const struct hf_case cases[] = {
		{"create", test_create},
		{"setgid", test_setgid},
		{"link_unlink", test_link_unlink},
		{"unlink_open", test_unlink_open},
		{"unlink_large", test_unlink_large},
		{"rmdir", test_rmdir},
		{"lookup", test_lookup},
		{"tmpfile", test_tmpfile},
		{"symlinks", test_symlinks},
		{"walk", test_walk},
		{"walk_parent", test_walk_parent},
		{"walk_long", test_walk_long},
		{"read_only", test_read_only},
		{"shutdown", test_shutdown},
		{"full", test_full},
		{"small_cache", test_small_cache},
	};

	return hf_run_suite("name_ops", cases, HF_COUNT(cases));
}
