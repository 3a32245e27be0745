/* The name cache: exact under every way to lose a name, numbers that are used again, and threads. */
#include "dir_vol.h"

#include <pthread.h>

static bool cached(const struct inode *dir, const char *name)
{
	struct name_hit hit;

	return name_cache_get(dir->fs, dir->ino, name, (unsigned)strlen(name), &hit);
}

static void test_get_put_drop(void)
{
	char name[NAME_CACHE_LEN + 2];
	struct inode *dir, *in, *other;
	struct name_hit hit;
	struct dvol d;

	dvol_open(&d, 16 * MIB);
	dir = dv_must_make(d.root, "dir", S_IFDIR | 0755);
	in = dv_must_make(dir, "file", S_IFREG | 0644);
	CU_ASSERT_FALSE(cached(dir, "file"));
	name_cache_put(d.fs, dir->ino, "file", 4, in);
	CU_ASSERT_TRUE_FATAL(name_cache_get(d.fs, dir->ino, "file", 4, &hit));
	CU_ASSERT_EQUAL(hit.ino.v, in->ino.v);
	CU_ASSERT_EQUAL(hit.gen, in->gen);
	CU_ASSERT_EQUAL(hit.type, S_IFREG);
	CU_ASSERT_TRUE(name_cache_still(&hit));
	/* another directory, a prefix, a longer name */
	CU_ASSERT_FALSE(cached(d.root, "file"));
	CU_ASSERT_FALSE(cached(dir, "fil"));
	CU_ASSERT_FALSE(cached(dir, "file2"));
	name_cache_drop(d.fs, dir->ino, "other", 5);
	CU_ASSERT_TRUE(cached(dir, "file"));
	name_cache_drop(d.fs, dir->ino, "file", 4);
	CU_ASSERT_FALSE(cached(dir, "file"));
	CU_ASSERT_FALSE(name_cache_still(&hit));
	/* the longest that fits, and one more */
	memset(name, 'n', sizeof(name));
	name_cache_put(d.fs, dir->ino, name, NAME_CACHE_LEN, in);
	CU_ASSERT_TRUE(name_cache_get(d.fs, dir->ino, name, NAME_CACHE_LEN, &hit));
	CU_ASSERT_FALSE(name_cache_get(d.fs, dir->ino, name, NAME_CACHE_LEN + 1, &hit));
	name_cache_put(d.fs, dir->ino, name, NAME_CACHE_LEN + 1, in);
	CU_ASSERT_FALSE(name_cache_get(d.fs, dir->ino, name, NAME_CACHE_LEN + 1, &hit));
	name_cache_drop(d.fs, dir->ino, name, NAME_CACHE_LEN + 1);
	/* many names in few lines: whoever is there is right */
	other = dv_must_make(dir, "other", S_IFREG | 0644);
	for (int i = 0; i < 1000; i++) {
		int len = snprintf(name, sizeof(name), "%d", i);

		name_cache_put(d.fs, dir->ino, name, (unsigned)len, i % 2 ? in : other);
	}
	for (int i = 0; i < 1000; i++) {
		int len = snprintf(name, sizeof(name), "%d", i);

		if (name_cache_get(d.fs, dir->ino, name, (unsigned)len, &hit))
			CU_ASSERT_EQUAL(hit.ino.v, (i % 2 ? in : other)->ino.v);
	}
	inode_put(other);
	inode_put(in);
	inode_put(dir);
	dvol_close(&d);
}

/* Looked up and therefore known; then changed; then what the directory says. */
static void test_changes(void)
{
	struct inode *a, *b, *in;
	uint64_t x, y;
	struct dvol d;

	dvol_open(&d, 16 * MIB);
	a = dv_must_make(d.root, "a", S_IFDIR | 0755);
	b = dv_must_make(d.root, "b", S_IFDIR | 0755);
	inode_put(dv_must_make(a, "x", S_IFREG | 0644));
	inode_put(dv_must_make(b, "y", S_IFREG | 0644));
	x = dv_ino(a, "x");
	CU_ASSERT_TRUE(cached(a, "x"));
	y = dv_ino(b, "y");
	CU_ASSERT_TRUE(cached(b, "y"));
	ivol_must(name_rename(a, "x", b, "y", NAME_EXCHANGE, NULL), "exchange");
	CU_ASSERT_EQUAL(dv_ino(a, "x"), y);
	CU_ASSERT_EQUAL(dv_ino(b, "y"), x);
	ivol_must(name_rename(a, "x", b, "z", 0, NULL), "rename");
	CU_ASSERT_EQUAL(dv_ino(a, "x"), 0);
	CU_ASSERT_EQUAL(dv_ino(b, "z"), y);
	ivol_must(name_rename(b, "z", b, "y", 0, NULL), "rename over");
	CU_ASSERT_EQUAL(dv_ino(b, "z"), 0);
	CU_ASSERT_EQUAL(dv_ino(b, "y"), y);
	ivol_must(inode_get(d.fs, INUM(y), 0, &in), "get");
	ivol_must(name_link(in, a, "link"), "link");
	CU_ASSERT_EQUAL(dv_ino(a, "link"), y);
	inode_put(in);
	ivol_must(name_unlink(b, "y", NULL), "unlink");
	CU_ASSERT_EQUAL(dv_ino(b, "y"), 0);
	CU_ASSERT_EQUAL(dv_ino(a, "link"), y);
	CU_ASSERT_EQUAL(dv_ino(d.root, "b"), b->ino.v);
	ivol_must(name_rmdir(d.root, "b"), "rmdir");
	CU_ASSERT_EQUAL(dv_ino(d.root, "b"), 0);
	inode_put(a);
	inode_put(b);
	dvol_close(&d);
}

/* A directory that was removed, and whose number another one has now: its names are not the dead one's. */
static void test_number_again(void)
{
	struct inode *dead, *living = NULL, *in;
	struct name_hit way, on;
	struct dvol d;
	int tries = 0;

	dvol_open(&d, 16 * MIB);
	dead = dv_must_make(d.root, "dead", S_IFDIR | 0755);
	CU_ASSERT_EQUAL(dv_ino(d.root, "dead"), dead->ino.v);
	CU_ASSERT_TRUE(name_cache_get(d.fs, d.root->ino, "dead", 4, &way));
	ivol_must(name_rmdir(d.root, "dead"), "rmdir");
	while (!living && tries++ < 10000) {
		char name[32];

		snprintf(name, sizeof(name), "dir-%d", tries);
		living = dv_must_make(d.root, name, S_IFDIR | 0755);
		if (living->ino.v != dead->ino.v) {
			inode_put(living);
			living = NULL;
		}
	}
	CU_ASSERT_PTR_NOT_NULL_FATAL(living);
	inode_put(dv_must_make(living, "x", S_IFREG | 0644));
	CU_ASSERT_NOT_EQUAL(dv_ino(living, "x"), 0);
	CU_ASSERT_TRUE(cached(dead, "x"));	/* the number's */
	CU_ASSERT_EQUAL(dv_ino(dead, "x"), 0);
	/* so a walk that had come to the dead one, and reads on, has to see that the way there is gone */
	CU_ASSERT_TRUE(name_cache_get(d.fs, way.ino, "x", 1, &on));
	CU_ASSERT_FALSE(name_cache_still(&way));
	CU_ASSERT_EQUAL(name_walk(d.fs, dead, "x", 0, &in, NULL, NULL), -ENOENT);
	inode_put(dead);
	inode_put(living);
	dvol_close(&d);
}

/* A reader that read the line, and comes back when the inode is gone and its number another file's. As if the line were still there. */
static void test_freed_since(void)
{
	struct inode *living, *in, late = {.type = S_IFREG};
	struct dvol d;

	dvol_open(&d, 16 * MIB);
	living = dv_must_make(d.root, "living", S_IFREG | 0644);
	late.ino = living->ino;
	late.gen = living->gen - 1;
	name_cache_put(d.fs, d.root->ino, "gone", 4, &late);
	CU_ASSERT_TRUE(cached(d.root, "gone"));
	CU_ASSERT_EQUAL(dv_ino(d.root, "gone"), 0);
	CU_ASSERT_EQUAL(name_walk(d.fs, NULL, "/gone", 0, &in, NULL, NULL), -ENOENT);
	inode_put(living);
	dvol_close(&d);
}

/* By path: links, '..', slashes and files in the middle, all of it known. */
static void test_walk(void)
{
	static const struct {
		const char *path;
		unsigned flags;
		int err;
		const char *is;	/* the one that it leads to, as a plain path */
	} row[] = {
		{"/a/b/c", 0, 0, "/a/b/c"}, {"/a//b///c", 0, 0, "/a/b/c"}, {"/a/b/", 0, 0, "/a/b"}, {"/a/b/c/", 0, -ENOTDIR, NULL},
		{"/a/b/c/d", 0, -ENOTDIR, NULL}, {"/a/link", WALK_NOFOLLOW, 0, "/a/link"}, {"/a/link", 0, 0, "/a/b"},
		{"/a/link/c", 0, 0, "/a/b/c"}, {"/a/link/", WALK_NOFOLLOW, 0, "/a/b"}, {"/a/b/../b/c", 0, 0, "/a/b/c"},
		{"/a/./b/c", 0, 0, "/a/b/c"}, {"/a/b/none", 0, -ENOENT, NULL},
	};
	struct name_new link = {.mode = S_IFLNK | 0777, .symlink = "/a/b"};
	struct inode *a, *b, *in, *is;
	struct dvol d;

	dvol_open(&d, 16 * MIB);
	a = dv_must_make(d.root, "a", S_IFDIR | 0755);
	b = dv_must_make(a, "b", S_IFDIR | 0755);
	inode_put(dv_must_make(b, "c", S_IFREG | 0644));
	ivol_must(name_create(a, "link", &link, NULL), "symlink");
	for (unsigned round = 0; round < 2; round++)
		for (unsigned i = 0; i < HF_COUNT(row); i++) {
			bool is_dir;
			int err = name_walk(d.fs, NULL, row[i].path, row[i].flags, &in, NULL, &is_dir);

			if (err != row[i].err)
				printf("  %s, round %u: %d, not %d\n", row[i].path, round, err, row[i].err);
			CU_ASSERT_EQUAL(err, row[i].err);
			if (err)
				continue;
			ivol_must(name_walk(d.fs, NULL, row[i].is, WALK_NOFOLLOW, &is, NULL, NULL), row[i].is);
			CU_ASSERT_PTR_EQUAL(in, is);
			CU_ASSERT_EQUAL(is_dir, row[i].path[strlen(row[i].path) - 1] == '/');
			inode_put(in);
			inode_put(is);
		}
	inode_put(a);
	inode_put(b);
	dvol_close(&d);
}

/* ---- threads: what a path leads to says, in its own bytes, which path it was made for */

enum { THREAD_DIRS = 3 };
static struct dvol shared;
static _Atomic bool stop;
static _Atomic unsigned wrong, right;

static void make_one(unsigned k)
{
	char path[16], text[16];
	struct name_new link = {.mode = S_IFLNK | 0777, .symlink = text};
	struct inode *dir;

	snprintf(path, sizeof(path), "d%u", k);
	snprintf(text, sizeof(text), "in-%u", k);
	ivol_must(dv_make(shared.root, path, S_IFDIR | 0755, &dir), "mkdir");
	ivol_must(name_create(dir, "link", &link, NULL), "symlink");
	inode_put(dir);
}

static void remove_one(unsigned k)
{
	struct inode *dir;
	char path[16];

	snprintf(path, sizeof(path), "d%u", k);
	ivol_must(name_lookup(shared.root, path, &dir), "lookup");
	ivol_must(name_unlink(dir, "link", NULL), "unlink");
	inode_put(dir);
	ivol_must(name_rmdir(shared.root, path), "rmdir");
}

/* One directory less than names, so that numbers change hands all the time. */
static void *changer(void *arg)
{
	unsigned rounds = *(unsigned *)arg;

	for (unsigned i = 0; i < rounds; i++) {
		remove_one((i + 1) % THREAD_DIRS);
		make_one(i % THREAD_DIRS);
	}
	atomic_store(&stop, true);
	return NULL;
}

/* By path, or one step after the other. */
static int look(unsigned k, bool steps, struct inode **in)
{
	struct inode *dir;
	char path[32];
	int err;

	if (!steps) {
		snprintf(path, sizeof(path), "/d%u/link", k);
		return name_walk(shared.fs, NULL, path, WALK_NOFOLLOW, in, NULL, NULL);
	}
	snprintf(path, sizeof(path), "d%u", k);
	err = name_lookup(shared.root, path, &dir);
	if (err)
		return err;
	err = name_lookup(dir, "link", in);
	inode_put(dir);
	return err;
}

static void *reader(void *arg)
{
	char text[NAME_PATH_MAX + 1], want[16];
	bool steps = arg != NULL;
	struct inode *in;

	for (unsigned i = 0; !atomic_load(&stop); i++) {
		unsigned k = i % THREAD_DIRS;
		size_t len;
		int err;

		snprintf(want, sizeof(want), "in-%u", k);
		err = look(k, steps, &in);
		if (err == -ENOENT)
			continue;
		if (err == 0) {
			err = name_readlink(in, text, sizeof(text), &len);
			if (err == -ENOENT) {	/* removed between the two */
				inode_put(in);
				continue;
			}
		}
		if (err || len != strlen(want) || memcmp(text, want, len) != 0) {
			if (atomic_fetch_add(&wrong, 1) < 5)
				printf("  d%u: %d, '%.*s'\n", k, err, err ? 0 : (int)len, text);
		} else {
			atomic_fetch_add(&right, 1);
		}
		if (!err)
			inode_put(in);
	}
	return NULL;
}

static void test_threads(void)
{
	unsigned rounds = getenv("HF_TEST_SHORT") ? 2000 : 30000;
	pthread_t t[3];

	dvol_open(&shared, 16 * MIB);
	atomic_store(&stop, false);
	for (unsigned k = 1; k < THREAD_DIRS; k++)
		make_one(k);
	pthread_create(&t[0], NULL, changer, &rounds);
	pthread_create(&t[1], NULL, reader, NULL);
	pthread_create(&t[2], NULL, reader, &rounds);
	for (unsigned i = 0; i < 3; i++)
		pthread_join(t[i], NULL);
	CU_ASSERT_EQUAL(atomic_load(&wrong), 0);
	CU_ASSERT_NOT_EQUAL(atomic_load(&right), 0);
	dvol_close(&shared);
}

int main(void)
{
	static const struct hf_case cases[] = {
		{"get, put, drop", test_get_put_drop},
		{"every change of a name", test_changes},
		{"a number that is used again", test_number_again},
		{"an inode that was freed since", test_freed_since},
		{"walks", test_walk},
		{"threads", test_threads},
	};

	return hf_run_suite("name_cache", cases, HF_COUNT(cases));
}
